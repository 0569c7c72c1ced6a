"""Files that are written whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lit_hep.errors import DataError, OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed onto it when the block ends without an error.

    Args:
        path: File, or folder that is absent or empty.

    Raises:
        OutputError: The file system refuses; nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif part.exists():
            part.unlink()


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
            with replacing(folder) as part:
                part.mkdir()
                write(part)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another place") from error
