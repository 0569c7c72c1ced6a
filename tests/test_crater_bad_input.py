"""A user's mistakes with the crater task: each ends in one line that says what to mend, and leaves nothing behind."""

import gc
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from spoil import change, complaint, contents, edit, instead, nothing, put, refused, remove, text

from lit_hep.cli import main
from lit_hep.tasks.crater.simulation import simulate

CONFIGS = Path(__file__).parents[1] / "configs"
CRATER = f"--config {shlex.quote(str(CONFIGS / 'crater.yaml'))}"
TASK = (
    f"{CRATER} --config {shlex.quote(str(CONFIGS / 'crater_original.yaml'))} "
    "--data.init_args.root data --trainer.accelerator cpu --trainer.max_epochs 1"
)
FIT = f"fit {TASK}"
TEST = f"test {TASK} --ckpt_path"
PREDICT = f"predict {TASK} --ckpt_path best --data.init_args.predict_root new"
MODEL, DATA, PSEUDO = "--model.init_args", "--data.init_args", "--trainer.callbacks"
CHECKPOINT = Path("checkpoints/crater/version_0/best.ckpt")
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


def checkpoint(how, path=CHECKPOINT):
    """Save what `how` makes of the run's checkpoint."""
    return lambda: torch.save(how(torch.load(CHECKPOINT, weights_only=True)), path)


def without(name):
    """A `how` of `checkpoint`: lacks an entry."""
    return lambda content: {key: value for key, value in content.items() if key != name}


def of_class(path):
    """A `how` of `checkpoint`: was written by another task."""
    return lambda content: content | {"hyper_parameters": {"_class_path": path}}


class Trap:
    """Runs a shell command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch sprung",)


def trap():
    """Put code into a checkpoint, as anyone can who passes one on."""
    CHECKPOINT.write_bytes(pickle.dumps(Trap()))


def torch_trap():
    """The same, in the form that torch.save gives it."""
    torch.save({"state_dict": Trap()}, CHECKPOINT)


def zipped():
    """Save arrays together where one alone is expected, under its name."""
    with IMAGES.open("wb") as file:
        np.savez(file, images=np.zeros((60, 2304), np.uint8))


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
        edit(IMAGES, lambda old: old.replace(b"(60,", b"(9**9,", 1)),
        rf"Xtrain1\.npy: truncated or not an npy file.*{DAMAGED}",
    ),
    "pickled images": (change(IMAGES, pickled), r"Xtrain1\.npy: holds pickled Python objects, which are refused"),
    "text in place of npy": (text(IMAGES, "0 1 2\n"), r"Xtrain1\.npy: truncated or not an npy file"),
    "npz in place of npy": (zipped, r"Xtrain1\.npy: truncated or not an npy file"),
    "strings": (change(LABELS, lambda y: y.astype(str)), r"Ytrain1\.npy: holds <U\d+ values, not numbers"),
    "no images": (change(IMAGES, lambda x: x[:0]), r"Xtrain1\.npy: holds no data \(shape \(0, 2304\)\)"),
    "1-D images": (change(IMAGES, np.ravel), r"Xtrain1\.npy: shape \(138240,\); expected \(N, H\*W\)"),
    "3 columns": (change(IMAGES, lambda x: x[:, :3]), r"Xtrain1\.npy: shape \(60, 3\); expected"),
    "non-square rows": (change(IMAGES, lambda x: x[:, :2300]), r"Xtrain1\.npy: shape \(60, 2300\); expected"),
    "4-D images": (
        change(IMAGES, lambda x: x.reshape(60, 48, 48, 1)),
        r"Xtrain1\.npy: shape \(60, 48, 48, 1\); expected",
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
    "2-D labels": (change(LABELS, lambda y: np.stack([1 - y, y], 1)), r"Ytrain1\.npy: shape \(60, 2\); expected one"),
    "fewer labels than images": (
        change(LABELS, lambda y: y[:50]),
        r"^data: files that belong together differ in length: Xtrain1\.npy 60, Ytrain1\.npy 50",
    ),
    "fewer truths than extra images": (
        change(Path("data/Ytrain1_extra.npy"), lambda y: y[:5]),
        r"^data: files that belong together differ in length: Xtrain1_extra\.npy \d+, Ytrain1_extra\.npy 5",
    ),
    "one class only": (
        change(LABELS, np.zeros_like),
        r"^data: all 60 labels are of one class, nothing can be learnt; check",
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
        split(lambda entry: entry["test"].append(60)),
        r"^data/splits\.json: parts overlap or name samples that do not exist",
    ),
    "part missing": (split(lambda entry: entry.pop("val")), r"^data/splits\.json: .*mend or delete"),
    "part of fractions": (split(lambda entry: entry.update(val=[0.5])), r"^data/splits\.json: .*mend or delete"),
    "part empty": (split(lambda entry: entry.update(val=[])), r"^data/splits\.json: .*mend or delete"),
    "splits.json is a folder": (lambda: (SPLITS.unlink(), SPLITS.mkdir()), r"^data/splits\.json: "),
}

NO_CHECKPOINT = r"best\.ckpt: damaged, or not a checkpoint of lit_hep"
BAD_CHECKPOINT = {  # command, what was done to the run's checkpoint, what is said
    "test without any run": (
        f"{TEST} best",
        remove("checkpoints"),
        r"no run under checkpoints/crater has a best\.ckpt",
    ),
    "no such file": (f"{TEST} absent.ckpt", nothing, r"^absent\.ckpt: no such checkpoint; give best, last or a file"),
    "file name misspelt": (
        f"{TEST} {CHECKPOINT}x",
        nothing,
        r"no such checkpoint; there are best\.ckpt, epoch000\.ckpt",
    ),
    "truncated": (f"{TEST} {CHECKPOINT}", edit(CHECKPOINT, lambda old: old[:9999]), NO_CHECKPOINT),
    "empty": (f"{TEST} best", edit(CHECKPOINT, lambda old: b""), NO_CHECKPOINT),
    "pickle with code": (f"{TEST} best", trap, NO_CHECKPOINT),
    "torch file with code": (f"{TEST} best", torch_trap, NO_CHECKPOINT),
    "code, without a logger": (f"{FIT} --ckpt_path {CHECKPOINT} --trainer.logger false", torch_trap, NO_CHECKPOINT),
    "code, as weights": (f"{FIT} {MODEL}.weights {CHECKPOINT}", torch_trap, NO_CHECKPOINT),
    "a tensor": (f"{TEST} best", checkpoint(lambda _: torch.ones(3)), r"best\.ckpt: holds no network weights; give a"),
    "weights alone": (
        f"{TEST} best",
        checkpoint(lambda content: {"state_dict": content["state_dict"]}),
        r"best\.ckpt: is of no task of lit_hep, the config wants lit_hep\.CraterSemiSup",
    ),
    "of another task": (
        f"{TEST} best",
        checkpoint(of_class("lit_hep.ElectronPhoton")),
        r"best\.ckpt: is of lit_hep\.ElectronPhoton, the config wants lit_hep\.CraterSemiSup",
    ),
    "weights of another network": (
        f"{TEST} best",
        checkpoint(lambda content: content | {"state_dict": {"net.0.weight": torch.ones(3)}}),
        r"best\.ckpt: holds another network than CraterSemiSup builds from its options",
    ),
    "hyperparameters of another version": (
        f"{TEST} best",
        checkpoint(lambda content: content | {"hyper_parameters": {**content["hyper_parameters"], "nett": "deep"}}),
        r"nett",
    ),
    "nothing to test on": (
        f"{TEST} best",
        checkpoint(
            lambda content: content["CraterDataModule"].update(test=torch.empty(0, dtype=torch.int64)) or content
        ),
        r"test_fraction is 0: nothing was held out",
    ),
    "resume from weights": (
        f"{FIT} --ckpt_path {CHECKPOINT.with_name('initial.ckpt')}",
        nothing,
        r"initial\.ckpt: holds weights only",
    ),
    "resume without optimizer": (
        f"{FIT} --ckpt_path {CHECKPOINT} --trainer.max_epochs 2",
        checkpoint(without("optimizer_states")),
        r"best\.ckpt: ",
    ),
    "resume to fewer epochs": (
        f"{FIT} --ckpt_path last --trainer.max_epochs 1",
        checkpoint(lambda content: content | {"epoch": 5}, CHECKPOINT.with_name("last.ckpt")),
        r"max_epochs 1: checkpoints/crater/version_0/last\.ckpt is of epoch 5 already; set more",
    ),
    "no logger, no such file": (f"{TEST} absent.ckpt --trainer.logger false", nothing, r"^absent\.ckpt: no such check"),
    "no logger, no file": (f"{TEST} best --trainer.logger false", nothing, r"best.*give a file"),
    "start weights absent": (f"{FIT} {MODEL}.weights absent.ckpt", nothing, r"^absent\.ckpt: no such checkpoint"),
    "start weights damaged": (
        f"{FIT} {MODEL}.weights {CHECKPOINT}",
        edit(CHECKPOINT, lambda old: old[:9999]),
        NO_CHECKPOINT,
    ),
    "start weights of another network": (
        f"{FIT} {MODEL}.weights {CHECKPOINT} {MODEL}.net deep",
        nothing,
        r"best\.ckpt: holds another network than DeepCNN",
    ),
}

BAD_OPTION = {  # command, what is said
    "scene upside down": ("simulate crater --root new --scene.blur [0.3,0.1]", r"^simulate crater: scene\.blur"),
    "no command": ("", r'expected "subcommand" to be one of \{fit,validate,test,predict,show\}'),
    "unknown command": (f"train {TASK}", r"train.*fit"),
    "no config": ("fit", r"give a task's config: --config configs/crater\.yaml"),
    "config misspelt": (
        f"fit --config {CONFIGS}/creater.yaml",
        r"creater\.yaml.*configs holds base\.yaml, crater\.yaml",
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
    "below > above": (f"{FIT} {PSEUDO}.below 0.9 {PSEUDO}.above 0.1", r"below 0\.9 and above 0\.1: an image would get"),
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
    "tb_logs is a file": (FIT, instead("tb_logs"), r"^tb_logs/crater: cannot be written .*--trainer\.logger"),
    "checkpoints is a file": (FIT, instead("checkpoints"), r"checkpoints/crater: Not a directory"),
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
    + [pytest.param(*case, id=f"checkpoint: {name}") for name, case in BAD_CHECKPOINT.items()]
    + [pytest.param(words, nothing, message, id=f"option: {name}") for name, (words, message) in BAD_OPTION.items()]
    + [pytest.param(*case, id=f"place: {name}") for name, case in BAD_PLACE.items()]
)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with data and a run of one epoch; all commands of this file but one would succeed in it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    simulate(folder / "data", 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(shlex.split(FIT))
    gc.freeze()  # what was imported stays; looking through it again and again would take a third of the time
    yield folder
    gc.unfreeze()


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """A copy of it that may be spoilt, and is the current folder."""
    shutil.copytree(home, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
