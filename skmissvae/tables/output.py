"""Completed and sampled tables, in the container and the data types of the input."""

import copy
import decimal
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import pandas as pd
from narwhals.typing import IntoDataFrame
from numpy.typing import NDArray

from .._utils.quoting import quoted, shortened
from .codecs import Dates
from .columns import Floats, Mask, column_type, columns_of
from .input_table import InputTable
from .schema import TableSchema

#: Containers of tables.
Table: TypeAlias = np.ndarray | pd.DataFrame | IntoDataFrame


def complete_table(
    source: InputTable,
    schema: TableSchema,
    numbers: Iterable[Floats],
    imputed: Mask,
    indicators: Mapping[str, np.ndarray],
    template: InputTable,
) -> Any:
    """Return a table with imputed cells, in the container, index and types of the input.

    Parameters
    ----------
    source : InputTable
        The table.
    schema : TableSchema
        The schema of the table at fit.
    numbers : iterable of ndarray
        For each output column, a number for each of its imputed cells.
    imputed : ndarray of shape (n_samples, n_features)
        Which cells are imputed.
    indicators : mapping of str to ndarray of shape (n_samples,)
        Further columns.
    template : InputTable
        The table at fit, whose types apply to columns without any observed cell.
    """
    codecs, output_columns = schema.codecs, schema.output_columns.tolist()
    if source.frame is None:
        has_numbers = [
            not isinstance(codecs[j], Dates)
            and not any(isinstance(category, str) for category in codecs[j].categories)
            for j in output_columns
        ]
        dtype = source.dtype if all(has_numbers) else object
        table = np.empty((source.n_rows, len(output_columns)), dtype)
        for place, (j, values) in enumerate(zip(output_columns, numbers, strict=True)):
            table[:, place] = source.columns[j]
            table[imputed[:, j], place] = codecs[j].decode(values)
        flags = [column[:, None].astype(table.dtype) for column in indicators.values()]
        return np.hstack([table, *flags]) if flags else table
    columns = []
    for j, values in zip(output_columns, numbers, strict=True):
        column, at_fit = source.columns[j], template.columns[j]
        assert isinstance(column, nw.Series), "a column of a data frame"
        if not imputed[:, j].any():
            columns.append(column)
            continue
        if not isinstance(at_fit, nw.Series):  # of an array
            at_fit = nw.new_series(column.name, at_fit, backend=source.frame.implementation)
        try:
            columns.append(_fill(column, imputed[:, j], codecs[j].decode(values), at_fit))
        except MemoryError:
            raise
        except Exception as error:  # the libraries raise errors of many classes
            raise ValueError(
                f"Column {quoted(schema.names[j])} has the type "
                f"{shortened(str(column.dtype), 50)}, which cannot hold imputed values of its type "
                f"at fit, {shortened(str(at_fit.dtype), 50)} ({shortened(str(error), 100)}); give "
                "it the type that it had at fit."
            ) from error
    table = _join_columns(source, columns, indicators)
    if isinstance(table, pd.DataFrame):
        table.attrs = copy.deepcopy(nw.to_native(source.frame).attrs)  # as methods of pandas do
    return table


def create_table(template: InputTable, schema: TableSchema, numbers: NDArray[np.float64]) -> Table:
    """Return a new table like the template, whose cells the numbers (n, n_features) stand for.

    Columns without any observed cell at fit stay missing, unless they are kept.
    """
    n_rows, kept = len(numbers), schema.output_columns.tolist()
    cells: list[Any] = [
        codec.decode(numbers[:, j]) if j in kept else [None] * n_rows
        for j, codec in enumerate(schema.codecs)
    ]
    if template.frame is None:
        return np.column_stack(cells).astype(template.dtype)
    at_fit = columns_of(template.frame)
    columns = [_new_column(column, values) for column, values in zip(at_fit, cells, strict=True)]
    return _join_columns(template, columns, {})


def aligned(values: Any, table: Any) -> Any:
    """Return what a function of a table returned, a series in the order of the table's rows."""
    if isinstance(values, pd.Series) and isinstance(table, pd.DataFrame):
        labels, others = table.index, values.index
        if others.equals(labels):
            return values
        if others.is_unique and labels.is_unique:
            return values.reindex(labels)
        if len(others) == len(labels) and others.isin(labels).all():
            raise ValueError(
                "A function of a table returns a series in another order than that of its rows, "
                "whose labels repeat. Return it in the order of the rows."
            )
    return values


def _join_columns(
    source: InputTable, columns: list[Any], indicators: Mapping[str, np.ndarray]
) -> Any:
    """Return a data frame of columns, or an array if the user passed one."""
    assert source.frame is not None, "a data frame"
    input_frame = nw.to_native(source.frame)
    if not isinstance(input_frame, pd.DataFrame):
        backend = source.frame.implementation
        flags = [nw.new_series(name, flag, backend=backend) for name, flag in indicators.items()]
        return type(input_frame)([nw.to_native(column) for column in (*columns, *flags)])
    series = [nw.to_native(column) for column in columns]
    index = series[0].index if series else input_frame.index
    # by position, since names of pandas' columns can be any object
    frame = pd.DataFrame(dict(enumerate([*series, *indicators.values()])), index=index)
    frame.columns = pd.Index([*(column.name for column in series), *indicators])
    if not indicators and len(series) == input_frame.shape[1]:
        frame.columns = input_frame.columns
    if source.dtype is None:
        return frame
    # indicators, and the types at fit, may have no place in an array of dates or integers
    has_one_type = set(frame.dtypes) <= set(input_frame.dtypes)
    return frame.to_numpy(dtype=source.dtype if has_one_type else object)


def _fill(column: nw.Series, imputed: Mask, cells: Any, at_fit: nw.Series) -> nw.Series:
    """Return the column with other values in some cells, of the same type and index.

    Parameters
    ----------
    column : Series
        The column.
    imputed : ndarray of shape (N,)
        Cells to fill.
    cells : sequence of length imputed.sum()
        Their values.
    at_fit : Series
        The column at fit. A column without any observed cell gets its type.
    """
    native = nw.to_native(column)
    if imputed.all() and column_type(at_fit) != column_type(column):
        same_library = at_fit.implementation == column.implementation
        filled = (
            _new_column(at_fit.alias(column.name), cells)
            if same_library
            else _new_column_across_libraries(column, cells, at_fit)
        )
        if isinstance(native, pd.Series):
            return nw.from_native(nw.to_native(filled).set_axis(native.index), series_only=True)
        return filled
    if _should_widen(column, cells, at_fit):
        column = column.cast(at_fit.dtype)
        native = nw.to_native(column)
    if not isinstance(native, pd.Series):
        return column.scatter(np.flatnonzero(imputed).tolist(), _new_column(column, cells))
    return _fill_pandas(native, imputed, cells)


def _fill_pandas(native: pd.Series, imputed: Mask, cells: Any) -> nw.Series:
    new, is_sparse = _new_series(native, cells), isinstance(native.dtype, pd.SparseDtype)
    # sparse arrays do not support assignment; the new type may have more categories
    values: Any = np.array(native) if is_sparse else native.astype(new.dtype).array.copy()
    values[imputed] = new.array
    # without a dtype pandas would infer the type of an array of objects
    filled = pd.Series(values, dtype=new.dtype, index=native.index, name=native.name)
    return nw.from_native(filled, series_only=True)


def _should_widen(column: nw.Series, cells: Any, at_fit: nw.Series) -> bool:
    """Return whether cells exceed the integer type of a column, and the type at fit is wider."""
    dtype, dtype_at_fit = column.dtype, at_fit.dtype
    if not (dtype.is_integer() and dtype_at_fit.is_integer() and isinstance(cells, np.ndarray)):
        return False
    own, wider = _numpy_name(dtype), _numpy_name(dtype_at_fit)
    exceeds = bool((_clip_to_integers(cells, own) != cells).any())
    return exceeds and own != wider and np.can_cast(own, wider)


def _new_column(column: nw.Series, cells: Any) -> nw.Series:
    """Return a column of the same name and type with other cells."""
    native: Any = nw.to_native(column)
    if isinstance(native, pd.Series):
        return nw.from_native(_new_series(native, cells), series_only=True)
    dtype: Any = column.dtype
    if dtype.is_integer() and isinstance(cells, np.ndarray):
        cells = _clip_to_integers(cells, _numpy_name(dtype))
    new = nw.new_series(column.name, list(cells), backend=column.implementation)
    if dtype == nw.Datetime and dtype.time_zone:
        return new.dt.convert_time_zone(dtype.time_zone).cast(dtype)
    # by polars itself, since narwhals does not have all of its types
    return nw.from_native(nw.to_native(new).cast(native.dtype), series_only=True)


def _new_series(series: Any, cells: Any) -> pd.Series:
    """Return a pandas series of the same name and type with other cells."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Series(_new_categories(dtype, cells), name=series.name)
    if pd.api.types.is_integer_dtype(dtype) and isinstance(cells, np.ndarray):
        numpy_dtype = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))
        cells = _clip_to_integers(cells, numpy_dtype)
    if pd.api.types.is_object_dtype(dtype) and isinstance(cells, np.ndarray):
        cells = _numbers_like(cells, series[series.notna()])
    if getattr(dtype, "tz", None) is not None:
        cells = pd.to_datetime(cells, utc=True).tz_convert(dtype.tz)
    return pd.Series(cells, dtype=dtype, name=series.name)


def _new_categories(dtype: pd.CategoricalDtype, cells: Any) -> Any:
    """Return cells of a type of categories, extended where it lacks the category of a cell."""
    labels = dtype.categories
    own = set(labels.tolist())
    if new := [cell for cell in dict.fromkeys(cells) if cell is not None and cell not in own]:
        labels = _extended(labels, new)
    codes = {label: code for code, label in enumerate(labels.tolist())}
    return pd.Categorical.from_codes(
        [codes.get(cell, -1) for cell in cells],
        dtype=pd.CategoricalDtype(labels, dtype.ordered),
    )


def _extended(labels: pd.Index, new: list[Any]) -> pd.Index:
    """Return labels followed by new ones, of the same type if it can hold them."""
    inferred = pd.Index(new, tupleize_cols=False)
    if not len(labels):
        return inferred
    try:
        typed = pd.Index(new, dtype=labels.dtype, tupleize_cols=False)
    except (TypeError, ValueError):
        typed = inferred
    # a conversion may change the labels, such as numbers to strings
    return labels.append(typed if typed.tolist() == new else inferred)


def _new_column_across_libraries(column: nw.Series, cells: Any, at_fit: nw.Series) -> nw.Series:
    """Return a column of cells in its own library, of the type at fit where both have it."""
    dtype: Any = at_fit.dtype
    if dtype.is_integer() and isinstance(cells, np.ndarray):
        cells = _clip_to_integers(cells, _numpy_name(dtype))
    new = nw.new_series(column.name, list(cells), backend=column.implementation)
    # times and booleans are inferred; of the other types both libraries have these
    is_coded = new.dtype == nw.String and (dtype == nw.Categorical or dtype == nw.Enum)
    return new.cast(dtype) if is_coded or dtype.is_integer() or dtype.is_float() else new


def _numpy_name(dtype: Any) -> str:
    """Return the name in numpy of an integer type of narwhals."""
    return str(dtype).lower()


def _numbers_like(numbers: NDArray[np.float64], observed: pd.Series) -> list[Any]:
    """Return numbers of the Python type that a column of objects holds."""
    types = set(map(type, observed)) - {str}  # strings mark missing cells
    is_integer = types and all(issubclass(kind, (int, np.integer)) for kind in types)
    if is_integer and (numbers == np.rint(numbers)).all():
        return [int(number) for number in numbers]
    if types == {decimal.Decimal}:
        return [decimal.Decimal(repr(number)) for number in numbers.tolist()]
    return numbers.tolist()


def _clip_to_integers(numbers: NDArray[np.float64], dtype: Any) -> NDArray[np.int64]:
    """Return numbers rounded and clipped to the range of an integer type."""
    dtype = np.dtype(dtype)
    limits = np.iinfo(dtype)
    # as a float the largest integer may be rounded up, beyond the range
    top = math.nextafter(float(limits.max), 0) if float(limits.max) > limits.max else limits.max
    return np.clip(np.rint(numbers), float(limits.min), top).astype(dtype)
