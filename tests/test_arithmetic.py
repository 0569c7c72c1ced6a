"""Numbers that a CPU is slow with are zero, if they are to be."""

import pytest
import torch
from conftest import CRATER

from lit_hep.cli import main
from lit_hep.training.callbacks import ProgressBar

COUNT = 2**20  # enough for two threads


def tiny():
    """How many of so many products below 1.2e-38 are not zero."""
    return int((torch.full((COUNT,), 2e-38) * 0.1 > 0).sum())


@pytest.mark.parametrize(("words", "left"), [([], 0), (["--flush_denormals=false"], COUNT)], ids=str)
def test_denormal_numbers_are_zero_in_all_threads_while_it_trains(
    simulated, tmp_path, monkeypatch, threads, words, left
):
    monkeypatch.chdir(tmp_path)
    threads(2)
    found, began = [tiny()], ProgressBar.on_train_start
    monkeypatch.setattr(ProgressBar, "on_train_start", lambda *args: (began(*args), found.append(tiny())))
    main(["fit", *CRATER, *words, f"--data.init_args.root={simulated('crater')}", "--trainer.max_steps=1"])
    assert [*found, tiny()] == [COUNT, left, COUNT]
