"""Small real data sets and runs that the tests share."""

import os
import shutil
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks; and two processes share two cores

CONFIGS = Path(__file__).parents[1] / "configs"
CRATER = ["--config", str(CONFIGS / "crater.yaml")]
ORIGINAL = [*CRATER, "--config", str(CONFIGS / "crater_original.yaml")]


@pytest.fixture(autouse=True)
def alone():
    """What Lightning sets up for several processes, a port in use among it, ends with the test."""
    before = set(os.environ)
    yield
    if (torch := sys.modules.get("torch")) and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - before:
        del os.environ[name]


@pytest.fixture(scope="session")
def crater_files(tmp_path_factory):
    """Folder of a simulated crater data set: 90 labelled, 29 unlabelled and 23 images to predict."""
    from lit_hep.tasks.crater.simulation import simulate

    folder = tmp_path_factory.mktemp("crater_files")
    simulate(folder, size=90, seed=3)
    return folder


@pytest.fixture
def crater_root(crater_files, tmp_path, monkeypatch):
    """The same files as ``data/crater`` of a working folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(crater_files, tmp_path / "data" / "crater")
    return tmp_path / "data" / "crater"
