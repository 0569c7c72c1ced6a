"""Crops of the calorimeter: looked through once, then kept in memory or streamed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from lit_hep.data.hdf5 import Table
from lit_hep.data.streaming import StreamedColumns, fits
from lit_hep.errors import DataError

GEV = 1 / 50  # of a pixel's energy

_USUAL_SUM = (0.2, 9.0)  # median energy of an image, E / 50 GeV; 1.0 to 1.8 where pT = 50 GeV


class Crops:
    """Images of some files, numbered through.

    Args:
        tables: The files, with ``X`` (N, H, W, 2).
        memory_gib: Memory that the process may take, in GiB: images that do not fit stay on disk.

    Raises:
        DataError: The files differ in shape, or one is damaged or holds no energies.
    """

    def __init__(self, tables: Sequence[Table], memory_gib: float) -> None:
        first = tables[0]
        self.shape = first.shapes["X"][1:]
        """(H, W, 2)."""
        for table in tables[1:]:
            if table.shapes["X"][1:] != self.shape:
                raise DataError(
                    f"{first.path.parent}: images of {first.path.name} and {table.path.name} differ in shape: "
                    f"{self.shape}, {table.shapes['X'][1:]}"
                )
        self.tables, self._memory_gib = list(tables), memory_gib
        self._starts = np.cumsum([0, *map(len, tables)])
        kept = np.empty((len(self), *self.shape), np.float32) if fits(tables, ["X"], memory_gib) else None
        parts = [
            look_through(table, None if kept is None else kept[start : start + len(table)])
            for table, start in zip(tables, self._starts, strict=False)
        ]
        self.image = None if kept is None else torch.from_numpy(kept)
        """Images (N, H, W, 2), if they are in memory."""
        self.summary = Summary.joined(parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def columns(self, **small: Tensor) -> Mapping[str, Tensor] | StreamedColumns:
        """The images as column ``image`` (N, H, W, 2) beside others (N, ...)."""
        if self.image is not None:
            return {"image": self.image, **small}
        return StreamedColumns(self.tables, {"image": "X"}, small, self._memory_gib)

    def take(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some images (n, H, W, 2)."""
        if self.image is not None:
            return self.image[torch.from_numpy(index)].numpy()
        columns = StreamedColumns(self.tables, {"image": "X"}, {}, self._memory_gib)
        return columns[torch.from_numpy(index)]["image"].numpy()

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Where each image (n,) is: file name and row."""
        file = np.searchsorted(self._starts, index, side="right") - 1
        names = np.array([f"{table.path.name}:" for table in self.tables])
        return np.char.add(names[file], (index - self._starts[file]).astype(str))


@dataclass(frozen=True)
class Moments:
    """Of all pixels of some images: mean, standard deviation and largest absolute value, (2,) each: energy, time."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    largest: NDArray[np.float32]


@dataclass(frozen=True)
class Summary:
    """What is kept of every image of a file, after it has been looked through.

    Args:
        total: Sums over the pixels (N, 2): energy, time.
        square: Sums of the squares (N, 2).
        largest: Largest absolute values (N, 2).
        pixels: Of an image.
    """

    total: NDArray[np.float32]
    square: NDArray[np.float32]
    largest: NDArray[np.float32]
    pixels: int

    @classmethod
    def joined(cls, parts: Sequence["Summary"]) -> "Summary":
        """Of several files, one after the other."""
        return cls(
            np.concatenate([part.total for part in parts]),
            np.concatenate([part.square for part in parts]),
            np.concatenate([part.largest for part in parts]),
            parts[0].pixels,
        )

    def moments(self, index: NDArray[np.int64]) -> Moments:
        """Of the images chosen (n,)."""
        count = len(index) * self.pixels
        mean = self.total[index].sum(0, dtype=np.float64) / count
        deviation = np.sqrt(self.square[index].sum(0, dtype=np.float64) / count - mean**2)
        largest = self.largest[index].max(0)
        tiny = np.float32(1e-12)  # a channel that is all zero stays zero
        return Moments(
            mean.astype(np.float32), np.maximum(deviation.astype(np.float32), tiny), np.maximum(largest, tiny)
        )


def look_through(table: Table, into: NDArray[Any] | None) -> Summary:
    """Read all images of a file once, check them, and warn of what is strange.

    Args:
        table: Of the file.
        into: Where to keep the images (N, H, W, 2); None does not keep them.

    Raises:
        DataError: The file is damaged, a value is not finite, or the channels are swapped.
    """
    count, height, width, _ = table.shapes["X"]
    total, square, largest = np.zeros((3, count, 2), np.float32)
    negative = np.zeros(2, np.int64)
    for start, rows in table.slabs(["X"]):
        image = rows["X"].reshape(-1, height * width, 2)
        stop = start + len(image)
        if into is not None:
            into[start:stop] = rows["X"]
        image = np.ascontiguousarray(image.transpose(0, 2, 1), dtype=np.float32)
        total[start:stop] = image.sum(2)
        square[start:stop] = np.einsum("ncp,ncp->nc", image, image)
        largest[start:stop] = np.maximum(image.max(2), -image.min(2))
        negative += (image < 0).sum((0, 2))
    summary = Summary(total, square, largest, height * width)
    _judge(table.path, summary, negative)
    return summary


def _judge(path: Path, summary: Summary, negative: NDArray[np.int64]) -> None:
    """Raise, or warn, if the values are not those of a calorimeter."""
    if negative[0] > len(summary.total) and not negative[1] and summary.largest[:, 1].any():
        raise DataError(
            f"{path}: X[..., 0] holds {negative[0]} negative values, as times do, and X[..., 1] none, as energies: the "
            "channels are swapped; save X[..., ::-1] instead"
        )
    if negative[0]:
        rank_zero_warn(f"{path}: {negative[0]} energies are negative; expected E / 50 GeV, zero where there is no hit")
    energy = summary.total[summary.largest[:, 0] > 0, 0]
    middle = float(np.median(energy)) if len(energy) else 1.0
    if not _USUAL_SUM[0] < middle < _USUAL_SUM[1]:
        hint = "; if these are GeV, divide by 50" if middle > _USUAL_SUM[1] else ""
        rank_zero_warn(f"{path}: images hold {middle:.3g} of energy in the median, expected 1 to 2 (E / 50 GeV){hint}")
