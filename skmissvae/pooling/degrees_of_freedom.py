"""Degrees of freedom of pooled estimates and of pooled F tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


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
