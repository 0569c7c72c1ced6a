"""A run that is killed at any moment, in the middle of writing too, and resumed ends as one that never was.

The slow set kills each task 20 times: half of them at moments drawn at random, half at a call that writes, moves or
links a checkpoint or a table.
"""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from cases import CASES
from processes import launch, start
from runs import differences

TASKS = ["crater", "electron_photon", "multiplane", "ccd", "drift_chamber, gan"]
KILLS = 20


def kill_at(call, number):
    """Words that have a fit kill itself."""
    words = ["--trainer.callbacks+=callbacks.Kill", f"--trainer.callbacks.call={call}"]
    return [*words, f"--trainer.callbacks.number={number}"]


@pytest.fixture(scope="module")
def whole(request, simulated, tmp_path_factory):
    """A case, the words of its fit, the folder in which that ran to the end, and how long it took, in seconds."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("whole")
    words = case.fit(simulated(case.task))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        begin = time.monotonic()
        ((code, said),) = launch(words, OMP_NUM_THREADS="1")
        assert code == 0, said[-2000:]
    return case, words, folder, time.monotonic() - begin


class Run:
    """A fit that is killed again and again in the current folder, and goes on each time."""

    def __init__(self, case, words):
        self.case, self.words, self.done, self.writing = case, words, False, 0

    def go_on(self, *more, after=None):
        """Start it, or have it go on; kill it so many seconds later."""
        words = [*self.words, *more]
        if any(self.case.checkpoints.glob("epoch*.ckpt")):
            words.append("--ckpt_path=last")
        else:  # anew, under the same number
            shutil.rmtree("tb_logs", ignore_errors=True)
            shutil.rmtree("checkpoints", ignore_errors=True)
        process = start(words, ".said", OMP_NUM_THREADS="1")
        process.join(200 if after is None else after)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), Path(".said").read_text()[-2000:]
        self.done = process.exitcode == 0
        self.writing += any(Path().rglob("*.part"))


@pytest.mark.parametrize("whole", ["crater"], indirect=True)
@pytest.mark.parametrize(("call", "number"), [("fsync", 3), ("replace", 5), ("symlink", 2)])
def test_killed_while_it_writes(call, number, whole, tmp_path, monkeypatch):
    case, words, folder, _ = whole
    monkeypatch.chdir(tmp_path)
    run = Run(case, words)
    run.go_on(*kill_at(call, number))
    assert not run.done and run.writing == (call != "symlink")
    run.go_on()
    assert run.done and not any(Path().rglob("*.part"))
    assert not differences(folder / case.checkpoints, case.checkpoints)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("whole", TASKS, indirect=True)
def test_killed_again_and_again(whole, tmp_path, monkeypatch):
    case, words, folder, seconds = whole
    draw, kills, finished, writing = random.Random(case.task), 0, 0, 0
    while kills < KILLS:
        (place := tmp_path / str(finished)).mkdir()
        monkeypatch.chdir(place)
        run = Run(case, words)
        while not run.done:
            if kills == KILLS:
                run.go_on()
            elif kills % 2:
                run.go_on(after=draw.uniform(0.2, 1) * seconds)
            else:
                run.go_on(*kill_at(draw.choice(["fsync", "replace", "symlink"]), draw.randint(1, 6)))
            kills += not run.done
        writing, finished = writing + run.writing, finished + 1
        assert not differences(folder / case.checkpoints, case.checkpoints)
        assert not any(Path().rglob("*.part"))
    print(f"{case.task}: killed {kills} times, {writing} of them while writing; {finished} runs ended alike")
    assert writing
