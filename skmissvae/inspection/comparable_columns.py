"""The columns of tables that checks judge imputers by."""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..tables.codecs import CODED, Codec
from ..tables.column_kinds import choose_codec
from ..tables.columns import column_type, is_missing, is_time, missing_marker
from ..tables.dataframes import columns_and_names
from ..tables.schema import MODELLED_ROLES

Floats = NDArray[np.float64]


class ComparableTable(NamedTuple):
    """The columns of a table that can be judged."""

    names: list[Any]
    kinds: list[str]
    places: list[int]  # in the table
    codecs: list[Codec]
    x: Floats  # (N, D)   codes of levels, NaN where missing
    labels: NDArray[Any]  # (N,)   of the rows
    made: list[Any]  # columns of the arrays that the imputer makes

    def read(self, made: Any) -> Floats:
        """Return these columns of a table that the imputer made, (n, D)."""
        columns, names = columns_and_names(made)
        # indicators may follow
        found = dict(zip(self.made if names is None else names, columns, strict=False))
        pairs = zip(self.codecs, [found[name] for name in self.names], strict=True)
        return np.column_stack(
            [one.encode(column, is_missing(column, np.nan)) for one, column in pairs]
        )

    def pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of columns of numbers."""
        return list(combinations([d for d, one in enumerate(self.codecs) if not one.categories], 2))


def comparable_table(imputer: Any, X: Any, method: str) -> ComparableTable:
    """Return what can be judged of a table by an imputer that has the method."""
    if not hasattr(imputer, method):
        raise TypeError(
            f"imputer must have a method {method!r}, as those of skmissvae have; got "
            f"{type(imputer).__name__}. Of a Pipeline give the step that is one."
        )
    check_is_fitted(imputer)
    report: pd.DataFrame = imputer.fit_report_
    columns, names = columns_and_names(X)
    known = list(report.index)
    if len(columns) != len(known) or names not in (None, known):
        raise ValueError(
            f"X has the columns {list(range(len(columns))) if names is None else names}, but "
            f"imputer was fitted to {known}; give these, in their order."
        )
    marker = missing_marker(getattr(imputer, "missing_values", np.nan))
    kept, codecs, cells = [], [], []
    for j in np.flatnonzero(report["role"].isin(MODELLED_ROLES)).tolist():
        column = columns[j]
        if not isinstance(column, np.ndarray) and is_time(column_type(column)):
            continue
        holes, coded = is_missing(column, marker), report["kind"].iloc[j] in CODED
        one = choose_codec(str(known[j]), column, holes, "categorical" if coded else "continuous")
        numbers = one.encode(column, holes)
        if len(np.unique(numbers[~holes])) > 1:
            kept.append(j)
            codecs.append(one)
            cells.append(numbers)
    if not kept:
        raise ValueError(
            "X has no column to judge: none that the imputer models, dates aside, holds two "
            "different values. Give more rows."
        )
    labels = np.asarray(X.index) if isinstance(X, pd.DataFrame) else np.arange(len(columns[0]))
    dropped = [] if getattr(imputer, "keep_empty_features", False) else ["empty"]
    return ComparableTable(
        names=[known[j] for j in kept],
        kinds=report["kind"].iloc[kept].tolist(),
        places=kept,
        codecs=codecs,
        x=np.column_stack(cells),
        labels=labels,
        made=report.index[~report["role"].isin(dropped)].tolist(),
    )
