"""Clusters from a file: arrays of `clusters.npz`, or the original's pickle, of which nothing but arrays is read."""

import pickle
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from pickletools import genops
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.data.readers import read_npz, reading
from lit_hep.errors import DataError
from lit_hep.tasks.ccd.clusters import KINDS, Clusters


def _empty(*_: Any) -> NDArray[Any]:
    """Array that is filled next; as numpy's `_reconstruct`, of no size that a pickle may ask for."""
    return np.empty(0)


def _frombuffer(content: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _latin1(text: str, _: str) -> bytes:
    return text.encode("latin1")


_ALLOWED = {
    "numpy.dtype": np.dtype,
    "numpy.ndarray": "the type of all arrays",  # said, never called
    "_codecs.encode": _latin1,  # bytes in a pickle of protocol 2 or older
    **dict.fromkeys(("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _empty),
    **dict.fromkeys(("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"), _frombuffer),
}
"""What a pickle of arrays asks for by name, and what it gets."""


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
    arrays = read_npz(path)
    if lacking := {"values", "shapes", "offsets"} - arrays.keys():
        raise DataError(f"{path}: lacks an array ({min(lacking)!r}); want values, shapes and offsets")
    with reading(path, "a library of clusters"):
        pairs = zip(np.split(arrays["values"], arrays["offsets"][1:-1]), arrays["shapes"], strict=True)
        return [part.reshape(shape) for part, shape in pairs]


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which is no array")
        return _ALLOWED[f"{module}.{name}"]


def _from_pickle(path: Path) -> Sequence[NDArray[Any]]:
    try:
        content = path.read_bytes()
        numbered = (int(argument or 0) for opcode, argument, _ in genops(content) if "PUT" in opcode.name)
        if max(numbered, default=0) > len(content):  # Python would make a table as long as that
            raise pickle.UnpicklingError("numbers its parts beyond its size")
        pictures = _Arrays(BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path}: not a pickle of clusters ({error})") from error
    if not isinstance(pictures, list | tuple) or not all(isinstance(picture, np.ndarray) for picture in pictures):
        raise DataError(f"{path}: want a list of arrays")
    return pictures
