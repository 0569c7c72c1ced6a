"""Random views of images and their masks: the original's geometric set, by torch on the batch or by imgaug.

Each image gets one of: flips | each side padded or cropped by -5 .. 10 % | each side cropped by 0 .. 10 % | scaled by
.9 .. 1.1, moved by -10 .. 10 %, turned by -30 .. 30 degrees. Pixels are interpolated linearly, classes taken from the
nearest pixel; what comes in from outside has the pedestal's value and no class.
"""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Augmentation = Literal["none", "torch", "imgaug"]

_PAD, _CROP = (-0.05, 0.1), (0.0, 0.1)  # of height and width
_SCALE, _SHIFT, _TURN = (0.9, 1.1), (-0.1, 0.1), (-30.0, 30.0)  # factor, of height and width, degrees


def augment(
    image: Tensor, mask: Tensor, outside: Tensor, seed: int, how: Augmentation = "torch"
) -> tuple[Tensor, Tensor]:
    """Random view of each image, a function of the seed.

    Args:
        image: (B, C, H, W).
        mask: Classes (B, H, W).
        outside: Value (B, C) of pixels that come in.
        seed: Of the draws.
        how: ``torch`` or ``imgaug``.

    Returns:
        Image, float32, and mask.
    """
    if how == "imgaug":
        return apply_imgaug(original_set(seed), image, mask, outside)
    views = random_views(len(image), image.shape[2] / image.shape[3], np.random.default_rng(seed))
    return apply_views(views.to(image.device, non_blocking=True), image, mask, outside)


def random_views(count: int, aspect: float, rng: np.random.Generator) -> Tensor:
    """Draw a view for each image: matrices (count, 2, 3) from places in the view to places in the image.

    Args:
        count: Images.
        aspect: Height over width.
        rng: Of the draws.
    """
    kind = rng.integers(4, size=count)
    flips = rng.choice((-1.0, 1.0), (count, 2))
    padded = rng.uniform(*_PAD, (count, 4))
    cropped = -rng.uniform(*_CROP, (count, 4))
    placed = rng.uniform(*_SCALE, (count, 2)), rng.uniform(*_SHIFT, (count, 2)), rng.uniform(*_TURN, count)
    choices = [framed(flips), bordered(padded), bordered(cropped), turned(*placed, aspect)]
    return torch.from_numpy(np.stack(choices)[kind, np.arange(count)]).float()


def framed(scale: NDArray[Any], shift: NDArray[Any] | float = 0.0) -> NDArray[Any]:
    """Matrices (n, 2, 3) that multiply x and y, -1 .. 1 across the image, by `scale` (n, 2) and add `shift`."""
    matrix = np.zeros((len(scale), 2, 3))
    matrix[:, (0, 1), (0, 1)] = scale
    matrix[:, :, 2] = shift
    return matrix


def bordered(sides: NDArray[Any]) -> NDArray[Any]:
    """Matrices of images padded on the top, right, bottom and left side by these shares (n, 4); negative ones crop."""
    top, right, bottom, left = sides.T
    return framed(
        np.stack([1 + left + right, 1 + top + bottom], axis=1), np.stack([right - left, bottom - top], axis=1)
    )


def turned(scale: NDArray[Any], shift: NDArray[Any], degrees: NDArray[Any], aspect: float) -> NDArray[Any]:
    """Matrices of images scaled about their centre, then turned clockwise, then moved.

    Args:
        scale: Factors (n, 2) of x and y.
        shift: Shares (n, 2) of width and height.
        degrees: Angle (n,).
        aspect: Height over width.
    """
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    back = np.array([[cos, sin * aspect], [-sin / aspect, cos]]).transpose(2, 0, 1) / scale[:, :, None]
    return np.concatenate([back, -2 * back @ shift[:, :, None]], axis=2)


def apply_views(views: Tensor, image: Tensor, mask: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Make the views that matrices (B, 2, 3) describe, of images and masks as in `augment`."""
    grid = _grid(views, image.shape[2], image.shape[3])
    level = outside[:, :, None, None]
    moved = F.grid_sample(image.float() - level, grid, align_corners=False) + level
    shifted = _shifted(mask)[:, None].float()  # 0, which comes in, is of no class
    classes = F.grid_sample(shifted, grid, mode="nearest", align_corners=False)[:, 0].to(torch.uint8)
    return moved, _shifted(classes, back=True)


def _grid(views: Tensor, height: int, width: int) -> Tensor:
    """Places (B, H, W, 2) in the image: F.affine_grid, which takes most of the time by its matrix product."""
    row, column = ((torch.arange(size, device=views.device) * 2 + 1) / size - 1 for size in (height, width))
    along = (views[:, :, :1] * column + views[:, :, 2:]).transpose(1, 2)
    return along[:, None] + (views[:, :, 1:2] * row).transpose(1, 2)[:, :, None]


def _shifted(mask: Tensor, back: bool = False) -> Tensor:
    """Class numbers from 1 on, with 0 for no class; or back."""
    return mask - 1 if back else mask + 1  # uint8: 255 + 1 is 0


def original_set(seed: int) -> Any:
    """The set as augmenter of imgaug (A. Jung, https://github.com/aleju/imgaug)."""
    iaa = imgaug().augmenters
    choices = [
        iaa.Sequential([iaa.Fliplr(0.5), iaa.Flipud(0.5)]),
        resized(iaa.CropAndPad(percent=_PAD, keep_size=False)),
        resized(iaa.Crop(percent=_CROP, keep_size=False)),
        iaa.Affine(
            scale={"x": _SCALE, "y": _SCALE}, translate_percent={"x": _SHIFT, "y": _SHIFT}, rotate=_TURN, order=1
        ),
    ]
    chosen = iaa.OneOf(choices)
    chosen.seed_(seed)
    return chosen


def resized(augmenter: Any) -> Any:
    """An augmenter of imgaug whose images are brought back to their size."""
    iaa = imgaug().augmenters
    return iaa.KeepSizeByResize(augmenter, interpolation="linear", interpolation_segmaps="nearest")


def apply_imgaug(augmenter: Any, image: Tensor, mask: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Let an augmenter of imgaug make the views of images and masks as in `augment`."""
    segmaps = imgaug().augmentables.SegmentationMapsOnImage
    level = outside[:, :, None, None]
    pixels = (image.float() - level).movedim(1, 3).contiguous().cpu().numpy()
    shape = pixels.shape[1:]
    classes = [segmaps(one.astype(np.int32), shape) for one in _shifted(mask).cpu().numpy()]
    moved, maps = augmenter(images=pixels, segmentation_maps=classes)
    image = torch.from_numpy(np.stack(moved)).movedim(3, 1).to(image.device) + level
    back = torch.from_numpy(np.stack([one.get_arr() for one in maps]).astype(np.uint8))
    return image, _shifted(back.to(mask.device), back=True)


def imgaug() -> Any:
    """The library, which asks numpy for a table that numpy 2 has no more."""
    if not hasattr(np, "sctypes"):
        kinds = {"int": "bhilq", "uint": "BHILQ", "float": "efdg", "complex": "FDG"}
        table = {name: list({np.dtype(code).type for code in codes}) for name, codes in kinds.items()}
        vars(np)["sctypes"] = {**table, "others": [bool, object, bytes, str, np.void]}
    import imgaug
    import imgaug.augmentables.segmaps
    import imgaug.augmenters

    return imgaug
