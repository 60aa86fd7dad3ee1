"""Statistics of single columns, and the search for copies among columns."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from .._utils.numerics import is_point_mass
from .codecs import Codec
from .columns import FIRST_INEXACT_INTEGER, Column, Floats, Mask, have_equal_cells

#: Share of a column's variance from its farthest 1% of cells, above which it is reported.
HIGH_TAIL_SHARE = 0.5


_ROUNDING = 2  # units in the last place by which equal values may differ


# Rows in which both columns are observed, and nats of information in them, that copies need.
_MIN_EVIDENCE = 20.0


_N_COMPARED = 64  # rows compared first: enough to rule out most pairs of columns


_MIN_CELLS = 50  # cells of a column whose farthest 1% is a meaningful share


# Columns of fewer cells, but at least so many, have a tail share if it is above the limit.
_MIN_CELLS_OF_OUTLIER, _MIN_OUTLIER_SHARE = 10, 0.9


# Share of a continuous column's cells at or above which its minimum or maximum is a point mass.
_POINT_MASS_SHARE = 0.2


_QUARTILE_RANGE = 1.349  # interquartile range of a Normal in standard deviations


_MAX_CELLS = 2000  # of a column: more hardly change the four parameters of a marginal transform


def most_frequent(values: NDArray[np.floating]) -> float:
    """Return the most frequent value; among ties, the middle one."""
    distinct, counts = np.unique(values, return_counts=True)
    modes = distinct[counts == counts.max()]
    return float(modes[(len(modes) - 1) // 2])


def find_copies(
    X: Floats,
    observed: Mask,
    varies: NDArray[np.intp],
    codecs: Sequence[Codec],
    columns: Sequence[Column],
) -> dict[int, int]:
    """Return pairs of a column and an earlier one of which it is a copy.

    Copies agree in all rows in which both are observed. These must be half of the rows in which
    either is, and so many that agreement by chance can be ruled out.

    Parameters
    ----------
    X : ndarray of shape (N, n_features)
        The table.
    observed : ndarray of shape (N, n_features)
        Mask of its observed cells.
    varies : ndarray of int
        Positions of the columns to compare.
    codecs : sequence of Codec
        Codec of each column.
    columns : sequence of Series or ndarray
        Cells of each column, in which large integers are exact.
    """
    copies: dict[int, int] = {}
    sample = np.linspace(0, len(X) - 1, min(len(X), _N_COMPARED)).astype(int)
    X_sample, observed_sample = X[sample], observed[sample]
    for place, j in enumerate(varies):
        earlier = np.array([i for i in varies[:place] if i not in copies], dtype=int)
        differ = X_sample[:, earlier] != X_sample[:, [j]]
        differ &= observed_sample[:, earlier] & observed_sample[:, [j]]
        for i in earlier[~differ.any(0)]:
            both = observed[:, i] & observed[:, j]
            either = observed[:, i] | observed[:, j]
            is_enough = both.sum() >= max(0.5 * either.sum(), _MIN_EVIDENCE)
            same_type = (
                codecs[i].kind == codecs[j].kind and codecs[i].categories == codecs[j].categories
            )
            is_equal = is_enough and same_type and (X[both, i] == X[both, j]).all()
            if is_equal and np.abs(X[both, i]).max() >= FIRST_INEXACT_INTEGER:
                is_equal = have_equal_cells(columns[i], columns[j], both)
            if is_equal and both.sum() * _entropy(X[both, i]) >= _MIN_EVIDENCE:
                copies[int(j)] = int(i)
                break
    return copies


def _entropy(values: NDArray[np.floating]) -> float:
    """Return the entropy of the values' frequencies, in nats."""
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log(share)).sum())


def tail_share(x: NDArray[np.float64]) -> float:
    """Return the share of the sum of squares from the largest 1% of cells, at least one cell.

    Short columns have a share of 0, unless it is close to 1.
    """
    if len(x) < _MIN_CELLS_OF_OUTLIER:
        return 0.0
    squares = np.sort(x**2)
    share = float(squares[-math.ceil(0.01 * len(x)) :].sum() / squares.sum())
    return share if len(x) >= _MIN_CELLS or share > _MIN_OUTLIER_SHARE else 0.0


def equal_up_to_rounding(a: Floats, b: Floats, dtype: Any) -> Mask:
    """Return which values are equal up to rounding errors of a type."""
    size = np.nan_to_num(np.maximum(np.abs(a), np.abs(b)), posinf=0.0)
    unit = np.spacing(size.astype(dtype)).astype(np.float64)
    # differences of halves do not overflow
    return np.asarray(np.abs(0.5 * b - 0.5 * a) <= 0.5 * _ROUNDING * unit)


def mean_std(x: NDArray[np.float64], weight: NDArray[np.float64] | None) -> tuple[float, float]:
    """Return mean and standard deviation, with weights of the cells if there are some."""
    if weight is None:
        return float(x.mean()), float(x.std())
    mean = float(np.average(x, weights=weight))
    return mean, math.sqrt(np.average((x - mean) ** 2, weights=weight))


def equally_weighted(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return as many cells with equal weights: quantiles of cells with the given weights.

    With equal weights they are the sorted cells.
    """
    order = np.argsort(x, kind="stable")
    total = np.cumsum(weight[order])
    levels = (np.arange(len(x)) + 0.5) / len(x) * total[-1]
    result: NDArray[np.float64] = x[order][np.searchsorted(total, levels)]
    return result


def robust_location_scale(x: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median and the standard deviation of a Normal with the same quartiles.

    If the quartiles are equal, they are computed without the most frequent value.
    """
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    if low == high:
        values, counts = np.unique(x, return_counts=True)
        rest = x[x != values[counts.argmax()]]
        low, middle, high = np.quantile(rest, [0.25, 0.5, 0.75]) if len(rest) else (low,) * 3
    return float(middle), float(high - low) / _QUARTILE_RANGE


def find_point_mass(
    x: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> tuple[float, float] | None:
    """Return the most frequent value and its share of the cells, if it is a point mass.

    It is one if it is the smallest or largest value, makes up a fifth of the cells, and differs
    from all other values in the model's precision.
    """
    values, which = np.unique(x, return_inverse=True)
    counts = np.bincount(which, weight)
    i = int(counts.argmax())
    share, single = float(counts[i] / counts.sum()), torch.from_numpy(values).float()
    is_end = i in (0, len(values) - 1)
    is_distinct = is_point_mass(single, single[i]).sum() == 1
    is_frequent = share >= _POINT_MASS_SHARE
    return (float(values[i]), share) if is_end and is_distinct and is_frequent else None


def fit_sinh_arcsinh(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the sinh-arcsinh transform by which a column is most nearly standard Normal.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Observed cells, standardised.

    Returns
    -------
    tuple of float
        Parameters of ``SinhArcsinh``, by maximum likelihood.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if len(x) > _MAX_CELLS:  # quantiles
        x = x[np.linspace(0, len(x) - 1, _MAX_CELLS).round().astype(int)]

    def loss(theta: NDArray[np.float64]) -> float:
        shift, log_unit, skew, log_tail = theta
        u = (x - shift) * np.exp(-log_unit)
        inner = np.exp(log_tail) * np.arcsinh(u) - skew
        size = np.abs(inner)
        log_cosh = size + np.log1p(np.exp(-2 * size)) - math.log(2)
        log_density = -0.5 * np.sinh(np.clip(inner, -30, 30)) ** 2
        log_density += log_cosh + log_tail - log_unit - 0.5 * np.log1p(u * u)
        # a weak penalty towards the identity, since short columns determine their shape poorly
        return float(-log_density.mean() + 0.5 * (skew**2 + log_tail**2) / len(x))

    result = optimize.minimize(
        loss,
        np.array([np.median(x), 0.0, 0.0, 0.0]),
        method="L-BFGS-B",
        bounds=[(-3, 3), (-4, 3), (-4, 4), (-2, 1)],
    )
    return tuple(result.x.tolist())
