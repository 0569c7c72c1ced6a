"""Layers in a row, of which batch norm and the rectifier after it are one kernel on a CPU."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from lit_hep.compiled import library
from lit_hep.nets.native import HasKernel, plain

_LANES = 16
"""Channels are a multiple of it."""


class Normed(HasKernel, nn.Sequential):
    """Layers in a row, where a batch norm is followed by a ReLU or a leaky one: the same as PyTorch's but for rounding.

    In training both are one pass over the images, and one more for mean and variance, in float32 with the channels
    innermost; others go PyTorch's way.
    """

    def forward(self, x: Tensor, parts: int = 1) -> Tensor:
        """Images (B, C, H, W) to those of the last layer.

        Args:
            x: Images, of which batch norm takes each of some parts by itself, one after the other.
            parts: Their number.
        """
        layers = iter(self)
        for layer in layers:
            if not isinstance(layer, _BatchNorm):
                x = layer(x)
            elif self.native and _suits(layer, x, parts):
                x = _rectified(layer, next(layers), x, parts)
            else:
                x = layer(x) if parts == 1 else torch.cat([layer(part) for part in x.chunk(parts)])
        return x


def _suits(norm: _BatchNorm, x: Tensor, parts: int) -> bool:
    usual = (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.affine
        and norm.momentum
        and norm.running_mean is not None
    )
    if not usual or not plain(x, norm.weight, norm.bias) or x.shape[1:2] != norm.weight.shape or len(x) % parts:
        return False
    several = x.numel() > parts * x.shape[1]
    return (
        several
        and x.shape[1] % _LANES == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and _kernel() is not None
    )


def _rectified(norm: Any, rectifier: nn.Module, x: Tensor, parts: int) -> Tensor:
    slope = rectifier.negative_slope if isinstance(rectifier, nn.LeakyReLU) else 0.0
    y: Tensor
    y, means, variances = _Normed.apply(x, norm.weight, norm.bias, _About(parts, norm.eps, float(slope)))
    number = x.numel() // x.shape[1] // parts
    norm.num_batches_tracked += parts
    for mean, variance in zip(means, variances, strict=True):
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (number / (number - 1)), norm.momentum)
    return y


class _About(NamedTuple):
    parts: int
    eps: float
    slope: float


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, about: _About) -> tuple[Tensor, Tensor, Tensor]:
        channels, y = len(weight), torch.empty_like(x)
        mean, variance = torch.empty(2, about.parts, channels)
        made = [values.data_ptr() for values in (y, mean, variance)]
        place = x.data_ptr(), x.numel() // channels, channels, about.parts
        _kernel().norm(*place, weight.data_ptr(), bias.data_ptr(), *about[1:], *made, torch.get_num_threads())
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.about = about
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        gradient, channels = gradient.contiguous(memory_format=torch.channels_last), len(weight)
        made = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        place = gradient.data_ptr(), x.data_ptr(), x.numel() // channels, channels, ctx.about.parts
        known = weight.data_ptr(), bias.data_ptr(), *ctx.about[1:], mean.data_ptr(), variance.data_ptr()
        _kernel().gradient_of_norm(*place, *known, *(one.data_ptr() for one in made), torch.get_num_threads())
        return *made, None


@cache
def _kernel() -> Any:
    compiled = library(Path(__file__).with_suffix(".cpp"))
    if compiled is not None:
        pointer, number, factor, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
        about = pointer, pointer, factor, factor
        compiled.norm.argtypes = [pointer, *[number] * 3, *about, *[pointer] * 3, threads]
        compiled.gradient_of_norm.argtypes = [pointer, pointer, *[number] * 3, *about, *[pointer] * 5, threads]
        compiled.norm.restype = compiled.gradient_of_norm.restype = None
    return compiled
