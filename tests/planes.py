"""Small sparse planes that the tests of three readout planes write."""

import numpy as np
import scipy.sparse as sp

SIZE = (40, 48)


def drawn(seed, size=SIZE, share=0.05, kind=np.uint8, most=200):
    """A plane with few hits."""
    rng = np.random.default_rng(seed)
    return (rng.integers(1, most, size) * (rng.random(size) < share)).astype(kind)


def write(folder, planes, save=sp.csr_matrix):
    """Write planes (N, P, H, W); paths (N, P)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = np.empty(planes.shape[:2], object)
    for event, plane in np.ndindex(paths.shape):
        paths[event, plane] = str(folder / f"e{event}_plane{plane}.npz")
        sp.save_npz(paths[event, plane], save(planes[event, plane]))
    return paths


def write_classes(root, classes, events=20, planes=3, size=SIZE):
    """``PLANE_k/CLASS/x_plane<k>_<event>.npz`` whose charge is the same on all planes of an event, up to a tenth."""
    rng = np.random.default_rng(1)
    for number, name in enumerate(classes):
        for event in range(events):
            charge = rng.uniform(5, 50)
            for plane in range(planes):
                matrix = drawn([number, event, plane], size) > 0
                folder = root / f"PLANE_{plane}" / name
                folder.mkdir(parents=True, exist_ok=True)
                values = matrix * np.round(charge * rng.uniform(0.95, 1.05))
                sp.save_npz(folder / f"{name}_plane{plane}_{event:03d}.npz", sp.csr_matrix(values.astype(np.uint8)))
    return root
