"""Reading tables in numbers, some rows at a time: memory is that of the rows in hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .input_table import InputTable, NumericTable, read
from .schema import TAKEN, EncodedRows, TableSchema

_AT_ONCE = 20_000  # rows that are in hand at a time


class TableReader(NamedTuple):
    """How a fitted estimator reads tables, whatever becomes of it."""

    schema: TableSchema
    names: list[Any]  # of all columns
    missing_values: Any
    handle_unknown: str

    def cells(self, source: InputTable, first: int = 0) -> NumericTable:
        """Return a table, or its rows from ``first`` on, in numbers."""
        matters = np.isin(self.schema.treatment, TAKEN)
        options = self.missing_values, self.handle_unknown, matters, first
        return read(source, self.schema.codecs, self.names, *options)

    def rows(self, cells: NumericTable, first: int = 0) -> EncodedRows:
        """Return what the model sees of a table."""
        rows = self.schema.encode(cells.values, cells.observed)
        self.schema.check(rows, [self.names[j] for j in self.schema.modelled], first)
        return rows

    def parts(self, source: InputTable) -> Iterator[EncodedRows]:
        """Yield what the model sees, some rows at a time; errors come before the first."""
        parts = row_slices(source.n_rows)
        for part in parts if len(parts) > 1 else []:
            self._read(source, part)
        for part in parts:
            yield self._read(source, part)

    def _read(self, source: InputTable, part: slice) -> EncodedRows:
        return self.rows(self.cells(source.part(part), part.start), part.start)


def row_slices(n_rows: int) -> list[slice]:
    """Return which rows are read at a time."""
    return [slice(i, min(i + _AT_ONCE, n_rows)) for i in range(0, n_rows, _AT_ONCE)]
