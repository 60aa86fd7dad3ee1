"""Pooled F tests: their degrees of freedom, p-values and results; tests of test statistics."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from .inputs import Floats, to_degrees_of_freedom, to_statistics

FORMAT = "{:.4g}".format  # of floats in tables


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

    def _repr_html_(self) -> str:
        return html_table(pd.DataFrame([self._asdict()]), index=False)


def html_table(frame: pd.DataFrame, *, index: bool) -> str:
    """Return a data frame as an HTML table: escaped, cut if it is long."""
    limits: Any = {
        "max_rows": pd.get_option("display.max_rows"),
        "max_cols": pd.get_option("display.max_columns"),
        "show_dimensions": "truncate",
    }
    return frame.to_html(index=index, float_format=FORMAT, **limits)


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


def imputation_moments(x: Floats) -> tuple[Floats, Floats]:
    """Return the mean over imputations and the deviations from it: (m, ...) -> (...), (m, ...).

    Differences are taken first, so that identical analyses have a variance of exactly 0.
    """
    difference = x - x[0]
    shift = difference.mean(0)
    return x[0] + shift, difference - shift


def pool_wald(statistics: Any, df: float, *, dfcom: float = math.inf) -> PooledTest:
    r"""Pool chi-square statistics when estimates are not available: D2.

    .. math:: D_2 = \frac{\bar d / k - \frac{m + 1}{m - 1}\, r}{1 + r}, \quad
        r = (1 + 1/m)\, \frac 1 {m - 1} \sum_l \Big(\sqrt{d_l} - \overline{\sqrt d}\Big)^2

    for m statistics :math:`d_l` with k degrees of freedom each. The reference distribution is F
    with k and :math:`k^{-3/m} (m - 1) (1 + 1/r)^2` degrees of freedom. D2 needs less information
    than :meth:`PooledEstimates.test` and :func:`pool_likelihood_ratio`, and has less power.

    Parameters
    ----------
    statistics : array-like of shape (m,)
        Wald or likelihood-ratio statistics, one for each completed table.
    df : float
        Their degrees of freedom, k.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table. A finite value is combined with
        the denominator degrees of freedom as in :func:`pool`.

    Returns
    -------
    PooledTest
        The statistic, which can be negative, its degrees of freedom, p-value and average relative
        increase in variance.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If there are fewer than two statistics, if a statistic is negative or not finite, or if
        degrees of freedom are not above 0.

    See Also
    --------
    PooledEstimates.test : Test of estimates with covariances, D1.
    pool_likelihood_ratio : Test of likelihood ratios, D3.

    References
    ----------
    Li, K. H., Meng, X. L., Raghunathan, T. E. and Rubin, D. B. (1991). Significance levels from
    repeated p-values with multiply-imputed data. Statistica Sinica, 1, 65-92.

    Examples
    --------
    >>> from skmissvae import pool_wald
    >>> pool_wald([5.8, 7.2, 6.1, 8.5], 3)
    F(3, 342.2) = 2.054, p = 0.1061, riv = 0.06611
    """
    d = to_statistics(statistics, "statistics", minimum=0.0)
    k = to_degrees_of_freedom(df, "df", finite=True)
    dfcom = to_degrees_of_freedom(dfcom, "dfcom")
    m = len(d)
    _, deviations = imputation_moments(np.sqrt(d))
    riv = float((1 + 1 / m) * (deviations @ deviations) / (m - 1))
    lambda_ = riv / (1 + riv)
    statistic = float(d.mean() / k - (m + 1) / (m - 1) * riv) / (1 + riv)
    df2 = small_sample_df(k ** (-3 / m) * large_sample_df(m - 1, lambda_), lambda_, dfcom)
    return f_test(statistic, k, df2, riv)


def pool_likelihood_ratio(
    statistics: Any, at_pooled: Any, df: float, *, dfcom: float = math.inf
) -> PooledTest:
    r"""Pool likelihood-ratio statistics: D3.

    .. math:: D_3 = \frac{\tilde d}{k\, (1 + r)}, \quad
        r = \frac{m + 1}{k\, (m - 1)}\, (\bar d - \tilde d)

    where :math:`\bar d` is the mean of the statistics at the estimates of each table and
    :math:`\tilde d` their mean at the pooled estimates. The reference distribution is the F
    distribution of :meth:`PooledEstimates.test`. A negative r, which can occur by chance, is
    set to 0.

    Parameters
    ----------
    statistics : array-like of shape (m,)
        Twice the difference of the log-likelihoods of two nested models, one for each completed
        table, each model at its estimates from that table.
    at_pooled : array-like of shape (m,)
        The same statistics with each model at its pooled estimates, the means over all tables.
    df : float
        Number of parameters by which the models differ, k.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table.

    Returns
    -------
    PooledTest
        The statistic, its degrees of freedom, p-value and average relative increase in variance.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If there are fewer than two statistics, if a number is not finite, if one of
        ``statistics`` is negative, if ``at_pooled`` has another length, or if degrees of freedom
        are not above 0.

    See Also
    --------
    PooledEstimates.test : Test of estimates with covariances, D1.
    pool_wald : Test from chi-square statistics alone, D2.

    References
    ----------
    Meng, X. L. and Rubin, D. B. (1992). Performing likelihood ratio tests with multiply-imputed
    data sets. Biometrika, 79, 103-111.

    Examples
    --------
    >>> from skmissvae import pool_likelihood_ratio
    >>> pool_likelihood_ratio([9.1, 7.4, 8.3], [8.2, 6.1, 7.3], 2)
    F(2, 11.26) = 1.742, p = 0.2192, riv = 1.067
    """
    d = to_statistics(statistics, "statistics", minimum=0.0)
    d_pooled = to_statistics(at_pooled, "at_pooled")
    if len(d) != len(d_pooled):
        raise ValueError(
            f"at_pooled must have one number for each of the {len(d)} statistics; "
            f"got {len(d_pooled)}."
        )
    k = to_degrees_of_freedom(df, "df", finite=True)
    dfcom = to_degrees_of_freedom(dfcom, "dfcom")
    m = len(d)
    riv = max(0.0, float((m + 1) / (k * (m - 1)) * (d - d_pooled).mean()))
    statistic = float(d_pooled.mean()) / (k * (1 + riv))
    return f_test(statistic, k, denominator_df(m, k, riv, dfcom), riv)
