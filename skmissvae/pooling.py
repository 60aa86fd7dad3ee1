"""Rubin's rules: one inference from the analyses of several completed tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

Values = Any  # a float, or a Series where the names of several quantities are known, or an array
Matrix = Any  # the same of (p, p) numbers: a DataFrame or an array

_SINGULAR = 1e-12  # least eigenvalue of the correlations of columns that differ
_FORMAT = "{:.4g}".format


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
        return self._like(_ratio((1 + 1 / self.m) * self.b, self.ubar))

    @property
    def lambda_(self) -> Values:
        """Share of the total variance that missing values cause, :math:`(1 + 1/m) b / t`."""
        return self._like(_ratio((1 + 1 / self.m) * self.b, self.t))

    @property
    def df(self) -> Values:
        r"""Degrees of freedom of the t distribution of :math:`(\bar q - Q) / \sqrt t`."""
        share = np.asarray(self.lambda_)
        return self._like(_small_sample(_large_sample(self.m - 1, share), share, self.dfcom))

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
        within = _block(self.ubar, self.ubar_cov, place)
        between = _block(self.b, self.b_cov, place)
        distance = np.atleast_1d(self.qbar)[place] - _null(null, self._labels[place])
        white = _whitening(within)
        riv = float((1 + 1 / self.m) * np.trace(white @ between @ white.T) / k)
        statistic = float(np.sum((white @ distance) ** 2) / (k * (1 + riv)))
        return _f_test(statistic, k, _denominator(self.m, k, riv, self.dfcom), riv)

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
            off = q - _null(null, self._labels).reshape(q.shape)
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
    qbar, deviations = _moments(q)
    ubar, _ = _moments(u)
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
        dfcom=_degrees(dfcom, "dfcom"),
        ubar_cov=ubar_cov,
        b_cov=b_cov,
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
    k, dfcom = _degrees(df, "df", finite=True), _degrees(dfcom, "dfcom")
    m = len(d)
    _, deviations = _moments(np.sqrt(d))
    riv = float((1 + 1 / m) * (deviations @ deviations) / (m - 1))
    share = riv / (1 + riv)
    statistic = float(d.mean() / k - (m + 1) / (m - 1) * riv) / (1 + riv)
    df2 = _small_sample(k ** (-3 / m) * _large_sample(m - 1, share), share, dfcom)
    return _f_test(statistic, k, df2, riv)


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
    k, dfcom = _degrees(df, "df", finite=True), _degrees(dfcom, "dfcom")
    m = len(d)
    riv = max(0.0, float((m + 1) / (k * (m - 1)) * (d - pooled).mean()))
    statistic = float(pooled.mean()) / (k * (1 + riv))
    return _f_test(statistic, k, _denominator(m, k, riv, dfcom), riv)


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
    _check_finite(q, "estimates")
    _check_finite(u, "variances")
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


def _check_finite(array: np.ndarray, what: str) -> None:
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
    _check_finite(array, what)
    if array.min() < least:
        raise ValueError(
            f"{what} must be {least:g} or more; got {array.min()}: the larger of two models fits "
            "better, not worse."
        )
    return array


def _degrees(value: Any, what: str, *, finite: bool = False) -> float:
    """Return degrees of freedom that are some."""
    if not isinstance(value, Real):
        raise TypeError(f"{what} must be a number; got {value!r}.")
    number = float(value)
    if not number > 0 or (finite and math.isinf(number)):
        remedy = "finite" if finite else "infinite for a large sample"
        raise ValueError(f"{what} must be above 0, and {remedy}; got {value!r}.")
    return number


def _null(null: Any, labels: pd.Index) -> np.ndarray:
    """Return the hypothesis for each of the labels."""
    array = _numbers(null, labels, "null")
    if array.shape not in [(), (len(labels),)]:
        raise ValueError(
            f"null must be one number, or one for each of {list(labels)}; got {null!r}."
        )
    return np.broadcast_to(array, len(labels))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over imputations and the deviations from it.

    Differences come first, so that identical analyses have a variance of 0 and no rounding error.
    """
    difference = x - x[0]
    shift = difference.mean(0)
    return x[0] + shift, difference - shift


def _ratio(part: Any, whole: Any) -> np.ndarray:
    """Return part / whole, where nothing is no part of nothing."""
    part, whole = np.asarray(part), np.asarray(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, np.divide(part, whole))


def _large_sample(df: float, share: Any) -> Any:
    """Return df / share**2, Rubin's (1987) degrees of freedom by lambda; infinite for none."""
    with np.errstate(divide="ignore"):
        return np.divide(df, np.square(share))


def _left(dfcom: float) -> float:
    """Return dfcom (dfcom + 1) / (dfcom + 3), for infinity, too."""
    return dfcom * (1 - 2 / (dfcom + 3))


def _small_sample(df: Any, share: Any, dfcom: float) -> Any:
    """Return the degrees of freedom of Barnard and Rubin (1999) from those of a large sample."""
    if math.isinf(dfcom):
        return df
    with np.errstate(divide="ignore"):
        return np.divide(1, np.divide(1, df) + np.divide(1, _left(dfcom) * (1 - share)))


def _denominator(m: int, k: float, riv: float, dfcom: float) -> float:
    """Return the denominator's degrees of freedom of D1 and D3."""
    s, share = k * (m - 1), riv / (1 + riv)
    if k == 1 or s <= 4:
        return _small_sample(_large_sample((k + 1) / 2 * (m - 1), share), share, dfcom)
    a = riv * s / (s - 2)
    if math.isfinite(dfcom) and _left(dfcom) > 4 * (1 + a):
        return _reiter(s, a, _left(dfcom))
    return _small_sample(4 + _large_sample(s - 4, a / (1 + a)), share, dfcom)


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


def _block(variance: Values, covariance: Matrix, place: np.ndarray) -> np.ndarray:
    """Return the covariances of some quantities, or the variance of one."""
    if covariance is None:
        return np.diag(np.atleast_1d(variance)[place])
    return np.asarray(covariance)[np.ix_(place, place)]


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """Return W with W covariance W' = 1."""
    scale = np.sqrt(np.diagonal(covariance))
    if (scale > 0).all():
        # correlations, for units must not decide what is singular
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        if values[0] > _SINGULAR:
            return vectors.T / (np.sqrt(values)[:, None] * scale)
    raise ValueError(
        "The covariances of the tested quantities are singular: choose columns that are not "
        "functions of one another."
    )


def _f_test(statistic: float, df1: float, df2: Any, riv: float) -> PooledTest:
    if df2 == 0:  # nothing is known
        p = 1.0
    elif np.isinf(df2):
        p = stats.chi2.sf(df1 * statistic, df1)
    else:
        p = stats.f.sf(statistic, df1, df2)
    return PooledTest(statistic, float(df1), float(df2), float(p), riv)
