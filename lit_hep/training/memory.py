"""Whether freed memory stays with the process: on Linux, large networks learn faster if it does."""

import ctypes
import sys
from dataclasses import dataclass

from lit_hep.errors import ConfigError

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MIB, _MOST = 2**20, 2**31 - 1


@dataclass(frozen=True)
class Memory:
    """What becomes of freed memory.

    By itself, glibc gives large blocks back to the system, which hands them out again page by page at the next step.

    Args:
        keep_mib: Blocks of up to so many MiB stay for the next step; 0 leaves it to the system, as all but Linux do.
    """

    keep_mib: int = 1024


def give_back() -> None:
    """Give what is free to the system now, on Linux."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def keep(memory: Memory) -> None:
    """Deal so with what is freed from now on.

    Raises:
        ConfigError: A negative size.
    """
    if memory.keep_mib < 0:
        raise ConfigError(f"--memory.keep_mib {memory.keep_mib}: must be 0 or more")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if memory.keep_mib and sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM, _MOST)
        mallopt(_MAP, min(memory.keep_mib * _MIB, _MOST)) or mallopt(_MAP, 32 * _MIB)  # older versions take no more
