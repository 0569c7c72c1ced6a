"""Runs side by side: what was set differently, what came of it, and whether that is more than chance."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from lit_hep.evaluation import denoising, segmentation
from lit_hep.evaluation.classification import Array, averages, decide, draws, ends, has_both, resampled_auroc
from lit_hep.evaluation.report_files import TestedRun
from lit_hep.evaluation.report_words import duration, headline, number, quantity, span

_UNKNOWN = "–"


class Table(NamedTuple):
    """A table of text, a column for each run."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Difference(NamedTuple):
    """How much larger a number of the second run is, with its 68 % interval."""

    value: float
    low: float
    high: float


def paired_differences(
    probability: tuple[Array, Array],
    label: Array,
    threshold: tuple[float, float] = (0.5, 0.5),
    *,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences of two classifiers of the same events, by a bootstrap that draws the same events for both.

    Args:
        probability: Of the first and the second, (N,) of class 1, or (N, C).
        label: True class (N,).
        threshold: Of either; an event is positive at or above it; without meaning for (N, C).
        n: Resamples.
        seed: Of the draws.

    Returns:
        Second minus first of ``auroc`` and ``f1_macro``; for (N, C) of ``accuracy`` and ``f1_macro``.
    """
    binary = probability[0].ndim == 1
    classes = 2 if binary else probability[0].shape[1]
    # What depends on decisions alone needs no events: true class and both decisions together are multinomial.
    counts = np.bincount(_cells(probability, label, threshold, classes), minlength=classes**3)
    counts = counts.reshape(classes, classes, classes)
    drawn = np.random.default_rng(seed).multinomial(len(label), counts.ravel() / len(label), size=n)
    drawn = drawn.reshape(n, *counts.shape)
    found = dict[str, Difference]()
    for name in ("f1_macro",) if binary else ("accuracy", "f1_macro"):
        value = averages(counts.sum(axis=1))[name] - averages(counts.sum(axis=2))[name]
        found[name] = _difference(value, averages(drawn.sum(axis=2))[name] - averages(drawn.sum(axis=3))[name])
    if binary:
        signal = label == 1
        first, second = (resampled_auroc(score, signal, n, np.random.default_rng(seed)) for score in probability)
        auroc = [roc_auc_score(signal, score) if has_both(signal) else np.nan for score in probability]
        found = {"auroc": _difference(auroc[1] - auroc[0], second - first)} | found
    return found


def differences(one: TestedRun, other: TestedRun) -> dict[str, Difference] | None:
    """Differences of two tested runs of a task by a bootstrap that draws the same samples for both.

    Hits are drawn by whole events, pixels and clusters by whole images: those of one are not independent.

    Returns:
        Second minus first of metrics by their names; None if they were not tested on the same samples.
    """
    if not same_samples(one, other):
        return None
    if one.hits is None and one.judged is not None and other.judged is not None:
        cuts = one.metrics.get("threshold", 0.5), other.metrics.get("threshold", 0.5)
        return paired_differences((one.judged.probability, other.judged.probability), one.judged.label, cuts)
    (first, one_drawn), (second, other_drawn) = map(_resampled, (one, other))
    both = [name for name in one_drawn if name in other_drawn]
    return {name: _difference(second[name] - first[name], other_drawn[name] - one_drawn[name]) for name in both}


def _resampled(run: TestedRun) -> tuple[dict[str, float], dict[str, Array]]:
    """Numbers of hits, or of pixels and clusters, and the same of resamples: equal draws for equally many samples."""
    if run.hits is not None:
        cut = run.metrics["threshold"]
        return denoising.metrics(run.hits, cut), denoising.resampled(run.hits, cut)
    if "confusion" not in run.columns:  # tested before it was written
        return {}, {}
    names = [name.removeprefix("support_") for name in run.metrics if name.startswith("support_")]
    counts, clusters = run.columns["confusion"], run.columns["clusters"]
    values = segmentation.segmentation_metrics(counts.sum(0), names)
    drawn = segmentation.resampled(counts, names)
    if len(known := clusters[clusters[:, -1] > 0]):
        values |= {name: float(rate) for name, rate in segmentation.cluster_rates(known.sum(0)).items()}
        drawn |= segmentation.cluster_rates(draws(len(known), 1000, 0) @ known)
    return values, drawn


def same_samples(one: TestedRun, other: TestedRun) -> bool:
    """Whether the runs were tested on the same samples, by id and truth."""
    first, second = (_truth(run) for run in (one, other))
    return first.keys() == second.keys() and all(
        first[name].dtype.kind == second[name].dtype.kind and np.array_equal(first[name], second[name])
        for name in first
    )


def _truth(run: TestedRun) -> dict[str, Array]:
    """What does not depend on the network."""
    found: dict[str, Array] = {name: run.columns[name] for name in ("id", "label", "truth") if name in run.columns}
    if "probability" in run.columns:
        found["classes"] = np.array(run.columns["probability"].shape[1:])
    if "score" in run.columns:
        found["hit"] = (run.columns["score"] > 0) | run.columns["truth"]
    if "confusion" in run.columns:
        found |= {"pixels": run.columns["confusion"].sum(2), "clusters": run.columns["clusters"][:, [0, 4]]}
    return found


def _cells(probability: tuple[Array, Array], label: Array, threshold: tuple[float, float], classes: int) -> Array:
    """True class and both decisions (N,) as one number."""
    one, other = (decide(score, cut) for score, cut in zip(probability, threshold, strict=True))
    return np.asarray((label.astype(np.intp) * classes + one) * classes + other)


def _difference(value: Any, resampled: Array) -> Difference:
    return Difference(float(value), *ends({"": resampled}).values())


def names_of(runs: Sequence[TestedRun]) -> list[str]:
    """Short names of the runs, or their folders if those are not distinct."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def tables(runs: Sequence[TestedRun]) -> Iterator[Table]:
    """All that can be told of the runs in text.

    Args:
        runs: One or more, of one task.
    """
    names = names_of(runs)
    yield Table("Results", ("test", *names), list(_results(runs)))
    if len(runs) > 1:
        yield Table("Differences", (f"minus {names[0]}", *names[1:]), list(_differences(runs)))
        yield Table("Settings that differ", ("setting", *names), list(_settings(runs)))
    yield Table("Cost", ("", *names), list(_cost(runs)))


def shown(metrics: Mapping[str, float]) -> list[str]:
    """Metrics to compare: those of the whole test, and those of its parts that have an interval."""
    return [*headline(metrics), *(name for name in metrics if f"{name}_low" in metrics)]


def _results(runs: Sequence[TestedRun]) -> Iterator[Sequence[str]]:
    for name in dict.fromkeys(name for run in runs for name in shown(run.metrics)):
        cells = []
        for run in runs:
            interval = span(run.metrics, name)
            cells.append(number(run.metrics.get(name)) + (f" ({interval})" if interval else ""))
        yield quantity(name), *cells


def _differences(runs: Sequence[TestedRun]) -> Iterator[Sequence[str]]:
    columns = [differences(runs[0], run) for run in runs[1:]]
    if not any(columns):
        yield "of all", *("other samples" if column is None else _UNKNOWN for column in columns)
    for name in dict.fromkeys(name for column in columns for name in column or ()):
        yield quantity(name), *("other samples" if column is None else _signed(column[name]) for column in columns)


def _signed(difference: Difference) -> str:
    value, low, high = (f"{part:+.4f}".replace("-", "−") for part in difference)
    return f"{value} ({low} – {high})" if np.isfinite(difference.value) else _UNKNOWN


def _settings(runs: Sequence[TestedRun]) -> Iterator[Sequence[str]]:
    known = [run.settings for run in runs if run.settings]
    for name in dict.fromkeys(name for settings in known for name in settings):
        values = [settings.get(name, _UNKNOWN) for settings in known]
        if any(value != values[0] for value in values):
            yield name, *(str(run.settings.get(name, _UNKNOWN)) for run in runs)


def _cost(runs: Sequence[TestedRun]) -> Iterator[Sequence[str]]:
    yield "parameters", *(f"{run.summary['parameters']:,}" if "parameters" in run.summary else _UNKNOWN for run in runs)
    yield "epochs", *(str(run.epochs) for run in runs)
    yield "training time", *(duration(run.seconds) for run in runs)


def markdown(chapters: Sequence[Table]) -> str:
    """Tables as markdown; one without rows is left out."""
    lines = []
    for chapter in chapters:
        if chapter.rows:
            lines += [f"## {chapter.title}", ""]
            body = [[cell.replace("|", "\\|") for cell in row] for row in (chapter.header, *chapter.rows)]
            widths = [max(map(len, column)) for column in zip(*body, strict=True)]
            body.insert(1, ["-" * width for width in widths])
            lines += ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in body]
            lines += [""]
    return "\n".join(lines)
