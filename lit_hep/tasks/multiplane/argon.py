"""Stopping power and ranges in liquid argon, recombination, and mean free paths of photons.

Energies in MeV, lengths in cm. Bethe formula with the density effect of Sternheimer (parameters of liquid argon); for
electrons the collision loss of Berger and Seltzer.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lit_hep.tasks.multiplane.particles import MASS, Floats, Kind

DENSITY = 1.396  # g / cm^3
RADIATION_LENGTH = 14.0
PAIR = 9 / 7 * RADIATION_LENGTH  # mean free path of photons of high energy
HADRON_PATH = np.array([np.inf, np.inf, 90, 90, np.inf, 85, np.inf], np.float32)
"""Mean free path between inelastic interactions, by `Kind`."""
_ELECTRON = float(MASS[Kind.ELECTRON])
_LOSS = 0.307075 * 18 / 39.948 * DENSITY  # MeV / cm
_EXCITATION = 188e-6  # MeV
_A, _K, _X0, _X1, _C = 0.19559, 3.0, 0.2, 3.0, 5.2146
_LOW, _HIGH, _POINTS = np.log(0.05), np.log(5000.0), 600
_NEAR, _FAR = np.log(1e-3), np.log(3000.0)
_FIELD = 0.5  # kV / cm
_BOX_A, _BOX_B = 0.930, 0.212 / (DENSITY * _FIELD)  # modified box model, ArgoNeuT: JINST 8 (2013) P08005
# attenuation in argon without coherent scattering (after NIST XCOM), and the share of it that makes pairs
_PHOTON = np.log([0.05, 0.1, 0.2, 0.5, 1, 2, 4, 6, 10, 20, 40, 80, 150, 300, 600, 2000])
_PATH = np.array([1.2, 4.0, 6.1, 8.7, 12.4, 17.5, 23, 25.5, 27.5, 27, 24.5, 22, 20.5, 19.5, 18.8, PAIR])
_SHARE = np.array([0, 0, 0, 0, 0, 0.04, 0.17, 0.29, 0.46, 0.68, 0.83, 0.92, 0.96, 0.98, 0.99, 1])


def density_effect(beta_gamma: Floats) -> Floats:
    """Half of it is taken off the logarithm of Bethe's formula."""
    x = np.log10(beta_gamma)
    grown = 2 * np.log(10) * x - _C
    result: Floats = np.where(x < _X0, 0, grown + _A * np.clip(_X1 - x, 0, None) ** _K * (x < _X1))
    return result


def largest_transfer(kind: NDArray[np.integer] | int, energy: Floats) -> Floats:
    """Energy that one electron can take; half of it, of an electron."""
    ratio = _ELECTRON / MASS[kind]
    tau = energy / MASS[kind]
    most = 2 * _ELECTRON * tau * (tau + 2) / (1 + 2 * (tau + 1) * ratio + ratio**2)
    result: Floats = np.where(np.equal(kind, Kind.ELECTRON), energy / 2, most)
    return result


def beta_squared(kind: NDArray[np.integer] | int, energy: Floats) -> Floats:
    """Square of the velocity."""
    tau = energy / MASS[kind]
    result: Floats = tau * (tau + 2) / (tau + 1) ** 2
    return result


def stopping_power(kind: int, energy: Floats) -> Floats:
    """Mean collision loss, MeV / cm.

    Args:
        kind: `Kind` of charge 1.
        energy: Kinetic energy.
    """
    beta2 = beta_squared(kind, energy)
    tau = energy / MASS[kind]
    half_delta = density_effect(np.sqrt(tau * (tau + 2))) / 2
    if kind == Kind.ELECTRON:
        shape = 1 - beta2 + (tau**2 / 8 - (2 * tau + 1) * np.log(2)) / (tau + 1) ** 2
        logarithm = (np.log(tau**2 * (tau + 2) / 2 * (_ELECTRON / _EXCITATION) ** 2) + shape) / 2 - half_delta
    else:
        product = 2 * _ELECTRON * tau * (tau + 2) * largest_transfer(kind, energy)
        logarithm = np.log(product / _EXCITATION**2) / 2 - beta2 - half_delta
    result: Floats = _LOSS / beta2 * np.maximum(logarithm, 0.3)
    return result


@cache
def _tables() -> tuple[Floats, Floats]:
    """Logarithms: range by kind and energy, and energy by kind and range, each on an even grid."""
    energy = np.exp(np.linspace(_LOW, _HIGH, _POINTS))
    grid = np.linspace(_NEAR, _FAR, _POINTS)
    ranges = []
    for kind in range(Kind.PHOTON):
        step = energy / stopping_power(kind, energy) * (_HIGH - _LOW) / (_POINTS - 1)  # dT / S = T / S d(log T)
        first = energy[0] / stopping_power(kind, energy[:1])[0]
        ranges.append(np.log(first + np.cumsum(step) - (step + step[0]) / 2))
    energies = [np.interp(grid, logarithm, np.log(energy)) for logarithm in ranges]
    return np.array(ranges, np.float32), np.array(energies, np.float32)


def _look_up(table: Floats, limits: tuple[float, float], kind: NDArray[np.integer], at: Floats) -> Floats:
    place = (np.log(at) - np.float32(limits[0])) * np.float32((_POINTS - 1) / (limits[1] - limits[0]))
    place = np.clip(place, 0, _POINTS - 1.001)
    index = place.astype(np.intp)
    cell = kind.astype(np.intp) * _POINTS + index
    low = table.reshape(-1)[cell]
    rest = (place - index).astype(np.float32)
    result: Floats = np.exp(low + rest * (table.reshape(-1)[cell + 1] - low))
    return result


def csda_range(kind: NDArray[np.integer], energy: Floats) -> Floats:
    """Range (N,) without fluctuations, of kinds and kinetic energies (N,)."""
    return _look_up(_tables()[0], (_LOW, _HIGH), kind, energy)


def energy_of(kind: NDArray[np.integer], residual: Floats) -> Floats:
    """Kinetic energy (N,) of particles with a given range left (N,)."""
    return _look_up(_tables()[1], (_NEAR, _FAR), kind, residual)


def recombination(loss: Floats) -> Floats:
    """Share of the charge that escapes, of dE/dx in MeV / cm."""
    scaled = _BOX_B * np.maximum(loss, 1.8)  # below, the model falls again
    result: Floats = np.log(_BOX_A + scaled) / scaled
    return result


def photon_path(energy: Floats) -> tuple[Floats, Floats]:
    """Mean free path of photons and the share of pairs among their interactions."""
    logarithm = np.log(energy)
    return np.interp(logarithm, _PHOTON, _PATH), np.interp(logarithm, _PHOTON, _SHARE)
