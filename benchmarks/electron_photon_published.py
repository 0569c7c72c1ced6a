"""What was published of the real calorimeter images, and how to measure it; see `electron_photon_calibration`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lit_hep.tasks.electron_photon.simulation import SEED, SIDE

Floats = NDArray[np.floating]
Measured = tuple[Mapping[str, Floats], Mapping[str, Floats]]  # of photons, of electrons
CLASSES = "photon", "electron"
AWAY = np.arange(SIDE) - SEED  # crystals from the seed
_QUANTILES = 0.05, 0.25, 0.5, 0.75, 0.95
STATISTICS: dict[str, Callable[[Floats], float]] = {
    "mean": np.mean,
    "median": lambda value: np.mean(np.median(value, axis=0)),  # of each of several pixels
    "rms": lambda square: np.sqrt(np.mean(square)),
    "above 5 %": lambda value: np.mean(value > 0.05),
    "over seed": lambda pair: np.mean(pair[:, 0]) / np.mean(pair[:, 1]),
    "largest": np.max,
    **{f"{q:.0%} quantile": lambda value, q=q: np.quantile(value, q) for q in _QUANTILES},
}


@dataclass(frozen=True)
class Row:
    """A published figure.

    Args:
        quantity: What is measured on each image; key of `shapes`.
        statistic: What is taken of all images; key of `STATISTICS`.
        photon: Real value of photons.
        electron: Real value of electrons.
        images: Real images, of both classes or (10,000 and more) of each.
        rounding: Half a step of the real value.
    """

    quantity: str
    statistic: str
    photon: float
    electron: float
    images: int = 200
    rounding: float = 0.0


def _quantiles(quantity: str, photon: list[float], electron: list[float]) -> Iterator[Row]:
    for q, p, e in zip(_QUANTILES, photon, electron, strict=True):
        yield Row(quantity, f"{q:.0%} quantile", p, e)


PUBLISHED = [
    Row("energy sum", "mean", 1.2529, 1.2450, 249_000),
    Row("energy of a pixel", "rms", 0.024819, 0.022635, 249_000),
    Row("largest pixel", "largest", 1.4849, 1.4318, 249_000),
    Row("time of a pixel", "rms", 0.065457, 0.069258, 249_000),
    Row("time sum", "mean", -0.2427, -0.2935, 249_000),
    Row("pixels hit", "mean", 45, 51),
    Row("E1/E", "median", 0.603, 0.493),
    Row("E3x3/E", "mean", 0.888, 0.850),
    Row("E5x5/E", "mean", 0.949, 0.925),
    Row("φ rms", "mean", 1.05, 1.27),
    Row("η rms", "mean", 0.73, 0.77),
    Row("energy at |Δφ| ≥ 3", "mean", 0.034, 0.058),
    Row("energy at |Δφ| ≥ 3", "above 5 %", 0.18, 0.28),
    *_quantiles("energy sum", [1.0088, 1.0503, 1.1381, 1.4322, 1.7101], [1.0055, 1.0530, 1.1992, 1.4450, 1.6249]),
    *_quantiles("pixels hit", [31, 37, 41.5, 51, 67], [34.05, 41, 47, 58.75, 87.9]),
    *_quantiles("E1/E", [0.3256, 0.4677, 0.6027, 0.7202, 0.7750], [0.2903, 0.4174, 0.4926, 0.6453, 0.7489]),
    *_quantiles("E3x3/E", [0.6534, 0.8888, 0.9375, 0.9471, 0.9573], [0.5697, 0.8178, 0.9182, 0.9378, 0.9483]),
    *_quantiles("E5x5/E", [0.8164, 0.9531, 0.9759, 0.9843, 0.9898], [0.6811, 0.9275, 0.9671, 0.9772, 0.9875]),
    *_quantiles(
        "energy at |Δφ| ≥ 3", [0.0045, 0.0084, 0.0126, 0.0332, 0.1619], [0.0070, 0.0119, 0.0182, 0.0553, 0.2185]
    ),
    # of the 98 photons, whose median E1/E was printed beside them, not of the 44; .037 is the mean of .043 and .031
    Row("fraction, φ neighbours", "median", 0.037, 0.0639, 154),
    Row("fraction, η neighbours", "median", 0.0215, 0.0179, 154),
    Row("fraction, diagonal neighbours", "median", 0.0100, 0.0094, 154),
    Row("fraction, corners of 5x5", "median", 0.0010, 0.0010, 154, 0.0001),
    Row("fraction, φ neighbours", "mean", 0.0687, 0.0901),
    Row("fraction, η neighbours", "mean", 0.0542, 0.0443),
    Row("fraction, diagonal neighbours", "mean", 0.0160, 0.0169),
    Row("fraction, corners of 5x5", "mean", 0.00126, 0.00118),
    Row("hits in 5x5", "mean", 0.950, 0.953),
    Row("hits in 5 rows at |Δφ| = 3", "mean", 0.679, 0.709),
    Row("hits in 5 rows at |Δφ| = 4", "mean", 0.349, 0.430),
    Row("hits in 5 rows at |Δφ| = 5", "mean", 0.162, 0.252),
    Row("hits in 5 rows at |Δφ| = 6", "mean", 0.084, 0.161),
    Row("hits in 5 columns at |Δη| = 3", "mean", 0.149, 0.190),
    Row("hits in 5 columns at |Δη| = 4", "mean", 0.045, 0.046),
    Row("hits at |Δη| ≥ 4", "mean", 3.95, 5.11, 100),
    Row("seed at [16, 16]", "mean", 1.0, 0.95),
    *(
        Row(f"energy at Δφ = {k}", "over seed", p / 255, e / 255, 10_000, 1 / 255)  # truncated or rounded to steps
        for k, p, e in ((-3, 3, 1), (-2, 5, 7), (-1, 33, 50), (1, 35, 45), (2, 7, 12), (3, 3, 5))
    ),
    Row("energy of η neighbours", "over seed", 22 / 255, 23 / 255, 10_000, 1 / 255),
    Row("energy of diagonal neighbours", "over seed", 6.5 / 255, 7.5 / 255, 10_000, 1 / 255),
    Row("time of η neighbours", "rms", 0.0608, 0.0642, 10_000, 0.002),
    Row("time of diagonal neighbours", "rms", 0.1303, 0.1279, 10_000),
    Row("time at |Δη| = 2", "rms", 0.2983, 0.3018, 10_000),
    Row("time of corners of 5x5", "rms", 0.3406, 0.3347, 10_000),
    Row("time in 5 rows at |Δφ| = 3", "rms", 0.3057, 0.3035, 10_000),
    Row("time in 5 rows at |Δφ| = 4", "rms", 0.2241, 0.2459, 10_000),
    Row("time at |Δη| = 5 … 7", "rms", 0.0481, 0.0475, 10_000),
]
"""Figures of the real images, in the files' units: energy / 50 GeV, time / 50 ns. Rows are eta, columns phi."""


def _fractions(energy: Floats) -> dict[str, Floats]:
    """How the energy (N, 32, 32) is shared among the crystals."""
    total = energy.sum((1, 2))
    share = energy / total[:, None, None]
    phi, eta = share.sum(1), share.sum(2)
    band = share[:, abs(AWAY) <= 2].sum(1)
    core = share[:, SEED - 2 : SEED + 3, SEED - 2 : SEED + 3]
    return {
        "energy sum": total,
        "energy along φ": band / band.sum(1, keepdims=True),
        "energy along η": eta,
        "E1/E": share.max((1, 2)),
        "E3x3/E": core[:, 1:4, 1:4].sum((1, 2)),
        "E5x5/E": core.sum((1, 2)),
        "φ rms": np.sqrt(phi @ AWAY**2 - (phi @ AWAY) ** 2),
        "η rms": np.sqrt(eta @ AWAY**2 - (eta @ AWAY) ** 2),
        "energy at |Δφ| ≥ 3": band[:, abs(AWAY) >= 3].sum(1) / band.sum(1),
        "fraction, φ neighbours": core[:, 2, 1::2],
        "fraction, η neighbours": core[:, 1::2, 2],
        "fraction, diagonal neighbours": core[:, 1:4:2, 1:4:2].reshape(-1, 4),
        "fraction, corners of 5x5": core[:, ::4, ::4].reshape(-1, 4),
        "seed at [16, 16]": (energy.reshape(len(energy), -1).argmax(1) == SEED * SIDE + SEED).astype(float),
    }


def _hits(hit: Floats) -> dict[str, Floats]:
    """Where there are hits (N, 32, 32)."""
    rows, columns = hit[:, abs(AWAY) <= 2].mean(1), hit[:, :, abs(AWAY) <= 2].mean(2)
    return {
        "hits along φ": rows,
        "pixels hit": hit.sum((1, 2)),
        "hits in 5x5": columns[:, abs(AWAY) <= 2].mean(1),
        **{f"hits in 5 rows at |Δφ| = {k}": rows[:, abs(AWAY) == k].mean(1) for k in (3, 4, 5, 6)},
        **{f"hits in 5 columns at |Δη| = {k}": columns[:, abs(AWAY) == k].mean(1) for k in (3, 4)},
        "hits at |Δη| ≥ 4": hit[:, abs(AWAY) >= 4].sum((1, 2)),
    }


def _times(time: Floats) -> dict[str, Floats]:
    """Squares of the times (N, 32, 32), and their sum."""
    square = time**2
    rows = square[:, abs(AWAY) <= 2].mean(1)
    inner = square[:, SEED - 2 : SEED + 3, SEED - 2 : SEED + 3]
    return {
        "time of a pixel": square.mean((1, 2)),
        "time along φ": rows,
        "time sum": time.sum((1, 2)),
        "time of η neighbours": inner[:, 1::2, 2].mean(1),
        "time of diagonal neighbours": inner[:, 1:4:2, 1:4:2].mean((1, 2)),
        "time at |Δη| = 2": inner[:, ::4, 2].mean(1),
        "time of corners of 5x5": inner[:, ::4, ::4].mean((1, 2)),
        **{f"time in 5 rows at |Δφ| = {k}": rows[:, abs(AWAY) == k].mean(1) for k in (3, 4)},
        "time at |Δη| = 5 … 7": square[:, (abs(AWAY) >= 5) & (abs(AWAY) <= 7)][:, :, abs(AWAY) <= 5].mean((1, 2)),
    }


def shapes(energy: Floats, time: Floats | None = None) -> dict[str, Floats]:
    """Measure what the table and the figures are made of.

    Args:
        energy: Energies / 50 GeV, (N, 32, 32).
        time: Times / 50 ns, (N, 32, 32), if known.

    Returns:
        Values by name, (N,) or (N, several).
    """
    energy = energy.astype(np.float64)
    measured = _fractions(energy) | _hits((energy > 0).astype(np.float64))
    measured |= {"energy of a pixel": (energy**2).mean((1, 2)), "largest pixel": energy.max((1, 2))}
    seed, near = energy[:, SEED, SEED], energy[:, SEED - 1 : SEED + 2, SEED - 1 : SEED + 2]
    measured["energy of η neighbours"] = np.stack([near[:, ::2, 1].mean(1), seed], 1)
    measured["energy of diagonal neighbours"] = np.stack([near[:, ::2, ::2].mean((1, 2)), seed], 1)
    measured |= {f"energy at Δφ = {k}": energy[:, SEED, [SEED + k, SEED]] for k in (-3, -2, -1, 1, 2, 3)}
    return measured if time is None else measured | _times(time.astype(np.float64))
