"""Mask tools: thresholds of the original, one-hot, colours, shares, weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_hep.tasks.ccd import masks
from lit_hep.tasks.ccd.masks import CLASSES, COLOURS, UNKNOWN

ORIGINAL = Path(__file__).parents[1].parent / "shared" / "data" / "ccd"
EVERY = np.array([[0, 1, 2, 3], [3, 2, 1, UNKNOWN]], np.uint8)


def test_monochrome_is_the_mean_of_the_colours_without_the_opacity():
    pixel = np.array([[[10, 20, 60, 255]]], np.uint8)
    assert masks.monochrome(pixel) == 30
    assert masks.monochrome(pixel[..., :3]) == 30
    assert masks.monochrome(pixel[..., :2]) == 10
    assert masks.monochrome(np.zeros((5, 4, 6, 3))).shape == (5, 4, 6)
    with pytest.raises(ValueError, match="7"):
        masks.monochrome(np.zeros((4, 6, 7)))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((value, "background") for value in (0, 51)),
        *((value, "cluster") for value in (60, 99, 101.01, 120)),
        *((value, None) for value in (51.01, 59, 120.1, 124)),
        *((100, "glowing"), (125, "hot_pixel")),
    ],
)
def test_rule_of_the_first_release(value, name):
    mask = masks.classify(np.array([[value]]), "v1")
    assert mask.dtype == np.uint8
    assert mask == (UNKNOWN if name is None else CLASSES.index(name))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((value, "background") for value in (8700, 8870)),
        *((value, "cluster") for value in (8900, 10100, 10400)),
        *((value, "glowing") for value in (10200, 10300)),
        *((value, "hot_pixel") for value in (11000, 60000)),
    ],
)
def test_rule_of_the_second_release(value, name):
    assert masks.classify(np.array([[value]], float), "v2") == CLASSES.index(name)


def test_thresholds_can_be_given():
    value = np.array([[40.0, 70.0, 100.5]])
    assert masks.classify(value, "v1", {"cluster": (30, 60)}).tolist() == [[0, UNKNOWN, 1]]
    assert masks.classify(value, "v1", {"background": (0, 30), "cluster": (30, 99)}).tolist() == [[3, 3, 1]]
    with pytest.raises(ValueError, match="muon"):
        masks.classify(value, "v1", {"muon": (1, 2)})
    with pytest.raises(ValueError, match="cluster"):
        masks.classify(value, "v1", {"cluster": (60, 30)})
    with pytest.raises(ValueError, match="v3"):
        masks.classify(value, "v3")


def test_labels_of_the_original_images_are_reproduced():
    if not ORIGINAL.is_dir():
        pytest.skip("no images of the original at hand")
    with np.load(ORIGINAL / "train_labels.npz") as file:
        labels, ids = file["labels"], file["ids"]
    images = np.stack([np.asarray(Image.open(ORIGINAL / "train" / f"{number}.png")) for number in ids])
    mask = masks.classify(masks.monochrome(images), "v1")
    assert np.array_equal(mask, labels)
    assert (mask == UNKNOWN).sum() == 100
    assert 100 * masks.shares(mask) == pytest.approx([40.93, 25.07, 21.39, 12.61], abs=0.005)
    assert masks.class_weights(masks.shares(mask)) == pytest.approx([0.513, 0.838, 0.982, 1.666], abs=5e-4)


def test_one_hot_and_back():
    hot = masks.one_hot(EVERY)
    assert hot.shape == (2, 4, 4)
    assert hot[0].tolist() == np.eye(4, dtype=bool).tolist()
    assert not hot[1, 3].any()
    assert np.array_equal(masks.arg_max(hot), EVERY)
    assert masks.arg_max(np.array([[0.1, 0.2, 0.6, 0.1]])) == 2


def test_colours_and_back():
    picture = masks.colour(EVERY)
    assert picture.shape == (2, 4, 3)
    assert picture[0].tolist() == [[0, 0, 0], [89, 255, 64], [0, 128, 255], [255, 51, 51]]
    assert np.array_equal(masks.from_colour(picture), EVERY)
    cut = (np.array([(0, 0, 0), (0.35, 1, 0.25), (0, 0.5, 1), (1, 0.2, 0.2)]) * 255).astype(np.uint8)  # as matplotlib
    opaque = np.concatenate([cut, np.full((4, 1), 255, np.uint8)], axis=1)
    assert masks.from_colour(opaque[None]).tolist() == [[0, 1, 2, 3]]
    picture[1, 2] = (9, 8, 7)
    with pytest.raises(ValueError, match=r"\(9, 8, 7\) at \(1, 2\)"):
        masks.from_colour(picture)


def test_numbers_that_are_no_class_are_refused():
    masks.check(EVERY)
    for wrong in (4, 254):
        with pytest.raises(ValueError, match=rf"{wrong} at \(1, 3\)"):
            masks.colour(np.where(EVERY == UNKNOWN, np.uint8(wrong), EVERY))
    with pytest.raises(ValueError, match="-1"):
        masks.check(np.array([[-1]]))


def test_shares_and_statistics_leave_unknown_pixels_out():
    assert masks.shares(EVERY) == pytest.approx(np.array([1, 2, 2, 2]) / 7)
    assert masks.percentages(EVERY)["glowing"] == pytest.approx(200 / 7)
    text = masks.statistics(EVERY)
    assert "8 pixels of 4 classes, 1 of them unknown" in text
    assert "28.57 %" in text
    with pytest.raises(ValueError, match="no pixel"):
        masks.shares(np.full((2, 2), UNKNOWN, np.uint8))


def test_weights_are_inverse_to_the_shares():
    weights = masks.class_weights([0.5, 0.25, 0.125, 0.125])
    assert weights / weights[0] == pytest.approx([1, 2, 4, 4])
    assert weights.mean() == pytest.approx(1)


def test_an_absent_class_gets_no_weight_and_a_warning():
    with pytest.warns(UserWarning, match="hot_pixel, cluster"):
        weights = masks.class_weights([0.75, 0.25, 0, 0])
    assert weights == pytest.approx([0.5, 1.5, 0, 0])
    for wrong in ([0, 0], [0.5, -0.5], [np.nan, 1]):
        with pytest.raises(ValueError, match="shares"):
            masks.class_weights(wrong)


def test_colours_differ():
    assert len(np.unique(np.vstack([COLOURS, masks.UNKNOWN_COLOUR]), axis=0)) == 5
