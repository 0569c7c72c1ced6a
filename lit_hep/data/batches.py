"""Columns of samples in memory, fetched a batch at a time."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lit_hep.data.seeds import derive


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
        return {name: column[index] for name, column in self.columns.items()}


class EpochBatches(DistributedSampler[Any]):
    """Batches of sample numbers whose order is a function of (seed, epoch) alone.

    Being a `DistributedSampler`, Lightning leaves it as it is and tells it the epoch. The global batch of all
    processes is the same for any number of them; the last one is padded with samples from the front so that every
    process takes as many steps (evaluation drops what comes twice by its ``index``).

    Args:
        index: Sample numbers (n,) to draw from.
        batch_size: Samples a process and step.
        shuffle: A new order each epoch.
        weights: Relative frequency (n,) of each sample, drawn with replacement; None draws each once.
        seed: Of the order.
        epoch: First epoch, until `set_epoch`.
        rank: Number of this process.
        world_size: Number of processes.
        device: Where the batches of numbers are wanted.
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
    ) -> None:
        super().__init__(index, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.index, self.batch_size, self.weights, self.device = index, batch_size, weights, device
        self.epoch = epoch

    def __len__(self) -> int:
        return len(batch_sizes(-(-len(self.index) // self.num_replicas), self.batch_size))

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derive(self.seed, self.epoch))
        count = len(self.index)
        if self.weights is not None:
            order = self.index[torch.multinomial(self.weights, count, replacement=True, generator=generator)]
        elif self.shuffle:
            order = self.index[torch.randperm(count, generator=generator)]
        else:
            order = self.index
        order = torch.cat([order, order[: -count % self.num_replicas]]).to(self.device)
        mine = order[self.rank :: self.num_replicas]
        yield from torch.split(mine, batch_sizes(len(mine), self.batch_size))


def batch_sizes(count: int, size: int) -> list[int]:
    """Samples of each batch; a single one left at the end joins the batch before, as batch norm needs two."""
    whole, rest = divmod(count, size)
    sizes = [size] * whole
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def as_is(batch: Any) -> Any:
    """Collate nothing: the data set already gave a batch."""
    return batch
