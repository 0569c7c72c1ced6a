"""Electron or photon: networks for crops of the CMS calorimeter."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from lit_hep.base.classification import ClassificationTask
from lit_hep.errors import ConfigError
from lit_hep.evaluation.export import Interface
from lit_hep.nets.lenet import LeNet5
from lit_hep.nets.phinet import PhiNet
from lit_hep.nets.resnet import ResNet
from lit_hep.nets.vision import efficientnet_b0, resnet18
from lit_hep.tasks.electron_photon.datamodule import ElectronPhotonDataModule
from lit_hep.tasks.electron_photon.normalisation import Channels, Normalise, Scaling

NetName = Literal["lenet5", "lenet5_bn", "resnet15", "phinet", "resnet18", "efficientnet_b0"]

_DENSE = ("lenet5", "lenet5_bn", "phinet")  # for 32 x 32 crystals only


def build(name: NetName, channels: int) -> nn.Module:
    """A network from (B, channels, 32, 32) to one logit (B, 1)."""
    if name in ("lenet5", "lenet5_bn"):
        return LeNet5(channels=channels, batch_norm=name == "lenet5_bn")
    if name == "resnet15":
        return ResNet(channels=channels)
    if name == "phinet":
        return PhiNet(channels=channels)
    return {"resnet18": resnet18, "efficientnet_b0": efficientnet_b0}[name](channels=channels)


class ElectronPhoton(ClassificationTask):
    """Electron (1) or photon (0).

    Args:
        net: ``lenet5``, the original, and the same with batch norm; ``resnet15``, the best published;
            ``phinet``, our own; two of torchvision.
        channels: What the network sees.
        energy: Scaling of the energies, part of the network: as they are, by the training images' maximum, logarithmic,
            as fractions of the image's sum, or standardised on the training images.
        time: Scaling of the times, alike.
        **kwargs: As in `ClassificationTask`.
    """

    def __init__(
        self,
        net: NetName = "lenet5",
        channels: Channels = "both",
        energy: Scaling = "none",
        time: Scaling = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def configure_models(self) -> None:
        """Scaling, then the network asked for, one logit."""
        hparams = self.hparams
        scale = Normalise(hparams["channels"], hparams["energy"], hparams["time"])
        self.net = nn.Sequential(scale, build(hparams["net"], scale.channels))

    @property
    def data(self) -> ElectronPhotonDataModule:
        """The data module of the run."""
        return self.data_of(ElectronPhotonDataModule)

    def setup(self, stage: str) -> None:
        """Take the scaling from the training images; check that the images fit the network."""
        if stage == "fit":
            scale = self.net[0]  # type: ignore[index]
            scale.adapt(self.data.moments())
        super().setup(stage)
        size, net = self.data.image_size, self.hparams["net"]
        if net in _DENSE and size != (32, 32):
            raise ConfigError(
                f"images are {size[0]}x{size[1]} pixels, {net} expects 32x32: set --model.init_args.net resnet15"
            )

    def interface(self, data: Mapping[str, Any]) -> Interface:
        """Crops (N, eta, phi, 2) as in the files."""
        side = 32 if self.hparams["net"] in _DENSE else None
        scale = self.net[0]  # type: ignore[index]
        return Interface(
            axes={"eta": side, "phi": side, "channel": 2},
            values="energy / 50 GeV and time / 50 ns of each crystal",
            output="probability",
            answer="of an electron (N,)",
            normalisation=scale.extra_repr(),
            occupancy=0.1,
            classes=ElectronPhotonDataModule.class_names,
            threshold=float(self.threshold),
        )

    def answers(self, image: Tensor) -> Tensor:
        """Probability (N,) of an electron in crops (N, eta, phi, 2)."""
        return super().answers(image.permute(0, 3, 1, 2))

    def on_train_start(self) -> None:
        """Log how many images were left out."""
        super().on_train_start()
        if self.logger is not None:
            removed = {f"left out/{kind}": float(count) for kind, count in self.data.removed.items()}
            self.logger.log_metrics(removed, self.global_step)
