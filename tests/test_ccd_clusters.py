"""Clusters in a thick CCD: generated ones are like the library's, which is read from both kinds of file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ccds import PICTURES, QUIET, npz, pkl

from lit_hep.errors import DataError
from lit_hep.tasks.ccd.clusters import KINDS, THICKNESS, _electrons, generate
from lit_hep.tasks.ccd.library import read_library
from lit_hep.tasks.ccd.readout import STANDARD
from lit_hep.tasks.ccd.simulation import images

LIBRARY = Path(__file__).parents[1].parent / "shared" / "data" / "ccd" / "clusters.npz"


@pytest.fixture(scope="module")
def clusters():
    return generate(np.random.default_rng(1), 8000, STANDARD.kinds)


def of_kind(name, number=400):
    return generate(np.random.default_rng(2), number, tuple(float(kind == name) for kind in KINDS[:4]))


def sums(clusters, values=None):
    return np.bincount(clusters.number, values, len(clusters.size))


def test_sizes_are_those_of_the_library(clusters):
    height, width = clusters.extent
    assert np.median(height) == pytest.approx(12, abs=1)
    assert np.median(width) == pytest.approx(11, abs=1)
    assert np.median(clusters.size) == pytest.approx(82, rel=0.08)
    for most, largest in ((height, 127), (width, 109), (clusters.size, 892)):
        assert np.quantile(most, 1 - 1 / 803) == pytest.approx(largest, rel=0.25)


def test_charges_are_those_of_the_library(clusters):
    energy = sums(clusters, clusters.charge)
    assert np.quantile(energy, [0.1, 0.25, 0.5, 0.75, 0.9]) == pytest.approx([5.4, 14.2, 41, 90.4, 140], rel=0.2)
    wanted = [0.524, 1.09, 1.73, 4.0]
    assert np.quantile(clusters.charge, [0.75, 0.9, 0.95, 0.99]) == pytest.approx(wanted, rel=0.08)
    assert np.median(clusters.charge[clusters.charge > 0.1]) == pytest.approx(0.494, rel=0.05)
    assert clusters.charge.min() == pytest.approx(0.001)


def test_long_clusters_have_much_charge_as_in_the_library(clusters):
    energy, length = sums(clusters, clusters.charge), np.maximum(*clusters.extent)
    for low, high, median in ((5, 10, 7), (20, 40, 10), (60, 90, 23), (120, 160, 42)):
        assert np.median(length[(energy > low) & (energy < high)]) == pytest.approx(median, rel=0.3)


def test_xrays_are_round_spots_of_a_diffusion_of_at_most_a_pixel_or_so():
    spots = of_kind("xray")
    height, width = spots.extent
    assert max(height.max(), width.max()) <= 11
    energy = sums(spots, spots.charge)
    rms = np.sqrt(sum(sums(spots, spots.charge * (p - (sums(spots, spots.charge * p) / energy)[spots.number]) ** 2)
                      for p in (spots.y, spots.x)) / energy / 2)  # fmt: skip
    assert 0.9 < np.quantile(rms, 0.99) < 1.3
    assert np.quantile(rms, 0.05) < 0.5


def test_electrons_lose_more_at_their_end():
    points = _electrons(np.random.default_rng(3), 3000)
    steps = np.bincount(points.cluster)
    long = steps > 40
    first = np.cumsum(steps) - steps
    start, end = (np.array([points.charge[i : i + 5].sum() for i in at[long]]) for at in (first, first + steps - 5))
    inside = points.depth[(first + steps - 1)[long]]
    stopped = (inside > 3) & (inside < THICKNESS - 3)
    assert np.median(end[stopped] / start[stopped]) > 1.3
    assert ((points.depth >= 0) & (points.depth <= THICKNESS)).all()


def straightness(clusters, number):
    mine = clusters.number == number
    y, x = (place[mine] - np.average(place[mine], weights=clusters.charge[mine]) for place in (clusters.y, clusters.x))
    small, large = np.linalg.eigvalsh(np.cov([y, x], aweights=clusters.charge[mine]))
    return np.sqrt(small), np.sqrt(large)


def test_muons_are_straight_and_electrons_are_not():
    spread = {}
    for kind in ("muon", "electron"):
        made = of_kind(kind)
        length = np.maximum(*made.extent)
        spread[kind] = np.median([straightness(made, i)[0] for i in np.flatnonzero((length > 40) & (length < 90))])
    assert spread["muon"] < 1.1 < 2.2 < spread["electron"]


def test_alphas_are_bright_round_blobs():
    blobs = of_kind("alpha", 100)
    assert np.median([np.divide(*straightness(blobs, i)) for i in range(100)]) > 0.8
    assert sums(blobs, blobs.charge).min() > 140
    assert 10 <= np.median(blobs.extent) <= 20


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_a_library_is_read_from_both_kinds_of_file(tmp_path, protocol):
    path = npz(tmp_path / "c.npz") if protocol is None else pkl(tmp_path / "c.pkl", PICTURES, protocol)
    clusters = read_library(path)
    assert clusters.size.tolist() == [3, 2, 3]
    assert clusters.charge.tolist() == [1.5, 2, 0.25, 3, 1, 1, 2, 0.5]
    assert clusters.y.tolist() == [0, 1, 1, 0, 0, 0, 1, 2]
    assert clusters.x.tolist() == [1, 0, 1, 0, 2, 0, 0, 0]
    assert clusters.take(np.array([2, 0])).charge.tolist() == [1, 2, 0.5, 1.5, 2, 0.25]
    ccd = replace(QUIET, clusters=(5.0, 5.0), gain=100.0)
    seen = np.concatenate([picture.truth["energy"] for picture in images(5, library=path, ccd=ccd)])
    assert set(np.round(seen).tolist()) >= {375, 400, 350}


def test_a_pickle_of_an_older_numpy_is_read(tmp_path):
    path = pkl(tmp_path / "c.pkl", PICTURES, protocol=2)
    old = path.read_bytes().replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in old
    path.write_bytes(old)
    assert read_library(path).size.tolist() == [3, 2, 3]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("content", [[Evil()], {"a": 1}, [1, 2], [], [np.zeros((2, 2))], [np.ones(3)]])
def test_a_pickle_of_anything_else_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"c\.pkl"):
        read_library(pkl(tmp_path / "c.pkl", content))
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"values": None},
        {"values": np.ones(3)},
        {"offsets": np.array([0, 4, 8])},
        {"values": np.full(10, np.nan)},
        {"values": np.full(10, -1.0)},
    ],
)
def test_a_damaged_library_is_refused(tmp_path, changes):
    with pytest.raises(DataError, match=r"c\.npz"):
        read_library(npz(tmp_path / "c.npz", **changes))


def test_truncated_and_absent_libraries_are_refused(tmp_path):
    for path in (npz(tmp_path / "c.npz"), pkl(tmp_path / "c.pkl", PICTURES)):
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(DataError, match=path.name):
            read_library(path)
    with pytest.raises(DataError, match="no such file"):
        read_library(tmp_path / "none.npz")


def test_the_originals_library_is_what_generated_clusters_are_like(clusters):
    if not LIBRARY.is_file():
        pytest.skip("no library of the original at hand")
    known = read_library(LIBRARY)
    assert len(known.size) == 803
    for mine, theirs in zip((clusters.size, *clusters.extent), (known.size, *known.extent), strict=True):
        assert np.quantile(mine, [0.25, 0.5, 0.75]) == pytest.approx(np.quantile(theirs, [0.25, 0.5, 0.75]), rel=0.25)
    picture = next(iter(images(1, 1, 256, 256, library=LIBRARY)))
    assert set(picture.truth["kind"]) == {"library"}
