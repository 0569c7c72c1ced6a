"""Figures of segmented images; counts as in :mod:`lit_hep.evaluation.segmentation`."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lit_hep.evaluation.classification import Array
from lit_hep.evaluation.figures import confusion_counts
from lit_hep.evaluation.history import learning_curves
from lit_hep.evaluation.segmentation import fractions, segmentation_metrics
from lit_hep.evaluation.style import BLUE, COLOURS, GREY, VERMILLION, blank, notice, styled

__all__ = [
    "by_class",
    "class_scores",
    "cluster_finding",
    "confusion_counts",
    "figures",
    "one_class",
    "pictures",
    "samples",
]

_BARE = {"xticks": (), "yticks": (), "frame_on": False}
_BINS = 8


@styled
def pictures(
    image: Array,
    prediction: Array,
    truth: Array | None,
    class_names: Sequence[str],
    colours: Array,
    title: str = "",
) -> Figure:
    """Image, truth if there is one, and prediction side by side, with the percentage of each class.

    Args:
        image: (H, W).
        prediction: Class of each pixel, (H, W).
        truth: As the prediction; numbers that are no class are drawn grey.
        class_names: C names.
        colours: (C, 3), 0 .. 255.
        title: Over all.
    """
    masks = {"prediction": prediction} if truth is None else {"truth": truth, "prediction": prediction}
    figure, axes = _row(1 + len(masks), image)
    _show_values(axes[0], image)
    axes[0].set_title("image")
    for axis, (name, mask) in zip(axes[1:], masks.items(), strict=True):
        axis.set_title(name)
        _show_mask(axis, mask, colours)
        known = mask[mask < len(class_names)]
        share = np.bincount(known, minlength=len(class_names)) / max(known.size, 1)
        labels = [f"{kind} {part:.2%}" for kind, part in zip(class_names, share, strict=True)]
        _legend(axis, labels, colours)
    figure.suptitle(title)
    return figure


@styled
def samples(
    pairs: Sequence[tuple[Array, Array | None]], titles: Sequence[str], class_names: Sequence[str], colours: Array
) -> Figure:
    """Images, and beside each the same in grey with its classes on top.

    Args:
        pairs: Image and class of each pixel, (H, W) each; None where the classes are not known.
        titles: One an image.
        class_names: C names.
        colours: (C, 3), 0 .. 255.
    """
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    height, width = pairs[0][0].shape
    wide = float(np.clip(3.4 * width / height, 2.2, 4.5))
    figure = blank(2 * columns * wide, (wide * height / width + 0.35) * rows + 0.5)
    axes = figure.subplots(rows, 2 * columns, squeeze=False, subplot_kw=_BARE).reshape(-1, 2)
    for (axis, beside), (image, mask), title in zip(axes, pairs, titles, strict=False):
        _show_values(axis, image)
        axis.set_title(title, fontsize=10)
        if mask is not None:
            _show_values(beside, image, "gray")
            _show_mask(beside, np.ma.masked_equal(mask, 0), colours, 0.6)
    handles = _patches(class_names[1:], colours[1:])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=10)
    return figure


@styled
def one_class(
    image: Array, prediction: Array, number: int, class_names: Sequence[str], colours: Array, title: str = ""
) -> Figure:
    """Image, and what is predicted to be of one class alone; arguments as in :func:`pictures`."""
    figure, axes = _row(2, image)
    _show_values(axes[0], image)
    axes[0].set_title("image")
    chosen = prediction == number
    shade = np.array([[0, 0, 0], colours[number] if colours[number].any() else (255, 255, 255)])
    _show_mask(axes[1], chosen.astype(np.uint8), shade)
    axes[1].set_title("prediction")
    _legend(axes[1], [f"{class_names[number]} {chosen.mean():.2%}"], shade[1:])
    figure.suptitle(title)
    return figure


@styled
def by_class(prediction: Array, truth: Array, class_names: Sequence[str], title: str = "") -> Figure:
    """A panel for each class: its pixels that are found, missed, and called so wrongly.

    Args:
        prediction: Class of each pixel, (H, W).
        truth: As the prediction; where it is no class nothing is drawn.
        class_names: C names.
        title: Over all.
    """
    names = ("found", "missed", "false")
    shades = np.array([[int(shade[i : i + 2], 16) for i in (1, 3, 5)] for shade in (BLUE, VERMILLION, COLOURS[2])])
    colours = np.vstack([(255, 255, 255), shades])
    figure, axes = _row(len(class_names), truth)
    for number, (axis, name) in enumerate(zip(axes, class_names, strict=True)):
        true, called = truth == number, (prediction == number) & (truth < len(class_names))
        _show_mask(axis, np.select([true & called, true, called], [1, 2, 3]), colours)
        axis.set(frame_on=True, title=f"{name}: {np.sum(true)} pixels")
        counts = np.sum(true & called), np.sum(true & ~called), np.sum(called & ~true)
        _legend(axis, [f"{kind} {count}" for kind, count in zip(names, counts, strict=True)], shades)
    figure.suptitle(title)
    return figure


@styled
def class_scores(counts: Array, class_names: Sequence[str], intervals: Mapping[str, float] | None = None) -> Figure:
    """Precision, recall, F1 and IoU of each class as bars, with the interval of F1 if given.

    Args:
        counts: Pixels (C, C).
        class_names: C names.
        intervals: ``f1_<class>_low`` and ``f1_<class>_high``.
    """
    numbers = segmentation_metrics(counts, class_names)
    figure = blank(1.9 * len(class_names) + 1.5, 4.5)
    axis = figure.subplots()
    keys = ("precision", "recall", "f1", "iou")
    place = np.arange(len(class_names))
    for i, key in enumerate(keys):
        height = np.array([numbers[f"{key}_{name}"] for name in class_names])
        shown = {"f1": "F1", "iou": "IoU"}.get(key, key)
        bars = axis.bar(place + 0.2 * (i - 1.5), height, 0.19, color=COLOURS[i], label=shown)
        axis.bar_label(bars, [f"{value:.2f}" if np.isfinite(value) else "–" for value in height], fontsize=9, padding=2)
        if key == "f1" and intervals:
            ends = np.array([[intervals[f"f1_{name}_{end}"] for name in class_names] for end in ("low", "high")])
            axis.vlines(place + 0.2 * (i - 1.5), *ends, color="black", linewidth=1.2)
    names = [f"{name}\n{numbers[f'support_{name}']:.0f} pixels" for name in class_names]
    axis.set_xticks(place, names)
    axis.set(ylim=(0, 1.12), ylabel="score")
    axis.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


@styled
def cluster_finding(energy: Array, found: Array, charge: Array, true: Array, unit: str = "ADC") -> Figure:
    """Efficiency against the energy of true clusters and purity against the charge of found ones.

    Bars are 68 % binomial intervals, horizontally the bins, which are equal on a logarithmic scale.

    Args:
        energy: Of the true clusters, (n,).
        found: Whether each is, (n,).
        charge: Of the found clusters, (m,).
        true: Whether each is, (m,).
        unit: Of energy and charge.
    """
    positive = np.concatenate([energy[energy > 0], charge[charge > 0]])
    if not positive.size:
        return notice("no clusters, true or found")
    edges = np.geomspace(positive.min() * 0.999, positive.max() * 1.001, _BINS + 1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    figure = blank(7, 4.8)
    axis = figure.subplots()
    for name, value, passed, colour in (
        (f"efficiency, {np.sum(found)} of {len(found)} true clusters found", energy, found, BLUE),
        (f"purity, {np.sum(true)} of {len(true)} found clusters true", charge, true, VERMILLION),
    ):
        share = fractions(value, passed, edges)
        down, up = share["fraction"] - share["low"], share["high"] - share["fraction"]
        bins, spans = (middle - edges[:-1], edges[1:] - middle), (down, up)
        axis.errorbar(middle, share["fraction"], spans, bins, fmt="o", color=colour, linewidth=1.5, label=name)
    axis.set(xscale="log", ylim=(-0.02, 1.05), ylabel="share")
    axis.set_xlabel(f"energy of the true, charge of the found cluster ({unit})")
    figure.legend(loc="outside upper center", frameon=False)
    return figure


def figures(
    counts: Array,
    class_names: Sequence[str],
    intervals: Mapping[str, float] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Figures of the counts with their file stems, one at a time.

    Args:
        counts: Pixels (C, C).
        class_names: C names.
        intervals: As in :func:`class_scores`.
        history: Columns of ``metrics.csv``, for the learning curves.
    """
    yield "class_scores", class_scores(counts, class_names, intervals)
    yield "confusion_matrix", confusion_counts(counts, class_names)
    if history is not None:
        yield "learning_curves", learning_curves(history)


def _row(panels: int, image: Array) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels side by side in the shape of the image, and its axes."""
    height, width = image.shape
    wide = float(np.clip(4.2 * width / height, 3.6, 8.4))  # inches; the legend needs 3.6
    figure = blank(panels * wide, min(wide * height / width, 9) + 1.3)
    return figure, list(figure.subplots(1, panels, subplot_kw=_BARE))


def _show_values(axis: Axes, image: Array, colours: str = "viridis") -> None:
    """Draw the image such that faint pixels show beside bright ones: linear near the median, logarithmic far above."""
    value = np.asarray(image, np.float64) - np.median(image)
    noise = 1.48 * float(np.median(np.abs(value))) or float(value.std()) or 1.0
    low = float(np.quantile(value, 0.005))
    stretch = AsinhNorm(4 * noise, low, max(float(value.max()), low + noise))
    axis.imshow(value, cmap=colours, norm=stretch, interpolation="nearest")


def _show_mask(axis: Axes, mask: Array, colours: Array, opacity: float = 1) -> None:
    shades = ListedColormap([*(tuple(shade / 255) for shade in np.asarray(colours)), GREY])
    shown = np.ma.minimum(mask, len(colours))
    axis.imshow(shown, cmap=shades, vmin=-0.5, vmax=len(colours) + 0.5, alpha=opacity, interpolation="nearest")


def _legend(axis: Axes, labels: Sequence[str], colours: Array) -> None:
    handles = _patches(labels, colours)
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False, fontsize=10)


def _patches(labels: Sequence[str], colours: Array) -> list[Patch]:
    return [
        Patch(facecolor=tuple(shade / 255), edgecolor="black", label=text)
        for shade, text in zip(np.asarray(colours), labels, strict=True)
    ]
