"""What a run has left, read back."""

import csv
from pathlib import Path

import torch

_KEYS = """auroc accuracy precision recall f1_macro average_precision threshold background_rejection_at_50
background_rejection_at_90 tp fp tn fn n auroc_low auroc_high f1_macro_low f1_macro_high"""
_FIGURES = "roc precision_recall confusion_matrix score_distributions calibration learning_curves mistakes gallery"
BINARY_KEYS, BINARY_FIGURES = set(_KEYS.split()), set(_FIGURES.split())
"""What ``test`` writes of a task with two classes: in ``metrics.json``, and as figures."""


def table(run):
    """Rows of a run's ``metrics.csv``."""
    with Path(run, "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def checkpoint(path):
    """Content of a checkpoint."""
    return torch.load(path, weights_only=True)


def same(one, two):
    """Whether two nested states are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one.isnan(), two.isnan()) and torch.equal(one.nan_to_num(), two.nan_to_num())
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two or (one != one and two != two)  # NaN is the same as NaN


def differences(one, two):
    """Names of checkpoints of two folders, and parts of them, that are not equal to the last bit."""
    names, others = ({path.name for path in folder.iterdir()} for folder in (one, two))
    found = sorted(names ^ others)
    for name in sorted(names & others):
        first, second = checkpoint(one / name), checkpoint(two / name)
        parts = sorted((first.keys() | second.keys()) - {"loops"})
        found += [f"{name}: {part}" for part in parts if not same(first.get(part), second.get(part))]
    return found
