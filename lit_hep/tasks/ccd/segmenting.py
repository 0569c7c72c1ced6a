"""What every network of the task is judged by: pixels by class and clusters found, measured, drawn and written."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_hep.base.kept import Kept
from lit_hep.base.products import show_figures, write_json, write_report
from lit_hep.base.task import BaseTask
from lit_hep.data.runs import read_history
from lit_hep.errors import ConfigError
from lit_hep.evaluation.export import Interface
from lit_hep.evaluation.segmentation import segmentation_intervals, segmentation_metrics
from lit_hep.tasks.ccd.datamodule import CCDDataModule
from lit_hep.tasks.ccd.losses import SegmentationLoss
from lit_hep.tasks.ccd.masks import CLASSES, SHADES, UNKNOWN
from lit_hep.tasks.ccd.products import Products
from lit_hep.tasks.ccd.scaling import Scaled, levels_of
from lit_hep.tasks.ccd.tiles import pieces
from lit_hep.training.processes import average, counted
from lit_hep.training.run import RunLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 3  # images of the validation


class SegmentationTask(BaseTask):
    """Validation, test and prediction of whole images, piece by piece; a subclass has `net` and `criterion`.

    Args:
        **kwargs: As in `BaseTask`.
    """

    monitor = "val_f1_macro"
    mode = "max"
    net: Scaled
    criterion: SegmentationLoss
    _sums: Tensor
    _counts: Tensor

    def __init__(self, **kwargs: Any) -> None:
        self._validated: NDArray[np.int64] | None = None
        self._judged = Kept()
        self._shown: list[tuple[int, NDArray[np.uint8]]] = []
        self._products: Products | None = None
        super().__init__(**kwargs)

    def configure_metrics(self) -> None:
        """Training sums on the device: loss and tiles; pixels by true and predicted class."""
        self.register_buffer("_sums", torch.zeros(2), persistent=False)
        self.register_buffer("_counts", torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64), persistent=False)

    def setup(self, stage: str) -> None:
        """Check that the data are the task's own, and have the network's channels."""
        super().setup(stage)
        if self.data.channels not in (1, self.net.channels):
            raise ConfigError(
                f"the images have {self.data.channels} colours, the network {self.net.channels} channels; set "
                "--data.init_args.monochrome true or --model.init_args.channels"
            )

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, C, H, W) as the files have them to logits (B, 4, H, W)."""
        logits: Tensor = self.net(image)
        return logits

    def interface(self, data: Mapping[str, Any]) -> Interface:
        """Images (N, C, H, W) of any size."""
        return Interface(
            axes={"channel": self.net.channels, "height": None, "width": None},
            values="pixels as the files have them (ADC counts, or colours 0..255)",
            output="probability",
            answer=f"of each class for each pixel (N, {len(CLASSES)}, height, width)",
            normalisation=self.net.extra_repr(),
            largest=float((self.net.pedestal + 50 * self.net.spread).max()),
            classes=CLASSES,
        )

    def answers(self, image: Tensor) -> Tensor:
        """Probability (N, 4, H, W) of each class, of images (N, C, H, W)."""
        logits: Tensor = self(image)
        return logits.float().softmax(1)

    def segment(self, image: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and logits (B, 4, h, w) of the pieces of images (B, C, H, W); the same as those of the whole.

        Args:
            image: Pixels as the files have them.
        """
        level = levels_of(image) if self.net.scaling == "image" else None
        places = pieces(image.shape[2], image.shape[3], self.data.hparams["piece"], self.net.reach, self.net.step)
        for place, (y, x), (inner_y, inner_x) in places:
            yield *place, self.net(image[:, :, y, x], level)[:, :, inner_y, inner_x]

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of a batch of tiles; counts stay on the device."""
        counts = counted(batch)
        mask = batch["mask"].masked_fill(counts[:, None, None] == 0, UNKNOWN)
        logits = self.net(batch["image"], batch["level"])
        loss: Tensor = self.criterion(logits, mask)
        with torch.no_grad():
            self._sums += torch.stack([loss, loss.new_ones(())]) * average(counts.sum())
            self._counts += confusions(mask, logits.argmax(1)).sum(0)
        return loss

    def on_train_epoch_end(self) -> None:
        """Turn the epoch's counts into ``train_loss``, ``train_accuracy`` and ``train_f1_macro``."""
        reduce = self.trainer.strategy.reduce
        loss, tiles = reduce(self._sums, reduce_op="sum").tolist()
        numbers = segmentation_metrics(reduce(self._counts, reduce_op="sum").cpu().numpy(), CLASSES)
        self._sums.zero_()
        self._counts.zero_()
        logged = {"loss": loss / tiles} | {name: numbers[name] for name in ("accuracy", "f1_macro")}
        self.log_dict({f"train_{name}": value for name, value in logged.items()}, sync_dist=True)
        super().on_train_epoch_end()

    def evaluation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Predict whole images; keep their confusion, and hand what is to be written over to the products."""
        image, truth = batch["image"], batch.get("mask")
        shape = len(image), *image.shape[2:]
        mask = torch.empty(shape, dtype=torch.uint8, device=image.device)
        score = torch.empty(shape, device=image.device) if self._products else None
        loss = torch.zeros(len(image), device=image.device)
        for rows, columns, logits in self.segment(image):
            mask[:, rows, columns] = logits.argmax(1).to(torch.uint8)
            if score is not None:
                score[:, rows, columns] = logits.float().softmax(1)[:, CLASSES.index("cluster")]
            if truth is not None:
                share = logits[0, 0].numel() / mask[0].numel()
                # of each image by itself, whoever else is in the batch
                images = zip(torch.split(logits, 1), torch.split(truth[:, rows, columns], 1), strict=True)
                loss += share * torch.stack([self.criterion(*one) for one in images])
        if truth is not None:
            self._judged.add(batch["index"], confusions(truth, mask), loss)
        if self._products and score is not None:
            for number, *found in zip(batch["index"].tolist(), mask.cpu().numpy(), score.cpu().numpy(), strict=True):
                self._products.add(number, *found)
        elif batch_idx == 0:
            few = slice(0, _SHOWN)
            self._shown = list(zip(batch["index"][few].tolist(), mask[few].cpu().numpy(), strict=True))

    validation_step = test_step = predict_step = evaluation_step

    def _gather(self) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
        """Sample numbers (N,), confusions (N, 4, 4) and mean loss of all processes, each image once, in order."""
        index, counts, loss = (column.cpu().numpy() for column in self._judged.gather())
        index, first = np.unique(index, return_index=True)
        return index, counts[first], float(loss[first].mean())

    def on_validation_epoch_end(self) -> None:
        """Log ``val_loss``, accuracy and F1."""
        _, counts, loss = self._gather()
        numbers = {"loss": loss} | segmentation_metrics(counts.sum(0), CLASSES)
        logged = [name for name in numbers if name in ("loss", "accuracy") or name.startswith("f1")]
        self.log_dict({f"val_{name}": numbers[name] for name in logged}, sync_dist=True)
        self._validated = counts.sum(0)

    def figures(self) -> Iterator[tuple[str, "Figure"]]:
        """Of the latest validation: scores of the classes, confusion, and some images with truth and prediction."""
        from lit_hep.evaluation.segmentation_figures import figures, pictures

        if self._validated is None:
            return
        yield from figures(self._validated, CLASSES)
        images = self.data.images
        for number, mask in self._shown:
            figure = pictures(images.value(number), mask, images.mask(number), CLASSES, SHADES)
            yield str(images.name[number]), figure

    def on_test_epoch_start(self) -> None:
        """Open a place for what will be written."""
        self._open("test")

    def on_predict_epoch_start(self) -> None:
        """Open a place for what will be written."""
        self._open("predict")

    def _open(self, name: str) -> None:
        judged = self.data.part("test") if name == "test" else []
        self._products = Products(self._folder(name), self.data.images, self.data.hparams["min_pixels"], judged)
        if self.trainer.is_global_zero:
            self._products.open()
        self.trainer.strategy.barrier()

    def on_test_epoch_end(self) -> None:
        """Write ``metrics.json``, masks, catalogue, report and figures; log the same to TensorBoard."""
        index, counts, loss = self._gather()
        assert self._products is not None
        self._products.gather()
        numbers = segmentation_metrics(counts.sum(0), CLASSES) | segmentation_intervals(counts, CLASSES)
        numbers |= {"loss": loss} | self._products.metrics()
        self.log_dict({f"test_{name}": value for name, value in numbers.items()}, sync_dist=True)
        folder = self._folder("test")
        if self.trainer.is_global_zero:
            write_json(folder / "metrics.json", numbers)
            self._products.close(counts)
            self._products.write_report(counts)
            history = read_history(Path(self.logger.log_dir)) if isinstance(self.logger, RunLogger) else None
            figures = self._products.figures(index, counts, numbers, history)
            show_figures(figures, self.logger, "test", self.global_step, folder / "figures")
            write_report(folder, self)
        self._products = None

    def on_predict_epoch_end(self) -> None:
        """Write masks and the catalogue of clusters."""
        assert self._products is not None
        self._products.gather()
        if self.trainer.is_global_zero:
            self._products.close()
        self._products = None

    @property
    def data(self) -> CCDDataModule:
        """The data module of the run."""
        return self.data_of(CCDDataModule)


def confusions(truth: Tensor, prediction: Tensor) -> Tensor:
    """Pixels (B, 4, 4) of each image by true and predicted class, both (B, H, W); those of unknown class are left out.

    Made without a look at the values, for which a processor would have to wait.
    """
    classes = len(CLASSES)
    truth, place = truth.flatten(1).long(), prediction.flatten(1).long()
    place = torch.where(truth == UNKNOWN, classes**2, truth * classes + place)
    counts = torch.zeros(len(truth), classes**2 + 1, dtype=torch.int64, device=truth.device)
    counts.scatter_add_(1, place, torch.ones_like(place))
    return counts[:, :-1].reshape(-1, classes, classes)
