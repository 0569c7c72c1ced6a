"""Numbers that describe a classifier, binary or of several classes.

Binary: ``probability`` (N,) is the probability of class 1, the signal; class 0 is the background.
Several classes: ``probability`` (N, C). ``label`` (N,) holds the true class. Every probability is finite.
A number that does not exist for the events given (an AUC of one class only) is NaN, never an exception.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

Array = NDArray[Any]

_DRAWS = 2**18  # events resampled at once: stays within the processor's cache, whatever N


def decide(probability: Array, threshold: float = 0.5) -> Array:
    """Class of every event: (N,) from (N,) by the threshold, from (N, C) by the largest probability."""
    return (probability >= threshold).astype(np.intp) if probability.ndim == 1 else probability.argmax(axis=1)


def confusion(prediction: Array, label: Array, classes: int) -> Array:
    """Number of events by true class (rows) and predicted class (columns): (C, C)."""
    cell = label.astype(np.intp) * classes + prediction
    return np.bincount(cell, minlength=classes**2).reshape(classes, classes)


def has_both(signal: Array) -> bool:
    """Whether there are events of both kinds, without which no curve exists."""
    return bool(signal.any() and not signal.all())


def background_efficiency(probability: Array, label: Array, signal_efficiency: float) -> float:
    """Background efficiency at the highest threshold whose signal efficiency reaches the one asked for.

    Args:
        probability: (N,) of class 1.
        label: (N,) 0 or 1, both present.
        signal_efficiency: fraction of the signal to be kept, 0 to 1.
    """
    background, signal, _ = roc_curve(label == 1, probability, drop_intermediate=False)
    return float(background[np.searchsorted(signal, signal_efficiency)])


def best_threshold(probability: Array, label: Array, tolerance: float = 0.0) -> float:
    """Threshold with the highest macro F1; an event is positive at or above it.

    Candidates are 0.5 and the middles between neighbouring scores, 0 and 1 being the outer neighbours. Of
    equally good ones the nearest to 0.5 is taken, of two equally near ones the lower.

    Args:
        probability: (N,) of class 1.
        label: (N,) 0 or 1.
        tolerance: what counts as equally good, in standard errors sqrt(F1 (1 - F1) / N) of the highest F1.

    Returns:
        The threshold; 0.5 if a class is absent.
    """
    signal = label == 1
    if not has_both(signal):
        return 0.5
    score = np.unique(probability)
    low, high = np.pad(score, (1, 0)), np.pad(score, (0, 1), constant_values=1)
    middle = (low + high) / 2
    # Adjacent floating-point numbers have no middle: at the upper one the cut still falls between them.
    threshold = np.append(np.where(middle > low, middle, high), score.dtype.type(0.5))
    fn, tn = (np.searchsorted(np.sort(probability[kind]), threshold) for kind in (signal, ~signal))
    tp, fp = signal.sum() - fn, (~signal).sum() - tn
    f1 = averages(np.stack([tn, fp, fn, tp], axis=-1).reshape(-1, 2, 2))["f1_macro"]
    highest = f1.max()
    error = np.sqrt(max(highest * (1 - highest), 0) / len(label))
    best = threshold[f1 > highest - tolerance * error - 1e-12]  # equal fractions may differ in their last bit
    return float(best[np.abs(best - 0.5).argmin()])


def binary_metrics(probability: Array, label: Array, threshold: float) -> dict[str, float]:
    """All numbers of a binary classifier.

    ``background_rejection_at_X`` is 1 - ε_B at the highest threshold whose signal efficiency reaches X %.
    Unlike 1/ε_B, which the figures show, it stays finite where no background is left. ``f1_macro`` averages
    over the classes that occur among labels or predictions.

    Args:
        probability: (N,) of class 1.
        label: (N,) 0 or 1.
        threshold: an event is positive at or above it.

    Returns:
        ``auroc accuracy precision recall f1_macro average_precision threshold background_rejection_at_50
        background_rejection_at_90 tp fp tn fn n``; NaN where a class needed is absent or nothing is selected.
    """
    signal = label == 1
    counts = confusion(decide(probability, threshold), signal, 2)
    scores = averages(counts)
    tn, fp, fn, tp = counts.ravel()
    rejection = {
        f"background_rejection_at_{percent}": 1 - background_efficiency(probability, signal, percent / 100)
        if has_both(signal)
        else np.nan
        for percent in (50, 90)
    }
    numbers = {
        "auroc": _auroc(probability, signal),
        "accuracy": scores["accuracy"],
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "f1_macro": scores["f1_macro"],
        "average_precision": average_precision_score(signal, probability) if signal.any() else np.nan,
        "threshold": threshold,
        **rejection,
        **{"tp": tp, "fp": fp, "tn": tn, "fn": fn, "n": len(label)},
    }
    return {key: float(value) for key, value in numbers.items()}


def multiclass_metrics(probability: Array, label: Array) -> dict[str, float]:
    """All numbers of a classifier of several classes.

    ``auroc`` is the mean over classes of one against the rest, of those classes for which it exists.
    ``f1_macro precision recall`` are means over the classes that occur among labels or predictions; there a
    class never predicted counts with precision 0, as leaving it out would flatter a network that ignores it.

    Args:
        probability: (N, C).
        label: (N,) 0 to C - 1.

    Returns:
        ``auroc accuracy f1_macro precision recall n``.
    """
    classes = probability.shape[1]
    scores = averages(confusion(decide(probability), label, classes))
    auroc = np.array([_auroc(probability[:, kind], label == kind) for kind in range(classes)])
    mean = ratio(np.nansum(auroc), np.isfinite(auroc).sum())
    return {key: float(value) for key, value in {"auroc": mean, **scores}.items()} | {"n": float(len(label))}


def bootstrap_intervals(
    probability: Array, label: Array, threshold: float = 0.5, *, n: int = 1000, seed: int = 0
) -> dict[str, float]:
    """68 % percentile bootstrap intervals: events are drawn with replacement.

    Resamples that lack a class say nothing of the AUC and are left out of its interval.

    Args:
        probability: (N,) of class 1, or (N, C).
        label: (N,) true class.
        threshold: an event is positive at or above it; without meaning for (N, C).
        n: resamples.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        ``auroc_low auroc_high f1_macro_low f1_macro_high``; for (N, C) ``f1_macro_low f1_macro_high
        accuracy_low accuracy_high`` and no AUC. NaN without events, for the AUC also if a class is absent.
    """
    generator = np.random.default_rng(seed)
    binary = probability.ndim == 1
    counts = confusion(decide(probability, threshold), label, 2 if binary else probability.shape[1])
    # What depends on the confusion matrix alone needs no events: its cells are multinomial.
    cells = generator.multinomial(len(label), counts.ravel() / max(len(label), 1), size=n)
    resampled = averages(cells.reshape(n, *counts.shape))
    if binary:
        resampled["auroc"] = resampled_auroc(probability, label == 1, n, generator)
    return ends({key: resampled[key] for key in (("auroc", "f1_macro") if binary else ("f1_macro", "accuracy"))})


def draws(events: int, n: int, seed: int) -> Array:
    """How often each event is in each resample (n, events)."""
    share = np.full(events, 1 / max(events, 1))
    return np.random.default_rng(seed).multinomial(events, share, size=n) if events else np.zeros((n, 0), np.int64)


def ends(resampled: Mapping[str, Array]) -> dict[str, float]:
    """68 % intervals of resampled numbers (n,), ``<name>_low`` and ``<name>_high``; NaN if none of them exists."""
    found = dict[str, float]()
    for name, values in resampled.items():
        finite = values[np.isfinite(values)]
        low, high = np.quantile(finite, [0.16, 0.84]) if finite.size else (np.nan, np.nan)
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def ratio(part: Any, whole: Any) -> Array:
    """``part / whole``, elementwise; NaN where the whole is 0."""
    whole = np.asarray(whole)
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0))


def averages(counts: Array) -> dict[str, Array]:
    """Accuracy and macro averages of confusion matrices (..., C, C), each (...)."""
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    predicted, actual = counts.sum(axis=-2), counts.sum(axis=-1)
    occurs = predicted + actual > 0

    def macro(part: Array, whole: Array) -> Array:
        return ratio(np.nan_to_num(ratio(part, whole)).sum(axis=-1), occurs.sum(axis=-1))

    return {
        "accuracy": ratio(correct.sum(axis=-1), actual.sum(axis=-1)),
        "f1_macro": macro(2 * correct, predicted + actual),
        "precision": macro(correct, predicted),
        "recall": macro(correct, actual),
    }


def _auroc(probability: Array, signal: Array) -> float:
    return float(roc_auc_score(signal, probability)) if has_both(signal) else np.nan


def resampled_auroc(probability: Array, signal: Array, n: int, generator: np.random.Generator) -> Array:
    """AUC (n,) of n resamples: the share of signal-background pairs in the right order, ties counting half.

    The events drawn depend on their number and the generator alone, so that scores of the same events can be paired.
    Each resample is a count of draws per distinct score and class, so nothing is sorted but the scores, once.
    """
    score, rank = np.unique(probability, return_inverse=True)
    shape = (2, len(score))
    cell = signal * len(score) + rank
    auroc = np.full(n, np.nan)
    if not has_both(signal):
        return auroc
    for chunk in np.array_split(auroc, min(n, 1 + n * len(cell) // _DRAWS)):
        drawn = cell[generator.integers(len(cell), size=(len(chunk), len(cell)))]
        drawn += np.arange(len(chunk))[:, None] * np.prod(shape)
        counts = np.bincount(drawn.ravel(), minlength=len(chunk) * np.prod(shape)).reshape(-1, *shape)
        background, kept = counts[:, 0], counts[:, 1]
        won = (kept * (background.cumsum(axis=1) - background / 2)).sum(axis=1)
        chunk[:] = ratio(won, background.sum(axis=1) * kept.sum(axis=1))
    return auroc
