"""One image or mask of a file: PNG, npy, TIFF or FITS, checked; and masks written as FITS."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.data.files import replacing
from lit_hep.data.readers import check_size, opened, read_npy, reading
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.ccd import masks

_FEWEST = 8  # rows or columns: less than a cluster and what is around it


def read_image(path: Path, hdu: int | None = None) -> NDArray[Any]:
    """Read one image.

    Args:
        path: PNG (grey or RGB, 8 or 16 bit), npy, TIFF or FITS; opacity is left out.
        hdu: Of a FITS file; None takes the first that holds an image.

    Returns:
        (C, H, W), one or three channels; uint8, or float32 of what has more bits.

    Raises:
        DataError: The file is absent, damaged, of another kind, or holds NaN.
        ConfigError: FITS cannot be read without astropy.
    """
    return as_image(_read(path, hdu), path)


def as_image(pixels: NDArray[Any], where: Path | str) -> NDArray[Any]:
    """Pixels (H, W) or (H, W, C) to (C, H, W), checked as in `read_image`."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise DataError(f"{where}: shape {pixels.shape}; expected an image (H, W), or (H, W, C) with at most 4 colours")
    if min(pixels.shape[:2]) < _FEWEST:
        raise DataError(
            f"{where}: image of {pixels.shape[0]} x {pixels.shape[1]} pixels; expected {_FEWEST} or more each way"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{where}: {np.count_nonzero(~np.isfinite(pixels))} pixels are NaN or infinite; mend them")
    pixels = pixels[..., : 3 if pixels.shape[2] > 2 else 1].transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, np.uint8 if pixels.dtype == np.uint8 else np.float32)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read one mask: class numbers, 255 where unknown, or the colours of `masks.COLOURS`.

    Returns:
        Classes (H, W).

    Raises:
        DataError: The file is damaged, or holds what is no class.
        ConfigError: FITS cannot be read without astropy.
    """
    return as_mask(_read(path, None), path)


def as_mask(pixels: NDArray[Any], where: Path | str) -> NDArray[np.uint8]:
    """Class numbers (H, W) or colours (H, W, 3) to classes (H, W), checked as in `read_mask`."""
    try:
        if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
            return masks.from_colour(pixels)
        if pixels.ndim != 2:
            raise DataError(f"{where}: shape {pixels.shape}; expected classes (H, W) or colours (H, W, 3)")
        masks.check(pixels)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if (pixels % 1).any():
        raise DataError(f"{where}: holds fractions, not class numbers")
    return pixels.astype(np.uint8)


def _read(path: Path, hdu: int | None) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); copy it again")
    kind = path.suffix.lower()
    return read_fits(path, hdu) if kind in FITS else _READERS[kind](path)


def _read_png(path: Path) -> NDArray[Any]:
    pixels = _read_picture(path, "PNG")
    with path.open("rb") as file:
        deep = file.read(25)[24] == 16
    if deep and pixels.ndim == 3:  # Pillow halves the bits of colours
        import cv2

        with reading(path, "a PNG file"):
            return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[..., 2::-1]
    return pixels


def _read_tiff(path: Path) -> NDArray[Any]:
    return _read_picture(path, "TIFF")


def _read_picture(path: Path, kind: str) -> NDArray[Any]:
    with opened(path, kind) as image:
        mode, pages = image.mode, getattr(image, "n_frames", 1)
        check_size(path, image.width * image.height * len(image.getbands()) // (8 if mode == "1" else 1))
        pixels = np.asarray(image)
    if mode not in ("1", "L", "LA", "RGB", "RGBA", "F") and not mode.startswith("I"):
        raise DataError(f"{path}: holds values of kind {mode} (P is a palette); save it as grey or RGB")
    if pages > 1:
        raise DataError(f"{path}: holds {pages} pages; save each as a file of its own")
    return pixels


def read_fits(path: Path, hdu: int | None) -> NDArray[Any]:
    """Read the pixels (H, W) of a FITS file, first row first, in the machine's byte order.

    Args:
        path: Of the file.
        hdu: Which header and data unit; None takes the first that holds an image.

    Raises:
        DataError: The file is damaged, or holds no such image.
        ConfigError: astropy is not installed.
    """
    fits = _astropy(path)
    with reading(path, "a FITS file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with the header does not concern the pixels
        with fits.open(path, memmap=False) as units:
            number = _with_image(units, path) if hdu is None else hdu
            unit = units[number] if number < len(units) and units[number].is_image else None
            if unit is not None:
                check_size(
                    path, max(unit.fileinfo()["datSpan"], math.prod(unit.shape) * abs(unit.header["BITPIX"]) // 8)
                )
            pixels = None if unit is None or unit.data is None else np.squeeze(np.asarray(unit.data))
    if pixels is None or pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        raise DataError(f"{path}: HDU {number} holds no image (H, W); choose one with --data.init_args.hdu")
    return pixels.astype(pixels.dtype.newbyteorder("="))


def write_fits(path: Path, mask: NDArray[np.uint8], source: Path, hdu: int | None) -> None:
    """Write classes (H, W) with the header of the image they belong to.

    Args:
        path: To write.
        mask: Classes.
        source: FITS file of the image.
        hdu: Where it is there.
    """
    fits = _astropy(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(source, memmap=False) as units:
            header = units[_with_image(units, source) if hdu is None else hdu].header.copy()
        for key in ("BSCALE", "BZERO", "BLANK", "DATAMIN", "DATAMAX"):  # of the image's values
            header.remove(key, ignore_missing=True)
        header["BUNIT"] = ("class", ", ".join(f"{number} {name}" for number, name in enumerate(masks.CLASSES)))
        with replacing(path) as part, part.open("wb") as file:
            fits.PrimaryHDU(mask, header).writeto(file, output_verify="silentfix")


def _with_image(units: Any, path: Path) -> int:
    """Number of the first HDU with two dimensions or more."""
    found = [number for number, unit in enumerate(units) if unit.is_image and unit.header.get("NAXIS", 0) >= 2]
    if not found:
        raise DataError(f"{path}: holds no image; give FITS files with pixels")
    return found[0]


def _astropy(path: Path) -> Any:
    try:
        from astropy.io import fits
    except ImportError as error:
        raise ConfigError(f"{path}: FITS files need astropy; pip install 'lit_hep[fits]'") from error
    return fits


FITS = (".fits", ".fit", ".fts")
_READERS: dict[str, Callable[[Path], NDArray[Any]]] = {
    ".png": _read_png,
    ".npy": read_npy,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}
KINDS = (*_READERS, *FITS)
"""Endings of the files that can be read."""
