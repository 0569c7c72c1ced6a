"""What every task promises: exact resume, pictures, data from nothing, and no data of another task.

To add a task: its cases in `cases.CASES`, and the size of its small data set in `conftest.SIZES`.
"""

from pathlib import Path

import pytest
import torch
from cases import CASES, CONFIG, CPU, DATA, options
from conftest import SIZES, config
from lightning.pytorch import Trainer
from runs import differences, table

from lit_hep.cli import main
from lit_hep.tasks.ccd import CCDDataModule
from lit_hep.tasks.multiplane import MultiPlaneDataModule


@pytest.fixture(scope="module")
def uninterrupted(request, tmp_path_factory, simulated):
    """A case, the folder in which its fit ran to the end, and the words of that fit."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("uninterrupted")
    words = case.fit(simulated(case.task))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(words)
    return case, folder, words


@pytest.mark.parametrize(
    ("uninterrupted", "stop"),
    [(name, stop) for name, case in CASES.items() for stop in case.stops],
    indirect=["uninterrupted"],
)
def test_resumed_run_equals_the_uninterrupted_one_to_the_last_bit(uninterrupted, stop, tmp_path, monkeypatch):
    case, whole, words = uninterrupted
    monkeypatch.chdir(tmp_path)
    main([*words, f"--trainer.max_epochs={stop}"])
    torch.manual_seed(12345)  # nothing may depend on where the random state stands
    main([*words, "--ckpt_path", "last"])
    assert not differences(whole / case.checkpoints, case.checkpoints)
    assert table(whole / case.run) == table(tmp_path / case.run)


@pytest.mark.parametrize(
    ("kind", "ending", "other"),
    [(CCDDataModule, "image_0000.npy", "image_9999.npy"), (MultiPlaneDataModule, "_1.npz", "_999.npz")],
)
def test_a_checkpoints_split_is_not_for_other_samples_of_the_same_number(kind, ending, other, placed):
    """One sample exchanged for another: the rows of those between them would be others'."""
    root = placed("ccd" if kind is CCDDataModule else "multiplane")

    def taken_over():
        data = kind(str(root))
        data.trainer = Trainer(accelerator="cpu", logger=False)
        data.setup("test")
        own = data.splits
        data.load_state_dict(state)
        return data.splits is not own

    trained = kind(str(root))
    trained.setup("fit")
    state = trained.state_dict()
    assert taken_over()
    for path in sorted(root.rglob(f"*{ending}")):
        path.rename(path.with_name(path.name.replace(ending, other)))
    with pytest.warns(UserWarning, match="other samples than the checkpoint learnt from"):
        assert not taken_over()


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
