"""The one look of all figures: readable in a talk, safe for the colour-blind, no pyplot and so no display."""

from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.figure import Figure

from lit_hep.data.files import replacing
from lit_hep.evaluation.look import chosen

# Okabe & Ito (2008), https://jfly.uni-koeln.de/color; without yellow, which is lost on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLUE, VERMILLION, *_ = COLOURS
GREY = "#777777"

STYLE: Any = {  # matplotlib types its keys from 3.11 on
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 13,
    "axes.titlesize": 13,
    "errorbar.capsize": 0,
    "figure.dpi": 110,
    "figure.titlesize": 13,
    "font.size": 12,
    "grid.alpha": 0.5,
    "grid.color": "#cccccc",
    "grid.linewidth": 0.7,
    "legend.fontsize": 11,
    "legend.framealpha": 0.9,
    "lines.linewidth": 2,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}

_OURS = ("size", "color", "cycle", "figure.", "savefig.", "linewidth", "latex", "usetex", "pad")
"""Parts of names of settings that an experiment's style leaves alone: its figures are larger, its colours other."""

P = ParamSpec("P")


def settings() -> Any:
    """Settings of matplotlib for the chosen style."""
    name = chosen().style
    if name == "own":
        return STYLE
    import mplhep

    theirs = getattr(mplhep.style, name)
    kept = {key: value for key, value in theirs.items() if not any(part in key for part in _OURS)}
    return {**STYLE, "axes.grid": False, **kept}


def save(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG, and beside it in the vector format that was chosen, if any.

    Args:
        figure: To be written.
        path: Ending in ``.png``.

    Returns:
        The PNG file.
    """
    content = png(figure)
    with replacing(path) as part:
        part.write_bytes(content)
    if kind := chosen().vector:
        with rc_context(settings()), replacing(path.with_suffix(f".{kind}")) as part:
            figure.savefig(part, format=kind)
    return content


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    with rc_context(settings()), BytesIO() as file:
        if layout := figure.get_layout_engine():  # once; `savefig` would draw all for it, to no avail, every time
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(file, format="png")
        return file.getvalue()


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The drawing function, drawing in this style and leaving the user's own settings as they are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(settings()):
            return draw(*args, **kwargs)

    return drawn


def blank(width: float = 6, height: float = 5) -> Figure:
    """An empty figure, size in inches, that belongs to nobody and is freed like any object."""
    return Figure(figsize=(width, height), layout="constrained")


def notice(text: str) -> Figure:
    """A figure that only says why there is nothing to draw."""
    figure = blank(6, 2)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure
