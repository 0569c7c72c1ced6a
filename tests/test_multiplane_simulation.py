"""Simulated liquid-argon events: projection, readout, matched classes, files."""

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import load_npz

from lit_hep.tasks.multiplane.beam import NC, NUE, Beam, beam_neutrinos
from lit_hep.tasks.multiplane.events import find_events
from lit_hep.tasks.multiplane.interactions import Physics, neutrinos, proton_decays
from lit_hep.tasks.multiplane.norm import read_norm
from lit_hep.tasks.multiplane.particles import Kind
from lit_hep.tasks.multiplane.readout import Detector
from lit_hep.tasks.multiplane.simulation import events, pictures, simulate


def test_planes_project_the_same_place():
    detector = Detector()
    place = np.random.default_rng(7).normal(size=(50, 3)) * 30
    u, v, z, tick = detector.coordinates(place).T
    assert u + v == pytest.approx(2 * np.cos(np.radians(35.7)) * z, abs=1e-3)
    assert v - u == pytest.approx(2 * np.sin(np.radians(35.7)) * place[:, 1] / 0.47, abs=1e-3)
    assert z == pytest.approx(place[:, 2] / 0.47, rel=1e-4)
    assert tick == pytest.approx(place[:, 0] / 0.48, rel=1e-4)
    assert Detector(angles=(60.0, -60.0, 0.0), pitch=0.3).coordinates(place).shape == (50, 4)


CLEAN = Detector(noise=0, threshold=1, gain=300, full_scale=65535)


def test_ticks_are_the_same_on_all_planes():
    label = np.arange(40) % 2
    planes = [pictures(hits, 40, 600) for hits in events(np.random.default_rng(8), label, 600, 600, CLEAN)]
    ticks = np.stack([plane.sum(1, dtype=np.int64) for plane in planes])
    whole = ticks.sum((0, 2)) > 0
    spread = np.abs(ticks - ticks.mean(0)).sum((0, 2)) / ticks.sum((0, 2))
    assert whole.all()
    assert np.median(spread) < 0.02  # what rounding and the threshold take away
    shuffled = np.abs(ticks[0] - np.roll(ticks[1], 2, axis=0)).sum(1) / ticks[0].sum(1)
    assert np.median(shuffled) > 1
    total = ticks.sum(2)
    assert np.median(np.abs(total[0] - total[2]) / total[0]) < 0.01


def test_charge_of_the_planes_agrees_within_noise():
    planes = events(np.random.default_rng(9), np.arange(200) % 2)
    total = np.stack([np.bincount(hits.event, hits.height, 200) for hits in planes])
    assert np.median(np.abs(total[0] - total[1]) / total[0]) < 0.06


def test_diffusion_grows_with_the_drift():
    widths = []
    for drift in (1.0, 350.0):
        planes = events(np.random.default_rng(10), np.ones(60, int), 225, 225, Detector(drift=drift, noise=0))
        widths.append(np.mean([len(hits.event) for hits in planes]))
    assert widths[1] > 1.05 * widths[0]


def test_noise_alone_rings_as_often_as_a_gaussian():
    far = Physics(modes=(0, 0, 0, 1, 0, 0, 0), energy=0.2)
    planes = events(np.random.default_rng(11), np.zeros(400, int), 225, 225, Detector(gain=1e-3), far)
    per_picture = np.mean([len(hits.event) for hits in planes]) / 400
    assert per_picture == pytest.approx(225**2 * 8.84e-5, rel=0.1)  # P(x > 3.75 sigma)
    assert min(hits.height.min() for hits in planes) == 8


def test_hits_are_one_pixel_a_pulse():
    label = np.arange(60) % 2
    broad, thin = (events(np.random.default_rng(12), label, detector=Detector(hits=hits))[2] for hits in (False, True))
    assert len(thin.event) < 0.6 * len(broad.event)
    picture = pictures(thin, 60, 225) > 0
    assert not (picture[:, :, 1:] & picture[:, :, :-1]).any()
    assert thin.height.mean() > broad.height.mean()


def test_coarse_pixels_show_the_same_argon():
    label = np.arange(60) % 2
    fine, coarse = (events(np.random.default_rng(13), label, size)[0] for size in (225, 75))
    assert coarse.wire.max() < 75
    extents = [np.ptp(hits.wire[hits.height > 20]) / size for hits, size in ((fine, 225), (coarse, 75))]
    assert extents[0] == pytest.approx(extents[1], rel=0.1)
    high, low = (np.percentile(hits.height, 75) for hits in (fine, coarse))
    assert low == pytest.approx(high, rel=0.4)


def test_final_states_are_those_asked_for():
    rng = np.random.default_rng(14)
    event = np.arange(3000)
    made_of = neutrinos(rng, event, Physics(modes=(0.5, 0, 0, 0.5, 0, 0, 0)))
    number = np.bincount(made_of.kind, minlength=8)
    assert number[Kind.PROTON] == 3000
    assert number[Kind.ELECTRON] == pytest.approx(1500, abs=120)
    assert number[Kind.MUON_MINUS] + number[Kind.MUON_PLUS] + number[Kind.ELECTRON] == 3000
    assert set(proton_decays(rng, event, Physics(knock_out=0)).kind) == {Kind.KAON}


def test_beam_neutrinos_share_their_energy_and_look_like_their_flavour(tmp_path):
    label = np.arange(300) % 3
    made_of = beam_neutrinos(np.random.default_rng(16), np.arange(300), label, Beam(energy=(2000, 2000)))
    total = np.bincount(made_of.event, made_of.energy, 300)
    charged = label != NC
    assert np.median(total[charged]) == pytest.approx(1800, abs=150)
    assert (total <= 2400).all()
    assert np.median(total[~charged]) < 0.5 * np.median(total[charged])
    lepton = np.isin(made_of.kind, [Kind.MUON_MINUS, Kind.ELECTRON])
    assert set(made_of.event[lepton]) == set(np.flatnonzero(charged))
    assert (made_of.kind[lepton] == Kind.ELECTRON).tolist() == (label[made_of.event[lepton]] == NUE).tolist()
    assert np.average(made_of.direction[lepton][:, 2]) > 0.9
    (tmp_path / "a").mkdir()
    simulate(tmp_path / "a", 12, 1, image_size=64, view=500, beam=Beam(energy=(500, 600)))
    assert find_events(tmp_path / "a").classes == ("nc", "nue", "numu")


def auc(score, label):
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable") + 1  # ties are rare enough
    positive = label == 1
    return (rank[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / (positive.sum() * (~positive).sum())


def test_no_single_number_separates_the_classes():
    number = 1600
    label = np.arange(number) % 2
    found = {}
    for plane, hits in enumerate(events(np.random.default_rng(15), label)):
        count = np.maximum(np.bincount(hits.event, minlength=number), 1)
        charge = np.bincount(hits.event, hits.height, number)
        square = 0
        for axis in (hits.wire, hits.tick):
            away = axis - (np.bincount(hits.event, axis, number) / count)[hits.event]
            square = square + np.bincount(hits.event, away**2, number) / count
        for name, value in (("hits", count), ("charge", charge), ("per hit", charge / count), ("extent", square)):
            found[name, plane] = max(auc(value, label), auc(-value, label))
            # what any cut, windows included, could do: events ordered by how near the middle of a class they are
            folded = np.abs(value - np.median(value[label == 1]))
            found[name, plane, "folded"] = max(auc(folded, label), auc(-folded, label))
    assert max(found.values()) < 0.70, max(found, key=found.get)


def files(folder: Path, **options):
    folder.mkdir()
    simulate(folder, **options)
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}


def test_files_are_those_of_the_experiment(tmp_path):
    written = files(tmp_path / "a", size=12, seed=3)
    assert len(written) == 36
    found = find_events(tmp_path / "a")
    assert found.classes == ("CLASS_0", "CLASS_1")
    assert found.planes == (0, 1, 2)
    assert found.paths.shape == (12, 3)
    assert 2 <= found.labels.sum() <= 10
    for label, key, paths in zip(found.labels, found.ids, found.paths, strict=True):
        assert key.startswith(f"files_{('ATMO', 'PDK')[label]}_0_larcv_")
        matrix = load_npz(paths[0])
        assert matrix.format == "csr"
        assert matrix.dtype == np.uint8
        assert matrix.shape == (225, 225)
        assert matrix.data.min() >= 8
        assert matrix.has_canonical_format


def test_text_holds_the_same_events(tmp_path):
    written = files(tmp_path / "npz", size=10, seed=4)
    raw = files(tmp_path / "norm", size=10, seed=4, layout="norm")
    assert len(raw) == len(written) == 30
    for name, path in written.items():
        matrix = load_npz(path).tocoo()
        triples = read_norm(raw[name.replace(".npz", ".extracted.norm")], 225)
        assert np.array_equal(triples, np.stack([matrix.row, matrix.col, matrix.data], axis=1))


def test_seed_decides_and_more_events_begin_with_the_fewer(tmp_path):
    options = {"image_size": 64, "detector": Detector(angles=(0.0,))}
    short, again, longer, other = (
        {name: path.read_bytes() for name, path in files(tmp_path / folder, size=size, seed=seed, **options).items()}
        for folder, size, seed in (("a", 20, 1), ("b", 20, 1), ("c", 220, 1), ("d", 20, 2))
    )
    assert short == again
    assert short.items() <= longer.items()
    assert len(longer) == 220
    assert not set(short.values()) & set(other.values())


def test_two_hundred_events_a_second():
    took = []
    for seed in range(2):
        start = time.process_time()
        events(np.random.default_rng(seed), np.arange(300) % 2)
        took.append(time.process_time() - start)
    assert 300 / min(took) > 200


@pytest.mark.parametrize("options", [{"size": 9}, {"image_size": 8}, {"view": 0}])
def test_senseless_sets_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        simulate(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"angles": ()},
        {"angles": (0.0,) * 4},
        {"angles": (100.0,)},
        {"pitch": 0.0},
        {"tick": -1.0},
        {"drift": float("nan")},
        {"noise": 5.0},
        {"full_scale": 70_000},
    ],
)
def test_senseless_detectors_are_refused(wrong):
    with pytest.raises(ValueError, match=r"angles|pitch|tick|drift|threshold|full_scale"):
        Detector(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"modes": (0.5,) * 7}, {"energy": 0.0}, {"knock_out": 2.0}, {"fermi": -1.0}, {"proton": float("nan")}]
)
def test_senseless_physics_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Physics(**wrong)


@pytest.mark.parametrize("wrong", [{"energy": (2000.0, 1000.0)}, {"energy": (1.0, 1000.0)}, {"pions": -1.0}])
def test_senseless_beams_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Beam(**wrong)
