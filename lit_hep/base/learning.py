"""How a task learns: optimizers, schedulers, and steps one by one or in groups."""

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_hep.base.loading import Loading
from lit_hep.data.batches import Group
from lit_hep.errors import ConfigError
from lit_hep.training.adam import as_they_lie

# what Lightning calls in each step of manual optimization
_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")


class Learner(LightningModule, ABC):
    """A LightningModule that learns by `loss_of`, or has a `step` of its own.

    Attributes:
        optimizer: Of the parameters, by which it is made.
        scheduler: Of the optimizer, by which it is made, if there is one.
        learning_rate: In place of the optimizer's own.
    """

    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None
    learning_rate: float | None = None
    monitor: str = "val_loss"
    """Quantity that checkpoints, early stopping and the plateau follow; equal on all processes."""
    mode: Literal["min", "max"] = "min"
    """Whether small or large is good."""
    _heard = True

    def setup(self, stage: str) -> None:
        """Take the steps by hand where Lightning sees groups of batches."""
        if stage == "fit" and getattr(self.trainer.datamodule, "group", 1) > 1:  # type: ignore[attr-defined]
            self.automatic_optimization = False
            self._heard = self._has_listeners()
            # Lightning compares steps with the number of groups
            warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")

    def _has_listeners(self) -> bool:
        """Whether a callback, a profiler or the task itself hears what Lightning tells in each step."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        told = [(self, LightningModule), *((callback, Callback) for callback in callbacks)]
        profiled = not isinstance(self.trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        return profiled or any(is_overridden(hook, one, kind) for hook in _HOOKS for one, kind in told)

    @abstractmethod
    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of a training batch."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Learn from a batch.

        Returns:
            ``loss``, and others whose name ends so, each ().
        """
        loss = self.loss_of(batch)
        self.descend(loss)
        return {"loss": loss.detach()}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Loss of a batch, by which Lightning takes the step; or the steps of a group of batches, one after another.

        Of a group, random views of a batch are drawn after the step before: dropout draws from the same generator.
        """
        if self.automatic_optimization:
            return self.loss_of(batch)
        if not isinstance(batch, Sequence):
            return self._step(batch)
        data: Loading = self.trainer.datamodule  # type: ignore[attr-defined]
        first = batch_idx * data.group
        loop, losses = self.trainer.fit_loop.epoch_loop, list[dict[str, Tensor]]()
        for number, part in enumerate(batch.steps() if isinstance(batch, Group) else batch):
            if number:
                if -1 < loop.max_steps <= self.global_step:
                    break
                loop._batches_that_stepped += 1  # by which loggers count; Lightning adds 1 itself
            losses.append(self._step(data.form(part, first + number)))
        return {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = self.step(batch)
        torch.clear_autocast_cache()  # else the next step would see the weights before this one
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "step":
                config.scheduler.step()  # type: ignore[call-arg]
        return losses

    def descend(self, loss: Tensor, number: int = 0) -> None:
        """A step of an optimizer, where Lightning is not to take it.

        Args:
            loss: To be made smaller.
            number: Of the optimizer.
        """
        optimizers = self.optimizers(use_pl_optimizer=True)
        optimizer: Any = optimizers[number] if isinstance(optimizers, list) else optimizers
        if self._heard:
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return
        for group in optimizer.optimizer.param_groups:  # not by zero_grad, which tells a profiler
            for parameter in group["params"]:
                parameter.grad = None
        torch.autograd.backward(loss)
        optimizer._on_before_step()  # Lightning counts
        optimizer.optimizer.step()
        optimizer._on_after_step()

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler of the configuration."""
        return self.scheduled(self.parameters(), self.optimizer, self.scheduler)

    def scheduled(
        self, parameters: Iterable[nn.Parameter], optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None
    ) -> dict[str, Any]:
        """Optimizer of some parameters, and its scheduler, as Lightning wants them."""
        try:
            made = as_they_lie(optimizer(parameters))
        except ValueError as error:
            raise ConfigError(f"optimizer: {error}") from error
        if self.learning_rate is not None:
            for group in made.param_groups:
                group["lr"] = self.learning_rate
        if scheduler is None:
            return {"optimizer": made}
        config = {"scheduler": scheduler(made), "interval": self.hparams["scheduler_interval"]}
        if isinstance(config["scheduler"], ReduceLROnPlateau):
            if config["scheduler"].mode != self.mode:
                raise ConfigError(f"scheduler: {self.monitor} asks for mode {self.mode}; set scheduler.init_args.mode")
            # Lightning steps a plateau after the checkpoint is written; see on_train_epoch_end
            config |= {"monitor": self.monitor, "interval": "epoch", "frequency": sys.maxsize}
        return {"optimizer": made, "lr_scheduler": config}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a run be resumed with another number of steps at a time: Lightning counts by hand-made steps apart."""
        steps = {"ready": checkpoint["global_step"], "completed": checkpoint["global_step"]}
        if "loops" not in checkpoint:
            return
        loops = checkpoint["loops"]["fit_loop"]
        loops["epoch_loop.manual_optimization.optim_step_progress"]["total"] = dict(steps)
        loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"] = dict(steps)

    def on_train_epoch_end(self) -> None:
        """Step schedulers as far as Lightning does not, before the checkpoint is written; log the learning rates."""
        for config in self.trainer.lr_scheduler_configs:
            value = self.trainer.callback_metrics.get(self.monitor)
            if isinstance(config.scheduler, ReduceLROnPlateau):
                if value is not None:
                    config.scheduler.step(value)
            elif config.interval == "epoch" and not self.automatic_optimization:
                config.scheduler.step()
        for number, optimizer in enumerate(self.trainer.optimizers):
            name = f"lr-{type(optimizer).__name__}" + (f"-{number}" if number else "")
            self.log(name, optimizer.param_groups[0]["lr"], sync_dist=True)
