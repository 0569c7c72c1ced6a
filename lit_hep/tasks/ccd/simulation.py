"""Images of a thick CCD with clusters, hot pixels and glow, and masks of what was put in.

Truth never comes from the value of a pixel. A pixel is a cluster's if clusters left more charge in it than
`Ccd.cluster_threshold`, and on a hot or glowing pixel more than `Ccd.overlap` times the noise there; else it is hot if
hot pixels gave it charge; else it glows if the light left more than `Ccd.glow_threshold`; else it is background.
"""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from lit_hep.errors import ConfigError
from lit_hep.tasks.ccd.catalogue import TRUTH, write_catalogue
from lit_hep.tasks.ccd.clusters import KINDS, Clusters, generate
from lit_hep.tasks.ccd.library import read_library
from lit_hep.tasks.ccd.masks import CLASSES, Mask
from lit_hep.tasks.ccd.readout import AREA, STANDARD, Ccd, Charge, cluster_area, glow, hot_pixels, read_out

__all__ = ["STANDARD", "Ccd", "Picture", "images", "simulate"]

_BLOCK = 2**20  # pixels of the images whose clusters are drawn at once
_REFERENCE = 2000  # clusters that give the charge of a typical pixel
_MOST = np.iinfo(np.int16).max
_GLOWING, _HOT, _CLUSTER = (CLASSES.index(name) for name in ("glowing", "hot_pixel", "cluster"))


class Picture(NamedTuple):
    """A simulated image with its truth.

    Args:
        image: (H, W), ADC.
        mask: Class of each pixel (H, W).
        clusters: Number of the true cluster that gave most charge, (H, W); 0 where the class is another.
        truth: Clusters, of the type `TRUTH`.
    """

    image: Charge
    mask: Mask
    clusters: NDArray[np.int16]
    truth: NDArray[Any]


def images(
    size: int,
    seed: int = 1,
    height: int = 128,
    width: int = 128,
    signal_to_noise: float | None = None,
    library: Path | None = None,
    ccd: Ccd = STANDARD,
) -> Iterator[Picture]:
    """Draw images one by one; arguments are those of `simulate`.

    Raises:
        ValueError: An option makes no sense.
        DataError: The library cannot be read.
    """
    if size < 1 or seed < 0 or min(height, width) < 8:
        raise ValueError(
            f"size = {size}, seed = {seed}, {height} x {width} pixels: want at least 1 image of 8 x 8 pixels and a "
            "seed of at least 0"
        )
    if height * width / AREA * ccd.clusters[1] > _MOST / 2:
        raise ValueError(f"ccd.clusters = {ccd.clusters}: too many for {height} x {width} pixels")
    known = None if library is None else read_library(library)
    if signal_to_noise is not None:
        if not 0 < signal_to_noise < 1e4:
            raise ValueError(f"signal_to_noise = {signal_to_noise}: want above 0 and below 10000")
        gain = signal_to_noise * ccd.total_noise / _typical(known, ccd)
        ccd = replace(ccd, gain=gain)
    return _draw(size, seed, (height, width), known, ccd)


def _typical(library: Clusters | None, ccd: Ccd) -> float:
    """Median charge of a cluster's pixels, units of the library."""
    clusters = library or generate(np.random.default_rng(0), _REFERENCE, ccd.kinds)
    return float(np.median(clusters.charge[clusters.charge > ccd.cluster_threshold]))


def _draw(size: int, seed: int, shape: tuple[int, int], library: Clusters | None, ccd: Ccd) -> Iterator[Picture]:
    area = shape[0] * shape[1]
    block = max(_BLOCK // area, 1)
    for start in range(0, size, block):
        rng = np.random.default_rng((seed, start))
        number = rng.poisson(area / AREA * rng.uniform(*ccd.clusters, block))
        total = int(number.sum())
        if library is None:
            clusters = generate(rng, max(total, 1), ccd.kinds)
        else:
            clusters = library.take(rng.integers(0, len(library.size), max(total, 1))).turned(rng)
        first = np.cumsum(number) - number
        for image in range(min(block, size - start)):
            mine = clusters.take(np.arange(first[image], first[image] + number[image]))
            yield _picture(rng, mine, shape, ccd)


def _picture(rng: Generator, clusters: Clusters, shape: tuple[int, int], ccd: Ccd) -> Picture:
    hot, light = hot_pixels(rng, shape, ccd), glow(rng, shape, ccd)
    placed = _place(rng, clusters, shape, ccd)
    own = placed.charge > ccd.cluster_threshold * ccd.gain
    seen = np.bincount(placed.cluster[own], minlength=len(clusters.size)) > 0  # by itself somewhere in the image
    charge, visible = (_sum(placed, chosen, shape) for chosen in (slice(None), seen[placed.cluster]))
    mask = np.zeros(shape, np.uint8)
    mask[light > ccd.glow_threshold] = _GLOWING
    mask[hot > 0] = _HOT
    light += hot
    least = np.where(mask > 0, ccd.overlap * ccd.noise_under(light), 0)
    mask[visible > np.maximum(least, ccd.cluster_threshold * ccd.gain)] = _CLUSTER
    instance = np.zeros(shape, np.int16)
    number = np.where(seen, np.cumsum(seen), 0)
    # Where pixels coincide the last one stays: that of the cluster with most charge.
    order = np.argsort(placed.charge * seen[placed.cluster], kind="stable")
    instance[placed.y[order], placed.x[order]] = number[placed.cluster[order]]
    instance[mask != _CLUSTER] = 0
    return Picture(read_out(rng, light, charge, ccd), mask, instance, _truth(clusters, placed, own, seen))


class _Placed(NamedTuple):
    """Pixels within an image: cluster, row, column, and charge in ADC."""

    cluster: NDArray[np.intp]
    y: NDArray[np.intp]
    x: NDArray[np.intp]
    charge: NDArray[np.float64]


def _place(rng: Generator, clusters: Clusters, shape: tuple[int, int], ccd: Ccd) -> _Placed:
    """Put clusters anywhere, with their middles in the image; in bands, within their columns if they fit."""
    height, width = clusters.extent
    left, right = cluster_area(shape, ccd)
    y = np.floor(rng.uniform(0, shape[0], len(height))).astype(np.intp) - height // 2
    if ccd.bands:
        x = left + np.floor(rng.random(len(width)) * np.maximum(right - left - width + 1, 1)).astype(np.intp)
    else:
        x = np.floor(rng.uniform(0, right, len(width))).astype(np.intp) - width // 2
    number = clusters.number
    rows, columns = clusters.y + y[number], clusters.x + x[number]
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return _Placed(number[inside], rows[inside], columns[inside], ccd.gain * clusters.charge[inside])


def _sum(placed: _Placed, chosen: Any, shape: tuple[int, int]) -> Charge:
    """Charge of all chosen pixels together, (H, W)."""
    place = placed.y[chosen] * shape[1] + placed.x[chosen]
    total = np.bincount(place, placed.charge[chosen], shape[0] * shape[1])
    return total.reshape(shape).astype(np.float32)


def _truth(clusters: Clusters, placed: _Placed, own: NDArray[np.bool_], seen: NDArray[np.bool_]) -> NDArray[Any]:
    """Table of the clusters that are seen."""
    many = len(seen)
    truth = np.zeros(many, TRUTH)
    truth["cluster"] = np.cumsum(seen)
    truth["kind"] = np.array(KINDS)[clusters.kind]
    truth["energy"] = np.bincount(placed.cluster, placed.charge, many)
    truth["pixels"] = np.bincount(placed.cluster[own], minlength=many)
    for name, side, place in (("y", "height", placed.y), ("x", "width", placed.x)):
        truth[name] = np.bincount(placed.cluster, placed.charge * place, many) / np.maximum(truth["energy"], 1e-9)
        low, high = np.full(many, np.iinfo(np.int32).max), np.full(many, -1)
        np.minimum.at(low, placed.cluster[own], place[own])
        np.maximum.at(high, placed.cluster[own], place[own])
        truth[side] = high - low + 1
    return truth[seen]


def _save(path: Path, image: Charge) -> None:
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".fits":
        from astropy.io import fits

        fits.PrimaryHDU(image, fits.Header({"BUNIT": "adu"})).writeto(path)
    else:
        from PIL import Image

        Image.fromarray(np.round(image).clip(0, 2**16 - 1).astype(np.uint16)).save(path)


def simulate(
    root: Path,
    size: int = 200,
    seed: int = 1,
    height: int = 128,
    width: int = 128,
    format: Literal["npy", "fits", "png"] = "npy",
    signal_to_noise: float | None = None,
    library: Path | None = None,
    ccd: Ccd = STANDARD,
) -> None:
    """Write images of a thick CCD, masks of what was put in, and the true clusters.

    Args:
        root: Vacant folder for ``images/image_0000.npy`` and so on in ADC, ``masks/image_0000.npy`` with the class
            of each pixel, ``clusters/image_0000.npy`` with the number of the true cluster in each pixel or 0, and
            ``clusters.csv`` (image, cluster, kind, energy in ADC, centre y and x, height, width, pixels).
        size: Number of images.
        seed: Seed of the random numbers; the same seed gives the same images, and more images begin with the fewer.
        height: Of an image, pixels.
        width: Of an image, pixels.
        format: Of the images: npy and fits (needs astropy) hold 32-bit floats, png 16-bit grey values, rounded.
        signal_to_noise: Median charge of a cluster's pixels over the noise of a dark pixel; it replaces ``ccd.gain``.
        library: File of clusters to draw from, ``clusters.npz`` or the original's ``Cluster.pkl``; turned and mirrored
            at random. By default every cluster is generated anew.
        ccd: What is in an image, and the readout.

    Raises:
        ValueError: An option makes no sense.
        DataError: The library cannot be read.
        ConfigError: FITS is asked for and astropy not installed.
    """
    drawn = images(size, seed, height, width, signal_to_noise, library, ccd)
    if format == "fits" and find_spec("astropy") is None:
        raise ConfigError("FITS files need astropy; pip install 'lit_hep[fits]', or choose npy or png")
    for folder in ("images", "masks", "clusters"):
        (root / folder).mkdir()
    digits = max(4, len(str(size - 1)))
    truths = []
    for number, picture in enumerate(tqdm(drawn, "CCD images", size)):
        name = f"image_{number:0{digits}d}"
        _save(root / "images" / f"{name}.{format}", picture.image)
        np.save(root / "masks" / f"{name}.npy", picture.mask)
        np.save(root / "clusters" / f"{name}.npy", picture.clusters)
        truths.append((name, picture.truth))
    write_catalogue(root / "clusters.csv", truths)
