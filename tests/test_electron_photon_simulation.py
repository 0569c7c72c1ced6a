"""Simulated calorimeter crops: calibration to the CMS images, files, determinism, physics of tracker and showers."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from lit_hep.cli import main
from lit_hep.tasks.electron_photon.simulation import NAMES, Ecal, images, simulate
from lit_hep.tasks.electron_photon.tracker import RADIUS, layers, radiated, tracker

ROWS = np.arange(32) - 16
OFF = {  # of 150 figures; those that differ by more than 10 % and two errors at 20,000 images
    ("pixels hit", "95% quantile", 1),
    ("E5x5/E", "5% quantile", 1),
    ("fraction, η neighbours", "median", 1),
    ("fraction, corners of 5x5", "mean", 0),
    ("fraction, corners of 5x5", "mean", 1),
    ("hits in 5 columns at |Δη| = 3", "mean", 1),
    ("hits at |Δη| ≥ 4", "mean", 1),
}


@pytest.fixture(scope="module")
def calibration():
    return pytest.importorskip("benchmarks.electron_photon_calibration", reason="run from the root of the project")


def draw(label: int, n: int = 1000, seed: int = 5, **options):
    return images(np.full(n, label), np.random.default_rng(seed), Ecal(**options)).astype(np.float64)


def rms(energy, axis: int):
    share = energy.sum(axis) / energy.sum((1, 2))[:, None]
    return np.sqrt(share @ ROWS**2 - (share @ ROWS) ** 2)


def disagreements(calibration, number: int, errors: float) -> set[tuple[str, str, int]]:
    measured = calibration.simulated(number)
    found = set()
    for row in calibration.PUBLISHED:
        for label in range(2):
            if not calibration.agrees(*calibration.compare(row, label, measured[label]), errors):
                found.add((row.quantity, row.statistic, label))
    return found


def test_figures_are_those_of_the_real_images(calibration):
    assert disagreements(calibration, 3000, 4) <= OFF


def test_figures_are_those_of_the_real_images_within_two_errors(calibration):
    assert disagreements(calibration, 20_000, 2) <= OFF


def test_files_are_those_of_the_experiment(tmp_path: Path):
    simulate(tmp_path, size=250, seed=4)
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)
    for label, name in enumerate(NAMES):
        with h5py.File(tmp_path / name) as file:
            assert set(file) == {"X", "y"}
            assert file["X"].shape == (250, 32, 32, 2) and file["X"].dtype == np.float32
            assert file["X"].chunks == (100, 32, 32, 2) and file["X"].compression == "gzip"
            assert file["y"].shape == (250,) and file["y"].dtype == np.float32
            assert (file["y"][:] == label).all()
            assert len(np.unique(file["X"][:].reshape(250, -1), axis=0)) == 250
    assert "Electron" in NAMES[1] and "Photon" in NAMES[0]


def test_seed_decides_and_a_larger_set_begins_with_the_smaller(tmp_path: Path):
    sets = []
    for size, seed in ((1150, 1), (1150, 1), (60, 1), (60, 2)):
        folder = tmp_path / str(len(sets))
        folder.mkdir()
        simulate(folder, size=size, seed=seed)
        with h5py.File(folder / NAMES[0]) as photons, h5py.File(folder / NAMES[1]) as electrons:
            sets.append((photons["X"][:], electrons["X"][:]))
    for label in range(2):
        whole, again, part, other = (data[label] for data in sets)
        assert np.array_equal(whole, again)
        assert np.array_equal(whole[:60], part)
        assert not (other == part).all((1, 2, 3)).any()
        assert len(np.unique(whole.reshape(1150, -1), axis=0)) == 1150  # no block repeats another


def test_pixels_are_zero_or_hits():
    image = draw(1)
    energy, time = image[..., 0], image[..., 1]
    assert energy.min() == 0
    assert ((time != 0) == (energy > 0)).all()
    assert -2.5126 < time.min() < -1 and 1 < time.max() < 2.278
    seed = energy.reshape(len(energy), -1).argmax(1) == 16 * 32 + 16
    assert 0.96 < seed.mean() < 1


def test_energy_grows_as_cosh_eta_and_is_resolved_as_in_test_beams():
    central = draw(0, eta=0.0, material=0, noise=0.0)[..., 0].sum((1, 2))
    assert central.mean() == pytest.approx(0.98, abs=0.01)  # the rest leaks or is not read out
    for pt in (50, 500):
        hard = draw(0, 3000, pt=pt, eta=0.0, material=0, noise=0.0)[..., 0].sum((1, 2))
        assert hard.std() / hard.mean() == pytest.approx(np.hypot(0.028 / np.sqrt(pt), 0.003), rel=0.15)
    wide = draw(0, 5000, material=0, noise=0.0)[..., 0].sum((1, 2))
    assert wide.mean() / central.mean() == pytest.approx(np.sinh(1.2) / 1.2, abs=0.03)
    assert wide.max() < np.cosh(1.2) * 1.06


def test_noise_is_that_of_a_crystal():
    noisy, quiet = (draw(0, eta=0.0, material=0, noise=noise)[:, 14:19, 14:19, 0] for noise in (0.2, 0.0))
    spread = np.sqrt(noisy[:, 1:4, 1:4].sum((1, 2)).var() - quiet[:, 1:4, 1:4].sum((1, 2)).var()) * 50
    assert spread == pytest.approx(0.6, rel=0.15)  # 9 crystals


def test_a_charged_particle_bends():
    eta = np.zeros(50)
    for pt in (50.0, 5.0):
        scene = Ecal(pt=pt, material=0, positrons=0.5)
        bent = tracker(np.random.default_rng(1), np.ones(50, bool), eta, scene)
        expected = np.arcsin(0.3 * 3.8 * RADIUS / 2 / pt) / (2 * np.pi / 360)
        assert np.abs(bent.phi) == pytest.approx(np.full(50, expected), rel=0.01)  # 0.84 crystals at 50 GeV
        assert set(np.sign(bent.phi)) == {-1, 1}
        assert (bent.charged).all()
    straight = tracker(np.random.default_rng(1), np.zeros(50, bool), eta, scene)
    assert (straight.phi == 0).all() and not straight.charged.any()


def test_material_is_that_of_the_tracker_of_cms():
    """Electrons radiate 33 % of their energy at eta = 0 and 86 % at 1.4."""
    radii, depth = layers(np.array([0.0, 1.4, -1.4]))
    total = depth.sum(0)
    assert -np.expm1(-total) == pytest.approx([0.33, 0.86, 0.86], abs=0.05)
    assert (np.diff(radii, axis=0) >= 0).all() and radii.min() > 0 and radii.max() == RADIUS
    assert ((depth > 0) == (radii < RADIUS)).all()
    assert (depth[:, 0] @ (radii[:, 0] < 0.2)) / total[0] == pytest.approx(0.2, abs=0.01)  # pixels and their services


@pytest.mark.parametrize("eta", [0.0, 1.2])
def test_photons_convert_and_electrons_radiate_as_the_material_demands(eta: float):
    n, scene, place = 20_000, Ecal(field=0.0), np.full(20_000, eta)
    depth = layers(place[:1])[1].sum()
    photons = tracker(np.random.default_rng(2), np.zeros(n, bool), place, scene)
    converted = np.bincount(photons.event, photons.charged, n) > 0
    assert converted.mean() == pytest.approx(1 - np.exp(-7 / 9 * depth), abs=0.01)
    assert photons.energy.sum() == pytest.approx(50 * np.cosh(eta) * n, rel=0.01)
    thin = Ecal(material=0.1, field=0.0)  # hardly any photon converts again
    electrons = tracker(np.random.default_rng(2), np.ones(n, bool), place, thin)
    share = electrons.energy[~electrons.charged].sum() / electrons.energy.sum()
    assert share == pytest.approx(1 - np.exp(-0.1 * depth), rel=0.1)


def test_spectrum_of_bremsstrahlung_is_that_of_complete_screening():
    n, depth = 200_000, 0.05
    lost = radiated(np.random.default_rng(4), np.full(n, depth), np.full(n, 1e-3))
    for least in (0.1, 0.5, 0.9):  # of the energy; integral of (4/3 - 4/3 y + y^2) / y, thin enough for one photon
        rate = -4 / 3 * np.log(least) - 4 / 3 * (1 - least) + (1 - least**2) / 2
        assert (lost > least).mean() == pytest.approx(rate * depth, rel=0.06)
    assert lost.mean() == pytest.approx(1 - np.exp(-depth), rel=0.03)


def test_the_field_spreads_energy_along_phi_only():
    electron, photon, free = draw(1)[..., 0], draw(0)[..., 0], draw(1, field=0.0)[..., 0]
    phi, eta = rms(electron, 1).mean(), rms(electron, 2).mean()
    assert phi > 1.5 * eta
    assert phi > 1.1 * rms(photon, 1).mean()
    assert rms(free, 1).mean() < 0.75 * phi
    assert rms(free, 2).mean() == pytest.approx(eta, rel=0.05)


def test_charge_decides_the_side():
    right, left, both = (draw(1, 3000, positrons=share)[:, 14:19, :, 0].sum(1) for share in (0.0, 1.0, 0.5))
    asymmetry = [
        (b[:, 18:22].sum() - b[:, 11:15].sum()) / b[:, 11:22].sum() for b in (right, left, both)
    ]  # 2 to 5 crystals
    assert asymmetry[0] > 0.01
    assert asymmetry[1] < -0.005
    assert asymmetry[1] < asymmetry[2] < asymmetry[0]


@pytest.mark.parametrize(("size", "seed"), [(0, 1), (-5, 1), (10, -1)])
def test_senseless_sizes_and_seeds_are_refused(tmp_path: Path, size: int, seed: int):
    with pytest.raises(ValueError, match=rf"size = {size}, seed = {seed}"):
        simulate(tmp_path, size=size, seed=seed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": -0.1},
        {"noise": float("nan")},
        {"eta": 3.0},
        {"pt": 0.0},
        {"material": -1.0},
        {"positrons": 1.5},
        {"tilt": (0.0, 90.0)},
        {"cone": (0.0, 10.0)},
    ],
)
def test_senseless_scenes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Ecal(**wrong)


def test_command_line(tmp_path: Path, capsys):
    main(["simulate", "electron_photon", "--root", str(tmp_path / "set"), "--size", "20", "--scene.noise", "0.1"])
    with h5py.File(tmp_path / "set" / NAMES[0]) as file:
        noisy = (file["X"][..., 0] > 0).sum()
    main(["simulate", "electron_photon", "--root", str(tmp_path / "usual"), "--size", "20"])
    with h5py.File(tmp_path / "usual" / NAMES[0]) as file:
        assert noisy > 2 * (file["X"][..., 0] > 0).sum()
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", "electron_photon", "--root", str(tmp_path / "none"), "--size", "0"])
    assert "want at least 1 image" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_memory_does_not_grow_with_the_size(tmp_path: Path):
    peaks = []
    for size in (1000, 20_000):
        folder = tmp_path / str(size)
        folder.mkdir()
        code = (
            "import resource, sys; from pathlib import Path;"
            "from lit_hep.tasks.electron_photon.simulation import simulate;"
            "simulate(Path(sys.argv[1]), size=int(sys.argv[2]));"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        words = [sys.executable, "-c", code, str(folder), str(size)]
        peaks.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    unit = 1 if sys.platform == "darwin" else 1024
    assert (peaks[1] - peaks[0]) * unit < 30 << 20  # the images alone would be 312 MiB
