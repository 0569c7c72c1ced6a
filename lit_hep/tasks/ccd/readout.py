"""One CCD: what is in its images besides clusters, and how charge becomes ADC counts."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Charge = NDArray[np.float32]
Bools = NDArray[np.bool_]
Range = tuple[float, float]

AREA = 10_000.0  # pixels; numbers of clusters and hot pixels are for so many
_BANDS = 66 / 256, 144 / 256  # of the width: where hot pixels begin and clusters take over in the original
_LIMITS: dict[str, Range] = {
    **{"gain": (1e-3, 1e5), "electron": (1e-3, 1e4), "samples": (1, 1e6), "transfer_loss": (0, 0.01), "glow": (0, 1)},
    **dict.fromkeys(("hot_charge", "glow_charge", "saturation"), (1, 1e7)),
    **{"glow_width": (1, 1e4), "cluster_threshold": (1e-3, 100), "clusters": (0, 500)},
}


@dataclass(frozen=True)
class Ccd:
    """What is in an image, and the readout.

    Args:
        clusters: Mean number of clusters in 10,000 pixels; each image draws its own between the two, uniformly.
        kinds: Shares of X-ray spots, electrons, muons and alpha blobs among them.
        gain: Charge of a unit of the cluster library, ADC.
        cluster_threshold: Charge above which a pixel belongs to a cluster, units of the library.
        overlap: Charge of a cluster on a hot or glowing pixel above which the pixel is the cluster's, in units of the
            noise there.
        hot_points: Mean number of hot pixels that stand alone in 10,000 pixels, as are the next two.
        hot_rows: Hot parts of rows.
        hot_columns: Hot parts of columns.
        hot_charge: Charge of a hot pixel or line, ADC; log-uniform.
        glow: Share of images that glow from an edge.
        glow_charge: Charge where the glow is brightest, ADC.
        glow_width: Distance from the edge at which it has fallen to a half, pixels.
        glow_threshold: Charge above which a pixel glows, ADC.
        bands: The original's arrangement instead of free positions: flat glow in the leftmost ``glow_width`` columns,
            hot pixels in the next 30 %, clusters in the right 44 % of the columns.
        dark_current: Mean number of thermal electrons in a pixel.
        electron: Charge of an electron, ADC.
        transfer_loss: Share of the charge that a shift by a row, and by a column, leaves behind.
        pedestal: ADC.
        noise: Of a single reading, ADC.
        samples: Readings of a pixel, of which the mean is taken.
        saturation: Largest value, ADC.
    """

    clusters: Range = (0.5, 5.0)
    kinds: tuple[float, float, float, float] = (0.04, 0.93, 0.02, 0.01)
    gain: float = 200.0
    cluster_threshold: float = 0.1
    overlap: float = 3.0
    hot_points: float = 3.0
    hot_rows: float = 0.4
    hot_columns: float = 0.4
    hot_charge: Range = (300.0, 3000.0)
    glow: float = 0.6
    glow_charge: Range = (200.0, 1500.0)
    glow_width: Range = (5.0, 30.0)
    glow_threshold: float = 40.0
    bands: bool = False
    dark_current: float = 0.1
    electron: float = 0.75
    transfer_loss: Range = (1e-5, 1e-5)
    pedestal: float = 8800.0
    noise: float = 60.0
    samples: int = 10
    saturation: float = 65535.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            values = value if isinstance(value, tuple) else (value,)
            least, most = _LIMITS.get(name, (0.0, 1e5))
            ordered = name in ("kinds", "transfer_loss") or values[0] <= values[-1]
            if not (ordered and all(least <= v <= most for v in values)):
                raise ValueError(f"ccd.{name} = {value}: want low <= high within {least:g} .. {most:g}")
        if not sum(self.kinds) > 0:
            raise ValueError(f"ccd.kinds = {self.kinds}: want shares that are not all 0")
        if not self.total_noise > 0:
            raise ValueError(f"ccd.noise = {self.noise}: an image wants noise of the readout or the dark current")

    @property
    def total_noise(self) -> float:
        """Noise of a dark pixel, ADC: of the mean of the readings and of the dark current."""
        return float(np.sqrt(self.noise**2 / self.samples + self.dark_current * self.electron**2))

    def noise_under(self, light: Charge) -> Charge:
        """Noise of pixels that glow or are hot, ADC, from their mean charge."""
        local: Charge = np.sqrt(self.total_noise**2 + light * np.float32(self.electron))
        return local


STANDARD = Ccd()
"""Sparse images as the experiment takes them, with clusters, hot pixels and glow of overlapping values."""


def log_uniform(rng: Generator, span: Range, number: int) -> NDArray[np.float64]:
    """Draw numbers whose logarithms are uniform."""
    low, high = np.log(span)
    return np.exp(rng.uniform(low, high, number))


def hot_pixels(rng: Generator, shape: tuple[int, int], ccd: Ccd) -> Charge:
    """Draw the mean charge (H, W) of hot points, rows and columns, ADC; where they cross it adds up."""
    charge = np.zeros(shape, np.float32)
    height, width = shape
    left, right = (round(edge * width) for edge in _BANDS) if ccd.bands else (0, width)
    hot = charge[:, left : max(right, left + 1)]
    units = height * width / AREA
    points, rows, columns = rng.poisson(np.multiply(units, (ccd.hot_points, ccd.hot_rows, ccd.hot_columns)))
    y, x = (rng.integers(0, side, points) for side in hot.shape)
    np.add.at(hot, (y, x), log_uniform(rng, ccd.hot_charge, points))
    for plane, lines in ((hot, rows), (hot.T, columns)):
        across, along = plane.shape
        for line, start, level in zip(
            rng.integers(0, across, lines),
            rng.integers(0, along, lines),
            log_uniform(rng, ccd.hot_charge, lines),
            strict=True,
        ):
            plane[line, start : rng.integers(start, along) + 1] += level
    return charge


def glow(rng: Generator, shape: tuple[int, int], ccd: Ccd) -> Charge:
    """Draw the mean charge (H, W) of the light of an amplifier outside the image, ADC; 0 where there is none.

    It falls as a Gaussian of the distance from an edge, and along the edge from the place nearest to the amplifier.
    """
    charge = np.zeros(shape, np.float32)
    shines, peak, half = rng.random() < ccd.glow, rng.uniform(*ccd.glow_charge), rng.uniform(*ccd.glow_width)
    edge, place, stretch = rng.integers(4), rng.random(), rng.uniform(1, 10)
    if not shines:
        return charge
    if ccd.bands:
        charge[:, : round(half)] = peak
        return charge
    plane = np.rot90(charge, int(edge))  # a view: its first column is the edge
    height, width = plane.shape
    along = (np.arange(height) - place * height) / (stretch * half)
    away = np.arange(width) / half
    plane += (peak * np.exp2(-(along[:, None] ** 2)) * np.exp2(-(away**2))).astype(np.float32)
    return charge


def cluster_area(shape: tuple[int, int], ccd: Ccd) -> tuple[int, int]:
    """First and last column but one that clusters may reach."""
    width = shape[1]
    return (min(round(_BANDS[1] * width), width - 1) if ccd.bands else 0), width


def read_out(rng: Generator, light: Charge, clusters: Charge, ccd: Ccd) -> Charge:
    """Turn charge into an image (H, W), ADC.

    Args:
        rng: Source of all randomness.
        light: Mean charge of glow and hot pixels, ADC; the electrons of it and of the dark current are counted.
        clusters: Charge of clusters, ADC.
        ccd: Dark current, transfer and readout.
    """
    electrons = rng.poisson(light / ccd.electron + ccd.dark_current).astype(np.float32)
    charge = electrons * np.float32(ccd.electron) + clusters
    for axis, loss in enumerate(ccd.transfer_loss):
        charge = smear(charge, loss, axis)
    charge += rng.standard_normal(charge.shape, np.float32) * np.float32(ccd.noise / np.sqrt(ccd.samples))
    charge += np.float32(ccd.pedestal)
    return np.clip(charge, 0, ccd.saturation, out=charge)


def smear(charge: Charge, loss: float, axis: int) -> Charge:
    """Leave charge behind at each shift towards row or column 0, whence it is read out.

    Of n shifts k leave a share behind with the probability of a Poisson distribution of mean n loss; that charge is
    read k pixels later, or after the image.
    """
    if not loss:
        return charge
    mean = loss * np.arange(1, charge.shape[axis] + 1)
    share = np.exp(-mean)
    most = min(int(mean[-1] + 6 * np.sqrt(mean[-1]) + 3), len(mean))
    source = np.moveaxis(charge, axis, -1)
    smeared = np.zeros_like(charge)
    target = np.moveaxis(smeared, axis, -1)
    for k in range(most):
        kept = len(mean) - k
        target[..., k:] += source[..., :kept] * share[:kept].astype(np.float32)
        share = share * mean / (k + 1)
    return smeared
