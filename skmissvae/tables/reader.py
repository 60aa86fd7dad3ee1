"""Reading of tables: as floats, and as the standardised rows that the model sees, by blocks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._utils.quoting import listed, quoted, shortened
from .cell_limits import CellLimits
from .codecs import Codec
from .columns import Markers, is_missing, refuse_infinity, to_objects
from .encoded_rows import EncodedRows
from .input_table import InputTable, NumericTable
from .schema import CLOSED_ROLES, TableSchema

_BLOCK_ROWS = 20_000  # rows that are read at a time


class TableReader(NamedTuple):
    """Settings by which a fitted estimator reads tables, independent of its later changes."""

    schema: TableSchema
    markers: Sequence[Markers]  # of each column
    handle_unknown: str  # "error" for categories that did not occur at fit, or "missing"

    def cells(
        self, source: InputTable, first: int = 0, closed_roles: Sequence[str] = CLOSED_ROLES
    ) -> NumericTable:
        """Return rows of a table as floats.

        Parameters
        ----------
        source : InputTable
            The rows.
        first : int
            Position of the first row in the table, for errors.
        closed_roles : sequence of str
            Roles of the columns in which unknown categories are errors, if they are.
        """
        schema = self.schema
        table = read_numbers(source, schema.codecs, schema.names, self.markers, first)
        if self.handle_unknown == "error":
            _refuse_unknown(schema, source, table, first, closed_roles)
        return table

    def rows(
        self, cells: NumericTable, first: int = 0, limits: CellLimits | None = None
    ) -> EncodedRows:
        """Return what the model sees of a table as floats, with the limits of missing cells."""
        rows = self.schema.encode(cells.values, cells.observed)
        self.schema.check(rows, first)
        if limits is None:
            return rows
        return limits.encode(self.schema, rows)

    def blocks(self, source: InputTable, limits: CellLimits | None = None) -> Iterator[EncodedRows]:
        """Yield what the model sees, block by block; errors are raised before the first block.

        Cells may have limits.
        """
        slices = row_slices(source.n_rows)
        for block in slices if len(slices) > 1 else []:
            self._read(source, block, limits)
        for block in slices:
            yield self._read(source, block, limits)

    def _read(self, source: InputTable, block: slice, limits: CellLimits | None) -> EncodedRows:
        cells = self.cells(source.part(block), block.start)
        if limits is not None:
            limits = limits.part(block).of_missing(cells.missing, self.schema, block.start)
        return self.rows(cells, block.start, limits)


def _refuse_unknown(
    schema: TableSchema,
    source: InputTable,
    table: NumericTable,
    first: int,
    closed_roles: Sequence[str],
) -> None:
    """Raise where a column of some roles has a category that it did not have at fit."""
    names, codecs = schema.names, schema.codecs
    unknown = ~table.missing & ~table.observed
    # new values may contradict a kind that was inferred from numbers
    is_inferred = np.array([codec.is_inferred for codec in codecs])
    unknown &= np.isin(schema.roles, closed_roles) & ~is_inferred
    if unknown.any():
        i, j = np.argwhere(unknown)[0]
        raise ValueError(
            f"Column {quoted(names[j])}, row {first + i}, holds "
            f"{quoted(to_objects(source.columns[j])[i])}, "
            f"which it did not at fit (it had {listed(codecs[j].categories)}); correct "
            "the value, or set handle_unknown='missing' to ignore it in the evidence."
        )


def row_slices(n_rows: int) -> list[slice]:
    """Return the rows of each block that is read at a time."""
    starts = range(0, n_rows, _BLOCK_ROWS)
    return [slice(start, min(start + _BLOCK_ROWS, n_rows)) for start in starts]


def read_numbers(
    source: InputTable,
    codecs: Sequence[Codec],
    names: Sequence[Any],
    markers: Sequence[Markers],
    first: int = 0,
) -> NumericTable:
    """Return a table as floats.

    Parameters
    ----------
    source : InputTable
        The table.
    codecs : sequence of Codec
        Codec of each column.
    names : sequence of str
        Names of the columns, for errors.
    markers : sequence of tuple
        Values that mark missing cells of each column beside nulls.
    first : int
        Position of the first row, for errors.
    """
    values = np.empty((source.n_rows, len(codecs)), dtype=source.number_type)
    missing = np.empty(values.shape, dtype=bool)
    for j, (column, codec) in enumerate(zip(source.columns, codecs, strict=True)):
        missing[:, j] = is_missing(column, markers[j])
        if missing[:, j].all():  # of any type
            values[:, j] = np.nan
            continue
        try:
            values[:, j] = codec.encode(column, missing[:, j])
        except MemoryError:
            raise
        except Exception as error:  # the libraries raise errors of many classes
            raise ValueError(
                f"Column {quoted(names[j])} cannot be read as at fit, where its kind was "
                f"{codec.kind}: {shortened(str(error), 100)}; give it the type that it had at fit, "
                "or mark invalid values missing."
            ) from error
    refuse_infinity(values, names, first)
    return NumericTable(values, ~missing & ~np.isnan(values), missing)
