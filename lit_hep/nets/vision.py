"""Networks of torchvision, for images of any number of channels."""

from typing import Any, Literal, cast

from torch import nn

HEAD = 1024  # features before the last layer of AlexNet and VGG, in place of torchvision's 4096


def resnet18(outputs: int = 1, channels: int = 2, *, small: bool = True) -> nn.Module:
    """ResNet-18.

    Args:
        outputs: Logits an image.
        channels: Of the image.
        small: For small images: a stem that keeps the size of the image, 3x3, no stride, no pooling.

    Returns:
        Network from (B, channels, H, W) to logits (B, outputs).
    """
    from torchvision import models

    net: Any = models.resnet18(num_classes=outputs)
    net.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False) if small else _like(net.conv1, channels)
    if small:
        net.maxpool = nn.Identity()
    return cast(nn.Module, net)


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


def alexnet(outputs: int = 2, channels: int = 3) -> nn.Module:
    """AlexNet with dense layers of 4096, 1024 and `outputs`, for images of at least 63 x 63.

    Args:
        outputs: Logits an image.
        channels: Of the image.

    Returns:
        Network from (B, channels, H, W) to logits (B, outputs).
    """
    from torchvision import models

    return _with_head(models.alexnet(), outputs, channels, hidden=4)


def vgg(name: Literal["vgg11", "vgg11_bn", "vgg19"] = "vgg11", outputs: int = 2, channels: int = 3) -> nn.Module:
    """VGG with dense layers of 4096, 1024 and `outputs`, for images of at least 32 x 32.

    Args:
        name: Number of layers, and whether with batch norm.
        outputs: Logits an image.
        channels: Of the image.

    Returns:
        Network from (B, channels, H, W) to logits (B, outputs).
    """
    from torchvision import models

    return _with_head(getattr(models, name)(), outputs, channels, hidden=3)


def _with_head(net: Any, outputs: int, channels: int, hidden: int) -> nn.Module:
    """Put in the first convolution, and the last two dense layers, the first of which is `classifier[hidden]`."""
    net.features[0] = _like(net.features[0], channels)
    net.classifier[hidden] = nn.Linear(4096, HEAD)
    net.classifier[6] = nn.Linear(HEAD, outputs)
    return cast(nn.Module, net)


def convnext_tiny(outputs: int = 2, channels: int = 3) -> nn.Module:
    """ConvNeXt-T, for images of at least 32 x 32.

    Args:
        outputs: Logits an image.
        channels: Of the image.

    Returns:
        Network from (B, channels, H, W) to logits (B, outputs).
    """
    from torchvision import models

    net: Any = models.convnext_tiny(num_classes=outputs)
    net.features[0][0] = _like(net.features[0][0], channels)
    return cast(nn.Module, net)


def _like(layer: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A convolution like another one, for so many channels."""
    shape: Any = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
    return nn.Conv2d(channels, layer.out_channels, bias=layer.bias is not None, **shape)
