"""Views of training events: flipped, moved, with other gains, with hits lost."""

import numpy as np
import pytest
import torch
from planes import SIZE, drawn, write

from lit_hep.data.sparse import read_sparse_images
from lit_hep.tasks.multiplane.augmentation import Views


@pytest.fixture
def images(tmp_path):
    planes = np.stack([drawn(seed) for seed in range(120)]).reshape(40, 3, *SIZE)
    return read_sparse_images(write(tmp_path, planes))


def test_views_flip_all_planes_of_an_event_alike(images):
    before = images.dense()
    for views, axis in ((Views(flip_wires=True), 2), (Views(flip_ticks=True), 3)):
        torch.manual_seed(1)
        after = views(images).dense()
        flipped = before.flip(axis)
        is_flipped = [torch.equal(*pair) for pair in zip(after, flipped, strict=True)]
        is_same = [torch.equal(*pair) for pair in zip(after, before, strict=True)]
        assert all(one != two for one, two in zip(is_flipped, is_same, strict=True))
        assert 8 < sum(is_flipped) < 32


def moved(plane, wires, ticks):
    """A plane (H, W) moved, zeros coming in."""
    padded = torch.nn.functional.pad(plane, (9, 9, 9, 9))
    return padded.roll((wires, ticks), (0, 1))[9:-9, 9:-9]


def test_views_shift_without_wrapping_and_keep_common_ticks(images):
    torch.manual_seed(2)
    before, after = images.dense(), Views(shift=2)(images).dense()
    moves = [(wires, ticks) for wires in range(-2, 3) for ticks in range(-2, 3)]
    seen = set()
    for event in range(len(before)):
        found = [
            {move for move in moves if torch.equal(moved(before[event, plane], *move), after[event, plane])}
            for plane in range(3)
        ]
        assert all(len(some) == 1 for some in found)
        chosen = [some.pop() for some in found]
        assert len({ticks for _, ticks in chosen}) == 1
        seen |= set(chosen)
    assert len(seen) > 15


def test_views_scale_the_charge_of_a_plane_and_lose_hits(images):
    torch.manual_seed(3)
    before, after = images.dense(), Views(charge_scale=0.1)(images).dense()
    ratio = (after.sum((2, 3)) / before.sum((2, 3))).log()
    assert torch.allclose(after, before * ratio.exp()[..., None, None], rtol=1e-4)
    assert abs(ratio.std() - 0.1) < 0.02 and abs(ratio.mean()) < 0.03
    after = Views(hit_loss=0.3)(images).dense()
    lost = (before > 0) & (after == 0)
    assert abs(lost.sum() / (before > 0).sum() - 0.3) < 0.02
    assert torch.equal(after[~lost], before[~lost])


def test_views_leave_events_as_they_are_by_default(images):
    assert torch.equal(Views()(images).dense(), images.dense())
