"""Readers that check what they read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.errors import DataError


def read_npy(path: Path) -> NDArray[Any]:
    """Read one array, without ever unpickling.

    Args:
        path: An ``.npy`` file.

    Returns:
        The array: at least one dimension, at least one element, all finite.

    Raises:
        DataError: The file is absent, empty, truncated, pickled, or holds NaN or infinity.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); copy it again")
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        if "Object arrays" in str(error):
            raise DataError(f"{path}: holds pickled Python objects, which are refused; save a plain array") from error
        raise DataError(f"{path}: truncated or not an npy file ({error}); copy it again") from error
    except (EOFError, MemoryError, SyntaxError, TypeError, UnicodeError) as error:
        raise DataError(f"{path}: truncated or not an npy file; copy it again") from error
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{path}: holds no data (shape {array.shape})")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {array.dtype} values, not numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: {np.count_nonzero(~np.isfinite(array))} values are NaN or infinite; remove them")
    return array


def read_images(path: Path) -> NDArray[np.uint8]:
    """Read grey 8-bit images.

    Args:
        path: An ``.npy`` file of whole numbers 0..255, shape (N, H, W) or, for square images, (N, H*W).

    Returns:
        Images (N, H, W).

    Raises:
        DataError: As `read_npy`; or wrong shape, type or range.
    """
    array = read_npy(path)
    if array.dtype.kind == "f":
        raise DataError(f"{path}: holds {array.dtype} values; expected whole numbers 0..255, saved as uint8")
    if array.dtype != np.uint8 and (array.min() < 0 or array.max() > 255):
        raise DataError(f"{path}: values {array.min()}..{array.max()} lie outside 0..255; rescale and save as uint8")
    if array.ndim == 2:
        side = round(array.shape[1] ** 0.5)
        if side * side == array.shape[1]:
            array = array.reshape(-1, side, side)
    if array.ndim != 3 or min(array.shape[1:]) < 16:
        raise DataError(
            f"{path}: shape {array.shape}; expected (N, H*W) of square images or (N, H, W), 16 pixels or more"
        )
    return np.ascontiguousarray(array, dtype=np.uint8)


def read_labels(path: Path, classes: int) -> NDArray[np.int64]:
    """Read class numbers.

    Args:
        path: An ``.npy`` file of whole numbers 0..classes - 1, shape (N,).
        classes: Number of classes.

    Returns:
        Labels (N,).

    Raises:
        DataError: As `read_npy`; or wrong shape, or a value that is no class.
    """
    array = read_npy(path)
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != 1:
        raise DataError(f"{path}: shape {array.shape}; expected one label an image, (N,)")
    wrong = (array != np.floor(array)) | (array < 0) | (array >= classes)
    if wrong.any():
        raise DataError(f"{path}: label {array[wrong][0]} at row {wrong.argmax()}; expected 0..{classes - 1}")
    return array.astype(np.int64)


def check_same_length(files: Sequence[tuple[Path, int]]) -> None:
    """Check that files that belong together hold as many samples.

    Args:
        files: Path and number of samples of each.

    Raises:
        DataError: The numbers differ.
    """
    if len({length for _, length in files}) > 1:
        counts = ", ".join(f"{path.name} {length}" for path, length in files)
        raise DataError(f"{files[0][0].parent}: files that belong together differ in length: {counts}")
