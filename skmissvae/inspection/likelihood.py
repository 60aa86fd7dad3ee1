"""Log-likelihood of rows by many importance draws, with standard errors."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np

from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..inference.conditional import ConditionalModel


class LogLikelihood(NamedTuple):
    """Log-likelihood of rows by importance draws, with standard errors.

    Parameters
    ----------
    mean : float
        Mean log-density of the rows, in nats.
    standard_error : float
        Standard error of ``mean`` over rows.
    scores : ndarray of shape (n_samples,)
        Log-density of each row.
    errors : ndarray of shape (n_samples,)
        Monte Carlo standard errors of ``scores``.
    """

    mean: float
    standard_error: float
    scores: np.ndarray
    errors: np.ndarray


def log_likelihood(estimator: BaseVAE, X: Any, *, n_draws: int = 5000) -> LogLikelihood:
    r"""Return the mean log-density of rows by many importance draws, with standard errors.

    The score of a row is the importance-weighted bound
    :math:`\log \frac1n \sum_m p(x_{obs}, z_m) / q(z_m | x_{obs})`. To first order its Monte Carlo
    variance is :math:`1 / ESS - 1 / n`, with Kish's effective sample size, and its bias is minus
    half of the variance. Rows with a low effective sample size get a better proposal instead of
    q, as in ``score_samples``. Draws are processed in blocks, so that memory does not grow with
    their number. The rows share their random numbers, so their Monte Carlo errors are correlated:
    that of the mean, which ``standard_error`` does not include, can be as large as the mean of
    ``errors``.

    Parameters
    ----------
    estimator : BaseVAE
        Fitted estimator. It is not changed.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing cells.
    n_draws : int, default=5000
        Largest number of importance draws per row. The errors of rows that need fewer are a little
        too large.

    Returns
    -------
    LogLikelihood
        Mean, its standard error over rows, scores and their Monte Carlo errors, in the units of
        ``X``. Scores with errors above about 0.3 are unreliable, because the first-order expansion
        does not hold.

    References
    ----------
    .. [1] Burda, Grosse and Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import log_likelihood
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=20, random_state=0).fit(X)
    >>> result = log_likelihood(imputer, X, n_draws=500)
    >>> bool(result.errors.max() < 0.1)
    True
    """
    check_minimum(1, n_draws=n_draws)
    with_draws = copy.copy(estimator).set_params(n_importance_draws=n_draws)
    rows = with_draws.encode_rows(X)
    result = with_draws.map_rows(X, ConditionalModel.evidence, batched=True)
    is_empty = ~rows.has_evidence() & (with_draws.vae_.missingness is None)
    scores = np.where(is_empty, 0.0, result.log_evidence) - with_draws.schema_.log_units(rows)
    ess = np.where(is_empty, n_draws, result.ess)
    errors = np.sqrt(np.maximum(1 / ess - 1 / n_draws, 0.0))
    std = scores.std(ddof=1) if len(scores) > 1 else math.nan
    return LogLikelihood(float(scores.mean()), float(std / math.sqrt(len(scores))), scores, errors)
