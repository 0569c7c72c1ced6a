"""A user's mistakes with events of several planes: each ends in one line that says what to mend, and nothing else."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import quick, run_in
from spoil import edit, instead, nothing, refused, remove, text

from lit_hep.cli import main
from lit_hep.tasks.multiplane.simulation import simulate

MODEL, DATA = "--model.init_args", "--data.init_args"
COMMON = f"--trainer.accelerator=cpu --trainer.max_epochs=1 {DATA}.root=data"
TASK = f"{shlex.join(quick('multiplane_early'))} {COMMON} {DATA}.image_size=null"
TURNS = f"fit {TASK} {MODEL}.mode=late {MODEL}.training=in_turn"
FIT, TEST = f"fit {TASK}", f"test {TASK}"
PREDICT = f"predict {TASK} {DATA}.predict_root=new"
FOLDER = Path("data/PLANE_1/CLASS_0")
FILE = FOLDER / "files_ATMO_0_larcv_plane1_0.npz"
SIZE = 40
DAMAGED, SAVE = "copy it again", r"save it with scipy\.sparse\.save_npz"


# What a user may have done before the command; all work in the current folder.
def matrix(value=1.0, shape=(SIZE, SIZE), kind=np.float64):
    """A sparse matrix with one strange value."""
    plane = sp.lil_matrix(shape, dtype=kind)
    plane[3, 4], plane[5, 6] = 1, value
    return plane.tocsr()


def saved(plane, path=FILE):
    """Another matrix in place of the one there."""
    return lambda: (path.parent.mkdir(parents=True, exist_ok=True), sp.save_npz(path, plane))


def arrays(path=FILE, **changes):
    """Other arrays in the file of a good matrix; None leaves one out."""

    def spoil():
        plane = matrix()
        content = {"indices": plane.indices, "indptr": plane.indptr, "data": plane.data}
        content |= {"shape": np.array(plane.shape), "format": np.array(b"csr")} | changes
        np.savez(path, **{name: array for name, array in content.items() if array is not None})

    return spoil


def everywhere(how):
    """Do something with the folder of each plane."""
    return lambda: [how(Path(f"data/PLANE_{plane}")) for plane in range(3)]


def lists(train="all", val="rest", extra=""):
    """train.csv, val.csv and test.csv in the root."""

    def spoil():
        names = {0: "files_ATMO_0_larcv", 1: "files_PDK_0_larcv"}
        events = sorted(path.name for path in Path("data/PLANE_0").rglob("*.npz"))
        lines = []
        for name in events:
            label = int("PDK" in name)
            number = name.removesuffix(".npz").rpartition("_")[2]
            lines.append(",".join(f"{names[label]}_plane{plane}_{number}.npz" for plane in range(3)) + f",{label}\n")
        parts = {"train": lines[::2], "val": lines[1::4], "test": lines[3::4]}
        parts["train"] = parts["train"] if train == "all" else parts[train]
        for part, mine in parts.items():
            Path(f"data/{part}.csv").write_text("".join(mine) + (extra if part == "val" else ""))

    return spoil


def larger():
    """Events to predict on that are larger than those of the root."""
    for plane in range(3):
        saved(matrix(shape=(50, 50)), Path(f"new/PLANE_{plane}/e_plane{plane}_1.npz"))()


def other_network():
    """A run of another task in its place."""
    main(shlex.split(f"fit {shlex.join(quick('crater'))} --trainer.max_epochs 1 {DATA}.simulation_size 40"))
    shutil.copy("checkpoints/crater/version_0/last.ckpt", "other.ckpt")


CASES = {  # command, what was done before, what is said
    # folders
    "no planes": (FIT, everywhere(shutil.rmtree), r"^data: folders PLANE_0, PLANE_1 \.\.\. not found; give the folder"),
    "root is a file": (FIT, instead("data"), r"^data"),
    "plane that is not there": (f"{FIT} {DATA}.planes=[0,3]", nothing, r"planes = \[0, 3\]: .*data.*0, 1, 2"),
    "plane missing": (FIT, remove("data/PLANE_1"), r"num_planes is 3, the data have 2 .*set --model.*num_planes 2"),
    "plane twice": (f"{FIT} {DATA}.planes=[0,0,1]", nothing, r"planes = \[0, 0, 1\]"),
    "plane of an event missing": (
        FIT,
        remove(FILE),
        r"^data: class CLASS_0: event files_ATMO_0_larcv_0 has no .*PLANE_1",
    ),
    "class missing in one plane": (FIT, remove(FOLDER), r"class folder CLASS_0 is missing in PLANE_1"),
    "class empty in one plane": (
        FIT,
        lambda: [path.unlink() for path in FOLDER.iterdir()],
        r"CLASS_0: events .* and \d+ more have no file in PLANE_1",
    ),
    "event of another plane": (
        FIT,
        lambda: FILE.rename(FOLDER / "files_ATMO_0_larcv_plane0_0.npz"),
        r"is of plane 0 but lies in PLANE_1",
    ),
    "name without plane": (FIT, lambda: FILE.rename(FOLDER / "event.npz"), r"event\.npz: names no plane"),
    "event in two classes": (
        FIT,
        everywhere(
            lambda folder: [shutil.copy(path, folder / "CLASS_1") for path in (folder / "CLASS_0").glob("*_0.npz")]
        ),
        r"event files_ATMO_0_larcv_0 is in classes CLASS_0 and CLASS_1",
    ),
    "class that is not there": (f"{FIT} {DATA}.classes=[CLASS_0,nue]", nothing, r"classes = .*nue.*CLASS_0, CLASS_1"),
    "one class asked for": (f"{FIT} {DATA}.classes=[CLASS_0]", nothing, r"name two or more"),
    "one class only": (
        FIT,
        everywhere(lambda folder: shutil.rmtree(folder / "CLASS_1")),
        r"^data: holds class CLASS_0 only; two or more",
    ),
    "classes without folders": (
        FIT,
        everywhere(lambda folder: [shutil.rmtree(path) for path in folder.iterdir()]),
        r"no class folders",
    ),
    "too few events": (
        FIT,
        everywhere(
            lambda folder: [
                path.unlink() for path in folder.rglob("*.npz") if path.name[-6:-4] not in ("_0", "_1", "_2")
            ]
        ),
        r"^data.*class . has only \d samples: too few",
    ),
    # files
    "wrong size": (FIT, saved(matrix(shape=(SIZE, 41))), r"plane1_0\.npz: is 40 x 41, data\S+ 40 x 40; all files"),
    "no sparse matrix": (FIT, lambda: np.savez(FILE, np.ones((SIZE, SIZE))), rf"arrays arr_0, not a .*{SAVE}"),
    "a list in place of a matrix": (FIT, lambda: np.savez(FILE, charge=np.ones(4)), rf"arrays charge, not a .*{SAVE}"),
    "another format": (FIT, saved(matrix().tobsr()), rf"holds a matrix of format 'bsr', not .*{SAVE}"),
    "pickled": (
        FIT,
        lambda: np.savez(FILE, matrix=np.array([{"a": 1}], object)),
        rf"holds pickled Python objects, which are refused; {SAVE}",
    ),
    "pickled part": (FIT, arrays(data=np.array([None, 2], object)), r"holds pickled Python objects, which are refused"),
    "truncated": (FIT, edit(FILE, lambda old: old[:-30]), rf"plane1_0\.npz: truncated or not an npz file; {DAMAGED}"),
    "a bit flipped": (
        FIT,
        edit(FILE, lambda old: old[:300] + bytes([old[300] ^ 255]) + old[301:]),
        rf"plane1_0\.npz: (truncated or not an npz|array \w+ is damaged).*({DAMAGED}|{SAVE})",
    ),
    "empty file": (FIT, edit(FILE, lambda old: b""), rf"plane1_0\.npz: truncated or not an npz file; {DAMAGED}"),
    "text": (FIT, text(FILE, "12 40 7"), rf"plane1_0\.npz: truncated or not an npz file; {DAMAGED}"),
    "NaN": (FIT, saved(matrix(np.nan)), r"plane1_0\.npz: 1 values are NaN or infinite; remove"),
    "infinity": (FIT, saved(matrix(np.inf)), r"plane1_0\.npz: 1 values are NaN or infinite; remove"),
    "negative charge": (FIT, saved(matrix(-2, kind=np.int16)), r"plane1_0\.npz: 1 values are negative, charge is not"),
    "complex charge": (FIT, saved(matrix(1j, kind=np.complex64)), r"plane1_0\.npz: holds complex64 values"),
    "column beyond the matrix": (
        FIT,
        arrays(indices=np.array([4, SIZE], np.int32)),
        r"plane1_0\.npz: column 40 lies outside of the matrix of 40 x 40",
    ),
    "column below 0": (FIT, arrays(indices=np.array([-1, 3], np.int32)), r"column -1 lies outside of the matrix"),
    "columns of fractions": (FIT, arrays(indices=np.array([4.5, 3])), r"indices are float64 and int32, not whole"),
    "lines that do not fit": (FIT, arrays(indptr=np.zeros(SIZE, np.int32)), r"damaged \(indptr does not fit shape"),
    "fewer values than places": (FIT, arrays(data=np.ones(1)), r"the matrix is damaged \(1 values at 2 places\)"),
    "no shape": (FIT, arrays(shape=None), r"holds a matrix of format 'csr', not a sparse matrix"),
    "three axes": (FIT, arrays(shape=np.array([SIZE, SIZE, 3])), r"of shape \(40, 40, 3\); expected wires"),
    # lists
    "list missing": (
        FIT,
        lambda: (lists()(), Path("data/val.csv").unlink()),
        r"^data/val\.csv: no such file; run prep",
    ),
    "folder of lists missing": (f"{FIT} {DATA}.split_lists=fold0", nothing, r"^data/fold0/train\.csv: no such file"),
    "event listed twice": (
        FIT,
        lists(train="val"),
        r"^data/val\.csv: line 1: event \S+ is listed twice, also in train",
    ),
    "unknown event listed": (
        FIT,
        lists(extra="x_plane0_1.npz,x_plane1_1.npz,0\n"),
        r"val\.csv: line \d+: event x_1 is not",
    ),
    "events mixed in a line": (
        FIT,
        lists(extra="x_plane0_1.npz,x_plane1_2.npz,0\n"),
        r"val\.csv: line \d+: expected the",
    ),
    "damaged list": (
        FIT,
        lambda: (lists()(), Path("data/val.csv").write_bytes(b"\xff\xfe")),
        r"val\.csv: cannot be read",
    ),
    "class without validation": (
        FIT,
        lambda: (lists()(), Path("data/val.csv").write_text("")),
        r"lists no events of class",
    ),
    # prediction
    "predict_root absent": (PREDICT, nothing, r"^new: no such folder"),
    "predict_root without planes": (PREDICT, text(Path("new/a.txt"), ""), r"^new: holds no folder PLANE_0"),
    "predict_root lacks a plane": (
        PREDICT,
        saved(matrix(), Path("new/PLANE_0/e_plane0_1.npz")),
        r"planes = \[0, 1, 2\]: want some of those in new, each once: 0",
    ),
    "predict_root of another size": (PREDICT, larger, r"^new: planes of 50 x 50, those of data have 40 x 40; set"),
    # checkpoints
    "checkpoint of another number of planes": (
        f"{TEST} {DATA}.planes=[0,2]",
        nothing,
        r"num_planes is 3, the data have 2",
    ),
    "checkpoint of planes in another order": (
        f"{TEST} {DATA}.planes=[2,1,0]",
        nothing,
        r"trained with planes in the order \[0, 1, 2\], the data have \[2, 1, 0\]; set --data\.init_args\.planes",
    ),
    "checkpoint of another task": (
        f"{TEST} --ckpt_path other.ckpt",
        other_network,
        r"other\.ckpt: is of \S*CraterSemiSup",
    ),
    "weights of another network": (
        f"{FIT} {MODEL}.mode=tick {MODEL}.weights=checkpoints/multiplane_early/version_0/best.ckpt",
        nothing,
        r"best\.ckpt: holds another network",
    ),
    "weights from two sides": (
        f"{FIT} {MODEL}.data_init=true {MODEL}.weights=checkpoints/multiplane_early/version_0/best.ckpt",
        nothing,
        r"data_init, weights \S*best\.ckpt: weights are to come from one or the other",
    ),
    # options
    "number of classes": (f"{FIT} {MODEL}.num_classes=4", nothing, r"num_classes is 4, the data have 2"),
    "no planes at all": (f"{FIT} {MODEL}.num_planes=0", nothing, r"num_planes 0, num_classes 2: must be at least 1"),
    "mode": (f"{FIT} {MODEL}.mode=middle", nothing, r"mode: expected one of 'early', 'late'"),
    "net": (f"{FIT} {MODEL}.net=vgg16", nothing, r"net: expected one of 'small', 'alexnet'"),
    "net of tick": (f"{FIT} {MODEL}.mode=tick {MODEL}.net=vgg11", nothing, r"mode tick has a network of its own"),
    "vote without networks": (
        f"{FIT} {MODEL}.fusion=vote",
        nothing,
        r"fusion vote.*are of mode late, the mode is early",
    ),
    "image too small for the net": (
        f"{FIT} {MODEL}.net=alexnet",
        nothing,
        r"planes of 40 x 40: alexnet wants 63 or more",
    ),
    "image_size": (f"{FIT} {DATA}.image_size=8", nothing, r"image_size 8: must be 32 or more"),
    "larger than the files": (f"{FIT} {DATA}.image_size=64", nothing, r"image_size 64 x 64 is larger than .*40 x 40"),
    "fit": (f"{FIT} {DATA}.fit=stretch", nothing, r"fit: expected one of 'resize', 'crop'"),
    "hit_loss": (f"{FIT} {DATA}.hit_loss=1", nothing, r"hit_loss 1.*must not be below 0, hit_loss below 1"),
    "shift": (f"{FIT} {DATA}.shift=-1", nothing, r"shift -1"),
    "epochs of planes in turn": (TURNS, nothing, r"max_epochs to a multiple of 3, not 1"),
    "early stopping of planes in turn": (
        f"{TURNS} --trainer.max_epochs=3 --trainer.callbacks+=lit_hep.training.callbacks.EarlyStop",
        nothing,
        r"training in_turn: early stopping would end",
    ),
    "planes in turn in a DDP in which no weight may rest": (
        f"{TURNS} --trainer.max_epochs=3 --trainer.strategy=ddp_find_unused_parameters_false --trainer.devices=1",
        nothing,
        r"set --trainer\.strategy ddp",
    ),
    "too few to simulate": (
        f"fit {TASK} {DATA}.root=absent {DATA}.simulation_size=3",
        nothing,
        r"simulation_size 3.*at least 10",
    ),
}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with events and a run of one epoch."""
    folder = tmp_path_factory.mktemp("multiplane_home")
    (folder / "data").mkdir()
    simulate(folder / "data", 24, seed=1, image_size=SIZE)
    first = sorted((folder / FOLDER).iterdir())[0]
    for plane in range(3):  # whatever the first one's number is
        old = folder / f"data/PLANE_{plane}/CLASS_0" / first.name.replace("plane1", f"plane{plane}")
        old.rename(old.with_name(f"files_ATMO_0_larcv_plane{plane}_0.npz"))
    run_in(folder, *shlex.split(FIT))
    return folder


@pytest.mark.parametrize(("words", "spoil", "message"), CASES.values(), ids=CASES)
def test_mistake(words, spoil, message, here, capfd):
    spoil()
    refused(words, message, here, capfd)
