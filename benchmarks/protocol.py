"""Processes that measure when they are told to, so that unlike programs can take turns; imports nothing but Python."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[1]


class PeerError(Exception):
    """A process has ended before it was told to."""


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Callable[[], float]]]) -> None:
    """Be such a process: prepare what the command line says, then measure at each line that comes in.

    Args:
        prepare: From the options to what is to be told about it, and the function that measures.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    about, measure = prepare(json.loads(sys.argv[1]))
    print(json.dumps(about), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), file=answers, flush=True)


class Peer:
    """The other end.

    Args:
        python: Interpreter.
        module: Of this package, that calls `serve`.
        options: For it.
        threads: That it may use.
        log: File for what it prints.

    Raises:
        PeerError: It could not start.
    """

    def __init__(self, python: str, module: str, options: Mapping[str, Any], threads: int, log: Path) -> None:
        self._log = log
        wanted = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [python, "-m", module, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **wanted},
                cwd=log.parent,
            )
        self.about: dict[str, Any] = self._answer()

    def __call__(self) -> float:
        """Measure.

        Raises:
            PeerError: It has ended, for want of memory for example.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # there is no answer then
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        value: float = self._answer()
        return value

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text().strip().splitlines()
            raise PeerError(f"{last[-1] if last else 'a process'} (ended with {self._process.wait()})")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
