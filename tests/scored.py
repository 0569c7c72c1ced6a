"""Events with scores as a classifier gives them."""

import numpy as np


def binary(n, seed=0, digits=None, dtype=np.float64):
    """Scores of AUC about .92; rounded to a few digits they have many ties."""
    generator = np.random.default_rng(seed)
    label = (generator.random(n) < 0.6).astype(np.int64)
    probability = 1 / (1 + np.exp(-generator.normal(2 * label - 1)))
    return (probability if digits is None else probability.round(digits)).astype(dtype), label


def several(n, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    label = generator.integers(classes, size=n)
    weight = np.exp(generator.normal(size=(n, classes)) + 1.5 * np.eye(classes)[label])
    return weight / weight.sum(axis=1, keepdims=True), label


def rejection(probability, label, efficiency):
    """Read off the events themselves: lower the cut until enough signal passes."""
    for cut in np.unique(probability)[::-1]:
        if (probability[label == 1] >= cut).mean() >= efficiency:
            return (probability[label == 0] < cut).mean()
    raise AssertionError
