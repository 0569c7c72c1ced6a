"""A loss that is no number stops the run at once: with the samples that made it, and the checkpoints from before."""

import json
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, DATA
from conftest import config
from processes import launch
from runs import checkpoint

from lit_hep.cli import main


@pytest.fixture
def stopped(simulated, tmp_path, monkeypatch, capfd):
    """Of a case and options of `Spoil`: what was said and what was saved when its fit ended."""

    def run(name, *words, **options):
        monkeypatch.chdir(tmp_path)
        spoil = [f"--trainer.callbacks.{key}={value}" for key, value in options.items()]
        case = CASES[name]
        words = [*case.fit(simulated(case.task)), f"{DATA}.steps_per_execution=1", *words]
        words += ["--trainer.callbacks+=callbacks.Spoil", *spoil]
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        said = capfd.readouterr().err.splitlines()[-1]
        assert said.startswith("error: epoch 1, step ") and f"{case.run}/not_finite.json" in said
        for file in case.checkpoints.glob("*.ckpt"):
            content = checkpoint(file)
            assert content["epoch"] == 0
            assert all(
                np.isfinite(value.float()).all() for name, value in content["state_dict"].items() if "net." in name
            )
        return said, json.loads(Path(case.run, "not_finite.json").read_text())

    return run


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("electron_photon", "nan"),
        ("crater", "nan"),
        ("ccd", "inf"),
        ("multiplane", "nan"),
        ("drift_chamber, gan", "nan"),
    ],
)
def test_samples_of_the_step_are_saved(name, value, stopped):
    said, saved = stopped(name, value=value)
    assert saved["epoch"] == 1 and f"loss {saved['losses']['loss']}" in said
    assert [str(number) for number in saved["ids"]] == Path("spoiled.txt").read_text().splitlines()


def test_loss_of_the_discriminator_counts(stopped):
    said, saved = stopped("drift_chamber, gan", kind="discriminator")
    assert "discriminator_loss nan" in said and saved["losses"]["discriminator_loss"] == "nan"


def test_weights_are_looked_at_before_a_checkpoint(stopped):
    said, saved = stopped("electron_photon", kind="after")
    assert "a weight is not finite" in said and saved["ids"] == []


def test_two_processes_stop_together(simulated, tmp_path, monkeypatch):
    """They look every so many steps: here at the epoch's end, which is none of these."""
    monkeypatch.chdir(tmp_path)
    case = CASES["electron_photon"]
    words = [*case.fit(simulated(case.task)), *config("hardware/ddp"), "--trainer.devices=2"]
    words += ["--trainer.callbacks+=callbacks.Spoil", "--trainer.callbacks.rank=1", "--data.init_args.batch_size=5"]
    (code, said), (other_code, other_said) = launch(words, size=2)
    assert (code, other_code) == (2, 0) and "error: epoch 1, step " in said and "error" not in other_said
    saved = json.loads(Path(case.run, "not_finite.json").read_text())
    assert [str(number) for number in saved["ids"]] == Path("spoiled.txt").read_text().splitlines()
    assert checkpoint(case.checkpoints / "last.ckpt")["epoch"] == 0
