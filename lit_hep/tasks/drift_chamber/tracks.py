"""Tracks from the target through the torus field of a sector, and what the reconstruction makes of them."""

import numpy as np
from numpy.random import Generator

from lit_hep.tasks.drift_chamber.chamber import (
    DEPTH,
    LAYERS,
    ROWS,
    SUPERLAYERS,
    TILT,
    WIRES,
    Bools,
    DriftChamber,
    Floats,
    Ints,
    Range,
    cross,
    ring,
    to_wires,
)

_FIELD = (246.0, 485.0)  # begin and end of the field along the normal of the layers, cm
_NODES = np.unique(np.concatenate([DEPTH, np.linspace(*_FIELD, 25)]))  # where the direction is followed
_AT = np.searchsorted(_NODES, DEPTH)
_TRIES = 6
_SUPERLAYER = np.arange(LAYERS) // ROWS


def trajectory(theta: Floats, phi: Floats, curvature: Floats, vertex: Floats) -> Floats:
    """Follow particles in the bending plane.

    The field integral falls from 2.78 T m at 5 degrees to 0.54 T m at 40, as in the CLAS12 torus; along the path the
    field rises and falls as a parabola.

    Args:
        theta: Polar angle, rad, (N,).
        phi: Azimuth from the middle of the sector, rad, (N,).
        curvature: Charge over momentum times the field in units of the full one, 1/GeV, (N,); above 0 the particle
            bends outwards.
        vertex: Where it begins on the beam axis, cm, (N,).

    Returns:
        Positions on the layers, wires, (N, 36).
    """
    u = np.clip((_NODES - _FIELD[0]) / (_FIELD[1] - _FIELD[0]), 0, 1)
    integral = 2.78 * np.exp((5 - np.degrees(theta)) / 21.4)
    angle = (theta - TILT)[:, None] + (0.3 * integral * curvature)[:, None] * (3 * u**2 - 2 * u**3)
    slope = np.tan(np.clip(angle, -1.4, 1.4))
    start = (_NODES[0] - vertex * np.cos(TILT)) * slope[:, 0] - vertex * np.sin(TILT)
    steps = np.diff(_NODES) * (slope[:, 1:] + slope[:, :-1]) / 2
    along = np.cumsum(np.concatenate([start[:, None], steps], 1), 1)[:, _AT]
    from_beam = DEPTH * np.sin(TILT) + along * np.cos(TILT)
    return to_wires(along, from_beam * np.tan(phi)[:, None])


def slopes(position: Floats) -> Floats:
    """Mean slope of tracks (..., 36) in the superlayer of each layer, wires per layer."""
    rise: Floats = (position[..., ROWS - 1 :: ROWS] - position[..., ::ROWS]) / (ROWS - 1)
    return np.repeat(rise, ROWS, axis=-1)


def draw(rng: Generator, chamber: DriftChamber, number: int, momentum: Range) -> Floats:
    """Draw tracks from the target, positions (number, 36) in wires, wherever they go."""
    p = np.exp(rng.uniform(np.log(momentum[0]), np.log(momentum[1]), number))
    charge = np.where(rng.random(number) < chamber.outbending, 1, -1)
    theta = np.radians(rng.uniform(*chamber.polar_angle, number))
    phi = np.radians(rng.normal(*chamber.azimuth, number))
    return trajectory(theta, phi, charge * chamber.torus / p, rng.uniform(*chamber.vertex, number))


def _findable(rng: Generator, chamber: DriftChamber, event: Ints) -> tuple[Floats, Bools]:
    """Draw tracks (n, 36) of given events that can be found, and tell which are such (n,): nearly all."""
    every = np.arange(len(event))
    tries = draw(rng, chamber, len(event) * _TRIES, chamber.momentum).reshape(-1, _TRIES, LAYERS)
    within = (tries > 0.5) & (tries < WIRES - 1) & (np.abs(slopes(tries)) < chamber.steepest)
    good = np.asarray(within.all(2))
    first = tries[every, good.argmax(1)]
    second = np.flatnonzero(event[1:] == event[:-1]) + 1
    shared = (np.abs(tries[second] - first[second - 1, None]) < 2.5).sum(2)
    good[second] &= shared <= ROWS  # tracks that go together farther than a superlayer are one
    return tries[every, good.argmax(1)], np.asarray(good.any(1))


def _vary(rng: Generator, mean: float, number: int) -> Floats:
    """Draw shares (number, 1) that are small for most tracks and large for some, at most .5."""
    return np.minimum(rng.gamma(0.5, 2 * mean, (number, 1)), 0.5)


def _ring_where(rng: Generator, hits: Bools, event: Ints, position: Floats, on: Bools) -> None:
    """Let tracks at positions (n, 36) ring hits (N, 36, 112) of their events where ``on`` (n, 36) says so."""
    i, layer = np.nonzero(on)
    low, high = cross(position[i, layer], slopes(position)[i, layer])
    ring(rng, hits, event[i], layer, low, high)


def _add_neighbours(
    rng: Generator, chamber: DriftChamber, every: Bools, event: Ints, position: Floats, rung: Bools
) -> None:
    """Let crosstalk and electrons that a track knocks out ring wires beside it."""
    i, layer = np.nonzero(rung & (rng.random(rung.shape) < _vary(rng, chamber.crosstalk, len(rung))))
    beside = position[i, layer] + rng.choice((-1, 1), len(i))
    ring(rng, every, event[i], layer, beside, beside)
    i = np.flatnonzero(rung.any(1) & (rng.random(len(rung)) < chamber.delta_rays))
    layer, reach = rng.integers(0, LAYERS, len(i)), rng.choice((-1, 1), len(i)) * (1 + rng.geometric(0.35, len(i)))
    for part in (0, 0.5):  # of the way sideways; some electrons reach the next layer
        low, high = np.sort([position[i, layer] + part * reach, position[i, layer] + reach], 0)
        ring(rng, every, event[i], layer, low, high, 0.9)
        on = (layer % ROWS < ROWS - 1) & (rng.random(len(i)) < 0.5)
        i, layer, reach = i[on], layer[on] + 1, reach[on]


def add_tracks(rng: Generator, chamber: DriftChamber, every: Bools, truth: Bools) -> None:
    """Let tracks from the target ring all hits and true hits, (N, 36, 112) each."""
    found = rng.choice((1, 2, 3), len(every), p=chamber.tracks)
    overlooked = np.flatnonzero(rng.random(len(every)) < chamber.overlooked)
    event = np.concatenate([np.repeat(np.arange(len(every)), found), overlooked])
    position, findable = _findable(rng, chamber, event)
    shape, n = position.shape, len(event)
    rung = (rng.random(shape) >= _vary(rng, chamber.inefficiency, n)) & findable[:, None]
    lacks = (rng.integers(0, SUPERLAYERS, (n, 1)) == _SUPERLAYER) & (rng.random((n, 1)) < chamber.missing)
    rung &= ~lacks | (rng.random((n, 1)) < 0.5)  # half of the segments that lack are there, but not counted
    counted = rung & ~lacks & (rng.random(shape) >= chamber.unclaimed) & (np.arange(n) < found.sum())[:, None]
    _ring_where(rng, every, event, position, rung)
    _ring_where(rng, truth, event, position, counted)
    every &= ~truth | (rng.random(truth.shape, np.float32) >= chamber.absent)
    _add_neighbours(rng, chamber, every, event, position, rung)


def claim(rng: Generator, chamber: DriftChamber, every: Bools, truth: Bools) -> None:
    """Let the reconstruction take background hits beside hits of a track for the track's."""
    beside = np.zeros_like(truth)
    beside[:, :, 1:] |= truth[:, :, :-1]
    beside[:, :, :-1] |= truth[:, :, 1:]
    event, layer, wire = np.nonzero(beside & every & ~truth)
    taken = rng.random(len(event)) < chamber.claimed
    truth[event[taken], layer[taken], wire[taken]] = True


# Superlayers that a track rings where the others are dead, left, or not reached; how often.
_PATTERNS = np.array([[int(bit) for bit in word] for word in (
    "111100", "111000", "001111", "000111", "001100", "000011", "110000", "001101", "100011", "110010",
)], np.bool_)  # fmt: skip
_SOFT = (0.25, 4.0)  # GeV
_SHARES = np.array([0.18, 0.1, 0.18, 0.1, 0.1, 0.1, 0.09, 0.05, 0.05, 0.05])


def add_partial(rng: Generator, chamber: DriftChamber, every: Bools, activity: Floats) -> None:
    """Let tracks ring some superlayers, too few to be found, (N, 36, 112)."""
    event = np.repeat(np.arange(len(every)), rng.poisson(chamber.partial * activity))
    x = draw(rng, chamber, len(event), _SOFT)
    pattern = _PATTERNS[rng.choice(len(_PATTERNS), len(event), p=_SHARES)][:, _SUPERLAYER]
    seen = pattern & (rng.random(x.shape) >= _vary(rng, 2 * chamber.inefficiency, len(x)))
    _ring_where(rng, every, event, x, seen)
