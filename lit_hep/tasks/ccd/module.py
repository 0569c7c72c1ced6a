"""A class for each pixel of a CCD image."""

from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info

from lit_hep.errors import ConfigError
from lit_hep.nets.unet import Activation, SlimUNet, UNet
from lit_hep.tasks.ccd.losses import SegmentationLoss, Term
from lit_hep.tasks.ccd.masks import CLASSES, class_weights
from lit_hep.tasks.ccd.scaling import Scaled, Scaling
from lit_hep.tasks.ccd.segmenting import SegmentationTask


class CCDUNet(SegmentationTask):
    """Background, glow, hot pixel or cluster, for each pixel of an image of any size.

    Args:
        net: ``original``, or ``slim``: cheap at full resolution.
        channels: 1, or 3 of coloured pictures; a grey image is repeated.
        width: Channels at full resolution of ``original`` (32 there), at half of it of ``slim``.
        depth: How often the resolution is halved.
        activation: After each convolution.
        dropout: Between convolutions in ``original`` (.18 there), at the lowest resolution in ``slim``.
        batch_norm: Before each activation.
        loss: One term or several, which are added.
        gamma: Of the focal term.
        class_weights: In cross-entropy and focal term: ``auto``, inverse to the shares in the training masks; ``none``,
            all 1; or one a class.
        scaling: Pedestal and spread to subtract and divide by: ``training``, those of the training images; ``image``,
            each image's own; ``none``.
        compress: Take asinh of the scaled value and of its contrast with what is around: charges differ by orders of
            magnitude.
        **kwargs: As in `SegmentationTask`.
    """

    def __init__(
        self,
        net: Literal["slim", "original"] = "slim",
        channels: Literal[1, 3] = 1,
        width: int = 16,
        depth: int = 4,
        activation: Activation = "relu",
        dropout: float = 0.0,
        batch_norm: bool = True,
        loss: Term | list[Term] = "cross_entropy",
        gamma: float = 2.0,
        class_weights: Literal["auto", "none"] | list[float] = "auto",
        scaling: Scaling = "training",
        compress: bool = True,
        **kwargs: Any,
    ) -> None:
        if width < 2 or not 1 <= depth <= 8 or not 0 <= dropout < 1:
            raise ConfigError(
                f"width {width}, depth {depth}, dropout {dropout}: width must be 2 or more, depth 1 to 8, dropout from "
                "0 to below 1"
            )
        if gamma < 0 or not loss:
            raise ConfigError(f"gamma {gamma}, loss {loss}: gamma must not be below 0, and a loss is needed")
        if isinstance(class_weights, list) and (
            len(class_weights) != len(CLASSES) or min(class_weights) < 0 or not any(class_weights)
        ):
            raise ConfigError(f"class_weights {class_weights}: want one of 0 or more for each of {', '.join(CLASSES)}")
        super().__init__(**kwargs)

    def configure_models(self) -> None:
        """Network behind its scaling."""
        channels, compress = self.hparams["channels"], self.hparams["compress"]
        options = {name: self.hparams[name] for name in ("width", "depth", "activation", "dropout", "batch_norm")}
        kind = UNet if self.hparams["net"] == "original" else SlimUNet
        net = kind(channels * (2 if compress else 1), len(CLASSES), **options)
        self.net = Scaled(net, channels, self.hparams["scaling"], compress)

    def configure_losses(self) -> None:
        """Sum of the terms, with the weights that are given."""
        loss = self.hparams["loss"]
        terms: list[Term] = [loss] if isinstance(loss, str) else loss  # type: ignore[list-item]
        self.criterion = SegmentationLoss(terms, self.hparams["gamma"])
        if isinstance(self.hparams["class_weights"], list):
            self.criterion.weights.copy_(torch.tensor(self.hparams["class_weights"]))

    def setup(self, stage: str) -> None:
        """Take pedestal, spread and class weights from the training images."""
        super().setup(stage)
        if stage != "fit":
            return
        shares = self.data.shares()
        if self.hparams["scaling"] == "training":
            self.net.adapt(self.data.level())
        if self.hparams["class_weights"] == "auto":
            weights = class_weights(shares)
            self.criterion.weights.copy_(torch.from_numpy(weights))
            words = ", ".join(f"{name} {weight:.4g}" for name, weight in zip(CLASSES, weights, strict=True))
            rank_zero_info(f"Class weights: {words}")
