"""The command ``export``: the network of a checkpoint, for C++ or any other program."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lit_hep
from lit_hep.base.task import BaseTask
from lit_hep.errors import CheckpointError
from lit_hep.evaluation.export import Comparison, Interface, check_output
from lit_hep.evaluation.export import export as write
from lit_hep.training.run import read_checkpoint


def export(ckpt_path: Path, output: Path, size: Sequence[int] | None = None) -> None:
    """Write the network of a checkpoint as ONNX, or by torch.export, with all that is needed around it.

    Args:
        ckpt_path: Checkpoint of any task.
        output: File to write: ``.onnx``, or ``.pt2`` for torch.export.
        size: Rows and columns of the images, where the checkpoint does not tell; one file may else take any size.
    """
    check_output(output)
    if not ckpt_path.is_file():
        raise CheckpointError(f"{ckpt_path}: no such file; give one such as checkpoints/crater/version_0/best.ckpt")
    checkpoint = read_checkpoint(ckpt_path)
    task = load_task(ckpt_path, checkpoint)
    interface = task.interface(_data(checkpoint)).of_size(size)
    metadata = {
        "task": type(task).__name__,
        "options": json.dumps(dict(task.hparams), default=str),
        "lit_hep": lit_hep.__version__,
        "torch": str(torch.__version__),
    }
    comparison = write(task, task.answers, interface, output, metadata)
    print(_report(output, interface, comparison))


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
