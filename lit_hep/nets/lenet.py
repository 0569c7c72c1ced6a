"""LeNet-5 for 32x32 images."""

from torch import nn

from lit_hep.nets.cpu import HalvingMaxPool
from lit_hep.nets.lanes import PoolingCNN


class LeNet5(PoolingCNN):
    """Two 5x5 convolutions with pooling, then dense layers of 120, 84 and the logits.

    With 2 channels and one logit it has 61,091 parameters. After Y. LeCun et al., Proc. IEEE 86 (1998) 2278, with ReLU
    and maximum pooling. Takes (B, channels, 32, 32) and returns logits (B, outputs).

    Args:
        outputs: Logits an image.
        channels: Of the image.
        batch_norm: Normalise after each layer but the last.
    """

    def __init__(self, outputs: int = 1, channels: int = 2, batch_norm: bool = False) -> None:
        def norm(layer: type[nn.Module], width: int) -> list[nn.Module]:
            return [layer(width)] if batch_norm else []

        super().__init__(
            nn.Conv2d(channels, 6, 5),
            *norm(nn.BatchNorm2d, 6),
            HalvingMaxPool(),
            nn.ReLU(),
            nn.Conv2d(6, 16, 5),
            *norm(nn.BatchNorm2d, 16),
            HalvingMaxPool(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            *norm(nn.BatchNorm1d, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            *norm(nn.BatchNorm1d, 84),
            nn.ReLU(),
            nn.Linear(84, outputs),
            blocks=0 if batch_norm else 2,
        )
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.Linear):  # Glorot, as Keras draws them
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
