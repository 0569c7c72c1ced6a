"""Curves of several runs on one figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from lit_hep.evaluation.classification import Array, has_both
from lit_hep.evaluation.report_files import Judged
from lit_hep.evaluation.style import COLOURS, GREY, blank, notice, styled

_POINTS = 2000  # of a curve; more are not seen
_DASHES = ("-", "--", "-.", ":")


@styled
def compare_curves(runs: Mapping[str, Judged], class_names: Sequence[str]) -> Figure:
    """ROC and precision-recall curves of runs, each on its own samples; of several classes the ROC curve of each.

    Args:
        runs: Name to scores and labels.
        class_names: In the order of the labels.
    """
    binary = all(judged.probability.ndim == 1 for judged in runs.values())
    kinds = [1] if binary else list(range(len(class_names)))
    figure = blank(0.5 + 5.2 * (2 if binary else len(kinds)), 5)
    axes = figure.subplots(1, 2 if binary else len(kinds), squeeze=False)[0]
    some = False
    for kind, axis in zip(kinds, axes, strict=False):
        axis.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        axis.set(xlabel=r"background efficiency $\varepsilon_B$", ylabel="signal efficiency", title=class_names[kind])
        for number, (name, judged) in enumerate(runs.items()):
            signal = judged.label == kind
            if has_both(signal):
                some = True
                score = judged.probability if binary else judged.probability[:, kind]
                eps_b, eps_s, _ = roc_curve(signal, score)
                _draw(axis, number, eps_b, eps_s, f"{name}: {auc(eps_b, eps_s):.3f}")
                if binary:
                    precision, recall, _ = precision_recall_curve(signal, score, drop_intermediate=True)
                    average = average_precision_score(signal, score)
                    _draw(axes[1], number, recall, precision, f"{name}: {average:.3f}", steps=True)
        axis.legend(loc="lower right", title="area under the curve")
    if not some:
        return notice("no curves without samples of both classes")
    if binary:
        axes[1].set(xlabel="recall (signal efficiency)", ylabel="precision (purity)", ylim=(-0.02, 1.02))
        axes[1].set_title(class_names[1])
        axes[1].legend(loc="lower left", title="average precision")
    return figure


def _draw(axis: Axes, number: int, x: Array, y: Array, label: str, *, steps: bool = False) -> None:
    """One curve; what tells it from others is its colour and its dashes."""
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(np.intp))
    axis.plot(
        x[shown],
        y[shown],
        color=COLOURS[number % len(COLOURS)],
        linestyle=_DASHES[number % len(_DASHES)],
        label=label,
        drawstyle="steps-post" if steps else "default",
    )


@styled
def compare_scores(runs: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Numbers of runs as points with their 68 % intervals, a line each.

    Args:
        runs: Name to metrics, with ``<name>_low`` and ``<name>_high``.
        names: Metrics to show.
    """
    figure = blank(8, 1.6 + len(names) * (0.25 + 0.16 * len(runs)))
    axis = figure.subplots()
    for number, (run, metrics) in enumerate(runs.items()):
        value = np.array([metrics.get(name, np.nan) for name in names])
        ends = (np.array([metrics.get(f"{name}_{end}", np.nan) for name in names]) for end in ("low", "high"))
        low, high = (np.where(np.isfinite(end), end, value) for end in ends)
        place = np.arange(len(names)) + 0.7 * ((number + 0.5) / len(runs) - 0.5)
        reach = np.maximum([value - low, high - value], 0)
        axis.errorbar(value, place, xerr=reach, fmt="osD^vP"[number % 6], color=COLOURS[number % 6], label=run)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.invert_yaxis()
    axis.set_xlabel("value, with its 68 % interval")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
