"""Layers of which this package has kernels of its own."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class HasKernel(nn.Module):
    """What answers by a kernel, where there is one and it is to be used."""

    native = False
    """Whether it is to be used."""


def use_kernels(net: nn.Module) -> None:
    """Have all parts of a network use theirs."""
    for part in net.modules():
        if isinstance(part, HasKernel):
            part.native = True


def plain(*values: Tensor) -> bool:
    """Whether a kernel can read all of them: float32 on the CPU, not compiled, exported or in halves by autocast."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return all(value.dtype == torch.float32 and value.device.type == "cpu" for value in values)


def pointers(values: Sequence[Tensor]) -> Any:
    """Where they are, as an array of C."""
    return (ctypes.c_void_p * len(values))(*(value.data_ptr() for value in values))
