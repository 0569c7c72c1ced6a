"""Files, options and speed of the CCD simulator."""

import csv
import time
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from lit_hep.cli import main
from lit_hep.tasks.ccd.clusters import KINDS
from lit_hep.tasks.ccd.readout import Ccd
from lit_hep.tasks.ccd.simulation import images, simulate


def written(folder, **options):
    folder.mkdir()
    simulate(folder, **options)
    return folder


def test_files_hold_images_masks_and_true_clusters(tmp_path):
    root = written(tmp_path / "a", size=12, height=64, width=80, seed=3)
    names = [f"image_{number:04d}" for number in range(12)]
    for folder in ("images", "masks", "clusters"):
        assert sorted(path.name for path in (root / folder).iterdir()) == [f"{name}.npy" for name in names]
    with (root / "clusters.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "cluster", "kind", "energy", "y", "x", "height", "width", "pixels"]
    pictures = list(images(12, 3, 64, 80))
    for name, picture in zip(names, pictures, strict=True):
        image = np.load(root / "images" / f"{name}.npy")
        assert image.dtype == np.float32
        assert np.array_equal(image, picture.image)
        mask = np.load(root / "masks" / f"{name}.npy")
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, picture.mask)
        assert np.array_equal(np.load(root / "clusters" / f"{name}.npy"), picture.clusters)
        mine = [row for row in rows if row["image"] == name]
        assert [int(row["cluster"]) for row in mine] == picture.truth["cluster"].tolist()
        assert [float(row["energy"]) for row in mine] == pytest.approx(picture.truth["energy"], rel=1e-5)
        assert {row["kind"] for row in mine} <= set(KINDS)


def test_seed_decides_and_more_images_begin_with_the_fewer():
    short, again, other = (np.stack([p.image for p in images(3, seed, 300, 500)]) for seed in (1, 1, 2))
    longer = np.stack([picture.image for picture in islice(images(20, 1, 300, 500), 3)])
    assert np.array_equal(short, again)
    assert np.array_equal(short, longer)
    assert not np.array_equal(short, other)
    many = np.stack([picture.image for picture in images(9, 1, 300, 500)])
    assert len(np.unique(many.reshape(9, -1), axis=0)) == 9  # six are drawn at once


def test_png_and_fits_hold_the_same_image(tmp_path):
    plain = np.load(written(tmp_path / "npy", size=1) / "images" / "image_0000.npy")
    with Image.open(written(tmp_path / "png", size=1, format="png") / "images" / "image_0000.png") as picture:
        grey = np.asarray(picture)
    assert grey.dtype == np.uint16
    assert np.array_equal(grey, np.round(plain))
    fits = pytest.importorskip("astropy.io.fits")
    with fits.open(written(tmp_path / "fits", size=1, format="fits") / "images" / "image_0000.fits") as units:
        assert units[0].header["BITPIX"] == -32
        assert units[0].header["BUNIT"] == "adu"
        assert np.array_equal(units[0].data, plain)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 0}, "size"),
        ({"seed": -1}, "seed"),
        ({"height": 4}, "4 x 128"),
        ({"signal_to_noise": 0.0}, "signal"),
        ({"signal_to_noise": float("nan")}, "signal"),
        ({"height": 50_000, "width": 50_000}, "clusters"),
    ],
)
def test_senseless_sets_are_refused(tmp_path, options, word):
    with pytest.raises(ValueError, match=word):
        simulate(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"clusters": (3.0, 1.0)},
        {"clusters": (-1.0, 1.0)},
        {"kinds": (0.0, 0.0, 0.0, 0.0)},
        {"kinds": (1.0, -0.5, 0.0, 0.5)},
        {"gain": 0.0},
        {"samples": 0},
        {"noise": -1.0},
        {"noise": float("nan")},
        {"glow": 1.5},
        {"hot_charge": (0.0, 10.0)},
        {"glow_width": (20.0, 10.0)},
        {"transfer_loss": (0.5, 0.0)},
        {"electron": 0.0},
        {"saturation": 0.0},
        {"cluster_threshold": 0.0},
    ],
)
def test_senseless_ccds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Ccd(**wrong)
    with pytest.raises(ValueError, match="noise"):
        Ccd(noise=0.0, dark_current=0.0)


def test_the_command_line_simulates(tmp_path, capsys):
    root = tmp_path / "new"
    options = ["--size", "2", "--height", "40", "--width", "56", "--ccd.noise", "5", "--ccd.clusters", "[20, 30]"]
    main(["simulate", "ccd", "--root", str(root), *options, "--signal_to_noise", "6"])
    assert np.load(root / "images" / "image_0001.npy").shape == (40, 56)
    for wrong in (["--signal_to_noise", "-1"], ["--ccd.gain", "0"], ["--library", "none.pkl"], ["--format", "gif"]):
        with pytest.raises(SystemExit, match="2"):
            main(["simulate", "ccd", "--root", str(tmp_path / "other"), *wrong])
        assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_fifty_images_of_256_a_second():
    list(images(2, 1, 256, 256))
    took = []
    for seed in range(3):
        start = time.process_time()
        list(images(16, seed, 256, 256))
        took.append(time.process_time() - start)
    assert 16 / min(took) > 50
