"""Final states: proton decays into a kaon, and interactions of atmospheric neutrinos of like energy."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lit_hep.tasks.multiplane.particles import (
    KAON_MUON,
    MASS,
    PION_ENERGY,
    TWO_PIONS,
    Floats,
    Kind,
    Particles,
    fermi,
    isotropic,
    kaons,
    made,
    momentum,
    photons,
    turned,
)

_RELEASED = np.array([37, 9.6, 41, 60, 0, 0, 0, 135])
"""MeV that a particle sets free at the end of its range in the mean, by `Kind`; a photon here is of a neutral pion."""


@dataclass(frozen=True)
class Physics:
    """What happens in the argon.

    Args:
        fermi: Fermi momentum of its nucleons, MeV.
        knock_out: Share of the kaons that knock a proton out of the nucleus and lose energy to it.
        modes: Shares of neutrino interactions: mu p, mu p p, mu p pi, e p, e p p, pi p and pi0 p.
        energy: Energy that a neutrino interaction sets free in the argon, in units of that of a proton decay.
        spread: Standard deviation of its logarithm, beyond that of the decays.
        proton: Mean kinetic energy of the leading proton, MeV.
    """

    fermi: float = 225.0
    knock_out: float = 0.25
    modes: tuple[float, float, float, float, float, float, float] = (0.42, 0.06, 0.1, 0.16, 0.03, 0.11, 0.12)
    energy: float = 1.07
    spread: float = 0.1
    proton: float = 100.0

    def __post_init__(self) -> None:
        limits = {"fermi": (0, 400), "knock_out": (0, 1), "modes": (0, 1), "energy": (0.2, 5), "spread": (0, 2)}
        for name, value in asdict(self).items():
            least, most = limits.get(name, (1, 1000))
            if not all(least <= number <= most for number in np.atleast_1d(value)):
                raise ValueError(f"physics.{name} = {value}: want {least:g} .. {most:g}")
        if abs(sum(self.modes) - 1) > 1e-6:
            raise ValueError(f"physics.modes = {self.modes}: want shares that add up to 1")


NOMINAL = Physics()


def proton_decays(rng: Generator, event: NDArray[np.integer], physics: Physics) -> Particles:
    """Kaons of p -> K+ nubar at the origin, and protons that they knocked out.

    Args:
        rng: Source of all randomness.
        event: Rows of the events (n,).
        physics: Of the nucleus.
    """
    energy, direction = kaons(rng, len(event), physics.fermi)
    hit = np.flatnonzero(rng.random(len(event)) < physics.knock_out)
    given = energy[hit] * rng.uniform(0.1, 0.6, len(hit))
    energy[hit] -= given
    direction[hit] = turned(rng, direction[hit], rng.uniform(-0.2, 1, len(hit)))
    return Particles.join(
        [
            made(event, Kind.KAON, np.maximum(energy, 1.0), np.zeros((len(event), 3)), direction),
            made(event[hit], Kind.PROTON, np.maximum(given, 1.0), np.zeros((len(hit), 3)), isotropic(rng, len(hit))),
        ]
    )


def neutrinos(rng: Generator, event: NDArray[np.integer], physics: Physics) -> Particles:
    """Interactions of atmospheric neutrinos at the origin.

    Each gives its particles, and what these set free in the end, the energy of a proton decay drawn for it, so that
    size alone tells little. A leading particle and a proton share it; the angle between these two is that which the
    neutrino's momentum and a nucleon of the Fermi sea allow.

    Args:
        rng: Source of all randomness.
        event: Rows of the events (n,).
        physics: Shares of the final states, and energies.
    """
    number = len(event)
    mode = rng.choice(len(physics.modes), number, p=physics.modes)
    second = np.isin(mode, (1, 2, 4))
    muon, pion, more = np.where(rng.random((3, number)) < 0.6, *np.array([[0, 2, 2], [1, 3, 3]])[..., None])
    kinds = np.select([mode <= 2, mode <= 4, mode == 5], [muon, Kind.ELECTRON, pion], Kind.PHOTON)
    extra = np.where(mode == 2, more, Kind.PROTON)
    total = physics.energy * _set_free(rng, number, physics) * np.exp(physics.spread * rng.standard_normal(number))
    total = np.maximum(total - _RELEASED[kinds] - np.where(second, _RELEASED[extra], 0), 60)
    proton = np.minimum(25 + rng.gamma(2, (physics.proton - 25) / 2, number), 0.6 * total)
    other = np.where(second, (total - proton) * rng.uniform(0.1, 0.5, number), 0)
    lead = total - proton - other
    direction = isotropic(rng, number)
    partner = turned(rng, direction, _cosine(rng, kinds, lead, proton, total, physics))
    place = np.zeros((number, 3))
    parts = [made(event, Kind.PROTON, proton, place, partner)]
    whole = mode < 6
    parts.append(made(event[whole], kinds[whole], lead[whole], place[whole], direction[whole]))
    energies, directions = photons(rng, lead[~whole], direction[~whole])
    parts.append(made(np.tile(event[~whole], 2), Kind.PHOTON, energies, np.zeros((len(energies), 3)), directions))
    parts.append(made(event[second], extra[second], other[second], place[second], isotropic(rng, int(second.sum()))))
    return Particles.join(parts)


def _set_free(rng: Generator, number: int, physics: Physics) -> Floats:
    """Energy that proton decays leave in the argon (N,), MeV."""
    energy, _ = kaons(rng, number, physics.fermi)
    michel = 0.35 * 105.7
    rest = np.where(rng.random(number) < TWO_PIONS, sum(PION_ENERGY) + 4.1 + 135.0, KAON_MUON)
    return energy + rest + michel


def _cosine(
    rng: Generator, kind: NDArray[np.integer], lead: Floats, proton: Floats, total: Floats, physics: Physics
) -> Floats:
    """Cosine of the angle between leading particle and proton, at random where no angle balances the momenta."""
    one, two = momentum(np.where(kind == Kind.PHOTON, Kind.PION_PLUS, kind), lead), momentum(Kind.PROTON, proton)
    neutrino = total + MASS[kind] + 30
    along = fermi(rng, len(lead), physics.fermi)
    sought = (along + np.array([1, 0, 0]) * neutrino[:, None]) ** 2
    cosine = (sought.sum(1) - one**2 - two**2) / (2 * one * two)
    result: Floats = np.where(np.abs(cosine) < 1, cosine, rng.uniform(-1, 1, len(lead)))
    return result
