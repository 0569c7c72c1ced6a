"""Bytes of files spoilt at random, and readers tried on them in a process that may take 2 GB and 20 s a case.

A library that crashes, hangs or allocates what a damaged header asks for is thus a failure of that case alone.
"""

import io
import os
import resource
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from zlib import crc32

import numpy as np

from lit_hep.errors import UserError

MEMORY, SECONDS = 2 * 10**9, 20
_ENDS = 512  # bytes: most formats keep what describes the rest in the first or last ones
_IMPORTED = [
    *(f"lit_hep.tasks.{task}.module" for task in ("crater", "electron_photon", "multiplane", "ccd", "drift_chamber")),
    *("lit_hep.lightning_cli", "lit_hep.export", "lit_hep.report", "lit_hep.evaluation.compare_figures"),
    *("h5py", "cv2", "PIL.Image", "astropy.io.fits", "tensorboard.backend.event_processing.event_file_loader"),
]
_ENOUGH = 20  # failures
_START = 180  # s that a new process may take to import everything and make its files


def spoil(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, zero, cut, duplicate or insert bytes, once or more often."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = _spoil(bytearray(content), rng)
    return content


def _spoil(content: bytearray, rng: np.random.Generator) -> bytes:
    size = len(content)
    near_end = rng.choice(["start", "end", "any", "any"])
    room = {"start": (0, min(size, _ENDS)), "end": (max(0, size - _ENDS), size), "any": (0, size)}[str(near_end)]
    first = int(rng.integers(room[0], max(room[1], room[0] + 1)))
    last = min(size, first + int(2 ** rng.uniform(0, np.log2(max(size, 2)))))
    how = rng.choice(["flip", "flip", "number", "number", "random", "zero", "end", "cut", "twice", "insert", "digit"])
    if how == "flip":
        content[first : first + 1] = bytes(byte ^ (1 << int(rng.integers(8))) for byte in content[first : first + 1])
    elif how == "number":
        width = int(rng.choice([1, 2, 4, 8]))
        top = 2 ** (8 * width)
        value = int(rng.choice(np.array([0, 1, top // 2 - 1, top // 2, top - 1, top // 256, top - 16], object)))
        content[first : first + width] = value.to_bytes(width, str(rng.choice(["little", "big"])))
    elif how == "random":
        content[first : first + 4] = rng.bytes(4)
    elif how == "zero":
        content[first:last] = bytes(last - first)
    elif how == "end":
        del content[first:]
    elif how == "cut":
        del content[first:last]
    elif how == "twice":
        content[last:last] = content[first:last]
    elif how == "insert":
        content[first:first] = rng.bytes(int(rng.integers(1, 32)))
    else:  # of numbers in text
        digits = [place for place in range(*room) if content[place] in b"0123456789"]
        for place in rng.permutation(digits)[: int(rng.integers(1, 4))].astype(int):
            content[place : place + 1] = bytes(rng.choice([b"0", b"9", b"-", b"99999999", b"e9", b""]))
    return bytes(content)


def failures(name: str, cases: int) -> list[str]:
    """What is wrong with how a kind of file is read when damaged, each case with its number.

    Args:
        name: Of one of `damaged_kinds.KINDS`.
        cases: How many to try.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    found, case = list[str](), -1  # the last one that is done
    with tempfile.TemporaryDirectory(prefix="damage_") as folder:
        while case < cases - 1 and len(found) < _ENOUGH:
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, name, range(case + 1, cases), folder))
            process.start()
            theirs.close()
            wait = _START
            with suppress(EOFError):
                while mine.poll(wait):
                    case, complaint = mine.recv()
                    found += [f"{name} {case}: {complaint}"] if complaint else []
                    wait = SECONDS
                found.append(f"{name} {case + 1}: still at work after {wait} s")
                process.kill()
            process.join()
            if process.exitcode and not (found and found[-1].startswith(f"{name} {case + 1}:")):
                found.append(f"{name} {case + 1}: ended the process with {process.exitcode}{_end(folder)}")
            if wait == _START:  # nothing was tried
                break
            case += bool(process.exitcode)
    return found


def _end(folder: str) -> str:
    log = Path(folder, "log")
    return "\n" + log.read_text(errors="replace")[-1500:] if log.is_file() else ""


def _work(connection: Connection, name: str, cases: range, folder: str) -> None:
    """Try cases, and send the number of each that is done with what is wrong about it."""
    from damaged_kinds import KINDS

    kind = KINDS[name]
    here = Path(folder, f"from_{cases.start}")
    here.mkdir()
    os.chdir(here)
    with Path(folder, "log").open("wb") as log:
        os.dup2(log.fileno(), 1)  # of libraries written in C too
        os.dup2(log.fileno(), 2)
    kind.make()
    whole = {path: (path.read_bytes(), _stamp(path)) for path in Path().rglob("*") if path.is_file()}
    targets = sorted({path for pattern in kind.files for path in Path().glob(pattern)})
    if complaint := _complaint(kind.read, readable=kind.whole):
        raise AssertionError(f"undamaged: {complaint}")
    connection.send((cases.start - 1, ""))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    refused = 0
    for case in cases:
        _restore(whole)
        rng = np.random.default_rng([case, crc32(name.encode())])
        path = targets[rng.integers(len(targets))]
        path.write_bytes(spoil(whole[path][0], rng))
        complaint = _complaint(kind.read)
        refused += complaint is None
        if complaint is None and refused == 1 and kind.command:
            complaint = _command(kind.command)
        connection.send((case, f"{path}: {complaint}" if complaint else ""))
    if not refused:
        raise AssertionError("no damage was noticed")


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _restore(whole: dict[Path, tuple[bytes, tuple[int, int]]]) -> None:
    """Bring the current folder back to what it was."""
    for path in list(Path().rglob("*")):
        if path.is_file() and path not in whole:
            path.unlink()
    for path, (content, stamp) in whole.items():
        if not path.is_file() or _stamp(path) != stamp:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(stamp[0], stamp[0]))


def _complaint(read: Callable[[], object], *, readable: bool | None = None) -> str | None:
    """What is wrong with how it ends: empty if it reads, None if it is refused as it should be."""
    try:
        read()
    except UserError as error:
        words = str(error)
        if readable:
            return f"refused: {words}"
        if any(isinstance(cause, MemoryError) or "allocate memory" in str(cause) for cause in _causes(error)):
            return f"more than {MEMORY / 1e9:g} GB asked for: {words}"
        if "\n" in words.strip() or len(words) > 460 or not any(path.name in words for path in Path().rglob("*")):
            return f"not one short line with the name of a file: {words}"
        return None
    except BaseException:
        return "".join(traceback.format_exc().splitlines(keepends=True)[-14:])
    return "" if readable is not False else "was read"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _command(words: str) -> str:
    """What is wrong with how a command ends that must be refused."""
    from lit_hep.cli import main

    with redirect_stderr(io.StringIO()) as errors, redirect_stdout(io.StringIO()):
        try:
            main(words.split())
        except SystemExit as end:
            lines = errors.getvalue().rstrip().splitlines()
            wrong = "Traceback" in errors.getvalue() or sum(line.startswith("error: ") for line in lines) != 1
            good = end.code == 2 and lines and lines[-1].startswith("error: ") and not wrong
            return "" if good else f"{words}: code {end.code}, {errors.getvalue()[-600:]}"
        except BaseException:
            return f"{words}: {traceback.format_exc()[-1200:]}"
    return f"{words}: was not refused"
