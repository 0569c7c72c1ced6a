"""Loading: each reader alone, against the bandwidth of memory and disk; training from memory and streamed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.engine import Figure, Settings, Table, alternate
from benchmarks.roofline import Roofline, forget, share, timed
from benchmarks.workloads import WORKLOADS, data_of, fit, quiet
from lit_hep.base.datamodule import BaseDataModule
from lit_hep.data.files import fill
from lit_hep.tasks.ccd import CCDDataModule
from lit_hep.tasks.drift_chamber import DriftChamberDataModule
from lit_hep.tasks.electron_photon import ElectronPhotonDataModule
from lit_hep.tasks.multiplane import MultiPlaneDataModule

STREAM = 1.0
"""Of `memory_gib`: nothing fits beside the libraries."""


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure all readers."""
    table = Table(
        "Loading",
        ["reader", "images/s", "MiB/s in batches", "of copy", "MiB/s of files", "of disk"],
        "One epoch of training batches and nothing else; readers of files begin with none of them in memory.",
    )
    tables.append(table)
    _memory(settings, roofline, table)
    _files(settings, roofline, table)
    tables.append(_training(settings))


def _memory(settings: Settings, roofline: Roofline, table: Table) -> None:
    """Readers of what is in memory."""
    crops = _ready(ElectronPhotonDataModule(str(data_of(WORKLOADS["lenet5"], settings)), memory_gib=1000))
    planes = _ready(MultiPlaneDataModule(str(data_of(WORKLOADS["planes"], settings)), image_size=112))
    loader = crops.train_dataloader()
    columns = loader.dataset.columns
    each = DataLoader(TensorDataset(columns["image"], columns["label"], columns["index"]), 32, shuffle=True)
    readers: dict[str, Iterable[Any]] = {
        "e/γ in memory, batch 32": loader,
        "the same, default DataLoader": each,
        "three planes in memory, sparse → dense, batch 32": planes.train_dataloader(),
    }
    for name, (rate, filled) in _rates(readers, settings).items():
        table.add(name, rate, filled, share(filled, roofline.copied / 2**20), None, None)


def _files(settings: Settings, roofline: Roofline, table: Table) -> None:
    """Readers of files."""
    crops = data_of(WORKLOADS["lenet5"], settings)
    streamed = _ready(ElectronPhotonDataModule(str(crops), memory_gib=STREAM))
    planes, tiles, pairs = data_of(WORKLOADS["planes"], settings), _tiles(settings), _pairs(settings)
    readers: dict[str, tuple[Path, Callable[[], Iterable[Any]]]] = {
        "e/γ, HDF5 streamed, batch 32": (crops, streamed.train_dataloader),
        "three planes, npz": (planes, lambda: _read(MultiPlaneDataModule(str(planes), image_size=112))),
        "CCD, PNG, tiles of 256": (tiles, lambda: _read(CCDDataModule(str(tiles)))),
        "drift chamber, PNG pairs": (pairs, lambda: _read(DriftChamberDataModule(str(pairs)))),
    }
    seen: dict[str, tuple[int, int]] = {}

    def epoch(name: str, root: Path, batches: Callable[[], Iterable[Any]]) -> float:
        forget(root)

        def run() -> None:
            seen[name] = _count(batches())

        return timed(run)

    cases = {name: lambda name=name, reader=reader: epoch(name, *reader) for name, reader in readers.items()}
    for name, seconds in alternate(cases, settings.repeats).items():
        images, filled = seen[name]
        stored = sum(file.stat().st_size for file in readers[name][0].rglob("*") if file.is_file())
        rates = Figure([filled / 2**20 / value for value in seconds.values])
        files = Figure([stored / 2**20 / value for value in seconds.values])
        shares = share(rates, roofline.copied / 2**20), share(files, roofline.read / 2**20)
        table.add(name, images / seconds, rates, shares[0], files, shares[1])


def _training(settings: Settings) -> Table:
    """LeNet-5 as shipped, from memory and from disk."""
    table = Table(
        "Training of LeNet-5 from disk",
        ["batch", "in memory, images/s", "streamed, images/s", "streamed ÷ in memory"],
        "Training steps of `fit` as shipped; files not in memory when an epoch begins.",
    )
    workload = WORKLOADS["lenet5"]
    root = data_of(workload, settings)
    for batch in workload.batches[:1] if settings.quick else workload.batches:
        images = 0

        def steps(gib: float, batch: int = batch) -> float:
            nonlocal images
            forget(root)
            words = [f"--data.init_args.memory_gib={gib}"]
            fitted = fit(workload, batch, root, settings.device, words=words)
            images = fitted.images
            return fitted.steps

        cases = {"memory": lambda: steps(1000), "stream": lambda: steps(STREAM)}
        taken = alternate(cases, settings.repeats)
        rates = {way: images / seconds for way, seconds in taken.items()}
        table.add(batch, rates["memory"], rates["stream"], taken["memory"] / taken["stream"])
    return table


def _ready(data: BaseDataModule) -> Any:
    with quiet():
        data.setup("fit")
    return data


def _read(data: BaseDataModule) -> Iterable[Any]:
    loader: Iterable[Any] = _ready(data).train_dataloader()
    return loader


def _rates(readers: dict[str, Iterable[Any]], settings: Settings) -> dict[str, tuple[Figure, Figure]]:
    """Images/s, and MiB/s of the batches."""
    counts = {name: _count(reader) for name, reader in readers.items()}
    cases = {name: lambda reader=reader: timed(lambda: _count(reader)) for name, reader in readers.items()}
    taken = alternate(cases, settings.repeats)
    return {
        name: (counts[name][0] / seconds, Figure([counts[name][1] / 2**20 / value for value in seconds.values]))
        for name, seconds in taken.items()
    }


def _count(batches: Iterable[Any]) -> tuple[int, int]:
    """Images and bytes of images in an epoch."""
    images = filled = 0
    for batch in batches:
        image = batch["image"] if isinstance(batch, dict) else batch[0]
        if not isinstance(image, Tensor):
            image = image.dense()
        images += len(image)
        filled += image.nbytes
    return images, filled


def _tiles(settings: Settings) -> Path:
    """CCD images in PNG."""
    from lit_hep.tasks.ccd.simulation import simulate

    root = settings.scratch / "tiles"
    size = 12 if settings.quick else 100
    with quiet():
        fill(root, lambda folder: simulate(folder, size, height=256, width=256, format="png"))
    return root


def _pairs(settings: Settings) -> Path:
    """Drift-chamber events in PNG."""
    from lit_hep.tasks.drift_chamber.simulation import simulate

    root = settings.scratch / "pairs"
    with quiet():
        fill(root, lambda folder: simulate(folder, 20 if settings.quick else 2000, layout="png"))
    return root
