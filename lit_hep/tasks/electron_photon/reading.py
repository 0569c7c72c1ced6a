"""The original's HDF5 files: found, opened, their shapes and labels checked."""

from pathlib import Path

from lit_hep.data.hdf5 import Table, open_table
from lit_hep.errors import DataError

PHOTON, ELECTRON = 0, 1
SUFFIXES = (".hdf5", ".h5")

_EXPECTED = "expected (N, 32, 32, 2), channels last: energy, time"


def hdf5_files(folder: Path) -> list[Path]:
    """HDF5 files of a folder, by their names, sorted."""
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)


def find_file(root: Path, particle: str, given: str | None) -> Path | None:
    """The file of one particle.

    Args:
        root: Folder of the files.
        particle: ``Electron`` or ``Photon``, part of the name.
        given: Name that the user chose, in `root` or absolute; None takes the one file with such a name.

    Returns:
        Its path, or None if there is none.

    Raises:
        DataError: Several files have such a name.
    """
    if given is not None:
        return path if (path := root / given).is_file() else None
    found = [path for path in hdf5_files(root) if particle.lower() in path.name.lower()]
    if len(found) > 1:
        raise DataError(
            f"{root}: {', '.join(path.name for path in found)} are all named after the {particle.lower()}; choose one "
            f"with --data.init_args.{particle.lower()}_file"
        )
    return found[0] if found else None


def open_images(path: Path, labels: bool) -> Table:
    """Open a file of crops.

    Args:
        path: The file.
        labels: Whether it must hold labels ``y`` beside the images ``X``.

    Returns:
        Table whose ``X`` has the shape (N, H, W, 2).

    Raises:
        DataError: As `open_table`; or ``X`` has another shape.
    """
    table = open_table(path, ("X", "y") if labels else ("X",))
    shape = table.shapes["X"]
    if len(shape) == 4 and shape[1] == 2 and shape[3] != 2:
        raise DataError(
            f"{path}: 'X' has shape {shape}, channels first; {_EXPECTED}: save X.transpose(0, 2, 3, 1) instead"
        )
    if len(shape) != 4 or shape[3] != 2 or min(shape[1:3]) < 16:
        raise DataError(f"{path}: 'X' has shape {shape}; {_EXPECTED}")
    return table


def check_labels(table: Table, label: int) -> None:
    """Check that a file's labels ``y`` say that it holds one kind of particle.

    Args:
        table: Of the file.
        label: 1 of electrons, 0 of photons.

    Raises:
        DataError: They say something else.
    """
    given = table.read(["y"])["y"].reshape(len(table), -1)
    if given.shape[1] != 1:
        raise DataError(f"{table.path}: 'y' has shape {table.shapes['y']}; expected one label an image, (N,)")
    wrong = given[:, 0] != label
    name = {ELECTRON: "electron", PHOTON: "photon"}[label]
    if (given[:, 0] == 1 - label).all():
        raise DataError(
            f"{table.path}: all labels are {1 - label}, those of the {name} file should be {label}: the two files are "
            "swapped, or the labels reversed; rename the files, or set --data.init_args.electron_file and photon_file"
        )
    if wrong.any():
        raise DataError(
            f"{table.path}: label {given[wrong][0, 0]:g} in row {wrong.argmax()}; all labels of the {name} file "
            f"should be {label}"
        )
