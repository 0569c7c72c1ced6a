"""From the charges of the files to what a network takes; part of the network, to go where the network goes."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Scaling = Literal["none", "log", "standard"]


class Moments(NamedTuple):
    """Charges of the training events, of each plane (P,)."""

    mean: Tensor
    """Over all cells."""
    deviation: Tensor
    """Over all cells."""
    typical: Tensor
    """Mean over the hits."""


class Normalise(nn.Module):
    """Planes (B, P, H, W), scaled each by itself.

    ``none`` leaves a charge q as it is; ``log`` gives log(1 + q / q0), q0 the mean charge of a training hit;
    ``standard`` gives the cells of the training events mean 0 and standard deviation 1.

    Args:
        planes: P.
        scaling: Of the charges.
    """

    mean: Tensor
    deviation: Tensor
    typical: Tensor

    def __init__(self, planes: int, scaling: Scaling) -> None:
        super().__init__()
        self._scaling = scaling
        self.register_buffer("mean", torch.zeros(planes, 1, 1))
        self.register_buffer("deviation", torch.ones(planes, 1, 1))
        self.register_buffer("typical", torch.ones(planes, 1, 1))

    def adapt(self, moments: Moments) -> None:
        """Take over what the charges of the training events are like."""
        for name, value in moments._asdict().items():
            getattr(self, name).copy_(value.reshape(-1, 1, 1))

    def extra_repr(self) -> str:
        """Scaling, and the numbers of each plane that it takes from the training events."""
        names = {"log": ["typical"], "standard": ["mean", "deviation"], "none": []}[self._scaling]
        return "; ".join([self._scaling, *(f"{name} {getattr(self, name).flatten().tolist()}" for name in names)])

    def forward(self, image: Tensor) -> Tensor:
        """(B, P, H, W) to the same shape."""
        if self._scaling == "log":
            return (1 + image / self.typical).log()  # log1p is slow at times
        if self._scaling == "standard":
            return (image - self.mean) / self.deviation
        return image
