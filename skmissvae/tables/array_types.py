"""Arrays and lists: the types by which they are read, as floats or like a data frame."""

import datetime
import numbers
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .columns import is_large_integer

#: Types of arrays that are read as floats; other numbers are converted to the first.
FLOATS = [np.float64, np.float32]


# Types of cells that stand for floats; so do strings, if all of them can be read as numbers.
_NUMBERS = (numbers.Real, type(None))


_NO_NUMBERS = (bool, np.bool_, np.timedelta64)  # subclasses of integers, except the second


# Units of numpy that pandas does not have, or does not convert exactly.
_INEXACT_UNITS = {"M": ("ps", "fs", "as"), "m": ("ps", "fs", "as", "Y", "M", "generic")}


def read_type(X: Any, dtype_at_fit: np.dtype | None = None, *, parses_strings: bool = True) -> Any:
    """Return the types to which an array is converted.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The array.
    dtype_at_fit : numpy.dtype or None
        Type of the array at fit; None at fit and for data frames.
    parses_strings : bool
        Whether an array is one of floats if all of its strings can be read as numbers.

    Returns
    -------
    list of type, type or None
        ``FLOATS``, or for arrays that are read like a data frame: ``object``, or None if the
        array keeps its type.
    """
    kind_at_fit = "" if dtype_at_fit is None else dtype_at_fit.kind
    if kind_at_fit == "O":
        return object
    try:
        cells = np.asarray(X)
    except (ValueError, TypeError, NotImplementedError):  # scikit-learn reports the reason
        return FLOATS
    kind = cells.dtype.kind
    if kind == "f" and isinstance(X, (list, tuple)):  # numpy has rounded large integers
        cells = np.asarray(X, dtype=object)
        return object if _has_large_integers(cells) else FLOATS
    if kind in "OSUT":
        return FLOATS if _are_numbers(cells, parses_strings) else object
    if kind in "iu":
        is_kept = kind_at_fit in ("i", "u") or _has_large_integers(cells)
        return None if is_kept else FLOATS
    return None if kind in "mM" else FLOATS


def _are_numbers(cells: NDArray[Any], parses_strings: bool) -> bool:
    """Return whether all cells of an array of objects or strings can be read as floats."""
    types = set(map(type, cells.flat))
    if any(issubclass(t, _NO_NUMBERS) or not issubclass(t, (*_NUMBERS, str, bytes)) for t in types):
        return False
    if any(issubclass(t, numbers.Integral) for t in types) and _has_large_integers(cells):
        return False
    if any(issubclass(t, (str, bytes)) for t in types):
        if not parses_strings:
            return False
        try:
            cells.astype(np.float64)
        except ValueError:
            return False
    return True


def _has_large_integers(cells: NDArray[Any]) -> bool:
    """Return whether an array has integers that a float cannot represent."""
    if cells.dtype != object:
        return cells.size > 0 and any(is_large_integer(end) for end in (cells.min(), cells.max()))
    return any(is_large_integer(cell) for cell in cells.flat)


def _is_integer(cell: Any) -> bool:
    return isinstance(cell, numbers.Integral) and not isinstance(cell, _NO_NUMBERS)


def _is_date(cell: Any) -> bool:
    return isinstance(cell, (datetime.date, datetime.timedelta)) and cell is not pd.NaT


def array_to_frame(cells: NDArray[Any]) -> nw.DataFrame:
    """Return an array as a data frame whose columns have the types of their cells."""
    kind = cells.dtype.kind
    if kind in "mM" and np.datetime_data(cells.dtype)[0] in _INEXACT_UNITS[kind]:
        raise TypeError(
            f"X is an array of {cells.dtype}, a unit that cannot be converted exactly; convert it "
            f"to another one, as in X.astype('{kind}8[ns]')."
        )
    frame = pd.DataFrame(cells, dtype=object if kind == "O" else None)
    if kind == "O":
        for j, column in enumerate(cells.T):
            # pandas would convert integers beside missing cells, and the classes of dates
            inferred = frame[j].infer_objects()
            changes = {"f": _is_integer, "M": _is_date, "m": _is_date}.get(inferred.dtype.kind)
            if changes is None or not any(map(changes, column)):
                frame[j] = inferred
    return nw.from_native(frame, eager_only=True)
