"""Drift chamber from end to end, through the command line: fit, test, predict, resume, two processes."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import DRAWN, SIZES, quick
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from PIL import Image
from runs import checkpoint, table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lit_hep.cli import main
from lit_hep.evaluation.denoising import RATIOS, REJECTIONS
from lit_hep.tasks.drift_chamber import DriftChamberDataModule, Pix2PixGAN
from lit_hep.tasks.drift_chamber.layout import pad
from lit_hep.tasks.drift_chamber.simulation import simulate

DENOISER, ORIGINAL = quick("drift_chamber"), quick("drift_chamber", "drift_chamber_original")
MODEL = "--model.init_args"
NATIVE = [*DENOISER, f"{MODEL}.net=native", f"{MODEL}.width=4"]
GAN = [*NATIVE, f"{MODEL}.objective=gan", f"{MODEL}.ema=0.9", f"{MODEL}.noise=1", f"{MODEL}.spectral_norm=true"]
GAN += [f"{MODEL}.gradient_clip=1", f"{MODEL}.adversarial_loss=hinge", "--data.init_args.mix=true"]
VARIANTS = {
    "denoiser": [*DENOISER, f"{MODEL}.width=4"],
    "regression": NATIVE,
    "gan": GAN,
    "original": [*ORIGINAL, f"{MODEL}.width=4"],
}
HERE = ["--trainer.accelerator=cpu"]
FIGURES = {"efficiency_rejection", "scores", "pixel_differences", "against_current", "events", "learning_curves"}
TRAINED = ("loss", "adversarial_loss", "distance", "discriminator_loss")
TRAINED += ("discriminator_accuracy_real", "discriminator_accuracy_fake")
RUN, CHECKPOINTS = Path("tb_logs/drift_chamber/version_0"), Path("checkpoints/drift_chamber/version_0")
EVENTS = SIZES["drift_chamber"]


@pytest.fixture
def root(placed):
    """Simulated events, of two beam currents."""
    folder = placed("drift_chamber")
    with h5py.File(folder / "events.hdf5", "r+") as file:
        file["current"][:] = np.where(np.arange(EVENTS) % 2, 45, 90)
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_shipped_config_from_fit_to_prediction(name, root, capfd):
    words = [*VARIANTS[name], *DRAWN, *HERE]
    main(["fit", *words, "--trainer.max_epochs", "2"])
    assert {path.name for path in CHECKPOINTS.iterdir()} == {"epoch000.ckpt", "epoch001.ckpt", "best.ckpt", "last.ckpt"}
    rows = table(RUN)
    adversarial = name in ("gan", "original")
    logged = {key.removeprefix("train_") for key in rows[0] if key.startswith("train_")}
    assert logged == set(TRAINED if adversarial else TRAINED[:1])
    assert {"val_loss", "val_efficiency_at_rejection_90"} <= set(rows[0])
    if adversarial:
        assert all(
            0 <= float(row[f"train_discriminator_accuracy_{kind}"]) <= 1 for row in rows for kind in ("real", "fake")
        )

    main(["test", *words, "--ckpt_path", "best"])
    metrics = json.loads((RUN / "test/metrics.json").read_text())
    assert {*RATIOS, *REJECTIONS, "threshold", "hit_efficiency_low", "purity_45_nA", "hit_efficiency_90_nA"} <= set(
        metrics
    )
    assert {path.stem for path in (RUN / "test/figures").glob("*.png")} == FIGURES
    scores = np.load(RUN / "test/predictions.npz")
    assert set(scores) == {"id", "score", "keep", "truth"}
    assert scores["score"].shape == (16, 36, 112) and scores["score"].dtype == np.float32
    with h5py.File(root / "events.hdf5") as file:
        image, truth = (file[kind][:][scores["id"]] > 0 for kind in ("all", "truth"))
    assert not scores["score"][~image].any() and not scores["keep"][~image].any()
    assert np.array_equal(scores["truth"], truth & image)
    assert np.array_equal(scores["keep"], image & (scores["score"] >= metrics["threshold"]))
    assert metrics["hit_efficiency"] == pytest.approx(scores["keep"][truth & image].mean())
    with h5py.File(RUN / "test/cleaned.hdf5") as file:
        assert np.array_equal(file["clean"][:], scores["keep"] * np.uint8(255))

    main(["predict", *words])
    again = np.load(RUN / "predict/predictions.npz")
    assert set(again) == {"id", "score", "keep"} and np.array_equal(again["score"], scores["score"])
    assert not Path("tb_logs/drift_chamber/version_1").exists()

    task = Pix2PixGAN.load_from_checkpoint(CHECKPOINTS / "best.ckpt").eval()
    with torch.no_grad():
        direct = task(torch.from_numpy(image[:, None]))
    assert direct.numpy() == pytest.approx(again["score"], abs=1e-6)


def test_plateau_lowers_both_rates(root):
    plateau = (
        "=torch.optim.lr_scheduler.ReduceLROnPlateau",
        ".patience=0",
        ".factor=0.5",
        ".threshold=0.5",
        ".mode=max",
    )
    networks = ("generator", "discriminator")
    options = [f"{MODEL}.{network}_scheduler{option}" for network in networks for option in plateau]
    main(["fit", *GAN, *options, *HERE, "--trainer.max_epochs", "4"])
    rates = np.array([[float(row[name]) for name in row if name.startswith("lr-")] for row in table(RUN)])
    assert rates.shape == (4, 2) and (rates[-1] < rates[0]).all()
    assert len(checkpoint(CHECKPOINTS / "last.ckpt")["optimizer_states"]) == 2


def test_tensorboard_drops_what_a_run_resumed_from_earlier_writes_anew(root):
    words = ["fit", *GAN, *DRAWN, *HERE, "--trainer.max_epochs", "3"]
    main(words)
    main([*words, f"--ckpt_path={CHECKPOINTS / 'epoch000.ckpt'}"])
    events = EventAccumulator(str(RUN)).Reload()
    steps = [event.step for event in events.Scalars("val_loss")]
    assert len(steps) == 3 and len(set(steps)) == 3
    assert {event.step for event in events.Images(events.Tags()["images"][0])} == {steps[-1] + 1}


def test_early_stopping_ends_a_gan_and_checkpoints_are_there_for_each_epoch(root):
    stop = ["--trainer.callbacks.patience", "1", "--trainer.callbacks.min_delta", "1"]
    main(["fit", *GAN, *HERE, *stop, "--trainer.max_epochs", "9"])
    assert len(table(RUN)) == 2
    assert {path.name for path in CHECKPOINTS.glob("epoch*")} == {"epoch000.ckpt", "epoch001.ckpt"}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", ["gan", "denoiser"])
def test_precision_and_clipping(name, precision, root, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def noted(parameters, most):
        clip(parameters, most)
        norms.append(torch.stack([weight.grad.norm() for weight in parameters if weight.grad is not None]).norm())
        return norms[-1]

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    options = [
        f"{MODEL}.gradient_clip=0.001",
        f"{MODEL}.generator_optimizer.init_args.fused=false",
        "--trainer.max_epochs=1",
    ]
    main(["fit", *VARIANTS[name], *HERE, *options, "--trainer.precision", precision])
    norms = torch.stack(norms)
    assert len(norms) == (4 if name == "gan" else 2)
    assert (norms[norms.isfinite()] < 0.0011).all() and norms.isfinite().any()
    assert all(value.isfinite().all() for value in checkpoint(CHECKPOINTS / "last.ckpt")["state_dict"].values())


@pytest.mark.parametrize("fused", [True, False])
def test_clipping_of_a_scaled_gradient(fused, root):
    """A fused optimizer takes the scale of the loss away in its step, after the clipping."""
    task = Pix2PixGAN(
        objective="regression",
        net="denoiser",
        width=4,
        gradient_clip=1e-3,
        generator_optimizer=lambda weights: torch.optim.Adam(weights, fused=fused),
        figures_every_n_epochs=0,
    )
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=0,
        plugins=[MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))],
    )
    trainer.fit(task, DriftChamberDataModule(str(root)))
    moments = [state["exp_avg"].norm() for state in trainer.optimizers[0].state.values()]
    assert torch.stack(moments).norm() == pytest.approx(1e-4, rel=0.01), "a tenth of the largest norm"


def test_predicting_leaves_the_data_module_to_testing(root, tmp_path):
    """From Python the same data module may serve for both."""
    others = tmp_path / "others"
    others.mkdir()
    simulate(others, 20, 7)
    task = Pix2PixGAN(objective="regression", net="denoiser", width=4)
    data = DriftChamberDataModule(str(root), predict_root=str(others))
    trainer = Trainer(accelerator="cpu", logger=False)
    trainer.predict(task, data)
    trainer.test(task, data)
    assert data.events is data._known
    assert {"purity_45_nA", "purity_90_nA"} <= json.loads(Path("test/metrics.json").read_text()).keys()


def test_names_of_any_alphabet(root):
    (root / "events.hdf5").rename(root / "Läufe.hdf5")
    simulate(root, 20, 7)
    main(["fit", *DENOISER, f"{MODEL}.width=4", *HERE, "--trainer.max_epochs=1"])
    main(["predict", *DENOISER, f"{MODEL}.width=4", *HERE, "--ckpt_path=best", f"--data.init_args.predict_root={root}"])
    with h5py.File(RUN / "predict/cleaned.hdf5") as file:
        names = file["name"].asstr()[:]
    assert set(names) == {*(f"Läufe.hdf5:{row}" for row in range(EVENTS)), *(f"events.hdf5:{row}" for row in range(20))}


def test_moving_average_follows_the_generator(root):
    """After many steps the average is torch's own; before, it hurries."""
    main(["fit", *GAN, *HERE, "--trainer.max_epochs", "1"])
    state = checkpoint(CHECKPOINTS / "last.ckpt")["state_dict"]
    names = [name for name in state if name.startswith("net.")]
    assert names and {name.replace("net.", "average.", 1) for name in names} <= set(state)
    task = Pix2PixGAN.load_from_checkpoint(CHECKPOINTS / "last.ckpt")
    weights = [[value.clone() for value in net.parameters()] for net in (task.average, task.net)]
    assert any(not torch.equal(*pair) for pair in zip(*weights, strict=True))
    get_ema_multi_avg_fn(0.9)(weights[0], weights[1], 10)
    late = type("Late", (Pix2PixGAN,), {"global_step": 10_000})
    task.__class__ = late
    task._follow(task.average)
    assert all(torch.allclose(*pair) for pair in zip(task.average.parameters(), weights[0], strict=True))


def test_padded_batches_and_padded_files_give_the_same_numbers(root, tmp_path):
    main(
        [
            "prepare",
            "drift_chamber",
            "--source",
            str(root / "events.hdf5"),
            "--output",
            "padded/events.hdf5",
            "--layout",
            "padded",
        ]
    )
    with h5py.File(root / "events.hdf5") as native, h5py.File("padded/events.hdf5") as padded:
        assert padded["all"].shape == (EVENTS, 128, 128, 3)
        assert np.array_equal(padded["all"][..., 1], pad(native["all"][:]))
    main(["fit", *VARIANTS["regression"], *HERE, "--trainer.max_epochs", "1"])
    numbers = []
    for options in ([], ["--data.init_args.layout=padded"], ["--data.init_args.root=padded"]):
        main(["test", *VARIANTS["regression"], *HERE, *options])
        numbers.append((RUN / "test/metrics.json").read_text())
    assert numbers[0] == numbers[1] == numbers[2]
    with h5py.File(RUN / "test/cleaned.hdf5") as file:
        assert file["clean"].shape == (16, 128, 128, 3)


def test_pictures_in_pictures_out(root, tmp_path):
    (tmp_path / "png").mkdir()
    simulate(tmp_path / "png", 30, seed=5, layout="png")
    main(["fit", *VARIANTS["denoiser"], *HERE, "--trainer.max_epochs", "1", "--data.init_args.root=png"])
    main(["test", *VARIANTS["denoiser"], *HERE, "--data.init_args.root=png"])
    scores = np.load(RUN / "test/predictions.npz")
    for name, keep in zip(scores["id"], scores["keep"], strict=True):
        with Image.open(RUN / f"test/cleaned/{name}_clean_.png") as image:
            assert image.size == (112, 36) and image.mode == "RGB"
            assert np.array_equal(np.asarray(image)[..., 0], keep * np.uint8(255))
    main(
        [
            "predict",
            *VARIANTS["denoiser"],
            *HERE,
            "--data.init_args.root=png",
            "--data.init_args.predict_root",
            str(root),
        ]
    )
    assert np.load(RUN / "predict/predictions.npz")["score"].shape == (EVENTS, 36, 112)
    assert (RUN / "predict/cleaned.hdf5").is_file()


def test_events_streamed_from_disk_give_the_same_numbers(root):
    main(["fit", *VARIANTS["regression"], *HERE, "--trainer.max_epochs", "1"])
    numbers = []
    for memory in ("8", "1"):
        main(["test", *VARIANTS["regression"], *HERE, "--data.init_args.memory_gib", memory])
        numbers.append(json.loads((RUN / "test/metrics.json").read_text()))
    assert numbers[0] == pytest.approx(numbers[1])
    main(["fit", *VARIANTS["regression"], *HERE, "--trainer.max_epochs", "1", "--data.init_args.memory_gib", "1"])
    assert float(table("tb_logs/drift_chamber/version_1")[0]["train_loss"]) > 0
