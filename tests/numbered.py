"""HDF5 files whose rows hold their own number."""

import h5py
import numpy as np


def write(path, first, count, chunk=20, **options):
    """Rows that hold their own number."""
    number = np.arange(first, first + count, dtype=np.float64)
    with h5py.File(path, "w") as file:
        file.create_dataset("all", data=np.tile(number[:, None, None], (1, 16, 16)), chunks=(chunk, 16, 16), **options)
        file.create_dataset("truth", data=number.astype(np.uint16))
    return path
