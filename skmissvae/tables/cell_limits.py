"""Limits of single missing cells, such as detection limits: the parameters lower and upper."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._utils.quoting import quoted
from .codecs import Codec, Dates, Numbers
from .column_selection import column_index
from .columns import Mask, as_frame, columns_of
from .encoded_rows import EncodedRows
from .input_table import InputTable, NumericTable
from .schema import MODELLED_ROLES, TableSchema

#: Supports of columns whose cells can have limits.
_LIMITED_SUPPORTS = ("real", "whole", "atom")

# Standard deviations of a column: an interval of this width says as much as its middle.
_NARROW = 1.0

# Standard deviations beyond which a limit excludes no value.
_FAR = 1e6

# Times the median width of the intervals of a column, up to which their middles are typical values.
_MAX_WIDTH_RATIO = 10.0


class CellLimits(NamedTuple):
    """Lower and upper limits of cells, in the units of the table, infinite where none is known."""

    low: NDArray[np.float64]  # (N, n_features)
    high: NDArray[np.float64]  # (N, n_features)

    def part(self, rows: Any) -> Self:
        """Return the limits of the rows that an index selects."""
        return self._replace(low=self.low[rows], high=self.high[rows])

    def without(self, cells: Mask) -> Self:
        """Return the limits of the other cells."""
        return self._replace(
            low=np.where(cells, -np.inf, self.low), high=np.where(cells, np.inf, self.high)
        )

    def within(
        self, schema: TableSchema, bounds: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> Self:
        """Return limits that are values of their column, within its bounds.

        Parameters
        ----------
        schema : TableSchema
            The schema.
        bounds : tuple of ndarray of shape (n_features,)
            Lower and upper bounds of imputed cells of each column, infinite where there is none.

        Raises
        ------
        ValueError
            If cells of a column cannot have limits.
        """
        low, high = self.low.copy(), self.high.copy()
        exist = (low > -np.inf) | (high < np.inf)
        supports = dict(zip(schema.modelled.tolist(), schema.supports, strict=True))
        for j in np.flatnonzero(exist.any(0)).tolist():
            if supports.get(schema.copies.get(j, j)) not in _LIMITED_SUPPORTS:
                role, kind = schema.roles[j], schema.codecs[j].kind
                parameter = "lower" if (low[:, j] > -np.inf).any() else "upper"
                support = supports.get(schema.copies.get(j, j))
                kind = role if role not in MODELLED_ROLES else kind
                if support == "unit":
                    kind = "modelled as values from 0 to 1"
                raise _unlimited(parameter, quoted(schema.names[j]), kind)
        for copy, original in schema.copies.items():  # one variable, with the limits of both
            low[:, original] = low[:, copy] = np.maximum(low[:, original], low[:, copy])
            high[:, original] = high[:, copy] = np.minimum(high[:, original], high[:, copy])
            exist[:, original] = exist[:, copy] = exist[:, original] | exist[:, copy]
        low = np.where(exist, np.maximum(low, bounds[0]), low)
        high = np.where(exist, np.minimum(high, bounds[1]), high)
        least, greatest = np.array([codec.limits for codec in schema.codecs]).T
        high = np.where(low > greatest, greatest, high)
        low = np.where(high < least, least, low)
        # limits move inwards to the next value
        step = _steps(schema)
        discrete = step > 0
        low[:, discrete] = np.ceil(low[:, discrete] / step[discrete]) * step[discrete]
        high[:, discrete] = np.floor(high[:, discrete] / step[discrete]) * step[discrete]
        return self._replace(low=low, high=high)

    def with_middles(self, cells: NumericTable, codecs: Sequence[Codec]) -> NumericTable:
        """Return a table with values in columns without an observed cell: middles of intervals.

        They are the middles of intervals with two ends, except of very wide ones, which would
        determine the units of the column.
        """
        both = (
            cells.missing & ~cells.observed.any(0) & np.isfinite(self.low) & np.isfinite(self.high)
        )
        values, observed = cells.values.copy(), cells.observed.copy()
        for j in np.flatnonzero(both.any(0)).tolist():
            at = np.flatnonzero(both[:, j])
            with np.errstate(over="ignore"):
                width = self.high[at, j] - self.low[at, j]
            at = at[width <= _MAX_WIDTH_RATIO * np.median(width)]
            middle = 0.5 * self.low[at, j] + 0.5 * self.high[at, j]
            values[at, j] = np.rint(middle) if codecs[j].is_integer else middle
            observed[at, j] = True
        return cells._replace(values=values, observed=observed)

    def of_missing(self, missing: Mask, schema: TableSchema, first: int = 0) -> Self:
        """Return the limits of missing cells; other cells have none.

        Parameters
        ----------
        missing : ndarray of shape (N, n_features)
            Which cells are missing.
        schema : TableSchema
            The schema.
        first : int
            Position of the first row in the table, for errors.

        Raises
        ------
        ValueError
            If no value is within the limits of a cell.
        """
        missing = missing.copy()
        for copy, original in schema.copies.items():  # known if one of them is observed
            missing[:, copy] = missing[:, original] = missing[:, copy] & missing[:, original]
        low, high = np.where(missing, self.low, -np.inf), np.where(missing, self.high, np.inf)
        empty = (low > high) | ((low == high) & (_steps(schema) == 0))
        if empty.any():
            i, j = np.argwhere(empty)[0]
            ends = [_shown(schema.codecs[j], limit[i, j]) for limit in (low, high)]
            raise ValueError(
                f"Parameters 'lower' and 'upper' leave no value for column "
                f"{quoted(schema.names[j])}, row {first + i}: within min_value, max_value and its "
                f"data type they are {ends[0]} and {ends[1]}. Give a lower limit below the upper "
                "one, or the value itself as a cell of X."
            )
        return self._replace(low=low, high=high)

    def encode(self, schema: TableSchema, rows: EncodedRows) -> EncodedRows:
        """Return rows with the limits of their cells, in the model's units.

        The middle of a narrow interval is an observed cell for the encoder.
        """
        low, high = (limit[:, schema.modelled].copy() for limit in self)
        step = _steps(schema)[schema.modelled]
        # of integers and dates with a continuous model: the values that are rounded to them
        half_step = np.where(np.array(schema.supports) == "whole", 0.0, 0.5 * step)
        low, high = (schema.in_model_units(b) for b in (low - half_step, high + half_step))
        low = np.where(rows.observed | (low < -_FAR), -np.inf, low)
        high = np.where(rows.observed | (high > _FAR), np.inf, high)
        both = np.isfinite(low) & np.isfinite(high)
        start, end = np.where(both, low, 0.0), np.where(both, high, 0.0)
        is_narrow = both & (end - start <= _NARROW)
        # a value of integer columns
        grid = np.array([column.step for column in schema.columns])
        half = 0.5 * (end - start)
        half = np.where(grid > 0, np.floor(half / np.where(grid > 0, grid, 1.0) + 0.1) * grid, half)
        x = np.where(is_narrow, start + half, rows.x)
        return rows._replace(x=x, observed=rows.observed | is_narrow, limits=(low, high))


def limits_of_pairs(
    pairs: Sequence[tuple[int, int]],
    cells: NumericTable,
    schema: TableSchema,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    limits: CellLimits | None,
) -> CellLimits:
    """Return limits of missing cells with those of ordered columns, by the observed cell of a pair.

    Parameters
    ----------
    pairs : sequence of tuple of int
        Columns of which the first is at most the second.
    cells : NumericTable
        The table.
    schema : TableSchema
        The schema.
    bounds : tuple of ndarray of shape (n_features,)
        Lower and upper bounds of imputed cells of each column.
    limits : CellLimits or None
        Limits of cells that are known otherwise, which apply where both contradict each other.
    """
    values, observed, missing = cells.values.copy(), cells.observed.copy(), cells.missing.copy()
    for copy, original in schema.copies.items():  # one variable, known if one is observed
        only_copy = observed[:, copy] & ~observed[:, original]
        values[only_copy, original] = values[only_copy, copy]
        observed[:, original] |= observed[:, copy]
        missing[:, original] |= missing[:, copy]
    for copy, original in schema.copies.items():
        values[:, copy] = values[:, original]
        observed[:, copy], missing[:, copy] = observed[:, original], missing[:, original]
    missing &= ~observed
    if limits is None:
        limits = CellLimits(np.full(values.shape, -np.inf), np.full(values.shape, np.inf))
    low, high = limits.low.copy(), limits.high.copy()
    for first, second in _closure(pairs):
        if _may_be_compared(schema, first, second):
            at = observed[:, first] & missing[:, second]
            low[at, second] = np.maximum(low[at, second], values[at, first])
            at = observed[:, second] & missing[:, first]
            high[at, first] = np.minimum(high[at, first], values[at, second])
    ordered = CellLimits(low, high).within(schema, bounds)
    empty = ordered.low > ordered.high
    return CellLimits(
        np.where(empty, limits.low, ordered.low), np.where(empty, limits.high, ordered.high)
    )


def _closure(pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the pairs with those that follow from them: of a <= b and b <= c also a <= c."""
    closure, size = set(pairs), 0
    while len(closure) > size:
        size = len(closure)
        closure |= {(a, d) for a, b in closure for c, d in closure if b == c}
    return closure


def _may_be_compared(schema: TableSchema, first: int, second: int) -> bool:
    """Return whether cells of a column may be limits of another one."""
    supports = dict(zip(schema.modelled.tolist(), schema.supports, strict=True))
    a, b = (schema.codecs[j] for j in (first, second))
    is_date = isinstance(a, Dates) and isinstance(b, Dates)
    is_limited = [
        supports.get(schema.copies.get(j, j)) in _LIMITED_SUPPORTS for j in (first, second)
    ]
    return all(is_limited) and (is_date or (isinstance(a, Numbers) and isinstance(b, Numbers)))


class GivenLimits(NamedTuple):
    """Limits that a user passed for a table."""

    lower: Any
    upper: Any
    source: InputTable
    rows: Any = slice(None)  # of the table that are used

    def read(self, names: Sequence[Any], codecs: Sequence[Codec]) -> CellLimits | None:
        """Return the limits of the rows that are used, or None.

        Raises
        ------
        ValueError, TypeError
            If they do not match the table, or limit cells that cannot have limits.
        """
        if self.lower is None and self.upper is None:
            return None
        limits = CellLimits(
            _one_side("lower", self.lower, -math.inf, self.source, names, codecs),
            _one_side("upper", self.upper, math.inf, self.source, names, codecs),
        )
        return limits.part(self.rows)


def _one_side(
    parameter: str,
    limits: Any,
    default: float,
    source: InputTable,
    names: Sequence[Any],
    codecs: Sequence[Codec],
) -> NDArray[np.float64]:
    """Return one limit of each cell, (n_samples, n_features)."""
    result = np.full((source.n_rows, len(names)), default)
    for j, values in _columns(parameter, limits, source, names):
        codec, name = codecs[j], quoted(names[j])
        if isinstance(codec, (Numbers, Dates)):
            numbers = _numbers(parameter, values, source.n_rows, codec, name)
            result[:, j] = np.where(np.isnan(numbers), default, numbers)
        elif not pd.isna(np.asarray(values, dtype=object)).all():
            raise _unlimited(parameter, name, codec.kind)
    return result


def _unlimited(parameter: str, name: str, kind: str) -> ValueError:
    """Return the error for a column whose cells cannot have limits."""
    return ValueError(
        f"Parameter {parameter!r} limits column {name}, which is {kind}: only cells of modelled "
        "numbers, dates and durations have limits; remove it."
    )


def _columns(
    parameter: str, limits: Any, source: InputTable, names: Sequence[Any]
) -> Iterator[tuple[int, Any]]:
    """Yield positions of columns and their limits."""
    frame = None if limits is None else as_frame(limits)
    if frame is not None:
        _check_index(parameter, nw.to_native(frame), source)
        for name, column in zip(frame.columns, columns_of(frame), strict=True):
            yield column_index(name, names, parameter), column.to_numpy()
    elif isinstance(limits, Mapping):
        for name, values in limits.items():
            _check_index(parameter, values, source)
            yield column_index(name, names, parameter), values
    elif limits is not None:
        shape = source.n_rows, len(names)
        if np.shape(limits) != shape:
            raise ValueError(
                f"{parameter} must be a table of X's shape {shape}, NaN where there is no limit, "
                f"or a mapping from columns to limits; got {quoted(limits)}."
            )
        yield from enumerate(np.asarray(limits).T)


def _check_index(parameter: str, values: Any, source: InputTable) -> None:
    """Raise if the rows of a pandas object are not those of the table."""
    table: Any = None if source.frame is None else nw.to_native(source.frame)
    is_pandas = isinstance(values, (pd.DataFrame, pd.Series)) and isinstance(table, pd.DataFrame)
    if is_pandas and source.dtype is None and not values.index.equals(table.index):
        raise ValueError(
            f"{parameter} and X have different indices, so that their rows cannot be matched; "
            f"pass {parameter}.reindex(X.index)."
        )


def _numbers(
    parameter: str, values: Any, n_rows: int, codec: Numbers | Dates, name: str
) -> NDArray[np.float64]:
    """Return the limits of a column, one or one for each row, NaN where there is none."""
    array = np.asarray(values)
    if array.shape not in ((), (n_rows,)):
        raise ValueError(
            f"{parameter} of column {name} must be one limit, or one for each of the {n_rows} "
            f"rows; got an array of shape {array.shape}."
        )
    if array.dtype.kind == "M":  # a scalar, or not in nanoseconds
        array = array.astype("datetime64[ns]")
        values = array if array.ndim else pd.Series([array.item()]).astype("datetime64[ns]")[0]
    if isinstance(codec, Numbers) and array.dtype.kind in "iuf":
        return np.broadcast_to(array.astype(np.float64), (n_rows,))
    cells = [values] if array.ndim == 0 else pd.Series(array).tolist()
    numbers = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if pd.isna(cell):
            continue
        try:
            numbers[i] = codec.encode_limit(cell)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{parameter} of column {name} must be {error}; got {quoted(cell)}."
            ) from error
    return np.broadcast_to(numbers, (n_rows,))


def _steps(schema: TableSchema) -> NDArray[np.float64]:
    """Return the distance of neighbouring values of each column, 0 for continuous ones."""
    codecs = schema.codecs
    return np.array([getattr(c, "resolution", float(c.is_integer)) for c in codecs], dtype=float)


def _shown(codec: Codec, limit: float) -> str:
    return str(limit if math.isinf(limit) else codec.decode(np.array([limit]))[0])
