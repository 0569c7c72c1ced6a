"""Events of a folder: HDF5 files with ``all`` and ``truth``, or pairs of PNG pictures."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_hep.data.hdf5 import Table, open_table
from lit_hep.data.streaming import StreamedColumns, fits
from lit_hep.errors import DataError
from lit_hep.tasks.drift_chamber.layout import LAYERS, WIRES
from lit_hep.tasks.drift_chamber.pictures import ALL, Checker, check_shape, find_pairs, find_pngs, hits_of, read_png

HDF5 = (".hdf5", ".h5")
_BLOCK = 1000  # pictures
_NO_LIMIT = 1e6  # GiB
_LONGEST = 255  # letters of a name
Slab = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
"""All hits (n, 36, 112), 0 or 1, and true hits if they are known."""


@dataclass(frozen=True)
class Events:
    """N events, in memory or on disk.

    Args:
        name: Of each event, or its row (N,).
        current: Beam current (N,) in nA, NaN where not known.
        picture: Shape of a picture in the files.
        png: Whether the files are PNG pictures, else HDF5.
        image: All hits (N, 36, 112), 0 or 1; None if they stay on disk.
        truth: Hits of tracks among them; None if not known, or on disk.
        tables: The files, if they are HDF5.
        half: Value from which a pixel is a hit: in the files, if that is where the pictures are.
    """

    name: NDArray[Any]
    current: NDArray[np.float32]
    picture: tuple[int, ...]
    png: bool
    image: NDArray[np.uint8] | None
    truth: NDArray[np.uint8] | None
    tables: Sequence[Table]
    half: float

    def __len__(self) -> int:
        return len(self.name)

    def columns(self, memory_gib: float, *, truth: bool) -> Mapping[str, Tensor] | StreamedColumns:
        """Columns ``image``, ``index`` and perhaps ``target`` of a loader; on disk, pictures as they are there."""
        index = {"index": torch.arange(len(self))}
        if self.image is None:
            names = {"image": "all", "target": "truth"} if truth else {"image": "all"}
            return StreamedColumns(self.tables, names, index, memory_gib)
        columns = {"image": torch.from_numpy(self.image)} | index
        return columns | {"target": torch.from_numpy(self.truth)} if truth else columns

    def take(self, index: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """All hits and true hits (n, 36, 112) of some events."""
        columns = self.columns(_NO_LIMIT, truth=True)
        if isinstance(columns, StreamedColumns):
            rows = columns[torch.from_numpy(index)]
        else:
            rows = {name: column[index] for name, column in columns.items()}
        noisy, clean = (hits_of(rows[name].numpy(), self.half) for name in ("image", "target"))
        return noisy, clean & noisy


def find_hdf5(folder: Path) -> list[Path]:
    """HDF5 files of a folder, in the order of their names, or the one file if it is one."""
    return sorted(path for path in ([folder] if folder.is_file() else folder.iterdir()) if path.suffix in HDF5)


def read_events(folder: Path, memory_gib: float = _NO_LIMIT, *, truth: bool = True) -> Events:
    """Read and check the events of a folder: its HDF5 files or, if it has none, its pictures.

    Args:
        folder: Where they are; without `truth` also one file.
        memory_gib: Memory that the process may take, in GiB; HDF5 files that do not fit are checked and stay on disk.
        truth: Whether the truth must be there; else it is not looked for.

    Raises:
        DataError: There are no events, or they are damaged.
    """
    files = find_hdf5(folder)
    return _read_hdf5(files, memory_gib, truth=truth) if files else _read_pngs(folder, truth=truth)


def _read_pngs(folder: Path, *, truth: bool) -> Events:
    files = png_files(folder, truth=truth)
    slabs = [slab for _, slab in png_slabs(files, folder)]
    noisy, clean = (None if parts[0] is None else np.concatenate(parts) for parts in zip(*slabs, strict=True))
    shape = read_png(next(iter(files.values()))[0]).shape
    current = listed_currents(folder / "current.csv", list(files))
    return Events(np.array(list(files)), current, shape, True, noisy, _within(clean, noisy), (), 0.5)


def listed_currents(path: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Beam currents that a table beside the pictures gives, of columns ``event`` and ``current_nA``."""
    if not path.is_file():
        return np.full(len(names), np.nan, np.float32)
    try:
        with path.open(newline="") as file:
            columns = csv.DictReader(file, restkey="more")
            listed = {row["event"]: float(row["current_nA"]) for row in columns}
            if not {"event", "current_nA"} <= set(columns.fieldnames or ()):
                raise KeyError("no such columns")
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: expected columns event, current_nA and a number in each row ({error})") from error
    return np.array([listed.get(name, np.nan) for name in names], np.float32)


def png_files(folder: Path, *, truth: bool = True) -> Mapping[str, tuple[Path, ...]]:
    """Noisy and, with `truth`, clean picture of each event; without, all PNG files if none has ``_all_`` in its name.

    Raises:
        DataError: There is none, or a picture without partner.
    """
    if truth:
        return find_pairs(folder)
    if folder.is_file():
        return {folder.stem: (folder,)}
    found = find_pngs(folder, ALL) or find_pngs(folder)
    if not found:
        raise DataError(f"{folder}: holds no HDF5 file (*.hdf5, *.h5) and no PNG picture to predict on")
    return {name: (path,) for name, path in found.items()}


def png_slabs(files: Mapping[str, tuple[Path, ...]], folder: Path) -> Iterator[tuple[list[str], Slab]]:
    """Names and hits of a block of pictures at a time, checked."""
    checker = Checker(folder)
    names = list(files)
    for start in range(0, len(names), _BLOCK):
        block = names[start : start + _BLOCK]
        kinds = [
            np.concatenate([checker.hits(read_png(path)[None], str(path)) for path in paths])
            for paths in zip(*(files[name] for name in block), strict=True)
        ]
        slab = kinds[0], kinds[1] if len(kinds) > 1 else None
        checker.count(*slab)
        yield block, slab
    checker.report()


def _read_hdf5(files: Sequence[Path], memory_gib: float, *, truth: bool) -> Events:
    tables = [open_pictures(path, truth=truth) for path in files]
    shapes = {table.path.name: table.shapes["all"][1:] for table in tables}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{files[0].parent}: pictures differ in shape ({shapes}); keep such files in different folders")
    kept = fits(tables, ["all", "truth"] if truth else ["all"], memory_gib)
    noisy = np.empty((sum(map(len, tables)) if kept else 0, LAYERS, WIRES), np.uint8)
    clean = np.empty_like(noisy) if truth else None
    scales, first = [], 0
    for table in tables:
        checker = Checker(table.path)
        for start, (hits, true) in hdf5_slabs(table, checker):
            if kept:
                part = slice(first + start, first + start + len(hits))
                noisy[part] = hits
                if clean is not None and true is not None:
                    clean[part] = true
        scales.append(checker.half)
        first += len(table)
    if not kept and len(set(scales)) > 1:
        raise DataError(f"{files[0].parent}: some files go to 1, others to 255; bring all to one scale")
    names = [event_names(table) for table in tables]
    if len(files) > 1:
        names = [np.char.add(f"{path.name}:", own.astype(str)) for path, own in zip(files, names, strict=True)]
    return Events(
        np.concatenate(names),
        np.concatenate([currents(table) for table in tables]),
        tables[0].shapes["all"][1:],
        False,
        noisy if kept else None,
        _within(clean, noisy) if kept else None,
        tables,
        0.5 if kept else scales[0],
    )


def open_pictures(path: Path, *, truth: bool) -> Table:
    """Open an HDF5 file of ``all`` and perhaps ``truth``, of either layout; ``current`` (N,) belongs to it too.

    Raises:
        DataError: It has not these data sets, or they are no pictures of events.
    """
    names = ["all", "truth"] if truth else ["all"]
    table = open_table(path, names, ["current"])
    for name in names:
        check_shape(table.shapes[name][1:], f"{path}: {name!r}")
    if truth and table.shapes["truth"] != table.shapes["all"]:
        raise DataError(f"{path}: 'truth' has the shape {table.shapes['truth']}, 'all' {table.shapes['all']}")
    if "current" in table.shapes and table.shapes["current"] != (len(table),):
        raise DataError(f"{path}: 'current' has the shape {table.shapes['current']}; expected ({len(table)},)")
    return table


def hdf5_slabs(table: Table, checker: Checker) -> Iterator[tuple[int, Slab]]:
    """First row and hits of a slab of a file at a time, checked."""
    names = [name for name in ("all", "truth") if name in table.shapes]
    for start, rows in table.slabs(names):
        kinds = [checker.hits(rows[name], f"{table.path}: {name!r} from row {start}") for name in names]
        slab = kinds[0], kinds[1] if len(kinds) > 1 else None
        checker.count(*slab)
        yield start, slab
    checker.report()


def _within(clean: NDArray[np.uint8] | None, noisy: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """True hits that are among all hits; others cannot be kept."""
    return None if clean is None or noisy is None else clean & noisy


def currents(table: Table) -> NDArray[np.float32]:
    """Beam currents (N,) in nA, NaN where not known."""
    if "current" not in table.shapes:
        return np.full(len(table), np.nan, np.float32)
    return table.take(np.arange(len(table)), ["current"])["current"].astype(np.float32)  # NaN: not known


def event_names(table: Table) -> NDArray[Any]:
    """Names (N,) of the events if the file holds them, else rows."""
    import h5py

    with table.open() as file:
        name = file.get("name")
        if name is not None and name.shape == (len(table),) and h5py.check_string_dtype(name.dtype):
            names: list[str] = name.asstr(errors="replace")[:].tolist()
            if max(map(len, names)) > _LONGEST:
                raise DataError(f"{table.path}: 'name' holds names of more than {_LONGEST} letters; shorten them")
            return np.array(names, dtype=str)
    return np.arange(len(table))
