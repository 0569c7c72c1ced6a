"""What the machine can do at best: matrix products, copies in memory, reading from disk."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.engine import Figure, Settings, Table, alternate
from lit_hep.nets.cost import multiply_adds

_TRAINED = 3  # forward; gradients by the inputs and by the weights cost as much each


@dataclass(frozen=True)
class Roofline:
    """Measured bounds.

    Args:
        products: Multiply-adds a second of a product of float32 matrices.
        copied: Bytes a second that are read, and as many written, by a copy in memory.
        read: Bytes a second from a file that is not in memory.
    """

    products: float
    copied: float
    read: float

    def trained(self, net: nn.Module, shape: tuple[int, ...], more: float = 0) -> float:
        """Images a second in training if every layer were a large matrix product.

        Args:
            net: The network.
            shape: Of an image.
            more: Multiply-adds of an image in other networks, forward and backward.
        """
        return self.products / (_TRAINED * multiply_adds(net, shape) + more)

    def answered(self, net: nn.Module, shape: tuple[int, ...]) -> float:
        """The same without learning."""
        return self.products / multiply_adds(net, shape)


def share(rate: Figure, limit: float) -> str:
    """Of a bound, in per cent."""
    return f"{100 * rate.median / limit:.2g} %"


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
    product, copy = partial(torch.mm, matrix, matrix), partial(_copy, there, back)
    taken = alternate(
        {
            "product": lambda: timed(product, settings.device),
            "copy": lambda: timed(copy),
            "read": lambda: timed(lambda: read_cold(file)),
        },
        settings.repeats,
    )
    file.unlink()
    rates = side**3 / taken["product"], length / taken["copy"], length / taken["read"]
    table = Table("Limits", ["of", "rate", "unit"], "What all shares below are of, measured in the same run.")
    table.add(f"product of float32 matrices, {side} × {side}", Figure([v / 1e9 for v in rates[0].values]), "10⁹ MAC/s")
    table.add("copy in memory", Figure([v / 2**30 for v in rates[1].values]), "GiB/s read, as much written")
    table.add("reading a file not in memory", Figure([v / 2**30 for v in rates[2].values]), "GiB/s")
    tables.append(table)
    return Roofline(*(rate.median for rate in rates))


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
