"""The command ``report``: runs side by side, and the page of a run written anew."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lit_hep.data.files import replacing
from lit_hep.data.runs import test_command
from lit_hep.errors import ConfigError, DataError
from lit_hep.evaluation import look
from lit_hep.evaluation.compare import Table, markdown, names_of, tables
from lit_hep.evaluation.report_files import TestedRun, find_runs, read_run
from lit_hep.parser import Parser


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: Runs and options, such as ``crater/0 crater/3 --output comparison``.
    """
    parser = Parser(prog="python -m lit_hep report", description=str(__doc__))
    parser.add_argument("runs", nargs="+", help="Folders of runs, crater/3, or crater for all of a task.")
    parser.add_function_arguments(report, skip={"runs"})
    report(**vars(parser.instantiate_classes(parser.parse_args(list(words)))))


def report(runs: Sequence[str], output: Path = Path("tb_logs/report"), figures: look.Look = look.Look()) -> None:  # noqa: B008
    """Compare tested runs: a table as markdown and HTML, and their curves; of a single run, its page is renewed too.

    Args:
        runs: Folders of runs, ``crater/3`` for one in tb_logs, or ``crater`` for all tested runs of a task.
        output: Folder for ``report.md``, ``report.html`` and ``curves.png``.
        figures: How curves are drawn and left.

    Raises:
        DataError: There is no such run, it was not tested, or its results are damaged.
        ConfigError: The runs are of different tasks.
        OutputError: The results cannot be written.
    """
    look.choose(figures)
    found = [read_run(folder) for folder in dict.fromkeys(folder for name in runs for folder in _tested(name))]
    first = found[0]
    for run in found[1:]:
        if run.task != first.task:
            raise ConfigError(f"{first.name} is a run of {first.task}, {run.name} of {run.task}; give runs of one task")
    chapters = list(tables(found))
    text = markdown(chapters)
    _write(found, chapters, text, output)
    print(text)
    if len(found) == 1:
        from lit_hep.evaluation.report import write_page

        page = first.folder / "test" / "report.html"
        write_page(first, page)
        print(f"Page of the run: {page}")
    print(f"Comparison: {output / 'report.html'}, report.md and curves.png there")


def _tested(name: str) -> list[Path]:
    folders = find_runs(name)
    if len(folders) == 1:
        return folders
    tested = [folder for folder in folders if (folder / "test" / "metrics.json").is_file()]
    if not tested:
        raise DataError(f"{name}: none of its runs was tested; type: {test_command(folders[-1])}")
    if left_out := [folder.name for folder in folders if folder not in tested]:
        sys.stderr.write(f"{name}: {', '.join(left_out)} not tested, left out\n")
    return tested


def _write(runs: Sequence[TestedRun], chapters: Sequence[Table], text: str, output: Path) -> None:
    from lit_hep.evaluation.compare_figures import compare_curves, compare_scores
    from lit_hep.evaluation.report_page import page, picture, table
    from lit_hep.evaluation.style import save

    names, first = names_of(runs), runs[0]
    judged = {name: run.judged for name, run in zip(names, runs, strict=True)}
    scored = {name: scores for name, scores in judged.items() if scores is not None}
    if len(scored) == len(runs):
        figure, words = compare_curves(scored, first.class_names), "ROC and precision-recall curves of the runs"
    else:
        spanned = [name for name in first.metrics if f"{name}_low" in first.metrics]
        metrics = {name: run.metrics for name, run in zip(names, runs, strict=True)}
        figure, words = compare_scores(metrics, spanned), "results of the runs with their 68 % intervals"
    save(figure, output / "curves.png")
    sections = [(chapter.title, table(chapter.header, chapter.rows) if chapter.rows else "") for chapter in chapters]
    sections.insert(1, ("Curves", picture((output / "curves.png").read_bytes(), "Curves", words)))
    lead = (
        "In brackets are intervals of 68 %, of the test samples drawn anew; for a difference the same ones are drawn "
        "for both runs."
    )
    title = f"{first.task}: {len(runs)} runs side by side" if len(runs) > 1 else f"Run {names[0]}"
    for name, content in (("report.md", f"# {title}\n\n{text}"), ("report.html", page(title, lead, sections))):
        with replacing(output / name) as part:
            part.write_text(content, encoding="utf-8")
