"""Which images are pseudo-labelled, and that validation never sees one."""

import os

import numpy as np
import pytest
import torch

from lit_hep.tasks.crater import CraterDataModule
from lit_hep.tasks.crater.pseudo_label import select

PROBABILITY = np.array([0.97, 0.02, 0.5, 0.91, 0.15, 0.99, 0.6, 0.05], np.float32)


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ({"below": 0.25, "above": None}, [1, 4, 7]),
        ({"below": None, "above": 0.9}, [0, 3, 5]),
        ({"below": 0.1, "above": 0.9}, [0, 1, 3, 5, 7]),
        ({"below": 0.1, "above": 0.9, "top_k": 1}, [1, 5]),
        ({"below": 0.1, "above": 0.9, "share": 0.5}, [0, 1, 5, 7]),
        ({"below": 0.1, "above": 0.9, "share": 0.75}, [0, 1, 3, 5]),
        ({"below": 0.01, "above": 0.9, "share": 0.5}, []),
    ],
)
def test_selection(rule, chosen):
    assert select(PROBABILITY, **rule).tolist() == chosen


@pytest.fixture
def data(crater_root):
    data = CraterDataModule(str(crater_root), label_fraction=0.5, augment=False)
    data.prepare_data()
    data.setup("fit")
    return data


def indices(loader):
    return torch.cat([batch["index"] for batch in loader]).tolist()


def test_pseudo_labels_join_training_only(data):
    unlabelled = data.unlabelled()
    before = {name: indices(getattr(data, f"{name}_dataloader")()) for name in ("train", "val", "test")}
    parts = [*before.values(), indices(data.unlabelled_dataloader())]
    assert sorted(row for part in parts for row in part) == list(range(len(data)))  # disjoint, and nothing is lost
    data.set_pseudo_labels(unlabelled[:3], np.array([0, 1, 0.7], np.float32), 0.5)
    assert sorted(indices(data.train_dataloader())) == sorted([*before["train"], *unlabelled[:3]])
    assert indices(data.val_dataloader()) == before["val"] and indices(data.test_dataloader()) == before["test"]
    batches = list(data.train_dataloader())
    label, index = (torch.cat([batch[name] for batch in batches]) for name in ("label", "index"))
    assert [label[index == row].item() for row in unlabelled[:3]] == pytest.approx([0, 1, 0.7])


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_labelled_images_cannot_be_pseudo_labelled(data, part):
    with pytest.raises(ValueError, match="unlabelled"):
        data.set_pseudo_labels(data.part(part)[:1], np.ones(1, np.float32), 1.0)


@pytest.mark.parametrize("balance", ["none", "weights", "sampler"])
def test_balance(crater_root, balance):
    data = CraterDataModule(str(crater_root), balance=balance, batch_size=16)
    data.setup("fit")
    batches = list(data.train_dataloader())
    label, weight = (torch.cat([batch[name] for batch in batches]) for name in ("label", "weight"))
    share = float((weight * label).sum() / weight.sum())
    assert abs(share - 0.5) < {"none": 1, "weights": 1e-5, "sampler": 0.15}[balance]
    assert weight.mean() == pytest.approx(1)
    if balance == "none":
        assert share == pytest.approx(data.truth[data.part("train")].mean())


def test_balance_counts_pseudo_labels_as_the_loss_does(crater_root):
    data = CraterDataModule(str(crater_root), label_fraction=0.5, balance="weights", batch_size=16)
    data.setup("fit")
    data.set_pseudo_labels(data.unlabelled(), np.ones(len(data.unlabelled()), np.float32), 0.1)
    batches = list(data.train_dataloader())
    label, weight = (torch.cat([batch[name] for batch in batches]) for name in ("label", "weight"))
    assert float((weight * label).sum() / weight.sum()) == pytest.approx(0.5, abs=1e-5)


def test_state_carries_split_and_pseudo_labels_to_the_same_data_only(data, crater_root):
    data.set_pseudo_labels(data.unlabelled()[:2], np.ones(2, np.float32), 0.3)
    state = data.state_dict()
    again = CraterDataModule(str(crater_root), label_fraction=0.5, split_seed=9)
    again.setup("fit")
    assert again.splits.test.tolist() != data.splits.test.tolist()
    again.load_state_dict(state)
    assert again.splits.test.tolist() == data.splits.test.tolist()
    assert again.state_dict()["pseudo_index"].tolist() == state["pseudo_index"].tolist()
    labels = np.load(crater_root / "Ytrain1.npy")
    np.save(crater_root / "Ytrain1.npy", labels[::-1])
    other = CraterDataModule(str(crater_root))
    other.setup("fit")
    other.load_state_dict(state)
    assert not len(other.state_dict()["pseudo_index"])


def test_what_cannot_be_written_is_shown(crater_root, monkeypatch):
    (crater_root / "splits.json").unlink(missing_ok=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    data = CraterDataModule(str(crater_root))
    data.setup("show")
    assert len(data.part("test")) and not (crater_root / "splits.json").exists()
