"""Convolutions with a quarter of the multiplications, by a kernel on a CPU."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_hep.compiled import library
from lit_hep.nets.convolution import Convolved
from lit_hep.nets.native import plain

_TILE = 4
"""Rows and columns of an answer that are computed together."""
_PADDING = 1
"""Rows and columns of zeros on each side of an image."""
_POINTS = {2: (0, 1, -1, 2), 3: (0, 1, -1, 2, -2), 4: (0, 1, -1, 2, -2, 0.5)}
"""For each number of taps in a row, of a phase, where polynomials are taken; infinity comes to them."""
CHANNELS = 32
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
    Gray, arXiv:1509.09308, by a kernel that is compiled with the first batch in a second (`lit_hep.compiled`).
    Answers and gradients are off by 1e-6 to 4e-6 of their size, PyTorch's by 1e-7 to 1e-6. Float32 images with the
    channels innermost only; others, few pixels and halves go PyTorch's way.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W), or one row and column less by 4x4 taps."""
        if (
            not plain(x, *self.parameters())
            or not x.is_contiguous(memory_format=torch.channels_last)
            or x.shape[1] != self.in_channels
            or not pays(x.shape[0], *x.shape[2:])
            or (found := kernel(self.kernel_size[0])) is None
        ):
            return super().forward(x)
        y: Tensor = Convolved.apply(x, self.weight, self.bias, found)
        return y


def winograd(net: nn.Module) -> None:
    """Make those of a network's convolutions that gain by it `WinogradConv`; weights and their names stay."""
    for layer in net.modules():
        if type(layer) is nn.Conv2d and _suits(layer):
            layer.__class__ = WinogradConv


def _suits(layer: nn.Conv2d) -> bool:
    plain = layer.stride == layer.dilation == (1, 1) and layer.groups == 1
    framed = layer.padding == (_PADDING, _PADDING) and layer.padding_mode == "zeros"
    square = layer.kernel_size in {(3, 3), (4, 4)}
    return plain and framed and square and layer.in_channels % CHANNELS == layer.out_channels % CHANNELS == 0


def pays(batch: int, height: int, width: int) -> bool:
    """Whether so many tiles of answers are worth the sums of the weights, and filled well enough."""
    pixels = height * width
    # 36 multiplications a tile against 9 a pixel: 2.5 times as many, or tiles beyond the edge cost what is saved
    return batch * pixels >= _PIXELS and 10 * _tiles(height) * _tiles(width) < pixels


def _tiles(length: int) -> int:
    return -(-length // _TILE)


def _powers(points: Sequence[float], count: int) -> Tensor:
    """Powers from 0 on of each point, and of infinity the highest alone, (n, count)."""
    finite = torch.tensor(points, dtype=torch.float64)[:, None] ** torch.arange(count)
    return torch.cat([finite, torch.eye(count, dtype=torch.float64)[-1:]])


class Kernel:
    """The functions of the library for weights (K, C, r, r), with tensors in their place.

    Args:
        compiled: The library.
        r: Rows and columns of the taps.
        stride: Down and across; r is a multiple of it.
    """

    def __init__(self, compiled: ctypes.CDLL, r: int, stride: int) -> None:
        self.r, self.stride, self.phases = r, stride, stride**2
        self.points = (_TILE + r // stride - 1) ** 2
        pointer, number, integer, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_bool
        self._sum_taps, self._of_taps = compiled.sum_taps, compiled.gradient_of_taps
        self._convolve, self._of_sums = compiled.convolve, compiled.gradient_of_sums
        self._sum_taps.argtypes = [pointer, pointer, number, number, flag, pointer, integer]
        self._of_taps.argtypes = [pointer, pointer, number, number, pointer, integer]
        self._convolve.argtypes = [*[pointer] * 4, integer, pointer, pointer, number, flag, integer]
        self._of_sums.argtypes = [*[pointer] * 3, integer, pointer, pointer, number, flag, integer]
        for function in (self._sum_taps, self._of_taps, self._convolve, self._of_sums):
            function.restype = None

    def reduce(self, large: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) to (B, K, h, w)."""
        sides = [(side + 2 * _PADDING - self.r) // self.stride + 1 for side in large.shape[2:]]
        place = weight.data_ptr(), weight.transpose(0, 1).stride()
        return self._convolved(large, (weight.shape[0], *sides), place, bias, _PADDING)

    def enlarge(self, small: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, K, h, w) to (B, C, H, W): by the taps turned by half a circle, last row and column first."""
        sides = [(side - 1) * self.stride - 2 * _PADDING + self.r for side in small.shape[2:]]
        *channels, rows, columns = weight.stride()
        last = weight.data_ptr() + (self.r - 1) * (rows + columns) * weight.element_size()
        padding = self.r // self.stride - 1 - _PADDING // self.stride
        return self._convolved(small, (weight.shape[1], *sides), (last, (*channels, -rows, -columns)), bias, padding)

    def of_weight(self, large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
        """In the layout of the weight."""
        (outputs, inputs), threads, made = weight.shape[:2], torch.get_num_threads(), torch.empty_like(weight)
        number = self.points * self.phases * inputs * outputs
        room, together, shared = self._room(large, small, number, threads)
        sums = (torch.empty if shared else torch.zeros)(1 if shared else threads, number)
        about = _PADDING, sums.data_ptr(), room.data_ptr(), together, shared, threads
        self._of_sums(_sizes(large, small), large.data_ptr(), small.data_ptr(), *about)
        total = sums[0] if shared else sums.sum(0)
        place = made.data_ptr(), _numbers(*made.transpose(0, 1).stride())
        self._of_taps(*place, inputs, outputs, total.data_ptr(), threads)
        return made

    def _convolved(
        self, x: Tensor, shape: Sequence[int], taps: tuple[int, Sequence[int]], bias: Tensor | None, padding: int
    ) -> Tensor:
        """With so many zeros on each side, by taps at a place with strides of input, output, row and column."""
        (batch, inputs), outputs, threads = x.shape[:2], shape[0], torch.get_num_threads()
        y = torch.empty((batch, *shape), memory_format=torch.channels_last)
        number = self.points * self.phases * inputs * outputs
        sums = torch.empty(number)
        enlarge = shape[1] > x.shape[2]
        self._sum_taps(taps[0], _numbers(*taps[1]), inputs, outputs, enlarge, sums.data_ptr(), threads)
        room, together, shared = self._room(x, y, number, threads)
        offset = None if bias is None else bias.data_ptr()
        about = padding, y.data_ptr(), room.data_ptr(), together, shared, threads
        self._convolve(_sizes(x, y), x.data_ptr(), sums.data_ptr(), offset, *about)
        return y

    def _room(self, x: Tensor, y: Tensor, number: int, threads: int) -> tuple[Tensor, int, bool]:
        """Room for sums of x and y, for how many tiles it is, and whether threads share it: else each has its own.

        Args:
            x: Images that are given.
            y: Those that are made, or their gradient.
            number: Of sums of the taps.
            threads: That work together.
        """
        enlarged = self.stride if y.shape[2] > x.shape[2] else 1
        values = self.points * (self.phases * x.shape[1] + enlarged**2 * y.shape[1])
        tiles = len(y) * _tiles(y.shape[2] // enlarged) * _tiles(y.shape[3] // enlarged)
        shared = number > _SHARED // 2
        most = max(48, (_SHARED if shared else _OWN) // values)
        parts = max(1 if shared else threads, -(-tiles // most))
        together = -(-tiles // (12 * parts)) * 12
        return torch.empty((1 if shared else threads) * together * values), together, shared


@cache
def kernel(r: int, stride: int = 1) -> Kernel | None:
    """Of r x r taps and this stride, or None where it cannot be had."""
    taps = r // stride  # of a phase
    points = _POINTS[taps]
    matrices = {
        "PIXELS": _powers(points, len(points) + 1).inverse().T.round(decimals=12),  # zeros are zeros
        "TAPS": _powers(points, taps),
        "SUMS": _powers(points, _TILE).T,
    }
    words = [f"{name}={str(matrix.tolist()).translate(_BRACES)}" for name, matrix in matrices.items()]
    compiled = library(Path(__file__).with_suffix(".cpp"), (f"SIDE={len(points) + 1}", f"STRIDE={stride}", *words))
    return None if compiled is None else Kernel(compiled, r, stride)


def _numbers(*values: int) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def _sizes(x: Tensor, y: Tensor) -> Any:
    """Batch, then height, width and channels of both."""
    (batch, inputs, *given), (_, outputs, *made) = x.shape, y.shape
    return _numbers(batch, *given, inputs, *made, outputs)
