"""A small network that keeps the hits of tracks, made for an online farm."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_hep.nets.cpu import HalvingMaxPool


class Denoiser(nn.Module):
    """Segments first, then tracks: the six layers of a superlayer are channels, six superlayers the rows.

    Convolutions along the wires find segments; at a quarter of the resolution, all superlayers together, layers that
    see the whole chamber link them to tracks; what they found is brought back to each wire.
    Takes (B, 1, 36, 112) and returns logits (B, 1, 36, 112).

    Args:
        width: Channels of a superlayer.
        links: Linking layers; each sees nine quarter-resolution columns of all superlayers.
    """

    def __init__(self, width: int = 24, links: int = 4) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(width, 6, 1))  # superlayers differ in background and in slope
        self.stem = nn.Conv2d(6, width, (1, 9), padding=(0, 4))
        self.near = _block(width, width, (1, 5))
        self.halve = HalvingMaxPool(rows=False)
        self.far = _block(width, width, (3, 5))
        self.link = nn.Sequential(*[_Link(6 * width) for _ in range(links)])
        self.mend = _block(2 * width, width, (3, 5))
        self.join = _block(2 * width, width, (1, 5))
        self.head = nn.Conv2d(width, 6, (1, 5), padding=(0, 2))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, 36, 112) to logits of the same shape."""
        fine = self.near(F.relu(self.stem(image.reshape(-1, 6, 6, 112).transpose(1, 2)) + self.place))
        half = self.far(self.halve(fine))
        quarter = self.halve(half)
        linked = self.link(quarter.flatten(1, 2)).unflatten(1, quarter.shape[1:3])
        half = self.mend(torch.cat([half, _stretch(linked)], dim=1))
        logits: Tensor = self.head(self.join(torch.cat([fine, _stretch(half)], dim=1)))
        return logits.transpose(1, 2).reshape(image.shape)


class _Link(nn.Module):
    """A residual layer over all superlayers (B, channels, columns), cheap by its narrow waist."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        waist = channels // 2
        self.inner = nn.Sequential(
            nn.Conv1d(channels, waist, 1, bias=False),
            nn.BatchNorm1d(waist),
            nn.ReLU(),
            nn.Conv1d(waist, waist, 9, padding=4, bias=False),
            nn.BatchNorm1d(waist),
            nn.ReLU(),
            nn.Conv1d(waist, channels, 1),
        )

    def forward(self, columns: Tensor) -> Tensor:
        more: Tensor = self.inner(columns)
        return columns + more


def _block(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = kernel[0] // 2, kernel[1] // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _stretch(columns: Tensor) -> Tensor:
    """Twice as many columns."""
    return columns.repeat_interleave(2, dim=-1)
