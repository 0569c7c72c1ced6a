"""Commands in processes of their own, as `torchrun` and SLURM start them, without the seconds that imports take."""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

from conftest import SIZES

LOADED = ["lit_hep.lightning_cli", "lightning.pytorch", "torchmetrics", "torch.utils.tensorboard", "sklearn.metrics"]
LOADED += ["matplotlib.backends.backend_agg", "lit_hep.evaluation.figures", "processes"]
LOADED += [f"lit_hep.tasks.{task}.module" for task in SIZES]


def launch(words, size=1, nodes=None, **environment):
    """Run ``main(words)`` in so many processes that find each other, and wait for them.

    Args:
        words: Of the command line; or several command lines, one after the other.
        size: Number of processes.
        nodes: Of as many nodes with a process each, the folders to start in; None has one node, here.
        environment: More variables of theirs.

    Returns:
        For each process, its exit code and what it wrote.
    """
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)} if size > 1 else {}
    started = []
    for rank in range(size):
        node, local = (rank, 0) if nodes else (0, rank)
        slurm = {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(node), "SLURM_LOCALID": str(local)}
        own = place | {"NODE_RANK": str(node), "LOCAL_RANK": str(local)} | slurm if size > 1 else {}
        started.append(start(words, f".rank{rank}", nodes[rank] if nodes else ".", **own, **environment))
    for process in started:
        process.join(250)
        process.kill()
        process.join()
    return [(process.exitcode, Path(f".rank{rank}").read_text()) for rank, process in enumerate(started)]


def start(words, output, folder=".", **environment):
    """Start such a process and do not wait for it.

    Args:
        words: As in `launch`.
        output: File for what it writes.
        folder: To start in.
        environment: More variables of its own.
    """
    commands = [words] if isinstance(words[0], str) else words
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    place = str(Path(folder).resolve()), str(Path(output).resolve())
    process = context.Process(target=_run, args=(commands, *place, environment))
    process.start()
    return process


def free_port():
    """Number of a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _run(commands, folder, output, environment):
    from lit_hep.cli import main

    os.chdir(folder)
    os.environ |= environment
    sys.path.insert(0, folder)
    with Path(output).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for words in commands:
        main(words)
