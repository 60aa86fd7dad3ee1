"""Digests of the rows of a table, in any container."""

from collections.abc import Sequence
from hashlib import blake2b
from numbers import Real
from typing import Any

import numpy as np

from ..tables.columns import Column, is_missing, to_objects


def row_digests(columns: Sequence[Column]) -> np.ndarray:
    """Return a digest of the cells of each row, independent of column types: (n_samples,)."""
    cells = []
    for column in columns:
        values = to_objects(column)
        values[is_missing(column, np.nan)] = None
        cells.append(map(_normalise, values))
    rows = zip(*cells, strict=True)
    return np.array([blake2b(repr(row).encode(), digest_size=16).hexdigest() for row in rows])


def _normalise(cell: Any) -> Any:
    """Return numbers as floats: whether a cell is 1, 1.0 or True depends on the column's type."""
    return float(cell) if isinstance(cell, Real) and float(cell) == cell else cell
