"""What a config may run, and that no file that names others leads out of the folder it is in."""

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import CRATER
from damaged_kinds import planes, prepare_planes
from spoil import complaint

from lit_hep.cli import main
from lit_hep.data.hdf5 import open_table
from lit_hep.errors import DataError, UserError
from lit_hep.tasks.drift_chamber.events import read_events
from lit_hep.tasks.multiplane.events import find_events
from lit_hep.tasks.multiplane.preparation import prepare
from lit_hep.tasks.multiplane.split_lists import read_lists

TRAP = """import os
from torch.optim import SGD
os.system("touch imported")
class Thing:
    def __init__(self, *given, **named):
        os.system("touch called")
    __call__ = __init__
def optimizer(parameters):
    os.system("touch called")
def honest(parameters) -> SGD:
    os.system("touch called")
    return SGD(parameters)
"""
CALLBACK, OPTIMIZER = "--trainer.callbacks+", "--model.init_args.optimizer"
POPEN = "subprocess.Popen", "args=[touch,called]"
CASES = {  # option, class, its argument, whether the module is the trap, which is imported
    "callback": (CALLBACK, *POPEN),
    "logger": ("--trainer.logger", *POPEN),
    "task": ("--model", *POPEN),
    "data": ("--data", "trap.Thing", ""),
    "optimizer": (OPTIMIZER, *POPEN),
    "callable as optimizer": (OPTIMIZER, "trap.Thing", ""),
    "function as optimizer": (OPTIMIZER, "trap.optimizer", ""),
    "command as optimizer": (OPTIMIZER, "os.system", ""),
    "callable as scheduler": ("--model.init_args.scheduler", "trap.Thing", ""),
}
"""Option of a config, what is named there, and an argument for it."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a module that tells when it is imported and called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("trap.py").write_text(TRAP)
    yield tmp_path
    sys.modules.pop("trap", None)


@pytest.mark.parametrize(("option", "named", "argument"), CASES.values(), ids=CASES)
def test_config_calls_nothing_of_another_kind(option, named, argument, here, capfd):
    words = [f"{option}={named}", *([f"{option.rstrip('+')}.{argument}"] if argument else [])]
    with pytest.raises(SystemExit) as end:
        main(["fit", *CRATER, "--data.init_args.root=absent", "--data.init_args.simulate=false", *words])
    assert end.value.code == 2
    assert complaint(capfd.readouterr().err)
    assert not Path("called").exists()
    assert Path("imported").exists() == named.startswith("trap"), "as the README says"


def test_yaml_makes_plain_values_only(here, capfd):
    Path("a.yaml").write_text("model: !!python/object/apply:os.system ['touch called']\n")
    with pytest.raises(SystemExit):
        main(["fit", "--config", "a.yaml"])
    assert "could not determine a constructor" in complaint(capfd.readouterr().err)
    assert not Path("called").exists()


NAMED = "{}/files_A_1_larcv_plane0_0.npz,{}/files_A_1_larcv_plane1_0.npz,{}/files_A_1_larcv_plane2_0.npz,0\n"


@pytest.mark.parametrize("folder", ["/etc", "../outside", "outside"])
def test_lists_lead_to_files_of_the_root_alone(folder, here):
    planes()
    shutil.copytree("data/PLANE_0/CLASS_0", "outside")
    for part in ("train", "val", "test"):
        path = Path("data", f"{part}.csv")
        lines = [line for line in path.read_text().splitlines(keepends=True) if "A_1_larcv_plane0_0." not in line]
        path.write_text("".join(lines) + (part == "train") * NAMED.format(folder, folder, folder))
    events = find_events("data")
    splits = read_lists(Path("data"), events, partial=False)
    assert "files_A_1_larcv_0" in events.ids[splits.train], "found by its name"
    assert all(Path(path).resolve().is_relative_to(here / "data") for path in events.paths.ravel())


@pytest.mark.parametrize("folder", ["/etc", "../../../outside", "../../../../outside"])
def test_counts_move_no_files_but_those_of_the_root(folder, here):
    planes()
    shutil.copytree("data/PLANE_0/CLASS_0", "outside")
    path = Path("data/counts.csv")
    path.write_text(path.read_text().replace("files_A_1_larcv_plane0_0.npz", f"{folder}/files_A_1_larcv_plane0_0.npz"))
    before = sorted(Path("outside").iterdir())
    with pytest.raises(UserError):
        prepare(Path("raw"), Path("data"), size=40, min_hits=1000, workers=1)
        prepare_planes()
    assert sorted(Path("outside").iterdir()) == before


def external_link(file, other):
    file["X"] = h5py.ExternalLink(other.name, "X")


def external_values(file, other):
    file.create_dataset("X", (4,), "u1", external=[(str(other), 0, 4)])


def virtual(file, other):
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource(str(other), "X", (4, 3))
    file.create_virtual_dataset("X", layout)


@pytest.mark.parametrize("link", [external_link, external_values, virtual])
def test_hdf5_leads_to_no_other_file(link, tmp_path):
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["X"] = np.ones((4, 3), np.float32)
    with h5py.File(one, "w") as file:
        link(file, other)
    with pytest.raises(DataError, match=r"one\.h5: 'X' lies in another file"):
        open_table(one, ("X",))


def test_names_of_events_are_no_paths(here):
    hits = np.zeros((4, 36, 112), np.uint8)
    hits[:, 5, 7] = 255
    Path("data").mkdir()
    with h5py.File("data/a.h5", "w") as file:
        file["all"] = file["truth"] = hits
        file["name"] = ["../../evil", "/tmp/evil", "a\x1b[2J", "ok"]
    events = read_events(Path("data"))
    assert events.name.tolist()[:2] == ["../../evil", "/tmp/evil"] and not events.png, "said, and no file named so"
