"""Particles through liquid argon: what they lose on each step, what they set free, where they stop.

Every particle of every event takes its next step in the same operation. Straggling: collisions above `_HARD` are drawn
one by one from the spectrum of free electrons up to the largest transfer, the rest fluctuates as a Gaussian; this goes
over into Vavilov's distribution, and the mean is Bethe's. Scattering after Highland. Electrons radiate photons
(complete screening), photons make pairs or scatter (Klein-Nishina). Left out: decays in flight, annihilation of
positrons, interactions of kaons with nuclei, neutrons, photons below `_SOFT` from electrons.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lit_hep.tasks.multiplane.argon import (
    DENSITY,
    HADRON_PATH,
    RADIATION_LENGTH,
    beta_squared,
    csda_range,
    energy_of,
    largest_transfer,
    photon_path,
    recombination,
)
from lit_hep.tasks.multiplane.particles import MASS, Floats, Kind, Particles, decayed, isotropic, made, turned, unit

STEP = 0.3  # cm
_HARD = 0.1  # MeV; collisions above are drawn one by one
_TRACKED = 1.0  # MeV; electrons and photons above leave traces of their own
_SOFT = 0.5  # MeV; least energy of a radiated photon
_LEAST = 0.1  # MeV; what has less stops where it is
_TURNS = 8  # steps after which what was born meanwhile takes its first one
_REACH = 300.0  # cm; what goes farther is not followed
_COLLISIONS = 0.307075 / 2 * 18 / 39.948 * DENSITY  # MeV / cm
_HIGHLAND = 13.6 * np.sqrt(STEP / RADIATION_LENGTH) * (1 + 0.038 * np.log(STEP / RADIATION_LENGTH))
_ELECTRON = np.float32(MASS[Kind.ELECTRON])


@dataclass(frozen=True)
class Deposits:
    """N pieces of track.

    Args:
        event: Row of the event (N,).
        kind: `Kind` of the particle (N,).
        start: Where it begins (N, 3), cm.
        path: To its end (N, 3), cm.
        energy: Lost there (N,), MeV.
        charge: Part of it whose electrons escape recombination (N,), MeV.
    """

    event: NDArray[np.int32]
    kind: NDArray[np.int8]
    start: NDArray[np.float32]
    path: NDArray[np.float32]
    energy: NDArray[np.float32]
    charge: NDArray[np.float32]


def transport(rng: Generator, particles: Particles, velocity: float) -> Deposits:
    """Follow particles, and all that come of them, until they stop or are far away.

    Args:
        rng: Source of all randomness.
        particles: Where they start.
        velocity: Of the drift, cm / us.

    Returns:
        Deposits in no particular order.
    """
    pieces: list[tuple[NDArray[np.generic], ...]] = []
    moving, born = particles.take(slice(0)), [particles]
    stopped = [moving]
    for turn in count():
        if turn % _TURNS == 0 or not len(moving):
            new = Particles.join([*born, decayed(rng, Particles.join(stopped), velocity)])
            charged, photons = new.take(new.kind != Kind.PHOTON), new.take(new.kind == Kind.PHOTON)
            moving = Particles.join([moving, charged, converted(rng, photons)])
            moving = moving.take(np.abs(moving.position).max(1) < _REACH)
            born, stopped = [moving.take(slice(0))], [moving.take(slice(0))]
            if not len(moving):
                break
        path, lost, after, at_rest, free = _step(rng, moving)
        pieces.append((moving.event, moving.kind, moving.position, path, lost))
        moving = after
        stopped.append(at_rest)
        born += free
    event, kind, start, path, energy = (np.concatenate(column) for column in zip(*pieces, strict=True))
    length = np.sqrt((path * path).sum(1))
    charge = energy * recombination(energy / np.maximum(length, 0.05))
    return Deposits(event, kind, start, path, energy, charge.astype(np.float32))


def _step(rng: Generator, moving: Particles) -> tuple[Floats, Floats, Particles, Particles, list[Particles]]:
    """Path (N, 3) and energy lost on it (N,); particles that move on, those that stopped, and those set free."""
    kind, energy = moving.kind, moving.energy
    residual = csda_range(kind, energy)
    lost, deltas, owner = _collisions(rng, moving, residual)
    ends = (residual <= STEP) | (lost >= energy)
    lost[ends] = energy[ends]
    taken = np.bincount(owner, deltas.energy, len(energy)).astype(np.float32)
    deposited = np.maximum(lost - taken, 0)
    path = moving.direction * np.where(ends, np.minimum(residual, STEP), STEP)[:, None]
    gammas, radiated = _radiated(rng, moving, ~ends)
    broken = ~ends & _interacts(rng, moving)
    after = Particles(
        moving.event,
        kind,
        energy - lost - radiated,
        moving.position + path,
        _scattered(rng, moving),
    )
    going = ~ends & ~broken & (after.energy > _LEAST)
    return path, deposited, after.take(going), after.take(ends), [deltas, gammas, _star(rng, after.take(broken))]


def _scattered(rng: Generator, moving: Particles) -> Floats:
    """Directions after multiple scattering on one step."""
    energy, kind = moving.energy, moving.kind
    product = energy * (energy + 2 * MASS[kind]) / (energy + MASS[kind])  # momentum times velocity
    angle = np.minimum(_HIGHLAND / product, 1.0).astype(np.float32)
    return unit(moving.direction + angle[:, None] * rng.standard_normal((len(energy), 3), np.float32))


def _collisions(rng: Generator, moving: Particles, residual: Floats) -> tuple[Floats, Particles, NDArray[np.intp]]:
    """Energy lost on a step (N,), and electrons knocked out with more than `_TRACKED`, and by which particle."""
    kind, energy = moving.kind, moving.energy
    mean = energy - energy_of(kind, np.maximum(residual - STEP, 1e-3))
    beta2 = beta_squared(kind, energy)
    most = np.maximum(largest_transfer(kind, energy), _HARD)
    scale = _COLLISIONS * STEP / beta2
    spare = np.maximum(mean - scale * (np.log(most / _HARD) - beta2 * (1 - _HARD / most)), 0)
    soft = spare + np.sqrt(scale * _HARD * (1 - beta2 / 2)) * rng.standard_normal(len(energy), np.float32)
    number = rng.poisson(scale * (1 / _HARD - 1 / most))
    row = np.repeat(np.arange(len(energy)), number)
    draw = rng.random((2, len(row)), np.float32)
    transfer = _HARD / (1 - draw[0] * (1 - _HARD / most[row]))
    real = draw[1] > beta2[row] * transfer / most[row]
    row, transfer = row[real], transfer[real]
    lost = np.maximum(soft, 0) + np.bincount(row, transfer, len(energy)).astype(np.float32)
    seen = transfer > _TRACKED
    row, transfer = row[seen], transfer[seen]
    # of an electron at rest: cos = sqrt(T / (T + 2 m)) / (sqrt of the same for the largest transfer)
    steep = np.sqrt(transfer * (most[row] + 2 * _ELECTRON) / (most[row] * (transfer + 2 * _ELECTRON)))
    direction = turned(rng, moving.direction[row], np.minimum(steep, 1))
    deltas = made(moving.event[row], Kind.ELECTRON, transfer, moving.position[row], direction)
    return lost.astype(np.float32), deltas, row


def _radiated(rng: Generator, moving: Particles, able: NDArray[np.bool_]) -> tuple[Particles, Floats]:
    """Photons radiated on a step, and how much energy each particle gave for them (N,)."""
    energy = moving.energy
    able = able & (moving.kind == Kind.ELECTRON) & (energy > 2 * _SOFT)
    span = np.log(np.maximum(energy / _SOFT, 1))
    row = np.flatnonzero(able & (rng.random(len(energy), np.float32) < 4 / 3 * STEP / RADIATION_LENGTH * span))
    draw = rng.random((2, len(row)), np.float32)
    share = np.exp(-draw[0] * span[row])
    real = draw[1] * 4 / 3 < 4 / 3 * (1 - share) + share**2
    row, share = row[real], share[real]
    radiated = np.zeros(len(energy), np.float32)
    radiated[row] = share * energy[row]
    cosine = np.cos(np.minimum(_ELECTRON / energy[row] * rng.exponential(size=len(row)), 1.5))
    direction = turned(rng, moving.direction[row], cosine)
    return made(moving.event[row], Kind.PHOTON, radiated[row], moving.position[row], direction), radiated


def _interacts(rng: Generator, moving: Particles) -> NDArray[np.bool_]:
    """Which pions and protons end in a nucleus on a step."""
    absorbed: NDArray[np.bool_] = rng.random(len(moving), np.float32) < STEP / HADRON_PATH[moving.kind]
    return absorbed


def _star(rng: Generator, absorbed: Particles) -> Particles:
    """Protons that absorbed hadrons knock out; the rest of the energy leaves with neutrons."""
    row = np.repeat(np.arange(len(absorbed)), rng.integers(1, 3, len(absorbed)))
    energy = rng.gamma(2, 30, len(row))
    mass = np.where(absorbed.kind == Kind.PROTON, 0, MASS[absorbed.kind])
    share = (absorbed.energy + mass) / np.maximum(np.bincount(row, energy, len(absorbed)), 1e-9)
    energy *= np.minimum(share, 1)[row]
    return made(absorbed.event[row], Kind.PROTON, energy, absorbed.position[row], isotropic(rng, len(row)))


def converted(rng: Generator, photons: Particles) -> Particles:
    """Electrons and positrons that photons leave.

    Args:
        rng: Source of all randomness.
        photons: Where they start.

    Returns:
        Electrons, of more than `_LEAST` or what is left of a photon of less.
    """
    parts = [photons.take(slice(0))]
    while len(photons):
        path, pairs = photon_path(photons.energy)
        flight = rng.exponential(size=len(path)) * path
        photons.position = (photons.position + photons.direction * flight[:, None]).astype(np.float32)
        draw = rng.random(len(path))
        pair = draw < pairs
        absorbed = photons.energy < 2 * _LEAST
        parts += [_pair(rng, photons.take(pair)), photons.take(absorbed)]
        electrons, photons = _compton(rng, photons.take(~pair & ~absorbed))
        parts.append(electrons.take(electrons.energy > _LEAST))
    electrons = Particles.join(parts)
    electrons.kind[:] = Kind.ELECTRON
    return electrons


def _pair(rng: Generator, photons: Particles) -> Particles:
    """Electron and positron."""
    share = rng.random(len(photons), np.float32)
    spare = np.maximum(photons.energy - 2 * _ELECTRON, 2 * _LEAST)
    sides = []
    for part in (share, 1 - share):
        cosine = np.cos(np.minimum(_ELECTRON / photons.energy * rng.exponential(size=len(share)), 1.5))
        direction = turned(rng, photons.direction, cosine)
        sides.append(made(photons.event, Kind.ELECTRON, np.maximum(spare * part, _LEAST), photons.position, direction))
    return Particles.join(sides)


def _compton(rng: Generator, photons: Particles) -> tuple[Particles, Particles]:
    """Electrons and scattered photons (Klein-Nishina)."""
    ratio = photons.energy / _ELECTRON
    span = np.log1p(2 * ratio)
    kept = np.empty_like(ratio)
    rest = np.arange(len(ratio))
    while len(rest):
        share = np.exp(-rng.random(len(rest), np.float32) * span[rest])
        cosine = 1 - (1 / share - 1) / ratio[rest]
        done = rng.random(len(rest), np.float32) * 2 < 1 + share**2 - share * (1 - cosine**2)
        kept[rest[done]] = share[done]
        rest = rest[~done]
    cosine = np.clip(1 - (1 / kept - 1) / ratio, -1, 1)
    out = turned(rng, photons.direction, cosine)
    recoil = unit(photons.direction - kept[:, None] * out)
    electron = made(photons.event, Kind.ELECTRON, photons.energy * (1 - kept), photons.position, recoil)
    return electron, made(photons.event, Kind.PHOTON, photons.energy * kept, photons.position, out)
