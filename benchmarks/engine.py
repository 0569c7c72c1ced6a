"""What every subject measures with: cases that take turns, medians with spread, tables."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What the command line asks for.

    Args:
        repeats: Rounds that count; one more before them warms up.
        threads: Of each process.
        device: ``cpu`` or ``cuda``.
        quick: Smallest sizes: shows that all works, and no figure that means anything.
        tensorflow: Python interpreter that can import TensorFlow.
        scratch: Folder for data and runs.
        networks: Names of those to measure; None measures all.
        rivals: Of `fit` among the peers; None takes all.
    """

    repeats: int
    threads: int
    device: str
    quick: bool
    tensorflow: str
    scratch: Path
    networks: Sequence[str] | None = None
    rivals: Sequence[str] | None = None

    def chosen(self, networks: Iterable[str]) -> list[str]:
        """Those of some networks that are to be measured."""
        return [name for name in networks if self.networks is None or name in self.networks]

    def asked(self, rival: str) -> bool:
        """Whether it is to take part."""
        return self.rivals is None or rival in self.rivals


@dataclass(frozen=True)
class Figure:
    """A quantity measured several times."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(min(self.values))}–{short(max(self.values))})"

    def __rtruediv__(self, amount: float) -> "Figure":
        """Seconds to a rate."""
        return Figure([amount / value for value in self.values])

    def __truediv__(self, other: "Figure") -> "Figure":
        """Ratio, round by round: what slows the machine for a while slows both."""
        return Figure([mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)])


def short(value: float) -> str:
    """A number with three digits that count, or all before the point."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def alternate(cases: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, Figure]:
    """Run cases in turn, forwards and backwards, and keep what each returns but for the first round.

    Args:
        cases: Name to a function that returns what it has measured, such as seconds.
        repeats: Rounds that are kept.
    """
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name in reversed(cases) if turn % 2 else cases:
            value = cases[name]()
            if turn:
                taken[name].append(value)
    return {name: Figure(values) for name, values in taken.items()}


@dataclass
class Table:
    """Rows of text, numbers and figures; each is printed when it is added."""

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[Sequence[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(self._head(), flush=True)

    def add(self, *row: Any) -> None:
        """Add a row, a cell for each column; None stays empty."""
        if len(row) != len(self.columns):
            raise ValueError(f"{self.title}: {len(row)} cells for {len(self.columns)} columns")
        self.rows.append(row)
        print(_line(row), flush=True)

    def markdown(self) -> str:
        """The whole table."""
        return "\n".join([self._head(), *map(_line, self.rows), ""])

    def plain(self) -> dict[str, Any]:
        """The same for json; of a figure also its values."""
        rows = [dict(zip(self.columns, map(_plain, row), strict=True)) for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}

    def _head(self) -> str:
        note = f"{self.note}\n\n" if self.note else ""
        return f"\n### {self.title}\n\n{note}{_line(self.columns)}\n" + "|---" * len(self.columns) + "|"


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(_text, cells))} |"


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return short(cell) if isinstance(cell, float) else str(cell)


def _plain(cell: Any) -> Any:
    return {"median": cell.median, "values": list(cell.values)} if isinstance(cell, Figure) else cell


def machine(threads: int, device: str) -> dict[str, Any]:
    """What was measured on."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    load = os.getloadavg() if hasattr(os, "getloadavg") else (float("nan"),)
    return {
        "processor": names[0] if names else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "load at the start": round(load[0], 2),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def write(output: Path, about: Mapping[str, Any], tables: Sequence[Table], seconds: Mapping[str, float]) -> None:
    """Write all tables so far.

    Args:
        output: File name; its ending is replaced by ``.md`` and ``.json``.
        about: Machine and options.
        tables: In their order.
        seconds: That each subject took.
    """
    took = ", ".join(f"{name} {short(value)} s" for name, value in seconds.items())
    lines = [f"- {name}: {value}" for name, value in about.items()]
    text = "\n".join(["# Benchmarks", "", *lines, f"- took: {took}", *(table.markdown() for table in tables)])
    output.with_suffix(".md").write_text(text)
    content = {"about": dict(about), "seconds": dict(seconds), "tables": [table.plain() for table in tables]}
    output.with_suffix(".json").write_text(json.dumps(content, indent=1))
