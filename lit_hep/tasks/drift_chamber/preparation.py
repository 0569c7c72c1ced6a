"""Pictures of the experiment to a training file, and from one layout to the other."""

from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from lit_hep.data.files import new_hdf5, replacing
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.drift_chamber.events import (
    currents,
    event_names,
    hdf5_slabs,
    listed_currents,
    open_pictures,
    png_files,
    png_slabs,
)
from lit_hep.tasks.drift_chamber.layout import LAYERS, SIDE, WIRES
from lit_hep.tasks.drift_chamber.pictures import Checker, pictures_of

_SHAPES = {"native": (LAYERS, WIRES), "padded": (SIDE, SIDE, 3)}


def prepare(source: Path, output: Path, layout: Literal["native", "padded"] = "native") -> None:
    """Write an HDF5 file of pairs of PNG pictures, or of an HDF5 file in the other layout.

    Args:
        source: Folder of ``*_all_*.png`` and ``*_truth_*.png``, matched by name, or HDF5 file of ``all`` and ``truth``.
        output: HDF5 file to write: ``all`` and ``truth`` (N, ...) uint8, 0 or 255, ``name`` and, if known, ``current``.
        layout: ``native``, 36 x 112, or ``padded``, the original's 128 x 128 x 3.

    Raises:
        DataError: The source is damaged, or holds no pairs.
        ConfigError: The output exists already.
    """
    import h5py

    if output.exists():
        raise ConfigError(f"{output}: exists already; give a new name")
    if source.is_file():
        table = open_pictures(source, truth=True)
        names = event_names(table).astype(str)
        slabs = (slab for _, slab in hdf5_slabs(table, Checker(source)))
        current = currents(table)
    elif source.is_dir():
        files = png_files(source)
        names = np.array(list(files))
        current = listed_currents(source / "current.csv", list(files))
        slabs = (slab for _, slab in png_slabs(files, source))
    else:
        raise DataError(f"{source}: no such file or folder")
    shape = _SHAPES[layout]
    with replacing(output) as part, new_hdf5(part) as file:
        for name in ("all", "truth"):
            rows = max(1, 2**19 // int(np.prod(shape)))
            chunks = (min(rows, len(names)), *shape)
            file.create_dataset(name, (len(names), *shape), "u1", chunks=chunks, compression="gzip", compression_opts=1)
        file.create_dataset("name", data=names.astype(object), dtype=h5py.string_dtype())
        if np.isfinite(current).any():
            file.create_dataset("current", data=current)
        first = 0
        with tqdm(total=len(names), desc="drift-chamber events") as progress:
            for noisy, clean in slabs:
                assert clean is not None
                last = first + len(noisy)
                file["all"][first:last], file["truth"][first:last] = (
                    pictures_of(hits, shape) for hits in (noisy, clean)
                )
                progress.update(len(noisy))
                first = last
