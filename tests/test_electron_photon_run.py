"""Electron or photon from end to end, through the command line: in memory and streamed from disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DRAWN, quick
from runs import BINARY_FIGURES, BINARY_KEYS, checkpoint, same, table
from sklearn.metrics import roc_auc_score
from spoil import change_hdf5

from lit_hep.cli import main
from lit_hep.data.hdf5 import open_table
from lit_hep.tasks.electron_photon import ElectronPhoton

ORIGINAL, BEST = quick("electron_photon"), quick("electron_photon", "electron_photon_resnet")
STREAM = ["--data.init_args.memory_gib", "0.12"]  # blocks of 245 images
VIEWS = [f"--data.init_args.{option}" for option in ("reflect_eta=true", "reflect_phi=true", "shift=1", "smear=0.02")]
SCALED = ["--model.init_args.energy=log", "--model.init_args.time=standard", "--data.init_args.balance=weights"]
WAYS = {
    "original": [*ORIGINAL, *DRAWN],
    "original, streamed": [*ORIGINAL, *STREAM],
    "best": [*BEST, "--data.init_args.batch_size", "32"],
    "views and scalings, streamed": [*ORIGINAL, *STREAM, *VIEWS, *SCALED, "--model.init_args.net=lenet5_bn"],
}
RUN, CHECKPOINTS = Path("tb_logs/electron_photon/version_0"), Path("checkpoints/electron_photon/version_0")


@pytest.fixture
def root(placed):
    """150 simulated images of each class."""
    return placed("electron_photon")


@pytest.mark.parametrize("way", WAYS)
def test_from_fit_to_prediction(way, root):
    words = [*WAYS[way], "--trainer.max_epochs", "2"]
    main(["fit", *words])
    assert {path.name for path in CHECKPOINTS.iterdir()} == {"best.ckpt", "last.ckpt", "epoch000.ckpt", "epoch001.ckpt"}
    best = CHECKPOINTS / "best.ckpt"
    assert sum(best.samefile(path) for path in CHECKPOINTS.glob("epoch*.ckpt")) == 1, "one file, two names"
    assert len(table(RUN)) == 2

    main(["test", *words])
    metrics = json.loads((RUN / "test/metrics.json").read_text())
    assert set(metrics) == BINARY_KEYS
    assert {path.stem for path in (RUN / "test/figures").glob("*.png")} == BINARY_FIGURES
    scores = np.load(RUN / "test/predictions.npz")
    assert metrics["n"] == len(scores["id"]) == len(set(scores["id"])) == 30
    named = np.char.find(scores["id"], "Electron") >= 0
    assert (scores["label"] == named).all() and named.sum() == 15
    assert metrics["auroc"] == pytest.approx(roc_auc_score(named, scores["probability"]))

    main(["predict", *words])
    again = np.load(RUN / "predict/predictions.npz")
    assert set(again) == {"id", "probability", "prediction"} and (again["id"] == scores["id"]).all()
    assert again["probability"] == pytest.approx(scores["probability"], abs=1e-6)


def test_workers_change_nothing(root):
    words = [*ORIGINAL, *STREAM, *VIEWS]
    main(["fit", *words, "--trainer.max_epochs", "2"])
    words += ["--data.init_args.num_workers", "2"]
    main(["fit", *words, "--trainer.max_epochs", "1"])
    main(["fit", *words, "--trainer.max_epochs", "2", "--ckpt_path", "last"])
    states = [checkpoint(CHECKPOINTS.with_name(f"version_{run}") / "last.ckpt")["state_dict"] for run in (0, 1)]
    assert same(*states)


def test_files_without_labels_are_scored_by_the_network_alone(root, tmp_path):
    """Scaling and network are one: raw pixels of the file go in."""
    main(["fit", *ORIGINAL, *SCALED, "--trainer.max_epochs", "1"])
    Path("new").mkdir()
    for path in root.glob("*.hdf5"):
        change_hdf5(Path(shutil.copy(path, "new")), "y", lambda y: None)()
    task = ElectronPhoton.load_from_checkpoint(CHECKPOINTS / "best.ckpt").eval()
    images = [open_table(path, ("X",)).read(["X"])["X"] for path in sorted(Path("new").iterdir())]
    probability = task(torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)).sigmoid()
    for memory in (["--data.init_args.memory_gib", "8"], STREAM):
        main(["predict", *ORIGINAL, *memory, "--data.init_args.predict_root", "new"])
        scores = np.load(RUN / "predict/predictions.npz")
        assert scores["probability"] == pytest.approx(probability.detach().numpy(), abs=1e-6)
        assert scores["id"][0] == "SingleElectronPt50_IMGCROPS.hdf5:0"


def test_simulated_if_there_is_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    main(["show", *ORIGINAL, "--data.init_args.simulation_size", "40", "--output", "some.png", "--index", "0", "79"])
    assert Path("some.png").read_bytes().startswith(b"\x89PNG")
    assert len(open_table(Path("data/electron_photon/SinglePhotonPt50_IMGCROPS.hdf5"), ("X", "y"))) == 40
    assert "80 images; left out: 0 empty photon" in caplog.text
