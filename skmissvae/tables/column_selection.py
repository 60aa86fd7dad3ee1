"""Parameters that select columns, by name or position: cells to impute, limits of numbers."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._utils.quoting import listed, quoted
from .codecs import Dates, Numbers
from .columns import Markers, Mask, as_markers
from .input_table import InputTable
from .schema import MODELLED_ROLES, TableSchema


def column_index(column: Any, names: Sequence[Any], parameter: str) -> int:
    """Return the position of a column that a parameter names.

    Parameters
    ----------
    column : str or int
        Name or position; where names are numbers, a number is a name.
    names : sequence of str
        Names of all columns.
    parameter : str
        Name of the parameter, for errors.
    """
    if not isinstance(column, (bool, np.bool_)):
        if column in names:
            return list(names).index(column)
        has_number = any(not isinstance(name, str) for name in names)
        if isinstance(column, numbers.Integral) and column in range(len(names)) and not has_number:
            return int(column)
    raise ValueError(
        f"Parameter {parameter!r} names column {quoted(column)}, which X does not have; its "
        f"columns are {listed(names)}."
    )


def modelled_index(column: Any, schema: TableSchema, parameter: str) -> int:
    """Return the index among the modelled columns of a column that a parameter names.

    A copy has the index of the column that it repeats.
    """
    j = column_index(column, schema.names, parameter)
    j = schema.copies.get(j, j)
    if j not in schema.modelled:
        raise ValueError(
            f"Parameter {parameter!r} names column {quoted(column)}, which is not modelled: its "
            f"role is {schema.roles[j]!r}. Name another column."
        )
    return int(np.searchsorted(schema.modelled, j))


def missing_markers(missing_values: Any, names: Sequence[Any]) -> list[Markers]:
    """Return the values that mark missing cells of each column beside nulls.

    Parameters
    ----------
    missing_values : object
        The parameter of this name.
    names : sequence of str
        Names of the columns.
    """
    if not isinstance(missing_values, Mapping):
        return [as_markers(missing_values)] * len(names)
    markers: list[Markers] = [()] * len(names)
    for column, values in missing_values.items():
        markers[column_index(column, names, "missing_values")] += as_markers(values)
    return markers


def requested_cells(where: Any, source: InputTable, names: Sequence[Any]) -> Mask:
    """Return the cells or the columns that the parameter ``where`` selects.

    Parameters
    ----------
    where : array-like of bool of shape (n_samples, n_features) or list of columns
        Cells to impute, or columns whose missing cells are to be imputed.
    source : InputTable
        The table.
    names : sequence of str
        Names of the columns.

    Returns
    -------
    ndarray of shape (n_samples, n_features) or (n_features,)
        Mask of cells, or of columns.
    """
    shape = source.n_rows, len(names)
    if np.ndim(where) == 2:
        return _cell_mask(where, source, names)
    if np.ndim(where) == 1 and np.asarray(where).dtype == bool and len(where) == shape[1]:
        return np.asarray(where)
    if isinstance(where, str) or np.ndim(where) != 1:
        raise ValueError(
            f"where must be a mask of bool of X's shape {shape}, or a list of columns; got "
            f"{quoted(where)}."
        )
    mask = np.zeros(shape[1], dtype=bool)
    mask[[column_index(column, names, "where") for column in where]] = True
    return mask


def _cell_mask(where: Any, source: InputTable, names: Sequence[Any]) -> Mask:
    """Return a mask of cells; the columns of a data frame are matched by name."""
    shape = source.n_rows, len(names)
    # an array of objects is kept as a frame with an arbitrary index
    frame: Any = None if source.dtype else nw.to_native(source.frame, pass_through=True)
    both_pandas = isinstance(where, pd.DataFrame) and isinstance(frame, pd.DataFrame)
    if both_pandas and len(where) == shape[0] and not where.index.equals(frame.index):
        raise ValueError(
            "where and X have different indices, so that their rows cannot be matched; pass "
            "where.reindex(X.index), or an array whose rows are in X's order."
        )
    columns = list(getattr(where, "columns", names))
    if columns != list(names) and set(columns) == set(names):
        where = where[list(names)]
    elif columns != list(names):
        raise ValueError(
            f"where has the columns {listed(columns)}, but X has {listed(names)}; give "
            "where the columns of X."
        )
    mask = np.asarray(where)
    if mask.dtype == object and not pd.isna(mask).any():
        mask = np.asarray(where, dtype=bool) if {*mask.flat} <= {True, False} else mask
    if mask.shape != shape or mask.dtype != bool:
        raise ValueError(
            f"where must be a mask of bool of X's shape {shape}, or a list of columns; got an "
            f"array of {mask.dtype} of shape {mask.shape}."
        )
    return mask


def derivations(
    schema: TableSchema, derived: Mapping[Any, Callable[[Any], Any]] | None
) -> dict[int, Callable[[Any], Any]]:
    """Return the functions of the parameter ``derived`` by the positions of their columns."""
    functions = {}
    for column, function in (derived or {}).items():
        j = column_index(column, schema.names, "derived")
        if not callable(function):
            raise TypeError(
                f"Parameter 'derived' has {quoted(function)} for column {quoted(column)}. Pass a "
                "function of a completed table."
            )
        if not isinstance(schema.codecs[j], Numbers) or j not in schema.output_columns:
            raise ValueError(
                f"Parameter 'derived' names column {quoted(column)}, which is not a column of "
                "numbers with observed cells. Name such a column, or compute it afterwards."
            )
        if j in functions:
            raise ValueError(
                f"Parameter 'derived' names column {quoted(column)} twice, by name and by index. "
                "Name it once."
            )
        functions[j] = function
    return functions


def limits(
    schema: TableSchema, min_value: Any, max_value: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest number that can be imputed in each column.

    Parameters
    ----------
    schema : TableSchema
        The schema.
    min_value, max_value : float, array-like of shape (n_features,), mapping or None
        The parameters of these names.

    Returns
    -------
    low, high : ndarray of shape (n_features,)
        The limits in the columns' units, infinite where there is none.
    """
    low = _one_sided(schema, "min_value", min_value, -math.inf)
    high = _one_sided(schema, "max_value", max_value, math.inf)
    for copy, original in schema.copies.items():  # one variable, which obeys the limits of both
        low[original] = low[copy] = max(low[original], low[copy])
        high[original] = high[copy] = min(high[original], high[copy])
    # limits move inwards to the next integer, or to the next date of the column's resolution
    steps = [getattr(codec, "resolution", float(codec.is_integer)) for codec in schema.codecs]
    step = np.array(steps)
    discrete = step > 0
    low[discrete] = np.ceil(low[discrete] / step[discrete]) * step[discrete]
    high[discrete] = np.floor(high[discrete] / step[discrete]) * step[discrete]
    empty = (low > high) | ((low == high) & ~discrete) | np.isposinf(low) | np.isneginf(high)
    if empty.any():
        raise ValueError(
            "Parameters 'min_value' and 'max_value' leave no value for column "
            f"{quoted(schema.names[int(np.argmax(empty))])}; min_value must be below max_value."
        )
    _check_types(schema, low, high)
    return low, high


def _check_types(schema: TableSchema, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Raise where no value of a column's data type lies within the limits."""
    for j, codec in enumerate(schema.codecs):
        if low[j] > codec.limits[1] or high[j] < codec.limits[0]:
            first, last = codec.decode(np.array(codec.limits))
            raise ValueError(
                f"Parameters 'min_value' and 'max_value' leave no value for column "
                f"{quoted(schema.names[j])}, whose data type holds {first} to {last}; correct the "
                "limits, or convert the column to a wider type."
            )


def _one_sided(
    schema: TableSchema, parameter: str, value: Any, default: float
) -> NDArray[np.float64]:
    """Return one limit of each column; only a mapping limits columns other than numbers."""
    names, limit = schema.names, np.full(len(schema.names), default)
    if value is None:
        return limit
    if isinstance(value, pd.Series):
        value = value.to_dict()
    if not isinstance(value, Mapping):
        modelled = schema.modelled[schema.numeric()].tolist()
        numeric = [j for j in modelled if isinstance(schema.codecs[j], Numbers)]
        numeric += [copy for copy, original in schema.copies.items() if original in numeric]
        limit[numeric] = _limit_of_each_column(parameter, value, len(names))[numeric]
        return limit
    for column, column_limit in value.items():
        j = column_index(column, names, parameter)
        codec, role = schema.codecs[j], schema.roles[j]
        if not isinstance(codec, (Numbers, Dates)):
            raise ValueError(
                f"Parameter {parameter!r} bounds column {quoted(names[j])}, whose values are "
                f"{codec.kind}: only numbers, dates and durations have limits; remove it."
            )
        if role not in MODELLED_ROLES:
            raise ValueError(
                f"Parameter {parameter!r} bounds column {quoted(names[j])}, which is not modelled "
                f"({role}): all of its missing cells get one value; remove the limit."
            )
        try:
            limit[j] = codec.encode_limit(column_limit)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Parameter {parameter!r} must bound column {quoted(names[j])} by {error}; got "
                f"{quoted(column_limit)}."
            ) from error
    return limit


def _limit_of_each_column(parameter: str, value: Any, n: int) -> NDArray[np.float64]:
    """Return a number, or a sequence of numbers, as an array of n limits."""
    limit: NDArray[np.float64] = np.array(value, dtype=np.float64)
    if limit.shape not in ((), (n,)):
        raise ValueError(
            f"Parameter {parameter!r} has {len(limit)} numbers, but X has {n} columns; give one "
            "for each column (-np.inf or np.inf for none), or a mapping from columns."
        )
    return np.broadcast_to(limit, n)
