"""Events of a folder of readout planes: names, and which files of several planes belong together."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_hep.errors import ConfigError, DataError

_PLANE = re.compile(r"(?:^|_)plane(\d+)(?=[_.]|$)")
_SUFFIX = re.compile(r"(?:\.extracted)?\.(?:norm|npz)$")
_FOLDER = re.compile(r"PLANE_(\d+)$")
_NAMED = 3  # events that a message names


@dataclass(frozen=True)
class Events:
    """N events of P planes.

    Args:
        classes: Class folders; their place is the label. None of them if labels were not asked for.
        planes: Numbers of the planes, ascending or as asked for.
        ids: Names (N,) of the events: those of their files, less plane and suffix.
        labels: Class of each event (N,), -1 if not asked for.
        paths: Files (N, P), strings.
    """

    classes: tuple[str, ...]
    planes: tuple[int, ...]
    ids: NDArray[np.object_]
    labels: NDArray[np.int64]
    paths: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ids)


def event_id(name: str | Path) -> tuple[str, int]:
    """Take the name of a file apart.

    Args:
        name: Such as ``files_PDK_2_larcv_plane0_185.npz`` (or ``.extracted.norm``), or a path that ends so.

    Returns:
        Name of the event, ``files_PDK_2_larcv_185``, and plane, 0.

    Raises:
        DataError: It names no plane, or several.
    """
    stem = _SUFFIX.sub("", os.path.basename(name))  # noqa: PTH119  half a million names: a Path each is slow
    found = list(_PLANE.finditer(stem))
    if len(found) != 1:
        raise DataError(f"{name}: names {'no plane' if not found else 'several planes'}; expected one, as in _plane0_")
    match = found[0]
    return (stem[: match.start()] + stem[match.end() :]).lstrip("_"), int(match[1])


def find_events(
    root: Path | str,
    classes: Sequence[str] | None = None,
    planes: Sequence[int] | None = None,
    *,
    labelled: bool = True,
) -> Events:
    """Find the events of ``PLANE_k/CLASS/*.npz``; the planes of an event are matched by its name.

    Args:
        root: Folder that holds ``PLANE_0``, ``PLANE_1`` ...
        classes: Class folders to take, in the order of their labels; by default all, in the order of their names.
        planes: Planes to take; by default all.
        labelled: Whether class folders are needed. Else files may lie in ``PLANE_k`` itself, and class folders are
            searched but mean nothing.

    Returns:
        Events class after class, by name within a class.

    Raises:
        DataError: There is no event, or one lacks a plane or is there twice; classes differ between planes.
        ConfigError: A class or plane that was asked for is not there, or twice in the list.
    """
    root = Path(root)
    folders = _plane_folders(root, planes)
    chosen = _class_names(folders, classes) if labelled else ()
    parts = [_matched(folders, name) for name in (chosen or (None,))]
    if labelled:
        _check_classes(root, chosen, [ids for ids, _ in parts])
    sizes = [len(ids) for ids, _ in parts]
    return Events(
        chosen,
        tuple(folders),
        np.concatenate([np.array(ids, object) for ids, _ in parts]),
        np.repeat(np.arange(len(parts)) if labelled else np.array([-1]), sizes).astype(np.int64),
        np.concatenate([paths for _, paths in parts]),
    )


def _plane_folders(root: Path, planes: Sequence[int] | None) -> dict[int, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that holds PLANE_0, PLANE_1 ...")
    found = {int(match[1]): path for path in root.iterdir() if (match := _FOLDER.match(path.name)) and path.is_dir()}
    if not found:
        raise DataError(f"{root}: holds no folder PLANE_0, PLANE_1 ...; expected PLANE_k/CLASS/*.npz")
    if planes is None:
        return dict(sorted(found.items()))
    wrong = [plane for plane in planes if plane not in found]
    if wrong or not planes or len(set(planes)) < len(planes):
        there = ", ".join(map(str, sorted(found)))
        raise ConfigError(f"planes = {list(planes)}: want some of those in {root}, each once: {there}")
    return {plane: found[plane] for plane in planes}


def _class_names(folders: dict[int, Path], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Class folders that all planes have."""
    found = {
        plane: {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
        for plane, folder in folders.items()
    }
    everywhere, anywhere = set.intersection(*found.values()), set.union(*found.values())
    if classes is not None and (not set(classes) <= anywhere or not classes or len(set(classes)) < len(classes)):
        there = ", ".join(sorted(anywhere)) or "none"
        raise ConfigError(f"classes = {list(classes)}: want class folders of {_parent(folders)}, each once: {there}")
    wanted = tuple(sorted(anywhere) if classes is None else classes)
    for name in wanted:
        if name not in everywhere:
            lacking = ", ".join(f"PLANE_{plane}" for plane in folders if name not in found[plane])
            raise DataError(f"{_parent(folders)}: class folder {name} is missing in {lacking}; all planes need it")
    if not wanted:
        raise DataError(f"{_parent(folders)}: no class folders in PLANE_k; expected PLANE_k/CLASS/*.npz")
    return wanted


def _parent(folders: dict[int, Path]) -> Path:
    return next(iter(folders.values())).parent


def _matched(folders: dict[int, Path], name: str | None) -> tuple[list[str], NDArray[np.object_]]:
    """Events of one class, or of all folders together, and their files (n, P)."""
    files = {plane: _files(folder if name is None else folder / name, plane) for plane, folder in folders.items()}
    ids = sorted(set().union(*files.values()))
    where = f"{_parent(folders)}" if name is None else f"{_parent(folders)}: class {name}"
    if not ids:
        raise DataError(f"{where}: holds no events (*.npz)")
    for plane, mine in files.items():
        lacking = [event for event in ids if event not in mine]
        if lacking:
            raise DataError(
                f"{where}: {_some(lacking)} {'has' if len(lacking) == 1 else 'have'} no file in PLANE_{plane}; "
                "add it or move the other planes away"
            )
    paths = np.empty((len(ids), len(files)), object)
    for column, mine in enumerate(files.values()):
        paths[:, column] = [mine[event] for event in ids]
    return ids, paths


def _files(folder: Path, plane: int) -> dict[str, str]:
    """Files of a plane by event, in the folder and those in it."""
    files: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.endswith(".npz"):
                event, named = event_id(entry.name)
                found = {event: entry.path}
                if named != plane:
                    raise DataError(f"{entry.path}: is of plane {named} but lies in PLANE_{plane}; move it")
            else:
                found = _files(Path(entry.path), plane) if entry.is_dir() else {}
            for event, path in found.items():
                if event in files:
                    raise DataError(f"{path}: event {event} is there twice, also as {files[event]}; keep one of them")
                files[event] = path
    return files


def _check_classes(root: Path, classes: Sequence[str], ids: Sequence[Sequence[str]]) -> None:
    """No event may belong to two classes."""
    owner: dict[str, str] = {}
    for name, mine in zip(classes, ids, strict=True):
        for event in mine:
            if owner.setdefault(event, name) != name:
                raise DataError(
                    f"{root}: event {event} is in classes {owner[event]} and {name}; keep one, or rename one of them"
                )


def _some(events: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = len(events) - _NAMED
    named = ", ".join(events[:_NAMED])
    return f"{'event' if len(events) == 1 else 'events'} {named}" + (f" and {more} more" if more > 0 else "")
