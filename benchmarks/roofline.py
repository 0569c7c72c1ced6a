"""What the machine can do at best: matrix products, convolutions, copies in memory, reading from disk."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.engine import Figure, Settings, Table, alternate
from lit_hep.base.task import BaseTask
from lit_hep.nets.cost import multiply_adds

_CHANNELS = 64
_TRAINED = 3  # forward; gradients by the inputs and by the weights cost as much each


@dataclass(frozen=True)
class Roofline:
    """Measured bounds.

    Args:
        products: Multiply-adds a second of a product of float32 matrices or of a convolution, whichever has more.
        halves: The same of a product of bfloat16 matrices.
        copied: Bytes a second that are read, and as many written, by a copy in memory.
        read: Bytes a second from a file that is not in memory.
    """

    products: float
    halves: float
    copied: float
    read: float

    def answered(self, net: nn.Module, shape: tuple[int, ...]) -> float:
        """Images a second, without learning, if every layer were as fast as the fastest."""
        return self.products / multiply_adds(net, shape)


def trained(task: BaseTask, shape: tuple[int, ...]) -> int:
    """Multiply-adds of an image in training.

    Args:
        task: With its network, and perhaps a discriminator.
        shape: Of what the network sees, without the batch.
    """
    needed = _TRAINED * multiply_adds(task.net, shape)
    rival = getattr(task, "discriminator", None)
    if rival is not None:
        # real and fake in its own step, forward and backward; once more forward, and backward to the picture
        needed += 8 * multiply_adds(rival, (2 * shape[0], *shape[1:]))
    return needed


def share(rate: Figure, limit: float) -> str:
    """Of a bound, in per cent."""
    return f"{100 * rate.median / limit:.3g} %"


def timed(run: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of a call, what it has started on the device included."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(settings: Settings, tables: list[Table]) -> Roofline:
    """Measure the bounds and put them into a table."""
    side = 256 if settings.quick else 2048 if settings.device == "cpu" else 8192
    length = 2**20 if settings.quick else 2**27  # bytes
    matrix = torch.rand(side, side, device=settings.device)
    there, back = torch.ones(length, dtype=torch.uint8), torch.empty(length, dtype=torch.uint8)
    file = settings.scratch / "bytes"
    file.write_bytes(os.urandom(length))
    halves = matrix.bfloat16()
    product, copy = partial(torch.mm, matrix, matrix), partial(_copy, there, back)
    convolution = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False).to(settings.device).requires_grad_(False)
    image = torch.rand(8, _CHANNELS, side // 16, side // 16, device=settings.device)
    layout = torch.channels_last
    convolve = partial(convolution.to(memory_format=layout), image.to(memory_format=layout))  # type: ignore[call-overload]
    taken = alternate(
        {
            "product": lambda: timed(product, settings.device),
            "halves": lambda: timed(partial(torch.mm, halves, halves), settings.device),
            "convolution": lambda: timed(convolve, settings.device),
            "copy": lambda: timed(copy),
            "read": lambda: timed(lambda: read_cold(file)),
        },
        settings.repeats,
    )
    file.unlink()
    amounts = {
        "product": side**3,
        "halves": side**3,
        "convolution": 9 * _CHANNELS * image.numel(),
        "copy": length,
        "read": length,
    }
    rates = {name: amount / taken[name] for name, amount in amounts.items()}
    table = Table("Limits", ["of", "rate", "unit"], "What all shares below are of, measured in the same run.")
    for name, what, unit, scale in (
        ("product", f"product of float32 matrices, {side} × {side}", "10⁹ MAC/s", 1e9),
        ("halves", f"product of bfloat16 matrices, {side} × {side}", "10⁹ MAC/s", 1e9),
        ("convolution", f"convolution 3 × 3 of float32, {list(image.shape)}, channels last", "10⁹ MAC/s", 1e9),
        ("copy", "copy in memory", "GiB/s read, as much written", 2**30),
        ("read", "reading a file not in memory", "GiB/s", 2**30),
    ):
        table.add(what, Figure([value / scale for value in rates[name].values]), unit)
    tables.append(table)
    products = max(rates["product"].median, rates["convolution"].median)
    return Roofline(products, rates["halves"].median, rates["copy"].median, rates["read"].median)


def _copy(there: Tensor, back: Tensor) -> None:
    back.copy_(there)


def forget(path: Path) -> None:
    """Have the system drop a file, or all files of a folder, from its memory; where it cannot, they stay."""
    if hasattr(os, "posix_fadvise"):
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_cold(path: Path) -> None:
    """Read a file from the disk."""
    forget(path)
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(2**22)
        while file.readinto(buffer):
            pass
