"""Parameters that name columns or mark missing values."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def column_index(column: Any, names: Sequence[str], parameter: str) -> int:
    """Return the index of a column that a parameter names."""
    truth = isinstance(column, (bool, np.bool_))
    if column in names and not truth:
        return list(names).index(column)
    by_place = isinstance(column, numbers.Integral) and not truth
    # where names are numbers a number is a name
    if by_place and 0 <= int(column) < len(names) and all(isinstance(n, str) for n in names):
        return int(column)
    raise ValueError(
        f"Parameter {parameter!r} names column {column!r}, which X does not have; its columns are "
        f"{', '.join(map(str, names[:20]))}."
    )


def missing_marker(value: Any) -> Any:
    """Return what marks a missing cell beside NaN, None, pandas.NA and NaT; NaN for none."""
    if value is None or str(value) in ("<NA>", "NaT"):
        return math.nan
    if not isinstance(value, (numbers.Real, str)):
        raise ValueError(
            "Parameter 'missing_values' must be a number, a string, np.nan, None or pd.NA; got "
            f"{value!r}."
        )
    return value
