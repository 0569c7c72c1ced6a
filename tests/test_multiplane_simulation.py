"""Simulated liquid-argon events: stopping, decays, showers, projection, readout, matched classes, files."""

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import load_npz

from lit_hep.tasks.multiplane.argon import (
    PAIR,
    csda_range,
    energy_of,
    photon_path,
    recombination,
    stopping_power,
)
from lit_hep.tasks.multiplane.beam import NC, NUE, Beam, beam_neutrinos
from lit_hep.tasks.multiplane.events import find_events
from lit_hep.tasks.multiplane.interactions import Physics, neutrinos, proton_decays
from lit_hep.tasks.multiplane.norm import read_norm
from lit_hep.tasks.multiplane.particles import MASS, Kind, decayed, isotropic, kaons, made, photons
from lit_hep.tasks.multiplane.readout import Detector
from lit_hep.tasks.multiplane.simulation import events, pictures, simulate
from lit_hep.tasks.multiplane.transport import STEP, converted, transport

HEAVY = [Kind.MUON_PLUS, Kind.PION_PLUS, Kind.KAON, Kind.PROTON]


def particles(kind, energy, number):
    still = np.zeros((number, 3))
    return made(np.arange(number), kind, np.full(number, float(energy)), still, np.tile([0.0, 0, 1], (number, 1)))


def follow(kind, energy, number=300):
    """Deposits, and those of the particles themselves."""
    deposits = transport(np.random.default_rng(1), particles(kind, energy, number), 0.16)
    return deposits, deposits.kind == kind


def lengths(deposits, own, number):
    return np.bincount(deposits.event[own], np.linalg.norm(deposits.path[own], axis=1), number)


def test_stopping_power_is_that_of_liquid_argon():
    energy = np.geomspace(50, 3000, 500)
    loss = stopping_power(Kind.MUON_PLUS, energy)
    assert loss.min() == pytest.approx(2.106, abs=0.01)  # MeV / cm; 1.508 MeV cm^2 / g, muon tables of PDG
    assert energy[loss.argmin()] == pytest.approx(266, rel=0.1)
    assert stopping_power(Kind.MUON_PLUS, np.array([1000.0]))[0] == pytest.approx(1.651 * 1.396, rel=0.05)
    same_speed = [stopping_power(kind, np.array([0.2 * MASS[kind]]))[0] for kind in HEAVY]
    assert same_speed == pytest.approx([same_speed[0]] * 4, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "energy", "least", "most"),
    [
        (Kind.KAON, 105.4, 13, 15),
        (Kind.MUON_PLUS, 152.5, 50, 56),
        (Kind.PION_PLUS, 108.6, 28, 32),
        (Kind.PROTON, 100, 7.2, 8.2),
        (Kind.ELECTRON, 1.0, 0.38, 0.48),
    ],
)
def test_ranges(kind, energy, least, most):
    kinds, energies = np.array([kind], np.int8), np.array([energy], np.float32)
    expected = csda_range(kinds, energies)
    assert least < expected[0] < most
    assert energy_of(kinds, expected)[0] == pytest.approx(energy, rel=1e-3)
    if kind in (Kind.KAON, Kind.MUON_PLUS, Kind.PROTON):
        low, middle, high = np.percentile(lengths(*follow(kind, energy), 300), [40, 60, 95])  # some meet a nucleus
        assert (low + middle) / 2 == pytest.approx(expected[0], rel=0.02)
        assert 0.004 < (high - middle) / middle < 0.06  # range straggling


@pytest.mark.parametrize("kind", [Kind.KAON, Kind.MUON_PLUS, Kind.PROTON])
def test_loss_rises_towards_the_end(kind):
    deposits, own = follow(kind, 105, 400)
    order = np.lexsort((np.arange(len(own))[own], deposits.event[own]))
    event = deposits.event[own][order]
    length = np.linalg.norm(deposits.path[own], axis=1)[order]
    total = np.bincount(event, length, 400)
    left = total[event] - (np.cumsum(length) - (np.cumsum(total) - total)[event])
    bins = np.digitize(left, [0.9, 2, 4, 8])
    energy = np.bincount(bins, deposits.energy[own][order], 5) / np.bincount(bins, length, 5)
    present = energy[: bins.max() + 1]
    assert (np.diff(present) < 0).all()
    assert present[0] > 1.8 * present[2]
    charge = np.bincount(bins, deposits.charge[own][order], 5) / np.bincount(bins, length, 5)
    assert charge[0] / charge[2] < energy[0] / energy[2]  # recombination flattens the peak


def test_straggling_has_the_mean_of_bethe_and_a_tail():
    deposits, own = follow(Kind.MUON_PLUS, 250, 300)
    first = own & (deposits.start[:, 2] < 8)
    near = (deposits.kind == Kind.ELECTRON) & (deposits.start[:, 2] < 8) & (np.abs(deposits.start[:, :2]).max(1) < 8)
    loss = deposits.energy[first] / STEP
    tracked = deposits.energy[near].sum() / STEP / len(loss)
    assert loss.mean() + tracked == pytest.approx(2.11, rel=0.03)
    assert 1.55 < np.percentile(loss, 30) < 1.8  # MeV / cm; the most probable loss of 3 mm
    assert np.percentile(loss, 98) > 3.3


def test_multiple_scattering_is_highlands():
    deposits, own = follow(Kind.MUON_PLUS, 300, 600)
    at = own & (np.abs(deposits.start[:, 2] - 7) < STEP / 2)
    angle = np.arctan2(deposits.path[at][:, :2], deposits.path[at][:, 2:])
    energy = 300 - 3.5 * 2.2
    momentum = np.sqrt(energy * (energy + 2 * 105.658))
    expected = 13.6 / (momentum * momentum / (energy + 105.658)) * np.sqrt(0.5) * (1 + 0.038 * np.log(0.5))
    assert angle.std() == pytest.approx(expected, rel=0.15)


def test_recombination_keeps_seven_tenths_of_a_minimum_ionising_particle():
    assert recombination(np.array([2.1]))[0] == pytest.approx(0.7, abs=0.02)
    assert (np.diff(recombination(np.linspace(2, 50, 50))) < 0).all()
    assert recombination(np.array([20.0]))[0] < 0.4


def test_free_protons_give_kaons_of_one_energy_and_bound_ones_smear_it():
    rng = np.random.default_rng(1)
    energy, direction = kaons(rng, 2000, 0.0)
    assert energy == pytest.approx(np.full(2000, 105.4), abs=0.3)
    assert np.abs(direction.mean(0)).max() < 0.05
    energy, _ = kaons(rng, 2000, 225.0)
    assert 60 < np.median(energy) < 110
    assert 25 < energy.std() < 60


def test_kaons_decay_into_muons_or_two_pions():
    rng = np.random.default_rng(2)
    born = decayed(rng, particles(Kind.KAON, 0, 4000), 0.16)
    number = np.bincount(born.kind, minlength=8)
    assert number[Kind.MUON_PLUS] / 4000 == pytest.approx(0.6356 / 0.8423, abs=0.02)
    assert number[Kind.PHOTON] == 2 * number[Kind.PION_PLUS] == 2 * (4000 - number[Kind.MUON_PLUS])
    assert born.energy[born.kind == Kind.MUON_PLUS] == pytest.approx(152.5)
    assert born.energy[born.kind == Kind.PION_PLUS] == pytest.approx(108.6)


def test_neutral_pions_keep_energy_and_mass():
    energy, direction = photons(np.random.default_rng(3), np.full(500, 110.5), isotropic(np.random.default_rng(4), 500))
    one, two = energy.reshape(2, 500)
    cosine = (direction[:500] * direction[500:]).sum(1)
    assert one + two == pytest.approx(np.full(500, 110.5 + 134.977), rel=1e-4)
    assert np.sqrt(2 * one * two * (1 - cosine)) == pytest.approx(np.full(500, 134.977), rel=1e-3)


def test_michel_electrons_end_at_53_mev_and_come_late():
    rng = np.random.default_rng(5)
    born = decayed(rng, particles(Kind.MUON_PLUS, 0, 20_000), 0.16)
    assert (born.kind == Kind.ELECTRON).all()
    assert len(born) == 20_000
    assert 52 < born.energy.max() <= 52.83
    assert born.energy.mean() == pytest.approx(0.7 * 52.83, rel=0.02)
    assert born.position[:, 0].mean() == pytest.approx(0.16 * 2.197, rel=0.05)
    captured = decayed(rng, particles(Kind.MUON_MINUS, 0, 20_000), 0.16)
    assert len(captured) / 20_000 == pytest.approx(0.26, abs=0.02)


def test_photons_convert_after_nine_sevenths_of_a_radiation_length():
    assert pytest.approx(18) == PAIR
    path, pairs = photon_path(np.array([1.0, 1000.0]))
    assert pairs[0] == 0
    assert pairs[1] > 0.98
    shower = converted(np.random.default_rng(6), particles(Kind.PHOTON, 1000, 5000))
    assert np.median(shower.position[:, 2]) == pytest.approx(np.log(2) * path[1], rel=0.05)
    total = np.bincount(shower.event, shower.energy, 5000)
    assert np.median(total) == pytest.approx(1000 - 2 * 0.511, rel=1e-3)


def test_showers_keep_their_energy_and_have_their_length_and_width():
    deposits, _ = follow(Kind.ELECTRON, 1000, 30)
    total = np.bincount(deposits.event, deposits.energy, 30)
    assert total.mean() == pytest.approx(1000, rel=0.05)
    radius = np.hypot(*deposits.start[:, :2].T)
    order = np.argsort(radius)
    inside = np.cumsum(deposits.energy[order]) / deposits.energy.sum()
    assert 7 < radius[order][np.searchsorted(inside, 0.9)] < 14  # Moliere radius 9 to 10 cm
    depth = np.average(deposits.start[:, 2], weights=deposits.energy)
    # radiation lengths: the maximum at ln(E / 32 MeV) - 0.5, the mean 1.5 behind it
    assert depth == pytest.approx(14 * (np.log(1000 / 32) + 1), rel=0.15)


def test_stopped_chains_leave_what_their_decays_give():
    deposits, _ = follow(Kind.KAON, 105.4, 300)
    total = np.bincount(deposits.event, deposits.energy, 300)
    muons = total[np.bincount(deposits.event, deposits.kind == Kind.PHOTON, 300) == 0]
    assert np.median(muons) == pytest.approx(105.4 + 152.5 + 37, rel=0.03)
    assert total.max() < 105.4 + 493.7


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
