"""Craters from end to end, through the command line: fit, test, predict, resume, two processes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import CRATER, DRAWN, ORIGINAL, quick
from processes import launch
from runs import BINARY_FIGURES, BINARY_KEYS, checkpoint, same, table
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from lit_hep.cli import main
from lit_hep.tasks.crater import CraterSemiSup
from lit_hep.tasks.crater.augmentation import framed

SHORT = ["--trainer.max_epochs=6", "--trainer.callbacks.initial_epochs=3", "--trainer.callbacks.final_epochs=3"]
EASY = [f"--trainer.callbacks.{option}" for option in ("below=0.5", "above=0.5", "keep_balance=false")]  # all are sure
NETS = {"deep": CRATER, "original": ORIGINAL, "gpu layer": quick("crater", "hardware/gpu")}
LOGGERS = [
    {"class_path": "lit_hep.training.run.RunLogger", "init_args": {"name": "crater"}},
    {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "csv"}},
]
HERE = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]


@pytest.mark.parametrize("net", NETS)
def test_shipped_config_from_fit_to_prediction(net, crater_root, caplog):
    config = [*NETS[net], *DRAWN]
    main(["fit", *config, *SHORT, *EASY, *HERE])
    assert "Type next:   python -m lit_hep test" in caplog.text
    run, checkpoints = Path("tb_logs/crater/version_0"), Path("checkpoints/crater/version_0")
    assert {path.name for path in run.iterdir() if "tfevents" not in path.name} == {
        "config.yaml",
        "hparams.yaml",
        "metrics.csv",
    }
    stages = {"initial.ckpt", "final.ckpt", "best.ckpt", "last.ckpt"}
    assert {path.name for path in checkpoints.iterdir()} == stages | {f"epoch{epoch:03d}.ckpt" for epoch in range(6)}
    rows = table(run)
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(6)]
    assert [float(row["stage"]) for row in rows] == [0, 0, 0, 1, 1, 1]
    assert 0 <= float(rows[2]["pseudo_label_purity"]) <= 1

    main(["test", *config, *HERE, "--ckpt_path", "best"])
    metrics = json.loads((run / "test/metrics.json").read_text())
    assert set(metrics) == BINARY_KEYS
    assert {path.stem for path in (run / "test/figures").glob("*.png")} == BINARY_FIGURES
    scores = np.load(run / "test/predictions.npz")
    assert set(scores) == {"id", "probability", "prediction", "label"}
    assert (scores["label"] == np.load(crater_root / "Ytrain1.npy")[scores["id"]]).all()
    assert metrics["n"] == len(scores["id"]) == 18
    expected = {
        "accuracy": accuracy_score(scores["label"], scores["prediction"]),
        "f1_macro": f1_score(scores["label"], scores["prediction"], average="macro"),
        "auroc": roc_auc_score(scores["label"], scores["probability"]),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)

    main(["predict", *config, *HERE])
    scores = np.load(run / "predict/predictions.npz")
    prediction = np.load(run / "predict/y_pred_final.npy")
    assert prediction.dtype == np.int32 and (prediction == scores["prediction"]).all() and len(prediction) == 23
    assert "label" not in scores and not Path("tb_logs/crater/version_1").exists()

    main(["fit", *config, *HERE, *SHORT, *EASY, "--trainer.max_epochs", "8", "--ckpt_path", "last"])
    assert len(table(run)) == 6, "both stages had ended: nothing is left to do"


def test_checkpoints_are_of_the_ends_of_epochs_wherever_validation_is(crater_root, capfd):
    words = [*ORIGINAL, "--trainer.val_check_interval=0.5", "--trainer.check_val_every_n_epoch=2"]
    main(["fit", *words, "--trainer.max_epochs=5"])
    main(["fit", *words, "--trainer.max_epochs=3"])
    run = Path("checkpoints/crater/version_1")
    assert {path.name for path in run.glob("epoch*")} == {f"epoch{epoch:03d}.ckpt" for epoch in range(3)}
    with pytest.raises(SystemExit) as end:
        main(["fit", *words, "--trainer.max_epochs=5", f"--ckpt_path={run / 'best.ckpt'}"])
    assert end.value.code == 2 and "is of the middle of an epoch" in capfd.readouterr().err
    main(["fit", *words, "--trainer.max_epochs=5", "--ckpt_path=last"])
    states = [checkpoint(f"checkpoints/crater/version_{run}/last.ckpt")["state_dict"] for run in (0, 1)]
    assert same(*states)
    assert table("tb_logs/crater/version_0") == table("tb_logs/crater/version_1")


def test_a_run_counted_in_steps_goes_on_by_epochs(crater_root, capfd):
    main(["fit", *ORIGINAL, "--trainer.max_steps=3"])
    with pytest.raises(SystemExit) as end:
        main(["fit", *ORIGINAL, "--trainer.max_steps=6", "--ckpt_path=last"])
    assert end.value.code == 2 and "set --trainer.max_epochs" in capfd.readouterr().err
    main(["fit", *ORIGINAL, "--trainer.max_epochs=2", "--ckpt_path=last"])
    assert checkpoint("checkpoints/crater/version_0/last.ckpt")["epoch"] == 1


def test_without_validation_all_epochs_are_trained_and_kept(crater_root):
    main(["fit", *CRATER, *SHORT, *EASY, "--trainer.limit_val_batches=0"])
    assert checkpoint("checkpoints/crater/version_0/last.ckpt")["epoch"] == 5


def test_config_of_a_resumed_run_starts_a_new_one(crater_root, caplog):
    main(["fit", *ORIGINAL, "--trainer.max_epochs=1"])
    main(["fit", *ORIGINAL, "--trainer.max_epochs=1"])
    first = Path("checkpoints/crater/version_0")
    caplog.clear()
    main(["fit", *ORIGINAL, "--trainer.max_epochs=2", f"--ckpt_path={first / 'last.ckpt'}"])
    assert f"--ckpt_path {first / 'best.ckpt'}" in caplog.text
    main(["fit", "--config=tb_logs/crater/version_0/config.yaml"])
    assert len(table("tb_logs/crater/version_2")) == 2


def test_loggers_beside_the_runs_own(crater_root):
    Path("loggers.yaml").write_text(yaml.safe_dump({"trainer": {"logger": LOGGERS}}))
    words = [*ORIGINAL, "--config=loggers.yaml"]
    main(["fit", *words, "--trainer.max_epochs=1"])
    main(["fit", *words, "--trainer.max_epochs=2", "--ckpt_path=last"])
    main(["test", *words])
    assert len(table("tb_logs/crater/version_0")) == 2 and not Path("tb_logs/crater/version_1").exists()
    assert Path("tb_logs/crater/version_0/test/metrics.json").is_file()


@pytest.mark.parametrize("loss", ["1", "2"])
def test_bar_shows_the_loss_of_a_batch(loss, crater_root, capfd):
    words = [*CRATER, "--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    main(["fit", *words, f"--trainer.accumulate_grad_batches={loss}"])
    shown = [float(value) for value in re.findall(r"[^_]loss=([\d.]+)", "".join(capfd.readouterr()))]
    assert max(shown) > 0.45, "ln 2 before it has learnt"


@pytest.mark.parametrize("option", ["enable_progress_bar", "enable_checkpointing"])
def test_callbacks_of_the_base_config_that_shall_not_be(option, crater_root):
    main(["fit", *ORIGINAL, "--trainer.max_epochs=1", f"--trainer.{option}=false", "--trainer.limit_train_batches=1"])
    assert Path("checkpoints/crater/version_0/last.ckpt").is_file() == (option != "enable_checkpointing")


@pytest.mark.parametrize("shown", ["true", "false"])
def test_progress_bar_can_be_left_out(shown, crater_root, capfd):
    words = [*ORIGINAL, "--trainer.max_epochs=1", f"--trainer.enable_progress_bar={shown}"]
    main(["fit", *words])
    assert ("Epoch 0:" in "".join(capfd.readouterr())) == (shown == "true")
    main(["fit", "--config=tb_logs/crater/version_0/config.yaml"])


def test_second_stage_starts_with_its_own_learning_rate(crater_root):
    plateau = ("=torch.optim.lr_scheduler.ReduceLROnPlateau", ".patience=0", ".factor=0.5", ".threshold=0.5")
    main(["fit", *ORIGINAL, *SHORT, *EASY, *(f"--model.init_args.scheduler{option}" for option in plateau)])
    rates = [float(row[name]) for row in table("tb_logs/crater/version_0") for name in row if "lr-" in name]
    assert rates[2] < rates[0] and rates[3] > rates[2]


def test_best_and_last_in_a_new_process_and_old_runs_are_left_alone(crater_root):
    main(["fit", *ORIGINAL, "--trainer.max_epochs", "1"])
    before = {path: path.read_bytes() for path in Path("checkpoints").rglob("*.ckpt")}
    main(["fit", *ORIGINAL, "--trainer.max_epochs", "2"])

    def run(*words):
        ((code, said),) = launch(list(words))
        assert code == 0, said
        return said

    run("fit", *ORIGINAL, "--trainer.max_epochs", "3", "--ckpt_path", "last")
    assert len(table("tb_logs/crater/version_0")) == 1 and len(table("tb_logs/crater/version_1")) == 3
    words = run("test", *CRATER, "--ckpt_path", "checkpoints/crater/version_0/epoch000.ckpt")
    assert Path("tb_logs/crater/version_0/test/metrics.json").is_file()
    assert "net 'deep' is ignored: the checkpoint was trained with 'original'" in words
    main(["validate", *ORIGINAL])
    assert {path.name for path in Path("tb_logs/crater").iterdir()} == {"version_0", "version_1"}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_workers_change_nothing(crater_root):
    words = [*ORIGINAL, "--data.init_args.augment", "true"]
    main(["fit", *words, "--trainer.max_epochs", "2"])
    words += ["--data.init_args.num_workers", "1"]
    main(["fit", *words, "--trainer.max_epochs", "1"])
    main(["fit", *words, "--trainer.max_epochs", "2", "--ckpt_path", "last"])
    states = [checkpoint(f"checkpoints/crater/version_{run}/last.ckpt")["state_dict"] for run in (0, 1)]
    assert same(*states)


def test_original_keeps_no_weight_decay_of_the_layer_below(capsys):
    with pytest.raises(SystemExit):
        main(["fit", *ORIGINAL, "--print_config"])
    optimizer = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.Adam" and optimizer["init_args"]["weight_decay"] == 0


def test_network_is_used_from_python(crater_root):
    main(["fit", *ORIGINAL, "--trainer.max_epochs", "1"])
    path = "checkpoints/crater/version_0/best.ckpt"
    task = CraterSemiSup.load_from_checkpoint(path).eval()
    image = torch.from_numpy(np.load(crater_root / "Xtest1.npy")).reshape(-1, 1, 48, 48)
    probability = task(image).sigmoid()
    main(["predict", *ORIGINAL, "--ckpt_path", path])
    saved = np.load("tb_logs/crater/version_0/predict/predictions.npz")["probability"]
    assert probability.detach().numpy() == pytest.approx(saved, abs=1e-6)

    started = ["--model.init_args.weights", path, "--model.init_args.optimizer.init_args.lr", "0"]
    main(["fit", *ORIGINAL, *started, "--trainer.max_epochs", "1", "--trainer.callbacks.initial_learning_rate", "0"])
    again = checkpoint("checkpoints/crater/version_1/last.ckpt")["state_dict"]
    assert all(torch.equal(value, task.state_dict()[name]) for name, value in again.items() if name.startswith("net."))


def test_answer_is_the_mean_over_frames_and_flips():
    torch.manual_seed(1)
    image = torch.randint(256, (5, 1, 48, 48), dtype=torch.uint8)
    task = CraterSemiSup(symmetrise=True, scales=[0.9, 1.0]).eval()
    plain = CraterSemiSup().eval()
    plain.load_state_dict(task.state_dict())
    with torch.inference_mode():
        views = [turned for view in (image, framed(image, 0.9)) for turned in (view, view.flip(2))]
        views = [torch.rot90(view, turns, (2, 3)) for view in views for turns in range(4)]
        mean = torch.stack([plain(view) for view in views]).mean(0)
        assert task(image) == pytest.approx(mean, abs=1e-6)


def test_members_learn_each_for_itself_and_decide_together(crater_root):
    task = CraterSemiSup(members=2).train()
    batch = {
        "image": torch.randint(256, (6, 1, 48, 48), dtype=torch.uint8),
        "label": torch.tensor([0, 1, 1, 0, 1, 0.3]),
        "index": torch.arange(6),
    }
    torch.manual_seed(1)  # of dropout
    loss = task.loss_of(batch)
    torch.manual_seed(1)
    each = [member(batch["image"] / 255).squeeze(1) for member in task.net]
    alone = [torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["label"]) for logits in each]
    assert loss.item() == pytest.approx(sum(alone).item() / 2, rel=1e-6) and not torch.allclose(*each)

    words = [*CRATER, *SHORT, *EASY, "--model.init_args.members=2"]
    main(["fit", *words, "--trainer.max_epochs=4"])
    main(["predict", *words])
    task = CraterSemiSup.load_from_checkpoint("checkpoints/crater/version_0/best.ckpt", map_location="cpu").eval()
    images = torch.from_numpy(np.load(crater_root / "Xtest1.npy").reshape(-1, 1, 48, 48))
    views = [turned for view in (images, images.flip(3)) for turned in (view.rot90(k, (2, 3)) for k in range(4))]
    with torch.inference_mode():
        logits = torch.stack([member(view / 255).squeeze(1) for member in task.net for view in views])
    saved = np.load("tb_logs/crater/version_0/predict/predictions.npz")["probability"]
    assert saved == pytest.approx(logits.mean(0).sigmoid().numpy(), abs=1e-5)


def test_each_fresh_stage_starts_from_the_weights_of_pretraining(crater_root):
    main(["fit", *quick("crater", "crater_pretraining"), "--data.init_args.root=data/crater", "--trainer.max_epochs=1"])
    given = Path("checkpoints/crater_pretraining/version_0/best.ckpt")
    words = [*CRATER, *SHORT, *EASY, f"--model.init_args.weights={given}", "--trainer.callbacks.final_learning_rate=0"]
    main(["fit", *words, "--trainer.max_epochs=3"])
    pretrained, folder = checkpoint(given)["state_dict"], Path("checkpoints/crater/version_0")
    given.unlink()  # a resumed run does without
    main(["fit", *words, "--trainer.max_epochs=4", "--ckpt_path=last"])
    ended, anew = (checkpoint(folder / f"epoch{epoch:03d}.ckpt")["state_dict"] for epoch in (2, 3))
    learnt = [name for name, value in CraterSemiSup().named_parameters()]
    assert not any(torch.equal(ended[name], pretrained[name]) for name in learnt)
    assert all(torch.equal(anew[name], pretrained[name]) for name in learnt)


def test_rounds_soft_labels_and_continuing(crater_root):
    options = ["rounds=2", "initial_epochs=2", "final_epochs=2", "soft=true", "fresh=false", "weight=0.5"]
    options = [f"--trainer.callbacks.{option}" for option in options]
    main(["fit", *ORIGINAL, *EASY, *options, "--trainer.max_epochs", "6"])
    assert [float(row["stage"]) for row in table("tb_logs/crater/version_0")] == [0, 0, 1, 1, 2, 2]
    folder = Path("checkpoints/crater/version_0")
    assert all((folder / f"{name}.ckpt").is_file() for name in ("initial", "round1", "final"))
    state = checkpoint(folder / "last.ckpt")["CraterDataModule"]
    assert state["pseudo_weight"] == 0.5 and len(state["pseudo_index"])
    assert not set(state["pseudo_label"].tolist()) <= {0.0, 1.0}
    assert state["pseudo_index"].min() >= 90, "labelled images come first and never join"
