"""Events of several planes from end to end, through the command line: fit, test, predict, resume."""

import csv
import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DRAWN, config, quick, run_in
from runs import BINARY_FIGURES, BINARY_KEYS, checkpoint, same, table
from sklearn.metrics import roc_auc_score

from lit_hep.cli import main
from lit_hep.tasks.multiplane import MultiPlaneDataModule, MultiPlaneFusion
from lit_hep.tasks.multiplane.simulation import simulate

DUNE = Path(__file__).parents[1].parent / "shared" / "data" / "multiplane" / "dune"
MODEL, DATA = "--model.init_args", "--data.init_args"
HERE = ["--trainer.accelerator=cpu", f"{DATA}.image_size=null", f"{DATA}.batch_size=16"]
EARLY, LATE = [*quick("multiplane_early"), *HERE], [*quick("multiplane_late"), *HERE]
IN_TURN = [f"{MODEL}.training=in_turn", f"{MODEL}.fusion=vote"]
VARIANTS = {  # how it is run, epochs
    "early": ([*EARLY, *DRAWN], 2),
    "late": ([*LATE, *DRAWN], 2),
    "late, in turn, vote": ([*LATE, *IN_TURN], 3),
    "siamese": ([*EARLY, f"{MODEL}.mode=siamese", f"{MODEL}.scaling=standard"], 2),
    "tick": ([*EARLY, f"{MODEL}.mode=tick", f"{MODEL}.scaling=none"], 2),
}
PLANE_KEYS = {f"{key}_plane{plane}" for key in ("auroc", "accuracy", "loss") for plane in range(3)}
EVENTS, TESTED = 60, 12


def place(words):
    """Run folder and checkpoint folder of what these words train."""
    name = "multiplane_late" if words[: len(LATE)] == LATE else "multiplane_early"
    return Path("tb_logs", name, "version_0"), Path("checkpoints", name, "version_0")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Folder of simulated events of two classes, small pictures."""
    folder = tmp_path_factory.mktemp("multiplane_files")
    simulate(folder, EVENTS, seed=3, image_size=48)
    return folder


@pytest.fixture
def root(files, tmp_path, monkeypatch):
    """The same as ``data/multiplane`` of a working folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(files, "data/multiplane"))


@pytest.mark.parametrize("name", VARIANTS)
def test_shipped_config_from_fit_to_prediction(name, root):
    words, epochs = VARIANTS[name]
    run, checkpoints = place(words)
    late = "late" in name
    main(["fit", *words, f"--trainer.max_epochs={epochs}"])
    names = {path.name for path in checkpoints.iterdir()}
    assert names == {"best.ckpt", "last.ckpt", *(f"epoch{epoch:03d}.ckpt" for epoch in range(epochs))}
    rows = table(run)
    assert len(rows) == epochs and {"train_loss", "train_accuracy", "val_loss", "val_auroc"} <= set(rows[0])
    assert {key for key in rows[0] if "plane" in key} == ({f"val_{key}" for key in PLANE_KEYS} if late else set())

    main(["test", *words])
    metrics = json.loads((run / "test/metrics.json").read_text())
    assert set(metrics) == BINARY_KEYS | (PLANE_KEYS if late else set())
    figures = {path.stem for path in (run / "test/figures").glob("*.png")}
    assert figures == BINARY_FIGURES | ({"roc_planes"} if late else set())
    scores = np.load(run / "test/predictions.npz")
    assert metrics["n"] == len(set(scores["id"])) == TESTED
    named = np.char.find(scores["id"], "PDK") >= 0
    assert np.array_equal(scores["label"], named)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(named, scores["probability"]))
    if late:
        each = scores["probability_plane"]
        fused = np.median(each, 1) if "vote" in name else each.mean(1)
        assert each.shape == (TESTED, 3) and scores["probability"] == pytest.approx(fused, abs=1e-6)
        assert metrics["auroc_plane1"] == pytest.approx(roc_auc_score(named, each[:, 1]))
        right = np.where(named, each[:, 2], 1 - each[:, 2])
        assert metrics["loss_plane2"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    with (run / "test/misclassified.csv").open() as file:
        wrong = list(csv.DictReader(file))
    assert len(wrong) == metrics["fp"] + metrics["fn"] == (scores["prediction"] != named).sum()
    for row in wrong:
        assert row["label"] != row["prediction"]
        event = row["file_plane0"].replace("_plane0", "").removesuffix(".npz")
        assert row["file_plane2"] == row["file_plane0"].replace("plane0", "plane2")
        assert (root / "PLANE_1" / row["label"] / row["file_plane1"]).is_file()
        probability = scores["probability"][scores["id"] == event]
        assert float(row["probability_CLASS_1"]) == pytest.approx(probability[0], abs=1e-5)

    main(["predict", *words])
    again = np.load(run / "predict/predictions.npz")
    assert "label" not in again and again["probability"] == pytest.approx(scores["probability"], abs=1e-6)
    assert not (run / "predict/misclassified.csv").exists()


def test_files_without_classes_are_scored_by_the_network_alone(root, files):
    """Scaling, network and fusion are one: charges of the files go in."""
    main(["fit", *LATE, "--trainer.max_epochs=1"])
    run, checkpoints = place(LATE)
    for plane in range(3):
        Path(f"new/PLANE_{plane}").mkdir(parents=True)
        for path in (files / f"PLANE_{plane}").rglob("*.npz"):
            shutil.copy(path, f"new/PLANE_{plane}")
    main(["predict", *LATE, f"{DATA}.predict_root=new"])
    scores = np.load(run / "predict/predictions.npz")
    assert len(scores["id"]) == EVENTS
    data = MultiPlaneDataModule(str(root))
    data.setup("fit")
    order = [list(data.events.ids).index(name) for name in scores["id"]]
    task = MultiPlaneFusion.load_from_checkpoint(checkpoints / "best.ckpt").eval()
    with torch.no_grad():
        probability = task(data._known[1][torch.tensor(order)].dense()).sigmoid()
    assert scores["probability"] == pytest.approx(probability.numpy(), abs=1e-5)


@pytest.mark.parametrize("mode", ["early", "late"])
def test_four_classes(mode, root):
    for plane in range(3):  # two more, of the same files with other names
        for kind in (0, 1):
            new = root / f"PLANE_{plane}" / f"CLASS_{kind + 2}"
            new.mkdir()
            for path in (root / f"PLANE_{plane}" / f"CLASS_{kind}").iterdir():
                shutil.copy(path, new / f"other_{path.name}")
    words = [*(LATE if mode == "late" else EARLY), f"{MODEL}.num_classes=4"]
    run, _ = place(words)
    main(["fit", *words, "--trainer.max_epochs=1"])
    main(["test", *words])
    metrics = json.loads((run / "test/metrics.json").read_text())
    assert {"auroc", "accuracy", "f1_macro", "accuracy_low"} <= set(metrics)
    scores = np.load(run / "test/predictions.npz")
    assert scores["probability"].shape == (24, 4) and scores["probability"].sum(1) == pytest.approx(1, abs=1e-5)
    if mode == "late":
        assert scores["probability_plane"].shape == (24, 3, 4)
        assert scores["probability_plane"].mean(1) == pytest.approx(scores["probability"], abs=1e-6)
        assert (run / "test/figures/roc_planes.png").is_file() and "auroc_plane0" in metrics
    wrong = (run / "test/misclassified.csv").read_text().splitlines()
    assert wrong[0].endswith(
        "label,prediction,probability_CLASS_0,probability_CLASS_1,probability_CLASS_2,probability_CLASS_3"
    )
    assert len(wrong) == 1 + (scores["prediction"] != scores["label"]).sum()


@pytest.mark.skipif(not DUNE.is_dir(), reason="no real events here")
def test_real_events_with_classes_and_planes_picked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*quick("multiplane_early"), "--trainer.accelerator=cpu", f"{DATA}.root={DUNE}", "--trainer.max_epochs=1"]
    words += [f"{DATA}.classes=[numu, nue]", f"{DATA}.planes=[2, 0]", f"{MODEL}.num_planes=2"]
    words += [f"{DATA}.image_size=100", "--trainer.limit_train_batches=2"]
    main(["fit", *words])
    main(["test", *words])
    scores = np.load("tb_logs/multiplane_early/version_0/test/predictions.npz")
    assert np.array_equal(scores["label"], np.char.startswith(scores["id"], "nue_")) and len(scores["id"]) == 56


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, files):
    """Planes trained in turn, two epochs each."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    words = [*LATE, f"{MODEL}.training=in_turn", f"{DATA}.root={files}", "--trainer.max_epochs=6"]
    run_in(folder, "fit", *words)
    return folder, words


@pytest.mark.parametrize("stop", [1, 2])
def test_resumed_run_of_planes_in_turn_equals_the_uninterrupted_one_to_the_last_bit(
    uninterrupted, stop, tmp_path, monkeypatch
):
    """Stopped, not ended: of planes trained in turn, the number of epochs says whose turn it is."""
    whole, words = uninterrupted
    monkeypatch.chdir(tmp_path)
    main(["fit", *words, "--trainer.callbacks+=callbacks.StopAfter", f"--trainer.callbacks.epochs={stop}"])
    run, checkpoints = place(words)
    assert len(table(run)) == stop
    torch.manual_seed(12345)  # nothing may depend on where the random state stands
    main(["fit", *words, "--ckpt_path", "last"])
    names = sorted(path.name for path in (whole / checkpoints).iterdir())
    assert names == sorted(path.name for path in (tmp_path / checkpoints).iterdir())
    for name in ("last.ckpt", "best.ckpt"):
        one, two = (checkpoint(folder / checkpoints / name) for folder in (whole, tmp_path))
        for part in one.keys() - {"loops"}:
            assert same(one[part], two[part]), (name, part)
    assert table(whole / run) == table(tmp_path / run)


def test_planes_in_turn_leave_the_others_alone(root):
    words = [*LATE, f"{MODEL}.training=in_turn", "--trainer.max_epochs=6"]
    main(["fit", *words])
    run, checkpoints = place(words)
    states = [checkpoint(checkpoints / f"epoch{epoch:03d}.ckpt")["state_dict"] for epoch in range(6)]
    for plane in range(3):
        mine = [key for key in states[0] if key.startswith(f"net.1.{plane}.")]
        turns = [not all(torch.equal(states[n][key], states[n + 1][key]) for key in mine) for n in range(5)]
        assert turns == [epoch // 2 == plane for epoch in range(1, 6)]
    rates = [float(row["lr-AdamW"]) for row in table(run)]
    assert rates[0] == rates[2] == rates[4] > rates[1], "each plane begins with the full learning rate"


SLOW = [("alexnet", "late"), ("vgg11", "early"), ("vgg11", "late"), ("vgg19", "early"), ("vgg19", "late")]


@pytest.mark.parametrize(
    ("net", "mode"), [("alexnet", "early"), *(pytest.param(*two, marks=pytest.mark.slow) for two in SLOW)]
)
def test_original_experiment(net, mode, tmp_path, monkeypatch):
    """A few steps as shipped, 225x225 and all planes, but for the batches, of 2: 128 take gigabytes and minutes."""
    monkeypatch.chdir(tmp_path)
    words = [*config(f"multiplane_{mode}", f"multiplane_{net}"), "--trainer.accelerator=cpu"]
    words += [f"{DATA}.simulation_size=20", f"{DATA}.batch_size=2", f"{DATA}.eval_batch_size=2"]
    main(["fit", *words, "--trainer.fast_dev_run=2"])
    gc.collect()  # hundreds of megabytes wait in cycles


def test_learning_rate_of_the_original(root):
    words = [*quick("multiplane_early", "multiplane_alexnet"), *HERE, f"{MODEL}.net=small"]
    main(["fit", *words, "--trainer.max_epochs=4", "--trainer.limit_train_batches=1"])
    rates = [float(row["lr-Adam"]) for row in table(place(EARLY)[0])]
    assert rates == pytest.approx([1e-4 * (1 - 0.1 * epoch) for epoch in (1, 2, 3, 4)])  # at the epochs' ends


def test_weights_of_another_run_with_the_scaling_of_these_data(root):
    main(["fit", *EARLY, "--trainer.max_epochs=1"])
    _, checkpoints = place(EARLY)
    first = checkpoint(checkpoints / "last.ckpt")["state_dict"]
    words = [f"{MODEL}.weights={checkpoints / 'last.ckpt'}", f"{DATA}.split_seed=5", f"{MODEL}.optimizer.lr=1e-12"]
    main(["fit", *EARLY, *words, "--trainer.max_epochs=1"])
    second = checkpoint(str(checkpoints / "last.ckpt").replace("version_0", "version_1"))["state_dict"]
    assert torch.allclose(first["net.1.features.0.weight"], second["net.1.features.0.weight"], atol=1e-6)
    assert not torch.equal(first["net.0.typical"], second["net.0.typical"])


def test_weights_adapted_to_the_data_once(root):
    words = [*EARLY, f"{MODEL}.mode=siamese", f"{MODEL}.data_init=true", f"{MODEL}.optimizer.lr=1e-12"]
    words += ["--trainer.callbacks.every_n_epochs=2"]
    main(["fit", *words, "--trainer.max_epochs=2"])
    _, checkpoints = place(EARLY)
    assert not (checkpoints / "epoch000.ckpt").exists()
    adapted = checkpoint(checkpoints / "epoch001.ckpt")["state_dict"]
    main(["fit", *words, "--trainer.max_epochs=4", f"{DATA}.hit_loss=0.5", "--ckpt_path=last"])
    resumed = checkpoint(checkpoints / "epoch003.ckpt")["state_dict"]
    main(["fit", *words, "--trainer.max_epochs=2", f"{MODEL}.data_init=false"])
    plain = checkpoint(str(checkpoints / "last.ckpt").replace("version_0", "version_1"))["state_dict"]
    key = "net.1.head.1.weight"
    assert torch.allclose(adapted[key], resumed[key], atol=1e-6)
    assert not torch.allclose(adapted[key], plain[key], atol=1e-2)


def test_workers_and_place_of_the_data_change_nothing(root):
    states = []
    for version, option in enumerate(("num_workers=0", "num_workers=2", "on_device=true")):
        main(["fit", *EARLY, "--trainer.max_epochs=2", f"{DATA}.{option}"])
        path = Path(str(place(EARLY)[1]).replace("version_0", f"version_{version}"), "last.ckpt")
        states.append(checkpoint(path)["state_dict"])
    assert same(states[0], states[1]) and same(states[0], states[2])
