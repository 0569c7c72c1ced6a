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
"""Rows and columns of zeros on each side of an image."""
_POINTS = {3: (0, 1, -1, 2, -2), 4: (0, 1, -1, 2, -2, 0.5)}
"""Of each side that a kernel may have, where polynomials are taken; infinity comes to them."""
_PIXELS = 1024
"""Of a batch; with fewer, to transform the weights costs more than it saves."""
_SUMS = 2**25
"""Values at most that are kept for the gradients; of larger batches they are computed anew, some images at a time."""


class WinogradConv(nn.Conv2d):
    """A 3x3 or 4x4 convolution by Winograd's F(4x4, 3x3 or 4x4): the same but for rounding.

    Each 6x6 pixels, four apart, are turned into 36 sums and the 3x3 taps into as many, which are multiplied as 36
    products of matrices: 36 multiplications for 16 pixels, not 144; with 4x4 taps 49, not 256. After A. Lavin and S.
    Gray, arXiv:1509.09308. Answers and gradients are off by 1e-6 to 4e-6 of their size, PyTorch's by 1e-7 to 1e-6. It
    takes up to 128 MiB a layer for the sums. Float32 images with the channels innermost only; others, few pixels and
    halves go PyTorch's way.
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
        images = max(1, _SUMS // (n * n * down * across * max(inputs, outputs)))
        taps = (_OF_TAPS[r] @ weight.permute(2, 3, 0, 1).reshape(r * r, -1)).view(n * n, outputs, inputs)
        answer = _blank(batch, outputs, down, across)
        for part, place in zip(torch.split(x, images), torch.split(answer, images), strict=True):
            pixels = _summed(part, r)
            sums = torch.bmm(pixels, taps.transpose(1, 2))
            if bias is not None:
                sums[n + 1] += bias  # of point 1 in rows and columns, which all 16 answers have once
            tiles = (_OF_SUMS[r] @ sums.view(n * n, -1)).view(_TILE, _TILE, -1, down, across, outputs)
            _join(tiles, place)
        ctx.save_for_backward(x if images < batch else pixels, taps)
        ctx.about = r, images, x.shape
        lost = r - 1 - 2 * _PADDING
        return _cut(answer, height - lost, width - lost)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, taps = ctx.saved_tensors
        r, images, (batch, inputs, height, width) = ctx.about
        outputs, down, across, n = taps.shape[1], _tiles(height), _tiles(width), _TILE + r - 1
        wanted_x, wanted_weight, wanted_bias = ctx.needs_input_grad
        below, right = _TILE * down - gradient.shape[2], _TILE * across - gradient.shape[3]
        of_x = _blank(batch, inputs, down, across) if wanted_x else None
        of_taps = torch.empty_like(taps) if wanted_weight else None
        of_bias = gradient.new_zeros(outputs) if wanted_bias else None
        for number, part in enumerate(torch.split(gradient, images)):
            filled = F.pad(part.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))
            tiles = filled.reshape(-1, down, _TILE, across, _TILE, outputs).permute(2, 4, 0, 1, 3, 5)
            sums = (_OF_SUMS[r].T @ tiles.reshape(_TILE**2, -1)).view(n * n, -1, outputs)
            first = number * images
            if of_x is not None:
                given = (_OF_PIXELS[r].T @ torch.bmm(sums, taps).view(n * n, -1)).view(n, n, -1, down, across, inputs)
                _join(_overlapping(_overlapping(given, 0), 1), of_x[first : first + images])
            if of_taps is not None:
                pixels = seen if images >= batch else _summed(seen[first : first + images], r)
                of_taps.baddbmm_(sums.transpose(1, 2), pixels, beta=float(number > 0))
            if of_bias is not None:
                of_bias += sums[n + 1].sum(0)
        of_weight = None
        if of_taps is not None:
            of_weight = (_OF_TAPS[r].T @ of_taps.view(n * n, -1)).view(r, r, outputs, inputs).permute(2, 3, 0, 1)
            of_weight = of_weight.contiguous(memory_format=torch.channels_last)
        return None if of_x is None else _cut(of_x, height, width), of_weight, of_bias


def _summed(x: Tensor, r: int) -> Tensor:
    """(B, C, H, W) to the sums of its tiles, (n², tiles, C)."""
    (_, channels, height, width), n = x.shape, _TILE + r - 1
    below, right = (_TILE * _tiles(length) + r - 1 - _PADDING - length for length in (height, width))
    filled = F.pad(x.permute(0, 2, 3, 1), (0, 0, _PADDING, right, _PADDING, below))
    seen = filled.unfold(1, n, _TILE).unfold(2, n, _TILE).permute(4, 5, 0, 1, 2, 3)
    return (_OF_PIXELS[r] @ seen.reshape(n * n, -1)).view(n * n, -1, channels)


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


def _blank(batch: int, channels: int, down: int, across: int) -> Tensor:
    shape = (batch, channels, _TILE * down, _TILE * across)
    return torch.empty(shape, memory_format=torch.channels_last)


def _join(tiles: Tensor, image: Tensor) -> None:
    """Put (4, 4, batch, down, across, channels) into (batch, channels, 4 down, 4 across)."""
    _, _, batch, down, across, channels = tiles.shape
    pixels = image.permute(0, 2, 3, 1).view(batch, down, _TILE, across, _TILE, channels)
    pixels.copy_(tiles.permute(2, 3, 0, 4, 1, 5))


def _cut(image: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns; never a view, which could not be changed in place."""
    if image.shape[2:] == (height, width):
        return image
    return image[:, :, :height, :width].clone(memory_format=torch.channels_last)
