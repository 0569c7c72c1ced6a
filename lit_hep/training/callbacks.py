"""Checkpoints, early stopping and progress bar; what they monitor is the task's `monitor` and `mode`."""

import time
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from lit_hep.data.files import sweep
from lit_hep.training.checkpoint_io import WholeCheckpoints, link, share
from lit_hep.training.run import RunLogger


class _RunCheckpoint(ModelCheckpoint):
    """Checkpoint in the run's own folder, whole at any moment."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # the user asked for no other
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        if self.dirpath is None and isinstance(trainer.logger, RunLogger):
            # relative, so that a run can be moved with its folder and still be resumed
            self.dirpath = trainer.strategy.broadcast(str(trainer.logger.checkpoint_folder))
        if trainer.is_global_zero and self.dirpath:
            sweep(Path(self.dirpath))
        super().setup(trainer, pl_module, stage)

    @staticmethod
    def _link_checkpoint(trainer: Trainer, filepath: str, linkpath: str) -> None:
        """Lightning would remove the link before it makes the new one."""
        if trainer.is_global_zero:
            link(Path(linkpath), Path(filepath))
        trainer.strategy.barrier()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over all of the state: Lightning leaves the latest score behind."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]


class BestCheckpoint(_RunCheckpoint):
    """``best.ckpt``: the epoch with the best monitored value. To be listed before `EpochCheckpoint`."""

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="", enable_version_counter=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take over what the task monitors."""
        self.monitor, self.mode = monitored(pl_module)
        self.kth_value = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)
        super().setup(trainer, pl_module, stage)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best epoch on TensorBoard's page of hyperparameters."""
        super().on_train_end(trainer, pl_module)
        if isinstance(trainer.logger, RunLogger) and self.best_model_score is not None:
            trainer.logger.log_final(str(self.monitor), self.best_model_score)


class EpochCheckpoint(_RunCheckpoint):
    """``epoch000.ckpt`` …, one an epoch, and ``last.ckpt``, a link to the newest.

    The best shares its file with ``best.ckpt``, where the file system can.

    Args:
        every_n_epochs: Keep one in so many.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        super().__init__(
            filename="epoch{epoch:03d}",
            auto_insert_metric_name=False,
            save_top_k=-1,
            save_last="link",
            every_n_epochs=every_n_epochs,
            save_on_train_epoch_end=True,  # else after validation, wherever in the epoch that is
            enable_version_counter=False,
        )

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """What `BestCheckpoint` has just written is not written again."""
        if self._shared(trainer, Path(filepath)):
            self._last_global_step_saved, self._last_checkpoint_saved = trainer.global_step, filepath
        else:
            super()._save_checkpoint(trainer, filepath)

    @staticmethod
    def _shared(trainer: Trainer, path: Path) -> bool:
        best = [one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint)]
        now = best and best[0]._last_global_step_saved == trainer.global_step
        if not now or not isinstance(trainer.strategy.checkpoint_io, WholeCheckpoints):
            return False
        done = trainer.is_global_zero and share(path, Path(best[0]._last_checkpoint_saved))
        return bool(trainer.strategy.broadcast(done))

    def state_dict(self) -> dict[str, Any]:
        """As it is whether `BestCheckpoint` writes it or this one."""
        return super().state_dict() | {"best_model_path": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Know of the link: it was made after the checkpoint was written."""
        super().load_state_dict(state_dict)
        self.last_model_path = str(Path(str(self.dirpath), "last.ckpt"))


class EarlyStop(EarlyStopping):
    """End the run when the monitored value has not improved for a while.

    Args:
        patience: Epochs without improvement.
        min_delta: What counts as improvement.
    """

    def __init__(self, patience: int = 10, min_delta: float = 0.0) -> None:
        super().__init__(monitor="", patience=patience, min_delta=min_delta, strict=False)
        self._delta = min_delta

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take over what the task monitors."""
        super().setup(trainer, pl_module, stage)
        self.monitor, self.mode = monitored(pl_module)
        self.min_delta = self._delta if self.mode == "max" else -self._delta
        self.forget()

    def forget(self) -> None:
        """Start counting afresh."""
        self.wait_count = 0
        self.best_score = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.wait_count >= self.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that had already ended does not go on when it is resumed."""
        trainer.should_stop = trainer.should_stop or self.over


def monitored(module: LightningModule) -> tuple[str, Literal["min", "max"]]:
    """Name and direction of what a task monitors."""
    return module.monitor, module.mode  # type: ignore[return-value]


class ProgressBar(TQDMProgressBar):
    """Progress bar with the training loss and the monitored value, redrawn by time and not by step.

    Args:
        interval: Seconds between two looks at the loss, each of which waits for the device.
    """

    def __init__(self, interval: float = 0.5) -> None:
        super().__init__()
        self._interval = interval
        self._drawn = 0.0
        self._loss: float | None = None

    def init_validation_tqdm(self) -> Tqdm:
        """Validation takes no bar of its own."""
        return Tqdm(disable=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw if it is time."""
        if self.is_disabled:
            return
        now = time.monotonic()
        if now - self._drawn < self._interval and batch_idx + 1 != self.total_train_batches:
            return
        self._drawn = now
        bar = self.train_progress_bar
        bar.n, self._loss = batch_idx + 1, None
        if outputs:
            loss = outputs["loss"]
            self._loss = float(loss.reshape(-1)[-1])
            if pl_module.automatic_optimization:
                self._loss *= trainer.accumulate_grad_batches  # by which Lightning has divided it
            if loss.dim():  # those of a group of batches, of which the last one may be smaller
                size = trainer.datamodule.group  # type: ignore[attr-defined]
                bar.n = batch_idx * size + len(loss)
                bar.total = bar.n if batch_idx + 1 == self.total_train_batches else self.total_train_batches * size
        bar.set_postfix(self.get_metrics(trainer, pl_module))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the bar's line: the message that follows is not to hang on it."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str | float]:  # type: ignore[override]
        """Loss of the latest step looked at, and the monitored value of the latest validation."""
        name, _ = monitored(pl_module)
        values = {"loss": self._loss, name: trainer.callback_metrics.get(name)}
        return {key: f"{float(value):.4f}" for key, value in values.items() if value is not None}
