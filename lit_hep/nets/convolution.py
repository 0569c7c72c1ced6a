"""Convolutions and their transposes that are computed in another way than PyTorch's."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]


class Step(NamedTuple):
    """Kernel, stride and padding, each of rows and columns, of a convolution that reduces a picture."""

    kernel: Pair
    stride: Pair
    padding: Pair

    def number(self, large: Tensor) -> list[int]:
        """Of windows down and across in images (B, C, H, W)."""
        return [(side + 2 * p - k) // s + 1 for side, k, s, p in zip(large.shape[2:], *self, strict=True)]

    def fit(self, large: Tensor) -> bool:
        """Whether no row or column is left over."""
        return not any((side + 2 * p - k) % s for side, k, s, p in zip(large.shape[2:], *self, strict=True))


class Convolution(Protocol):
    """A way to convolve by a weight (K, C, rows, columns): large images have C channels, small ones K.

    Images have their channels innermost.
    """

    def reduce(self, large: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) to (B, K, h, w), by the convolution."""

    def enlarge(self, small: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, K, h, w) to (B, C, H, W), by its transpose."""

    def of_weight(self, large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
        """Gradient (K, C, rows, columns), from images of both sizes of which one is the gradient."""


class Convolved(torch.autograd.Function):
    """Images, weight, bias, a way to convolve, and whether by its transpose, to images."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, way: Convolution, transposed: bool = False
    ) -> Tensor:
        """(B, C, H, W) to (B, K, h, w); transposed, the other way about."""
        ctx.save_for_backward(x, weight)
        ctx.way, ctx.transposed = way, transposed
        return (way.enlarge if transposed else way.reduce)(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of images, weight and bias."""
        (x, weight), way = ctx.saved_tensors, ctx.way
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        back, pair = (way.reduce, (gradient, x)) if ctx.transposed else (way.enlarge, (x, gradient))
        return (
            back(gradient, weight, None) if of_x else None,
            way.of_weight(*pair, weight) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )
