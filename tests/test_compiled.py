"""C++ compiled by the machine's own compiler: once, and what is used where that cannot be."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from lit_hep import compiled

SOURCE = Path(compiled.__file__).parent / "nets" / "lanes.cpp"
CAPABILITY = torch.backends.cpu, "get_cpu_capability"
no_kernel = torch.backends.cpu.get_cpu_capability() == "DEFAULT" or not shutil.which("c++")
pytestmark = pytest.mark.skipif(no_kernel, reason="needs a C++ compiler and AVX2")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Nothing has been compiled or looked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda: compiled.library(SOURCE, ("BLOCKS={1,6,6,2,3,2}",))


def test_compiled_once_by_whoever_comes_first(empty, tmp_path, monkeypatch):
    with ThreadPoolExecutor(3) as threads:
        assert all(list(threads.map(lambda _: empty(), range(3))))
    names = sorted(path.suffix for path in (tmp_path / "lit_hep").iterdir())
    assert names == [".lock", ".so"]
    monkeypatch.setattr(compiled, "_compile", None)
    assert empty()


@pytest.mark.parametrize("missing", ["compiler", "vectors"])
def test_without_compiler_or_vectors_there_is_none(missing, empty, monkeypatch):
    if missing == "compiler":
        monkeypatch.setenv("CXX", "/no/such/compiler")
    else:
        monkeypatch.setattr(*CAPABILITY, lambda: "DEFAULT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert empty() is None


def test_what_cannot_be_compiled_kept_or_loaded_is_said(empty, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", shutil.which("false"))
    with pytest.warns(UserWarning, match=r"^lanes\.cpp is not used, so all is slower: .*false"):
        assert empty() is None
    monkeypatch.delenv("CXX")
    assert empty()
    (library,) = (tmp_path / "lit_hep").glob("*.so")
    other = tmp_path / "other"
    (other / "lit_hep").mkdir(parents=True)
    (other / "lit_hep" / library.name).write_bytes(b"cut off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(other))
    with pytest.warns(UserWarning, match=r"so all is slower: .*\.so: file too short"):
        assert empty() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(library))
    with pytest.warns(UserWarning, match="so all is slower: .*Not a directory"):
        assert empty() is None
