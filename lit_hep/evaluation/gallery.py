"""Pictures of single events."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lit_hep.evaluation.classification import Array, decide
from lit_hep.evaluation.style import blank, notice, styled


@styled
def grid(image: Array, titles: Sequence[str], heading: str = "", columns: int = 8) -> Figure:
    """Images side by side, each with a title.

    Args:
        image: (N, H, W), drawn in grey.
        titles: one an image.
        heading: over all of them.
        columns: of the grid.
    """
    rows = -(-len(image) // columns)
    height, width = image.shape[1:]
    figure = blank(1.25 * columns, rows * (1.25 * min(height / width, 2) + 0.45) + 0.4)
    # No ticks from the start: an axis switched off later still has them measured, half of the drawing time.
    bare = {"xticks": (), "yticks": (), "frame_on": False}
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw=bare).ravel()
    for axis, picture, title in zip(axes, image, titles, strict=False):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=10)
    figure.suptitle(heading)
    return figure


@styled
def planes(image: Array, titles: Sequence[str], names: Sequence[str]) -> Figure:
    """Readout planes of events side by side, on a common tick axis; two events a line if there are many.

    Args:
        image: (n, P, wires, ticks), charges, drawn in colours of their logarithm; 0 is left white.
        titles: one an event.
        names: of the planes.
    """
    count, few = len(names), len(image) <= 6
    across = 1 if few else 2
    down = -(-len(image) // across)
    figure = blank(across * 2.6 * count + 1, (2.7 if few else 2.2) * down + 0.4)
    bare = {} if few else {"xticks": (), "yticks": ()}  # ticks take most of the time
    axes = figure.subplots(down, across * count, squeeze=False, subplot_kw=bare).reshape(-1, count)
    charge = image[image > 0]
    norm = LogNorm(charge.min(), max(charge.max(), 1.01 * charge.min())) if charge.size else None
    for line, event, title in zip(axes, image, titles, strict=False):
        line[count // 2].set_title(title, fontsize=10)
        for axis, plane, name in zip(line, event, names, strict=True):
            shown = axis.imshow(np.ma.masked_equal(plane.T, 0), norm=norm, origin="lower", aspect="auto")
            axis.set_xlabel(f"wire, {name}", fontsize=10)
            axis.tick_params(labelsize=8)
        line[0].set_ylabel("tick", fontsize=10)
    for axis in axes[len(image) :].ravel():
        axis.remove()
    if norm is not None:
        figure.colorbar(shown, ax=list(axes[: len(image)].ravel()), pad=0.01, fraction=0.02).set_label("charge")
    return figure


@styled
def mistakes(
    image: Array,
    probability: Array,
    label: Array,
    threshold: float,
    class_names: Sequence[str],
    rows: int = 4,
    columns: int = 8,
) -> Figure:
    """Images that were classified wrongly, those first whose true class got the least probability.

    Titles give the true class and, for (N,), the probability of class 1; for (N, C) the class taken and its
    probability.

    Args:
        image: (N, H, W).
        probability: (N,) or (N, C).
        label: (N,).
        threshold: of a positive event; without meaning for (N, C).
        class_names: in the order of the labels.
        rows: of the grid, at most.
        columns: of the grid.
    """
    label = label.astype(np.intp)
    binary = probability.ndim == 1
    prediction = decide(probability, threshold)
    every = np.stack([1 - probability, probability], axis=1) if binary else probability
    wrong = np.flatnonzero(prediction != label)
    trust = every[wrong, label[wrong]]
    wrong = wrong[trust.argsort(kind="stable")][: rows * columns]
    if not wrong.size:
        return notice(f"no mistakes among {len(label)} events")
    titles = []
    for event in wrong:
        taken = 1 if binary else prediction[event]
        name = "" if binary else f"{class_names[taken]} "
        titles.append(f"{class_names[label[event]]} →\n{name}{every[event, taken]:.2f}")
    meaning = f"probability of {class_names[1]}" if binary else "class taken and its probability"
    return grid(image[wrong], titles, f"true class → {meaning}", columns)


@styled
def gallery(
    image: Array, probability: Array, label: Array, threshold: float, class_names: Sequence[str], columns: int = 8
) -> Figure:
    """A row each of the best images, the worst, and those nearest to the threshold.

    Best and worst is the probability of the true class; for (N, C) nearest is the smallest distance of the two
    likeliest classes. Titles and arguments as of :func:`mistakes`.
    """
    if not len(label):
        return notice("no gallery without events")
    label = label.astype(np.intp)
    binary = probability.ndim == 1
    every = np.stack([1 - probability, probability], axis=1) if binary else probability
    order = every[np.arange(len(label)), label].argsort(kind="stable")
    likeliest = np.sort(every, axis=1)
    distance = abs(probability - threshold) if binary else likeliest[:, -1] - likeliest[:, -2]
    columns = min(columns, len(label))
    rows = {"best": order[::-1], "worst": order, "nearest": distance.argsort(kind="stable")}
    chosen = np.concatenate([row[:columns] for row in rows.values()])
    taken = np.ones(len(chosen), np.intp) if binary else probability[chosen].argmax(axis=1)
    titles = [
        f"{class_names[true]} →\n{'' if binary else class_names[kind] + ' '}{every[event, kind]:.2f}"
        for event, true, kind in zip(chosen, label[chosen], taken, strict=True)
    ]
    meaning = f"probability of {class_names[1]}" if binary else "class taken and its probability"
    once, place = np.unique(chosen, return_inverse=True)  # each is read once
    figure = grid(image[once][place], titles, f"true class → {meaning}", columns)
    for axis, name in zip(figure.axes[::columns], rows, strict=True):
        axis.set_ylabel(name, fontsize=10)
    return figure
