"""Scaling: time and memory of simulators and readers with the amount of data, in one process and in two at once."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.engine import Figure, Settings, Table, alternate
from benchmarks.roofline import Roofline
from benchmarks.workloads import quiet

_FACTORS = (1, 10, 100)
_PRELOAD = ["benchmarks.workloads", "h5py", "PIL.Image", "scipy.sparse", "scipy.ndimage", "sklearn.model_selection"]


@dataclass(frozen=True)
class Source:
    """Data that are simulated, and read.

    Args:
        task: Name of its folder.
        samples: The least, as the simulator counts them.
        images: Of each sample.
        format: Option of the simulator.
        readers: Name to options of the data module.
    """

    task: str
    samples: int
    images: int = 1
    format: dict[str, Any] = field(default_factory=dict)
    readers: dict[str, dict[str, Any]] = field(default_factory=lambda: {"in memory": {}})


_SOURCES = {
    "crater, npy": Source("crater", 30),
    "e/γ, HDF5": Source(
        "electron_photon", 300, 2, readers={"in memory": {"memory_gib": 1000.0}, "streamed": {"memory_gib": 1.0}}
    ),
    "drift chamber, HDF5": Source(
        "drift_chamber", 100, readers={"in memory": {"memory_gib": 1000.0}, "streamed": {"memory_gib": 1.0}}
    ),
    "drift chamber, PNG": Source("drift_chamber", 20, format={"layout": "png"}),
    "three planes, npz": Source("multiplane", 20),
    "CCD, npy": Source("ccd", 8),
}


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure all simulators and readers."""
    factors = _FACTORS[:2] if settings.quick else _FACTORS
    columns = ["what", *(f"×{factor}: s" for factor in factors), *(f"×{factor}: MiB" for factor in factors)]
    table = Table(
        "Scaling",
        [*columns, "data, MiB", "images/s", "two at once ÷ one"],
        "Each in a process of its own; MiB that it took on top of the libraries, and that the largest data take in "
        "memory. Readers: files to training batches, one epoch. Last: images/s of two such processes over those of "
        "one, largest data, with half of the threads each; at best 2 where there are cores for both.",
    )
    tables.append(table)
    chosen = ["e/γ, HDF5"] if settings.quick else list(_SOURCES)
    for name in chosen:
        source = _SOURCES[name]
        root = settings.scratch / re.sub(r"\W+", "_", name)
        samples = 20 if settings.quick else source.samples

        def write(factor: int, copy: int, source: Source = source, root: Path = root, least: int = samples) -> Job:
            place = Path(f"{root}_{factor}_{copy}")
            return partial(simulate, source, place, factor * least, seed=copy + 1)

        def load(options: dict[str, Any], factor: int, copy: int, task: str = source.task, root: Path = root) -> Job:
            return partial(read, task, Path(f"{root}_{factor}_0"), options)

        _scale(f"simulate {name}", write, factors, settings, table)
        for reader, options in source.readers.items():
            _scale(f"read {name}, {reader}", partial(load, options), factors, settings, table)


Job = Callable[[], tuple[float, float, float, int]]
"""Gives seconds, MiB taken, MiB of the data, number of images."""


def _scale(
    title: str,
    job: Callable[[int, int], Job],
    factors: tuple[int, ...],
    settings: Settings,
    table: Table,
) -> None:
    memory: dict[int, list[float]] = {factor: [] for factor in factors}
    seen: list[tuple[float, int]] = []

    def once(factor: int) -> float:
        seconds, taken, *data = apart([job(factor, 0)], settings.threads)[0]
        memory[factor].append(taken)
        seen.append((data[0], data[1]))
        return seconds

    cases = {str(factor): partial(once, factor) for factor in factors}
    half = max(1, settings.threads // 2)
    cases["two"] = lambda: max(took for took, *_ in apart([job(factors[-1], copy) for copy in (0, 1)], half))
    seconds = alternate(cases, settings.repeats)
    last = seconds[str(factors[-1])]
    held, images = max(seen)
    table.add(
        title,
        *(seconds[str(factor)] for factor in factors),
        *(Figure(memory[factor][1:]) for factor in factors),
        held,
        images / last,
        Figure([2 * value for value in (last / seconds["two"]).values]),
    )


def apart(jobs: list[Job], threads: int) -> list[tuple[float, float, float, int]]:
    """Run jobs at once, each in a fresh process that has the libraries loaded."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with ProcessPoolExecutor(len(jobs), context, _use, (threads,), max_tasks_per_child=1) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def _use(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def simulate(source: Source, root: Path, samples: int, seed: int) -> tuple[float, float, float, int]:
    """Simulate into a folder, in place of what it holds."""
    module = import_module(f"lit_hep.tasks.{source.task}.simulation")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    with quiet(), _measured() as taken:
        module.simulate(root, size=samples, seed=seed, **source.format)
    stored = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    return taken[0], taken[1], stored / 2**20, source.images * samples


def read(task: str, root: Path, options: dict[str, Any]) -> tuple[float, float, float, int]:
    """Read a folder, and go through all training batches once."""
    module = import_module(f"lit_hep.tasks.{task}.datamodule")
    names = [name for name in vars(module) if name.endswith("DataModule") and name != "BaseDataModule"]
    kind = getattr(module, names[-1])
    images = held = 0
    with quiet(), _measured() as taken:
        data = kind(str(root), **options)
        data.setup("fit")
        for batch in data.train_dataloader():
            images += len(batch["image"])
            held += batch["image"].nbytes
    return taken[0], taken[1], held / 2**20, images


@contextmanager
def _measured() -> Iterator[list[float]]:
    """Seconds and MiB that are taken within."""
    taken: list[float] = []
    before, began = _status("VmRSS"), time.perf_counter()
    yield taken
    taken += [time.perf_counter() - began, _status("VmHWM") - before]


def _status(name: str) -> float:
    """Memory of this process in MiB; NaN where the system does not tell."""
    path = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+) kB", path.read_text()) if path.is_file() else None
    return int(found[1]) / 1024 if found else float("nan")
