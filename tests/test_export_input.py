"""What cannot be exported is refused by ``export``, and leaves no file."""

import logging
import sys
from pathlib import Path

import pytest
import torch
from spoil import edit, instead, nothing, refused

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

logging.getLogger("torch.__trace").propagate = True  # else pytest listens, and torch describes each step of a trace


CHECKPOINT = Path("checkpoints/crater/version_0/best.ckpt")
EXPORT = f"export --ckpt_path {CHECKPOINT} --output"


def changed(**entries):
    """Put other entries into the run's checkpoint."""
    return lambda: torch.save(torch.load(CHECKPOINT, weights_only=True) | entries, CHECKPOINT)


MISTAKES = {  # command, what was done before, what is said
    "no such checkpoint": (
        "export --ckpt_path absent.ckpt --output m.onnx",
        nothing,
        r"^absent\.ckpt: no such file, nor a run .*; runs: crater/0$",
    ),
    "no such run": ("export --ckpt_path crater/7 --output m.onnx", nothing, r"^crater/7: no such file, nor a run"),
    "best of what": (
        "export --ckpt_path best --output m.onnx",
        nothing,
        r"of which task\? Add --name; runs: crater/0$",
    ),
    "best of no run": ("export --ckpt_path best --name ccd --output m.onnx", nothing, r"no run under checkpoints/ccd"),
    "name beside a file": (f"{EXPORT} m.onnx --name crater", nothing, r"--name crater: goes with --ckpt_path best"),
    "damaged": (f"{EXPORT} m.onnx", edit(CHECKPOINT, lambda old: old[:9999]), r"best\.ckpt: damaged, or not a check"),
    "of a foreign task": (
        f"{EXPORT} m.onnx",
        changed(hyper_parameters={"_class_path": "os.system"}),
        r"best\.ckpt: is of os\.system; give a checkpoint of a task of lit_hep",
    ),
    "of a data module": (
        f"{EXPORT} m.onnx",
        changed(hyper_parameters={"_class_path": "lit_hep.CraterDataModule"}),
        r"is of lit_hep\.CraterDataModule; give a checkpoint of a task",
    ),
    "weights alone": (f"{EXPORT} m.onnx", changed(hyper_parameters={}), r"is of no task of lit_hep"),
    "of another version": (
        f"{EXPORT} m.onnx",
        changed(hyper_parameters={"_class_path": "lit_hep.CraterSemiSup", "nett": "deep"}),
        r"was trained with other options than there are now \(.*nett",
    ),
    "of another network": (
        f"{EXPORT} m.onnx",
        changed(state_dict={"net.0.weight": torch.ones(3)}),
        r"best\.ckpt: holds another network than CraterSemiSup",
    ),
    "unknown ending": (f"{EXPORT} model.tflite", nothing, r"model\.tflite: the ending must be \.onnx, or \.pt2"),
    "size of a network that has one": (f"{EXPORT} m.onnx --size 32 32", nothing, r"takes images \(N, 48, 48\) only"),
    "half a size": (f"{EXPORT} m.onnx --size 32", nothing, r"expected 2 arguments"),
    "no output": (f"export --ckpt_path {CHECKPOINT}", nothing, r"output"),
    "no folder": (f"{EXPORT} data/m.pt2", instead("data"), r"^data/m\.pt2: cannot be written .*another place"),
}


@pytest.fixture
def home(crater_home):
    return crater_home


@pytest.mark.parametrize(("words", "spoil", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake(words, spoil, message, here, capfd):
    spoil()
    refused(words, message, here, capfd)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_missing_package(package, here, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    refused(f"{EXPORT} m.onnx", rf"needs {package}; pip install 'lit_hep\[export\]'", here, capfd)
