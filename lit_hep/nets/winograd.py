"""Convolutions with a quarter of the multiplications, for wide layers on a CPU."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lit_hep.nets.cpu import elsewhere

_TILE = 4
"""Rows and columns of an answer that are computed together."""
_PADDING = 1
_POINTS = {3: (0, 1, -1, 2, -2), 4: (0, 1, -1, 2, -2, 0.5)}
"""Of each side that a kernel may have, where polynomials are taken; infinity comes to them."""
_PIXELS = 1024
"""Of a batch; with fewer, to transform the weights costs more than it saves."""


class WinogradConv(nn.Conv2d):
    """A 3x3 or 4x4 convolution by Winograd's F(4x4, 3x3 or 4x4): the same but for rounding.

    Each 6x6 pixels, four apart, are turned into 36 sums and the 3x3 taps into as many, which are multiplied as 36
    products of matrices: 36 multiplications for 16 pixels, not 144; with 4x4 taps 49, not 256. After A. Lavin and S.
    Gray, arXiv:1509.09308. Answers and gradients are off by 1e-6 to 4e-6 of their size, PyTorch's by 1e-7 to 1e-6. In
    training the sums are kept, 2.25 or 3.1 times the memory of the input. Float32 images with the channels innermost
    only; others, few pixels and halves go PyTorch's way.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W)."""
        if (
            elsewhere(x)
            or x.dtype != torch.float32
            or torch.is_autocast_enabled("cpu")
            or not x.is_contiguous(memory_format=torch.channels_last)
            or not _pays(*x.shape)
        ):
            return super().forward(x)
        y: Tensor = _Winograd.apply(x, self.weight, self.bias)
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
    narrow, wide = sorted((layer.in_channels, layer.out_channels))
    return plain and framed and square and narrow >= 64 and wide >= 128


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


def _twice(matrix: Tensor) -> Tensor:
    """What a matrix makes of columns, made of rows and columns: of areas with all pixels in one line."""
    return torch.kron(matrix, matrix).float()


# of n x n pixels (n², n²), of the taps (n², r²) and of the sums (16, n²), for each r
_OF_PIXELS = {r: _twice(_powers(points, len(points) + 1).inverse().T) for r, points in _POINTS.items()}
_OF_TAPS = {r: _twice(_powers(points, r)) for r, points in _POINTS.items()}
_OF_SUMS = {r: _twice(_powers(points, _TILE).T) for r, points in _POINTS.items()}


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        (batch, inputs, height, width), (outputs, _, r, _) = x.shape, weight.shape
        down, across, n = _tiles(height), _tiles(width), _TILE + r - 1
        below, right = (_TILE * count + r - 1 - _PADDING for count in (down, across))
        filled = F.pad(x.permute(0, 2, 3, 1), (0, 0, _PADDING, right - width, _PADDING, below - height))
        seen = filled.unfold(1, n, _TILE).unfold(2, n, _TILE).permute(4, 5, 0, 1, 2, 3)
        pixels = (_OF_PIXELS[r] @ seen.reshape(n * n, -1)).view(n * n, -1, inputs)
        taps = (_OF_TAPS[r] @ weight.permute(2, 3, 0, 1).reshape(r * r, -1)).view(n * n, outputs, inputs)
        sums = torch.bmm(pixels, taps.transpose(1, 2))
        if bias is not None:
            sums[n + 1] += bias  # of point 1 in rows and columns, which all 16 answers have once
        answer = (_OF_SUMS[r] @ sums.view(n * n, -1)).view(_TILE, _TILE, batch, down, across, outputs)
        ctx.save_for_backward(pixels, taps)
        ctx.sizes = r, n, x.shape
        lost = r - 1 - 2 * _PADDING
        return _joined(answer, height - lost, width - lost)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, taps = ctx.saved_tensors
        r, n, (batch, inputs, height, width) = ctx.sizes
        outputs, down, across = taps.shape[1], _tiles(height), _tiles(width)
        below, right = _TILE * down - gradient.shape[2], _TILE * across - gradient.shape[3]
        filled = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))
        tiles = filled.reshape(batch, down, _TILE, across, _TILE, outputs).permute(2, 4, 0, 1, 3, 5)
        sums = (_OF_SUMS[r].T @ tiles.reshape(_TILE**2, -1)).view(n * n, -1, outputs)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            seen = _OF_PIXELS[r].T @ torch.bmm(sums, taps).view(n * n, -1)
            seen = seen.view(n, n, batch, down, across, inputs)
            of_x = _joined(_overlapping(_overlapping(seen, 0), 1), height, width)
        if ctx.needs_input_grad[1]:
            of_taps = torch.bmm(sums.transpose(1, 2), pixels).view(n * n, -1)
            of_weight = (_OF_TAPS[r].T @ of_taps).view(r, r, outputs, inputs).permute(2, 3, 0, 1)
            of_weight = of_weight.contiguous(memory_format=torch.channels_last)
        if ctx.needs_input_grad[2]:
            of_bias = sums[n + 1].sum(0)
        return of_x, of_weight, of_bias


def _overlapping(seen: Tensor, axis: int) -> Tensor:
    """Add up what neighbouring tiles have of the same rows (axis 0) or columns (1), and keep the four of each tile."""
    tiles = axis + 3  # of (n, n or 4, batch, down, across, channels)
    before, after = (seen.narrow(tiles, start, seen.shape[tiles] - 1) for start in (0, 1))
    for row in range(seen.shape[axis] - _TILE):  # the last ones of a tile are the first of the next
        last, first = before.select(axis, _TILE + row), after.select(axis, row)
        if row < _PADDING:
            last += first
        else:
            first += last
    return seen.narrow(axis, _PADDING, _TILE)


def _joined(tiles: Tensor, height: int, width: int) -> Tensor:
    """(4, 4, batch, down, across, channels) to (batch, channels, height, width), channels innermost."""
    _, _, batch, down, across, channels = tiles.shape
    shape = (batch, channels, _TILE * down, _TILE * across)
    image = torch.empty(shape, memory_format=torch.channels_last)  # no view, which could not be changed in place
    pixels = image.permute(0, 2, 3, 1).view(batch, down, _TILE, across, _TILE, channels)
    pixels.copy_(tiles.permute(2, 3, 0, 4, 1, 5))
    if shape[2:] == (height, width):
        return image
    return image[:, :, :height, :width].contiguous(memory_format=torch.channels_last)
