"""Small real data sets and runs that the tests share."""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks; and two processes share two cores

CONFIGS = Path(__file__).parents[1] / "configs"
CRATER = ["--config", str(CONFIGS / "crater.yaml")]
ORIGINAL = [*CRATER, "--config", str(CONFIGS / "crater_original.yaml")]


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
