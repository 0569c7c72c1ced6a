"""Gzip chunks of an HDF5 data set, read without HDF5, which takes four times as long."""

import ctypes
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lit_hep.compiled import library


@dataclass(frozen=True)
class Chunks:
    """Where the chunks of a data set lie in its file; made by `find`.

    Args:
        shape: Of a chunk.
        dtype: Of its values, as stored.
        places: First byte in the file, and number of bytes there, of each chunk (n, 2); none of one that only HDF5
            can read: never written, or left as it was.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    places: NDArray[np.int64]

    @classmethod
    def find(cls, stored: Any) -> Self | None:
        """Those of a data set of h5py; None if they hold parts of rows, or are otherwise packed than by gzip alone."""
        otherwise = stored.compression != "gzip" or stored.shuffle or stored.fletcher32
        if otherwise or stored.chunks[1:] != stored.shape[1:] or not hasattr(stored.id, "chunk_iter"):  # HDF5 < 1.10.10
            return None
        step = stored.chunks[0]
        places = np.zeros((-(-len(stored) // step), 2), np.int64)

        def add(chunk: Any) -> None:
            if not chunk.filter_mask:
                places[chunk.chunk_offset[0] // step] = chunk.byte_offset, chunk.size

        stored.id.chunk_iter(add)
        return cls(stored.chunks, stored.dtype, places)

    def rows(self, file: FileIO, start: int, stop: int) -> NDArray[Any] | None:
        """Rows `start` to `stop`, but for those past the end.

        Args:
            file: The HDF5 file, not buffered.
            start: Number of the first row.
            stop: Number of the last one, plus one.

        Returns:
            The rows (n, ...), not to be written to; None if a chunk among them is damaged (zlib sums it up), no
            longer there, or one for HDF5 to read: it has to, or to say what is wrong.
        """
        from deflate import zlib_decompress

        step, size = self.shape[0], math.prod(self.shape) * self.dtype.itemsize
        chunks = list[NDArray[Any]]()
        for place, length in self.places[start // step : -(-stop // step)].tolist():
            try:
                file.seek(place)
                content = zlib_decompress(file.read(length), size)
                chunks.append(np.frombuffer(content, self.dtype).reshape(self.shape))
            except Exception:  # of many kinds
                return None
        rows = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        begin = start - start % step
        return rows[start - begin : stop - begin]


class Wanted(NamedTuple):
    """Rows that are wanted of one data set.

    Args:
        chunks: Of the data set; None if only HDF5 can read them.
        file: As for `Chunks.rows`.
        rows: Their numbers (n,), one at least, in ascending order.
        places: Where each belongs (n,) in what is read.
    """

    chunks: Chunks | None
    file: FileIO
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def unpack(wanted: Sequence[Wanted], into: NDArray[Any]) -> bool:
    """Unpack rows to where they belong, by as many threads as PyTorch has.

    Args:
        wanted: Of each data set; their rows are equally large.
        into: Array (m, ...) to write to.

    Returns:
        Whether all is done; else there is no compiler, values are to be converted, or a chunk is as for
        `Chunks.rows`.
    """
    unpacking = _unpacking()
    if unpacking is None:
        return False
    compiled, libdeflate = unpacking
    parts = list[tuple[int, int, int, int]]()
    for chunks, file, rows, _ in wanted:
        if chunks is None or chunks.dtype != into.dtype:
            return False
        parts.append((file.fileno(), len(rows), chunks.shape[0], chunks.places.ctypes.data))
    about = np.array(parts, np.int64)
    rows = np.concatenate([one.rows for one in wanted])
    places = np.concatenate([one.places for one in wanted])
    pointers = (column.ctypes.data for column in (about, rows, places))
    done: bool = compiled.take(
        libdeflate, len(parts), *pointers, into[:1].nbytes, into.ctypes.data, torch.get_num_threads()
    )
    return done


@cache
def _unpacking() -> tuple[Any, Any] | None:
    """The compiled library, and of libdeflate, which lies in the package `deflate`, what it calls."""
    import deflate._deflate as package

    names = "alloc_decompressor", "zlib_decompress", "free_decompressor"
    try:
        functions = [getattr(ctypes.CDLL(package.__file__), f"libdeflate_{name}") for name in names]
    except (AttributeError, OSError):  # which the package may keep to itself
        return None
    compiled = library(Path(__file__).with_name("unpack.cpp")) if hasattr(os, "pread") else None
    if compiled is None:
        return None
    compiled.take.restype = ctypes.c_bool
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    compiled.take.argtypes = [pointer, number, pointer, pointer, pointer, number, pointer, ctypes.c_int]
    return compiled, (pointer * 3)(*(ctypes.cast(function, pointer).value for function in functions))
