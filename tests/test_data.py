"""Samplers, splits, files and seeds."""

import json

import numpy as np
import pytest
import torch

from lit_hep.data.batches import Columns, EpochBatches, Marked, batch_sizes
from lit_hep.data.files import fill, replacing
from lit_hep.data.splits import SplitRule, make_splits, make_subset, saved_splits
from lit_hep.errors import ConfigError, DataError, OutputError

INDEX = torch.arange(100, 137)


def batches(rank=0, world_size=1, epoch=0, batch_size=4, **options):
    options = {"shuffle": True, "seed": 5} | options
    sampler = EpochBatches(INDEX, batch_size, rank=rank, world_size=world_size, **options)
    sampler.set_epoch(epoch)
    taken = list(sampler)
    assert len(taken) == len(sampler)
    return taken


def counting(batch):
    """Sample numbers of a batch that are no padding, sorted."""
    return sorted(number for number in batch.tolist() if number >= 0)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_sample_comes_once_an_epoch_and_processes_take_as_many_steps(world_size, shuffle):
    ranks = [batches(rank, world_size, shuffle=shuffle) for rank in range(world_size)]
    together = torch.cat([torch.cat(rank) for rank in ranks])
    assert set(together.where(together >= 0, ~together).tolist()) == set(INDEX.tolist())
    if shuffle:
        assert counting(together) == INDEX.tolist(), "padding is marked"
    else:
        assert len(together) - len(INDEX) < world_size and (together >= 0).all()
    assert len({tuple(map(len, rank)) for rank in ranks}) == 1


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 6), (3, 4), (4, 3), (6, 2), (12, 1), (2, 9), (3, 6)])
def test_batches_of_all_processes_are_those_of_one_with_as_large_a_batch(world_size, batch_size):
    """37 samples: those at the end of an epoch are 1 of 12 or of 18, or fewer than there are processes."""
    alone = batches(batch_size=world_size * batch_size)
    ranks = [batches(rank, world_size, batch_size=batch_size) for rank in range(world_size)]
    for one, *shares in zip(alone, *ranks, strict=True):
        assert sorted(one.tolist()) == counting(torch.cat(shares))
        assert all(len(share) >= min(2, batch_size) for share in shares), "batch norm needs two"


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (3, 1, [1, 1, 1]), (1, 4, [1])]
)
def test_no_batch_of_a_single_sample_at_the_end(count, size, sizes):
    assert batch_sizes(count, size) == sizes


def test_samples_to_be_seen_alone_come_alone():
    for rank in range(2):
        assert [len(batch) for batch in EpochBatches(INDEX, 1, shuffle=False, rank=rank, world_size=2)] == [1] * 19


def test_order_is_a_function_of_seed_and_epoch():
    def order(**options):
        return torch.cat(batches(**options)).tolist()

    assert order(epoch=3) == order(epoch=3)
    assert order(epoch=3) != order(epoch=4)
    assert order(epoch=3) != order(epoch=3, seed=6)
    assert order(shuffle=False) == INDEX.tolist()


def test_weights_balance_the_classes():
    weights = torch.where(INDEX < 104, 33.0, 4.0)  # 4 of 37 samples, as often as the others together
    drawn = torch.cat([torch.cat(batches(epoch=epoch, weights=weights)) for epoch in range(60)])
    assert abs((drawn < 104).float().mean() - 0.5) < 0.05


def test_one_look_up_gives_a_batch():
    columns = Columns({"image": torch.arange(10)[:, None].expand(10, 3), "index": torch.arange(10)})
    batch = columns[torch.tensor([7, 2])]
    assert batch["image"].tolist() == [[7] * 3, [2] * 3] and batch["index"].tolist() == [7, 2] and len(columns) == 10
    batch = Marked(columns)[torch.tensor([7, ~2])]
    assert batch["index"].tolist() == [7, 2] and batch["counts"].tolist() == [True, False]


LABELS = np.repeat([0, 1], [40, 60])
RULE = SplitRule(val_fraction=0.2, test_fraction=0.25, seed=1)


def test_splits_are_disjoint_complete_and_stratified():
    splits = make_splits(LABELS, RULE)
    parts = [splits.train, splits.val, splits.test]
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert [(LABELS[part] == 0).sum() for part in parts] == [22, 8, 10]
    assert [(LABELS[part] == 1).sum() for part in parts] == [33, 12, 15]
    assert not np.array_equal(splits.test, make_splits(LABELS, SplitRule(0.2, 0.25, 2)).test)


def test_saved_split_is_used_again_even_where_it_was_edited(tmp_path):
    path = tmp_path / "splits.json"
    first = saved_splits(path, LABELS, RULE)
    saved_splits(path, LABELS, SplitRule(0.2, 0.25, 2))
    entries = json.loads(path.read_text())
    assert len(entries) == 2
    entries[0]["train"] = entries[0]["train"][1:]
    path.write_text(json.dumps(entries))
    again = saved_splits(path, LABELS, RULE)
    assert again.train.tolist() == first.train.tolist()[1:] and again.val.tolist() == first.val.tolist()
    other = saved_splits(path, 1 - LABELS, RULE)  # other data, other split
    assert other.digest != first.digest
    assert saved_splits(path, LABELS, RULE, names=range(100)).digest != first.digest


def test_subset_keeps_every_class():
    subset = make_subset(np.arange(100), LABELS, 0.1, seed=0)
    assert len(subset) == 10 and (LABELS[subset] == 0).sum() == 4
    assert set(LABELS[make_subset(np.arange(100), LABELS, 0.001, seed=0)]) == {0, 1}


@pytest.mark.parametrize("fractions", [(0, 0.2), (1.2, 0.2), (0.5, 0.5), (0.2, -0.1)])
def test_senseless_fractions_are_refused(fractions):
    with pytest.raises(ConfigError):
        SplitRule(*fractions, seed=0)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep"]
    with replacing(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"file\.txt.*cannot be written"), replacing(path / "below") as part:
        part.touch()


def test_a_folder_is_filled_once(tmp_path):
    folder = tmp_path / "set"
    fill(folder, lambda part: (part / "a").write_text("1"))
    with pytest.raises(DataError, match="not empty"):
        fill(folder, lambda part: (part / "a").write_text("2"))
    assert (folder / "a").read_text() == "1"
    with pytest.raises(ZeroDivisionError):
        fill(tmp_path / "other", lambda part: 1 / 0)
    assert not (tmp_path / "other").exists()
