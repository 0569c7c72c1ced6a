"""Raw .norm files to sparse matrices: parsing, planted faults, matching by name, moving aside and back, restart."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import load_npz

from lit_hep.cli import main
from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.multiplane.events import event_id, find_events
from lit_hep.tasks.multiplane.norm import parse, read_norm, write_norm
from lit_hep.tasks.multiplane.readout import Detector
from lit_hep.tasks.multiplane.simulation import simulate

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


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """200 events as text, coarse so that they are small."""
    root = tmp_path_factory.mktemp("norm")
    simulate(root, 200, 5, "norm", image_size=SIZE, detector=Detector(noise=0.5))
    return root


@pytest.fixture
def raw(simulated, tmp_path):
    return shutil.copytree(simulated, tmp_path / "raw")


def events_of(raw):
    """Files of each event by plane."""
    found = {}
    for path in sorted(raw.rglob("*.norm")):
        key, plane = event_id(path)
        found.setdefault(key, {})[plane] = path
    return found


def run(raw, root, *words, min_hits=5):
    options = ["--size", str(SIZE), "--min_hits", str(min_hits), *words]
    main(["prepare", "multiplane", "--raw", str(raw), "--root", str(root), *options])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def state(root):
    """All files with content and time."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def listed(root):
    """Lines of the three lists."""
    parts = {name: (root / f"{name}.csv").read_text().splitlines() for name in ("train", "val", "test")}
    return {name: [line.split(",") for line in lines] for name, lines in parts.items()}


def test_matrices_counts_and_lists(raw, tmp_path, capsys):
    root = tmp_path / "root"
    run(raw, root, min_hits=0)
    assert "200 events, 0 moved aside" in capsys.readouterr().out
    found = find_events(root)
    assert (len(found), found.classes, found.planes) == (200, ("CLASS_0", "CLASS_1"), (0, 1, 2))
    originals = events_of(raw)
    counts = {row["filename"]: row for row in rows(root / "counts.csv")}
    assert len(counts) == 600
    for key, label, paths in zip(found.ids, found.labels, found.paths, strict=True):
        for plane, path in enumerate(paths):
            matrix = load_npz(path)
            triples = read_norm(originals[key][plane], SIZE)
            assert matrix.shape == (SIZE, SIZE)
            assert matrix.dtype == np.uint8
            assert np.array_equal(matrix.toarray()[triples[:, 0], triples[:, 1]], triples[:, 2])
            row = counts[Path(path).name]
            assert int(row["count"]) == matrix.nnz == len(triples)
            expected = (("ATMO", "PDK")[label], str(plane), key.split("_")[-1])
            assert (row["class"], row["plane"], row["event"]) == expected
    lists = listed(root)
    sizes = {name: len(lines) for name, lines in lists.items()}
    assert sizes == {"train": 112, "val": 28, "test": 60}
    together = [line for lines in lists.values() for line in lines]
    assert len({line[0] for line in together}) == 200
    share = [np.mean([int(line[3]) for line in lines]) for lines in lists.values()]
    assert share == pytest.approx([share[0]] * 3, abs=0.02)
    for line in together:
        assert [event_id(name) for name in line[:3]] == [(event_id(line[0])[0], plane) for plane in PLANES]
        assert line[3] == str(int("PDK" in line[0]))
    assert (root / "counts.png").stat().st_size > 5000


def plant(raw):
    """Spoil events, and say which and how."""
    events = events_of(raw)
    keys = iter(sorted(events))
    planted = {}

    def spoil(kind, change):
        for plane in PLANES:
            key = next(keys)
            planted[key] = kind, plane, events[key][plane]
            change(events[key][plane])

    def line(path, text):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:2], text.format(*lines[1].split()), *lines[2:]]) + "\n")

    spoil("is missing", Path.unlink)
    spoil("empty", lambda path: path.write_text(""))
    spoil("small", lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:3])))
    spoil("not wire, tick and height: '3 4'", lambda path: line(path, "3 4"))
    spoil("cell twice", lambda path: line(path, "{0} {1} 9"))
    spoil("negative index", lambda path: line(path, "3 -4 9"))
    spoil(f"index beyond {SIZE} x {SIZE}", lambda path: line(path, f"3 {SIZE} 9"))
    spoil("negative height", lambda path: line(path, "3 4 -9" if not path.read_text().startswith("3 4 ") else "4 4 -9"))
    return planted


def test_planted_faults_are_all_found_and_none_misaligns(raw, tmp_path):
    root = tmp_path / "root"
    planted = plant(raw)
    (raw / "again").mkdir()
    shutil.copy(events_of(raw)[max(events_of(raw))][1], raw / "again")
    (raw / "PLANE_0" / "notes.norm").write_text("1 2 3\n")
    run(raw, root)
    faults = rows(root / "faults.csv")
    removed = {row["event"]: row for row in rows(root / "removed.csv")}
    for key, (kind, plane, path) in planted.items():
        if kind in ("empty", "small"):
            assert removed[key]["reason"] == kind
            assert removed[key][f"count{plane}"] == ("0" if kind == "empty" else "3")
        elif kind == "is missing":
            mine = [row["fault"] for row in faults if key in row["fault"]]
            assert mine == [f"plane {plane} of event {key} is missing"]
        else:
            mine = [(row["line"], row["fault"]) for row in faults if row["file"] == str(path)]
            assert mine == [("3", kind)], path
    others = [row["fault"] for row in faults if "notes.norm" in row["file"] or "again" in row["file"]]
    assert len(others) == 2
    assert len(faults) == 2 + 18
    found = find_events(root)
    assert not set(found.ids) & set(planted)
    assert len(found) == 200 - 24 - (len(removed) - 6)
    for key, paths in zip(found.ids, found.paths, strict=True):
        assert [event_id(path) for path in paths] == [(key, plane) for plane in PLANES]
    aside = find_events(root / "removed")
    assert set(aside.ids) == set(removed)


def test_a_second_call_does_nothing(raw, tmp_path, capsys):
    root = tmp_path / "root"
    plant(raw)
    run(raw, root)
    before = state(root)
    capsys.readouterr()
    run(raw, root)
    assert "nothing to do" in capsys.readouterr().out
    assert state(root) == before


def test_only_what_is_missing_is_done(raw, tmp_path, capsys):
    whole, part = tmp_path / "whole", tmp_path / "part"
    run(raw, whole)
    run(raw, part)
    lost = find_events(part).paths[:5]
    for path in lost.ravel():
        Path(path).unlink()
    before = state(part)
    capsys.readouterr()
    run(raw, part)
    assert "converted 5" in capsys.readouterr().out
    after = state(part)
    assert {path for path in after if after[path] != before.get(path)} == {Path(path) for path in lost.ravel()}
    for name in ("counts.csv", "faults.csv", "removed.csv"):  # killed before any table was written
        (part / name).unlink()
    run(raw, part)
    now = state(part)
    assert all(now[path][1] == after[path][1] for path in now if path.suffix == ".npz" and "removed" not in path.parts)
    assert {path.relative_to(part): content for path, (content, _) in now.items()} == {
        path.relative_to(whole): content for path, (content, _) in state(whole).items()
    }


def test_moved_aside_and_back(raw, tmp_path):
    root = tmp_path / "root"
    run(raw, root, min_hits=0)
    before = {path: content for path, (content, _) in state(root).items()}
    run(raw, root, min_hits=40)
    removed = rows(root / "removed.csv")
    assert 5 < len(removed) < 190
    for row in removed:
        assert min(int(row[f"count{plane}"]) for plane in PLANES) < 40
    assert len(find_events(root)) == 200 - len(removed)
    assert len(find_events(root / "removed", labelled=False)) == len(removed)
    assert sum(map(len, listed(root).values())) == 200 - len(removed)
    run(raw, root, min_hits=0)
    after = {path: content for path, (content, _) in state(root).items()}
    assert {path: after[path] for path in before if path.suffix != ".png"} == {
        path: content for path, content in before.items() if path.suffix != ".png"
    }


def test_a_mended_file_is_taken(raw, tmp_path):
    root = tmp_path / "root"
    path = events_of(raw)[min(events_of(raw))][1]
    good = path.read_text()
    path.write_text("1 2\n" + good)
    run(raw, root, min_hits=1)
    assert len(find_events(root)) == 199
    path.write_text(good)
    run(raw, root, min_hits=1)
    assert len(find_events(root)) == 200
    assert not rows(root / "faults.csv")
    path.write_text("1 2\n" + good)
    run(raw, root, min_hits=1)
    assert len(find_events(root)) == 199


def test_seed_workers_and_classes(raw, tmp_path):
    roots = [tmp_path / name for name in "abcd"]
    for root, words in zip(
        roots, (["--workers", "1"], ["--workers", "2"], ["--seed", "1"], ["--classes", '["PDK","ATMO"]']), strict=True
    ):
        run(raw, root, *words)
    contents = [
        {path.relative_to(root).as_posix(): content for path, (content, _) in state(root).items()} for root in roots
    ]
    assert contents[0] == contents[1]
    assert contents[0]["test.csv"] != contents[2]["test.csv"]
    assert {name.replace("CLASS_0", "CLASS_1") for name in contents[0] if "ATMO" in name} == {
        name for name in contents[3] if "ATMO" in name
    }
    one = tmp_path / "one"
    run(raw, one, "--classes", '["PDK"]')
    assert find_events(one).classes == ("CLASS_0",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "0"], "size = 0"),
        (["--workers", "0"], "workers = 0"),
        (["--min_hits", "-1"], "min_hits = -1"),
        (["--classes", '["PDK","NUE"]'], "want some of ATMO, PDK"),
        (["--test_fraction", "1.0"], "test_fraction"),
        (["--val_fraction", "0"], "val_fraction"),
        (["--min_hits", "100000"], "no event is left"),
        (["--raw", "nowhere"], "no such folder"),
        (["--size", "100"], "was prepared with --size 48"),
        (["--classes", '["PDK","ATMO"]'], "class ATMO has another label there"),
        (["--classes", '["ATMO"]'], "class PDK has another label there"),
    ],
)
def test_what_cannot_work_is_refused(simulated, tmp_path, capsys, words, message):
    root = tmp_path / "root"
    if "there" in message or "was prepared" in message:
        run(simulated, root, "--workers", "1")
    with pytest.raises(SystemExit) as stop:
        run(simulated, root, "--workers", "1", *words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_raw_files_is_refused(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    with pytest.raises(SystemExit):
        run(tmp_path / "raw", tmp_path / "root")
    assert "holds no files_" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_damaged_tables_are_named(raw, tmp_path, capsys):
    root = tmp_path / "root"
    run(raw, root, "--workers", "1")
    (root / "counts.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit):
        run(raw, root)
    assert "counts.csv: expected columns" in capsys.readouterr().err
