"""Numbers that describe how well the hits of tracks are told from the rest.

Only wires with a hit count: nothing else can be kept or dropped. A hit is kept at or above the threshold.

* Segment: true hits of one superlayer (six layers), the next never more than two wires away from one before. It is
  kept if at least four of its layers, or all of those it has, still hold a hit of it: four are what the experiment's
  own tracking asks for. Tracks that run closer together than that count as one.
* ``events_6_segments``, ``_5_``, ``_4_``: of the events with true hits in all six superlayers, the share that keeps
  every segment of at least so many superlayers.
* ``pixel_difference``: squared difference between score and truth, summed over an event; the mean over events. In the
  padded picture of 128 x 128 pixels that is the mean squared error times 128 squared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_hep.evaluation.classification import Array, draws, ends

_SUPERLAYER = 6  # layers
_GAP = 2  # wires between neighbours of a segment
_ENOUGH = 4  # layers of a segment
_SEGMENTS = (6, 5, 4)
REJECTIONS = {"efficiency_at_rejection_90": 0.9, "efficiency_at_rejection_909": 0.909}
"""Efficiencies at a given background rejection; the second is what a published denoiser is quoted at."""
RATIOS = {
    "hit_efficiency": ("true kept", "true"),
    "background_rejection": ("background dropped", "background"),
    "purity": ("true kept", "kept"),
    "false_hits_per_true_hit": ("background kept", "true"),
    "pixel_difference": ("squares", "events"),
    "pixel_difference_up_to_10": ("squares up to 10", "events"),
    "pixel_difference_up_to_20": ("squares up to 20", "events"),
    "pixel_difference_above_20": ("squares above 20", "events"),
    "segments_kept": ("segments kept", "segments"),
} | {f"events_{number}_segments": (f"{number} superlayers kept", "whole events") for number in _SEGMENTS}
"""Numerator and denominator, sums over events, of every other number."""
BY_CURRENT = ("hit_efficiency", "background_rejection", "purity", "events_6_segments", "events_5_segments")


@dataclass(frozen=True)
class Hits:
    """All n hits of N events.

    Args:
        event: Position (n,) of each hit's event, 0..N - 1.
        layer: (n,), 0..35.
        wire: (n,), 0..111.
        score: Probability (n,) of being from a track.
        track: Whether it is (n,); None if not known.
        events: N.
    """

    event: Array
    layer: Array
    wire: Array
    score: Array
    track: Array | None
    events: int

    def planes(self, values: Array) -> Array:
        """Values (n,) of the hits where they stand, (N, 36, 112), and 0 elsewhere."""
        planes = np.zeros((self.events, 36, 112), values.dtype)
        planes[self.event, self.layer, self.wire] = values
        return planes

    def of(self, chosen: Array) -> "Hits":
        """Hits of some events only.

        Args:
            chosen: (N,) of truth values.
        """
        mine = chosen[self.event]
        event = (np.cumsum(chosen) - 1)[self.event[mine]]
        track = None if self.track is None else self.track[mine]
        return Hits(event, self.layer[mine], self.wire[mine], self.score[mine], track, int(chosen.sum()))


def efficiency_at_rejection(
    score: Array, track: Array, rejection: float, weight: Array | None = None
) -> tuple[float, float]:
    """Share of the track hits kept at the lowest threshold that drops so much of the background.

    Args:
        score: (n,).
        track: (n,) of truth values.
        rejection: Share of the background to be dropped.
        weight: How often each hit counts (n,); None means once.

    Returns:
        The efficiency, NaN without track hits or without background, and the threshold.
    """
    ranked = _Ranked(score, track)
    return ranked.at(rejection, np.ones(len(score)) if weight is None else weight)


class _Ranked:
    """Hits in the order of their scores, ready for several sets of weights."""

    def __init__(self, score: Array, track: Array) -> None:
        self._order = np.argsort(score, kind="stable")
        self._score, self._track = score[self._order], track[self._order]
        new = np.diff(self._score, prepend=-np.inf) > 0
        self._starts = np.append(np.flatnonzero(new), len(score))  # of equal scores; and beyond all of them

    def at(self, rejection: float, weight: Array) -> tuple[float, float]:
        weight = weight[self._order]
        signal, background = (  # below each threshold
            np.append(0, np.cumsum(weight * kind))[self._starts] for kind in (self._track, ~self._track)
        )
        if not (signal[-1] and background[-1]):
            return np.nan, np.nan
        first = int(np.searchsorted(background, rejection * background[-1] * (1 - 1e-12)))
        beyond = first == len(self._starts) - 1
        threshold = np.nextafter(self._score[-1], np.float32(2)) if beyond else self._score[self._starts[first]]
        return float(1 - signal[first] / signal[-1]), float(threshold)


def sums(hits: Hits, threshold: float) -> dict[str, Array]:
    """What `RATIOS` divides, for each event (N,).

    Args:
        hits: With truth.
        threshold: At or above which a hit is kept.
    """
    assert hits.track is not None
    kept, track = hits.score >= threshold, hits.track

    def count(what: Array) -> Array:
        return np.bincount(hits.event, weights=what, minlength=hits.events)

    squares = count((hits.score.astype(np.float64) - track) ** 2)
    return {
        "events": np.ones(hits.events),
        "true": count(track),
        "true kept": count(track & kept),
        "background": count(~track),
        "background kept": count(~track & kept),
        "background dropped": count(~track & ~kept),
        "kept": count(kept),
        "squares": squares,
        "squares up to 10": squares <= 10,
        "squares up to 20": (squares > 10) & (squares <= 20),
        "squares above 20": squares > 20,
        **_segments(hits, kept),
    }


def _segments(hits: Hits, kept: Array) -> dict[str, Array]:
    """Segments, superlayers and events that survive, for each event."""
    order = np.flatnonzero(hits.track)  # type: ignore[arg-type]
    superlayer = hits.event[order] * 6 + hits.layer[order] // _SUPERLAYER
    ranks = np.lexsort((hits.wire[order], superlayer))
    order, superlayer = order[ranks], superlayer[ranks]
    new = (np.diff(superlayer, prepend=-1) > 0) | (np.diff(hits.wire[order].astype(int), prepend=-99) > _GAP)
    segment = np.cumsum(new) - 1
    place = superlayer[new]  # of each segment
    layers, left = (_layers(segment[some], hits.layer[order][some], len(place)) for some in (..., kept[order]))
    survives = left >= np.minimum(_ENOUGH, layers)
    found, whole = (
        np.bincount(place, weights=what, minlength=6 * hits.events).reshape(-1, 6)
        for what in (np.ones(len(place)), survives)
    )
    complete = (found > 0).all(1)
    superlayers = ((found > 0) & (whole == found)).sum(1)
    numbers = {f"{number} superlayers kept": complete & (superlayers >= number) for number in _SEGMENTS}
    return {"segments": found.sum(1), "segments kept": whole.sum(1), "whole events": complete, **numbers}


def _layers(segment: Array, layer: Array, segments: int) -> Array:
    """Number of different layers in each segment."""
    return np.bincount(np.unique(segment * 36 + layer) // 36, minlength=segments)


def metrics(hits: Hits, threshold: float, current: Array | None = None) -> dict[str, float]:
    """All numbers, and some of them for each beam current.

    Args:
        hits: With truth.
        threshold: At or above which a hit is kept.
        current: Beam current (N,) in nA, NaN where not known.

    Returns:
        Names of `RATIOS` and `REJECTIONS`, ``threshold``, ``events``, ``hits``, and names of `BY_CURRENT` with
        ``_45_nA`` or, for many currents, ``_25_to_50_nA`` at the end; NaN where there is nothing to divide by.
    """
    assert hits.track is not None
    table = sums(hits, threshold)
    numbers = _ratios({name: column.sum() for name, column in table.items()})
    for name, rejection in REJECTIONS.items():
        numbers[name], _ = efficiency_at_rejection(hits.score, hits.track, rejection)
    numbers |= {"threshold": threshold, "events": hits.events, "hits": len(hits.score)}
    for label, _, chosen in by_current(current):
        mine = _ratios({name: column[chosen].sum() for name, column in table.items()})
        numbers |= {f"{name}_{label}": mine[name] for name in BY_CURRENT}
    return {name: float(value) for name, value in numbers.items()}


def _ratios(sums: dict[str, Any]) -> dict[str, Any]:
    """Every number of `RATIOS`, elementwise; NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            name: np.where(np.asarray(sums[low]) == 0, np.nan, np.divide(sums[up], sums[low]))
            for name, (up, low) in RATIOS.items()
        }


def intervals(hits: Hits, threshold: float, *, n: int = 200, seed: int = 0) -> dict[str, float]:
    """68 % percentile bootstrap intervals: events are drawn with replacement, the threshold stays.

    Args:
        hits: With truth.
        threshold: At or above which a hit is kept.
        n: Resamples.
        seed: Of the draws.

    Returns:
        ``<name>_low`` and ``<name>_high`` of each number of `RATIOS` and `REJECTIONS`.
    """
    return ends(resampled(hits, threshold, n=n, seed=seed))


def resampled(hits: Hits, threshold: float, *, n: int = 200, seed: int = 0) -> dict[str, Array]:
    """Numbers (n,) of resamples; the events drawn depend on how many there are and the seed alone.

    Arguments as of :func:`intervals`.
    """
    assert hits.track is not None
    drawn = draws(hits.events, n, seed)
    found = _ratios({name: drawn @ column for name, column in sums(hits, threshold).items()})
    ranked = _Ranked(hits.score, hits.track)
    for name, rejection in REJECTIONS.items():
        found[name] = np.array([ranked.at(rejection, draw[hits.event])[0] for draw in drawn])
    return found


def by_current(current: Array | None, most: int = 8, width: float = 25) -> Iterator[tuple[str, float, Array]]:
    """Divide events by beam current.

    Args:
        current: (N,) in nA, NaN where not known.
        most: Different currents from which on they are put into bins.
        width: Of the bins, in nA.

    Yields:
        Label, current in nA (of a bin the middle), and the events (N,) as truth values.
    """
    if current is None:
        return
    values = np.unique(current[np.isfinite(current)])
    if len(values) <= most:
        for value in values:
            yield f"{value:g}_nA", float(value), current == value
        return
    for low in np.arange(values.min() // width * width, values.max() + 1e-6, width):
        chosen = (current >= low) & (current < low + width)
        if chosen.any():
            yield f"{low:g}_to_{low + width:g}_nA", float(low + width / 2), chosen
