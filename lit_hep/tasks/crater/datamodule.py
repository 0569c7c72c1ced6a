"""Crater images: labelled, unlabelled, and to be predicted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.data.readers import check_same_length, read_images, read_labels
from lit_hep.data.splits import make_subset
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.crater.augmentation import random_framing, random_symmetry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CraterDataModule(BaseDataModule):
    """Four files of the original: ``Xtrain1 Ytrain1 Xtrain1_extra Xtest1.npy``, images in rows of 48x48 bytes.

    A batch is a dict: ``image`` (B, 1, H, W) uint8, ``label`` (B,) probability of a crater, ``weight`` (B,), ``index``
    (B,). Samples are numbered through: labelled images first, then unlabelled ones, whose truth, if it is known from
    ``Ytrain1_extra.npy``, serves to measure the purity of pseudo-labels and nothing else.

    Args:
        root: Folder of the four files.
        label_fraction: Share of the training and validation labels that is used; the other images count as unlabelled.
        balance: Make both classes count the same, by weights in the loss or by drawing the rarer one more often.
        augment: Flip and turn training images at random by quarter turns.
        zoom: Enlarge or reduce them at random by up to this factor minus one; 0 leaves the size.
        shift: Move them at random by up to so many pixels, up or down and left or right.
        simulation_size: Labelled images to simulate; unlabelled ones and those to predict follow in proportion.
        **kwargs: As in `BaseDataModule`.
    """

    files: ClassVar[Sequence[str]] = ("Xtrain1.npy", "Ytrain1.npy", "Xtrain1_extra.npy", "Xtest1.npy")
    class_names: Sequence[str] = ("no crater", "crater")

    def __init__(
        self,
        root: str = "data/crater",
        label_fraction: float = 1.0,
        balance: Literal["none", "weights", "sampler"] = "weights",
        augment: bool = True,
        zoom: float = 0.2,
        shift: float = 3.0,
        simulation_size: int = 2783,
        **kwargs: Any,
    ) -> None:
        if not 0 < label_fraction <= 1:
            raise ConfigError(f"label_fraction {label_fraction}: must lie above 0 and not above 1")
        if not 0 <= zoom < 1 or shift < 0:
            raise ConfigError(f"zoom {zoom}, shift {shift}: zoom must lie from 0 to below 1, shift not below 0")
        super().__init__(root=root, simulation_size=simulation_size, **kwargs)
        self.forget_pseudo_labels()

    def write_simulation(self, folder: Path) -> None:
        """Simulate the four files."""
        from lit_hep.tasks.crater.simulation import simulate

        simulate(folder, self.hparams["simulation_size"], self.hparams["simulation_seed"])

    def read(self) -> None:
        """Read and check the labelled and the unlabelled images."""
        labelled, unlabelled = (read_images(self.root / name) for name in ("Xtrain1.npy", "Xtrain1_extra.npy"))
        label = read_labels(self.root / "Ytrain1.npy", 2)
        check_same_length([(self.root / "Xtrain1.npy", len(labelled)), (self.root / "Ytrain1.npy", len(label))])
        if labelled.shape[1:] != unlabelled.shape[1:]:
            raise DataError(
                f"{self.root}: images of Xtrain1.npy are {labelled.shape[1:]}, those of Xtrain1_extra.npy "
                f"{unlabelled.shape[1:]} pixels; they must be of one size"
            )
        height, width = labelled.shape[1:]
        if self.hparams["augment"] and height != width:
            raise DataError(
                f"{self.root}: images of {height} x {width} pixels cannot be shown in quarter turns; set "
                "--data.init_args.augment false, or give square ones"
            )
        truth = self.root / "Ytrain1_extra.npy"
        known = np.full(len(unlabelled), -1, dtype=np.int64)
        if truth.is_file():
            known = read_labels(truth, 2)
            check_same_length([(self.root / "Xtrain1_extra.npy", len(unlabelled)), (truth, len(known))])
        self._label = label
        self.truth = np.concatenate([label, known])
        """Class (N,) of every sample, -1 where it is not known."""
        self.image = torch.from_numpy(np.concatenate([labelled, unlabelled]))[:, None]

    def setup(self, stage: str) -> None:
        """Read the images to predict on too, when that is what will be done."""
        super().setup(stage)
        if stage == "predict":
            self._predict_ids, self._unknown = self._read_unknown()

    def __len__(self) -> int:
        return len(self.image)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels, of what the network will see."""
        image = self._unknown if self.trainer and self.trainer.predicting else self.image
        return image.shape[2], image.shape[3]

    def labels(self) -> NDArray[np.int64]:
        """Class (N,) of the labelled images."""
        return self._label

    def part(self, name: Literal["train", "val", "test"]) -> NDArray[np.int64]:
        """Sample numbers of a part of the labelled images, of which ``label_fraction`` is used (of test, all)."""
        assert self.splits is not None
        index: NDArray[np.int64] = getattr(self.splits, name)
        if name == "test":
            return index
        return make_subset(index, self._label[index], self.hparams["label_fraction"], self.rule.seed)

    def unlabelled(self) -> NDArray[np.int64]:
        """Sample numbers of all images whose label is not used."""
        assert self.splits is not None
        used = np.concatenate([self.part("train"), self.part("val"), self.splits.test])
        return np.setdiff1d(np.arange(len(self.truth)), used)

    def sizes(self) -> dict[str, dict[str, int]]:
        """Number of samples of each part, by class; and of the unlabelled ones."""
        return {**super().sizes(), "unlabelled": {"samples": len(self.unlabelled())}}

    def forget_pseudo_labels(self) -> None:
        """Train on true labels only."""
        self.set_pseudo_labels(np.empty(0, np.int64), np.empty(0, np.float32), 1.0)

    def set_pseudo_labels(self, index: NDArray[np.int64], label: NDArray[np.float32], weight: float) -> None:
        """Let unlabelled images join the training images of the next epoch.

        Args:
            index: Sample numbers (n,).
            label: Probability (n,) of a crater.
            weight: Of such an image in the loss, relative to a labelled one.

        Raises:
            ValueError: One of them has a label in use, for training, validation or test.
        """
        if len(index) and not np.isin(index, self.unlabelled()).all():
            raise ValueError("pseudo-labels are for unlabelled images only")
        self._pseudo = {"pseudo_index": torch.from_numpy(index), "pseudo_label": torch.from_numpy(label)}
        self._pseudo_weight = weight

    def state_dict(self) -> dict[str, Any]:
        """Split and pseudo-labels."""
        return {**super().state_dict(), **self._pseudo, "pseudo_weight": self._pseudo_weight}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over split and pseudo-labels, if the data are the same."""
        super().load_state_dict(state_dict)
        assert self.splits is not None
        if state_dict["digest"] == self.splits.digest:
            self._pseudo = {name: state_dict[name] for name in self._pseudo}
            self._pseudo_weight = state_dict["pseudo_weight"]

    def train_dataloader(self) -> DataLoader[Any]:
        """Labelled and pseudo-labelled images, in a new order each epoch."""
        labelled = torch.from_numpy(self.part("train"))
        pseudo, pseudo_label = self._pseudo.values()
        index = torch.cat([labelled, pseudo])
        columns = self._columns()
        columns["label"][pseudo] = pseudo_label
        columns["weight"] = torch.ones(len(self.truth))
        columns["weight"][pseudo] = self._pseudo_weight
        share = (columns["label"] * columns["weight"])[index].sum() / columns["weight"][index].sum()
        even = torch.where(columns["label"] > 0.5, 0.5 / share, 0.5 / (1 - share))
        weights = None
        if self.hparams["balance"] == "weights":
            columns["weight"] *= even
        elif self.hparams["balance"] == "sampler":
            weights = even[index]
        return self.loader(columns, index, train=True, weights=weights)

    def val_dataloader(self) -> DataLoader[Any]:
        """Labelled images held out to choose by."""
        return self.loader(self._columns(), torch.from_numpy(self.part("val")))

    def test_dataloader(self) -> DataLoader[Any]:
        """Labelled images held out to judge by."""
        if not len(self.part("test")):
            raise ConfigError("test_fraction is 0: nothing was held out to test on; set --data.init_args.test_fraction")
        return self.loader(self._columns(), torch.from_numpy(self.part("test")))

    def unlabelled_dataloader(self) -> DataLoader[Any]:
        """Images to pseudo-label: ``image`` and ``index`` only."""
        columns = {"image": self.image, "index": torch.arange(len(self.image))}
        return self.loader(columns, torch.from_numpy(self.unlabelled()))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Images of ``predict_root``, else ``Xtest1.npy``: ``image`` and ``index`` only."""
        index = torch.arange(len(self._unknown))
        return self.loader({"image": self._unknown, "index": index}, index)

    def _read_unknown(self) -> tuple[NDArray[Any], Tensor]:
        folder = Path(self.hparams["predict_root"] or self.root)
        paths = [folder] if folder.is_file() else sorted(folder.glob("X*.npy"))
        paths = [self.root / "Xtest1.npy"] if folder == self.root else paths
        if not paths:
            raise DataError(f"{folder}: holds no images X*.npy to predict on")
        images = [read_images(path) for path in paths]
        if len({image.shape[1:] for image in images}) > 1:
            raise DataError(f"{folder}: images of {', '.join(path.name for path in paths)} differ in size")
        ids: list[NDArray[Any]] = [np.arange(len(image)) for image in images]
        if len(paths) > 1:
            ids = [np.char.add(f"{path.name}:", row.astype(str)) for path, row in zip(paths, ids, strict=True)]
        return np.concatenate(ids), torch.from_numpy(np.concatenate(images))[:, None]

    def _columns(self) -> dict[str, Tensor]:
        label = torch.from_numpy(self.truth).float()
        return {"image": self.image, "label": label, "index": torch.arange(len(label))}

    def form(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Show training images in other views."""
        if self.trainer is not None and self.trainer.training:
            if self.hparams["augment"]:
                batch["image"] = random_symmetry(batch["image"])
            if self.hparams["zoom"] or self.hparams["shift"]:
                batch["image"] = random_framing(batch["image"], self.hparams["zoom"], self.hparams["shift"])
        return batch

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Row in ``Xtrain1.npy``, or in the file(s) that are predicted on."""
        return self._predict_ids[index] if self.trainer and self.trainer.predicting else index

    def figure(self, index: Sequence[int], titles: Sequence[str] | None = None) -> "Figure":
        """Images with their labels, a grid."""
        from lit_hep.evaluation.gallery import grid

        names = {-1: "unlabelled", **dict(enumerate(self.class_names))}
        own = [f"{row}:\n{names[int(self.truth[row])]}" for row in index]
        return grid(self.image[torch.tensor(index), 0].numpy(), titles or own)
