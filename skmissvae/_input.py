"""What users hand in: tables of numbers with holes, and what is wrong with others."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from ._columns import Floats, Mask


def missing_marker(value: Any) -> float:
    """Return what marks a missing cell as a number, NaN for None and pandas.NA."""
    if value is None or str(value) == "<NA>":
        return math.nan
    if not isinstance(value, numbers.Real):
        raise ValueError(
            f"Parameter 'missing_values' must be a number, np.nan, None or pd.NA; got {value!r}."
        )
    return float(value)


def read(estimator: Any, X: Any, missing_values: Any, *, reset: bool) -> tuple[Floats, Mask]:
    """Return a table as floats, and which of its cells are observed.

    Parameters
    ----------
    estimator : BaseEstimator
        Whose columns they are: it learns their number and names, or holds ``X`` against them.
    X : array-like of shape (n_samples, n_features)
        The table.
    missing_values : number, np.nan, None or pd.NA
        What marks a missing cell.
    reset : bool
        Whether the estimator learns.
    """
    marker = missing_marker(missing_values)
    try:
        table = validate_data(
            estimator,
            _without_na(X),
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
        )
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(_describe_strings(X)) from error
    observed = ~np.isnan(table) if math.isnan(marker) else table != marker
    wrong = observed & ~np.isfinite(table)
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        nan = np.isnan(table[i, j])
        word = "NaN" if nan else "infinity"
        advice = (
            "missing_values=np.nan marks it as missing" if nan else "replace it, or mark it missing"
        )
        raise ValueError(
            f"Input X contains {word}: column {column_names(estimator)[j]!r}, row {i}, holds "
            f"{table[i, j]}; {advice}."
        )
    return table, observed


def column_names(estimator: Any) -> list[str]:
    """Return the names of the columns seen at fit, x0, x1, ... where they had none."""
    names: Sequence[str] | None = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(estimator.n_features_in_)] if names is None else list(names)


def _without_na(X: Any) -> Any:
    """Return the table with NaN for the pandas.NA of object cells, which numpy cannot convert."""
    if isinstance(X, pd.DataFrame) and any(dtype.kind == "O" for dtype in X.dtypes):
        return X.where(X.notna(), np.nan)
    if isinstance(X, np.ndarray) and X.dtype == object:
        return np.where(pd.isna(X), np.nan, X)
    return X


def _describe_strings(X: Any) -> str:
    """Return an error message that names the first cell that is no number."""
    values = np.asarray(X, dtype=object)
    names = list(getattr(X, "columns", [f"x{j}" for j in range(values.shape[-1])]))
    for i, j in np.ndindex(values.shape):
        try:
            float(values[i, j])
        except ValueError:
            return (
                f"Column {names[j]!r} holds {values[i, j]!r} in row {i}, which is not a number; "
                "encode the column (OrdinalEncoder, OneHotEncoder) or leave it out."
            )
        except TypeError:
            continue
    return "X holds values that are not numbers."
