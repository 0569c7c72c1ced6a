"""Pictures of single events."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lit_hep.evaluation.classification import Array, decide
from lit_hep.evaluation.style import blank, notice, styled


@styled
def grid(image: Array, titles: Sequence[str], heading: str = "", columns: int = 8) -> Figure:
    """Images side by side, each with a title.

    Args:
        image: (N, H, W), drawn in grey.
        titles: one an image.
        heading: over all of them.
        columns: of the grid.
    """
    rows = -(-len(image) // columns)
    height, width = image.shape[1:]
    figure = blank(1.25 * columns, rows * (1.25 * min(height / width, 2) + 0.45) + 0.4)
    # No ticks from the start: an axis switched off later still has them measured, half of the drawing time.
    bare = {"xticks": (), "yticks": (), "frame_on": False}
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw=bare).ravel()
    for axis, picture, title in zip(axes, image, titles, strict=False):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=10)
    figure.suptitle(heading)
    return figure


@styled
def mistakes(
    image: Array,
    probability: Array,
    label: Array,
    threshold: float,
    class_names: Sequence[str],
    rows: int = 4,
    columns: int = 8,
) -> Figure:
    """Images that were classified wrongly, those first whose true class got the least probability.

    Titles give the true class and, for (N,), the probability of class 1; for (N, C) the class taken and its
    probability.

    Args:
        image: (N, H, W).
        probability: (N,) or (N, C).
        label: (N,).
        threshold: of a positive event; without meaning for (N, C).
        class_names: in the order of the labels.
        rows: of the grid, at most.
        columns: of the grid.
    """
    label = label.astype(np.intp)
    binary = probability.ndim == 1
    prediction = decide(probability, threshold)
    every = np.stack([1 - probability, probability], axis=1) if binary else probability
    wrong = np.flatnonzero(prediction != label)
    trust = every[wrong, label[wrong]]
    wrong = wrong[trust.argsort(kind="stable")][: rows * columns]
    if not wrong.size:
        return notice(f"no mistakes among {len(label)} events")
    titles = []
    for event in wrong:
        taken = 1 if binary else prediction[event]
        name = "" if binary else f"{class_names[taken]} "
        titles.append(f"{class_names[label[event]]} →\n{name}{every[event, taken]:.2f}")
    meaning = f"probability of {class_names[1]}" if binary else "class taken and its probability"
    return grid(image[wrong], titles, f"true class → {meaning}", columns)
