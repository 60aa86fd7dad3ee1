"""Columns and cells that parameters select: by name, by position, or by a mask."""

import numbers
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from .columns import Mask
from .input_table import InputTable

_N_LISTED = 20  # columns that an error message lists


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
        f"Parameter {parameter!r} names column {column!r}, which X does not have; its columns are "
        f"{list_names(names)}."
    )


def list_names(names: Sequence[Any]) -> str:
    """Return names separated by commas; of a long list the first and the number of the others."""
    n_more = len(names) - _N_LISTED
    listed = ", ".join(map(repr, names[:_N_LISTED]))
    return f"{listed}, ... and {n_more} more" if n_more > 0 else listed


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
            f"{where!r}."
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
            f"where has the columns {list_names(columns)}, but X has {list_names(names)}; give "
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
