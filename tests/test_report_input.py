"""What is no tested run is refused by ``report``."""

from pathlib import Path

import numpy as np
import pytest
from spoil import edit, nothing, refused, remove, text


@pytest.fixture(scope="module")
def home(tested_home):
    return tested_home


RUN = Path("tb_logs/crater/version_1")


def foreign():
    """A folder of something else."""
    text(Path("tb_logs/foreign/notes.txt"), "nothing of lit_hep")()


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        (nothing, "crater/7", r"crater/7: no such run; tb_logs holds crater/0, crater/1, crater/2"),
        (nothing, "kraters", r"kraters: no such run"),
        (remove("tb_logs"), "crater", r"tb_logs holds no runs; run fit and test first"),
        (nothing, "crater/2", r"version_2: the run was not tested; type: python -m lit_hep test --config .*version_2/"),
        (remove(RUN / "test"), f"{RUN} crater/0", r"version_1: the run was not tested; type: .*best.ckpt"),
        (foreign, "tb_logs/foreign", r"tb_logs/foreign: is not the folder of a run"),
        (foreign, "foreign crater/0", r"tb_logs/foreign: is not the folder of a run"),
        (remove(RUN / "test/metrics.json"), "crater/1", r"the run was not tested"),
        (text(RUN / "test/metrics.json", '{"auroc": 0.9'), "crater/1", r"metrics.json: damaged .*test the run again"),
        (text(RUN / "test/metrics.json", "[1, 2]"), "crater/1", r"metrics.json: is not what test writes"),
        (text(RUN / "test/metrics.json", '{"auroc": "good"}'), "crater/1", r"metrics.json: is not a table of numbers"),
        (text(RUN / "test/summary.json", '{"task": "ElectronPhoton"}'), "crater/0 crater/1", r"give runs of one task"),
        (text(RUN / "test/summary.json", "{"), "crater/1", r"summary.json: damaged .*test the run again"),
        (remove(RUN / "test/predictions.npz"), "crater/1", r"predictions.npz: damaged or absent .*test the run again"),
        (edit(RUN / "test/predictions.npz", lambda b: b[:100]), "crater/1", r"predictions.npz: damaged or absent"),
        (text(RUN / "config.yaml", "a: [1"), "crater/1", r"config.yaml: damaged"),
        (text(RUN / "metrics.csv", "epoch,val_loss\none,2\n"), "crater/1", r"metrics.csv: damaged"),
        (nothing, "crater/0 --output data/Xtrain1.npy", r"Xtrain1.npy.* cannot be written"),
        (nothing, "", r"runs"),
        (nothing, "crater/0 --ouput x", r"--ouput"),
    ],
)
def test_what_is_no_tested_run_is_refused(spoil, words, message, here, capfd):
    spoil()
    refused(f"report {words}", message, here, capfd)


def test_pickled_predictions_are_not_loaded(here, capfd):
    np.savez(RUN / "test/predictions.npz", id=np.array([{}], dtype=object), probability=[0.5], label=[1])
    refused("report crater/1", r"predictions.npz: damaged or absent .*pickled", here, capfd)
