"""The columns of a table on which imputers are evaluated, encoded as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._utils.quoting import listed
from ..tables.codecs import CODED, Codec
from ..tables.column_kinds import choose_codec
from ..tables.column_selection import missing_markers
from ..tables.columns import Column, is_missing, time_type
from ..tables.input_table import columns_and_names
from ..tables.schema import MODELLED_ROLES

Floats = NDArray[np.float64]


class EvaluatedColumns(NamedTuple):
    """The D modelled columns of a table that are no dates and hold two or more values."""

    names: list[Any]
    kinds: list[str]
    indices: list[int]  # of the columns in the table
    codecs: list[Codec]
    x: Floats  # (N, D)   numbers or codes of categories, NaN where missing
    row_labels: NDArray[Any]  # (N,)   index of a pandas frame, or positions
    output_names: list[Any]  # of the columns in the imputer's output, if that is an array

    def encode_output(self, table: Any) -> Floats:
        """Return these columns of a table that the imputer completed: (n, D)."""
        columns, names = columns_and_names(table)
        # missingness indicators may follow
        by_name = dict(zip(self.output_names if names is None else names, columns, strict=False))
        return self._encode([by_name[name] for name in self.names])

    def encode_sample(self, table: Any) -> Floats:
        """Return these columns of a table that the imputer sampled, with all columns: (n, D)."""
        columns, _ = columns_and_names(table)
        return self._encode([columns[j] for j in self.indices])

    def _encode(self, columns: Sequence[Column]) -> Floats:
        pairs = zip(self.codecs, columns, strict=True)
        return np.column_stack(
            [codec.encode(column, is_missing(column)) for codec, column in pairs]
        )

    def numeric_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of columns that are not categorical."""
        numeric = [d for d, codec in enumerate(self.codecs) if not codec.categories]
        return list(combinations(numeric, 2))


def evaluated_columns(imputer: Any, X: Any, method: str) -> EvaluatedColumns:
    """Return the columns of X to evaluate, for a fitted imputer that has the method."""
    if not hasattr(imputer, method):
        raise TypeError(
            f"imputer must have a method {method!r}, as imputers of skmissvae have; got "
            f"{type(imputer).__name__}. For a Pipeline, pass the step that is one."
        )
    check_is_fitted(imputer)
    report: pd.DataFrame = imputer.fit_report_
    columns, names = columns_and_names(X)
    fitted_names = list(report.index)
    if len(columns) != len(fitted_names) or names not in (None, fitted_names):
        expected = listed(fitted_names)
        got = f"{len(columns)} columns"
        if names is not None:
            got = f"columns {listed(names)}"
        raise ValueError(
            f"X has {got}, but imputer was fitted to columns {expected}. Pass the same columns in "
            "the same order."
        )
    markers = missing_markers(getattr(imputer, "missing_values", np.nan), fitted_names)
    indices, codecs, encoded = [], [], []
    for j in np.flatnonzero(report["role"].isin(MODELLED_ROLES)).tolist():
        column = columns[j]
        mask = is_missing(column, markers[j])
        if time_type(column, mask) is not None:
            continue
        kind = "categorical" if report["kind"].iloc[j] in CODED else "continuous"
        column_codec = choose_codec(str(fitted_names[j]), column, mask, kind)
        numbers = column_codec.encode(column, mask)
        if len(np.unique(numbers[~mask])) > 1:
            indices.append(j)
            codecs.append(column_codec)
            encoded.append(numbers)
    if not indices:
        raise ValueError(
            "X has no column to evaluate: no modelled column, apart from dates, has two different "
            "values. Pass more rows."
        )
    row_labels = np.asarray(X.index) if isinstance(X, pd.DataFrame) else np.arange(len(columns[0]))
    dropped = [] if getattr(imputer, "keep_empty_features", False) else ["empty"]
    return EvaluatedColumns(
        names=[fitted_names[j] for j in indices],
        kinds=report["kind"].iloc[indices].tolist(),
        indices=indices,
        codecs=codecs,
        x=np.column_stack(encoded),
        row_labels=row_labels,
        output_names=report.index[~report["role"].isin(dropped)].tolist(),
    )
