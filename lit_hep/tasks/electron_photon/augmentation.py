"""Random views of a batch of crops that a calorimeter could have seen as well, drawn and made on its device."""

import torch
from torch import Tensor


def reflect(image: Tensor, axis: int) -> Tensor:
    """Mirror images (B, C, H, W) at the seed crystal, pixel H/2 or W/2; the first row or column stays.

    Args:
        image: Crops.
        axis: 2 mirrors eta, 3 mirrors phi.
    """
    return image.flip(axis).roll(1, axis)


def random_reflection(image: Tensor, axis: int) -> Tensor:
    """Mirror half of the images, as `reflect`."""
    chosen = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
    return torch.where(chosen, reflect(image, axis), image)


def random_shift(image: Tensor, most: int) -> Tensor:
    """Move each image of (B, C, H, W) by whole crystals, at most so many in each direction; zeros come in."""
    for axis in (2, 3):
        size = image.shape[axis]
        move = torch.randint(-most, most + 1, (len(image), 1), device=image.device)
        source = torch.arange(size, device=image.device) - move
        inside = (source >= 0) & (source < size)
        along = [len(image), 1, size, 1] if axis == 2 else [len(image), 1, 1, size]
        moved = image.gather(axis, source.clamp(0, size - 1).reshape(along).expand_as(image))
        image = moved * inside.reshape(along)
    return image


def random_smear(image: Tensor, spread: float) -> Tensor:
    """Multiply the energy (channel 0) of each crystal by 1 + `spread` times a standard normal draw, never below 0."""
    factor = (1 + spread * torch.randn_like(image[:, :1])).clamp_min(0)
    return torch.cat([image[:, :1] * factor, image[:, 1:]], dim=1)
