"""Residual networks for small images."""

from collections.abc import Sequence

from torch import Tensor, nn


class ResNet(nn.Module):
    """A 3x3 stem and stages of basic blocks with batch norm; all but the first stage halve the image.

    With three stages of two blocks these are 15 convolutions, two of them the 1x1 ones of shortcuts that change shape:
    ResNet-15. After K. He et al., arXiv:1512.03385. Takes (B, channels, H, W) and returns logits (B, outputs).

    Args:
        outputs: Logits an image.
        channels: Of the image.
        widths: Channels of each stage; the stem has those of the first.
        blocks: Basic blocks a stage.
    """

    def __init__(
        self, outputs: int = 1, channels: int = 2, widths: Sequence[int] = (16, 32, 64), blocks: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, stride=2 if stage and not block else 1))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) to logits (B, outputs)."""
        logits: Tensor = self.head(self.features(image).mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        result: Tensor = self.relu(self.body(image) + self.shortcut(image))
        return result
