"""The command ``export``: the network of a checkpoint, for C++ or any other program."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lit_hep
from lit_hep.base.task import BaseTask
from lit_hep.errors import CheckpointError, ConfigError
from lit_hep.evaluation.export import Comparison, Interface, check_output
from lit_hep.evaluation.export import export as write
from lit_hep.training.run import open_checkpoint, read_checkpoint

_CHECKPOINTS = Path("checkpoints")


def export(ckpt_path: str, output: Path, name: str | None = None, size: Sequence[int] | None = None) -> None:
    """Write the network of a checkpoint as ONNX, or by torch.export, with all that is needed around it.

    Args:
        ckpt_path: Checkpoint of any task: a file; ``crater/3`` for the best of a run; or, with `name`, ``best`` or
            ``last`` of its newest run.
        output: File to write: ``.onnx``, or ``.pt2`` for torch.export.
        name: Of a task, such as ``crater``.
        size: Rows and columns of the images, where the checkpoint does not tell; one file may else take any size.
    """
    check_output(output)
    path, checkpoint = find(ckpt_path, name)
    task = load_task(path, checkpoint)
    task.shed()
    interface = task.interface(_data(checkpoint)).of_size(size)
    metadata = {
        "task": type(task).__name__,
        "options": json.dumps(dict(task.hparams), default=str),
        "lit_hep": lit_hep.__version__,
        "torch": str(torch.__version__),
    }
    comparison = write(task, task.answers, interface, output, metadata)
    print(_report(output, interface, comparison))


def find(ckpt_path: str, name: str | None = None) -> tuple[Path, dict[str, Any]]:
    """A checkpoint and its content, named as in `export`.

    Raises:
        CheckpointError: There is none, or it is damaged.
        ConfigError: The name of the task is missing, or there is nothing for it to say.
    """
    known = ", ".join(
        f"{path.parent.name}/{path.name.removeprefix('version_')}" for path in sorted(_CHECKPOINTS.glob("*/version_*"))
    )
    if ckpt_path in ("best", "last"):
        if name is None:
            raise ConfigError(f"--ckpt_path {ckpt_path}: of which task? Add --name; runs: {known or 'none'}")
        path, _, checkpoint = open_checkpoint(ckpt_path, str(_CHECKPOINTS), name)
        return path, checkpoint
    if name is not None:
        raise ConfigError(f"--name {name}: goes with --ckpt_path best or last, not with {ckpt_path}")
    task, _, number = ckpt_path.rpartition("/")
    path = Path(ckpt_path)
    if not path.is_file() and task and number.isdecimal():
        path = _CHECKPOINTS / task / f"version_{number}" / "best.ckpt"
    if not path.is_file():
        raise CheckpointError(
            f"{ckpt_path}: no such file, nor a run with a best.ckpt; give one such as crater/3; runs: {known or 'none'}"
        )
    return path, read_checkpoint(path)


def load_task(path: Path, checkpoint: Mapping[str, Any]) -> BaseTask:
    """The task of a checkpoint, on the processor, with its weights.

    Optimizers and schedulers are left out: nothing is learnt, and no class that a checkpoint names is imported.

    Args:
        path: Of the checkpoint, for messages.
        checkpoint: Its content.

    Raises:
        CheckpointError: It is of no task of lit_hep, or of another version of it.
    """
    options = dict(checkpoint.get("hyper_parameters", {}))
    trained = str(options.get("_class_path", "no task of lit_hep"))
    package, _, name = trained.rpartition(".")
    kind = getattr(lit_hep, name) if package.split(".")[0] == "lit_hep" and name in dir(lit_hep) else None
    if not (isinstance(kind, type) and issubclass(kind, BaseTask)):
        raise CheckpointError(f"{path}: is of {trained}; give a checkpoint of a task of lit_hep")
    chosen = {
        name: value
        for name, value in options.items()
        if not name.startswith("_") and not (isinstance(value, Mapping) and "class_path" in value)
    }
    try:
        task = kind(**(chosen | {"weights": None, "compile": False}))
        task.load_state_dict(checkpoint["state_dict"])
    except TypeError as error:
        raise CheckpointError(f"{path}: was trained with other options than there are now ({error})") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path}: holds another network than {name} builds from its options") from error
    return task


def _data(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint tells of its data: options of the data module, overruled by what it found in the files."""
    options = dict(checkpoint.get("datamodule_hyper_parameters", {}))
    found = checkpoint.get(str(options.get("_class_path", "")).rpartition(".")[2], {})
    return {**options, **found}


def _report(output: Path, interface: Interface, comparison: Comparison) -> str:
    lines = [f"{name:<14} {text}" for name, text in interface.describe().items() if text not in ("", "[]")]
    count, difference = comparison
    lines.append(f"{'checked':<14} on {count} random images: largest difference from PyTorch {difference:.1g}")
    return "\n".join([f"Network: {output} ({output.stat().st_size / 2**20:.2f} MiB)", *lines])
