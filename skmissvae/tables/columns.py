"""Single columns of data frames and arrays: data types, missing cells, conversions."""

import datetime
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


#: Values that mark missing cells of a column beside nulls.
Markers = tuple[Any, ...]


#: Integers from this size on are not all exact as floats.
FIRST_INEXACT_INTEGER = 2**53


_MAX_FLOAT = int(np.finfo(float).max)


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


def type_limits(column: Column) -> tuple[float, float]:
    """Return the least and the greatest number of a column's type."""
    if isinstance(column, np.ndarray):
        dtype = column.dtype
    elif (kind := column_type(column)).is_integer() or kind.is_float():
        dtype = np.dtype(str(kind).lower())
    else:
        return -math.inf, math.inf
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return float(limits.min), float(limits.max)


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


def is_large_integer(cell: Any) -> bool:
    """Return whether a cell is an integer that a float may not represent."""
    # durations of numpy are a subclass of its integers
    is_integer = isinstance(cell, numbers.Integral) and not isinstance(cell, np.timedelta64)
    return is_integer and abs(int(cell)) >= FIRST_INEXACT_INTEGER


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
        is_null = marker is None or (is_number and marker != marker)
        is_null = is_null or (not isinstance(marker, str) and str(marker) in _NULLS)
        if not (is_null or is_number or isinstance(marker, str)):
            raise ValueError(
                "Parameter 'missing_values' must be a number, a string, np.nan, None or pd.NA, a "
                f"list of them, or a mapping from columns to them; got {quoted(value)}."
            )
        if not is_null:
            markers.append(marker)
    return tuple(markers)


def _floats_as_array(column: Column) -> Column:
    """Return a column of floats of any library as an array, NaN for nulls; others as they are."""
    if isinstance(column, nw.Series) and column_type(column).is_float():
        return column.to_numpy()
    return column


def is_missing(column: Column, markers: Markers = ()) -> Mask:
    """Return which cells are missing: NaN, None, pandas.NA, NaT, and those equal to a marker.

    Parameters
    ----------
    column : Series or ndarray of shape (N,)
        The column.
    markers : tuple of float and str
        Values that mark missing cells beside the nulls.
    """
    column = _floats_as_array(column)
    possible = [marker for marker in markers if _can_hold(column, marker)]
    if isinstance(column, np.ndarray):
        missing = np.isnan(column)
        for marker in possible:
            missing = missing | (column == marker)
        return missing
    missing = column.is_null().to_numpy().astype(bool)
    cells = column.to_list() if possible else []
    for marker in possible:
        is_marker = [_is_number_or_string(cell) and cell == marker for cell in cells]
        missing = missing | np.array(is_marker, dtype=bool)
    return missing


def _is_number_or_string(cell: Any) -> bool:
    """Return whether a cell may equal a marker; comparisons of others may be no truth value."""
    return isinstance(cell, (numbers.Number, str)) and not isinstance(cell, (bool, np.bool_))


def check_markers(
    names: Sequence[Any], columns: Sequence[Column], markers: Sequence[Markers]
) -> None:
    """Raise where no column can hold a marker of all columns, or a column its own."""
    are_of_all = len(set(markers)) == 1
    for marker in dict.fromkeys(marker for own in markers for marker in own):
        kind = "strings" if isinstance(marker, str) else "numbers"
        wrong = [
            name
            for name, column, own in zip(names, columns, markers, strict=True)
            if marker in own and not _can_hold(column, marker)
        ]
        if wrong and (not are_of_all or len(wrong) == len(names)):
            where = f"X has no column of {kind}"
            if not are_of_all:
                where = f"column {quoted(wrong[0])} holds no {kind}"
            raise ValueError(
                f"Parameter 'missing_values' has the marker {quoted(marker)}, but {where}, so "
                "that no cell can equal it. Give the marker the type of the cells, or leave it "
                "out: NaN, None, pandas.NA and NaT are always missing."
            )


def _can_hold(column: Column, marker: Any) -> bool:
    """Return whether a column has a type whose cells can equal a marker of missing cells."""
    if isinstance(column, np.ndarray):
        return not isinstance(marker, str)
    dtype = column_type(column)
    if dtype == nw.Boolean or is_time(dtype):
        return False
    return not (dtype.is_numeric() if isinstance(marker, str) else dtype == nw.String)


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
            # pyarrow does not cast integers beyond 2**53
            is_integer = column.dtype.is_integer()
            observed = observed if is_integer else observed.cast(nw.Float64)
            values[~missing] = observed.to_numpy()
        else:
            values[~missing] = _objects_to_floats(to_objects(column)[~missing])
        return values
    return np.where(missing, np.nan, column.astype(np.float64))


def _objects_to_floats(cells: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return numbers as floats, infinite where they exceed the range of floats."""
    try:
        return cells.astype(float)
    except OverflowError:
        is_large = [not -_MAX_FLOAT <= cell <= _MAX_FLOAT for cell in cells]
        signs = [math.inf if cell > 0 else -math.inf for cell in cells[is_large]]
        cells = cells.copy()
        cells[is_large] = signs
        return cells.astype(float)


def have_equal_cells(a: Column, b: Column, rows: Mask) -> bool:
    """Return whether two columns have equal cells in some rows, compared without rounding."""
    return bool((to_objects(a)[rows] == to_objects(b)[rows]).all())
