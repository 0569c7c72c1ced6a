"""Networks of torchvision, fitted to small images of any number of channels."""

from typing import Any, cast

from torch import nn


def resnet18(outputs: int = 1, channels: int = 2) -> nn.Module:
    """ResNet-18 whose stem keeps the size of the image: 3x3, no stride, no pooling.

    Args:
        outputs: Logits an image.
        channels: Of the image.

    Returns:
        Network from (B, channels, H, W) to logits (B, outputs).
    """
    from torchvision import models

    net: nn.Module = models.resnet18(num_classes=outputs)
    net.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def efficientnet_b0(outputs: int = 1, channels: int = 2) -> nn.Module:
    """EfficientNet-B0 whose stem has no stride.

    Args:
        outputs: Logits an image.
        channels: Of the image.

    Returns:
        Network from (B, channels, H, W) to logits (B, outputs).
    """
    from torchvision import models

    net: Any = models.efficientnet_b0(num_classes=outputs)
    stem = net.features[0]
    stem[0] = nn.Conv2d(channels, stem[0].out_channels, 3, padding=1, bias=False)
    return cast(nn.Module, net)
