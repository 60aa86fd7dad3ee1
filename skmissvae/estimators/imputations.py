"""The sequence of completed tables that ``impute`` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import narwhals as nw
import numpy as np
import pandas as pd


class Imputations(Sequence[Any]):
    """Completed tables, each made when it is asked for.

    Parameters
    ----------
    make : callable
        Returns the i-th table.
    places : range
        Which tables.
    names : sequence of str
        Names of the columns, for tables that have none.
    """

    def __init__(self, make: Callable[[int], Any], places: range, names: Sequence[Any]) -> None:
        self._make, self._places, self._names = make, places, names

    def __len__(self) -> int:
        """Return the number of tables."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Imputations: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a table, the same at every call, or a shorter sequence."""
        chosen = self._places[index]
        if isinstance(chosen, range):
            return Imputations(self._make, chosen, self._names)
        return self._make(chosen)

    def __iter__(self) -> Iterator[Any]:
        """Yield the tables, one in memory at a time."""
        return (self._make(i) for i in self._places)

    def to_frame(self) -> Any:
        """Return all tables below one another, as mice's ``complete(..., "long")`` does.

        Returns
        -------
        data frame
            The columns ``imputation`` (0, 1, ...) and ``row`` (the label of a pandas index, the
            position otherwise) before those of the tables. Arrays become pandas frames.
        """
        if not len(self):
            raise ValueError("There is no imputation to make a frame of.")
        pieces = []
        for i, table in enumerate(self):
            native = table
            if isinstance(table, np.ndarray):
                native = pd.DataFrame(table, columns=list(self._names))
            frame = nw.from_native(native, eager_only=True)
            taken = [name for name in ("imputation", "row") if name in frame.columns]
            if taken:
                raise ValueError(
                    f"The table has a column {taken[0]!r} of its own; rename it to get a frame of "
                    "all imputations."
                )
            labels = native.index if isinstance(native, pd.DataFrame) else range(len(frame))
            index = {"imputation": np.full(len(frame), i), "row": np.asarray(labels)}
            if isinstance(native, pd.DataFrame):
                cells = native.reset_index(drop=True)
                pieces.append(pd.concat([pd.DataFrame(index), cells], axis=1))
            else:
                before = nw.from_dict(index, backend=frame.implementation)
                pieces.append(nw.concat([before, frame], how="horizontal"))
        if isinstance(pieces[0], pd.DataFrame):
            return pd.concat(pieces, ignore_index=True)
        return nw.to_native(nw.concat(pieces))

    def __repr__(self) -> str:
        """Return what it is."""
        return f"Imputations(n={len(self)})"
