"""Drift chamber: the two layouts, and what cleaned events are measured by, against plain loops and sklearn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, recall_score, roc_curve

from lit_hep.evaluation.denoising import BY_CURRENT, Hits, by_current, efficiency_at_rejection, intervals, metrics
from lit_hep.evaluation.denoising_figures import denoising_figures
from lit_hep.tasks.drift_chamber.layout import COLUMNS, ROWS, SIDE, margin, pad, unpad


def test_padded_layout_and_back_for_every_pixel():
    planes = np.random.default_rng(0).integers(0, 256, (1000, 36, 112), np.uint8)
    picture = pad(planes)
    assert picture.shape == (1000, SIDE, SIDE)
    assert picture.dtype == np.uint8
    assert np.array_equal(unpad(picture), planes)
    assert not picture[:, margin()].any()
    assert margin().sum() == SIDE**2 - 36 * 112
    same = pad(torch.from_numpy(planes))
    assert np.array_equal(same, picture)
    assert np.array_equal(unpad(same), planes)


def test_separators_stand_between_the_regions():
    assert [ROWS[layer] for layer in (0, 11, 12, 23, 24, 35)] == [44, 55, 58, 69, 72, 83]
    assert (COLUMNS.start, COLUMNS.stop) == (8, 120)
    assert SIDE == 44 + 36 + 2 * 2 + 44


@pytest.fixture(scope="module")
def planes():
    """Hits, truth, scores (with ties) and beam currents of 60 events; some are empty, some without a track."""
    rng = np.random.default_rng(1)
    image = rng.random((60, 36, 112)) < 0.03
    truth = np.zeros_like(image)
    layer = np.arange(36)
    for event in range(55):
        for _ in range(rng.integers(1, 4)):
            wire = rng.integers(5, 80) + (rng.uniform(-0.3, 0.7) * layer).astype(int)
            truth[event, layer, wire] = rng.random(36) < 0.9
            truth[event, layer, wire + 1] |= rng.random(36) < 0.4
    truth[3, :12] = False
    image |= truth
    image[58:] = False
    score = np.clip(rng.normal(0.35 + 0.35 * truth, 0.18), 0, 1).round(2).astype(np.float32)
    return image, truth, score, np.repeat([45.0, 90.0, np.nan], 20)


@pytest.fixture(scope="module")
def hits(planes):
    image, truth, score, _ = planes
    event, layer, wire = np.nonzero(image)
    return Hits(event, layer, wire, score[image], truth[image], len(image))


def segments(truth, kept):
    """Segments and kept ones of each superlayer, (N, 6) each, by loops over hits."""
    found, survived = np.zeros((2, len(truth), 6), int)
    for event, superlayer in np.ndindex(len(truth), 6):
        true, left = (part[event, 6 * superlayer : 6 * superlayer + 6] for part in (truth, kept))
        wires = np.flatnonzero(true.any(0))
        for group in np.split(wires, np.flatnonzero(np.diff(wires) > 2) + 1) if len(wires) else ():
            layers, remaining = true[:, group].any(1).sum(), left[:, group].any(1).sum()
            found[event, superlayer] += 1
            survived[event, superlayer] += remaining >= min(4, layers)
    return found, survived


def test_metrics_against_plain_numpy_and_sklearn(planes, hits):
    image, truth, score, _ = planes
    keep = image & (score >= 0.5)
    found, survived = segments(truth, truth & keep)
    complete = (found > 0).all(1)
    superlayers = ((found > 0) & (found == survived)).sum(1)
    mean_square = ((np.where(pad(image), pad(score), 0) - pad(truth)) ** 2).mean((1, 2)) * 128**2
    expected = {
        "hit_efficiency": recall_score(truth[image], keep[image]),
        "background_rejection": recall_score(~truth[image], ~keep[image]),
        "purity": precision_score(truth[image], keep[image]),
        "false_hits_per_true_hit": (keep & ~truth).sum() / truth.sum(),
        "pixel_difference": mean_square.mean(),
        "pixel_difference_up_to_10": (mean_square <= 10).mean(),
        "pixel_difference_up_to_20": ((mean_square > 10) & (mean_square <= 20)).mean(),
        "pixel_difference_above_20": (mean_square > 20).mean(),
        "segments_kept": survived.sum() / found.sum(),
        "events": 60,
        "hits": image.sum(),
    } | {f"events_{number}_segments": (superlayers >= number)[complete].mean() for number in (4, 5, 6)}
    assert 0 < expected["events_6_segments"] < expected["events_4_segments"] < 1
    measured = metrics(hits, 0.5)
    assert {name: measured[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("rejection", [0.0, 0.5, 0.9, 0.909, 1.0])
def test_efficiency_at_rejection_is_a_point_of_the_roc_curve(hits, rejection):
    false, true, thresholds = roc_curve(hits.track, hits.score, drop_intermediate=False)
    best = np.flatnonzero(1 - false >= rejection - 1e-12)[-1]
    efficiency, threshold = efficiency_at_rejection(hits.score, hits.track, rejection)
    assert efficiency == pytest.approx(true[best])
    assert np.array_equal(hits.score >= threshold, hits.score >= thresholds[best])


def test_rejection_beyond_the_highest_score_keeps_nothing():
    score, track = np.array([0.2, 0.9, 0.9], np.float32), np.array([True, True, False])
    efficiency, threshold = efficiency_at_rejection(score, track, 1.0)
    assert efficiency == 0
    assert not (score >= np.float32(threshold)).any()
    assert np.isnan(efficiency_at_rejection(score, np.ones(3, bool), 0.9)).all()


def test_bootstrap_weights_count_hits_as_often_as_repeating_them(hits):
    weight = np.random.default_rng(2).integers(0, 4, len(hits.score))
    repeated = efficiency_at_rejection(np.repeat(hits.score, weight), np.repeat(hits.track, weight), 0.9)
    assert efficiency_at_rejection(hits.score, hits.track, 0.9, weight) == pytest.approx(repeated)


def test_intervals_hold_the_value_and_shrink_with_events(hits):
    few, one = intervals(hits, 0.5), metrics(hits, 0.5)
    names = ("hit_efficiency", "purity", "efficiency_at_rejection_90", "events_5_segments")
    assert all(few[f"{name}_low"] < one[name] < few[f"{name}_high"] for name in names)
    shift = np.repeat(np.arange(16) * hits.events, len(hits.event))
    columns = (np.tile(column, 16) for column in (hits.layer, hits.wire, hits.score, hits.track))
    many = intervals(Hits(np.tile(hits.event, 16) + shift, *columns, 16 * hits.events), 0.5)
    for name in ("hit_efficiency", "purity", "segments_kept"):
        before, after = (part[f"{name}_high"] - part[f"{name}_low"] for part in (few, many))
        assert 0.15 < after / before < 0.4, name


def test_beam_currents_are_measured_apart(planes, hits):
    *_, current = planes
    numbers = metrics(hits, 0.5, current)
    for label, rows in (("45_nA", slice(0, 20)), ("90_nA", slice(20, 40))):
        chosen = np.zeros(60, bool)
        chosen[rows] = True
        mine = metrics(hits.of(chosen), 0.5)
        assert {name: numbers[f"{name}_{label}"] for name in BY_CURRENT} == {name: mine[name] for name in BY_CURRENT}
    labels = [label for label, _, _ in by_current(np.linspace(0, 110, 60))]
    assert labels == ["0_to_25_nA", "25_to_50_nA", "50_to_75_nA", "75_to_100_nA", "100_to_125_nA"]


def test_planes_put_hits_where_they_stand(planes, hits):
    image, truth, score, _ = planes
    assert np.array_equal(hits.planes(hits.score), np.where(image, score, 0))
    assert np.array_equal(hits.planes(hits.track), truth)


@pytest.mark.parametrize("kind", ["all", "no track", "tracks only", "no hits"])
def test_figures_and_numbers_of_any_events(planes, hits, kind):
    mine = {"all": hits, "no track": hits.of(np.arange(60) >= 55)}
    mine["no hits"] = hits.of(np.arange(60) >= 58)
    some = hits.track
    mine["tracks only"] = Hits(hits.event[some], hits.layer[some], hits.wire[some], hits.score[some], some[some], 60)
    chosen = mine[kind]
    drawn = dict(denoising_figures(chosen, 0.5, np.arange(chosen.events), planes[3][: chosen.events]))
    assert {"efficiency_rejection", "scores", "pixel_differences", "events"} <= set(drawn)
    numbers = metrics(chosen, 0.5) | intervals(chosen, 0.5)
    assert np.isnan(numbers["efficiency_at_rejection_90"]) == (kind != "all")
    assert numbers["pixel_difference"] >= 0
