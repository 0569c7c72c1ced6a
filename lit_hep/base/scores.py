"""What an evaluation gave, with the numbers and figures that follow from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.evaluation.classification import binary_metrics, bootstrap_intervals, multiclass_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_hep.evaluation.gallery import Draw


@dataclass(frozen=True)
class Scores:
    """Scores of N samples.

    Args:
        index: Sample numbers (N,).
        probability: Of class 1 (N,), or of each class (N, C).
        prediction: Class (N,) that is called.
        label: True class (N,), empty if it is not known.
        threshold: Probability from which class 1 is called.
    """

    index: NDArray[np.int64]
    probability: NDArray[np.float32]
    prediction: NDArray[np.int64]
    label: NDArray[np.int64]
    threshold: float

    def metrics(self) -> dict[str, float]:
        """Numbers of `evaluation.classification`."""
        if self.probability.ndim == 2:
            return multiclass_metrics(self.probability, self.label)
        return binary_metrics(self.probability, self.label, self.threshold)

    def intervals(self) -> dict[str, float]:
        """68 % bootstrap intervals, as ``<metric>_low`` and ``<metric>_high``."""
        return bootstrap_intervals(self.probability, self.label, self.threshold)

    def figures(
        self,
        class_names: Sequence[str],
        draw: "Draw | None" = None,
        history: Mapping[str, Sequence[float]] | None = None,
        metrics: Mapping[str, float] | None = None,
        most: int = 32,
    ) -> Iterator[tuple[str, "Figure"]]:
        """Draw (name, figure) of `evaluation.figures`.

        Args:
            class_names: Of all classes.
            draw: Draws some of them by their places, for the gallery and the mistakes.
            history: Columns of ``metrics.csv``, for the learning curves.
            metrics: Numbers of this evaluation, for the interval of the AUC.
            most: Samples on one figure.
        """
        from lit_hep.evaluation.figures import binary_figures, multiclass_figures

        if self.probability.ndim == 2:
            return multiclass_figures(self.probability, self.label, class_names, draw, history, most)
        interval = (metrics["auroc_low"], metrics["auroc_high"]) if metrics and "auroc_low" in metrics else None
        common = self.probability, self.label, self.threshold, class_names
        return binary_figures(*common, draw, history, interval, most)

    def columns(self, ids: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Columns of ``predictions.npz``.

        Args:
            ids: What the user knows the samples by (N,).
        """
        columns = {"id": ids, "probability": self.probability, "prediction": self.prediction}
        return columns | ({"label": self.label} if len(self.label) else {})
