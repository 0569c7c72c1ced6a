"""Numbers that describe a segmentation, from confusion counts of pixels alone.

Counts (C, C) have the true class in rows and the predicted class in columns, as
:func:`lit_hep.evaluation.classification.confusion` gives them. A number that does not exist is NaN; a mean over
classes is one over those that occur in the truth or the prediction.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta

from lit_hep.evaluation.classification import Array, averages, draws, ends, ratio


def segmentation_metrics(counts: Array, class_names: Sequence[str]) -> dict[str, float]:
    """All numbers of a segmentation.

    Args:
        counts: Pixels (C, C).
        class_names: C names.

    Returns:
        ``accuracy f1_macro`` and ``precision_<class> recall_<class> f1_<class> iou_<class> support_<class>``; IoU is
        the intersection of truth and prediction over their union, the support the number of true pixels.
    """
    overall = averages(counts)
    numbers = {"accuracy": overall["accuracy"], "f1_macro": overall["f1_macro"]}
    each = _by_class(counts)
    numbers |= {f"{key}_{name}": values[i] for i, name in enumerate(class_names) for key, values in each.items()}
    return {key: float(value) for key, value in numbers.items()}


def segmentation_intervals(
    counts: Array, class_names: Sequence[str], *, n: int = 1000, seed: int = 0
) -> dict[str, float]:
    """68 % percentile bootstrap intervals: images are drawn with replacement, as their pixels belong together.

    Args:
        counts: Pixels (N, C, C) of each image.
        class_names: C names.
        n: Resamples.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        ``f1_macro_low f1_macro_high`` and ``f1_<class>_low f1_<class>_high``; NaN if no resample has the number.
    """
    return ends(resampled(counts, class_names, n=n, seed=seed))


def resampled(counts: Array, class_names: Sequence[str], *, n: int = 1000, seed: int = 0) -> dict[str, Array]:
    """Numbers (n,) of resamples; the images drawn depend on how many there are and the seed alone.

    Arguments as of :func:`segmentation_intervals`.
    """
    drawn = np.tensordot(draws(len(counts), n, seed), counts, axes=1)
    f1 = _by_class(drawn)["f1"]
    return {"f1_macro": averages(drawn)["f1_macro"]} | {f"f1_{name}": f1[:, i] for i, name in enumerate(class_names)}


def cluster_rates(counts: Array) -> dict[str, Array]:
    """Efficiency and purity of clusters, and false ones an image.

    Args:
        counts: True clusters, those found, found clusters, true ones of them, images (..., 5).
    """
    true, seen, found, right, images = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return {
        "cluster_efficiency": ratio(seen, true),
        "cluster_purity": ratio(right, found),
        "false_clusters_per_image": ratio(found - right, images),
    }


def report(counts: Array, class_names: Sequence[str]) -> str:
    """Table of precision, recall, F1, IoU and support of each class, with their means, as text."""
    each = _by_class(counts)
    support = each["support"]
    occurs = counts.sum(axis=0) + counts.sum(axis=1) > 0
    means = {
        "mean": occurs / max(occurs.sum(), 1),
        "weighted": support / max(support.sum(), 1),
    }
    columns = [key for key in each if key != "support"]
    width = max(map(len, [*class_names, *means]))
    lines = [" " * width + "".join(f"{key:>11}" for key in each), ""]
    for i, name in enumerate(class_names):
        lines.append(f"{name:>{width}}" + "".join(f"{each[key][i]:11.4f}" for key in columns) + f"{support[i]:11.0f}")
    lines.append("")
    for name, weight in means.items():
        mean = (np.nansum(weight * each[key]) for key in columns)
        lines.append(f"{name:>{width}}" + "".join(f"{value:11.4f}" for value in mean) + f"{support.sum():11.0f}")
    accuracy = float(averages(counts)["accuracy"])
    lines.append(f"{'accuracy':>{width}}" + " " * 33 + f"{accuracy:11.4f}{support.sum():11.0f}")
    return "\n".join(lines)


def fractions(value: Array, passed: Array, edges: Array) -> dict[str, Array]:
    """Share that passes in bins of a value, with its 68 % interval after Clopper and Pearson (1934).

    Args:
        value: Such as the energy, (n,).
        passed: Whether each one does, (n,).
        edges: Of the bins, (b + 1,), ascending.

    Returns:
        ``n passed fraction low high``, each (b,); NaN in an empty bin.
    """
    every, some = (np.histogram(values, edges)[0] for values in (value, value[passed]))
    empty = every == 0
    low = np.where(some == 0, 0, beta.ppf(0.16, some, every - some + 1))
    high = np.where(some == every, 1, beta.ppf(0.84, some + 1, every - some))
    fraction = ratio(some, every)
    low, high = (np.where(empty, np.nan, end) for end in (low, high))
    return {"n": every, "passed": some, "fraction": fraction, "low": low, "high": high}


def _by_class(counts: Array) -> dict[str, Array]:
    """Numbers (..., C) of each class from counts (..., C, C)."""
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    predicted, actual = counts.sum(axis=-2), counts.sum(axis=-1)
    return {
        "precision": ratio(correct, predicted),
        "recall": ratio(correct, actual),
        "f1": ratio(2 * correct, predicted + actual),
        "iou": ratio(correct, predicted + actual - correct),
        "support": actual,
    }
