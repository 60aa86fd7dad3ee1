"""The sequence of completed tables that ``impute`` returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, overload

import narwhals as nw
import numpy as np
import pandas as pd
from narwhals.typing import IntoDataFrameT
from numpy.typing import NDArray

from .._utils.html import html_table
from .._utils.quoting import quoted
from ..tables.columns import as_frame
from ..tables.input_table import to_pandas

TableT = TypeVar("TableT")


class Imputations(Sequence[TableT]):
    """A lazy sequence of completed tables.

    Parameters
    ----------
    make : callable
        Returns the i-th table.
    indices : range
        Indices of the tables in the sequence.
    names : sequence of str
        Names of the columns, if the tables are arrays.
    n_imputed : sequence of int
        Number of imputed cells of each column.
    rejected : callable, optional
        Returns the share of rows whose first draw in the i-th table violates each constraint.
    """

    def __init__(
        self,
        make: Callable[[int], TableT],
        indices: range,
        names: Sequence[Any],
        n_imputed: Sequence[int],
        rejected: Callable[[int], Mapping[str, float]] | None = None,
    ) -> None:
        self._make, self._indices, self._names = make, indices, names
        self._n_imputed, self._rejected = n_imputed, rejected

    def __len__(self) -> int:
        """Return the number of tables."""
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> TableT: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> TableT | Self:
        """Return a table, which is the same in every call, or a shorter sequence."""
        chosen = self._indices[index]
        if isinstance(chosen, range):
            return type(self)(self._make, chosen, self._names, self._n_imputed, self._rejected)
        return self._make(chosen)

    def __iter__(self) -> Iterator[TableT]:
        """Yield the tables, one in memory at a time."""
        return (self._make(i) for i in self._indices)

    @overload
    def to_frame(self: "Imputations[NDArray[Any]]") -> pd.DataFrame: ...
    @overload
    def to_frame(self: "Imputations[IntoDataFrameT]") -> IntoDataFrameT: ...
    def to_frame(self) -> Any:
        """Return all tables in one frame, like ``complete(..., "long")`` of mice.

        Returns
        -------
        data frame
            The columns ``imputation`` (0, 1, ...) and ``row`` (the label of a pandas index, the
            position otherwise) before those of the tables. Arrays become pandas frames.
        """
        if not len(self):
            raise ValueError("There is no imputation; use n_imputations=1 or more.")
        frames: list[Any] = []
        for i, table in enumerate(self):
            native: Any = table
            if isinstance(table, np.ndarray):
                native = pd.DataFrame(table, columns=list(self._names))
            frame = nw.from_native(native, eager_only=True)
            for name in ("imputation", "row"):
                if name in frame.columns:
                    raise ValueError(
                        f"The table has a column {quoted(name)}, which to_frame adds; rename it."
                    )
            labels = native.index if isinstance(native, pd.DataFrame) else range(len(frame))
            index = {"imputation": np.full(len(frame), i), "row": np.asarray(labels)}
            if isinstance(native, pd.DataFrame):
                cells = native.reset_index(drop=True)
                frames.append(pd.concat([pd.DataFrame(index), cells], axis=1))
            else:
                before = nw.from_dict(index, backend=frame.implementation)
                frames.append(nw.concat([before, frame], how="horizontal"))
        if isinstance(frames[0], pd.DataFrame):
            return pd.concat(frames, ignore_index=True)
        return nw.to_native(nw.concat(frames))

    def rejected(self) -> pd.DataFrame:
        """Return the shares of rows whose draws violate the constraints of the imputer.

        These draws are rejected, and others take their place. A constraint that excludes many draws
        contradicts the model, or the table. Tables that were not made yet are made.

        Returns
        -------
        DataFrame
            A row for each imputation and a column for each constraint: the share of the incomplete
            rows whose first draw violates it.

        Raises
        ------
        ValueError
            If the imputer has no ``constraints``.
        """
        if self._rejected is None:
            raise ValueError(
                "No draws are rejected without constraints; set parameter 'constraints' of the "
                "imputer."
            )
        shares = [self._rejected(i) for i in self._indices]
        return pd.DataFrame(shares, index=pd.Index(self._indices, name="imputation"))

    def to_mids_frame(self, X: Any) -> pd.DataFrame:
        """Return the incomplete table and all imputations in the form that mice's as.mids reads.

        Write it with ``to_csv(path, index=False)``, and read it in R by
        ``as.mids(read.csv(path, check.names = FALSE, stringsAsFactors = TRUE, na.strings = ""))``.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            The table that was imputed.

        Returns
        -------
        DataFrame
            The columns ``.imp``, 0 for the incomplete table and then 1, 2, ..., and ``.id``, the
            label of a pandas index or otherwise 1, 2, ..., before those of the tables, without
            indicators.

        Raises
        ------
        ValueError
            If X is not the table that was imputed.

        See Also
        --------
        from_mids_frame : The other direction.
        """
        tables = [_as_pandas(table, self._names) for table in (X, *self)]
        columns = [name for name in tables[-1] if name in tables[0].columns]
        if len({len(table) for table in tables}) > 1 or len(self) == 0 or not columns:
            raise ValueError(
                f"X has {len(tables[0])} rows and {len(tables[0].columns)} columns, and is not the "
                "table that was imputed. Pass that table."
            )
        labels = tables[0].index
        if not isinstance(X, pd.DataFrame) or not labels.is_unique:
            labels = pd.RangeIndex(1, len(labels) + 1)
        frames = [
            table[columns].reset_index(drop=True).pipe(_with_keys, i, labels)
            for i, table in enumerate(tables)
        ]
        return pd.concat(frames, ignore_index=True)

    @classmethod
    def from_mids_frame(cls, frame: pd.DataFrame) -> "Imputations[pd.DataFrame]":
        """Return the imputations of a frame of mice, ``complete(imp, "long")``.

        In R write it by ``write.csv(complete(imp, "long"), path, row.names = FALSE)``.

        Parameters
        ----------
        frame : DataFrame
            With a column ``.imp``; rows with 0, the incomplete table, are left out. A column
            ``.id`` becomes the index.

        Returns
        -------
        Imputations
            The completed tables as pandas frames.

        Raises
        ------
        ValueError
            If there is no column ``.imp``, or imputations have different numbers of rows.

        Examples
        --------
        >>> import pandas as pd
        >>> from skmissvae import Imputations
        >>> long = pd.DataFrame({".imp": [1, 1, 2, 2], ".id": [1, 2, 1, 2], "x": [3, 4, 3, 5]})
        >>> [table["x"].tolist() for table in Imputations.from_mids_frame(long)]
        [[3, 4], [3, 5]]
        """
        if ".imp" not in frame.columns:
            raise ValueError("The frame has no column '.imp'. Pass complete(imp, 'long') of mice.")
        rest = frame[frame[".imp"] > 0]
        parts = [part.drop(columns=".imp") for _, part in rest.groupby(".imp", sort=True)]
        if len(sizes := {len(part) for part in parts}) != 1:
            raise ValueError(
                f"The imputations in column '.imp' have {sorted(sizes)} rows. Pass complete ones, "
                "each with the same number of rows."
            )
        has_id = ".id" in frame.columns
        tables = [p.set_index(".id") if has_id else p.reset_index(drop=True) for p in parts]
        if any(not table.index.equals(tables[0].index) for table in tables):
            raise ValueError(
                "The imputations have different values of '.id', or another order of them. Sort "
                "the frame by '.imp' and '.id'."
            )
        first, *others = tables
        differs = np.any([first.ne(table) for table in others or [first]], axis=0)

        def copied(i: int) -> pd.DataFrame:
            return tables[i].copy()

        return Imputations(copied, range(len(tables)), list(first), differs.sum(0).tolist())

    def __repr__(self) -> str:
        """Return the number of imputations."""
        return f"Imputations(n={len(self)})"

    def _repr_html_(self) -> str:
        """Return the number of imputed cells of each column; no table is computed."""
        counts = pd.DataFrame({"column": self._names, "imputed cells": self._n_imputed})
        return html_table(counts, f"{len(self)} imputations")


def _as_pandas(table: Any, names: Sequence[Any]) -> pd.DataFrame:
    """Return a table as a pandas frame, an array with names of its columns."""
    if isinstance(table, pd.DataFrame):
        return table
    if as_frame(table) is not None:
        frame: pd.DataFrame = to_pandas(table)
        return frame
    cells = np.asarray(table)
    n = cells.shape[1]
    columns = list(names) if len(names) == n else [f"x{j}" for j in range(n)]
    return pd.DataFrame(cells, columns=columns)


def _with_keys(frame: pd.DataFrame, i: int, labels: pd.Index) -> pd.DataFrame:
    """Insert the columns ``.imp`` and ``.id``."""
    for name in (".imp", ".id"):
        if name in frame.columns:
            raise ValueError(f"X has a column {name!r}, which to_mids_frame adds; rename it.")
    frame.insert(0, ".imp", i)
    frame.insert(1, ".id", labels)
    return frame
