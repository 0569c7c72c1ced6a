"""Orbital images of a cratered planet: terrain, landforms, low sun, camera.

The look is that of the day-infrared mosaic of Mars (THEMIS): simple cylindrical projection, afternoon sun in
the west, stretched contrast, black gaps between the orbits. All but the craters is drawn for both classes alike.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import ifft2
from tqdm import tqdm

SIDE = 48  # pixels
POSITIVE = 0.6385  # share of frames with a crater
CRATER, HALF, GHOST, SPECK, OUTSIDE, HILL = range(6)
_CLUTTER, _CLUTTER_SHARE = (HALF, GHOST, SPECK, OUTSIDE, HILL), (0.08, 0.10, 0.40, 0.07, 0.35)
_SLOTS, _BLOCK = 7, 256  # landforms of a frame at most, frames drawn from one seed
_GRID, _CELL = SIDE + 1, 56  # heights a side (a slope needs one more), period of the Fourier fields
_SPREAD = 0.15  # usual RMS of the light in a frame, sunlit level ground = 1
Floats = NDArray[np.float32]
Greys = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Range = tuple[float, float]
_LIMITS: dict[str, Range] = {
    **dict.fromkeys(("erosion", "ghost", "dunes", "knobs", "ridges", "no_data", "memory", "ambient"), (0, 1)),
    **dict.fromkeys(("pixel", "roughness", "streak", "albedo", "contrast", "size_slope"), (1e-6, 1e3)),
    **dict.fromkeys(("craters", "clutter"), (0, (_SLOTS - 1) / 2)),
    **{"latitude": (0, 75), "sun_azimuth": (-360, 360), "sun_elevation": (2, 89), "diameter": (1, 2 * SIDE)},
    **{"blur": (0, 0.7), "brightness": (1, 254)},
}


@dataclass(frozen=True)
class CraterScene:
    """What is seen, and how. A pair is the range from which each frame (or landform) draws its value.

    Args:
        pixel: Height of a pixel, km; log-uniform.
        latitude: Distance from the equator, degrees. A frame is 1 / cos(latitude) times too wide.
        sun_azimuth: Direction of the sun, degrees clockwise from north (up).
        sun_elevation: Height of the sun above the horizon, degrees.
        diameter: Crater diameters, pixels (rows); anything smaller is a speck and makes no crater frame.
        size_slope: Exponent b of the size distribution, N(> D) ~ D^-b.
        craters: Mean number of further craters in a crater frame, of clutter in their place in the others.
        clutter: Mean number of half rings, ghosts, specks, craters centred outside and hills in a frame.
        erosion: Relief lost by a visible crater, 0 = fresh, 1 = gone.
        ghost: The same for one that is too worn to count.
        roughness: RMS slope of the terrain between the landforms; log-uniform.
        spectrum: Power-law index of the terrain, power ~ k^-spectrum.
        streak: Elongation of the terrain grain; log-uniform.
        dunes: Share of frames with a dune field.
        knobs: Share of frames with clusters of hummocks.
        ridges: Share of frames with a wrinkle ridge or a graben.
        steepness: Slope scale of dunes, hummocks and ridges.
        albedo: RMS brightness variation of the ground; log-uniform.
        ambient: Brightness of shaded over level sunlit ground; warm ground glows in the infrared.
        no_data: Share of frames with a gap between orbits.
        blur: Standard deviation of the point spread, pixels, at most 0.7.
        noise: RMS detector noise, grey values.
        brightness: Mean grey value of a frame.
        contrast: Spread (standard deviation) of the grey values of a frame of usual relief; log-uniform.
        memory: Share of a frame's own contrast (in powers) that the stretch leaves, 0 .. 1.
    """

    pixel: Range = (0.4, 1.2)
    latitude: Range = (0.0, 65.0)
    sun_azimuth: Range = (240.0, 300.0)
    sun_elevation: Range = (15.0, 45.0)
    diameter: Range = (7.5, 30.0)
    size_slope: float = 1.0
    craters: float = 0.9
    clutter: float = 1.0
    erosion: Range = (0.0, 0.5)
    ghost: Range = (0.88, 1.0)
    roughness: Range = (0.02, 0.08)
    spectrum: Range = (1.8, 3.2)
    streak: Range = (1.0, 3.0)
    dunes: float = 0.15
    knobs: float = 0.5
    ridges: float = 0.3
    steepness: Range = (0.05, 0.25)
    albedo: Range = (0.01, 0.08)
    ambient: float = 0.4
    no_data: float = 0.13
    blur: Range = (0.0, 0.5)
    noise: Range = (3.0, 8.0)
    brightness: Range = (118.0, 132.0)
    contrast: Range = (22.0, 37.0)
    memory: float = 0.5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low, high = value if isinstance(value, tuple) else (value, value)
            least, most = _LIMITS.get(name, (0.0, 1e3))
            if not least <= low <= high <= most:
                raise ValueError(f"scene.{name} = {value}: want low <= high within {least:g} .. {most:g}")


def _uniform(rng: Generator, limits: Range, n: int) -> Floats:
    """Draw a uniform value per frame, (N, 1, 1)."""
    return rng.uniform(limits[0], limits[1], (n, 1, 1)).astype(np.float32)


def _log_uniform(rng: Generator, limits: Range, n: int) -> Floats:
    """Draw a log-uniform value per frame, (N, 1, 1)."""
    return np.exp(_uniform(rng, (np.log(limits[0]), np.log(limits[1])), n))


def _fields(rng: Generator, index: Floats, streak: Floats, grain: Floats, squeeze: Floats) -> list[Floats]:
    """Draw two independent Gaussian fields (N, 49, 49) of unit variance and power ~ k^-index.

    ``streak`` is the elongation, ``grain`` its direction (rad), ``squeeze`` the width of a pixel over its
    height, all (N, 1, 1).
    """
    k = np.fft.fftfreq(_CELL, 1 / _CELL).astype(np.float32)
    kx, ky = k / squeeze, k[:, None]
    along, across = kx * np.cos(grain) + ky * np.sin(grain), ky * np.cos(grain) - kx * np.sin(grain)
    k2 = along**2 * streak + across**2 / streak
    k2[:, 0, 0] = np.inf
    amplitude = np.exp(np.log(k2) * (-index / 4))
    amplitude *= _CELL**2 / np.sqrt((amplitude**2).sum((1, 2), keepdims=True))
    white = rng.standard_normal((2, *amplitude.shape), np.float32)
    field = ifft2((white[0] + 1j * white[1]) * amplitude)[:, :_GRID, :_GRID]
    return [field.real.copy(), field.imag.copy()]


def _terrain(rng: Generator, scene: CraterScene, pixel: Floats, squeeze: Floats) -> list[Floats]:
    """Draw the ground without landforms: heights (km), two smooth fields of unit variance; (N, 49, 49)."""
    n = len(pixel)
    index, streak = _uniform(rng, scene.spectrum, n), _log_uniform(rng, scene.streak, n)
    grain, strike = _uniform(rng, (0, np.pi), n), _uniform(rng, (0, np.pi), n)
    ground, second = _fields(rng, index, streak, grain, squeeze)
    region, albedo = _fields(rng, np.full_like(index, 3), np.ones_like(index), grain, squeeze)
    ground *= np.exp(0.4 * albedo)  # rough and smooth provinces
    height = ground * _log_uniform(rng, scene.roughness, n) / np.diff(ground, axis=1).std((1, 2), keepdims=True)
    row, column = np.indices((_GRID, _GRID), np.float32)
    across = column * squeeze * np.cos(strike) + row * np.sin(strike) + 2 * region
    extent = np.clip(0.5 + 3 * (region + _uniform(rng, (-1.5, 0.5), n)), 0, 1)
    shares = (scene.dunes, scene.knobs, scene.ridges)
    dunes, knobs, ridges = (_uniform(rng, scene.steepness, n) * (rng.random((n, 1, 1)) < s) for s in shares)
    wave, width = _uniform(rng, (3, 8), n), _uniform(rng, (1, 2.5), n)
    height += dunes * extent * wave / 4 * np.sin(2 * np.pi / wave * across + second)
    bump = np.gradient(second, axis=1)
    bump = bump / bump.std((1, 2), keepdims=True) - _uniform(rng, (0.5, 2.5), n)
    height += knobs * extent * np.maximum(bump, 0)
    line = (across - _uniform(rng, (0, SIDE), n)) / width
    ridges = np.where(rng.random((n, 1, 1)) < 1 / 3, -ridges, ridges)  # a sunken one is a graben
    height += ridges * width * np.exp(-(line**2))
    return [height * pixel, albedo, region]


def _landforms(rng: Generator, scene: CraterScene, positive: Bools) -> Floats:
    """Place craters and clutter, (7, N, slots), older ones first; a slot of its own makes a crater frame.

    The seven: kind (-1 = empty), row, column, diameter (rows), erosion, standing side of a half ring (rad), height
    of the central peak over the depth of the crater.
    """
    shape = (len(positive), _SLOTS)
    chance = rng.random(shape) * (_SLOTS - 1)
    chance[:, 0] = -1
    clutter = rng.choice(_CLUTTER, shape, p=_CLUTTER_SHARE)
    kind = np.where(positive[:, None] & (chance < scene.craters), CRATER, clutter)
    kind[chance > scene.craters + scene.clutter] = -1
    smallest, largest = scene.diameter
    tail = (largest / smallest) ** -scene.size_slope
    diameter = smallest * (1 - rng.random(shape) * (1 - tail)) ** (-1 / scene.size_slope)
    diameter = np.where(kind == SPECK, smallest * rng.uniform(0.25, 0.7, shape), diameter)
    erosion = np.where(kind == GHOST, rng.uniform(*scene.ghost, shape), rng.uniform(*scene.erosion, shape))
    beyond = 2 + diameter * rng.uniform(0.1, 0.4, shape)
    edge = np.where(rng.random(shape) < 0.5, -beyond, SIDE + beyond)
    moved = (kind == OUTSIDE) & (rng.integers(2, size=shape) == np.arange(2)[:, None, None])
    row, column = np.where(moved, edge, rng.uniform(2, SIDE - 2, (2, *shape)))
    side, peak = rng.uniform(-np.pi, np.pi, shape), np.maximum(rng.uniform(-0.5, 0.5, shape), 0)
    forms = np.stack([kind, row, column, diameter, erosion, side, peak]).astype(np.float32)
    by_age = np.argsort(-diameter, axis=1)  # the large craters are the old ones
    return np.take_along_axis(forms, by_age[None], 2)


def _raise_landforms(height: Floats, forms: Floats, pixel: Floats, squeeze: Floats, bend: Floats) -> None:
    """Add the landforms to the heights (N, 49, 49), km, in place; the field ``bend`` roughens their outlines.

    A crater is a paraboloid of depth 0.17 D (Pike 1977: 0.2 D for fresh lunar bowls), cut by a flat floor at
    the depth of Martian craters, min(0.14 D^0.90, 0.25 D^0.49) km (Garvin & Frawley 1998), with a rim of
    min(0.036 D, 0.236 D^0.40) km (Pike 1977) and ejecta thinning as r^-3 (McGetchin et al. 1973).
    """
    row, column = np.indices((_GRID, _GRID), np.float32)
    for slot in range(_SLOTS):
        n = np.flatnonzero(forms[0, :, slot] >= 0)
        kind, row_0, column_0, diameter, erosion, side, peak = forms[:, n, slot, None, None]
        hill, left, D = kind == HILL, 1 - erosion, diameter * pixel[n]
        dx, dy = (column - column_0) * squeeze[n], row - row_0
        distance = np.sqrt(dx**2 + dy**2) + 1e-3
        r = distance / (diameter / 2) * (1 + np.where(hill, 0.25, 0.07).astype(np.float32) * bend[n])
        depth = np.minimum(0.14 * D**0.90, 0.25 * D**0.49) * left
        rim = np.minimum(0.036 * D, 0.236 * D**0.40) * left
        bowl = np.maximum(rim - (0.17 * D * left + rim) * (1 - r**2), -depth)
        bowl += peak * depth * np.exp(-50 * r**2)
        crater = np.where(r < 1, bowl, rim / np.maximum(r, 1) ** 3)
        facing = (dx * np.cos(side) + dy * np.sin(side)) / distance
        crater *= np.where(kind == HALF, np.clip(0.5 + 2 * facing, 0, 1), 1)
        dome = depth * np.maximum(1 - r**2, 0) ** 2
        buried = np.where(hill, 0, 0.7 * np.clip(4 - 4 * r, 0, 1) * left)  # older ground under the floor
        height[n] = height[n] * (1 - buried) + np.where(hill, dome, crater)


def _shadow(height: Floats, azimuth: Floats, rise: Floats, pixel: Floats, squeeze: Floats) -> Bools:
    """Tell where something stands above the ray from the sun, (N, 49, 49); ``rise`` is the tangent of the ray."""
    steps = (1, 2, 3, 4, 6, 8, 11)  # pixels
    margin, wide = steps[-1], _GRID + 2 * steps[-1]
    padded = np.pad(height, ((0, 0), (margin, margin), (margin, margin)), mode="edge").ravel()
    frame, y, x = np.ogrid[: len(height), margin : margin + _GRID, margin : margin + _GRID]
    here = (frame * wide + y) * wide + x
    columns, rows = np.sin(azimuth) / (pixel * squeeze), -np.cos(azimuth) / pixel  # per km towards the sun
    length = np.hypot(columns, rows)
    hidden = np.zeros(height.shape, np.bool_)
    for step in steps:
        down, right = (np.rint(step * v / length).astype(np.intp) for v in (rows, columns))
        hidden |= padded[here + down * wide + right] - height > step / length * rise
    return hidden


def _gap(rng: Generator, scene: CraterScene, forms: Floats, squeeze: Floats) -> Bools:
    """Draw the gaps between orbits, (N, 48, 48): slanted strips, some with an end; none may hide a crater."""
    n = len(squeeze)
    slant, start = _uniform(rng, (0.05, 0.5), n), _uniform(rng, (-20, SIDE + 8), n)
    half, end = _log_uniform(rng, (0.5, 15), n), _uniform(rng, (0, 4 * SIDE), n)
    row, column = np.indices((SIDE, SIDE), np.float32)
    gap: Bools = np.abs(column - slant * row - start) < half
    gap &= np.where(rng.random((n, 1, 1)) < 0.5, row < end, row > SIDE - end)
    kind, y, x, diameter = forms[:4, :, None]
    near = np.abs(x - slant * y - start) < half + diameter / 2 / squeeze
    gap &= (rng.random((n, 1, 1)) < scene.no_data) & ~(near & (kind == CRATER)).any(2, keepdims=True)
    return gap


def _camera(rng: Generator, scene: CraterScene, light: Floats, gap: Bools) -> Greys:
    """Blur, stretch and digitise the light (N, 48, 48)."""
    n = len(light)
    padded = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    light = light + _uniform(rng, scene.blur, n) ** 2 / 2 * (around - 4 * light)  # to first order a Gaussian
    middle, spread = light.mean((1, 2), keepdims=True), light.std((1, 2), keepdims=True)
    wanted = _log_uniform(rng, scene.contrast, n) * (spread / _SPREAD) ** scene.memory
    grey = (light - middle) * (wanted / spread) + _uniform(rng, scene.brightness, n)
    grey += _uniform(rng, scene.noise, n) * rng.standard_normal(light.shape, np.float32)
    return np.where(gap, 0, np.clip(np.rint(grey), 1, 254)).astype(np.uint8)


def images(label: NDArray[np.integer], rng: Generator, scene: CraterScene = CraterScene()) -> Greys:
    """Draw frames with (label 1) and without (label 0) a visible crater.

    Args:
        label: Class of each frame, (N,).
        rng: Source of all randomness.
        scene: Planet, sun and camera.

    Returns:
        Frames (N, 48, 48), grey values 1 .. 254, and 0 where there are no data.
    """
    n = len(label)
    pixel, squeeze = _log_uniform(rng, scene.pixel, n), np.cos(np.radians(_uniform(rng, scene.latitude, n)))
    forms = _landforms(rng, scene, np.asarray(label) == 1)
    height, albedo, region = _terrain(rng, scene, pixel, squeeze)
    _raise_landforms(height, forms, pixel, squeeze, region)
    azimuth = np.radians(_uniform(rng, scene.sun_azimuth, n))
    rise = np.tan(np.radians(_uniform(rng, scene.sun_elevation, n)))
    p, q = np.diff(height, axis=2)[:, 1:] / (pixel * squeeze), np.diff(height, axis=1)[:, :, 1:] / -pixel
    lambert = (1 - (p * np.sin(azimuth) + q * np.cos(azimuth)) / rise) / np.sqrt(1 + p**2 + q**2)
    lambert[_shadow(height, azimuth, rise, pixel, squeeze)[:, 1:, 1:]] = 0
    light = np.maximum(lambert, scene.ambient) * (1 + _log_uniform(rng, scene.albedo, n) * albedo[:, 1:, 1:])
    return _camera(rng, scene, light, _gap(rng, scene, forms, squeeze))


def simulate(root: Path, size: int = 2783, seed: int = 1, scene: CraterScene = CraterScene()) -> None:
    """Write a crater data set: labelled, unlabelled and test frames, and the truth of the last two.

    Args:
        root: Folder, absent or empty, for Xtrain1.npy, Ytrain1.npy, Xtrain1_extra.npy, Xtest1.npy and, not meant for
            training, Ytrain1_extra.npy and Ytest1.npy.
        size: Number of labelled frames; the unlabelled and test files keep the proportion 2783 : 904 : 696.
        seed: Seed of the random numbers; the same seed gives the same files.
        scene: Planet, sun and camera.
    """
    if size < 10:
        raise ValueError(f"size = {size}: want at least 10 labelled frames")
    sizes = {"train1": size, "train1_extra": round(size * 904 / 2783), "test1": round(size * 696 / 2783)}
    blocks = [(name, start) for name, number in sizes.items() for start in range(0, number, _BLOCK)]
    order_seed, *seeds = np.random.SeedSequence(seed).spawn(1 + len(blocks))
    order = np.random.default_rng(order_seed)
    label = {k: order.permutation(np.arange(n) < round(POSITIVE * n)).astype("i4") for k, n in sizes.items()}
    frames = {name: np.empty((number, SIDE * SIDE), np.uint8) for name, number in sizes.items()}
    for (name, start), block_seed in zip(tqdm(blocks, "crater frames"), seeds, strict=True):
        block, rng = slice(start, start + _BLOCK), np.random.default_rng(block_seed)
        frames[name][block] = images(label[name][block], rng, scene).reshape(-1, SIDE * SIDE)
    for name in sizes:
        np.save(root / f"X{name}.npy", frames[name])
        np.save(root / f"Y{name}.npy", label[name])
