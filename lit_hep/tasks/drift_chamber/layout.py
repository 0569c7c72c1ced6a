"""Where a wire's hit stands: in layers x wires, and in the original's padded picture of 128 x 128 pixels."""

from typing import Any, TypeVar

import numpy as np
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
    picture[..., ROWS, COLUMNS] = planes
    return picture  # type: ignore[no-any-return]


def unpad(picture: Planes) -> Planes:
    """Take layers x wires out of the padded picture: the inverse of `pad`.

    Args:
        picture: (..., 128, 128).

    Returns:
        Planes (..., 36, 112).
    """
    return picture[..., ROWS, COLUMNS]


def margin() -> NDArray[np.bool_]:
    """Pixels (128, 128) of the padded picture that stand for no wire."""
    return ~pad(np.ones((LAYERS, WIRES), np.bool_))
