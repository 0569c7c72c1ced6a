"""The frame of every task."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from lit_hep.base.learning import Learner
from lit_hep.base.products import show_figures
from lit_hep.data.seeds import run_seed, seed_all
from lit_hep.data.streaming import BlockLoader
from lit_hep.errors import ConfigError
from lit_hep.evaluation.export import Interface
from lit_hep.nets.native import use_kernels
from lit_hep.nets.winograd import winograd
from lit_hep.training.memory import give_back
from lit_hep.training.processes import average_batch_norm
from lit_hep.training.run import RunLogger, load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Data = TypeVar("Data", bound=LightningDataModule)


class BaseTask(Learner):
    """A LightningModule of four hooks, called in this order at construction.

    Hyperparameters are saved, then `configure_models` (which sets `self.net`), `configure_losses` and
    `configure_metrics` are called; each reads `self.hparams`.

    Args:
        optimizer: Any optimizer, given by its class and arguments.
        scheduler: Any learning-rate scheduler; a plateau follows `monitor`.
        scheduler_interval: Whether other schedulers move every epoch or every step.
        weights: Checkpoint whose network a new run starts from.
        compile: Compile the network (torch.compile).
        channels_last: Keep images and weights with the channels innermost.
        native: On a CPU, use kernels that the machine's C++ compiler makes, if it has one: for LeNet-5 and the original
            crater network (`lit_hep.nets.lanes`), for convolutions with `channels_last`, which then multiply less
            (`lit_hep.nets.winograd`) or by the processor's matrix unit (`lit_hep.nets.amx`), and for batch norm, ELU
            and dropout.
        figures_every_n_epochs: How often TensorBoard gets figures of the validation, samples with what was predicted
            among them, beside those at the end of training; 0 never, not at the end either.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        compile: bool = False,
        channels_last: bool = False,
        native: bool = True,
        figures_every_n_epochs: int = 10,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        # a checkpoint holds tensors and plain values only; the command line gives dicts in their place
        self.save_hyperparameters(ignore=[name for name, value in self.hparams.items() if callable(value)])
        self.optimizer, self.scheduler = optimizer, scheduler
        self._drawn: int | None = None
        self.net: nn.Module
        self.configure_models()
        if native:
            use_kernels(self)
            winograd(self)
        self.configure_losses()
        self.configure_metrics()
        # left to itself, DDP overwrites the counts of all processes with those of the first in every step
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def configure_models(self) -> None:
        """Build `self.net` from the hyperparameters."""

    def configure_losses(self) -> None:
        """Build the loss functions."""

    def configure_metrics(self) -> None:
        """Build what counts during an epoch."""

    def setup(self, stage: str) -> None:
        """Start from other weights if asked to; arrange memory and compile.

        Raises:
            ConfigError: The trainer has an option that does not go with the task's data or network.
        """
        super().setup(stage)
        if self.trainer.overfit_batches:  # type: ignore[attr-defined]
            raise ConfigError("overfit_batches: set limit_train_batches and limit_val_batches in its place")
        if (precision := str(self.trainer.precision)).endswith("-true") and precision != "32-true":
            raise ConfigError(f"precision {precision}: images stay float32; set 32-true, bf16-mixed or 16-mixed")
        strategy = self.trainer.strategy
        if not torch.cuda.is_available():
            # Lightning has torch ask the NVIDIA driver at every optimizer step, in vain where there is none
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
        if stage == "fit" and getattr(strategy, "_layer_sync", None) and strategy.root_device.type == "cpu":
            raise ConfigError("sync_batchnorm works on GPUs only; leave --trainer.sync_batchnorm out")
        if stage == "fit" and self.hparams["weights"] and self.trainer.ckpt_path is None:
            load_network(self.net, Path(self.hparams["weights"]))
        if self.hparams["channels_last"]:
            self.to(memory_format=torch.channels_last)
        if self.hparams["compile"]:
            self.net.compile()

    def _folder(self, name: str) -> Path:
        return Path(self.trainer.log_dir or ".", name)  # to be asked for on all processes

    def data_of(self, kind: type[Data]) -> Data:
        """The data module of the run.

        Raises:
            ConfigError: It is not of this kind, but of another task.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, kind):
            raise ConfigError(f"{type(self).__name__} takes its data from {kind.__name__}, not {type(data).__name__}")
        return data

    @abstractmethod
    def interface(self, data: Mapping[str, Any]) -> Interface:
        """What the exported network takes and answers.

        Args:
            data: What a checkpoint tells of its data: hyperparameters and state of the data module.
        """

    def shed(self) -> None:
        """Part with networks that only learning needs; for export."""

    @abstractmethod
    def answers(self, image: Tensor) -> Tensor:
        """What the exported network answers to images as the files have them: probabilities, float32."""

    def figures(self) -> Iterable[tuple[str, "Figure"]]:
        """Figures of the latest validation with their names, samples and predictions among them."""
        return ()

    def on_validation_end(self) -> None:
        """Draw the validation of every so many epochs of training."""
        every, fits = self.hparams["figures_every_n_epochs"], self.trainer.state.fn == TrainerFn.FITTING
        if fits and not self.trainer.sanity_checking and every and (self.current_epoch + 1) % every == 0:
            self._draw()

    def on_train_end(self) -> None:
        """Draw the last validation, unless it is drawn already."""
        if self.hparams["figures_every_n_epochs"] and self._drawn != self.global_step:
            self._draw()

    def _draw(self) -> None:
        self._drawn = self.global_step
        if self.trainer.is_global_zero:
            give_back()  # what training left for drawing, and the other way round
            # as the curves: the global_step of a GAN is twice it
            step = self.trainer.fit_loop.epoch_loop._batches_that_stepped
            show_figures(self.figures(), self.logger, "val", step)
            give_back()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the task, as the command line does by itself: it has to know whose checkpoint it is given."""
        checkpoint["hyper_parameters"].setdefault("_class_path", f"lit_hep.{type(self).__name__}")

    def on_train_start(self) -> None:
        """Open the run's table of metrics."""
        if isinstance(self.logger, RunLogger):
            self.logger.open_table(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Make all random draws of the epoch a function of (seed, epoch, rank), so that resuming is exact."""
        seed_all(run_seed(), self.current_epoch, self.global_rank)
        if isinstance(self.trainer.train_dataloader, BlockLoader):
            give_back()  # the memory is bounded, and evaluation has other sizes than training

    def on_validation_start(self) -> None:
        """Judge the same network on all processes, and the one that the checkpoint will hold."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            average_batch_norm(self)
