"""Completed tables, and what is needed to make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._columns import Rows, Table
from ._frames import Dates, Mask
from ._input import Cells, Source, restore

_AT_ONCE = 20_000  # rows that are put into the table at a time


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


class Task(NamedTuple):
    """A table to complete."""

    schema: Table
    source: Source
    cells: Cells
    rows: Rows
    wanted: Mask  # (N, n_features)   cells to impute
    extra: dict[str, np.ndarray]  # columns to put beside the others
    template: Source  # the table at fit
    bounds: tuple[np.ndarray, np.ndarray]  # of each column, in its units
    keys: NDArray[np.uint64]  # (N,)   of each row's noise

    @property
    def todo(self) -> NDArray[np.intp]:
        """Rows in which something is to be imputed."""
        return np.flatnonzero(self.wanted.any(1))

    def table(self, x: np.ndarray) -> Any:
        """Return the completed table: values of modelled columns, in the model's units.

        Those of the rows to do: (n_todo, D).
        """
        schema, cells = self.schema, self.cells
        numbers: np.ndarray = np.empty_like(cells.values)
        todo = self.todo
        # units may round a number over its bound
        inside = np.isin(schema.treatment, ("modelled", "copy"))
        bounds = (np.where(inside, bound, np.nan) for bound in self.bounds)
        low, high = (bound.astype(numbers.dtype) for bound in bounds)
        for start in range(0, len(numbers), _AT_ONCE):  # in the memory of a few rows
            part = slice(start, start + _AT_ONCE)
            first, last = np.searchsorted(todo, (part.start, part.stop))
            full = np.zeros(self.rows.x[part].shape)
            full[todo[first:last] - start] = x[first:last]
            made = schema.decode(full, cells.values[part], cells.observed[part])
            numbers[part] = np.fmin(np.fmax(made, low), high)
        return restore(
            self.source,
            schema.codecs,
            numbers,
            self.wanted,
            schema.kept,
            self.extra,
            self.template,
        )


def describe(
    task: Task,
    stats: NDArray[np.float64],
    chances: NDArray[np.float64],
    levels: Sequence[Sequence[Any]],
    statistics: Sequence[str],
    names: Sequence[Any],
) -> pd.DataFrame:
    """Return a line per wanted cell of numbers, and one per level of other wanted cells.

    Parameters
    ----------
    task : Task
        The table.
    stats : ndarray of shape (n_todo, D, n_statistics)
        Of cells of numbers, in the model's units; the second is a spread, the others are places.
    chances : ndarray of shape (n_todo, D, n_levels)
        Probabilities of levels.
    levels : sequence of sequences
        Levels of each modelled column, none where it is one of numbers.
    statistics, names : sequence of str
        Names of the statistics and of the table's columns.
    """
    schema, todo = task.schema, task.todo
    place = {int(j): d for d, j in enumerate(schema.modelled)}
    place |= {copy: place[source] for copy, source in schema.copies.items()}
    labels = _row_labels(task.source)
    found = []
    for j, d in place.items():
        rows = np.flatnonzero(task.wanted[todo, j])
        codec = schema.codecs[j]
        # the cell of a copy whose original is seen
        known = rows[task.rows.observed[todo[rows], d]]
        value = task.rows.x[todo[known], d]
        stats[known, d], stats[known, d, 1] = value[:, None], 0.0
        if levels[d]:
            chances[known, d] = value[:, None] == np.arange(chances.shape[-1])
        n_lines = max(1, len(levels[d]))
        lines: dict[str, Any] = {
            "row": np.repeat(labels[todo[rows]], n_lines),
            "column": names[j],
            "kind": codec.kind,
        }
        if levels[d]:
            lines["level"] = list(levels[d]) * len(rows)
            lines["probability"] = chances[rows, d, :n_lines].ravel()
        else:
            values = schema.location[d] + schema.scale[d] * stats[rows, d]
            # calibration may move quantiles beyond what there can be
            low, high = schema.limits(d)
            ends = max(low, task.bounds[0][j]), min(high, task.bounds[1][j])
            values[:, 2:] = values[:, 2:].clip(*ends)
            values[:, 1] = schema.scale[d] * stats[rows, d, 1]
            for s, statistic in enumerate(statistics):
                lines[statistic] = values[:, s]
                if isinstance(codec, Dates):
                    units = codec.spans if s == 1 else codec.decode
                    lines[statistic] = units(values[:, s])
                elif codec.whole and s >= 2:  # quantiles are values, means are not
                    lines[statistic] = np.rint(values[:, s]) + 0.0
        frame = pd.DataFrame(lines)
        frame["_place"] = np.repeat(todo[rows], n_lines)
        frame["_column"] = j
        found.append(frame)
    columns = ["row", "column", "kind", "level", "probability", *statistics]
    if not sum(map(len, found)):
        return pd.DataFrame(columns=columns)
    told = pd.concat([frame for frame in found if len(frame)])
    told = told.sort_values(["_place", "_column"], kind="stable", ignore_index=True)
    return told.reindex(columns=columns)


def _row_labels(source: Source) -> NDArray[Any]:
    """Return the labels of a pandas index, or positions."""
    native = None if source.frame is None else nw.to_native(source.frame)
    if isinstance(native, pd.DataFrame) and source.dtype is None:
        return np.asarray(native.index)
    return np.arange(source.n_rows)


def row_keys(row_ids: Any, n_rows: int) -> NDArray[np.uint64]:
    """Return the keys of rows' noise: their positions, or their own identifiers.

    Parameters
    ----------
    row_ids : array-like of int or str of shape (n_rows,) or None
        Identifiers; whole numbers from zero on are those of positions.
    n_rows : int
        Number of rows.
    """
    if row_ids is None:
        return np.arange(n_rows, dtype=np.uint64)
    ids = pd.Index(row_ids, tupleize_cols=False)
    if ids.ndim != 1 or len(ids) != n_rows:
        raise ValueError(
            f"row_ids must have one entry for each of the {n_rows} rows; got {len(ids)}."
        )
    if ids.hasnans:
        raise ValueError(
            f"row_ids must not be missing; that of row {int(np.argmax(ids.isna()))} is."
        )
    twice = ids[ids.duplicated()]
    if len(twice):
        raise ValueError(
            "row_ids must differ, or rows would share their draws; "
            f"{twice.tolist()[0]!r} is there twice."
        )
    if pd.api.types.is_integer_dtype(ids):
        return ids.to_numpy().astype(np.int64 if ids.min() < 0 else np.uint64).view(np.uint64)
    return pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False)
