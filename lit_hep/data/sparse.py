"""Images of which most cells are 0: read from scipy's files, kept as lists of hits, made dense a batch at a time."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lit_hep.data.readers import unzip
from lit_hep.errors import ConfigError, DataError

Fit = Literal["resize", "crop"]

_CELLS = 2**31  # of an image: places are kept as int32
_CHUNK = 4096  # images brought into shape at once
_HEADER = re.compile(rb"'descr': '([^']+)', 'fortran_order': False, 'shape': \(([\d, ]*)\)")
_SAVE = "save it with scipy.sparse.save_npz, as csr"


@dataclass(frozen=True)
class SparseImages:
    """N images of C channels of which only the hits, cells that are not 0, are kept.

    Indexed with sample numbers it gives those images, still sparse: what travels to the device is short.

    Args:
        cell: Row * W + column of each hit (hits,), image after image and in each channel after channel. Of type int16
            it stands for 0..65535.
        value: Of each hit (hits,); several hits of one cell add up.
        offset: First hit of each channel of each image (N * C + 1,), int64.
        channels: C.
        size: (H, W).
    """

    cell: Tensor
    value: Tensor
    offset: Tensor
    channels: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return (len(self.offset) - 1) // self.channels

    def __getitem__(self, index: Tensor) -> Self:
        first = self.offset[index * self.channels]
        count = self.offset[(index + 1) * self.channels] - first
        end = count.cumsum(0)
        total = int(end[-1])
        hit = torch.arange(total, device=end.device)
        hit += torch.repeat_interleave(first - end + count, count, output_size=total)
        steps = torch.arange(self.channels, device=end.device)
        within = self.offset[index[:, None] * self.channels + steps] - (first - end + count)[:, None]
        return type(self)(
            self.cell[hit], self.value[hit], torch.cat([within.flatten(), end[-1:]]), self.channels, self.size
        )

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same on another device; arguments as of `Tensor.to`. On the way to a GPU nothing waits."""
        kwargs.setdefault("non_blocking", torch.device(args[0]).type == "cuda")
        cell, value, offset = (column.to(*args, **kwargs) for column in (self.cell, self.value, self.offset))
        return type(self)(cell, value, offset, self.channels, self.size)

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(column.nbytes for column in (self.cell, self.value, self.offset))

    def owner(self) -> Tensor:
        """Image * C + channel of each hit (hits,), int64."""
        planes = torch.arange(len(self.offset) - 1, device=self.offset.device)
        return planes.repeat_interleave(self.offset.diff(), output_size=len(self.cell))

    def place(self) -> Tensor:
        """Row * W + column of each hit (hits,), int64."""
        place = self.cell.long()
        return place & 0xFFFF if self.cell.dtype == torch.int16 else place

    def sums(self, power: int = 1) -> Tensor:
        """Sum of value ** power over each channel of each image (N, C), float64."""
        sums = torch.zeros(len(self.offset) - 1, dtype=torch.float64, device=self.offset.device)
        return sums.index_add_(0, self.owner(), self.value.double() ** power).reshape(-1, self.channels)

    def dense(self) -> Tensor:
        """All cells (N, C, H, W), float32."""
        cells = self.size[0] * self.size[1]
        image = torch.zeros((len(self.offset) - 1) * cells, device=self.cell.device)
        image.index_add_(0, self.owner() * cells + self.place(), self.value.float())
        return image.reshape(-1, self.channels, *self.size)


class Hits(NamedTuple):
    """One matrix as it is in its file.

    Args:
        cell: Row * columns + column of each entry (n,), int64.
        value: Of each entry (n,), not negative.
        shape: Rows and columns.
    """

    cell: NDArray[np.int64]
    value: NDArray[Any]
    shape: tuple[int, int]


def read_sparse(path: Path | str) -> Hits:
    """Read a matrix that `scipy.sparse.save_npz` wrote as csr, csc or coo, without ever unpickling.

    Args:
        path: An ``.npz`` file.

    Returns:
        Its entries, in no particular order.

    Raises:
        DataError: The file is absent, truncated, pickled or no such matrix; holds NaN, infinity, negative values, or
            entries outside of the matrix.
    """
    arrays = {name: _array(path, name, content) for name, content in unzip(path).items()}
    kind = arrays.get("format", np.array(b"none")).tobytes().rstrip(b"\0").decode("ascii", "replace")
    needed = {"csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "coo": ("row", "col")}.get(kind, ())
    if not needed or not {"shape", "data", *needed} <= arrays.keys():
        found = f"a matrix of format {kind!r}" if "format" in arrays else f"arrays {', '.join(sorted(arrays))}"
        raise DataError(f"{path}: holds {found}, not a sparse matrix of format csr, csc or coo; {_SAVE}")
    value, shape = arrays["data"], _shape(path, arrays["shape"])
    _check_numbers(path, value)
    one, two = (arrays[name] for name in needed)
    if one.dtype.kind not in "iu" or two.dtype.kind not in "iu" or one.ndim != 1 or two.ndim != 1:
        raise DataError(f"{path}: indices are {one.dtype} and {two.dtype}, not whole numbers in a row; {_SAVE}")
    one, two = one.astype(np.int64), two.astype(np.int64)  # differences of unsigned numbers are never negative
    if kind == "coo":
        row, column = one, two
    else:
        lines = shape[0] if kind == "csr" else shape[1]
        count = np.diff(two)
        if len(two) != lines + 1 or two[0] != 0 or two[-1] != len(one) or (count < 0).any():
            raise DataError(f"{path}: the matrix is damaged (indptr does not fit shape {shape}); {_SAVE}")
        line = np.repeat(np.arange(lines), count)
        row, column = (line, one) if kind == "csr" else (one, line)
    if not len(row) == len(column) == len(value):
        raise DataError(f"{path}: the matrix is damaged ({len(value)} values at {len(column)} places); {_SAVE}")
    for index, length, name in ((row, shape[0], "row"), (column, shape[1], "column")):
        if len(index) and not (index.min() >= 0 and index.max() < length):
            wrong = index.max() if index.max() >= length else index.min()
            raise DataError(f"{path}: {name} {wrong} lies outside of the matrix of {shape[0]} x {shape[1]}; {_SAVE}")
    return Hits(row * shape[1] + column, value, shape)


def _shape(path: Path | str, lengths: NDArray[Any]) -> tuple[int, int]:
    shape = lengths.ravel().tolist()
    if lengths.dtype.kind not in "iu" or len(shape) != 2 or min(shape) < 1 or math.prod(shape) >= _CELLS:
        raise DataError(f"{path}: holds a matrix of shape {(*shape,)}; expected wires x ticks, fewer than {_CELLS:.0g}")
    return shape[0], shape[1]


def _check_numbers(path: Path | str, value: NDArray[Any]) -> None:
    if value.ndim != 1 or value.dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {value.dtype} values of shape {value.shape}, not a list of numbers; {_SAVE}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise DataError(f"{path}: {np.count_nonzero(~np.isfinite(value))} values are NaN or infinite; remove them")
    if value.dtype.kind in "if" and len(value) and value.min() < 0:
        raise DataError(f"{path}: {np.count_nonzero(value < 0)} values are negative, charge is not; remove them")


def _array(path: Path | str, name: str, content: bytes) -> NDArray[Any]:
    """Array from the bytes of an ``.npy`` file; numpy's own reader takes several times as long for files this small."""
    first = 10 if content[6:7] == b"\1" else 12  # of the description; see numpy.lib.format
    last = first + int.from_bytes(content[8:first], "little")
    match = _HEADER.search(content, first, last) if content.startswith(b"\x93NUMPY") else None
    if match is not None and match[1].endswith(b"O"):
        raise DataError(f"{path}: holds pickled Python objects, which are refused; {_SAVE}")
    try:
        if match is None:
            raise ValueError("no header")
        lengths = [int(length) for length in match[2].replace(b",", b" ").split()]
        return np.frombuffer(content, match[1].decode(), math.prod(lengths), last).reshape(lengths)
    except Exception as error:  # numpy's descriptions of types fail in several ways
        raise DataError(f"{path}: array {name} is damaged, or no list of numbers; {_SAVE}") from error


def read_sparse_images(
    paths: NDArray[np.object_], size: tuple[int, int] | None = None, fit: Fit = "resize", progress: str = ""
) -> SparseImages:
    """Read images, each channel from a file of its own.

    Args:
        paths: Files (N, C).
        size: Rows and columns wanted; None leaves them as they are in the files.
        fit: ``resize`` adds up neighbouring cells; ``crop`` takes the part around the mean place of the charge, the
            columns of which are the same in all channels of an image.
        progress: What the progress bar says, if there is much to be read.

    Returns:
        The images, values and places in the smallest types that hold them.

    Raises:
        DataError: As `read_sparse`; or the files differ in size.
        ConfigError: `size` is larger than the files and `fit` is ``resize``.
    """
    channels = paths.shape[1]
    files = iter(tqdm(paths.ravel(), progress, delay=2, disable=not progress, unit="file"))
    first = read_sparse(paths[0, 0])
    shape = first.shape
    size = size or shape
    if fit == "resize" and (size[0] > shape[0] or size[1] > shape[1]):
        raise ConfigError(
            f"image_size {size[0]} x {size[1]} is larger than the files' {shape[0]} x {shape[1]}: set a smaller one, "
            "or fit crop, which fills up with zeros"
        )
    parts = []
    for start in range(0, paths.size, _CHUNK * channels):
        read = []
        for path in (next(files) for _ in range(min(_CHUNK * channels, paths.size - start))):
            hits = read_sparse(path)
            if hits.shape != shape:
                raise DataError(
                    f"{path}: is {hits.shape[0]} x {hits.shape[1]}, {paths[0, 0]} {shape[0]} x {shape[1]}; all files "
                    "of a folder must have one size"
                )
            read.append(hits)
        parts.append(_shaped(read, channels, size, fit))
    cell, value, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    offset = torch.from_numpy(np.concatenate([[0], count.cumsum()]))
    return SparseImages(torch.from_numpy(cell), torch.from_numpy(value), offset, channels, size)


def _shaped(
    read: Sequence[Hits], channels: int, size: tuple[int, int], fit: Fit
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Place and value of the hits, each cell once, and how many each channel of each image has."""
    shape = read[0].shape
    cell, value = (np.concatenate(column) for column in zip(*((hits.cell, hits.value) for hits in read), strict=True))
    owner = np.repeat(np.arange(len(read)), [len(hits.cell) for hits in read])
    row, column = np.divmod(cell, shape[1])
    inside = value != 0
    if size != shape and fit == "resize":
        row, column = row * size[0] // shape[0], column * size[1] // shape[1]
    elif size != shape:
        row = row + _shift(row, value, owner, len(read), shape[0], size[0])
        column = column + _shift(column, value, owner // channels, len(read) // channels, shape[1], size[1])
        inside &= (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
    cells = size[0] * size[1]
    key, value = (owner * cells + row * size[1] + column)[inside], value[inside]
    if not (key[1:] > key[:-1]).all():
        order = key.argsort(kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        wide = value.astype(np.float64 if value.dtype.kind == "f" else np.int64)
        key, value = key[order][starts], np.add.reduceat(wide[order], starts)
    owner, cell = np.divmod(key, cells)
    count = np.bincount(owner, minlength=len(read))
    # torch can hardly calculate with uint16; the bits are kept, see `SparseImages`
    small = cell.astype(np.uint16).view(np.int16) if cells <= 2**16 else cell.astype(np.int32)
    return small, _smallest(value), count


def _shift(
    index: NDArray[np.int64], value: NDArray[Any], owner: NDArray[np.int64], owners: int, length: int, wanted: int
) -> NDArray[np.int64]:
    """By how much each hit moves so that the mean place of the charge comes to the middle, within the files' image."""
    charge = np.bincount(owner, value, owners)
    mean = np.bincount(owner, value * index, owners) / np.maximum(charge, 1e-30)
    start = np.floor(mean + 0.5 - wanted / 2).astype(np.int64)
    inside: NDArray[np.int64] = start.clip(min(0, length - wanted), max(0, length - wanted))
    return -inside[owner]


def _smallest(value: NDArray[Any]) -> NDArray[Any]:
    if value.dtype.kind == "f" and (value != np.floor(value)).any():
        return value.astype(np.float32)
    largest = value.max(initial=0)
    return value.astype(np.uint8 if largest < 2**8 else np.int16 if largest < 2**15 else np.float32)
