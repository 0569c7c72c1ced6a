"""Ctrl-C and kill: whole files, one line that says what to do next, and a run that goes on as if nothing had been."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cases import CASES, CPU, DATA
from conftest import ORIGINAL, config
from processes import launch
from runs import checkpoint, same, table

from lit_hep.cli import main

SMALL = CASES["electron_photon"]


def send(**options):
    """Words that have a run send itself a signal."""
    return [
        "--trainer.callbacks+=callbacks.Send",
        *(f"--trainer.callbacks.{name}={value}" for name, value in options.items()),
    ]


def ended(words):
    """Exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code


@pytest.fixture
def fit(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return SMALL.fit(simulated(SMALL.task))


@pytest.fixture(scope="module")
def whole(simulated, tmp_path_factory):
    """Folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(SMALL.fit(simulated(SMALL.task)))
    return folder


def left(folder="."):
    """What was not finished."""
    return [path for path in Path(folder).rglob("*") if path.name.endswith(".part")]


HOOKS = ["on_train_batch_start", "on_validation_batch_start", "on_train_epoch_end", "on_save_checkpoint"]


@pytest.mark.parametrize(
    ("number", "code", "hook"), [(15, 143, hook) for hook in HOOKS] + [(2, 130, "on_train_batch_start")]
)
def test_fit_goes_on_where_it_was_stopped(number, code, hook, fit, whole, capfd):
    assert ended([*fit, *send(number=number, hook=hook)]) == code
    name, said = signal.Signals(number).name, capfd.readouterr().err
    epoch = 3 if hook in ("on_train_epoch_end", "on_save_checkpoint") else 2
    config_file = f"tb_logs/{SMALL.task}/version_0/config.yaml"
    assert f"\nstopped by {name} in epoch {epoch}; to go on: python -m lit_hep fit --config {config_file}" in said
    assert said.endswith(" --ckpt_path last\n") and "Traceback" not in said
    assert len(table(SMALL.run)) == epoch and not left()
    assert checkpoint(SMALL.checkpoints / "last.ckpt")["epoch"] == epoch - 1
    main([*fit, "--ckpt_path", "last"])
    for file in ("last.ckpt", "best.ckpt"):
        one, two = (checkpoint(place / SMALL.checkpoints / file) for place in (whole, Path()))
        assert same(one["state_dict"], two["state_dict"]) and same(one["optimizer_states"], two["optimizer_states"])
    assert table(SMALL.run) == table(whole / SMALL.run)


def test_the_line_to_go_on_names_the_run_if_there_is_a_newer_one(fit, capfd):
    assert ended([*fit, *send(epoch=0)]) == 143
    assert capfd.readouterr().err.endswith(
        "stopped by SIGTERM in epoch 0, before the first checkpoint: start it anew\n"
    )
    words = [*fit, *send(), "--trainer.logger.init_args.version=0"]
    Path("checkpoints", SMALL.task, "version_9").mkdir(parents=True)
    assert ended(words) == 143
    assert capfd.readouterr().err.endswith(f"--ckpt_path {SMALL.checkpoints / 'last.ckpt'}\n")


def test_stopped_before_the_first_step(fit, capfd):
    assert ended([*fit, *send(epoch=0, hook="on_fit_start")]) == 143
    assert capfd.readouterr().err.endswith("stopped by SIGTERM: what was not finished has been removed\n")
    assert not any(Path("tb_logs").rglob("version_*"))


def test_signal_after_the_last_step_comes_too_late(fit, whole, capfd):
    assert ended([*fit, *send(hook="on_train_end")]) == 143
    assert capfd.readouterr().err.endswith("SIGTERM came when all was done\n")
    assert same(*(checkpoint(place / SMALL.checkpoints / "last.ckpt")["state_dict"] for place in (whole, Path())))


def test_second_ctrl_c_ends_at_once(fit):
    ((code, said),) = launch([*fit, *send(number=2, times=2)])
    assert code == -signal.SIGINT and "Traceback" not in said


@pytest.mark.parametrize(
    ("command", "hook"),
    [("test", "batch_start"), ("test", "epoch_end"), ("predict", "batch_start"), ("predict", "end")],
)
def test_evaluation_leaves_no_half_written_file(command, hook, whole, fit, monkeypatch, capfd):
    monkeypatch.chdir(whole)
    words = [command, *fit[1:], "--ckpt_path=last", *send(number=2, epoch=0, hook=f"on_{command}_{hook}")]
    assert ended([word for word in words if "max_epochs" not in word]) == 130
    assert not left() and "SIGINT" in capfd.readouterr().err.splitlines()[-1]


def once_there_is(pattern, number):
    """Send this process a signal when there is such a file."""

    def watch():
        while not list(Path().glob(pattern)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.parametrize(("number", "code"), [(15, 143), (2, 130)])
def test_simulation_is_written_whole_or_not_at_all(number, code, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script has put in the background
    once_there_is(".craters.*.part", number)
    assert ended(["simulate", "crater", "--root", "craters", "--size", "20000"]) == code
    assert [path.name for path in Path().iterdir()] == [".craters.lock"]
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"stopped by {signal.Signals(number).name}")


def test_first_fit_stopped_while_it_simulates_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    once_there_is("data/.crater.*.part", signal.SIGTERM)
    assert ended(["fit", *ORIGINAL, *CPU, f"{DATA}.simulation_size=20000"]) == 143
    assert [path.name for path in Path("data").iterdir()] == [".crater.lock"]
    assert not any(Path("tb_logs").rglob("version_*"))


def test_signal_handlers_are_put_back(fit):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    ended([*fit, *send()])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_end_together(rank, fit):
    words = [*fit, *config("hardware/ddp"), "--trainer.devices=2", *send(rank=rank, epoch=1)]
    (code, said), (other_code, other_said) = launch(words, size=2)
    assert (code, other_code) == (143, 0)
    assert "stopped by SIGTERM in epoch 1; to go on: " in said and "stopped by" not in other_said
    assert "Traceback" not in said + other_said and not left()
    assert checkpoint(SMALL.checkpoints / "last.ckpt")["epoch"] == 0
