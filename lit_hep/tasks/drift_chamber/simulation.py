"""Events of one CLAS12 drift-chamber sector: tracks from the target, and the background of a beam current."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from lit_hep.data.files import new_hdf5
from lit_hep.tasks.drift_chamber.background import add_background
from lit_hep.tasks.drift_chamber.chamber import CLAS12, LAYERS, WIRES, Bools, DriftChamber, Range
from lit_hep.tasks.drift_chamber.tracks import add_partial, add_tracks, claim

__all__ = ["CLAS12", "DriftChamber", "events", "simulate"]

_BLOCK = 500  # events drawn from one seed
Block = tuple[Bools, Bools, NDArray[np.float32]]
"""All hits and true hits (n, 36, 112), beam current (n,) in nA."""


def events(
    rng: Generator, number: int, current: ArrayLike = CLAS12.nominal, chamber: DriftChamber = CLAS12
) -> tuple[Bools, Bools]:
    """Draw events.

    Args:
        rng: Source of all randomness.
        number: Number N of events.
        current: Beam current in nA, one or (N,).
        chamber: Sector, tracks and background.

    Returns:
        All hits and those of tracks, (N, 36, 112) each.
    """
    every, truth = np.zeros((2, number, LAYERS, WIRES), np.bool_)
    add_tracks(rng, chamber, every, truth)
    shape = chamber.fluctuation**-2
    activity = np.broadcast_to(current, number) / chamber.nominal * rng.gamma(shape, 1 / shape, number)
    add_background(rng, chamber, every, activity)
    add_partial(rng, chamber, every, activity)
    claim(rng, chamber, every, truth)
    return every, truth


def _blocks(size: int, seed: int, current: Range, chamber: DriftChamber) -> Iterator[Block]:
    starts = range(0, size, _BLOCK)
    seeds = np.random.SeedSequence(seed).spawn(len(starts))
    for start, block_seed in zip(tqdm(starts, "drift-chamber events"), seeds, strict=True):
        rng = np.random.default_rng(block_seed)
        beam = rng.uniform(*current, _BLOCK).astype(np.float32)
        every, truth = events(rng, _BLOCK, beam, chamber)
        kept = slice(size - start)
        yield every[kept], truth[kept], beam[kept]


def _write_hdf5(root: Path, size: int, blocks: Iterator[Block]) -> None:
    with new_hdf5(root / "events.hdf5") as file:
        chunk = (min(size, 100), LAYERS, WIRES)
        pictures = [
            file.create_dataset(name, (size, LAYERS, WIRES), "u1", chunks=chunk, compression="gzip", compression_opts=1)
            for name in ("all", "truth")
        ]
        beam = file.create_dataset("current", (size,), "f4")
        beam.attrs["unit"] = "nA"
        start = 0
        for *hits, current in blocks:
            rows = slice(start, start + len(current))
            for data, picture in zip(pictures, hits, strict=True):
                data[rows] = picture * np.uint8(255)
            beam[rows] = current
            start = rows.stop


def _write_png(root: Path, blocks: Iterator[Block]) -> None:
    from PIL import Image

    number = 0
    with (root / "current.csv").open("w") as table:
        table.write("event,current_nA\n")
        for every, truth, current in blocks:
            for noisy, clean, beam in zip(every, truth, current, strict=True):
                for name, picture in (("all", noisy), ("truth", clean)):
                    rgb = np.repeat(picture[..., None] * np.uint8(255), 3, axis=2)
                    Image.fromarray(rgb).save(root / f"{number:06d}_{name}_.png")
                table.write(f"{number:06d},{beam}\n")
                number += 1


def simulate(
    root: Path,
    size: int = 4000,
    seed: int = 1,
    layout: Literal["hdf5", "png"] = "hdf5",
    current: float | Range = (0.0, 110.0),
    chamber: DriftChamber = CLAS12,
) -> None:
    """Write drift-chamber events.

    Args:
        root: Vacant folder for ``events.hdf5``, or for pictures ``NNNNNN_all_.png`` and ``NNNNNN_truth_.png`` (112
            wide, 36 high, RGB) and ``current.csv``.
        size: Number of events.
        seed: Seed of the random numbers; the same seed gives the same events, and more events begin with the fewer.
        layout: One HDF5 file, or a pair of pictures for each event.
        current: Beam current, nA, or the range from which each event draws its own.
        chamber: Sector, tracks and background.
    """
    if size < 10:
        raise ValueError(f"size = {size}: want at least 10 events")
    low, high = current if isinstance(current, tuple) else (current, current)
    if not 0 <= low <= high <= 1000:
        raise ValueError(f"current = {current}: want low <= high within 0 .. 1000 nA")
    blocks = _blocks(size, seed, (low, high), chamber)
    if layout == "hdf5":
        _write_hdf5(root, size, blocks)
    else:
        _write_png(root, blocks)
