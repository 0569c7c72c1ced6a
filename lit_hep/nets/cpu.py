"""What answers as PyTorch's layers do, and sooner on a CPU; elsewhere, compiled or exported, it is PyTorch's own."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout (G. Hinton et al., arXiv:1207.0580) that draws 64 random bits for four values, not for one.

    The share that is dropped is then a multiple of 2^-16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Values of any shape and layout to as many."""
        if not self.training or self.p == 1 or elsewhere(x):
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: x.numel()] >= round(self.p * 2**16) - 2**15
        strides = torch.empty_like(x).stride()  # of the same layout, without holes
        return (x * kept.as_strided(x.shape, strides)).mul_(1 / (1 - self.p))


class HalvingMaxPool(nn.MaxPool2d):
    """The largest of each 2x2 or 1x2 pixels: the same to the last bit, of images with contiguous rows.

    Images with the channels innermost, or with a side that cannot be halved, go PyTorch's way.

    Args:
        rows: Halve the rows too, not the columns alone.
    """

    def __init__(self, rows: bool = True) -> None:
        super().__init__((1 + rows, 2))
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H // 2 or H, W // 2)."""
        odd = x.shape[-1] % 2 or (self.rows and x.shape[-2] % 2)
        pooled: Tensor
        if odd or not x.is_contiguous() or elsewhere(x):
            pooled = super().forward(x)
        else:
            pooled = _Halved.apply(x, -1)  # columns first: of equal ones PyTorch takes the first, row by row
            if self.rows:
                pooled = _Halved.apply(pooled, -2)
        return pooled


class DoublingConv(nn.ConvTranspose2d):
    """Transposed 2x2 convolution of stride 2, whose gradients are products of matrices: the same but for rounding.

    Images whose channels are not innermost go PyTorch's way.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the answer.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 2, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        if output_size or elsewhere(x) or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x, output_size)
        doubled: Tensor = _Doubled.apply(x, self.weight, self.bias)
        return doubled


def asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine to 2e-7; beyond 1e18 it stays at 42. Where a gradient is wanted it is PyTorch's."""
    if x.requires_grad or x.dtype != torch.float32 or elsewhere(x):
        return x.asinh()
    size = x.abs().clamp_max_(1e18)  # whose square is finite
    return (size * size).add_(1).sqrt_().add_(size).log_().copysign_(x)


def elsewhere(x: Tensor) -> bool:
    """Whether PyTorch's own is to answer: not on a CPU, or compiled or exported."""
    return x.device.type != "cpu" or torch.compiler.is_compiling()


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.axis = axis
        return torch.maximum(*_pairs(x, axis))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        dealt = torch.empty_like(x)
        (first, second), (even, odd) = _pairs(x, ctx.axis), _pairs(dealt, ctx.axis)
        torch.mul(gradient, (second > first).to(gradient.dtype), out=odd)
        torch.sub(gradient, odd, out=even)
        return dealt, None


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, weight, bias, stride=2)
        ctx.save_for_backward(x.to(y.dtype), weight.to(y.dtype))  # halves where autocast has chosen them
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (inputs, outputs), (height, width) = weight.shape[:2], x.shape[2:]
        quads = gradient.permute(0, 2, 3, 1).reshape(-1, height, 2, width, 2, outputs)
        quads = quads.transpose(2, 3).reshape(-1, 4 * outputs)  # a row a pixel of x
        pixels, taps = x.permute(0, 2, 3, 1), weight.permute(2, 3, 1, 0)
        of_x = (quads @ taps.reshape(-1, inputs)).view(pixels.shape).permute(0, 3, 1, 2)
        of_taps = (quads.T @ pixels.reshape(-1, inputs)).view(taps.shape)
        return of_x, of_taps.permute(3, 2, 0, 1), quads.sum(0).view(4, outputs).sum(0)


def _pairs(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Every other row (axis -2) or column (-1), and those between."""
    return (x[..., ::2], x[..., 1::2]) if axis == -1 else (x[..., ::2, :], x[..., 1::2, :])
