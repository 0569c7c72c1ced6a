"""Callbacks that runs of the tests are given on the command line: ``--trainer.callbacks+=callbacks.Send``."""

import os
import resource
import signal
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


class StopAfter(Callback):
    """Stops a fit after so many epochs."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


class Send(Callback):
    """Sends its process a signal at a hook of an epoch, or a later one's."""

    def __init__(self, number=15, epoch=2, hook="on_train_batch_start", rank=0, times=1):
        self.sent, self.epoch = [number] * times, epoch
        setattr(self, hook, lambda trainer, *_: self.send(trainer, rank))

    def send(self, trainer, rank):
        while self.sent and trainer.current_epoch >= self.epoch and trainer.global_rank == rank:
            os.kill(os.getpid(), self.sent.pop())


class Kill(Callback):
    """Has the process kill itself at the n-th call of a function of os."""

    def __init__(self, call="fsync", number=1):
        self.call, self.number = call, number

    def on_train_start(self, trainer, module):
        real, self.left = getattr(os, self.call), self.number

        def counted(*args, **kwargs):
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(os, self.call, counted)


class Limit(Callback):
    """After the first epoch, no file may be larger than 20 kB."""

    def on_train_epoch_end(self, trainer, module):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))


class Watch(Callback):
    """Writes, for each epoch, how many pages of memory and how many files are in use."""

    def on_train_epoch_start(self, trainer, module):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(list(Path("/proc/self/fd").iterdir()))
        with Path("watched.txt").open("a") as file:
            file.write(f"{pages} {files}\n")


class SaveRank(Callback):
    """Saves what a process has learnt."""

    def on_train_end(self, trainer, module):
        state = {"module": module.state_dict(), "data": trainer.datamodule.state_dict()}
        state |= {"rate": [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]}
        state |= {type(call).__name__: call.state_dict() for call in trainer.callbacks if hasattr(call, "wait_count")}
        torch.save(state, f"rank{trainer.global_rank}of{trainer.world_size}.pt")


class Plain(SaveRank):
    """Without batch norm and dropout."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
            elif isinstance(layer, _DropoutNd):
                layer.p = 0.0


class Spoil(Callback):
    """Spoils a step's images, or a network's weights before it or after the epoch, and writes the samples' ids."""

    def __init__(self, kind="image", epoch=1, step=0, value="nan", rank=0):
        self.kind, self.epoch, self.step, self.value, self.rank = kind, epoch, step, float(value), rank

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx, trainer.global_rank) != (self.epoch, self.step, self.rank):
            return
        if self.kind == "image":
            batch["image"] = torch.full_like(batch["image"].float(), self.value)
        elif self.kind != "after":
            with torch.no_grad():
                next(getattr(module, self.kind).parameters()).view(-1)[0] = self.value
        write_ids(trainer, batch.get("sample", batch["index"]))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if self.kind == "after" and trainer.current_epoch == self.epoch and trainer.is_last_batch:
            with torch.no_grad():
                next(module.parameters()).fill_(self.value)


class SpoilGroup(Callback):
    """Spoils the images of the third step of the second group of epoch 1."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 1):
            batch[2]["image"] = batch[2]["image"].float() * float("nan")
            write_ids(trainer, batch[2]["index"])


def write_ids(trainer, samples):
    Path("spoiled.txt").write_text("\n".join(map(str, trainer.datamodule.ids(samples.numpy()))))


class See(Callback):
    """Asks for a group's second batch and says, at its end, what is left of each."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.asked = batch[1]

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        print("seen", *(len(one["index"]) + ("image" in one) / 10 for one in batch), batch[1] is self.asked)


class Hear(Callback):
    """Takes away the last layer's gradient."""

    def on_after_backward(self, trainer, module):
        list(module.net.parameters())[-1].grad.zero_()
