"""Clusters from a file: arrays of `clusters.npz`, or the original's pickle, of which nothing but arrays is read."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.errors import DataError
from lit_hep.tasks.ccd.clusters import KINDS, Clusters

_ALLOWED = {
    *((f"{core}.multiarray", name) for core in ("numpy.core", "numpy._core") for name in ("_reconstruct", "scalar")),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # bytes in a pickle of protocol 2 or older
}


def read_library(path: Path) -> Clusters:
    """Read clusters, each a picture of charge.

    Args:
        path: An ``.npz`` with ``values``, all pictures row by row and one after another, ``shapes`` (n, 2) and
            ``offsets`` (n + 1,); or a pickle of a list of two-dimensional arrays.

    Raises:
        DataError: The file is absent or damaged, holds something else, or no charge.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give clusters.npz or Cluster.pkl, or leave the library out")
    pictures = _from_npz(path) if path.suffix == ".npz" else _from_pickle(path)
    if not pictures:
        raise DataError(f"{path}: holds no cluster")
    for number, picture in enumerate(pictures):
        if picture.ndim != 2 or picture.dtype.kind not in "fiu":
            raise DataError(f"{path}: cluster {number} is {picture.dtype} of shape {picture.shape}; want a picture")
        if not np.isfinite(picture).all() or (picture < 0).any() or not picture.any():
            raise DataError(f"{path}: cluster {number} holds NaN, negative or no charge")
    places = [np.nonzero(picture) for picture in pictures]
    y, x = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
    charge = np.concatenate([picture[place] for picture, place in zip(pictures, places, strict=True)])
    size = np.array([len(place[0]) for place in places])
    return Clusters(np.full(len(size), KINDS.index("library")), size, y, x, charge.astype(np.float64))


def _from_npz(path: Path) -> Sequence[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            values, shapes, offsets = (file[name] for name in ("values", "shapes", "offsets"))
        pairs = zip(np.split(values, offsets[1:-1]), shapes, strict=True)
        return [part.reshape(shape) for part, shape in pairs]
    except KeyError as error:
        raise DataError(f"{path}: lacks an array ({error}); want values, shapes and offsets") from error
    except Exception as error:  # zipfile, zlib and numpy raise many kinds
        raise DataError(f"{path}: truncated or not a library of clusters ({error})") from error


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which is no array")
        return super().find_class(module, name)


def _from_pickle(path: Path) -> Sequence[NDArray[Any]]:
    try:
        with path.open("rb") as file:
            pictures = _Arrays(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path}: not a pickle of clusters ({error})") from error
    if not isinstance(pictures, list | tuple) or not all(isinstance(picture, np.ndarray) for picture in pictures):
        raise DataError(f"{path}: want a list of arrays")
    return pictures
