"""Tiles to learn from, and images predicted piece by piece."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_hep.tasks.ccd.masks import UNKNOWN


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin that cover rows or columns 0..length - 1, evenly and with at least so much overlap."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [int(start) for start in np.linspace(0, length - tile, count).round()]


def cut(pairs: Iterable[tuple[Tensor, Tensor]], size: Sequence[int], overlap: int) -> tuple[Tensor, Tensor]:
    """Cut images and masks into tiles of one size.

    Args:
        pairs: Image (C, H, W) and mask (H, W) of each.
        size: Height and width of a tile; a smaller image is filled by its last row and column, of unknown class.
        overlap: Rows or columns that neighbours share at least.

    Returns:
        Tiles (N, C, *size) and their masks (N, *size).
    """
    image, mask = [], []
    for whole, classes in pairs:
        below, right = (max(0, want - have) for want, have in zip(size, classes.shape, strict=True))
        if below or right:
            whole = F.pad(whole[None].float(), (0, right, 0, below), mode="replicate")[0].to(whole.dtype)
            classes = F.pad(classes, (0, right, 0, below), value=UNKNOWN)
        for row in starts(classes.shape[0], size[0], overlap):
            for column in starts(classes.shape[1], size[1], overlap):
                part = slice(row, row + size[0]), slice(column, column + size[1])
                image.append(whole[:, *part])
                mask.append(classes[part])
    return torch.stack(image), torch.stack(mask)


Piece = tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]


def pieces(height: int, width: int, size: int, halo: int, step: int) -> Iterator[Piece]:
    """Divide an image into pieces, each with what a network has to see around it.

    Args:
        height: Of the image.
        width: Of the image.
        size: Rows and columns of a piece, at most; rounded up to a multiple of `step`.
        halo: Rows or columns needed around it.
        step: All pieces begin at multiples of it.

    Yields:
        Rows and columns of the piece, of what is to be seen, and of the piece in there.
    """
    size, halo = (-(-number // step) * step for number in (size, halo))

    def along(length: int) -> list[tuple[slice, slice, slice]]:
        parts = []
        for first in range(0, length, size):
            last = min(first + size, length)
            begin, end = max(0, first - halo), min(length, last + halo)
            parts.append((slice(first, last), slice(begin, end), slice(first - begin, last - begin)))
        return parts

    for row in along(height):
        for column in along(width):
            yield (row[0], column[0]), (row[1], column[1]), (row[2], column[2])
