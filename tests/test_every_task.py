"""What every task promises: exact resume, two processes, pictures, data from nothing, and no data of another task.

To add a task: its cases below, and the size of its small data set in `conftest.SIZES`.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZES, config
from runs import checkpoint, same, table

from lit_hep.cli import main

CPU = ["--trainer.accelerator=cpu"]
MODEL, DATA, PSEUDO_LABEL = "--model.init_args", "--data.init_args", "--trainer.callbacks"


@dataclass
class Case:
    """A way to train a task: words of the command line that make it quick and put its state to the test."""

    task: str
    words: list[str]
    epochs: int = 4
    stops: tuple[int, ...] = (1, 3)
    tested: int = 0
    """Samples of the test part; 0 where two processes are not tried: others go through the same code."""
    strategy: str = "ddp"

    @property
    def run(self) -> Path:
        return Path("tb_logs", self.task, "version_0")

    @property
    def checkpoints(self) -> Path:
        return Path("checkpoints", self.task, "version_0")


def options(prefix, *values):
    """Words ``prefix.value``."""
    return [f"{prefix}.{value}" for value in values]


def plateau(name):
    """Words for a scheduler that lowers the learning rate whenever it can."""
    words = ("=torch.optim.lr_scheduler.ReduceLROnPlateau", ".patience=0", ".factor=0.5", ".threshold=0.5")
    return [f"{MODEL}.{name}{word}" for word in words]


STAGES = options(PSEUDO_LABEL, "initial_epochs=3", "final_epochs=3", "patience=2")
STAGES += options(PSEUDO_LABEL, "below=0.5", "above=0.5", "keep_balance=false")  # all are sure
VIEWS = options(DATA, "reflect_eta=true", "reflect_phi=true", "shift=1", "smear=0.02", "balance=weights")
STREAMED = options(DATA, "memory_gib=0.06")  # blocks of 122 images
NATIVE = [*config("drift_chamber"), *options(MODEL, "net=native", "width=4")]
GAN = options(MODEL, "objective=gan", "ema=0.9", "noise=1", "spectral_norm=true", "gradient_clip=1")
PLATEAUS = [*plateau("generator_scheduler"), *plateau("discriminator_scheduler")]
PLATEAUS += options(MODEL, "generator_scheduler.mode=max", "discriminator_scheduler.mode=max")
PLANES = [*config("multiplane_early"), "--trainer.logger.init_args.name=multiplane", *options(DATA, "image_size=48")]
CONFIG = {"multiplane": "multiplane_early"}  # where it is not named as the task
UNET = [*options(MODEL, "width=4", "depth=2", "dropout=0.3"), *options(DATA, "tile=64", "overlap=0")]
UNUSED = "ddp_find_unused_parameters_true"
CASES = {
    "crater": Case("crater", [*config("crater"), *STAGES], 6, (1, 2, 3, 4, 5), 18),
    "crater, original": Case(
        "crater", [*config("crater", "crater_original"), *STAGES, *plateau("scheduler")], 6, (1, 2, 3, 4, 5)
    ),
    "electron_photon": Case(
        "electron_photon", [*config("electron_photon"), *options(MODEL, "scheduler.init_args.patience=0")]
    ),
    "electron_photon, streamed": Case(
        "electron_photon",
        [*config("electron_photon"), *STREAMED, *VIEWS, *options(MODEL, "net=lenet5_bn", "energy=log")],
        tested=30,
    ),
    "drift_chamber": Case("drift_chamber", [*config("drift_chamber"), f"{MODEL}.width=4"]),
    "drift_chamber, regression": Case("drift_chamber", NATIVE),
    "multiplane": Case("multiplane", PLANES, 3, (1, 2), 12),
    "multiplane, tick": Case("multiplane", [*PLANES, *options(MODEL, "mode=tick", "scaling=standard")], 3, (1,)),
    "ccd": Case("ccd", [*config("ccd"), *UNET], tested=4),
    "ccd, original": Case("ccd", [*config("ccd", "ccd_original"), *UNET, *plateau("scheduler")]),
    "drift_chamber, gan": Case("drift_chamber", [*NATIVE, *GAN, *PLATEAUS], tested=16, strategy=UNUSED),
}
DIVIDED = {name: case for name, case in CASES.items() if case.tested}


@pytest.fixture(scope="module")
def uninterrupted(request, tmp_path_factory, simulated):
    """A case, the folder in which its fit ran to the end, and the words of that fit."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("uninterrupted")
    words = [*case.words, *CPU, f"{DATA}.root", str(simulated(case.task)), f"--trainer.max_epochs={case.epochs}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", *words])
    return case, folder, words


@pytest.mark.parametrize(
    ("uninterrupted", "stop"),
    [(name, stop) for name, case in CASES.items() for stop in case.stops],
    indirect=["uninterrupted"],
)
def test_resumed_run_equals_the_uninterrupted_one_to_the_last_bit(uninterrupted, stop, tmp_path, monkeypatch):
    case, whole, words = uninterrupted
    monkeypatch.chdir(tmp_path)
    main(["fit", *words, f"--trainer.max_epochs={stop}"])
    torch.manual_seed(12345)  # nothing may depend on where the random state stands
    main(["fit", *words, "--ckpt_path", "last"])
    names = sorted(path.name for path in (whole / case.checkpoints).iterdir())
    assert names == sorted(path.name for path in (tmp_path / case.checkpoints).iterdir())
    for name in {"last.ckpt", "best.ckpt", "initial.ckpt", "final.ckpt"} & set(names):
        one, two = (checkpoint(place / case.checkpoints / name) for place in (whole, tmp_path))
        assert one.keys() == two.keys()
        for part in one.keys() - {"loops"}:
            assert same(one[part], two[part]), (name, part)
    assert table(whole / case.run) == table(tmp_path / case.run)


SAVE = """
import torch
from lightning.pytorch import Callback

class SaveRank(Callback):
    def on_train_end(self, trainer, module):
        torch.save(module.state_dict(), f"rank{trainer.global_rank}.pt")
"""


@pytest.mark.parametrize("name", DIVIDED)
def test_two_processes(name, placed, monkeypatch):
    """One run folder, every test sample once, equal weights, the same checkpoints (Lightning would hang else)."""
    case = DIVIDED[name]
    placed(case.task)
    Path("saving.py").write_text(SAVE)
    monkeypatch.setenv("PYTHONPATH", ".", prepend=os.pathsep)
    ddp = [*config("hardware/ddp"), "--trainer.devices=2", f"--trainer.strategy={case.strategy}"]
    for command, more in (("fit", ["--trainer.callbacks+=saving.SaveRank", f"{DATA}.batch_size=7"]), ("test", [])):
        words = [sys.executable, "-m", "lit_hep", command, *case.words, *CPU, *ddp, *more]
        words += [f"--trainer.max_epochs={case.epochs}"] if command == "fit" else []
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=250)
        assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in case.run.parent.iterdir()] == ["version_0"]
    assert len(table(case.run)) == case.epochs
    first, second = (checkpoint(f"rank{rank}.pt") for rank in (0, 1))
    running = ("running_mean", "running_var")  # of the batches that each process saw; the checkpoint has the first's
    assert all(same(first[key], second[key]) for key in first if not key.endswith(running))
    scores = np.load(case.run / "test/predictions.npz")
    assert len(set(scores["id"])) == len(scores["id"]) == case.tested


@pytest.mark.parametrize("task", SIZES)
def test_show_fills_an_empty_root_by_simulation(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(
        [
            "show",
            *config(CONFIG.get(task, task)),
            f"{DATA}.simulation_size=20",
            "--index",
            "0",
            "5",
            "--output",
            "some.png",
        ]
    )
    assert Path("some.png").read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in Path("data", task).rglob("*") if path.is_file()}
    assert before
    main(["show", *config(CONFIG.get(task, task)), "--output", "again.png"])
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("task", SIZES)
def test_simulate_leaves_a_full_folder_alone(task, placed, capfd):
    root = placed(task)
    with pytest.raises(SystemExit) as end:
        main(["simulate", task, "--root", str(root), "--size", "20"])
    assert end.value.code == 2 and "not empty" in capfd.readouterr().err


@pytest.mark.parametrize("layer", ["gpu", "ddp", "slurm"])
@pytest.mark.parametrize("task", SIZES)
def test_hardware_layer_is_accepted(task, layer, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", *config(CONFIG.get(task, task), f"hardware/{layer}"), "--print_config"])
    assert not end.value.code and "class_path: lit_hep" in capsys.readouterr().out


@pytest.mark.parametrize("task", SIZES)
def test_data_of_another_task_are_refused(task, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    other = "CraterDataModule" if task != "crater" else "DriftChamberDataModule"
    words = [f"--data=lit_hep.{other}", *options(DATA, "root=other", "simulation_size=60")]
    with pytest.raises(SystemExit) as end:
        main(["fit", *config(CONFIG.get(task, task)), *CPU, *words])
    assert end.value.code == 2
    assert f"not {other}" in capfd.readouterr().err
