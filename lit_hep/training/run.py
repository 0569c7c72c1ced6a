"""The folders of a run: ``tb_logs/<task>/version_N`` and ``checkpoints/<task>/version_N``."""

import csv
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from lit_hep.data.files import replacing
from lit_hep.data.runs import read_table, versions
from lit_hep.errors import CheckpointError, ConfigError, OutputError


class RunLogger(TensorBoardLogger):
    """TensorBoard logger of one run, with the same numbers in ``metrics.csv``, a row an epoch.

    The run's number is claimed by making its folder, so that two runs never share one, started together or not.

    Args:
        name: Of the task; the folder under `save_dir` and `checkpoint_dir`.
        save_dir: For TensorBoard events, configuration and tables.
        checkpoint_dir: For checkpoints.
        version: Number of an earlier run to go on with; None claims the next free one.
        purge_step: Step from which an earlier run's events are hidden, when it is resumed from there.
    """

    def __init__(
        self,
        name: str,
        save_dir: str = "tb_logs",
        checkpoint_dir: str = "checkpoints",
        version: int | None = None,
        purge_step: int | None = None,
    ) -> None:
        super().__init__(save_dir, name=name, version=version, default_hp_metric=False, purge_step=purge_step)
        self._checkpoint_dir = checkpoint_dir
        self._rows: dict[int, dict[str, float]] | None = None
        self._changed = False

    @property
    def version(self) -> int | str:
        """Number N of the run, claimed when first asked for."""
        if self._version is None:
            self._version = self._claim() if getattr(rank_zero_only, "rank", 0) == 0 else 0
        return self._version

    @property
    def checkpoint_folder(self) -> Path:
        """``checkpoints/<name>/version_N``."""
        return Path(self._checkpoint_dir, self.name, f"version_{self.version}")

    def _claim(self) -> int:
        root = Path(self.root_dir)
        try:
            root.mkdir(parents=True, exist_ok=True)
            first = max([-1, *versions(root), *versions(Path(self._checkpoint_dir, self.name))]) + 1
            for version in count(first):
                try:
                    (root / f"version_{version}").mkdir()
                except FileExistsError:
                    continue
                return version
        except OSError as error:
            raise OutputError(
                f"{root}: cannot be written ({error.strerror}); start from a folder of yours, or set "
                "--trainer.logger.init_args.save_dir and checkpoint_dir"
            ) from error
        raise AssertionError("unreachable")

    @property
    def _table(self) -> Path:
        return Path(self.log_dir, "metrics.csv")

    @rank_zero_only
    def open_table(self, epoch: int) -> None:
        """Start the table at an epoch: a resumed run replaces what was logged after its checkpoint."""
        self._rows = {row: values for row, values in read_table(self._table).items() if row < epoch}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers to TensorBoard and, if they belong to an epoch of training, to the table."""
        super().log_metrics(metrics, step)
        epoch = metrics.get("epoch")
        if epoch is None or self._rows is None:
            return
        row = self._rows.setdefault(int(epoch), {})
        row |= {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if step is not None:
            row["step"] = step
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        """Write what is new."""
        super().save()
        if self._changed and self._rows is not None:
            names = dict.fromkeys(name for row in self._rows.values() for name in row)
            with replacing(self._table) as part, part.open("w", newline="") as file:
                writer = csv.DictWriter(file, ["epoch", *names])
                writer.writeheader()
                for epoch, row in sorted(self._rows.items()):
                    writer.writerow({"epoch": epoch} | {name: f"{value:.9g}" for name, value in row.items()})
            self._changed = False

    @rank_zero_only
    def log_final(self, metrics: Mapping[str, float | Tensor]) -> None:
        """Put the hyperparameters and the run's last numbers on TensorBoard's HParams page."""
        chosen = {name: value for name, value in self.hparams.items() if not name.startswith("_")}
        super().log_hyperparams(chosen, {f"final/{name}": float(value) for name, value in metrics.items()})


def find_checkpoint(ckpt_path: str, checkpoint_dir: str, name: str) -> tuple[Path, int | None]:
    """Turn ``best``, ``last`` or a file name into a checkpoint file and the run it belongs to.

    Args:
        ckpt_path: ``best`` or ``last`` of the newest run that has one, or a file.
        checkpoint_dir: Folder of all checkpoints.
        name: Of the task.

    Returns:
        The file, and the number of its run; None for a file that lies outside the task's run folders.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    root = Path(checkpoint_dir, name)
    if ckpt_path in ("best", "last"):
        for version in reversed(versions(root)):
            path = root / f"version_{version}" / f"{ckpt_path}.ckpt"
            if path.is_file():
                return path, version
        raise CheckpointError(f"no run under {root} has a {ckpt_path}.ckpt; run fit first, or give a file")
    path = Path(ckpt_path)
    if not path.is_file():
        near = sorted(found.name for found in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        raise CheckpointError(
            f"{path}: no such checkpoint; " + (f"there are {', '.join(near)}" if near else "give best, last or a file")
        )
    match = re.fullmatch(r"version_(\d+)", path.parent.name)
    inside = match and path.parent.parent.resolve() == root.resolve()
    return path, int(match[1]) if match and inside else None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without unpickling anything but tensors and plain values.

    Raises:
        CheckpointError: The file is absent, truncated, not a checkpoint, or holds other objects.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds on damaged files
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of lit_hep ({type(error).__name__})") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: holds no network weights; give a checkpoint written by fit")
    return checkpoint


def load_network(net: nn.Module, path: Path) -> None:
    """Give a network the weights of another run's.

    Args:
        net: To be changed in place.
        path: Checkpoint of a task with such a network.

    Raises:
        CheckpointError: The checkpoint is damaged or holds another network.
    """
    state = read_checkpoint(path)["state_dict"]
    try:
        net.load_state_dict({name[4:]: value for name, value in state.items() if name.startswith("net.")})
    except RuntimeError as error:
        raise CheckpointError(f"{path}: holds another network than {type(net).__name__}") from error


def check_resumable(path: Path, checkpoint: Mapping[str, Any], max_epochs: int | None) -> None:
    """Check that a run can go on from a checkpoint.

    Args:
        path: Of the checkpoint, for messages.
        checkpoint: Its content.
        max_epochs: At which the run is to end; None or -1 never.

    Raises:
        CheckpointError: It holds weights only.
        ConfigError: It is past that epoch.
    """
    if not {"epoch", "global_step", "loops", "optimizer_states"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path}: holds weights only, from which no run can be resumed; take last.ckpt, or start a new run "
            "from them with --model.init_args.weights"
        )
    if max_epochs not in (None, -1) and checkpoint["epoch"] >= max_epochs:
        raise ConfigError(
            f"--trainer.max_epochs {max_epochs}: {path} is of epoch {checkpoint['epoch']} already; set more"
        )
