"""Groups of batches (`steps_per_execution`) are the same steps: weights, optimizers and tables to the last bit."""

import json
import warnings
from pathlib import Path

import pytest
from cases import CASES, DATA, MODEL, VIEWS, options
from conftest import config
from processes import launch
from runs import checkpoint, differences, same, table

from lit_hep.cli import main

GROUP = f"{DATA}.steps_per_execution"
SCHEDULER = [f"{MODEL}.scheduler=torch.optim.lr_scheduler.StepLR", f"{MODEL}.scheduler.gamma=0.8"]
EACH_STEP = [*SCHEDULER, *options(MODEL, "scheduler.step_size=5", "scheduler_interval=step")]
EACH_EPOCH = [*SCHEDULER, f"{MODEL}.scheduler.step_size=1"]
IN_TURN = ["--trainer.max_epochs=3", *options(MODEL, "mode=late", "training=in_turn")]
THROUGHOUT, RESUMED = [(4, None)], [(4, 16)]
WAYS = {
    "crater, original": ([f"{DATA}.batch_size=5", "--trainer.callbacks.initial_epochs=1"], RESUMED),
    "electron_photon": ([f"{DATA}.batch_size=7", *VIEWS, *EACH_STEP], [(4, 16), (1, 4), (4, 1)]),
    "electron_photon, streamed": ([f"{DATA}.batch_size=7", "--trainer.precision=bf16-mixed"], RESUMED),
    "ccd": ([f"{DATA}.batch_size=4", *EACH_EPOCH], RESUMED),
    "drift_chamber, regression": (options(DATA, "batch_size=3", "mix=true"), RESUMED),
    "drift_chamber, gan": ([f"{DATA}.batch_size=6"], RESUMED),
    "multiplane": ([f"{DATA}.batch_size=5", *IN_TURN], THROUGHOUT),
}
"""Words that make each epoch of a case a number of batches that 4 does not divide, with random views or dropout; and
pairs of sizes of groups, in the first epoch and in that of the resumed run.
"""


def words_of(name, simulated):
    case = CASES[name]
    return [*case.fit(simulated(case.task)), "--trainer.max_epochs=2", f"{GROUP}=1", *WAYS[name][0]]


@pytest.mark.parametrize("name", WAYS)
def test_groups_of_any_size_are_the_same_steps(name, simulated, tmp_path, monkeypatch):
    case, words = CASES[name], words_of(name, simulated)
    monkeypatch.chdir(tmp_path)
    main(words)
    for first, second in WAYS[name][1]:
        there = tmp_path / f"{first}_{second}"
        there.mkdir()
        monkeypatch.chdir(there)
        with warnings.catch_warnings(record=True) as said:
            main([*words, f"{GROUP}={first}", *(["--trainer.max_epochs=1"] if second else [])])
            if second:
                main([*words, f"{GROUP}={second}", "--ckpt_path", "last"])
        assert not [one for one in said if "resuming" in str(one.message)]
        found = differences(tmp_path / case.checkpoints, there / case.checkpoints)
        assert [part for part in found if "datamodule_hyper_parameters" not in part] == []
        assert table(tmp_path / case.run) == table(there / case.run)


def test_samples_of_the_very_step_are_saved_and_the_bar_counts_batches(simulated, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = [*words_of("electron_photon", simulated), "--trainer.callbacks+=callbacks.SpoilGroup", f"{GROUP}=4"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    saved = json.loads(Path(CASES["electron_photon"].run, "not_finite.json").read_text())
    assert [str(number) for number in saved["ids"]] == Path("spoiled.txt").read_text().splitlines()
    said = capfd.readouterr()
    steps = checkpoint(CASES["electron_photon"].checkpoints / "last.ckpt")["global_step"]
    assert saved["step"] == steps + 4 + 3 and f"{steps}/{steps}" in said.out


@pytest.mark.parametrize(
    ("name", "words", "kept"),
    [
        ("electron_photon", [], "7.1 7.1 7.0 7.0 True"),
        ("electron_photon, streamed", [], "7.1 7.1 7.0 7.0 True"),
        ("electron_photon", [f"{DATA}.num_workers=1"], "7.1 7.1 7.1 7.1 True"),
    ],
)
def test_images_that_nobody_asked_for_are_let_go(name, words, kept, simulated, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    once = [f"{GROUP}=4", "--trainer.max_epochs=1", "--trainer.callbacks+=callbacks.See"]
    main([*words_of(name, simulated), *once, *words])
    seen = [line.partition("seen ")[2] for line in capfd.readouterr().out.splitlines() if "seen " in line]
    assert len(seen) > 2 and set(seen[:-1]) == {kept}


def test_callbacks_have_their_say_in_each_step(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*words_of("electron_photon", simulated), f"{GROUP}=4", "--trainer.max_epochs=1"]
    biases = []
    for number, more in enumerate(([], ["--trainer.callbacks+=callbacks.Hear"])):
        main([*words, *more])
        weights = checkpoint(CASES["electron_photon"].checkpoints.with_name(f"version_{number}") / "last.ckpt")
        biases.append([value for name, value in weights["state_dict"].items() if name.startswith("net.")][-1].item())
    assert biases[0] != 0 and biases[1] == 0


def test_a_run_ends_in_the_middle_of_a_group(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, step = "lightning.pytorch.callbacks.ModelCheckpoint", "every_n_train_steps=41"
    words = [*words_of("electron_photon", simulated), "--trainer.max_steps=41"]  # of the second epoch the sixth
    words += [f"--trainer.callbacks+={kind}", f"--trainer.callbacks.{step}", "--trainer.callbacks.filename=end"]
    runs = []
    for size in (1, 4):
        main([*words, f"{GROUP}={size}", f"--trainer.callbacks.dirpath=k{size}"])
        runs.append(checkpoint(Path(f"k{size}", "end.ckpt")))
    for part in ("global_step", "state_dict", "optimizer_states", "lr_schedulers"):
        assert same(runs[0][part], runs[1][part])


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["--trainer.accumulate_grad_batches=2"], 36),
        (["--trainer.gradient_clip_val=1"], 70),
        (["--trainer.limit_train_batches=3"], 6),
        (["--trainer.limit_train_batches=0.1"], 6),
        (["--trainer.val_check_interval=20"], 70),
        (["--trainer.val_check_interval=0.5"], 70),
    ],
)
def test_lightning_sees_each_batch_where_it_has_to(words, steps, simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = []
    for number, size in enumerate((1, 4)):
        main([*words_of("electron_photon", simulated), *words, f"{GROUP}={size}"])
        runs.append(checkpoint(CASES["electron_photon"].checkpoints.with_name(f"version_{number}") / "last.ckpt"))
    assert [run["global_step"] for run in runs] == [steps, steps]
    assert same(runs[0]["state_dict"], runs[1]["state_dict"])


def test_sizes_below_1_are_refused(simulated, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([*words_of("electron_photon", simulated), f"{GROUP}=0"])
    assert end.value.code == 2
    assert "must be 1 or more" in capfd.readouterr().err.splitlines()[-1]


def test_several_processes_see_each_batch(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*words_of("electron_photon", simulated), *config("hardware/ddp"), "--trainer.devices=2", f"{GROUP}=4"]
    for code, said in launch(words, size=2):
        assert code == 0, said
    assert checkpoint(CASES["electron_photon"].checkpoints / "last.ckpt")["global_step"] == 2 * 18
