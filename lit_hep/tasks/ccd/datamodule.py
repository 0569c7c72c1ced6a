"""CCD images and the masks that belong to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.data.batches import EpochBatches, as_is
from lit_hep.data.seeds import derive, run_seed
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.ccd.augmentation import Augmentation, augment
from lit_hep.tasks.ccd.images import IMAGES, Images, Reading, check_masks, files
from lit_hep.tasks.ccd.masks import CLASSES, SHADES, Rule
from lit_hep.tasks.ccd.reading import KINDS
from lit_hep.tasks.ccd.scaling import level_of, levels_of
from lit_hep.tasks.ccd.tiles import cut

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS = 2**20  # of a batch of whole images; larger ones come alone


class CCDDataModule(BaseDataModule):
    """PNG, npy, TIFF or FITS images and masks of the same names, in ``images/`` and ``masks/``, or as stacks.

    A batch is a dict: ``image`` (B, C, H, W) and ``index`` (B,), and except in prediction ``mask`` (B, H, W). Training
    batches hold tiles with the ``level`` (B, 2, C) of their image, the others whole images.

    Args:
        root: Folder of the files.
        label_rule: For images without masks: thresholds that give pixels a class by value, ``v1`` for viridis pictures,
            ``v2`` for ADC values; a network can learn no more from them than the thresholds.
        thresholds: Lower and upper value of some classes, in place of the rule's.
        monochrome: Take the mean of the colours; else the network needs as many channels as the images.
        hdu: Header and data unit of FITS files; None takes the first that holds an image.
        tile: Rows and columns of a training tile, at most.
        overlap: Rows or columns that neighbouring tiles share at least.
        augmentation: Random views of training tiles: flips, borders, scale, shift and turn, made by torch on the batch
            and its device, or by imgaug on the processor.
        batch_size: Tiles a process and training step.
        eval_batch_size: Whole images when nothing is learnt; None takes as many as have a million pixels.
        piece: Rows and columns of an image that are predicted at a time: bounds the memory that large images take.
        min_pixels: Clusters of fewer pixels are left out of the catalogue.
        simulation_size: Images to simulate.
        predict_root: Image, or folder of images, to predict on, masks not needed; None takes those held out for `test`.
        **kwargs: As in `BaseDataModule`; ``on_device`` is for training tiles, whole images come one by one.
    """

    most_drawn: ClassVar[int] = 8

    def __init__(
        self,
        root: str = "data/ccd",
        label_rule: Rule | None = None,
        thresholds: dict[str, tuple[float, float]] | None = None,
        monochrome: bool = True,
        hdu: int | None = None,
        tile: int = 256,
        overlap: int = 32,
        augmentation: Augmentation = "torch",
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        piece: int = 768,
        min_pixels: int = 1,
        simulation_size: int = 200,
        predict_root: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= overlap < tile or tile < 16:
            raise ConfigError(f"tile {tile}, overlap {overlap}: a tile must have 16 pixels or more, the overlap fewer")
        if thresholds is not None and label_rule is None:
            raise ConfigError("thresholds replace those of a rule: set --data.init_args.label_rule too")
        for name, (low, high) in (thresholds or {}).items():
            if name not in CLASSES or not low < high:
                raise ConfigError(
                    f"thresholds {name} {low:g}, {high:g}: want one of {', '.join(CLASSES)}, and the lower value first"
                )
        if piece < 16 or min_pixels < 1 or (hdu is not None and hdu < 0):
            raise ConfigError(
                f"piece {piece}, min_pixels {min_pixels}, hdu {hdu}: must be 16 or more, 1 or more, and 0 or more"
            )
        super().__init__(
            root=root,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            simulation_size=simulation_size,
            predict_root=predict_root,
            **kwargs,
        )
        self._reading = Reading(monochrome, label_rule, thresholds, hdu)
        self._unknown: Images | None = None

    def missing(self) -> list[str]:
        """What should be in the root if there are no images."""
        found = self.root.is_dir() and ((self.root / IMAGES).is_dir() or files(self.root))
        return [] if found else [f"images/ and masks/, images.npy and masks.npy, or images ({', '.join(KINDS)})"]

    def write_simulation(self, folder: Path) -> None:
        """Simulate images, masks and true clusters."""
        from lit_hep.tasks.ccd.simulation import simulate

        simulate(folder, self.hparams["simulation_size"], self.hparams["simulation_seed"])

    def read(self) -> None:
        """Read and check images and masks."""
        self._known = Images(self.root, self._reading, truth=True)

    def setup(self, stage: str) -> None:
        """Read the images to predict on too, when that is what will be done."""
        super().setup(stage)
        self._unknown = None
        if stage == "predict" and self.hparams["predict_root"]:
            folder = Path(self.hparams["predict_root"])
            if not folder.exists():
                raise DataError(f"{folder}: no such folder or file; give images ({', '.join(KINDS)})")
            self._unknown = Images(folder, self._reading, truth=False)
            if self._unknown.channels != self.channels:
                raise DataError(
                    f"{folder}: images have {self._unknown.channels} colours, those of {self.root} {self.channels}; "
                    "set --data.init_args.monochrome true"
                )

    @property
    def images(self) -> Images:
        """Images that the run works on."""
        return self._unknown or self._known

    @property
    def channels(self) -> int:
        """Of an image."""
        return self._known.channels

    def __len__(self) -> int:
        return len(self._known)

    def labels(self) -> NDArray[np.int64]:
        """Zeros: images have no classes."""
        return np.zeros(len(self), np.int64)

    def names(self) -> NDArray[Any]:
        """As `ids`, of the images of ``root``."""
        return self._known.name

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Names of the images, their files' without ending; of a stack their rows."""
        return self.images.name[index]

    def part(self, name: Literal["train", "val", "test"]) -> list[int]:
        """Numbers of the images of a part."""
        assert self.splits is not None
        part: list[int] = getattr(self.splits, name).tolist()
        return part

    def shares(self) -> NDArray[np.float64]:
        """Share of each class (4,) in the training masks.

        Raises:
            DataError: There is nothing to tell apart.
        """
        counts = check_masks((self._known.masks[number] for number in self.part("train")), self.root)
        return np.asarray(counts[: len(CLASSES)] / counts.sum())

    def level(self) -> Tensor:
        """Pedestal and spread (2, C) of the training images."""
        images = (self._known.image(number).reshape(self.channels, -1) for number in self.part("train"))
        return level_of(torch.cat([torch.from_numpy(image) for image in images], dim=1))

    def train_dataloader(self) -> DataLoader[Any]:
        """Tiles to learn from, in a new order each epoch."""
        numbers = self.part("train")
        shapes = np.array([self._known.shapes[number][1:] for number in numbers])
        size = np.minimum(shapes.max(axis=0), self.hparams["tile"]).tolist()
        image, mask, level, sample = [], [], [], []
        for number in numbers:
            whole, classes = torch.from_numpy(self._known.image(number)), torch.from_numpy(self._known.masks[number])
            tiles, their = cut([(whole, classes)], size, min(self.hparams["overlap"], min(size) - 1))
            known = (their != 255).flatten(1).any(1)
            image.append(tiles[known])
            mask.append(their[known])
            level.append(levels_of(whole[None]).expand(int(known.sum()), -1, -1))
            sample += [number] * int(known.sum())
        columns = {"image": torch.cat(image), "mask": torch.cat(mask), "level": torch.cat(level)}
        columns["sample"] = torch.tensor(sample)
        index = torch.arange(len(columns["image"]))
        return self.loader({**columns, "index": index}, index, train=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Images held out to choose by."""
        return self._whole(self._known, self.part("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        """Images held out to judge by."""
        return self._whole(self._known, self.part("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Images of ``predict_root``, else those held out for `test`: ``image`` and ``index`` only."""
        numbers = list(range(len(self._unknown))) if self._unknown else self.part("test")
        return self._whole(self.images, numbers, truth=False)

    def _whole(self, images: Images, numbers: Sequence[int], *, truth: bool = True) -> DataLoader[Any]:
        if not numbers:
            raise ConfigError("test_fraction is 0: nothing was held out to test on; set --data.init_args.test_fraction")
        if self.hparams["eval_batch_size"] and images.one_size:
            size = self.hparams["eval_batch_size"]
        else:
            size = max(1, _PIXELS // int(np.prod(images.shapes[0][1:]))) if images.one_size else 1
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            _Whole(images, truth),
            batch_size=None,
            sampler=EpochBatches(torch.tensor(numbers), size, shuffle=False, rank=rank, world_size=world_size),
            num_workers=self.hparams["num_workers"],
            collate_fn=as_is,
            generator=torch.Generator(),  # else each loader draws from the global state
        )

    def form(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Make random views of training tiles, by a seed of (seed, epoch, rank, batch)."""
        how = self.hparams["augmentation"]
        trainer = self.trainer
        if how != "none" and trainer is not None and trainer.training:
            seed = derive(run_seed(), trainer.current_epoch, trainer.global_rank, number)
            views = augment(batch["image"], batch["mask"], batch["level"][:, 0], seed, how)
            batch["image"], batch["mask"] = views
        return batch

    def figure(self, index: Sequence[int], titles: Sequence[str] | None = None) -> "Figure":
        """Images, and beside each the same with its true classes on top."""
        from lit_hep.evaluation.segmentation_figures import samples

        pairs = [(self._known.value(number), self._known.masks[number]) for number in index]
        return samples(pairs, titles or list(map(str, self._known.name[list(index)])), CLASSES, SHADES)


class _Whole(Dataset[dict[str, Tensor]]):
    """Whole images of one size, fetched a batch at a time."""

    def __init__(self, images: Images, truth: bool) -> None:
        self._images, self._truth = images, truth

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Tensor) -> dict[str, Tensor]:
        numbers = index.tolist()
        columns = {"image": [self._images.image(number) for number in numbers]}
        if self._truth:
            columns["mask"] = [self._images.masks[number] for number in numbers]
        return {"index": index} | {name: torch.from_numpy(np.stack(column)) for name, column in columns.items()}
