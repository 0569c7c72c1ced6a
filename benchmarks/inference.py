"""Inference: each task's network eager, compiled and in onnxruntime, one image at a time and many."""

from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine import Figure, Settings, Table, alternate
from benchmarks.roofline import Roofline, share, timed
from benchmarks.workloads import build
from lit_hep.base.task import BaseTask
from lit_hep.evaluation.export import Interface, export
from lit_hep.training.memory import Memory, keep

_CHOSEN = {
    "e/γ, LeNet-5": (["electron_photon"], None, 256),
    "e/γ, PhiNet": (["electron_photon", "electron_photon_resnet"], None, 256),
    "drift chamber, denoiser": (["drift_chamber"], None, 256),
    "crater, deep 48²": (["crater"], (48, 48), 256),
    "three planes, small 3×112²": (["multiplane_early"], None, 256),
    "CCD, slim U-Net 256²": (["ccd"], (256, 256), 16),
}
"""Configurations, size of the images where it is free, and the larger batch."""
_SECONDS = 0.3  # of each measurement, at least


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure all networks."""
    keep(Memory())  # as the command line does
    table = Table(
        "Inference",
        ["network", "batch", "way", "images/s", "µs a call", "of limit"],
        "From images as the files have them to probabilities; symmetrised where the configuration says so. Limit: the "
        "network's multiply-adds over the matrix rate.",
    )
    tables.append(table)
    for title, (configs, size, many) in list(_CHOSEN.items())[: 1 if settings.quick else None]:
        task, data = build(configs)
        task.eval().to(settings.device)
        interface = task.interface(data).of_size(size)
        ways = _ways(task, interface, settings)
        for batch in (1, 8 if settings.quick else many):
            image = interface.draw(batch, torch.Generator().manual_seed(0)).to(settings.device)
            limit = roofline.answered(task.net, _seen(task, image)) / _views(task)
            calls = {name: _call(way, image, settings) for name, way in ways.items()}
            for name, seconds in alternate(calls, settings.repeats).items():
                rate = batch / seconds
                micros = Figure([1e6 * value for value in seconds.values])
                table.add(title, batch, name, rate, micros, share(rate, limit))
    if find_spec("onnxruntime") is None:
        print("\nonnxruntime: left out, pip install 'lit_hep[export]'")


def _ways(task: BaseTask, interface: Interface, settings: Settings) -> dict[str, Callable[[Tensor], object]]:
    compiled = deepcopy(task)
    compiled.net.compile(dynamic=False)
    ways: dict[str, Callable[[Tensor], object]] = {"eager": task.answers}
    if not settings.quick:
        ways["compiled"] = compiled.answers
    if find_spec("onnxruntime") and settings.device == "cpu":
        ways["onnxruntime"] = _session(task, interface, settings)
    return ways


def _session(task: BaseTask, interface: Interface, settings: Settings) -> Callable[[Tensor], object]:
    import onnxruntime

    path = settings.scratch / "model.onnx"
    export(deepcopy(task), task.answers, interface, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    session = onnxruntime.InferenceSession(Path(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image.numpy()})


def _call(way: Callable[[Tensor], object], image: Tensor, settings: Settings) -> Callable[[], float]:
    """A function that calls for a while, and returns the seconds of a call."""
    count = 0

    @torch.inference_mode()
    def calls() -> float:
        nonlocal count
        if not count:
            way(image)  # compiles
            once = timed(lambda: way(image), settings.device)
            count = 1 if settings.quick else max(1, round(_SECONDS / once))
        return timed(lambda: [way(image) for _ in range(count)] and None, settings.device) / count

    return calls


def _seen(task: BaseTask, image: Tensor) -> tuple[int, ...]:
    """Shape of an image as the network sees it."""
    shapes: list[Any] = []
    hook = task.net.register_forward_pre_hook(lambda net, images: shapes.append(images[0].shape[1:]))
    with torch.no_grad():
        task.answers(image[:1])
    hook.remove()
    return tuple(shapes[0])


def _views(task: BaseTask) -> int:
    """Times that the network sees each image."""
    return (8 if task.hparams.get("symmetrise") else 1) * len(task.hparams.get("scales", [1]))
