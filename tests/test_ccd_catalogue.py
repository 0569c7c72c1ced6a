"""Clusters found in images: measured, matched with the true ones, efficiency at a number of false ones, files."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lit_hep.errors import DataError, OutputError
from lit_hep.tasks.ccd.catalogue import FOUND, TRUTH, find_clusters, label, match, read_truth, scan, write_catalogue
from lit_hep.tasks.ccd.simulation import STANDARD, images


def plane(*lines):
    return np.array([[int(letter) for letter in line] for line in lines])


TOUCHING = plane("11000", "00100", "00010", "10000", "00011")


def test_pixels_that_touch_at_a_corner_are_one_cluster():
    labels = label(TOUCHING > 0)
    assert labels.max() == 3
    assert labels[0, 0] == labels[1, 2] == labels[2, 3]
    assert label(TOUCHING > 0, min_pixels=2).max() == 2
    assert label(TOUCHING > 0, min_pixels=3).tolist() == plane("11000", "00100", "00010", "00000", "00000").tolist()
    assert not label(np.zeros((3, 4), bool)).any()
    assert label(np.ones((3, 4), bool), min_pixels=12).all()


def test_clusters_are_measured():
    image = np.zeros((8, 9))
    image[2, 3:6] = 1, 2, 1
    image[3, 4] = 4
    image[6, 7:] = -1, 5
    score = np.full(image.shape, 0.5)
    score[3, 4] = 0.9
    table, labels = find_clusters(image, image != 0, score)
    assert table.dtype == FOUND
    assert labels.shape == image.shape
    first, second = table
    assert first["cluster"] == 1
    assert [first[name] for name in ("y0", "x0", "y1", "x1")] == [2, 3, 4, 6]
    assert (first["pixels"], first["charge"]) == (4, 8)
    assert (first["y"], first["x"]) == pytest.approx((2.5, 4))
    assert first["spread"] == pytest.approx(np.sqrt(0.25 + 2 / 8))
    assert first["mean_score"] == pytest.approx(0.6)
    assert first["max_score"] == pytest.approx(0.9)
    assert (second["charge"], second["x"]) == pytest.approx((4, 8))  # the centre is that of the positive charge
    assert second["true_cluster"] == -1
    for row in table:
        box = labels[row["y0"] : row["y1"], row["x0"] : row["x1"]] == row["cluster"]
        assert box.sum() == row["pixels"]
        assert box.any(axis=0).all()


def test_without_score_or_charge_a_cluster_is_still_one():
    table, _ = find_clusters(np.full((4, 4), -3.0), np.eye(4, dtype=bool))
    assert len(table) == 1
    assert np.isnan(table["mean_score"][0])
    assert table["y"][0] == pytest.approx(1.5)
    table, labels = find_clusters(np.zeros((4, 4)), np.zeros((4, 4), bool))
    assert len(table) == 0
    assert not labels.any()


def test_a_found_cluster_is_true_if_a_quarter_of_it_is():
    truth = plane("1111000", "0000000", "2222222")
    labels = plane("0111122", "0000000", "0000000")
    matched = match(labels, truth)
    assert matched.true_cluster.tolist() == [1, 0]
    assert matched.number.tolist() == [1, 2]
    assert matched.found.tolist() == [True, False]
    assert match(plane("0001111", "0000000", "0000000"), truth).true_cluster.tolist() == [1]
    assert match(plane("0001111", "0000001", "0000000"), truth).true_cluster.tolist() == [0]


def test_a_true_cluster_is_found_if_a_tenth_of_it_is():
    truth = np.zeros((3, 40), int)
    truth[0, :30] = 5
    few = np.zeros_like(truth)
    few[0, 3:5] = 1
    assert match(few, truth).found.tolist() == [False]
    few[0, 8] = 2
    matched = match(few, truth)  # in pieces
    assert matched.found.tolist() == [True]
    assert matched.true_cluster.tolist() == [5, 5]
    assert matched.number.tolist() == [5]


def test_selecting_everything_finds_nothing():
    truth = np.zeros((20, 20), int)
    truth[3:6, 3:6] = 1
    matched = match(np.ones_like(truth), truth)
    assert matched.found.tolist() == [False]
    assert matched.true_cluster.tolist() == [0]


def test_a_found_cluster_over_two_true_ones_belongs_to_the_larger_part():
    truth = plane("1112222000")
    matched = match(plane("1111111000"), truth)
    assert matched.true_cluster.tolist() == [2]
    assert matched.found.tolist() == [True, True]
    none = np.zeros_like(truth)
    assert match(none, truth).found.tolist() == [False, False]
    assert match(none, none).number.size == match(none, none).true_cluster.size == 0
    assert match(truth, none).true_cluster.tolist() == [0, 0]


def test_truth_as_score_finds_all_and_nothing_false():
    pictures = list(images(20, 3, signal_to_noise=4.0))
    scores = [(picture.clusters > 0).astype(float) for picture in pictures]
    truths = [picture.clusters for picture in pictures]
    result = scan(scores, truths, np.array([0.5]))
    assert result.efficiency.tolist() == [1]
    assert result.false.tolist() == [0]
    assert result.at(0.0) == (1, 0.5)


@pytest.fixture(scope="module")
def noisy():
    pictures = list(images(25, 4, signal_to_noise=1.5, ccd=replace(STANDARD, glow=0.0)))
    clean = [np.where((picture.mask == 0) | (picture.mask == 3), picture.image, 8800.0) for picture in pictures]
    return clean, [picture.clusters for picture in pictures]


def test_a_better_score_has_the_higher_efficiency(noisy):
    clean, truths = noisy
    plain = scan(clean, truths, 25, min_pixels=2)
    smooth = scan([gaussian_filter(image, 1.0) for image in clean], truths, 25, min_pixels=2)
    chance = scan([np.random.default_rng(0).random(image.shape) for image in clean], truths, 25, min_pixels=2)
    for result in (plain, smooth):
        assert (np.diff(result.threshold) < 0).all()
        assert result.at(1.0)[0] >= result.at(0.1)[0]
    assert smooth.at(0.2)[0] > plain.at(0.2)[0] > chance.at(0.2)[0] + 0.2
    assert chance.at(1.0)[0] < 0.1


def test_the_number_of_false_clusters_is_that_of_the_threshold(noisy):
    clean, truths = noisy
    for threshold in (8845.0, 8850.0):
        result = scan(clean, truths, np.array([threshold]), min_pixels=2)
        true = found = false = 0
        for image, truth in zip(clean, truths, strict=True):
            matched = match(label(image >= threshold, 2), truth)
            true, found = true + len(matched.found), found + matched.found.sum()
            false += (matched.true_cluster == 0).sum()
        assert false > 5
        assert result.efficiency == pytest.approx(found / true)
        assert result.false == pytest.approx(false / 25)
        assert result.at(result.false[0]) == (result.efficiency[0], threshold)


def test_a_scan_says_when_there_is_nothing():
    with pytest.raises(ValueError, match="no true cluster"):
        scan([np.zeros((4, 4))], [np.zeros((4, 4), int)])
    truth = np.zeros((4, 4), int)
    truth[0, 0] = 1
    everything_false = scan([1.0 * (truth == 0)], [truth], np.array([0.5]))
    assert everything_false.at(0.0) == (0, np.inf)


def test_a_catalogue_is_written(tmp_path):
    image = np.zeros((6, 6))
    image[1, 1], image[4, 4:] = 1234.5678, 2
    table, _ = find_clusters(image, image > 0)
    path = tmp_path / "new" / "catalogue.csv"
    write_catalogue(path, [("a", table), ("b", table[:0]), ("c", table[1:])])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", *FOUND.names]
    assert [row["image"] for row in rows] == ["a", "a", "c"]
    assert float(rows[0]["charge"]) == pytest.approx(1234.568)
    assert rows[2]["x1"] == "6"
    write_catalogue(path, [("a", table[:0])])
    assert path.read_text().strip() == ",".join(["image", *FOUND.names])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_catalogue(tmp_path / "file" / "catalogue.csv", [("a", table)])


def test_true_clusters_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "clusters.csv"
    pictures = list(images(8, 5))
    tables = [(f"image_{number}", picture.truth) for number, picture in enumerate(pictures)]
    write_catalogue(path, tables)
    read = read_truth(path)
    assert set(read) == {name for name, table in tables if len(table)}
    for name, table in read.items():
        wanted = dict(tables)[name]
        assert table.dtype == TRUTH
        for column in TRUTH.names:
            if table[column].dtype.kind == "U":
                assert table[column].tolist() == wanted[column].tolist()
            else:
                assert table[column] == pytest.approx(wanted[column], rel=1e-5)


@pytest.mark.parametrize(
    "text", ["image,cluster\na,1\n", "image,cluster,kind,energy,y,x,height,width,pixels\na,1,muon,many,1,1,1,1,1\n"]
)
def test_other_tables_are_refused(tmp_path, text):
    path = tmp_path / "clusters.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"clusters\.csv"):
        read_truth(path)
    with pytest.raises(DataError, match="none"):
        read_truth(tmp_path / "none.csv")
