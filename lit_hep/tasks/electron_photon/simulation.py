"""Crops of the CMS electromagnetic calorimeter around electrons and photons.

What is read out follows the reconstruction of CMS: strips of five crystals along eta, taken from a peak on along phi
while their energy falls but exceeds 0.1 GeV (hybrid superclusters, CMS NOTE 2001/034), 5x5 crystals around the seeds of
clusters, what is connected to these above 0.08 GeV (particle flow, JINST 12 (2017) P10003), and single hits near by.
"""

from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from lit_hep.data.files import new_hdf5
from lit_hep.tasks.electron_photon.showers import ORIGIN, showers
from lit_hep.tasks.electron_photon.tracker import Bools, Floats, tracker

SIDE = 32  # crystals
SEED = 16  # row and column of the seed crystal
GEV, NS = 50.0, 50.0  # of a pixel of 1
NAMES = "SinglePhotonPt50_IMGCROPS.hdf5", "SingleElectronPt50_IMGCROPS.hdf5"  # by label
_STRIP, _PEAK, _CLUSTER, _CONNECTED = (0.1, 0.35, 0.23, 0.08)  # GeV; least energies of what is read out
_TIMES = -2.512557, 2.2779698  # least and largest of the real files
_REACH = 10  # crystals along phi from the seed to the last strip
_STRAY = 4  # crystals between the hardest particle and the seed, at most
_BLOCK, _CHUNK = 1000, 100  # images drawn from one seed, images in a chunk of a file
_BAND = slice(SEED - 2, SEED + 3)
Pair = tuple[float, float]
_LIMITS: dict[str, Pair] = {
    **{"pt": (5, 500), "eta": (0, 1.4), "field": (0, 10), "material": (0, 5), "positrons": (0, 1)},
    "tilt": (-45, 45),
    **dict.fromkeys(("core", "tail", "scale", "cone", "time_limit"), (1e-3, 1e3)),
}


@dataclass(frozen=True)
class Ecal:
    """Gun, tracker, crystals and readout.

    Args:
        pt: Transverse momentum of the gun particles, GeV.
        eta: Largest |pseudorapidity|; it is uniform.
        vertex: Standard deviation of the place of the vertex along the beam, cm.
        field: Magnetic field, T.
        material: Thickness of the tracker in units of that of CMS.
        positrons: Share of the electrons that have the other charge. The maps of the real images show only one.
        scatter: Multiple scattering, GeV: angle times momentum in one radiation length.
        core: Radius of the core of showers, in units of that of Grindhammer and Peters.
        tail: The same for the tail.
        tilt: Angle between the crystals and lines from the middle of the detector, along eta and phi, degrees. Both are
            3 in CMS; the mean real images show no effect of the one along eta.
        scale: Energy seen over energy that enters the crystals; leakage fluctuates within the resolution.
        stochastic: Stochastic term of the energy resolution, sqrt(GeV).
        constant: Its constant term.
        grain: Energy of one deposit, GeV: how much the crystals of a shower fluctuate against each other.
        noise: Standard deviation of the noise of a crystal, GeV.
        seeding: Relative spread of the pulses, not yet calibrated, the largest of which is in the middle of an image.
        single: Least energy of a single hit, GeV.
        cone: Half axes of the ellipse of single hits along eta and phi, crystals; clusters end at the second, too.
        cone_spread: Standard deviation of its centre, crystals.
        time: Time resolution times energy over noise, ns.
        time_floor: Resolution of the time of large energies, ns.
        time_limit: Spread of the time of hits that are noise only, ns.
        time_zero: Mean time, ns.
    """

    pt: float = 50.0
    eta: float = 1.2
    vertex: float = 5.0
    field: float = 3.8
    material: float = 1.0
    positrons: float = 0.0
    scatter: float = 0.0136
    core: float = 1.0
    tail: float = 1.1
    tilt: Pair = (0.0, 3.6)
    scale: float = 0.985
    stochastic: float = 0.028
    constant: float = 0.003
    grain: float = 0.008
    noise: float = 0.0467
    seeding: float = 0.035
    single: float = 0.097
    cone: Pair = (10.0, 11.0)
    cone_spread: float = 1.7
    time: float = 59.0
    time_floor: float = 0.02
    time_limit: float = 22.0
    time_zero: float = -0.27

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least, most = _LIMITS.get(name, (-1e3 if name == "time_zero" else 0, 1e3))
            if not all(least <= number <= most for number in np.atleast_1d(value)):
                raise ValueError(f"scene.{name} = {value}: want {least:g} .. {most:g}")


def _fluctuate(rng: Generator, energy: Floats, total: Floats, scene: Ecal) -> Floats:
    """Energies (N, 40, 40), GeV, as the crystals give them, less noise; the resolution is that of the totals (N,)."""
    total = total[:, None, None]
    grainy = energy + np.sqrt(scene.grain * energy) * rng.standard_normal(energy.shape, np.float32)
    grainy = np.maximum(grainy, 0)
    spread = np.sqrt(scene.stochastic**2 / np.maximum(total, 1) + scene.constant**2)
    measured = total * scene.scale * (1 + spread * rng.standard_normal(total.shape, np.float32))
    calibrated: Floats = grainy * (measured / np.maximum(grainy.sum((1, 2), keepdims=True), 1e-6))
    return calibrated


def _crop(rng: Generator, energy: Floats, scene: Ecal) -> Floats:
    """Cut the wall (N, 40, 40) around the seed crystal, (N, 32, 32)."""
    around = slice(ORIGIN - _STRAY, ORIGIN + _STRAY + 1)
    seen = energy[:, around, around]
    seen = seen * (1 + scene.seeding * rng.standard_normal(seen.shape, np.float32))
    brightest = seen.reshape(len(seen), -1).argmax(1)
    row, column = np.divmod(brightest, seen.shape[2]) + np.array(ORIGIN - _STRAY - SEED)
    span = np.arange(SIDE)
    cut: Floats = energy[
        np.arange(len(energy))[:, None, None], (row[:, None] + span)[:, :, None], (column[:, None] + span)[:, None]
    ]
    return cut


def _maximum(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Take the largest of the size x size pixels around each one, (N, 32, 32); of truth values, whether any is true."""
    reach = size // 2
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)))
    rows = reduce(np.maximum, [padded[:, i : i + SIDE] for i in range(size)])
    largest: NDArray[Any] = reduce(np.maximum, [rows[:, :, i : i + SIDE] for i in range(size)])
    return largest


def _strips(energy: Floats) -> tuple[Bools, Bools]:
    """Which columns belong to the supercluster, and which of them are peaks, (N, 32)."""
    within = np.abs(np.arange(SIDE) - SEED) <= _REACH
    strip = np.where(within, np.maximum(energy[:, _BAND], 0).sum(1), 0)
    padded = np.pad(strip, ((0, 0), (1, 1)))
    left, right = padded[:, :-2], padded[:, 2:]
    peak = (strip > left) & (strip >= right) & (strip > _PEAK)
    falls_right, falls_left = ((strip < other) & (strip > _STRIP) for other in (left, right))
    from_left, from_right = peak.copy(), peak.copy()
    for i in range(1, SIDE):
        from_left[:, i] |= from_left[:, i - 1] & falls_right[:, i]
        from_right[:, -1 - i] |= from_right[:, -i] & falls_left[:, -1 - i]
    return from_left | from_right, peak


def _read_out(rng: Generator, energy: Floats, scene: Ecal) -> Bools:
    """Which crystals are stored, (N, 32, 32)."""
    taken, peak = _strips(energy)
    seed = (energy > _CLUSTER) & (energy == _maximum(energy, 3))
    connected = seed
    for _ in range(4):
        connected = _maximum(connected, 3) & (energy > _CONNECTED)
    event, column = np.nonzero(peak)
    seeds = seed.copy()
    seeds[event, SEED - 2 + energy[event, _BAND, column].argmax(1), column] = True
    place = np.arange(SIDE, dtype=np.float32)
    centre = SEED + scene.cone_spread * rng.standard_normal((2, len(energy), 1), np.float32)
    y, x = (((place - at) / axis) ** 2 for at, axis in zip(centre, scene.cone, strict=True))
    stored: Bools = _maximum(seeds & (x[:, None] < 1), 5) | connected
    stored[:, _BAND] |= taken[:, None]
    stored |= (y[:, :, None] + x[:, None] < 1) & (energy > scene.single)
    return stored & (energy > 0)


def images(label: NDArray[np.integer], rng: Generator, scene: Ecal = Ecal()) -> NDArray[np.float32]:
    """Draw crops around electrons (label 1) and photons (label 0).

    Args:
        label: Class of each image, (N,).
        rng: Source of all randomness.
        scene: Gun, tracker, crystals and readout.

    Returns:
        Images (N, 32, 32, 2): energy / 50 GeV and time / 50 ns, both 0 where nothing is stored. Rows are eta, columns
        phi, the seed crystal is at [16, 16].
    """
    electron = np.asarray(label) == 1
    eta = rng.uniform(-scene.eta, scene.eta, len(electron))
    particles = tracker(rng, electron, eta, scene)
    total = np.bincount(particles.event, particles.energy, len(eta)).astype(np.float32)
    energy = _fluctuate(rng, showers(rng, particles, eta, scene), total, scene)
    energy = _crop(rng, energy, scene)
    energy += scene.noise * rng.standard_normal(energy.shape, np.float32)
    stored = _read_out(rng, energy, scene)
    hit = energy[stored]
    resolution = 1 / np.hypot(hit / (scene.time * max(scene.noise, 1e-9)), 1 / scene.time_limit)
    time = scene.time_zero + np.hypot(resolution, scene.time_floor) * rng.standard_normal(len(hit), np.float32)
    image = np.zeros((*energy.shape, 2), np.float32)
    image[stored] = np.stack([hit / GEV, np.clip(time / NS, *_TIMES)], axis=1)
    return image


def simulate(root: Path, size: int = 20_000, seed: int = 1, scene: Ecal = Ecal()) -> None:
    """Write crops of the calorimeter around electrons and photons, in two HDF5 files.

    Args:
        root: Vacant folder for SingleElectronPt50_IMGCROPS.hdf5 and SinglePhotonPt50_IMGCROPS.hdf5, each with
            ``X`` (size, 32, 32, 2), energy / 50 GeV and time / 50 ns, and ``y`` (size,), 1 for electrons.
        size: Images a class.
        seed: Seed of the random numbers; the same seed gives the same images, and a larger set begins with the smaller.
        scene: Gun, tracker, crystals and readout.

    Raises:
        ValueError: An option makes no sense.
    """
    if size < 1 or seed < 0:
        raise ValueError(f"size = {size}, seed = {seed}: want at least 1 image a class, and a seed of at least 0")
    shape = size, SIDE, SIDE, 2
    with tqdm(total=2 * size, desc="calorimeter images", unit=" images", unit_scale=True) as bar:
        for label, name in enumerate(NAMES):
            with new_hdf5(root / name) as file:
                file["y"] = np.full(size, label, np.float32)
                chunks = min(_CHUNK, size), *shape[1:]
                X = file.create_dataset("X", shape, "f4", chunks=chunks, compression="gzip", compression_opts=1)
                for start in range(0, size, _BLOCK):
                    block = images(np.full(_BLOCK, label), np.random.default_rng((seed, label, start)), scene)
                    part = block[: size - start]
                    X[start : start + len(part)] = part
                    bar.update(len(part))
