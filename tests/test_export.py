"""Networks taken away: each gives what PyTorch gives, says what it is, and no bad one is left."""

import json
import logging

import numpy as np
import pytest
import torch

import lit_hep
from lit_hep.errors import ConfigError, OutputError
from lit_hep.evaluation.export import TOLERANCE, export

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
    "crater, two members": (CRATER, {"members": 2}, ANY),
    "crater, in frames": (CRATER, {"scales": [0.9, 1, 1.1]}, ANY),
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
    task.shed()
    export(task, task.answers, interface, output, {"task": kind})
    files = {"metadata.json": ""}
    program = torch.export.load(output, extra_files=files).module()
    image = interface.draw(4, torch.Generator().manual_seed(2), more=(13, 7))
    with torch.no_grad():
        assert torch.allclose(program(image), task.answers(image), atol=TOLERANCE)
    assert json.loads(files["metadata.json"])["task"] == kind
    assert not {"discriminator", "average"} & {part for key in program.state_dict() for part in key.split(".")}


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
