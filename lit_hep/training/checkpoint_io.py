"""Checkpoints that are whole at any moment, whenever the process that writes them is killed."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from lit_hep.data.files import replacing
from lit_hep.errors import OutputError


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; Lightning's own may copy it from another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Tensors and plain values.
            path: Of the file.
            storage_options: Not used.

        Raises:
            OutputError: It cannot be written; what was there before is as it was.
        """
        content = io.BytesIO()  # torch tells of a full disk in words of its own
        torch.save(checkpoint, content)
        with replacing(Path(path)) as part, part.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())


def link(path: Path, target: Path) -> None:
    """Make `path` a link to a file, in place of what it was."""
    with replacing(path) as part:
        part.symlink_to(os.path.relpath(target, path.parent))


def share(path: Path, target: Path) -> bool:
    """Make `path` another name of a file.

    Returns:
        Whether the file system can.
    """
    try:
        with replacing(path) as part:
            os.link(target, part)
    except OutputError:
        return False
    return True
