"""Memory that large arrays take from the system one after the other."""

import math
import mmap
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

# else a worker would share them with the process that it was forked from
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


class Pages:
    """Memory for blocks or batches, apart from the heap, in which they would leave holes that later ones do not fit.

    What one had the next one gets: new pages of the system cost as much time as to read what goes into them.
    """

    def __init__(self) -> None:
        self._free = deque[mmap.mmap](maxlen=1)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array (*shape) of any values; its pages are free again once nobody holds it or a view of it."""
        count = math.prod(shape)
        size = max(1, count * dtype.itemsize)
        try:  # and not whether there are some: another thread may take them meanwhile
            pages = self._free.pop()
        except IndexError:
            pages = None
        if pages is None or len(pages) < size:
            pages = mmap.mmap(-1, size, **_PRIVATE)
        values = np.frombuffer(pages, dtype, count)
        weakref.finalize(values, self._free.append, pages).atexit = False
        return values.reshape(shape)
