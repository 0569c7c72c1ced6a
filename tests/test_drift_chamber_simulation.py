"""Simulated drift-chamber events: geometry, bending, calibration to real CLAS12 events, scaling, files, determinism."""

import csv
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from lit_hep.tasks.drift_chamber.chamber import DEPTH, PITCH, STEREO, TILT, DriftChamber, cross, ring, to_wires
from lit_hep.tasks.drift_chamber.simulation import events, simulate
from lit_hep.tasks.drift_chamber.tracks import slopes, trajectory

QUIET = DriftChamber(
    tracks=(1, 0, 0),
    inefficiency=0,
    missing=0,
    unclaimed=0,
    claimed=0,
    crosstalk=0,
    delta_rays=0,
    overlooked=0,
    absent=0,
)


def positions(degrees, curvature, azimuth=0.0, vertex=0.0):
    theta = np.radians(np.atleast_1d(np.asarray(degrees, float)))
    full = np.ones_like(theta)
    return trajectory(theta, np.radians(azimuth) * full, curvature * full, vertex * full)


def test_geometry_is_that_of_clas12():
    assert DEPTH.shape == (36,)
    assert (np.diff(DEPTH) > 0).all()
    assert DEPTH[[0, 11, 12, 23, 24, 35]] == pytest.approx([229.2, 246.0, 353.4, 383.6, 491.9, 528.8], abs=0.1)
    assert PITCH[[0, -1]] == pytest.approx([1.34, 3.41], abs=0.01)
    assert np.degrees(np.arctan(STEREO[::6])) == pytest.approx([-6, 6] * 3)
    first_guard = np.tan(np.radians(4.694) - TILT) * 228.078  # half a cell and a cell before the first even wire
    assert to_wires(np.full((1, 36), first_guard), np.zeros((1, 36)))[0, 0] == pytest.approx(-1)


def test_straight_tracks_stay_at_their_wires():
    x = positions([8, 15, 22, 29], 0)
    assert (np.abs(x - x[:, :1]) < 10).all()  # superlayers are made so that a wire is a polar angle
    assert np.ptp(slopes(x), axis=1).max() < 1e-6
    assert slopes(x)[:, 0] == pytest.approx(np.sqrt(3) / 2 * np.tan(np.radians([8, 15, 22, 29]) - TILT), rel=0.01)


def test_the_two_charges_bend_to_opposite_sides():
    straight, out, inward = (positions([10, 20, 28], c).reshape(3, 6, 6).mean(2) for c in (0, 0.5, -0.5))
    assert np.array_equal(straight[:, :2], out[:, :2])  # no field before region 2
    assert (out[:, 3:] > straight[:, 3:] + 0.5).all()
    assert (inward[:, 3:] < straight[:, 3:] - 0.5).all()
    assert (np.diff(np.abs(out - straight), axis=1)[:, 1:] > 0).all()
    assert (out - straight)[0, 5] > 2 * (out - straight)[2, 5]  # the field is strong near the beam
    more = positions([10, 20, 28], 1).reshape(3, 6, 6).mean(2)
    assert (more - straight)[:, 5] == pytest.approx(2 * (out - straight)[:, 5], rel=0.15)  # half the momentum


def test_stereo_superlayers_see_the_azimuth_with_opposite_signs():
    shift = (positions(20, 0, azimuth=10) - positions(20, 0)).reshape(6, 6).mean(1)
    assert (shift[::2] < -0.5).all()
    assert (shift[1::2] > 0.5).all()


def test_a_track_zigzags_by_at_most_a_wire():
    hits = np.zeros((200, 36, 112), np.bool_)
    rng = np.random.default_rng(1)
    x = positions(rng.uniform(10, 28, 200), 0)
    event, layer = np.indices(x.shape)
    ring(rng, hits, event.ravel(), layer.ravel(), x.ravel(), x.ravel())
    assert (hits.sum(2) == 1).all()
    step = np.diff(hits.argmax(2).reshape(200, 6, 6), axis=2)
    assert set(np.unique(step)) <= {-1, 0, 1}
    assert (step[:, :, ::2] >= 0).mean() > 0.8  # odd rows begin half a cell nearer to the beam
    assert (step[:, :, 1::2] <= 0).all()


def test_steep_paths_ring_several_wires():
    low, high = cross(np.zeros(3), np.array([0.0, 0.5, 2.0]))
    assert high[0] - low[0] < 0.05
    assert high[1] - low[1] < 0.05
    assert 1 < high[2] - low[2] < 2


@pytest.fixture(scope="module")
def nominal():
    return events(np.random.default_rng(1), 4000, 55.0)


@pytest.fixture(scope="module")
def calibration():
    return pytest.importorskip("benchmarks.drift_chamber_calibration", reason="run from the root of the project")


def test_figures_are_those_of_real_events(nominal, calibration):
    simulated = calibration.figures(calibration.moments(*nominal))
    wrong = {
        name: (value, error, simulated[name])
        for name, (value, error) in calibration.REAL.items()
        if abs(simulated[name] - value) > max(error, 0.1 * abs(value))
    }
    assert not wrong


def test_real_pairs_give_the_figures_of_their_sample(calibration):
    pairs = Path(__file__).parents[1].parent / "shared" / "data" / "driftchamber" / "clas12_dc_pairs.npz"
    if not pairs.is_file():
        pytest.skip("no real pairs at hand")
    with np.load(pairs) as file:
        sums = calibration.moments(file["noisy"] > 0, file["clean"] > 0)
    figures = calibration.figures(sums)
    for name, (value, error) in calibration.REAL.items():  # 14 of the 27 events: the clusters were counted alike
        if name.startswith("clusters of"):
            assert figures[name] == pytest.approx(value, abs=2 * error), name
    assert figures["hits"] == pytest.approx(171.5)


def test_events_differ_as_much_as_real_ones(nominal):
    every, truth = nominal
    hits = every.sum((1, 2))
    assert np.quantile(hits, [1 / 28, 27 / 28]) == pytest.approx([71, 399], rel=0.2)  # least and most of 27
    true = truth.sum((1, 2))
    assert np.median(true[true < 50]) == pytest.approx(35, abs=2)
    assert np.median(true[(true > 50) & (true < 90)]) == pytest.approx(72, abs=3)


def test_true_hits_are_among_all_but_the_share_said(nominal):
    every, truth = nominal
    assert (truth & ~every).sum() / truth.sum() == pytest.approx(DriftChamber().absent, rel=0.15)
    every, truth = events(np.random.default_rng(1), 300, 55.0, DriftChamber(absent=0))
    assert not (truth & ~every).any()


def test_background_grows_with_the_current():
    mean = {}
    for current in (0.0, 27.5, 55.0, 110.0):
        every, truth = events(np.random.default_rng(2), 4000, current, QUIET)
        mean[current] = (every & ~truth).sum((1, 2)).mean()
    assert mean[0] == 0
    assert mean[55] / mean[27.5] == pytest.approx(2, rel=0.05)
    assert mean[110] / mean[55] == pytest.approx(2, rel=0.07)  # hits begin to fall on each other
    each = np.repeat([0.0, 100.0], 200)
    every, truth = events(np.random.default_rng(2), 400, each, QUIET)
    assert not (every & ~truth)[:200].any()
    assert (every & ~truth)[200:].any((1, 2)).all()


@pytest.mark.parametrize("kind", ["noise", "runs", "stubs", "strays", "bundles", "partial", "showers", "loops"])
def test_each_kind_of_background_adds_hits_of_its_own(kind):
    none = dict.fromkeys(["noise", "runs", "stubs", "strays", "bundles", "partial", "showers", "loops"], 0.0)
    quiet = {**vars(QUIET), **none}
    every, truth = events(np.random.default_rng(3), 200, 55.0, DriftChamber(**quiet))
    assert np.array_equal(every, truth)
    every, truth = events(np.random.default_rng(3), 200, 55.0, DriftChamber(**{**quiet, kind: 5.0}))
    assert (every & ~truth).sum() > 200


def test_momentum_and_charge_can_be_chosen():
    shift = {}
    for momentum, outbending in ((1.0, 1.0), (1.0, 0.0), (5.0, 1.0)):
        chamber = DriftChamber(**{**vars(QUIET), "momentum": (momentum, momentum), "outbending": outbending})
        _, truth = events(np.random.default_rng(4), 300, 0.0, chamber)
        wire = truth.argmax(2)[truth.any(2).all(1)]
        shift[momentum, outbending] = (wire[:, 30:] - wire[:, 18:24]).mean()
    assert shift[1, 0] < 0 < shift[5, 1] + 3 < shift[1, 1]


def write(folder: Path, **options):
    folder.mkdir()
    simulate(folder, **options)
    with h5py.File(folder / "events.hdf5") as file:
        return {name: file[name][:] for name in file}


def test_hdf5_is_that_of_the_experiment(tmp_path):
    data = write(tmp_path / "a", size=620, seed=3, current=(40.0, 60.0))
    assert data["all"].shape == data["truth"].shape == (620, 36, 112)
    assert data["all"].dtype == data["truth"].dtype == np.uint8
    assert set(np.unique(data["all"])) == set(np.unique(data["truth"])) == {0, 255}
    assert data["current"].shape == (620,)
    assert data["current"].dtype == np.float32
    assert 40 <= data["current"].min() < 41 < 59 < data["current"].max() <= 60
    assert len(np.unique(data["all"].reshape(620, -1), axis=0)) == 620  # no block repeats another
    assert (write(tmp_path / "b", size=20, current=45.0)["current"] == 45).all()


def test_seed_decides_and_more_events_begin_with_the_fewer(tmp_path):
    short, again, other = (write(tmp_path / n, size=510, seed=s) for n, s in (("a", 1), ("b", 1), ("c", 2)))
    longer = write(tmp_path / "d", size=1100, seed=1)
    for name in ("all", "truth", "current"):
        assert np.array_equal(short[name], again[name])
        assert np.array_equal(short[name], longer[name][:510])
        assert not np.array_equal(short[name], other[name])


def test_pictures_hold_the_same_events(tmp_path):
    data = write(tmp_path / "hdf5", size=12, seed=5)
    folder = tmp_path / "png"
    folder.mkdir()
    simulate(folder, size=12, seed=5, layout="png")
    assert len(list(folder.glob("*_all_.png"))) == len(list(folder.glob("*_truth_.png"))) == 12
    with (folder / "current.csv").open() as file:
        current = {row["event"]: float(row["current_nA"]) for row in csv.DictReader(file)}
    for i in range(12):
        for name in ("all", "truth"):
            with Image.open(folder / f"{i:06d}_{name}_.png") as picture:
                assert picture.size == (112, 36)
                assert picture.mode == "RGB"
                assert np.array_equal(np.asarray(picture), np.repeat(data[name][i][..., None], 3, 2))
        assert np.float32(current[f"{i:06d}"]) == data["current"][i]


def test_two_thousand_events_a_second():
    rng = np.random.default_rng(1)
    events(rng, 500)
    took = []
    for _ in range(3):
        start = time.process_time()
        events(rng, 500)
        took.append(time.process_time() - start)
    assert 500 / min(took) > 2000


@pytest.mark.parametrize("options", [{"size": 9}, {"size": -1}, {"current": (60.0, 50.0)}, {"current": -1.0}])
def test_senseless_sets_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        simulate(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"tracks": (0.5, 0.5, 0.5)},
        {"tracks": (1.5, -0.5, 0.0)},
        {"momentum": (3.0, 1.0)},
        {"momentum": (0.0, 1.0)},
        {"polar_angle": (0.0, 20.0)},
        {"inefficiency": 0.9},
        {"azimuth": (0.0, -1.0)},
        {"outbending": 1.2},
        {"torus": float("nan")},
        {"nominal": 0.0},
        {"fluctuation": 0.0},
        {"noise": -1.0},
    ],
)
def test_senseless_chambers_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DriftChamber(**wrong)
