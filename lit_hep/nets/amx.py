"""Convolutions of float32 by the matrix unit that some processors have."""

import ctypes
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_hep.compiled import library
from lit_hep.nets.convolution import Pair, Step

_SIDE, _DEPTH = 16, 32
"""Rows of a tile, and numbers in one."""
_PARTS = 32
"""Of a sum, that the library takes together."""


class MatrixUnit(Step):
    """A way to convolve, by products of bfloat16 that are added up in float32.

    Each number is taken for the sum of a coarse and a fine one, and of four products the three largest count, as in G.
    Henry, P. T. P. Tang and A. Heinecke, arXiv:1904.06376. Answers are off by 4e-6 of their size, PyTorch's by 1e-7 to
    1e-6; where numbers are infinite they are NaN. Channels are multiples of 32, and innermost.
    """

    def reduce(self, large: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) to (B, K, h, w)."""
        grid, weight = self._grid(large), _innermost(weight)
        y = _images(len(large), len(weight), self.number(large))
        seen = [_Tap(*tap, self._phase(tap), self._cells(tap, grid)) for tap in sorted(self._taps(), key=self._phase)]
        _Frame(large, grid).convolve(weight, bias, [(seen, y)])
        return y

    def enlarge(self, small: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, K, h, w) to (B, C, H, W): every stride down and across by those taps that end there."""
        sides = [(n - 1) * s - 2 * p + k for n, k, s, p in zip(small.shape[2:], *self, strict=True)]
        y = _images(len(small), weight.shape[1], sides)
        down, across = (_reach(*axis) for axis in zip(*self, strict=True))
        margin = [max(0, *(-cell for places in axis for _, cell in places)) for axis in (down, across)]
        beyond = [max(0, *(cell for places in axis for _, cell in places)) for axis in (down, across)]
        answers = (-(-side // step) for side, step in zip(sides, self.stride, strict=True))
        cells = (sum(parts) for parts in zip(answers, margin, beyond, strict=True))
        grid = _Grid.of(small, cells, (1, 1), margin)
        turns = [
            (
                [
                    _Tap(row, column, 0, ((above + margin[0]) * grid.columns + aside + margin[1]) * grid.batch)
                    for row, above in rows
                    for column, aside in columns
                ],
                y[:, :, top :: self.stride[0], left :: self.stride[1]],
            )
            for top, rows in enumerate(down)
            for left, columns in enumerate(across)
        ]
        _Frame(small, grid).convolve(_innermost(weight).transpose(0, 1), bias, turns)
        return y

    def of_weight(self, large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
        """With C innermost."""
        grid, taps = self._grid(large), sorted(self._taps(), key=self._phase)
        cells = [self._cells(tap, grid) for tap in taps]
        starts = _starts(grid, *small.shape[2:])
        tiles = _tiles(small, grid, starts)
        pairs = _pairs(large, grid, starts[-1] + _DEPTH + max(cells))
        made = torch.empty(len(weight), *self.kernel, weight.shape[1])
        columns = (
            [row * self.kernel[1] + column for row, column in taps],
            [cell % 2 * tiles.stride(1) for cell in cells],
            [cell // 2 for cell in cells],
            [self._phase(tap) * grid.channels for tap in taps],
        )
        _compiled().gradient(
            *_places(tiles[:, 0]),
            len(weight),
            len(starts),
            starts,
            *_places(pairs),
            weight.shape[1],
            pairs.shape[2],
            len(taps),
            *(_numbers(column) for column in columns),
            made.data_ptr(),
            torch.get_num_threads(),
        )
        return made.permute(0, 3, 1, 2)

    def _grid(self, large: Tensor) -> "_Grid":
        """Of large images: a cell of strides for each small pixel, and those beyond that its taps see."""
        cells = (n + (k - 1) // s for n, k, s in zip(self.number(large), self.kernel, self.stride, strict=True))
        return _Grid.of(large, cells, self.stride, self.padding)

    def _taps(self) -> list[Pair]:
        return [(row, column) for row in range(self.kernel[0]) for column in range(self.kernel[1])]

    def _cells(self, tap: Pair, grid: "_Grid") -> int:
        """How many a tap is ahead."""
        return (tap[0] // self.stride[0] * grid.columns + tap[1] // self.stride[1]) * grid.batch

    def _phase(self, tap: Pair) -> int:
        """Place of a tap in its cell."""
        return tap[0] % self.stride[0] * self.stride[1] + tap[1] % self.stride[1]


def has_matrix_unit() -> bool:
    """Whether there is one that can be used."""
    return _compiled() is not None


class _Grid(NamedTuple):
    """As in the library: images, cells of strides, and how far the first one begins beyond the edge."""

    batch: int
    height: int
    width: int
    channels: int
    rows: int
    columns: int
    down: int
    across: int
    above: int
    left: int

    @classmethod
    def of(cls, images: Tensor, cells: Iterable[int], stride: Sequence[int], margin: Sequence[int]) -> "_Grid":
        return cls(*images.permute(0, 2, 3, 1).shape, *cells, *stride, *margin)

    @property
    def number(self) -> int:
        """Of cells."""
        return self.batch * self.rows * self.columns

    @property
    def row(self) -> int:
        """Numbers in a cell."""
        return self.down * self.across * self.channels


class _Tap(NamedTuple):
    """Row and column, place in a cell, and how many cells ahead of the answer's it sees."""

    row: int
    column: int
    phase: int
    ahead: int


class _Frame:
    """Images (B, C, H, W) on a grid, coarse and fine."""

    def __init__(self, images: Tensor, grid: _Grid) -> None:
        beyond = grid.columns * grid.batch * grid.rows + _DEPTH  # is read for answers that nobody asks for
        self.grid, self.cells = grid, grid.number + beyond
        self.parts = _halves(grid.row // _DEPTH, self.cells, _DEPTH)
        _call("frame", images, grid, self.parts, self.cells)

    def convolve(self, weight: Tensor, bias: Tensor | None, turns: Sequence[tuple[Sequence[_Tap], Tensor]]) -> None:
        """By a weight (K, C, rows, columns) with K or C innermost.

        Args:
            weight: Of all taps.
            bias: Of the answers.
            turns: Some taps each, and their answers (B, K, h, w), with K innermost, which are written.
        """
        output, channel, row, column = weight.stride()
        answers = turns[0][1]
        wanted = list[int]()
        held = []  # what the numbers point to
        for taps, y in turns:
            held.append(_parts(tuple(taps), self.grid.channels // _DEPTH, self.cells, (row, column, channel)))
            weights, places = held[-1]
            wanted += [*y.shape[2:], len(places), ctypes.addressof(weights), ctypes.addressof(places), y.data_ptr()]
        image, _, down, across = answers.stride()
        _compiled().convolve(
            _numbers(self.grid),
            *_places(self.parts),
            _numbers([weight.data_ptr(), channel, output]),
            None if bias is None else bias.data_ptr(),
            len(turns),
            _numbers(wanted),
            _numbers([len(weight), image, down, across]),
            torch.get_num_threads(),
        )


@lru_cache(256)
def _parts(taps: Sequence[_Tap], planes: int, cells: int, strides: tuple[int, ...]) -> tuple[Any, Any]:
    """Where the 32 channels of each part begin, in the weights and in a frame of so many planes of cells.

    Those that see the same are near one another: what has been read of a frame is read again soon.
    """
    weights, places = list[int](), list[int]()
    for phase, alike in groupby(taps, lambda tap: tap.phase):
        same = list(alike)
        some = max(1, _PARTS // len(same))
        for first in range(0, planes, some):
            for tap in same:
                for plane in range(first, min(first + some, planes)):
                    weights.append(tap.row * strides[0] + tap.column * strides[1] + plane * _DEPTH * strides[2])
                    places.append(((phase * planes + plane) * cells + tap.ahead) * _DEPTH)
    return _numbers(weights), _numbers(places)


@lru_cache(64)
def _starts(grid: _Grid, height: int, width: int) -> Any:
    """Cells from which on 32 are a tile: even ones, and all that small images have, though they begin one later."""
    starts, row = [0], grid.columns * grid.batch
    for first in range(0, height * row, row):
        starts += range(max(starts[-1] + _DEPTH, first - first % 2), first + width * grid.batch + 1, _DEPTH)
    return _numbers(starts)


def _tiles(small: Tensor, grid: _Grid, starts: Any) -> Tensor:
    """Images in tiles (16 channels, 32 cells), as they are and, where taps ask for it, one cell later."""
    below = _Grid.of(small, (grid.rows, grid.columns), (1, 1), (0, 0))
    tiles = _halves(1 + grid.batch % 2, len(starts) * _DEPTH * small.shape[1])
    for later in range(tiles.shape[1]):
        _call("frame_tiles", small, below, tiles[:, later], len(starts), starts, later)
    return tiles


def _pairs(large: Tensor, grid: _Grid, cells: int) -> Tensor:
    """Images as (phases and channels by 16, pairs of cells, 16 channels of both), for so many cells."""
    pairs = _halves(grid.row // _SIDE, cells // 2, _DEPTH)
    _call("frame_pairs", large, grid, pairs, cells // 2)
    return pairs


def _reach(taps: int, stride: int, padding: int) -> list[list[Pair]]:
    """For each place in a stride the taps of a row that end there, each with the cell from which."""
    return [
        [(tap, (place + padding - tap) // stride) for tap in range(taps) if (place + padding - tap) % stride == 0]
        for place in range(stride)
    ]


def _images(batch: int, channels: int, sides: Sequence[int]) -> Tensor:
    return torch.empty((batch, channels, *sides), memory_format=torch.channels_last)


def _innermost(weight: Tensor) -> Tensor:
    """With the channels C innermost."""
    return weight.contiguous(memory_format=torch.channels_last)


def _halves(*shape: int) -> Tensor:
    """Room for numbers, coarse and fine."""
    return torch.empty(2, *shape, dtype=torch.bfloat16)


def _places(parts: Tensor) -> list[int]:
    return [part.data_ptr() for part in parts]


def _numbers(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def _call(function: str, images: Tensor, grid: _Grid, parts: Tensor, *about: Any) -> None:
    """Write images on a grid."""
    threads = torch.get_num_threads()
    getattr(_compiled(), function)(_numbers(grid), images.data_ptr(), *_places(parts), *about, threads)


@cache
def _compiled() -> Any:
    """The library, or None where there is no matrix unit."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch does not say
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not known.get("amx_bf16"):
        return None
    compiled = library(Path(__file__).with_suffix(".cpp"), processor="sapphirerapids")
    if compiled is None:
        return None
    compiled.allowed.restype = ctypes.c_bool
    pointer, number, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    compiled.frame.argtypes = compiled.frame_pairs.argtypes = [*[pointer] * 4, number, threads]
    compiled.frame_tiles.argtypes = [*[pointer] * 4, number, pointer, number, threads]
    compiled.convolve.argtypes = [*[pointer] * 5, number, pointer, pointer, threads]
    images = pointer, pointer, number, number
    compiled.gradient.argtypes = [*images, pointer, *images, number, *[pointer] * 5, threads]
    return compiled if compiled.allowed() else None
