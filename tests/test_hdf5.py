"""HDF5 files: checks, and reads by row."""

import os
from contextlib import ExitStack

import h5py
import numpy as np
import pytest
from numbered import write
from spoil import change_hdf5, edit, put, text

from lit_hep.data.chunks import Wanted, _unpacking, unpack
from lit_hep.data.hdf5 import open_table, take
from lit_hep.errors import DataError

NEEDS_COMPILER = pytest.mark.skipif(_unpacking() is None, reason="needs a C++ compiler")


def test_table_knows_its_file(tmp_path):
    table = open_table(write(tmp_path / "a.h5", 0, 50), ("all",), optional=("truth", "absent"))
    assert len(table) == 50
    assert table.shapes == {"all": (50, 16, 16), "truth": (50,)}
    assert table.dtypes == {"all": np.float32, "truth": np.uint16}, "double precision is read as single"
    assert table.row_bytes(["all", "truth"]) == 16 * 16 * 4 + 2
    assert table.span(["all"]) == 1020, "whole chunks of 20 rows, about a mebibyte"


def test_rows_come_in_the_order_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("lit_hep.data.hdf5._READ", 1)
    table = open_table(write(tmp_path / "a.h5", 0, 230, compression="gzip"), ("all", "truth"))
    rows = np.random.default_rng(0).permutation(230)[:90]
    assert (table.take(rows, ["all"])["all"][:, 3, 3] == rows).all()
    assert table.take(rows[:0], ["all"])["all"].shape == (0, 16, 16)
    whole = table.read(["all", "truth"])
    assert (whole["truth"] == np.arange(230)).all() and (whole["all"][:, 5, 5] == whole["truth"]).all()
    assert [start for start, _ in table.slabs(["all"])] == list(range(0, 230, 20))


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "dtype": "f4"}], ids=str)
@pytest.mark.parametrize("most", [1, 2, 64])
def test_rows_of_many_files(tmp_path, options, most, monkeypatch):
    monkeypatch.setattr("lit_hep.data.hdf5._FILES", most)
    tables = [
        open_table(write(tmp_path / f"{n}.h5", 10 * n, 10, chunk=4, **options), ("all", "truth")) for n in range(7)
    ]
    rows = np.array([69, 0, 39, 31, 9, 62])
    into = {"all": np.empty((6, 16, 16), np.float32), "truth": np.empty(6, np.uint16)}
    take(tables, rows, into)
    assert (into["all"][:, 5, 5] == rows).all() and (into["truth"] == rows).all()


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


def packed(folder):
    """A file whose rows are stored as they are wanted."""
    return write(folder / "a.hdf5", 0, 230, compression="gzip", dtype="f4")


def damaged(path):
    """Its third chunk becomes zeros."""
    with h5py.File(path) as file:
        where = file["all"].id.get_chunk_info(2)
    with path.open("r+b") as file:
        file.seek(where.byte_offset)
        file.write(b"\0" * where.size)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_damage_inside_a_file_is_found(tmp_path, dtype):
    path = write(tmp_path / "a.hdf5", 0, 50, compression="gzip", dtype=dtype)
    table = open_table(path, ("all",))
    damaged(path)
    with pytest.raises(DataError, match=r"a\.hdf5: rows 40\.\.44 of 'all' cannot be read: damaged; copy it again"):
        table.take(np.arange(40, 45), ["all"])


def scattered(tables, rows, dtype=np.float32):
    """What `unpack` says, and an array with those rows of each in other places, which held -1."""
    into = np.full((60, 16, 16), -1, dtype)
    places = np.random.default_rng(1).permutation(60)[: len(tables) * len(rows)].reshape(len(tables), -1)
    with ExitStack() as stack:
        files = [stack.enter_context(table.path.open("rb", buffering=0)) for table in tables]
        wanted = [
            Wanted(table.packed["all"], file, rows, mine)
            for table, file, mine in zip(tables, files, places, strict=True)
        ]
        return unpack(wanted, into), into, places


ROWS = np.array([3, 4, 19, 40, 41, 229])


@NEEDS_COMPILER
@pytest.mark.parametrize("number", [1, 2, 5])
def test_rows_are_unpacked_to_where_they_belong(tmp_path, threads, number):
    """Of two files, the first with larger chunks, the second with larger numbers."""
    threads(number)
    options = {"compression": "gzip", "dtype": "f4"}
    paths = [
        write(tmp_path / "a.h5", 0, 270, chunk=30, **options),
        write(tmp_path / "b.h5", 1000, 230, **options),
    ]
    done, into, places = scattered([open_table(path, ("all",)) for path in paths], ROWS)
    assert done and (into[places] == np.stack([ROWS, 1000 + ROWS])[..., None, None]).all()
    into[places] = -1
    assert (into == -1).all()


@NEEDS_COMPILER
def test_chunks_may_be_packed_more_or_less(tmp_path):
    values = np.random.default_rng(0).random((230, 16, 16), np.float32)
    values[:20] = 0
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("all", data=values, chunks=(20, 16, 16), compression="gzip")
    done, into, places = scattered([open_table(tmp_path / "a.hdf5", ("all",))], ROWS)
    assert done and np.array_equal(into[places[0]], values[ROWS])


def rewritten(path):
    write(path, 500, 230, chunk=25, compression="gzip", dtype="f4")


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("dtype", "change"),
    [
        (np.float64, lambda path: None),
        (np.float32, damaged),
        (np.float32, lambda path: os.truncate(path, 3000)),
        (np.float32, rewritten),
    ],
    ids=["other type", "damaged", "cut off", "written anew"],
)
def test_what_cannot_be_unpacked_is_left_to_hdf5(tmp_path, dtype, change):
    tables = [open_table(packed(tmp_path), ("all",)), open_table(write(tmp_path / "b.h5", 0, 230), ("all",))]
    assert not scattered(tables, ROWS)[0], "one of the files is not packed"
    change(tables[0].path)
    assert not scattered(tables[:1], ROWS, dtype)[0]


@NEEDS_COMPILER
def test_a_chunk_is_no_longer_than_its_file(tmp_path):
    table = open_table(packed(tmp_path), ("all",))
    table.packed["all"].places[2, 1] = 2**62
    assert not scattered([table], ROWS)[0] and scattered([table], ROWS[:2])[0]


def test_without_compiler_rows_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    _unpacking.cache_clear()
    try:
        table = open_table(packed(tmp_path), ("all",))
        assert not scattered([table], ROWS)[0]
        assert (table.take(ROWS[::-1], ["all"])["all"][:, 5, 5] == ROWS[::-1]).all()
    finally:
        _unpacking.cache_clear()
