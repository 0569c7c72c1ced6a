"""Gzip chunks of an HDF5 data set, read without HDF5, which takes four times as long."""

import math
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


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

    def rows(self, file: RawIOBase, start: int, stop: int) -> NDArray[Any] | None:
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
