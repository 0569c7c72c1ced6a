"""Dense layers and ReLU as one kernel on a CPU."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lit_hep.compiled import library
from lit_hep.nets.native import pointers

_Sizes = tuple[int, int, bool]
"""Of a layer: inputs, outputs, and whether ReLU follows."""


def dense_sizes(layers: Sequence[nn.Module]) -> tuple[_Sizes, ...]:
    """Of as many layers as are `nn.Linear` with bias and `nn.ReLU` in turn."""
    sizes: list[_Sizes] = []
    for layer in layers:
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            sizes.append((layer.in_features, layer.out_features, False))
        elif isinstance(layer, nn.ReLU) and sizes and not sizes[-1][-1]:
            sizes[-1] = *sizes[-1][:2], True
        else:
            break
    return tuple(sizes)


def dense(x: Tensor, layers: Sequence[nn.Module], sizes: tuple[_Sizes, ...]) -> Tensor:
    """(B, inputs) through layers of these sizes, and then through what follows them.

    By a kernel, compiled with the first batch in a second (`lit_hep.compiled`): between its operations on layers as
    small PyTorch spends most of the time. The same but for rounding, and to the last bit for any number of threads.

    Args:
        x: Float32 on the CPU, as the layers.
        layers: Of which those are the first.
        sizes: By `dense_sizes`.
    """
    taken = 0
    if sizes and x.shape[1:] == sizes[0][:1] and (kernel := _kernel(sizes)) is not None:
        taken = len(sizes) + sum(relu for *_, relu in sizes)
        linear = (layer for layer in layers[:taken] if isinstance(layer, nn.Linear))
        x = _Dense.apply(x, kernel, *(value for layer in linear for value in (layer.weight, layer.bias)))
    for layer in layers[taken:]:
        x = layer(x)
    return x


class _Kernel:
    """The functions of the library that has been compiled for these layers."""

    def __init__(self, compiled: ctypes.CDLL, outputs: Sequence[int]) -> None:
        self.outputs = outputs
        self.answer, self.learn = compiled.answer_images, compiled.gradients_of_images
        pointer, number, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self.answer.argtypes = [pointer, pointer, number, threads]
        self.learn.argtypes = [*[pointer] * 5, number, threads]
        self.answer.restype = self.learn.restype = None


@cache
def _kernel(sizes: tuple[_Sizes, ...]) -> _Kernel | None:
    words = ",".join(f"{{{inputs},{outputs},{int(relu)}}}" for inputs, outputs, relu in sizes)
    compiled = library(Path(__file__).with_suffix(".cpp"), (f"LAYERS={words}",))
    return None if compiled is None else _Kernel(compiled, [outputs for _, outputs, _ in sizes])


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: _Kernel, *learnt: Tensor) -> Tensor:
        learnt, x = tuple(value.contiguous() for value in learnt), x.contiguous()
        values = [x, *(torch.empty(len(x), outputs) for outputs in kernel.outputs)]
        kernel.answer(pointers(values), pointers(learnt), len(x), torch.get_num_threads())
        ctx.kernel = kernel
        ctx.save_for_backward(*values, *learnt)
        return values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, gradient = len(ctx.kernel.outputs), gradient.contiguous()
        values, learnt = ctx.saved_tensors[: layers + 1], ctx.saved_tensors[layers + 1 :]
        of_values, of_learnt = ([torch.empty_like(value) for value in of] for of in (values, learnt))
        places = pointers(values), pointers(learnt), pointers(of_values), pointers(of_learnt)
        ctx.kernel.learn(gradient.data_ptr(), *places, len(gradient), torch.get_num_threads())
        return of_values[0], None, *of_learnt
