"""Classification of images into two or more classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.base.kept import Kept
from lit_hep.base.products import show_figures, write_json, write_npz, write_report
from lit_hep.base.scores import Scores
from lit_hep.base.task import BaseTask
from lit_hep.data.runs import read_history
from lit_hep.errors import ConfigError
from lit_hep.evaluation.classification import best_threshold
from lit_hep.training.processes import average, counted
from lit_hep.training.run import RunLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COUNTS = ("tp", "fp", "tn", "fn", "n")  # of no use as curves
_MOST_KEPT = 256  # steps: as in `Kept`, whose copies cost a short step too much


class ClassificationTask(BaseTask):
    """One step for training, validation, test and prediction; metrics, figures and files at the end of each.

    A batch is a dict: ``image`` (B, C, H, W), ``index`` (B,) sample number, and except in prediction ``label`` (B,),
    a class number or, of two classes, a probability of class 1; optionally ``weight`` (B,).

    Args:
        threshold: Of two classes, the probability from which an image is called class 1; None chooses the one with
            the best macro F1 on validation.
        **kwargs: As in `BaseTask`.
    """

    threshold: Tensor

    def __init__(self, threshold: float | None = None, **kwargs: Any) -> None:
        if threshold is not None and not 0 < threshold < 1:
            raise ConfigError(f"threshold {threshold}: must lie between 0 and 1")
        self._fixed_threshold = threshold
        self._kept = Kept()
        self._learnt: list[tuple[Tensor, ...]] = []
        self._sums: Tensor | None = None
        self._validated: Scores | None = None
        super().__init__(**kwargs)

    @property
    def num_classes(self) -> int:
        """Number of classes; two classes share one logit."""
        return int(self.hparams.get("num_classes", 2))

    def configure_metrics(self) -> None:
        """Decision threshold."""
        self.register_buffer("threshold", torch.tensor(0.5 if self._fixed_threshold is None else self._fixed_threshold))

    def decide_at(self, threshold: float | None) -> None:
        """Fix the decision threshold, or have it chosen on each validation (None)."""
        self._fixed_threshold = threshold
        if threshold is not None:
            self.threshold.fill_(threshold)

    def choose_threshold(self, scores: Scores) -> None:
        """Unless it is fixed, take the decision threshold of best macro F1.

        Of all thresholds within one standard error of the best it is the one nearest to .5: the best of a small
        validation set is mostly noise.
        """
        if self.num_classes == 2 and self._fixed_threshold is None:
            self.threshold.fill_(best_threshold(scores.probability, scores.label, tolerance=1.0))

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) to logits, (B,) for two classes or (B, num_classes)."""
        logits: Tensor = self.net(image)
        return logits.squeeze(1) if self.num_classes == 2 else logits

    def outputs(self, image: Tensor) -> Tensor:
        """What `losses` and `probabilities` start from: the logits of `forward`, unless a task keeps more."""
        logits: Tensor = self(image)
        return logits

    def losses(
        self, logits: Tensor, label: Tensor, weight: Tensor | None = None, reduction: Literal["none", "mean"] = "none"
    ) -> Tensor:
        """Cross-entropy of each sample.

        Args:
            logits: (B,) of two classes, (B, C) of more; of several members (B, M) or (B, M, C), and their mean counts.
            label: (B,).
            weight: (B,), of each sample; None takes all as they are.
            reduction: Whether all are wanted, (B,), or their mean, ().
        """
        logits, binary = logits.float(), self.num_classes == 2
        if logits.dim() > (1 if binary else 2):
            label = label[:, None].expand(logits.shape[:2])
            weight = None if weight is None else weight[:, None]
        if binary:
            losses = F.binary_cross_entropy_with_logits(logits, label.float(), weight, reduction=reduction)
        else:
            losses = F.cross_entropy(logits.movedim(-1, 1), label, reduction="none")
            losses = losses if weight is None else losses * weight
            losses = losses.mean() if reduction == "mean" else losses
        return losses.mean(1) if losses.dim() == 2 else losses

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability (B,) of class 1, or (B, num_classes)."""
        return logits.float().sigmoid() if self.num_classes == 2 else logits.float().softmax(1)

    def decisions(self, logits: Tensor) -> Tensor:
        """Class (B,) that is called."""
        probability = self.probabilities(logits)
        return (probability >= self.threshold).long() if self.num_classes == 2 else probability.argmax(1)

    def answers(self, image: Tensor) -> Tensor:
        """Probability (N,) of class 1, or (N, num_classes), of images as the files have them."""
        return self.probabilities(self.outputs(image))

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean loss, weighted if the batch has weights; what it came from is kept for the training metrics."""
        outputs, label = self.outputs(batch["image"]), batch["label"]
        marks = [batch["counts"]] if "counts" in batch else []
        self._learnt.append((outputs.detach(), label, *marks))
        if len(self._learnt) == _MOST_KEPT:
            self._sum_up()
        weight = batch.get("weight")
        if not marks:
            return self.losses(outputs, label, weight, reduction="mean")
        counts = counted(batch)
        return self.losses(outputs, label, counts if weight is None else counts * weight).sum() / average(counts.sum())

    def _sum_up(self) -> None:
        """Add what the steps have kept to the sums of loss, right answers and samples."""
        outputs, label, *marks = (torch.cat(column) for column in zip(*self._learnt, strict=True))
        self._learnt.clear()
        counts = marks[0].float() if marks else torch.ones_like(label, dtype=torch.float32)
        probability = self.probabilities(outputs)
        # at .5: the threshold of the last validation belongs to other weights
        right = (probability > 0.5) == (label > 0.5) if self.num_classes == 2 else probability.argmax(1) == label
        part = torch.stack([(value * counts).sum() for value in (self.losses(outputs, label), right)] + [counts.sum()])
        self._sums = part if self._sums is None else self._sums + part

    def on_train_epoch_end(self) -> None:
        """Log ``train_loss`` and ``train_accuracy`` of what the steps have kept."""
        if self._learnt:
            self._sum_up()
        loss, number, count = self.trainer.strategy.reduce(self._sums, reduce_op="sum").tolist()
        self._sums = None
        self.log_dict({"train_loss": loss / count, "train_accuracy": number / count}, sync_dist=True)
        super().on_train_epoch_end()

    def evaluation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep the logits (with label and sample number) until the epoch's end."""
        known = [batch[name] for name in ("index", "label") if name in batch]
        self._kept.add(*known, self.outputs(batch["image"]))

    validation_step = test_step = predict_step = evaluation_step

    def _gather(self) -> list[Tensor]:
        """What `evaluation_step` kept, of all processes, each sample once, in the order of its number."""
        columns = self._kept.gather()
        _, first = np.unique(columns[0].cpu().numpy(), return_index=True)
        return [column[torch.from_numpy(first).to(column.device)] for column in columns]

    def _scores(self, index: Tensor, *label_and_logits: Tensor) -> Scores:
        *label, logits = label_and_logits
        columns = index, self.probabilities(logits), self.decisions(logits), *(known.long() for known in label)
        arrays = [column.detach().cpu().numpy() for column in columns] + [np.empty(0, np.int64)]
        return Scores(arrays[0], arrays[1], arrays[2], arrays[3], float(self.threshold))

    @torch.no_grad()
    def score(self, loader: Iterable[dict[str, Tensor]]) -> Scores:
        """Evaluate samples outside Lightning's loops; every process gets all scores.

        Args:
            loader: Batches as above, on any device.
        """
        training = self.training
        self.eval()
        for batch in loader:
            self.evaluation_step({name: column.to(self.device) for name, column in batch.items()}, 0)
        self.train(training)
        return self._scores(*self._gather())

    def on_validation_epoch_end(self) -> None:
        """Choose the threshold and log ``val_loss`` and the metrics of `evaluation`."""
        index, label, logits = self._gather()
        self.choose_threshold(self._scores(index, label, logits))
        self._validated = self._scores(index, label, logits)
        metrics = {"loss": float(self.losses(logits, label).mean())} | self._validated.metrics()
        self.log_dict({f"val_{name}": metrics[name] for name in metrics if name not in _COUNTS}, sync_dist=True)

    def figures(self) -> Iterable[tuple[str, "Figure"]]:
        """Of the latest validation: curves, gallery, mistakes."""
        return () if self._validated is None else self._figures(self._validated)

    def on_test_epoch_end(self) -> None:
        """Write ``metrics.json``, ``predictions.npz`` and the figures; log the same to TensorBoard."""
        scores = self._scores(*self._gather())
        metrics = scores.metrics() | scores.intervals()
        self.log_dict({f"test_{name}": value for name, value in metrics.items()}, sync_dist=True)
        folder = self._folder("test")
        if self.trainer.is_global_zero:
            write_json(folder / "metrics.json", metrics)
            self.write_predictions(folder, scores)
            figures = self._figures(scores, metrics)
            show_figures(figures, self.logger, "test", self.global_step, folder / "figures")
            write_report(folder, self)

    def on_predict_epoch_end(self) -> None:
        """Write ``predictions.npz`` and the task's own form."""
        scores = self._scores(*self._gather())
        folder = self._folder("predict")
        if self.trainer.is_global_zero:
            self.write_predictions(folder, scores)

    def write_predictions(self, folder: Path, scores: Scores) -> None:
        """Write ``predictions.npz``; a task adds its own form."""
        write_npz(folder / "predictions.npz", scores.columns(self.data.ids(scores.index)))

    @property
    def data(self) -> BaseDataModule:
        """The data module of the run."""
        return self.data_of(BaseDataModule)  # type: ignore[type-abstract]

    def _figures(self, scores: Scores, metrics: Mapping[str, float] | None = None) -> Iterator[tuple[str, "Figure"]]:
        history = read_history(Path(self.logger.log_dir)) if isinstance(self.logger, RunLogger) else None

        def draw(place: NDArray[np.int64], titles: Sequence[str]) -> "Figure":
            return self.data.figure(scores.index[place].tolist(), titles)

        return scores.figures(self.data.class_names, draw, history, metrics, self.data.most_drawn)
