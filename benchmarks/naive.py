"""Lightning as its first tutorial has it: a default DataLoader, a metric and `self.log` in each step, Adam."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy

from benchmarks.workloads import Clock, quiet
from lit_hep.base.task import BaseTask


class Naive(LightningModule):
    """A network that gives images, or their pixels, a class."""

    def __init__(self, task: BaseTask, classes: int) -> None:
        super().__init__()
        self.net, self.classes = task.net, classes
        self.accuracy = Accuracy(task="multiclass", num_classes=classes) if classes > 1 else Accuracy(task="binary")

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Loss and accuracy of a batch."""
        image, label = batch
        logits = self.net(image)
        if self.classes > 1:
            loss = F.cross_entropy(logits, label)
        else:
            logits = logits.squeeze(1)
            loss = F.binary_cross_entropy_with_logits(logits, label.float())
        self.accuracy(logits, label)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_accuracy", self.accuracy, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-4)


class NaiveGAN(LightningModule):
    """Pix2Pix by manual optimization."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = task.net, task.discriminator

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """A step of the generator, a step of the discriminator."""
        given, wanted = batch
        first, second = self.optimizers()
        made = self.generator(given).sigmoid()
        fooled = self.discriminator(torch.cat([given, made], dim=1))
        loss = F.binary_cross_entropy_with_logits(fooled, torch.ones_like(fooled)) + 200 * F.l1_loss(made, wanted)
        first.zero_grad()
        self.manual_backward(loss)
        first.step()
        real = self.discriminator(torch.cat([given, wanted], dim=1))
        fake = self.discriminator(torch.cat([given, made.detach()], dim=1))
        rival = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        rival = rival + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        second.zero_grad()
        self.manual_backward(rival)
        second.step()
        self.log_dict({"generator_loss": loss, "discriminator_loss": rival}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Adam for each."""
        pair = self.generator, self.discriminator
        return [torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.5, 0.999)) for net in pair], []


def epoch(task: BaseTask, shape: tuple[int, ...], images: int, batch: int, device: str) -> Callable[[], float]:
    """A function that trains an epoch on random images, and returns the seconds of its steps.

    Args:
        task: Gives the network.
        shape: Of an image as the network sees it.
        images: An epoch.
        batch: Images a step.
        device: ``cpu`` or ``cuda``.
    """
    task.net.to(memory_format=torch.contiguous_format)
    image = torch.rand(images, *shape)
    module: LightningModule
    if getattr(task, "discriminator", None) is not None:
        target, module = torch.rand(images, *shape), NaiveGAN(task)
    else:
        with torch.no_grad():
            classes, *pixels = task.net.eval()(image[:2]).shape[1:]
        target, module = torch.randint(max(2, classes), (images, *pixels)), Naive(task, classes)
    loader = DataLoader(TensorDataset(image, target), batch_size=batch, shuffle=True)

    def train() -> float:
        module.train()
        with quiet():
            Trainer(max_epochs=2, accelerator="gpu" if device == "cuda" else "cpu", callbacks=[Clock()]).fit(
                module, loader
            )
        return Clock.latest.steps[-1]

    return train
