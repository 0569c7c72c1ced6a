"""From the pixels of the files to what a network takes; part of the network, so that it goes where the network goes."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lit_hep.tasks.electron_photon.crops import Moments

Scaling = Literal["none", "max", "log", "per_image", "standard"]
Channels = Literal["energy", "time", "both"]

_SMALL = 0.002  # 0.1 GeV, 0.1 ns: below it `log` is linear


class Normalise(nn.Module):
    """Channels of a crop, scaled: (B, 2, H, W) to (B, 1 or 2, H, W).

    ``none`` leaves a pixel x (E / 50 GeV, t / 50 ns) as it is; ``max`` divides by the largest |x| of the training
    images; ``log`` gives sign(x) log(1 + |x| / x0) / log(1 + 1 / x0) with x0 = .002 (0.1 GeV, 0.1 ns); ``per_image``
    divides by the sum of |x| over the image; ``standard`` gives training pixels mean 0 and standard deviation 1.

    Args:
        channels: Which to take.
        energy: Scaling of the energy.
        time: Scaling of the time.
    """

    mean: Tensor
    deviation: Tensor
    largest: Tensor

    def __init__(self, channels: Channels, energy: Scaling, time: Scaling) -> None:
        super().__init__()
        scalings = {"energy": [energy], "time": [time], "both": [energy, time]}[channels]
        self._scalings = list(enumerate(scalings, start=1 if channels == "time" else 0))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("deviation", torch.ones(2))
        self.register_buffer("largest", torch.ones(2))

    @property
    def channels(self) -> int:
        """Number of channels that come out."""
        return len(self._scalings)

    def adapt(self, moments: Moments) -> None:
        """Take over mean, standard deviation and largest |x| of the training images."""
        self.mean.copy_(torch.from_numpy(moments.mean))
        self.deviation.copy_(torch.from_numpy(moments.deviation))
        self.largest.copy_(torch.from_numpy(moments.largest))

    def extra_repr(self) -> str:
        """Scalings, and the numbers that they take from the training images."""
        scalings = {("energy", "time")[number]: how for number, how in self._scalings}
        words = ", ".join(f"{channel} {how}" for channel, how in scalings.items())
        numbers = {"max": ["largest"], "standard": ["mean", "deviation"]}
        needed = dict.fromkeys(name for how in scalings.values() for name in numbers.get(how, ()))
        return "; ".join([words, *(f"{name} {getattr(self, name).tolist()}" for name in needed)])

    def forward(self, image: Tensor) -> Tensor:
        """(B, 2, H, W) to (B, C, H, W)."""
        if self._scalings == [(0, "none"), (1, "none")]:
            return image
        return torch.cat([self._scale(image[:, n : n + 1], n, how) for n, how in self._scalings], dim=1)

    def _scale(self, pixel: Tensor, number: int, how: Scaling) -> Tensor:
        if how == "max":
            return pixel / self.largest[number]
        if how == "log":
            return pixel.sign() * (1 + pixel.abs() / _SMALL).log() / math.log1p(1 / _SMALL)  # log1p is slow at times
        if how == "per_image":
            return pixel / pixel.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-6)
        if how == "standard":
            return (pixel - self.mean[number]) / self.deviation[number]
        return pixel
