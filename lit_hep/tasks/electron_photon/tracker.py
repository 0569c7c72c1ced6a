"""From the gun to the crystals: electrons radiate, photons convert and tracks bend in the tracker of CMS.

Its material is that of fast simulation of CMS (cmssw, FastSimulation/TrackerSetup, tuned to the full simulation): thin
cylinders and disks. In each an electron gives off photons, a photon makes a pair (both with complete screening), and
soft tracks scatter (Particle Data Group, Passage of particles through matter).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lit_hep.tasks.electron_photon.simulation import Ecal

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Integers = NDArray[np.intp]

CRYSTAL = 2 * np.pi / 360  # width in eta and phi
RADIUS = 1.29  # m, front of the crystals
_CUT = 0.05  # GeV of pT; softer particles are not followed
# |z| from and to (m), and by what the nominal thickness of the outer barrel is multiplied there
_OUTER_BARREL = ((0, 0.18, 0.7), (0.18, 0.3, 2), (0.3, 0.36, 1), (0.36, 0.46, 2), (0.46, 0.55, 1), (0.55, 1.08, 2))
_CYLINDERS = np.array(
    [  # radius, |z| from and to (m), thickness (X0)
        (0.03, 0, 0.283, 0.00265),  # beam pipe
        *((radius, 0, 0.284, 0.0217) for radius in (0.044, 0.073, 0.102)),  # pixels
        *((0.175, 0, 0.275, 0.0136), (0.175, 0.275, 0.32, 0.068), (0.175, 0.32, 0.72, 0.034)),  # their services
        *(  # inner barrel
            (radius, start, end, factor * thickness)
            for radius, thickness in ((0.257, 0.053), (0.34, 0.053), (0.42, 0.035), (0.499, 0.04))
            for start, end, factor in ((0, 0.35, 1), (0.35, 0.66, 1.45))
        ),
        *((0.546, 0, 0.275, 0.009), (0.546, 0.275, 0.305, 0.036), (0.546, 0.305, 0.72, 0.009)),  # wall
        (0.546, 0.72, 1.08, 0.0495),
        *(  # outer barrel
            (radius, start, end, factor * thickness)
            for radius, thickness in ((0.608, 0.03), (0.694, 0.03), *((r, 0.022) for r in (0.781, 0.869, 0.966, 1.08)))
            for start, end, factor in _OUTER_BARREL
        ),
        *((1.195, 0, 1.2, 0.038), (1.195, 1.2, 3, 0.144)),  # wall
    ]
)
_DISKS = np.array(
    [  # |z|, radius from and to (m), thickness (X0); those that |eta| < 1.4 meets
        *((0.288, 0.119, 0.155, 0.04), (0.288, 0.038, 0.165, 0.015)),  # cables of the pixels
        (0.74, 0.225, 0.539, 0.108),  # services of the inner barrel
        *((0.784, 0.34, 0.42, 0.08), (0.784, 0.42, 0.539, 0.04), (0.904, 0.42, 0.539, 0.04)),  # inner disks
        *((1.15, 0.6, 0.62, 0.15), (1.15, 0.62, 0.78, 0.225), (1.15, 0.78, 0.92, 0.27)),  # services of the outer barrel
        (1.15, 0.92, 1.11, 0.15),
        *((z, 0.6, 1.012, 0.045) for z in (1.319, 1.459, 1.599, 1.739, 1.879)),  # end caps
    ]
)


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


def layers(eta: Floats) -> tuple[Floats, Floats]:
    """Find the material that straight tracks from the middle of the detector meet.

    Args:
        eta: Pseudorapidity of each track, (N,).

    Returns:
        Radii (m), from within, and thickness along the way (X0), both (layers, N). Where a track meets fewer layers
        than another, its last ones are at the crystals and empty.
    """
    slope = np.maximum(np.abs(np.sinh(eta)), 1e-9)  # z over radius
    radius, start, end, thickness = _CYLINDERS.T[:, :, None]
    through = (radius * slope >= start) & (radius * slope < end)
    z, inner, outer, depth = _DISKS.T[:, :, None]
    meets = (z / slope >= inner) & (z / slope < outer)
    met = np.concatenate([np.where(through, radius, RADIUS), np.where(meets, z / slope, RADIUS)])
    along = np.concatenate([through * thickness * np.hypot(1, slope), meets * depth * np.hypot(1, 1 / slope)])
    order = met.argsort(0)[: (met < RADIUS).sum(0).max()]
    return np.take_along_axis(met, order, 0), np.take_along_axis(along, order, 0)


def _fly(state: Floats, start: Floats, end: Floats, field: float, slope: Floats) -> Floats:
    """Move particles from one radius to another, m; those that curl up before are lost. The slope is tanh(eta).

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
    shift = shift + slope * (end - start) / RADIUS * (secant - 1)  # a longer way
    arrives = np.abs(arrival) < 0.95 * end
    return np.stack([event, pt, charge, azimuth, arrival, shift])[:, arrives]


def radiated(rng: Generator, thickness: Floats, least: Floats) -> Floats:
    """Draw the share of its energy that each electron gives off as photons.

    Args:
        rng: Source of all randomness.
        thickness: What it crosses, X0, (N,).
        least: Share of its energy that a photon has at least, (N,).
    """
    source = np.repeat(np.arange(len(least)), rng.poisson(-4 / 3 * thickness * np.log(least)))
    share = least[source] ** rng.random(len(source))
    given = rng.random(len(source)) < 1 - share + 0.75 * share**2  # spectrum (4/3 - 4/3 y + y^2) / y
    lost: Floats = -np.expm1(np.bincount(source[given], np.log1p(-share[given]), len(least)))
    return lost


def _cross(rng: Generator, state: Floats, thickness: Floats, radius: Floats, scene: "Ecal") -> Floats:
    """Scatter, radiate and convert in a layer of a thickness in X0."""
    event, pt, charge, azimuth, swing, shift = state
    charged = charge != 0
    kick = np.where(charged, scene.scatter / pt * np.sqrt(thickness), 0) * rng.standard_normal((2, len(pt)))
    swing = swing + radius * kick[0]
    shift = shift + (1 - radius / RADIUS) * kick[1]
    lost = radiated(rng, np.where(charged, thickness, 0), _CUT / pt)
    emits = lost > 0
    pairs = ~charged & (rng.random(len(pt)) < -np.expm1(-7 / 9 * thickness))
    n = pairs.sum()  # of a share x, the spectrum 1 - 4/3 x (1 - x) = 2/3 + (1 - 2x)^2 / 3
    share = np.where(rng.random(n) < 6 / 7, rng.random(n), (1 + np.cbrt(rng.uniform(-1, 1, n))) / 2)
    kept = 1 - lost
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
    radii, thickness = layers(eta)
    slope = np.tanh(eta)
    charge = np.where(electron, np.where(rng.random(n) < scene.positrons, -1, 1), 0)  # that moves to larger phi
    curvature, first = 0.3 * scene.field * charge / scene.pt, radii[0]
    azimuth, swing = curvature * first / 2, curvature * first**2 / 2
    state = np.stack([np.arange(n), np.full(n, scene.pt), charge, azimuth, swing, np.zeros(n)])
    ends = np.concatenate([radii[1:], np.full((1, n), RADIUS)])
    for radius, end, layer in zip(radii, ends, scene.material * thickness, strict=True):
        event = state[0].astype(np.intp)
        state = _cross(rng, state, layer[event], radius[event], scene)
        event = state[0].astype(np.intp)
        state = _fly(state, radius[event], end[event], scene.field, slope[event])
    event = state[0].astype(np.intp)
    energy = state[1] * np.cosh(eta)[event]
    sine = state[4] / RADIUS
    tangent = sine / np.sqrt(1 - sine**2)
    return Particles(event, energy, state[3] / CRYSTAL, state[5] / CRYSTAL, tangent, state[2] != 0)
