"""Commands that are started together get in nobody's way."""

from pathlib import Path

import pytest
from cases import CASES, CPU, DATA
from processes import start
from runs import checkpoint, same, table

TOGETHER = 10
QUICK = [*CPU, "--trainer.max_epochs=1", f"{DATA}.root=data", f"{DATA}.simulation_size=60"]


@pytest.fixture
def together(tmp_path, monkeypatch):
    """Of some command lines, exit code and words of each, all started at once."""
    monkeypatch.chdir(tmp_path)

    def run(commands):
        started = [start(words, f".said{number}", OMP_NUM_THREADS="1") for number, words in enumerate(commands)]
        for process in started:
            process.join(200)
        return [(process.exitcode, Path(f".said{number}").read_text()) for number, process in enumerate(started)]

    return run


def test_ten_fits_from_nothing(together):
    case = CASES["electron_photon"]
    ended = together([[*case.fit("data"), *QUICK, f"--seed_everything={seed}"] for seed in range(TOGETHER)])
    assert [code for code, _ in ended] == [0] * TOGETHER, ended
    runs = sorted(case.run.parent.iterdir())
    assert sorted(run.name for run in runs) == sorted(f"version_{number}" for number in range(TOGETHER))
    states = []
    for run in runs:
        files = sorted(path.name for path in run.iterdir())
        assert files[:1] == ["config.yaml"] and len([name for name in files if name.startswith("events")]) == 1
        assert len(table(run)) == 1
        content = checkpoint(case.checkpoints.with_name(run.name) / "last.ckpt")
        seed = next(line for line in (run / "config.yaml").read_text().splitlines() if line.startswith("seed"))
        states.append((seed, content["state_dict"]))
        assert all(other == seed or not same(state, content["state_dict"]) for other, state in states)
    assert len({seed for seed, _ in states}) == TOGETHER
    assert sum("simulating" in said and "electrons" in said for _, said in ended) <= TOGETHER
    assert not list(Path().rglob("*.part"))


def test_two_simulators_of_one_folder(together):
    words = [["simulate", "crater", "--root", "craters", "--size", "500", "--seed", str(seed)] for seed in (1, 2)]
    ended = together(words)
    assert sorted(code for code, _ in ended) == [0, 2]
    assert sum("craters: is not empty" in said for _, said in ended) == 1
    winner = next(number for number, (code, _) in enumerate(ended) if code == 0)
    assert together([[*words[winner][:3], "again", *words[winner][4:]]])[0][0] == 0
    files = {path.relative_to("again"): path.read_bytes() for path in Path("again").rglob("*") if path.is_file()}
    assert files == {
        path.relative_to("craters"): path.read_bytes() for path in Path("craters").rglob("*") if path.is_file()
    }
