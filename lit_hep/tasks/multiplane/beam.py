"""Interactions of neutrinos of a beam, several GeV: one lepton and a jet of hadrons; energies in MeV."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lit_hep.tasks.multiplane.particles import MASS, Floats, Kind, Particles, made, photons, unit

NUMU, NUE, NC = range(3)


@dataclass(frozen=True)
class Beam:
    """Neutrinos along the third axis, and what they make.

    Args:
        energy: Range of their energies, MeV; the logarithm is uniform and the same for all classes.
        pions: Mean number of pions at 1 GeV given to the hadrons; it grows as the square root.
        angle: Standard deviation of a hadron's angle to the beam at a momentum of 1 GeV, radians.
    """

    energy: tuple[float, float] = (1000.0, 10_000.0)
    pions: float = 1.2
    angle: float = 0.35

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least, most = (200, 50_000) if name == "energy" else (0, 10)
            if not all(least <= number <= most for number in np.atleast_1d(value)):
                raise ValueError(f"beam.{name} = {value}: want {least:g} .. {most:g}")
        if self.energy[0] > self.energy[1]:
            raise ValueError(f"beam.energy = {self.energy}: want the lower one first")


def beam_neutrinos(rng: Generator, event: NDArray[np.integer], label: NDArray[np.integer], beam: Beam) -> Particles:
    """Particles at the origin.

    Args:
        rng: Source of all randomness.
        event: Rows of the events (n,).
        label: `NUMU`, `NUE` or `NC`, of which nothing is seen but the hadrons, (n,).
        beam: Energies and hadrons.
    """
    number = len(event)
    low, high = beam.energy
    energy = low * (high / low) ** rng.random(number)
    hadrons = energy * rng.beta(1.2, 2.0, number)
    charged = np.flatnonzero(label != NC)
    kind = np.where(label == NUE, Kind.ELECTRON, Kind.MUON_MINUS)[charged]
    lepton = np.maximum((energy - hadrons)[charged] - MASS[kind], 20)
    lean = 0.25 * np.sqrt(hadrons[charged] / energy[charged])
    parts = [made(event[charged], kind, lepton, np.zeros((len(charged), 3)), _near(rng, lean))]
    many = 1 + rng.poisson(beam.pions * np.sqrt(hadrons / 1000))
    row = np.repeat(np.arange(number), many)
    share = rng.exponential(size=len(row))
    share *= (hadrons / np.maximum(np.bincount(row, share, number), 1e-9))[row]
    first = np.diff(row, prepend=-1) > 0
    species = np.where(first, Kind.PROTON, rng.choice([Kind.PION_PLUS, Kind.PION_MINUS, Kind.PHOTON], len(row)))
    mass = np.where(first, 0, np.where(species == Kind.PHOTON, 135.0, 139.6))
    kinetic = np.maximum(share - mass, 15)
    direction = _near(rng, beam.angle * 1000 / (kinetic + 150))
    neutral = species == Kind.PHOTON
    whole = ~neutral
    parts.append(made(event[row[whole]], species[whole], kinetic[whole], np.zeros((whole.sum(), 3)), direction[whole]))
    energies, directions = photons(rng, kinetic[neutral], direction[neutral])
    twice = np.tile(event[row[neutral]], 2)
    parts.append(made(twice, Kind.PHOTON, energies, np.zeros((len(twice), 3)), directions))
    return Particles.join(parts)


def _near(rng: Generator, spread: Floats) -> NDArray[np.float32]:
    """Directions (N, 3) within an angle (N,), standard deviation of each projection, of the beam."""
    vectors = rng.standard_normal((len(spread), 3)) * np.minimum(spread, 3)[:, None]
    vectors[:, 2] = 1
    return unit(vectors)
