"""Pooled F tests: their degrees of freedom, p-values and results."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class PooledTest(NamedTuple):
    """Result of a test pooled over imputations, with an F reference distribution.

    Parameters
    ----------
    statistic : float
        The pooled statistic.
    df1, df2 : float
        Numerator and denominator degrees of freedom.
    p_value : float
        Probability of a larger statistic under the null hypothesis.
    riv : float
        Average relative increase in variance due to missing values.

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


def f_test(statistic: float, df1: float, df2: Any, riv: float) -> PooledTest:
    """Return the test of a statistic in the F distribution with df1 and df2 degrees of freedom."""
    if df2 == 0:  # no information about the quantities is left
        p = 1.0
    elif np.isinf(df2):
        p = stats.chi2.sf(df1 * statistic, df1)
    else:
        p = stats.f.sf(statistic, df1, df2)
    return PooledTest(statistic, float(df1), float(df2), float(p), riv)


def large_sample_df(df: float, lambda_: Any) -> Any:
    """Return df / lambda**2, the degrees of freedom of Rubin (1987); infinite for lambda = 0."""
    with np.errstate(divide="ignore"):
        return np.divide(df, np.square(lambda_))


def observed_data_df(dfcom: float) -> float:
    """Return dfcom (dfcom + 1) / (dfcom + 3), also for infinite dfcom."""
    return dfcom * (1 - 2 / (dfcom + 3))


def small_sample_df(df: Any, lambda_: Any, dfcom: float) -> Any:
    """Return the degrees of freedom of Barnard and Rubin (1999), given those of a large sample."""
    if math.isinf(dfcom):
        return df
    with np.errstate(divide="ignore"):
        df_observed = observed_data_df(dfcom) * (1 - lambda_)
        return np.divide(1, np.divide(1, df) + np.divide(1, df_observed))


def denominator_df(m: int, k: float, riv: float, dfcom: float) -> float:
    """Return the denominator degrees of freedom of D1 and D3."""
    t, lambda_ = k * (m - 1), riv / (1 + riv)
    if k == 1 or t <= 4:
        return small_sample_df(large_sample_df((k + 1) / 2 * (m - 1), lambda_), lambda_, dfcom)
    a = riv * t / (t - 2)
    nu = observed_data_df(dfcom)
    if math.isfinite(dfcom) and nu > 4 * (1 + a):
        return _reiter_df(t, a, nu)
    return small_sample_df(4 + large_sample_df(t - 4, a / (1 + a)), lambda_, dfcom)


def _reiter_df(t: float, a: float, nu: float) -> float:
    """Return the degrees of freedom of Reiter (2007), in his notation with nu for nu*_com."""
    c1, c2 = nu - 2 * (1 + a), nu - 4 * (1 + a)
    z = 1 / c2 + a**2 / (t - 4) * (
        c1 / ((1 + a) ** 2 * c2)
        + 8 * c1 / ((1 + a) * c2**2)
        + 4 / ((1 + a) * c2)
        + 4 / (c1 * c2)
        + 16 * c1 / c2**3
        + 8 / c2**2
    )
    return 4 + 1 / z
