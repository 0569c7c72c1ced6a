"""Networks of runs, taken away and applied to files that a user has: the same answers everywhere."""

import json
import logging
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import quick
from scipy.sparse import load_npz

import lit_hep
from lit_hep.cli import main
from lit_hep.evaluation.export import OPSET, TOLERANCE
from lit_hep.tasks.multiplane.events import find_events

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

logging.getLogger("torch.__trace").propagate = True  # else pytest listens, and torch describes each step of a trace


def answer(path, image):
    """What onnxruntime makes of it."""
    return onnxruntime.InferenceSession(path).run(None, {"image": np.asarray(image)})[0]


def hdf5(name, key):
    """Of a folder and ids that end in a row, the rows of a data set of its file."""

    def read(root, ids):
        with h5py.File(next(root.glob(name))) as file:
            return file[key][:][[int(str(one).rpartition(":")[2]) for one in ids]]

    return read


def planes(root, ids):
    """Dense planes of events (n, 3, wires, ticks)."""
    events = find_events(root, None, None)
    rows = [list(events.ids).index(one) for one in ids]
    return np.stack([[load_npz(path).toarray() for path in events.paths[row]] for row in rows]).astype(np.float32)


RUNS = {  # configs and options of a short run; images of ids of the prediction, as the files have them; what is said
    "crater": (
        ["crater", "crater_original"],
        [],
        lambda root, ids: np.load(root / "Xtest1.npy")[ids].reshape(-1, 48, 48),
        {"classes": "no crater", "normalisation": "by 255", "input": r"uint8 \(N, 48, 48\)"},
    ),
    "electron_photon": (
        ["electron_photon"],
        ["--data.init_args.predict_root=some"],
        hdf5("*Electron*.hdf5", "X"),
        {"classes": "photon.*electron", "threshold": "0.5"},
    ),
    "multiplane": (
        ["multiplane_late"],
        ["--data.init_args.image_size=null", "--trainer.logger.init_args.name=multiplane"],
        planes,
        {"classes": "CLASS_0.*CLASS_1", "input": r"\(N, 3, wire, tick\)", "normalisation": "log; typical"},
    ),
    "ccd": (
        ["ccd"],
        ["--model.init_args.width=4", "--data.init_args.tile=64", "--data.init_args.overlap=0"],
        lambda root, ids: np.stack([np.load(root / "images" / f"{one}.npy")[None] for one in ids]).astype(np.float32),
        {"classes": "cluster", "normalisation": r"pedestal \[\d"},
    ),
    "drift_chamber": (
        ["drift_chamber"],
        ["--model.init_args.width=4"],
        hdf5("events.hdf5", "all"),
        {"input": r"\(N, 36, 112\)", "threshold": r"0\.\d"},
    ),
}


PREDICTED = "tb_logs/{}/version_0/predict/predictions.npz"


def mine(task, root, ids):
    """A file, of planes a folder, of the first of these images without anything that tells what they are."""
    if task == "crater":
        np.save("mine.npy", np.load(root / "Xtest1.npy")[:3])
        return "mine.npy"
    if task == "ccd":
        return shutil.copy(root / "images" / f"{ids[0]}.npy", f"{ids[0]}.npy")
    if task == "multiplane":
        for plane, path in enumerate(find_events(root).paths[list(find_events(root).ids).index(ids[0])]):
            Path(f"mine/PLANE_{plane}").mkdir(parents=True)
            shutil.copy(path, f"mine/PLANE_{plane}")
        return "mine"
    key, pattern = ("X", "*Electron*.hdf5") if task == "electron_photon" else ("all", "events.hdf5")
    with h5py.File("mine.h5", "w") as file:
        file[key] = hdf5(pattern, key)(root, ids[:3])
    return "mine.h5"


@pytest.mark.parametrize("task", RUNS)
def test_file_of_a_run_gives_what_predict_gives(task, placed, capfd):
    """For images as they are in the files, without anything of lit_hep; and it says what one has to know."""
    root = placed(task)
    layers, words, images, said = RUNS[task]
    words = [*quick(*layers), *words, "--trainer.accelerator=cpu"]
    if task == "electron_photon":
        Path("some").mkdir()
        (electrons,) = root.glob("*Electron*")
        Path("some", electrons.name).symlink_to(electrons)
    main(["fit", *words, "--trainer.max_epochs=1"])
    main(["predict", *words, "--ckpt_path=last"])
    capfd.readouterr()
    main(["export", "--ckpt_path=last", f"--name={task}", "--output=model.onnx"])
    assert "largest difference from PyTorch" in capfd.readouterr().out

    predicted = dict(np.load(PREDICTED.format(task)))
    found = answer("model.onnx", images(root, predicted["id"]))
    answered = next(name for name in ("probability", "score", "mask") if name in predicted)
    if task == "ccd":
        assert (found.argmax(1) == predicted["mask"]).mean() > 0.9999
    else:
        assert np.abs(found - predicted[answered]).max() < TOLERANCE

    model = onnx.load("model.onnx")
    assert model.opset_import[0].version == OPSET
    kept = {entry.key: entry.value for entry in model.metadata_props}
    trained = torch.load(f"checkpoints/{task}/version_0/last.ckpt", weights_only=True)["hyper_parameters"]
    assert kept["lit_hep"] == lit_hep.__version__ and kept["opset"] == str(OPSET)
    assert trained["_class_path"] == f"lit_hep.{kept['task']}"
    assert json.loads(kept["options"])["net"] == trained["net"]
    for name, pattern in said.items():
        assert re.search(pattern, kept[name]), kept

    some = mine(task, root, predicted["id"])
    main(["predict", *words, "--ckpt_path=last", f"--data.init_args.predict_root={some}"])
    again = np.load(PREDICTED.format(task))
    assert 0 < len(again["id"]) <= 3 and "label" not in again
    if task in ("ccd", "multiplane"):
        assert again["id"].tolist() == predicted["id"][: len(again["id"])].tolist()
    np.testing.assert_allclose(again[answered], predicted[answered][: len(again["id"])], atol=1e-5)


@pytest.fixture
def home(crater_home):
    return crater_home


def test_example_of_the_readme_runs(here, capfd):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "onnxruntime" in block)
    assert len(code.splitlines()) <= 30
    Path("data/crater").symlink_to(".")
    main(["export", "--ckpt_path", "crater/0", "--output", "model.onnx"])
    capfd.readouterr()
    exec(compile(code, "README.md", "exec"), {})
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].startswith(f"CraterSemiSup of lit_hep {lit_hep.__version__}; input image: uint8 (N, 48, 48)")
    assert all(re.fullmatch(r"image \d: 0\.\d{3}, (no )?crater", line) for line in printed[1:]) and len(printed) == 4
