"""Pictures of single events.

Those of a test are drawn by a function ``draw`` of the task, from their places (n,) and a title for each: the one that
``show`` draws with.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lit_hep.evaluation.classification import Array, decide
from lit_hep.evaluation.style import blank, notice, styled

Draw = Callable[[Array, Sequence[str]], Figure]

_CRYSTAL = 0.0174
"""Width of a crystal of the CMS barrel, in η and in φ (rad)."""
_FAINTEST = 0.05  # GeV; of about the noise


@styled
def grid(image: Array, titles: Sequence[str], columns: int = 8) -> Figure:
    """Images side by side, each with a title.

    Args:
        image: (N, H, W), drawn in grey.
        titles: one an image.
        columns: of the grid.
    """
    columns = min(columns, len(image))
    rows = -(-len(image) // columns)
    height, width = image.shape[1:]
    lines = max(title.count("\n") for title in titles) + 1
    figure = blank(1.25 * columns, rows * (1.25 * min(height / width, 2) + 0.05 + 0.2 * lines) + 0.2)
    # No ticks from the start: an axis switched off later still has them measured, half of the drawing time.
    bare = {"xticks": (), "yticks": (), "frame_on": False}
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw=bare).ravel()
    for axis, picture, title in zip(axes, image, titles, strict=False):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=10)
    return figure


@styled
def crystals(energy: Array, time: Array, titles: Sequence[str]) -> Figure:
    """Calorimeter crops in η and φ: energies in colours of their logarithm, and beside them the times.

    Args:
        energy: (n, H, W) in GeV, rows η, columns φ; 0 is left white.
        time: As the energy, in ns; drawn where there is energy.
        titles: one an event.
    """
    across = min(4, len(energy))
    down = -(-len(energy) // across)
    height, width = energy.shape[1:]
    figure = blank(2 * 1.75 * across + 1.6, (1.75 * height / width + 0.3) * down + 0.9)
    axes = figure.subplots(down, 2 * across, squeeze=False, sharex=True, sharey=True)
    hit = energy > 0
    norm = LogNorm(_FAINTEST, max(float(energy.max()), 2 * _FAINTEST))
    reach = float(np.quantile(abs(time[hit]), 0.99)) if hit.any() else 0
    ends = _CRYSTAL / 2 * np.array([-width, width, -height, height])
    pairs = axes.reshape(-1, 2)
    for unused in pairs[len(energy) :].ravel():
        unused.remove()
    for place, (axis, beside) in enumerate(pairs[: len(energy)]):
        frame = {"extent": ends, "origin": "lower", "interpolation": "nearest"}
        charged = axis.imshow(np.ma.masked_where(~hit[place], energy[place]), norm=norm, **frame)
        late = np.ma.masked_where(~hit[place], time[place])
        timed = beside.imshow(late, norm=CenteredNorm(0, reach or 1), cmap="PuOr", **frame)
        beside.set_facecolor("#eeeeee")  # the middle of the colours is white
        axis.set_title(titles[place], fontsize=10)
        lowest = place + across >= len(energy)
        for one in (axis, beside):
            one.grid(visible=False)
            one.tick_params(labelsize=9, labelbottom=lowest)
            # what has no numbers has no ticks: they take most of the time
            one.xaxis.set_visible(lowest)
            one.yaxis.set_visible(one is axis and place % across == 0)
    figure.supxlabel("Δφ (rad)", fontsize=11)
    figure.supylabel("Δη", fontsize=11)
    for shown, words in ((timed, "time (ns)"), (charged, "energy (GeV)")):  # from the outside in
        bar = figure.colorbar(shown, ax=_corners(pairs[: len(energy)], across), pad=0.01, aspect=20 * down)
        bar.set_label(words, fontsize=11)
    return figure


@styled
def planes(image: Array, titles: Sequence[str], names: Sequence[str]) -> Figure:
    """Wires and ticks of the readout planes of events, on a common tick axis; two events a line if there are many.

    Args:
        image: (n, P, wires, ticks), charges, drawn in colours of their logarithm; 0 is left white.
        titles: one an event.
        names: of the planes.
    """
    count, many = len(names), len(image) > 12
    across = 1 if len(image) <= 4 else 2
    down = -(-len(image) // across)
    figure = blank(across * 2.6 * count + 1, (2.2 if many else 2.7) * down + 0.4)
    bare = {"xticks": (), "yticks": ()} if many else {}  # ticks take most of the time
    axes = figure.subplots(down, across * count, squeeze=False, subplot_kw=bare).reshape(-1, count)
    charge = image[image > 0]
    norm = LogNorm(charge.min(), max(charge.max(), 1.01 * charge.min())) if charge.size else None
    for line, event, title in zip(axes, image, titles, strict=False):
        line[count // 2].set_title(title, fontsize=10)
        for axis, plane, name in zip(line, event, names, strict=True):
            shown = axis.imshow(np.ma.masked_equal(plane.T, 0), norm=norm, origin="lower", aspect="auto")
            axis.grid(visible=False)
            axis.set_xlabel(f"wire, {name}", fontsize=10)
            axis.tick_params(labelsize=8)
        line[0].set_ylabel("tick", fontsize=10)
    for axis in axes[len(image) :].ravel():
        axis.remove()
    if norm is not None:
        bar = figure.colorbar(shown, ax=_corners(axes[: len(image)], across), pad=0.01, fraction=0.02)
        bar.set_label("charge")
    return figure


def _corners(axes: NDArray[np.object_], across: int) -> list[Axes]:
    """Two axes (n, k) of events, `across` a line, between which all lie: a colour bar is measured for each it is of."""
    return [axes[:across][-1, -1], axes[::across][-1, 0]]


@styled
def mistakes(
    draw: Draw, probability: Array, label: Array, threshold: float, class_names: Sequence[str], most: int = 32
) -> Figure:
    """Events that were classified wrongly, those first whose true class got the least probability.

    Titles give the true class and, for (N,), the probability of class 1; for (N, C) the class taken and its
    probability.

    Args:
        draw: of N events.
        probability: (N,) or (N, C).
        label: (N,).
        threshold: of a positive event; without meaning for (N, C).
        class_names: in the order of the labels.
        most: events that are drawn.
    """
    label = label.astype(np.intp)
    every, taken = _every(probability), decide(probability, threshold)
    wrong = np.flatnonzero(taken != label)
    wrong = wrong[every[wrong, label[wrong]].argsort(kind="stable")][:most]
    if not wrong.size:
        return notice(f"no mistakes among {len(label)} events")
    return _titled(draw, wrong, [""] * len(wrong), probability, label, class_names)


@styled
def gallery(
    draw: Draw, probability: Array, label: Array, threshold: float, class_names: Sequence[str], each: int = 8
) -> Figure:
    """The best events, the worst, and those nearest to the threshold, so many of each.

    Best and worst is the probability of the true class; for (N, C) nearest is the smallest distance of the two
    likeliest classes. Titles and arguments as of :func:`mistakes`.
    """
    if not len(label):
        return notice("no gallery without events")
    label = label.astype(np.intp)
    every = _every(probability)
    order = every[np.arange(len(label)), label].argsort(kind="stable")
    likeliest = np.sort(every, axis=1)
    distance = abs(probability - threshold) if probability.ndim == 1 else likeliest[:, -1] - likeliest[:, -2]
    kinds = {"best": order[::-1], "worst": order, "nearest": distance.argsort(kind="stable")}
    chosen = np.concatenate([kind[:each] for kind in kinds.values()])
    names = [f"{name}\n" for name in kinds for _ in order[:each]]
    return _titled(draw, chosen, names, probability, label, class_names)


def _every(probability: Array) -> Array:
    """Probability of each class (N, C)."""
    return np.stack([1 - probability, probability], axis=1) if probability.ndim == 1 else probability


def _titled(
    draw: Draw, chosen: Array, names: Sequence[str], probability: Array, label: Array, class_names: Sequence[str]
) -> Figure:
    """Events with what was thought of them."""
    titles = []
    for name, event in zip(names, chosen, strict=True):
        kind = 1 if probability.ndim == 1 else int(probability[event].argmax())
        taken = "" if probability.ndim == 1 else f"{class_names[kind]} "
        value = probability[event] if probability.ndim == 1 else probability[event, kind]
        titles.append(f"{name}{class_names[label[event]]} →\n{taken}{value:.2f}")
    figure = draw(chosen, titles)
    meaning = f"probability of {class_names[1]}" if probability.ndim == 1 else "class taken and its probability"
    figure.suptitle(f"true class → {meaning}")
    return figure
