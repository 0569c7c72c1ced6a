"""Generators and discriminators after Pix2Pix (P. Isola et al., arXiv:1611.07004), for two layouts of an event.

A generator returns logits z; its picture is the sigmoid of z: the paper's tanh(z / 2), moved from -1..1 to 0..1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lit_hep.nets.convolution import Step
from lit_hep.nets.cpu import Dropout
from lit_hep.nets.norm import Normed
from lit_hep.nets.strided import LastConv, StridedConv, StridedConvTranspose

HALVE = Step((4, 4), (2, 2), (1, 1))
SUPERLAYERS = Step((5, 4), (3, 2), (1, 1))
REGIONS = Step((3, 4), (3, 2), (0, 1))
WIRES = Step((1, 7), (1, 7), (0, 0))

SQUARE = (HALVE,) * 7
"""128 x 128 to 1 x 1 pixels."""
SECTOR = (SUPERLAYERS, HALVE, HALVE, REGIONS, WIRES)
"""36 x 112 to 12 x 56, 6 x 28 (a row a superlayer), 3 x 14 (a row a region), 1 x 7 and 1 x 1."""


class Generator(nn.Module):
    """A U-net of strided convolutions: down to one pixel, and up again beside what was seen on the way.

    Takes (B, channels, H, W) and returns logits (B, outputs, H, W).

    Args:
        channels: Of the picture.
        outputs: Of the logits.
        steps: Down; the way up mirrors them.
        width: Channels after the first step; they double up to eight times as many.
        dropout: Of the first three steps up.
    """

    def __init__(
        self, channels: int, outputs: int, steps: Sequence[Step], width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        widths = [width * 2 ** min(level, 3) for level in range(len(steps))]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inputs = channels
        for level, (step, outs) in enumerate(zip(steps, widths, strict=True)):
            # one pixel has no spread to normalise in a batch of one
            norm = 0 < level < len(steps) - 1
            layer = StridedConv(inputs, outs, *step, bias=not norm)
            self.down.append(Normed(layer, *[nn.BatchNorm2d(outs)] * norm, nn.LeakyReLU(0.2)))
            inputs = outs
        for number, (step, outs) in enumerate(zip(steps[:0:-1], widths[-2::-1], strict=True)):
            layers = [StridedConvTranspose(inputs, outs, *step, bias=False), nn.BatchNorm2d(outs)]
            self.up.append(Normed(*layers, nn.ReLU(), *[Dropout(dropout)] * (number < 3)))
            inputs = 2 * outs
        self.last = nn.ConvTranspose2d(inputs, outputs, *steps[0])
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) to logits (B, outputs, H, W)."""
        seen = []
        for down in self.down:
            image = down(image)
            seen.append(image)
        for up, skip in zip(self.up, seen[-2::-1], strict=True):
            image = torch.cat([up(image), skip], dim=1)
        logits: Tensor = self.last(image)
        return logits


class PatchGAN(Normed):
    """Tells patches of true pictures from made ones: takes (B, channels, H, W), returns logits (B, 1, h, w).

    128 x 128 pixels give 14 x 14 patches, 36 x 112 give 3 x 14, a row a region.

    Args:
        channels: Of the pair, input and output.
        steps: That reduce the picture, three.
        width: Channels after the first step.
        spectral: Bound each layer's gain (T. Miyato et al., arXiv:1802.05957) in place of batch norm.
    """

    def __init__(self, channels: int, steps: Sequence[Step], width: int = 64, spectral: bool = False) -> None:
        square = steps[0] == HALVE
        kernel = 4 if square else 3
        layers: list[nn.Module] = []
        inputs = channels
        for level, step in enumerate([*steps, Step((kernel, kernel), (1, 1), (1, 1))]):
            outputs = width * 2**level
            norm = level > 0 and not spectral
            layers.append(StridedConv(inputs, outputs, *step, bias=not norm))
            layers += [nn.BatchNorm2d(outputs)] * norm + [nn.LeakyReLU(0.2)]
            inputs = outputs
        super().__init__(*layers, LastConv(inputs, kernel))
        self.apply(_initialise)
        if spectral:
            for layer in self:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def both(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of each, as one after the other would give; weights are read once, and batch norm sees them apart."""
        first, second = self(torch.cat([real, fake]), parts=2).chunk(2)
        return first, second


def _initialise(layer: nn.Module) -> None:
    """Weights as in the paper."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1, 0.02)
