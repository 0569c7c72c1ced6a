"""Three wire planes: projection, diffusion, noise, threshold, integer heights."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.special import ndtr, ndtri

from lit_hep.tasks.multiplane.particles import Floats
from lit_hep.tasks.multiplane.transport import Deposits

_GRAIN = 0.05  # cm; charge drifts in clouds from pieces of track of this length
_LIMITS: dict[str, tuple[float, float]] = {
    "angles": (-90, 90),
    **dict.fromkeys(("pitch", "tick", "velocity", "drift", "gain"), (1e-3, 1e4)),
    "full_scale": (1, 65535),
}


@dataclass(frozen=True)
class Detector:
    """Wire planes and electronics, by default those of a DUNE far-detector module.

    Args:
        angles: Of the wires of each plane to the vertical, degrees; also their number.
        pitch: Between wires, cm.
        tick: Length of a pixel along the drift, us.
        velocity: Of the drift, cm / us.
        drift: Longest distance to the wires, cm; events are at any.
        longitudinal: Diffusion along the drift, cm^2 / s.
        transverse: Diffusion across it, cm^2 / s.
        shaping: Standard deviation of the response of the electronics, us.
        gain: Height of 1 MeV of charge that escaped recombination, ADC; a picture of coarser pixels is scaled down.
        noise: Standard deviation of the noise of a pixel, ADC.
        threshold: Least height that is kept, ADC.
        full_scale: Largest height, ADC.
        hits: Whether a pulse is one pixel at its peak, with its neighbours' charge, as a hit finder gives it; else all
            its pixels are kept.
    """

    angles: tuple[float, ...] = (35.7, -35.7, 0.0)
    pitch: float = 0.47
    tick: float = 3.0
    velocity: float = 0.16
    drift: float = 350.0
    longitudinal: float = 5.3
    transverse: float = 10.0
    shaping: float = 1.0
    gain: float = 50.0
    noise: float = 2.0
    threshold: int = 8
    full_scale: int = 255
    hits: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least, most = _LIMITS.get(name, (0, 1e4))
            if not all(least <= number <= most for number in np.atleast_1d(value)):
                raise ValueError(f"detector.{name} = {value}: want {least:g} .. {most:g}")
        if not 1 <= len(self.angles) <= 3:
            raise ValueError(f"detector.angles = {self.angles}: want 1 to 3 planes")
        if self.threshold < 2 * self.noise:
            raise ValueError(f"detector.threshold = {self.threshold}: want at least twice the noise, {self.noise:g}")

    def coordinates(self, position: Floats) -> Floats:
        """Wire on each plane and tick (N, P + 1), of positions (N, 3) in cm, from an origin where all are 0."""
        radians = np.radians(np.array(self.angles))
        wires = position[:, 2:] * np.cos(radians) - position[:, 1:2] * np.sin(radians)
        result: Floats = np.concatenate(
            [wires / self.pitch, position[:, :1] / (self.velocity * self.tick)], axis=1
        ).astype(np.float32)
        return result


DUNE = Detector()


@dataclass(frozen=True)
class Hits:
    """Pixels above threshold of one plane, event after event.

    Args:
        event: Row of the event (n,).
        wire: Row of the picture (n,).
        tick: Column of the picture (n,).
        height: ADC (n,).
    """

    event: NDArray[np.int32]
    wire: NDArray[np.int32]
    tick: NDArray[np.int32]
    height: NDArray[np.uint16]


def read_out(
    rng: Generator, deposits: Deposits, number: int, size: int, scale: float, detector: Detector
) -> list[Hits]:
    """Draw the planes of events.

    Args:
        rng: Source of all randomness.
        deposits: Of all events.
        number: Of events N.
        size: Wires and ticks of a picture.
        scale: Length of a pixel, in units of pitch and tick.
        detector: Planes and electronics.

    Returns:
        Hits of each plane.
    """
    distance = rng.uniform(0, detector.drift, number)
    event, charge, place = _clouds(rng, deposits, distance, detector)
    pixel = detector.coordinates(place) / np.float32(scale)
    pixel -= _corner(rng, event, charge, pixel, number, size)[event]
    pixel = np.floor(pixel).astype(np.int32)
    inside = (pixel >= 0) & (pixel < size)
    planes = []
    for plane in range(len(detector.angles)):
        seen = inside[:, plane] & inside[:, -1]
        row = event[seen] * size + pixel[seen, plane]
        picture = coo_array((charge[seen], (row, pixel[seen, -1])), shape=(number * size, size)).tocsr()
        picture.sort_indices()
        lit = np.repeat(np.arange(number * size) * size, np.diff(picture.indptr)) + picture.indices
        planes.append(_digitised(rng, lit, picture.data * (detector.gain / scale), number, size, detector))
    return planes


def _clouds(
    rng: Generator, deposits: Deposits, distance: Floats, detector: Detector
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Event (n,), charge (n,) and place (n, 3) of clouds of electrons as they arrive at the wires."""
    pieces = np.ceil(np.sqrt((deposits.path**2).sum(1)) / _GRAIN).clip(1).astype(np.intp)
    row = np.repeat(np.arange(len(pieces)), pieces)
    within = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    along = ((within + 0.5) / pieces[row]).astype(np.float32)
    event = deposits.event[row]
    time = distance / detector.velocity * 1e-6
    wide = np.sqrt(2 * detector.transverse * time)
    long = np.hypot(np.sqrt(2 * detector.longitudinal * time), detector.shaping * detector.velocity)
    place = np.stack([long, wide, wide], axis=1).astype(np.float32)[event]
    place *= rng.standard_normal(place.shape, np.float32)
    place += deposits.start[row] + along[:, None] * deposits.path[row]
    return event, (deposits.charge / pieces).astype(np.float32)[row], place


def _corner(rng: Generator, event: NDArray[np.int32], charge: Floats, pixel: Floats, number: int, size: int) -> Floats:
    """First wire of each plane and first tick of the pictures (N, P + 1): activity lies within, if it fits."""
    weight = np.maximum(np.bincount(event, charge, number), 1e-9)
    corner = np.empty((number, pixel.shape[1]), np.float32)
    for axis in range(pixel.shape[1]):
        low, high = np.full(number, np.inf, np.float32), np.full(number, -np.inf, np.float32)
        np.minimum.at(low, event, pixel[:, axis])
        np.maximum.at(high, event, pixel[:, axis])
        mean = np.bincount(event, charge * pixel[:, axis], number) / weight
        fits = high - low < size - 2
        spare = np.where(fits, size - 2 - (high - low), 0)
        corner[:, axis] = np.where(fits, (low + high) / 2, mean) - size / 2
        corner[:, axis] += rng.uniform(-0.5, 0.5, number) * np.minimum(spare, 0.2 * size)
    return np.floor(np.nan_to_num(corner))


def _digitised(
    rng: Generator, lit: NDArray[np.intp], height: Floats, number: int, size: int, detector: Detector
) -> Hits:
    """Add noise to pixels (n,) of pictures (N * size * size), ADC, and keep what is above threshold.

    Of the pixels without charge only those are drawn whose noise reaches the threshold.
    """
    least, pixels = detector.threshold - 0.5, number * size**2
    chance = ndtr(-least / max(detector.noise, 1e-9))
    stray = np.unique(rng.integers(0, pixels, rng.poisson(pixels * chance)))
    stray = stray[np.isin(stray, lit, assume_unique=True, invert=True)]
    tail = -detector.noise * ndtri(chance * (1 - rng.random(len(stray))))
    height = np.concatenate([height + detector.noise * rng.standard_normal(len(lit)), tail])
    kept = height >= least
    cell, height = np.concatenate([lit, stray])[kept], height[kept]
    order = np.argsort(cell)
    cell, height = cell[order], height[order]
    if detector.hits:
        cell, height = _peaks(cell, height, size)
    event, wire, tick = (index.astype(np.int32) for index in np.unravel_index(cell, (number, size, size)))
    return Hits(event, wire, tick, np.minimum(np.rint(height), detector.full_scale).astype(np.uint16))


def _peaks(cell: NDArray[np.intp], height: Floats, size: int) -> tuple[NDArray[np.intp], Floats]:
    """Local maxima along the ticks, each with what its two neighbours hold."""
    row = cell // size
    follows = (np.diff(cell) == 1) & (np.diff(row) == 0)
    before, after = np.zeros_like(height), np.zeros_like(height)
    before[1:][follows] = height[:-1][follows]
    after[:-1][follows] = height[1:][follows]
    peak = (height >= before) & (height > after)
    return cell[peak], (before + height + after)[peak]
