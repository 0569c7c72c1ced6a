"""The folder ``tb_logs/<task>/version_N`` of a run, read back."""

import csv
import math
import re
from pathlib import Path
from typing import Any

from lit_hep.errors import DataError


def read_table(path: Path) -> dict[int, dict[str, float]]:
    """Read a ``metrics.csv``: epoch to {name: value}; empty if there is none.

    Raises:
        DataError: It is no table of numbers.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="") as file:
            return {
                int(row.pop("epoch")): {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error}); mend or remove it") from error


def read_history(log_dir: Path) -> dict[str, list[float]]:
    """Read a run's ``metrics.csv`` as columns, ``epoch`` among them; NaN where a row has no value."""
    rows = read_table(log_dir / "metrics.csv")
    names = {name: None for row in rows.values() for name in row}
    return {"epoch": [float(epoch) for epoch in rows]} | {
        name: [row.get(name, math.nan) for row in rows.values()] for name in names
    }


def versions(folder: Path) -> list[int]:
    """Numbers of the runs in a task's folder, ascending."""
    found = (re.fullmatch(r"version_(\d+)", path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return sorted(int(match[1]) for match in found if match)


def test_command(folder: Path, checkpoints: Path | None = None) -> str:
    """Words that test a run, the best network of which lies in a folder of `checkpoints`."""
    checkpoint = (checkpoints or Path("checkpoints", folder.parent.name, folder.name)) / "best.ckpt"
    return f"python -m lit_hep test --config {folder / 'config.yaml'} --ckpt_path {checkpoint}"


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of a configuration by their dotted names less ``init_args``, lists of classes by the classes' names."""
    if isinstance(config, list) and config and all(isinstance(item, dict) for item in config):
        config = {str(item.get("class_path", number)).rpartition(".")[2]: item for number, item in enumerate(config)}
    if not isinstance(config, dict):
        return {prefix: config}
    names = {key: prefix if key in ("init_args", "dict_kwargs") else f"{prefix}.{key}".strip(".") for key in config}
    return {leaf: value for key in config for leaf, value in leaves(config[key], names[key]).items()}
