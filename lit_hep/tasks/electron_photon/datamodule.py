"""Electron and photon crops of the CMS calorimeter."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.data.hdf5 import Table
from lit_hep.data.splits import make_subset
from lit_hep.data.streaming import BlockLoader
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.electron_photon.augmentation import random_reflection, random_shift, random_smear
from lit_hep.tasks.electron_photon.crops import GEV, Crops, Moments
from lit_hep.tasks.electron_photon.reading import (
    ELECTRON,
    PHOTON,
    check_labels,
    find_file,
    hdf5_files,
    open_images,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ElectronPhotonDataModule(BaseDataModule):
    """Two HDF5 files of the original, one of electrons and one of photons: ``X`` (N, 32, 32, 2) and ``y`` (N,).

    A batch is a dict: ``image`` (B, 2, H, W), energy / 50 GeV and time / 50 ns, rows eta, columns phi; ``label`` (B,) 1
    of electrons; ``index`` (B,), with `balance` also ``weight`` (B,). Samples are numbered through: electrons first.

    Args:
        root: Folder of the two files, found by ``Electron`` and ``Photon`` in their names.
        electron_file: Name of the electron file, if it has another.
        photon_file: Name of the photon file, if it has another.
        sample_fraction: Share of the images, of each class and of each part of the split, that is used.
        min_energy: Images whose hottest crystal has less are noise and left out, in GeV; 0 leaves out empty ones only.
        balance: ``weights`` makes both classes count the same in the loss.
        reflect_eta: Mirror training images at the seed crystal at random, along eta.
        reflect_phi: The same along phi.
        shift: Move them at random by at most so many crystals.
        smear: Relative spread by which the energy of each crystal is changed at random.
        memory_gib: Memory that the process may take, in GiB, its libraries (1 GiB) included: images that do not fit are
            streamed from disk.
        batch_size: Samples a process and training step.
        val_fraction: Share of all images for validation.
        test_fraction: Share of all images held out for `test`.
        simulation_size: Images of each class to simulate.
        **kwargs: As in `BaseDataModule`.
    """

    class_names: Sequence[str] = ("photon", "electron")
    most_drawn: ClassVar[int] = 16

    def __init__(
        self,
        root: str = "data/electron_photon",
        electron_file: str | None = None,
        photon_file: str | None = None,
        sample_fraction: float = 1.0,
        min_energy: float = 1.0,
        balance: Literal["none", "weights"] = "none",
        reflect_eta: bool = False,
        reflect_phi: bool = False,
        shift: int = 0,
        smear: float = 0.0,
        memory_gib: float = 8.0,
        batch_size: int = 32,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        simulation_size: int = 20_000,
        **kwargs: Any,
    ) -> None:
        if not 0 < sample_fraction <= 1:
            raise ConfigError(f"sample_fraction {sample_fraction}: must lie above 0 and not above 1")
        if min_energy < 0 or shift < 0 or smear < 0:
            raise ConfigError(f"min_energy {min_energy}, shift {shift}, smear {smear}: must not be below 0")
        if memory_gib <= 0:
            raise ConfigError(f"memory_gib {memory_gib}: must be above 0")
        super().__init__(
            root=root,
            batch_size=batch_size,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            simulation_size=simulation_size,
            **kwargs,
        )

    def _find(self) -> dict[str, Path | None]:
        given = {"Electron": self.hparams["electron_file"], "Photon": self.hparams["photon_file"]}
        return {name or f"*{particle}*.hdf5": find_file(self.root, particle, name) for particle, name in given.items()}

    def missing(self) -> list[str]:
        """Files that should be in the root and are not."""
        return [name for name, path in self._find().items() if path is None]

    def write_simulation(self, folder: Path) -> None:
        """Simulate the two files."""
        from lit_hep.tasks.electron_photon.simulation import simulate

        simulate(folder, self.hparams["simulation_size"], self.hparams["simulation_seed"])

    def read(self) -> None:
        """Open the two files, check labels and images, and find those to leave out."""
        paths = [path for path in self._find().values() if path is not None]
        if paths[0].samefile(paths[-1]):
            raise DataError(f"{paths[0]}: is given for electrons and photons; set electron_file and photon_file")
        tables = [open_images(path, labels=True) for path in paths]
        for table, label in zip(tables, (ELECTRON, PHOTON), strict=True):
            check_labels(table, label)
        self.label = np.repeat([ELECTRON, PHOTON], [len(table) for table in tables])
        """Class (N,) of every image."""
        self.crops = self._load(tables)
        peak = self.crops.summary.largest[:, 0]
        empty = peak == 0
        noise = (peak < self.hparams["min_energy"] * GEV) & ~empty
        self._kept = ~empty & ~noise
        for kind, chosen in (("empty", empty), ("noise", noise)):
            for number, name in enumerate(self.class_names):
                self.removed[f"{kind} {name}"] = int(chosen[self.label == number].sum())
        counts = ", ".join(f"{count} {kind}" for kind, count in self.removed.items())
        rank_zero_info(f"{self.root}: {len(self.label)} images; left out: {counts}")

    def _load(self, tables: Sequence[Table]) -> Crops:
        crops = Crops(tables, self.hparams["memory_gib"])
        if crops.image is None and self.hparams["on_device"]:
            raise ConfigError("on_device: the images do not fit in memory; set a larger --data.init_args.memory_gib")
        return crops

    def setup(self, stage: str) -> None:
        """Check that images of both classes are left; read those to predict on, when that is what will be done."""
        super().setup(stage)
        parts: dict[str, NDArray[np.int64]] = {"train": self.part("train"), "val": self.part("val")}
        if self.rule.test_fraction:
            parts["test"] = self.part("test")
        for name, part in parts.items():
            left = self.label[part]
            for number, particle in enumerate(self.class_names):
                if not (left == number).any():
                    raise DataError(
                        f"{self.root}: no {particle} is left in the part {name!r}, empty and noise-only images being "
                        "left out; add images, or lower --data.init_args.min_energy"
                    )
        if stage == "predict" and self.hparams["predict_root"] is not None:
            folder = Path(self.hparams["predict_root"])
            paths = [folder] if folder.is_file() else hdf5_files(folder)
            if not paths:
                raise DataError(f"{folder}: holds no images *.hdf5 or *.h5 to predict on")
            self._unknown = self._load([open_images(path, labels=False) for path in paths])

    def __len__(self) -> int:
        return len(self.label)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels, of what the network will see."""
        height, width, _ = self._shown.shape
        return height, width

    @property
    def _shown(self) -> Crops:
        return self._unknown if self._predicts_others else self.crops

    @property
    def _predicts_others(self) -> bool:
        return bool(self.trainer and self.trainer.predicting and self.hparams["predict_root"] is not None)

    def labels(self) -> NDArray[np.int64]:
        """Class (N,) of all images, those left out among them: a split stays valid whatever is left out."""
        return self.label

    def part(self, name: Literal["train", "val", "test"]) -> NDArray[np.int64]:
        """Sample numbers of a part: those not left out, of which ``sample_fraction`` is used."""
        assert self.splits is not None
        index: NDArray[np.int64] = getattr(self.splits, name)
        index = index[self._kept[index]]
        if self.hparams["sample_fraction"] == 1:
            return index
        return make_subset(index, self.label[index], self.hparams["sample_fraction"], self.rule.seed)

    def moments(self) -> Moments:
        """Mean, standard deviation and largest absolute value of the training pixels."""
        return self.crops.summary.moments(self.part("train"))

    def train_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Training images, in a new order each epoch."""
        index = self.part("train")
        small = self._small()
        if self.hparams["balance"] == "weights":
            share = (self.label[index] == ELECTRON).mean()
            small["weight"] = torch.where(small["label"] == ELECTRON, 0.5 / share, 0.5 / (1 - share)).float()
        return self.loader(self.crops.columns(**small), torch.from_numpy(index), train=True)

    def val_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Images held out to choose by."""
        return self.loader(self.crops.columns(**self._small()), torch.from_numpy(self.part("val")))

    def test_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Images held out to judge by."""
        index = self.part("test")
        if not len(index):
            raise ConfigError("test_fraction is 0: nothing was held out to test on; set --data.init_args.test_fraction")
        return self.loader(self.crops.columns(**self._small()), torch.from_numpy(index))

    def predict_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Images of ``predict_root``, else those held out to judge by: ``image`` and ``index`` only."""
        crops = self._shown
        index = torch.arange(len(crops)) if self._predicts_others else torch.from_numpy(self.part("test"))
        return self.loader(crops.columns(index=torch.arange(len(crops))), index)

    def _small(self) -> dict[str, Tensor]:
        return {"label": torch.from_numpy(self.label).float(), "index": torch.arange(len(self.label))}

    def form(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Bring images to (B, 2, H, W); show those of training in other views."""
        image = batch["image"].permute(0, 3, 1, 2)
        if self.trainer is not None and self.trainer.training:
            for axis, name in ((2, "reflect_eta"), (3, "reflect_phi")):
                if self.hparams[name]:
                    image = random_reflection(image, axis)
            if self.hparams["shift"]:
                image = random_shift(image, self.hparams["shift"])
            if self.hparams["smear"]:
                image = random_smear(image, self.hparams["smear"])
        batch["image"] = image
        return batch

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """File name and row."""
        return self._shown.ids(index)

    def figure(self, index: Sequence[int], titles: Sequence[str] | None = None) -> "Figure":
        """Energies in η and φ, and beside them the times, with their labels."""
        from lit_hep.evaluation.gallery import crystals

        crop = self._shown.take(np.asarray(index)) / GEV  # the times are of the same scale, ns / 50
        own = [f"{row}: {self.class_names[self.label[row]]}" for row in index]
        return crystals(crop[..., 0], crop[..., 1], titles or own)
