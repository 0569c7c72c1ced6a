"""Particles in liquid argon: stopping, straggling, scattering, decays, showers."""

import numpy as np
import pytest

from lit_hep.tasks.multiplane.argon import (
    PAIR,
    csda_range,
    energy_of,
    photon_path,
    recombination,
    stopping_power,
)
from lit_hep.tasks.multiplane.particles import MASS, Kind, decayed, isotropic, kaons, made, photons
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
