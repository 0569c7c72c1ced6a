"""One sector of the CLAS12 drift chambers: what is in it, where its wires are, and which of them a path rings."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]
Range = tuple[float, float]
Spread = tuple[float, float]  # mean and standard deviation

SUPERLAYERS, ROWS, WIRES = 6, 6, 112
LAYERS = SUPERLAYERS * ROWS
TILT = np.radians(25.0)  # of the normal of all layers against the beam
# The first guard layer of each superlayer (dcgeom12 of the CLAS12 geometry, July 2015): distance from the target and
# from one plane of wires to the next (every third is a layer), cm; polar angle of its first wire, stereo angle.
_DISTANCE = np.array([228.078, 238.687, 351.544, 371.773, 489.099, 511.236])
_PLANE = np.array([0.3861, 0.4042, 0.6219, 0.6586, 0.9351, 0.9780])
_ANGLE = np.radians([4.694, 4.495, 4.812, 4.771, 4.333, 4.333])
_STEREO = np.radians([-6.0, 6.0, -6.0, 6.0, -6.0, 6.0])
_PITCH = 4 * np.cos(np.pi / 6) * _PLANE / np.cos(_STEREO)
_FIRST: Floats = np.repeat(_DISTANCE * np.tan(_ANGLE - TILT) + _PITCH, ROWS)
_STAGGER = np.tile([0.0, 0.5], LAYERS // 2)  # wires
DEPTH = (_DISTANCE[:, None] + 3 * _PLANE[:, None] * np.arange(1, ROWS + 1)).ravel()  # of the 36 layers, cm
PITCH: Floats = np.repeat(_PITCH, ROWS)  # distance of two wires in the middle of the sector, cm
STEREO: Floats = np.repeat(np.tan(_STEREO), ROWS)
HIGH = np.sqrt(3) / 2  # distance of two layers of a superlayer, wires
_LIMITS: dict[str, Range] = {
    **dict.fromkeys(("tracks", "outbending", "missing", "unclaimed", "claimed", "overlooked", "absent"), (0, 1)),
    **dict.fromkeys(("inefficiency", "crosstalk", "delta_rays"), (0, 0.5)),
    **{"momentum": (0.1, 12), "polar_angle": (4, 45), "azimuth": (-30, 30), "vertex": (-50, 50), "torus": (-2, 2)},
    **{"steepest": (0.3, 5), "nominal": (1e-3, 1e6), "fluctuation": (1e-3, 3)},
}


@dataclass(frozen=True)
class DriftChamber:
    """Tracks and background of a sector, as they are on average in an event.

    Args:
        tracks: Shares of events with 1, 2, 3 tracks from the target.
        momentum: Of these tracks, GeV; log-uniform.
        outbending: Share of tracks of the charge that the field bends away from the beam.
        polar_angle: Of the tracks, degrees.
        azimuth: Mean and standard deviation of the direction, from the middle of the sector, degrees.
        vertex: Where on the beam axis the tracks begin, cm from the centre of the spectrometer.
        torus: Field in units of that at full current; below 0 the charges change sides.
        steepest: Slope up to which the reconstruction finds tracks, wires per layer.
        inefficiency: Share of layers that a track crosses without a hit; it differs from track to track.
        missing: Share of tracks that lack one of their six segments.
        unclaimed: Share of a track's layers whose hits the reconstruction leaves out.
        claimed: Share of the background hits beside a track's that the reconstruction takes for the track's.
        crosstalk: Share of a track's hits that ring a neighbour, too; it differs from track to track.
        delta_rays: Share of tracks that knock out an electron.
        overlooked: Share of events with one more track, that the reconstruction does not find.
        absent: Share of the track hits that are not among all hits.
        nominal: Beam current to which the following numbers belong, nA; they rise and fall with the current.
        fluctuation: Standard deviation of an event's background activity over its mean.
        noise: Single hits, their mean number in an event, as are all that follow.
        runs: Runs of neighbouring wires in one layer.
        stubs: Particles that ring two or three layers.
        strays: Particles through one region.
        bundles: Groups of them, most in region 1.
        partial: Tracks from the target that ring some of the superlayers only.
        showers: Compact blobs.
        loops: Arcs and circles of electrons of low momentum.
    """

    tracks: tuple[float, float, float] = (0.41, 0.58, 0.01)
    momentum: Range = (0.42, 5.0)
    outbending: float = 0.87
    polar_angle: Range = (5.5, 29.0)
    azimuth: Spread = (-3.0, 11.0)
    vertex: Range = (-5.5, -0.5)
    torus: float = 1.0
    steepest: float = 0.8
    inefficiency: float = 0.037
    missing: float = 0.02
    unclaimed: float = 0.007
    claimed: float = 0.3
    crosstalk: float = 0.004
    delta_rays: float = 0.1
    overlooked: float = 0.05
    absent: float = 0.006
    nominal: float = 55.0
    fluctuation: float = 0.45
    noise: float = 25.5
    runs: float = 0.8
    stubs: float = 8.0
    strays: float = 2.5
    bundles: float = 1.3
    partial: float = 0.45
    showers: float = 0.75
    loops: float = 1.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            values = value if isinstance(value, tuple) else (value,)
            least, most = _LIMITS.get(name, (0.0, 1e3))
            ordered = name in ("tracks", "azimuth") or values[0] <= values[-1]
            if not (ordered and all(least <= v <= most for v in values)):
                raise ValueError(f"chamber.{name} = {value}: want low <= high within {least:g} .. {most:g}")
        if not abs(sum(self.tracks) - 1) < 1e-6:
            raise ValueError(f"chamber.tracks = {self.tracks}: the shares of 1, 2 and 3 tracks must add up to 1")
        if self.azimuth[1] < 0:
            raise ValueError(f"chamber.azimuth = {self.azimuth}: the standard deviation must not be below 0")


CLAS12 = DriftChamber()
"""The sector as it is in the real events."""


def to_wires(along: Floats, across: Floats) -> Floats:
    """Give positions on the layers in wires: a cell is the floor of it in even rows, of half a wire more in odd ones.

    Args:
        along: Distance outwards from the foot of the normal through the target, (N, 36), cm.
        across: Distance from the mid-plane of the sector, (N, 36), cm.
    """
    wires: Floats = (along + STEREO * across - _FIRST) / PITCH
    return wires


def cross(position: Floats, slope: Floats) -> tuple[Floats, Floats]:
    """Give the ends of a particle's path in each layer; corners of cells are too thin to ring.

    Args:
        position: Where it crosses the middle of the layer, wires.
        slope: Wires per layer.
    """
    steep = np.abs(slope)
    half = np.maximum(steep - 0.5, 0) * np.minimum(0.4 + 0.7 * steep, 1) / 2 + 0.005
    return position - half, position + half


def ring(
    rng: Generator, canvas: Bools, event: Ints, layer: Ints, low: Floats, high: Floats, chance: Floats | float = 1.0
) -> None:
    """Ring the cells between two positions of a layer.

    Args:
        rng: Source of all randomness.
        canvas: Hits (N, 36, 112), changed in place.
        event: Row of the canvas, (n,).
        layer: Layer, (n,).
        low: One end, wires, (n,).
        high: The other end, (n,).
        chance: Probability of each cell, (n,).
    """
    stagger = _STAGGER[layer]
    first = np.maximum(np.floor(low + stagger), 0).astype(np.intp)
    last = np.minimum(np.floor(high + stagger), WIRES - 1).astype(np.intp)
    length = np.maximum(last - first + 1, 0)
    start = (event * LAYERS + layer) * WIRES + first
    cell = np.repeat(start - np.cumsum(length) + length, length)
    cell += np.arange(len(cell))
    hit = rng.random(len(cell), np.float32) < np.repeat(np.broadcast_to(chance, length.shape), length)
    canvas.reshape(-1)[cell[hit]] = True
