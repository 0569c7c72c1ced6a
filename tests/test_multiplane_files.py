"""Planes in memory: sparse and dense, cut to size, scaled; which files make an event and what it is for."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from lightning.pytorch import Trainer
from planes import SIZE, drawn, write, write_classes

from lit_hep.data.sparse import SparseImages, read_sparse, read_sparse_images
from lit_hep.errors import CheckpointError, DataError
from lit_hep.tasks.multiplane import MultiPlaneDataModule
from lit_hep.tasks.multiplane.normalisation import Normalise

DUNE = Path(__file__).parents[1].parent / "shared" / "data" / "multiplane" / "dune"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("planes"), ["atmo", "pdk", "cosmic"])


@pytest.mark.parametrize("save", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float32, np.float64, np.bool_])
def test_dense_again_is_what_was_saved(save, kind, tmp_path):
    planes = np.stack([drawn(seed, kind=kind, most=60_000 if kind != np.uint8 else 200) for seed in range(6)])
    planes = planes.reshape(3, 2, *SIZE)
    planes[1, 0] = 0  # an empty plane
    images = read_sparse_images(write(tmp_path, planes, save))
    assert (len(images), images.channels, images.size) == (3, 2, SIZE)
    index = torch.tensor([2, 0, 1, 2])
    assert np.array_equal(images[index].dense().numpy(), planes[index.numpy()].astype(np.float32))
    assert np.array_equal(images.dense().numpy(), planes.astype(np.float32))


@pytest.mark.skipif(not DUNE.is_dir(), reason="no real events here")
def test_real_events_are_toarray_and_all_of_the_original_fit_in_memory():
    data = MultiPlaneDataModule(str(DUNE), classes=["numu", "nue"])
    data.read()
    events, images = data._known
    rows = torch.tensor([0, 139, 140, 279])
    dense = images[rows].dense().numpy()
    for image, row in zip(dense, rows, strict=True):
        for plane, path in zip(image, events.paths[row], strict=True):
            assert np.array_equal(plane, sp.load_npz(path).toarray())
    assert 171_600 * images.nbytes / len(images) < 24e9


def test_types_are_the_smallest_that_hold_the_values(tmp_path):
    for most, kind in ((200, torch.uint8), (30_000, torch.int16), (60_000, torch.float32)):
        planes = drawn(1, (256, 256), most=most, kind=np.int64)[None, None]
        planes[0, 0, 255, 255] = most
        images = read_sparse_images(write(tmp_path, planes))
        assert (images.cell.dtype, images.value.dtype) == (torch.int16, kind)
        assert np.array_equal(images.dense().numpy(), planes)
    planes = drawn(2, (257, 256), kind=np.float32)[None, None] / 3
    images = read_sparse_images(write(tmp_path, planes))
    assert (images.cell.dtype, images.value.dtype) == (torch.int32, torch.float32)
    assert np.array_equal(images.dense().numpy(), planes)


def test_entries_of_one_cell_add_up_and_zeros_are_left_out(tmp_path):
    matrix = sp.coo_matrix((np.array([1, 2, 250, 0], np.uint8), ([3, 3, 3, 4], [5, 5, 5, 6])), SIZE)
    sp.save_npz(tmp_path / "a_plane0.npz", matrix)
    images = read_sparse_images(np.array([[str(tmp_path / "a_plane0.npz")]], object))
    assert len(images.cell) == 1 and images.dense()[0, 0, 3, 5] == 253


@pytest.mark.parametrize("size", [(20, 24), (17, 31), (40, 32)])
def test_resized_images_keep_all_charge_in_its_place(size, tmp_path):
    planes = np.stack([drawn(seed) for seed in range(4)]).reshape(2, 2, *SIZE)
    images = read_sparse_images(write(tmp_path, planes), size, "resize").dense().numpy()
    wanted = np.zeros((2, 2, *size))
    event, plane, row, column = np.nonzero(planes)
    np.add.at(
        wanted,
        (event, plane, row * size[0] // SIZE[0], column * size[1] // SIZE[1]),
        planes[event, plane, row, column],
    )
    assert np.array_equal(images, wanted)


def test_cut_out_around_the_charge_at_the_same_ticks_on_all_planes(tmp_path):
    planes = np.zeros((1, 3, 100, 120), np.uint8)
    for plane, wire in enumerate((20, 50, 90)):
        planes[0, plane, wire : wire + 8, 70:80] = 100
        planes[0, plane, wire, 78] = 255  # a mark
    planes[0, 1, 50:58, 62:70] = 100  # one plane by itself would be cut out elsewhere
    planes[0, 2, 0, 0] = 1  # far away, and weak
    images = read_sparse_images(write(tmp_path, planes), (32, 40), "crop").dense().numpy()
    assert images.shape == (1, 3, 32, 40)
    marks = np.argwhere(images[0] == 255)
    assert len({tick for _, _, tick in marks}) == 1, "planes keep their common ticks"
    assert images[0].sum((1, 2)).tolist() == (planes[0].sum((1, 2)) - [0, 0, 1]).tolist()
    _, wires, ticks = np.indices(images[0].shape)
    assert (
        abs(np.average(wires[1], weights=images[0, 1]) - 16) < 1 and abs(np.average(ticks, weights=images[0]) - 20) < 1
    )
    larger = read_sparse_images(write(tmp_path, planes), (128, 130), "crop").dense().numpy()
    assert larger.sum() == planes.sum()


def test_scaling_is_that_of_the_training_events_alone(files):
    data = MultiPlaneDataModule(str(files), classes=["pdk", "atmo"])
    data.setup("fit")
    train = data._known[1][torch.from_numpy(data.splits.train)].dense()
    moments = data.moments()
    assert torch.allclose(moments.mean.float(), train.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(moments.deviation.float(), train.std((0, 2, 3), correction=0), rtol=1e-4)
    hits = torch.stack([plane[plane > 0].mean() for plane in train.unbind(1)])
    assert torch.allclose(moments.typical.float(), hits, rtol=1e-5)
    standard = Normalise(3, "standard")
    standard.adapt(moments)
    scaled = standard(train)
    assert scaled.mean((0, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(scaled.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    log = Normalise(3, "log")
    log.adapt(moments)
    assert torch.allclose(log(train), (train / hits[:, None, None]).log1p(), atol=1e-5)
    assert {name for name, _ in log.named_buffers()} == {"mean", "deviation", "typical"}, "go into the checkpoint"


def test_classes_and_planes_are_picked_and_ordered(files):
    data = MultiPlaneDataModule(str(files), classes=["pdk", "atmo"], planes=[2, 0])
    data.setup("fit")
    assert (tuple(data.class_names), tuple(data.planes), len(data)) == (("pdk", "atmo"), (2, 0), 40)
    batch = next(iter(data.test_dataloader()))
    assert isinstance(batch["image"], SparseImages)
    batch = data.on_after_batch_transfer(batch, 0)
    assert batch["image"].shape == (8, 2, *SIZE)
    for image, label, name in zip(
        batch["image"].numpy(), batch["label"], data.ids(batch["index"].numpy()), strict=True
    ):
        kind, event = name.split("_")
        assert kind == data.class_names[label]
        for plane, place in zip(image, (2, 0), strict=True):
            matrix = sp.load_npz(files / f"PLANE_{place}" / kind / f"{kind}_plane{place}_{event}.npz")
            assert np.array_equal(plane, matrix.toarray())


def test_checkpoints_know_the_order_of_the_classes(files):
    def data_of(*classes):
        data = MultiPlaneDataModule(str(files), classes=list(classes))
        data.setup("fit")
        return data

    trained = data_of("pdk", "atmo").state_dict()
    data_of("pdk", "atmo").load_state_dict(trained)
    with pytest.raises(CheckpointError, match=r"with classes in the order \['pdk', 'atmo'\], .* \['atmo', 'pdk'\]"):
        data_of("atmo", "pdk").load_state_dict(trained)
    with pytest.warns(UserWarning, match="was trained with classes .*and is applied to"):
        data_of("cosmic", "atmo").load_state_dict(trained)


def test_loaders_share_what_is_on_the_device(files):
    data = MultiPlaneDataModule(str(files), on_device=True)
    data.trainer = Trainer(accelerator="cpu", logger=False)
    data.setup("fit")
    loaders = [getattr(data, f"{part}_dataloader")() for part in ("train", "val", "test")]
    first, *others = (loader.dataset.columns["image"] for loader in loaders)
    assert all(other is first for other in others)


def correlations(root):
    """Of the total charge of each pair of planes, over the events as the training sees them."""
    data = MultiPlaneDataModule(str(root), classes=["atmo", "pdk"], batch_size=1000, val_fraction=0.1, test_fraction=0)
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return np.corrcoef(batch["image"].sum((2, 3)).T)[np.triu_indices(3, 1)], len(batch["index"])


def test_planes_shuffled_between_events_lose_their_correlation(tmp_path):
    root = write_classes(tmp_path / "data", ["atmo", "pdk"], events=100)
    whole, _ = correlations(root)
    assert whole.min() > 0.8
    for plane in (1, 2):  # the files change their names, and with them their events
        for folder in (root / f"PLANE_{plane}").iterdir():
            names = sorted(path.name for path in folder.iterdir())
            shutil.move(folder, tmp_path / "moved")
            folder.mkdir()
            order = np.random.default_rng(plane).permutation(len(names))
            for new, old in zip(names, order, strict=True):
                shutil.move(tmp_path / "moved" / names[old], folder / new)
            (tmp_path / "moved").rmdir()
    shuffled, events = correlations(root)
    assert np.abs(shuffled).max() < 4 / events**0.5


def listed(root, parts):
    """Write train.csv, val.csv and test.csv as `prepare` does."""
    for part, events in parts.items():
        lines = [
            ",".join(f"{kind}_plane{plane}_{event:03d}.npz" for plane in range(3)) + f",{label}"
            for label, kind in enumerate(("atmo", "pdk"))
            for event in events
        ]
        (root / f"{part}.csv").write_text("\n".join(lines) + "\n")


def test_lists_of_prepare_say_what_events_are_for(files, tmp_path):
    root = Path(shutil.copytree(files, tmp_path / "data"))
    listed(root, {"train": range(10), "val": range(10, 13), "test": range(13, 19)})
    data = MultiPlaneDataModule(str(root), classes=["pdk", "atmo"])
    data.setup("fit")
    for part, first, last in (("train", 0, 10), ("val", 10, 13), ("test", 13, 19)):
        names = set(data.ids(getattr(data.splits, part)))
        assert names == {f"{kind}_{event:03d}" for kind in ("atmo", "pdk") for event in range(first, last)}
    elsewhere = tmp_path / "fold1"
    elsewhere.mkdir()
    listed(elsewhere, {"train": range(5, 15), "val": range(5), "test": range(15, 20)})
    data = MultiPlaneDataModule(str(root), classes=["pdk", "atmo"], split_lists=str(elsewhere))
    data.setup("fit")
    assert "pdk_000" in data.ids(data.splits.val)
    data = MultiPlaneDataModule(str(root), split_lists=None)
    data.setup("fit")
    assert len(data.splits.train) == 36 and (root / "splits.json").is_file()


def test_lists_that_name_a_class_that_is_not_there_are_refused_unless_classes_are_picked(files, tmp_path):
    root = Path(shutil.copytree(files, tmp_path / "data"))
    listed(root, {"train": range(10), "val": range(10, 13), "test": range(13, 25)})
    for plane in range(3):
        shutil.rmtree(root / f"PLANE_{plane}" / "cosmic")
    with pytest.raises(DataError, match=r"test\.csv: line 8: event atmo_020 is not among the files"):
        MultiPlaneDataModule(str(root)).setup("fit")
    MultiPlaneDataModule(str(root), classes=["pdk", "atmo"]).setup("fit")


def test_a_matrix_read_by_itself(tmp_path):
    plane = drawn(7)
    sp.save_npz(tmp_path / "x.npz", sp.csc_matrix(plane))
    hits = read_sparse(tmp_path / "x.npz")
    assert hits.shape == SIZE and set(hits.cell) == set(np.flatnonzero(plane))
