"""What the processes of a run do together, such that several learn what one would from the same batches."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchmetrics.utilities.distributed import gather_all_tensors

from lit_hep.errors import ConfigError, UserError

T = TypeVar("T")


def several() -> bool:
    """Whether there is more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def total(part: Tensor) -> Tensor:
    """Sum over all processes of what each has of a batch, for a loss that is no mean over samples.

    Its gradient is such that the mean of the processes' gradients, which DDP takes, is the gradient of the sum.

    Args:
        part: Of this process, any shape, equal on all.
    """
    if not several():
        return part
    value = part.detach().clone()
    dist.all_reduce(value)
    return value + dist.get_world_size() * (part - part.detach())


def average(count: Tensor) -> Tensor:
    """Mean over all processes of a count, by which each divides its sum over a batch to get its loss.

    Processes may have unequal numbers of samples (hits, pixels); the mean of their losses, and of the gradients, is
    then that of all samples and not of the processes' means.

    Args:
        count: Of this process, ().
    """
    return total(count.detach().float()) / dist.get_world_size() if several() else count


def counted(batch: dict[str, Tensor]) -> Tensor:
    """Samples (B,) of a training batch that count: 1, or 0 for padding.

    Args:
        batch: With ``index`` (B,) and, of several processes, ``counts`` (B,).
    """
    return batch["counts"].float() if "counts" in batch else torch.ones_like(batch["index"], dtype=torch.float32)


def joined(columns: Iterable[Tensor]) -> list[Tensor]:
    """Columns (n, ...) of all processes, each with an n of its own, one after the other."""
    return [torch.cat(gather_all_tensors(column)) if several() else column for column in columns]


@torch.no_grad()
def average_batch_norm(net: nn.Module) -> None:
    """Give all processes the mean of their running means and variances."""
    layers = [layer for layer in net.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    if not (layers and several()):
        return
    statistics = [value for layer in layers for value in (layer.running_mean, layer.running_var) if value is not None]
    flat = torch.cat([value.flatten() for value in statistics])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for value, mean in zip(statistics, torch.split(flat, [value.numel() for value in statistics]), strict=True):
        value.copy_(mean.view_as(value))


def together(work: Callable[[], T]) -> T:
    """Do something on every process that may fail on one of them.

    Returns:
        What it gave on this process.

    Raises:
        UserError: What went wrong on the first process on which something did; the same on all, none waits for another.
        OSError: Alike.
    """
    if not several():
        return work()
    mine: UserError | OSError | None = None
    result = list[T]()
    try:
        result.append(work())
    except (UserError, OSError) as error:
        mine = error
    for one in of_each(mine):
        if one is not None:
            raise one
    return result[0]


def of_each(mine: T) -> list[T]:
    """What each process has, a plain object."""
    if not several():
        return [mine]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return found


def of_first(work: Callable[[], T]) -> T:
    """Do something on the first process alone.

    Returns:
        What it gave, on all processes.

    Raises:
        UserError: What went wrong, on all processes.
    """
    if not several():
        return work()
    given: list[Any] = [together(lambda: work() if dist.get_rank() == 0 else None)]
    dist.broadcast_object_list(given)
    result: T = given[0]
    return result


def said_by_another(message: str) -> bool:
    """Whether another process has given the user this message already; else it is up to this one."""
    if not several():
        return False
    try:
        return int(dist.distributed_c10d._get_default_store().add(f"said: {message}", 1)) > 1
    except dist.DistError:  # the first process, which keeps count, has said it and ended
        return True


def let_weights_rest(strategy: Strategy) -> None:
    """Prepare DDP, before it is set up, for steps in which not every weight takes part.

    Raises:
        ConfigError: It was told that there are none.
    """
    if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.setdefault("find_unused_parameters", True):
        raise ConfigError("not all weights take part in every step: set --trainer.strategy ddp")
