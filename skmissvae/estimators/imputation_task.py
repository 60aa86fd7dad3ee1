"""Completed tables, and what is needed to make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from .._utils.random import KeyedNoise
from ..tables.codecs import Dates
from ..tables.columns import Floats, Mask
from ..tables.input_table import InputTable, NumericTable
from ..tables.output import complete_table
from ..tables.reader import TableReader, row_slices
from ..tables.schema import MODELLED_ROLES, EncodedRows


class RowBlock(NamedTuple):
    """Some rows of a table to complete."""

    start: int  # position of the first
    cells: NumericTable
    rows: EncodedRows
    wanted: Mask  # (N, n_features)   cells to impute
    keys: NDArray[np.uint64]  # (N,)   of each row's noise

    @property
    def todo(self) -> NDArray[np.intp]:
        """Rows in which something is to be imputed."""
        return np.flatnonzero(self.wanted.any(1))

    def noise(self, seed: int, rows: Sequence[int], device: torch.device) -> KeyedNoise:
        """Return noise of rows, whatever their company."""
        return KeyedNoise(seed, self.keys[rows].tolist(), device=device)


class ImputationTask:
    """A table to complete, read some rows at a time, and anew each time that it is gone through.

    All of it is read once before anything is made of it, so that what is wrong comes out; of few
    rows that is kept.

    Parameters
    ----------
    reader : TableReader
        How it is read.
    source : InputTable
        The table.
    asked : ndarray of shape (n_samples, n_features) or (n_features,), optional
        Cells to impute, or columns whose holes are; all holes without it.
    keys : ndarray of shape (n_samples,)
        Those of each row's noise.
    bounds : tuple of ndarray of shape (n_features,)
        Least and greatest values, in the table's units.
    template : InputTable
        The table at fit.
    flags : callable
        Returns columns to put beside the others, for the holes of some rows.
    """

    def __init__(
        self,
        reader: TableReader,
        source: InputTable,
        asked: Mask | None,
        keys: NDArray[np.uint64],
        bounds: tuple[np.ndarray, np.ndarray],
        template: InputTable,
        flags: Callable[[Mask], dict[str, np.ndarray]],
    ) -> None:
        self.reader, self.source, self.template = reader, source, template
        self.bounds, self._asked, self._keys = bounds, asked, keys
        self._fillable = reader.schema.fillable()
        self._places, self._only = row_slices(source.n_rows), None
        #: Cells to impute.
        self.wanted = np.empty((source.n_rows, len(reader.schema.names)), dtype=bool)
        beside = []
        for part, place in zip(self.parts(), self._places, strict=True):
            self.wanted[place] = part.wanted
            beside.append(flags(part.cells.missing))
            if len(self._places) == 1:
                self._only = part
        self._flags = {name: np.concatenate([one[name] for one in beside]) for name in beside[0]}

    def parts(self) -> Iterator[RowBlock]:
        """Yield the table, some rows at a time."""
        return (self._only or self._read(place) for place in self._places)

    def whole(self) -> RowBlock:
        """Return the table as one part."""
        return self._only or self._read(slice(0, self.source.n_rows))

    def _read(self, place: slice) -> RowBlock:
        cells = self.reader.cells(self.source.part(place), place.start)
        if self._asked is None or self._asked.ndim == 1:
            wanted = cells.missing & (True if self._asked is None else self._asked)
        else:
            wanted = self._asked[place]
            cells = cells._replace(observed=cells.observed & ~wanted)
        wanted = wanted & self._fillable
        rows = self.reader.rows(cells, place.start)
        return RowBlock(place.start, cells, rows, wanted, self._keys[place])

    def numbers(self, part: RowBlock, x: np.ndarray) -> list[Floats]:
        """Return a number for each wanted cell of each kept column.

        Parameters
        ----------
        part : RowBlock
            Some rows.
        x : ndarray of shape (n_todo, D)
            Values of the modelled columns of those to do, in the model's units.
        """
        schema, todo = self.reader.schema, part.todo
        made = schema.decode(x, part.cells.values[todo], part.cells.observed[todo])
        # units may round a number over its bound
        inside = np.isin(schema.roles, MODELLED_ROLES)
        low, high = (np.where(inside, edge, np.nan).astype(made.dtype) for edge in self.bounds)
        made, wanted = np.fmin(np.fmax(made, low), high), part.wanted[todo]
        return [made[wanted[:, j], j] for j in schema.output_columns]

    def table(self, numbers: Sequence[Sequence[Floats]]) -> Any:
        """Return the completed table: those that ``numbers`` returned of each part."""
        schema = self.reader.schema
        found = map(np.concatenate, zip(*numbers, strict=True))  # a column at a time
        kept = schema.output_columns.tolist()
        return complete_table(
            self.source, schema.codecs, found, self.wanted, kept, self._flags, self.template
        )


def describe(
    task: ImputationTask,
    part: RowBlock,
    stats: NDArray[np.float64],
    chances: NDArray[np.float64],
    levels: Sequence[Sequence[Any]],
    statistics: Sequence[str],
    names: Sequence[Any],
) -> pd.DataFrame:
    """Return a line per wanted cell of numbers, and one per level of other wanted cells.

    Parameters
    ----------
    task : ImputationTask
        The table.
    part : RowBlock
        The whole of it.
    stats : ndarray of shape (n_todo, D, n_statistics)
        Of cells of numbers, in the model's units; the second is a spread, the others are places.
    chances : ndarray of shape (n_todo, D, n_levels)
        Probabilities of levels.
    levels : sequence of sequences
        Levels of each modelled column, none where it is one of numbers.
    statistics, names : sequence of str
        Names of the statistics and of the table's columns.
    """
    schema, todo = task.reader.schema, part.todo
    place = {int(j): d for d, j in enumerate(schema.modelled)}
    place |= {copy: place[source] for copy, source in schema.copies.items()}
    labels = _row_labels(task.source)
    found = []
    for j, d in place.items():
        rows = np.flatnonzero(part.wanted[todo, j])
        codec = schema.codecs[j]
        # the cell of a copy whose original is seen
        known = rows[part.rows.observed[todo[rows], d]]
        value = part.rows.x[todo[known], d]
        stats[known, d], stats[known, d, 1] = value[:, None], 0.0
        if levels[d]:
            chances[known, d] = value[:, None] == np.arange(chances.shape[-1])
        n_lines = max(1, len(levels[d]))
        lines: dict[str, Any] = {
            "row": np.repeat(labels[todo[rows]], n_lines),
            "column": pd.Series([names[j]] * (n_lines * len(rows)), dtype=object),
            "kind": codec.kind,
        }
        if levels[d]:
            lines["level"] = list(levels[d]) * len(rows)
            lines["probability"] = chances[rows, d, :n_lines].ravel()
        else:
            values = schema.to_table_units(d, stats[rows, d])
            # calibration may move quantiles beyond what there can be
            low, high = schema.limits(d)
            ends = max(low, task.bounds[0][j]), min(high, task.bounds[1][j])
            values[:, 2:] = values[:, 2:].clip(*ends)
            values[:, 1] = schema.scale[d] * stats[rows, d, 1]
            for s, statistic in enumerate(statistics):
                lines[statistic] = values[:, s]
                if isinstance(codec, Dates):
                    units = codec.durations if s == 1 else codec.decode
                    told: Any = units(values[:, s])
                    if codec.time_zone and s != 1 and len(told):
                        told = pd.DatetimeIndex(told).tz_convert(codec.time_zone)
                    lines[statistic] = told
                elif codec.is_integer and s >= 2:  # quantiles are values, means are not
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


def _row_labels(source: InputTable) -> NDArray[Any]:
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
    if isinstance(row_ids, (str, bytes)) or not np.iterable(row_ids):
        raise ValueError(
            f"row_ids must have one entry for each of the {n_rows} rows, such as X[name] or "
            f"X.index; got {row_ids!r}."
        )
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
