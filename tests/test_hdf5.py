"""HDF5 files: checks, reads by row, and epochs streamed from disk."""

import threading
import weakref
from itertools import pairwise

import h5py
import numpy as np
import pytest
import torch
from spoil import change_hdf5, edit, put, text

from lit_hep.data.batches import batch_sizes
from lit_hep.data.hdf5 import open_table
from lit_hep.data.streaming import BlockLoader, EpochBlocks, StreamedColumns, ahead, batches, fits
from lit_hep.errors import ConfigError, DataError

SIZES = (230, 170)  # of two files, no multiple of a chunk
ROWS = np.arange(sum(SIZES))
MEMORY = 128 * 64 / 2**20  # GiB that allow blocks of 64 rows of 1 KiB


def write(path, first, count, chunk=20, **options):
    """Rows that hold their own number."""
    number = np.arange(first, first + count, dtype=np.float64)
    with h5py.File(path, "w") as file:
        file.create_dataset("all", data=np.tile(number[:, None, None], (1, 16, 16)), chunks=(chunk, 16, 16), **options)
        file.create_dataset("truth", data=number.astype(np.uint16))
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two files, of which a read takes a chunk of 20 rows and a block holds 64."""
    monkeypatch.setattr("lit_hep.data.hdf5._READ", 1)
    paths = [write(tmp_path / f"{n}.hdf5", n * SIZES[0], size, compression="gzip") for n, size in enumerate(SIZES)]
    tables = [open_table(path, ("all", "truth")) for path in paths]
    return StreamedColumns(tables, {"image": "all"}, {"index": torch.from_numpy(ROWS)}, MEMORY)


def test_table_knows_its_file(tmp_path):
    table = open_table(write(tmp_path / "a.h5", 0, 50), ("all",), optional=("truth", "absent"))
    assert len(table) == 50
    assert table.shapes == {"all": (50, 16, 16), "truth": (50,)}
    assert table.dtypes == {"all": np.float32, "truth": np.uint16}, "double precision is read as single"
    assert table.row_bytes(["all", "truth"]) == 16 * 16 * 4 + 2
    assert table.span(["all"]) == 1020, "whole chunks of 20 rows, about a mebibyte"


def test_rows_come_in_the_order_asked_for(data):
    rows = np.random.default_rng(0).permutation(SIZES[0])[:90]
    table = data.tables[0]
    assert (table.take(rows, ["all"])["all"][:, 3, 3] == rows).all()
    assert table.take(rows[:0], ["all"])["all"].shape == (0, 16, 16)
    whole = table.read(["all", "truth"])
    assert (whole["truth"] == np.arange(SIZES[0])).all() and (whole["all"][:, 5, 5] == whole["truth"]).all()
    assert [start for start, _ in table.slabs(["all"])] == list(range(0, 230, 20))


@pytest.mark.parametrize(
    ("options", "direct"),
    [
        ({"compression": "gzip"}, True),
        ({"compression": "gzip", "dtype": ">f4"}, True),
        ({"compression": "gzip", "shuffle": True}, False),
        ({"compression": "gzip", "fletcher32": True}, False),
        ({"compression": "lzf"}, False),
        ({"compression": "gzip", "chunks": (20, 8, 16)}, False),
        ({"chunks": None}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [0, 512])
@pytest.mark.parametrize("read", [1, 2**20])
def test_rows_are_the_same_however_they_are_stored(tmp_path, options, direct, before, read, monkeypatch):
    monkeypatch.setattr("lit_hep.data.hdf5._READ", read)
    values = np.random.default_rng(0).random((50, 16, 16), np.float32)
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=before) as file:
        file.create_dataset("x", data=values, **({"chunks": (20, 16, 16)} | options))
    table, rows = open_table(tmp_path / "a.h5", ("x",)), np.array([49, 3, 20, 41, 2])
    chunks = table.packed["x"]
    assert direct == (chunks is not None)
    if chunks:
        with table.path.open("rb", buffering=0) as file:
            assert np.array_equal(chunks.rows(file, 7, 50), values[7:])
    assert np.array_equal(table.take(rows, ["x"])["x"], values[rows])
    assert np.array_equal(table.read(["x"])["x"], values)


def test_chunks_never_written_are_zero(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("x", (50, 4), np.float32, chunks=(20, 4), compression="gzip")
        stored[:20] = 1
    assert (open_table(tmp_path / "a.h5", ("x",)).read(["x"])["x"].sum(1) == [4] * 20 + [0] * 30).all()


def test_a_file_written_anew_is_read_as_it_is_now(tmp_path):
    table = open_table(write(tmp_path / "a.h5", 0, 50, compression="gzip"), ("all",))
    write(tmp_path / "a.h5", 1000, 50, chunk=25, compression="gzip")
    assert (table.take(np.array([3, 30]), ["all"])["all"][:, 0, 0] == [1003, 1030]).all()


def test_a_file_taken_away_is_missed(tmp_path):
    table = open_table(write(tmp_path / "a.h5", 0, 50, compression="gzip"), ("all",))
    table.path.unlink()
    with pytest.raises(DataError, match=r"a\.h5: cannot be read \(.*No such file.*\); copy it again"):
        table.take(np.array([3]), ["all"])


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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"a\.hdf5: no such file"),
        (lambda path: edit(path, lambda old: b"")(), r"is empty \(0 bytes\); copy it again"),
        (lambda path: edit(path, lambda old: old[: len(old) // 2])(), r"truncated HDF5 file; copy it again"),
        (lambda path: text(path, "1 2 3\n")(), r"not an HDF5 file, or damaged; copy it again"),
        (lambda path: change_hdf5(path, "all", lambda x: None)(), r"holds no data set 'all' but 'truth'; rename it"),
        (lambda path: change_hdf5(path, "all", lambda x: x.astype("S"))(), r"'all' holds \|S\d+ values, not numbers"),
        (lambda path: change_hdf5(path, "all", lambda x: x[:0])(), r"'all' holds no samples \(shape \(0, 16, 16\)\)"),
        (lambda path: change_hdf5(path, "truth", lambda x: x[:9])(), r"differ in length: 'all' 50, 'truth' 9 rows"),
    ],
)
def test_files_that_cannot_be_opened(tmp_path, spoil, message):
    path = write(tmp_path / "a.hdf5", 0, 50)
    spoil(path)
    with pytest.raises(DataError, match=message):
        open_table(path, ("all", "truth"))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_values_are_checked_on_the_way(tmp_path, value):
    path = write(tmp_path / "a.hdf5", 0, 50)
    change_hdf5(path, "all", put((33, 2, 2), value))()
    with pytest.raises(DataError, match=r"a\.hdf5: 'all' holds NaN or infinity, first in row 33; remove such samples"):
        open_table(path, ("all",)).read(["all"])


def test_damage_inside_a_file_is_found(tmp_path):
    path = write(tmp_path / "a.hdf5", 0, 50, compression="gzip")
    table = open_table(path, ("all",))
    with h5py.File(path) as file:
        where = file["all"].id.get_chunk_info(1)
    with path.open("r+b") as file:
        file.seek(where.byte_offset)
        file.write(b"\0" * where.size)
    with pytest.raises(DataError, match=r"a\.hdf5: rows 20\.\.24 of 'all' cannot be read: damaged; copy it again"):
        table.take(np.arange(20, 25), ["all"])


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


def test_a_group_begins_where_the_one_before_ends_whoever_took_it(data):
    loader = BlockLoader(data, EpochBlocks(data, CHOSEN, shuffle=True, seed=5), 16, group=3)
    groups = iter(loader)
    taken = [next(groups)[1:2], list(next(groups).steps()), next(groups)[-1:]]
    numbers = [batch["index"].tolist() for some in taken for batch in some]
    alone = [index.tolist() for index in epoch(data, CHOSEN)[0]]
    assert numbers == [alone[place] for place in (1, 3, 4, 5, 8)]


@pytest.mark.parametrize("group", [1, 64])
def test_few_blocks_exist_at_a_time(data, group):
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
    for one in BlockLoader(counted, EpochBlocks(counted, torch.from_numpy(ROWS), shuffle=True), 16, group=group):
        for batch in one.steps() if group > 1 else [one]:
            del batch
    assert 2 <= most <= 3


def test_memory_decides(data, tmp_path):
    assert data.block == 64
    assert not fits(data.tables, ["all"], 1.0) and fits(data.tables, ["all"], 1.001)
    path = write(tmp_path / "large.hdf5", 0, 100, chunk=100)
    with pytest.raises(ConfigError, match=r"large\.hdf5 is stored in chunks of 100 rows, for which memory_gib"):
        StreamedColumns([open_table(path, ("all",))], {"image": "all"}, {}, MEMORY)


@pytest.mark.parametrize("sizes", [[5, 5, 5], [1, 1, 1, 1, 9], [40], [3]])
def test_batches_are_cut_across_blocks(sizes):
    starts = np.cumsum([0, *sizes])
    blocks = [{"index": torch.arange(*pair)} for pair in pairwise(starts.tolist())]
    wanted = batch_sizes(sum(sizes), 4)
    cut = [batch["index"] for batch in batches(iter(blocks), wanted)]
    assert torch.cat(cut).tolist() == list(range(sum(sizes)))
    assert [len(batch) for batch in cut] == wanted


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
