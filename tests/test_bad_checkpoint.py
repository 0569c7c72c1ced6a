"""Checkpoints that are missing, damaged, hostile or of something else: one line, and nothing of them is run."""

import os
import pickle
import shlex
from pathlib import Path

import pytest
import torch
from conftest import ORIGINAL
from spoil import edit, nothing, refused, remove

TASK = f"{shlex.join(ORIGINAL)} --data.init_args.root data --trainer.accelerator cpu --trainer.max_epochs 1"
FIT, TEST = f"fit {TASK}", f"test {TASK} --ckpt_path"
MODEL = "--model.init_args"
CHECKPOINT = Path("checkpoints/crater/version_0/best.ckpt")


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


def torch_trap(**form):
    """The same, in a form that torch.save gives it."""
    return lambda: torch.save({"state_dict": Trap()}, CHECKPOINT, **form)


def hidden_trap():
    """The same, deep in a checkpoint that is whole otherwise."""
    content = torch.load(CHECKPOINT, weights_only=True)
    content["hyper_parameters"]["threshold"] = [Trap()]
    torch.save(content, CHECKPOINT)


def class_trap(**options):
    """A checkpoint that names a module, which a name alone would have imported."""

    def spoil():
        Path("trap.py").write_text("import os\nos.system('touch sprung')\nfrom torch.optim import *\n")
        content = torch.load(CHECKPOINT, weights_only=True)
        content["hyper_parameters"] |= options
        torch.save(content, CHECKPOINT)

    return spoil


def bit_flipped():
    """A checkpoint of which one bit of a weight is another."""
    content = bytearray(CHECKPOINT.read_bytes())
    content[len(content) // 2] ^= 1
    CHECKPOINT.write_bytes(content)


NO_CHECKPOINT = r"best\.ckpt: damaged, or not a checkpoint of lit_hep"
NO_WEIGHTS = r"best\.ckpt: holds no network weights; give a"
NAMES_TRAP = r"best\.ckpt: names trap\.\w+, which is imported only if the config names it too"
CASES = {  # command, what was done to the run's checkpoint, what is said
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
    "torch file with code": (f"{TEST} best", torch_trap(), NO_CHECKPOINT),
    "torch file of old with code": (
        f"{TEST} best",
        torch_trap(_use_new_zipfile_serialization=False),
        NO_CHECKPOINT,
    ),
    "code, hidden": (f"{TEST} best", hidden_trap, NO_CHECKPOINT),
    "code, to predict with": (f"predict {TASK} --ckpt_path {CHECKPOINT}", hidden_trap, NO_CHECKPOINT),
    "code, to resume from": (f"{FIT} --ckpt_path best --trainer.max_epochs 2", hidden_trap, NO_CHECKPOINT),
    "code, to export": (f"export --ckpt_path {CHECKPOINT} --output a.onnx", hidden_trap, NO_CHECKPOINT),
    "code, without a logger": (f"{FIT} --ckpt_path {CHECKPOINT} --trainer.logger false", torch_trap(), NO_CHECKPOINT),
    "code, as weights": (f"{FIT} {MODEL}.weights {CHECKPOINT}", torch_trap(), NO_CHECKPOINT),
    "code, named as task": (f"{TEST} best", class_trap(_class_path="trap.CraterSemiSup"), NAMES_TRAP),
    "code, named as optimizer": (f"{TEST} best", class_trap(optimizer={"class_path": "trap.Adam"}), NAMES_TRAP),
    "code, named as scheduler": (
        f"{FIT} --ckpt_path best --trainer.max_epochs 2",
        class_trap(scheduler="trap.Adam"),
        NAMES_TRAP,
    ),
    "code, named in what is exported": (
        f"export --ckpt_path {CHECKPOINT} --output a.onnx",
        class_trap(_class_path="trap.CraterSemiSup"),
        r"best\.ckpt: is of trap\.CraterSemiSup; give a checkpoint of a task",
    ),
    "one bit": (f"{TEST} best", bit_flipped, NO_CHECKPOINT),
    "weights in a list": (f"{TEST} best", checkpoint(lambda content: content | {"state_dict": [1]}), NO_WEIGHTS),
    "options in a list": (f"{TEST} best", checkpoint(lambda content: content | {"hyper_parameters": [1]}), NO_WEIGHTS),
    "a tensor": (f"{TEST} best", checkpoint(lambda _: torch.ones(3)), NO_WEIGHTS),
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


@pytest.fixture
def home(crater_home):
    return crater_home


@pytest.mark.parametrize(("words", "spoil", "message"), CASES.values(), ids=CASES)
def test_mistake(words, spoil, message, here, capfd, monkeypatch):
    monkeypatch.syspath_prepend(here)  # as `python -m lit_hep` has it
    spoil()
    refused(words, message, here, capfd)
