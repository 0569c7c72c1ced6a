"""HDF5 files with a row a sample: checked when opened, read in whole chunks.

Files are opened anew for each read, so that a `Table` can be passed to other processes and threads.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.data.batches import grouped
from lit_hep.data.chunks import Chunks, Wanted, unpack
from lit_hep.data.readers import check_size
from lit_hep.errors import DataError, UserError

_READ = 2**20  # bytes that one read should take at least: opening, seeking and Python's share cost less than that
_FILES = 64  # open at a time at most


@dataclass(frozen=True)
class Table:
    """Data sets of one HDF5 file, equally long; made by `open_table`.

    Args:
        path: The file.
        shapes: Name of each data set to its shape (N, ...).
        dtypes: Name to the type it is read as: floating-point numbers as float32, others as they are.
        chunks: Name to the number of rows that are compressed together; 1 if they are not.
        packed: Name to where they lie, if they can be read without HDF5.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype[Any]]
    chunks: dict[str, int]
    packed: dict[str, Chunks | None]

    def __len__(self) -> int:
        return next(iter(self.shapes.values()))[0]

    def row_bytes(self, names: Sequence[str]) -> int:
        """Memory that one row of these data sets takes, in bytes."""
        return sum(self.dtypes[name].itemsize * int(np.prod(self.shapes[name][1:])) for name in names)

    def span(self, names: Sequence[str]) -> int:
        """Rows to read at a time: whole chunks of these data sets, together about a mebibyte or more."""
        chunk = max(self.chunks[name] for name in names)
        return chunk * max(1, _READ // (chunk * self.row_bytes(names)))

    def slabs(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """All rows in order, a span at a time, checked.

        Args:
            names: Of the data sets.

        Yields:
            Number of the first row, and the rows of each data set.

        Raises:
            DataError: The file is damaged, or holds NaN or infinity.
        """
        span = self.span(names)
        with self.reading() as (_, read):
            for start in range(0, len(self), span):
                rows = {name: read(name, start, start + span) for name in names}
                for name, values in rows.items():
                    if values.dtype.kind == "f" and not np.isfinite(values).all():
                        wrong = ~np.isfinite(values.reshape(len(values), -1)).all(1)
                        raise DataError(
                            f"{self.path}: {name!r} holds NaN or infinity, first in row {start + wrong.argmax()}; "
                            "remove such samples"
                        )
                yield start, rows

    def read(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """All rows in memory, checked as by `slabs`."""
        whole = {name: np.empty(self.shapes[name], self.dtypes[name]) for name in names}
        for start, rows in self.slabs(names):
            for name, values in rows.items():
                whole[name][start : start + len(values)] = values
        return whole

    def take(self, rows: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Some rows, as by the function `take`, in arrays of their own: name to values (n, ...)."""
        into = {name: np.empty((len(rows), *self.shapes[name][1:]), self.dtypes[name]) for name in names}
        take([self], rows, into)
        return into

    @contextmanager
    def reading(self) -> Iterator[tuple[FileIO, Callable[[str, int, int], NDArray[Any]]]]:
        """The file, and a function of a data set's name, a first row and one past the last: those rows.

        Raises:
            DataError: The file cannot be opened, or is damaged.
        """
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self.path.open("rb", buffering=0))
            except OSError as error:
                raise DataError(f"{self.path}: {_reason(error)}") from error
            hdf5: Any = None

            def read(name: str, start: int, stop: int) -> NDArray[Any]:
                nonlocal hdf5
                packed, stop = self.packed[name], min(stop, len(self))
                values = packed.rows(file, start, stop) if packed else None
                if values is None:
                    hdf5 = hdf5 or stack.enter_context(self.open())
                    try:
                        values = hdf5[name][start:stop]
                    except Exception as error:  # h5py has many kinds for what the HDF5 library complains of
                        raise DataError(
                            f"{self.path}: rows {start}..{stop - 1} of {name!r} cannot be read: damaged; copy it again"
                        ) from error
                converted: NDArray[Any] = values.astype(self.dtypes[name], copy=False)
                return converted

            yield file, read

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The file, as h5py has it.

        Raises:
            DataError: It cannot be opened, or what is done with it fails.
        """
        import h5py

        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except UserError:
            raise
        except Exception as error:  # as above
            raise DataError(f"{self.path}: {_reason(error)}") from error


def take(tables: Sequence[Table], rows: NDArray[np.int64], into: Mapping[str, NDArray[Any]]) -> None:
    """Read rows of tables that are alike; each span that holds one of them is read once.

    Args:
        tables: Their rows are numbered through.
        rows: Row numbers (n,), in any order.
        into: Name of each data set to an array (n, ...) for them.

    Raises:
        DataError: A file is damaged.
    """
    order = np.argsort(rows)
    rows = rows[order]
    starts = np.cumsum([0, *map(len, tables)])
    ends = np.searchsorted(rows, starts)
    parts = (
        (table, rows[first:last] - start, order[first:last])
        for table, start, first, last in zip(tables, starts, ends, ends[1:], strict=False)
        if last > first
    )
    for some in grouped(parts, _FILES):
        with ExitStack() as stack:
            opened = [(table, *stack.enter_context(table.reading()), mine, places) for table, mine, places in some]
            for name, values in into.items():
                packed = [Wanted(table.packed[name], file, *where) for table, file, _, *where in opened]
                if unpack(packed, values):
                    continue
                for table, _, read, mine, places in opened:
                    begins = np.flatnonzero(np.diff(mine // table.span([name]))) + 1
                    for run in np.split(np.arange(len(mine)), begins):
                        first, last = int(mine[run[0]]), int(mine[run[-1]])
                        values[places[run]] = read(name, first, last + 1)[mine[run] - first]


def open_table(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Look at an HDF5 file without reading its values.

    Args:
        path: The file.
        names: Data sets that it must hold.
        optional: Data sets that belong to the table if the file holds them.

    Returns:
        The table: numbers only, at least one row, as many in each data set.

    Raises:
        DataError: The file is absent, empty, truncated or no HDF5 file, or its data sets are not as above.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); copy it again")
    table = Table(path, {}, {}, {}, {})
    with table.open() as file:
        for name in (*names, *optional):
            found = file.get(name)
            if found is None and name in optional:
                continue
            if not hasattr(found, "dtype"):
                held = ", ".join(repr(key) for key in file) or "nothing"
                raise DataError(f"{path}: holds no data set {name!r} but {held}; rename it, or give another file")
            _check(path, name, found)
            if found.dtype.kind not in "biuf":
                raise DataError(f"{path}: {name!r} holds {found.dtype} values, not numbers")
            if not found.shape or 0 in found.shape:
                raise DataError(f"{path}: {name!r} holds no samples (shape {found.shape})")
            table.shapes[name] = tuple(map(int, found.shape))
            table.dtypes[name] = np.dtype(np.float32) if found.dtype.kind == "f" else found.dtype.newbyteorder("=")
            table.chunks[name] = int(found.chunks[0]) if found.chunks else 1
            table.packed[name] = Chunks.find(found)
    if len({shape[0] for shape in table.shapes.values()}) > 1:
        lengths = ", ".join(f"{name!r} {shape[0]}" for name, shape in table.shapes.items())
        raise DataError(f"{path}: data sets that belong together differ in length: {lengths} rows")
    return table


def _check(path: Path, name: str, found: Any) -> None:
    """Refuse a data set that is larger than the file can be, or lies in another file."""
    for shape in (found.shape or (), found.chunks or ()):
        check_size(path, found.dtype.itemsize * math.prod(map(int, shape)))
    if found.external or found.is_virtual or Path(found.file.filename) != path:
        raise DataError(f"{path}: {name!r} lies in another file; copy it into this one (h5repack)")


def _reason(error: Exception) -> str:
    words = str(error)
    if "truncated" in words:
        return "truncated HDF5 file; copy it again"
    if "signature" in words:
        return "not an HDF5 file, or damaged; copy it again"
    if "lock" in words:
        return "is open for writing in another program; close that first"
    return f"cannot be read ({words}); copy it again"
