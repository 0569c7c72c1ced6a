"""How samples come to a task: loaders that fetch a batch at a time, and batches in groups."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lit_hep.data.batches import Column, Columns, EpochBatches, Groups, Marked, as_is
from lit_hep.data.seeds import run_seed
from lit_hep.data.streaming import BlockLoader, EpochBlocks, StreamedColumns


class Loading(LightningDataModule):
    """A LightningDataModule with one `loader` for columns in memory and on disk.

    Its hyperparameters are ``batch_size``, ``eval_batch_size``, ``num_workers``, ``on_device`` and
    ``steps_per_execution``, as in `BaseDataModule`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._placed: dict[str, tuple[Column, Column]] = {}

    @overload
    def loader(
        self, columns: Mapping[str, Column], index: Tensor, *, train: bool = ..., weights: Tensor | None = ...
    ) -> DataLoader[Any]: ...

    @overload
    def loader(self, columns: StreamedColumns, index: Tensor, *, train: bool = ...) -> BlockLoader: ...

    def loader(
        self,
        columns: Mapping[str, Column] | StreamedColumns,
        index: Tensor,
        *,
        train: bool = False,
        weights: Tensor | None = None,
    ) -> DataLoader[Any] | BlockLoader:
        """Loader of batches of some samples.

        Args:
            columns: Name to tensor (N, ...), all samples; or the same, streamed from disk.
            index: Numbers (n,) of the samples wanted.
            train: Shuffle anew each epoch; else in order, in larger batches. Of several processes, training batches
                have the column ``counts`` (B,), False for samples that are there only to make batches equally long.
            weights: Relative frequency (n,) with which samples in memory are drawn.
        """
        batch_size, group = self.hparams["batch_size"], self.group if train else 1
        if not train:
            several = 4 * batch_size
            if isinstance(columns, StreamedColumns):  # what the network makes of an image takes memory, too
                several = max(batch_size, min(several, columns.block // 32))
            batch_size = self.hparams["eval_batch_size"] or several
        place = {
            "seed": run_seed(),
            "epoch": self._epoch,
            "rank": self.trainer.global_rank if self.trainer else 0,
            "world_size": self.trainer.world_size if self.trainer else 1,
        }
        device = self.trainer.strategy.root_device if self.trainer else None
        if isinstance(columns, StreamedColumns):
            blocks = EpochBlocks(columns, index, shuffle=train, **place)
            ahead = device is not None and device.type != "cpu"
            return BlockLoader(columns, blocks, batch_size, self.hparams["num_workers"], group, ahead)
        kept = device if self.hparams["on_device"] else None
        if kept is not None:
            columns = {name: self._place(name, column, kept) for name, column in columns.items()}
        batches = EpochBatches(index, batch_size, shuffle=train, weights=weights, device=kept, group=group, **place)
        data = Marked(Columns(columns)) if batches.marked else Columns(columns)
        return DataLoader(
            data if group == 1 else Groups(data),
            batch_size=None,
            sampler=batches,
            num_workers=self.hparams["num_workers"],
            collate_fn=as_is,
            generator=torch.Generator(),  # else each loader draws from the global state
        )

    def _place(self, name: str, column: Column, device: torch.device) -> Column:
        """A column in the device's memory; once, if several loaders have it."""
        if self._placed.get(name, (None,))[0] is not column:
            self._placed[name] = column, column.to(device)
        return self._placed[name][1]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Give a batch its form; those of a group get theirs from `BaseTask`, each before its step."""
        if isinstance(batch, Sequence):
            return batch
        return self.form(batch, self.trainer.fit_loop.epoch_loop.batch_idx + 1 if self.trainer else 0)

    def form(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """The form in which the network sees a batch; of training, random views.

        Args:
            batch: As fetched, on its device.
            number: Of the training batch in its epoch.
        """
        return batch

    @property
    def group(self) -> int:
        """Training batches that Lightning sees at a time: `steps_per_execution`, or 1 where it has to see each."""
        trainer, size = self.trainer, int(self.hparams["steps_per_execution"])
        if trainer is None or size == 1:
            return 1
        added_up = trainer.world_size > 1, trainer.accumulate_grad_batches != 1
        changed = trainer.gradient_clip_val, getattr(trainer.precision_plugin, "scaler", None)
        parts = trainer.limit_train_batches, trainer.val_check_interval
        counted = (isinstance(part, int) or part != 1.0 for part in parts)
        return 1 if any((*added_up, *changed, *counted)) else size

    @property
    def _epoch(self) -> int:
        """Epoch that is to come: workers fetch ahead, before Lightning tells it to the sampler."""
        return int(self.trainer.fit_loop.epoch_progress.current.processed) if self.trainer else 0  # type: ignore[attr-defined]
