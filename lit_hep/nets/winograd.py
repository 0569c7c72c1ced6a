"""Convolutions with a quarter of the multiplications, by a kernel on a CPU."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lit_hep.nets.native import library, plain

_TILE = 4
"""Rows and columns of an answer that are computed together."""
_PADDING = 1
"""Rows and columns of zeros on each side of an image."""
_POINTS = {3: (0, 1, -1, 2, -2), 4: (0, 1, -1, 2, -2, 0.5)}
"""Of each side that a kernel may have, where polynomials are taken; infinity comes to them."""
_CHANNELS = 32
"""Those of images and answers are multiples of it."""
_PIXELS = 1024
"""Of a batch; with fewer, to transform the weights costs more than it saves."""
_OWN, _SHARED = 2**18, 2**22
"""Sums that a thread works on by itself; that all threads work on together where the weights have half as many."""
_BRACES = str.maketrans("[]", "{}", " ")
"""From a list of Python to one of C++."""


class WinogradConv(nn.Conv2d):
    """A 3x3 or 4x4 convolution by Winograd's F(4x4, 3x3 or 4x4): the same but for rounding.

    Each 6x6 pixels, four apart, are turned into 36 sums and the 3x3 taps into as many, which are multiplied as 36
    products of matrices: 36 multiplications for 16 pixels, not 144; with 4x4 taps 49, not 256. After A. Lavin and S.
    Gray, arXiv:1509.09308, by a kernel that is compiled with the first batch in a second (`lit_hep.nets.native`).
    Answers and gradients are off by 1e-6 to 4e-6 of their size, PyTorch's by 1e-7 to 1e-6. Float32 images with the
    channels innermost only; others, few pixels and halves go PyTorch's way.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W), or one row and column less by 4x4 taps."""
        if (
            not plain(x, *self.parameters())
            or not x.is_contiguous(memory_format=torch.channels_last)
            or x.shape[1] != self.in_channels
            or not _pays(*x.shape)
            or (kernel := _kernel(self.kernel_size[0])) is None
        ):
            return super().forward(x)
        y: Tensor = _Winograd.apply(x, self.weight, self.bias, kernel)
        return y


def winograd(net: nn.Module) -> None:
    """Make those of a network's convolutions that gain by it `WinogradConv`; weights and their names stay."""
    for layer in net.modules():
        if type(layer) is nn.Conv2d and _suits(layer):
            layer.__class__ = WinogradConv


def _suits(layer: nn.Conv2d) -> bool:
    plain = layer.stride == layer.dilation == (1, 1) and layer.groups == 1
    framed = layer.padding == (_PADDING, _PADDING) and layer.padding_mode == "zeros"
    square = layer.kernel_size in {(side, side) for side in _POINTS}
    return plain and framed and square and layer.in_channels % _CHANNELS == layer.out_channels % _CHANNELS == 0


def _pays(batch: int, channels: int, height: int, width: int) -> bool:
    pixels = height * width
    # 36 multiplications a tile against 9 a pixel: 2.5 times as many, or tiles beyond the edge cost what is saved
    return batch * pixels >= _PIXELS and 10 * _tiles(height) * _tiles(width) < pixels


def _tiles(length: int) -> int:
    return -(-length // _TILE)


def _powers(points: Sequence[float], count: int) -> Tensor:
    """Powers from 0 on of each point, and of infinity the highest alone, (n, count)."""
    finite = torch.tensor(points, dtype=torch.float64)[:, None] ** torch.arange(count)
    return torch.cat([finite, torch.eye(count, dtype=torch.float64)[-1:]])


class _Kernel:
    """The functions of the library for r x r taps, with tensors in their place.

    Args:
        compiled: The library.
        r: Rows and columns of the taps.
    """

    def __init__(self, compiled: ctypes.CDLL, r: int) -> None:
        self.r, self.points = r, (_TILE + r - 1) ** 2
        pointer, number, integer, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_bool
        self._sum_taps, self._of_taps = compiled.sum_taps, compiled.gradient_of_taps
        self._convolve, self._of_sums = compiled.convolve, compiled.gradient_of_sums
        self._sum_taps.argtypes = self._of_taps.argtypes = [pointer, pointer, number, number, pointer, integer]
        self._convolve.argtypes = [*[pointer] * 4, integer, pointer, pointer, number, flag, integer]
        self._of_sums.argtypes = [*[pointer] * 3, integer, pointer, pointer, number, flag, integer]
        for function in (self._sum_taps, self._of_taps, self._convolve, self._of_sums):
            function.restype = None

    def answer(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) to (B, K, H', W') by a weight (K, C, r, r)."""
        place = weight.data_ptr(), weight.transpose(0, 1).stride()
        return self._convolved(x, weight.shape[0], place, bias, _PADDING)

    def gradient_of_images(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """(B, K, H', W') to (B, C, H, W): by the taps turned by half a circle, last row and column first."""
        *channels, rows, columns = weight.stride()
        last = weight.data_ptr() + (self.r - 1) * (rows + columns) * weight.element_size()
        return self._convolved(gradient, weight.shape[1], (last, (*channels, -rows, -columns)), None, self.r - 2)

    def gradient_of_weight(self, x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
        """Of a weight (K, C, r, r), in its layout."""
        (outputs, inputs), threads, made = weight.shape[:2], torch.get_num_threads(), torch.empty_like(weight)
        room, together, shared = self._room(x, gradient, threads)
        sums = (torch.empty if shared else torch.zeros)(1 if shared else threads, self.points * inputs * outputs)
        about = _PADDING, sums.data_ptr(), room.data_ptr(), together, shared, threads
        self._of_sums(_sizes(x, gradient), x.data_ptr(), gradient.data_ptr(), *about)
        total = sums[0] if shared else sums.sum(0)
        place = made.data_ptr(), _numbers(*made.transpose(0, 1).stride())
        self._of_taps(*place, inputs, outputs, total.data_ptr(), threads)
        return made

    def _convolved(
        self, x: Tensor, outputs: int, taps: tuple[int, Sequence[int]], bias: Tensor | None, padding: int
    ) -> Tensor:
        """With so many zeros on each side, by taps at a place with strides of input, output, row and column."""
        (batch, inputs, *sides), threads = x.shape, torch.get_num_threads()
        shape = (batch, outputs, *(side + 2 * padding - self.r + 1 for side in sides))
        y = torch.empty(shape, memory_format=torch.channels_last)
        sums = torch.empty(self.points * inputs * outputs)
        self._sum_taps(taps[0], _numbers(*taps[1]), inputs, outputs, sums.data_ptr(), threads)
        room, together, shared = self._room(x, y, threads)
        offset = None if bias is None else bias.data_ptr()
        about = padding, y.data_ptr(), room.data_ptr(), together, shared, threads
        self._convolve(_sizes(x, y), x.data_ptr(), sums.data_ptr(), offset, *about)
        return y

    def _room(self, x: Tensor, y: Tensor, threads: int) -> tuple[Tensor, int, bool]:
        """Room for sums of x and y, for how many tiles it is, and whether threads share it: else each has its own."""
        (batch, outputs, height, width), inputs = y.shape, x.shape[1]
        values, tiles = self.points * (inputs + outputs), batch * _tiles(height) * _tiles(width)
        shared = self.points * inputs * outputs > _SHARED // 2
        together = max(48, (_SHARED if shared else _OWN) // values)
        together = -(-min(together, tiles if shared else -(-tiles // threads)) // 12) * 12
        return torch.empty((1 if shared else threads) * together * values), together, shared


@cache
def _kernel(r: int) -> _Kernel | None:
    points = _POINTS[r]
    matrices = {
        "PIXELS": _powers(points, len(points) + 1).inverse().T.round(decimals=12),  # zeros are zeros
        "TAPS": _powers(points, r),
        "SUMS": _powers(points, _TILE).T,
    }
    words = [f"{name}={str(matrix.tolist()).translate(_BRACES)}" for name, matrix in matrices.items()]
    compiled = library(Path(__file__).with_suffix(".cpp"), (f"SIDE={_TILE + r - 1}", *words))
    return None if compiled is None else _Kernel(compiled, r)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, kernel: _Kernel) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kernel = kernel
        return kernel.answer(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), kernel = ctx.saved_tensors, ctx.kernel
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            kernel.gradient_of_images(gradient, weight) if of_x else None,
            kernel.gradient_of_weight(x, gradient, weight) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
        )


def _numbers(*values: int) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def _sizes(x: Tensor, y: Tensor) -> Any:
    """Batch, then height, width and channels of both."""
    (batch, inputs, *given), (_, outputs, *made) = x.shape, y.shape
    return _numbers(batch, *given, inputs, *made, outputs)
