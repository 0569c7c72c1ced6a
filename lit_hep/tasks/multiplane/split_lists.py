"""Which events are for training, validation and test, as `prepare` has written it."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lit_hep.data.splits import Splits, digest
from lit_hep.errors import DataError
from lit_hep.tasks.multiplane.events import Events, event_id


def read_lists(folder: Path, events: Events, *, partial: bool) -> Splits:
    """Read ``train.csv``, ``val.csv`` and ``test.csv``: names of an event's files and a label in each line.

    Events are found by their names; the label is that of their class folder. Events in no list are left out.

    Args:
        folder: Of the three files.
        events: What there is.
        partial: Whether the lists may name other events, those of classes that were not asked for.

    Returns:
        The three parts.

    Raises:
        DataError: A file is absent or damaged; an event is listed twice, or does not exist; training or validation has
            no events of some class.
    """
    rows = {event: row for row, event in enumerate(events.ids)}
    owner: dict[str, str] = {}
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for part, mine in parts.items():
        path = folder / f"{part}.csv"
        for line, event in _listed(path):
            if event in owner:
                raise DataError(f"{path}: line {line}: event {event} is listed twice, also in {owner[event]}")
            owner[event] = path.name
            if event in rows:
                mine.append(rows[event])
            elif not partial:
                raise DataError(f"{path}: line {line}: event {event} is not among the files; run prepare again")
        lacking = set(range(len(events.classes))) - set(events.labels[mine])
        if lacking and part != "test":
            names = ", ".join(events.classes[number] for number in sorted(lacking))
            raise DataError(f"{path}: lists no events of class {names}; run prepare again, or set split_lists to null")
    rows_of = {part: np.array(sorted(mine), dtype=np.int64) for part, mine in parts.items()}
    return Splits(**rows_of, digest=digest(events.labels, events.ids))


def _listed(path: Path) -> Iterator[tuple[int, str]]:
    """Number of the line and name of each event."""
    try:
        lines = list(csv.reader(path.read_text().splitlines()))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run prepare again, or set split_lists to null") from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); run prepare again") from error
    for number, words in enumerate(lines, 1):
        try:
            (event,) = {event_id(name)[0] for name in words[:-1]}
        except (ValueError, DataError) as error:
            raise DataError(
                f"{path}: line {number}: expected the file names of one event and its label, not {','.join(words)!r}"
            ) from error
        yield number, event
