"""Figures that describe a classifier, each made from arrays alone.

Arguments are those of :mod:`lit_hep.evaluation.classification`: ``probability`` (N,) of class 1 or, where a
function says so, (N, C); ``label`` (N,); ``class_names`` in the order of the labels; an event is positive at
or above ``threshold``. A figure that the events do not allow says why instead.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from lit_hep.evaluation.classification import Array, background_efficiency, confusion, decide, has_both
from lit_hep.evaluation.gallery import Draw, gallery, mistakes
from lit_hep.evaluation.history import learning_curves
from lit_hep.evaluation.style import BLUE, COLOURS, GREY, VERMILLION, blank, notice, styled

__all__ = [
    "binary_figures",
    "calibration",
    "compare_rocs",
    "confusion_counts",
    "confusion_matrix",
    "gallery",
    "learning_curves",
    "mistakes",
    "multiclass_figures",
    "precision_recall",
    "roc",
    "score_distributions",
]

_LOG_RANGE = 30  # a histogram whose bins differ by more is read on a logarithmic axis


@styled
def roc(
    probability: Array, label: Array, class_names: Sequence[str], interval: tuple[float, float] | None = None
) -> Figure:
    """ROC curve and background rejection 1/ε_B; for (N, C) each class against the rest.

    Args:
        probability: (N,) or (N, C).
        label: (N,).
        class_names: in the order of the labels.
        interval: lower and upper end of the AUC's interval, for (N,).
    """
    scores = {1: probability} if probability.ndim == 1 else dict(enumerate(probability.T))
    scores = {kind: score for kind, score in scores.items() if has_both(label == kind)}
    if not scores:
        return notice("no ROC curve without events of both classes")
    figure = blank(10, 4.8)
    left, right = figure.subplots(1, 2)
    chance = np.linspace(0.01, 1, 100)
    for axis, guess in ((left, chance), (right, 1 / chance)):
        axis.plot(chance, guess, "--", color=GREY, linewidth=1, label="guessing" if axis is left else None)
    for kind, score in scores.items():
        signal = label == kind
        colour = COLOURS[kind % len(COLOURS)]
        eps_b, eps_s, _ = roc_curve(signal, score)
        span = "" if interval is None else f" ({interval[0]:.3f}–{interval[1]:.3f})"
        left.plot(eps_b, eps_s, color=colour, label=f"{class_names[kind]}: AUC {auc(eps_b, eps_s):.3f}{span}")
        some, words = eps_b > 0, _mark(right, score, signal, colour)
        right.plot(eps_s[some], 1 / eps_b[some], color=colour, label=words)
    left.set(xlabel=r"background efficiency $\varepsilon_B$", ylabel="signal efficiency")
    right.set(xlabel="signal efficiency", ylabel=r"background rejection $1/\varepsilon_B$", yscale="log")
    # Room for the legend: the curves start where it lies.
    right.set_ylim(0.8, right.dataLim.ymax ** (1.15 + 0.07 * len(scores)))
    left.legend(loc="lower right")
    right.legend(loc="upper right", title=r"$1/\varepsilon_B$")
    return figure


@styled
def compare_rocs(scores: Mapping[str, Array], label: Array, class_names: Sequence[str]) -> Figure:
    """ROC curves of several scores of the same events, the last one thick; for (N, C) a panel for each class.

    Args:
        scores: name to probability (N,) of class 1, or (N, C).
        label: (N,).
        class_names: in the order of the labels.
    """
    binary = next(iter(scores.values())).ndim == 1
    kinds = [kind for kind in ([1] if binary else range(len(class_names))) if has_both(label == kind)]
    if not kinds:
        return notice("no ROC curve without events of both classes")
    figure = blank(0.5 + 4.7 * len(kinds), 4.8)
    for axis, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        axis.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        for number, (name, score) in enumerate(scores.items()):
            eps_b, eps_s, _ = roc_curve(label == kind, score if binary else score[:, kind])
            last = number == len(scores) - 1
            colour, width = ("black", 2.5) if last else (COLOURS[number % len(COLOURS)], 1.5)
            axis.plot(eps_b, eps_s, color=colour, linewidth=width, label=f"{name}: AUC {auc(eps_b, eps_s):.3f}")
        axis.set(xlabel=r"background efficiency $\varepsilon_B$", ylabel="signal efficiency", title=class_names[kind])
        axis.legend(loc="lower right")
    return figure


def _mark(axis: Axes, score: Array, signal: Array, colour: str) -> str:
    """Mark the rejection at 50 and 90 % signal efficiency, and put it into words."""
    words = []
    for efficiency in (0.5, 0.9):
        eps_b = background_efficiency(score, signal, efficiency)
        if eps_b:
            axis.plot(efficiency, 1 / eps_b, "o", color=colour, markersize=7, markeredgecolor="white")
        # Where no background is left, its number is all that limits the rejection from below.
        value = f"{1 / eps_b:.3g}" if eps_b else f"> {np.count_nonzero(~signal)}"
        words.append(f"{value} at {efficiency:.0%}")
    return ", ".join(words)


@styled
def precision_recall(probability: Array, label: Array, threshold: float) -> Figure:
    """Precision against recall with the average precision; a point where the threshold lies."""
    signal = label == 1
    if not signal.any():
        return notice("no precision-recall curve without events of class 1")
    precision, recall, _ = precision_recall_curve(signal, probability, drop_intermediate=True)
    figure = blank()
    axis = figure.subplots()
    average = average_precision_score(signal, probability)
    name = f"average precision {average:.3f}"
    axis.plot(recall, precision, color=VERMILLION, drawstyle="steps-post", label=name)
    selected = decide(probability, threshold) == 1
    if selected.any():
        point = selected[signal].mean(), signal[selected].mean()
        axis.plot(*point, "o", color=BLUE, markersize=8, label=f"threshold {threshold:.3g}")
    axis.axhline(signal.mean(), color=GREY, linestyle="--", linewidth=1, label="guessing")
    axis.set(xlabel="recall (signal efficiency)", ylabel="precision (purity)")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.legend(loc="lower left")
    return figure


def confusion_matrix(prediction: Array, label: Array, class_names: Sequence[str]) -> Figure:
    """Events and share of the true class in every cell.

    Args:
        prediction: (N,) predicted class.
        label: (N,) true class.
        class_names: C names in the order of the labels.
    """
    return confusion_counts(confusion(prediction, label, len(class_names)), class_names)


@styled
def confusion_counts(counts: Array, class_names: Sequence[str]) -> Figure:
    """As :func:`confusion_matrix`, from the counts (C, C): true class in rows, predicted class in columns."""
    classes = len(class_names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(5.0, 1.1 * classes)
    figure = blank(size + 1, size)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), part in np.ndenumerate(share):
        text = f"{counts[row, column]}\n{part:.1%}"
        axis.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=16 if classes < 4 else 12,
            color="white" if part > 0.5 else "black",
        )
    axis.grid(visible=False)
    axis.set(xlabel="predicted class", ylabel="true class")
    fits = max(map(len, class_names)) < 10 * size / classes
    axis.set_xticks(range(classes), class_names, rotation=0 if fits else 45)
    axis.set_yticks(range(classes), class_names)
    return figure


@styled
def score_distributions(probability: Array, label: Array, threshold: float, class_names: Sequence[str]) -> Figure:
    """Distribution of the score for each true class, with Poisson errors √N; every class adds up to 1."""
    figure = blank(8, 5)
    axis = figure.subplots()
    edges = np.linspace(0, 1, 41 if len(label) > 2000 else 21)
    centres = (edges[1:] + edges[:-1]) / 2
    shares = []
    for kind, (name, colour) in enumerate(zip(class_names, COLOURS, strict=False)):
        counts, _ = np.histogram(probability[label == kind], edges)
        total = max(counts.sum(), 1)
        shares.append(counts / total)
        axis.stairs(shares[-1], edges, fill=True, color=colour, alpha=0.2)
        axis.stairs(shares[-1], edges, color=colour, linewidth=2, label=f"{name} ({counts.sum()})")
        filled = counts > 0
        axis.errorbar(centres[filled], shares[-1][filled], np.sqrt(counts[filled]) / total, fmt="none", ecolor=colour)
    axis.axvline(threshold, color="black", linestyle="--", linewidth=1.5, label=f"threshold {threshold:.3g}")
    _scale(axis, np.concatenate(shares))
    axis.set(xlabel=f"probability of {class_names[1]}", ylabel="share of the class per bin", xlim=(0, 1))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _scale(axis: Axes, heights: Array) -> None:
    """Make the axis of a histogram logarithmic where small bins would vanish."""
    filled = heights[heights > 0]
    if filled.size and filled.max() > _LOG_RANGE * filled.min():
        axis.set(yscale="log", ylim=(filled.min() / 2, filled.max() * 2))
    else:
        axis.set_ylim(bottom=0)


@styled
def calibration(probability: Array, label: Array) -> Figure:
    """Share of class 1 against the probability claimed, in ten bins; beneath, how many events are where.

    Errors are 68 % Wilson intervals (J. Am. Stat. Assoc. 22 (1927) 209), which do not vanish at 0 and 1. The
    expected calibration error is the mean of |share - probability| over bins, weighted by their events.
    """
    if not len(label):
        return notice("no calibration without events")
    bins = np.minimum((probability * 10).astype(np.intp), 9)
    events = np.bincount(bins, minlength=10)
    used = events > 0
    n = events[used]
    share = np.bincount(bins, weights=label == 1, minlength=10)[used] / n
    claimed = np.bincount(bins, weights=probability, minlength=10)[used] / n
    centre = (share + 0.5 / n) / (1 + 1 / n)
    half = np.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
    error = (n * abs(share - claimed)).sum() / n.sum()

    figure = blank(6, 5.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="perfect")
    reach = np.maximum([share - centre + half, centre + half - share], 0)  # rounding may leave -1e-17
    name = f"expected calibration error {error:.3f}"
    upper.errorbar(claimed, share, reach, fmt="o", color=VERMILLION, label=name)
    upper.set(ylabel="share of class 1", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    counts, edges = np.histogram(probability, np.linspace(0, 1, 41))
    lower.stairs(counts, edges, fill=True, color=BLUE, alpha=0.7)
    lower.set(xlabel="probability of class 1", ylabel="events")
    _scale(lower, counts)
    return figure


def binary_figures(
    probability: Array,
    label: Array,
    threshold: float,
    class_names: Sequence[str],
    draw: Draw | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    interval: tuple[float, float] | None = None,
    most: int = 32,
) -> Iterator[tuple[str, Figure]]:
    """All figures of a binary classifier with their file stems, one at a time.

    Args:
        probability: (N,) of class 1.
        label: (N,) 0 or 1.
        threshold: an event is positive at or above it.
        class_names: of background and signal.
        draw: of single events, for the gallery and the mistakes.
        history: columns of ``metrics.csv``, for the learning curves.
        interval: lower and upper end of the AUC's interval.
        most: single events on one figure.
    """
    yield "roc", roc(probability, label, class_names, interval)
    yield "precision_recall", precision_recall(probability, label, threshold)
    yield "confusion_matrix", confusion_matrix(decide(probability, threshold), label, class_names)
    yield "score_distributions", score_distributions(probability, label, threshold, class_names)
    yield "calibration", calibration(probability, label)
    yield from _if_given(probability, label, threshold, class_names, draw, history, most)


def multiclass_figures(
    probability: Array,
    label: Array,
    class_names: Sequence[str],
    draw: Draw | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    most: int = 32,
) -> Iterator[tuple[str, Figure]]:
    """As :func:`binary_figures`, for ``probability`` (N, C): what exists for several classes."""
    yield "roc", roc(probability, label, class_names)
    yield "confusion_matrix", confusion_matrix(decide(probability), label, class_names)
    yield from _if_given(probability, label, 0.5, class_names, draw, history, most)


def _if_given(
    probability: Array,
    label: Array,
    threshold: float,
    class_names: Sequence[str],
    draw: Draw | None,
    history: Mapping[str, Sequence[float]] | None,
    most: int,
) -> Iterator[tuple[str, Figure]]:
    if history is not None:
        yield "learning_curves", learning_curves(history)
    if draw is not None:
        yield "mistakes", mistakes(draw, probability, label, threshold, class_names, most)
        yield "gallery", gallery(draw, probability, label, threshold, class_names, max(1, most // 4))
