"""What proton decays and atmospheric neutrinos leave behind, and what decays at rest; momenta and energies in MeV."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]


class Kind(IntEnum):
    """Particles that leave a trace; an electron is of either charge."""

    MUON_PLUS = 0
    MUON_MINUS = 1
    PION_PLUS = 2
    PION_MINUS = 3
    KAON = 4
    PROTON = 5
    ELECTRON = 6
    PHOTON = 7


MASS = np.array([105.658, 105.658, 139.570, 139.570, 493.677, 938.272, 0.511, 0.0], np.float32)
"""By kind, MeV."""
_PION_ZERO, _NUCLEON = 134.977, 938.919
_REMOVAL = 30.0  # MeV; energy to take a nucleon out of argon
_MUON_LIFE, _CAPTURED_LIFE = 2.197, 0.57  # us; of positive muons, and of negative ones in argon
_CAPTURE = 0.74  # share of negative muons that argon captures
TWO_PIONS = 0.2067 / (0.2067 + 0.6356)  # of the kaons; the other modes are left out
PION_ENERGY = 108.6, 110.5  # MeV; kinetic, of charged and neutral pion
KAON_MUON, _PION_MUON = 152.5, 4.12  # MeV; kinetic energy of the muon


@dataclass
class Particles:
    """N particles.

    Args:
        event: Row of the event (N,).
        kind: `Kind` (N,).
        energy: Kinetic energy (N,), MeV.
        position: Along the drift, upwards and along the beam, (N, 3), cm. The drift counts later charge as farther.
        direction: Unit vectors (N, 3).
    """

    event: NDArray[np.int32]
    kind: NDArray[np.int8]
    energy: Floats
    position: Floats
    direction: Floats

    def __len__(self) -> int:
        return len(self.event)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.integer] | slice) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All of several."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def made(event: NDArray[np.integer], kind: ArrayLike, energy: Floats, position: Floats, direction: Floats) -> Particles:
    """Particles of one or more kinds."""
    kinds = np.broadcast_to(np.asarray(kind, np.int8), len(event)).copy()
    arrays = (np.asarray(array, np.float32) for array in (energy, position, direction))
    return Particles(np.asarray(event, np.int32), kinds, *arrays)


def momentum(kind: NDArray[np.integer] | int, energy: Floats) -> Floats:
    """Momentum, MeV, from kinetic energy."""
    result: Floats = np.sqrt(energy * (energy + 2 * MASS[kind]))
    return result


def isotropic(rng: Generator, number: int) -> NDArray[np.float32]:
    """Unit vectors (N, 3)."""
    vectors = rng.standard_normal((number, 3), np.float32)
    return unit(vectors)


def unit(vectors: Floats) -> NDArray[np.float32]:
    """Vectors (N, 3) of length 1."""
    length = np.sqrt((vectors * vectors).sum(1, keepdims=True))
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def turned(rng: Generator, direction: Floats, cosine: Floats) -> NDArray[np.float32]:
    """Directions (N, 3) at a given angle from others."""
    across = isotropic(rng, len(direction))
    across = unit(across - (across * direction).sum(1, keepdims=True) * direction)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    return unit(cosine[:, None] * direction + sine[:, None] * across)


def boosted(momenta: Floats, mass: ArrayLike, velocity: Floats) -> Floats:
    """Momenta (N, 3) seen from a frame in which the old one moves with `velocity` (N, 3), units of c."""
    energy = np.sqrt((momenta**2).sum(1) + np.square(mass))
    square = (velocity**2).sum(1)
    gamma = 1 / np.sqrt(1 - square)
    along = (momenta * velocity).sum(1)
    shift = (gamma - 1) * along / np.maximum(square, 1e-12) + gamma * energy
    result: Floats = momenta + shift[:, None] * velocity
    return result


def fermi(rng: Generator, number: int, sea: float) -> Floats:
    """Momenta (N, 3) of nucleons of a nucleus, a Fermi gas, MeV."""
    vectors: Floats = isotropic(rng, number) * (sea * np.cbrt(rng.random((number, 1))))
    return vectors


def kaons(rng: Generator, number: int, sea: float) -> tuple[Floats, Floats]:
    """Kaons of p -> K+ nubar.

    Args:
        rng: Source of all randomness.
        number: N.
        sea: Fermi momentum, MeV; 0 for free protons.

    Returns:
        Kinetic energy (N,), MeV, and direction (N, 3).
    """
    bound = fermi(rng, number, sea)
    energy = MASS[Kind.PROTON] - (_REMOVAL if sea else 0.0)
    mass = np.sqrt(energy**2 - (bound**2).sum(1))
    kaon = float(MASS[Kind.KAON])
    momenta = isotropic(rng, number) * ((mass**2 - kaon**2) / (2 * mass))[:, None]
    momenta = boosted(momenta, kaon, bound / energy)
    return np.sqrt((momenta**2).sum(1) + kaon**2) - kaon, unit(momenta)


def photons(rng: Generator, energy: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Two photons of each neutral pion: energies (2 N,), MeV, and directions (2 N, 3), the first ones first."""
    one = isotropic(rng, len(energy)) * np.float32(_PION_ZERO / 2)
    total = energy + _PION_ZERO
    velocity = direction * (np.sqrt(total**2 - _PION_ZERO**2) / total)[:, None]
    momenta = np.concatenate([boosted(sign * one, 0.0, velocity) for sign in (1, -1)])
    return np.sqrt((momenta**2).sum(1)), unit(momenta)


def _michel(rng: Generator, number: int) -> Floats:
    """Energies of electrons of muons at rest: 2 x^2 (3 - 2 x), MeV."""
    grid = np.linspace(0, 1, 201)
    energy: Floats = 52.83 * np.interp(rng.random(number), 2 * grid**3 - grid**4, grid)
    return energy


def decayed(rng: Generator, stopped: Particles, velocity: float) -> Particles:
    """What comes of particles at rest.

    Args:
        rng: Source of all randomness.
        stopped: At the end of their range.
        velocity: Of the drift, cm / us, by which late charge looks far.

    Returns:
        Particles, some of them photons.
    """
    draw = rng.random(len(stopped))
    kind = stopped.kind
    pairs = (kind == Kind.KAON) & (draw < TWO_PIONS)
    dark = (kind == Kind.MUON_MINUS) & (draw < _CAPTURE)
    muon = (kind == Kind.MUON_PLUS) | (kind == Kind.MUON_MINUS)
    late = np.where(kind == Kind.MUON_PLUS, _MUON_LIFE, _CAPTURED_LIFE) * muon * rng.exponential(size=len(stopped))
    place = stopped.position.copy()
    place[:, 0] += velocity * late
    away = isotropic(rng, len(stopped))
    parts = []
    for mother, daughter, energy in (
        ((kind == Kind.KAON) & ~pairs, Kind.MUON_PLUS, KAON_MUON),
        (pairs, Kind.PION_PLUS, PION_ENERGY[0]),
        (kind == Kind.PION_PLUS, Kind.MUON_PLUS, _PION_MUON),
        (muon & ~dark, Kind.ELECTRON, 0.0),
    ):
        rows = np.flatnonzero(mother)
        energies = np.full(len(rows), energy) if energy else _michel(rng, len(rows))
        parts.append(made(stopped.event[rows], daughter, energies, place[rows], away[rows]))
    rows = np.flatnonzero(pairs)
    energies, directions = photons(rng, np.full(len(rows), PION_ENERGY[1]), -away[rows])
    twice = np.tile(rows, 2)
    parts.append(made(stopped.event[twice], Kind.PHOTON, energies, place[twice], directions))
    return Particles.join(parts)
