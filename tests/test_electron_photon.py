"""Crops: splits, cleaning, scalings, views; the last two against plain numpy."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from spoil import change_hdf5, put

from lit_hep.tasks.electron_photon.augmentation import random_reflection, random_shift, random_smear, reflect
from lit_hep.tasks.electron_photon.crops import Moments
from lit_hep.tasks.electron_photon.datamodule import ElectronPhotonDataModule
from lit_hep.tasks.electron_photon.normalisation import Normalise
from lit_hep.tasks.electron_photon.simulation import simulate

ELECTRONS, PHOTONS = "SingleElectronPt50_IMGCROPS.hdf5", "SinglePhotonPt50_IMGCROPS.hdf5"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    simulate(folder, 130, 5)
    return folder


@pytest.fixture
def root(files, tmp_path):
    return Path(shutil.copytree(files, tmp_path / "data"))


def module(root, **options):
    data = ElectronPhotonDataModule(str(root), **options)
    data.prepare_data()
    data.setup("fit")
    return data


def pixels(root):
    with h5py.File(root / ELECTRONS) as electrons, h5py.File(root / PHOTONS) as photons:
        return np.concatenate([electrons["X"][:], photons["X"][:]])


MEMORY = pytest.mark.parametrize("memory_gib", [8.0, 0.12])


@MEMORY
def test_parts_are_disjoint_and_hold_each_class_alike(root, memory_gib):
    data = module(root, memory_gib=memory_gib)
    parts = {name: data.part(name) for name in ("train", "val", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 208, "val": 26, "test": 26}
    assert len(set(np.concatenate(list(parts.values())))) == 260
    assert all(data.label[part].mean() == 0.5 for part in parts.values())
    some = module(root, memory_gib=memory_gib, sample_fraction=0.25)
    for name, part in parts.items():
        fewer = some.part(name)
        assert set(fewer) <= set(part) and len(fewer) == 2 * round(len(part) / 8)
        assert data.label[fewer].mean() == 0.5


@MEMORY
def test_batches_hold_the_files_content(root, memory_gib):
    data = module(root, memory_gib=memory_gib)
    image = pixels(root)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()):
        for raw in loader:
            batch = data.on_after_batch_transfer(dict(raw), 0)
            index = batch["index"].numpy()
            assert (batch["image"].numpy() == image[index].transpose(0, 3, 1, 2)).all()
            assert "label" not in batch or (batch["label"].numpy() == (index < 130)).all()
    assert data.ids(np.array([3, 131])).tolist() == [f"{ELECTRONS}:3", f"{PHOTONS}:1"]
    energy, time = (axis.images[0].get_array().filled(0) for axis in data.figure([131, 3]).axes[:2])
    hit = image[131, :, :, 0] > 0
    assert energy == pytest.approx(50 * image[131, :, :, 0] * hit) and time == pytest.approx(
        50 * image[131, :, :, 1] * hit
    )


@pytest.mark.parametrize(
    ("memory_gib", "sizes", "expected"),
    [(8.0, (4,), 16), (0.12, (4,), 7), (0.12, (1,), 4), (0.12, (20,), 20), (0.12, (4, 24), 24)],
)
def test_evaluation_takes_larger_batches_as_far_as_a_stream_may(root, memory_gib, sizes, expected):
    names = ("batch_size", "eval_batch_size")
    data = module(root, memory_gib=memory_gib, **dict(zip(names, sizes, strict=False)))
    assert len(next(iter(data.val_dataloader()))["index"]) == expected


@MEMORY
def test_empty_and_noise_only_images_are_left_out_and_counted(root, memory_gib, caplog):
    change_hdf5(root / ELECTRONS, "X", put([0, 5], 0))()
    change_hdf5(
        root / PHOTONS, "X", lambda x: np.where(np.arange(len(x))[:, None, None, None] < 3, 0.019 * (x > 0), x)
    )()
    with caplog.at_level("INFO"):
        data = module(root, memory_gib=memory_gib)
    assert data.removed == {"empty photon": 0, "empty electron": 2, "noise photon": 3, "noise electron": 0}
    assert "260 images; left out: 0 empty photon, 2 empty electron, 3 noise photon, 0 noise electron" in caplog.text
    used = np.concatenate([data.part(name) for name in ("train", "val", "test")])
    assert set(range(260)) - set(used) == {0, 5, 130, 131, 132}
    assert module(root, min_energy=0.0).removed["noise photon"] == 0


def test_weights_make_the_classes_count_the_same(root):
    with h5py.File(root / PHOTONS, "r+") as file:
        x, y = file["X"][:40], file["y"][:40]
        del file["X"], file["y"]
        file["X"], file["y"] = x, y
    batches = list(module(root, balance="weights").train_dataloader())
    label, weight = (torch.cat([batch[name] for batch in batches]) for name in ("label", "weight"))
    assert label.mean() > 0.7 and weight.mean() == pytest.approx(1)
    assert weight[label == 1].sum() == pytest.approx(weight[label == 0].sum())


@MEMORY
def test_moments_are_those_of_the_training_images(root, memory_gib):
    data = module(root, memory_gib=memory_gib)
    image = pixels(root)[data.part("train")].astype(np.float64)
    moments = data.moments()
    assert moments.mean == pytest.approx(image.mean((0, 1, 2)), rel=1e-5)
    assert moments.deviation == pytest.approx(image.std((0, 1, 2)), rel=1e-5)
    assert moments.largest == pytest.approx(np.abs(image).max((0, 1, 2)))


@pytest.fixture
def image():
    """Crops (B, 2, H, W): energies not below 0, times of both signs, most pixels 0."""
    rng = np.random.default_rng(1)
    hit = rng.random((4, 1, 32, 32)) < 0.1
    return (np.concatenate([rng.exponential(0.1, hit.shape), rng.normal(0, 0.1, hit.shape)], 1) * hit).astype(
        np.float32
    )


MOMENTS = Moments(*np.array([[0.01, -0.02], [0.3, 0.4], [1.5, 2.5]], np.float32))
SCALINGS = {
    "none": lambda x, n: x,
    "max": lambda x, n: x / [1.5, 2.5][n],
    "log": lambda x, n: np.sign(x) * np.log(1 + np.abs(x) / 0.002) / np.log(501),
    "per_image": lambda x, n: x / np.abs(x).sum((1, 2), keepdims=True),
    "standard": lambda x, n: (x - [0.01, -0.02][n]) / [0.3, 0.4][n],
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling(scaling, image):
    for channels, chosen in {"energy": [0], "time": [1], "both": [0, 1]}.items():
        scale = Normalise(channels, scaling, scaling)
        scale.adapt(MOMENTS)
        expected = np.stack([SCALINGS[scaling](image[:, n], n) for n in chosen], 1)
        assert scale.channels == len(chosen)
        assert scale(torch.from_numpy(image)).numpy() == pytest.approx(expected, abs=1e-6)
    assert scale(torch.zeros(1, 2, 32, 32)).isfinite().all()


def test_channels_are_scaled_each_in_its_way(image):
    scaled = Normalise("both", "log", "none")(torch.from_numpy(image)).numpy()
    assert (scaled[:, 1] == image[:, 1]).all()
    assert scaled[:, 0] == pytest.approx(SCALINGS["log"](image[:, 0], 0), abs=1e-6)


@pytest.mark.parametrize("axis", [2, 3])
def test_reflection_keeps_the_seed_crystal(axis, image):
    mirrored = reflect(torch.from_numpy(image), axis).numpy()
    source = -np.arange(32) % 32  # pixel 16 + d comes from 16 - d
    assert (mirrored == np.take(image, source, axis)).all()
    torch.manual_seed(1)
    some = random_reflection(torch.from_numpy(np.repeat(image[:1], 400, 0)), axis).numpy()
    kept, turned = (some == image[0]).all((1, 2, 3)), (some == mirrored[0]).all((1, 2, 3))
    assert (kept ^ turned).all() and 150 < turned.sum() < 250


def test_shift_moves_whole_crystals_and_zeros_come_in(image):
    torch.manual_seed(1)
    moved = random_shift(torch.from_numpy(np.repeat(image[:1], 300, 0)), 2).numpy()
    padded = np.pad(image[0], ((0, 0), (2, 2), (2, 2)))
    ways = np.stack([padded[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5)])
    found = (moved[:, None] == ways).all((2, 3, 4))
    assert (found.sum(1) == 1).all() and found.any(0).all()


def test_smearing_spreads_energies_alone(image):
    torch.manual_seed(1)
    smeared = random_smear(torch.from_numpy(np.repeat(image, 50, 0)), 0.05).numpy()
    assert (smeared[:, 1] == np.repeat(image, 50, 0)[:, 1]).all()
    hit = np.repeat(image, 50, 0)[:, 0] > 0
    ratio = smeared[:, 0][hit] / np.repeat(image, 50, 0)[:, 0][hit]
    assert (smeared[:, 0][~hit] == 0).all()
    assert ratio.mean() == pytest.approx(1, abs=2e-3) and ratio.std() == pytest.approx(0.05, rel=0.03)


def test_user_names_the_files(root):
    (root / ELECTRONS).rename(root / "signal.h5")
    assert ElectronPhotonDataModule(str(root)).missing() == ["*Electron*.hdf5"]
    data = module(root, electron_file="signal.h5")
    assert data.ids(np.array([0])).tolist() == ["signal.h5:0"] and len(data) == 260
