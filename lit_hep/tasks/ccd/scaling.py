"""From ADC values to what a network takes; part of the network, so that it goes where the network goes."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_hep.nets.cpu import asinh

Scaling = Literal["training", "image", "none"]
_ENOUGH = 2_000_000  # pixels that fix a median
_WINDOW = 15  # pixels a side: wider than tracks, narrower than glow


class Scaled(nn.Module):
    """A network behind its scaling: pedestal subtracted, divided by the noise, and large values compressed.

    Args:
        net: Takes (B, channels, H, W), or twice as many channels if compressed.
        channels: Of the image; a grey one is repeated.
        scaling: ``training``: one pedestal and scale for all images, those of the training images; ``image``: each
            image's own; ``none``: pixels as they are.
        compress: Take asinh of the scaled value: linear in the noise, logarithmic far above; and the same of its
            distance from the mean of 15 x 15 pixels, as a track on a glow would drown in the logarithm.
    """

    pedestal: Tensor
    spread: Tensor

    def __init__(self, net: nn.Module, channels: int, scaling: Scaling, compress: bool) -> None:
        super().__init__()
        self.net, self.channels, self.scaling, self.compress = net, channels, scaling, compress
        self.register_buffer("pedestal", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    @property
    def reach(self) -> int:
        """Rows or columns to the farthest pixel that a pixel's logits depend on, at most."""
        net: Any = self.net
        return int(net.reach) + (_WINDOW // 2 if self.compress else 0)

    @property
    def step(self) -> int:
        """Pieces of an image have to begin at multiples of it."""
        net: Any = self.net
        return int(net.step)

    def adapt(self, level: Tensor) -> None:
        """Take over pedestal and spread (2, C) of the training images."""
        self.pedestal.copy_(level[0])
        self.spread.copy_(level[1])

    def extra_repr(self) -> str:
        """Scaling, with the numbers that it takes from the training images."""
        words = f"scaling {self.scaling}" + ", asinh" * self.compress
        if self.scaling == "training":
            words += f"; pedestal {self.pedestal.tolist()}; spread {self.spread.tolist()}"
        return words

    def forward(self, image: Tensor, level: Tensor | None = None) -> Tensor:
        """Image (B, C, H, W), one channel or as many as the network has, to the network's output.

        Args:
            image: Pixels as the files have them.
            level: Pedestal and spread (B, 2, C) of the image each is a part of; None takes the image itself.
        """
        image = image.float()
        if self.scaling == "training":
            image = (image - self.pedestal[:, None, None]) / self.spread[:, None, None]
        elif self.scaling == "image":
            low, spread = (levels_of(image) if level is None else level)[..., None, None].unbind(1)
            image = (image - low) / spread
        image = image.expand(-1, self.channels, -1, -1)
        if self.compress:
            around = image
            for size in ((_WINDOW, 1), (1, _WINDOW)):  # one after the other: 30 additions a pixel, not 225
                around = F.avg_pool2d(around, size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False)
            image = asinh(torch.cat([image, image - around], dim=1))
        logits: Tensor = self.net(image)
        return logits


def levels_of(image: Tensor) -> Tensor:
    """Pedestal and spread (B, 2, C) of each image (B, C, H, W), as `level_of`."""
    return level_of(image.flatten(2))


def level_of(pixels: Tensor) -> Tensor:
    """Median and 1.4826 times the median distance from it, (..., 2, C), of pixels (..., C, n).

    Where more than half of the pixels are equal, their standard deviation takes its place, and 1 where all are.
    """
    some = pixels[..., :: (pixels.shape[-1] + _ENOUGH - 1) // _ENOUGH].float()
    median = _median(some)
    spread = 1.4826 * _median((some - median[..., None]).abs())
    spread = torch.where(spread > 0, spread, some.std(-1, correction=0))
    return torch.stack([median, torch.where(spread > 0, spread, 1.0)], dim=-2)


def _median(pixels: Tensor) -> Tensor:
    """The lower of the two middle ones if they are even, (...), of pixels (..., n)."""
    if torch.compiler.is_compiling():  # ONNX has no median, which is faster
        return pixels.sort(-1).values[..., (pixels.shape[-1] + 1) // 2 - 1]
    return pixels.median(-1).values
