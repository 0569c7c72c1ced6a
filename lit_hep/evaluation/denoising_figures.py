"""Figures of cleaned drift-chamber events; arguments as in :mod:`lit_hep.evaluation.denoising`."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from lit_hep.evaluation.classification import Array
from lit_hep.evaluation.denoising import REJECTIONS, Hits, by_current, metrics, sums
from lit_hep.evaluation.history import learning_curves
from lit_hep.evaluation.style import BLUE, COLOURS, GREY, VERMILLION, blank, notice, styled

_AGAINST_CURRENT = {
    "hit_efficiency": "hit efficiency",
    "purity": "purity",
    "events_6_segments": "events keeping 6 segments",
    "events_5_segments": "events keeping ≥ 5 segments",
}


def _both(hits: Hits) -> bool:
    return hits.track is not None and bool(hits.track.any()) and not hits.track.all()


@styled
def efficiency_rejection(hits: Hits, threshold: float) -> Figure:
    """Hit efficiency against background rejection over the threshold, and its upper right corner."""
    if not _both(hits):
        return notice("no curve without hits of both kinds")
    false, true, _ = roc_curve(hits.track, hits.score)
    numbers = metrics(hits, threshold)
    figure = blank(10, 4.8)
    for axis, low in zip(figure.subplots(1, 2), (0.0, 0.8), strict=True):
        axis.plot(1 - false, true, color=BLUE)
        axis.plot(
            numbers["background_rejection"],
            numbers["hit_efficiency"],
            "o",
            color=VERMILLION,
            label=f"threshold {threshold:.3g}: efficiency {numbers['hit_efficiency']:.4f}",
        )
        for name, rejection in REJECTIONS.items():
            axis.axvline(rejection, color=GREY, linewidth=1, linestyle="--")
            axis.plot([], [], "--", color=GREY, label=f"at rejection {rejection:g}: {numbers[name]:.4f}")
        axis.set(xlabel="background rejection", ylabel="hit efficiency", xlim=(low, 1.005), ylim=(low, 1.005))
    axis.legend(loc="lower left")
    return figure


@styled
def scores(hits: Hits, threshold: float) -> Figure:
    """Distribution of the score of track hits and of background."""
    if hits.track is None or not len(hits.track):
        return notice("no hits whose truth is known")
    figure = blank(8, 5)
    axis = figure.subplots()
    edges = np.linspace(0, 1, 51)
    for mine, name, colour in ((hits.track, "track", VERMILLION), (~hits.track, "background", BLUE)):
        counts, _ = np.histogram(hits.score[mine], edges)
        axis.stairs(counts, edges, color=colour, linewidth=2, label=f"{name} ({mine.sum()} hits)")
        axis.stairs(counts, edges, color=colour, alpha=0.2, fill=True)
    axis.axvline(threshold, color="black", linestyle="--", linewidth=1.5, label=f"threshold {threshold:.3g}")
    axis.set(xlabel="score", ylabel="hits per bin", xlim=(0, 1), yscale="log", ylim=(0.5, None))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


@styled
def pixel_differences(hits: Hits, threshold: float) -> Figure:
    """Distribution of the pixel difference over events, with the original's classes."""
    squares = sums(hits, threshold)["squares"]
    figure = blank(7, 4.5)
    axis = figure.subplots()
    counts, edges = np.histogram(squares, np.linspace(0, max(40.0, float(squares.max())), 41))
    axis.stairs(counts, edges, fill=True, color=BLUE, alpha=0.7)
    good, fair = (squares <= 10).mean(), ((squares > 10) & (squares <= 20)).mean()
    for limit in (10, 20):
        axis.axvline(limit, color=GREY, linestyle="--", linewidth=1)
    axis.set(xlabel="pixel difference", ylabel="events per bin")
    axis.set_title(f"≤ 10: {good:.1%}   10–20: {fair:.1%}   > 20: {1 - good - fair:.1%}")
    return figure


@styled
def against_current(hits: Hits, threshold: float, current: Array) -> Figure:
    """Efficiency, purity and segments kept against the beam current."""
    groups = list(by_current(current))
    if not groups:
        return notice("the beam current is not known")
    figure = blank(7, 5)
    axis = figure.subplots()
    for (name, words), colour in zip(_AGAINST_CURRENT.items(), COLOURS, strict=False):
        values = [metrics(hits.of(chosen), threshold)[name] for _, _, chosen in groups]
        axis.plot([middle for _, middle, _ in groups], values, "o-", color=colour, label=words)
    axis.set(xlabel="beam current (nA)", ylabel="share")
    axis.set_ylim(top=1.01)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@styled
def event_displays(
    image: Array, truth: Array | None = None, keep: Array | None = None, titles: Sequence[str] = (), columns: int = 2
) -> Figure:
    """Events, layers against wires, with lines between the superlayers.

    Args:
        image: All hits (n, 36, 112).
        truth: Those of tracks.
        keep: Those kept; those wrongly kept or dropped are marked.
        titles: One an event.
        columns: Of the grid.
    """
    columns = min(columns, len(image))
    rows = -(-len(image) // columns)
    figure = blank(6.4 * columns, 2.9 * rows + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axis in enumerate(axes.ravel()):
        if number >= len(image):
            axis.remove()
            continue
        one = (None if planes is None else planes[number].astype(bool) for planes in (truth, keep))
        _draw(axis, image[number].astype(bool), *one)
        axis.set_title(titles[number] if len(titles) else "")
    figure.supxlabel("wire")
    figure.supylabel("layer")
    names = dict[str, object]()
    for axis in figure.axes:
        names |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(list(names.values()), list(names), loc="outside upper center", ncols=4, frameon=False)  # type: ignore[call-overload]
    return figure


def _draw(axis: Axes, image: Array, truth: Array | None, keep: Array | None) -> None:
    """One event; row 0 is layer 1, at the bottom."""
    if truth is None:
        kinds = [("hit", image, GREY)] if keep is None else []
        kinds += [] if keep is None else [("dropped", image & ~keep, "#bbbbbb"), ("kept", keep, VERMILLION)]
    elif keep is None:
        kinds = [("background", image & ~truth, "#bbbbbb"), ("track", truth, VERMILLION)]
    else:
        kinds = [
            ("dropped", image & ~truth & ~keep, "#bbbbbb"),
            ("kept", truth & keep, COLOURS[2]),
            ("wrongly kept", keep & ~truth, BLUE),
            ("lost", truth & ~keep, VERMILLION),
        ]
    for name, chosen, colour in kinds:
        layer, wire = np.nonzero(chosen)
        axis.scatter(wire + 1, layer + 1, s=7, marker="s", color=colour, linewidths=0, label=name)
    for last in range(6, 36, 6):
        axis.axhline(last + 0.5, color=GREY, linewidth=1.2 if last % 12 == 0 else 0.5)
    axis.set(xlim=(0, 113), ylim=(0, 37), yticks=range(6, 37, 6))
    axis.grid(visible=False)


def best_and_worst(hits: Hits, threshold: float, ids: Array, each: int = 2) -> Figure:
    """Events whose score is nearest to the truth, of median distance, and farthest from it.

    Args:
        hits: With truth.
        threshold: At or above which a hit is kept.
        ids: Name (N,) of each event.
        each: Events of each kind.
    """
    table = sums(hits, threshold)
    order = np.argsort(table["squares"], kind="stable")
    order = order[table["true"][order] > 0]
    middle = max(0, len(order) // 2 - each // 2)
    chosen = {"best": order[:each], "median": order[middle : middle + each], "worst": order[-each:]}
    events = np.concatenate(list(chosen.values()))
    if not len(events):
        return notice("no event has a track")
    titles = [f"{kind}: {ids[event]} ({table['squares'][event]:.1f})" for kind in chosen for event in chosen[kind]]
    mask = np.zeros(hits.events, np.bool_)
    mask[events] = True
    few = hits.of(mask)
    place = (np.cumsum(mask) - 1)[events]
    assert few.track is not None
    image, truth, keep = (
        few.planes(mark)[place] for mark in (np.ones(len(few.score), np.bool_), few.track, few.score >= threshold)
    )
    return event_displays(image, truth, keep, titles)


def denoising_figures(
    hits: Hits,
    threshold: float,
    ids: Array,
    current: Array,
    history: Mapping[str, Sequence[float]] | None = None,
) -> Iterator[tuple[str, Figure]]:
    """All figures with their file stems, one at a time.

    Args:
        hits: With truth.
        threshold: At or above which a hit is kept.
        ids: Name (N,) of each event.
        current: Beam current (N,) in nA, NaN where not known.
        history: Columns of ``metrics.csv``, for the learning curves.
    """
    yield "efficiency_rejection", efficiency_rejection(hits, threshold)
    yield "scores", scores(hits, threshold)
    yield "pixel_differences", pixel_differences(hits, threshold)
    if np.isfinite(current).any():
        yield "against_current", against_current(hits, threshold, current)
    yield "events", best_and_worst(hits, threshold, ids)
    if history is not None:
        yield "learning_curves", learning_curves(history)
