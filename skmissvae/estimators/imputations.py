"""The sequence of completed tables that ``impute`` returns."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar, overload

import narwhals as nw
import numpy as np
import pandas as pd
from narwhals.typing import IntoDataFrameT
from numpy.typing import NDArray

from .._utils.html import html_table
from .._utils.quoting import quoted

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
    """

    def __init__(
        self,
        make: Callable[[int], TableT],
        indices: range,
        names: Sequence[Any],
        n_imputed: Sequence[int],
    ) -> None:
        self._make, self._indices, self._names = make, indices, names
        self._n_imputed = n_imputed

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
            return type(self)(self._make, chosen, self._names, self._n_imputed)
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

    def __repr__(self) -> str:
        """Return the number of imputations."""
        return f"Imputations(n={len(self)})"

    def _repr_html_(self) -> str:
        """Return the number of imputed cells of each column; no table is computed."""
        counts = pd.DataFrame({"column": self._names, "imputed cells": self._n_imputed})
        return html_table(counts, f"{len(self)} imputations")
