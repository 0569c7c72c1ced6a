"""Random views of training images."""

import pytest
import torch

from lit_hep.tasks.crater.augmentation import framed, random_framing, random_symmetry

IMAGE = torch.arange(2 * 36, dtype=torch.uint8).reshape(2, 1, 6, 6)


def test_symmetries_are_the_eight_and_exact():
    torch.manual_seed(1)
    views = [torch.rot90(view, turns, (1, 2)) for view in (IMAGE[0], IMAGE[0].flip(2)) for turns in range(4)]
    drawn = random_symmetry(IMAGE[:1].expand(400, 1, 6, 6))
    found = torch.stack([torch.stack([(image == view).all() for view in views]) for image in drawn])
    assert drawn.dtype == torch.uint8 and (found.sum(1) == 1).all()
    assert (found.sum(0) > 25).all(), "each of the eight comes about as often"


def test_framing_without_zoom_or_shift_changes_nothing():
    assert random_framing(IMAGE, 0.0, 0.0) == pytest.approx(IMAGE.float(), abs=1e-3)


def test_shift_moves_by_pixels_and_zoom_keeps_the_middle():
    torch.manual_seed(1)
    ramp = torch.arange(48.0).expand(500, 1, 48, 48)  # the value is the column
    moved = random_framing(ramp, 0.0, 3.0)[:, 0, 24, 24] - 24
    assert moved.abs().max() <= 3.01 and moved.min() < -2.8 and moved.max() > 2.8
    zoomed = random_framing(ramp, 0.2, 0.0)
    step = zoomed[:, 0, 24, 30] - zoomed[:, 0, 24, 29]
    assert step.min() == pytest.approx(0.8, abs=0.02) and step.max() == pytest.approx(1.2, abs=0.02)
    assert zoomed[:, 0, 24, 23:25].mean(1) == pytest.approx(torch.full((500,), 23.5), abs=1e-2)


def test_frames_beyond_the_image_show_its_mirror_image():
    ramp = torch.arange(48.0).expand(1, 1, 48, 48)
    row = framed(ramp, 2.0)[0, 0, 24]
    assert row[12:36] == pytest.approx(torch.arange(24) * 2 + 0.5, abs=1e-4)
    assert row[:12] == pytest.approx(row[12:24].flip(0), abs=1e-4)
