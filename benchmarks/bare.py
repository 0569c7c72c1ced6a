"""What a user would write without Lightning: one loop for each kind of task, with the network and data of a fit."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.roofline import timed
from benchmarks.workloads import Fitted
from lit_hep.base.task import BaseTask
from lit_hep.data.batches import Groups
from lit_hep.tasks.ccd.augmentation import augment
from lit_hep.tasks.crater.augmentation import random_framing, random_symmetry
from lit_hep.tasks.drift_chamber.layout import pad
from lit_hep.training.arithmetic import flush_denormals

Batch = dict[str, Any]
_SET_BY_LIGHTNING = "PYTORCH_NVML_BASED_CUDA_CHECK"


@dataclass(frozen=True)
class Variant:
    """How a bare loop differs from the configuration; None leaves it as it is there.

    Args:
        fused: One kernel for all weights in the optimizer.
        channels_last: Images and weights with the channels innermost.
        compile: Compile the network.
        flush: Denormal numbers are zero, as in a fit.
    """

    fused: bool | None = None
    channels_last: bool | None = None
    compile: bool | None = None
    flush: bool = True


class BareLoop:
    """A hand-written loop over the data of a fit, with a copy of its network.

    Args:
        fitted: Gives network, optimizer and data.
        batch: Images a step.
        device: ``cpu`` or ``cuda``.
        variant: Differences to the configuration.

    Attributes:
        shape: Of what the network sees, without the batch.
    """

    def __init__(self, fitted: Fitted, batch: int, device: str, variant: Variant = Variant()) -> None:
        self.task, options = deepcopy_task(fitted.module, device), fitted.data.hparams
        self.device, self.options = device, options
        self.batch, self.flush = batch, variant.flush
        train, val = fitted.data.train_dataloader(), fitted.data.val_dataloader()
        self.train = train.dataset.data if isinstance(train.dataset, Groups) else train.dataset
        self.val = val.dataset
        self.chosen, self.held_out = train.sampler.index, val.sampler.index
        self.evaluated = val.sampler.batch_size
        self.views = getattr(fitted.data, "_views", None)
        if variant.channels_last is not None:
            layout = torch.channels_last if variant.channels_last else torch.contiguous_format
            self.task.to(memory_format=layout)
        self.step, self.loss = _KINDS[type(fitted.module).__name__]
        self.shape = self._seen()
        hparams = fitted.module.hparams
        if hparams["compile"] if variant.compile is None else variant.compile:
            self.task.net.compile()
        rival = getattr(self.task, "discriminator", None)
        self.optimizers = [_optimizer(self.task.optimizer, self.task.net, variant)]
        if rival is not None:
            self.optimizers.append(_optimizer(self.task._rival[0], rival, variant))

    def _seen(self) -> tuple[int, ...]:
        seen: list[tuple[int, ...]] = []
        hook = self.task.net.register_forward_pre_hook(lambda net, images: seen.append(images[0].shape[1:]))
        self._validate()
        hook.remove()
        return tuple(seen[0])

    def steps(self) -> float:
        """Seconds of an epoch's training steps."""
        with _as_without_lightning(self.flush):
            return timed(self._train, self.device)

    def validation(self) -> float:
        """Seconds of a validation: the loss and nothing else."""
        return timed(self._validate, self.device)

    def _train(self) -> None:
        self.task.train()
        for index in self.chosen[torch.randperm(len(self.chosen))].split(self.batch):
            self.step(self, self._views(self._fetch(self.train, index)))

    @torch.no_grad()
    def _validate(self) -> None:
        self.task.eval()
        for index in self.held_out.split(self.evaluated):
            self.loss(self.task, self._dense(self._fetch(self.val, index)))

    def _fetch(self, columns: Any, index: Tensor) -> Batch:
        return {name: column.to(self.device) for name, column in columns[index].items()}

    def _dense(self, batch: Batch) -> Batch:
        if hasattr(batch["image"], "dense"):
            batch["image"] = batch["image"].dense()
        elif type(self.task).__name__ == "ElectronPhoton":
            batch["image"] = batch["image"].permute(0, 3, 1, 2)
        return batch

    def _views(self, batch: Batch) -> Batch:
        """Random views of training images, as configured."""
        options, image = self.options, batch["image"]
        if options.get("augment"):
            batch["image"] = random_framing(random_symmetry(image), options["zoom"], options["shift"])
        if options.get("augmentation", "none") != "none":
            seed = int(torch.randint(2**31, ()))
            views = augment(image, batch["mask"], batch["level"][:, 0], seed, options["augmentation"])
            batch["image"], batch["mask"] = views
        if options.get("mix"):
            background = image & ~batch["target"]
            batch["image"] = batch["target"] | background[torch.randperm(len(image), device=image.device)]
        if self.views is not None:
            batch["image"] = self.views(image)
        return self._dense(batch)


@contextmanager
def _as_without_lightning(flush: bool) -> Iterator[None]:
    """Take back what importing Lightning sets, by which each step of Adam looks for a GPU anew if there is none."""
    found = os.environ.pop(_SET_BY_LIGHTNING, None)
    flush_denormals(flush)
    try:
        yield
    finally:
        flush_denormals(False)
        if found is not None:
            os.environ[_SET_BY_LIGHTNING] = found


def deepcopy_task(task: BaseTask, device: str) -> BaseTask:
    """A copy of a task, without its trainer, on a device."""
    trainer, task._trainer = task._trainer, None
    try:
        return deepcopy(task).to(device)
    finally:
        task._trainer = trainer


def _optimizer(configured: Any, net: nn.Module, variant: Variant) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = configured(net.parameters())
    if variant.fused is None or "fused" not in made.defaults:
        return made
    flavour = {"fused": variant.fused, "foreach": not variant.fused}
    known = signature(type(made)).parameters
    options = {name: value for name, value in made.defaults.items() if name in known}
    return type(made)(net.parameters(), **{**options, **flavour})


def _descend(loop: BareLoop, batch: Batch) -> None:
    optimizer = loop.optimizers[0]
    loss = loop.loss(loop.task, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _binary(logits: Tensor, batch: Batch) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, batch["label"].float(), batch.get("weight"))


def _crater(task: Any, batch: Batch) -> Tensor:
    return _binary(task.net(batch["image"].float() / 255).squeeze(1), batch)


def _electron_photon(task: Any, batch: Batch) -> Tensor:
    return _binary(task.net(batch["image"]).squeeze(1), batch)


def _planes(task: Any, batch: Batch) -> Tensor:
    logits = task.net(batch["image"])
    return _binary(logits[:, 1] - logits[:, 0], batch)


def _ccd(task: Any, batch: Batch) -> Tensor:
    loss: Tensor = task.criterion(task.net(batch["image"], batch.get("level")), batch["mask"])
    return loss


def _hits(task: Any, batch: Batch) -> Tensor:
    hits, truth = (batch[name].float() for name in ("image", "target"))
    logits = task.net(_picture(task, hits))
    logits = logits if task.hparams["net"] == "original" else logits[:, 0]
    if task.hparams["net"] == "original":
        return F.l1_loss(logits.sigmoid(), _picture(task, truth))
    losses = F.binary_cross_entropy_with_logits(logits, truth, weight=hits, reduction="sum")
    return losses / hits.sum()


def _picture(task: Any, hits: Tensor) -> Tensor:
    return pad(hits[:, None]).expand(-1, 3, -1, -1) if task.hparams["net"] == "original" else hits[:, None]


def _drift_chamber(loop: BareLoop, batch: Batch) -> None:
    """A step of the denoiser; of a GAN one of the discriminator, then one of the generator (P. Isola et al.)."""
    task: Any = loop.task
    if task.discriminator is None:
        return _descend(loop, batch)
    generator, rival = loop.optimizers
    given, wanted = (_picture(task, batch[name].float()) for name in ("image", "target"))
    made = task.net(given).sigmoid()
    real = task.discriminator(torch.cat([given, wanted], dim=1))
    fake = task.discriminator(torch.cat([given, made.detach()], dim=1))
    loss = _patches(real, 1) + _patches(fake, 0)
    rival.zero_grad()
    loss.backward()
    rival.step()
    task.discriminator.requires_grad_(False)
    fooled = _patches(task.discriminator(torch.cat([given, made], dim=1)), 1)
    loss = fooled + task.hparams["distance_weight"] * F.l1_loss(made, wanted)
    generator.zero_grad()
    loss.backward()
    generator.step()
    task.discriminator.requires_grad_(True)
    return None


def _patches(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


_KINDS: Mapping[str, tuple[Callable[[BareLoop, Batch], None], Callable[[Any, Batch], Tensor]]] = {
    "CraterSemiSup": (_descend, _crater),
    "ElectronPhoton": (_descend, _electron_photon),
    "MultiPlaneFusion": (_descend, _planes),
    "CCDUNet": (_descend, _ccd),
    "Pix2PixGAN": (_drift_chamber, _hits),
}
"""A step of training, and the loss alone, by the task's class."""
