"""3x3 convolutions with a quarter of the multiplications, for wide layers on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lit_hep.nets.cpu import elsewhere

_TILE = 4
"""Rows and columns of an answer that are computed together."""
_SEEN = _TILE + 2
_PIXELS = 1024
"""Of a batch; with fewer, to transform the weights costs more than it saves."""


class WinogradConv(nn.Conv2d):
    """A 3x3 convolution by Winograd's F(4x4, 3x3): the same but for rounding, 2e-6 to 4e-6 in place of 1e-6.

    Each 6x6 pixels, four apart, are turned into 36 sums and each 3x3 taps into as many, which are multiplied as 36
    products of matrices: 36 multiplications for 16 pixels, not 144. After A. Lavin and S. Gray, arXiv:1509.09308. In
    training it keeps the sums, 2.25 times the memory of its input. Float32 images with the channels innermost only;
    others, few pixels and halves go PyTorch's way.
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
    plain = layer.stride == layer.dilation == layer.padding == (1, 1) and layer.padding_mode == "zeros"
    narrow, wide = sorted((layer.in_channels, layer.out_channels))
    return plain and layer.kernel_size == (3, 3) and layer.groups == 1 and narrow >= 64 and wide >= 128


def _pays(batch: int, channels: int, height: int, width: int) -> bool:
    pixels = height * width
    # 36 multiplications a tile against 9 a pixel: 2.5 times as many, or tiles beyond the edge cost what is saved
    return batch * pixels >= _PIXELS and 10 * _tiles(height) * _tiles(width) < pixels


def _tiles(length: int) -> int:
    return -(-length // _TILE)


def _twice(rows: list[list[float]]) -> Tensor:
    """What a matrix makes of columns, made of rows and columns: of areas with all pixels in one line."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(matrix, matrix).float()


_OF_PIXELS = _twice(  # (36, 36)
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_OF_TAPS = _twice(  # (36, 9)
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_TO_ANSWER = _twice(  # (16, 36)
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)
_IN_ALL = 7
"""Of the 36, the one that all 16 pixels of an answer have once: where a bias is added."""


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        (batch, inputs, height, width), outputs = x.shape, len(weight)
        down, across = _tiles(height), _tiles(width)
        filled = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, _TILE * across - width + 1, 1, _TILE * down - height + 1))
        seen = filled.unfold(1, _SEEN, _TILE).unfold(2, _SEEN, _TILE).permute(4, 5, 0, 1, 2, 3)
        pixels = (_OF_PIXELS @ seen.reshape(_SEEN**2, -1)).view(_SEEN**2, -1, inputs)
        taps = (_OF_TAPS @ weight.permute(2, 3, 0, 1).reshape(9, -1)).view(_SEEN**2, outputs, inputs)
        sums = torch.bmm(pixels, taps.transpose(1, 2))
        if bias is not None:
            sums[_IN_ALL] += bias
        answer = (_TO_ANSWER @ sums.view(_SEEN**2, -1)).view(_TILE, _TILE, batch, down, across, outputs)
        ctx.save_for_backward(pixels, taps)
        return _joined(answer, height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, taps = ctx.saved_tensors
        (batch, outputs, height, width), inputs = gradient.shape, taps.shape[2]
        down, across = _tiles(height), _tiles(width)
        filled = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, _TILE * across - width, 0, _TILE * down - height))
        tiles = filled.reshape(batch, down, _TILE, across, _TILE, outputs).permute(2, 4, 0, 1, 3, 5)
        sums = (_TO_ANSWER.T @ tiles.reshape(_TILE**2, -1)).view(_SEEN**2, -1, outputs)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            seen = _OF_PIXELS.T @ torch.bmm(sums, taps).view(_SEEN**2, -1)
            seen = seen.view(_SEEN, _SEEN, batch, down, across, inputs)
            of_x = _joined(_overlapping(_overlapping(seen, 0), 1), height, width)
        if ctx.needs_input_grad[1]:
            of_taps = torch.bmm(sums.transpose(1, 2), pixels).view(_SEEN**2, -1)
            of_weight = (_OF_TAPS.T @ of_taps).view(3, 3, outputs, inputs).permute(2, 3, 0, 1)
            of_weight = of_weight.contiguous(memory_format=torch.channels_last)
        if ctx.needs_input_grad[2]:
            of_bias = sums[_IN_ALL].sum(0)
        return of_x, of_weight, of_bias


def _overlapping(seen: Tensor, axis: int) -> Tensor:
    """Add up what neighbouring tiles have of the same rows (axis 0) or columns (1), and keep the four of each tile."""
    tiles = axis + 3  # of (6, 6 or 4, batch, down, across, channels)
    rows = seen.unbind(axis)
    count = seen.shape[tiles] - 1
    rows[4].narrow(tiles - 1, 0, count).add_(rows[0].narrow(tiles - 1, 1, count))
    rows[1].narrow(tiles - 1, 1, count).add_(rows[5].narrow(tiles - 1, 0, count))
    return seen.narrow(axis, 1, _TILE)


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
