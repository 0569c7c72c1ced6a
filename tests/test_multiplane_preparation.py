"""Raw .norm files to sparse matrices: planted faults, moving aside and back, restart."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import load_npz

from lit_hep.cli import main
from lit_hep.tasks.multiplane.events import event_id, find_events
from lit_hep.tasks.multiplane.norm import read_norm
from lit_hep.tasks.multiplane.readout import Detector
from lit_hep.tasks.multiplane.simulation import simulate

SIZE = 48
PLANES = range(3)


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
