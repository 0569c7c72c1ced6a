"""Crater or not: networks for 48x48 grey images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from lit_hep.base.classification import ClassificationTask
from lit_hep.base.products import write_npy
from lit_hep.base.scores import Scores
from lit_hep.data.seeds import run_seed, seed_all
from lit_hep.errors import ConfigError
from lit_hep.evaluation.export import Interface
from lit_hep.nets.cnn import CraterCNN, DeepCNN, Ensemble
from lit_hep.tasks.crater.augmentation import framed
from lit_hep.tasks.crater.datamodule import CraterDataModule


class CraterSemiSup(ClassificationTask):
    """Crater (1) or none (0), learnt from labelled and, with the callback `PseudoLabel`, unlabelled images.

    Args:
        net: ``original``, two convolutions and dropout, or ``deep``, six with batch norm and global pooling.
        image_size: Side of the images in pixels; only ``original`` depends on it.
        members: Networks of other weights that learn side by side; their mean logit decides.
        symmetrise: Score each image in its eight flips and quarter turns, and take the mean logit; not in the
            validation of each epoch, where it would take as long as the training.
        scales: Score it, there too, in frames of these shares of its side; those above 1 show the mirror image beyond
            the rim.
        **kwargs: As in `ClassificationTask`.
    """

    def __init__(
        self,
        net: Literal["original", "deep"] = "deep",
        image_size: int = 48,
        members: int = 1,
        symmetrise: bool = False,
        scales: Sequence[float] = (1.0,),
        **kwargs: Any,
    ) -> None:
        if members < 1:
            raise ConfigError(f"members {members}: must be at least 1")
        super().__init__(**kwargs)
        if not scales or not all(0.1 <= scale <= 2 for scale in scales):
            raise ConfigError(f"scales {list(scales)}: want at least one number, each from 0.1 to 2")

    def configure_models(self) -> None:
        """The network asked for, one logit, or several of them."""
        members = int(self.hparams["members"])
        self.net = self._build() if members == 1 else Ensemble(self._build, members)

    def _build(self) -> nn.Module:
        return DeepCNN() if self.hparams["net"] == "deep" else CraterCNN(image_size=self.hparams["image_size"])

    @property
    def data(self) -> CraterDataModule:
        """The data module of the run."""
        return self.data_of(CraterDataModule)

    def setup(self, stage: str) -> None:
        """Check that the images fit the network."""
        super().setup(stage)
        size, given = self.hparams["image_size"], self.data.image_size
        if self.hparams["net"] == "original" and given != (size, size):
            raise ConfigError(
                f"images are {given[0]}x{given[1]} pixels, the original network expects {size}x{size}: "
                "set --model.init_args.image_size, or take --model.init_args.net deep"
            )

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 1, H, W), 0..255, to the logit (B,) of a crater; in training to that of each member, (B, M)."""
        image = image.float() / 255
        if self.training:
            logits: Tensor = self.net(image)
            return logits
        views = [image] if self._validating else self._views(image)
        return torch.stack([self.net(view) for view in views]).mean((0, 2))

    def _views(self, image: Tensor) -> list[Tensor]:
        views = [image if scale == 1 else framed(image, scale) for scale in self.hparams["scales"]]
        if not self.hparams["symmetrise"]:
            return views
        flipped = [flip for view in views for flip in (view, view.flip(3))]
        return [torch.rot90(view, turns, (2, 3)) for view in flipped for turns in range(4)]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability (B,) of a crater, from logits (B,) or from those of the members (B, M)."""
        return super().probabilities(logits if logits.dim() == 1 else logits.mean(1))

    def restart(self, learning_rate: float | None, *, fresh: bool) -> None:
        """Go on with new optimizers and, if `fresh`, newly drawn weights, equal on all processes.

        Args:
            learning_rate: From now on; None keeps the configured one.
            fresh: Draw new weights, as a function of seed and epoch.
        """
        self.learning_rate = learning_rate
        if fresh:
            seed_all(run_seed(), self.current_epoch)
            net = self.net
            self.configure_models()
            net.load_state_dict(self.net.state_dict())  # in place: DDP and compiled code hold on to the module
            self.net = net
        self.trainer.strategy.setup_optimizers(self.trainer)

    def interface(self, data: Mapping[str, Any]) -> Interface:
        """Grey images (N, H, W); of any size for ``deep``."""
        deep = self.hparams["net"] == "deep"
        side = None if deep else self.hparams["image_size"]
        return Interface(
            axes={"height": side, "width": side},
            values="grey values 0..255",
            output="probability",
            answer="of a crater (N,)",
            normalisation="divided by 255" + ", then to mean 0 and standard deviation 1 of the image" * deep,
            dtype=torch.uint8,
            largest=255,
            classes=CraterDataModule.class_names,
            threshold=float(self.threshold),
        )

    def answers(self, image: Tensor) -> Tensor:
        """Probability (N,) of a crater in images (N, H, W)."""
        return super().answers(image[:, None])

    @property
    def _validating(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING and self.trainer.validating

    def write_predictions(self, folder: Path, scores: Scores) -> None:
        """Add ``y_pred_final.npy``, the classes (N,) int32 in the order of the images."""
        super().write_predictions(folder, scores)
        if not len(scores.label):
            write_npy(folder / "y_pred_final.npy", scores.prediction.astype(np.int32))
