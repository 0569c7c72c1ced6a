"""Raw pictures: text files of one ``wire tick height`` triple of integers a line."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_hep.errors import DataError

_LINE = rb"[ \t]*-?\d{1,15}[ \t]+-?\d{1,15}[ \t]+-?\d{1,15}[ \t]*"
_TEXT = re.compile(rb"(?:%b\r?\n)*(?:%b)?\s*" % (_LINE, _LINE))
_ONE = re.compile(_LINE)

Fault = tuple[int, str]
"""Line, counted from 1, and what is wrong with it."""


def parse(text: bytes, size: int) -> tuple[NDArray[np.int64], list[Fault]]:
    """Take the content of a ``.norm`` file apart.

    Args:
        text: Lines of wire, tick and height; blank lines only at the end.
        size: Wires and ticks of the picture.

    Returns:
        Triples (n, 3) and every fault; there are no triples if a line is malformed.
    """
    if not _TEXT.fullmatch(text):
        return np.empty((0, 3), np.int64), _malformed(text)
    if not text.strip():
        return np.empty((0, 3), np.int64), []
    triples = np.fromstring(text.decode("ascii"), np.int64, sep=" ").reshape(-1, 3)
    index = triples[:, :2]
    named: list[tuple[NDArray[np.bool_], str]] = [
        (index.min(1, initial=0) < 0, "negative index"),
        (index.max(1, initial=0) >= size, f"index beyond {size} x {size}"),
        (triples[:, 2] < 0, "negative height"),
    ]
    cell = index[:, 0] * (int(index.max(initial=0)) + 1) + index[:, 1]
    again = np.ones(len(cell), np.bool_)
    again[np.unique(cell, return_index=True)[1]] = False
    named.append((again & ~named[0][0], "cell twice"))
    faults = [(int(row) + 1, what) for wrong, what in named if wrong.any() for row in np.flatnonzero(wrong)]
    return triples, sorted(faults)


def _malformed(text: bytes) -> list[Fault]:
    lines = text.rstrip().splitlines()
    return [
        (number, f"not wire, tick and height: {line[:40].decode('ascii', 'backslashreplace')!r}")
        for number, line in enumerate(lines, 1)
        if not _ONE.fullmatch(line)
    ]


def read_norm(path: Path, size: int) -> NDArray[np.int64]:
    """Read a file.

    Args:
        path: ``.norm`` file.
        size: Wires and ticks of the picture.

    Returns:
        Wire, tick and height of each pixel, (n, 3).

    Raises:
        DataError: It cannot be read, has a fault, or holds no pixel.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    triples, faults = parse(text, size)
    if faults:
        line, what = faults[0]
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise DataError(f"{path}: line {line}: {what}{more}; mend or leave out the file")
    if not len(triples):
        raise DataError(f"{path}: is empty; leave out the event")
    return triples


def write_norm(path: Path, columns: Sequence[NDArray[np.integer]]) -> None:
    """Write a file.

    Args:
        path: ``.norm`` file.
        columns: Wire, tick and height of each pixel, (n,) each.
    """
    rows = np.stack(columns, axis=1).tolist()
    path.write_text("".join(f"{wire} {tick} {height}\n" for wire, tick, height in rows))
