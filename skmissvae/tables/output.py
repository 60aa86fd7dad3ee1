"""Completed tables in the container and the data types of the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .codecs import Codec, Floats, Mask, columns_of
from .dataframes import fill, like
from .input_table import InputTable


def restore(
    source: InputTable,
    codecs: Sequence[Codec],
    numbers: Iterable[Floats],
    filled: Mask,
    kept: Sequence[int],
    extra: Mapping[str, np.ndarray],
    template: InputTable,
) -> Any:
    """Return the table with some cells filled: its container, index, order and types.

    Parameters
    ----------
    source : InputTable
        The table.
    codecs : sequence of Codec
        How numbers become cells.
    numbers : iterable of ndarray
        Of each kept column, a number for every cell of it that is filled.
    filled : ndarray of shape (n_samples, n_features)
        Which cells are filled.
    kept : sequence of int
        Columns that come back.
    extra : mapping of str to ndarray of shape (n_samples,)
        Columns to put beside them.
    template : InputTable
        The table at fit, whose types columns without any cell get.
    """
    if source.frame is None:
        words = any(isinstance(level, str) for j in kept for level in codecs[j].levels)
        table = np.empty((source.n_rows, len(kept)), object if words else source.dtype)
        for place, (j, found) in enumerate(zip(kept, numbers, strict=True)):
            table[:, place] = source.columns[j]
            table[filled[:, j], place] = codecs[j].decode(found)
        flags = [column[:, None].astype(table.dtype) for column in extra.values()]
        return np.hstack([table, *flags]) if flags else table
    columns = []
    for j, found in zip(kept, numbers, strict=True):
        column = source.columns[j]
        assert isinstance(column, nw.Series), "of a frame"
        at_fit = template.columns[j]
        known = at_fit if isinstance(at_fit, nw.Series) else None
        columns.append(fill(column, filled[:, j], codecs[j].decode(found), known))
    return _together(source, columns, extra)


def create(
    template: InputTable, codecs: Sequence[Codec], numbers: NDArray[np.float64], kept: Iterable[int]
) -> Any:
    """Return a table of numbers' cells, like the template: (n, n_features)."""
    kept = list(kept)
    if template.frame is None:
        table = np.empty((len(numbers), len(kept)), template.dtype)
        for place, j in enumerate(kept):
            table[:, place] = codecs[j].decode(numbers[:, j])
        return table
    describe_cells = columns_of(template.frame)
    columns = [like(describe_cells[j], codecs[j].decode(numbers[:, j])) for j in kept]
    return _together(template, columns, {})


def _together(source: InputTable, columns: list[Any], extra: Mapping[str, np.ndarray]) -> Any:
    assert source.frame is not None, "a frame"
    whole = nw.to_native(source.frame)
    if not isinstance(whole, pd.DataFrame):
        backend = source.frame.implementation
        flags = [nw.new_series(name, flag, backend=backend) for name, flag in extra.items()]
        # whole columns, whatever their type: from_dict makes nonsense of polars' objects
        return type(whole)([nw.to_native(column) for column in (*columns, *flags)])
    native = [nw.to_native(column) for column in columns]
    index = native[0].index if native else whole.index
    # by place: names of pandas' columns can be anything
    frame = pd.DataFrame(dict(enumerate([*native, *extra.values()])), index=index)
    frame.columns = pd.Index([*(column.name for column in native), *extra])
    if not extra and len(native) == whole.shape[1]:
        frame.columns = whole.columns
    return frame if source.dtype is None else frame.to_numpy(dtype=source.dtype)
