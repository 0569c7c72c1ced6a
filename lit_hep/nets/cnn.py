"""Convolutional classifiers for small grey images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lit_hep.nets.lanes import PoolingCNN


class CraterCNN(PoolingCNN):
    """The original's crater network: two convolutions, 3x3 and 2x2 pooling, a dense layer of 8 and dropout .5.

    Takes (B, channels, S, S) in 0..1 and returns logits (B, outputs).

    Args:
        outputs: Logits an image.
        channels: Of the image.
        image_size: S in pixels; the dense layer depends on it.
    """

    def __init__(self, outputs: int = 1, channels: int = 1, image_size: int = 48) -> None:
        pooled = ((image_size - 2) // 3 - 2) // 2
        super().__init__(
            nn.Conv2d(channels, 16, 3),
            nn.MaxPool2d(3),  # then the activation has a ninth of the work
            nn.ReLU(),
            nn.Conv2d(16, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * pooled * pooled, 8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(8, outputs),
            blocks=2,
        )
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.Linear):  # Glorot, as Keras draws them
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


class DeepCNN(nn.Module):
    """A 5x5 stem, blocks of two 3x3 convolutions with batch norm, then mean and maximum over the image.

    Each image is brought to zero mean and unit spread first: how bright a mosaic is says nothing of its content.
    Takes (B, channels, H, W) of any size from 16 pixels on and returns logits (B, outputs).

    Args:
        outputs: Logits an image.
        channels: Of the image.
        stem: Channels at full resolution; few, for that is where the time goes.
        widths: Channels of each block; before each the image is halved.
        dropout: Before the last layer.
    """

    def __init__(
        self,
        outputs: int = 1,
        channels: int = 1,
        stem: int = 16,
        widths: Sequence[int] = (32, 64, 128),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        layers = _convolution(channels, stem, 5)
        inputs = stem
        for width in widths:
            layers.insert(-1, nn.MaxPool2d(2))  # before the activation, which has a quarter of the work then
            layers += [*_convolution(inputs, width, 3), *_convolution(width, width, 3)]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * inputs, outputs))

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) to logits (B, outputs)."""
        spread, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
        features = self.features((image - mean) / (spread + 1e-3))
        logits: Tensor = self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))
        return logits


class Ensemble(nn.ModuleList):
    """Networks alike but for their weights, which all see the same images: (B, C, H, W) to logits (B, members).

    Args:
        build: Makes one of them, to logits (B, 1).
        members: How many.
    """

    def __init__(self, build: Callable[[], nn.Module], members: int) -> None:
        super().__init__(build() for _ in range(members))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, members)."""
        return torch.cat([net(image) for net in self], dim=1)


def _convolution(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]
