"""Ctrl-C and ``kill``: the first ends a command cleanly, a second Ctrl-C at once."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HANDLED = signal.SIGINT, signal.SIGTERM
_GRACE = 10.0  # s in which other processes of the run end by themselves


class Stopped(SystemExit):
    """The command ends because of a signal, with exit code 128 + its number.

    Args:
        number: Of the signal.
        words: Where it was stopped and what to do next, in one line.
    """

    def __init__(self, number: int, words: str = "") -> None:
        super().__init__(128 + number)
        self.words = words or f"stopped by {signal.Signals(number).name}: what was not finished has been removed"


class Signals:
    """SIGINT and SIGTERM of this process.

    Outside of the loops over batches the command is left at once, as Python itself leaves it at Ctrl-C. In them
    `received` is looked at between two batches.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.awaited = False
        """Whether `received` is looked at."""
        self.children: Callable[[], list[subprocess.Popen[bytes]]] = list
        """Tells the other processes of the run that this one has started."""
        self._pid = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals in the block.

        Raises:
            Stopped: At its end if a signal came too late to end it before.
        """
        before = {number: signal.getsignal(number) for number in _HANDLED}
        self.received, self.awaited = None, False
        self.install()
        try:
            yield
            if self.received is not None:
                raise Stopped(self.received, f"{signal.Signals(self.received).name} came when all was done")
        except BaseException:
            self._end_children()
            raise
        finally:
            self.children = list
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def install(self) -> None:
        """Take over the handlers; Lightning installs its own before it starts."""
        self._pid = os.getpid()
        if threading.current_thread() is threading.main_thread():  # others cannot
            for number in _HANDLED:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a process that loads data: it ends with the one that started it
        first, self.received = self.received is None, self.received or number
        if not first and number == signal.SIGINT:
            self._end_at_once(number)
        elif first and not self.awaited:
            raise Stopped(number)

    def _end_at_once(self, number: int) -> None:
        for child in self.children():
            child.kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(self._pid, number)

    def _end_children(self) -> None:
        """Wait for the other processes of the run; none is left behind."""
        children = self.children().copy()
        self.children().clear()  # it is Lightning's list, which kills this process when one of them has ended
        for child in children:
            if not self.awaited:  # else they have agreed to end
                child.terminate()
        for child in children:
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()


signals = Signals()
"""Of this process."""
