"""Processes that measure when they are told to, so that unlike programs can take turns; imports nothing but Python."""

import json
import os
import signal
import subprocess
import sys
import tempfile
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
        folder: Where it works.

    Raises:
        PeerError: It could not start.
    """

    def __init__(self, python: str, module: str, options: Mapping[str, Any], threads: int, folder: Path) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        wanted = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [python, "-m", module, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **wanted},
            cwd=folder,
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
            raise PeerError(self._end())
        return json.loads(line)

    def _end(self) -> str:
        code = self._process.wait()
        if code < 0:
            return f"a contender was ended by {signal.Signals(-code).name}: SIGKILL mostly means that memory ran out"
        self._said.seek(0)
        lines = self._said.read().split("\n")
        return f"{next(filter(None, reversed(lines)), 'a contender')} (ended with {code})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._said.close()
