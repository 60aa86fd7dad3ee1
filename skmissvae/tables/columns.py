"""Single columns of data frames and arrays: data types, missing cells, conversions."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._utils.quoting import quoted

Floats = NDArray[np.floating]


Mask = NDArray[np.bool_]


#: A column of a data frame, or of an array of numbers.
Column = nw.Series | NDArray


_NULLS = ("<NA>", "NaT")  # as pandas prints its nulls


def as_frame(table: Any) -> nw.DataFrame | None:
    """Return a data frame of any library as one of narwhals, None for other tables."""
    frame = nw.from_native(table, pass_through=True)
    return frame if isinstance(frame, nw.DataFrame) else None


def columns_of(frame: nw.DataFrame) -> list[Any]:
    """Return the columns of a data frame.

    Raises
    ------
    TypeError
        If a column of polars has a type that cannot be read.
    """
    # frame[name] would select a row where the name is a number
    columns = [frame.get_column(name) for name in frame.columns]
    for column in columns if frame.implementation.is_polars() else []:
        if column.dtype in (nw.Int128, nw.UInt128, nw.Object):
            raise TypeError(
                f"Column {quoted(column.name)} has the polars type {column.dtype}, which is not "
                "supported: cast it to numbers, such as polars.Int64, to strings or to dates, or "
                "drop it."
            )
    return columns


def column_type(column: nw.Series) -> Any:
    """Return the narwhals type of a column.

    It is Object for all object columns of pandas, whose type narwhals infers from the first cells.
    """
    native = nw.to_native(column)
    if isinstance(native, pd.Series) and native.dtype == object:
        return nw.Object()
    if zone := pandas_time_zone(native):  # narwhals does not parse all names of time zones
        return nw.Datetime(native.dtype.unit, zone)
    return column.dtype


def pandas_time_zone(native: Any) -> str | None:
    """Return the time zone of a pandas column, None for other columns."""
    dtype = getattr(native, "dtype", None)
    return str(dtype.tz) if isinstance(dtype, pd.DatetimeTZDtype) else None


def is_time(dtype: Any) -> bool:
    """Return whether a type is one of dates, times or durations."""
    return dtype in (nw.Date, nw.Duration) or dtype == nw.Datetime


def holds_numbers(column: nw.Series, missing: Mask) -> bool:
    """Return whether the observed cells of a column are numbers and not booleans."""
    dtype = column_type(column)
    if dtype not in (nw.Object, nw.Unknown):
        return bool(dtype.is_numeric())
    cells = to_objects(column)[~missing]
    return len(cells) > 0 and all(
        isinstance(cell, numbers.Number) and not isinstance(cell, (bool, np.bool_))
        for cell in cells
    )


def category_order(column: Column) -> list[Any] | None:
    """Return the categories of a Categorical (pandas) or Enum type in order, None for others."""
    if isinstance(column, np.ndarray):
        return None
    native = nw.to_native(column)
    if isinstance(getattr(native, "dtype", None), pd.CategoricalDtype):
        return native.cat.categories.tolist()
    dtype: Any = column.dtype
    return list(dtype.categories) if dtype == nw.Enum else None


def missing_marker(value: Any) -> Any:
    """Return the value that marks missing cells beside nulls; NaN if there is none.

    Parameters
    ----------
    value : object
        The parameter ``missing_values``.
    """
    if value is None or str(value) in _NULLS:
        return math.nan
    if not isinstance(value, (numbers.Real, str)):
        raise ValueError(
            "Parameter 'missing_values' must be a number, a string, np.nan, None or pd.NA; got "
            f"{quoted(value)}."
        )
    return value


def _floats_as_array(column: Column) -> Column:
    """Return a column of floats of any library as an array, NaN for nulls; others as they are."""
    if isinstance(column, nw.Series) and column_type(column).is_float():
        return column.to_numpy()
    return column


def is_missing(column: Column, marker: Any) -> Mask:
    """Return which cells are missing: NaN, None, pandas.NA, NaT, and those equal to the marker.

    Parameters
    ----------
    column : Series or ndarray of shape (N,)
        The column.
    marker : float or str
        Value that marks missing cells; NaN if there is none beside the nulls.
    """
    column = _floats_as_array(column)
    if isinstance(column, np.ndarray):
        missing = np.isnan(column)
        return missing if isinstance(marker, str) else missing | (column == marker)
    missing = column.is_null().to_numpy().astype(bool)
    dtype = column_type(column)
    if marker == marker:
        is_string, is_numeric = dtype == nw.String, dtype.is_numeric()
        may_hold = not (is_numeric if isinstance(marker, str) else is_string)
        if may_hold and dtype != nw.Boolean and not is_time(dtype):
            is_marker = [value == marker for value in column.to_list()]
            # == True, since pandas.NA compares as NA
            missing = missing | (np.array(is_marker, dtype=object) == True)  # noqa: E712
    return missing


def refuse_infinity(values: Floats, names: Sequence[Any], first: int = 0) -> None:
    """Raise where a cell of a table of floats is infinite; ``first`` is the table's first row."""
    infinite = np.isinf(values)
    if infinite.any():
        i, j = np.argwhere(infinite)[0]
        raise ValueError(
            f"Input X contains infinity: column {quoted(names[j])}, row {first + i}, holds "
            f"{values[i, j]}; replace it, or mark it missing."
        )


def to_objects(column: Column) -> NDArray[np.object_]:
    """Return the cells as Python objects."""
    cells = np.empty(len(column), dtype=object)
    cells[:] = column.tolist() if isinstance(column, np.ndarray) else column.to_list()
    return cells


def to_floats(column: Column, missing: Mask) -> NDArray[np.float64]:
    """Return the cells of a column of numbers as floats, NaN where missing."""
    column = _floats_as_array(column)
    if isinstance(column, nw.Series):
        values = np.full(len(missing), np.nan)
        if column.dtype.is_numeric():
            # a filter of a single row takes as long as everything else
            observed = column.filter((~missing).tolist()) if missing.any() else column
            values[~missing] = observed.cast(nw.Float64).to_numpy()
        else:
            values[~missing] = to_objects(column)[~missing].astype(float)
        return values
    return np.where(missing, np.nan, column.astype(np.float64))
