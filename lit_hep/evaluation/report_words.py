"""What numbers and figures are called on a page."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

_NAMES = {
    "auroc": "area under the ROC curve",
    "f1_macro": "macro F1",
    "average_precision": "average precision",
    "recall": "recall (signal efficiency)",
    "threshold": "threshold of the decision",
    "background_rejection_at_50": "background rejection at 50 % signal efficiency",
    "background_rejection_at_90": "background rejection at 90 % signal efficiency",
    "tp": "true positives",
    "fp": "false positives",
    "tn": "true negatives",
    "fn": "false negatives",
    "n": "samples",
    "efficiency_at_rejection_90": "hit efficiency at 90 % background rejection",
    "efficiency_at_rejection_909": "hit efficiency at 90.9 % background rejection",
    "iou": "IoU",
    "f1": "F1",
    "support": "pixels",
}
_FAMILIES = {
    "class": re.compile(r"(precision|recall|f1|iou|support)_(?!macro)(.+)"),
    "beam current": re.compile(r"(.+?)_([\d.]+(?:_to_[\d.]+)?_nA)"),
    "plane": re.compile(r"(auroc|accuracy|loss)_plane(\d+)"),
}
_FIGURES = {
    "roc": ("ROC curve", "signal against background efficiency, and the inverse of the latter against the former"),
    "roc_planes": ("ROC curve of each plane", "signal against background efficiency, of each plane and of all fused"),
    "precision_recall": ("Precision and recall", "precision against recall, a point where the threshold lies"),
    "confusion_matrix": ("Confusion matrix", "counts and shares by true class (rows) and predicted class (columns)"),
    "score_distributions": ("Scores", "distribution of the score for each true class, a line at the threshold"),
    "calibration": ("Calibration", "share of class 1 against the probability claimed, with 68 % intervals"),
    "class_scores": ("Scores of the classes", "precision, recall, F1 with its 68 % interval, and IoU of each class"),
    "cluster_finding": ("Clusters found", "efficiency against true energy, and purity against the charge found"),
    "efficiency_rejection": ("Efficiency and rejection", "hit efficiency against background rejection"),
    "scores": ("Scores of the hits", "distribution of the score of track hits and of background"),
    "pixel_differences": ("Pixel differences", "distribution over events of the difference of score and truth"),
    "against_current": ("Beam current", "efficiency, purity and segments kept against the beam current"),
    "learning_curves": ("Learning curves", "what was logged against the epoch, training and validation together"),
    "gallery": ("Best, worst and nearest to the threshold", "images with their true class and their probability"),
    "mistakes": ("Mistakes", "images called wrongly, the surest first, with true class and probability"),
    "events": ("Events", "the best, median and worst events: hits kept and dropped, true and background"),
    "image_best": ("Best image", "image, truth and prediction side by side, with the share of each class"),
    "image_median": ("Median image", "image, truth and prediction side by side, with the share of each class"),
    "image_worst": ("Worst image", "image, truth and prediction side by side, with the share of each class"),
    "classes_median": (
        "Classes of the median image",
        "a panel for each class: pixels found, missed and called wrongly",
    ),
    "classes_worst": ("Classes of the worst image", "a panel for each class: pixels found, missed and called wrongly"),
    "clusters": ("Clusters of the median image", "the image and beside it the pixels predicted to be clusters"),
}
GALLERY = (
    *("gallery", "mistakes", "events", "image_best", "image_median", "image_worst"),
    *("classes_median", "classes_worst", "clusters"),
)
"""Figures of single samples."""


def number(value: float | None) -> str:
    """A number in four digits, a whole one as it is, and a dash if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == round(value) and abs(value) >= 2:
        return f"{value:.0f}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 1 else f"{value:.4g}"


def span(metrics: Mapping[str, float], name: str) -> str:
    """The 68 % interval of a number, empty if there is none."""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return "" if low is None or high is None else f"{number(low)} – {number(high)}"


def quantity(name: str) -> str:
    """A metric in words."""
    return _NAMES.get(name, name.replace("_", " "))


def caption(path: Path) -> tuple[str, str]:
    """Title of a figure and what it shows."""
    words = path.stem.replace("_", " ")
    return _FIGURES.get(path.stem, (words.capitalize(), words))


def place(stem: str) -> int:
    """Place of a figure on a page."""
    return list(_FIGURES).index(stem) if stem in _FIGURES else len(_FIGURES)


def duration(seconds: float | None) -> str:
    """A time in words."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def headline(metrics: Mapping[str, float]) -> list[str]:
    """Metrics of the whole test, those with an interval first."""
    names = [
        name
        for name in metrics
        if not name.endswith(("_low", "_high")) and not any(kind.fullmatch(name) for kind in _FAMILIES.values())
    ]
    return sorted(names, key=lambda name: f"{name}_low" not in metrics)


def families(metrics: Mapping[str, float]) -> dict[str, dict[str, dict[str, str]]]:
    """Metrics of parts: of what (class, plane ...), which one, metric; the last as the metric's full name."""
    found = dict[str, dict[str, dict[str, str]]]()
    for name in metrics:
        if name.endswith(("_low", "_high")):
            continue
        for kind, pattern in _FAMILIES.items():
            if match := pattern.fullmatch(name):
                found.setdefault(kind, {}).setdefault(match[2], {})[match[1]] = name
    return found
