"""Rubin's rules in numbers: moments, degrees of freedom and F tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

Values = Any  # a float, or a Series where the names of several quantities are known, or an array


Matrix = Any  # the same of (p, p) numbers: a DataFrame or an array


SINGULAR = 1e-12  # least eigenvalue of the correlations of columns that differ


class PooledTest(NamedTuple):
    """A test pooled over imputations, in an F distribution.

    Parameters
    ----------
    statistic : float
        The pooled statistic.
    df1, df2 : float
        Degrees of freedom of its numerator and denominator.
    p_value : float
        Probability of a greater statistic where the hypothesis is true.
    riv : float
        Average relative increase in variance due to the missing values.

    Examples
    --------
    >>> from skmissvae import pool_wald
    >>> pool_wald([5.8, 7.2, 6.1, 8.5], 3)
    F(3, 342.2) = 2.054, p = 0.1061, riv = 0.06611
    """

    statistic: float
    df1: float
    df2: float
    p_value: float
    riv: float

    def __repr__(self) -> str:
        return (
            f"F({self.df1:g}, {self.df2:.4g}) = {self.statistic:.4g}, "
            f"p = {self.p_value:.4g}, riv = {self.riv:.4g}"
        )


def _are_named(values: Any) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) > 0
        and all(isinstance(item, (pd.Series, pd.DataFrame)) for item in values)
    )


def _numbers(values: Any, names: pd.Index | None, what: str) -> np.ndarray:
    """Return an array with the quantities in the order of their names."""
    if names is not None and isinstance(values, (pd.Series, pd.DataFrame)):
        values = _aligned(values, [values.ndim - 1], names, what)
    elif _are_named(values):
        values = [_aligned(item, range(item.ndim), names, what) for item in values]
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be numbers, as many in every imputation: {error}") from error


def _aligned(item: Any, axes: Iterable[int], names: Any, what: str) -> np.ndarray:
    for axis in axes:
        found = item.axes[axis]
        if not found.is_unique or set(found) != set(names):
            raise ValueError(
                f"{what} must name the same quantities throughout, each once; got {list(found)} "
                f"beside {list(names)}. Rename them, or give arrays."
            )
        item = item.reindex(names, axis=axis)
    return item.to_numpy()


def _named(values: np.ndarray, names: pd.Index | None) -> Any:
    if values.ndim == 0 or names is None:
        return values if values.ndim else values.item()
    if values.ndim == 1:
        return pd.Series(values, index=names)
    return pd.DataFrame(values, index=names, columns=names)


def _check(q: np.ndarray, u: np.ndarray) -> None:
    if q.ndim not in (1, 2) or 0 in q.shape[1:]:
        raise ValueError(
            f"estimates must have shape (m,) or (m, p), imputations first; got shape {q.shape}."
        )
    if len(q) < 2:
        raise ValueError(
            f"estimates must come from two or more imputations; got {len(q)}, which tell nothing "
            "of the variance between them."
        )
    shapes = [q.shape, q.shape + q.shape[1:]][: q.ndim]
    if u.shape not in shapes:
        raise ValueError(
            f"variances must have shape {' or '.join(map(str, shapes))} for estimates of shape "
            f"{q.shape}; got {u.shape}."
        )
    check_finite(q, "estimates")
    check_finite(u, "variances")
    diagonal = u if u.ndim < 3 else np.diagonal(u, axis1=1, axis2=2)
    if (diagonal < 0).any():
        raise ValueError(
            f"variances must be 0 or more; got {diagonal.min()}. They are squared standard errors."
        )
    if u.ndim == 3:
        scale = np.sqrt(diagonal[:, :, None] * diagonal[:, None, :])
        if (np.abs(u - u.swapaxes(1, 2)) > 1e-6 * scale).any():
            raise ValueError(
                f"variances of shape {u.shape} must be symmetric matrices; got others: put the "
                "axis of imputations first."
            )


def check_finite(array: np.ndarray, what: str) -> None:
    """Raise where an array holds a number that is not finite."""
    if not np.isfinite(array).all():
        at = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise ValueError(
            f"{what} must be finite; got {array[at]} in imputation {at[0]}, counted from 0. Leave "
            "out analyses that failed."
        )


def _statistics(values: Any, what: str, *, least: float = -math.inf) -> np.ndarray:
    array = _numbers(values, None, what)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(
            f"{what} must have shape (m,) for two or more imputations; got shape {array.shape}."
        )
    check_finite(array, what)
    if array.min() < least:
        raise ValueError(
            f"{what} must be {least:g} or more; got {array.min()}: the larger of two models fits "
            "better, not worse."
        )
    return array


def degrees_of_freedom(value: Any, what: str, *, finite: bool = False) -> float:
    """Return degrees of freedom that are some."""
    if not isinstance(value, Real):
        raise TypeError(f"{what} must be a number; got {value!r}.")
    number = float(value)
    if not number > 0 or (finite and math.isinf(number)):
        remedy = "finite" if finite else "infinite for a large sample"
        raise ValueError(f"{what} must be above 0, and {remedy}; got {value!r}.")
    return number


def null_values(null: Any, labels: pd.Index) -> np.ndarray:
    """Return the hypothesis for each of the labels."""
    array = _numbers(null, labels, "null")
    if array.shape not in [(), (len(labels),)]:
        raise ValueError(
            f"null must be one number, or one for each of {list(labels)}; got {null!r}."
        )
    return np.broadcast_to(array, len(labels))


def imputation_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over imputations and the deviations from it.

    Differences come first, so that identical analyses have a variance of 0 and no rounding error.
    """
    difference = x - x[0]
    shift = difference.mean(0)
    return x[0] + shift, difference - shift


def relative_increase(part: Any, whole: Any) -> np.ndarray:
    """Return part / whole, where nothing is no part of nothing."""
    part, whole = np.asarray(part), np.asarray(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, np.divide(part, whole))


def large_sample_df(df: float, share: Any) -> Any:
    """Return df / share**2, Rubin's (1987) degrees of freedom by lambda; infinite for none."""
    with np.errstate(divide="ignore"):
        return np.divide(df, np.square(share))


def residual_df(dfcom: float) -> float:
    """Return dfcom (dfcom + 1) / (dfcom + 3), for infinity, too."""
    return dfcom * (1 - 2 / (dfcom + 3))


def small_sample_df(df: Any, share: Any, dfcom: float) -> Any:
    """Return the degrees of freedom of Barnard and Rubin (1999) from those of a large sample."""
    if math.isinf(dfcom):
        return df
    with np.errstate(divide="ignore"):
        return np.divide(1, np.divide(1, df) + np.divide(1, residual_df(dfcom) * (1 - share)))


def denominator_df(m: int, k: float, riv: float, dfcom: float) -> float:
    """Return the denominator's degrees of freedom of D1 and D3."""
    s, share = k * (m - 1), riv / (1 + riv)
    if k == 1 or s <= 4:
        return small_sample_df(large_sample_df((k + 1) / 2 * (m - 1), share), share, dfcom)
    a = riv * s / (s - 2)
    if math.isfinite(dfcom) and residual_df(dfcom) > 4 * (1 + a):
        return _reiter(s, a, residual_df(dfcom))
    return small_sample_df(4 + large_sample_df(s - 4, a / (1 + a)), share, dfcom)


def _reiter(s: float, a: float, left: float) -> float:
    """Return the degrees of freedom of Reiter (2007), whose t is s and whose nu* is left."""
    c1, c2 = left - 2 * (1 + a), left - 4 * (1 + a)
    z = 1 / c2 + a**2 / (s - 4) * (
        c1 / ((1 + a) ** 2 * c2)
        + 8 * c1 / ((1 + a) * c2**2)
        + 4 / ((1 + a) * c2)
        + 4 / (c1 * c2)
        + 16 * c1 / c2**3
        + 8 / c2**2
    )
    return 4 + 1 / z


def block_of(variance: Values, covariance: Matrix, place: np.ndarray) -> np.ndarray:
    """Return the covariances of some quantities, or the variance of one."""
    if covariance is None:
        return np.diag(np.atleast_1d(variance)[place])
    return np.asarray(covariance)[np.ix_(place, place)]


def whitening(covariance: np.ndarray) -> np.ndarray:
    """Return W with W covariance W' = 1."""
    scale = np.sqrt(np.diagonal(covariance))
    if (scale > 0).all():
        # correlations, for units must not decide what is singular
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        if values[0] > SINGULAR:
            return vectors.T / (np.sqrt(values)[:, None] * scale)
    raise ValueError(
        "The covariances of the tested quantities are singular: choose columns that are not "
        "functions of one another."
    )


def f_test(statistic: float, df1: float, df2: Any, riv: float) -> PooledTest:
    """Return the test of an F statistic."""
    if df2 == 0:  # nothing is known
        p = 1.0
    elif np.isinf(df2):
        p = stats.chi2.sf(df1 * statistic, df1)
    else:
        p = stats.f.sf(statistic, df1, df2)
    return PooledTest(statistic, float(df1), float(df2), float(p), riv)
