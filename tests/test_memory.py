"""Freed memory stays with the process, if it is to."""

import subprocess
import sys

import pytest
from conftest import CRATER

from lit_hep.cli import main

FAULTS = """
import resource, sys
from lit_hep.training.memory import Memory, keep

keep(Memory(int(sys.argv[1])))
for turn in range(20):
    block = b"x" * (40 * 2**20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""

GIVEN_BACK = """
import re
from pathlib import Path
from lit_hep.training.memory import Memory, give_back, keep

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

keep(Memory())
blocks = [b"x" * 2**20 for _ in range(101)]
del blocks[:100]  # the last one holds the end of the heap
kept = resident()
give_back()
print(kept - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives blocks back at once")
def test_a_freed_block_is_there_for_the_next_step():
    faults = {
        size: int(subprocess.run([sys.executable, "-c", FAULTS, str(size)], capture_output=True, check=True).stdout)
        for size in (0, 16, 1024)
    }
    assert faults[1024] < faults[16] / 5
    assert faults[1024] < faults[0] / 5


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps blocks")
def test_kept_memory_is_given_back_when_asked():
    freed = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, check=True, text=True).stdout
    assert int(freed) > 90


def test_a_negative_size_is_refused(simulated, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["fit", *CRATER, f"--data.init_args.root={simulated('crater')}"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--memory.keep_mib=-1"])
    assert end.value.code == 2
    assert "--memory.keep_mib -1: must be 0 or more" in capfd.readouterr().err
