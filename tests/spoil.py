"""What a user may have done wrong before a command, and how the command has to take it."""

import re
import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from lit_hep.cli import main

# Each returns a function that spoils files of the current folder.


def nothing():
    """The data are fine, the command is not."""


def change(path, how):
    """Save another array in place of the one that `how` is given."""
    return lambda: np.save(path, how(np.load(path)))


def put(rows, value):
    """A `how` of `change` that keeps the shape; the type is the one that holds `value`."""

    def how(array):
        array = array.astype(np.result_type(array, np.asarray(value)))
        array[rows] = value
        return array

    return how


def change_hdf5(path, name, how):
    """Put another data set in place of the one that `how` is given; None removes it."""

    def spoil():
        with h5py.File(path, "r+") as file:
            array = how(file[name][:])
            del file[name]
            if array is not None:
                file[name] = array

    return spoil


def edit(path, how):
    """Write other bytes in place of those that `how` is given."""
    return lambda: path.write_bytes(how(path.read_bytes()))


def text(path, words):
    """Write a text file."""

    def spoil():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(words)

    return spoil


def remove(*paths):
    """Remove files or folders."""

    def spoil():
        for path in map(Path, paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def instead(folder):
    """Put a file where a folder should be."""
    return lambda: (remove(folder)(), Path(folder).write_text("in the way"))


def contents(folder):
    """Bytes of every file, None for folders.

    Left out are locks and what a command may leave that fails late: TensorBoard's events and a new run's number.
    """
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not re.search(r"events\.out|\.lock$|tb_logs/\w+/version_1(/|$)", str(path))
    }


def complaint(errors):
    """The message at the end of what was printed, after "error: "."""
    lines = errors.rstrip().splitlines()
    assert lines and lines[-1].startswith("error: "), errors
    assert len(re.findall(r"^error: ", errors, re.MULTILINE)) == 1
    assert len(lines[-1]) < 500, "not short"
    return lines[-1].removeprefix("error: ")


def refused(words, message, folder, capfd):
    """Run a command that must end with code 2 and one line that says what to mend, and leave all files as they were."""
    before = contents(folder)
    with pytest.raises(SystemExit) as end:
        main(shlex.split(words))
    printed = capfd.readouterr()
    assert end.value.code == 2, printed.err
    assert "Traceback" not in printed.out + printed.err
    assert re.search(message, complaint(printed.err)), printed.err.splitlines()[-1]
    assert contents(folder) == before
