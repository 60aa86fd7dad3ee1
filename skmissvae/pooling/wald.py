"""Pooled Wald and likelihood-ratio tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .arithmetic import (
    PooledTest,
    _statistics,
    degrees_of_freedom,
    denominator_df,
    f_test,
    imputation_moments,
    large_sample_df,
    small_sample_df,
)


def pool_wald(statistics: Any, df: float, *, dfcom: float = math.inf) -> PooledTest:
    r"""Pool chi-square statistics, where nothing but these is known: D2.

    .. math:: D_2 = \frac{\bar d / k - \frac{m + 1}{m - 1}\, r}{1 + r}, \quad
        r = (1 + 1/m)\, \frac 1 {m - 1} \sum_l \Big(\sqrt{d_l} - \overline{\sqrt d}\Big)^2

    for m statistics :math:`d_l` with k degrees of freedom each, in an F distribution with k and
    :math:`k^{-3/m} (m - 1) (1 + 1/r)^2` degrees of freedom. It needs less than
    :meth:`PooledEstimates.test` and :func:`pool_likelihood_ratio`, and has less power.

    Parameters
    ----------
    statistics : array-like of shape (m,)
        Wald or likelihood-ratio statistics, one for each completed table.
    df : float
        Their degrees of freedom, k.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table. A finite one is combined with
        those of the denominator as in :func:`pool`.

    Returns
    -------
    PooledTest
        The statistic, which can be below 0, its degrees of freedom, p-value and average relative
        increase in variance.

    Raises
    ------
    TypeError
        If an argument holds no numbers.
    ValueError
        If there are less than two statistics, or some that are below 0 or not finite, or if
        degrees of freedom are not above 0.

    See Also
    --------
    PooledEstimates.test : The test of estimates with covariances, D1.
    pool_likelihood_ratio : The test of likelihood ratios, D3.

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
    d = _statistics(statistics, "statistics", least=0.0)
    k, dfcom = degrees_of_freedom(df, "df", finite=True), degrees_of_freedom(dfcom, "dfcom")
    m = len(d)
    _, deviations = imputation_moments(np.sqrt(d))
    riv = float((1 + 1 / m) * (deviations @ deviations) / (m - 1))
    share = riv / (1 + riv)
    statistic = float(d.mean() / k - (m + 1) / (m - 1) * riv) / (1 + riv)
    df2 = small_sample_df(k ** (-3 / m) * large_sample_df(m - 1, share), share, dfcom)
    return f_test(statistic, k, df2, riv)


def pool_likelihood_ratio(
    statistics: Any, at_pooled: Any, df: float, *, dfcom: float = math.inf
) -> PooledTest:
    r"""Pool likelihood-ratio statistics: D3.

    .. math:: D_3 = \frac{\tilde d}{k\, (1 + r)}, \quad
        r = \frac{m + 1}{k\, (m - 1)}\, (\bar d - \tilde d)

    with the mean :math:`\bar d` of the statistics at each table's own estimates and their mean
    :math:`\tilde d` at the pooled estimates, in the F distribution of
    :meth:`PooledEstimates.test`. An r below 0, which chance can bring, counts as 0.

    Parameters
    ----------
    statistics : array-like of shape (m,)
        Twice the difference of the log-likelihoods of two nested models, one for each completed
        table, each model at its estimates of that table.
    at_pooled : array-like of shape (m,)
        The same with each model at its pooled estimates, the means over all tables.
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
        If an argument holds no numbers.
    ValueError
        If there are less than two statistics, some that are not finite or, at a table's own
        estimates, below 0, as many ``at_pooled`` as others are missing, or if degrees of freedom
        are not above 0.

    See Also
    --------
    PooledEstimates.test : The test of estimates with covariances, D1.
    pool_wald : The test of chi-square statistics alone, D2.

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
    d = _statistics(statistics, "statistics", least=0.0)
    pooled = _statistics(at_pooled, "at_pooled")
    if len(d) != len(pooled):
        raise ValueError(
            f"at_pooled must have one number for each of the {len(d)} statistics; "
            f"got {len(pooled)}."
        )
    k, dfcom = degrees_of_freedom(df, "df", finite=True), degrees_of_freedom(dfcom, "dfcom")
    m = len(d)
    riv = max(0.0, float((m + 1) / (k * (m - 1)) * (d - pooled).mean()))
    statistic = float(pooled.mean()) / (k * (1 + riv))
    return f_test(statistic, k, denominator_df(m, k, riv, dfcom), riv)
