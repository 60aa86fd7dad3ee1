"""Pooled estimates by Rubin's rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .arithmetic import (
    Matrix,
    PooledTest,
    Values,
    _are_named,
    _check,
    _named,
    _numbers,
    block_of,
    degrees_of_freedom,
    denominator_df,
    f_test,
    imputation_moments,
    large_sample_df,
    null_values,
    relative_increase,
    small_sample_df,
    whitening,
)

_FORMAT = "{:.4g}".format


@dataclass(frozen=True, eq=False, repr=False)
class PooledEstimates:
    r"""Estimates pooled over imputations by Rubin's rules.

    It is made by :func:`pool` and :func:`pool_models`. Of one quantity every attribute is a float;
    of several it is a Series where their names are known, else an array.

    Parameters
    ----------
    m : int
        Number of imputations.
    qbar, ubar, b : float, ndarray or Series
        Mean of the estimates, mean of their variances, and variance between the estimates.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table.
    ubar_cov, b_cov : ndarray, DataFrame or None, default=None
        The covariances whose diagonals are ``ubar`` and ``b``.

    See Also
    --------
    pool : Make it from estimates and variances.
    pool_models : Make it from fitted models.

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
        """The covariances whose diagonal is ``t``, or None."""
        return None if self.ubar_cov is None else self.ubar_cov + (1 + 1 / self.m) * self.b_cov

    @property
    def riv(self) -> Values:
        r"""Relative increase in variance by missing values, :math:`(1 + 1/m)\, b / \bar u`."""
        return self._like(relative_increase((1 + 1 / self.m) * self.b, self.ubar))

    @property
    def lambda_(self) -> Values:
        """Share of the total variance that missing values cause, :math:`(1 + 1/m) b / t`."""
        return self._like(relative_increase((1 + 1 / self.m) * self.b, self.t))

    @property
    def df(self) -> Values:
        r"""Degrees of freedom of the t distribution of :math:`(\bar q - Q) / \sqrt t`."""
        share = np.asarray(self.lambda_)
        return self._like(small_sample_df(large_sample_df(self.m - 1, share), share, self.dfcom))

    @property
    def fmi(self) -> Values:
        r"""Fraction of missing information, :math:`\{riv + 2 / (df + 3)\} / (riv + 1)`."""
        # written in lambda, for riv can be infinite
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
            What the quantities are if the hypotheses are true. A Series goes by names.

        Returns
        -------
        float, ndarray or Series
            The p-values.

        Raises
        ------
        ValueError
            If ``null`` does not fit the quantities.
        """
        df = np.asarray(self.df)
        tails = 2 * stats.t.sf(np.abs(self._statistic(null)), df)
        return self._like(np.where(df > 0, tails, 1.0))

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return a table with a row for each quantity.

        Parameters
        ----------
        level : float, default=0.95
            Probability that an interval covers its quantity.

        Returns
        -------
        DataFrame
            Columns estimate, std_error, low, high, statistic, df, p_value, riv, lambda and fmi;
            the statistics and p-values are those of the hypothesis 0.

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
        return pd.DataFrame(
            {name: np.atleast_1d(np.asarray(column)) for name, column in columns.items()},
            index=self._labels,
        )

    def test(self, null: Any = 0.0, columns: Any = None) -> PooledTest:
        r"""Test several quantities at once: the pooled Wald test, D1.

        .. math:: D_1 = \frac{(\bar q - q_0)^T \bar U^{-1} (\bar q - q_0)}{k\, (1 + r)}, \quad
            r = (1 + 1/m)\, \mathrm{tr}(B \bar U^{-1}) / k

        for k quantities, in an F distribution with k degrees of freedom in the numerator. Those
        in the denominator are of Li, Raghunathan and Rubin (1991), or, with a finite ``dfcom``, of
        Reiter (2007). Where Reiter's do not exist, with :math:`k (m - 1) \le 4` or with a
        ``dfcom`` too small for so much missing information, those of the large sample are combined
        with ``dfcom`` as for one quantity. The test of one quantity is its t test.

        Parameters
        ----------
        null : float or array-like of shape (k,), default=0.0
            What the quantities are if the hypothesis is true. A Series goes by names.
        columns : name, position or list of them, default=None
            The quantities to test; positions where they have no names. None tests all.

        Returns
        -------
        PooledTest
            The statistic, its degrees of freedom, p-value and average relative increase in
            variance.

        Raises
        ------
        ValueError
            If several quantities have no covariances, or singular ones, or if ``columns`` or
            ``null`` does not fit them.

        References
        ----------
        Li, K. H., Raghunathan, T. E. and Rubin, D. B. (1991). Large-sample significance levels
        from multiply imputed data using moment-based statistics and an F reference distribution.
        Journal of the American Statistical Association, 86, 1065-1073.

        Reiter, J. P. (2007). Small-sample degrees of freedom for multi-component significance
        tests with multiple imputation for missing data. Biometrika, 94, 502-508.
        """
        place = self._places(columns)
        k = len(place)
        if k > 1 and self.ubar_cov is None:
            raise ValueError(
                f"A test of {k} quantities needs their covariances: give pool variances of shape "
                "(m, p, p), or test one quantity."
            )
        within = block_of(self.ubar, self.ubar_cov, place)
        between = block_of(self.b, self.b_cov, place)
        distance = np.atleast_1d(self.qbar)[place] - null_values(null, self._labels[place])
        white = whitening(within)
        riv = float((1 + 1 / self.m) * np.trace(white @ between @ white.T) / k)
        statistic = float(np.sum((white @ distance) ** 2) / (k * (1 + riv)))
        return f_test(statistic, k, denominator_df(self.m, k, riv, self.dfcom), riv)

    @property
    def _labels(self) -> pd.Index:
        if isinstance(self.qbar, pd.Series):
            return self.qbar.index
        return pd.RangeIndex(np.size(self.qbar))

    def _places(self, columns: Any) -> np.ndarray:
        """Return the positions of the quantities that are asked for."""
        if columns is None:
            return np.arange(len(self._labels))
        wanted = [columns] if pd.api.types.is_scalar(columns) else list(columns)
        place = self._labels.get_indexer(pd.Index(wanted))
        if not wanted or (place < 0).any():
            raise ValueError(f"columns must be some of {list(self._labels)}; got {wanted}.")
        return place

    def _like(self, values: Any) -> Values:
        """Return numbers in the form of qbar."""
        if isinstance(self.qbar, pd.Series):
            return pd.Series(np.asarray(values), index=self.qbar.index)
        return np.asarray(values) if np.ndim(self.qbar) else np.asarray(values).item()

    def _statistic(self, null: Any) -> np.ndarray:
        q = np.asarray(self.qbar)
        with np.errstate(divide="ignore", invalid="ignore"):
            off = q - null_values(null, self._labels).reshape(q.shape)
            # what is known for certain to be the null is not off
            return np.where(off == 0, 0.0, off / np.sqrt(np.asarray(self.t)))

    def _caption(self) -> str:
        return f"Pooled over {self.m} imputations, dfcom = {self.dfcom:g}"

    def __repr__(self) -> str:
        several = np.ndim(self.qbar) > 0
        table = self.to_frame().to_string(index=several, float_format=_FORMAT)
        return f"{table}\n{self._caption()}"

    def _repr_html_(self) -> str:
        several = np.ndim(self.qbar) > 0
        table = self.to_frame().to_html(index=several, float_format=_FORMAT)
        return f"{table}\n<p>{self._caption()}</p>"


def pool(estimates: Any, variances: Any, *, dfcom: float = math.inf) -> PooledEstimates:
    r"""Pool the estimates of several completed tables by Rubin's rules.

    .. math:: \bar q = \frac 1 m \sum_l q_l, \quad t = \bar u + (1 + 1/m)\, b, \quad
        \bar u = \frac 1 m \sum_l u_l, \quad b = \frac 1 {m - 1} \sum_l (q_l - \bar q)^2

    for estimates :math:`q_l` with variances :math:`u_l`. Then :math:`(\bar q - Q) / \sqrt t` has a
    t distribution with the degrees of freedom of Rubin (1987),

    .. math:: df = (m - 1) / \lambda^2, \quad \lambda = (1 + 1/m)\, b / t

    or, with a finite ``dfcom``, of Barnard and Rubin (1999), who combine them with those that are
    left of ``dfcom``:

    .. math:: \Big(\frac 1 {df} + \frac 1 {df_{obs}}\Big)^{-1}, \quad
        df_{obs} = \frac{dfcom + 1}{dfcom + 3}\, dfcom\, (1 - \lambda).

    The rules ask for estimates that are about Normal: pool a correlation as its Fisher
    transform, an odds ratio as its logarithm.

    Parameters
    ----------
    estimates : array-like of shape (m,) or (m, p), DataFrame or list of Series
        Estimates of one or p quantities, a row for each completed table. A DataFrame's columns
        and a Series' index are names, which the result keeps.
    variances : array-like of the shape of ``estimates`` or (m, p, p), or list of DataFrames
        Squared standard errors, or covariance matrices, which tests of several quantities need.
        Named ones are matched with named estimates.
    dfcom : float, default=inf
        Degrees of freedom of the analysis of a complete table, such as rows minus coefficients
        of a regression. Infinity stands for a large sample.

    Returns
    -------
    PooledEstimates
        The pooled estimates, with their variances, intervals and tests.

    Raises
    ------
    TypeError
        If an argument holds no numbers.
    ValueError
        If there are less than two imputations, shapes or names that do not fit, numbers that are
        not finite, variances below 0 or a ``dfcom`` that is not above 0.

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
    names = _names(estimates)
    if names is None:
        names = _names(variances)
    q, u = _numbers(estimates, names, "estimates"), _numbers(variances, names, "variances")
    _check(q, u)
    m = len(q)
    qbar, deviations = imputation_moments(q)
    ubar, _ = imputation_moments(u)
    ubar_cov = b_cov = None
    if u.ndim == 3:
        between = deviations.T @ deviations / (m - 1)
        ubar_cov, b_cov = _named(ubar, names), _named(between, names)
        ubar, b = np.diagonal(ubar), np.diagonal(between)
    else:
        b = (deviations**2).sum(0) / (m - 1)
    return PooledEstimates(
        m,
        qbar=_named(qbar, names),
        ubar=_named(ubar, names),
        b=_named(b, names),
        dfcom=degrees_of_freedom(dfcom, "dfcom"),
        ubar_cov=ubar_cov,
        b_cov=b_cov,
    )


def pool_models(
    models: Iterable[Any],
    *,
    estimates: Callable[[Any], Any] | None = None,
    variances: Callable[[Any], Any] | None = None,
    dfcom: float | None = None,
) -> PooledEstimates:
    """Pool fitted models by Rubin's rules.

    Models in the manner of statsmodels need no more: their ``params``, ``cov_params()`` (or
    ``bse``) and ``df_resid`` are pooled. For any others two functions say what is to be pooled.

    Parameters
    ----------
    models : iterable
        The same model fitted to each completed table. A generator fits them one by one.
    estimates : callable or None, default=None
        Function of a model that returns what :func:`pool` takes for one table: a number, an
        array of shape (p,) or a Series. None takes ``params``.
    variances : callable or None, default=None
        Function of a model that returns the squared standard errors, in the form of the estimates,
        or a covariance matrix. None takes ``cov_params()``, or squares ``bse``.
    dfcom : float or None, default=None
        Degrees of freedom of the analysis of a complete table. None takes the least ``df_resid``
        of the models, or infinity where they have none; give infinity for models whose own tests
        are those of a large sample.

    Returns
    -------
    PooledEstimates
        The pooled estimates.

    Raises
    ------
    TypeError
        If the models lack attributes, and no functions are given.
    ValueError
        If one function is given without the other, or the estimates cannot be pooled.

    See Also
    --------
    pool : Pool estimates and variances.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmissvae import pool_models
    >>> rng = np.random.default_rng(0)
    >>> tables = [pd.DataFrame(rng.normal(3, 1, (100, 2)), columns=["x", "y"]) for _ in range(5)]
    >>> pooled = pool_models(
    ...     tables, estimates=lambda X: X.mean(), variances=lambda X: X.var() / len(X), dfcom=99
    ... )
    >>> pooled.qbar.round(2).to_dict()
    {'x': 2.91, 'y': 2.99}
    """
    if (estimates is None) != (variances is None):
        raise ValueError(
            "estimates and variances go together: give both functions, or neither for models with "
            "params."
        )
    q, u, residual = [], [], []
    for model in models:
        if estimates is None or variances is None:
            estimate, variance = _fitted(model)
        else:
            estimate, variance = estimates(model), variances(model)
        q.append(estimate)
        u.append(variance)
        residual.append(getattr(model, "df_resid", math.inf))
    return pool(q, u, dfcom=min(residual, default=math.inf) if dfcom is None else dfcom)


def _fitted(model: Any) -> tuple[Any, Any]:
    """Return the estimates and the variances of a model in the manner of statsmodels."""
    if hasattr(model, "params") and hasattr(model, "cov_params"):
        return model.params, model.cov_params()
    if hasattr(model, "params") and hasattr(model, "bse"):
        return model.params, np.square(model.bse)
    raise TypeError(
        "models must have params, and cov_params() or bse; got one of type "
        f"{type(model).__name__} without. Give estimates and variances, functions of a model."
    )


def _names(values: Any) -> pd.Index | None:
    if isinstance(values, pd.DataFrame):
        return values.columns
    return values[0].index if _are_named(values) else None
