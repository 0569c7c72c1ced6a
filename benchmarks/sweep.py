"""Training by batch size and precision, compiled and not, with all samples in the memory of what trains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from benchmarks.bare import BareLoop, deepcopy_task
from benchmarks.engine import Settings, Table, alternate
from benchmarks.roofline import Roofline, share, trained
from benchmarks.workloads import WORKLOADS, Workload, data_of, fit

_IMAGES = (32, 256, 1024, 8192)
_BATCHES = {"lenet5": _IMAGES, "resnet15": _IMAGES, "unet": (1, 4, 16), "pix2pix": (8, 32)}
_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
_WAYS: Mapping[str, Sequence[str]] = {"eager": [], "compiled": ["--model.init_args.compile=true"]}
_ALL = 249_000  # e/γ images of each class that there are


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure LeNet-5 and, on a GPU or where they are asked for, wider networks."""
    table = Table(
        "Training by batch size",
        ["network", "batch", "precision", "way", "images/s", "an epoch, s", "of limit"],
        "Training steps of `fit`, samples kept on the device; an epoch is of all images that are trained on. Limit: "
        "three times the network's multiply-adds over the matrix rate in that precision.",
    )
    tables.append(table)
    on_gpu = settings.device == "cuda"
    for name in settings.chosen(_BATCHES if on_gpu or settings.networks else ["lenet5"]):
        workload = WORKLOADS[name]
        if on_gpu and workload.task == "electron_photon":
            workload = replace(workload, samples=_ALL)
        for batch in _BATCHES[name][: 1 if settings.quick else None]:
            _sweep(workload, batch, settings, roofline, table)


def _sweep(workload: Workload, batch: int, settings: Settings, roofline: Roofline, table: Table) -> None:
    place = workload, batch, data_of(workload, settings), settings.device

    def steps(words: Sequence[str]) -> float:
        torch.compiler.reset()  # it gives up on a network that has been made anew too often
        return fit(*place, words).steps

    first = fit(*place)
    needed = trained(deepcopy_task(first.module, settings.device), BareLoop(first, batch, settings.device).shape)
    for precision, limit in (("float32", roofline.products), ("bfloat16", roofline.halves)):
        common = ["--data.init_args.on_device=true", f"--trainer.precision={_PRECISIONS[precision]}"]
        cases = {
            way: partial(steps, [*common, *words]) for way, words in _WAYS.items() if not (settings.quick and words)
        }
        for way, seconds in alternate(cases, settings.repeats).items():
            rate = first.images / seconds
            table.add(workload.title, batch, precision, way, rate, seconds, share(rate, limit / needed))
