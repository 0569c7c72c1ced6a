"""A user's mistakes with the crater task: each ends in one line that says what to mend, and leaves nothing behind."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS, ORIGINAL
from spoil import change, complaint, contents, edit, instead, nothing, put, refused, remove, text

TASK = f"{shlex.join(ORIGINAL)} --data.init_args.root data --trainer.accelerator cpu --trainer.max_epochs 1"
FIT = f"fit {TASK}"
PREDICT = f"predict {TASK} --ckpt_path best --data.init_args.predict_root new"
MODEL, DATA, PSEUDO = "--model.init_args", "--data.init_args", "--trainer.callbacks"
IMAGES, LABELS, EXTRA = (Path("data", name) for name in ("Xtrain1.npy", "Ytrain1.npy", "Xtrain1_extra.npy"))
SPLITS, NEW = Path("data/splits.json"), Path("new")
REFUSED = r"give the folder that holds the files with --data\.init_args\.root"


# What a user may have done before the command; all work in the current folder.


def split(change_entry):
    """Change the entry of the split that the commands ask for."""

    def spoil():
        entries = json.loads(SPLITS.read_text())
        change_entry(entries[0])
        SPLITS.write_text(json.dumps(entries))

    return spoil


def zipped():
    """Save arrays together where one alone is expected, under its name."""
    with IMAGES.open("wb") as file:
        np.savez(file, images=np.zeros((90, 2304), np.uint8))


def new_images(*shapes):
    """Files of images to predict on."""

    def spoil():
        NEW.mkdir()
        for number, shape in enumerate(shapes):
            np.save(NEW / f"X{number}.npy", np.zeros(shape, np.uint8))

    return spoil


def images_of(side):
    """Data whose images, all of one size, are not those the original network expects."""

    def spoil():
        for path in (IMAGES, EXTRA):
            change(path, lambda array: array[:, : side * side])()

    return spoil


def few():
    """Fewer labelled images than parts of the split."""
    np.save(IMAGES, np.load(IMAGES)[:4])
    np.save(LABELS, np.array([0, 1, 0, 1]))


def pickled(array):
    """The same numbers as Python objects."""
    return array.astype(object)


DAMAGED = "copy it again"
BAD_DATA = {  # of the default command FIT: what was done to the data, and what is said
    "two files missing": (remove(IMAGES, EXTRA), r"^data: Xtrain1\.npy, Xtrain1_extra\.npy not found"),
    "folder in place of a file": (lambda: (remove(IMAGES)(), IMAGES.mkdir()), r"^data: Xtrain1\.npy not found"),
    "root is a file": (instead("data"), r"^data: is not a folder; give the folder that holds the data files"),
    "empty file": (edit(IMAGES, lambda old: b""), rf"Xtrain1\.npy: is empty \(0 bytes\); {DAMAGED}"),
    "truncated file": (edit(IMAGES, lambda old: old[:-1]), rf"Xtrain1\.npy: truncated .*{DAMAGED}"),
    "truncated in the header": (edit(IMAGES, lambda old: old[:40]), rf"Xtrain1\.npy: truncated .*{DAMAGED}"),
    "damaged header": (
        edit(IMAGES, lambda old: old.replace(b"'descr'", b"'desc\xff'", 1)),
        rf"Xtrain1\.npy: truncated or not an npy file.*{DAMAGED}",
    ),
    "more rows in the header than bytes": (
        edit(IMAGES, lambda old: old.replace(b"(90,", b"(9**9,", 1)),
        rf"Xtrain1\.npy: truncated or not an npy file.*{DAMAGED}",
    ),
    "pickled images": (change(IMAGES, pickled), r"Xtrain1\.npy: holds pickled Python objects, which are refused"),
    "text in place of npy": (text(IMAGES, "0 1 2\n"), r"Xtrain1\.npy: truncated or not an npy file"),
    "npz in place of npy": (zipped, r"Xtrain1\.npy: truncated or not an npy file"),
    "strings": (change(LABELS, lambda y: y.astype(str)), r"Ytrain1\.npy: holds <U\d+ values, not numbers"),
    "no images": (change(IMAGES, lambda x: x[:0]), r"Xtrain1\.npy: holds no data \(shape \(0, 2304\)\)"),
    "1-D images": (change(IMAGES, np.ravel), r"Xtrain1\.npy: shape \(207360,\); expected \(N, H\*W\)"),
    "3 columns": (change(IMAGES, lambda x: x[:, :3]), r"Xtrain1\.npy: shape \(90, 3\); expected"),
    "non-square rows": (change(IMAGES, lambda x: x[:, :2300]), r"Xtrain1\.npy: shape \(90, 2300\); expected"),
    "4-D images": (
        change(IMAGES, lambda x: x.reshape(90, 48, 48, 1)),
        r"Xtrain1\.npy: shape \(90, 48, 48, 1\); expected",
    ),
    "tiny images": (change(EXTRA, lambda x: x[:, :64]), r"Xtrain1_extra\.npy: shape .*16 pixels or more"),
    "float images": (change(IMAGES, lambda x: x / 255), r"Xtrain1\.npy: holds float64 values; .*saved as uint8"),
    "NaN in images": (change(IMAGES, put(3, np.nan)), r"Xtrain1\.npy: 2304 values are NaN or infinite; remove them"),
    "grey value negative": (change(IMAGES, put((0, 0), -1)), r"Xtrain1\.npy: values -1\.\.\d+ lie outside 0\.\.255"),
    "grey value 300": (change(IMAGES, put((0, 0), 300)), r"Xtrain1\.npy: values \d+\.\.300 lie outside 0\.\.255"),
    "label 2": (change(LABELS, put(7, 2)), r"Ytrain1\.npy: label 2 at row 7; expected 0\.\.1"),
    "label -1": (change(LABELS, put(7, -1)), r"Ytrain1\.npy: label -1 at row 7; expected 0\.\.1"),
    "label 0.5": (change(LABELS, put(7, 0.5)), r"Ytrain1\.npy: label 0\.5 at row 7; expected 0\.\.1"),
    "NaN in labels": (change(LABELS, put(7, np.nan)), r"Ytrain1\.npy: 1 values are NaN or infinite; remove them"),
    "2-D labels": (change(LABELS, lambda y: np.stack([1 - y, y], 1)), r"Ytrain1\.npy: shape \(90, 2\); expected one"),
    "fewer labels than images": (
        change(LABELS, lambda y: y[:50]),
        r"^data: files that belong together differ in length: Xtrain1\.npy 90, Ytrain1\.npy 50",
    ),
    "fewer truths than extra images": (
        change(Path("data/Ytrain1_extra.npy"), lambda y: y[:5]),
        r"^data: files that belong together differ in length: Xtrain1_extra\.npy \d+, Ytrain1_extra\.npy 5",
    ),
    "one class only": (
        change(LABELS, np.zeros_like),
        r"^data: all 90 labels are of one class, nothing can be learnt; check",
    ),
    "fewer images than parts": (few, r"^data: class 0 has only 2 samples: too few .*add samples or change"),
    "extra images of other size": (
        change(EXTRA, lambda x: x[:, : 32 * 32]),
        r"^data: images of Xtrain1\.npy are \(48, 48\), those of Xtrain1_extra\.npy \(32, 32\) pixels; .*one size",
    ),
    "images too small for the original network": (
        images_of(32),
        r"images are 32x32 pixels, the original network expects 48x48: set --model\.init_args\.image_size",
    ),
    "splits.json is not json": (text(SPLITS, "[{"), r"^data/splits\.json: damaged \(.*\); mend or delete it"),
    "splits.json is no list": (text(SPLITS, "{}"), r"^data/splits\.json: not a list of splits; mend or delete it"),
    "parts overlap": (
        split(lambda entry: entry["val"].append(entry["train"][0])),
        r"^data/splits\.json: parts overlap or name samples that do not exist; mend or delete the file",
    ),
    "part out of range": (
        split(lambda entry: entry["test"].append(90)),
        r"^data/splits\.json: parts overlap or name samples that do not exist",
    ),
    "part missing": (split(lambda entry: entry.pop("val")), r"^data/splits\.json: .*mend or delete"),
    "part of fractions": (split(lambda entry: entry.update(val=[0.5])), r"^data/splits\.json: .*mend or delete"),
    "part empty": (split(lambda entry: entry.update(val=[])), r"^data/splits\.json: .*mend or delete"),
    "splits.json is a folder": (lambda: (SPLITS.unlink(), SPLITS.mkdir()), r"^data/splits\.json: "),
}

BAD_OPTION = {  # command, what is said
    "scene upside down": ("simulate crater --root new --scene.blur [0.3,0.1]", r"^simulate crater: scene\.blur"),
    "no command": ("", r'expected "subcommand" to be one of \{fit,validate,test,predict,show\}'),
    "unknown command": (f"train {TASK}", r"train.*fit"),
    "no config": ("fit", r"give a task's config: --config configs/crater\.yaml"),
    "config misspelt": (
        f"fit --config {CONFIGS}/creater.yaml",
        r"creater\.yaml.*configs holds base\.yaml, .*crater\.yaml",
    ),
    "config is a folder": (f"fit --config {CONFIGS}", r"Path is not a file: '.*configs'"),
    "config is data": ("fit --config data/Xtrain1.npy", r"Xtrain1\.npy"),
    "trainer option misspelt": (
        f"{FIT} --trainer.max_epoch 3",
        r"--trainer\.max_epoch 3 \(did you mean --trainer\.max_e",
    ),
    "trainer value": (f"{FIT} --trainer.max_epochs many", r"trainer\.max_epochs: expected int\. Got value: many"),
    "model option misspelt": (f"{FIT} {MODEL}.nett deep", r"model.*'nett' is not accepted \(options of .*: net, "),
    "model class misspelt": (f"{FIT} --model CraterSemisup", r"CraterSemisup.*classes of lit_hep: .*CraterSemiSup"),
    "data class misspelt": (f"{FIT} --data lit_hep.CraterData", r"CraterData.*classes of lit_hep: .*CraterDataModule"),
    "net": (f"{FIT} {MODEL}.net shallow", r"net: expected one of 'original', 'deep'\. Got value: shallow"),
    "members": (f"{FIT} {MODEL}.members 0", r"members 0: must be at least 1"),
    "scales": (f"{FIT} {MODEL}.scales [1,0]", r"scales \[1\.0, 0\.0\]: want at least one number, each from 0\.1 to 2"),
    "balance": (f"{FIT} {DATA}.balance half", r"balance.*'none', ?'weights', ?'sampler'"),
    "batch_size 0": (f"{FIT} {DATA}.batch_size 0", r"batch_size 0.*must be 1 or more"),
    "batch_size 1.5": (f"{FIT} {DATA}.batch_size 1.5", r"batch_size.*expected int.*1\.5"),
    "num_workers -1": (f"{FIT} {DATA}.num_workers -1", r"num_workers -1"),
    "val_fraction 0": (f"{FIT} {DATA}.val_fraction 0", r"val_fraction must lie between 0 and 1"),
    "val_fraction 1.5": (f"{FIT} {DATA}.val_fraction 1.5", r"val_fraction must lie between 0 and 1"),
    "nothing to train on": (f"{FIT} {DATA}.val_fraction 0.5 {DATA}.test_fraction 0.5", r"their sum must be below 1"),
    "label_fraction 0": (f"{FIT} {DATA}.label_fraction 0", r"label_fraction 0\S*: must lie above 0"),
    "threshold 1.5": (f"{FIT} {MODEL}.threshold 1.5", r"threshold 1\.5: must lie between 0 and 1"),
    "image_size 32": (f"{FIT} {MODEL}.image_size 32", r"images are 48x48 pixels, the original network expects 32x32"),
    "learning rate -1": (f"{FIT} {MODEL}.optimizer.lr -1", r"optimizer: Invalid learning rate: -1"),
    "accelerator": (f"{FIT} --trainer.accelerator abacus", r"accelerator.*abacus"),
    "devices": (f"{FIT} --trainer.devices 0", r"devices.*0"),
    "max_epochs -5": (f"{FIT} --trainer.max_epochs -5", r"max_epochs.*-5"),
    "seed": (f"{FIT} --seed_everything one", r"seed_everything.*one"),
    "below > above": (
        f"{FIT} {PSEUDO}.below 0.9 {PSEUDO}.above 0.1",
        r"below 0\.9, above 0\.1: must lie above 0 up to",
    ),
    "above 0.4": (f"{FIT} {PSEUDO}.above 0.4", r"above 0\.4: must lie .* from 0\.5 to below 1"),
    "no epochs": (f"{FIT} {PSEUDO}.final_epochs 0", r"final_epochs 0, .*must be 1 or more"),
    "top_k": (f"{FIT} {PSEUDO}.top_k -2", r"top_k -2, .*must be 1 or more"),
    "weight": (f"{FIT} {PSEUDO}.weight -1", r"weight -1: .*the weight above 0"),
    "mode of the plateau": (
        f"{FIT} {MODEL}.scheduler torch.optim.lr_scheduler.ReduceLROnPlateau {MODEL}.scheduler.mode max",
        r"scheduler: val_loss asks for mode min; set scheduler\.init_args\.mode",
    ),
    "overfit_batches": (f"{FIT} --trainer.overfit_batches 1", r"overfit_batches: set limit_train_batches and"),
    "workers on the device": (f"{FIT} {DATA}.on_device true {DATA}.num_workers 1", r"on_device: .*set num_workers 0"),
    "precision": (f"{FIT} --trainer.precision bf16-true", r"precision bf16-true: .*set 32-true, bf16-mixed"),
    "neither below nor above": (f"{FIT} {PSEUDO}.below null", r"rounds without below or above.*set one of them"),
    "rounds without reload": (
        f"{FIT} --trainer.reload_dataloaders_every_n_epochs 0",
        r"PseudoLabel changes the training images: set trainer\.reload_dataloaders_every_n_epochs 1",
    ),
    "rounds -1": (f"{FIT} {PSEUDO}.rounds -1", r"rounds -1"),
    "initial_threshold 2": (f"{FIT} {PSEUDO}.initial_threshold 2", r"initial_threshold 2"),
    "root absent, not to be simulated": (
        f"{FIT} {DATA}.root absent {DATA}.simulate false",
        rf"^absent: Xtrain1\.npy, Ytrain1\.npy, Xtrain1_extra\.npy, Xtest1\.npy not found; {REFUSED}",
    ),
    "too few to simulate": (f"{FIT} {DATA}.root absent {DATA}.simulation_size 3", r"size.*3.*at least 10"),
    "simulate an unknown task": ("simulate craters --root absent", r"craters.*crater"),
    "simulate nothing": ("simulate", r"task"),
    "simulate too few": ("simulate crater --root absent --size 3", r"^simulate crater: size = 3: want at least 10"),
    "simulate without root": ("simulate crater", r"root"),
    "simulate into data": (
        "simulate crater --root data",
        r"^data: is not empty; simulated files never land among others",
    ),
    "simulate below a file": (f"simulate crater --root {IMAGES}/sim", r"sim: cannot be written .*choose another place"),
    "simulate option misspelt": ("simulate crater --root absent --sizes 60", r"--sizes.*did you mean --size"),
    "show beyond the end": (f"show {TASK} --index 99999", r"index \[99999\]: the samples are numbered 0\.\.\d+"),
    "show before the start": (f"show {TASK} --index 0 -1", r"index \[0, -1\]: the samples are numbered 0\.\.\d+"),
    "show none": (f"show {TASK} --index", r"--index: expected at least one argument"),
    "show what": (f"show {TASK} --index first", r"^index element 1: expected int\. Got value: first"),
    "show as text": (f"show {TASK} --index 0 --output samples.txt", r"samples\.txt"),
}

BAD_PLACE = {  # command, what was done to the folders, what is said
    "images not square": (
        f"{FIT} {MODEL}.net deep {DATA}.augment true",
        lambda: [change(path, lambda x: x.reshape(-1, 48, 48)[:, :40])() for path in (IMAGES, EXTRA)],
        r"^data: images of 40 x 48 pixels cannot be shown in quarter turns; set --data\.init_args\.augment false",
    ),
    "tb_logs is a file": (FIT, instead("tb_logs"), r"^tb_logs/crater: cannot be written .*--trainer\.logger"),
    "checkpoints is a file": (FIT, instead("checkpoints"), r"^checkpoints/crater\S*: .*Not a directory"),
    "picture below a file": (
        f"show {TASK} --index 0 --output {IMAGES}/show.png",
        nothing,
        r"Xtrain1\.npy/show\.png: cannot be written .*choose another place",
    ),
    "predictions in the way": (
        f"predict {TASK} --ckpt_path best",
        text(Path("tb_logs/crater/version_0/predict"), "in the way"),
        r"^tb_logs/crater/version_0/predict/predictions\.npz: cannot be written",
    ),
    "nothing to predict on": (PREDICT, NEW.mkdir, r"^new: holds no images X\*\.npy to predict on"),
    "predict_root absent": (PREDICT, nothing, r"^new: holds no images X\*\.npy to predict on"),
    "mixed sizes to predict on": (
        PREDICT,
        new_images((2, 48, 48), (2, 32, 32)),
        r"^new: images of X0\.npy, X1\.npy differ in size",
    ),
    "other size to predict on": (PREDICT, new_images((2, 32, 32)), r"32x32.*48x48"),
    "damaged file to predict on": (PREDICT, text(NEW / "X.npy", ""), r"^new/X\.npy: is empty \(0 bytes\)"),
}

CASES = (
    [pytest.param(FIT, spoil, message, id=f"data: {name}") for name, (spoil, message) in BAD_DATA.items()]
    + [pytest.param(words, nothing, message, id=f"option: {name}") for name, (words, message) in BAD_OPTION.items()]
    + [pytest.param(*case, id=f"place: {name}") for name, case in BAD_PLACE.items()]
)


@pytest.fixture
def home(crater_home):
    return crater_home


@pytest.mark.parametrize(("words", "spoil", "message"), CASES)
def test_mistake(words, spoil, message, here, capfd):
    spoil()
    refused(words, message, here, capfd)


@pytest.mark.parametrize(
    ("words", "message"),
    [(FIT, rf"^data: Ytrain1\.npy not found; {REFUSED}"), ("simulate crater --root data", "^data: is not empty")],
)
def test_mistake_in_a_process_of_its_own(words, message, here):
    LABELS.unlink()
    before = contents(here)
    ended = subprocess.run([sys.executable, "-m", "lit_hep", *shlex.split(words)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stdout + ended.stderr
    assert re.search(message, complaint(ended.stderr))
    assert contents(here) == before
