"""The one look of all figures: readable in a talk, safe for the colour-blind, no pyplot and so no display."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.figure import Figure

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

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The drawing function, drawing in this style and leaving the user's own settings as they are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
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
