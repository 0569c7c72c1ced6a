"""Loop cost: `fit` of each task as shipped against a bare PyTorch loop.

Both have the same network, batches, precision, optimizer, layout, augmentation, data and process. `fit` does all it
ships with: progress bar, metrics, validation, TensorBoard, two checkpoints. The bare loop trains, and takes the
validation loss.
"""

from dataclasses import replace
from statistics import median

import torch

from benchmarks.bare import BareLoop, deepcopy_task
from benchmarks.engine import Figure, Settings, Table, alternate
from benchmarks.roofline import Roofline, share, trained
from benchmarks.workloads import WORKLOADS, Workload, data_of, fit

_CHOSEN = ("crater", "crater_original", "lenet5", "lenet5_compiled", "denoiser", "pix2pix", "planes", "slim", "unet")
_QUICK = {"pix2pix": ["--model.init_args.width=4"]}
"""The same, and what makes it small."""


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure all tasks."""
    table = Table(
        "Loop: fit ÷ bare loop",
        ["network", "batch", "fit, images/s", "bare, images/s", "steps: fit ÷ bare", "epoch: fit ÷ bare", "of limit"],
        "Training steps of epochs when the process is warm; the last ratio is of whole epochs: steps, validation, "
        "logs, checkpoints. Medians, with the smallest and the largest. Limit: three times the network's "
        "multiply-adds over the matrix rate.",
    )
    tables.append(table)
    for name in settings.chosen(_QUICK if settings.quick else _CHOSEN):
        workload = WORKLOADS[name]
        if settings.quick:
            workload = replace(workload, words=[*workload.words, *_QUICK[name]])
        for batch in workload.batches[:1] if settings.quick else workload.batches:
            _compare(workload, batch, settings, roofline, table)


def _compare(workload: Workload, batch: int, settings: Settings, roofline: Roofline, table: Table) -> None:
    root = data_of(workload, settings)
    first = fit(workload, batch, root, settings.device)
    loop = BareLoop(first, batch, settings.device)
    whole: dict[str, list[float]] = {"fit": [], "bare": []}

    def with_fit() -> float:
        torch.compiler.reset()  # it gives up on a network that has been made anew too often
        fitted = fit(workload, batch, root, settings.device)
        whole["fit"].append(fitted.epoch)
        return fitted.steps

    def bare() -> float:
        loop.steps()
        steps = median(loop.steps() for _ in range(workload.timed))
        whole["bare"].append(steps + loop.validation())
        return steps

    taken = alternate({"fit": with_fit, "bare": bare}, settings.repeats)
    epoch = {side: Figure(seconds[1:]) for side, seconds in whole.items()}
    rates = {side: first.images / seconds for side, seconds in taken.items()}
    needed = trained(deepcopy_task(first.module, settings.device), loop.shape)
    table.add(
        workload.title,
        batch,
        rates["fit"],
        rates["bare"],
        taken["bare"] / taken["fit"],
        epoch["bare"] / epoch["fit"],
        share(rates["fit"], roofline.products / needed),
    )
