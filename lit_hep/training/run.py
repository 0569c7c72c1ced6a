"""The folders of a run: ``tb_logs/<task>/version_N`` and ``checkpoints/<task>/version_N``."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor, nn

from lit_hep.data.files import replacing
from lit_hep.data.runs import leaves, read_table, versions
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
        self._changed = self._claimed = False

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
                self._claimed = True
                return version
        except OSError as error:
            raise OutputError(
                f"{root}: cannot be written ({error.strerror}); start from a folder of yours, or set "
                "--trainer.logger.init_args.save_dir and checkpoint_dir"
            ) from error
        raise AssertionError("unreachable")

    def discard(self) -> None:
        """Give back a claimed folder in which nothing has been trained: what was opened and set down at its start."""
        if not self._claimed or self._rows is not None:
            return
        folder = Path(self.log_dir)
        found = folder.iterdir() if folder.is_dir() else ()
        if all(re.fullmatch(r"events\.out\..*|hparams\.yaml|config\.yaml", path.name) for path in found):
            super().finalize("failed")
            self._experiment = None
            rmtree(folder, ignore_errors=True)

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
        hparams = Path(self.log_dir, self.NAME_HPARAMS_FILE)
        if hparams.parent.is_dir() and not hparams.is_file():
            with replacing(hparams) as part:
                save_hparams_to_yaml(part, self.hparams)
        if self._changed and self._rows is not None:
            names = dict.fromkeys(name for row in self._rows.values() for name in row)
            with replacing(self._table) as part, part.open("w", newline="") as file:
                writer = csv.DictWriter(file, ["epoch", *names])
                writer.writeheader()
                for epoch, row in sorted(self._rows.items()):
                    writer.writerow({"epoch": epoch} | {name: f"{value:.9g}" for name, value in row.items()})
            self._changed = False
            self.experiment.flush()  # else TensorBoard shows the epoch up to two minutes late

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is new, whether the run has ended well or not."""
        if self._version is not None:  # else nothing has been logged
            self.save()
        super().finalize(status)

    @rank_zero_only
    def log_final(self, monitored: str, best: float | Tensor) -> None:
        """Put the hyperparameters and the validation of the best epoch on TensorBoard's HParams page.

        Args:
            monitored: Name of the quantity by which it is the best.
            best: Its value.
        """
        rows = [row for row in (self._rows or {}).values() if monitored in row]
        row = min(rows, key=lambda row: abs(row[monitored] - float(best)), default={})
        numbers = {name: value for name, value in row.items() if name.startswith("val_") and math.isfinite(value)}
        chosen = {name: value for name, value in self.hparams.items() if not name.startswith("_")}
        final = {f"final/{name}": value for name, value in {**numbers, monitored: float(best)}.items()}
        super().log_hyperparams(chosen, final)


def open_checkpoint(ckpt_path: str, checkpoint_dir: str, name: str) -> tuple[Path, int | None, dict[str, Any]]:
    """Turn ``best``, ``last`` or a file name into a checkpoint, its content and the run it belongs to.

    A ``last.ckpt`` that is damaged or leads nowhere is passed over for the run's newest checkpoint that is whole.

    Args:
        ckpt_path: ``best`` or ``last`` of the newest run that has one, or a file.
        checkpoint_dir: Folder of all checkpoints.
        name: Of the task.

    Returns:
        The file, the number of its run (None for a file that lies outside the task's run folders), and what it holds.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    root = Path(checkpoint_dir, name)
    if ckpt_path in ("best", "last"):
        for version in reversed(versions(root)):
            if found := _of_run(root / f"version_{version}", ckpt_path):
                path, checkpoint = _newest_whole(found)
                return path, version, checkpoint
        raise CheckpointError(f"no run under {root} has a {ckpt_path}.ckpt; run fit first, or give a file")
    path = Path(ckpt_path)
    if not path.is_file():
        near = sorted(found.name for found in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        raise CheckpointError(
            f"{path}: no such checkpoint; " + (f"there are {', '.join(near)}" if near else "give best, last or a file")
        )
    match = re.fullmatch(r"version_(\d+)", path.parent.name)
    inside = match and path.parent.parent.resolve() == root.resolve()
    return path, int(match[1]) if match and inside else None, read_checkpoint(path)


def _of_run(folder: Path, name: str) -> list[Path]:
    """The checkpoints that may be meant by ``best`` or ``last``, the first choice first."""
    path = folder / f"{name}.ckpt"
    if name == "best":
        return [path] if path.is_file() else []
    epochs = sorted(folder.glob("epoch*.ckpt"), key=lambda found: (len(found.name), found.name), reverse=True)
    return [path, *epochs] if epochs or path.is_file() else []


def _newest_whole(paths: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """The first that can be read, and its content.

    Raises:
        CheckpointError: What is wrong with the first, if none can be read.
    """
    first: CheckpointError | None = None
    for path in paths:
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            first = first or error
            continue
        if first:
            rank_zero_warn(f"{first}; {path} is taken in its place")
        return path, checkpoint
    assert first is not None
    raise first


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without unpickling anything but tensors and plain values.

    Raises:
        CheckpointError: The file is absent, truncated, not a checkpoint, or holds other objects.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch does not compare check sums
                raise BadZipFile(damaged)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds on damaged files
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of lit_hep ({type(error).__name__})") from error
    held = checkpoint if isinstance(checkpoint, dict) else {}
    parts = held.get("state_dict"), held.get("hyper_parameters", {})
    if not all(isinstance(part, dict) for part in parts) or not parts[0]:
        raise CheckpointError(f"{path}: holds no network weights; give a checkpoint written by fit")
    return checkpoint


def foreign_classes(checkpoint: Mapping[str, Any]) -> list[str]:
    """What a checkpoint's hyperparameters name that would be imported, but of torch.optim, Lightning and lit_hep."""
    return [
        value
        for name, value in leaves(checkpoint["hyper_parameters"]).items()
        if name.endswith(("class_path", "optimizer", "scheduler"))
        and isinstance(value, str)
        and not value.startswith(("torch.optim.", "lightning.pytorch.", "lit_hep."))
    ]


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


def check_resumable(path: Path, checkpoint: Mapping[str, Any], max_epochs: int | None, max_steps: int = -1) -> None:
    """Check that a run can go on from a checkpoint.

    Args:
        path: Of the checkpoint, for messages.
        checkpoint: Its content.
        max_epochs: At which the run is to end; None or -1 never.
        max_steps: Alike; -1 never.

    Raises:
        CheckpointError: It holds weights only, or is of the middle of an epoch.
        ConfigError: It is past that epoch, or the end is counted in steps.
    """
    if not {"epoch", "global_step", "loops", "optimizer_states"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path}: holds weights only, from which no run can be resumed; take last.ckpt, or start a new run "
            "from them with --model.init_args.weights"
        )
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    if epochs["processed"] < epochs["ready"]:
        raise CheckpointError(f"{path}: is of the middle of an epoch, where no run can go on; take last.ckpt")
    if max_steps != -1:
        raise ConfigError(f"--trainer.max_steps {max_steps}: a resumed run counts epochs; set --trainer.max_epochs")
    if max_epochs not in (None, -1) and checkpoint["epoch"] >= max_epochs:
        raise ConfigError(
            f"--trainer.max_epochs {max_epochs}: {path} is of epoch {checkpoint['epoch']} already; set more"
        )
