"""Random views of a batch of images, drawn and made on its device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_symmetry(image: Tensor) -> Tensor:
    """Turn each image of (B, C, S, S) into one of its eight flips and quarter turns, exactly."""
    flip = torch.rand(3, len(image), 1, 1, 1, device=image.device) < 0.5
    image = torch.where(flip[0], image.flip(3), image)
    image = torch.where(flip[1], image.flip(2), image)
    return torch.where(flip[2], image.transpose(2, 3), image)


def random_framing(image: Tensor, zoom: float, shift: float) -> Tensor:
    """Zoom and move each image; what comes in from outside is its mirror image.

    Args:
        image: (B, C, H, W), of any type.
        zoom: Factors 1 - zoom to 1 + zoom.
        shift: Pixels, in each direction.

    Returns:
        Images of the same shape, float32.
    """
    draw = 2 * torch.rand(3, len(image), 1, device=image.device) - 1
    right, down = (2 * shift / pixels * place for place, pixels in zip(draw[1:], image.shape[:1:-1], strict=True))
    return framed(image, 1 + zoom * draw[0], right, down)


def framed(image: Tensor, scale: Tensor | float, right: Tensor | float = 0.0, down: Tensor | float = 0.0) -> Tensor:
    """Cut a frame out of each image and bring it to the image's size; beyond the rim is the mirror image.

    Args:
        image: (B, C, H, W), of any type.
        scale: Side of the frame over that of the image, of each image (B, 1) or of all.
        right: Middle of the frame along the columns, from -1 to 1.
        down: The same along the rows.

    Returns:
        Images of the same shape, float32, interpolated linearly.
    """
    count, _, height, width = image.shape  # no affine_grid: an exported one takes images of one size only
    rows, columns = ((2 * torch.arange(pixels, device=image.device) + 1) / pixels - 1 for pixels in (height, width))
    x, y = scale * columns + right, scale * rows + down
    grid = torch.stack([place.expand(count, height, width) for place in (x[..., None, :], y[..., :, None])], 3)
    return F.grid_sample(image.float(), grid, padding_mode="reflection", align_corners=False)
