"""Files are whole or absent: after a kill, on a full disk, and when a run was refused before it began."""

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from cases import CASES, CPU, DATA
from conftest import config
from processes import launch
from runs import checkpoint, same

from lit_hep.cli import main
from lit_hep.data.files import fill, replacing, sweep

CASE = CASES["electron_photon"]
DEAD = 2**22 + 1  # beyond the largest process number


@pytest.fixture(scope="module")
def home(simulated, tmp_path_factory):
    """A folder with a run of two epochs."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(fit(simulated, 2))
    return folder


def fit(simulated, epochs):
    """Words of a fit."""
    return [*CASE.fit(simulated(CASE.task)), f"--trainer.max_epochs={epochs}"]


def refused(words, capfd):
    """The one message with which a command ends."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capfd.readouterr().err
    assert end.value.code == 2
    (message,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return message


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def empty(path):
    path.write_bytes(b"")


DAMAGE = {
    "cut": lambda last: cut(last.resolve()),
    "empty": lambda last: empty(last.resolve()),
    "leads nowhere": lambda last: last.resolve().unlink(),
    "not linked yet": lambda last: last.unlink(),
    "link replaced by an empty file": lambda last: (last.unlink(), empty(last)),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_last_is_passed_over(how, here, simulated):
    before = checkpoint(CASE.checkpoints / "last.ckpt")["state_dict"]
    DAMAGE[how](CASE.checkpoints / "last.ckpt")
    newest = "epoch001.ckpt" if "link" in how else "epoch000.ckpt"
    with pytest.warns(UserWarning, match=rf"last\.ckpt: (damaged|no such).*{newest} is taken in its place"):
        main([*fit(simulated, 2 if newest == "epoch000.ckpt" else 3), "--ckpt_path=last"])
    assert (CASE.checkpoints / "last.ckpt").is_symlink()
    again = checkpoint(CASE.checkpoints / "epoch001.ckpt")["state_dict"]
    assert same(before, again)


def test_damaged_best_is_refused_and_so_is_last_without_another(here, simulated, capfd):
    words = [*fit(simulated, 3), "--ckpt_path"]
    cut(CASE.checkpoints / "best.ckpt")
    assert "best.ckpt: damaged" in refused([*words, "best"], capfd)
    for path in CASE.checkpoints.glob("epoch*.ckpt"):
        empty(path)
    assert "last.ckpt: damaged" in refused([*words, "last"], capfd)


def test_leftovers_of_a_killed_process_are_removed(here, simulated):
    host = os.uname().nodename
    parts = [CASE.checkpoints / f".best.ckpt.{host}-{DEAD}.part", CASE.run / f".metrics.csv.{host}-{DEAD}.part"]
    kept = [CASE.run / f".metrics.csv.{host}-{os.getppid()}.part", CASE.run / f".metrics.csv.elsewhere-{DEAD}.part"]
    for path in parts + kept:
        path.touch()
    main([*fit(simulated, 3), "--ckpt_path=last"])
    assert not any(path.exists() for path in parts) and all(path.exists() for path in kept)


def test_leftovers_of_a_killed_simulator_are_removed(tmp_path):
    left = tmp_path / f".craters.{os.uname().nodename}-{DEAD}.part"
    other = tmp_path / f".other.{os.uname().nodename}-{DEAD}.part"
    left.mkdir(), other.mkdir(), (left / "half").touch()
    fill(tmp_path / "craters", lambda folder: (folder / "whole").touch())
    assert not left.exists() and other.exists()
    sweep(tmp_path)
    assert not other.exists() and (tmp_path / "craters/whole").exists()


def test_link_is_replaced_or_left(tmp_path):
    (tmp_path / "last").symlink_to("nowhere")
    with pytest.raises(RuntimeError), replacing(tmp_path / "last") as part:
        part.symlink_to("elsewhere")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["last"] and (tmp_path / "last").readlink() == Path("nowhere")


def test_refused_fit_leaves_no_run(simulated, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("weights.ckpt").touch()
    words = [*fit(simulated, 2), "--model.init_args.weights=weights.ckpt"]
    assert "weights.ckpt: damaged" in refused(words, capfd)
    assert not any(Path("tb_logs").rglob("version_*")) and not Path("checkpoints").exists()


def test_refused_resumption_leaves_the_run_as_it_was(here, simulated, capfd):
    before = {path: path.read_bytes() for path in CASE.run.iterdir()}
    refused([*fit(simulated, 1), "--ckpt_path=last"], capfd)
    assert {path: path.read_bytes() for path in CASE.run.iterdir()} == before


def test_checkpoint_of_the_python_interface_is_accepted(simulated, tmp_path, monkeypatch):
    from lightning.pytorch import Trainer

    from lit_hep import ElectronPhoton, ElectronPhotonDataModule

    monkeypatch.chdir(tmp_path)
    data = ElectronPhotonDataModule(root=str(simulated(CASE.task)))
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.fit(ElectronPhoton(net="lenet5", figures_every_n_epochs=0), data)
    trainer.save_checkpoint("mine.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found keys|.*is ignored: the checkpoint was trained with")
        main(["predict", *config("electron_photon"), *CPU, f"{DATA}.root={data.root}", "--ckpt_path=mine.ckpt"])
    assert list(Path("tb_logs").rglob("predictions.npz"))


def test_checkpoint_that_cannot_be_written(here, simulated):
    before = {path.name: path.read_bytes() for path in CASE.checkpoints.iterdir()}
    ((code, said),) = launch([*fit(simulated, 3), "--ckpt_path=last", "--trainer.callbacks+=callbacks.Limit"])
    message = (
        rf"error: {CASE.checkpoints}/(best|epoch002)\.ckpt: cannot be written \(File too large\); choose another place"
    )
    assert code == 2 and re.search(rf"\n{message}\n$", said) and "Traceback" not in said
    assert {path.name: path.read_bytes() for path in CASE.checkpoints.iterdir()} == before


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """The current folder is a disk of so many kB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mounted(size):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=False)
        if done.returncode:
            pytest.skip("only root can mount a small disk")
        monkeypatch.chdir(folder)

    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    yield mounted
    monkeypatch.chdir(tmp_path)
    subprocess.run(["umount", folder], check=False)


@pytest.mark.parametrize("task", ["crater", "electron_photon", "drift_chamber", "multiplane", "ccd"])
def test_simulation_on_a_full_disk(task, disk, capfd):
    disk(32)
    message = refused(["simulate", task, "--root", "data", "--size", "300"], capfd)
    assert "data: cannot be written (No space left on device)" in message
    assert [path.name for path in Path().iterdir()] == [".data.lock"]


def test_fit_on_a_full_disk(disk, simulated, capfd):
    disk(1500)
    assert "cannot be written (No space left on device)" in refused(fit(simulated, 50), capfd)
    for path in CASE.checkpoints.glob("*.ckpt"):
        assert checkpoint(path)["state_dict"]
    assert not any(Path().rglob("*.part"))


@pytest.mark.parametrize(("command", "room"), [("test", 8), ("predict", 0)])
def test_results_on_a_full_disk(command, room, home, disk, simulated, capfd):
    disk(3000)
    shutil.copytree(home, ".", symlinks=True, dirs_exist_ok=True)
    free = shutil.disk_usage(".").free
    Path("filler").write_bytes(bytes(free - room * 1024))
    words = [command, *config("electron_photon"), *CPU, f"{DATA}.root={simulated(CASE.task)}"]
    assert "cannot be written (No space left on device)" in refused(words, capfd)
    assert not any(Path().rglob("*.part"))
