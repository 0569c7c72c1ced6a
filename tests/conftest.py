"""Small real data sets and runs that the tests share."""

import os
import shutil
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks; and two processes share two cores

CONFIGS = Path(__file__).parents[1] / "configs"


def config(*names):
    """Words of the command line that layer shipped configs."""
    return [word for name in names for word in ("--config", str(CONFIGS / f"{name}.yaml"))]


CRATER, ORIGINAL = config("crater"), config("crater", "crater_original")


@pytest.fixture(autouse=True)
def alone():
    """What Lightning sets up for several processes, a port in use among it, ends with the test."""
    before = set(os.environ)
    yield
    if (torch := sys.modules.get("torch")) and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - before:
        del os.environ[name]


SIZES = {"crater": 90, "electron_photon": 150, "drift_chamber": 64}
"""Of the small simulated data set of each task."""


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Of a task's name, the folder of its small simulated data set."""

    @cache
    def folder(task):
        path = tmp_path_factory.mktemp(task)
        import_module(f"lit_hep.tasks.{task}.simulation").simulate(path, size=SIZES[task], seed=3)
        return path

    return folder


@pytest.fixture
def placed(simulated, tmp_path, monkeypatch):
    """Of a task's name, the same files as ``data/<task>`` of a working folder of the test's own."""

    def folder(task):
        monkeypatch.chdir(tmp_path)
        return Path(shutil.copytree(simulated(task), tmp_path / "data" / task))

    return folder


@pytest.fixture
def crater_root(placed):
    """90 labelled, 29 unlabelled and 23 images to predict."""
    return placed("crater")
