"""A run of many epochs takes no more memory, files and disk than a short one."""

import os
from pathlib import Path

import pytest
from cases import CASES
from processes import launch

EPOCHS, WARM = 200, 40


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", ["electron_photon", "electron_photon, streamed", "crater"])
def test_memory_and_files_stay_as_they_are(name, simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    words = [*case.fit(simulated(case.task)), f"--trainer.max_epochs={EPOCHS}", "--trainer.limit_train_batches=2"]
    stages = ("initial_epochs=200", "patience=500", "rounds=0") if case.task == "crater" else ("patience=500",)
    words += [f"--trainer.callbacks.{stage}" for stage in stages]
    ((code, said),) = launch([*words, "--trainer.callbacks+=callbacks.Watch"], OMP_NUM_THREADS="1")
    assert code == 0, said[-2000:]
    pages, files = zip(*(map(int, line.split()) for line in Path("watched.txt").read_text().splitlines()), strict=True)
    assert len(pages) == EPOCHS
    print(
        f"{name}: {pages[WARM] * os.sysconf('SC_PAGE_SIZE') / 2**20:.1f} MiB, growth {pages[-1] / pages[WARM] - 1:.2%}"
    )
    assert pages[-1] < 1.02 * pages[WARM]
    assert max(files[WARM:]) == files[WARM]
    events = sum(path.stat().st_size for path in case.run.glob("events*"))
    assert events < EPOCHS * 2000
