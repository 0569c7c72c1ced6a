"""Scores of a segmentation against scikit-learn and worked examples; its figures."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import classification_report, jaccard_score

from lit_hep.evaluation import segmentation_figures as draw
from lit_hep.evaluation.classification import confusion
from lit_hep.evaluation.segmentation import fractions, report, segmentation_intervals, segmentation_metrics

NAMES = ("background", "glowing", "hot_pixel", "cluster")
COLOURS = np.array([(0, 0, 0), (90, 250, 60), (0, 130, 250), (250, 50, 50)], np.uint8)


def labels(images=6, wrong=0.2, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, (images, 30, 40), p=(0.7, 0.1, 0.1, 0.1))
    prediction = np.where(rng.random(truth.shape) < wrong, rng.integers(0, 4, truth.shape), truth)
    return truth, prediction


def counts_of(truth, prediction):
    return np.stack([confusion(p.ravel(), t.ravel(), 4) for t, p in zip(truth, prediction, strict=True)])


def test_numbers_are_those_of_scikit_learn():
    truth, prediction = labels()
    numbers = segmentation_metrics(counts_of(truth, prediction).sum(0), NAMES)
    wanted = classification_report(truth.ravel(), prediction.ravel(), target_names=NAMES, output_dict=True)
    assert numbers["accuracy"] == pytest.approx(wanted["accuracy"])
    assert numbers["f1_macro"] == pytest.approx(wanted["macro avg"]["f1-score"])
    iou = jaccard_score(truth.ravel(), prediction.ravel(), average=None)
    for number, name in enumerate(NAMES):
        for mine, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert numbers[f"{mine}_{name}"] == pytest.approx(wanted[name][theirs])
        assert numbers[f"support_{name}"] == wanted[name]["support"]
        assert numbers[f"iou_{name}"] == pytest.approx(iou[number])
    assert all(type(value) is float for value in numbers.values())
    assert len(numbers) == 2 + 5 * 4


def test_what_does_not_exist_is_nan():
    counts = np.array([[8, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    numbers = segmentation_metrics(counts, NAMES)
    assert np.isnan([numbers["f1_glowing"], numbers["iou_glowing"], numbers["recall_cluster"]]).all()
    assert numbers["f1_cluster"] == numbers["precision_cluster"] == 0
    assert numbers["f1_macro"] == pytest.approx((16 / 18 + 0) / 2)  # of background, and of cluster, wrongly predicted
    assert np.isnan(segmentation_metrics(np.zeros((4, 4), int), NAMES)["accuracy"])


def test_intervals_hold_the_value_and_shrink_with_more_images():
    truth, prediction = labels(images=200, wrong=0.3)
    counts = counts_of(truth, prediction)
    value = segmentation_metrics(counts.sum(0), NAMES)
    many = segmentation_intervals(counts, NAMES)
    few = segmentation_intervals(counts[:8], NAMES)
    for key in ("f1_macro", "f1_background", "f1_cluster"):
        assert many[f"{key}_low"] < value[key] < many[f"{key}_high"]
        width = [interval[f"{key}_high"] - interval[f"{key}_low"] for interval in (many, few)]
        assert 2 < width[1] / width[0] < 12  # sqrt(25) = 5
    assert many == segmentation_intervals(counts, NAMES)
    assert many != segmentation_intervals(counts, NAMES, seed=1)


def test_intervals_are_over_images_not_pixels():
    good, bad = np.diag([500, 100, 100, 100]), np.full((4, 4), 50)
    interval = segmentation_intervals(np.stack([good, bad] * 3), NAMES)
    assert interval["f1_macro_high"] - interval["f1_macro_low"] > 0.2
    assert np.isnan(list(segmentation_intervals(np.zeros((0, 4, 4), int), NAMES).values())).all()
    single = segmentation_intervals(good[None], NAMES)
    assert single["f1_macro_low"] == single["f1_macro_high"] == 1


def test_report_shows_what_scikit_learn_does():
    truth, prediction = labels()
    text = report(counts_of(truth, prediction).sum(0), NAMES)
    wanted = classification_report(truth.ravel(), prediction.ravel(), target_names=NAMES, digits=4, output_dict=True)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    names = {name: name for name in NAMES} | {"mean": "macro avg", "weighted": "weighted avg"}
    for mine, theirs in names.items():
        precision, recall, f1, _, support = map(float, rows[mine])
        row = wanted[theirs]
        assert (precision, recall, f1) == pytest.approx((row["precision"], row["recall"], row["f1-score"]), abs=6e-5)
        assert support == row["support"]
    assert float(rows["accuracy"][0]) == pytest.approx(wanted["accuracy"], abs=6e-5)


def test_fractions_have_binomial_errors():
    value = np.repeat([1.5, 2.5, 3.5], [100, 4, 1])
    passed = np.concatenate([np.arange(100) < 80, np.zeros(4, bool), [True]])
    share = fractions(value, passed, np.arange(1.0, 6))
    assert share["n"].tolist() == [100, 4, 1, 0]
    assert share["passed"].tolist() == [80, 0, 1, 0]
    assert share["fraction"][:3] == pytest.approx([0.8, 0, 1])
    assert share["high"][0] - share["low"][0] == pytest.approx(2 * 0.04, rel=0.12)  # sqrt(.8 .2 / 100)
    assert (share["low"][1], share["high"][2]) == (0, 1)
    assert share["high"][1] == pytest.approx(1 - 0.16**0.25)
    assert np.isnan([share["fraction"][3], share["low"][3], share["high"][3]]).all()


def drawn(figure):
    assert isinstance(figure, Figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=40)
    return [text.get_text() for axis in figure.axes if axis.get_legend() for text in axis.get_legend().get_texts()]


@pytest.mark.parametrize("shape", [(30, 40), (40, 12), (9, 100)])
def test_pictures_show_shares_of_truth_and_prediction(shape):
    rng = np.random.default_rng(2)
    truth = np.zeros(shape, np.uint8)
    truth[:, : shape[1] // 4] = 3
    image = rng.normal(0, 1, shape) + 50 * (truth == 3)
    prediction = np.zeros_like(truth)
    figure = draw.pictures(image, prediction, truth, NAMES, COLOURS, "image 7")
    assert [axis.get_title() for axis in figure.axes] == ["image", "truth", "prediction"]
    assert drawn(figure)[3::4] == ["cluster 25.00%", "cluster 0.00%"]
    shown = figure.axes[1].images[0]
    assert np.allclose(shown.cmap(shown.norm(3))[:3], COLOURS[3] / 255)
    assert len(draw.pictures(image, prediction, None, NAMES, COLOURS).axes) == 2
    truth[0, 0] = 255
    drawn(draw.pictures(np.full(shape, 3.0), prediction, truth, NAMES, COLOURS))


def test_one_class_shows_that_class_alone():
    prediction = np.tile(np.arange(4, dtype=np.uint8), (8, 2))
    for number, name in enumerate(NAMES):
        figure = draw.one_class(np.zeros((8, 8)), prediction, number, NAMES, COLOURS)
        assert drawn(figure) == [f"{name} 25.00%"]
        assert figure.axes[1].images[0].get_array().sum() == 16


def test_every_class_has_a_panel_of_what_is_found_missed_and_false():
    truth, prediction = (mask[0] for mask in labels())
    truth[:3] = 255
    figure = draw.by_class(prediction, truth, NAMES)
    drawn(figure)
    known = truth < 4
    for number, axis in enumerate(figure.axes):
        true, called = truth[known] == number, prediction[known] == number
        numbers = [np.sum(both) for both in (true & called, true & ~called, ~true & called)]
        shown = axis.images[0].get_array()
        assert [np.sum(shown == kind) for kind in (1, 2, 3)] == numbers
        words = [text.get_text() for text in axis.get_legend().get_texts()]
        assert words == [f"{kind} {count}" for kind, count in zip(("found", "missed", "false"), numbers, strict=True)]


def test_samples_show_masks_where_they_are_known():
    pairs = [(np.random.default_rng(n).random((8, 9)), np.zeros((8, 9), np.uint8)) for n in range(5)]
    figure = draw.samples([*pairs, (pairs[0][0], None)], list("abcdef"), NAMES, COLOURS)
    drawn(figure)
    assert [len(axis.images) for axis in figure.axes] == [1, 2] * 5 + [1, 0]
    overlay = draw.samples([(np.zeros((2, 3)), np.array([[0, 1, 2], [3, 255, 0]]))], ["a"], NAMES, COLOURS).axes[1]
    assert overlay.images[1].get_array().filled(-1).tolist() == [[-1, 1, 2], [3, 4, -1]]


def test_figures_of_counts():
    counts = counts_of(*labels())
    intervals = segmentation_intervals(counts, NAMES)
    history = {"epoch": [0, 1], "train_loss": [2.0, 1.0]}
    made = dict(draw.figures(counts.sum(0), NAMES, intervals, history))
    assert list(made) == ["class_scores", "confusion_matrix", "learning_curves"]
    for figure in made.values():
        drawn(figure)
    shown = {text.get_text() for text in made["confusion_matrix"].axes[0].texts}
    assert any(text.startswith(f"{counts.sum(0)[0, 0]}\n") for text in shown)
    empty = np.zeros((4, 4), int)
    empty[0, 0] = 5
    drawn(draw.class_scores(empty, NAMES))


def test_cluster_finding_counts_what_is_found():
    rng = np.random.default_rng(3)
    energy = rng.exponential(1000, 50)
    figure = draw.cluster_finding(energy, energy > 500, energy[:20], np.ones(20, bool))
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[0].startswith(f"efficiency, {(energy > 500).sum()} of 50")
    assert words[1].startswith("purity, 20 of 20")
    drawn(figure)
    none = np.empty(0)
    drawn(draw.cluster_finding(none, none > 0, none, none > 0))
