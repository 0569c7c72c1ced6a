"""Drift-chamber events: noisy and clean pictures of 36 layers x 112 wires."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.data.streaming import BlockLoader
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.drift_chamber.events import Events, find_hdf5, read_events
from lit_hep.tasks.drift_chamber.layout import pad
from lit_hep.tasks.drift_chamber.pictures import ALL, TRUTH, find_pngs, hits_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DriftChamberDataModule(BaseDataModule):
    """HDF5 files with ``all`` and ``truth``, in either layout, or PNG pairs ``*_all_*`` and ``*_truth_*``.

    A batch is a dict: ``image`` and ``target`` (B, C, H, W) uint8, 1 where a wire has a hit, and ``index`` (B,).

    Args:
        root: Folder of the files.
        layout: Of the batches: ``native`` (B, 1, 36, 112), or ``padded`` (B, 3, 128, 128) as in the original.
        mix: Lay the tracks of each training event over the background of another one.
        memory_gib: Memory that the process may take, in GiB, its libraries (1 GiB) included: HDF5 files that do not fit
            are streamed. The answers of `test` and `predict`, 20 KB an event, come on top.
        batch_size: Events a process and training step.
        simulation_size: Events to simulate.
        val_fraction: Share of the events for validation.
        test_fraction: Share of the events held out for `test`.
        predict_root: File or folder to predict on, truth not needed; None takes the events held out for `test`.
        **kwargs: As in `BaseDataModule`.
    """

    most_drawn: ClassVar[int] = 8

    def __init__(
        self,
        root: str = "data/drift_chamber",
        layout: Literal["native", "padded"] = "native",
        mix: bool = False,
        memory_gib: float = 8.0,
        batch_size: int = 32,
        simulation_size: int = 8000,
        val_fraction: float = 0.1875,
        test_fraction: float = 0.25,
        predict_root: str | None = None,
        **kwargs: Any,
    ) -> None:
        if memory_gib <= 0:
            raise ConfigError(f"memory_gib {memory_gib}: must be above 0")
        super().__init__(
            root=root,
            batch_size=batch_size,
            simulation_size=simulation_size,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            predict_root=predict_root,
            **kwargs,
        )
        self._unknown: Events | None = None

    def missing(self) -> list[str]:
        """What should be in the root if there are neither HDF5 files nor pictures."""
        found = self.root.is_dir() and (find_hdf5(self.root) or find_pngs(self.root, ALL))
        return [] if found else [f"HDF5 files (*.hdf5, *.h5) or pictures (*{ALL}*.png, *{TRUTH}*.png)"]

    def write_simulation(self, folder: Path) -> None:
        """Simulate ``events.hdf5``."""
        from lit_hep.tasks.drift_chamber.simulation import simulate

        simulate(folder, self.hparams["simulation_size"], self.hparams["simulation_seed"])

    def read(self) -> None:
        """Read and check the events."""
        self._known = self._load(self.root, truth=True)

    def _load(self, folder: Path, *, truth: bool) -> Events:
        events = read_events(folder, self.hparams["memory_gib"], truth=truth)
        if events.image is None and self.hparams["on_device"]:
            raise ConfigError("on_device: the events do not fit in memory; set a larger --data.init_args.memory_gib")
        return events

    def setup(self, stage: str) -> None:
        """Read the events to predict on too, when that is what will be done."""
        super().setup(stage)
        self._unknown = None
        if stage == "predict" and self.hparams["predict_root"]:
            folder = Path(self.hparams["predict_root"])
            if not folder.exists():
                raise DataError(f"{folder}: no such folder or file; give HDF5 files or PNG pictures")
            self._unknown = self._load(folder, truth=False)

    @property
    def events(self) -> Events:
        """Events that the run works on."""
        return self._unknown or self._known

    def __len__(self) -> int:
        return len(self._known)

    def labels(self) -> NDArray[np.int64]:
        """Zeros: there are no classes."""
        return np.zeros(len(self), np.int64)

    def names(self) -> NDArray[Any]:
        """As `ids`, of the events of ``root``."""
        return self._known.name

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Name or row in the file."""
        return self.events.name[index]

    def train_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Events to learn from, in a new order each epoch."""
        return self._loader(self._known, "train")

    def val_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Events held out to choose by."""
        return self._loader(self._known, "val")

    def test_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Events held out to judge by."""
        return self._loader(self._known, "test")

    def predict_dataloader(self) -> DataLoader[Any] | BlockLoader:
        """Events of ``predict_root``, else those held out for `test`: ``image`` and ``index`` only."""
        return self._loader(self.events, None if self._unknown else "test", truth=False)

    def _loader(
        self, events: Events, part: Literal["train", "val", "test"] | None, *, truth: bool = True
    ) -> DataLoader[Any] | BlockLoader:
        assert self.splits is not None
        index = np.arange(len(events)) if part is None else getattr(self.splits, part)
        if not len(index):
            raise ConfigError("test_fraction is 0: nothing was held out to test on; set --data.init_args.test_fraction")
        columns = events.columns(self.hparams["memory_gib"], truth=truth)
        return self.loader(columns, torch.from_numpy(index), train=part == "train")

    def form(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Turn pictures into hits, mix training events, and bring all into the layout asked for."""
        planes = {name: hits_of(batch[name], self.events.half) for name in batch.keys() & {"image", "target"}}
        if "target" in planes:
            planes["target"] &= planes["image"]
        if self.hparams["mix"] and self.trainer is not None and self.trainer.training:
            background = planes["image"] & ~planes["target"]
            order = torch.randperm(len(background), device=background.device)
            planes["image"] = planes["target"] | background[order]
        for name, hits in planes.items():
            plane = hits[:, None].to(torch.uint8)
            batch[name] = plane if self.hparams["layout"] == "native" else pad(plane).expand(-1, 3, -1, -1)
        return batch

    def figure(self, index: Sequence[int], titles: Sequence[str] | None = None) -> "Figure":
        """Events, layers against wires, with the hits of tracks marked."""
        from lit_hep.evaluation.denoising_figures import event_displays

        rows = np.asarray(index)
        return event_displays(*self._known.take(rows), titles=titles or list(map(str, self._known.name[rows])))
