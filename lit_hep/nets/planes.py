"""Networks for several readout planes of one event, rows wires and columns ticks.

Wires of different planes run in different directions: row 40 of one plane has nothing to do with row 40 of another.
The columns are common: charge arrives on all planes at the same tick.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lit_hep.nets.resnet import BasicBlock


class PlaneNet(nn.Module):
    """A strided stem, pooling, and residual blocks that halve the image; then mean and maximum over it.

    Small and fast, as most cells are empty. Takes (B, channels, H, W) of any size from 32 pixels on and returns logits
    (B, outputs).

    Args:
        outputs: Logits an image.
        channels: Of the image.
        stem: Channels at half resolution.
        widths: Channels of each block; each but the first halves the image.
        dropout: Before the last layer.
    """

    def __init__(
        self,
        outputs: int = 1,
        channels: int = 3,
        stem: int = 16,
        widths: Sequence[int] = (24, 48, 96),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, stem, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(stem),
            nn.MaxPool2d(2),  # then the activation has a quarter of the work
            nn.ReLU(),
            *_blocks(stem, widths),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * widths[-1], outputs))

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) to logits (B, outputs)."""
        features = self.features(image)
        logits: Tensor = self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))
        return logits


def _blocks(inputs: int, widths: Sequence[int]) -> list[BasicBlock]:
    pairs = zip([inputs, *widths], widths, strict=False)
    return [BasicBlock(before, after, stride=2 if number else 1) for number, (before, after) in enumerate(pairs)]


class PerPlane(nn.ModuleList):
    """A network for each plane, that sees nothing of the others: (B, P, H, W) to logits (B, P, outputs).

    Args:
        build: Makes the network of one plane, from (B, 1, H, W) to (B, outputs).
        planes: P.
    """

    def __init__(self, build: Callable[[], nn.Module], planes: int = 3) -> None:
        super().__init__(build() for _ in range(planes))

    def forward(self, image: Tensor) -> Tensor:
        """(B, P, H, W) to logits (B, P, outputs)."""
        return torch.stack([net(image[:, plane : plane + 1]) for plane, net in enumerate(self)], dim=1)


class Siamese(nn.Module):
    """One trunk for all planes; what it found on each is put side by side and classified.

    Args:
        trunk: From (B, 1, H, W) to features (B, width).
        width: Features of a plane.
        outputs: Logits an event.
        planes: P.
        dropout: Before the last layer.
    """

    def __init__(self, trunk: nn.Module, width: int, outputs: int = 1, planes: int = 3, dropout: float = 0.3) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(
            nn.LeakyReLU(0.1),  # of a trunk without batch norm, all features may fall below 0 and stay there with ReLU
            nn.Linear(planes * width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, outputs),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, P, H, W) to logits (B, outputs)."""
        features = self.trunk(image.flatten(0, 1).unsqueeze(1)).reshape(image.shape[0], -1)
        logits: Tensor = self.head(features)
        return logits


class TickFusion(nn.Module):
    """Planes fused tick by tick, the one coordinate that they share.

    Each plane has its own stem; the blocks are shared. After each block but the last the planes tell one another what
    they saw at each tick (`TickExchange`). At the end each plane is projected on the tick axis, mean and maximum over
    its wires; the projections of all planes are stacked tick by tick, convolved along the ticks, and classified.
    Takes (B, P, H, W) of any size from 32 pixels on and returns logits (B, outputs).

    Args:
        outputs: Logits an event.
        planes: P.
        stem: Channels of a plane at half resolution.
        widths: Channels of each block; each but the first halves the image.
        fused: Channels along the ticks.
        dropout: Before the last layer.
    """

    def __init__(
        self,
        outputs: int = 1,
        planes: int = 3,
        stem: int = 16,
        widths: Sequence[int] = (24, 48, 96),
        fused: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.planes = planes
        self.stem = nn.Sequential(
            nn.Conv2d(planes, planes * stem, 5, stride=2, padding=2, groups=planes, bias=False),
            nn.BatchNorm2d(planes * stem),
            nn.MaxPool2d(2),  # then the activation has a quarter of the work
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(_blocks(stem, widths))
        self.exchanges = nn.ModuleList(TickExchange(width, planes) for width in widths[:-1])
        self.along = nn.Sequential(
            nn.Conv1d(2 * planes * widths[-1], fused, 1, bias=False),
            nn.BatchNorm1d(fused),
            nn.ReLU(),
            nn.Conv1d(fused, fused, 3, padding=1, bias=False),
            nn.BatchNorm1d(fused),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * fused, outputs))

    def forward(self, image: Tensor) -> Tensor:
        """(B, P, H, W) to logits (B, outputs)."""
        maps = self.stem(image)
        maps = maps.reshape(image.shape[0] * self.planes, -1, *maps.shape[2:])
        for number, block in enumerate(self.blocks):
            maps = block(maps)
            if number < len(self.exchanges):
                maps = self.exchanges[number](maps)
        profile = torch.cat([maps.mean(2), maps.amax(2)], dim=1).reshape(image.shape[0], -1, maps.shape[3])
        fused = self.along(profile)
        logits: Tensor = self.head(torch.cat([fused.mean(2), fused.amax(2)], dim=1))
        return logits


class TickExchange(nn.Module):
    """Scale what a plane saw at a tick by what the others saw at that tick; at the start of training by 1.

    Args:
        width: Channels.
        planes: P.
    """

    def __init__(self, width: int, planes: int) -> None:
        super().__init__()
        self.planes = planes
        self.gate = nn.Conv1d(2 * width, width, 3, padding=1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """(B * P, width, H, W) to the same shape."""
        own = maps.amax(2)
        events = own.reshape(-1, self.planes, *own.shape[1:])
        others = (events.sum(1, keepdim=True) - events) / max(1, self.planes - 1)
        gate = self.gate(torch.cat([own, others.reshape(own.shape)], dim=1))
        result: Tensor = maps * (1 + gate.tanh()).unsqueeze(2)
        return result
