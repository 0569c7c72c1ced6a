"""Train / validation / test splits: made once, saved, reused."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_hep.data.files import replacing
from lit_hep.errors import ConfigError, DataError


@dataclass(frozen=True)
class SplitRule:
    """How samples are divided.

    Args:
        val_fraction: Share of all samples for validation.
        test_fraction: Share of all samples held out for `test`.
        seed: Of the division; the same for runs that are to be compared.
    """

    val_fraction: float
    test_fraction: float
    seed: int

    def __post_init__(self) -> None:
        if not (0 < self.val_fraction < 1 and 0 <= self.test_fraction < 1):
            raise ConfigError("val_fraction must lie between 0 and 1, test_fraction from 0 to below 1")
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError("val_fraction and test_fraction leave nothing to train on: their sum must be below 1")


@dataclass(frozen=True)
class Splits:
    """Sample numbers of the three disjoint parts, and the digest of the data they were made for."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    digest: str


def digest(labels: NDArray[Any], names: Iterable[object] = ()) -> str:
    """Short fingerprint of labels, and names if samples have any, by which a split knows its data."""
    seen = hashlib.sha256(np.ascontiguousarray(labels, dtype=np.int64).tobytes())
    seen.update("\0".join(map(str, names)).encode())
    return seen.hexdigest()[:16]


def check_classes(labels: NDArray[Any], source: Path | str = "data") -> None:
    """Check that there is something to tell apart.

    Args:
        labels: Class numbers (N,).
        source: Where the labels are from, for messages.

    Raises:
        DataError: All labels are of one class.
    """
    if not (labels != labels[:1]).any():
        raise DataError(
            f"{source}: all {len(labels)} labels are of one class, nothing can be learnt; check the label file"
        )


def make_splits(
    labels: NDArray[Any], rule: SplitRule, source: Path | str = "data", names: Iterable[object] = ()
) -> Splits:
    """Divide samples at random, each class in the same shares.

    Args:
        labels: Class numbers (N,).
        rule: Shares and seed.
        source: Where the labels are from, for messages.
        names: Of the samples, if they have any.

    Returns:
        The three parts, each sorted.

    Raises:
        DataError: A class has too few samples for every part to hold one.
    """
    counts = np.bincount(labels)
    rng = np.random.default_rng(rule.seed)
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "val": [], "test": []}
    for label in np.flatnonzero(counts):
        order = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.round(np.cumsum([rule.test_fraction, rule.val_fraction]) * len(order)).astype(int)
        for name, part in zip(("test", "val", "train"), np.split(order, cuts), strict=True):
            if not len(part) and not (name == "test" and rule.test_fraction == 0):
                raise DataError(
                    f"{source}: class {label} has only {len(order)} samples: too few for a share in train, validation "
                    "and test; add samples or change val_fraction and test_fraction"
                )
            parts[name].append(part)
    rows = {name: np.sort(np.concatenate(part)) for name, part in parts.items()}
    return Splits(**rows, digest=digest(labels, names))


def saved_splits(
    path: Path, labels: NDArray[Any], rule: SplitRule, source: Path | str = "data", names: Iterable[object] = ()
) -> Splits:
    """Read the split that `rule` made of these samples earlier, or make it and add it to the file.

    Args:
        path: ``splits.json``; a list of splits, one for each rule and data set that was ever asked for.
        labels: Class numbers (N,).
        rule: Shares and seed.
        source: Where the labels are from, for messages.
        names: Of the samples, if they have any.

    Returns:
        The split.

    Raises:
        DataError: The file is damaged, or its split does not fit the samples.
        OutputError: The file cannot be written.
    """
    entries = _read(path) if path.is_file() else []
    wanted = {**asdict(rule), "digest": digest(labels, names)}
    for entry in entries:
        if wanted.items() <= entry.items():
            parts: dict[str, Any] = {name: entry.get(name) for name in ("train", "val", "test")}
            if not all(isinstance(part, list) for part in parts.values()) or not (parts["train"] and parts["val"]):
                raise DataError(f"{path}: a part is missing or empty; mend or delete the file")
            exist = all(type(row) is int and 0 <= row < len(labels) for part in parts.values() for row in part)
            rows = {name: np.array(part if exist else [], dtype=np.int64) for name, part in parts.items()}
            if not exist or np.bincount(np.concatenate(list(rows.values()))).max() > 1:
                raise DataError(f"{path}: parts overlap or name samples that do not exist; mend or delete the file")
            return Splits(**rows, digest=wanted["digest"])
    splits = make_splits(labels, rule, source, names)
    entry = {**wanted, **{name: getattr(splits, name).tolist() for name in ("train", "val", "test")}}
    with replacing(path) as part:
        part.write_text(json.dumps([*entries, entry]))
    return splits


def make_subset(index: NDArray[np.int64], labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Choose a share of some samples at random, each class alike and never without one.

    Args:
        index: Sample numbers (n,).
        labels: Class (n,) of each.
        fraction: Share to keep.
        seed: Of the choice.

    Returns:
        Sample numbers, ascending.
    """
    rng = np.random.default_rng(seed)
    kept = []
    for label in np.unique(labels):
        mine = index[labels == label]
        kept.append(rng.permutation(mine)[: max(1, round(fraction * len(mine)))])
    return np.sort(np.concatenate(kept)) if kept else index


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: damaged ({error}); mend or delete it") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: not a list of splits; mend or delete it")
    return entries
