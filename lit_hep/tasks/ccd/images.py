"""The images of a folder, and the masks and true clusters that belong to them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from lit_hep.data.readers import read_npy
from lit_hep.errors import DataError
from lit_hep.tasks.ccd.masks import UNKNOWN, Mask, Rule, Thresholds, classify, monochrome
from lit_hep.tasks.ccd.reading import FITS, KINDS, as_image, as_mask, read_image, read_mask

IMAGES, MASKS, CLUSTERS = "images", "masks", "clusters"
"""Folders of files, one an image; the first two also stacks (N, H, W), ``images.npy`` and ``masks.npy``."""


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Args:
        monochrome: Take the mean of the colours.
        label_rule: By which pixels without a mask are given a class.
        thresholds: In place of some of the rule's.
        hdu: Of FITS files; None takes the first image.
    """

    monochrome: bool = True
    label_rule: Rule | None = None
    thresholds: Thresholds | None = None
    hdu: int | None = None


class Images:
    """Images by their number, in the order of their names.

    Args:
        folder: With ``images/`` and ``masks/``, or ``images.npy`` and ``masks.npy``, or image files alone; without
            `truth` also one of the files.
        reading: How.
        truth: Whether masks are needed; else images are read again when asked for, and never kept.

    Raises:
        DataError: There are no images; files are damaged or do not belong together.
    """

    def __init__(self, folder: Path, reading: Reading, *, truth: bool) -> None:
        self.folder, self.reading = folder, reading
        stack = folder if folder.name == f"{IMAGES}.npy" else folder / f"{IMAGES}.npy"
        self._stack = read_npy(stack) if stack.is_file() else None
        if self._stack is not None and self._stack.ndim not in (3, 4):
            raise DataError(f"{stack}: shape {self._stack.shape}; expected (N, H, W) or (N, H, W, C)")
        self.paths = {} if self._stack is not None else find_images(folder)
        if self._stack is not None:
            names: Iterable[str] = [f"{number:06d}" for number in range(len(self._stack))]
        else:
            names = self.paths
        self.name = np.array(list(names))
        self._kept: list[NDArray[Any]] = []
        self.masks: list[Mask] = []
        images = map(self._read, range(len(self)))
        if truth:
            self._kept = list(images)
            self.shapes = [image.shape for image in self._kept]
            self.masks = self._find_masks()
        else:
            self.shapes = [image.shape for image in images]
        counts = {shape[0] for shape in self.shapes}
        if len(counts) > 1:
            raise DataError(f"{folder}: grey and coloured images together; set --data.init_args.monochrome true")
        self.channels = int(counts.pop())

    def __len__(self) -> int:
        return len(self.name)

    @property
    def one_size(self) -> bool:
        """Whether all images are of one height and width."""
        return len(set(self.shapes)) == 1

    def image(self, number: int) -> NDArray[Any]:
        """Pixels (C, H, W), uint8 or float32."""
        return self._kept[number] if self._kept else self._read(number)

    def mask(self, number: int) -> Mask | None:
        """Classes (H, W), None where not known."""
        return self.masks[number] if self.masks else None

    def value(self, number: int) -> NDArray[Any]:
        """Mean of the colours (H, W)."""
        return monochrome(self.image(number).transpose(1, 2, 0))

    def header(self, number: int) -> Path | None:
        """FITS file of an image, whose header goes with what is found in it; None of others."""
        path = self.paths.get(self.name[number])
        return path if path and path.suffix.lower() in FITS else None

    def _read(self, number: int) -> NDArray[Any]:
        name = self.name[number]
        if self._stack is not None:
            image = as_image(self._stack[number], f"{self.folder}/{IMAGES}.npy, image {number}")
        else:
            image = read_image(self.paths[name], self.reading.hdu)
        if self.reading.monochrome and len(image) > 1:
            image = monochrome(image.transpose(1, 2, 0))[None].astype(np.float32)
        return image

    def _find_masks(self) -> list[Mask]:
        stack, folder, rule = self.folder / f"{MASKS}.npy", self.folder / MASKS, self.reading.label_rule
        known = dict[str, Callable[[], Mask]]()
        if stack.is_file():
            known = _stacked(stack, self.name)
        elif folder.is_dir():
            known = {name: partial(read_mask, path) for name, path in files(folder).items()}
        alone = sorted(known.keys() - set(self.name))
        if alone:
            raise DataError(f"{folder}: {len(alone)} masks without an image: {_some(alone)}; names must be the same")
        without = [name for name in self.name if name not in known]
        if without and rule is None:
            raise DataError(
                f"{self.folder}: {len(without)} images without a mask: {_some(without)}; put masks into {folder}, or "
                "choose with --data.init_args.label_rule v1 or v2 the thresholds that give pixels a class by value"
            )
        if without:
            rank_zero_info(f"{self.folder}: {len(without)} images get their classes from rule {rule}")
        return [self._mask(number, known.get(name)) for number, name in enumerate(self.name)]

    def _mask(self, number: int, read: Callable[[], Mask] | None) -> Mask:
        mask = self._by_rule(number) if read is None else read()
        if mask.shape != self.shapes[number][1:]:
            size = " x ".join(map(str, self.shapes[number][1:]))
            raise DataError(
                f"{self.folder}: mask of {self.name[number]} has {mask.shape[0]} x {mask.shape[1]} pixels, its image "
                f"{size}; they must be the same"
            )
        return mask

    def _by_rule(self, number: int) -> Mask:
        rule = self.reading.label_rule
        assert rule is not None
        mask = classify(self.value(number), rule, self.reading.thresholds)
        if (mask == UNKNOWN).all():
            raise DataError(f"{self.folder}: rule {rule} fits no pixel of {self.name[number]}; set thresholds")
        return mask


def _stacked(path: Path, names: NDArray[Any]) -> dict[str, Callable[[], Mask]]:
    stack = read_npy(path)
    if len(stack) != len(names):
        raise DataError(f"{path}: holds {len(stack)} masks for {len(names)} images; they must be as many")
    return {
        name: partial(as_mask, mask, f"{path}, mask {number}")
        for number, (name, mask) in enumerate(zip(names, stack, strict=True))
    }


def files(folder: Path) -> dict[str, Path]:
    """Files of a folder that can be read, by their names without ending; numbers are put in their order.

    Raises:
        DataError: Two have the same name but for the ending.
    """
    found = dict[str, Path]()
    for path in folder.iterdir():
        if path.suffix.lower() in KINDS and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(f"{folder}: {found[path.stem].name} and {path.name} have one name; rename one of them")
            found[path.stem] = path
    return dict(sorted(found.items(), key=lambda item: (not item[0].isdecimal(), item[0].zfill(20), item[0])))


def find_images(folder: Path) -> dict[str, Path]:
    """Image files of a folder by name, or the one file.

    Raises:
        DataError: There are none.
    """
    if folder.is_file() and folder.suffix.lower() in KINDS:
        return {folder.stem: folder}
    place = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    found = files(place)
    found.pop(MASKS, None)
    if not found:
        raise DataError(f"{place}: holds no images ({', '.join(f'*{kind}' for kind in KINDS)})")
    return found


def read_clusters(images: Images, number: int) -> NDArray[Any] | None:
    """Number of the true cluster (H, W) of each pixel, 0 where there is none; None where not known.

    Raises:
        DataError: The file is damaged or of another size.
    """
    path = images.folder / CLUSTERS / f"{images.name[number]}.npy"
    if not path.is_file():
        return None
    clusters = read_npy(path)
    if clusters.shape != images.shapes[number][1:]:
        raise DataError(f"{path}: shape {clusters.shape}, its image {images.shapes[number][1:]}")
    return clusters


def check_masks(masks: Iterable[Mask], folder: Path) -> NDArray[np.int64]:
    """Pixels of each class.

    Raises:
        DataError: There is nothing to tell apart.
    """
    counts = np.sum([np.bincount(mask.ravel(), minlength=256) for mask in masks], axis=0)
    if np.count_nonzero(counts[:UNKNOWN]) < 2:
        raise DataError(f"{folder}: all pixels of the training masks are of one class; nothing can be learnt")
    if counts[UNKNOWN]:
        rank_zero_warn(f"{folder}: {counts[UNKNOWN]} pixels of the training masks have no class and are left out")
    return np.asarray(counts[:UNKNOWN], np.int64)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
