"""What is written of segmented images: masks, colour labels, FITS, the catalogue of clusters, figures."""

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_hep.base.products import write_npy
from lit_hep.data.files import replacing
from lit_hep.errors import DataError
from lit_hep.evaluation.classification import draws, ends
from lit_hep.evaluation.segmentation import cluster_rates, report, segmentation_metrics
from lit_hep.tasks.ccd.catalogue import TRUTH, Table, find_clusters, match, read_truth, write_catalogue
from lit_hep.tasks.ccd.images import Images, read_clusters
from lit_hep.tasks.ccd.masks import CLASSES, SHADES, Mask, colour
from lit_hep.tasks.ccd.reading import write_fits
from lit_hep.training.processes import of_each

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLUSTER = CLASSES.index("cluster")


class Found(NamedTuple):
    """Clusters of an image.

    Args:
        table: Found ones, of the type `catalogue.FOUND`.
        energy: Of the true ones (m,), ADC; None where they are not known.
        seen: Whether each of them is found (m,).
    """

    table: Table
    energy: NDArray[np.float64] | None = None
    seen: NDArray[np.bool_] | None = None


class Products:
    """Files of a test or a prediction; those of an image are written as soon as it is segmented.

    Args:
        folder: Of all files.
        images: That are segmented.
        min_pixels: Of clusters in the catalogue.
        judged: Numbers of those to compare with true clusters, where they are known.

    Raises:
        DataError: True clusters do not belong to the images.
    """

    def __init__(self, folder: Path, images: Images, min_pixels: int, judged: Sequence[int]) -> None:
        self._folder, self._images, self._min_pixels = folder, images, min_pixels
        self._part = folder / ".labels.part"
        self._found: dict[int, Found] = {}
        self._energy = dict[int, NDArray[np.float64]]()
        path = images.folder / "clusters.csv"
        if not path.is_file():
            return
        tables = read_truth(path) if judged else {}
        for number in judged:
            truth, table = read_clusters(images, number), tables.get(str(images.name[number]), np.empty(0, TRUTH))
            if truth is not None:
                self._energy[number] = energies(truth, table, f"{path}, {images.name[number]}")

    def open(self) -> None:
        """Make an empty place for the masks; on the first process only."""
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True)

    def add(self, number: int, mask: Mask, score: NDArray[np.float32]) -> None:
        """Write the mask of an image, and find its clusters.

        Args:
            number: Of the image.
            mask: Classes (H, W).
            score: Probability (H, W) of a cluster.
        """
        from PIL import Image

        name, source = str(self._images.name[number]), self._images.header(number)
        write_npy(self._part / f"{name}.npy", mask)
        with replacing(self._part / f"{name}.png") as part:
            Image.fromarray(colour(mask)).save(part, format="PNG")
        if source is not None:
            write_fits(self._part / source.name, mask, source, self._images.reading.hdu)
        value = self._images.value(number)
        table, labels = find_clusters(value - np.median(value), mask == _CLUSTER, score, self._min_pixels)
        truth = read_clusters(self._images, number) if number in self._energy else None
        if truth is None:
            self._found[number] = Found(table)
        else:
            matched = match(labels, truth)
            table["true_cluster"] = matched.true_cluster
            self._found[number] = Found(table, self._energy[number], matched.found)

    def gather(self) -> None:
        """Bring together what the processes have found."""
        found = {number: found for part in of_each(self._found) for number, found in part.items()}
        self._found = dict(sorted(found.items()))

    def metrics(self) -> dict[str, float]:
        """Efficiency and purity of the clusters found and false ones an image, with 68 % bootstrap intervals."""
        counts = self._clusters()
        counts = counts[counts[:, -1] > 0]
        if not len(counts):
            return {}
        numbers = {name: float(value) for name, value in cluster_rates(counts.sum(0)).items()}
        return numbers | ends(cluster_rates(draws(len(counts), 1000, 0) @ counts))

    def _clusters(self) -> NDArray[np.int64]:
        """Of each image (N, 5): true clusters, those found, found ones, true ones of them, and 1; 0 if not known."""
        rows = [
            (0, 0, 0, 0, 0)
            if found.seen is None
            else (len(found.seen), found.seen.sum(), len(found.table), (found.table["true_cluster"] > 0).sum(), 1)
            for found in self._found.values()
        ]
        return np.array(rows, np.int64).reshape(-1, 5)

    def close(self, counts: NDArray[np.int64] | None = None) -> None:
        """Put the masks into their place, and write ``predictions.npz`` and ``catalogue.csv``.

        Args:
            counts: Pixels by true and predicted class (N, 4, 4), where they are known.
        """
        labels = self._folder / "labels"
        shutil.rmtree(labels, ignore_errors=True)
        self._part.rename(labels)
        numbers = list(self._found)
        columns = {"id": self._images.name[numbers]}
        if counts is not None:
            columns |= {"confusion": counts, "clusters": self._clusters()}
        _write_predictions(self._folder / "predictions.npz", columns, labels, [self._images.shapes[n] for n in numbers])
        tables = ((str(self._images.name[number]), found.table) for number, found in self._found.items())
        write_catalogue(self._folder / "catalogue.csv", tables)

    def write_report(self, counts: NDArray[np.int64]) -> None:
        """Write ``classification_report.txt`` of pixels (N, 4, 4)."""
        with replacing(self._folder / "classification_report.txt") as part:
            part.write_text(report(counts.sum(0), CLASSES) + "\n")

    def figures(
        self,
        index: NDArray[np.int64],
        counts: NDArray[np.int64],
        metrics: Mapping[str, float],
        history: Mapping[str, Sequence[float]] | None,
    ) -> Iterator[tuple[str, "Figure"]]:
        """Figures with their file stems, one at a time; to be asked for after `close`.

        Args:
            index: Numbers of the images (N,).
            counts: Their pixels by true and predicted class (N, 4, 4).
            metrics: With the intervals.
            history: Columns of ``metrics.csv``.
        """
        from lit_hep.evaluation.segmentation_figures import by_class, cluster_finding, figures, one_class, pictures

        yield from figures(counts.sum(0), CLASSES, metrics, history)
        known = [found for found in self._found.values() if found.seen is not None]
        if known:
            energy, seen = (np.concatenate(column) for column in zip(*(found[1:] for found in known), strict=True))
            found = np.concatenate([found.table for found in known])
            yield "cluster_finding", cluster_finding(energy, seen, found["charge"], found["true_cluster"] > 0)
        score = np.array([segmentation_metrics(one, CLASSES)["f1_macro"] for one in counts])
        order = score.argsort(kind="stable")
        for kind, place in (("best", -1), ("median", len(order) // 2), ("worst", 0)):
            number = int(index[order[place]])
            name = str(self._images.name[number])
            mask = np.load(self._folder / "labels" / f"{name}.npy")
            value, truth = self._images.value(number), self._images.mask(number)
            title = f"{kind}: {name}, macro F1 {score[order[place]]:.3f}"
            yield f"image_{kind}", pictures(value, mask, truth, CLASSES, SHADES, title)
            if truth is not None and kind != "best":
                yield f"classes_{kind}", by_class(mask, truth, CLASSES, title)
            if kind == "median":
                yield "clusters", one_class(value, mask, _CLUSTER, CLASSES, SHADES, name)


def energies(truth: NDArray[Any], table: Table, where: str) -> NDArray[np.float64]:
    """Energy of the true clusters that have pixels in an image, in the order of their numbers.

    Args:
        truth: Number of the true cluster of each pixel (H, W).
        table: True clusters of the image, of the type `catalogue.TRUTH`.
        where: Of the table, for messages.

    Raises:
        DataError: The table does not list them all.
    """
    present = np.unique(truth[truth > 0])
    known = dict(zip(table["cluster"].tolist(), table["energy"].tolist(), strict=True))
    strangers = [number for number in present.tolist() if number not in known]
    if strangers:
        raise DataError(f"{where}: cluster {strangers[0]} has pixels, but no line; write both by one simulation")
    return np.array([known[number] for number in present.tolist()], np.float64)


def _write_predictions(
    path: Path, columns: Mapping[str, NDArray[Any]], labels: Path, shapes: Sequence[tuple[int, ...]]
) -> None:
    """Write ``id`` (N,), other columns and, of images of one size, ``mask`` (N, H, W), one image at a time."""
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for column, values in columns.items():
            with archive.open(f"{column}.npy", "w") as file:
                np.save(file, values)
        names = columns["id"]
        if len({shape[1:] for shape in shapes}) == 1:
            with archive.open("mask.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(names), *shapes[0][1:])}
                np.lib.format.write_array_header_1_0(file, header)
                for name in names:
                    file.write(np.load(labels / f"{name}.npy").tobytes())
