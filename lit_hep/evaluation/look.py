"""What figures look like, chosen once for a command; read by :mod:`lit_hep.evaluation.style`, which draws."""

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lit_hep.errors import ConfigError


@dataclass(frozen=True)
class Look:
    """Style and files of all figures.

    Args:
        style: Letters, ticks and frames: our own, or an experiment's as mplhep has them; colours and sizes stay.
        vector: Format in which each figure is left beside its PNG.
    """

    style: Literal["own", "ROOT", "ALICE", "ATLAS", "CMS", "DUNE", "LHCb"] = "own"
    vector: Literal["pdf", "svg"] | None = None


_chosen = Look()


def choose(look: Look) -> None:
    """Draw all that follows so.

    Raises:
        ConfigError: The style needs mplhep, which is not installed.
    """
    if look.style != "own" and find_spec("mplhep") is None:
        raise ConfigError(f"--figures.style {look.style} needs mplhep; pip install 'lit_hep[hep]'")
    global _chosen
    _chosen = look


def chosen() -> Look:
    """What was chosen last."""
    return _chosen


def display(picture: Path) -> None:
    """Open a picture in the system's own viewer, if there is a display."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        from PIL import Image

        with Image.open(picture) as image:
            image.show(picture.stem)
