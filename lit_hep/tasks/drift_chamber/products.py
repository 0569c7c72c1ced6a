"""What is written of cleaned events."""

from pathlib import Path

import numpy as np

from lit_hep.base.products import write_npz
from lit_hep.data.files import new_hdf5, replacing
from lit_hep.evaluation.classification import Array
from lit_hep.evaluation.denoising import Hits
from lit_hep.tasks.drift_chamber.pictures import pictures_of


def write_predictions(path: Path, ids: Array, hits: Hits, threshold: float) -> None:
    """Write ``predictions.npz``: ``id`` (N,), ``score`` (N, 36, 112) float32, ``keep`` bool and, if known, ``truth``.

    A score is above 0 wherever there is a hit, and 0 elsewhere.

    Args:
        path: The file.
        ids: Name or row of each event.
        hits: Of all events.
        threshold: At or above which a hit is kept.
    """
    score = np.maximum(hits.score.astype(np.float32), np.finfo(np.float32).tiny)
    columns = {"score": hits.planes(score), "keep": hits.planes(hits.score >= threshold)}
    if hits.track is not None:
        columns["truth"] = hits.planes(hits.track)
    write_npz(path, {"id": ids, **columns})


def write_cleaned(
    folder: Path, ids: Array, hits: Hits, threshold: float, picture: tuple[int, ...], *, png: bool
) -> None:
    """Write the events without the hits that are dropped, as the files had them.

    Args:
        folder: Gets ``cleaned.hdf5`` with ``clean`` (N, ...) or, of pictures, ``cleaned/<name>_clean_.png``.
        ids: Name or row of each event.
        hits: Of all events.
        threshold: At or above which a hit is kept.
        picture: Shape of a picture in the files.
        png: Whether the files are pictures.
    """
    clean = pictures_of(hits.planes((hits.score >= threshold).astype(np.uint8)), picture)
    if png:
        from PIL import Image

        (folder / "cleaned").mkdir(parents=True, exist_ok=True)
        for name, pixels in zip(ids, clean, strict=True):
            with replacing(folder / "cleaned" / f"{name}_clean_.png") as part:
                Image.fromarray(pixels).save(part, format="PNG")
    else:
        from h5py import string_dtype

        names = {"data": ids.astype(object), "dtype": string_dtype()} if ids.dtype.kind == "U" else {"data": ids}
        with replacing(folder / "cleaned.hdf5") as part, new_hdf5(part) as file:
            file.create_dataset("clean", data=clean, compression="gzip", compression_opts=1)
            file.create_dataset("name", **names)
