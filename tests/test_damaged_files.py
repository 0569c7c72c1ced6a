"""Damaged files of every kind: each is read, or refused in one short line, within 2 GB and 20 s.

A failure names the kind and the case, which are all that the damage depends on.
"""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as some
import numpy as np
import pytest
from damage import failures
from damaged_kinds import KINDS, evaluated_run
from hypothesis import given, settings

from lit_hep.data.hdf5 import open_table
from lit_hep.data.readers import read_npy, read_npz
from lit_hep.data.sparse import read_sparse
from lit_hep.data.splits import SplitRule, saved_splits
from lit_hep.errors import DataError
from lit_hep.evaluation.report import write_page
from lit_hep.evaluation.report_files import read_run
from lit_hep.tasks.ccd.library import read_library
from lit_hep.tasks.ccd.reading import read_image
from lit_hep.tasks.multiplane.norm import parse

FEW = settings(max_examples=50, derandomize=True, deadline=None)


@pytest.mark.parametrize("name", KINDS)
def test_some_damage(name):
    assert not failures(name, 50)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", KINDS)
def test_much_damage(name):
    assert not failures(name, 2000)


# headers that promise more than there is; without a check each asks for 5 GB or more


def npy(path):
    np.save(path, np.ones(20))
    path.write_bytes(path.read_bytes().replace(b"(20,), }            ", b"(2000000000000,), }  "))
    return read_npy


def npz(path):
    content = io.BytesIO()
    np.save(content, np.ones(20))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content.getvalue().replace(b"(20,), }            ", b"(2000000000000,), }  "))
    return read_npz


def npz_of_zeros(path):
    """All its members are the same place of the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**6))
        archive.filelist += archive.filelist * 4_999
    return read_npz


def npz_of_packed(path):
    """Its member is long before it is unpacked."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**4))
        archive.filelist[0].compress_size = 2**31 - 1
    return read_npz


def png(path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 120_000, 120_000, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b""))
    return read_image


def fits(path):
    cards = ("SIMPLE  = T", "BITPIX  = -64", "NAXIS   = 2", "NAXIS1  = 900000", "NAXIS2  = 900000", "END")
    path.write_bytes("".join(f"{card:80}" for card in cards).ljust(2880).encode() + bytes(2880))
    return read_image


def hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", (2**40, 32, 32, 2), "f4", chunks=(20, 32, 32, 2), compression="gzip")
    return lambda path: open_table(path, ("X",))


def pickled(path):
    path.write_bytes(b"\x80\x04]r\xff\xff\xff\x7f.")
    return read_library


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((npy, "a.npy"), (npz, "a.npz"), (npz_of_zeros, "b.npz"), (npz_of_packed, "c.npz")),
        *((png, "a.png"), (fits, "a.fits"), (hdf5, "a.h5"), (pickled, "a.pkl")),
    ],
)
def test_header_promises_too_much(make, name, tmp_path):
    read = make(tmp_path / name)
    tracemalloc.start()
    with pytest.raises(DataError) as refused:
        read(tmp_path / name)
    asked = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert name in str(refused.value)
    assert not isinstance(refused.value.__cause__, MemoryError)
    assert asked < 2e8


@pytest.mark.parametrize(
    "opcode", [b"cos\nsystem\n", b"\x8c\x02os\x8c\x06system\x93", b"cnumpy\nload\n", b"cnumpy\nndarray\n"]
)
def test_pickle_of_clusters_calls_nothing(opcode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("a.pkl")
    path.write_bytes(b"\x80\x04]" + opcode + pickle.dumps("touch sprung", 4)[2:-1] + b"\x85Ra.")
    with pytest.raises(DataError, match=r"a\.pkl"):
        read_library(path)
    assert not Path("sprung").exists()


# any content


@FEW
@given(some.binary(max_size=80) | some.text("0123456789 -\n\r\tx", max_size=200).map(str.encode))
def test_any_text_for_a_plane(text):
    triples, faults = parse(text, 40)
    assert faults or ((triples[:, :2] < 40).all() and (triples >= 0).all())


NUMBERS = some.sampled_from(["i4", "i8", "u4", "f4", "?", "c8", "S4"]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5))
)


@FEW
@given(
    some.fixed_dictionaries({}, optional=dict.fromkeys(("data", "indices", "indptr", "row", "col", "shape"), NUMBERS))
)
def test_any_arrays_for_a_sparse_matrix(columns):
    with TemporaryDirectory() as folder:
        for kind in ("csr", "coo"):
            np.savez(Path(folder, "a.npz"), format=kind.encode(), **columns)
            try:
                hits = read_sparse(Path(folder, "a.npz"))
            except DataError:
                continue
            assert (hits.cell >= 0).all() and (hits.cell < np.prod(hits.shape)).all()


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda part: some.lists(part, max_size=4) | some.dictionaries(some.text(max_size=5), part, max_size=4),
    max_leaves=8,
)


@FEW
@given(JSON, JSON, JSON, some.sampled_from(["train", "val", "test", "digest", "seed", ""]))
def test_any_splits(whole, part, rows, name):
    labels, rule = np.arange(20) % 2, SplitRule(0.2, 0.2, 0)
    with TemporaryDirectory() as folder:
        path = Path(folder, "splits.json")
        saved_splits(path, labels, rule)
        entry = json.loads(path.read_text())[0]
        for content in (whole, [part, entry], [entry | {name: part}], [entry | {name: [*entry["train"], rows]}]):
            path.write_text(json.dumps(content))
            try:
                splits = saved_splits(path, labels, rule)
            except DataError:
                continue
            assert len(set(splits.train) | set(splits.val) | set(splits.test)) <= 20


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run that was tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        evaluated_run()
        return Path("tb_logs/crater/version_0").resolve()


@FEW
@given(JSON, some.sampled_from(["task", "parameters", "classes", "samples", "removed", "checkpoint", "lit_hep"]))
def test_any_summary_of_a_run(run, part, name):
    path = run / "test/summary.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {name: part}))
    try:
        write_page(read_run(run), run / "page.html")
    except DataError as error:
        assert "summary.json" in str(error)
    finally:
        path.write_text(whole)
