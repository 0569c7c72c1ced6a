"""U-nets that give each pixel a class, for images of any size."""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_hep.nets.cpu import DoublingConv, Dropout
from lit_hep.nets.elu import ELU

Activation = Literal["elu", "relu", "leaky_relu", "gelu"]
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "elu": ELU,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
}


class _AnySize(nn.Module, ABC):
    """Takes (B, C, H, W), returns logits (B, classes, H, W); the last rows and columns are repeated as far as needed.

    Nothing is normalised over an image, so that a piece of it, begun at a multiple of `step`, gives the logits of the
    whole, `reach` pixels away from where it was cut.
    """

    step: int
    """Heights and widths divisible by it need no filling."""
    reach: int
    """Rows or columns to the farthest pixel that a pixel's logits depend on, at most."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes, H, W)."""
        height, width = image.shape[2:]
        below, right = -height % self.step, -width % self.step
        if not torch.compiler.is_compiling() and not (below or right):
            return self.logits(image)
        # also where there is nothing to fill, and by a copy: a branch or a view would bind an exported network to sizes
        logits = self.logits(F.pad(image, (0, right, 0, below), mode="replicate"))
        rows, columns = (torch.arange(length, device=image.device) for length in (height, width))
        return logits.index_select(2, rows).index_select(3, columns)

    @abstractmethod
    def logits(self, image: Tensor) -> Tensor:
        """The same for heights and widths divisible by `step`."""


class UNet(_AnySize):
    """O. Ronneberger et al., arXiv:1505.04597, as https://github.com/aritzLizoain/CNN-Image-Segmentation has it.

    Two 3x3 convolutions with dropout between them at each depth, max-pooling on the way down, 2x2 transposed
    convolutions beside what was seen on the way up. 7,760,196 parameters for three channels and four classes.

    Args:
        channels: Of the image.
        classes: Of a pixel.
        width: Channels at full resolution; they double with each depth.
        depth: How often the resolution is halved.
        activation: After each convolution.
        dropout: Between the two convolutions.
        batch_norm: Before each activation.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 4,
        width: int = 32,
        depth: int = 4,
        activation: Activation = "elu",
        dropout: float = 0.18,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.step = 2**depth
        self.reach = 2 * (2 * self.step - 1) + 2 * (self.step - 1) + self.step - 1  # down, up, a coarse pixel's width
        widths = [width * 2**level for level in range(depth + 1)]

        def pair(inputs: int, outputs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for number, ins in enumerate((inputs, outputs)):
                layers.append(nn.Conv2d(ins, outputs, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(outputs)] * batch_norm
                if number:
                    layers += [_ACTIVATIONS[activation]()]
                elif activation == "elu":
                    layers += [ELU(dropout), nn.Identity()]  # layers are numbered as with others
                else:
                    layers += [_ACTIVATIONS[activation](), Dropout(dropout)]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(map(pair, [channels, *widths], widths))
        self.stretch = nn.ModuleList(DoublingConv(2 * outputs, outputs) for outputs in widths[-2::-1])
        self.up = nn.ModuleList(pair(2 * outputs, outputs) for outputs in widths[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(_initialise)

    def logits(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) to logits (B, classes, H, W)."""
        seen = []
        for level, pair in enumerate(self.down):
            image = pair(F.max_pool2d(image, 2) if level else image)
            seen.append(image)
        for stretch, pair, skip in zip(self.stretch, self.up, seen[-2::-1], strict=True):
            image = pair(torch.cat([stretch(image), skip], dim=1))
        logits: Tensor = self.head(image)
        return logits


class SlimUNet(_AnySize):
    """Few channels where pixels are many: cheap at full resolution, residual blocks below, skips added.

    Args:
        channels: Of the image.
        classes: Of a pixel.
        width: Channels at half the resolution; they double with each further depth, full resolution has half of them.
        depth: How often the resolution is halved, at least once.
        activation: After each convolution.
        dropout: Of whole channels at the lowest resolution.
        batch_norm: Before each activation.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 4,
        width: int = 16,
        depth: int = 4,
        activation: Activation = "relu",
        dropout: float = 0.0,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.step = 2**depth
        # 3 convolutions at full resolution; 2 at each lower one and 1 on the way up; a coarse pixel's width
        self.reach = 3 + 2 * 2 * (self.step - 1) + (self.step - 2) + self.step - 1
        widths = [width // 2, *(width * 2**level for level in range(depth))]

        def layer(inputs: int, outputs: int) -> nn.Sequential:
            norm = [nn.BatchNorm2d(outputs)] * batch_norm
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm)
            return nn.Sequential(conv, *norm, _ACTIVATIONS[activation]())

        self.fine = nn.Sequential(layer(channels, widths[0]), layer(widths[0], widths[0]))
        self.halve = nn.ModuleList(nn.Conv2d(inputs, outputs, 2, stride=2) for inputs, outputs in pairwise(widths))
        self.down = nn.ModuleList(_Residual(layer(outputs, outputs), layer(outputs, outputs)) for outputs in widths[1:])
        self.dropout = nn.Dropout2d(dropout)
        self.narrow = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(_Residual(layer(outputs, outputs)) for outputs in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], classes, 1)
        self.apply(_initialise)

    def logits(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) to logits (B, classes, H, W)."""
        seen = [self.fine(image)]
        for halve, down in zip(self.halve, self.down, strict=True):
            seen.append(down(halve(seen[-1])))
        coarse = self.dropout(seen.pop())
        for narrow, up, skip in zip(self.narrow, self.up, reversed(seen), strict=True):
            coarse = up(skip + F.interpolate(narrow(coarse), scale_factor=2.0))
        logits: Tensor = self.head(coarse)
        return logits


class _Residual(nn.Sequential):
    """Layers, and what went in added."""

    def forward(self, image: Tensor) -> Tensor:
        more = image
        for layer in self:
            more = layer(more)
        return image + more


def _initialise(layer: nn.Module) -> None:
    """He's normal weights for the convolutions; biases 0."""
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
