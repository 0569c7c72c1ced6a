"""A tested run, read back from its folder ``tb_logs/<task>/version_N``."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from lit_hep.data.readers import read_npz
from lit_hep.data.runs import leaves, read_history, test_command, versions
from lit_hep.errors import DataError
from lit_hep.evaluation.classification import Array
from lit_hep.evaluation.denoising import Hits

_COUNTED: dict[str, type] = {"removed": dict, "samples": dict, "classes": list}
_NOT_SHOWN = re.compile(r"trainer\.logger\..*|ckpt_path|_instantiator|.*\.(predict_root)")


class Judged(NamedTuple):
    """What was scored, with the truth.

    Args:
        probability: Of class 1 (N,), or of each class (N, C).
        label: True class (N,).
    """

    probability: Array
    label: Array


@dataclass(frozen=True)
class TestedRun:
    """A run and the numbers of its test.

    Args:
        folder: ``tb_logs/<task>/version_N``.
        metrics: Content of ``metrics.json``, NaN for null.
        summary: Content of ``summary.json``, empty if there is none.
        config_text: Content of ``config.yaml``, empty if there is none.
        history: Columns of ``metrics.csv``.
    """

    folder: Path
    metrics: Mapping[str, float]
    summary: Mapping[str, Any]
    config_text: str
    history: Mapping[str, Sequence[float]]

    @property
    def name(self) -> str:
        """Short name, ``crater/3``."""
        folder = self.folder.resolve()
        return f"{folder.parent.name}/{folder.name.removeprefix('version_')}"

    @property
    def task(self) -> str:
        """Name of the task's class, empty if it is not known."""
        return str(self.summary.get("task") or self.settings.get("model.class_path", "")).rpartition(".")[2]

    @property
    def epochs(self) -> int:
        """Number of epochs in the table."""
        return len(self.history["epoch"])

    @property
    def figures(self) -> list[Path]:
        """Pictures of the test."""
        return sorted((self.folder / "test" / "figures").glob("*.png"))

    @property
    def class_names(self) -> list[str]:
        """Of a classification; numbers if the names are not known."""
        names = list(self.summary.get("classes", []))
        if names or self.judged is None:
            return names
        if self.hits is not None:
            return ["background", "track"]
        probability = self.judged.probability
        return [f"class {number}" for number in range(2 if probability.ndim == 1 else probability.shape[1])]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Leaves of the configuration by their names, those left out that only say where outputs go."""
        settings = leaves(yaml.safe_load(self.config_text) or {})
        return {name: value for name, value in settings.items() if not _NOT_SHOWN.fullmatch(name)}

    @cached_property
    def columns(self) -> dict[str, Array]:
        """Columns (N, ...) of ``predictions.npz`` by ascending id, the masks of segmented images left out.

        Raises:
            DataError: The file is damaged, or not one of lit_hep.
        """
        path = self.folder / "test" / "predictions.npz"
        try:
            columns = read_npz(path, without=("mask",))
            order = columns["id"].argsort(kind="stable")
        except (DataError, KeyError, ValueError) as error:
            raise DataError(f"{path}: damaged or absent ({_short(error)}); {self.again}") from error
        if not all(column.shape[:1] == order.shape for column in columns.values()) or not len(order):
            raise DataError(f"{path}: its columns differ in length, or are empty; {self.again}")
        return {name: column[order] for name, column in columns.items()}

    @cached_property
    def hits(self) -> Hits | None:
        """Hits of cleaned events with their scores; None of other tasks."""
        if not {"score", "truth"} <= self.columns.keys():
            return None
        score, truth = self.columns["score"], self.columns["truth"]
        event, layer, wire = np.nonzero((score > 0) | truth)
        return Hits(event, layer, wire, score[event, layer, wire], truth[event, layer, wire], len(score))

    @cached_property
    def judged(self) -> Judged | None:
        """Scores and labels; of cleaned events those of their hits; None if there are none (segmented images)."""
        if self.hits is not None and self.hits.track is not None:
            return Judged(self.hits.score, self.hits.track.astype(np.int64))
        if {"probability", "label"} <= self.columns.keys():
            return Judged(self.columns["probability"], self.columns["label"])
        return None

    @property
    def again(self) -> str:
        """What to do if results are damaged."""
        return f"test the run again: {test_command(self.folder)}"

    @cached_property
    def seconds(self) -> float | None:
        """Time spent in training, of all sessions of the run, by the clock of its TensorBoard events; None if unknown.

        A session lasts from the first event of a file that holds training curves to the last.
        """
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        spent = 0.0
        for path in self.folder.glob("events.out.tfevents.*"):
            times, trains = [0.0], False
            with suppress(Exception):  # of a damaged file, what can be read; protobuf has a dozen kinds of complaint
                for event in EventFileLoader(str(path)).Load():
                    times.append(event.wall_time)
                    trains |= any(value.tag.startswith("train_") for value in event.summary.value)
            spent += trains * (times[-1] - times[min(1, len(times) - 1)])
        return spent or None


def read_run(folder: Path) -> TestedRun:
    """Read a tested run.

    Args:
        folder: ``tb_logs/<task>/version_N``.

    Raises:
        DataError: It is no run, it was not tested, or a file is damaged.
    """
    path = folder / "test" / "metrics.json"
    if not path.is_file():
        if not (folder / "config.yaml").is_file():
            raise DataError(f"{folder}: is not the folder of a run; give one such as tb_logs/crater/version_0")
        raise DataError(f"{folder}: the run was not tested; type: {test_command(folder)}")
    again = f"test the run again: {test_command(folder)}"
    metrics = _json(path, again)
    if not metrics or not all(value is None or type(value) in (int, float) for value in metrics.values()):
        raise DataError(f"{path}: is not a table of numbers; {again}")
    numbers = {name: np.nan if value is None else float(value) for name, value in metrics.items()}
    summary = folder / "test" / "summary.json"
    config = folder / "config.yaml"
    try:
        text = config.read_text() if config.is_file() else ""
        yaml.safe_load(text)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise DataError(f"{config}: damaged ({_short(error)}); mend or remove it") from error
    told = _json(summary, again) if summary.is_file() else {}
    if not _is_summary(told):
        raise DataError(f"{summary}: is not what test writes; {again}")
    return TestedRun(folder, numbers, told, text, read_history(folder))


def find_runs(name: str, logs: Path = Path("tb_logs")) -> list[Path]:
    """Folders of the runs that a name stands for, tested or not.

    Args:
        name: A run, ``crater/3`` or its folder; or a task, ``crater`` or its folder, for all its runs.
        logs: Folder of all runs.

    Raises:
        DataError: There is none.
    """
    task, _, number = name.rstrip("/").rpartition("/")
    places = (Path(name), logs / name, logs / task / f"version_{number}")
    for folder in places:
        if numbers := versions(folder):
            return [folder / f"version_{number}" for number in numbers]
        if (folder / "config.yaml").is_file() or (folder / "test").is_dir():
            return [folder]
    for folder in places:  # not that of a run, but meant to be one
        if folder.is_dir():
            return [folder]
    known = [f"{path.parent.name}/{path.name[8:]}" for path in sorted(logs.glob("*/version_*"))]
    there = f"{logs} holds {', '.join(known[-8:])}" if known else f"{logs} holds no runs; run fit and test first"
    raise DataError(f"{name}: no such run; {there}")


def _json(path: Path, again: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: damaged ({_short(error)}); {again}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: is not what test writes; {again}")
    return content


def _is_summary(told: Mapping[str, Any]) -> bool:
    """Whether what is counted are numbers, and what is named are names."""
    removed, samples, classes = (told.get(name, kind()) for name, kind in _COUNTED.items())
    if not (isinstance(removed, dict) and isinstance(samples, dict) and isinstance(classes, list)):
        return False
    counts = [told.get("parameters", 0), *removed.values()]
    for part in samples.values():
        counts += part.values() if isinstance(part, dict) else [None]
    return all(type(count) is int for count in counts) and all(isinstance(name, str) for name in classes)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__
