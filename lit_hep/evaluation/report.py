"""The page ``report.html`` of a tested run, made of the files of its folder alone."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from lit_hep.data.files import replacing
from lit_hep.evaluation.report_files import TestedRun
from lit_hep.evaluation.report_page import page, paragraph, picture, preformatted, slider, table
from lit_hep.evaluation.report_threshold import threshold_counts
from lit_hep.evaluation.report_words import (
    GALLERY,
    caption,
    duration,
    families,
    headline,
    number,
    place,
    quantity,
    span,
)

_LARGEST = 2_600_000  # bytes of the page; a figure beyond is only named


def write_page(run: TestedRun, path: Path) -> None:
    """Write the page.

    Args:
        run: Read back from its folder.
        path: The file.

    Raises:
        DataError: ``predictions.npz`` is damaged.
        OutputError: The page cannot be written.
    """
    text = page(f"Run {run.name}", _lead(run), _sections(run))
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _lead(run: TestedRun) -> str:
    return f"{run.task}. The intervals of 68 % are of the test samples drawn anew, not of the network trained anew."


def _sections(run: TestedRun) -> Iterator[tuple[str, str]]:
    yield "Results", _results(run)
    yield "Threshold", _threshold(run)
    figures = sorted(run.figures, key=lambda path: place(path.stem))
    gallery = [path for path in figures if path.stem in GALLERY]
    curves = [path for path in figures if path.stem == "learning_curves"]
    others = [path for path in figures if path not in gallery + curves]
    room = _LARGEST
    drawn = []
    for paths in (others, gallery, curves):
        content = _pictures(paths, room)
        room -= len(content)
        drawn.append(content)
    for kind, members in families(run.metrics).items():
        yield f"By {kind}", _parts(run, kind, members)
    yield from zip(("Figures", "Samples", "Training"), drawn, strict=True)
    yield "Data", _data(run)
    yield "Run", _run(run)


def _results(run: TestedRun) -> str:
    metrics = run.metrics
    rows = [(quantity(name), number(metrics[name]), span(metrics, name)) for name in headline(metrics)]
    return table(("quantity", "value", "68 % interval"), rows, "Numbers of the test")


def _parts(run: TestedRun, kind: str, members: Mapping[str, Mapping[str, str]]) -> str:
    names = list(dict.fromkeys(chain.from_iterable(members.values())))
    rows = []
    for member, full in members.items():
        keys = [full.get(name, "") for name in names]
        spans = [f" ({ends})" if (ends := span(run.metrics, key)) else "" for key in keys]
        cells = [number(run.metrics.get(key)) + ends for key, ends in zip(keys, spans, strict=True)]
        rows.append((member.replace("_", " "), *cells))
    return table((kind, *map(quantity, names)), rows, f"Numbers by {kind}; in brackets 68 % intervals")


def _threshold(run: TestedRun) -> str:
    judged, threshold = run.judged, run.metrics.get("threshold")
    if judged is None or judged.probability.ndim != 1 or threshold is None:
        return ""
    counts = threshold_counts(judged.probability, judged.label, threshold)
    return slider(counts, run.class_names)


def _pictures(paths: list[Path], room: int) -> str:
    content, left_out = "", []
    for path in paths:
        figure = picture(path.read_bytes(), *caption(path))
        if len(content) + len(figure) < room:
            content += figure
        else:
            left_out.append(path.name)
    content = f'<div class="figures">{content}</div>\n' if content else ""
    return content + (paragraph(f"Too large for this page: {', '.join(left_out)}, in figures/.") if left_out else "")


def _data(run: TestedRun) -> str:
    samples = run.summary.get("samples", {})
    kinds = list(dict.fromkeys(chain.from_iterable(samples.values())))
    rows = []
    for part, counts in samples.items():
        total = sum(counts.values())
        cells = (f"{counts[kind]} ({counts[kind] / max(total, 1):.1%})" if kind in counts else "" for kind in kinds)
        rows.append((part, total, *(cells if len(kinds) > 1 else ())))
    header = ("part", "all", *(kinds if len(kinds) > 1 else ()))
    content = table(header, rows, "Samples by part" + " and class" * (len(kinds) > 1)) if rows else ""
    if removed := run.summary.get("removed"):
        content += table(("left out", "samples"), removed.items(), "Samples left out")
    return content


def _run(run: TestedRun) -> str:
    rows = [
        ("folder", run.folder),
        ("checkpoint", run.summary.get("checkpoint") or "–"),
        ("parameters", f"{run.summary['parameters']:,}" if "parameters" in run.summary else "–"),
        ("epochs", run.epochs),
        ("training time", duration(run.seconds)),
        ("lit_hep", run.summary.get("lit_hep", "–")),
    ]
    content = table(("", "value"), rows, "This run", words=True)
    return content + (preformatted("Configuration (config.yaml)", run.config_text) if run.config_text else "")
