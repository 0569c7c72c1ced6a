"""Epochs streamed from HDF5 files."""

import threading
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from numbered import write

from lit_hep.data import streaming
from lit_hep.data.batches import batch_sizes
from lit_hep.data.hdf5 import open_table
from lit_hep.data.streaming import BlockLoader, EpochBlocks, StreamedColumns, ahead, batches, fits
from lit_hep.errors import ConfigError, DataError

SIZES = (230, 170)  # of two files, no multiple of a chunk
ROWS = np.arange(sum(SIZES))
MEMORY = 64 * 64 / 2**20  # GiB that allow blocks of 64 rows of 1 KiB


def streamed(folder, **options):
    """Two files, of which a block holds 64 rows."""
    paths = [write(folder / f"{n}.hdf5", n * SIZES[0], size, **options) for n, size in enumerate(SIZES)]
    tables = [open_table(path, ("all", "truth")) for path in paths]
    return StreamedColumns(tables, {"image": "all"}, {"index": torch.from_numpy(ROWS)}, MEMORY)


@pytest.fixture(params=["f4", "f8"])
def data(request, tmp_path, monkeypatch):
    """The same; a read takes a chunk of 20 rows, and such as are stored as they are wanted are unpacked at once."""
    monkeypatch.setattr("lit_hep.data.hdf5._READ", 1)
    return streamed(tmp_path, compression="gzip", dtype=request.param)


def test_memory_of_a_block_is_taken_again_once_it_is_let_go(data):
    def where(block):
        return block["image"].untyped_storage().data_ptr()

    first, second = data[torch.arange(64)], data[torch.arange(64)]
    assert where(first) != where(second)
    place, part = where(first), first["image"][9]
    del first
    assert where(data[torch.arange(64)]) != place and part[0, 0] == 9, "a part is still held"
    del part
    assert where(data[torch.arange(64)]) == place


def test_any_samples_of_several_files(data):
    index = torch.from_numpy(np.random.default_rng(1).permutation(ROWS)[:100])
    got = data[index]
    assert torch.equal(got["image"][:, 0, 0].long(), index) and torch.equal(got["index"], index)


def epoch(data, index, world_size=1, workers=0, number=0, shuffle=True, batch_size=16):
    """Batches of one epoch: for each process, a list of the sample numbers of each."""
    ranks = []
    for rank in range(world_size):
        sampler = EpochBlocks(data, index, shuffle=shuffle, seed=5, rank=rank, world_size=world_size)
        sampler.set_epoch(number)
        loader = BlockLoader(data, sampler, batch_size, workers)
        taken = list(loader)
        assert len(taken) == len(loader)
        assert all(torch.equal(batch["image"][:, 0, 0].long(), batch["index"]) for batch in taken)
        ranks.append(
            [index.where(batch.get("counts", index >= 0), ~index) for batch in taken for index in [batch["index"]]]
        )
    return ranks


CHOSEN = torch.from_numpy(np.sort(np.random.default_rng(2).permutation(ROWS)[:301]))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_comes_once_an_epoch(data, world_size, workers, shuffle):
    ranks = epoch(data, CHOSEN, world_size, workers, shuffle=shuffle)
    assert len({tuple(map(len, rank)) for rank in ranks}) == 1, "processes take the same steps"
    assert all(len(batch) == 16 for rank in ranks for batch in rank[:-1])
    taken = torch.cat([torch.cat(rank) for rank in ranks])
    first = sum(number < SIZES[0] for number in CHOSEN.tolist())
    assert len(taken) - 301 == -first % world_size + -(301 - first) % world_size, "repeated to fill up only"
    if shuffle:
        assert sorted(taken[taken >= 0].tolist()) == CHOSEN.tolist(), "and marked"
    else:
        assert set(taken.tolist()) == set(CHOSEN.tolist())


def test_order_is_a_function_of_seed_and_epoch_and_not_of_workers(data):
    def order(**options):
        return torch.cat(epoch(data, CHOSEN, **options)[0]).tolist()

    assert order() == order(workers=2)
    assert order() == order(batch_size=7)
    assert order() != order(number=1)
    assert sorted(order()) == CHOSEN.tolist()
    sampler = EpochBlocks(data, CHOSEN, shuffle=True, seed=5, epoch=1)
    assert torch.cat(list(sampler)).tolist() == order(number=1), "before Lightning says which epoch it is"


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_block_holds_the_same_share_of_each_file(data, world_size):
    for rank in range(world_size):
        blocks = list(EpochBlocks(data, CHOSEN, shuffle=True, seed=5, rank=rank, world_size=world_size))
        assert len(blocks) == -(-301 // (64 * world_size)) and all(len(block) <= 66 for block in blocks)
        rows = [block.where(block >= 0, ~block).numpy() for block in blocks]
        for files in zip(*[np.bincount(data.file_of(block), minlength=2) for block in rows], strict=True):
            assert max(files) - min(files) <= 1


def test_a_block_reads_few_chunks_and_mixes_them(data):
    for block in EpochBlocks(data, torch.from_numpy(ROWS), shuffle=True, seed=5):
        spans = data.file_of(block.numpy()) * 100 + data.span_of(block.numpy())
        assert len(set(spans)) <= 64 / 20 + 4, "whole chunks, but for the first and last of each file"
        assert sum(one != two for one, two in pairwise(spans)) > len(block) / 3


def test_blocks_are_of_whole_chunks_where_these_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr("lit_hep.data.hdf5._READ", 1)
    data = streamed(tmp_path, chunk=5, compression="gzip")
    blocks = list(EpochBlocks(data, CHOSEN, shuffle=True, seed=5))
    spans = [set(data.file_of(block.numpy()) * 100 + data.span_of(block.numpy())) for block in blocks]
    assert sum(map(len, spans)) == len(set.union(*spans)), "each is read once"
    assert sorted(torch.cat(blocks).tolist()) == CHOSEN.tolist()
    shares = np.array([np.bincount(data.file_of(block.numpy()), minlength=2) for block in blocks])
    assert np.abs(shares - shares.mean(0)).max() <= 5, "of each file alike, but for a chunk"


def test_a_group_begins_where_the_one_before_ends_whoever_took_it(data):
    loader = BlockLoader(data, EpochBlocks(data, CHOSEN, shuffle=True, seed=5), 16, group=3)
    groups = iter(loader)
    taken = [next(groups)[1:2], list(next(groups).steps()), next(groups)[-1:]]
    numbers = [batch["index"].tolist() for some in taken for batch in some]
    alone = [index.tolist() for index in epoch(data, CHOSEN)[0]]
    assert numbers == [alone[place] for place in (1, 3, 4, 5, 8)]


@pytest.mark.parametrize("group", [1, 64])
@pytest.mark.parametrize("together", [256, 1], ids=["small", "large"])
def test_one_block_exists_at_a_time(data, group, together, monkeypatch):
    monkeypatch.setattr(streaming, "_TOGETHER", together)
    alive, most = set(), 0
    lock = threading.Lock()

    class Counted(StreamedColumns):
        def __getitem__(self, index):
            nonlocal most
            block = super().__getitem__(index)
            key = object()
            with lock:
                alive.add(key)
                most = max(most, len(alive))
            weakref.finalize(block["image"].untyped_storage(), alive.discard, key)
            return block

    counted = Counted(data.tables, data.names, data.columns, MEMORY)
    loader = BlockLoader(counted, EpochBlocks(counted, torch.from_numpy(ROWS), shuffle=True), 16, group=group)
    given = iter(loader)
    for _ in range(len(loader)):  # nobody asks whether that was all
        one = next(given)
        for batch in one.steps() if group > 1 else [one]:
            del batch
        del one
    assert most == 1 and not alive


def test_memory_decides(data, tmp_path):
    assert data.block == 64
    assert not fits(data.tables, ["all"], 1.0) and fits(data.tables, ["all"], 1.001)
    path = write(tmp_path / "large.hdf5", 0, 100, chunk=100)
    with pytest.raises(ConfigError, match=r"large\.hdf5 is stored in chunks of 100 rows, for which memory_gib"):
        StreamedColumns([open_table(path, ("all",))], {"image": "all"}, {}, MEMORY)


@pytest.mark.parametrize("sizes", [[5, 5, 5], [1, 1, 1, 1, 9], [40], [3]])
@pytest.mark.parametrize("together", [256, 1], ids=["small", "large"])
def test_batches_are_cut_across_blocks(sizes, together, monkeypatch):
    monkeypatch.setattr(streaming, "_TOGETHER", together)
    starts = np.cumsum([0, *sizes])
    blocks = [{"index": torch.arange(*pair)} for pair in pairwise(starts.tolist())]
    wanted = batch_sizes(sum(sizes), 4)
    cut = [batch["index"] for batch in batches(iter(blocks), wanted)]
    assert torch.cat(cut).tolist() == list(range(sum(sizes)))
    assert [len(batch) for batch in cut] == wanted
    places = [block["index"].untyped_storage().data_ptr() for block in blocks]
    copied = [one.untyped_storage().data_ptr() not in places for one in cut]
    of_one = [any(first <= one[0] and one[-1] < end for first, end in pairwise(starts)) for one in cut]
    assert copied == [together > 1 or not whole for whole in of_one]


def test_the_next_item_is_made_while_one_is_used():
    asked = threading.Event()

    def items():
        yield 1
        asked.set()
        yield 2

    coming = ahead(items())
    assert next(coming) == 1 and asked.wait(5) and list(coming) == [2]


def test_errors_reach_the_reader():
    def items():
        yield 1
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        list(ahead(items()))
