"""From the gun to the crystals: an electron or photon crosses the tracker and showers in lead tungstate.

Tracker: thin cylinders. Electrons lose energy after Bethe and Heitler, given off as one photon a cylinder
(W. Adam et al., J. Phys. G 31 (2005) N9), photons make pairs (complete screening) and soft tracks scatter (Particle
Data Group, Passage of particles through matter). Crystals: mean showers of homogeneous media and the fluctuations of
their depth (G. Grindhammer and S. Peters, hep-ex/0001020).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtri

if TYPE_CHECKING:
    from lit_hep.tasks.electron_photon.simulation import Ecal

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Integers = NDArray[np.intp]

CANVAS = 40  # crystals a side of the wall on which the showers of an event are laid out
ORIGIN = 20  # row and column of the crystal that the hardest particle enters
CRYSTAL = 2 * np.pi / 360  # width in eta and phi
RADIUS = 1.29  # m, front of the crystals
WIDTH = 100 * RADIUS * CRYSTAL  # cm, of a crystal
_X0, _MOLIERE, _CRITICAL, _Z = (0.89, 2.19, 8.74e-3, 68.4)  # lead tungstate: cm, cm, GeV, mean nuclear charge
_CYLINDERS = (0.044, 0.073, 0.102, 0.255, 0.339, 0.418, 0.498, 0.608, 0.692, 0.78, 0.868, 0.965, 1.08, 1.16)  # m
_EDGE = 1.2  # |eta| of the second value of the material budget
_CUT = 0.05  # GeV of pT; softer particles are not followed
_HARD = 4.0  # GeV; harder showers are laid out in slices of depth and further out


@dataclass(frozen=True)
class Particles:
    """What enters the crystals: flat arrays of one length.

    Args:
        event: Row of the event.
        energy: GeV.
        phi: Place, crystals from the straight line of the gun particle.
        eta: The same along eta.
        slope: Tangent of the angle to the radius, towards larger phi.
        charged: Electron or positron, not photon.
    """

    event: Integers
    energy: Floats
    phi: Floats
    eta: Floats
    slope: Floats
    charged: Bools


def _fly(state: Floats, start: float, end: float, field: float, slope: Floats) -> Floats:
    """Move particles from one radius to another, m; those that curl up before are lost.

    A row each of the state (6, particles): event, pT (GeV), charge, azimuth (rad), swing (radius times the sine of the
    angle between momentum and radius, m), and eta at the crystals, from that of the gun particle.
    """
    event, pt, charge, azimuth, swing, shift = state
    curvature = 0.3 * field * charge / pt
    straight = swing - curvature * start**2 / 2
    arrival = straight + curvature * end**2 / 2
    tilt = np.minimum(np.abs(swing / start + arrival / end) / 2, 0.95)
    secant = 1 / np.sqrt(1 - tilt**2)
    azimuth = azimuth + (straight * (1 / start - 1 / end) + curvature * (end - start) / 2) * secant
    shift = shift + slope[event.astype(np.intp)] * (end - start) / RADIUS * (secant - 1)  # a longer way
    arrives = np.abs(arrival) < 0.95 * end
    return np.stack([event, pt, charge, azimuth, arrival, shift])[:, arrives]


def _cross(rng: Generator, state: Floats, thickness: Floats, radius: float, scene: "Ecal") -> Floats:
    """Scatter, radiate and convert in a cylinder of a thickness in X0."""
    event, pt, charge, azimuth, swing, shift = state
    charged = charge != 0
    kick = np.where(charged, scene.scatter / pt * np.sqrt(thickness), 0) * rng.standard_normal((2, len(pt)))
    swing = swing + radius * kick[0]
    shift = shift + (1 - radius / RADIUS) * kick[1]
    lost = -np.expm1(-rng.standard_gamma(np.where(charged, thickness / np.log(2), 0)))
    emits = lost * pt > _CUT
    pairs = ~charged & (rng.random(len(pt)) < -np.expm1(-7 / 9 * thickness))
    n = pairs.sum()  # of a share x, the spectrum 1 - 4/3 x (1 - x) = 2/3 + (1 - 2x)^2 / 3
    share = np.where(rng.random(n) < 6 / 7, rng.random(n), (1 + np.cbrt(rng.uniform(-1, 1, n))) / 2)
    kept = np.where(emits, 1 - lost, 1)
    kept[pairs] = share
    after = np.stack([event, pt * kept, np.where(pairs, 1, charge), azimuth, swing, shift])
    photons = np.stack([event, pt * lost, np.zeros_like(pt), azimuth, swing, shift])[:, emits]
    partners = after[:, pairs]
    partners[1:3] = pt[pairs] * (1 - share), np.full(n, -1)
    state = np.concatenate([after, photons, partners], axis=1)
    return state[:, state[1] > _CUT]


def tracker(rng: Generator, electron: Bools, eta: Floats, scene: "Ecal") -> Particles:
    """Follow the gun particles, and all they make, through the tracker.

    Args:
        rng: Source of all randomness.
        electron: Of each event, (N,); a photon otherwise.
        eta: Pseudorapidity of the gun particle, (N,).
        scene: Gun, tracker and field.
    """
    n = len(eta)
    low, high = scene.material
    thickness = low + (high - low) * (eta / _EDGE) ** 2
    shares = np.array(_CYLINDERS) ** scene.outward
    shares /= shares.sum()
    charge = np.where(electron, np.where(rng.random(n) < scene.positrons, -1, 1), 0)  # that moves to larger phi
    curvature, first = 0.3 * scene.field * charge / scene.pt, _CYLINDERS[0]
    azimuth, swing = curvature * first / 2, curvature * first**2 / 2
    state = np.stack([np.arange(n), np.full(n, scene.pt), charge, azimuth, swing, np.zeros(n)])
    for radius, beyond, share in zip(_CYLINDERS, (*_CYLINDERS[1:], RADIUS), shares, strict=True):
        state = _cross(rng, state, share * thickness[state[0].astype(np.intp)], radius, scene)
        state = _fly(state, radius, beyond, scene.field, np.tanh(eta))
    event = state[0].astype(np.intp)
    energy = state[1] * np.cosh(eta)[event]
    sine = state[4] / RADIUS
    slope = sine / np.sqrt(1 - sine**2)
    return Particles(event, energy, state[3] / CRYSTAL, state[5] / CRYSTAL, slope, state[2] != 0)


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
