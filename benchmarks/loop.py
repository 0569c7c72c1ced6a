"""What `fit` costs on top of a bare PyTorch loop: same network, batches, precision and data, in one run.

    OMP_NUM_THREADS=2 python -m benchmarks.loop --batch 32 256

Both sides take the same number of epochs over the same images in memory, with the same augmentation, loss and
optimizer. `fit` does all it ships with: progress bar, metrics, validation, TensorBoard, two checkpoints an epoch. The
bare loop trains and validates, and nothing else. They alternate, and the order in each pair too; the figure is the
median of the pairs' ratios.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer, seed_everything

from lit_hep.tasks.crater import CraterDataModule, CraterSemiSup
from lit_hep.tasks.crater.augmentation import random_framing, random_symmetry
from lit_hep.tasks.crater.simulation import simulate
from lit_hep.training.callbacks import BestCheckpoint, EpochCheckpoint, ProgressBar
from lit_hep.training.run import RunLogger


def task(net: str) -> CraterSemiSup:
    """The network as its config trains it."""
    seed_everything(1)
    rate = 3e-4 if net == "original" else 3e-3
    return CraterSemiSup(net=net, optimizer=lambda params: torch.optim.AdamW(params, lr=rate, fused=True))


def data(root: str, net: str, batch_size: int) -> CraterDataModule:
    """The images as its config feeds them."""
    options = {"augment": False, "zoom": 0, "shift": 0} if net == "original" else {}
    module = CraterDataModule(root, batch_size=batch_size, balance="none", **options)
    module.setup("fit")
    return module


class _Clock(ProgressBar):
    """The shipped progress bar, with the time from the first epoch's start to the last one's end."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.seconds = time.perf_counter() - self.began


def with_fit(root: str, net: str, batch_size: int, epochs: int) -> float:
    """Seconds of the epochs of `fit`, checkpoints and logs included."""
    module, clock = task(net), _Clock()
    callbacks = [clock, BestCheckpoint(), EpochCheckpoint()]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=RunLogger("loop"),
        callbacks=callbacks,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data(root, net, batch_size))
    return clock.seconds


def bare(root: str, net: str, batch_size: int, epochs: int) -> float:
    """Seconds of the same epochs in a hand-written loop: train, then the validation loss."""
    module, source = task(net), data(root, net, batch_size)
    network, optimizer = module.net, module.optimizer(module.parameters())
    train, val = source.train_dataloader().dataset.columns, source.val_dataloader().dataset.columns
    chosen, held_out = torch.from_numpy(source.part("train")), torch.from_numpy(source.part("val"))
    began = time.perf_counter()
    for _ in range(epochs):
        network.train()
        for index in chosen[torch.randperm(len(chosen))].split(batch_size):
            image = train["image"][index]
            if net == "deep":
                image = random_framing(random_symmetry(image), 0.2, 3.0)
            logits = network(image.float() / 255).squeeze(1)
            loss = F.binary_cross_entropy_with_logits(logits, train["label"][index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            for index in held_out.split(4 * batch_size):
                F.binary_cross_entropy_with_logits(
                    network(val["image"][index].float() / 255).squeeze(1), val["label"][index]
                )
    return time.perf_counter() - began


def main() -> None:
    """Measure what the command line asks for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", default=["original", "deep"])
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 256])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", type=int, default=2783, help="labelled images")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("| network | batch | fit, images/s | bare loop, images/s | fit / bare: median (min–max) |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        root = str(Path(folder, "data"))
        Path(root).mkdir()
        with contextlib.redirect_stderr(io.StringIO()):
            simulate(Path(root), options.size)
        for net in options.net:
            for batch_size in options.batch:
                images = len(data(root, net, batch_size).part("train")) * options.epochs
                pairs = []
                for pair in range(options.pairs + 1):
                    sides = (with_fit, bare) if pair % 2 else (bare, with_fit)
                    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                        taken = {side: side(root, net, batch_size, options.epochs) for side in sides}
                    pairs.append((taken[with_fit], taken[bare]))
                pairs = pairs[1:]  # the first warms up
                ratios = [loop / fit for fit, loop in pairs]
                speeds = [images / statistics.median(side) for side in zip(*pairs, strict=True)]
                print(
                    f"| {net} | {batch_size} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | "
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
