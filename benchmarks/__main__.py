"""Measure lit_hep on this machine: ``python -m benchmarks``.

Cases that are compared take turns in one run; figures are medians with the smallest and the largest. All tables are
printed and written to OUTPUT.md and OUTPUT.json. Needs ``pip install 'lit_hep[bench]'`` or, for Keras alone, another
interpreter (--tensorflow).
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.protocol import PeerError

SUBJECTS = {
    "loop": "fit of each task against a bare PyTorch loop",
    "peers": "the same networks in Keras, naive Lightning and bare PyTorch",
    "loading": "each reader alone, against disk and memory",
    "layers": "those that stand for PyTorch's own, against them",
    "sweep": "training by batch size and precision, compiled and not, samples kept on the device",
    "inference": "eager, compiled and ONNX; latency of one image",
    "scaling": "time and memory of simulators and readers at 1, 10 and 100 times the data, in 1 and 2 processes",
}


def main(args: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    about = "\n".join(f"  {name:<10} {text}" for name, text in SUBJECTS.items())
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=f"{__doc__}\nsubjects:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="SUBJECT")
    parser.add_argument(
        "--networks", nargs="+", metavar="NAME", help="of loop, peers, sweep: such as lenet5; default all"
    )
    parser.add_argument("--rivals", nargs="+", metavar="NAME", help="of peers, by their full names; default all")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: shows that all works, measures nothing")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, after one that warms up")
    parser.add_argument("--threads", type=int, default=0, help="of each process; 0: as many as cores")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--tensorflow", default=sys.executable, help="Python interpreter that has TensorFlow")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="files to write, without ending")
    options = parser.parse_args(args)
    if options.repeats < 1:
        parser.error("--repeats must be 1 or more")
    try:
        _measure(options)
    except PeerError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def _measure(options: argparse.Namespace) -> None:
    import torch

    from benchmarks.engine import Settings, Table, machine, write
    from benchmarks.roofline import measure as limits

    output = options.output.resolve()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        settings = Settings(
            repeats=options.repeats,
            threads=torch.get_num_threads(),
            device=device,
            quick=options.quick,
            tensorflow=options.tensorflow,
            scratch=Path(folder),
            networks=options.networks,
            rivals=options.rivals,
        )
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
        about = machine(settings.threads, device)
        about |= {"command": f"python -m benchmarks {' '.join(sys.argv[1:])}".strip(), "rounds": options.repeats}
        tables: list[Table] = []
        seconds: dict[str, float] = {}
        roofline = limits(settings, tables)
        for name in options.only:
            began = time.perf_counter()
            try:
                import_module(f"benchmarks.{name}").measure(settings, roofline, tables)
            finally:
                seconds[name] = time.perf_counter() - began
                write(output, about, tables, seconds)
    print(f"\nWritten: {output.with_suffix('.md')}, {output.with_suffix('.json')}")


if __name__ == "__main__":
    main()
