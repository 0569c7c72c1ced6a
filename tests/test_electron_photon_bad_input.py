"""A user's mistakes with electrons and photons: each ends in one line that says what to mend, or in a warning."""

import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import quick, run_in
from spoil import change_hdf5, edit, instead, nothing, put, refused, remove, text

from lit_hep.cli import main
from lit_hep.tasks.electron_photon.simulation import simulate

TASK = (
    f"{shlex.join(quick('electron_photon'))} --data.init_args.root data "
    "--trainer.accelerator cpu --trainer.max_epochs 1"
)
FIT = f"fit {TASK}"
MODEL, DATA = "--model.init_args", "--data.init_args"
PREDICT = f"predict {TASK} --ckpt_path best {DATA}.predict_root new"
ELECTRONS, PHOTONS = (Path(f"data/Single{name}Pt50_IMGCROPS.hdf5") for name in ("Electron", "Photon"))
NEW = Path("new/some.hdf5")


def swapped():
    """Exchange the names of the two files."""
    ELECTRONS.rename("other")
    PHOTONS.rename(ELECTRONS)
    Path("other").rename(PHOTONS)


def both(name, how):
    """Change a data set of both files."""

    def spoil():
        for path in (ELECTRONS, PHOTONS):
            change_hdf5(path, name, how)()

    return spoil


def nothing_held_out():
    """Forget the test images of the run."""
    path = Path("checkpoints/electron_photon/version_0/best.ckpt")
    content = torch.load(path, weights_only=True)
    content["ElectronPhotonDataModule"]["test"] = torch.empty(0, dtype=torch.int64)
    torch.save(content, path)


def damage():
    """Overwrite a compressed chunk."""
    with h5py.File(ELECTRONS) as file:
        where = file["X"].id.get_chunk_info(0)
    with ELECTRONS.open("r+b") as file:
        file.seek(where.byte_offset)
        file.write(b"\xff" * where.size)


def new(shape, name="X"):
    """A file of images to predict on."""

    def spoil():
        NEW.parent.mkdir()
        with h5py.File(NEW, "w") as file:
            file[name] = np.zeros(shape, np.float32)

    return spoil


def named(name):
    """Copy the electron file."""
    return lambda: shutil.copy(ELECTRONS, ELECTRONS.with_name(name))


E_FILE, P_FILE = r"^data/SingleElectron\w+\.hdf5: ", r"^data/SinglePhoton\w+\.hdf5: "
FORM = r"expected \(N, 32, 32, 2\), channels last: energy, time"
BAD_DATA = {  # of the command FIT: what was done to the data, and what is said
    "photons missing": (remove(PHOTONS), r"^data: \*Photon\*\.hdf5 not found; give the folder"),
    "both missing": (
        lambda: (ELECTRONS.rename("data/a.hdf5"), PHOTONS.rename("data/b.hdf5")),
        r"^data: \*Electron\*\.hdf5, \*Photon\*\.hdf5 not found",
    ),
    "root is a file": (instead("data"), r"^data: is not a folder"),
    "two electron files": (
        named("SingleElectronPt100.hdf5"),
        r"^data: SingleElectronPt100\.hdf5, SingleElectronPt50\w+\.hdf5 are all named .*electron_file",
    ),
    "empty file": (edit(ELECTRONS, lambda old: b""), E_FILE + r"is empty \(0 bytes\); copy it again"),
    "truncated": (edit(ELECTRONS, lambda old: old[:9999]), E_FILE + r"truncated HDF5 file; copy it again"),
    "text": (text(PHOTONS, "x"), P_FILE + "not an HDF5 file"),
    "damaged chunk": (damage, E_FILE + r"rows 0\.\.\d+ of 'X' cannot be read: damaged; copy it again"),
    "X missing": (change_hdf5(ELECTRONS, "X", lambda x: None), E_FILE + "holds no data set 'X' but 'y'; rename it"),
    "y missing": (change_hdf5(PHOTONS, "y", lambda y: None), P_FILE + "holds no data set 'y' but 'X'"),
    "strings": (change_hdf5(PHOTONS, "y", lambda y: y.astype("S")), P_FILE + r"'y' holds \S+ values, not numbers"),
    "no images": (both("X", lambda x: x[:0]), E_FILE + "'X' holds no samples"),
    "channels first": (
        both("X", lambda x: x.transpose(0, 3, 1, 2)),
        E_FILE + r"'X' has shape \(60, 2, 32, 32\), channels first; .*save X\.transpose\(0, 2, 3, 1\)",
    ),
    "flat": (both("X", lambda x: x.reshape(60, -1)), E_FILE + rf"'X' has shape \(60, 2048\); {FORM}"),
    "energies alone": (both("X", lambda x: x[..., 0]), E_FILE + rf"'X' has shape \(60, 32, 32\); {FORM}"),
    "one channel": (both("X", lambda x: x[..., :1]), E_FILE + rf"'X' has shape \(60, 32, 32, 1\); {FORM}"),
    "tiny images": (both("X", lambda x: x[:, :8, :8]), E_FILE + rf"'X' has shape \(60, 8, 8, 2\); {FORM}"),
    "images of two sizes": (
        change_hdf5(PHOTONS, "X", lambda x: x[:, :28, :28]),
        r"^data: images of SingleElectron\S+ and SinglePhoton\S+ differ in shape: \(32, 32, 2\), \(28, 28, 2\)",
    ),
    "images of another size": (both("X", lambda x: x[:, :28, :28]), r"28x28 pixels, lenet5 expects 32x32: set"),
    "fewer labels": (change_hdf5(ELECTRONS, "y", lambda y: y[:50]), E_FILE + "data sets .* differ in length: 'X' 60"),
    "one-hot labels": (
        change_hdf5(ELECTRONS, "y", lambda y: np.stack([1 - y, y], 1)),
        E_FILE + r"'y' has shape \(60, 2\); expected one label an image",
    ),
    "label 2": (change_hdf5(ELECTRONS, "y", put(7, 2)), E_FILE + "label 2 in row 7; all labels .* should be 1"),
    "NaN in labels": (
        change_hdf5(ELECTRONS, "y", put(7, np.nan)),
        E_FILE + "'y' holds NaN or infinity, .* row 7",
    ),
    "classes mixed": (change_hdf5(PHOTONS, "y", put(9, 1)), P_FILE + "label 1 in row 9; all labels of the photon file"),
    "labels reversed": (both("y", lambda y: 1 - y), E_FILE + "all labels are 0, .* swapped, or the labels reversed"),
    "files swapped": (
        swapped,
        E_FILE + "all labels are 0, those of the electron file should be 1: the two files",
    ),
    "NaN": (
        change_hdf5(ELECTRONS, "X", put((3, 1, 1, 0), np.nan)),
        E_FILE + "'X' holds NaN or infinity, .* row 3",
    ),
    "infinity": (change_hdf5(PHOTONS, "X", put((8, 1, 1, 1), np.inf)), P_FILE + "'X' holds NaN or infinity, .* row 8"),
    "time first": (
        both("X", lambda x: x[..., ::-1]),
        E_FILE + r".*channels are swapped; save X\[\.\.\., ::-1\]",
    ),
    "all empty": (both("X", np.zeros_like), r"^data: no photon is left in the part 'train', empty and noise-only"),
    "splits.json is not json": (text(Path("data/splits.json"), "[{"), r"^data/splits\.json: damaged"),
    "too few": (
        lambda: (both("X", lambda x: x[:2])(), both("y", lambda y: y[:2])()),
        r"^data: class 0 has only 2 samples: too few",
    ),
}

BAD_OPTION = {  # command, what was done, what is said
    "net": (f"{FIT} {MODEL}.net lenet", nothing, r"net: expected one of 'lenet5', "),
    "channels": (f"{FIT} {MODEL}.channels 2", nothing, r"channels: expected one of 'energy', ?'time', ?'both'"),
    "scaling": (f"{FIT} {MODEL}.energy maximum", nothing, r"energy: expected one of 'none', ?'max'"),
    "sample_fraction 0": (f"{FIT} {DATA}.sample_fraction 0", nothing, r"sample_fraction 0\S*: must lie above 0"),
    "sample_fraction 20": (f"{FIT} {DATA}.sample_fraction 20", nothing, r"sample_fraction 20\S*: must lie above 0"),
    "shift -1": (f"{FIT} {DATA}.shift -1", nothing, r"shift -1.*must not be below 0"),
    "min_energy 999": (f"{FIT} {DATA}.min_energy 999", nothing, r"^data: no photon is left .*lower --data"),
    "memory_gib 0": (f"{FIT} {DATA}.memory_gib 0", nothing, r"memory_gib 0\S*: must be above 0"),
    "memory for a part of a chunk": (
        f"{FIT} {DATA}.memory_gib 0.01",
        nothing,
        r"stored in chunks of 60 rows, for which",
    ),
    "streamed to the device": (
        f"{FIT} {DATA}.memory_gib 0.1 {DATA}.on_device true",
        nothing,
        r"^on_device: the",
    ),
    "no such file": (f"{FIT} {DATA}.electron_file e.hdf5", nothing, r"^data: e\.hdf5 not found; give the folder"),
    "one file for both": (
        f"{FIT} {DATA}.photon_file {ELECTRONS.name}",
        nothing,
        E_FILE + "is given for electrons and photons",
    ),
    "nothing held out": (f"test {TASK}", nothing_held_out, r"test_fraction is 0: nothing was held out"),
    "root absent, not to be simulated": (
        f"{FIT} {DATA}.root no {DATA}.simulate false",
        nothing,
        r"^no: \*Electron",
    ),
    "simulate none": (f"{FIT} {DATA}.root no {DATA}.simulation_size 0", nothing, r"simulation_size 0"),
    "nothing to predict on": (PREDICT, NEW.parent.mkdir, r"^new: holds no images \*\.hdf5 or \*\.h5 to predict on"),
    "predict_root absent": (PREDICT, nothing, r"^new: holds no images"),
    "no X to predict on": (
        PREDICT,
        new((4, 32, 32, 2), "images"),
        r"^new/some\.hdf5: holds no data set 'X'",
    ),
    "other form to predict on": (PREDICT, new((4, 2, 32, 32)), r"^new/some\.hdf5: 'X' has shape .*channels first"),
    "other size to predict on": (PREDICT, new((4, 40, 40, 2)), r"40x40 pixels, lenet5 expects 32x32"),
}

CASES = [pytest.param(FIT, *case, id=f"data: {name}") for name, case in BAD_DATA.items()] + [
    pytest.param(*case, id=f"option: {name}") for name, case in BAD_OPTION.items()
]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with data and a run of one epoch."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    simulate(folder / "data", 60, 1)
    run_in(folder, *shlex.split(FIT))
    return folder


@pytest.mark.parametrize(("words", "spoil", "message"), CASES)
def test_mistake(words, spoil, message, here, capfd):
    spoil()
    refused(words, message, here, capfd)


def first_channel(how):
    """Change energies, not times."""
    return lambda x: np.stack([how(x[..., 0]), x[..., 1]], -1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            both("X", first_channel(lambda e: np.where(e > 0.01, e, -e))),
            r"\d+ energies are negative; expected",
        ),
        (both("X", first_channel(lambda e: 50 * e)), r"images hold \d+\S* of energy in the median.*GeV, divide by 50"),
        (both("X", first_channel(lambda e: e / 255)), r"images hold 0\.00\d+ of energy in the median, expected 1 to 2"),
    ],
)
def test_what_is_strange_is_said(spoil, message, here):
    spoil()
    with pytest.warns(UserWarning, match=message):
        main(shlex.split(f"{FIT} {DATA}.min_energy 0"))
