"""Background of a drift-chamber sector: what rings wires and belongs to no track from the target.

Each kind is drawn for all events at once. Shares by superlayer or region, sizes and slopes are chosen such that real
CLAS12 events and simulated ones agree (`benchmarks/drift_chamber_calibration.py`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from lit_hep.tasks.drift_chamber.chamber import (
    DEPTH,
    HIGH,
    LAYERS,
    PITCH,
    ROWS,
    WIRES,
    Bools,
    DriftChamber,
    Floats,
    Ints,
    cross,
    ring,
)

_ROW = np.arange(ROWS)
_DOUBLE = np.arange(2 * ROWS)  # the layers of a region
_SECOND = _DOUBLE >= ROWS
# Distance of each from the middle of its region, in layers; the superlayers of a region are a gap apart.
_OFFSET = DEPTH.reshape(3, -1) - DEPTH.reshape(3, -1).mean(1, keepdims=True)
_OFFSET /= PITCH.reshape(3, -1).mean(1, keepdims=True) * HIGH


def _events(rng: Generator, rate: float, activity: Floats) -> Ints:
    """Draw how many of a kind there are in each event, and give the event of each."""
    return np.repeat(np.arange(len(activity)), rng.poisson(rate * activity))


def _pick(rng: Generator, shares: Sequence[float], number: int) -> Ints:
    return rng.choice(len(shares), number, p=np.divide(shares, np.sum(shares)))


def _wires(rng: Generator, region: Ints) -> Floats:
    """Draw positions in wires: rarely at the ends, but in region 3."""
    inner, outer = np.array([[1.9, 2.0], [2.6, 2.0], [1.3, 1.1]])[region].T
    x: Floats = WIRES * rng.beta(inner, outer)
    return x


def _lognormal(rng: Generator, median: float, width: float, number: int) -> Floats:
    return median * np.exp(width * rng.standard_normal(number))


def _noise(rng: Generator, hits: Bools, event: Ints) -> None:
    """Ring single wires."""
    layer, x = rng.integers(0, LAYERS, len(event)), rng.uniform(0, WIRES, len(event))
    ring(rng, hits, event, layer, x, x)


def _runs(rng: Generator, hits: Bools, event: Ints) -> None:
    """Ring 2 .. 11 neighbours in a layer: a particle along the layer, or a noisy board."""
    layer = rng.integers(0, LAYERS, len(event))
    x = _wires(rng, layer // (2 * ROWS))
    ring(rng, hits, event, layer, x, x + np.minimum(rng.geometric(0.4, len(event)), 10))


def _stubs(rng: Generator, hits: Bools, event: Ints) -> None:
    """Ring two layers, some three."""
    n = len(event)
    superlayer = _pick(rng, (1.3, 1.3, 1, 0.8, 1.2, 1.2), n)
    x, slope = _wires(rng, superlayer // 2), rng.normal(0, 0.6, n)
    first = rng.integers(0, ROWS, n)[:, None]
    last = first + rng.geometric(0.97, n)[:, None]
    i, row = np.nonzero((first <= _ROW) & (last >= _ROW))
    ring(rng, hits, event[i], superlayer[i] * ROWS + row, *cross(x[i] + slope[i] * (row - 2.5), slope[i]))


def _strays(rng: Generator, hits: Bools, event: Ints, region: Ints, x: Floats, lean: Floats) -> None:
    """Ring the layers of a region along nearly straight paths that do not point to the target.

    Args:
        rng: Source of all randomness.
        hits: All hits (N, 36, 112).
        event: Of each particle, (n,).
        region: 0 .. 2, (n,).
        x: Position in the middle of the region, wires, (n,).
        lean: Mean slope, wires per layer, (n,).
    """
    n = len(event)
    depth = _OFFSET[region]
    steep = rng.random(n) < np.array([0.1, 0.3, 0.2])[region]
    slope = np.where(region == 0, 0.15, 0) + lean + rng.normal(0, np.where(steep, 1.2, 0.35))
    bend = rng.normal(0, 0.02, n) * np.where(region == 1, 2, 1)
    stereo = np.where(_SECOND, 0.5, -0.5) * rng.normal(1, 3, (n, 1))
    position = x[:, None] + slope[:, None] * depth + bend[:, None] * depth**2 + stereo
    slope = slope[:, None] + 2 * bend[:, None] * depth
    seen = np.array([[1, 1], [1, 0], [0, 1]], np.bool_)[_pick(rng, (0.5, 0.28, 0.22), n)][:, _DOUBLE // ROWS]
    end, which = rng.integers(0, 2 * ROWS, (n, 1)), rng.random((n, 1))
    seen &= (which > 0.24) | np.where(which < 0.12, end <= _DOUBLE, end >= _DOUBLE)  # begins or stops on the way
    seen &= rng.random(seen.shape) > 0.03
    i, row = np.nonzero(seen)
    thick = (rng.uniform(-1.2, 0.9, n).clip(0))[i] * rng.uniform(0, 1, len(i))  # electrons in company
    low, high = cross(position[i, row], slope[i, row])
    ring(rng, hits, event[i], region[i] * 2 * ROWS + row, low - thick, high + thick)


def _bundles(rng: Generator, hits: Bools, event: Ints) -> None:
    """Send groups of strays: one photon or electron that begins to shower on its way."""
    n = len(event)
    region, width = _pick(rng, (0.8, 0.05, 0.15), n), _lognormal(rng, 5.5, 0.4, n)
    lean, x = rng.normal(0, 0.2, n), _wires(rng, region)
    i = np.repeat(np.arange(n), 1 + rng.geometric(0.29, n))
    _strays(rng, hits, event[i], region[i], x[i] + width[i] * rng.standard_normal(len(i)), lean[i])


def _loops(rng: Generator, hits: Bools, event: Ints) -> None:
    """Ring circles of electrons that curl in the field, whole or one side of them."""
    n = len(event)
    superlayer = _pick(rng, (1.2, 1, 0.8, 0.8, 1.2, 1), n)
    x, radius = _wires(rng, superlayer // 2), _lognormal(rng, 4, 0.5, n)
    height = (_ROW - rng.uniform(-3, 8, (n, 1))) * HIGH
    near, far = (
        np.sqrt(np.maximum(radius[:, None] ** 2 - (np.abs(height) + sign * HIGH / 2) ** 2, 0)) for sign in (-1, 1)
    )
    sides = _pick(rng, (0.6, 0.2, 0.2), n)[:, None]  # both, left, right
    for side, sign in ((1, -1), (2, 1)):
        i, row = np.nonzero((near > 0) & (sides % 3 != 3 - side) & (rng.random(near.shape) > 0.06))
        inner, outer = far[i, row] + 0.15, near[i, row] - 0.15
        ends = np.sort(x[i] + sign * np.array([inner, np.maximum(inner, outer)]), 0)
        ring(rng, hits, event[i], superlayer[i] * ROWS + row, *ends)


def _showers(rng: Generator, hits: Bools, event: Ints) -> None:
    """Fill ellipses that lean to one side."""
    n = len(event)
    superlayer = _pick(rng, (1.2, 1, 1.2, 0.6, 1, 1), n)
    x, half, tall = _wires(rng, superlayer // 2), _lognormal(rng, 3.2, 0.3, n), _lognormal(rng, 2.4, 0.45, n)
    height = _ROW - rng.uniform(-1, 6, (n, 1))
    reach = half[:, None] * np.sqrt(np.maximum(1 - (height / tall[:, None]) ** 2, 0))
    middle = x[:, None] + rng.normal(0, 0.6, (n, 1)) * height + rng.normal(0, 0.4, height.shape)
    i, row = np.nonzero(reach)
    m, r, filled = middle[i, row], reach[i, row], rng.uniform(0.75, 1, n)[i]
    ring(rng, hits, event[i], superlayer[i] * ROWS + row, m - r, m + r, filled)


def add_background(rng: Generator, chamber: DriftChamber, hits: Bools, activity: Floats) -> None:
    """Ring the wires of all kinds of background.

    Args:
        rng: Source of all randomness.
        chamber: Rates of the kinds at activity 1.
        hits: All hits (N, 36, 112), changed in place.
        activity: Of the background in each event, (N,).
    """
    _noise(rng, hits, _events(rng, chamber.noise, activity))
    _runs(rng, hits, _events(rng, chamber.runs, activity))
    _stubs(rng, hits, _events(rng, chamber.stubs, activity))
    alone = _events(rng, chamber.strays, activity)
    region = _pick(rng, (0.42, 0.13, 0.45), len(alone))
    _strays(rng, hits, alone, region, _wires(rng, region), np.zeros(len(alone)))
    _bundles(rng, hits, _events(rng, chamber.bundles, activity))
    _loops(rng, hits, _events(rng, chamber.loops, activity))
    _showers(rng, hits, _events(rng, chamber.showers, activity))
