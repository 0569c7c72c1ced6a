"""The frame of every data module."""

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from lit_hep.base.loading import Loading
from lit_hep.data.files import fill, is_vacant
from lit_hep.data.splits import SplitRule, Splits, check_classes, digest, make_splits, saved_splits
from lit_hep.errors import ConfigError, DataError, UserError
from lit_hep.training.processes import of_first, several, together

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class BaseDataModule(Loading, ABC):
    """Root → simulate if empty → check → split once → loaders that fetch a batch at a time.

    A task says which `files` it wants, how its simulator writes them (`write_simulation`), how they are read (`read`)
    and drawn (`figure`).

    Args:
        root: Folder of the data files.
        batch_size: Samples a process and training step.
        eval_batch_size: The same when nothing is learnt; None takes four times `batch_size`, or less of a stream, whose
            memory is bounded.
        simulate: Fill an absent or empty root by simulation.
        simulation_size: Size of the simulated set; its meaning is the simulator's.
        simulation_seed: Of the simulation.
        val_fraction: Share of the labelled samples for validation.
        test_fraction: Share of the labelled samples held out for `test`.
        split_seed: Of the division; the same for runs that are to be compared.
        predict_root: File or folder to predict on, labels not needed; None takes the task's own test files.
        num_workers: Processes that load; 0 is fastest for data in memory.
        on_device: Keep all samples in the accelerator's memory.
        steps_per_execution: Training batches that Lightning and its callbacks see at a time, with an optimizer step
            after each: the same steps at less cost, if they are short. After its step a batch has its columns (B,)
            only, unless a callback has asked for it before. They see one by one where several processes take part,
            gradients are accumulated, clipped or scaled, or a part of the batches is asked for.
    """

    files: ClassVar[Sequence[str]] = ()
    """Names of the files that `root` must hold."""
    class_names: Sequence[str] = ()
    """Of a classification; empty where there are no classes and `labels` are all 0."""
    most_drawn: ClassVar[int] = 32
    """Samples that one figure has room for."""

    def __init__(
        self,
        root: str,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        simulate: bool = True,
        simulation_size: int = 1000,
        simulation_seed: int = 1,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        predict_root: str | None = None,
        num_workers: int = 0,
        on_device: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (eval_batch_size is not None and eval_batch_size < 1):
            raise ConfigError(f"batch_size {batch_size}, eval_batch_size {eval_batch_size}: must be 1 or more")
        if num_workers < 0:
            raise ConfigError(f"num_workers {num_workers}: must be 0 or more")
        if steps_per_execution < 1:
            raise ConfigError(f"steps_per_execution {steps_per_execution}: must be 1 or more")
        if on_device and num_workers:
            raise ConfigError(
                "on_device: the accelerator fetches from its own memory, without workers; set num_workers 0"
            )
        self.save_hyperparameters()
        self.hparams["root"] = str(root)  # a checkpoint holds plain values only
        self.root = Path(root)
        self.rule = SplitRule(val_fraction, test_fraction, split_seed)
        self.splits: Splits | None = None
        self._refused: UserError | None = None
        self.removed: dict[str, int] = {}
        """Samples that were left out, by kind."""

    @abstractmethod
    def write_simulation(self, folder: Path) -> None:
        """Write a simulated data set, in the experiment's own format, into an empty folder."""

    @abstractmethod
    def read(self) -> None:
        """Read and check the files; called once."""

    @abstractmethod
    def figure(self, index: Sequence[int], titles: Sequence[str] | None = None) -> "Figure":
        """Draw samples as the field would.

        Args:
            index: Their numbers.
            titles: One each; None says what they are.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    def ids(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """What a user knows samples by: row or file name."""
        return index

    def names(self) -> Sequence[Any] | NDArray[Any]:
        """Of the labelled samples, by which, and their labels, a split knows them; empty if they are rows of files."""
        return ()

    def missing(self) -> list[str]:
        """Files that should be in the root and are not."""
        return [name for name in self.files if not (self.root / name).is_file()]

    def prepare_data(self) -> None:
        """Fill a vacant root by simulation, or check that a user's root is whole.

        Lightning calls it on one process of each node: a root that nodes share is filled once, others wait for it.

        Raises:
            DataError: Files are missing; of several processes, raised by `setup` on all.
            ConfigError: The simulator refuses its options; alike.
        """
        try:
            self._prepare()
        except UserError as error:
            if not several():
                raise
            self._refused = error  # the others are not asked, and would wait

    def _prepare(self) -> None:
        if not self.missing():
            return
        if is_vacant(self.root) and self.hparams["simulate"]:
            size, seed = self.hparams["simulation_size"], self.hparams["simulation_seed"]
            rank_zero_info(f"{self.root} is empty: simulating {size} samples (seed {seed}) into it")
            try:
                fill(self.root, self.write_simulation)
            except DataError:  # another process was faster
                if self.missing():
                    raise
            except ValueError as error:
                raise ConfigError(f"simulation_size {size}, simulation_seed {seed}: {error}") from error
            return
        if missing := self.missing():  # still: another process may have filled the root just now
            raise DataError(
                f"{self.root}: {', '.join(missing)} not found; give the folder that holds the files with "
                "--data.init_args.root, or an empty one to simulate into"
            )

    def setup(self, stage: str) -> None:
        """Read the files and divide the labelled samples, once; of several processes, the first divides for all.

        Raises:
            UserError: The files are damaged, or too few, or others than on the first process.
        """
        if self.splits is None:
            together(self._read)
            logs = self.trainer.log_dir if self.trainer else None  # to be asked for on all processes
            folder = self.root if os.access(self.root, os.W_OK) else Path(logs) if logs else None
            self.splits = of_first(lambda: self.divide(folder))
            together(self._check_divided)

    def _read(self) -> None:
        if self._refused:
            raise self._refused
        self.read()
        if self.class_names:
            check_classes(self.labels(), self.root)

    def _check_divided(self) -> None:
        assert self.splits is not None
        if several() and self.splits.digest != digest(self.labels(), self.names()):
            raise DataError(
                f"{platform.node()}: {self.root} holds other samples than on the first node; copy the files"
            )

    def divide(self, folder: Path | None) -> Splits:
        """The division of the labelled samples: an earlier one, or a new one, kept in `folder` if there is one."""
        known = self.labels(), self.rule, self.root, self.names()
        return saved_splits(folder / "splits.json", *known) if folder else make_splits(*known)

    @abstractmethod
    def labels(self) -> NDArray[np.int64]:
        """Class number of each labelled sample, by which the split is stratified."""

    def part(self, name: Literal["train", "val", "test"]) -> Sequence[int] | NDArray[np.int64]:
        """Numbers of the samples of a part that are used."""
        assert self.splits is not None
        numbers: NDArray[np.int64] = getattr(self.splits, name)
        return numbers

    def sizes(self) -> dict[str, dict[str, int]]:
        """Number of samples of each part, by class; without classes under the name ``samples``."""
        names, labels = self.class_names or ["samples"], self.labels()
        return {
            part: dict(zip(names, np.bincount(labels[self.part(part)], minlength=len(names)).tolist(), strict=True))
            for part in ("train", "val", "test")
        }

    def state_dict(self) -> dict[str, Any]:
        """The split, so that a checkpoint is never tested on what it was trained on."""
        assert self.splits is not None
        parts = {name: torch.from_numpy(getattr(self.splits, name)) for name in ("train", "val", "test")}
        return {**parts, "digest": self.splits.digest}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the checkpoint's split if the data are the same; else say that it is another."""
        if state_dict["digest"] == digest(self.labels(), self.names()):
            parts = {name: state_dict[name].numpy() for name in ("train", "val", "test")}
            self.splits = Splits(**parts, digest=state_dict["digest"])
        elif self.trainer and self.trainer.state.fn != "predict":
            rank_zero_warn(
                f"{self.root} holds other samples than the checkpoint learnt from: they are divided anew, and if some "
                "are the same, it may be judged by what it learnt"
            )
