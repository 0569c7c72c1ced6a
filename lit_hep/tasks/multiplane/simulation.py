"""Proton decays and atmospheric neutrinos in liquid argon, seen by three wire planes."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from lit_hep.tasks.multiplane.beam import Beam, beam_neutrinos
from lit_hep.tasks.multiplane.interactions import NOMINAL, Physics, neutrinos, proton_decays
from lit_hep.tasks.multiplane.norm import write_norm
from lit_hep.tasks.multiplane.particles import Particles
from lit_hep.tasks.multiplane.readout import DUNE, Detector, Hits, read_out
from lit_hep.tasks.multiplane.transport import transport

NAMES = "ATMO", "PDK"  # by label
BEAM_NAMES = "NUMU", "NUE", "NC"
VIEW = 225  # wires
_BLOCK = 200  # events drawn from one seed, a simulation of its own


def events(
    rng: Generator,
    label: NDArray[np.integer],
    image_size: int = VIEW,
    view: int = VIEW,
    detector: Detector = DUNE,
    physics: Physics = NOMINAL,
    beam: Beam | None = None,
) -> list[Hits]:
    """Draw events.

    Args:
        rng: Source of all randomness.
        label: 0 atmospheric neutrino, 1 proton decay, (N,); with a beam, 0 muon neutrino, 1 electron neutrino, 2
            neutral current.
        image_size: Wires and ticks of a picture.
        view: Wires of the detector that it shows; the length of its pixels is view / image_size of the detector's.
        detector: Planes and electronics.
        physics: Final states of the first two.
        beam: Neutrinos of a beam instead of the first two.

    Returns:
        Hits of each plane.
    """
    label = np.asarray(label)
    if beam is None:
        atmospheric, decay = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
        particles = Particles.join([neutrinos(rng, atmospheric, physics), proton_decays(rng, decay, physics)])
    else:
        particles = beam_neutrinos(rng, np.arange(len(label)), label, beam)
    deposits = transport(rng, particles, detector.velocity)
    return read_out(rng, deposits, len(label), image_size, view / image_size, detector)


def pictures(hits: Hits, number: int, image_size: int) -> NDArray[np.uint16]:
    """Dense pictures (N, wire, tick) of one plane."""
    picture = np.zeros((number, image_size, image_size), np.uint16)
    picture[hits.event, hits.wire, hits.tick] = hits.height
    return picture


def simulate(
    root: Path,
    size: int = 2000,
    seed: int = 1,
    layout: Literal["npz", "norm"] = "npz",
    image_size: int = VIEW,
    view: int = VIEW,
    detector: Detector = DUNE,
    physics: Physics = NOMINAL,
    beam: Beam | None = None,
) -> None:
    """Write proton decays and atmospheric neutrinos, half of each, or neutrinos of a beam.

    Args:
        root: Vacant folder for ``PLANE_k/CLASS_c/files_<ATMO|PDK>_<block>_larcv_plane<k>_<event>``; class 1 is PDK.
            With a beam the classes are NUMU, NUE and NC, the folders ``numu``, ``nue`` and ``nc``.
        size: Number of events.
        seed: Seed of the random numbers; the same seed gives the same events, and more events begin with the fewer.
        layout: Sparse matrices ``.npz``, or the raw text ``.extracted.norm`` of wire, tick and height that `prepare`
            reads.
        image_size: Wires and ticks of a picture.
        view: Wires of the detector that a picture shows: if they are more than its pixels, these are coarser.
        detector: Planes and electronics.
        physics: Final states and their energies.
        beam: Energies of a beam whose muon and electron neutrinos are drawn instead, and their neutral currents.
    """
    if size < 10:
        raise ValueError(f"size = {size}: want at least 10 events")
    for name, value in (("image_size", image_size), ("view", view)):
        if not 16 <= value <= 1000:
            raise ValueError(f"{name} = {value}: want 16 .. 1000")
    write = {"npz": _write_npz, "norm": _write_norm}[layout]
    names = NAMES if beam is None else BEAM_NAMES
    folders = [f"CLASS_{label}" if beam is None else name.lower() for label, name in enumerate(names)]
    for plane in range(len(detector.angles)):
        for folder in folders:
            (root / f"PLANE_{plane}" / folder).mkdir(parents=True)
    with tqdm(total=size, desc="liquid-argon events") as progress:
        for block, seeds in enumerate(np.random.SeedSequence(seed).spawn(-(-size // _BLOCK))):
            rng = np.random.default_rng(seeds)
            label = rng.permutation(_BLOCK) % len(names)
            planes = events(rng, label, image_size, view, detector, physics, beam)
            number = min(_BLOCK, size - block * _BLOCK)
            for plane, hits in enumerate(planes):
                for event, (kind, part) in enumerate(zip(label, _split(hits, number), strict=False)):
                    name = f"files_{names[kind]}_{block}_larcv_plane{plane}_{event}"
                    write(root / f"PLANE_{plane}" / folders[kind] / name, part, image_size)
            progress.update(number)


def _split(hits: Hits, number: int) -> Iterator[tuple[NDArray[np.integer], ...]]:
    """Wire, tick and height of each event."""
    bounds = np.searchsorted(hits.event, np.arange(number + 1))
    for first, last in pairwise(bounds):
        rows = slice(first, last)
        yield hits.wire[rows], hits.tick[rows], hits.height[rows]


def _write_npz(path: Path, hits: tuple[NDArray[np.integer], ...], size: int) -> None:
    from scipy.sparse import csr_matrix, save_npz

    wire, tick, height = hits
    values = height.astype(np.min_scalar_type(height.max(initial=0)))
    matrix: Any = csr_matrix((values, (wire, tick)), shape=(size, size))
    save_npz(path.with_name(f"{path.name}.npz"), matrix, compressed=False)


def _write_norm(path: Path, hits: tuple[NDArray[np.integer], ...], size: int) -> None:
    write_norm(path.with_name(f"{path.name}.extracted.norm"), hits)
