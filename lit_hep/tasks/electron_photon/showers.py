"""Showers in lead tungstate: mean ones of homogeneous media and the fluctuations of their depth.

After G. Grindhammer and S. Peters, hep-ex/0001020.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri

from lit_hep.tasks.electron_photon.tracker import CRYSTAL, RADIUS, Floats, Integers, Particles

if TYPE_CHECKING:
    from lit_hep.tasks.electron_photon.simulation import Ecal

CANVAS = 40  # crystals a side of the wall on which the showers of an event are laid out
ORIGIN = 20  # row and column of the crystal that the hardest particle enters
WIDTH = 100 * RADIUS * CRYSTAL  # cm, of a crystal
_X0, _MOLIERE, _CRITICAL, _Z = (0.89, 2.19, 8.74e-3, 68.4)  # lead tungstate: cm, cm, GeV, mean nuclear charge
_HARD = 4.0  # GeV; harder showers are laid out in slices of depth and further out


def _corner(x: Floats, y: Floats, radius: Floats) -> Floats:
    """Integral of the radial profile R^2 / (pi (r^2 + R^2)^2) over the rectangle between the axis and (x, y)."""
    a, b = np.sqrt(x**2 + radius**2), np.sqrt(y**2 + radius**2)
    integral: Floats = (x / a * np.arctan(y / a) + y / b * np.arctan(x / b)) / np.float32(2 * np.pi)
    return integral


def _longitudinal(rng: Generator, particles: Particles) -> tuple[Floats, Floats, Floats]:
    """Draw where showers begin (X0), and shape and scale of their gamma distributions of depth."""
    m = len(particles.energy)
    begin = np.where(particles.charged, 0, rng.exponential(9 / 7, m))
    electron = np.where(particles.charged, particles.energy, particles.energy / 2)  # the pair shares the energy
    y = np.log(np.maximum(electron / _CRITICAL, 5))
    common = (0.705 - 0.023 * y + 1) / 2  # correlation of the two fluctuations
    a, b = np.sqrt([common, 1 - common]) * rng.standard_normal((2, m))
    maximum = np.maximum(y - 0.812, 0.5) * np.exp((a + b) / np.maximum(-1.4 + 1.26 * y, 1.5))
    shape = (0.81 + (0.458 + 2.26 / _Z) * y) * np.exp((a - b) / np.maximum(-0.58 + 0.86 * y, 1.5))
    shape = np.maximum(shape, 1.2)
    return begin, shape, maximum / (shape - 1)


def _radial(energy: Floats, depth: Floats, scene: "Ecal") -> tuple[Floats, Floats, Floats]:
    """Radii of core and tail (cm) and weight of the core at a depth, in units of that of the maximum."""
    log = np.log(np.maximum(energy, 0.4))
    core = 0.0251 + 0.00319 * log + (0.1162 - 0.000381 * _Z) * depth
    late = depth - 0.645
    tail = (0.659 - 0.00309 * _Z) * (np.exp(-2.59 * late) + np.exp((0.3585 + 0.0421 * log) * late))
    u = (0.401 + 0.00187 * _Z - depth) / (1.313 - 0.0686 * log)
    weight = np.clip((2.632 - 0.00094 * _Z) * np.exp(u - np.exp(u)), 0, 1)
    return core * scene.core * _MOLIERE, tail * scene.tail * _MOLIERE, weight


def _lay_out(
    wall: Floats, event: Integers, row: Floats, column: Floats, parts: Iterable[tuple[Floats, ...]], reach: int
) -> None:
    """Add showers to the wall (N, 40, 40).

    Args:
        wall: Energies, GeV.
        event: Rows of the wall, (M,).
        row: Place along eta, in crystals, (M,).
        column: The same along phi.
        parts: Energy (GeV), radius (cm) and offset along eta and phi (cm) of each component of the showers, (M,).
        reach: Crystals on either side that get a share.
    """
    up, left = np.floor(row).astype(np.intp), np.floor(column).astype(np.intp)
    edges = np.arange(-reach, reach + 2)
    y, x = (((edges - (at - whole)[:, None]) * WIDTH).astype(np.float32) for at, whole in ((row, up), (column, left)))
    total = np.zeros((len(event), 2 * reach + 1, 2 * reach + 1), np.float32)
    for part in parts:
        energy, radius, dy, dx = (value.astype(np.float32)[:, None, None] for value in part)
        corner = _corner(x[:, None] - dx, y[:, :, None] - dy, radius)
        total += energy * (corner[:, 1:, 1:] - corner[:, :-1, 1:] - corner[:, 1:, :-1] + corner[:, :-1, :-1])
    rows = up[:, None, None] + edges[:-1, None]
    columns = left[:, None, None] + edges[:-1]
    on = (rows >= 0) & (rows < CANVAS) & (columns >= 0) & (columns < CANVAS)
    place = (event[:, None, None] * CANVAS + rows) * CANVAS + columns
    wall += np.bincount(place[on], total[on], wall.size).reshape(wall.shape)


def showers(rng: Generator, particles: Particles, eta: Floats, scene: "Ecal") -> Floats:
    """Draw the energies in the crystals.

    Args:
        rng: Source of all randomness.
        particles: What enters the crystals.
        eta: Pseudorapidity of the gun particles, (N,).
        scene: Calorimeter.

    Returns:
        Energies (N, 40, 40), GeV; rows are eta, columns phi.
    """
    n, event, energy = len(eta), particles.event, particles.energy
    by_energy = np.lexsort((energy, event))
    hardest = by_energy[np.flatnonzero(np.diff(event[by_energy], append=n))]
    impact = rng.random((2, n))
    origin = impact.copy()
    origin[:, event[hardest]] += particles.eta[hardest], particles.phi[hardest]
    row, column = (impact - np.floor(origin) + ORIGIN)[:, event] + [particles.eta, particles.phi]
    begin, shape, scale = _longitudinal(rng, particles)
    tilt = np.tan(np.radians(scene.tilt))
    vertex = scene.vertex / 100 / RADIUS * rng.standard_normal(n) / np.cosh(eta) ** 2
    slope = _X0 * np.stack([(tilt[0] * np.sign(eta) + vertex)[event], tilt[1] + particles.slope])  # cm per X0
    wall = np.zeros((n, CANVAS, CANVAS))
    for hard, slices, reach in ((True, 3, 4), (False, 1, 3)):
        some = np.flatnonzero((particles.energy > _HARD) == hard)
        quantiles = ndtri((np.arange(slices) + 0.5) / slices)[:, None]
        k, theta = shape[some], scale[some]
        depth = k * np.maximum(1 - 1 / (9 * k) + quantiles / (3 * np.sqrt(k)), 0.05) ** 3 * theta  # Wilson-Hilferty
        core, tail, weight = _radial(particles.energy[some], depth / ((k - 1) * theta), scene)
        below = depth + begin[some]
        share = energy[some] / slices
        parts = [(share * w, r, *(slope[:, some] * d)) for w, r, d in zip(weight, core, below, strict=True)]
        parts.append((share * (1 - weight).sum(0), tail.mean(0), *(slope[:, some] * below.mean(0))))
        _lay_out(wall, event[some], row[some], column[some], parts, reach)
    return wall.astype(np.float32)
