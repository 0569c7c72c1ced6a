"""Simulated crater frames: files, determinism, calibration to the THEMIS images, no give-away statistic."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, skew

from lit_hep.tasks.crater.simulation import CraterScene, images, simulate

FILES = {"Xtrain1": 60, "Ytrain1": 60, "Xtrain1_extra": 19, "Ytrain1_extra": 19, "Xtest1": 15, "Ytest1": 15}


@pytest.fixture(scope="module")
def frames() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    label = (np.arange(2000) % 100 < 64).astype(np.int32)
    blocks = [images(label[i : i + 500], np.random.default_rng(i)) for i in range(0, 2000, 500)]
    return np.concatenate(blocks), label


def statistics(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """What one number per frame (N, 48, 48) can tell."""
    x = image.astype(np.float64)
    flat = x.reshape(len(x), -1)
    gx, gy = np.diff(x, axis=2), np.diff(x, axis=1)
    laplacian = np.diff(gx, axis=2)[:, 1:-1] + np.diff(gy, axis=1)[:, :, 1:-1]
    power = np.abs(np.fft.fft2(x - x.mean((1, 2), keepdims=True))) ** 2
    k = np.hypot(*np.meshgrid(*[np.fft.fftfreq(48, 1 / 48)] * 2))
    shells = np.log([power[:, (k >= i) & (k < i + 1)].mean(1) + 1 for i in range(1, 24)])
    gradient = (gx**2).mean((1, 2)) + (gy**2).mean((1, 2))
    return {
        "mean": flat.mean(1),
        "spread": flat.std(1),
        "minimum": flat.min(1),
        "maximum": flat.max(1),
        "1 % quantile": np.quantile(flat, 0.01, 1),
        "99 % quantile": np.quantile(flat, 0.99, 1),
        "skewness": skew(flat, axis=1),
        "gradient energy": gradient,
        "gradient over variance": gradient / flat.var(1),
        "Laplacian energy": (laplacian**2).mean((1, 2)),
        "spectrum slope": np.polyfit(np.log(np.arange(1, 24) + 0.5), shells, 1)[0],
        "saturated pixels": ((flat <= 1) | (flat >= 254)).mean(1),
    }


def test_no_single_statistic_tells_the_classes_apart(frames):
    image, label = frames
    positive = label == 1
    n1, n0 = positive.sum(), (~positive).sum()
    for name, value in statistics(image).items():
        auc = (rankdata(value)[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
        assert 0.25 < auc < 0.75, f"{name}: AUC {auc:.3f}"


def test_grey_values_are_those_of_themis(frames):
    image, _ = frames
    assert image.dtype == np.uint8 and image.shape == (2000, 48, 48)
    assert image.mean() == pytest.approx(124, abs=2)
    assert image.std(axis=(1, 2)).mean() == pytest.approx(30, abs=2)
    assert 0.07 < (image == 0).any((1, 2)).mean() < 0.16  # frames with a gap between orbits
    assert 0.005 < (image == 0).mean() < 0.03


def test_label_decides_whether_quiet_ground_shows_relief():
    still = (1e-4, 1e-4)
    scene = CraterScene(erosion=(0, 0), ghost=(1, 1), roughness=still, albedo=still, noise=(0, 0), memory=1,
                        dunes=0, knobs=0, ridges=0, no_data=0, craters=0, clutter=0)  # fmt: skip
    crater = np.ptp(images(np.ones(60, int), np.random.default_rng(3), scene), axis=(1, 2))
    clutter = np.ptp(images(np.zeros(60, int), np.random.default_rng(3), scene), axis=(1, 2))
    assert (crater > 60).all()
    assert (clutter < 60).any()  # ghosts of no relief


def test_files_are_those_of_the_experiment(tmp_path: Path):
    simulate(tmp_path, size=60, seed=4)
    assert {p.stem for p in tmp_path.iterdir()} == set(FILES)
    for name, length in FILES.items():
        array = np.load(tmp_path / f"{name}.npy")
        assert array.shape == ((length, 2304) if name[0] == "X" else (length,))
        assert array.dtype == (np.uint8 if name[0] == "X" else np.int32)
    assert np.load(tmp_path / "Ytrain1.npy").sum() == round(0.6385 * 60)
    assert set(np.load(tmp_path / "Ytest1.npy")) == {0, 1}


def test_seed_decides(tmp_path: Path):
    data = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        simulate(tmp_path / folder, size=300, seed=seed)
        data.append([np.load(tmp_path / folder / f"{name}.npy") for name in FILES])
    assert all(np.array_equal(a, b) for a, b in zip(data[0], data[1], strict=True))
    assert not any(np.array_equal(a, c) for a, c in zip(data[0], data[2], strict=True))
    assert len(np.unique(data[0][0], axis=0)) == 300  # no block repeats another


@pytest.mark.parametrize("size", [9, 0, -5])
def test_too_small_a_set_is_refused(tmp_path: Path, size: int):
    with pytest.raises(ValueError, match="at least 10"):
        simulate(tmp_path, size=size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"sun_elevation": (50.0, 20.0)},
        {"latitude": (0.0, 90.0)},
        {"erosion": (0.0, 1.5)},
        {"no_data": 1.2},
        {"diameter": (0.0, 20.0)},
        {"noise": (-1.0, 2.0)},
        {"roughness": (0.0, 0.1)},
        {"brightness": (100.0, 300.0)},
        {"craters": float("nan")},
    ],
)
def test_senseless_scenes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CraterScene(**wrong)
