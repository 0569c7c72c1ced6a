"""Where a wire's hit stands: in layers x wires, and in the original's padded picture of 128 x 128 pixels."""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LAYERS, WIRES = 36, 112
SIDE = 128

_LAYERS_A_REGION, _SEPARATOR = 12, 2  # rows
_LEFT = (SIDE - WIRES) // 2
_HEIGHT = LAYERS + (LAYERS // _LAYERS_A_REGION - 1) * _SEPARATOR
ROWS = [
    (SIDE - _HEIGHT) // 2 + layer + _SEPARATOR * (layer // _LAYERS_A_REGION)  # one for each layer
    for layer in range(LAYERS)
]
"""Row of the padded picture for each layer: 44..55, 58..69 and 72..83."""
COLUMNS = slice(_LEFT, _LEFT + WIRES)
"""Columns of the padded picture for the wires: 8..119."""
_REGIONS = [slice(top, top + _LAYERS_A_REGION) for top in ROWS[::_LAYERS_A_REGION]]
"""The same rows as slices: a GPU would wait for a list of them."""

Planes = TypeVar("Planes", NDArray[Any], Tensor)


def pad(planes: Planes) -> Planes:
    """Put layers x wires into the padded picture; what lies between the regions and around them is 0.

    Args:
        planes: (..., 36, 112).

    Returns:
        Pictures (..., 128, 128).
    """
    shape = (*planes.shape[:-2], SIDE, SIDE)
    picture: Any = planes.new_zeros(shape) if isinstance(planes, Tensor) else np.zeros(shape, planes.dtype)
    for region, rows in enumerate(_REGIONS):
        layers = slice(region * _LAYERS_A_REGION, (region + 1) * _LAYERS_A_REGION)
        picture[..., rows, COLUMNS] = planes[..., layers, :]
    return picture  # type: ignore[no-any-return]


def unpad(picture: Planes) -> Planes:
    """Take layers x wires out of the padded picture: the inverse of `pad`.

    Args:
        picture: (..., 128, 128).

    Returns:
        Planes (..., 36, 112).
    """
    regions: Any = [picture[..., rows, COLUMNS] for rows in _REGIONS]
    return torch.cat(regions, -2) if isinstance(picture, Tensor) else np.concatenate(regions, -2)


def margin() -> NDArray[np.bool_]:
    """Pixels (128, 128) of the padded picture that stand for no wire."""
    return ~pad(np.ones((LAYERS, WIRES), np.bool_))
