"""C++ of this package, compiled once by the machine's own compiler."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock

_PROCESSORS = {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}


def library(source: Path, definitions: Sequence[str] = (), processor: str | None = None) -> ctypes.CDLL | None:
    """The library of a C++ file, or None where there is no compiler (`CXX`, or ``c++``) or an unknown processor.

    It is kept in ``lit_hep`` in the user's cache folder (`XDG_CACHE_HOME`, or ``~/.cache``), under a name that stands
    for the source, the processor and the compiler. The variable `ATEN_CPU_CAPABILITY` counts here as for PyTorch:
    ``default`` has no library used.

    Args:
        source: C++20 and OpenMP, and headers beside it; no other libraries.
        definitions: Of macros, as in ``N=3``.
        processor: As compilers name it, where it has what others lack; None takes what PyTorch does.
    """
    known = _PROCESSORS.get(torch.backends.cpu.get_cpu_capability())
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if known is None or compiler is None:
        return None
    words = [compiler, "-std=c++20", "-O3", f"-march={processor or known}", "-fopenmp", "-fPIC", "-shared"]
    words += [str(source), *(f"-D{one}" for one in definitions)]
    texts = [path.read_text() for path in (source, *sorted(source.parent.glob("*.h")))]
    name = hashlib.sha256("\0".join([*texts, *words]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lit_hep"
    place = folder / f"{source.stem}-{name}.so"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if not place.exists():
                _compile(words, place)
        return ctypes.CDLL(str(place))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        warnings.warn(f"{source.name} is not used, so all is slower: {said.strip().splitlines()[-1]}", stacklevel=2)
        return None


def _compile(words: list[str], place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        part = Path(folder, place.name)
        subprocess.run([*words, "-o", str(part)], check=True, capture_output=True, text=True)
        part.replace(place)
