"""Several processes learn and measure what one does, and say and write it once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, CPU, DATA, MODEL, PSEUDO_LABEL, Case, options
from conftest import CONFIGS, CRATER, UNDRAWN, config
from processes import free_port, launch
from runs import checkpoint, same, table

from lit_hep.cli import main

DDP = ["--trainer.strategy=ddp", "--trainer.devices=2"]


def sgd(name="optimizer", mode="min"):
    """Words for an optimizer that does not hide small gradients, and a scheduler that lowers its rate if it can."""
    plateau = "torch.optim.lr_scheduler.ReduceLROnPlateau"
    scheduler = name.replace("optimizer", "scheduler")
    words = [f"{name}=torch.optim.SGD", f"{name}.lr=0.1", f"{scheduler}={plateau}", f"{scheduler}.patience=0"]
    return options(MODEL, *words, f"{scheduler}.threshold=0.9", f"{scheduler}.mode={mode}")


STAGES = options(PSEUDO_LABEL, "initial_epochs=1", "final_epochs=1", "below=0.5", "above=0.5", "keep_balance=false")
PLAIN = {  # without augmentation, and parts of sizes that two processes cannot share out evenly
    "crater": [
        *config("crater"),
        *STAGES,
        *sgd(),
        *options(DATA, "augment=false", "zoom=0", "shift=0", "test_fraction=0.3"),
    ],
    "electron_photon": [
        *config("electron_photon"),
        *sgd(),
        *options(DATA, "reflect_eta=false", "reflect_phi=false", "shift=0", "smear=0", "sample_fraction=0.34"),
        *options(DATA, "test_fraction=0.2", "balance=weights"),
    ],
    "drift_chamber": [
        *config("drift_chamber"),
        *sgd("generator_optimizer", "max"),
        *options(MODEL, "width=4"),
        *options(DATA, "mix=false", "val_fraction=0.25", "test_fraction=0.33"),
    ],
    "drift_chamber, gan": [
        *config("drift_chamber"),
        *options(MODEL, "net=native", "width=4", "objective=gan", "ema=0.9", "gradient_clip=1"),
        *sgd("generator_optimizer", "max"),
        *sgd("discriminator_optimizer", "max"),
        *options(DATA, "mix=false", "val_fraction=0.25", "test_fraction=0.33"),
    ],
    "multiplane": [
        *config("multiplane_early"),
        "--trainer.logger.init_args.name=multiplane",
        *sgd(),
        *options(DATA, "image_size=48", "flip_wires=false", "flip_ticks=false", "shift=0", "charge_scale=0"),
        *options(DATA, "hit_loss=0", "val_fraction=0.25", "test_fraction=0.25"),
    ],
    "ccd": [
        *config("ccd"),
        *sgd(mode="max"),
        *options(MODEL, "width=4", "depth=2", "loss=[cross_entropy,focal,dice]"),
        *options(DATA, "tile=64", "overlap=0", "augmentation=none", "test_fraction=0.25"),
    ],
}


def numbers(run):
    """What a run measured: each row of its table, and its test; logits that begin at 0 may fall on either side."""
    side = "discriminator_accuracy"
    rows = [{name: float(value) for name, value in row.items() if value and side not in name} for row in table(run)]
    tested = json.loads(Path(run, "test/metrics.json").read_text())
    return [*rows, {name: np.nan if value is None else value for name, value in tested.items()}]


@pytest.mark.parametrize("name", PLAIN)
def test_two_processes_learn_what_one_does_from_the_same_batches(name, placed):
    """Without dropout, batch norm and augmentation: they draw, or see, other numbers in each process.

    Nor kernels, which round otherwise and are not used in small batches.
    """
    task = name.split(",")[0]
    placed(task)
    common = [*PLAIN[name], *CPU, "--trainer.max_epochs=2", f"{MODEL}.figures_every_n_epochs=0"]
    common.append(f"{MODEL}.native=false")
    for size, more in ((1, [f"{DATA}.batch_size=14"]), (2, [f"{DATA}.batch_size=7", *DDP])):
        words = [*common, *more]
        ended = launch([["fit", *words, "--trainer.callbacks+=callbacks.Plain"], ["test", *words]], size)
        assert all(code == 0 for code, _ in ended), ended
    alone, together = (Path("tb_logs", task, f"version_{number}") for number in (0, 1))
    one, first, second = (checkpoint(f"rank{rank}.pt") for rank in ("0of1", "0of2", "1of2"))
    assert same(first, second), "the processes agree to the last bit"
    for key, value in one["module"].items():
        assert first["module"][key].numpy() == pytest.approx(value.numpy(), rel=1e-5, abs=1e-5), key
    assert same(one["data"], first["data"]), "split and pseudo-labels"
    assert one["rate"] == first["rate"]
    for mine, theirs in zip(numbers(alone), numbers(together), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6, abs=1e-6, nan_ok=True)


IN_TURN = [*config("multiplane_late"), *options(MODEL, "training=in_turn", "fusion=vote"), f"{DATA}.image_size=48"]
IN_TURN = Case("multiplane", [*IN_TURN, "--trainer.logger.init_args.name=multiplane"], 3, tested=12)
DIVIDED = {name: case for name, case in CASES.items() if case.tested} | {"multiplane, in turn": IN_TURN}


@pytest.mark.parametrize("name", DIVIDED)
def test_two_processes_agree_and_write_all_once(name, placed):
    """With batch norm, dropout, augmentation, streaming, pseudo-labels, moving averages, planes in turn."""
    case = DIVIDED[name]
    placed(case.task)
    words = [*case.words, *UNDRAWN, *CPU, *DDP, f"{DATA}.batch_size=7"]
    fit = ["fit", *words, "--trainer.callbacks+=callbacks.SaveRank", f"--trainer.max_epochs={case.epochs}"]
    streamed = "streamed" in name  # the tests of others are compared above
    ended = launch([fit, ["test", *words]] if streamed else fit, 2)
    assert all(code == 0 for code, _ in ended), ended
    assert same(*(checkpoint(f"rank{rank}of2.pt") for rank in (0, 1)))
    assert [path.name for path in case.run.parent.iterdir()] == ["version_0"]
    assert [path.name for path in case.checkpoints.parent.iterdir()] == ["version_0"]
    assert len(table(case.run)) == case.epochs and (case.run / "config.yaml").is_file()
    assert len(list(case.run.glob("events*"))) == 1 + streamed
    assert sum(output.count("Type next") for _, output in ended) == 1
    if streamed:
        scores = np.load(case.run / "test/predictions.npz")
        assert len(set(scores["id"])) == len(scores["id"]) == case.tested


def test_what_is_wrong_is_said_once(placed):
    root = placed("crater")
    (root / "Ytrain1.npy").unlink()
    ended = launch(["fit", *CRATER, *CPU, *DDP], 2)
    output = "".join(text for _, text in ended)
    assert ended[0][0] == 2 and output.count("error:") == 1 and "Traceback" not in output, output
    assert "Ytrain1.npy not found" in output


def test_lightning_starts_the_second_process_itself(placed):
    """The command as it is typed, of the task that asks most of it."""
    placed("drift_chamber")
    line = [sys.executable, "-m", "lit_hep", "fit", *DIVIDED["drift_chamber, gan"].words, *UNDRAWN, *CPU, *DDP]
    done = subprocess.run([*line, "--trainer.max_epochs=1"], capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0 and "MEMBER: 2/2" in done.stderr and done.stdout.count("Type next") <= 1, done.stderr
    assert [path.name for path in Path("tb_logs/drift_chamber").iterdir()] == ["version_0"]


NODES = ["--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.devices=1"]
SHORT = [*CRATER, *CPU, "--trainer.max_epochs=1", f"{DATA}.simulation_size=60"]


def test_two_nodes_of_slurm_fill_the_disk_that_they_share_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = {"SLURM_JOB_NAME": "crater", "SLURM_JOB_ID": "1234567", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    ended = launch(["fit", *SHORT, *NODES], 2, [tmp_path, tmp_path], **job, SLURM_NNODES="2")
    assert [code for code, _ in ended] == [0, 0], ended
    names = {path.name for path in Path("data/crater").iterdir()}
    assert names >= {"Xtrain1.npy", "splits.json"} and not any(name.endswith(".part") for name in names)
    assert len(json.loads(Path("data/crater/splits.json").read_text())) == 1
    assert [path.name for path in Path("tb_logs/crater").iterdir()] == ["version_0"]


def test_two_nodes_with_disks_of_their_own(tmp_path, monkeypatch):
    """Each fills its own, the first writes the run; other labels are refused."""
    monkeypatch.chdir(tmp_path)
    nodes = [tmp_path / name for name in ("first", "second")]
    for node in nodes:
        node.mkdir()
    ended = launch(["fit", *SHORT, *NODES], 2, nodes)
    assert [code for code, _ in ended] == [0, 0], ended
    one, two = ((node / "data/crater/Xtrain1.npy").read_bytes() for node in nodes)
    assert one == two
    assert (nodes[0] / "checkpoints/crater/version_0/last.ckpt").is_file()
    assert [path.name for path in nodes[1].iterdir() if not path.name.startswith(".")] == ["data"]
    labels = nodes[1] / "data/crater/Ytrain1.npy"
    np.save(labels, 1 - np.load(labels))
    ended = launch(["fit", *SHORT, *NODES], 2, nodes)
    output = "".join(text for _, text in ended)
    assert ended[0][0] == 2 and output.count("error:") == 1 and "Traceback" not in output
    assert "other samples than on the first node" in output


def test_batch_script_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    """Of the page, as it stands there, with an `srun` that is stopped at its first call."""
    page = (CONFIGS / "hardware/README.md").read_text()
    (tmp_path / "fit.sbatch").write_text(page.split("```bash\n")[1].split("```")[0])
    stopped = "mkdir -p checkpoints/crater_7/version_0; touch checkpoints/crater_7/version_0/last.ckpt; exit 143"
    tools = {
        "srun": f'echo "$@" >> srun.log; [ -d checkpoints ] || {{ {stopped}; }}',
        "scontrol": 'echo "$@" >> scontrol.log',
    }
    for name, words in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{words}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, value in {"JOB_ID": 7, "NNODES": 2, "NTASKS_PER_NODE": 4}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert [subprocess.run(["bash", "fit.sbatch"], check=False).returncode for _ in range(2)] == [143, 0]
    first, second = Path("srun.log").read_text().splitlines()
    assert second == f"{first} --ckpt_path last"
    assert Path("scontrol.log").read_text() == "requeue 7\n"
    words = first.split(" -m lit_hep ")[1].replace("configs", str(CONFIGS)).split()
    with pytest.raises(SystemExit) as end:
        main([*words, "--print_config"])
    assert not end.value.code and "name: crater_7" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_starts_two_nodes_of_two_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    port = str(free_port())
    start = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", "--master-port", port]
    nodes = ["--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.devices=2"]
    for words in (["fit", *SHORT], ["fit", *SHORT, "--trainer.max_epochs=2", "--ckpt_path=last"], ["test", *SHORT]):
        line = [*start, "--master-addr=127.0.0.1", "-m", "lit_hep", *words, *nodes]
        started = [
            subprocess.Popen([*line[:3], f"--node-rank={rank}", *line[3:]], stderr=subprocess.PIPE, text=True)
            for rank in (0, 1)
        ]
        for process in started:
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said[-3000:]
    run = Path("tb_logs/crater/version_0")
    assert [path.name for path in run.parent.iterdir()] == ["version_0"] and len(table(run)) == 2
    scores = np.load(run / "test/predictions.npz")
    assert len(set(scores["id"])) == len(scores["id"]) == 12
    assert json.loads((run / "test/metrics.json").read_text())["n"] == 12
