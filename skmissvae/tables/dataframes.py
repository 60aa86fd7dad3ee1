"""Data frames of pandas and polars: reading columns, and writing completed ones."""

from __future__ import annotations

import decimal
import math
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from .codecs import Mask, Values, columns_of, objects, pandas_values, type_of


def columns_and_names(X: Any) -> tuple[list[Values], list[Any] | None]:
    """Return the columns of a frame or an array, and the names that a frame has."""
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"X is a lazy frame ({type(X).__name__}); collect it first: X.collect().")
    if isinstance(frame, nw.DataFrame):
        return columns_of(frame), list(frame.columns)
    cells = _array(X)
    return columns_of(of_objects(cells)) if cells.dtype == object else list(cells.T), None


def to_pandas(table: Any) -> Any:
    """Return a frame of another library as one of pandas, with types of its own; others as is."""
    frame = nw.from_native(table, pass_through=True)
    if not isinstance(frame, nw.DataFrame) or isinstance(table, pd.DataFrame):
        return table
    return pd.DataFrame({column.name: pandas_values(column) for column in columns_of(frame)})


def without(X: Any, hidden: Mask) -> Any:
    """Return the table with more holes, in its container, index and types that can hold them."""
    if isinstance(X, pd.DataFrame):
        return X.mask(hidden)
    frame = nw.from_native(X, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        cells = _array(X)
        return np.where(hidden, np.array(np.nan, cells.dtype), cells)
    columns = []
    for column, gone in zip(columns_of(frame), hidden.T, strict=True):
        kept = nw.new_series("kept", (~gone).tolist(), backend=frame.implementation)
        columns.append(nw.when(kept).then(column).alias(column.name))
    return nw.to_native(frame.select(columns))


def _array(X: Any) -> NDArray[Any]:
    """Return an array of numbers, or of objects where some are none."""
    try:
        return check_array(X, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
    except (ValueError, TypeError) as error:
        if not holds_objects(error):
            raise
        return check_array(X, dtype=object, ensure_all_finite=False)


def holds_objects(error: Exception) -> bool:
    """Tell whether an array was refused since some of its cells are no numbers."""
    words = ("could not convert", "'NAType'", "'Timestamp'", "'datetime")
    return any(word in str(error) for word in words)


def of_objects(cells: NDArray[np.object_]) -> nw.DataFrame:
    """Return an array of objects as a frame: its columns are of many types."""
    return nw.from_native(pd.DataFrame(cells).infer_objects(), eager_only=True)


def fill(column: nw.Series, where: Mask, cells: Any, template: nw.Series | None) -> nw.Series:
    """Return the column with other values in some cells, of the same type and index.

    Parameters
    ----------
    column : Series
        The column.
    where : ndarray of shape (N,)
        Cells to fill.
    cells : sequence of length where.sum()
        Their values.
    template : Series or None
        The column at fit, whose type one without any cell gets where its own is another.
    """
    if not where.any():
        return column
    native = nw.to_native(column)
    if where.all() and template is not None and type_of(template) != type_of(column):
        same = template.implementation == column.implementation
        made = (
            like(template.alias(column.name), cells) if same else _across(column, cells, template)
        )
        if isinstance(native, pd.Series):
            return nw.from_native(nw.to_native(made).set_axis(native.index), series_only=True)
        return made
    if template is not None and _should_widen(column, cells, template):
        column = column.cast(template.dtype)
        native = nw.to_native(column)
    if not isinstance(native, pd.Series) and column.dtype == nw.Object:
        held = objects(column)
        held[where] = list(cells)
        return like(column, held.tolist())
    if not isinstance(native, pd.Series):
        return column.scatter(np.flatnonzero(where).tolist(), like(column, cells))
    if isinstance(native.dtype, pd.SparseDtype):  # which takes no values
        dense = np.array(native)
        dense[where] = np.array(nw.to_native(like(column, cells)))
        sparse = pd.Series(dense, native.index, name=native.name).astype(native.dtype)
        return nw.from_native(sparse, series_only=True)
    values = native.array.copy()
    if isinstance(native.dtype, pd.CategoricalDtype):
        new = [c for c in dict.fromkeys(cells) if c not in native.cat.categories]
        values = native.cat.add_categories(new).array.copy() if new else values
    values[where] = nw.to_native(like(column, cells)).array
    # an array of objects would be guessed anew
    dtype = values.dtype if isinstance(values.dtype, pd.CategoricalDtype) else native.dtype
    filled = pd.Series(values, dtype=dtype, index=native.index, name=native.name)
    return nw.from_native(filled, series_only=True)


def _across(column: nw.Series, cells: Any, template: nw.Series) -> nw.Series:
    """Return a column's cells by its own library, of the type that another's has, if both do."""
    dtype: Any = template.dtype
    if dtype.is_integer() and isinstance(cells, np.ndarray):
        cells = _within(cells, _integer(dtype))
    values = cells.tolist() if isinstance(cells, np.ndarray) else list(cells)
    made = nw.new_series(column.name, values, backend=column.implementation)
    # times and flags have theirs; of the rest these are in all libraries
    coded = made.dtype == nw.String and (dtype == nw.Categorical or dtype == nw.Enum)
    whole = dtype.is_integer() and "128" not in str(dtype)
    return made.cast(dtype) if coded or whole or dtype.is_float() else made


def _should_widen(column: nw.Series, cells: Any, template: nw.Series) -> bool:
    """Tell whether an integer type cannot hold cells, while the one at fit can, and all others."""
    dtype, known = column.dtype, template.dtype
    if not (dtype.is_integer() and known.is_integer() and isinstance(cells, np.ndarray)):
        return False
    own, wider = (np.iinfo(_integer(one)) for one in (dtype, known))
    if not ((cells < own.min).any() or (cells > own.max).any()):
        return False
    seen = column.drop_nulls()
    ends: list[float] = [int(seen.min()), int(seen.max())] if len(seen) else []
    ends += [float(cells.min()), float(cells.max())]
    return own != wider and all(wider.min <= end <= wider.max for end in ends)


def _integer(dtype: Any) -> str:
    """Return the name in numpy of an integer type of narwhals."""
    return str(dtype).lower().replace("128", "64")


def like(column: nw.Series, cells: Any) -> nw.Series:
    """Return a column of the same name and type that holds other cells."""
    native: Any = nw.to_native(column)
    dtype: Any = column.dtype
    made: Any
    if isinstance(native, pd.Series):
        dtype = native.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            new = [c for c in dict.fromkeys(cells) if c is not None and c not in dtype.categories]
            dtype = pd.CategoricalDtype([*dtype.categories, *new], dtype.ordered)
        if pd.api.types.is_integer_dtype(dtype) and isinstance(cells, np.ndarray):
            cells = _within(cells, _of_numbers(dtype))
        if pd.api.types.is_object_dtype(dtype) and isinstance(cells, np.ndarray):
            cells = _alike(cells, native[native.notna()])
        if getattr(dtype, "tz", None) is not None:
            cells = pd.to_datetime(cells, utc=True).tz_convert(dtype.tz)
        made = pd.Series(cells, dtype=dtype, name=native.name)
        return nw.from_native(made, series_only=True)
    if dtype.is_integer() and isinstance(cells, np.ndarray):
        cells = _within(cells, _integer(dtype))
    if dtype == nw.Object:  # nothing can be cast to it
        return nw.from_native(
            type(native)(column.name, list(cells), native.dtype), series_only=True
        )
    made = nw.new_series(column.name, list(cells), backend=column.implementation)
    if dtype == nw.Datetime and dtype.time_zone:
        return made.dt.convert_time_zone(dtype.time_zone).cast(dtype)
    # by polars itself: narwhals does not know all of its types
    return nw.from_native(nw.to_native(made).cast(native.dtype), series_only=True)


def _of_numbers(dtype: Any) -> Any:
    """Return the type of numpy behind one of pandas'."""
    return getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))


def _alike(numbers: NDArray[np.float64], seen: pd.Series) -> list[Any]:
    """Return numbers of the type of those that a column of objects holds."""
    kinds = set(map(type, seen)) - {str}  # words mark what is missing
    whole = kinds and all(issubclass(kind, (int, np.integer)) for kind in kinds)
    if whole and (numbers == np.rint(numbers)).all():
        return [int(number) for number in numbers]
    if kinds == {decimal.Decimal}:
        return [decimal.Decimal(repr(number)) for number in numbers.tolist()]
    return numbers.tolist()


def _within(numbers: NDArray[np.float64], dtype: Any) -> NDArray[np.int64]:
    """Return whole numbers that an integer type can hold."""
    kind = np.dtype(dtype)
    limits = np.iinfo(kind)
    inside = np.clip(np.rint(numbers), float(limits.min), float(limits.max))
    top = math.nextafter(float(limits.max), 0) if float(limits.max) > limits.max else limits.max
    return np.minimum(inside, top).astype(kind)
