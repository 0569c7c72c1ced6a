"""Files that are written whole or not at all."""

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from glob import escape
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lit_hep.errors import DataError, OutputError

if TYPE_CHECKING:
    import h5py


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed onto it when the block ends without an error.

    Args:
        path: File, or folder that is absent or empty.

    Raises:
        OutputError: The file system refuses; nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)}); choose another place") from error
    finally:
        remove(part)


@contextmanager
def new_hdf5(path: Path) -> Iterator["h5py.File"]:
    """Create an HDF5 file, closed when the block ends.

    Raises:
        OSError: It cannot be written, on a full disk for example.
    """
    import h5py

    with _Patient(path, "w+") as raw:
        with h5py.File(raw, "w") as file:
            yield file
        if raw.error:
            raise raw.error


class _Patient(FileIO):
    """A file that keeps the first error to itself: HDF5 crashes when it closes a file that could not be written."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all, or nothing any more."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while self.error is None and rest:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.error = error
        return size


def reason(error: OSError) -> str:
    """Why the file system refuses, in its own words; libraries wrap them in many of theirs."""
    if re.search(r"requested and \d+ written", str(error)):  # numpy keeps the reason to itself
        return os.strerror(ENOSPC)
    return os.strerror(error.errno) if error.errno else str(error)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(NotADirectoryError):  # a file is where its folder was to be
            path.unlink(missing_ok=True)


def sweep(folder: Path, pattern: str = "**/.*") -> None:
    """Remove what killed processes of this machine have left half-written.

    Args:
        folder: To be looked through.
        pattern: Of their names less ``.part``; as it is, of all in the folder and the folders in it.
    """
    mine = re.compile(rf".*\.{re.escape(platform.node())}-(\d+)\.part")
    for part in list(folder.glob(f"{pattern}.part")):
        writer = mine.fullmatch(part.name)
        if writer and not _writes(int(writer[1])):
            remove(part)


def _writes(pid: int) -> bool:
    """Whether another process of this number lives; this one writes nothing while it sweeps."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return pid != os.getpid()


def is_vacant(folder: Path) -> bool:
    """Whether `folder` is absent or empty.

    Raises:
        DataError: It is not a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; give the folder that holds the data files")
    return not folder.is_dir() or not any(folder.iterdir())


def fill(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a vacant folder; a second process that asks for the same one waits and is refused.

    Args:
        folder: Absent or empty.
        write: Called with an empty folder that becomes `folder` when all is written.

    Raises:
        DataError: The folder holds something already.
        OutputError: It cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        with lock:
            if not is_vacant(folder):
                raise DataError(f"{folder}: is not empty; simulated files never land among others: give a new folder")
            sweep(folder.parent, f".{escape(folder.name)}.*")  # beside it alone: that may be a home folder
            with replacing(folder) as part:
                part.mkdir()
                write(part)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({reason(error)}); choose another place") from error
