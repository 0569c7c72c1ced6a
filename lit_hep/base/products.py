"""Files and TensorBoard pages that a run leaves."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import ArrayLike

from lit_hep import __version__
from lit_hep.data.files import replacing
from lit_hep.nets.cost import parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_hep.base.task import BaseTask


def write_json(path: Path, numbers: Mapping[str, float]) -> None:
    """Write flat keys and numbers; what is not finite becomes null."""
    finite = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
    with replacing(path) as part:
        part.write_text(json.dumps(finite, indent=2) + "\n")


def write_npz(path: Path, columns: Mapping[str, ArrayLike]) -> None:
    """Write named arrays."""
    with replacing(path) as part, part.open("wb") as file:
        arrays: dict[str, Any] = {name: np.asarray(column) for name, column in columns.items()}
        np.savez_compressed(file, **arrays)


def write_npy(path: Path, array: ArrayLike) -> None:
    """Write one array."""
    with replacing(path) as part, part.open("wb") as file:
        np.save(file, np.asarray(array))


@rank_zero_only
def show_figures(
    figures: Iterable[tuple[str, "Figure"]], logger: object, page: str, step: int, folder: Path | None = None
) -> None:
    """Put figures on TensorBoard as ``<page>/<name>``, and write them as files; drawn once, and only if either is done.

    Args:
        figures: Names and figures.
        logger: Of the run; one other than TensorBoard's gets nothing.
        page: Part of their names there.
        step: They belong to.
        folder: For ``<name>.png``, and PDF or SVG if that was chosen; None writes none.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    from lit_hep.evaluation.style import png, save

    board: Any = logger.experiment._get_file_writer() if isinstance(logger, TensorBoardLogger) else None
    if board is None and folder is None:
        return
    for name, figure in figures:
        content = png(figure) if folder is None else save(figure, folder / f"{name}.png")
        if board is not None:  # not `add_figure`: it draws once more, and takes 100 MB for it
            width, height = figure.canvas.get_width_height()
            image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=content)
            board.add_summary(Summary(value=[Summary.Value(tag=f"{page}/{name}", image=image)]), step)
        figure.clear()  # else what it shows stays until the garbage is collected


def write_report(folder: Path, task: "BaseTask") -> None:
    """Write ``summary.json``, which is what the other files of a test do not say, and ``report.html`` of them all.

    Args:
        folder: Of the test, its other files in place.
        task: That was tested.
    """
    from lit_hep.base.datamodule import BaseDataModule
    from lit_hep.evaluation.report import write_page
    from lit_hep.evaluation.report_files import read_run

    data = task.data_of(BaseDataModule)  # type: ignore[type-abstract]
    summary = {
        "lit_hep": __version__,
        "task": type(task).__name__,
        "parameters": parameters(task.net),
        "checkpoint": str(task.trainer.ckpt_path or ""),
        "classes": list(data.class_names),
        "samples": data.sizes(),
        "removed": data.removed,
    }
    with replacing(folder / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n")
    write_page(read_run(folder.parent), folder / "report.html")
