"""Pooling of fitted models by Rubin's rules."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from .estimates import PooledEstimates, pool


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
