"""A table to complete: which cells, in which blocks of rows, with which noise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from .._utils.quoting import quoted
from .._utils.random import KeyedNoise
from ..tables.cell_limits import CellLimits, limits_of_pairs
from ..tables.codecs import Dates
from ..tables.columns import Floats, Mask
from ..tables.encoded_rows import EncodedRows
from ..tables.input_table import InputTable, NumericTable
from ..tables.output import aligned, complete_table
from ..tables.reader import TableReader, row_slices
from ..tables.schema import MODELLED_ROLES

#: Returns a column, given a completed table.
Derivation = Callable[[Any], Any]


class RowBlock(NamedTuple):
    """A block of rows of a table to complete."""

    first: int  # position of the first row
    table: NumericTable
    rows: EncodedRows
    to_impute: Mask  # (N, n_features)   cells to impute
    keys: NDArray[np.uint64]  # (N,)   of the noise of each row
    limits: CellLimits | None  # of missing cells

    @property
    def incomplete(self) -> NDArray[np.intp]:
        """Positions of rows with a cell to impute."""
        return np.flatnonzero(self.to_impute.any(1))

    def noise(self, seed: int, positions: Sequence[int], device: torch.device) -> KeyedNoise:
        """Return the noise of rows, independent of the other rows."""
        return KeyedNoise(seed, self.keys[positions].tolist(), device=device)


class Trial(NamedTuple):
    """Rows that are completed by draws, to compare them with constraints."""

    cells: NDArray[np.float64]  # (N, n_features)   as numbers, NaN where they stay missing
    table: Any  # the completed rows; None if it is not needed
    is_valid: Mask  # (N,)   whether derived cells are numbers of their columns


@dataclass
class ImputationTask:
    """A table to complete, which is read block by block in every pass.

    All of it is read once at first, so that errors are raised before any computation; a single
    block is kept.

    Parameters
    ----------
    reader : TableReader
        Reads the table.
    source : InputTable
        The table.
    where : ndarray of shape (n_samples, n_features) or (n_features,), optional
        Cells to impute, or columns whose missing cells are; None imputes all missing cells.
    keys : ndarray of shape (n_samples,)
        Keys of the noise of each row.
    bounds : tuple of ndarray of shape (n_features,)
        Lower and upper bounds, in the units of the table.
    template : InputTable
        The table of fit.
    indicators : mapping of str to int
        Names of additional columns, and the columns whose missing cells they indicate.
    derived : mapping of int to callable
        Columns that are functions of a completed table.
    limits : CellLimits, optional
        Limits of cells.
    pairs : sequence of tuple of int
        Columns of which the first is at most the second, so that one limits the other.
    """

    reader: TableReader
    source: InputTable
    where: Mask | None
    keys: NDArray[np.uint64]
    bounds: tuple[np.ndarray, np.ndarray]
    template: InputTable
    indicators: Mapping[str, int]
    derived: Mapping[int, Derivation]
    limits: CellLimits | None = None
    pairs: Sequence[tuple[int, int]] = ()

    def __post_init__(self) -> None:
        """Read the table."""
        n_rows, schema, indicated = self.source.n_rows, self.reader.schema, self.indicators.values()
        self._fillable = schema.fillable()
        self._slices, self._only_block = row_slices(n_rows), None
        #: Cells to impute.
        self.to_impute = np.empty((n_rows, len(schema.names)), dtype=bool)
        self._stays_incomplete = np.zeros(n_rows, dtype=bool)
        is_missing = np.empty((n_rows, len(indicated)), dtype=bool)
        for block, rows in zip(self.blocks(), self._slices, strict=True):
            self.to_impute[rows] = block.to_impute
            rest = block.table.missing & ~block.to_impute & self._fillable
            self._stays_incomplete[rows] = rest.any(1)
            is_missing[rows] = block.table.missing[:, list(indicated)]
            if len(self._slices) == 1:
                self._only_block = block
        self._indicator_columns = dict(zip(self.indicators, is_missing.T, strict=True))

    def blocks(self) -> Iterator[RowBlock]:
        """Yield the table in blocks of rows."""
        return (self._only_block or self._read(rows) for rows in self._slices)

    def incomplete_blocks(self) -> Iterator[RowBlock]:
        """Yield the blocks that have a cell to impute."""
        return (block for block in self.blocks() if len(block.incomplete))

    @property
    def has_limits(self) -> bool:
        """Whether cells may have limits."""
        return self.limits is not None or bool(self.pairs)

    @property
    def n_incomplete(self) -> int:
        """Number of rows with a cell to impute."""
        return int(self.to_impute.any(1).sum())

    @property
    def can_be_completed(self) -> Mask:
        """Which rows have a cell to impute, and no other missing cell, (n_samples,)."""
        return self.to_impute.any(1) & ~self._stays_incomplete

    def part(self, rows: NDArray[np.intp], keys: NDArray[np.uint64] | None = None) -> Self:
        """Return the task of some rows, which keep their keys of noise or get other ones."""
        where, limits = self.where, self.limits
        return replace(
            self,
            source=self.source.part(rows),
            where=where if where is None or where.ndim == 1 else where[rows],
            keys=self.keys[rows] if keys is None else keys,
            limits=None if limits is None else limits.part(rows),
        )

    def whole(self) -> RowBlock:
        """Return the table as one block."""
        return self._only_block or self._read(slice(0, self.source.n_rows))

    def _read(self, rows: slice) -> RowBlock:
        table, schema = self.reader.cells(self.source.part(rows), rows.start), self.reader.schema
        limits = None
        if self.limits is not None:
            limits = self.limits.part(rows).of_missing(table.missing, schema, rows.start)
        if self.where is None or self.where.ndim == 1:
            to_impute = table.missing & (True if self.where is None else self.where)
        else:
            to_impute = self.where[rows]
            table = table._replace(observed=table.observed & ~to_impute)
        to_impute = to_impute & self._fillable
        if self.pairs:
            others, limits = limits, limits_of_pairs(self.pairs, table, schema, self.bounds, limits)
            # cells of which a single value is possible
            is_fixed = limits.low == limits.high
            is_fixed &= True if others is None else others.low < others.high
            values = np.where(is_fixed, limits.low, table.values).astype(table.values.dtype)
            table = table._replace(values=values, observed=table.observed | is_fixed)
            limits = limits.without(is_fixed)
        encoded = self.reader.rows(table, rows.start, limits)
        return RowBlock(rows.start, table, encoded, to_impute, self.keys[rows], limits)

    def numbers(self, block: RowBlock, x: np.ndarray) -> list[Floats]:
        """Return a number for each cell to impute, per column of the output.

        Given are the modelled columns of the incomplete rows of a block, (n_incomplete, D), in the
        model's units.
        """
        values, to_impute = self._complete(block, x), block.to_impute[block.incomplete]
        return [values[to_impute[:, j], j] for j in self.reader.schema.output_columns]

    def _complete(self, block: RowBlock, x: np.ndarray) -> Floats:
        """Return the numbers of all cells of the incomplete rows, (n_incomplete, n_features)."""
        schema, incomplete = self.reader.schema, block.incomplete
        table = block.table
        values = schema.decode(x, table.values[incomplete], table.observed[incomplete])
        # the conversion of units may round a number beyond its bound
        is_modelled = np.isin(schema.roles, MODELLED_ROLES)
        bounds = self.bounds
        if block.limits is not None:  # which are within the bounds
            of_cells = block.limits.part(incomplete)
            bounds = np.fmax(bounds[0], of_cells.low), np.fmin(bounds[1], of_cells.high)
        with np.errstate(over="ignore"):  # of limits beyond the range of the type
            low, high = (np.where(is_modelled, b, np.nan).astype(values.dtype) for b in bounds)
        return np.fmin(np.fmax(values, low), high)

    def trial(self, x: np.ndarray, *, needs_table: bool) -> Trial:
        """Return the completed rows for draws of their modelled columns, (n_samples, D).

        Each row has a cell to impute. Derived cells that are no numbers of their column are not
        valid; in a table they raise an error.
        """
        block, schema = self.whole(), self.reader.schema
        cells = self._complete(block, x).astype(np.float64)
        is_valid = np.ones(len(x), dtype=bool)
        for j, codec in enumerate(schema.codecs):
            if isinstance(codec, Dates):
                cells[:, j] = np.rint(cells[:, j] / codec.resolution) * codec.resolution
        cells[~self.to_impute] = np.where(block.table.observed, block.table.values, np.nan)[
            ~self.to_impute
        ]
        if not needs_table and not self.derived:
            return Trial(cells, None, is_valid)
        columns = [cells[self.to_impute[:, j], j] for j in schema.output_columns]
        columns, table, is_valid = self._derive(columns)
        for j, numbers in zip(schema.output_columns, columns, strict=True):
            cells[self.to_impute[:, j], j] = numbers
        return Trial(cells, table, is_valid)

    def table(self, numbers: Sequence[Sequence[Floats]]) -> Any:
        """Return the completed table, given the numbers of each block with incomplete rows."""
        schema = self.reader.schema
        none = [np.empty(0)] * len(schema.output_columns)
        columns = [np.concatenate(parts) for parts in zip(none, *numbers, strict=True)]
        return self._derive(columns, raises=True)[1]

    def _derive(
        self, columns: list[Floats], *, raises: bool = False
    ) -> tuple[list[Floats], Any, Mask]:
        """Return the numbers of each column with derived ones, the table, and the valid rows."""
        schema, completed = self.reader.schema, self._completed(columns)
        is_valid = np.ones(self.source.n_rows, dtype=bool)
        for j, function in self.derived.items():
            if not self.to_impute[:, j].any():
                continue
            cells, is_valid_cell = self._derived_cells(j, function(completed), completed, raises)
            is_valid &= is_valid_cell
            root = schema.copies.get(j, j)
            for k in (k for k in range(len(schema.names)) if schema.copies.get(k, k) == root):
                place = int(np.searchsorted(schema.output_columns, k))
                both = self.to_impute[:, j] & self.to_impute[:, k] & ~np.isnan(cells)
                at = both[self.to_impute[:, k]]
                columns[place] = np.where(at, cells[self.to_impute[:, k]], columns[place])
            completed = self._completed(columns)
        return columns, completed, is_valid

    def _completed(self, columns: Sequence[Floats]) -> Any:
        """Return the completed table, given the imputed numbers of each column of the output."""
        schema, indicators = self.reader.schema, self._indicator_columns
        return complete_table(
            self.source, schema, columns, self.to_impute, indicators, self.template
        )

    def _derived_cells(
        self, j: int, values: Any, completed: Any, raises: bool
    ) -> tuple[Floats, Mask]:
        """Return the cells of a derived column, NaN where they are not computed, and valid ones.

        Both are (n_samples,). Given is what its function returned for the completed table.
        """
        name = quoted(self.reader.schema.names[j])
        try:
            cells = np.array(aligned(values, completed), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Parameter 'derived' returns {quoted(values)} for column {name}, which are "
                "not numbers. Return a number for each row."
            ) from error
        if cells.shape != (self.source.n_rows,):
            raise ValueError(
                f"Parameter 'derived' returns an array of shape {cells.shape} for column {name}. "
                f"Return a number for each of the {self.source.n_rows} rows."
            )
        cells[self._stays_incomplete & ~np.isfinite(cells)] = np.nan  # of cells not requested
        rows = np.flatnonzero(self.to_impute[:, j] & ~np.isfinite(cells) & ~self._stays_incomplete)
        if len(rows) and raises:
            raise ValueError(
                f"Parameter 'derived' returns {cells[rows[0]]} for column {name}, row {rows[0]}. "
                "Return a finite number, or set limits of the columns from which it is computed "
                "(min_value)."
            )
        codec = self.reader.schema.codecs[j]
        low, high = codec.limits
        beyond = np.flatnonzero(self.to_impute[:, j] & ((cells < low) | (cells > high)))
        if len(beyond) and raises:
            raise ValueError(
                f"Parameter 'derived' returns {cells[beyond[0]]:g} for column {name}, row "
                f"{beyond[0]}, whose data type holds {low:g} to {high:g}. Convert the column to a "
                "wider type."
            )
        is_valid = np.ones(len(cells), dtype=bool)
        is_valid[rows] = is_valid[beyond] = False
        cells[~is_valid] = np.nan
        return np.rint(cells) if codec.is_integer else cells, is_valid


def row_keys(row_ids: Any, n_rows: int) -> NDArray[np.uint64]:
    """Return the keys of the noise of rows: their positions, or their identifiers.

    Parameters
    ----------
    row_ids : array-like of int or str of shape (n_rows,) or None
        Identifiers; non-negative integers are the keys of these positions.
    n_rows : int
        Number of rows.
    """
    if row_ids is None:
        return np.arange(n_rows, dtype=np.uint64)
    if isinstance(row_ids, (str, bytes)) or not np.iterable(row_ids):
        raise ValueError(
            f"row_ids must have one entry for each of the {n_rows} rows, such as X[name] or "
            f"X.index; got {quoted(row_ids)}."
        )
    ids = pd.Index(row_ids, tupleize_cols=False)
    if ids.ndim != 1 or len(ids) != n_rows:
        raise ValueError(
            f"row_ids must have one entry for each of the {n_rows} rows; got {len(ids)}."
        )
    if ids.hasnans:
        raise ValueError(
            f"row_ids must not be missing; that of row {int(np.argmax(ids.isna()))} is. Give every "
            "row an identifier."
        )
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise ValueError(
            f"row_ids must be unique, since rows with the same identifier have the same draws; "
            f"{quoted(repeated.tolist()[0])} occurs more than once."
        )
    if pd.api.types.is_integer_dtype(ids):
        return ids.to_numpy().astype(np.int64 if ids.min() < 0 else np.uint64).view(np.uint64)
    return pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False)
