"""The learning curves of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lit_hep.evaluation.classification import Array
from lit_hep.evaluation.style import BLUE, COLOURS, GREY, VERMILLION, blank, notice, styled

_RATE = "learning rate"
_SPLITS = {"train": BLUE, "val": VERMILLION}
_MOST_STAGES = 8  # an integer that takes more values is a count to be drawn, not a stage


@styled
def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """What was logged, against the epoch: a panel per quantity, training and validation together.

    Columns ``lr-…`` share a logarithmic panel. Where an integer that only grows, such as ``stage``, takes a
    new value, a vertical line crosses all panels. Columns ``test_…`` and ``step`` are left out.

    Args:
        history: columns of a ``metrics.csv``, ``epoch`` among them; NaN where a row lacks a value.
    """
    columns = {name: np.asarray(values, dtype=float) for name, values in history.items()}
    epoch = _filled(columns.pop("epoch", np.empty(0)))
    columns = {
        name: values
        for name, values in columns.items()
        if name != "step" and not name.startswith("test_") and np.isfinite(values).any()
    }
    stages = [name for name, values in columns.items() if _is_stage(name, values)]
    panels = dict[str, dict[str, Array]]()
    for name in sorted(columns.keys() - stages, key=_panel_order):
        quantity, curve = _place(name)
        panels.setdefault(quantity, {})[curve] = columns[name]
    if not panels:
        return notice("nothing was logged")

    starts = {start for name in stages for start in _starts(epoch, columns[name])}
    across = 2 if len(panels) == 4 else min(len(panels), 3)
    down = -(-len(panels) // across)
    figure = blank(max(6, 4.2 * across), max(4.5, 3.2 * down))
    axes = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for axis, (quantity, curves) in zip(axes, panels.items(), strict=False):
        _draw_panel(axis, quantity, curves, epoch)
        for start in starts:
            axis.axvline(start, color=GREY, linewidth=1, linestyle=":", zorder=1)
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis in axes[max(len(panels) - across, 0) : len(panels)]:
        axis.set_xlabel("epoch")
        axis.tick_params(labelbottom=True)
    return figure


def _draw_panel(axis: Axes, quantity: str, curves: Mapping[str, Array], epoch: Array) -> None:
    others = iter(COLOURS[2:] * len(curves))
    for name, values in curves.items():
        colour = _SPLITS.get(name) or next(others)
        axis.plot(*_by_epoch(epoch, values), ".-", color=colour, label=name, markersize=5)
    axis.set_title(quantity)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == _RATE and any((values > 0).any() for values in curves.values()):
        axis.set_yscale("log")
    if set(curves) != {quantity}:
        axis.legend()


def _place(name: str) -> tuple[str, str]:
    """The panel a column belongs to and the name of its curve there."""
    if name.startswith("lr-"):
        return _RATE, name.removeprefix("lr-")
    split, _, quantity = name.partition("_")
    return (quantity, split) if split in _SPLITS and quantity else (name, name)


def _panel_order(name: str) -> tuple[int, str, str]:
    """The loss first, where everyone looks for it, the learning rate last; training before validation."""
    quantity, curve = _place(name)
    return (quantity != "loss") + (quantity == _RATE), quantity, curve


def _filled(epoch: Array) -> Array:
    """The epoch of every row; one without, such as a learning rate's, belongs to that of the rows to come."""
    known = np.flatnonzero(np.isfinite(epoch))
    if not known.size:
        return np.arange(len(epoch), dtype=float)
    following = np.searchsorted(known, np.arange(len(epoch))).clip(max=len(known) - 1)
    return np.asarray(epoch[known[following]])


def _by_epoch(epoch: Array, values: Array) -> tuple[Array, Array]:
    """Epochs that have a value and the mean of each: a quantity may be logged every few steps."""
    present = np.isfinite(values)
    epochs, row = np.unique(epoch[present], return_inverse=True)
    return epochs, np.bincount(row, weights=values[present]) / np.bincount(row)


def _is_stage(name: str, values: Array) -> bool:
    known = values[np.isfinite(values)]
    steps = np.diff(known)
    whole = bool((known == known.round()).all() and (steps >= 0).all())
    return whole and _place(name) == (name, name) and int(np.count_nonzero(steps)) < _MOST_STAGES


def _starts(epoch: Array, stage: Array) -> Array:
    """Where a stage begins: half an epoch before the first one with its value."""
    present = np.isfinite(stage)
    new = np.flatnonzero(np.diff(stage[present])) + 1
    return np.asarray(epoch[present][new] - 0.5)
