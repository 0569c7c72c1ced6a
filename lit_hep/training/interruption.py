"""A run that is told to stop ends between two steps, with whole files and a word on how to go on."""

import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_hep.data.runs import versions
from lit_hep.signals import Stopped, signals
from lit_hep.training.run import RunLogger

_EVERY = 8  # steps between two times that several processes agree


class Interruption(Callback):
    """Ends the run, on all processes together, after the step in which a signal came.

    No checkpoint is written: an epoch's random draws are a function of (seed, epoch, rank), and a resumed run begins
    the epoch anew. A SIGUSR1 by which SLURM announces the end is left to Lightning.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on wait for the end of a step."""
        signals.install()  # Lightning's handler talks to the other processes in the middle of a step
        signals.awaited = True

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if a process was told to."""
        alone = trainer.world_size == 1
        if not alone and (batch_idx + 1) % _EVERY and (batch_idx + 1) != trainer.num_training_batches:
            return
        told = signals.received is not None
        if told if alone else trainer.strategy.reduce_boolean_decision(told, all=False):
            number = signals.received or signal.SIGTERM
            words = f"stopped by {signal.Signals(number).name}" + self._where(trainer)
            # Lightning kills the first process, busy as it may be, if another one ends with any other code than 0
            raise Stopped(number, words) if trainer.is_global_zero else SystemExit(0)

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on results are written: whole or not at all, so that there is nothing to wait for."""
        signals.awaited = False
        if signals.received is not None:
            raise Stopped(signals.received)

    on_predict_epoch_end = on_test_epoch_end

    def _where(self, trainer: Trainer) -> str:
        """In which epoch, and what to type to go on."""
        if trainer.state.fn != "fit":
            return ""
        where = f" in epoch {trainer.current_epoch}"
        logger = trainer.logger
        if not isinstance(logger, RunLogger):
            return where
        folder = logger.checkpoint_folder
        if not (folder / "last.ckpt").is_file():
            return f"{where}, before the first checkpoint: start it anew"
        path = "last" if versions(folder.parent)[-1] == logger.version else folder / "last.ckpt"
        config = Path(logger.log_dir, "config.yaml")
        return f"{where}; to go on: python -m lit_hep fit --config {config} --ckpt_path {path}"
