"""The folder ``tb_logs/<task>/version_N`` of a run, read back."""

import csv
import math
import re
from pathlib import Path

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
