"""Readers that check what they read."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from lit_hep.errors import DataError, UserError

if TYPE_CHECKING:
    from PIL import Image

_PACKED = 1400  # bytes that one byte of a file can stand for: deflate packs 1,032, LZW 1,335 equal ones


@contextmanager
def reading(path: Path | str, kind: str) -> Iterator[None]:
    """Turn whatever a library makes of a damaged file into one message.

    Args:
        path: The file.
        kind: What it should be, such as ``an npy file``.

    Raises:
        DataError: The block raised anything else than an error of our own.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit in memory") from error
    except Exception as error:  # each library raises a dozen kinds, and others in its next version
        if isinstance(error, OSError) and error.errno:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        raise DataError(f"{path}: truncated or not {kind}; copy it again") from error


@contextmanager
def opened(path: Path, kind: str) -> Iterator["Image.Image"]:
    """Open a picture whose pixels are read in the block.

    Args:
        path: The file.
        kind: As Pillow calls it: ``PNG`` or ``TIFF``.

    Raises:
        DataError: It is damaged, or of another kind.
    """
    from PIL import Image

    with reading(path, f"a {kind} file"):
        content = BytesIO(path.read_bytes())  # from a file Pillow asks for all memory that a damaged length tells of
        with Image.open(content, formats=[kind]) as image:
            yield image


def check_size(path: Path | str, size: int) -> None:
    """Check, before memory is taken, that a file can hold what its header says.

    Args:
        path: The file.
        size: Bytes that are to come out of it.

    Raises:
        DataError: They are more than any compression puts into a file of this size.
    """
    held = Path(path).stat().st_size
    if size > _PACKED * held:
        raise DataError(f"{path}: {held} bytes cannot hold the {size:.3g} that its header tells of: copy it again")


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
    with reading(path, "an npy file"):
        content = bytearray(path.stat().st_size)
        with path.open("rb") as file:
            file.readinto(content)
        array = _parsed(content, path)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{path}: holds no data (shape {array.shape})")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {array.dtype} values, not numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: {np.count_nonzero(~np.isfinite(array))} values are NaN or infinite; remove them")
    return array


def read_npz(path: Path, without: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """Read arrays by name, without ever unpickling.

    Args:
        path: An ``.npz`` file.
        without: Names of those to leave out.

    Raises:
        DataError: The file is absent, truncated, or holds anything else than arrays of numbers and text.
    """
    with reading(path, "an npz file"):
        return {name: _parsed(bytearray(content), path) for name, content in unzip(path, without).items()}


def unzip(path: Path | str, without: Collection[str] = ()) -> dict[str, bytes]:
    """Read the ``.npy`` files in an ``.npz``, their check sums compared, by name.

    Args:
        path: An ``.npz`` file.
        without: Names of those to leave out.

    Raises:
        DataError: The file is absent, truncated, or promises more than it holds.
    """
    with reading(path, "an npz file"), ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        check_size(path, sum(member.file_size for member in members.values()))
        if max((member.compress_size for member in members.values()), default=0) > Path(path).stat().st_size:
            raise BadZipFile  # to read it would take as much memory first
        if any(member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for member in members.values()):
            raise DataError(f"{path}: is compressed as numpy does not; save it with numpy.savez")
        return {name: archive.read(member) for name, member in members.items() if name not in without}


def _parsed(content: bytearray, path: Path) -> NDArray[Any]:
    """Array of the content of an ``.npy`` file, which it goes on using: what a header promises is never allocated."""
    head = BytesIO(content[: 2**16])
    version = np.lib.format.read_magic(head)
    header = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
    shape, fortran, dtype = header(head)
    if dtype.hasobject:
        raise DataError(f"{path}: holds pickled Python objects, which are refused; save a plain array")
    array = np.frombuffer(content, dtype, math.prod(shape), head.tell()) if math.prod(shape) else np.empty(0, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


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
