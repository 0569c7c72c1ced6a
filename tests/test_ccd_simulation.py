"""Simulated CCD images: truth of what was put in, and the readout."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from ccds import EMPTY, ONLY_CLUSTERS, QUIET, npz

from lit_hep.tasks.ccd.masks import CLASSES
from lit_hep.tasks.ccd.readout import STANDARD, Ccd, glow, hot_pixels, read_out, smear
from lit_hep.tasks.ccd.simulation import images

BACKGROUND, GLOWING, HOT, CLUSTER = map(CLASSES.index, ("background", "glowing", "hot_pixel", "cluster"))


def test_truth_is_what_was_put_in():
    for picture in images(30, 4, 96, 160):
        assert picture.image.shape == picture.mask.shape == picture.clusters.shape == (96, 160)
        assert picture.image.dtype == np.float32
        assert picture.clusters.dtype == np.int16
        assert set(np.unique(picture.mask)) <= set(range(4))
        assert np.array_equal(picture.clusters > 0, picture.mask == CLUSTER)
        truth = picture.truth
        assert truth["cluster"].tolist() == list(range(1, len(truth) + 1))
        pixels = np.bincount(picture.clusters.ravel(), minlength=len(truth) + 1)[1:]
        if len(truth) and not (picture.mask == GLOWING).any():
            assert pixels.sum() >= 0.6 * truth["pixels"].sum()
        for row in truth[pixels > 30]:
            y, x = np.nonzero(picture.clusters == row["cluster"])
            assert abs(y.mean() - row["y"]) < row["height"]
            assert abs(x.mean() - row["x"]) < row["width"]


def test_without_noise_charge_is_all_in_the_image():
    ccd = replace(QUIET, clusters=(3.0, 6.0))
    for picture in images(10, 5, 128, 128, ccd=ccd):
        charge = picture.image - 8800
        assert charge.sum() == pytest.approx(picture.truth["energy"].sum(), rel=0.01)
        assert (
            np.array_equal(picture.mask == CLUSTER, charge > ccd.cluster_threshold * ccd.gain)
            or ((picture.mask == CLUSTER) != (charge > ccd.cluster_threshold * ccd.gain)).sum() < 30
        )  # of clusters that are nowhere above the threshold alone, and of rounding


def test_the_mask_does_not_depend_on_the_noise():
    masks = [
        np.stack([picture.mask for picture in images(6, 7, ccd=replace(ONLY_CLUSTERS, noise=noise))])
        for noise in (1.0, 500.0)
    ]
    assert np.array_equal(*masks)


def test_overlaps_are_kept():
    lines = replace(QUIET, clusters=(40.0, 40.0), hot_rows=30.0, hot_columns=30.0, hot_charge=(5000.0, 5000.0))
    ccd = replace(lines, electron=1e-3, overlap=1e5)
    image, mask = (np.stack(part) for part in zip(*(picture[:2] for picture in images(5, 8, ccd=ccd)), strict=True))
    hot = image[mask == HOT] - 8800
    assert (hot > 9990).mean() > 0.03  # charges of crossing lines add up
    assert (np.abs(hot - 5000) < 10).mean() > 0.3
    assert ((hot > 5020) & (hot < 9000)).mean() > 0.1  # those of clusters are there, too
    for picture in images(3, 8, ccd=replace(ccd, overlap=3.0)):
        assert (picture.image[picture.mask == CLUSTER] > 8800 + 5000).any()


def test_light_and_hot_pixels_add_up():
    shine = {"glow": 1.0, "glow_charge": (1000.0, 1000.0), "glow_width": (1e4, 1e4)}
    ccd = replace(QUIET, **shine, electron=1e-3, hot_rows=2.0, hot_charge=(5000.0, 5000.0))
    for picture in images(3, 8, ccd=ccd):
        assert np.median(picture.image[picture.mask == HOT]) == pytest.approx(8800 + 6000, abs=10)
        assert np.median(picture.image[picture.mask == GLOWING]) == pytest.approx(8800 + 1000, abs=10)


def test_where_clusters_overlap_the_one_with_most_charge_has_the_pixel(tmp_path):
    path = npz(tmp_path / "c.npz", [np.ones((15, 15)), np.full((1, 1), 100.0)])
    for picture in images(3, 8, library=path, ccd=replace(QUIET, clusters=(60.0, 60.0))):
        bright = picture.truth[picture.truth["energy"] == 100 * 200]
        assert len(bright) > 20
        at = picture.clusters[bright["y"].astype(int), bright["x"].astype(int)]
        assert (at == bright["cluster"]).mean() > 0.9  # few are twice in one pixel


def test_a_cluster_on_a_hot_line_must_stand_out_of_its_noise():
    lines = replace(ONLY_CLUSTERS, hot_rows=100.0, hot_charge=(3000.0, 3000.0), clusters=(40.0, 40.0))
    share = {}
    for overlap in (0.0, 3.0, 100.0):
        masks = np.stack([picture.mask for picture in images(5, 9, ccd=replace(lines, overlap=overlap))])
        share[overlap] = (masks == CLUSTER).mean()
    assert share[0] > 1.05 * share[3] > 1.1 * share[100]


def test_classes_are_not_functions_of_the_column():
    where = [np.zeros(128) for _ in range(4)]
    for picture in islice(images(400, 10), 400):
        for number, columns in enumerate(where):
            columns += (picture.mask == number).mean(axis=0)
    for number in (HOT, CLUSTER):
        quarters = where[number].reshape(4, 32).sum(axis=1)
        assert quarters.max() / quarters.min() < 1.5
    left, right = where[GLOWING][:32].sum(), where[GLOWING][-32:].sum()
    assert 0.7 < left / right < 1.4


def test_classes_are_not_functions_of_the_value():
    every = list(images(60, 11))
    image, mask = (np.stack([getattr(picture, name) for picture in every]) for name in ("image", "mask"))
    ranges = {number: np.quantile(image[mask == number], [0.02, 0.98]) for number in (GLOWING, HOT, CLUSTER)}
    for a in ranges.values():
        for b in ranges.values():
            assert a[0] < b[1]
    assert ranges[CLUSTER][0] < np.quantile(image[mask == BACKGROUND], 0.98)


def test_bands_are_the_originals():
    ccd = Ccd(bands=True, glow=1.0, glow_width=(40.0, 61.0), glow_charge=(1400.0, 1500.0), hot_charge=(2200.0, 2200.0))
    for picture in images(8, 12, 256, 256, ccd=ccd):
        columns = [np.flatnonzero((picture.mask == number).any(axis=0)) for number in range(4)]
        assert columns[GLOWING].max() <= 60
        assert columns[GLOWING].size >= 40
        assert columns[HOT].min() >= 66
        assert columns[HOT].max() < 144 <= columns[CLUSTER].min()
        assert picture.image[picture.mask == HOT].mean() == pytest.approx(11000, abs=40)
        assert 10150 < picture.image[picture.mask == GLOWING].mean() < 10350


@pytest.mark.parametrize("ratio", [1.0, 4.0, 8.0])
def test_signal_to_noise_is_that_of_a_typical_cluster_pixel(ratio):
    once, twice = (list(images(100, 13, 128, 128, r, ccd=ONLY_CLUSTERS)) for r in (ratio, 2 * ratio))
    # The noise is the same in both.
    charge = np.concatenate([(b.image - a.image)[a.mask == CLUSTER] for a, b in zip(once, twice, strict=True)])
    noise = [picture.image[picture.mask == BACKGROUND].std() for picture in once]
    assert np.median(noise) == pytest.approx(STANDARD.total_noise, rel=0.1)
    assert np.median(charge) / STANDARD.total_noise == pytest.approx(ratio, rel=0.15)


def test_masks_are_the_same_whatever_the_signal():
    few = [np.stack([p.mask for p in images(5, 14, signal_to_noise=r, ccd=ONLY_CLUSTERS)]) for r in (1.0, 8.0)]
    assert np.array_equal(*few)


def test_readings_average_the_noise():
    rng, nothing = np.random.default_rng(1), np.zeros((300, 300), np.float32)
    for samples, wanted in ((1, 60), (10, 60 / 10**0.5), (100, 6)):
        image = read_out(rng, nothing, nothing, replace(QUIET, noise=60.0, samples=samples))
        assert image.std() == pytest.approx(wanted, rel=0.02)
        assert image.mean() == pytest.approx(8800, abs=1)


def test_dark_current_and_light_are_counted_electrons():
    rng, nothing = np.random.default_rng(1), np.zeros((300, 300), np.float32)
    image = read_out(rng, nothing, nothing, replace(QUIET, dark_current=25.0, electron=2.0)) - 8800
    assert image.mean() == pytest.approx(50, rel=0.01)
    assert image.std() == pytest.approx(10, rel=0.02)
    lit = read_out(rng, nothing + 1000, nothing, replace(QUIET, electron=4.0)) - 8800
    assert lit.std() == pytest.approx(np.sqrt(4 * 1000), rel=0.02)


def test_values_saturate():
    rng, nothing = np.random.default_rng(1), np.zeros((10, 10), np.float32)
    full = read_out(rng, nothing, nothing + 70_000, STANDARD)
    assert (full == 65535).all()
    assert (read_out(rng, nothing, nothing - 9_500, STANDARD) == 0).all()


def test_transfer_leaves_charge_behind_it():
    charge = np.zeros((200, 8), np.float32)
    charge[[9, 149], 4] = 1000
    smeared = smear(charge, 1e-3, axis=0)
    assert smeared.sum() == pytest.approx(2000, rel=1e-4)
    assert smeared[10, 4] / smeared[9, 4] == pytest.approx(0.01, rel=0.02)  # ten shifts
    assert smeared[150, 4] / smeared[149, 4] == pytest.approx(0.15, rel=0.02)
    assert smeared[8, 4] == smeared[9, 3] == 0
    along = smear(charge.T, 1e-3, axis=1)
    assert np.array_equal(along.T, smeared)
    assert np.array_equal(smear(charge, 0.0, axis=0), charge)


def test_hot_pixels_are_points_rows_and_columns():
    shape = 100, 120
    for name, lengths in (("hot_points", (1, 1)), ("hot_rows", (1, 120)), ("hot_columns", (100, 1))):
        ccd = replace(EMPTY, **{name: 1.0}, hot_charge=(500.0, 600.0))
        planes = [hot_pixels(np.random.default_rng(seed), shape, ccd) for seed in range(300)]
        hot = [np.nonzero(plane) for plane in planes if np.count_nonzero(np.unique(plane)) == 1]
        assert len(hot) > 50
        for axis, most in enumerate(lengths):
            spans = np.array([np.ptp(place[axis]) + 1 for place in hot])
            assert spans.max() <= most
            assert spans.max() > 0.7 * most


def test_glow_falls_smoothly_from_an_edge():
    ccd = replace(EMPTY, glow=1.0, glow_charge=(1000.0, 1000.0), glow_width=(10.0, 10.0))
    edges = set()
    for seed in range(40):
        light = glow(np.random.default_rng(seed), (80, 90), ccd)
        y, x = np.unravel_index(light.argmax(), light.shape)
        # Seen from the brightest place, one of the four directions leads straight away from the edge.
        ways = [light[y, x:], light[y:, x], light[y, x::-1], light[y::-1, x]]
        away = [side for side, way in enumerate(ways) if len(way) >= 80 and way[10] == pytest.approx(500, rel=0.02)]
        assert away
        edges.update(away[:1] if len(away) == 1 else [])
        profile = ways[away[0]]
        assert profile[0] == pytest.approx(1000, rel=0.01)
        assert (np.diff(profile) <= 0).all()
        assert np.abs(np.diff(profile)).max() < 80
    assert edges == {0, 1, 2, 3}
    assert not glow(np.random.default_rng(0), (80, 90), EMPTY).any()
