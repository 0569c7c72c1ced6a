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
    draw = 2 * torch.rand(3, len(image), device=image.device) - 1
    frame = torch.zeros(len(image), 2, 3, device=image.device)
    frame[:, 0, 0] = frame[:, 1, 1] = 1 + zoom * draw[0]
    for axis, pixels in enumerate(image.shape[:1:-1]):
        frame[:, axis, 2] = draw[1 + axis] * 2 * shift / pixels
    grid = F.affine_grid(frame, list(image.shape), align_corners=False)
    return F.grid_sample(image.float(), grid, padding_mode="reflection", align_corners=False)
