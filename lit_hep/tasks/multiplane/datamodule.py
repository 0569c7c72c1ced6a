"""Events of one to several readout planes, a sparse matrix each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.data.batches import Column
from lit_hep.data.sparse import Fit, SparseImages, read_sparse_images
from lit_hep.data.splits import Splits
from lit_hep.errors import CheckpointError, ConfigError, DataError
from lit_hep.tasks.multiplane.augmentation import Views
from lit_hep.tasks.multiplane.events import Events, find_events
from lit_hep.tasks.multiplane.normalisation import Moments
from lit_hep.tasks.multiplane.split_lists import read_lists

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AT_ONCE = 4096  # events


class MultiPlaneDataModule(BaseDataModule):
    """Folders ``PLANE_k/CLASS`` of sparse matrices, wires x ticks, one file a plane and event.

    A batch is a dict: ``image`` (B, P, wires, ticks) float32, charges as in the files; ``label`` (B,), the place of the
    class in `classes`; ``index`` (B,). It is sparse until it is on its device.

    Args:
        root: Folder of ``PLANE_0``, ``PLANE_1`` ...
        classes: Class folders to take, in the order of their labels; None takes all, by name.
        planes: Planes to take; None takes all.
        image_size: Wires and ticks, or one number for both; None takes those of the files.
        fit: How the images of the files get that size: neighbouring cells added up, or a part cut out around the mean
            place of the charge, at the same ticks on all planes of an event.
        split_lists: Folder of ``train.csv``, ``val.csv`` and ``test.csv`` as `prepare` writes them, seen from `root`:
            they say which events are for what, not the fractions. Those in `root` itself are used if they are there;
            None ignores them.
        flip_wires: Reverse the wires of half of the training events, all planes alike.
        flip_ticks: Reverse the ticks of half of them, all planes alike.
        shift: Move training events at random by at most so many cells, the ticks of all planes alike.
        charge_scale: Relative spread of a random factor on the charges of each plane.
        hit_loss: Probability that a hit of a training event is left out.
        simulation_size: Events to simulate, of both classes together.
        predict_root: Folder of ``PLANE_k`` with files to predict on, with or without class folders; None takes the
            events held out for `test`.
        **kwargs: As in `BaseDataModule`.
    """

    most_drawn: ClassVar[int] = 8

    def __init__(
        self,
        root: str = "data/multiplane",
        classes: list[str] | None = None,
        planes: list[int] | None = None,
        image_size: int | tuple[int, int] | None = None,
        fit: Fit = "resize",
        split_lists: str | None = ".",
        flip_wires: bool = False,
        flip_ticks: bool = False,
        shift: int = 0,
        charge_scale: float = 0.0,
        hit_loss: float = 0.0,
        simulation_size: int = 4000,
        predict_root: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if self._size is not None and min(self._size) < 32:
            raise ConfigError(f"image_size {image_size}: must be 32 or more")
        if classes is not None and len(classes) < 2:
            raise ConfigError(f"classes {classes}: name two or more, or none to take all")
        views = Views(flip_wires, flip_ticks, shift, charge_scale, hit_loss)
        self._views = None if views == Views() else views
        super().__init__(root=root, simulation_size=simulation_size, predict_root=predict_root, **kwargs)
        self._unknown: tuple[Events, SparseImages] | None = None

    def missing(self) -> list[str]:
        """What should be in the root."""
        return [] if any(self.root.glob("PLANE_*/")) else ["folders PLANE_0, PLANE_1 ..."]

    def write_simulation(self, folder: Path) -> None:
        """Simulate proton decays and atmospheric neutrinos."""
        from lit_hep.tasks.multiplane.simulation import simulate

        simulate(folder, self.hparams["simulation_size"], self.hparams["simulation_seed"])

    def read(self) -> None:
        """Find the events, and read and check their files."""
        events = find_events(self.root, self.hparams["classes"], self.hparams["planes"])
        if len(events.classes) < 2:
            raise DataError(f"{self.root}: holds class {events.classes[0]} only; two or more are needed to learn from")
        self._known = events, self._load(events)
        self.class_names, self.planes = events.classes, events.planes
        images, gib = self._known[1], 2**30
        rank_zero_info(
            f"{self.root}: {len(images)} events, planes {', '.join(map(str, self.planes))} of "
            f"{images.size[0]} x {images.size[1]}, {', '.join(self.class_names)}: {images.nbytes / gib:.3f} GiB in "
            f"memory, {images.nbytes / len(images):.0f} bytes an event"
        )

    def _load(self, events: Events) -> SparseImages:
        return read_sparse_images(events.paths, self._size, self.hparams["fit"], "planes")

    def divide(self, folder: Path | None) -> Splits:
        """The lists of `prepare` if there are any, else as every task's."""
        given = self.hparams["split_lists"]
        if given is None or (given == "." and not (self.root / "train.csv").is_file()):
            return super().divide(folder)
        return read_lists(self.root / given, self._known[0], partial=self.hparams["classes"] is not None)

    def setup(self, stage: str) -> None:
        """Read the events to predict on too, when that is what will be done."""
        super().setup(stage)
        self._unknown = None
        if stage == "predict" and self.hparams["predict_root"]:
            events = find_events(self.hparams["predict_root"], None, self.planes, labelled=False)
            images = self._load(events)
            if images.size != self.image_size:
                (wires, ticks), (trained_wires, trained_ticks) = images.size, self.image_size
                raise DataError(
                    f"{self.hparams['predict_root']}: planes of {wires} x {ticks}, those of {self.root} have "
                    f"{trained_wires} x {trained_ticks}; set --data.init_args.image_size"
                )
            self._unknown = events, images

    def state_dict(self) -> dict[str, Any]:
        """The split, and what the labels and channels mean."""
        return {**super().state_dict(), "classes": list(self.class_names), "planes": list(self.planes)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the checkpoint's split if the data are the same.

        Raises:
            CheckpointError: Classes or planes have another order than in training.
        """
        meanings: dict[str, list[Any]] = {"classes": [*self.class_names], "planes": [*self.planes]}
        for name, mine in meanings.items():
            trained = state_dict[name]
            if mine != trained and set(mine) == set(trained):
                raise CheckpointError(
                    f"the network was trained with {name} in the order {trained}, the data have {mine}; set "
                    f"--data.init_args.{name}"
                )
            if mine != trained:
                rank_zero_warn(f"the network was trained with {name} {trained}, and is applied to {mine}")
        super().load_state_dict(state_dict)

    @property
    def image_size(self) -> tuple[int, int]:
        """Wires and ticks."""
        return self._known[1].size

    @property
    def events(self) -> Events:
        """Events that the run works on."""
        return (self._unknown or self._known)[0]

    def __len__(self) -> int:
        return len(self._known[0])

    def labels(self) -> NDArray[np.int64]:
        """Class number of each event."""
        return self._known[0].labels

    def names(self) -> NDArray[Any]:
        """As `ids`, of the events of ``root``."""
        return self._known[0].ids

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Names of the events: those of their files, less plane and suffix."""
        return self.events.ids[index].astype(str)

    def moments(self) -> Moments:
        """What the charges of the training events are like."""
        assert self.splits is not None
        images, planes = self._known[1], len(self.planes)
        hits, charge, square = torch.zeros(3, planes, dtype=torch.float64)
        for start in range(0, len(self.splits.train), _AT_ONCE):
            some = images[torch.from_numpy(self.splits.train[start : start + _AT_ONCE])]
            hits += some.sums(0).sum(0)
            charge += some.sums(1).sum(0)
            square += some.sums(2).sum(0)
        cells = len(self.splits.train) * images.size[0] * images.size[1]
        mean = charge / cells
        deviation = (square / cells - mean**2).clamp_min(1e-12).sqrt()
        return Moments(mean, deviation, (charge / hits.clamp_min(1)).clamp_min(1e-12))

    def some(self, number: int) -> Tensor:
        """Images (n, P, wires, ticks) of n training events from all parts of their list, `number` <= n < 2 `number`."""
        assert self.splits is not None
        train = self.splits.train
        return self._known[1][torch.from_numpy(train[:: max(1, len(train) // number)])].dense()

    def train_dataloader(self) -> DataLoader[Any]:
        """Events to learn from, in a new order each epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        """Events held out to choose by."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Events held out to judge by."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Events of ``predict_root``, else those held out for `test`: ``image`` and ``index`` only."""
        if self._unknown is None:
            return self._loader("test", labelled=False)
        _, images = self._unknown
        every = torch.arange(len(images))
        return self.loader({"image": images, "index": every}, every)

    def _loader(self, part: Literal["train", "val", "test"], *, labelled: bool = True) -> DataLoader[Any]:
        index = getattr(self.splits, part)
        if not len(index):
            raise ConfigError("test_fraction is 0: nothing was held out to test on; set --data.init_args.test_fraction")
        columns: dict[str, Column] = {"image": self._known[1], "index": torch.arange(len(self))}
        if labelled:
            columns["label"] = torch.from_numpy(self.labels())
        return self.loader(columns, torch.from_numpy(index), train=part == "train")

    def form(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Show training events in other views; make the planes dense."""
        images: SparseImages = batch["image"]
        if self._views is not None and self.trainer is not None and self.trainer.training:
            images = self._views(images)
        batch["image"] = images.dense()
        return batch

    def figure(self, index: Sequence[int], titles: Sequence[str] | None = None) -> "Figure":
        """Events, planes side by side, the charge in logarithmic colours."""
        from lit_hep.evaluation.gallery import planes

        events, images = self._known
        own = [f"{events.ids[row]}: {self.class_names[events.labels[row]]}" for row in index]
        names = [f"plane {plane}" for plane in self.planes]
        return planes(images[torch.tensor(index)].dense().numpy(), titles or own, names)
