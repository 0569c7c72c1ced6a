"""Small real data sets and runs that the tests share."""

import gc
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


def run_in(folder, *words):
    """Run a command there; what it imported is not looked through for garbage by the many quick tests that follow."""
    from lit_hep.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(list(words))
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers():
    """One more than there are processors: tests wait for disks, servers and processes of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_unconfigure():
    """What was frozen is tidied up at the end like all else."""
    gc.unfreeze()


DRAWN, UNDRAWN = ([f"--model.init_args.figures_every_n_epochs={often}"] for often in (10, 0))
"""Whether a fit draws figures of its validation, as shipped, or none."""


def quick(*names):
    """The same without the figures of validation, whose drawing takes longer than a small network learns."""
    return [*config(*names), *UNDRAWN]


CRATER, ORIGINAL = quick("crater"), quick("crater", "crater_original")


@pytest.fixture(autouse=True)
def alone():
    """What Lightning sets up for several processes, a port in use among it, ends with the test."""
    before = set(os.environ)
    yield
    if (torch := sys.modules.get("torch")) and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - before:
        del os.environ[name]


SIZES = {"crater": 90, "electron_photon": 150, "drift_chamber": 64, "multiplane": 60, "ccd": 20}
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


@pytest.fixture(scope="session")
def crater_home(tmp_path_factory, simulated):
    """A folder with craters and a run of one epoch."""
    folder = tmp_path_factory.mktemp("crater_home")
    shutil.copytree(simulated("crater"), folder / "data")
    words = [*ORIGINAL, *DRAWN, "--data.init_args.root=data", "--trainer.accelerator=cpu"]
    run_in(folder, "fit", *words, "--trainer.max_epochs=1")
    return folder


@pytest.fixture(scope="session")
def tested_home(crater_home, tmp_path_factory):
    """Two tested runs on the same craters, and one not tested."""
    folder = tmp_path_factory.mktemp("tested") / "home"
    shutil.copytree(crater_home, folder, symlinks=True)
    words = [*ORIGINAL, *DRAWN, "--data.init_args.root=data", "--trainer.accelerator=cpu"]
    run_in(folder, "test", *words, "--figures.vector=pdf", "--figures.style=CMS")
    run_in(folder, "fit", *words, "--trainer.max_epochs=2", "--model.init_args.optimizer.init_args.lr=0.003")
    run_in(folder, "test", *words)
    shutil.copytree(folder / "tb_logs/crater/version_1", folder / "tb_logs/crater/version_2")
    shutil.rmtree(folder / "tb_logs/crater/version_2/test")
    return folder


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """A copy of the `home` of a test's module that may be spoilt, and is the current folder."""
    shutil.copytree(home, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["AVX512", "AVX2"])
def vectors(request, monkeypatch):
    """Kernels are compiled for a processor with these."""
    import torch

    from lit_hep.nets import dense, elu, lanes, norm, strided, winograd

    if request.param > torch.backends.cpu.get_cpu_capability() or not shutil.which(os.environ.get("CXX", "c++")):
        pytest.skip("the processor has no such vectors, or there is no C++ compiler")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    anew = cache(winograd.kernel.__wrapped__)
    monkeypatch.setattr(winograd, "kernel", anew)
    monkeypatch.setattr(strided, "kernel", anew)
    for module in (dense, elu, lanes, norm):
        monkeypatch.setattr(module, "_kernel", cache(module._kernel.__wrapped__))


@pytest.fixture
def threads():
    """A function that sets how many threads PyTorch has in this test."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
