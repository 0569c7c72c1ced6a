"""Drift-chamber files: what is read comes back as it was, and what is odd about it is counted."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from lit_hep.cli import main
from lit_hep.tasks.drift_chamber.events import read_events
from lit_hep.tasks.drift_chamber.layout import margin
from lit_hep.tasks.drift_chamber.simulation import simulate

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "driftchamber"


@pytest.fixture(scope="module")
def hits():
    """Noisy and clean events (20, 36, 112), 0 or 1."""
    rng = np.random.default_rng(0)
    noisy = rng.random((20, 36, 112)) < 0.05
    return noisy.astype(np.uint8), (noisy & (rng.random(noisy.shape) < 0.3)).astype(np.uint8)


def write_pngs(folder, hits, mode="RGB", full=255, pattern="{:02}{}.png"):
    folder.mkdir()
    for kind, events in zip(("_all_", "_truth_"), hits, strict=True):
        for number, plane in enumerate(events):
            Image.fromarray(plane * np.uint8(full)).convert(mode).save(folder / pattern.format(number, kind))


def read_hdf5(path):
    with h5py.File(path) as file:
        return {name: data.asstr()[:] if data.dtype.kind == "O" else data[:] for name, data in file.items()}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
def test_pictures_of_any_mode(hits, tmp_path, mode):
    write_pngs(tmp_path / "png", hits, mode)
    events = read_events(tmp_path / "png")
    assert np.array_equal(events.image, hits[0]) and np.array_equal(events.truth, hits[1])
    assert events.name[3] == "03" and events.picture == (36, 112, 3) and np.isnan(events.current).all()


def test_names_decide_which_pictures_belong_together(hits, tmp_path):
    write_pngs(tmp_path / "png", hits, pattern="run7{1}{0}.PNG")
    events = read_events(tmp_path / "png")
    order = np.argsort([str(number) for number in range(20)])
    assert list(events.name) == [f"run7_{number}" for number in order]
    assert np.array_equal(events.truth, hits[1][order])


@pytest.mark.parametrize("layout", ["native", "padded"])
def test_prepared_pictures_equal_the_pictures(hits, tmp_path, layout):
    write_pngs(tmp_path / "png", hits)
    output = tmp_path / layout / "events.hdf5"
    main(["prepare", "drift_chamber", "--source", str(tmp_path / "png"), "--output", str(output), "--layout", layout])
    content = read_hdf5(output)
    assert list(content["name"]) == [f"{number:02}" for number in range(20)]
    if layout == "padded":
        assert content["all"].shape == (20, 128, 128, 3) and not content["all"][:, margin()].any()
    else:
        assert np.array_equal(content["all"], hits[0] * 255)
    events = read_events(output.parent)
    assert np.array_equal(events.image, hits[0]) and np.array_equal(events.truth, hits[1])
    assert list(events.name) == list(content["name"])


def test_native_to_padded_and_back_is_the_same_file(tmp_path):
    (tmp_path / "sim").mkdir()
    simulate(tmp_path / "sim", 30, seed=1)
    start, there, back = (tmp_path / name for name in ("sim/events.hdf5", "padded.hdf5", "native.hdf5"))
    prepare = ["prepare", "drift_chamber"]
    main([*prepare, "--source", str(start), "--output", str(there), "--layout", "padded"])
    main([*prepare, "--source", str(there), "--output", str(back)])
    one, two = read_hdf5(start), read_hdf5(back)
    assert all(np.array_equal(one[name], two[name]) for name in ("all", "truth", "current"))


@pytest.mark.parametrize("kind", ["0/1", "bool", "float 0..1", "float 0..255", "one channel", "int64"])
def test_hdf5_of_any_scale_and_type(hits, tmp_path, kind):
    how = {
        "0/1": lambda x: x,
        "bool": lambda x: x > 0,
        "float 0..1": lambda x: x.astype("f4"),
        "float 0..255": lambda x: x * 255.0,
        "one channel": lambda x: x[..., None] * np.uint8(255),
        "int64": lambda x: x.astype("i8") * 255,
    }[kind]
    with h5py.File(tmp_path / "original.h5", "w") as file:
        file["all"], file["truth"] = map(how, hits)
    events = read_events(tmp_path)
    assert np.array_equal(events.image, hits[0]) and np.array_equal(events.truth, hits[1])


def test_several_files_follow_each_other(hits, tmp_path):
    for name, rows in (("b.hdf5", slice(12, 20)), ("a.h5", slice(0, 12))):
        with h5py.File(tmp_path / name, "w") as file:
            file["all"], file["truth"] = (kind[rows] * np.uint8(255) for kind in hits)
            file["current"] = np.full(len(hits[0][rows]), 45 if name == "a.h5" else 90)
    for memory in (8, 1):
        events = read_events(tmp_path, memory)
        assert (events.image is None) == (memory == 1)
        noisy, clean = events.take(np.array([19, 0, 12]))
        assert np.array_equal(noisy, hits[0][[19, 0, 12]]) and np.array_equal(clean, hits[1][[19, 0, 12]])
        assert events.name[13] == "b.hdf5:1"
        assert list(np.unique(events.current, return_counts=True)[1]) == [12, 8]


def test_currents_beside_pictures_are_read(tmp_path):
    (tmp_path / "png").mkdir()
    simulate(tmp_path / "png", 12, seed=1, layout="png", current=(45, 45))
    events = read_events(tmp_path / "png")
    assert len(events) == 12 and (events.current == 45).all()


def test_oddities_are_counted_and_said(hits, tmp_path):
    noisy, clean = (kind * np.uint8(255) for kind in hits)
    clean = clean.copy()
    clean[0] = 255
    noisy[4], clean[4] = 0, 0
    noisy[5, 3, :7], clean[5] = 200, 0
    with h5py.File(tmp_path / "events.hdf5", "w") as file:
        file["all"], file["truth"] = noisy, clean
    with pytest.warns(UserWarning) as warned:
        events = read_events(tmp_path)
    words = " ".join(str(warning.message) for warning in warned)
    assert f"{(noisy[0] == 0).sum()} true hits are not among all hits" in words
    assert "1 of 20 events are empty" in words
    assert "7 values are neither 0 nor full" in words
    assert np.array_equal(events.truth[0], events.image[0]), "what is not there cannot be kept"
    assert events.image[5, 3, :7].all()


def test_real_pictures_equal_the_arrays():
    if not REAL.is_dir():
        pytest.skip("no real pairs here")
    pairs = np.load(REAL / "clas12_dc_pairs.npz")
    events = read_events(REAL / "png")
    order = [list(events.name).index(name) for name in pairs["ids"]]
    assert np.array_equal(events.image[order], pairs["noisy"])
    assert np.array_equal(events.truth[order], pairs["clean"] & pairs["noisy"])


def test_split_of_the_original(tmp_path, monkeypatch):
    """56.25 / 18.75 / 25 %, seed 0, saved beside the files."""
    from lit_hep.tasks.drift_chamber import DriftChamberDataModule

    monkeypatch.chdir(tmp_path)
    data = DriftChamberDataModule("root", simulation_size=160)
    data.prepare_data()
    data.setup("fit")
    parts = [getattr(data.splits, name) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [90, 30, 40]
    assert sorted(np.concatenate(parts)) == list(range(160))
    (entry,) = json.loads(Path("root/splits.json").read_text())
    assert entry["seed"] == 0 and entry["test"] == parts[2].tolist()
