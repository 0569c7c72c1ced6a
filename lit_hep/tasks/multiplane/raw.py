"""Raw files of an experiment: which belong to one event, and events turned into sparse matrices."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, save_npz

from lit_hep.data.files import replacing
from lit_hep.data.sparse import Hits, read_sparse
from lit_hep.errors import DataError
from lit_hep.tasks.multiplane.events import event_id
from lit_hep.tasks.multiplane.norm import Fault, parse

_NAME = re.compile(r"files_(?P<kind>[^_]+)_(?P<mc>\d+)_larcv_plane(?P<plane>\d+)_(?P<event>\d+)(?:\.extracted)?\.norm")

Row = tuple[str, str, str]
"""A line of the log: file, line in it if known, and what is wrong."""


@dataclass
class RawEvent:
    """Files of one event.

    Args:
        key: Name of the event.
        kind: Class, as the names say.
        mc: Number of the simulation.
        event: Number of the event in it.
        files: By plane.
        newest: When the last of them was changed, s.
    """

    key: str
    kind: str
    mc: str
    event: str
    files: dict[int, str]
    newest: float = 0.0

    def targets(self, folder: Path, label: int) -> dict[int, Path]:
        """Where the matrices go, by plane."""
        place = {plane: folder / f"PLANE_{plane}" / f"CLASS_{label}" for plane in self.files}
        return {plane: place[plane] / npz_name(path) for plane, path in self.files.items()}


def npz_name(path: str) -> str:
    """Name of the matrix made of a raw file."""
    return re.sub(r"(?:\.extracted)?\.norm$", ".npz", os.path.basename(path))  # noqa: PTH119


def find_raw(folder: Path) -> tuple[dict[str, RawEvent], list[Row]]:
    """Find the events of a folder and those in it, by the names of their files.

    Args:
        folder: Holds ``files_<class>_<mc>_larcv_plane<k>_<event>.extracted.norm``.

    Returns:
        Events by name, and what is wrong: names that say something else, planes that are there twice or missing.
        Events of which a plane is missing are among them.

    Raises:
        DataError: The folder is absent or holds no such file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the one that holds the raw files (*.norm)")
    found: dict[str, RawEvent] = {}
    faults: list[Row] = []
    for path, changed in listing(folder, ".norm"):
        match = _NAME.fullmatch(os.path.basename(path))  # noqa: PTH119
        if not match:
            faults.append((path, "", "name is not files_<class>_<mc>_larcv_plane<k>_<event>.extracted.norm"))
            continue
        key, plane = event_id(path)
        event = found.setdefault(key, RawEvent(key, match["kind"], match["mc"], match["event"], {}))
        if plane in event.files:
            faults.append((path, "", f"there is {event.files[plane]} of the same event and plane already"))
        event.files.setdefault(plane, path)
        event.newest = max(event.newest, changed)
    if not found:
        raise DataError(f"{folder}: holds no files_<class>_<mc>_larcv_plane<k>_<event>.extracted.norm")
    return found, faults


def listing(folder: Path | str, suffix: str) -> Iterator[tuple[str, float]]:
    """Files in a folder and those in it, by name, and when they were changed, s."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from listing(entry.path, suffix)
            elif entry.name.endswith(suffix) and not entry.name.startswith("."):
                yield entry.path, entry.stat().st_mtime


def incomplete(events: Mapping[str, RawEvent]) -> tuple[dict[str, RawEvent], list[Row]]:
    """Tell whole events from others: the planes are those that more than half of all events have.

    Returns:
        Whole events, and a line for each plane that another one lacks or has in excess.
    """
    often = Counter(plane for event in events.values() for plane in event.files)
    planes = {plane for plane, number in often.items() if 2 * number > len(events)}
    faults: list[Row] = []
    for event in events.values():
        path = next(iter(event.files.values()))
        faults += [(path, "", f"plane {plane} of event {event.key} is missing") for plane in planes - set(event.files)]
        for plane in set(event.files) - planes:
            faults.append((event.files[plane], "", f"plane {plane} is there for {often[plane]} events only"))
    return {key: event for key, event in events.items() if set(event.files) == planes}, faults


def convert(event: RawEvent, targets: Mapping[int, Path], size: int) -> tuple[dict[int, int], list[Row]]:
    """Write the planes of an event as sparse matrices, all or none.

    Args:
        event: Its files.
        targets: Where to write each plane; what an interrupted call has written is kept if it is not older.
        size: Wires and ticks of a picture.

    Returns:
        Hits on each plane, and the faults of the files.
    """
    if all(path.is_file() and path.stat().st_mtime >= event.newest for path in targets.values()):
        return {plane: len(read_matrix(path).cell) for plane, path in targets.items()}, []
    matrices: dict[int, Any] = {}
    faults: list[Row] = []
    for plane, path in event.files.items():
        triples, wrong = _parsed(path, size)
        faults += [(path, str(line or ""), what) for line, what in wrong]
        if not wrong:
            wire, tick, height = triples[triples[:, 2] > 0].T
            values = height.astype(np.min_scalar_type(height.max(initial=0)))
            matrices[plane] = csr_matrix((values, (wire, tick)), shape=(size, size))
    for plane, target in targets.items():
        if faults:
            target.unlink(missing_ok=True)  # of an earlier state of the raw files
            continue
        with replacing(target) as part, part.open("wb") as file:
            save_npz(file, matrices[plane], compressed=False)
    return {} if faults else {plane: int(matrix.nnz) for plane, matrix in matrices.items()}, faults


def _parsed(path: str, size: int) -> tuple[NDArray[np.int64], list[Fault]]:
    try:
        return parse(Path(path).read_bytes(), size)
    except OSError as error:
        return np.empty((0, 3), np.int64), [(0, f"cannot be read ({error.strerror})")]


def convert_all(
    tasks: Sequence[tuple[RawEvent, dict[int, Path]]], size: int
) -> list[tuple[RawEvent, dict[int, int], list[Row]]]:
    """Events, and what `convert` returns of each."""
    return [(event, *convert(event, targets, size)) for event, targets in tasks]


def read_matrix(path: Path) -> Hits:
    """A matrix that was written earlier.

    Raises:
        DataError: It is damaged.
    """
    try:
        return read_sparse(path)
    except DataError as error:
        raise DataError(f"{error}; or delete it, and it is made again") from error
