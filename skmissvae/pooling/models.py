"""Pooling of fitted models by Rubin's rules."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from .._utils.quoting import listed
from .estimates import PooledEstimates, pool
from .inputs import Floats
from .statistics import PooledTest, pool_likelihood_ratio


def pool_models(
    models: Iterable[Any],
    *,
    estimates: Callable[[Any], Any] | None = None,
    variances: Callable[[Any], Any] | None = None,
    dfcom: float | None = None,
) -> PooledEstimates:
    """Pool fitted models by Rubin's rules.

    The attributes ``params``, ``cov_params()`` (or ``bse``) and ``df_resid`` of statsmodels are
    used by default, or ``params_`` and ``variance_matrix_`` of lifelines. For other models pass two
    functions that return estimates and variances.

    Parameters
    ----------
    models : iterable
        The same model fitted to each completed table. With a generator only one model is in memory.
    estimates : callable or None, default=None
        Function of a model that returns the estimates of one table: a number, an array of shape
        (p,) or a Series. None uses ``params``.
    variances : callable or None, default=None
        Function of a model that returns the squared standard errors, of the shape of the
        estimates, or a covariance matrix. None uses ``cov_params()``, or ``bse`` squared, or
        ``variance_matrix_``.
    dfcom : float or None, default=None
        Degrees of freedom of the analysis of a complete table. None uses the smallest
        ``df_resid`` of the models, or infinity if they have none; for survival models of
        statsmodels and lifelines the number of events less that of estimates. Pass infinity for
        models whose tests are based on large-sample theory.

    Returns
    -------
    PooledEstimates
        The pooled estimates.

    Raises
    ------
    TypeError
        If the models lack these attributes and no functions are passed.
    ValueError
        If one function is passed without the other, or the estimates cannot be pooled.

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
            "estimates and variances must be passed together. Pass both functions, or neither for "
            "models that have params."
        )
    q, u, df_resid = [], [], []
    for model in models:
        if estimates is None or variances is None:
            estimate, variance = _estimates_of(model)
        else:
            estimate, variance = estimates(model), variances(model)
        q.append(estimate)
        u.append(variance)
        df_resid.append(_degrees_of_freedom(model, estimate))
    return pool(q, u, dfcom=min(df_resid, default=math.inf) if dfcom is None else dfcom)


def pool_nested_models(
    models: Iterable[Any], null_models: Iterable[Any], *, dfcom: float | None = None
) -> PooledTest:
    r"""Test nested models of statsmodels by pooled likelihood ratios, D3.

    The log-likelihoods of both models are evaluated in each completed table at their own estimates
    and at the pooled values of all parameters [1]_, by the formula of ``pool_likelihood_ratio``. A
    parameter of linear regressions is the residual variance, by maximum likelihood.

    Parameters
    ----------
    models : iterable
        The larger model fitted to each completed table, such as ``smf.logit(formula, t).fit()``,
        with ``params``, ``llf`` and ``model.loglike(params)``. Models of lifelines and mixed models
        have no such function, nor have generalized linear models whose scale is estimated.
    null_models : iterable
        The smaller model, a special case, fitted to the same tables in the same order.
    dfcom : float or None, default=None
        Degrees of freedom of the analysis of a complete table, as in ``pool_models``.

    Returns
    -------
    PooledTest
        The statistic, its degrees of freedom, p-value and average relative increase in variance.

    Raises
    ------
    TypeError
        If a model has no log-likelihood at given parameters, or one that is not ``llf`` at its own.
    ValueError
        If the numbers of models differ, or their parameters between tables; or if the smaller model
        is not a special case of the larger one with the same outcomes.

    See Also
    --------
    pool_likelihood_ratio : The same test of statistics of any model.
    PooledEstimates.test : Test of estimates with covariances, D1.

    References
    ----------
    .. [1] Meng and Rubin (1992). Performing likelihood ratio tests with multiply-imputed data
       sets. Biometrika 79.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from skmissvae import pool_nested_models
    >>> def normal_model(x, params):  # of unit variance, as statsmodels has it
    ...     model = SimpleNamespace(loglike=lambda p: -0.5 * np.sum((x - np.sum(p)) ** 2))
    ...     llf = model.loglike(params)
    ...     return SimpleNamespace(params=np.array(params), model=model, llf=llf, df_resid=99)
    >>> tables = [np.random.default_rng(seed).normal(0.2, size=100) for seed in range(5)]
    >>> means = [normal_model(x, [x.mean()]) for x in tables]
    >>> pool_nested_models(means, [normal_model(x, []) for x in tables])
    F(1, 23.07) = 2.035, p = 0.1671, riv = 0.5014
    """
    larger, smaller = list(models), list(null_models)
    if len(larger) != len(smaller) or len(larger) < 2:
        raise ValueError(
            f"models and null_models must have one model for each of two or more tables; got "
            f"{len(larger)} and {len(smaller)}."
        )
    own, at_pooled, n_params = np.zeros(len(larger)), np.zeros(len(larger)), list[int]()
    for name, sign, fitted in (("models", 1, larger), ("null_models", -1, smaller)):
        parameters = [_parameters(model, name) for model in fitted]
        names = [_parameter_names(model) for model in fitted]
        others = [other for other in names if other != names[0]]
        if others:
            raise ValueError(
                f"{name} must have the same parameters in each table; got {listed(names[0])} and "
                f"{listed(others[0])}. Give all tables the same categories."
            )
        n_params.append(len(names[0]))
        pooled = [np.mean(part, axis=0) for part in zip(*parameters, strict=True)]
        for i, model in enumerate(fitted):
            own[i] += 2 * sign * _log_likelihood(model, *parameters[i])
            at_pooled[i] += 2 * sign * _log_likelihood(model, *pooled)
    for model, null_model in zip(larger, smaller, strict=True):
        _check_nested(model.model, null_model.model)
    df = n_params[0] - n_params[1]
    if df < 1 or (own < -1e-6).any():
        raise ValueError(
            f"null_models must be special cases of models; they have {n_params[1]} parameters "
            f"where models have {n_params[0]}, and likelihood ratios from {own.min():.3g}."
        )
    if dfcom is None:
        dfcom = min(_degrees_of_freedom(model, model.params) for model in larger)
    return pool_likelihood_ratio(np.maximum(own, 0.0), at_pooled, df, dfcom=dfcom)


def _parameters(model: Any, name: str) -> tuple[Floats, float]:
    """Return the coefficients of a model and its scale, the residual variance of a regression.

    Raises
    ------
    TypeError
        If the likelihood at these parameters is not that of the model.
    """
    inner: Any = getattr(model, "model", None)
    try:
        llf, _ = float(model.llf), inner.loglike
        params = np.asarray(model.params, dtype=np.float64).ravel(order="F")
        scale = float(getattr(model, "scale", 1.0))
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must have params, llf and model.loglike(params), as those of statsmodels; got "
            f"one of type {type(model).__name__} without. Pass the statistics of other models to "
            "pool_likelihood_ratio."
        ) from error
    if _has_normal_errors(model):
        residuals = _residuals(model, params)
        scale = float(residuals @ residuals) / len(residuals)
    elif scale != 1:
        raise TypeError(
            f"{name} have a scale that is no maximum-likelihood estimate ({scale:.6g}), so that "
            "likelihood ratios are not defined. Test their estimates: pool_models(...).test()."
        )
    own = _log_likelihood(model, params, scale)
    if not abs(own - llf) <= 1e-6 * (1 + abs(llf)):
        raise TypeError(
            f"{name} must have the log-likelihood llf at params; that of a {type(inner).__name__} "
            f"is {llf:.6g}, but {own:.6g} there: it has further parameters, weights or links. Pass "
            "the statistics of such models to pool_likelihood_ratio."
        )
    return params, scale


def _parameter_names(model: Any) -> list[Any]:
    """Return the names of the parameters of a model, or their positions."""
    params = model.params
    if isinstance(params, pd.DataFrame):
        return [(column, name) for column in params for name in params.index]
    return list(params.index) if isinstance(params, pd.Series) else list(range(np.size(params)))


def _check_nested(model: Any, null_model: Any) -> None:
    """Raise if a model of statsmodels has other rows or no columns for those of another one."""
    outcome, other = (np.asarray(getattr(m, "endog", ())) for m in (model, null_model))
    if not np.array_equal(outcome, other):
        raise ValueError(
            f"models and null_models must have the same outcome in the same rows; got "
            f"{len(outcome)} and {len(other)} rows. A formula leaves out rows with "
            "missing values: fit both models to completed tables."
        )
    columns = [getattr(m, "exog", None) for m in (model, null_model)]
    if columns[0] is None or columns[1] is None:
        return
    larger, smaller = (np.asarray(part, dtype=np.float64) for part in columns)
    coefficients, _, rank, _ = np.linalg.lstsq(larger, smaller, rcond=None)
    size = np.abs(smaller).max(initial=0.0)
    if np.abs(smaller - larger @ coefficients).max(initial=0.0) > 1e-6 * size:
        raise ValueError(
            "null_models must be special cases of models; a column of theirs is not a linear "
            "function of those of models. Pass nested models."
        )
    if rank < larger.shape[1]:
        raise ValueError(
            f"models must have linearly independent columns; the {larger.shape[1]} columns have "
            f"rank {rank}. Leave out redundant columns."
        )


def _has_normal_errors(model: Any) -> bool:
    """Return whether a model is a regression whose residual variance is a parameter."""
    is_normal = type(getattr(model.model, "family", None)).__name__ == "Gaussian"
    return is_normal or hasattr(model.model, "wexog")


def _residuals(model: Any, params: Floats) -> Floats:
    """Return the residuals of a linear regression, whitened if it has weights."""
    inner = model.model
    if hasattr(inner, "wexog"):
        return np.asarray(inner.wendog - inner.wexog @ params)
    return np.asarray(inner.endog - inner.predict(params))


def _log_likelihood(model: Any, params: Floats, scale: float) -> float:
    """Return the log-likelihood of the table of a model at given parameters."""
    if not _has_normal_errors(model):
        return float(model.model.loglike(params))
    residuals = _residuals(model, params)
    weights = np.broadcast_to(getattr(model.model, "weights", 1.0), residuals.shape)
    log_density = np.log(2 * np.pi * scale / weights) + residuals**2 / scale
    return -0.5 * float(log_density.sum())


def _estimates_of(model: Any) -> tuple[Any, Any]:
    """Return the estimates and variances of a model of statsmodels or lifelines."""
    if hasattr(model, "params") and hasattr(model, "cov_params"):
        return _with_names(model), model.cov_params()
    if hasattr(model, "params") and hasattr(model, "bse"):
        return _with_names(model), np.square(model.bse)
    if hasattr(model, "params_") and hasattr(model, "variance_matrix_"):
        return model.params_, model.variance_matrix_
    raise TypeError(
        "models must have params, and cov_params() or bse; got one of type "
        f"{type(model).__name__} without. Pass the functions estimates and variances."
    )


def _with_names(model: Any) -> Any:
    """Return the estimates; those of Cox models of statsmodels get the names of their columns."""
    params: Any = model.params
    inner: Any = getattr(model, "model", None)
    if hasattr(inner, "status") and not isinstance(params, pd.Series):
        return pd.Series(params, list(inner.exog_names))
    return params


def _degrees_of_freedom(model: Any, estimate: Any) -> float:
    """Return the degrees of freedom: of rows, or events less estimates; infinity if unknown."""
    status = getattr(getattr(model, "model", None), "status", None)  # of statsmodels
    events = getattr(model, "event_observed", status)  # of lifelines
    if events is None:
        return float(getattr(model, "df_resid", math.inf))
    return max(float(np.sum(np.asarray(events))) - np.size(estimate), 1.0)
