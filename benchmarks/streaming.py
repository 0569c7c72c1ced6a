"""An epoch in memory against one streamed from disk: images/s and peak memory, in one run.

    OMP_NUM_THREADS=2 python -m benchmarks.streaming --root DIR --size 249000 --memory 1

Each is the second of a `fit` in a process of its own, as shipped but for the number of epochs: LeNet-5, progress bar,
validation, checkpoints. The two ways alternate; the figures are medians of the pairs' ratios. Rates count training
images, and the time of the training steps or that from the epoch's start to its last checkpoint; peak memory is the
resident set of the process.
"""

import argparse
import contextlib
import io
import os
import re
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple


class Epoch(NamedTuple):
    """What an epoch took.

    Args:
        steps: Training images a second in the steps.
        whole: In the epoch, to the last checkpoint.
        start: Seconds before the first step.
        peak: Resident memory in GiB.
    """

    steps: float
    whole: float
    start: float
    peak: float


def epoch(root: str, net: str, batch_size: int, workers: int, memory_gib: float) -> Epoch:
    """Train two epochs; the second one is timed."""
    import torch
    from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

    from lit_hep.tasks.electron_photon import ElectronPhoton, ElectronPhotonDataModule
    from lit_hep.training.arithmetic import flush_denormals
    from lit_hep.training.callbacks import BestCheckpoint, EpochCheckpoint, ProgressBar
    from lit_hep.training.memory import Memory, keep
    from lit_hep.training.run import RunLogger

    class Clock(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.began = time.perf_counter()

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.latest = time.perf_counter()

        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            self.learnt = time.perf_counter()

    keep(Memory())
    flush_denormals()
    warnings.filterwarnings("ignore")
    entered = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        seed_everything(1)
        task = ElectronPhoton(net=net, optimizer=lambda params: torch.optim.Adam(params, lr=1e-3, fused=True))
        sizes = {"batch_size": batch_size, "steps_per_execution": 128}
        data = ElectronPhotonDataModule(root, **sizes, num_workers=workers, memory_gib=memory_gib)
        clock = Clock()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=2,
            logger=RunLogger("streaming"),
            callbacks=[clock, ProgressBar(), BestCheckpoint(), EpochCheckpoint()],
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
    ended = time.perf_counter()
    assert (data.crops.image is None) == (memory_gib < 100)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    images = len(data.part("train"))
    rates = images / (clock.learnt - clock.latest), images / (ended - clock.latest)
    return Epoch(*rates, clock.began - entered, int(peak[1]) / 2**20 if peak else float("nan"))


def simulated(root: Path, size: int) -> None:
    """Simulate the files if there are none."""
    if not root.is_dir():
        from lit_hep.data.files import fill
        from lit_hep.tasks.electron_photon.simulation import simulate

        fill(root, lambda folder: simulate(folder, size, 1))


def main() -> None:
    """Measure what the command line asks for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of the two files; simulated if absent; none: a temporary one")
    parser.add_argument("--size", type=int, default=249_000, help="images of each class, if they are simulated")
    parser.add_argument("--memory", type=float, default=1.0, help="memory_gib when streaming")
    parser.add_argument("--net", default="lenet5")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        root = (options.root or Path(folder, "data")).resolve()
        pool.submit(simulated, root, options.size).result()
        os.chdir(folder)
        taken: dict[float, list[Epoch]] = {1000.0: [], options.memory: []}
        for pair in range(options.pairs):
            for memory in sorted(taken, reverse=pair % 2 == 0):
                work = pool.submit(epoch, str(root), options.net, options.batch, options.workers, memory)
                taken[memory].append(work.result())
    print("| images | steps, images/s | epoch, images/s | to the first step, s | peak memory, GiB |\n|" + " --- |" * 5)
    for memory, name in ((1000.0, "in memory"), (options.memory, f"streamed, memory_gib {options.memory:g}")):
        steps, whole, start, _ = (statistics.median(column) for column in zip(*taken[memory], strict=True))
        peak = max(one.peak for one in taken[memory])
        print(f"| {name} | {steps:,.0f} | {whole:,.0f} | {start:.1f} | {peak:.2f} |")
    pairs = list(zip(taken[options.memory], taken[1000.0], strict=True))
    for what in ("steps", "whole"):
        ratios = [getattr(one, what) / getattr(two, what) for one, two in pairs]
        print(f"\nstreamed / in memory, {what}: {statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})")


if __name__ == "__main__":
    main()
