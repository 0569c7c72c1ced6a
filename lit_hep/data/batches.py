"""Columns of samples in memory, fetched a batch at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, Self, TypeVar, overload

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, get_worker_info

from lit_hep.data.seeds import derive

T = TypeVar("T")


class Column(Protocol):
    """What holds something of each sample: a tensor (N, ...), or what can be fetched and moved like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Any: ...

    def to(self, device: torch.device, /) -> Self:
        """The same on a device."""


class Columns(Dataset[dict[str, Any]]):
    """Named columns of equal length; one look-up gives a whole batch.

    Args:
        columns: Name to tensor (N, ...), or to another `Column`.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: Tensor) -> dict[str, Any]:
        # of whole rows, a third of the time that column[index] takes
        return {
            name: column.index_select(0, index) if isinstance(column, Tensor) else column[index]
            for name, column in self.columns.items()
        }


class Marked(Dataset[dict[str, Any]]):
    """Batches with the column ``counts`` (B,): False for samples that are padding, whose numbers are marked.

    A mark is the inversion of all bits.

    Args:
        data: Gives the other columns of a batch of sample numbers.
    """

    def __init__(self, data: Dataset[dict[str, Any]]) -> None:
        self.data = data

    def __getitem__(self, index: Tensor) -> dict[str, Any]:
        counts = index >= 0
        batch: dict[str, Any] = self.data[torch.where(counts, index, ~index)]
        return batch | {"counts": counts}


class Group(Sequence[dict[str, Any]]):
    """Batches in their order, fetched when asked for, or else each right before its step, to be in the cache then.

    Args:
        batches: Gives them.
        length: Their number.
        device: Where they are.
    """

    def __init__(self, batches: Iterator[dict[str, Any]], length: int, device: torch.device) -> None:
        self._batches, self._length, self._device = batches, length, device
        self._fetched = list[dict[str, Any]]()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        wanted = range(len(self))[place]
        if isinstance(wanted, range):
            return [self[one] for one in wanted]
        while len(self._fetched) <= wanted:
            self._fetched.append(next(self._batches))
        return self._fetched[wanted]

    def steps(self) -> Iterator[dict[str, Any]]:
        """Each batch for its step; fetched for that alone, it has columns (B,) only when the next one is asked for."""
        large: list[str] | None = None
        for place in range(self._length):
            known = place < len(self._fetched)
            if not known:
                self._fetched.append(next(self._batches))
            batch = self._fetched[place]
            yield batch
            if known:
                continue
            if large is None:
                large = [name for name, value in batch.items() if not isinstance(value, Tensor) or value.dim() > 1]
            for name in large:
                del batch[name]

    def to(self, device: torch.device) -> Sequence[dict[str, Any]]:
        """The same on a device; all at once, as a copy of each would wait for the step before it."""
        return self if device == self._device else [_moved(batch, device) for batch in self]


def _moved(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: column.to(device) for name, column in batch.items()}


class Groups(Dataset[Sequence[dict[str, Any]]]):
    """Several batches at each look-up.

    Args:
        data: Gives the columns of a batch of sample numbers.
    """

    def __init__(self, data: Dataset[dict[str, Any]]) -> None:
        self.data = data

    def __getitem__(self, numbers: Sequence[Tensor]) -> Sequence[dict[str, Any]]:
        group = Group((self.data[index] for index in numbers), len(numbers), numbers[0].device)
        return group if get_worker_info() is None else list(group)


class EpochBatches(DistributedSampler[Any]):
    """Batches of sample numbers whose order is a function of (seed, epoch) alone.

    Being a `DistributedSampler`, Lightning leaves it as it is and tells it the epoch. The batches of all processes
    together are those of a single one with as large a batch. Where they cannot be shared out evenly, as at the end of
    an epoch, some processes get a sample of the batch once more. In training such padding is `Marked`, to be left
    out of the loss; evaluation drops what comes twice by its ``index``.

    Args:
        index: Sample numbers (n,) to draw from.
        batch_size: Samples a process and step.
        shuffle: A new order each epoch, for training.
        weights: Relative frequency (n,) of each sample, drawn with replacement; None draws each once.
        seed: Of the order.
        epoch: First epoch, until `set_epoch`.
        rank: Number of this process.
        world_size: Number of processes.
        device: Where the batches of numbers are wanted.
        group: Batches given at a time, as a list; 1 gives each alone.
    """

    def __init__(
        self,
        index: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        weights: Tensor | None = None,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
        group: int = 1,
    ) -> None:
        super().__init__(index, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.index, self.batch_size, self.weights, self.device = index, batch_size, weights, device
        self.epoch, self.group = epoch, group

    @property
    def marked(self) -> bool:
        """Whether padding is marked."""
        return self.shuffle and self.num_replicas > 1

    @property
    def _sizes(self) -> list[int]:
        return batch_sizes(len(self.index), self.batch_size * self.num_replicas, train=self.shuffle)

    def __len__(self) -> int:
        return -(-len(self._sizes) // self.group)

    def __iter__(self) -> Iterator[Any]:
        return self._batches() if self.group == 1 else grouped(self._batches(), self.group)

    def _batches(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derive(self.seed, self.epoch))
        count = len(self.index)
        if self.weights is not None:
            order = self.index[torch.multinomial(self.weights, count, replacement=True, generator=generator)]
        elif self.shuffle:
            order = self.index[torch.randperm(count, generator=generator)]
        else:
            order = self.index
        for batch in torch.split(order.to(self.device), self._sizes):
            yield batch if self.num_replicas == 1 else self._share(batch)

    def _share(self, batch: Tensor) -> Tensor:
        """What this process takes of a batch: as many as the others, and to train two if it can, as for batch norm."""
        mine = batch[self.rank :: self.num_replicas]
        least = min(2, self.batch_size) if self.shuffle else 1
        lacking = max(-(-len(batch) // self.num_replicas), least) - len(mine)
        if not lacking:
            return mine
        padding = batch[:1].expand(lacking)
        return torch.cat([mine, ~padding if self.marked else padding])


def batch_sizes(count: int, size: int, *, train: bool = True) -> list[int]:
    """Samples of each batch; a single one left at the end joins the batch before, as batch norm needs two to train."""
    whole, rest = divmod(count, size)
    sizes = [size] * whole
    if rest == 1 and sizes and train:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many consecutive items, the last one perhaps shorter."""
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def as_is(batch: Any) -> Any:
    """Collate nothing: the data set already gave a batch."""
    return batch
