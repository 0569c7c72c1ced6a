"""Gzip chunks of an HDF5 data set, read without HDF5, which takes four times as long."""

import ctypes
import math
import os
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, Self

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

    def take(self, file: FileIO, rows: NDArray[np.int64], into: NDArray[Any], places: NDArray[np.int64]) -> bool:
        """Unpack some rows to where they belong, by as many threads as PyTorch has.

        Args:
            file: As for `rows`.
            rows: Their numbers (n,), in ascending order.
            into: Array (m, ...) to write to.
            places: Where in it each row belongs (n,).

        Returns:
            Whether all is done; else there is no compiler, values are to be converted, or a chunk is as for `rows`.
        """
        unpacking = _unpacking()
        if unpacking is None or into.dtype != self.dtype or not len(rows):
            return False
        compiled, libdeflate = unpacking
        numbers = rows // self.shape[0]
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
        chunks = np.zeros((len(firsts) + 1, 3), np.int64)
        chunks[:-1, :2], chunks[:-1, 2], chunks[-1, 2] = self.places[numbers[firsts]], firsts, len(rows)
        longest = int(chunks[:, 1].max())
        if longest > os.fstat(file.fileno()).st_size:
            return False
        wanted = np.stack([rows - numbers * self.shape[0], places], 1)
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        done: bool = compiled.take(
            file.fileno(),
            libdeflate,
            len(firsts),
            chunks.ctypes.data,
            longest,
            self.shape[0] * width,
            wanted.ctypes.data,
            width,
            into.ctypes.data,
            torch.get_num_threads(),
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
    about = pointer, number, pointer, number, number, pointer, number, pointer
    compiled.take.argtypes = [ctypes.c_int, *about, ctypes.c_int]
    return compiled, (pointer * 3)(*(ctypes.cast(function, pointer).value for function in functions))
