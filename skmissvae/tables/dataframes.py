"""Data frames of pandas and polars: their columns, conversion, and hiding of cells."""

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from .columns import Column, Mask, as_frame, category_order, columns_of


def columns_and_names(X: Any) -> tuple[list[Column], list[Any] | None]:
    """Return the columns of a data frame or an array, and the names of a data frame's columns."""
    refuse_lazy_frames(X)
    if (frame := as_frame(X)) is not None:
        return columns_of(frame), list(frame.columns)
    cells = _to_array(X)
    return columns_of(objects_to_frame(cells)) if cells.dtype == object else list(cells.T), None


def refuse_lazy_frames(X: Any) -> None:
    """Raise where X is a lazy frame."""
    if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise TypeError(f"X is a lazy frame ({type(X).__name__}); collect it first: X.collect().")


def hide_cells(X: Any, hidden: Mask) -> Any:
    """Return a table with some cells made missing, in the container of ``X``."""
    if isinstance(X, pd.DataFrame):
        return X.mask(hidden)
    frame = as_frame(X)
    if frame is None:
        cells = _to_array(X)
        return np.where(hidden, np.array(np.nan, cells.dtype), cells)
    columns = []
    for column, is_hidden in zip(columns_of(frame), hidden.T, strict=True):
        shown = nw.new_series("shown", (~is_hidden).tolist(), backend=frame.implementation)
        columns.append(nw.when(shown).then(column).alias(column.name))
    return nw.to_native(frame.select(columns))


def _to_array(X: Any) -> NDArray[Any]:
    """Return an array of floats, or of objects where some cells are no numbers."""
    try:
        return check_array(X, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
    except (ValueError, TypeError) as error:
        if not has_objects(error):
            raise
        return check_array(X, dtype=object, ensure_all_finite=False)


def has_objects(error: Exception) -> bool:
    """Return whether scikit-learn refused an array because some of its cells are no numbers."""
    fragments = ("could not convert", "'NAType'", "'Timestamp'", "'datetime")
    return any(fragment in str(error) for fragment in fragments)


def objects_to_frame(cells: NDArray[np.object_]) -> nw.DataFrame:
    """Return an array of objects as a data frame whose columns have the types of their cells."""
    return nw.from_native(pd.DataFrame(cells).infer_objects(), eager_only=True)


def to_pandas(table: Any) -> Any:
    """Return a data frame of polars as one of pandas; other tables as they are."""
    frame = as_frame(table)
    if frame is None or isinstance(table, pd.DataFrame):
        return table
    return pd.DataFrame({column.name: _to_pandas_series(column) for column in columns_of(frame)})


def _to_pandas_series(column: nw.Series) -> pd.Series:
    """Return a column as a series of the closest type of pandas."""
    dtype: Any = column.dtype
    if dtype == nw.Enum or dtype == nw.Categorical:
        categories = category_order(column)
        return pd.Series(pd.Categorical(column.to_numpy(), categories, ordered=dtype == nw.Enum))
    if (dtype.is_integer() or dtype == nw.Boolean) and column.null_count():
        name = "boolean" if dtype == nw.Boolean else str(dtype)
        return pd.Series(column.to_list(), dtype=name)
    if dtype.is_numeric() or dtype == nw.Boolean or dtype == nw.String or dtype == nw.Duration:
        return pd.Series(column.to_numpy())
    if dtype == nw.Datetime:
        times: Any = pd.Series(column.to_numpy())
        zone = dtype.time_zone
        return times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times
    return pd.Series(column.to_list(), dtype=object)
