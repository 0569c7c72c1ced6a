"""Charge that particles leave in a thick CCD: X-ray spots, electron worms, straight muons, alpha blobs.

Charge is in units of the original's library of 803 simulated deposits (github.com/aritzLizoain/CNN-Image-Segmentation),
to which energies, ranges and diffusion are matched; it amplifies a unit to 200 ADC. Lengths are in pixels. Charge is
released at a depth z below the pixels and spreads by diffusion as sqrt(z) while it drifts up (DAMIC, arXiv:1506.02562).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import erf

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

KINDS = ("xray", "electron", "muon", "alpha", "library")
THICKNESS = 45.0  # of the CCD; 675 um at 15 um a pixel
_DIFFUSION = 1.15  # standard deviation of charge from the far side
_DEEP = 1.5  # power of a uniform number that gives the share of the depth
_LEAST = 0.001  # charge: the library is rounded to it
_STEP = 0.7
_WINDOW = 5  # pixels around the one that charge falls into: four standard deviations
_POINTS = 20_000  # spread at once; keeps the memory small
_MEAN, _MOST = 145.0, 265.0  # energy of electrons
_RANGE, _POWER = 0.135, 1.26  # range = 0.135 energy^1.26
_SCATTER = 15.0  # of the angle, radians times energy over sqrt(length)
_TAIL = 3.0  # of the distribution of the angle (Student): single scattering makes kinks
_STRAGGLING = 2.0  # shape of the gamma distribution of the charge of a step
_GRAINS = 200  # points of an alpha blob
_MUON = 1.7  # charge a pixel of path


class Clusters(NamedTuple):
    """Pixels with charge of n clusters, those of a cluster one after another.

    Args:
        kind: Position of each cluster's kind in `KINDS`, (n,).
        size: Pixels of each, (n,).
        y: Row from the first one with charge, of each pixel.
        x: Column from the first one with charge, of each pixel.
        charge: Of each pixel, units of the library.
    """

    kind: Ints
    size: Ints
    y: Ints
    x: Ints
    charge: Floats

    @property
    def number(self) -> Ints:
        """Cluster 0 .. n - 1 of each pixel."""
        return np.repeat(np.arange(len(self.size)), self.size)

    @property
    def extent(self) -> tuple[Ints, Ints]:
        """Height and width (n,) of the boxes around the clusters."""
        number, many = self.number, len(self.size)
        return -_least(-self.y - 1, number, many, 0), -_least(-self.x - 1, number, many, 0)

    def take(self, chosen: Ints) -> "Clusters":
        """Clusters by their position, repetitions allowed."""
        start = np.cumsum(self.size) - self.size
        pixel = _runs(self.size[chosen]) + np.repeat(start[chosen], self.size[chosen])
        return Clusters(self.kind[chosen], self.size[chosen], self.y[pixel], self.x[pixel], self.charge[pixel])

    def turned(self, rng: Generator) -> "Clusters":
        """Each turned or mirrored at random: directions are all alike."""
        swap, down, right = rng.random((3, len(self.size))) < 0.5
        height, width = self.extent
        number = self.number
        y = np.where(down[number], height[number] - 1 - self.y, self.y)
        x = np.where(right[number], width[number] - 1 - self.x, self.x)
        swapped = swap[number]
        return self._replace(y=np.where(swapped, x, y), x=np.where(swapped, y, x))


class _Points(NamedTuple):
    """Charge released at points: cluster, place, depth and charge of each."""

    cluster: Ints
    y: Floats
    x: Floats
    depth: Floats
    charge: Floats


def generate(rng: Generator, number: int, kinds: tuple[float, float, float, float]) -> Clusters:
    """Draw clusters.

    Args:
        rng: Source of all randomness.
        number: How many, at least 1.
        kinds: Shares of X-ray spots, electrons, muons and alpha blobs.
    """
    kind = rng.choice(len(_RELEASE), number, p=np.divide(kinds, np.sum(kinds)))
    parts = []
    for which, release in enumerate(_RELEASE):
        mine = np.flatnonzero(kind == which)
        if mine.size:
            points = release(rng, mine.size)
            parts.append(points._replace(cluster=mine[points.cluster]))
    points = _Points(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    cluster, y, x, charge = _collect(points, number)
    return Clusters(kind, np.bincount(cluster, minlength=number), y, x, charge)


def _runs(length: Ints) -> Ints:
    """Count 0, 1 .. anew for each of the lengths."""
    return np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)


def _isotropic(rng: Generator, number: int) -> tuple[Floats, Floats]:
    """Draw directions: azimuth and angle out of the plane of the pixels."""
    return rng.uniform(0, 2 * np.pi, number), np.arcsin(rng.uniform(-1, 1, number))


def _depth(rng: Generator, number: int) -> Floats:
    """Draw depths: more particles come from the side of the pixels."""
    return THICKNESS * rng.random(number) ** _DEEP


def _xrays(rng: Generator, number: int) -> _Points:
    """Points; as the attenuation length is that of higher energies, they are at all depths alike."""
    y, x = rng.random((2, number))
    energy = np.minimum(1 + rng.exponential(5, number), 25)
    return _Points(np.arange(number), y, x, _depth(rng, number), energy)


def _electrons(rng: Generator, number: int) -> _Points:
    """Worms: multiple scattering and loss grow as an electron slows down.

    With a range R = a E^p the energy left after a path s is E (1 - s / R)^(1/p). What leaves the silicon is lost.
    """
    energy = np.minimum(rng.exponential(_MEAN, number), _MOST)
    path = _RANGE * energy**_POWER
    steps = np.ceil(path / _STEP).astype(np.intp)
    cluster = np.repeat(np.arange(number), steps)
    before = _runs(steps) / steps[cluster]
    share = 1 / steps[cluster]
    length = path[cluster] * share

    def left(part: Floats) -> Floats:
        remaining: Floats = energy[cluster] * np.maximum(1 - part, 0) ** (1 / _POWER)
        return remaining

    charge = left(before) - left(before + share)
    charge *= rng.gamma(_STRAGGLING, 1 / _STRAGGLING, len(charge))
    turn = _SCATTER * np.sqrt(length) / left(before + share / 2) * rng.standard_t(_TAIL, (2, len(length)))
    start = _isotropic(rng, number)
    azimuth, slope = (angle[cluster] + _sums(kink, steps) for angle, kink in zip(start, turn, strict=True))
    y = _sums(length * np.cos(slope) * np.sin(azimuth), steps) + rng.random(number)[cluster]
    x = _sums(length * np.cos(slope) * np.cos(azimuth), steps) + rng.random(number)[cluster]
    down = length * np.sin(slope)
    depth = _sums(down, steps) - down + _depth(rng, number)[cluster]
    inside = _sums((depth < 0) | (depth > THICKNESS), steps) == 0
    return _Points(*(column[inside] for column in (cluster, y, x, depth, charge)))


def _sums(values: NDArray[Any], length: Ints) -> NDArray[Any]:
    """Running sums, begun anew for each of the lengths (all at least 1)."""
    total = np.cumsum(values)
    start = np.cumsum(length) - length
    return np.asarray(total - np.repeat(total[start] - values[start], length))


def _muons(rng: Generator, number: int) -> _Points:
    """Straight lines through the silicon, cos^2 of the angle to its normal: narrow at one end, wide at the other."""
    normal = np.minimum(np.cbrt(rng.random(number)), 1)  # cosine; its cube is uniform
    normal = np.maximum(normal, 0.33)  # at most 130 pixels along the surface
    along = THICKNESS * np.sqrt(1 - normal**2) / normal
    path = np.hypot(along, THICKNESS)
    steps = np.ceil(np.maximum(along, 1) / _STEP).astype(np.intp)
    cluster = np.repeat(np.arange(number), steps)
    part = (_runs(steps) + 0.5) / steps[cluster]
    azimuth = rng.uniform(0, 2 * np.pi, number)
    y = (along * np.sin(azimuth))[cluster] * part + rng.random(number)[cluster]
    x = (along * np.cos(azimuth))[cluster] * part + rng.random(number)[cluster]
    charge = (_MUON * path / steps)[cluster] * rng.gamma(_STRAGGLING, 1 / _STRAGGLING, len(cluster))
    return _Points(cluster, y, x, part * THICKNESS, charge)


def _alphas(rng: Generator, number: int) -> _Points:
    """Round blobs: so dense a charge pushes itself apart, here to a disc of 3 .. 5 pixels, before it drifts."""
    cluster = np.repeat(np.arange(number), _GRAINS)
    radius = rng.uniform(3, 5, number)[cluster] * np.sqrt(rng.random(len(cluster)))
    azimuth = rng.uniform(0, 2 * np.pi, len(cluster))
    y, x = radius * np.sin(azimuth), radius * np.cos(azimuth)
    charge = rng.uniform(150, 280, number)[cluster] / _GRAINS
    return _Points(cluster, y, x, rng.uniform(0.5, 1, number)[cluster] * THICKNESS, charge)


_RELEASE: tuple[Callable[[Generator, int], _Points], ...] = (_xrays, _electrons, _muons, _alphas)


def _collect(points: _Points, number: int) -> tuple[Ints, Ints, Ints, Floats]:
    """Spread the charge and collect it in pixels: cluster, row, column and charge of each."""
    row, column = (np.floor(place).astype(np.intp) for place in (points.y, points.x))
    top, left = (_least(place, points.cluster, number) - _WINDOW for place in (row, column))
    bottom, right = (-_least(-place, points.cluster, number) + _WINDOW for place in (row, column))
    width = right - left + 1
    area = (bottom - top + 1) * width
    start = np.cumsum(area) - area
    plane = np.zeros(area.sum())
    corner = start[points.cluster] + (row - _WINDOW - top[points.cluster]) * width[points.cluster]
    corner += column - _WINDOW - left[points.cluster]
    sigma = np.maximum(_DIFFUSION * np.sqrt(points.depth / THICKNESS), 0.05)
    span = np.arange(2 * _WINDOW + 1)
    for part in range(0, len(corner), _POINTS):
        these = slice(part, part + _POINTS)
        down, across = (_shares(place[these] - np.floor(place[these]), sigma[these]) for place in (points.y, points.x))
        charge = (points.charge[these, None] * down)[:, :, None] * across[:, None]
        place = corner[these, None, None] + span[:, None] * width[points.cluster[these], None, None] + span
        plane += np.bincount(place.ravel(), charge.ravel(), len(plane))
    plane = np.round(plane / _LEAST) * _LEAST
    pixel = np.flatnonzero(plane)
    cluster = np.searchsorted(start, pixel, side="right") - 1
    y, x = np.divmod(pixel - start[cluster], width[cluster])
    y -= _least(y, cluster, number)[cluster]
    x -= _least(x, cluster, number)[cluster]
    return cluster, y, x, plane[pixel]


def _least(values: Ints, cluster: Ints, number: int, most: int = np.iinfo(np.int32).max) -> Ints:
    """Least value of each cluster, `most` at most."""
    least = np.full(number, most, np.intp)
    np.minimum.at(least, cluster, values)
    return least


def _shares(place: Floats, sigma: Floats) -> Floats:
    """Share of the charge at a place within its pixel that ends in each of the 11 pixels around, (n, 11)."""
    edge = np.arange(-_WINDOW, _WINDOW + 2) - place[:, None]
    share: Floats = np.diff(erf(edge / (np.sqrt(2) * sigma[:, None])), axis=1) / 2
    return share
