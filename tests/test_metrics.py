"""Metrics of classifiers against scikit-learn and against brute force."""

import subprocess
import sys
import time

import numpy as np
import pytest
from scored import binary, rejection, several
from sklearn import metrics

from lit_hep.evaluation.classification import (
    best_threshold,
    binary_metrics,
    bootstrap_intervals,
    decide,
    multiclass_metrics,
)

pytestmark = pytest.mark.filterwarnings("error")


def macro_f1(label, prediction):
    return metrics.f1_score(label, prediction, average="macro", zero_division=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.9])
def test_binary_metrics_are_those_of_sklearn(threshold, digits, dtype):
    probability, label = binary(300, digits=digits, dtype=dtype)
    found = binary_metrics(probability, label, threshold)
    prediction = probability >= threshold
    tn, fp, fn, tp = metrics.confusion_matrix(label, prediction).ravel()
    expected = {
        "auroc": metrics.roc_auc_score(label, probability),
        "accuracy": metrics.accuracy_score(label, prediction),
        "precision": metrics.precision_score(label, prediction),
        "recall": metrics.recall_score(label, prediction),
        "f1_macro": macro_f1(label, prediction),
        "average_precision": metrics.average_precision_score(label, probability),
        "threshold": threshold,
        **{f"background_rejection_at_{x}": rejection(probability, label, x / 100) for x in (50, 90)},
        **{"tp": tp, "fp": fp, "tn": tn, "fn": fn, "n": 300},
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(
    ("label", "undefined"),
    [
        ([], {"auroc", "accuracy", "precision", "recall", "f1_macro", "average_precision"}),
        ([0, 0], {"auroc", "recall", "average_precision"}),
        ([1, 1], {"auroc"}),
    ],
)
def test_what_an_absent_class_leaves_undefined_is_nan(label, undefined):
    probability = np.array([0.2, 0.8])[: len(label)]
    found = binary_metrics(probability, np.array(label, dtype=int), 0.5)
    undefined |= {"background_rejection_at_50", "background_rejection_at_90"}
    assert {key for key, value in found.items() if np.isnan(value)} == undefined
    assert np.isnan(binary_metrics(np.array([0.2, 0.4]), np.array([0, 1]), 0.5)["precision"])


def test_rejection_where_the_roc_curve_is_straight():
    probability, label = np.repeat([0.2, 0.4, 0.6, 0.8], 2), np.tile([0, 1], 4)
    assert binary_metrics(probability, label, 0.5)["background_rejection_at_50"] == 0.5


def test_float_labels_count_as_classes():
    probability, label = binary(50)
    assert binary_metrics(probability, label.astype(np.float32), 0.5) == binary_metrics(probability, label, 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("digits", [None, 2, 1])
@pytest.mark.parametrize("n", [2, 3, 5, 20, 80])
def test_best_threshold_is_that_of_brute_force(n, digits, dtype):
    for seed in range(2 if n == 80 else 10):
        probability, label = binary(n, seed, digits, dtype)
        if len(set(label)) < 2:
            continue
        score = np.unique(probability)
        cuts = np.unique(np.r_[(np.r_[dtype(0), score] + np.r_[score, dtype(1)]) / dtype(2), dtype(0.5)])
        f1 = np.array([macro_f1(label, probability >= cut) for cut in cuts])
        for tolerance in (0, 1):
            error = np.sqrt(f1.max() * (1 - f1.max()) / n)
            good = cuts[f1 > f1.max() - tolerance * error - 1e-12]
            assert best_threshold(probability, label, tolerance) == good[abs(good - 0.5).argmin()]


@pytest.mark.parametrize(
    ("probability", "label", "expected"),
    [
        ([], [], 0.5),
        ([0.1, 0.7], [1, 1], 0.5),
        ([0.1, 0.7], [0, 0], 0.5),
        ([0.2, 0.4, 0.6, 0.9], [0, 0, 1, 1], 0.5),
        ([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1], 0.5),  # as good as the middle, .4
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 0, 1], 0.85),
        ([0.2, 0.4, 0.7, 0.8], [0, 1, 0, 1], 0.3),  # .3 and .75 both reach 11/15; .3 is nearer to .5
        ([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1], 0.7),  # .25 is as good
        ([0.3, 0.3, 0.3], [0, 1, 1], 0.15),
        ([0.0, 1.0], [1, 0], 0.0),
    ],
)
def test_best_threshold_of_small_samples(probability, label, expected):
    assert best_threshold(np.array(probability), np.array(label, dtype=int)) == pytest.approx(expected)


def test_best_threshold_falls_between_adjacent_floats():
    low = np.float32(0.6)
    for _ in range(4):  # the rounded middle is the lower or the upper one in turn
        high = np.nextafter(low, np.float32(1))
        probability, label = np.array([low, high]), np.array([0, 1])
        assert decide(probability, best_threshold(probability, label)).tolist() == [0, 1]
        low = high


def test_multiclass_metrics_are_those_of_sklearn():
    probability, label = several(400)
    prediction = probability.argmax(axis=1)
    assert multiclass_metrics(probability, label) == pytest.approx(
        {
            "auroc": metrics.roc_auc_score(label, probability, multi_class="ovr"),
            "accuracy": metrics.accuracy_score(label, prediction),
            "f1_macro": macro_f1(label, prediction),
            "precision": metrics.precision_score(label, prediction, average="macro"),
            "recall": metrics.recall_score(label, prediction, average="macro"),
            "n": 400,
        }
    )


def test_multiclass_metrics_without_some_classes():
    probability = np.array([[0.6, 0.3, 0.1, 0], [0.2, 0.5, 0.3, 0], [0.5, 0.4, 0.1, 0]])
    found = multiclass_metrics(probability, np.array([0, 2, 2]))
    # Class 1 is predicted only, class 2 never predicted, class 3 does not occur.
    assert found == pytest.approx(
        {"auroc": 0.875, "accuracy": 1 / 3, "f1_macro": 2 / 9, "precision": 1 / 6, "recall": 1 / 3, "n": 3}
    )
    assert np.isnan(multiclass_metrics(np.empty((0, 3)), np.empty(0, dtype=int))["f1_macro"])


@pytest.mark.parametrize(("n", "digits"), [(60, None), (400, 1)])
def test_bootstrap_agrees_with_direct_resampling(n, digits):
    probability, label = binary(n, digits=digits)
    generator = np.random.default_rng(1)
    auroc, f1 = [], []
    for _ in range(300):
        drawn = generator.integers(n, size=n)
        auroc.append(metrics.roc_auc_score(label[drawn], probability[drawn]))
        f1.append(macro_f1(label[drawn], probability[drawn] >= 0.4))
    found = bootstrap_intervals(probability, label, 0.4, n=4000)
    for key, values in (("auroc", auroc), ("f1_macro", f1)):
        # A quantile of 300 draws is itself uncertain by 9 % of the standard deviation.
        expected = np.quantile(values, [0.16, 0.84])
        assert [found[f"{key}_low"], found[f"{key}_high"]] == pytest.approx(expected, abs=0.25 * np.std(values))


def test_bootstrap_of_several_classes():
    probability, label = several(300)
    generator = np.random.default_rng(1)
    prediction = probability.argmax(axis=1)
    draws = generator.integers(300, size=(300, 300))
    found = bootstrap_intervals(probability, label, n=4000)
    assert list(found) == ["f1_macro_low", "f1_macro_high", "accuracy_low", "accuracy_high"]
    for key, score in (("f1_macro", macro_f1), ("accuracy", metrics.accuracy_score)):
        values = [score(label[drawn], prediction[drawn]) for drawn in draws]
        expected = np.quantile(values, [0.16, 0.84])
        assert [found[f"{key}_low"], found[f"{key}_high"]] == pytest.approx(expected, abs=0.25 * np.std(values))


def test_bootstrap_is_repeatable_and_quick():
    probability, label = binary(10_000)
    start = time.perf_counter()
    first = bootstrap_intervals(probability, label, 0.5)
    assert time.perf_counter() - start < 2  # about .1 s, were the machine idle
    assert first == bootstrap_intervals(probability, label, 0.5)
    assert first != bootstrap_intervals(probability, label, 0.5, seed=1)


@pytest.mark.parametrize("label", [[], [0], [1, 1, 1], [0, 1]])
def test_bootstrap_of_hardly_any_events(label):
    label = np.array(label, dtype=int)
    found = bootstrap_intervals(np.linspace(0.2, 0.8, len(label)), label, 0.5, n=100)
    assert list(found) == ["auroc_low", "auroc_high", "f1_macro_low", "f1_macro_high"]
    assert np.isnan(found["auroc_low"]) == (len(set(label)) < 2)
    assert np.isnan(found["f1_macro_high"]) == (len(label) == 0)


def test_numbers_need_no_matplotlib():
    code = "import sys, lit_hep.evaluation.classification; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
