"""The shipped configurations that are measured, and `fit` of them through the command line, timed."""

import contextlib
import gc
import io
import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Self

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

import lit_hep
from benchmarks.engine import Settings
from lit_hep.base.classification import ClassificationTask
from lit_hep.base.datamodule import BaseDataModule
from lit_hep.base.task import BaseTask
from lit_hep.data.files import fill
from lit_hep.data.streaming import EpochBlocks

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Workload:
    """A configuration with the sizes to measure it at.

    Args:
        title: Network and size of the images.
        configs: Shipped ones, in layers; the first names the task.
        batches: Images a step.
        samples: To simulate.
        words: More of the command line.
        simulation: More options of the simulator.
        epochs: Of a fit, of which the later half is timed: a process is warm only after some, and short ones vary.
    """

    title: str
    configs: Sequence[str]
    batches: Sequence[int]
    samples: int
    words: Sequence[str] = ()
    simulation: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 2

    @property
    def timed(self) -> int:
        """How many epochs are."""
        return self.epochs // 2

    @property
    def task(self) -> str:
        """Name of the task's folder."""
        return self.configs[0].removesuffix("_early").removesuffix("_late")


_SQUARE = {"height": 256, "width": 256}
_COMPILED = ["--model.init_args.compile=true"]
_RESNET15 = ["--model.init_args.net=resnet15"]
_STAGE = ["--trainer.callbacks.rounds", "0"]

WORKLOADS = {
    "crater": Workload("crater, deep 48²", ["crater"], (32, 256), 2783, _STAGE),
    "crater_original": Workload("crater, original CNN 48²", ["crater", "crater_original"], (32, 256), 2783, epochs=10),
    "lenet5": Workload("e/γ, LeNet-5 2×32²", ["electron_photon"], (32, 256), 10_000, epochs=6),
    "lenet5_compiled": Workload(
        "e/γ, LeNet-5 2×32², compiled", ["electron_photon"], (32, 256), 10_000, _COMPILED, epochs=6
    ),
    "resnet15": Workload(
        "e/γ, ResNet-15 1×32²", ["electron_photon", "electron_photon_resnet"], (32, 256), 10_000, _RESNET15
    ),
    "denoiser": Workload("drift chamber, denoiser 36×112", ["drift_chamber"], (32, 256), 10_000),
    "pix2pix": Workload("drift chamber, Pix2Pix 3×128²", ["drift_chamber", "drift_chamber_original"], (8,), 84),
    "planes": Workload("three planes, small 3×112²", ["multiplane_early"], (32, 256), 1000),
    "alexnet": Workload("three planes, AlexNet 3×225²", ["multiplane_early", "multiplane_alexnet"], (16,), 114),
    "vgg11": Workload("three planes, VGG11 3×225²", ["multiplane_early", "multiplane_vgg11"], (8,), 60),
    "vgg19": Workload("three planes, VGG19 3×225²", ["multiplane_early", "multiplane_vgg19"], (4,), 30),
    "slim": Workload("CCD, slim U-Net 256²", ["ccd"], (1, 4), 80, simulation=_SQUARE),
    "unet": Workload("CCD, U-Net 3×256²", ["ccd", "ccd_original"], (1, 4), 40, simulation=_SQUARE),
}


def build(configs: Sequence[str], **options: Any) -> tuple[BaseTask, dict[str, Any]]:
    """The task of some configurations with random weights, as it is trained but not compiled; options of its data.

    Args:
        configs: Shipped ones, in layers.
        options: More of the task.
    """
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name in configs:
        content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        model |= content["model"]["init_args"]
        data |= content["data"]["init_args"]
        kind = content["model"]["class_path"].rpartition(".")[2]
    plain = {name: value for name, value in model.items() if type(value) is not dict}
    task: BaseTask = getattr(lit_hep, kind)(**plain | options)
    if task.hparams["channels_last"]:
        task.to(memory_format=torch.channels_last)
    return task, data


class Clock(Callback):
    """Times the epochs of a fit, and keeps what was trained."""

    latest: ClassVar[Self]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self.epochs: list[float] = []
        self.steps: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        self.epochs.append(_now())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the steps of an epoch with the last one."""
        if batch_idx == trainer.num_training_batches - 1:
            self.steps.append(_now() - self.epochs[-1])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End, before the figures that are drawn once a run; they would take longer than what is measured."""
        if isinstance(pl_module, ClassificationTask):
            pl_module._validated = None
        self.module, self.data = pl_module, trainer.datamodule  # type: ignore[attr-defined]
        Clock.latest = self


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Fitted:
    """A fit, timed.

    Args:
        steps: Seconds of the training steps of an epoch; the median of those that are timed.
        epoch: The same and, of the epochs before them, the seconds of all else: validation, logs, checkpoints.
        images: In the training steps.
        module: The task, trained.
        data: Its data module.
    """

    steps: float
    epoch: float
    images: int
    module: BaseTask
    data: BaseDataModule


def data_of(workload: Workload, settings: Settings) -> Path:
    """Folder of simulated data, made if it is not there."""
    samples = 40 if settings.quick else workload.samples
    root = settings.scratch / f"{workload.task}_{samples}_{'_'.join(map(str, workload.simulation.values()))}"
    if not root.is_dir():
        with quiet():
            module = import_module(f"lit_hep.tasks.{workload.task}.simulation")
            fill(root, lambda folder: module.simulate(folder, size=samples, **workload.simulation))
    return root


def fit(workload: Workload, batch: int, root: Path, device: str, words: Sequence[str] = ()) -> Fitted:
    """Train as shipped: progress bar, metrics, validation, TensorBoard, checkpoints.

    Args:
        workload: What.
        batch: Images a step.
        root: Folder of the data.
        device: ``cpu`` or ``cuda``.
        words: More of the command line.
    """
    from lit_hep.cli import main

    options = {
        "data.init_args.root": root,
        "data.init_args.batch_size": batch,
        "trainer.max_epochs": workload.epochs,
        "trainer.accelerator": "gpu" if device == "cuda" else "cpu",
        "trainer.callbacks+": "benchmarks.workloads.Clock",
    }
    layers = [word for name in workload.configs for word in ("--config", str(CONFIGS / f"{name}.yaml"))]
    gc.collect()  # the network of the fit before, of which trainer and callbacks refer to each other
    with quiet():
        main(["fit", *layers, *workload.words, *(f"--{name}={value}" for name, value in options.items()), *words])
    clock = Clock.latest
    for folder in ("checkpoints", "tb_logs"):
        shutil.rmtree(folder, ignore_errors=True)
    sampler = clock.data.train_dataloader().sampler
    images = sampler.samples if isinstance(sampler, EpochBlocks) else len(sampler.index)
    whole = (after - before for before, after in pairwise(clock.epochs))
    rest = [epoch - steps for epoch, steps in zip(whole, clock.steps[:-1], strict=True)]
    steps, more = (median(seconds[-workload.timed :]) for seconds in (clock.steps, rest))
    return Fitted(steps, steps + more, images, clock.module, clock.data)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Say nothing, but what went wrong."""
    said, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    except SystemExit as end:
        raise RuntimeError(said.getvalue()) from end
    finally:
        logging.disable(before)
