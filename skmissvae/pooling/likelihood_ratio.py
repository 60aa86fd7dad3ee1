"""Pooled likelihood-ratio tests."""

from __future__ import annotations

import math
from typing import Any

from .degrees_of_freedom import denominator_df
from .f_distribution import PooledTest, f_test
from .inputs import to_degrees_of_freedom, to_statistics


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
