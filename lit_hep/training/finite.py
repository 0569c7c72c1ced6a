"""A training whose loss is no number any more is stopped, with the samples at which that happened."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lit_hep.data.files import replacing
from lit_hep.errors import TrainingError
from lit_hep.training.processes import of_each

_NAME = "not_finite.json"


class _Steps(NamedTuple):
    """A step, or those that were taken of a group of batches.

    Args:
        epoch: Of them.
        last: Global step after the last one.
        stride: By which a step adds to it.
        losses: Name to losses (n,).
        samples: Of each step.
    """

    epoch: int
    last: int
    stride: int
    losses: dict[str, Tensor]
    samples: Sequence[Tensor | None]


class _Step(NamedTuple):
    epoch: int
    number: int
    losses: dict[str, Tensor]
    samples: Tensor | None


class FiniteLoss(Callback):
    """Stops the run at a loss that is NaN or infinite, and saves epoch, step and samples as ``not_finite.json``.

    Samples are those of a batch's ``index``, or of ``sample`` where that numbers parts of samples. Looked at is what
    ``training_step`` returns: ``loss`` and, in a dict, all else whose name ends so; of a group of batches a loss of
    each. The losses stay on the device until all processes look together; no checkpoint is written without a look at
    the losses and the weights, so that ``last`` and ``best`` are from before.

    Args:
        every_n_steps: Steps between two looks, each of which waits for the device; on one CPU each step is looked at.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self._every_n_steps = every_n_steps
        self._steps: list[_Steps] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at each step where that waits for nothing."""
        self._steps.clear()
        if trainer.world_size == 1 and pl_module.device.type == "cpu":
            self._every_n_steps = 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the step until the next look."""
        if not outputs:
            return
        losses = {name: value.detach() for name, value in outputs.items() if name.endswith("loss")}
        if not any(value.dim() for value in losses.values()):
            losses, batch = {name: value[None] for name, value in losses.items()}, [batch]
        count = len(next(iter(losses.values())))
        samples = [one.get("sample", one.get("index")) if isinstance(one, dict) else None for one in batch[:count]]
        stride = len(trainer.optimizers)
        self._steps.append(_Steps(trainer.current_epoch, trainer.global_step, stride, losses, samples))
        if sum(len(some.samples) for some in self._steps) >= self._every_n_steps:
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before time is spent on it."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._look(trainer)
            self._look_at_weights(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look before anything is overwritten."""
        self._look(trainer)
        self._look_at_weights(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what the last checkpoint has not."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        losses = torch.cat([loss for some in steps for loss in some.losses.values()])
        if not trainer.strategy.reduce_boolean_decision(bool(losses.isfinite().all())):
            self._stop(trainer, *(step for some in steps for step in _spoilt(some)))

    def _look_at_weights(self, trainer: Trainer) -> None:
        weights = torch.stack([weight.isfinite().all() for weight in trainer.lightning_module.parameters()])
        if not trainer.strategy.reduce_boolean_decision(bool(weights.all())):
            self._stop(trainer, _Step(trainer.current_epoch, trainer.global_step, {}, None))

    def _stop(self, trainer: Trainer, *steps: _Step) -> None:
        """Save the first of these steps, of all processes together, and end the run.

        Raises:
            TrainingError: On the first process; the others end in silence.
        """
        found = [told for one in of_each([_told(trainer, step) for step in steps[:1]]) for told in one]
        path = Path(trainer.log_dir or ".", _NAME)  # to be asked for on all processes
        if not trainer.is_global_zero:
            raise SystemExit(0)  # Lightning would kill the first process at any other code
        first = min(told["step"] for told in found)
        told = [one for one in found if one["step"] == first]
        ids = [number for one in told for number in one["ids"]]
        with replacing(path) as part:
            part.write_text(json.dumps(told[0] | {"ids": ids}, indent=2) + "\n")
        what = ", ".join(f"{name} {value}" for name, value in told[0]["losses"].items()) or "a weight is not finite"
        raise TrainingError(
            f"epoch {told[0]['epoch']}, step {first}: {what}; the samples of that step are in {path}: look at them, or "
            "lower the learning rate; last.ckpt and best.ckpt are from before"
        )


def _spoilt(steps: _Steps) -> Iterator[_Step]:
    """Steps with a loss that is not finite."""
    finite = torch.stack(list(steps.losses.values())).isfinite().all(0)
    for place in (~finite).nonzero().flatten().tolist():
        number = steps.last - (len(finite) - 1 - place) * steps.stride
        losses = {name: values[place] for name, values in steps.losses.items()}
        yield _Step(steps.epoch, number, losses, steps.samples[place])


def _told(trainer: Trainer, step: _Step) -> dict[str, Any]:
    """A step in plain values: its losses as text (JSON has no NaN), its samples as the user knows them."""
    losses = {name: str(float(value)) for name, value in step.losses.items()}
    known = getattr(trainer.datamodule, "ids", np.asarray)  # type: ignore[attr-defined]
    ids = known(step.samples.cpu().numpy()).tolist() if step.samples is not None else []
    return {"epoch": step.epoch, "step": step.number, "losses": losses, "ids": ids}
