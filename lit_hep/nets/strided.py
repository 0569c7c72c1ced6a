"""Convolutions with strides, and their transposes, sooner on a CPU than PyTorch's."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_hep.nets.amx import MatrixUnit, has_matrix_unit
from lit_hep.nets.convolution import Convolution, Convolved, Pair, Step
from lit_hep.nets.native import HasKernel, plain
from lit_hep.nets.winograd import CHANNELS, kernel, pays

_WEIGHTS = 2**18
"""For products: from so many weights on."""
_FEW, _PIXELS = 64, 512
"""Of a batch of the smaller images: up to so many for products, with a matrix unit and without."""


class _Strided(HasKernel):
    """What both directions have in common.

    Args:
        inputs: Channels of the images.
        outputs: Channels of the answers.
        kernel: Rows and columns of the taps.
        stride: Down and across.
        padding: Rows and columns of zeros on each side of the larger images.
        bias: Add one.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    weight: Tensor
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, kernel: Pair, stride: Pair, padding: Pair, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)
        self.windows = Windows(kernel, stride, padding)
        self.matrix_unit = MatrixUnit(kernel, stride, padding)
        self.many = self.weight.numel() >= _WEIGHTS
        reached = all(taps >= step for taps, step in zip(kernel, stride, strict=True))
        self.even = reached and inputs % CHANNELS == outputs % CHANNELS == 0
        winograd = (kernel, stride) in {((3, 3), (1, 1)), ((4, 4), (1, 1)), ((4, 4), (2, 2))} and padding == (1, 1)
        self.winograd = self.even and winograd

    def way(self, x: Tensor, number: Sequence[int]) -> Convolution | None:
        """That which is sooner than PyTorch's, if one is, for images with so many windows down and across."""
        if not _fits(self, x):
            return None
        pixels = len(x) * number[0] * number[1]
        if pixels > _FEW and self.even and has_matrix_unit():
            return self.matrix_unit
        if pixels <= _PIXELS:
            return self.windows if self.many else None
        return kernel(self.kernel_size[0], self.stride[0]) if self.winograd and pays(len(x), *number) else None


class StridedConv(_Strided, nn.Conv2d):
    """A convolution with strides: the same as PyTorch's but for rounding, in float32 on a CPU in one of three ways.

    Where answers have few pixels most of what is read are weights, and PyTorch brings them into another order with each
    batch. In products with the windows of the images they are taken as they lie, and so are their gradients. More
    pixels go by the processor's matrix unit, if it has one (`lit_hep.nets.amx`), or where 4x4 taps halve them, by
    Winograd's way: 100 multiplications for 16 answers, not 256 (`lit_hep.nets.winograd`). All with the channels
    innermost only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, h, w)."""
        way = self.way(x, self.windows.number(x)) if x.dim() == 4 and self.windows.fit(x) else None
        y: Tensor = super().forward(x) if way is None else Convolved.apply(x, self.weight, self.bias, way)
        return y


class StridedConvTranspose(_Strided, nn.ConvTranspose2d):
    """The transpose of `StridedConv`, alike."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, K, h, w) to (B, C, H, W)."""
        way = None if output_size else self.way(x, x.shape[2:])
        if way is None:
            return super().forward(x, output_size)
        y: Tensor = Convolved.apply(x, self.weight, self.bias, way, True)
        return y


class LastConv(HasKernel, nn.Conv2d):
    """A convolution to one channel, padded by 1: PyTorch's but for rounding, in float32 on a CPU by products.

    It is the transpose of one with the taps turned by half a circle, of which each pixel gives all at once.

    Args:
        inputs: Channels of the images.
        kernel: Rows and columns of the taps.
    """

    def __init__(self, inputs: int, kernel: int) -> None:
        super().__init__(inputs, 1, kernel, padding=1)
        self.windows = Windows((kernel, kernel), (1, 1), (kernel - 2, kernel - 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 1, h, w)."""
        if not _fits(self, x):
            return super().forward(x)
        turned = self.weight.transpose(0, 1).flip(2, 3)
        y: Tensor = Convolved.apply(x, turned, self.bias, self.windows, True)
        return y


class Windows(Step):
    """What each pixel of small images sees of the large ones: a way to convolve, by products."""

    def reduce(self, large: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) to (B, K, h, w)."""
        y = self._cut(large) @ _taps(weight).T
        if bias is not None:
            y += bias
        return y.view(len(large), *self.number(large), len(weight)).permute(0, 3, 1, 2)

    def enlarge(self, small: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, K, h, w) to (B, C, H, W): where windows overlap, their sum."""
        (batch, _, *number), (top, left) = small.shape, self.padding
        windows = (_pixels(small) @ _taps(weight)).view(batch, *number, *self.kernel, weight.shape[1])
        height, width = ((n - 1) * s + k for n, k, s in zip(number, self.kernel, self.stride, strict=True))
        framed = windows.new_zeros(batch, height, width, weight.shape[1])
        for y in range(self.kernel[0]):
            for x in range(self.kernel[1]):
                seen = framed[:, y :: self.stride[0], x :: self.stride[1]]
                seen[:, : number[0], : number[1]] += windows[:, :, :, y, x]
        inside = framed[:, top : height - top, left : width - left]
        return (inside.contiguous() if bias is None else inside + bias).permute(0, 3, 1, 2)

    def of_weight(self, large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
        """With C innermost."""
        outputs, inputs, *kernel = weight.shape
        return (_pixels(small).T @ self._cut(large)).view(outputs, *kernel, inputs).permute(0, 3, 1, 2)

    def _cut(self, large: Tensor) -> Tensor:
        """(B, C, H, W) to a row for each window, (B h w, taps C)."""
        (rows, columns), (top, left) = self.kernel, self.padding
        framed = F.pad(large.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        windows = framed.unfold(1, rows, self.stride[0]).unfold(2, columns, self.stride[1])
        return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, rows * columns * large.shape[1])


def _fits(layer: Any, x: Tensor) -> bool:
    """Whether a layer may take images (B, C, H, W) its own way: some, of its channels, and these innermost."""
    if not layer.native or not plain(x, *layer.parameters()) or x.dim() != 4:
        return False
    right = x.shape[1] == layer.in_channels and x.numel() > 0
    return right and x.is_contiguous(memory_format=torch.channels_last)


def _pixels(images: Tensor) -> Tensor:
    """(B, K, h, w) to a row for each pixel, (B h w, K)."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _taps(weight: Tensor) -> Tensor:
    """(K, C, rows, columns) to (K, taps C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)
