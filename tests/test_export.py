"""Networks taken away: each gives what PyTorch gives, says what it is, and no bad one is left."""

import json
import logging
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import config
from scipy.sparse import load_npz
from spoil import edit, instead, nothing, refused

import lit_hep
from lit_hep.cli import main
from lit_hep.errors import ConfigError, OutputError
from lit_hep.evaluation.export import OPSET, TOLERANCE, export
from lit_hep.tasks.multiplane.events import find_events

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

logging.getLogger("torch.__trace").propagate = True  # else pytest listens, and torch describes each step of a trace

CRATER, PHOTON, PLANES, CCD, CHAMBER = TASKS = (
    "CraterSemiSup",
    "ElectronPhoton",
    "MultiPlaneFusion",
    "CCDUNet",
    "Pix2PixGAN",
)
ANY, SMALL, SMALLEST = {}, {"image_size": 64}, {"image_size": [64, 32]}
NETS = {  # task, options, data; with those below every network of every task, every scaling, fusion and layout
    "crater": (CRATER, {}, ANY),
    "crater, original": (CRATER, {"net": "original", "image_size": 36}, ANY),
    "lenet5": (PHOTON, {"energy": "log", "time": "max"}, ANY),
    "resnet15": (PHOTON, {"net": "resnet15", "time": "standard"}, ANY),
    "phinet": (PHOTON, {"net": "phinet"}, ANY),
    "late, vote": (PLANES, {"mode": "late", "fusion": "vote", "num_planes": 2}, SMALL),
    "siamese, 3 classes": (PLANES, {"mode": "siamese", "num_classes": 3, "scaling": "none"}, SMALL),
    "tick": (PLANES, {"mode": "tick"}, ANY),
    "ccd": (CCD, {"depth": 3, "width": 4}, ANY),
    "chamber, original": (CHAMBER, {"net": "original", "width": 4}, ANY),
    "chamber, native": (CHAMBER, {"width": 4, "noise": 1, "ema": 0.9}, ANY),
    "denoiser": (CHAMBER, {"net": "denoiser", "objective": "regression"}, ANY),
}
SLOW = {  # they take longer, or are tried in another way already
    "early": (PLANES, {}, ANY),
    "late": (PLANES, {"mode": "late", "scaling": "standard"}, SMALL),
    "ccd, original": (CCD, {"net": "original", "depth": 2, "width": 4, "scaling": "image", "channels": 3}, ANY),
    "lenet5_bn": (PHOTON, {"net": "lenet5_bn", "energy": "per_image", "channels": "energy"}, ANY),
    "crater, symmetrised": (CRATER, {"symmetrise": True}, ANY),
    "resnet18": (PHOTON, {"net": "resnet18"}, ANY),
    "efficientnet_b0": (PHOTON, {"net": "efficientnet_b0"}, ANY),
    "late, mean, 3 classes": (PLANES, {"mode": "late", "num_classes": 3}, SMALL),
    "late, vote, 3 classes": (PLANES, {"mode": "late", "fusion": "vote", "num_classes": 3}, SMALL),
    **{
        f"planes, {name}": (PLANES, {"net": name}, data)
        for name, data in {
            "alexnet": SMALL,
            "vgg11": SMALLEST,
            "vgg11_bn": SMALLEST,
            "vgg19": SMALLEST,
            "resnet18": ANY,
            "convnext_tiny": ANY,
        }.items()
    },
}


def made(kind, **options):
    """A task with random weights, and scaling and batch norm as if it had learnt: else all answers are much alike."""
    torch.manual_seed(1)
    task = getattr(lit_hep, kind)(**options)
    for name, buffer in task.named_buffers():
        if name.rpartition(".")[2] in ("mean", "deviation", "largest", "typical", "pedestal", "spread"):
            buffer.uniform_(0.5, 1.5)
    interface = task.interface(SMALL if kind == PLANES else {})
    for layer in task.modules():
        if hasattr(layer, "momentum"):
            layer.momentum = 1.0
    with torch.no_grad():
        task.answers(interface.draw(8, torch.Generator().manual_seed(3)))
    if getattr(task, "average", None):
        task.average.load_state_dict(task.net.state_dict())
    return task.eval()


def answer(path, image):
    """What onnxruntime makes of it."""
    return onnxruntime.InferenceSession(path).run(None, {"image": np.asarray(image)})[0]


@pytest.mark.parametrize(
    ("kind", "options", "data"),
    [*NETS.values(), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW.values())],
    ids=[*NETS, *SLOW],
)
def test_onnx_gives_what_pytorch_gives(kind, options, data, tmp_path):
    task = made(kind, **options)
    interface, output = task.interface(data), tmp_path / "net.onnx"
    images, difference = export(task, task.answers, interface, output)
    assert images == 256 and difference <= TOLERANCE
    image = interface.draw(5, torch.Generator().manual_seed(2), more=(21, 10))
    with torch.no_grad():
        wanted = task.answers(image).numpy()
    found = answer(output, image)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    spread = np.ptp(wanted)  # small where random weights make all answers much alike
    assert spread > 0 and np.abs(found - wanted).max() <= min(TOLERANCE, spread / 100)
    session = onnxruntime.InferenceSession(output)
    assert session.get_inputs()[0].shape == ["N", *(length or name for name, length in interface.axes.items())]


def test_every_network_is_tried():
    """The names a task's options allow are those of the table."""
    for kind in TASKS:
        cases = [options for name, options, _ in (*NETS.values(), *SLOW.values()) if name == kind]
        task = getattr(lit_hep, kind)
        allowed = set(task.__init__.__annotations__["net"].__args__)
        default = made(kind).hparams["net"]
        assert {options.get("net", default) for options in cases} == allowed


@pytest.mark.parametrize("name", ["crater", "late, vote", "ccd", "chamber, native"])
def test_torch_export_gives_what_pytorch_gives(name, tmp_path):
    kind, options, data = NETS[name]
    task = made(kind, **options)
    interface, output = task.interface(data), tmp_path / "net.pt2"
    export(task, task.answers, interface, output, {"task": kind})
    files = {"metadata.json": ""}
    program = torch.export.load(output, extra_files=files).module()
    image = interface.draw(4, torch.Generator().manual_seed(2), more=(13, 7))
    with torch.no_grad():
        assert torch.allclose(program(image), task.answers(image), atol=TOLERANCE)
    assert json.loads(files["metadata.json"])["task"] == kind


def test_a_network_that_is_not_what_it_was_is_not_written(tmp_path):
    """What the trace has not seen: a random number, which is drawn anew, and a size that turns the wrong way."""
    task = made("ElectronPhoton")
    interface = task.interface({})

    def noisy(image):
        return task.answers(image) * torch.rand(())

    def doomed(image):
        return task.answers(image) / 0.0 - task.answers(image) / 0.0

    for wrong, message in ((noisy, "differs from PyTorch by"), (doomed, "differs from PyTorch by nan")):
        with pytest.raises(OutputError, match=message):
            export(task, wrong, interface, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_size(tmp_path):
    vgg = made("MultiPlaneFusion", net="vgg11").interface({})
    with pytest.raises(ConfigError, match="give --size WIRE TICK"):
        vgg.of_size(None)
    assert vgg.of_size([64, 48]).axes == {"plane": 3, "wire": 64, "tick": 48}
    with pytest.raises(ConfigError, match=r"images \(N, 32, 32, 2\) only"):
        made("ElectronPhoton").interface({}).of_size([48, 48])
    with pytest.raises(ConfigError, match="must be 1 or more"):
        vgg.of_size([0, 48])
    small = made("ElectronPhoton", net="efficientnet_b0")
    task = made("MultiPlaneFusion", net="alexnet")
    with pytest.raises(ConfigError, match="cannot take images"):
        export(task, task.answers, task.interface({}).of_size([40, 40]), tmp_path / "net.onnx")
    assert small.interface({}).of_size(None).free == ["eta", "phi"]


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


@pytest.mark.parametrize("task", RUNS)
def test_file_of_a_run_gives_what_predict_gives(task, placed, capfd):
    """For images as they are in the files, without anything of lit_hep; and it says what one has to know."""
    root = placed(task)
    layers, words, images, said = RUNS[task]
    words = [*config(*layers), *words, "--trainer.accelerator=cpu"]
    if task == "electron_photon":
        Path("some").mkdir()
        (electrons,) = root.glob("*Electron*")
        Path("some", electrons.name).symlink_to(electrons)
    main(["fit", *words, "--trainer.max_epochs=1"])
    main(["predict", *words, "--ckpt_path=last"])
    path = Path("checkpoints", task, "version_0/last.ckpt")
    capfd.readouterr()
    main(["export", "--ckpt_path", str(path), "--output", "model.onnx"])
    assert "largest difference from PyTorch" in capfd.readouterr().out

    predicted = np.load(Path("tb_logs", task, "version_0/predict/predictions.npz"))
    found = answer("model.onnx", images(root, predicted["id"]))
    if task == "ccd":
        assert (found.argmax(1) == predicted["mask"]).mean() > 0.9999
    else:
        assert np.abs(found - predicted["probability" if "probability" in predicted else "score"]).max() < TOLERANCE

    model = onnx.load("model.onnx")
    assert model.opset_import[0].version == OPSET
    kept = {entry.key: entry.value for entry in model.metadata_props}
    trained = torch.load(path, weights_only=True)["hyper_parameters"]
    assert kept["lit_hep"] == lit_hep.__version__ and kept["opset"] == str(OPSET)
    assert trained["_class_path"] == f"lit_hep.{kept['task']}"
    assert json.loads(kept["options"])["net"] == trained["net"]
    for name, pattern in said.items():
        assert re.search(pattern, kept[name]), kept


CHECKPOINT = Path("checkpoints/crater/version_0/best.ckpt")
EXPORT = f"export --ckpt_path {CHECKPOINT} --output"


def changed(**entries):
    """Put other entries into the run's checkpoint."""
    return lambda: torch.save(torch.load(CHECKPOINT, weights_only=True) | entries, CHECKPOINT)


MISTAKES = {  # command, what was done before, what is said
    "no such checkpoint": (
        "export --ckpt_path absent.ckpt --output m.onnx",
        nothing,
        r"^absent\.ckpt: no such file",
    ),
    "best": ("export --ckpt_path best --output m.onnx", nothing, r"^best: no such file; give one such as checkpoints/"),
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


def test_example_of_the_readme_runs(here, capfd):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "onnxruntime" in block)
    assert len(code.splitlines()) <= 30
    Path("data/crater").symlink_to(".")
    main(["export", "--ckpt_path", str(CHECKPOINT), "--output", "model.onnx"])
    capfd.readouterr()
    exec(compile(code, "README.md", "exec"), {})
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].startswith(f"CraterSemiSup of lit_hep {lit_hep.__version__}; input image: uint8 (N, 48, 48)")
    assert all(re.fullmatch(r"image \d: 0\.\d{3}, (no )?crater", line) for line in printed[1:]) and len(printed) == 4
