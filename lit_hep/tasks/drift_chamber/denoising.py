"""What every network of the task is judged by: hits with their scores, gathered, measured, drawn and written."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_hep.base.kept import Kept
from lit_hep.base.products import show_figures, write_json, write_report
from lit_hep.base.task import BaseTask
from lit_hep.data.runs import read_history
from lit_hep.errors import ConfigError
from lit_hep.evaluation.denoising import Hits, efficiency_at_rejection, intervals, metrics
from lit_hep.evaluation.export import Interface
from lit_hep.tasks.drift_chamber.datamodule import DriftChamberDataModule
from lit_hep.tasks.drift_chamber.layout import LAYERS, SIDE, WIRES, unpad
from lit_hep.tasks.drift_chamber.products import write_cleaned, write_predictions
from lit_hep.training.processes import average
from lit_hep.training.run import RunLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELLS = LAYERS * WIRES


class DenoisingTask(BaseTask):
    """Validation, test and prediction of a network that scores hits; a subclass has `logits` and learns.

    Args:
        rejection: Background rejection on validation that sets the threshold of kept hits.
        threshold: Score from which a hit is kept; None chooses it by `rejection`.
        **kwargs: As in `BaseTask`.
    """

    monitor = "val_efficiency_at_rejection_90"
    mode = "max"
    threshold: Tensor

    def __init__(self, rejection: float = 0.909, threshold: float | None = None, **kwargs: Any) -> None:
        if not 0 < rejection < 1:
            raise ConfigError(f"rejection {rejection}: must lie between 0 and 1")
        if threshold is not None and not 0 < threshold < 1:
            raise ConfigError(f"threshold {threshold}: must lie between 0 and 1")
        self._events, self._hits = Kept(), Kept()
        self._validated: tuple[np.ndarray[Any, Any], Hits] | None = None
        super().__init__(**kwargs)

    def configure_metrics(self) -> None:
        """Threshold from which a hit is kept."""
        fixed = self.hparams["threshold"]
        self.register_buffer("threshold", torch.tensor(0.5 if fixed is None else fixed))

    def setup(self, stage: str) -> None:
        """Check that the data are the task's own."""
        super().setup(stage)
        _ = self.data

    @abstractmethod
    def logits(self, planes: Tensor) -> Tensor:
        """Hits (B, 36, 112) to logits of the same shape, of being from a track."""

    def forward(self, image: Tensor) -> Tensor:
        """Events (B, C, H, W) of either layout to scores (B, 36, 112), 0 where no wire has a hit."""
        hits = planes(image)
        return self.logits(hits).float().sigmoid() * hits

    def interface(self, data: Mapping[str, Any]) -> Interface:
        """Events (N, 36, 112), whatever the network makes of them."""
        return Interface(
            axes={"layer": LAYERS, "wire": WIRES},
            values="a hit from half of the largest value on, which is 1 or, as in pictures, 255",
            output="score",
            answer=f"of each hit to be from a track, 0 where there is none (N, {LAYERS}, {WIRES})",
            normalisation="0 or 1",
            dtype=torch.uint8,
            largest=255,
            occupancy=0.1,
            classes=("background", "track"),
            threshold=float(self.threshold),
        )

    def answers(self, image: Tensor) -> Tensor:
        """Scores of events, both (N, 36, 112)."""
        half = torch.where(image.amax((1, 2), keepdim=True) > 1, 128, 1)
        scores: Tensor = self((image >= half)[:, None])
        return scores

    @staticmethod
    def hit_loss(logits: Tensor, hits: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy, the mean over hits of all processes; all (B, 36, 112)."""
        losses = F.binary_cross_entropy_with_logits(logits.float(), truth, weight=hits, reduction="sum")
        return losses / average(hits.sum()).clamp(min=1)

    def evaluation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep place, score and truth of each hit until the epoch's end."""
        hits, score = planes(batch["image"]), self(batch["image"])
        event, layer, wire = (hits > 0).nonzero(as_tuple=True)
        index = batch["index"]
        columns = [index[event] * _CELLS + layer * WIRES + wire, score[event, layer, wire]]
        if "target" in batch:
            columns.append(planes(batch["target"])[event, layer, wire] > 0)
        self._events.add(index)
        self._hits.add(*columns)

    validation_step = test_step = predict_step = evaluation_step

    def _gather(self) -> tuple[np.ndarray[Any, Any], Hits]:
        """Sample numbers (N,) and hits of all processes, each event once, in the order of its number."""
        columns = self._events.gather() + self._hits.gather()
        index, cell, *values = (column.cpu().numpy() for column in columns)
        index = np.unique(index)
        cell, first = np.unique(cell, return_index=True)
        score, *track = (value[first] for value in values)
        layer, wire = np.divmod(cell % _CELLS, WIRES)
        event = np.searchsorted(index, cell // _CELLS)
        return index, Hits(event, layer, wire, score, track[0] if track else None, len(index))

    def on_validation_epoch_end(self) -> None:
        """Choose the threshold, log ``val_loss`` (cross-entropy of the hits) and the metrics."""
        index, hits = self._gather()
        assert hits.track is not None
        if self.hparams["threshold"] is None:
            _, threshold = efficiency_at_rejection(hits.score, hits.track, self.hparams["rejection"])
            if np.isfinite(threshold):
                self.threshold.fill_(threshold)
        score = np.clip(hits.score.astype(np.float64), 1e-7, 1 - 1e-7)
        loss = -np.log(np.where(hits.track, score, 1 - score)).mean()
        numbers = {"loss": float(loss)} | metrics(hits, float(self.threshold))
        self.log_dict({f"val_{name}": numbers[name] for name in numbers.keys() - {"events", "hits"}}, sync_dist=True)
        self._validated = index, hits

    def figures(self) -> Iterator[tuple[str, "Figure"]]:
        """Of the latest validation: efficiency against rejection, and events with truth and what is kept."""
        from lit_hep.evaluation.denoising_figures import denoising_figures

        if self._validated is not None:
            index, hits = self._validated
            events = self.data.events
            yield from denoising_figures(hits, float(self.threshold), self.data.ids(index), events.current[index])

    def on_test_epoch_end(self) -> None:
        """Write ``metrics.json``, predictions, cleaned events and figures; log the same to TensorBoard."""
        index, hits = self._gather()
        threshold, current = float(self.threshold), self.data.events.current[index]
        numbers = metrics(hits, threshold, current) | intervals(hits, threshold)
        self.log_dict({f"test_{name}": value for name, value in numbers.items()}, sync_dist=True)
        folder = self._folder("test")
        if self.trainer.is_global_zero:
            from lit_hep.evaluation.denoising_figures import denoising_figures

            write_json(folder / "metrics.json", numbers)
            self._write(folder, index, hits)
            history = read_history(Path(self.logger.log_dir)) if isinstance(self.logger, RunLogger) else None
            figures = denoising_figures(hits, threshold, self.data.ids(index), current, history)
            show_figures(figures, self.logger, "test", self.global_step, folder / "figures")
            write_report(folder, self)

    def on_predict_epoch_end(self) -> None:
        """Write predictions and cleaned events."""
        index, hits = self._gather()
        folder = self._folder("predict")
        if self.trainer.is_global_zero:
            self._write(folder, index, hits)

    def _write(self, folder: Path, index: np.ndarray[Any, Any], hits: Hits) -> None:
        events, threshold = self.data.events, float(self.threshold)
        write_predictions(folder / "predictions.npz", self.data.ids(index), hits, threshold)
        write_cleaned(folder, self.data.ids(index), hits, threshold, events.picture, png=events.png)

    @property
    def data(self) -> DriftChamberDataModule:
        """The data module of the run."""
        return self.data_of(DriftChamberDataModule)


def planes(image: Tensor) -> Tensor:
    """Events (B, C, H, W) of either layout to hits (B, 36, 112), float 0 or 1."""
    plane = image[:, 0]
    return (unpad(plane) if plane.shape[-1] == SIDE else plane).float()
