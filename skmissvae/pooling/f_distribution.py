"""Pooled F tests: the result and its p-value."""

from __future__ import annotations

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
