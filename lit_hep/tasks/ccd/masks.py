"""Mask tools: from pixel values to classes, one-hot masks, colours, shares and class weights.

A mask (H, W) holds the class of each pixel, `UNKNOWN` where no rule gave one. The functions take any number of leading
dimensions. Colours and thresholds are those of https://github.com/aritzLizoain/CNN-Image-Segmentation (Lizoain 2020,
https://repositorio.unican.es/xmlui/handle/10902/20627); "v1" is its first release, "v2" its second.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.uint8]
Rule = Literal["v1", "v2"]
Thresholds = Mapping[str, tuple[float, float]]

CLASSES = ("background", "glowing", "hot_pixel", "cluster")
COLOURS: Mask = np.array([(0, 0, 0), (89, 255, 64), (0, 128, 255), (255, 51, 51)], np.uint8)
"""In label files, as the original has them."""
SHADES: Mask = np.array([(0, 0, 0), (0, 114, 178), (240, 228, 66), (213, 94, 0)], np.uint8)
"""In figures: told apart by the colour-blind too (Okabe and Ito 2008)."""
UNKNOWN = 255
UNKNOWN_COLOUR: Mask = np.array((128, 128, 128), np.uint8)

_PEDESTAL = 8800.0  # ADC
_REACH = 4 * 60 / np.sqrt(10)  # four times the noise of a mean of ten samples, ADC
_GLOW, _HOT = (1400.0, 1500.0), 2200.0  # above the pedestal, ADC
RULES: dict[Rule, Thresholds] = {
    "v1": {
        "background": (-np.inf, 51.01),
        "glowing": (99.99, 101.01),
        "hot_pixel": (124.0, np.inf),
        "cluster": (59.0, 120.1),
    },
    "v2": {
        "background": (-np.inf, _PEDESTAL + _REACH),
        "glowing": (_PEDESTAL + _GLOW[0] - _REACH, _PEDESTAL + _GLOW[1] + _REACH),
        "hot_pixel": (_PEDESTAL + _HOT - _REACH, np.inf),
        "cluster": (_PEDESTAL + _REACH, _PEDESTAL + _HOT - _REACH),
    },
}
"""Values between which a class lies, both ends excluded; the first class that fits is taken.

"v1" is for the mean of red, green and blue of 8-bit viridis pictures, "v2" for images in ADC.
"""


def monochrome(image: NDArray[Any]) -> NDArray[Any]:
    """Mean of the colours, an opacity left out: (..., H, W) from (..., H, W, C) with C = 1, 2, 3 or 4.

    Raises:
        ValueError: C is another number.
    """
    channels = image.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"shape {image.shape}: want 1 to 4 channels in the last place")
    mean: NDArray[Any] = image[..., : channels - (channels in (2, 4))].mean(axis=-1)
    return mean


def classify(value: NDArray[Any], rule: Rule, thresholds: Thresholds | None = None) -> Mask:
    """Give each pixel a class by its value, as the original did for want of a truth.

    Args:
        value: (..., H, W); for "v1" from `monochrome`, for "v2" in ADC.
        rule: Which thresholds, see `RULES`.
        thresholds: Lower and upper value of some classes, in place of the rule's.

    Returns:
        Mask (..., H, W), `UNKNOWN` where no class fits.

    Raises:
        ValueError: A class or rule is unknown, or a lower value is not below the upper one.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}: want one of {', '.join(RULES)}")
    limits = {**RULES[rule], **(thresholds or {})}
    if unknown := limits.keys() - set(CLASSES):
        raise ValueError(f"thresholds of {', '.join(sorted(unknown))}: the classes are {', '.join(CLASSES)}")
    mask = np.full(value.shape, UNKNOWN, np.uint8)
    for name, (low, high) in reversed(limits.items()):
        if not low < high:
            raise ValueError(f"thresholds of {name} {low:g}, {high:g}: want the lower before the upper")
        mask[(value > low) & (value < high)] = CLASSES.index(name)
    return mask


def one_hot(mask: Mask) -> NDArray[np.bool_]:
    """Whether each pixel is of each class, (..., H, W, 4); nowhere where the class is unknown."""
    return np.asarray(mask[..., None] == np.arange(len(CLASSES), dtype=np.uint8))


def arg_max(scores: NDArray[Any]) -> Mask:
    """Class of the highest of the scores (..., H, W, 4), (..., H, W); unknown where all are 0, as in a one-hot mask."""
    mask: Mask = scores.argmax(axis=-1).astype(np.uint8)
    mask[~scores.any(axis=-1)] = UNKNOWN
    return mask


def colour(mask: Mask) -> Mask:
    """Colours (..., H, W, 3) of a mask; grey where the class is unknown.

    Raises:
        ValueError: A number is no class.
    """
    check(mask)
    table = np.tile(UNKNOWN_COLOUR, (256, 1))
    table[: len(COLOURS)] = COLOURS
    return table[mask]


def from_colour(image: NDArray[np.integer]) -> Mask:
    """Mask (..., H, W) from colours (..., H, W, 3 or 4) in 0 .. 255, opacity ignored; each may be off by 1.

    Raises:
        ValueError: A colour stands for no class.
    """
    known = np.vstack([COLOURS, UNKNOWN_COLOUR]).astype(np.int64)
    rgb = image[..., :3].astype(np.int64)
    mask = np.zeros(image.shape[:-1], np.uint8)
    found = np.zeros(image.shape[:-1], np.bool_)
    for number, shade in zip([*range(len(COLOURS)), UNKNOWN], known, strict=True):
        same = (np.abs(rgb - shade) <= 1).all(axis=-1)
        mask[same] = number
        found |= same
    if not found.all():
        place = tuple(int(i) for i in np.argwhere(~found)[0])
        stranger = tuple(int(part) for part in rgb[place])
        wanted = ", ".join(f"{name} {tuple(map(int, shade))}" for name, shade in zip(CLASSES, COLOURS, strict=True))
        raise ValueError(f"colour {stranger} at {place} stands for no class; the colours are {wanted}")
    return mask


def check(mask: NDArray[Any]) -> None:
    """Refuse numbers that are no class.

    Raises:
        ValueError: With the number and its place.
    """
    wrong = ((mask < 0) | (mask >= len(CLASSES))) & (mask != UNKNOWN)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"class {mask[place]} at {place}; the classes are 0 .. {len(CLASSES) - 1}, {UNKNOWN} for unknown"
        )


def shares(mask: Mask) -> NDArray[np.float64]:
    """Share of each class (4,) among the pixels whose class is known.

    Raises:
        ValueError: None is.
    """
    counts = np.bincount(mask.ravel(), minlength=256)[: len(CLASSES)]
    if not counts.any():
        raise ValueError("the class of no pixel is known")
    return np.asarray(counts / counts.sum())


def percentages(mask: Mask) -> dict[str, float]:
    """Percentage of each class by name among the pixels whose class is known."""
    return dict(zip(CLASSES, (100 * shares(mask)).tolist(), strict=True))


def statistics(mask: Mask) -> str:
    """Text of several lines: pixels, how many classes there are, and the percentage of each."""
    unknown = np.count_nonzero(mask == UNKNOWN)
    parts = percentages(mask)
    present = sum(part > 0 for part in parts.values())
    head = f"{mask.size} pixels of {present} classes, {unknown} of them unknown"
    return "\n".join([head, *(f"{name:<10} {part:6.2f} %" for name, part in parts.items())])


def class_weights(shares: ArrayLike) -> NDArray[np.float64]:
    """Weights of the loss, inverse to the shares (C,) and 1 on average over the classes that occur.

    w_i = (1 / p_i) / sum(1 / p) * n, n classes that occur; an absent class gets weight 0 and a warning.

    Raises:
        ValueError: A share is negative or not finite, or all are 0.
    """
    p = np.asarray(shares, np.float64)
    if p.ndim != 1 or not np.isfinite(p).all() or (p < 0).any() or not p.any():
        raise ValueError(f"shares {p}: want one of at least 0 for each class, not all 0")
    present = p > 0
    if not present.all():
        names = CLASSES if len(p) == len(CLASSES) else range(len(p))
        absent = ", ".join(str(name) for name, there in zip(names, present, strict=True) if not there)
        warnings.warn(f"no pixel of {absent}: its weight is 0, and it will not be learnt", stacklevel=2)
    weights = np.divide(1.0, p, out=np.zeros_like(p), where=present)
    return np.asarray(weights / weights.sum() * np.count_nonzero(present))
