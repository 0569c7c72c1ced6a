"""Samples that do not fit in memory, streamed from HDF5 files a block at a time.

An epoch is a sequence of blocks. Each holds whole chunks, drawn at random, of every file in the same shares; its
samples are shuffled and cut into batches.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lit_hep.data.batches import Group, Marked, as_is, batch_sizes
from lit_hep.data.hdf5 import Table, take
from lit_hep.data.pages import Pages
from lit_hep.data.seeds import derive
from lit_hep.errors import ConfigError

_GIB = 2**30
_LIBRARIES = 1.0  # GiB that the process takes without data
_CHUNKS = 4  # of a file, in a block that may be as much as half of one larger or smaller
_TOGETHER = 256  # samples to copy at a time at least
_BLOCKS = 64  # blocks that would fill the memory allowed; one or two exist at a time, the libraries take the rest


def fits(tables: Sequence[Table], names: Sequence[str], memory_gib: float) -> bool:
    """Whether data sets can be kept in memory by a process that may take `memory_gib` in all, in GiB."""
    return sum(len(table) * table.row_bytes(names) for table in tables) <= (memory_gib - _LIBRARIES) * _GIB


class StreamedColumns(Dataset[dict[str, Tensor]]):
    """Named columns of samples, of which the large ones stay in HDF5 files; the counterpart of `Columns`.

    Samples are numbered through: the rows of the first file, then those of the second …

    Args:
        tables: The files; of each, a block holds the same share.
        names: Column to data set, of the large columns.
        columns: The other columns: name to tensor (N, ...).
        memory_gib: Memory that the process may take, in GiB, its libraries (1 GiB) included; a block is a 64th.

    Raises:
        ConfigError: A chunk of a file is larger than a block.
    """

    def __init__(
        self, tables: Sequence[Table], names: Mapping[str, str], columns: Mapping[str, Tensor], memory_gib: float
    ) -> None:
        self.tables, self.names, self.columns = list(tables), dict(names), dict(columns)
        self._stored = list(self.names.values())
        self.starts = np.cumsum([0, *(len(table) for table in self.tables)])
        self.block = int(memory_gib * _GIB / _BLOCKS / self.tables[0].row_bytes(self._stored))
        for table in self.tables:
            if (rows := max(table.chunks[name] for name in self._stored)) > self.block:
                needed = rows * table.row_bytes(self._stored) * _BLOCKS / _GIB
                raise ConfigError(
                    f"memory_gib {memory_gib:g}: {table.path} is stored in chunks of {rows} rows, for which memory_gib "
                    f"{needed:.2g} would be needed; set more, or store it in smaller chunks (h5repack -l CHUNK=...)"
                )

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: Tensor) -> dict[str, Tensor]:
        """Samples of any numbers (n,): a dict of columns (n, ...)."""
        first = self.tables[0]
        shapes = {name: (len(index), *first.shapes[name][1:]) for name in self._stored}
        large = {name: _of_blocks.array(shape, first.dtypes[name]) for name, shape in shapes.items()}
        take(self.tables, index.numpy(), large)
        read = {column: torch.from_numpy(large[name]) for column, name in self.names.items()}
        return read | {name: column.index_select(0, index) for name, column in self.columns.items()}

    def file_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number (n,) of the file that holds each sample."""
        file: NDArray[np.int64] = np.searchsorted(self.starts, index, side="right") - 1
        return file

    def span_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number (n,) of the span, within its file, that is read for each sample."""
        file = self.file_of(index)
        spans = np.array([table.span(self._stored) for table in self.tables])
        span: NDArray[np.int64] = (index - self.starts[file]) // spans[file]
        return span


_of_blocks, _of_batches = Pages(), Pages()


class EpochBlocks(DistributedSampler[Any]):
    """Blocks of sample numbers whose order is a function of (seed, epoch) alone; the counterpart of `EpochBatches`.

    Each process takes a part of every file's chunks, and each of its blocks the same share of that part. A process
    that would get fewer samples of a file than another repeats its first ones: in training these are `Marked`, to be
    left out of the loss; evaluation drops what comes twice by its ``index``. Unlike there, the batches depend on the
    number of processes.

    Args:
        data: Where the samples are.
        index: Sample numbers (n,) to draw, each once an epoch.
        shuffle: A new order each epoch, for training.
        seed: Of the order.
        epoch: First epoch, until `set_epoch`.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        data: StreamedColumns,
        index: Tensor,
        *,
        shuffle: bool,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(index, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.epoch = epoch
        rows = np.sort(index.numpy())
        file, span = data.file_of(rows), data.span_of(rows)
        self._files = [(rows[file == number], span[file == number]) for number in np.unique(file)]
        self.samples = sum(-(-len(rows) // world_size) for rows, _ in self._files)
        """Samples that each process takes an epoch."""
        self.blocks = -(-self.samples // data.block)
        """Blocks that each process takes an epoch."""

    @property
    def marked(self) -> bool:
        """Whether padding is marked."""
        return self.shuffle and self.num_replicas > 1

    def __len__(self) -> int:
        return self.blocks

    def __iter__(self) -> Iterator[Tensor]:
        rng = np.random.default_rng(derive(self.seed, self.epoch))
        shares = [self._parts(*self._share(rows, span, rng)) for rows, span in self._files]
        for parts in zip(*shares, strict=True):
            block = np.concatenate(parts)
            yield torch.from_numpy(rng.permutation(block) if self.shuffle else block)

    def _share(
        self, rows: NDArray[np.int64], span: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What this process takes of a file, chunk after chunk, and where others begin in it."""
        if self.shuffle:
            order = np.argsort(rng.permutation(span.max() + 1)[span], kind="stable")
            rows, span = rows[order], span[order]
        size = -(-len(rows) // self.num_replicas)
        mine, its = (np.array_split(column, self.num_replicas)[self.rank] for column in (rows, span))
        padding = np.resize(mine if len(mine) else rows, size - len(mine))
        return np.concatenate([mine, ~padding if self.marked else padding]), np.flatnonzero(np.diff(its)) + 1

    def _parts(self, mine: NDArray[np.int64], begins: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Its part of each block: about as many samples, but of whole chunks where they are small beside a block."""
        ends = np.arange(1, self.blocks) * len(mine) // self.blocks
        if len(begins) >= _CHUNKS * self.blocks:
            ends = begins[np.abs(begins[:, None] - ends).argmin(0)]
        return np.split(mine, ends)


class BlockLoader:
    """Reads blocks and gives batches: the same for any number of workers.

    Args:
        data: Where the samples are.
        sampler: Of the blocks.
        batch_size: Samples a batch.
        num_workers: Processes that read ahead.
        group: Batches given at a time, as a list; 1 gives each alone.
        ahead: Without workers, have a thread read ahead. Not where the processor learns: the two would wait for the
            same cores and caches.
    """

    batch_sampler = None  # as in a DataLoader of batch_size None: Lightning looks for it

    def __init__(
        self,
        data: StreamedColumns,
        sampler: EpochBlocks,
        batch_size: int,
        num_workers: int = 0,
        group: int = 1,
        ahead: bool = False,
    ) -> None:
        self.dataset, self.sampler, self.batch_size, self.num_workers = data, sampler, batch_size, num_workers
        self.group, self.ahead = group, ahead and not num_workers
        self.sizes = batch_sizes(sampler.samples, batch_size, train=sampler.shuffle)

    def __len__(self) -> int:
        return -(-len(self.sizes) // self.group)

    def __iter__(self) -> Iterator[Any]:
        data = Marked(self.dataset) if self.sampler.marked else self.dataset
        blocks: Iterator[dict[str, Any]] = map(data.__getitem__, self.sampler)
        if self.num_workers:
            loader = DataLoader(
                data,
                batch_size=None,
                sampler=self.sampler,
                num_workers=self.num_workers,
                collate_fn=as_is,
                generator=torch.Generator(),  # else each loader draws from the global state
                prefetch_factor=1,
            )
            blocks = iter(loader)
        each = batches(ahead(blocks) if self.ahead else blocks, self.sizes)
        return each if self.group == 1 else self._groups(each)

    def _groups(self, each: Iterator[dict[str, Tensor]]) -> Iterator[Group]:
        for start in range(0, len(self.sizes), self.group):
            length = min(self.group, len(self.sizes) - start)
            mine = islice(each, length)
            yield Group(mine, length, torch.device("cpu"))
            deque(mine, maxlen=0)  # those that nobody took are not the next group's


def ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Give items while a thread is at work on the next one."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def batches(blocks: Iterator[dict[str, Tensor]], sizes: Sequence[int]) -> Iterator[dict[str, Tensor]]:
    """Cut blocks into batches of so many samples each.

    Small ones are copied, several at a time, to be in the cache when they are used; a large one only where it is of
    two blocks, as reading it takes no longer where it lies.
    """
    left = _Left(blocks)
    several = max(1, _TOGETHER // sizes[0]) if sizes else 1
    for first in range(0, len(sizes), several):
        some = list(sizes[first : first + several])
        parts = deque(_parts(left.next(sum(some), copied=several > 1), some))
        while parts:
            yield parts.popleft()


class _Left:
    """What is left of the blocks; nothing else holds one, so that its memory serves the next once it is used up."""

    def __init__(self, blocks: Iterator[dict[str, Tensor]]) -> None:
        self._blocks, self._block = blocks, dict[str, Tensor]()

    def next(self, count: int, *, copied: bool) -> dict[str, Tensor]:
        """The next samples: a copy, or as they lie, if that is in one block."""
        self._block = self._block or next(self._blocks)
        if not copied and count <= _length(self._block):
            return self._cut(count)
        columns, start = {name: _room(column, count) for name, column in self._block.items()}, 0
        while start < count:
            self._block = self._block or next(self._blocks)
            start = _put(self._cut(count - start), columns, start)
        return columns

    def _cut(self, most: int) -> dict[str, Tensor]:
        here = {name: column[:most] for name, column in self._block.items()}
        rest = {name: column[most:] for name, column in self._block.items()}
        self._block = rest if most < _length(self._block) else {}
        return here


def _put(part: dict[str, Tensor], columns: dict[str, Tensor], start: int) -> int:
    """Copy samples to their place; where the next ones go."""
    end = start + _length(part)
    for name, column in part.items():
        columns[name][start:end] = column
    return end


def _parts(columns: dict[str, Tensor], sizes: list[int]) -> Iterator[dict[str, Tensor]]:
    parts = {name: torch.split(column, sizes) for name, column in columns.items()}
    return ({name: column[place] for name, column in parts.items()} for place in range(len(sizes)))


def _length(columns: dict[str, Tensor]) -> int:
    return len(next(iter(columns.values())))


def _room(column: Tensor, size: int) -> Tensor:
    shape = size, *column.shape[1:]
    if column.dim() == 1:
        return column.new_empty(shape)
    return torch.from_numpy(_of_batches.array(shape, column.numpy().dtype))
