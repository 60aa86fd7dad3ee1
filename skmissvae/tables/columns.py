"""Single columns of data frames and arrays: data types, missing cells, conversions."""

import datetime
import numbers
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.floating]


Mask = NDArray[np.bool_]


#: A column of a data frame, or of an array of numbers.
Column = nw.Series | NDArray


#: Values that mark missing cells of a column beside nulls.
Markers = tuple[Any, ...]


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
                f"Column {column.name!r} has the polars type {column.dtype}, which is not "
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


def time_type(column: Column, missing: Mask) -> Any:
    """Return the type of a column of dates, times or durations, None for other columns.

    A column of objects has one if its observed cells are of one class and, if aware, of one zone.
    """
    if isinstance(column, np.ndarray):
        return None
    dtype = column_type(column)
    if dtype != nw.Object:
        return dtype if is_time(dtype) else None
    cells = to_objects(column)[~missing]
    classes = set(map(type, cells))
    if len(classes) != 1:
        return None
    cell_class = classes.pop()
    if cell_class in (datetime.timedelta, pd.Timedelta):
        return nw.Duration("us")
    if cell_class is datetime.date:
        return nw.Date()
    if cell_class not in (datetime.datetime, pd.Timestamp):
        return None
    zones = {str(cell.tzinfo) for cell in cells}
    zone = zones.pop()
    if zones or zone == "None":
        return None if zones else nw.Datetime("us")
    try:
        return nw.Datetime("us", str(pd.DatetimeTZDtype("us", zone).tz))
    except (TypeError, ValueError, KeyError):  # zones of dateutil have no name
        return None


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


def as_markers(value: Any) -> Markers:
    """Return the values that mark missing cells beside nulls.

    Parameters
    ----------
    value : object
        A value, or a list of values, of the parameter ``missing_values``.
    """
    values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    markers = []
    for marker in values:
        is_number = isinstance(marker, numbers.Real)
        is_null = marker is None or (is_number and marker != marker) or str(marker) in _NULLS
        if not (is_null or is_number or isinstance(marker, str)):
            raise ValueError(
                "Parameter 'missing_values' must be a number, a string, np.nan, None or pd.NA, a "
                f"list of them, or a mapping from columns to them; got {value!r}."
            )
        if not is_null:
            markers.append(marker)
    return tuple(markers)


def is_missing(column: Column, markers: Markers = ()) -> Mask:
    """Return which cells are missing: NaN, None, pandas.NA, NaT, and those equal to a marker.

    Parameters
    ----------
    column : Series or ndarray of shape (N,)
        The column.
    markers : tuple of float and str
        Values that mark missing cells beside the nulls.
    """
    if isinstance(column, np.ndarray):
        missing = np.isnan(column)
        for marker in markers:
            missing = missing if isinstance(marker, str) else missing | (column == marker)
        return missing
    missing = column.is_null().to_numpy().astype(bool)
    dtype = column_type(column)
    if dtype.is_float():
        missing = missing | column.is_nan().fill_null(True).to_numpy().astype(bool)
    if dtype == nw.Boolean or is_time(dtype):
        return missing
    is_string, is_numeric = dtype == nw.String, dtype.is_numeric()
    possible = [m for m in markers if not (is_numeric if isinstance(m, str) else is_string)]
    cells = column.to_list() if possible else []
    for marker in possible:
        # comparisons of other objects, such as pandas.NA, may be no truth value
        comparable = (numbers.Number, str)
        is_marker = [isinstance(cell, comparable) and cell == marker for cell in cells]
        missing = missing | np.array(is_marker, dtype=bool)
    return missing


def refuse_infinity(values: Floats, names: Sequence[Any], first: int = 0) -> None:
    """Raise where a cell of a table of floats is infinite; ``first`` is the table's first row."""
    infinite = np.isinf(values)
    if infinite.any():
        i, j = np.argwhere(infinite)[0]
        raise ValueError(
            f"Input X contains infinity: column {names[j]!r}, row {first + i}, holds "
            f"{values[i, j]}; replace it, or mark it missing."
        )


def to_objects(column: Column) -> NDArray[np.object_]:
    """Return the cells as Python objects."""
    cells = np.empty(len(column), dtype=object)
    cells[:] = column.tolist() if isinstance(column, np.ndarray) else column.to_list()
    return cells


def to_floats(column: Column, missing: Mask) -> NDArray[np.float64]:
    """Return the cells of a column of numbers as floats, NaN where missing."""
    if isinstance(column, nw.Series):
        values = np.full(len(missing), np.nan)
        if column.dtype.is_numeric():
            observed = column.filter((~missing).tolist())
            values[~missing] = observed.cast(nw.Float64).to_numpy()
        else:
            values[~missing] = to_objects(column)[~missing].astype(float)
        return values
    return np.where(missing, np.nan, column.astype(np.float64))
