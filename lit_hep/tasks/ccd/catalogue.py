"""Clusters found in images and true ones: tables, how they match, and how well a score finds them.

A found cluster is a set of selected pixels that touch, corners included. It is true if at least a quarter of its pixels
are those of true clusters: the halo of a blurred score does no harm. A true cluster is found if true found clusters
together cover at least a tenth of its pixels. So a selection of everything finds nothing, and a track found in pieces
counts once.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lit_hep.data.files import replacing
from lit_hep.errors import DataError

Table = NDArray[Any]
Labels = NDArray[np.integer]
Bools = NDArray[np.bool_]

_OVERLAP, _COVERED = 0.25, 0.1
_TOUCHING = np.ones((3, 3), np.bool_)
_COUNTS = "i4"
FOUND = np.dtype(
    [
        *((name, _COUNTS) for name in ("cluster", "y0", "x0", "y1", "x1", "pixels")),
        *((name, "f8") for name in ("charge", "y", "x", "spread", "mean_score", "max_score")),
        ("true_cluster", _COUNTS),
    ]
)
"""A found cluster: number in the image from 1 on; rows y0 .. y1 - 1 and columns x0 .. x1 - 1 of its box; pixels; sum of
their values; centre and root mean square distance from it, weighted by the positive values; mean and largest score
(NaN without one); number of the true cluster with most pixels in common, 0 if it is false, -1 if the truth is not
known."""
TRUTH = np.dtype(
    [
        ("cluster", _COUNTS),
        ("kind", "U8"),
        *((name, "f8") for name in ("energy", "y", "x")),
        *((name, _COUNTS) for name in ("height", "width", "pixels")),
    ]
)
"""A true cluster: number in the image from 1 on; kind; charge put in, ADC; its centre; height, width and number of the
pixels in which it alone left enough charge to be seen."""


class Match(NamedTuple):
    """Which clusters belong together.

    Args:
        true_cluster: Number of the true cluster of each found one, 0 if it is false, (n,).
        number: Of the true clusters in the image, (m,).
        found: Whether each of these is found, (m,).
    """

    true_cluster: Labels
    number: Labels
    found: Bools


class Scan(NamedTuple):
    """Cluster finding over the threshold of a score, highest threshold first.

    Args:
        threshold: Pixels at or above it are selected, (t,).
        efficiency: Share of the true clusters that are found, (t,).
        false: Mean number of false clusters in an image, (t,).
    """

    threshold: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    false: NDArray[np.float64]

    def at(self, false: float) -> tuple[float, float]:
        """Highest efficiency with at most so many false clusters an image, and its threshold; 0, inf if there is none.

        Args:
            false: Mean number of false clusters in an image.
        """
        allowed = np.flatnonzero(self.false <= false)
        if not allowed.size:
            return 0.0, np.inf
        best = allowed[self.efficiency[allowed].argmax()]
        return float(self.efficiency[best]), float(self.threshold[best])


def label(selected: Bools, min_pixels: int = 1) -> NDArray[np.int32]:
    """Number the clusters of selected pixels (H, W) from 1 on; those of fewer than `min_pixels` are dropped."""
    labels, many = ndimage.label(selected, _TOUCHING)
    if min_pixels > 1:
        kept = np.bincount(labels.ravel(), minlength=many + 1) >= min_pixels
        kept[0] = False
        labels = np.where(kept, np.cumsum(kept), 0)[labels]
    return labels.astype(np.int32)


def find_clusters(
    image: NDArray[Any], selected: Bools, score: NDArray[Any] | None = None, min_pixels: int = 1
) -> tuple[Table, NDArray[np.int32]]:
    """Find and measure clusters.

    Args:
        image: Values less the pedestal, (H, W).
        selected: Pixels taken for those of clusters, (H, W).
        score: Of each pixel to be a cluster's, (H, W), if there is one.
        min_pixels: Clusters of fewer pixels are left out.

    Returns:
        Table of the type `FOUND`, and the number of the cluster of each pixel, (H, W), 0 where there is none.
    """
    labels = label(selected, min_pixels)
    y, x = np.nonzero(labels)
    mine = labels[y, x] - 1
    many = int(mine.max(initial=-1)) + 1
    table = np.zeros(many, FOUND)
    table["cluster"] = np.arange(many) + 1
    table["true_cluster"] = -1
    for name, place in (("y", y), ("x", x)):
        low, high = np.full(many, np.iinfo(np.int32).max), np.zeros(many, np.int32)
        np.minimum.at(low, mine, place)
        np.maximum.at(high, mine, place + 1)
        table[f"{name}0"], table[f"{name}1"] = low, high

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(mine, values, many).astype(np.float64)

    value = np.asarray(image[y, x], np.float64)
    table["pixels"] = np.bincount(mine, minlength=many)
    table["charge"] = total(value)
    weight = np.maximum(value, 0) + 1e-9  # a cluster without positive values still has a centre
    weight /= total(weight)[mine]
    table["y"], table["x"] = total(weight * y), total(weight * x)
    table["spread"] = np.sqrt(total(weight * ((y - table["y"][mine]) ** 2 + (x - table["x"][mine]) ** 2)))
    table["mean_score"] = table["max_score"] = np.nan
    if score is not None:
        value = np.asarray(score[y, x], np.float64)
        table["mean_score"] = total(value) / table["pixels"]
        highest = np.full(many, -np.inf)
        np.maximum.at(highest, mine, value)
        table["max_score"] = highest
    return table, labels


def match(labels: Labels, truth: Labels) -> Match:
    """Match found and true clusters of an image by the rule above.

    Args:
        labels: Number of the found cluster of each pixel, (H, W), 1 .. n, 0 for none.
        truth: Number of the true cluster, (H, W), 0 for none.
    """
    many = int(labels.max(initial=0))
    pixels = np.bincount(labels.ravel(), minlength=many + 1)
    both = (labels > 0) & (truth > 0)
    here, there = labels[both].astype(np.int64), truth[both].astype(np.int64)
    right = np.bincount(here, minlength=many + 1) >= _OVERLAP * np.maximum(pixels, 1)
    width = int(truth.max(initial=0)) + 1
    pair, common = np.unique(here * width + there, return_counts=True)
    best = np.zeros(many + 1, np.int64)
    order = common.argsort(kind="stable")  # the pair with most pixels in common comes last and stays
    best[pair[order] // width] = pair[order] % width
    size = np.bincount(truth.ravel(), minlength=width)
    covered = np.bincount(there[right[here]], minlength=width)
    number = np.flatnonzero(size[1:]) + 1
    return Match((best * right)[1:], number, covered[number] >= _COVERED * size[number])


def scan(
    scores: Sequence[NDArray[Any]],
    truths: Sequence[Labels],
    thresholds: NDArray[np.float64] | int = 40,
    min_pixels: int = 1,
) -> Scan:
    """Find clusters at many thresholds of a score: a probability, its logit, or the value of a pixel.

    Args:
        scores: N of (H, W).
        truths: Number of the true cluster of each pixel, N of (H, W), 0 for none.
        thresholds: To try; or how many, such that they select from a fifth of all pixels down to one in 100,000.
        min_pixels: Clusters of fewer pixels are left out.

    Raises:
        ValueError: There is no true cluster.
    """
    if isinstance(thresholds, int):
        every = np.concatenate([np.asarray(score).ravel() for score in scores])
        thresholds = np.quantile(every, 1 - np.geomspace(1e-5, 0.2, thresholds))
    thresholds = np.unique(thresholds)[::-1]
    result = np.zeros((len(thresholds), 3))  # true found, true, false
    for score, truth in zip(scores, truths, strict=True):
        for row, threshold in zip(result, thresholds, strict=True):
            matched = match(label(score >= threshold, min_pixels), truth)
            row += matched.found.sum(), len(matched.found), (matched.true_cluster == 0).sum()
    found, true, false = result.T
    if not true.all():
        raise ValueError("there is no true cluster")
    return Scan(thresholds, found / true, false / len(scores))


def write_catalogue(path: Path, tables: Iterable[tuple[str, Table]]) -> None:
    """Write tables of the type `FOUND` or `TRUTH` as one csv.

    Args:
        path: To write; never left half written.
        tables: Name of an image and its clusters.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names: tuple[str, ...] = ()
        for image, table in tables:
            if not names:
                names = table.dtype.names or ()
                writer.writerow(("image", *names))
            writer.writerows(
                (image, *(f"{value:.7g}" if isinstance(value, float) else value for value in row))
                for row in table.tolist()
            )


def read_truth(path: Path) -> Mapping[str, Table]:
    """Read true clusters by the name of their image, tables of the type `TRUTH`.

    Raises:
        DataError: The file is absent, or its columns or numbers are others.
    """
    try:
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for line in lines:
            rows.setdefault(line["image"], []).append(tuple(line[name] for name in TRUTH.names or ()))
        return {image: np.array(table, TRUTH) for image, table in rows.items()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise DataError(f"{path}: has no column {error}; want image, {', '.join(TRUTH.names or ())}") from error
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
        raise DataError(f"{path}: not a table of true clusters ({error})") from error
