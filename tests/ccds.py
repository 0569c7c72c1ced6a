"""CCDs with some of what real ones have, and libraries of clusters."""

import pickle
from dataclasses import replace

import numpy as np

from lit_hep.tasks.ccd.readout import STANDARD

EMPTY = replace(STANDARD, clusters=(0.0, 0.0), hot_points=0.0, hot_rows=0.0, hot_columns=0.0, glow=0.0)
ONLY_CLUSTERS = replace(EMPTY, clusters=(10.0, 10.0))
QUIET = replace(EMPTY, noise=1e-3, dark_current=0.0, transfer_loss=(0.0, 0.0))
PICTURES = [np.array([[0, 1.5], [2, 0.25]], np.float32), np.array([[3.0, 0, 1]]), np.array([[1], [2], [0.5]])]


def npz(path, pictures=PICTURES, **changes):
    arrays = {
        "values": np.concatenate([picture.ravel() for picture in pictures]).astype(np.float32),
        "shapes": np.array([picture.shape for picture in pictures], np.int32),
        "offsets": np.cumsum([0, *(picture.size for picture in pictures)]),
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


def pkl(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path
