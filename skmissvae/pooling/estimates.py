"""Estimates pooled over imputations by Rubin's rules."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .inputs import (
    check_estimates,
    check_variances,
    list_labels,
    quantity_names,
    to_degrees_of_freedom,
    to_floats,
    to_null_values,
    with_names,
)
from .statistics import (
    FORMAT,
    PooledTest,
    denominator_df,
    f_test,
    html_table,
    imputation_moments,
    large_sample_df,
    small_sample_df,
)

#: Of one quantity a float; of several a Series, or an array without names.
Values: TypeAlias = "float | NDArray[np.float64] | pd.Series[float]"
#: Covariances of several quantities.
Matrix: TypeAlias = NDArray[np.float64] | pd.DataFrame | None

_SINGULAR = 1e-12  # smallest eigenvalue of a correlation matrix that is not singular


@dataclass(frozen=True, eq=False, repr=False)
class PooledEstimates:
    r"""Estimates pooled over imputations by Rubin's rules.

    Returned by :func:`pool` and :func:`pool_models`. Every attribute is a float for one quantity;
    for several quantities it is a Series if their names are known, and an array otherwise.

    Parameters
    ----------
    m : int
        Number of imputations.
    qbar, ubar, b : float, ndarray or Series
        Mean of the estimates, mean of their variances, and variance between the estimates.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table.
    ubar_cov, b_cov : ndarray, DataFrame or None, default=None
        Covariance matrices with diagonals ``ubar`` and ``b``.

    See Also
    --------
    pool : Pool estimates and variances.
    pool_models : Pool fitted models.

    Examples
    --------
    >>> from skmissvae import pool
    >>> pooled = pool([2.1, 1.8, 2.4], [0.4, 0.5, 0.3], dfcom=50)
    >>> low, high = pooled.interval()
    >>> round(low, 3), round(high, 3)
    (0.589, 3.611)
    >>> pooled.test()
    F(1, 18.64) = 8.481, p = 0.009061, riv = 0.3
    """

    m: int
    qbar: Values
    ubar: Values
    b: Values
    dfcom: float = math.inf
    ubar_cov: Matrix = None
    b_cov: Matrix = None

    @property
    def t(self) -> Values:
        r"""Total variance, :math:`\bar u + (1 + 1/m)\, b`."""
        return self.ubar + (1 + 1 / self.m) * self.b

    @property
    def t_cov(self) -> Matrix:
        """Covariance matrix with diagonal ``t``, or None."""
        if self.ubar_cov is None or self.b_cov is None:
            return None
        return self.ubar_cov + (1 + 1 / self.m) * self.b_cov

    @property
    def riv(self) -> Values:
        r"""Relative increase in variance due to missing values, :math:`(1 + 1/m)\, b / \bar u`."""
        return self._like(_variance_ratio((1 + 1 / self.m) * self.b, self.ubar))

    @property
    def lambda_(self) -> Values:
        r"""Share of the total variance due to missing values, :math:`(1 + 1/m)\, b / t`."""
        return self._like(_variance_ratio((1 + 1 / self.m) * self.b, self.t))

    @property
    def df(self) -> Values:
        r"""Degrees of freedom of the t distribution of :math:`(\bar q - Q) / \sqrt t`."""
        lambda_ = np.asarray(self.lambda_)
        df = large_sample_df(self.m - 1, lambda_)
        return self._like(small_sample_df(df, lambda_, self.dfcom))

    @property
    def fmi(self) -> Values:
        r"""Fraction of missing information, :math:`\{riv + 2 / (df + 3)\} / (riv + 1)`."""
        # in terms of lambda, because riv can be infinite
        return self.lambda_ + (1 - self.lambda_) * 2 / (self.df + 3)

    def interval(self, level: float = 0.95) -> tuple[Values, Values]:
        r"""Return confidence limits, :math:`\bar q \pm t_{df}\, \sqrt t`.

        Parameters
        ----------
        level : float, default=0.95
            Probability that the interval covers the quantity.

        Returns
        -------
        tuple of two float, ndarray or Series
            Lower and upper limits.

        Raises
        ------
        ValueError
            If ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be above 0 and below 1, such as 0.95; got {level!r}.")
        df = np.asarray(self.df)
        quantile = np.where(df > 0, stats.t.ppf((1 + level) / 2, df), np.inf)
        half = quantile * np.sqrt(self.t)
        return self._like(self.qbar - half), self._like(self.qbar + half)

    def p_value(self, null: Any = 0.0) -> Values:
        """Return two-sided p-values of t tests.

        Parameters
        ----------
        null : float or array-like of shape (p,), default=0.0
            Values under the null hypotheses. A Series is matched by names.

        Returns
        -------
        float, ndarray or Series
            The p-values.

        Raises
        ------
        ValueError
            If ``null`` does not match the quantities.
        """
        df = np.asarray(self.df)
        tails = 2 * stats.t.sf(np.abs(self._statistic(null)), df)
        return self._like(np.where(df > 0, tails, 1.0))

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return estimates, intervals and tests as a table with a row for each quantity.

        Parameters
        ----------
        level : float, default=0.95
            Probability that an interval covers its quantity.

        Returns
        -------
        DataFrame
            Columns estimate, std_error, low, high, statistic, df, p_value, riv, lambda and fmi;
            statistics and p-values are for the null hypothesis that the quantity is 0.

        Raises
        ------
        ValueError
            If ``level`` is not between 0 and 1.
        """
        low, high = self.interval(level)
        columns = {
            "estimate": self.qbar,
            "std_error": np.sqrt(self.t),
            "low": low,
            "high": high,
            "statistic": self._statistic(0.0),
            "df": self.df,
            "p_value": self.p_value(),
            "riv": self.riv,
            "lambda": self.lambda_,
            "fmi": self.fmi,
        }
        arrays = {name: np.atleast_1d(np.asarray(column)) for name, column in columns.items()}
        return pd.DataFrame(arrays, index=self._labels)

    def test(self, null: Any = 0.0, columns: Any = None) -> PooledTest:
        r"""Test several quantities jointly by the pooled Wald test, D1.

        .. math:: D_1 = \frac{(\bar q - q_0)^T \bar U^{-1} (\bar q - q_0)}{k\, (1 + r)}, \quad
            r = (1 + 1/m)\, \mathrm{tr}(B \bar U^{-1}) / k

        for k quantities. The reference distribution is F with k numerator degrees of freedom. The
        denominator degrees of freedom are those of Li, Raghunathan and Rubin (1991) or, with a
        finite ``dfcom``, those of Reiter (2007). Reiter's are undefined if :math:`k (m - 1) \le 4`
        or if ``dfcom`` is too small for the amount of missing information; then those of the large
        sample are combined with ``dfcom`` as for one quantity. For one quantity it is the t test.

        Parameters
        ----------
        null : float or array-like of shape (k,), default=0.0
            Values under the null hypothesis. A Series is matched by names.
        columns : name, position or list of them, default=None
            Quantities to test; positions if they have no names. None tests all.

        Returns
        -------
        PooledTest
            The statistic, its degrees of freedom, p-value and average relative increase in
            variance.

        Raises
        ------
        ValueError
            If the covariances of several quantities are missing or singular, or if ``columns`` or
            ``null`` does not match the quantities.

        References
        ----------
        Li, K. H., Raghunathan, T. E. and Rubin, D. B. (1991). Large-sample significance levels
        from multiply imputed data using moment-based statistics and an F reference distribution.
        Journal of the American Statistical Association, 86, 1065-1073.

        Reiter, J. P. (2007). Small-sample degrees of freedom for multi-component significance
        tests with multiple imputation for missing data. Biometrika, 94, 502-508.
        """
        index = self._positions(columns)
        k = len(index)
        if k > 1 and self.ubar_cov is None:
            raise ValueError(
                f"A test of {k} quantities needs their covariances. Pass variances of shape "
                "(m, p, p) to pool, or test one quantity."
            )
        within = _submatrix(self.ubar, self.ubar_cov, index)
        between = _submatrix(self.b, self.b_cov, index)
        distance = np.atleast_1d(self.qbar)[index] - to_null_values(null, self._labels[index])
        white = _whitening(within)
        riv = float((1 + 1 / self.m) * np.trace(white @ between @ white.T) / k)
        statistic = float(np.sum((white @ distance) ** 2) / (k * (1 + riv)))
        return f_test(statistic, k, denominator_df(self.m, k, riv, self.dfcom), riv)

    @property
    def _labels(self) -> pd.Index:
        if isinstance(self.qbar, pd.Series):
            return self.qbar.index
        return pd.RangeIndex(np.size(self.qbar))

    def _positions(self, columns: Any) -> np.ndarray:
        """Return the positions of the selected quantities."""
        if columns is None:
            return np.arange(len(self._labels))
        selected = [columns] if pd.api.types.is_scalar(columns) else list(columns)
        positions = self._labels.get_indexer(pd.Index(selected))
        if not selected or (positions < 0).any():
            labels = list_labels(self._labels)
            raise ValueError(f"columns must be some of {labels}; got {list_labels(selected)}.")
        return positions

    def _like(self, values: Any) -> Values:
        """Return values as a float, array or Series, whichever qbar is."""
        names = self.qbar.index if isinstance(self.qbar, pd.Series) else None
        return with_names(np.asarray(values), names)

    def _statistic(self, null: Any) -> np.ndarray:
        q = np.asarray(self.qbar)
        with np.errstate(divide="ignore", invalid="ignore"):
            difference = q - to_null_values(null, self._labels).reshape(q.shape)
            # 0 / 0: an estimate without variance that equals the null value
            return np.where(difference == 0, 0.0, difference / np.sqrt(np.asarray(self.t)))

    def __repr__(self) -> str:
        table = self.to_frame().to_string(index=np.ndim(self.qbar) > 0, float_format=FORMAT)
        return f"{table}\n{self._caption()}"

    def _repr_html_(self) -> str:
        table = html_table(self.to_frame(), index=np.ndim(self.qbar) > 0)
        return f"{table}\n<p>{self._caption()}</p>"

    def _caption(self) -> str:
        return f"Pooled over {self.m} imputations, dfcom = {self.dfcom:g}"


def pool(estimates: Any, variances: Any, *, dfcom: float = math.inf) -> PooledEstimates:
    r"""Pool the estimates from several completed tables by Rubin's rules.

    .. math:: \bar q = \frac 1 m \sum_l q_l, \quad t = \bar u + (1 + 1/m)\, b, \quad
        \bar u = \frac 1 m \sum_l u_l, \quad b = \frac 1 {m - 1} \sum_l (q_l - \bar q)^2

    for estimates :math:`q_l` with variances :math:`u_l`. Then :math:`(\bar q - Q) / \sqrt t` has a
    t distribution with the degrees of freedom of Rubin (1987),

    .. math:: df = (m - 1) / \lambda^2, \quad \lambda = (1 + 1/m)\, b / t

    or, with a finite ``dfcom``, those of Barnard and Rubin (1999), which combine them with the
    degrees of freedom of the observed data:

    .. math:: \Big(\frac 1 {df} + \frac 1 {df_{obs}}\Big)^{-1}, \quad
        df_{obs} = \frac{dfcom + 1}{dfcom + 3}\, dfcom\, (1 - \lambda).

    The rules assume approximately Normal estimates: pool the Fisher transform of a correlation and
    the logarithm of an odds ratio.

    Parameters
    ----------
    estimates : array-like of shape (m,) or (m, p), DataFrame or list of Series
        Estimates of one or p quantities, a row for each completed table. The columns of a
        DataFrame and the index of a Series are the names of the quantities.
    variances : array-like of the shape of ``estimates`` or (m, p, p), or list of DataFrames
        Squared standard errors, or covariance matrices, which joint tests of several quantities
        need. They are matched with the estimates by names if both have names.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table, such as the number of rows minus
        the number of coefficients of a regression. Infinity stands for a large sample.

    Returns
    -------
    PooledEstimates
        The pooled estimates, with their variances, intervals and tests.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If there are fewer than two imputations, if shapes or names do not match, if a number is
        not finite, if a variance is negative or if ``dfcom`` is not above 0.

    See Also
    --------
    pool_models : Pool fitted models.
    pool_wald : Pool chi-square statistics.
    pool_likelihood_ratio : Pool likelihood-ratio statistics.

    References
    ----------
    Rubin, D. B. (1987). Multiple Imputation for Nonresponse in Surveys. Wiley.

    Barnard, J. and Rubin, D. B. (1999). Small-sample degrees of freedom with multiple imputation.
    Biometrika, 86, 948-955.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmissvae import pool
    >>> slopes = pd.DataFrame({"age": [2.1, 1.8, 2.4], "bmi": [0.3, 0.2, 0.1]})
    >>> variances = pd.DataFrame({"age": [0.4, 0.5, 0.3], "bmi": [0.01, 0.01, 0.01]})
    >>> pool(slopes, variances, dfcom=50)
         estimate  std_error     low   high  statistic    df  p_value   riv  lambda    fmi
    age       2.1     0.7211  0.5887  3.611      2.912 18.64 0.009061   0.3  0.2308 0.3019
    bmi       0.2     0.1528 -0.1997 0.5997      1.309 4.722   0.2505 1.333  0.5714 0.6824
    Pooled over 3 imputations, dfcom = 50
    """
    names = quantity_names(estimates)
    if names is None:
        names = quantity_names(variances)
    q, u = to_floats(estimates, names, "estimates"), to_floats(variances, names, "variances")
    check_estimates(q)
    check_variances(u, q)
    m = len(q)
    qbar, deviations = imputation_moments(q)
    ubar, _ = imputation_moments(u)
    ubar_cov = b_cov = None
    if u.ndim == 3:
        between = deviations.T @ deviations / (m - 1)
        ubar_cov, b_cov = with_names(ubar, names), with_names(between, names)
        ubar, b = np.diagonal(ubar), np.diagonal(between)
    else:
        b = (deviations**2).sum(0) / (m - 1)
    qbar, ubar, b = (with_names(values, names) for values in (qbar, ubar, b))
    dfcom = to_degrees_of_freedom(dfcom, "dfcom")
    return PooledEstimates(m, qbar, ubar, b, dfcom, ubar_cov, b_cov)


def _variance_ratio(numerator: Any, denominator: Any) -> np.ndarray:
    """Return numerator / denominator, where 0 / 0 is 0."""
    numerator, denominator = np.asarray(numerator), np.asarray(denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0, 0.0, np.divide(numerator, denominator))


def _submatrix(variance: Any, covariance: Any, index: np.ndarray) -> np.ndarray:
    """Return the covariance matrix of some quantities, diagonal without ``covariance``: (k, k)."""
    if covariance is None:
        return np.diag(np.atleast_1d(variance)[index])
    return np.asarray(covariance)[np.ix_(index, index)]


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """Return W with W covariance W' = 1."""
    scale = np.sqrt(np.diagonal(covariance))
    if (scale > 0).all():
        # correlations, so that singularity does not depend on units
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        if values[0] > _SINGULAR:
            return vectors.T / (np.sqrt(values)[:, None] * scale)
    raise ValueError(
        "The covariances of the tested quantities are singular. Choose columns that are not "
        "linear functions of one another."
    )
