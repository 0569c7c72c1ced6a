"""CCD images in every format, masks, tiles."""

import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from astropy.io import fits
from PIL import Image

from lit_hep.data.files import fill
from lit_hep.errors import DataError
from lit_hep.tasks.ccd import CCDDataModule
from lit_hep.tasks.ccd.images import Images, Reading, read_clusters
from lit_hep.tasks.ccd.masks import COLOURS, classify, colour
from lit_hep.tasks.ccd.reading import read_fits, read_image, read_mask, write_fits
from lit_hep.tasks.ccd.simulation import simulate
from lit_hep.tasks.ccd.tiles import cut, starts

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (12, 20), np.uint8)
WORDS = RNG.integers(0, 60000, (12, 20), np.uint16)
COLOURED = RNG.integers(0, 256, (12, 20, 3), np.uint8)
DEEP = RNG.integers(0, 60000, (12, 20, 3), np.uint16)
ADC = (8800 + 20 * RNG.standard_normal((12, 20))).astype(np.float32)
MASK = RNG.integers(0, 4, (12, 20)).astype(np.uint8)


def picture(array):
    return lambda path: Image.fromarray(array).save(path)


def with_opacity(path):
    Image.fromarray(np.dstack([COLOURED, np.full((12, 20), 255, np.uint8)])).save(path)


def second_unit(path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(ADC), fits.ImageHDU(2 * ADC)]).writeto(path)


FORMATS = {
    "8-bit.png": (picture(BYTES), BYTES),
    "16-bit.png": (picture(WORDS), WORDS),
    "colour.png": (picture(COLOURED), COLOURED),
    "opacity.png": (with_opacity, COLOURED),
    "16-bit colour.png": (lambda path: cv2.imwrite(str(path), DEEP[..., ::-1]), DEEP),
    "8-bit.tif": (picture(BYTES), BYTES),
    "16-bit.tiff": (picture(WORDS), WORDS),
    "float.tif": (picture(ADC), ADC),
    "float.npy": (lambda path: np.save(path, ADC.astype(np.float64)), ADC),
    "colour.npy": (lambda path: np.save(path, COLOURED), COLOURED),
    "one colour.npy": (lambda path: np.save(path, BYTES[..., None]), BYTES),
    "float.fits": (lambda path: fits.writeto(path, ADC), ADC),
    "16-bit.fits": (lambda path: fits.writeto(path, WORDS), WORDS),
    "third axis.fits": (lambda path: fits.writeto(path, ADC[None]), ADC),
    "second unit.fit": (second_unit, ADC),
}


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_come_as_they_were_written(name, tmp_path):
    write, wanted = FORMATS[name]
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    wanted = wanted[None] if wanted.ndim == 2 else wanted.transpose(2, 0, 1)
    assert image.dtype == (np.uint8 if wanted.dtype == np.uint8 else np.float32)
    assert image.flags.c_contiguous and image.dtype.isnative
    assert np.array_equal(image, wanted.astype(image.dtype))


def test_a_unit_of_a_fits_file_can_be_chosen(tmp_path):
    second_unit(tmp_path / "a.fits")
    assert np.array_equal(read_image(tmp_path / "a.fits", 2)[0], 2 * ADC)
    with pytest.raises(DataError, match="HDU 0 holds no image"):
        read_image(tmp_path / "a.fits", 0)
    with pytest.raises(DataError, match="HDU 9 holds no image"):
        read_image(tmp_path / "a.fits", 9)


@pytest.mark.parametrize("name", ["a.npy", "a.png", "colour.png", "a.tif", "a.fits"])
def test_masks_in_every_form(name, tmp_path):
    path = tmp_path / name
    mask = MASK.copy()
    mask[0, 0] = 255
    if name == "a.npy":
        np.save(path, mask.astype(np.int64))
    elif name == "a.fits":
        fits.writeto(path, mask.astype(np.int16))
    else:
        Image.fromarray(colour(mask) if name == "colour.png" else mask).save(path)
    assert np.array_equal(read_mask(path), mask)


def test_fits_keeps_its_header(tmp_path):
    header = fits.Header({"EXPTIME": 28800.0, "OBJECT": "dark", "BUNIT": "adu"})
    fits.writeto(tmp_path / "in.fits", WORDS, header)
    write_fits(tmp_path / "out.fits", MASK, tmp_path / "in.fits", None)
    assert np.array_equal(read_fits(tmp_path / "out.fits", None), MASK)
    out = fits.getheader(tmp_path / "out.fits")
    assert (out["EXPTIME"], out["OBJECT"], out["BUNIT"], out["BITPIX"]) == (28800.0, "dark", "class", 8)
    assert "BZERO" not in out


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "ccd"
    fill(folder, lambda part: simulate(part, 12, seed=3, height=40, width=64))
    return folder


def test_images_masks_and_clusters_belong_together(root):
    images = Images(root, Reading(), truth=True)
    assert len(images) == 12 and images.channels == 1 and images.one_size
    for number, name in enumerate(images.name):
        assert np.array_equal(images.image(number)[0], np.load(root / f"images/{name}.npy"))
        assert np.array_equal(images.mask(number), np.load(root / f"masks/{name}.npy"))
        assert np.array_equal(read_clusters(images, number) > 0, images.mask(number) == 3)


def test_stacks_equal_files(root, tmp_path):
    apart = Images(root, Reading(), truth=True)
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    for kind in ("image", "mask"):
        np.save(stacks / f"{kind}s.npy", np.stack([np.squeeze(getattr(apart, kind)(n)) for n in range(12)]))
    together = Images(stacks, Reading(), truth=True)
    assert together.name[3] == "000003"
    for number in range(12):
        assert np.array_equal(together.image(number), apart.image(number))
        assert np.array_equal(together.mask(number), apart.mask(number))


def test_images_are_not_kept_where_no_truth_is_needed(root):
    images = Images(root, Reading(), truth=False)
    before = images.image(0).copy()
    np.save(root / f"images/{images.name[0]}.npy", before[0] + 1)
    assert images.mask(0) is None and np.array_equal(images.image(0), before + 1)


def test_numbers_are_in_their_order(tmp_path):
    for name in ("10", "9", "b", "1"):
        np.save(tmp_path / f"{name}.npy", ADC)
    assert list(Images(tmp_path, Reading(), truth=False).name) == ["1", "9", "10", "b"]


def test_coloured_pictures_are_read_as_their_mean_or_as_they_are(tmp_path):
    picture(COLOURED)(tmp_path / "a.png")
    rule = {"label_rule": "v1", "thresholds": {"hot_pixel": (150.0, np.inf)}}
    mean = Images(tmp_path, Reading(**rule), truth=True)
    assert mean.channels == 1 and mean.image(0)[0] == pytest.approx(COLOURED.mean(-1), abs=1e-4)
    as_is = Images(tmp_path, Reading(monochrome=False, **rule), truth=True)
    assert as_is.channels == 3 and as_is.value(0) == pytest.approx(COLOURED.mean(-1))
    wanted = classify(COLOURED.mean(-1), "v1", rule["thresholds"])
    assert np.array_equal(mean.mask(0), wanted) and np.array_equal(as_is.mask(0), wanted)


def test_a_rule_gives_only_what_has_no_mask(root, capfd):
    names = sorted(path.stem for path in (root / "masks").iterdir())
    (root / "masks" / f"{names[0]}.npy").unlink()
    images = Images(root, Reading(label_rule="v2"), truth=True)
    assert np.array_equal(images.mask(0), classify(images.image(0)[0], "v2"))
    assert np.array_equal(images.mask(1), np.load(root / f"masks/{names[1]}.npy"))


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(64, 64, 10), (65, 64, 10), (300, 64, 10), (30, 64, 10), (99, 33, 0)]
)
def test_tiles_cover_all_with_their_overlap(length, tile, overlap):
    begin = starts(length, tile, overlap)
    assert begin[0] == 0 and begin[-1] == max(0, length - tile)
    assert all(second - first <= tile - overlap for first, second in pairwise(begin))


def test_tiles_are_parts_of_image_and_mask(root):
    whole = torch.arange(40 * 64).reshape(1, 40, 64).to(torch.float32)
    classes = (whole[0] % 4).to(torch.uint8)
    image, mask = cut([(whole, classes)], (32, 32), 8)
    assert image.shape == (6, 1, 32, 32) and mask.shape == (6, 32, 32)
    assert torch.equal((image[:, 0] % 4).to(torch.uint8), mask)
    assert set(image.unique().tolist()) == set(range(40 * 64))
    image, mask = cut([(whole, classes)], (50, 64), 8)
    assert (mask[0, 40:] == 255).all() and torch.equal(mask[0, :40], classes)
    assert torch.equal(image[0, 0, 49], whole[0, 39])


def test_no_image_is_on_both_sides_and_tiles_are_of_training_images(root):
    data = CCDDataModule(str(root), tile=32, overlap=4, batch_size=3, augmentation="none")
    data.prepare_data()
    data.setup("fit")
    parts = [set(getattr(data.splits, name).tolist()) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12
    train = np.concatenate([data.images.image(number).ravel() for number in parts[0]])  # all noise, no value twice
    seen = 0
    for batch in data.train_dataloader():
        seen += len(batch["image"])
        assert np.isin(batch["image"].numpy(), train).all()
        assert batch["image"].shape[1:] == (1, 32, 32) and batch["mask"].shape[1:] == (32, 32)
        assert batch["level"].shape[1:] == (2, 1)
    assert seen == len(parts[0]) * 2 * 3
    for loader, part in ((data.val_dataloader(), parts[1]), (data.test_dataloader(), parts[2])):
        batches = list(loader)
        assert {number for batch in batches for number in batch["index"].tolist()} == part
        assert batches[0]["image"].shape[1:] == (1, 40, 64) and batches[0]["mask"].dtype == torch.uint8


def test_images_of_several_sizes_come_one_by_one(root):
    shutil.copytree(root, root.with_name("mixed"))
    mixed = root.with_name("mixed")
    for kind in ("images", "masks"):
        for path in sorted((mixed / kind).iterdir())[::2]:
            np.save(path, np.load(path)[:33, :50])
    data = CCDDataModule(str(mixed), tile=48, overlap=4)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape[1:] == (1, 40, 48)
    assert all(len(batch["image"]) == 1 for batch in data.val_dataloader())


def test_real_pictures():
    folder = Path(__file__).parents[1].parent / "shared" / "data" / "ccd"
    if not folder.is_dir():
        pytest.skip("not there")
    images = Images(folder / "train", Reading(label_rule="v1"), truth=True)
    with np.load(folder / "train_labels.npz") as known:
        assert [int(name) for name in images.name] == known["ids"].tolist()
        assert np.array_equal(np.stack([images.mask(number) for number in range(60)]), known["labels"])
    assert COLOURS.shape == (4, 3) and images.shapes[0] == (1, 256, 256)
