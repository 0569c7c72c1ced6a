"""Raw text files and names of events: parsed with their faults, matched by name and never by place."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.multiplane.events import event_id, find_events
from lit_hep.tasks.multiplane.norm import parse, read_norm, write_norm

SIZE = 48
PLANES = range(3)


def test_triples_are_read_back(tmp_path):
    rng = np.random.default_rng(1)
    cell = rng.choice(SIZE**2, 200, replace=False)
    columns = [cell // SIZE, cell % SIZE, rng.integers(1, 4000, 200)]
    write_norm(tmp_path / "a.norm", columns)
    assert np.array_equal(read_norm(tmp_path / "a.norm", SIZE), np.stack(columns, axis=1))
    text = (tmp_path / "a.norm").read_bytes()
    for same in (text.replace(b"\n", b"\r\n"), text.replace(b" ", b"\t "), text.rstrip(), text + b"\n \n"):
        triples, faults = parse(same, SIZE)
        assert not faults
        assert np.array_equal(triples, np.stack(columns, axis=1))


@pytest.mark.parametrize(
    ("third", "what"),
    [
        ("1 2", "not wire, tick and height"),
        ("1 2 3 4", "not wire, tick and height"),
        ("1 2 x", "not wire, tick and height"),
        ("1 2.5 3", "not wire, tick and height"),
        ("", "not wire, tick and height"),
        ("\xff 2 3", "not wire, tick and height"),
        ("1 2 99999999999999999999", "not wire, tick and height"),
        ("-1 2 3", "negative index"),
        ("1 -2 3", "negative index"),
        ("1 48 3", "index beyond 48 x 48"),
        ("480 1 3", "index beyond 48 x 48"),
        ("5 6 9", "cell twice"),
        ("1 2 -3", "negative height"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, third, what):
    path = tmp_path / "files_PDK_0_larcv_plane0_1.extracted.norm"
    path.write_bytes(f"5 6 7\n7 6 5\n{third}\n8 8 8\n".encode("latin-1"))
    with pytest.raises(DataError, match=rf"plane0_1\.extracted\.norm: line 3: {what}"):
        read_norm(path, SIZE)
    assert [line for line, _ in parse(path.read_bytes(), SIZE)[1]] == [3]


def test_empty_and_absent_files_are_named(tmp_path):
    (tmp_path / "a.norm").write_text("\n")
    with pytest.raises(DataError, match=r"a\.norm: is empty"):
        read_norm(tmp_path / "a.norm", SIZE)
    with pytest.raises(DataError, match=r"b\.norm: cannot be read"):
        read_norm(tmp_path / "b.norm", SIZE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x/files_PDK_2_larcv_plane0_185.extracted.norm", ("files_PDK_2_larcv_185", 0)),
        ("files_PDK_2_larcv_plane0_185.npz", ("files_PDK_2_larcv_185", 0)),
        (Path("numu_plane2_012.npz"), ("numu_012", 2)),
        ("plane1_7.npz", ("7", 1)),
        ("a.b_plane1.npz", ("a.b", 1)),
    ],
)
def test_names_tell_event_and_plane(name, expected):
    assert event_id(name) == expected


@pytest.mark.parametrize("name", ["numu_012.npz", "biplane0_1.npz", "plane0_plane1_3.npz", "planeX_1.npz"])
def test_names_without_one_plane_are_refused(name):
    with pytest.raises(DataError, match=name):
        event_id(name)


@pytest.fixture
def folder(tmp_path):
    """Events a, b of class x and c, d of class y, as empty files: only names matter."""
    for plane in PLANES:
        for kind, events in (("x", "ab"), ("y", "cd")):
            (tmp_path / f"PLANE_{plane}" / kind).mkdir(parents=True)
            for event in events:
                (tmp_path / f"PLANE_{plane}" / kind / f"{event}_plane{plane}_1.npz").touch()
    return tmp_path


def test_events_are_matched_by_name(folder):
    found = find_events(folder)
    assert (found.classes, found.planes, list(found.ids)) == (("x", "y"), (0, 1, 2), ["a_1", "b_1", "c_1", "d_1"])
    assert list(found.labels) == [0, 0, 1, 1]
    for key, paths in zip(found.ids, found.paths, strict=True):
        assert [event_id(path) for path in paths] == [(key, plane) for plane in PLANES]
    chosen = find_events(folder, ["y", "x"], [2, 0])
    assert (chosen.classes, chosen.planes, list(chosen.ids)) == (("y", "x"), (2, 0), ["c_1", "d_1", "a_1", "b_1"])
    assert chosen.paths[0, 0].endswith("PLANE_2/y/c_plane2_1.npz")
    shutil.move(folder / "PLANE_0" / "x" / "a_plane0_1.npz", folder / "PLANE_0" / "a_plane0_1.npz")
    free = find_events(folder, labelled=False)
    assert (free.classes, list(free.labels), len(free)) == ((), [-1] * 4, 4)


def spoil_class(root):
    (root / "PLANE_1" / "x").rename(root / "PLANE_1" / "z")


def spoil_plane(root):
    (root / "PLANE_1" / "x" / "b_plane1_1.npz").unlink()


def spoil_order(root):
    (root / "PLANE_1" / "x" / "b_plane1_1.npz").rename(root / "PLANE_1" / "x" / "aa_plane1_1.npz")


def spoil_number(root):
    (root / "PLANE_1" / "x" / "b_plane1_1.npz").rename(root / "PLANE_1" / "x" / "b_plane2_1.npz")


def spoil_twice(root):
    (root / "PLANE_1" / "x" / "more").mkdir()
    (root / "PLANE_1" / "x" / "more" / "b_plane1_1.npz").touch()


def spoil_label(root):
    for plane in PLANES:
        name = f"a_plane{plane}_1.npz"
        shutil.copy(root / f"PLANE_{plane}" / "x" / name, root / f"PLANE_{plane}" / "y" / name)


def spoil_events(root):
    for path in root.glob("PLANE_*/y/*"):
        path.unlink()


def spoil_classes(root):
    for path in root.glob("PLANE_*/*"):
        shutil.rmtree(path)


def spoil_all(root):
    shutil.rmtree(root)


def spoil_planes(root):
    for path in root.glob("PLANE_*"):
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_class, "class folder x is missing in PLANE_1"),
        (spoil_plane, "class x: event b_1 has no file in PLANE_1"),
        (spoil_order, "event aa_1 has no file in PLANE_0"),
        (spoil_number, "b_plane2_1.npz: is of plane 2 but lies in PLANE_1"),
        (spoil_twice, "event b_1 is there twice"),
        (spoil_label, "event a_1 is in classes x and y"),
        (spoil_events, "class y: holds no events"),
        (spoil_classes, "no class folders"),
        (spoil_planes, "holds no folder PLANE_0"),
        (spoil_all, "no such folder"),
    ],
)
def test_folders_that_do_not_match_are_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(DataError, match=message):
        find_events(folder)


@pytest.mark.parametrize("options", [{"classes": ["x", "q"]}, {"classes": []}, {"planes": [0, 3]}, {"planes": [1, 1]}])
def test_what_is_not_there_cannot_be_chosen(folder, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        find_events(folder, **options)
