"""Numbers that a CPU is slow with are zero, if they are to be."""

import subprocess
import sys

import pytest
import torch
from conftest import CRATER

from lit_hep.cli import main

TINY = """
import sys
from lit_hep.cli import main
from lit_hep.training.callbacks import ProgressBar

def tell(*_):
    import torch

    torch.set_num_threads(2)
    print("left:", int((torch.full((2**20,), 1e-38) * 0.1 > 0).sum()))
    sys.exit()

ProgressBar.on_train_start = tell
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("words", "left"), [([], 0), (["--flush_denormals=false"], 2**20)], ids=str)
def test_denormal_numbers_are_zero_in_all_threads_unless_wanted(simulated, tmp_path, words, left):
    command = [sys.executable, "-c", TINY, "fit", *CRATER, *words]
    command.append(f"--data.init_args.root={simulated('crater')}")
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert f"left: {left}\n" in told


def test_they_are_back_for_the_caller(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["fit", *CRATER, f"--data.init_args.root={simulated('crater')}", "--trainer.max_steps=1"]
    main(words)
    assert torch.tensor(1e-38) * 0.1 > 0
