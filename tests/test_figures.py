"""Figures of classifiers: what is drawn, against scikit-learn."""

import sys
import warnings
from io import BytesIO

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from scored import binary, rejection, several
from sklearn import metrics

from lit_hep.evaluation import figures, gallery
from lit_hep.evaluation.classification import (
    binary_metrics,
)

NAMES = ["no crater", "crater"]
BINARY_STEMS = ["roc", "precision_recall", "confusion_matrix", "score_distributions", "calibration"]


@pytest.fixture(autouse=True)
def _no_warnings_and_no_traces():
    settings = dict(rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert dict(rcParams) == settings
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def curve(axis, label):
    """The one drawn line whose legend entry begins so."""
    (line,) = [line for line in axis.lines if str(line.get_label()).startswith(label)]
    return line


def legend(figure):
    boxes = [axis.get_legend() for axis in figure.axes] + figure.legends
    return [text.get_text() for box in boxes if box for text in box.get_texts()]


def drawing(image):
    """Draws some of the images (N, H, W)."""
    return lambda place, titles: gallery.grid(image[place], titles)


def drawn(figure):
    """The figure, after it went through the whole of drawing."""
    figure.savefig(BytesIO())
    return figure


HISTORY = {
    "epoch": [np.nan, 0, 0, np.nan, 1, 1, np.nan, 2, 2, 3],
    "step": [0, 9, 9, 10, 19, 19, 20, 29, 29, 30],
    "lr-Adam": [1e-3, np.nan, np.nan, 1e-3, np.nan, np.nan, 1e-4, np.nan, np.nan, np.nan],
    "train_loss": [np.nan, np.nan, 0.9, np.nan, np.nan, 0.5, np.nan, np.nan, 0.3, np.nan],
    "val_loss": [np.nan, 1.0, np.nan, np.nan, 0.6, np.nan, np.nan, 0.4, np.nan, np.nan],
    "val_accuracy": [np.nan, 0.5, np.nan, np.nan, 0.6, np.nan, np.nan, 0.7, np.nan, np.nan],
    "stage": [np.nan, 1, np.nan, np.nan, 1, np.nan, np.nan, 2, np.nan, np.nan],
    "test_loss": [np.nan] * 9 + [0.5],
    "empty": [np.nan] * 10,
}


def test_roc_is_that_of_sklearn():
    probability, label = binary(3000)
    figure = figures.roc(probability, label, NAMES, (0.9, 0.94))
    left, right = figure.axes
    eps_b, eps_s, _ = metrics.roc_curve(label, probability)
    np.testing.assert_array_equal(curve(left, "crater").get_xydata(), np.c_[eps_b, eps_s])
    some = eps_b > 0
    line = curve(right, f"{1 / (1 - rejection(probability, label, 0.5)):.3g} at 50%")
    np.testing.assert_allclose(line.get_xydata(), np.c_[eps_s[some], 1 / eps_b[some]])
    points = [line.get_xydata()[0] for line in right.lines if line.get_marker() == "o"]
    expected = [(x, 1 / (1 - rejection(probability, label, x))) for x in (0.5, 0.9)]
    np.testing.assert_allclose(points, expected)
    assert right.get_yscale() == "log"
    area = metrics.roc_auc_score(label, probability)
    assert f"crater: AUC {area:.3f} (0.900–0.940)" in legend(figure)


def test_roc_of_a_perfect_classifier_has_no_rejection_to_mark():
    figure = figures.roc(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 0, 1]), NAMES)
    assert "> 3 at 50%, > 3 at 90%" in legend(drawn(figure))


def test_roc_of_several_classes_has_a_curve_for_each_that_occurs():
    probability, label = several(200)
    left, _ = figures.roc(probability, label % 3, list("abcd")).axes
    assert [str(line.get_label())[0] for line in left.lines[1:]] == list("abc")
    eps_b, eps_s, _ = metrics.roc_curve(label % 3 == 2, probability[:, 2])
    np.testing.assert_array_equal(curve(left, "c").get_xydata(), np.c_[eps_b, eps_s])


def test_precision_recall_marks_the_threshold():
    probability, label = binary(300)
    (axis,) = figures.precision_recall(probability, label, 0.7).axes
    precision, recall, _ = metrics.precision_recall_curve(label, probability, drop_intermediate=True)
    average = metrics.average_precision_score(label, probability)
    np.testing.assert_array_equal(
        curve(axis, f"average precision {average:.3f}").get_xydata(), np.c_[recall, precision]
    )
    found = binary_metrics(probability, label, 0.7)
    np.testing.assert_allclose(curve(axis, "threshold").get_xydata(), [[found["recall"], found["precision"]]])
    assert "threshold" not in " ".join(legend(figures.precision_recall(probability, label, 1.1)))


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_confusion_matrix_has_counts_and_shares_in_every_cell(classes):
    probability, label = several(100, classes)
    prediction = probability.argmax(axis=1)
    figure = figures.confusion_matrix(prediction, label, [f"class {k}" for k in range(classes)])
    counts = metrics.confusion_matrix(label, prediction)
    share = metrics.confusion_matrix(label, prediction, normalize="true")
    expected = [f"{count}\n{part:.1%}" for count, part in zip(counts.flat, share.flat, strict=True)]
    assert [text.get_text() for text in figure.axes[0].texts] == expected


@pytest.mark.parametrize(("n", "bins"), [(300, 20), (5000, 40)])
def test_score_distributions_are_normalised_histograms(n, bins):
    probability, label = binary(n)
    figure = figures.score_distributions(probability, label, 0.4, NAMES)
    axis = figure.axes[0]
    for kind in (0, 1):
        counts, _ = np.histogram(probability[label == kind], np.linspace(0, 1, bins + 1))
        drawn_shares = [stairs.get_data().values for stairs in axis.patches][2 * kind]
        np.testing.assert_allclose(drawn_shares, counts / counts.sum())
        filled = counts[counts > 0]
        segments = np.array(axis.collections[kind].get_segments())
        length = segments[:, 1, 1] - segments[:, 0, 1]
        np.testing.assert_allclose(length, 2 * np.sqrt(filled) / counts.sum())
    assert legend(figure) == [
        f"no crater ({(label == 0).sum()})",
        f"crater ({(label == 1).sum()})",
        "threshold 0.4",
    ]


def test_calibration_points_errors_and_their_mean():
    probability = np.array([0.02, 0.06, 0.31, 0.35, 0.37, 0.39, 0.9, 1.0])
    label = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    figure = figures.calibration(probability, label)
    upper, lower = figure.axes
    (container,) = upper.containers
    np.testing.assert_allclose(container.lines[0].get_xydata(), [[0.04, 0], [0.355, 0.5], [0.95, 1]])
    # Wilson intervals at one standard deviation: (k + 1/2 ± √(k(n-k)/n + 1/4)) / (n + 1)
    expected = [[0, 1 / 3], [0.5 - 5**0.5 / 10, 0.5 + 5**0.5 / 10], [2 / 3, 1]]
    ends = [segment[:, 1] for segment in container.lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, expected, atol=1e-12)
    error = (2 * 0.04 + 4 * 0.145 + 2 * 0.05) / 8
    assert f"expected calibration error {error:.3f}" in legend(figure)
    assert lower.patches[0].get_data().values.sum() == 8


def test_learning_curves_follow_the_epochs():
    figure = drawn(figures.learning_curves(HISTORY))
    loss, accuracy, rate = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy", "learning rate"]
    np.testing.assert_array_equal(curve(loss, "train").get_xydata(), [[0, 0.9], [1, 0.5], [2, 0.3]])
    np.testing.assert_array_equal(curve(loss, "val").get_xydata(), [[0, 1.0], [1, 0.6], [2, 0.4]])
    np.testing.assert_array_equal(curve(accuracy, "val").get_xydata(), [[0, 0.5], [1, 0.6], [2, 0.7]])
    np.testing.assert_array_equal(curve(rate, "Adam").get_xydata(), [[0, 1e-3], [1, 1e-3], [2, 1e-4]])
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "linear", "log"]
    for axis in figure.axes:
        (line,) = [line for line in axis.lines if line.get_linestyle() == ":"]
        assert line.get_xdata() == [1.5, 1.5]


def test_learning_curves_average_the_steps_of_an_epoch():
    figure = figures.learning_curves({"epoch": [0, 0, 1], "train_loss": [1.0, 2.0, 1.0], "grad": [3.0, 9.0, 4.0]})
    np.testing.assert_array_equal(curve(figure.axes[0], "train").get_ydata(), [1.5, 1.0])
    np.testing.assert_array_equal(curve(figure.axes[1], "grad").get_ydata(), [6.0, 4.0])  # falls: no stage


@pytest.mark.parametrize(("rates", "scale"), [([1e-3, 0], "log"), ([0, 0], "linear"), ([1, 1], "log")])
def test_learning_rates_of_zero(rates, scale):
    (axis,) = drawn(figures.learning_curves({"epoch": [0, 1], "lr-SGD": rates})).axes
    assert axis.get_yscale() == scale


@pytest.mark.parametrize("panels", [1, 4, 5])
def test_learning_curves_leave_no_empty_panel(panels):
    history = {"epoch": [0, 1]} | {f"val_{name}": [0.5, 0.25] for name in "abcdefg"[:panels]}
    figure = drawn(figures.learning_curves(history))
    assert [axis.get_title() for axis in figure.axes] == list("abcdefg"[:panels])


def test_mistakes_begin_with_the_most_confident():
    probability = np.array([0.9, 0.95, 0.1, 0.6, 0.02])
    label = np.array([1, 0, 1, 0, 0])
    draw = drawing(np.arange(5)[:, None, None] * np.ones((1, 3, 2)))
    figure = drawn(figures.mistakes(draw, probability, label, 0.5, NAMES))
    shown = [(axis.get_title(), axis.images[0].get_array()[0, 0]) for axis in figure.axes if axis.images]
    assert shown == [("no crater →\n0.95", 1), ("crater →\n0.10", 2), ("no crater →\n0.60", 3)]
    one = figures.mistakes(draw, probability, label, 0.5, NAMES, most=2)
    assert [axis.images[0].get_array()[0, 0] for axis in one.axes] == [1, 2]


def test_mistakes_of_several_classes_name_the_class_taken():
    probability = np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.2, 0.1, 0.7]])
    figure = figures.mistakes(drawing(np.zeros((3, 4, 4))), probability, np.array([1, 0, 2]), 0.5, list("abc"))
    assert [axis.get_title() for axis in figure.axes if axis.images] == ["a →\nb 0.90", "b →\na 0.50"]


@pytest.mark.parametrize(
    ("function", "given", "stems"),
    [
        (figures.binary_figures, set(), BINARY_STEMS),
        (figures.binary_figures, {"draw", "history"}, [*BINARY_STEMS, "learning_curves", "mistakes", "gallery"]),
        (figures.multiclass_figures, {"draw"}, ["roc", "confusion_matrix", "mistakes", "gallery"]),
        (
            figures.multiclass_figures,
            {"draw", "history"},
            ["roc", "confusion_matrix", "learning_curves", "mistakes", "gallery"],
        ),
    ],
)
def test_all_figures_that_apply_are_drawn(function, given, stems):
    events, names = (binary(40), NAMES) if function is figures.binary_figures else (several(40), list("abcd"))
    extra = {"draw": drawing(np.random.default_rng(0).normal(size=(40, 8, 8))), "history": HISTORY}
    threshold = [0.5] if function is figures.binary_figures else []
    found = dict(function(*events, *threshold, names, **{key: extra[key] for key in given}))
    assert list(found) == stems
    for figure in found.values():
        assert isinstance(figure, Figure)
        assert figure.axes
        if len(given) == 2:
            drawn(figure)


@pytest.mark.parametrize("label", [[], [1, 1], [0, 1]])
def test_figures_of_hardly_any_events(label):
    label = np.array(label, dtype=int)
    draw, history = drawing(np.zeros((len(label), 4, 4))), {"epoch": [], "train_loss": []}
    probability = np.ones(len(label))
    for _, figure in figures.binary_figures(probability, label, 0.5, NAMES, draw, history):
        drawn(figure)
    found = dict(figures.multiclass_figures(np.eye(3)[label], label, list("abc"), draw, history))
    for figure in found.values():
        drawn(figure)
    assert found["learning_curves"].texts[0].get_text() == "nothing was logged"
    assert found["mistakes"].texts[0].get_text() == f"no mistakes among {len(label)} events"


def test_gallery_shows_best_worst_and_nearest():
    probability = np.array([0.9, 0.55, 0.1, 0.4])
    image = np.arange(4.0)[:, None, None] * np.ones((4, 2, 2))
    figure = drawn(figures.gallery(drawing(image), probability, np.array([1, 0, 1, 0]), 0.5, NAMES, each=2))
    shown = [int(axis.images[0].get_array()[0, 0]) for axis in figure.axes]
    assert shown == [0, 3, 2, 1, 1, 3]
    assert [axis.get_title().split("\n")[0] for axis in figure.axes[::2]] == ["best", "worst", "nearest"]


def test_crystals_show_energy_and_time_where_there_is_a_hit():
    energy, time = np.zeros((2, 5, 16, 20))
    energy[:, 8, 11], time[:, 8, 11], time[:, 0, 0] = [1, 2, 30, 4, 5], [1, -2, 3, -4, 5], 7
    figure = drawn(gallery.crystals(energy, time, list("abcde")))
    maps = figure.axes[:10]
    assert [axis.get_title() for axis in maps[::2]] == list("abcde")
    for number, (left, right) in enumerate(zip(maps[::2], maps[1::2], strict=True)):
        for axis, values in ((left, energy), (right, time)):
            shown = axis.images[0].get_array()
            assert np.argwhere(~shown.mask).tolist() == [[8, 11]] and shown[8, 11] == values[number, 8, 11]
        assert left.images[0].get_extent() == pytest.approx([-0.174, 0.174, -0.1392, 0.1392])
    assert left.images[0].norm.vmax == 30 and right.images[0].norm.vcenter == 0
    assert [axis.get_ylabel() for axis in figure.axes[10:]] == ["time (ns)", "energy (GeV)"]
    drawn(gallery.crystals(np.zeros((1, 16, 16)), np.zeros((1, 16, 16)), ["no hit"]))
