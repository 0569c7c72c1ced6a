"""Pictures of events: what they may look like, and PNG files of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from lit_hep.data.readers import opened
from lit_hep.errors import DataError
from lit_hep.tasks.drift_chamber.layout import LAYERS, SIDE, WIRES, Planes, margin, pad, unpad

ALL, TRUTH = "_all_", "_truth_"
"""Marks of noisy and clean pictures in their names."""
_COLOURFUL = 64  # channels that differ by more are no damaged grey


def hits_of(pictures: Planes, half: float) -> Planes:
    """Pictures to hits.

    Args:
        pictures: (n, 36, 112), (n, 128, 128), or either with channels at the end.
        half: Value from which a pixel is a hit.

    Returns:
        Truth values (n, 36, 112).
    """
    plane = pictures[..., 0] if pictures.ndim == 4 else pictures
    hits: Any = (unpad(plane) if plane.shape[-1] == SIDE else plane) >= half
    return hits  # type: ignore[no-any-return]


def pictures_of(hits: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Hits to pictures, the inverse of `hits_of`.

    Args:
        hits: (n, 36, 112), 0 or 1.
        shape: Of a picture: one of the two layouts, with or without channels at the end.

    Returns:
        Pictures (n, ...), 0 or 255.
    """
    pixels = (pad(hits) if shape[0] == SIDE else hits) * np.uint8(255)
    return np.repeat(pixels[..., None], shape[2], axis=-1) if len(shape) == 3 else pixels


def check_shape(shape: Sequence[int], where: Path | str) -> None:
    """Check the shape of a picture, its channels included.

    Raises:
        DataError: It is no layout of an event.
    """
    plane, channels = tuple(shape[:2]), tuple(shape[2:])
    if plane in ((LAYERS, WIRES), (SIDE, SIDE)) and channels in ((), (1,), (3,)):
        return
    hint = "; rows and columns are swapped" if plane == (WIRES, LAYERS) else ""
    raise DataError(
        f"{where}: pictures of {' x '.join(map(str, shape))}, rows first; expected {LAYERS} x {WIRES} or "
        f"{SIDE} x {SIDE}, with one or three channels{hint}"
    )


@dataclass
class Checker:
    """Turns pictures into hits, and counts what is odd about them.

    Args:
        source: File or folder, for messages.
    """

    source: Path
    events: int = 0
    highest: float = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def half(self) -> float:
        """Value from which a pixel is a hit: pictures go to 255, or to 1."""
        return 128 if self.highest > 1 else 0.5

    def hits(self, pictures: NDArray[Any], where: str) -> NDArray[np.uint8]:
        """Pictures to hits.

        Args:
            pictures: As in `hits_of`, 0/1 or 0..255.
            where: Of the first picture, for messages.

        Returns:
            0 or 1, (n, 36, 112).

        Raises:
            DataError: Another shape, values out of range, or hits where there is no wire.
        """
        check_shape(pictures.shape[1:], where)
        self._scale(pictures, where)
        self._count("grey", ~np.isin(pictures, (0, 255 if self.highest > 1 else 1)))
        if pictures.shape[1] == SIDE:
            outside = (pictures[:, margin()] >= self.half).reshape(len(pictures), -1).any(1)
            if outside.any():
                raise DataError(
                    f"{where}: has hits where there is no wire, first in picture {outside.argmax()}; "
                    "expected layers in rows 44..55, 58..69, 72..83, wires in columns 8..119"
                )
        return hits_of(pictures, self.half).astype(np.uint8)

    def count(self, noisy: NDArray[np.uint8], clean: NDArray[np.uint8] | None) -> None:
        """Count events, hits, and what is odd, of events (n, 36, 112)."""
        self.events += len(noisy)
        self._count("hits", noisy)
        self._count("empty", noisy.max((1, 2)) == 0)
        if clean is not None:
            self._count("true", clean)
            self._count("lost", clean > noisy)

    def report(self) -> None:
        """Warn of what was counted.

        Raises:
            DataError: The events are all empty, or all without a track.
        """
        for name, words in {"hits": "hit", "true": "true hit"}.items():
            if not self.counts.get(name, 1):
                raise DataError(f"{self.source}: none of {self.events} events has a {words}; check the files")
        oddities = {
            "grey": "values are neither 0 nor full, as after JPEG: cut at half",
            "lost": "true hits are not among all hits of their event: left out of the truth",
            "empty": f"of {self.events} events are empty",
        }
        for name, words in oddities.items():
            if self.counts.get(name):
                rank_zero_warn(f"{self.source}: {self.counts[name]} {words}")

    def _count(self, name: str, what: NDArray[Any]) -> None:
        self.counts[name] = self.counts.get(name, 0) + int(what.sum())

    def _scale(self, pictures: NDArray[Any], where: str) -> None:
        """Find out whether pictures go to 1 or to 255."""
        low, high = float(pictures.min()), float(pictures.max())
        if not (low >= 0 and high <= 255):  # NaN too
            raise DataError(f"{where}: values {low:g}..{high:g}; expected 0 and 1, or 0..255")
        if 0 < self.highest <= 1 < high:
            raise DataError(f"{where}: values up to {high:g}, where those before go to 1; bring all to one scale")
        self.highest = max(self.highest, high)


def find_pngs(folder: Path, marker: str = "") -> dict[str, Path]:
    """PNG files of a folder whose name holds a marker: name without it, and file.

    Raises:
        DataError: Two have the same name but for the marker's place.
    """
    named = dict[str, Path]()
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == ".png" and marker in path.stem:
            name = path.stem.replace(marker or ALL, "_").strip("_")
            if name in named:
                raise DataError(f"{folder}: {named[name].name} and {path.name} would be one event; rename one of them")
            named[name] = path
    return named


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Noisy and clean picture of each event of a folder, by its name.

    Raises:
        DataError: A picture has no partner, or there is none at all.
    """
    noisy, clean = find_pngs(folder, ALL), find_pngs(folder, TRUTH)
    if not noisy and not clean:
        raise DataError(f"{folder}: holds no pictures *{ALL}*.png with their *{TRUTH}*.png")
    alone = [(noisy | clean)[name].name for name in sorted(noisy.keys() ^ clean.keys())]
    if alone:
        some = ", ".join(alone[:3]) + (", …" if len(alone) > 3 else "")
        raise DataError(
            f"{folder}: {len(alone)} pictures without a partner: {some}; X_all_.png belongs to X_truth_.png"
        )
    return {name: (path, clean[name]) for name, path in noisy.items()}


def read_png(path: Path) -> NDArray[np.uint8]:
    """Read one picture (H, W, 3).

    Raises:
        DataError: The file is damaged, coloured or of another kind.
    """
    with opened(path, "PNG") as image:
        kind = image.mode
        check_shape((image.height, image.width, 3), path)  # before memory is taken
        pixels = np.asarray(image.convert("RGB"))
    if kind not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise DataError(f"{path}: holds values of kind {kind}; save it as 8-bit grey or RGB")
    if np.ptp(pixels, axis=2).max() > _COLOURFUL:
        raise DataError(f"{path}: is coloured; expected white where a wire has a hit, black elsewhere")
    return pixels
