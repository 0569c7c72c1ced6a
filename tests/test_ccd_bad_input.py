"""A user's mistakes with the CCD task: each ends in one line that says what to mend, and nothing else."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import quick, run_in
from PIL import Image
from spoil import change, edit, instead, nothing, put, refused, remove, text
from strange_images import PIXELS, cut_short, no_pixels, pages, palette, with_nan

from lit_hep.cli import main
from lit_hep.tasks.ccd.masks import CLASSES
from lit_hep.tasks.ccd.simulation import Ccd, simulate

TASK = (
    f"{shlex.join(quick('ccd'))} --trainer.accelerator cpu --trainer.max_epochs 1 "
    "--model.init_args.width 2 --model.init_args.depth 1 --data.init_args.root"
)
FIT, TEST = f"fit {TASK} data", f"test {TASK} data --ckpt_path best"
PREDICT = f"predict {TASK} data --ckpt_path best --data.init_args.predict_root new"
MODEL, DATA = "--model.init_args", "--data.init_args"
ONE, ITS_MASK = Path("data/images/image_0003.npy"), Path("data/masks/image_0003.npy")


def thresholds(**limits):
    """Words for thresholds of classes."""
    return f"{DATA}.thresholds {shlex.quote(json.dumps(limits))}"


CHECKPOINT = Path("checkpoints/ccd/version_0/best.ckpt")


# What a user may have done before the command; all work in the current folder.


def image(name, save=None):
    """Another file in place of an image."""

    def spoil():
        ONE.unlink()
        (save or (lambda path: Image.fromarray(PIXELS.astype(np.uint8)).save(path)))(ONE.with_name(name))

    return spoil


def new(name, save):
    """A folder to predict on, with one file."""
    return lambda: (Path("new").mkdir(), save(Path("new", name)))


def mask_picture(array, **options):
    """A picture in place of a mask."""

    def spoil():
        ITS_MASK.unlink()
        Image.fromarray(array, **options).save(ITS_MASK.with_suffix(".png"))

    return spoil


def every_mask(how):
    """Change all masks alike."""
    return lambda: [change(path, how)() for path in Path("data/masks").iterdir()]


def stacks(images, masks):
    """Stacks in place of the folders."""

    def spoil():
        remove(*Path("data").iterdir())()
        np.save("data/images.npy", images)
        np.save("data/masks.npy", masks)

    return spoil


def nothing_held_out():
    """A run whose split has no part to test on."""
    content = torch.load(CHECKPOINT, weights_only=True)
    content["CCDDataModule"]["test"] = torch.empty(0, dtype=torch.int64)
    torch.save(content, CHECKPOINT)


def without_images_folder():
    """Pictures alone, and no rule."""
    remove("data")()
    Path("data").mkdir()
    for number in range(12):
        Image.fromarray(np.full((24, 24, 3), number, np.uint8)).save(f"data/{number}.png")


DAMAGED = "copy it again"
STACK = np.tile(PIXELS, (12, 1, 1))
CASES = {  # command, what was done before, what is said
    # what belongs together
    "mask without image": (FIT, remove(ONE), r"^data/masks: 1 masks without an image: image_0003; names must be"),
    "image without mask": (
        FIT,
        remove(ITS_MASK),
        r"^data: 1 images without a mask: image_0003; put masks .*label_rule",
    ),
    "no masks and no rule": (FIT, without_images_folder, r"^data: 12 images without a mask: 0, 1, 2, …;.*label_rule"),
    "two images of one name": (
        FIT,
        lambda: Image.fromarray(PIXELS).save(ONE.with_suffix(".tif")),
        r"^data/images: image_0003\.\w+ and image_0003\.\w+ have one name; rename one",
    ),
    "mask of another size": (
        FIT,
        change(ITS_MASK, lambda a: a[:, 1:]),
        r"^data: mask of image_0003 has 24 x 23 pixels, its image 24 x 24; they must be the same",
    ),
    "fewer masks than images": (
        FIT,
        stacks(STACK, np.zeros((11, 24, 24))),
        r"masks\.npy: holds 11 masks for 12 images",
    ),
    "stack that is none": (FIT, stacks(PIXELS, PIXELS), r"^data/images\.npy: shape \(24, 24\); expected \(N, H, W\)"),
    "grey and coloured together": (
        f"{FIT} {DATA}.monochrome false",
        change(ONE, lambda a: np.repeat(a[..., None], 3, axis=2)),
        r"^data: grey and coloured images together; set --data\.init_args\.monochrome true",
    ),
    "colours and one channel": (
        f"{FIT} {DATA}.monochrome false",
        lambda: [change(path, lambda a: np.dstack([a] * 3))() for path in Path("data/images").iterdir()],
        r"^the images have 3 colours, the network 1 channels; set",
    ),
    # masks
    "unknown colour": (
        FIT,
        mask_picture(np.full((24, 24, 3), 77, np.uint8)),
        r"^data/masks/image_0003\.png: colour \(77, 77, 77\) at \(0, 0\) stands for no class; the colours are",
    ),
    "class out of range": (
        FIT,
        change(ITS_MASK, put((5, 7), 4)),
        r"^data/masks/image_0003\.npy: class 4 at \(5, 7\); the classes are 0 \.\. 3",
    ),
    "negative class": (FIT, change(ITS_MASK, put((5, 7), -1)), r"image_0003\.npy: class -1 at \(5, 7\)"),
    "fraction of a class": (FIT, change(ITS_MASK, put((5, 7), 1.5)), r"image_0003\.npy: holds fractions"),
    "grey levels as classes": (FIT, mask_picture(np.full((24, 24), 128, np.uint8)), r"image_0003\.png: class 128 at"),
    "palette mask": (FIT, lambda: (remove(ITS_MASK)(), palette(ITS_MASK.with_suffix(".png"))), r"P is a palette"),
    "mask of three axes": (FIT, change(ITS_MASK, lambda a: a[None]), r"image_0003\.npy: shape \(1, 24, 24\); expected"),
    "all background": (FIT, every_mask(np.zeros_like), r"^data: all pixels of the training masks are of one class"),
    "no pixel known": (FIT, every_mask(lambda a: np.full_like(a, 255)), r"^data: all pixels of the training masks"),
    # images
    "NaN": (FIT, change(ONE, put((5, 7), np.nan)), r"^data/images/image_0003\.npy: 1 values are NaN or infinite"),
    "NaN in FITS": (FIT, image("image_0003.fits", with_nan), r"image_0003\.fits: 24 pixels are NaN or infinite"),
    "FITS without data": (FIT, image("image_0003.fits", no_pixels), r"image_0003\.fits: holds no image"),
    "truncated FITS": (FIT, image("image_0003.fits", cut_short), rf"image_0003\.fits: truncated or not .*{DAMAGED}"),
    "text as FITS": (FIT, image("image_0003.fits", lambda p: p.write_text("x")), r"image_0003\.fits: truncated or not"),
    "unit of a FITS file": (
        f"{FIT} {DATA}.hdu 2",
        image("image_0003.fits", lambda path: fits.writeto(path, PIXELS)),
        r"image_0003\.fits: HDU 2 holds no image",
    ),
    "empty file": (FIT, edit(ONE, lambda old: b""), rf"^data/images/image_0003\.npy: is empty \(0 bytes\); {DAMAGED}"),
    "truncated array": (FIT, edit(ONE, lambda old: old[:-99]), rf"image_0003\.npy: truncated or not an npy.*{DAMAGED}"),
    "truncated PNG": (
        FIT,
        lambda: (image("image_0003.png")(), edit(ONE.with_suffix(".png"), lambda old: old[:50])()),
        rf"image_0003\.png: truncated or not a PNG file; {DAMAGED}",
    ),
    "text as PNG": (FIT, image("image_0003.png", lambda path: path.write_text("x")), r"image_0003\.png: truncated or"),
    "palette PNG": (
        FIT,
        image("image_0003.png", palette),
        r"image_0003\.png: holds values of kind P .*save it as grey",
    ),
    "TIFF of two pages": (FIT, image("image_0003.tif", pages), r"image_0003\.tif: holds 2 pages; save each"),
    "1-pixel image": (FIT, change(ONE, lambda a: a[:1, :1]), r"image_0003\.npy: image of 1 x 1 pixels; expected 8"),
    "five colours": (
        FIT,
        change(ONE, lambda a: np.stack([a] * 5, 2)),
        r"image_0003\.npy: shape \(24, 24, 5\); expected",
    ),
    "strings": (FIT, change(ONE, lambda a: a.astype("S5")), r"image_0003\.npy: holds \|S5 values, not numbers"),
    "pickled": (
        FIT,
        lambda: np.save(ONE, np.array([{}], object), allow_pickle=True),
        r"image_0003\.npy: holds pickled Python objects",
    ),
    "no images": (
        FIT,
        remove(*[f"data/images/image_{n:04d}.npy" for n in range(16)]),
        r"^data/images: holds no images",
    ),
    "too few images": (FIT, stacks(STACK[:2], np.zeros((2, 24, 24))), r"only 2 samples"),
    "root is a file": (FIT, instead(Path("data")), r"^data: is not a folder"),
    "nothing there, nothing to be simulated": (
        f"fit {TASK} absent {DATA}.simulate false",
        nothing,
        r"^absent: images/ and masks/, .* not found; give the folder",
    ),
    "other files there": (
        f"fit {TASK} other",
        text(Path("other/notes.txt"), ""),
        r"^other: images/ and masks/.* not f",
    ),
    # rules
    "rule that fits nothing": (
        f"{FIT} {DATA}.label_rule v1 {thresholds(**{name: [1, 2] for name in CLASSES})}",
        remove("data/masks"),
        r"^data: rule v1 fits no pixel of image_0000; set thresholds",
    ),
    "unknown rule": (f"{FIT} {DATA}.label_rule v3", nothing, r"label_rule: expected one of 'v1', ?'v2'"),
    "thresholds without rule": (f"{FIT} {thresholds(cluster=[1, 2])}", nothing, r"^thresholds replace those of"),
    "thresholds of no class": (
        f"{FIT} {DATA}.label_rule v2 {thresholds(muon=[1, 2])}",
        nothing,
        rf"thresholds muon 1, 2: want one of {', '.join(CLASSES)}",
    ),
    "thresholds upside down": (
        f"{FIT} {DATA}.label_rule v2 {thresholds(cluster=[2, 1])}",
        nothing,
        r"thresholds cluster 2, 1: .*lower value first",
    ),
    # test and prediction
    "nothing to test on": (TEST, nothing_held_out, r"test_fraction is 0: nothing was held out"),
    "clusters without a line": (
        TEST,
        edit(Path("data/clusters.csv"), lambda old: old.splitlines()[0] + b"\n"),
        r"^data/clusters\.csv, image_\d+: cluster \d+ has pixels, but no line",
    ),
    "table of clusters without energies": (
        TEST,
        edit(Path("data/clusters.csv"), lambda old: old.replace(b"energy", b"ADC", 1)),
        r"^data/clusters\.csv: has no column 'energy'",
    ),
    "predict_root absent": (PREDICT, nothing, r"^new: no such folder"),
    "nothing to predict on": (PREDICT, lambda: Path("new").mkdir(), r"^new: holds no images \(\*\.png"),
    "damaged image to predict on": (PREDICT, new("a.fits", cut_short), rf"^new/a\.fits: truncated .*{DAMAGED}"),
    "NaN to predict on": (PREDICT, new("a.fits", with_nan), r"^new/a\.fits: 24 pixels are NaN"),
    # options
    "net": (f"{FIT} {MODEL}.net big", nothing, r"net: expected one of 'slim', ?'original'"),
    "loss": (f"{FIT} {MODEL}.loss mse", nothing, r"loss.*mse"),
    "no loss": (f"{FIT} {MODEL}.loss []", nothing, r"a loss is needed"),
    "width": (f"{FIT} {MODEL}.width 1", nothing, r"width 1.*must be 2 or more"),
    "depth": (f"{FIT} {MODEL}.depth 0", nothing, r"depth 0.*depth 1 to 8"),
    "dropout": (f"{FIT} {MODEL}.dropout 1", nothing, r"dropout 1.*below 1"),
    "gamma": (f"{FIT} {MODEL}.gamma -1", nothing, r"gamma -1\S* .*must not be below 0"),
    "three weights": (f"{FIT} {MODEL}.class_weights [1,2,3]", nothing, r"class_weights \[1.*one of 0 or more for each"),
    "negative weight": (f"{FIT} {MODEL}.class_weights [1,2,3,-1]", nothing, r"class_weights .*0 or more for each"),
    "tile": (f"{FIT} {DATA}.tile 8", nothing, r"tile 8, .*16 pixels or more"),
    "overlap": (f"{FIT} {DATA}.tile 32 {DATA}.overlap 32", nothing, r"tile 32, overlap 32: .*the overlap fewer"),
    "augmentation": (f"{FIT} {DATA}.augmentation mixup", nothing, r"augmentation: expected one of 'none', ?'torch'"),
    "piece": (f"{FIT} {DATA}.piece 4", nothing, r"piece 4, .*16 or more"),
    "min_pixels": (f"{FIT} {DATA}.min_pixels 0", nothing, r"min_pixels 0, .*1 or more"),
    "learning rate": (f"{FIT} {MODEL}.optimizer.lr -1", nothing, r"optimizer: Invalid learning rate: -1"),
}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with images and a run of one epoch."""
    folder = tmp_path_factory.mktemp("ccd_home")
    (folder / "data").mkdir()
    simulate(folder / "data", 16, seed=2, height=24, width=24, ccd=Ccd(clusters=(200, 300)))  # some in each image
    run_in(folder, *shlex.split(FIT))
    return folder


@pytest.mark.parametrize(("words", "spoil", "message"), CASES.values(), ids=CASES)
def test_mistake(words, spoil, message, here, capfd):
    spoil()
    refused(words, message, here, capfd)


def test_fits_without_astropy(here, monkeypatch, capfd):
    image("image_0003.fits", lambda path: fits.writeto(path, PIXELS))()
    monkeypatch.setitem(__import__("sys").modules, "astropy.io", None)
    refused(FIT, r"image_0003\.fits: FITS files need astropy; pip install 'lit_hep\[fits\]'", here, capfd)


def test_an_absent_class_is_warned_of_and_learnt_without(here, capfd):
    every_mask(lambda array: np.where(array == 2, 0, array))()
    with pytest.warns(UserWarning, match="no pixel of hot_pixel: its weight is 0"):
        main(shlex.split(f"{FIT} {MODEL}.class_weights auto"))
    weights = torch.load("checkpoints/ccd/version_1/best.ckpt", weights_only=True)["state_dict"]["criterion.weights"]
    assert weights[2] == 0 and (weights[[0, 1, 3]] > 0).all()
