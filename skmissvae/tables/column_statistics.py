"""Statistics of single columns, and the search for copies among columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codecs import Codec, Floats, Mask

_ROUNDING = 2  # units of the last place by which one value can seem several


_ALIKE = 20.0  # rows, and nats that the cells of both must tell, before two columns are copies


_COMPARED = 64  # rows that tell most columns apart before whole ones are compared


FEW_CODES = 10  # whole numbers that may be codes


_ENOUGH_CELLS = 50  # cells of a column, of which a hundredth can be told


_FEWEST_CELLS, _MOST_BY_ONE = 10, 0.9  # of fewer, one of which must make more


_QUARTILES = 1.349  # standard deviations between those of a Normal


def most_frequent(values: NDArray[np.floating]) -> float:
    """Return the most frequent value, the middle one of those that are equally so."""
    found, counts = np.unique(values, return_counts=True)
    most = found[counts == counts.max()]
    return float(most[(len(most) - 1) // 2])


def find_copies(
    X: Floats, observed: Mask, varies: NDArray[np.intp], codecs: Sequence[Codec]
) -> dict[int, int]:
    """Return the columns that equal an earlier one wherever both are seen, mostly together."""
    found: dict[int, int] = {}
    part = np.linspace(0, len(X) - 1, min(len(X), _COMPARED)).astype(int)
    few, few_seen = X[part], observed[part]
    for place, j in enumerate(varies):
        earlier = np.array([i for i in varies[:place] if i not in found], dtype=int)
        differ = (few[:, earlier] != few[:, [j]]) & few_seen[:, earlier] & few_seen[:, [j]]
        for i in earlier[~differ.any(0)]:
            both = observed[:, i] & observed[:, j]
            enough = both.sum() >= max(0.5 * (observed[:, i] | observed[:, j]).sum(), _ALIKE)
            alike = codecs[i].kind == codecs[j].kind and codecs[i].levels == codecs[j].levels
            same = enough and alike and (X[both, i] == X[both, j]).all()
            if same and both.sum() * _entropy(X[both, i]) >= _ALIKE:  # and not by chance
                found[int(j)] = int(i)
                break
    return found


def _entropy(values: NDArray[np.floating]) -> float:
    """Return the entropy of the values' frequencies, in nats."""
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log(share)).sum())


def far_share_of(x: NDArray[np.float64]) -> float:
    """Return the share of the sum of squares that the farthest 1% of the cells make, or one."""
    if len(x) < _FEWEST_CELLS:
        return 0.0
    squares = np.sort(x**2)
    share = float(squares[-math.ceil(0.01 * len(x)) :].sum() / squares.sum())
    return share if len(x) >= _ENOUGH_CELLS or share > _MOST_BY_ONE else 0.0


def has_one_value(a: Floats, b: Floats, dtype: Any) -> Mask:
    """Tell which values are one but for rounding."""
    size = np.nan_to_num(np.maximum(np.abs(a), np.abs(b)), posinf=0.0)
    unit = np.spacing(size.astype(dtype)).astype(np.float64)
    # halves: their difference is in range whatever the units
    return np.asarray(np.abs(0.5 * b - 0.5 * a) <= 0.5 * _ROUNDING * unit)


def middle_half(x: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median, and the deviation that a Normal with the same middle half would have.

    Where that half is a pile of a value they are those of the other cells.
    """
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    if low == high:
        values, counts = np.unique(x, return_counts=True)
        rest = x[x != values[counts.argmax()]]
        low, middle, high = np.quantile(rest, [0.25, 0.5, 0.75]) if len(rest) else (low,) * 3
    return float(middle), float(high - low) / _QUARTILES
