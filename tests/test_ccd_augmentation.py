"""Random views of images and masks, by torch and by imgaug."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lit_hep.tasks.ccd import CCDDataModule
from lit_hep.tasks.ccd.augmentation import (
    apply_imgaug,
    apply_views,
    augment,
    bordered,
    framed,
    imgaug,
    random_views,
    resized,
    turned,
)

COUNT, HEIGHT, WIDTH = 3, 96, 160
RNG = np.random.default_rng(0)
IMAGE = 50 + 100 * torch.from_numpy(gaussian_filter(RNG.normal(size=(COUNT, 2, HEIGHT, WIDTH)), (0, 0, 3, 3))).float()
MASK = torch.from_numpy(gaussian_filter(RNG.normal(size=(COUNT, HEIGHT, WIDTH)), (0, 6, 6)) > 0).to(torch.uint8) * 3
MASK[:, 40:50, 40:60] = 255
OUTSIDE = torch.tensor([[50.0, 40.0]] * COUNT)


def rows(*numbers):
    """The same numbers for each image."""
    return np.tile(np.array(numbers, np.float64), (COUNT, 1))


def views(scale=(1, 1), shift=(0, 0), degrees=0.0):
    """Matrices of scale, shift in pixels, and turn."""
    return turned(rows(*scale), rows(shift[0] / WIDTH, shift[1] / HEIGHT), rows(degrees)[:, 0], HEIGHT / WIDTH)


BORDERS = {"px": (8, 16, 4, 0), "keep_size": False}, -rows(8 / HEIGHT, 16 / WIDTH, 4 / HEIGHT, 0)
PADDED = {"px": (8, -16, 4, 0), "keep_size": False}, rows(8 / HEIGHT, -16 / WIDTH, 4 / HEIGHT, 0)
FIXED = {  # augmenter of imgaug, matrices, share of pixels whose class may differ, image error
    "nothing": (lambda iaa: iaa.Identity(), framed(rows(1, 1)), 0, 1e-3),
    "left to right": (lambda iaa: iaa.Fliplr(1), framed(rows(-1, 1)), 0, 1e-3),
    "upside down": (lambda iaa: iaa.Flipud(1), framed(rows(1, -1)), 0, 1e-3),
    "shift": (lambda iaa: iaa.Affine(translate_px={"x": 8, "y": -12}), views(shift=(8, -12)), 0, 1e-3),
    "scale": (lambda iaa: iaa.Affine(scale={"x": 0.9, "y": 1.1}), views(scale=(0.9, 1.1)), 0.01, 1),
    "turn": (lambda iaa: iaa.Affine(rotate=20), views(degrees=20), 0.001, 1),
    "all of them": (
        lambda iaa: iaa.Affine(scale={"x": 0.9, "y": 1.1}, rotate=20, translate_px={"x": 8, "y": -12}),
        views((0.9, 1.1), (8, -12), 20),
        0.001,
        1,
    ),
    # OpenCV interpolates in steps of 1/32 pixel, and takes for the nearest pixel the one before when it resizes
    "crop": (lambda iaa: resized(iaa.Crop(**BORDERS[0])), bordered(BORDERS[1]), 0.05, 2.5),
    "pad": (lambda iaa: resized(iaa.CropAndPad(**PADDED[0])), bordered(PADDED[1]), 0.06, 2.5),
}


@pytest.mark.parametrize("name", FIXED)
def test_torch_and_imgaug_make_the_same_of_the_same_parameters(name):
    augmenter, matrices, differing, error = FIXED[name]
    images, classes = zip(
        apply_imgaug(augmenter(imgaug().augmenters), IMAGE, MASK, OUTSIDE),
        apply_views(torch.from_numpy(matrices).float(), IMAGE, MASK, OUTSIDE),
        strict=True,
    )
    assert (classes[0] != classes[1]).float().mean() <= differing
    inside = ((classes[0] != 255) & (classes[1] != 255))[:, None].expand_as(IMAGE)
    assert inside.float().mean() > 0.7
    assert (images[0] - images[1])[inside].abs().max() < error


def test_what_comes_in_has_the_pedestal_and_no_class():
    for image, mask in (
        apply_views(torch.from_numpy(views(shift=(30, 0))).float(), IMAGE, MASK, OUTSIDE),
        apply_imgaug(imgaug().augmenters.Affine(translate_px={"x": 30}), IMAGE, MASK, OUTSIDE),
    ):
        assert (mask[:, :, :30] == 255).all() and torch.equal(mask[:, :, 30:], MASK[:, :, :-30])
        assert image[..., :29] == pytest.approx(OUTSIDE[:, :, None, None].expand(-1, -1, HEIGHT, 29))
        assert image[..., 31:] == pytest.approx(IMAGE[..., 1:-30], abs=1e-2)


@pytest.mark.parametrize("how", ["torch", "imgaug"])
def test_views_are_functions_of_the_seed(how):
    one, same, other = (augment(IMAGE, MASK, OUTSIDE, seed, how) for seed in (5, 5, 6))
    assert all(map(torch.equal, one, same))
    assert not torch.equal(one[0], other[0])
    assert one[0].dtype == torch.float32 and one[1].dtype == torch.uint8
    assert set(one[1].unique().tolist()) <= {0, 3, 255}


@pytest.mark.parametrize("how", ["torch", "imgaug"])
def test_mask_goes_with_its_image(how):
    """Where the mask says so the image is bright, but for the interpolated rim."""
    image = (MASK == 3).float()[:, None] * 100
    mask = (MASK == 3).to(torch.uint8) * 3
    for seed in range(6):
        moved, classes = augment(image, mask, torch.zeros(COUNT, 1), seed, how)
        known = classes != 255
        assert known.float().mean() > 0.6
        agree = ((moved[:, 0] > 50) == (classes == 3))[known].float().mean()
        assert agree > 0.95, seed


def test_all_kinds_of_views_are_drawn_within_their_bounds():
    matrices = random_views(4000, 0.6, np.random.default_rng(1)).numpy()
    scale, turned_off = matrices[:, (0, 1), (0, 1)], np.abs(matrices[:, 0, 1]) > 1e-9
    flipped = ~turned_off & (np.abs(np.abs(scale) - 1) < 1e-9).all(1)
    assert turned_off.mean() == pytest.approx(0.25, abs=0.03) and flipped.mean() == pytest.approx(0.25, abs=0.03)
    flips = np.unique(scale[flipped], axis=0, return_counts=True)[1]
    assert len(flips) == 4 and flips.min() > 200
    rest = scale[~turned_off & ~flipped]
    assert rest.min() == pytest.approx(0.8, abs=0.02) and rest.max() == pytest.approx(1.2, abs=0.02)
    angles = np.rad2deg(np.arctan2(-matrices[turned_off, 1, 0] * 0.6, matrices[turned_off, 1, 1]))
    assert np.abs(angles).max() < 36 and angles.std() > 14


@pytest.mark.parametrize("how", ["torch", "imgaug"])
def test_data_module_augments_training_alone_and_by_epoch_and_batch(how):
    class Place:
        training, current_epoch, global_rank = True, 0, 0

        class fit_loop:  # noqa: N801  as in Lightning
            class epoch_loop:  # noqa: N801
                batch_idx = 0

    data = CCDDataModule("nowhere", augmentation=how)
    place = data.trainer = Place()

    def drawn():
        level = torch.stack([OUTSIDE, torch.ones_like(OUTSIDE)], dim=1)
        return data.on_after_batch_transfer({"image": IMAGE, "mask": MASK, "level": level}, 0)["image"]

    first = drawn()
    assert torch.equal(drawn(), first) and not torch.equal(first, IMAGE)
    place.current_epoch = 1
    assert not torch.equal(drawn(), first)
    place.current_epoch, place.fit_loop.epoch_loop.batch_idx = 0, 1
    assert not torch.equal(drawn(), first)
    place.training = False
    assert torch.equal(drawn(), IMAGE)
