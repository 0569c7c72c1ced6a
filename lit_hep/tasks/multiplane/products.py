"""What is said and written of classified events beyond what every classification has."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.base.scores import Scores
from lit_hep.data.files import replacing
from lit_hep.evaluation.classification import binary_metrics, multiclass_metrics
from lit_hep.tasks.multiplane.events import Events

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_hep.evaluation.gallery import Draw


@dataclass(frozen=True)
class PlaneScores(Scores):
    """Scores of N events by a network for each plane, fused.

    Args:
        probability_plane: What each plane says by itself, of class 1 (N, P), or of each class (N, P, C).
        planes: Their numbers.
    """

    probability_plane: NDArray[np.float32]
    planes: Sequence[int]

    def _each(self) -> dict[str, NDArray[np.float32]]:
        return {f"plane{plane}": self.probability_plane[:, number] for number, plane in enumerate(self.planes)}

    def metrics(self) -> dict[str, float]:
        """Numbers of the fused scores; ``auroc``, ``accuracy`` (at .5) and ``loss`` of each plane."""
        numbers = super().metrics()
        for name, probability in self._each().items():
            every = np.stack([1 - probability, probability], 1) if probability.ndim == 1 else probability
            binary = probability.ndim == 1
            mine = binary_metrics(probability, self.label, 0.5) if binary else multiclass_metrics(every, self.label)
            mine["loss"] = float(-np.log(every[np.arange(len(every)), self.label].clip(1e-7)).mean())
            numbers |= {f"{key}_{name}": mine[key] for key in ("auroc", "accuracy", "loss")}
        return numbers

    def figures(
        self,
        class_names: Sequence[str],
        draw: "Draw | None" = None,
        history: Mapping[str, Sequence[float]] | None = None,
        metrics: Mapping[str, float] | None = None,
        most: int = 32,
    ) -> Iterator[tuple[str, "Figure"]]:
        """As `Scores.figures`, and the ROC curves of the planes beside the fused one."""
        from lit_hep.evaluation.figures import compare_rocs

        yield from super().figures(class_names, draw, history, metrics, most)
        curves = {name.replace("plane", "plane "): probability for name, probability in self._each().items()}
        yield "roc_planes", compare_rocs(curves | {"fused": self.probability}, self.label, class_names)

    def columns(self, ids: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Columns of ``predictions.npz``, with ``probability_plane``."""
        return super().columns(ids) | {"probability_plane": self.probability_plane}


def write_misclassified(path: Path, scores: Scores, events: Events) -> None:
    """Write a csv of the events that were called wrongly: file names, true and predicted class, probability.

    Args:
        path: The file.
        scores: With labels.
        events: Those of `Scores.index` among them.
    """
    binary = scores.probability.ndim == 1
    wrong = np.flatnonzero(scores.prediction != scores.label)
    named = [f"probability_{name}" for name in events.classes[1 if binary else 0 :]]
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"file_plane{plane}" for plane in events.planes), "label", "prediction", *named])
        for row in wrong:
            files = (Path(name).name for name in events.paths[scores.index[row]])
            label, prediction = (events.classes[kind[row]] for kind in (scores.label, scores.prediction))
            writer.writerow([*files, label, prediction, *(f"{p:.6f}" for p in np.atleast_1d(scores.probability[row]))])
