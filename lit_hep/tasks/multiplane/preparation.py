"""Raw text files of the planes to sparse matrices, less events with too little on a plane, and lists for training."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import cycle, repeat
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lit_hep.data.files import replacing
from lit_hep.data.splits import SplitRule, make_splits
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.multiplane.events import event_id
from lit_hep.tasks.multiplane.prepared import Counted, Prepared
from lit_hep.tasks.multiplane.raw import RawEvent, Row, convert_all, find_raw, incomplete, npz_name

_COUNTS = "filename", "class", "mc", "plane", "event", "count"
_FAULTS = "file", "line", "fault"
_CHUNK = 32  # events that a process takes at a time


def prepare(
    raw: Path,
    root: Path,
    size: int = 225,
    min_hits: int = 100,
    test_fraction: float = 0.3,
    val_fraction: float = 0.2,
    seed: int = 0,
    workers: int = 2,
    classes: list[str] | None = None,
) -> None:
    """Turn .norm files into sparse matrices, and list which are for training, validation and test.

    Called again it does what is missing, and nothing if nothing is; with another ``min_hits`` it moves events aside or
    back (0 brings all back).

    Args:
        raw: Folder, searched with all in it, of ``files_<class>_<mc>_larcv_plane<k>_<event>.extracted.norm``.
        root: Folder for ``PLANE_k/CLASS_c/*.npz``; the rest goes beside: ``removed/PLANE_k/CLASS_c/*.npz`` and
            ``removed.csv``, ``counts.csv`` and ``counts.png`` (hits), ``faults.csv``, ``train.csv``, ``val.csv`` and
            ``test.csv`` (the files of an event and its label in each line).
        size: Wires and ticks of a picture.
        min_hits: Events with fewer hits on a plane are moved aside, on all planes.
        test_fraction: Share of the events for the test.
        val_fraction: Share of the others for validation.
        seed: Of this division.
        workers: Processes.
        classes: Classes as the names of the files say, in the order of their labels; default: all, sorted.

    Raises:
        DataError: There are no raw files, or no event is left.
        ConfigError: An option cannot work, or the root was prepared with another size.
        OutputError: The root cannot be written.
    """
    if min(size, workers) < 1 or min_hits < 0:
        raise ConfigError(f"size = {size}, workers = {workers}, min_hits = {min_hits}: want at least 1, 1 and 0")
    rule = SplitRule(val_fraction * (1 - test_fraction), test_fraction, seed)
    found, faults = find_raw(raw)
    known = _read_counts(root)
    names = _class_names(classes, {event.kind for event in found.values()} | {event.kind for event in known.values()})
    whole, lacking = incomplete({key: event for key, event in found.items() if event.kind in names})
    prepared = Prepared(root, names)
    prepared.check(size, known)
    todo, old_faults = _todo(whole, known, prepared)
    faults += lacking + old_faults
    for event, counts, wrong in _converted(todo, size, workers):
        faults += wrong
        known.pop(event.key, None)
        if not wrong:
            known[event.key] = Counted(event.kind, event.mc, event.event, _named(event, counts))
    known = dict(sorted(known.items()))
    changed = [_write_counts(root, known), _write_faults(root, faults), _write_removed(root, known, min_hits)]
    moved = Prepared(root, names).move(known, min_hits) if todo else prepared.move(known, min_hits)
    kept = {key: event for key, event in known.items() if event.least >= min_hits}
    if not kept:
        raise DataError(f"{root}: no event is left of {len(found)}; see faults.csv and removed.csv there")
    changed += _write_splits(root, names, kept, rule)
    if any(changed) or not (root / "counts.png").is_file():
        _draw(root / "counts.png", names, known, min_hits)
    done = f"converted {len(todo)}" if todo or moved or any(changed) else "nothing to do"
    aside = len(known) - len(kept)
    print(f"{root}: {len(kept)} events, {aside} moved aside (removed.csv), {len(faults)} faults (faults.csv); {done}")


def _class_names(classes: Sequence[str] | None, found: set[str]) -> list[str]:
    if classes is None:
        return sorted(found)
    if not classes or not set(classes) <= found or len(set(classes)) < len(classes):
        raise ConfigError(f"classes = {classes}: want some of {', '.join(sorted(found))}, each once")
    return list(classes)


def _named(event: RawEvent, counts: dict[int, int]) -> dict[int, tuple[str, int]]:
    return {plane: (npz_name(path), counts[plane]) for plane, path in event.files.items()}


def _read_counts(root: Path) -> dict[str, Counted]:
    """Events converted earlier, by name."""
    path = root / "counts.csv"
    known: dict[str, Counted] = {}
    for row in _read_rows(path, _COUNTS):
        try:
            (key, plane), count = event_id(row["filename"]), int(row["count"])
        except (ValueError, DataError) as error:
            raise DataError(f"{path}: damaged ({error}); delete it, and the files are counted again") from error
        event = known.setdefault(key, Counted(row["class"], row["mc"], row["event"], {}))
        event.hits[plane] = row["filename"], count
    return known


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, restkey="more"))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it, and it is made again") from error
    if any(set(row) != set(columns) or None in row.values() for row in rows):
        raise DataError(f"{path}: expected columns {', '.join(columns)}; delete it, and it is made again")
    return rows


def _todo(
    events: Mapping[str, RawEvent], known: Mapping[str, Counted], prepared: Prepared
) -> tuple[list[tuple[RawEvent, dict[int, Path]]], list[Row]]:
    """Events to convert, and the faults of those that were faulty earlier and have not changed since."""
    log = prepared.root / "faults.csv"
    written = log.stat().st_mtime if log.is_file() else 0.0
    faulty: dict[str, list[Row]] = {}
    for row in _read_rows(log, _FAULTS):
        if row["line"]:
            faulty.setdefault(event_id(row["file"])[0], []).append((row["file"], row["line"], row["fault"]))
    todo, faults = [], []
    for key, event in events.items():
        if key in faulty and event.newest <= written:
            faults += faulty[key]
        elif key not in known or not prepared.is_done(event, known[key]):
            todo.append((event, event.targets(prepared.root, prepared.label[event.kind])))
    return todo, faults


def _converted(
    todo: Sequence[tuple[RawEvent, dict[int, Path]]], size: int, workers: int
) -> Iterator[tuple[RawEvent, dict[int, int], list[Row]]]:
    """Convert events in several processes."""
    chunks = [todo[first : first + _CHUNK] for first in range(0, len(todo), _CHUNK)]
    with ExitStack() as stack:
        progress = stack.enter_context(tqdm(total=len(todo), desc="events", disable=not todo))
        run = map if min(workers, len(chunks)) < 2 else stack.enter_context(ProcessPoolExecutor(workers)).map
        for done in run(convert_all, chunks, repeat(size)):
            progress.update(len(done))
            yield from done


def _write(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> bool:
    """Write a table if it is not there like that already."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows] if header else rows)
    if path.is_file() and path.read_bytes() == text.getvalue().encode():
        return False
    with replacing(path) as part:
        part.write_text(text.getvalue())
    return True


def _write_counts(root: Path, known: Mapping[str, Counted]) -> bool:
    rows = (
        (name, event.kind, event.mc, plane, event.event, count)
        for event in known.values()
        for plane, (name, count) in sorted(event.hits.items())
    )
    return _write(root / "counts.csv", rows, _COUNTS)


def _write_faults(root: Path, faults: Iterable[Row]) -> bool:
    rows = sorted(faults, key=lambda row: (row[0], int(row[1] or 0), row[2]))
    return _write(root / "faults.csv", rows, _FAULTS)


def _write_removed(root: Path, known: Mapping[str, Counted], min_hits: int) -> bool:
    rows: Iterable[Sequence[object]] = (
        (key, event.kind, "small" if event.least else "empty", *(count for _, (_, count) in sorted(event.hits.items())))
        for key, event in known.items()
        if event.least < min_hits
    )
    planes = sorted(next(iter(known.values())).hits) if known else []
    return _write(root / "removed.csv", rows, ("event", "class", "reason", *(f"count{plane}" for plane in planes)))


def _write_splits(root: Path, names: Sequence[str], kept: Mapping[str, Counted], rule: SplitRule) -> list[bool]:
    """Three names and a label in each line."""
    events = list(kept.values())
    labels = np.array([names.index(event.kind) for event in events])
    splits = make_splits(labels, rule, root)
    lines = [
        [*(name for _, (name, _) in sorted(event.hits.items())), label]
        for event, label in zip(events, labels, strict=True)
    ]
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return [_write(root / f"{part}.csv", (lines[row] for row in index)) for part, index in parts.items()]


def _draw(path: Path, names: Sequence[str], known: Mapping[str, Counted], min_hits: int) -> None:
    """Histograms of the hits of each plane, by class."""
    from lit_hep.evaluation.style import COLOURS, GREY, blank

    planes = sorted(next(iter(known.values())).hits)
    figure = blank(4.5 * len(planes), 4)
    for axes, plane in zip(figure.subplots(1, len(planes), sharey=True, squeeze=False)[0], planes, strict=True):
        hits = [np.array([e.hits[plane][1] for e in known.values() if e.kind == name]) for name in names]
        edges = np.linspace(0, max(1, np.quantile(np.concatenate(hits), 0.995)), 41)
        for name, mine, colour in zip(names, hits, cycle(COLOURS), strict=False):
            axes.hist(mine.clip(0, edges[-1]), edges, histtype="step", label=name, color=colour, linewidth=2)
        axes.axvline(min_hits, color=GREY, linestyle="--")
        axes.set(title=f"plane {plane}", xlabel="hits (last bin: and more)")
    figure.axes[0].set_ylabel("events")
    figure.axes[0].legend()
    with replacing(path) as part:
        figure.savefig(part, format="png")
