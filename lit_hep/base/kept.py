"""What an evaluation keeps of its batches."""

from torch import Tensor

from lit_hep.training.processes import joined


class Kept:
    """Columns of all batches, in a few blocks of memory.

    Small blocks that stay while large ones come and go leave holes that the next large ones do not fit.
    """

    def __init__(self) -> None:
        self._columns = list[Tensor]()
        self._count = 0

    def add(self, *columns: Tensor) -> None:
        """Add columns (n, ...) of a batch, always the same ones."""
        start, self._count = self._count, self._count + len(columns[0])
        if not self._columns or self._count > len(self._columns[0]):
            before = self._columns
            self._columns = [column.new_empty(2 * self._count, *column.shape[1:]) for column in columns]
            for old, new in zip(before, self._columns, strict=False):
                new[:start] = old[:start]
        for column, kept in zip(columns, self._columns, strict=True):
            kept[start : self._count] = column

    def gather(self) -> list[Tensor]:
        """Columns (N, ...) of all processes, one after the other; nothing is kept any more."""
        columns = joined(column[: self._count] for column in self._columns)
        self._columns, self._count = [], 0
        return columns
