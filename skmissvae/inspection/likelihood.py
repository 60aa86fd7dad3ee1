"""Log-likelihoods of rows: by numerical integration, and by many importance draws."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._utils.runtime import inference
from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..inference.conditional import ConditionalModel
from ..vae.likelihoods.normal import NormalColumns
from ..vae.vae import VAE

_MAX_CELLS = 20_000_000  # cells (grid point, row, column) in memory at a time
_MAX_POINTS = 2**15  # grid points per call of the decoder
_MIN_GRID, _MAX_GRID = 128, 2**13  # grid points per axis
_NORMAL_REACH = 8.0  # standard deviations that the grid covers for a Normal prior
_HEAVY_TAIL_REACH = 1e5  # the same for a Student-t prior, with spacing that grows outwards


def integrated_score_samples(estimator: BaseVAE, X: Any, *, tol: float = 1e-3) -> np.ndarray:
    r"""Return the log-density of each row's observed cells by numerical integration.

    .. math:: \log p(x_{obs}) = \log \int p(x_{obs} | z)\, p(z)\, dz

    is computed by the trapezoidal rule on a grid of latents. The grid is refined until it agrees
    with the grid of the midpoints of its cells. The result does not depend on the encoder; it is
    the limit of ``score_samples`` from below as the number of importance draws increases.

    Parameters
    ----------
    estimator : BaseVAE
        Fitted estimator with one or two latents.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing cells.
    tol : float, default=1e-3
        Tolerance for the mean over rows, in nats.

    Returns
    -------
    ndarray of shape (n_samples,)
        Log-densities in the units of ``X``.

    Raises
    ------
    ValueError
        If the model has more than two latents, or the finest grid does not reach ``tol``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import integrated_score_samples
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=20, random_state=0).fit(X)
    >>> exact = integrated_score_samples(imputer, X).mean()
    >>> bool(abs(exact - imputer.score(X)) < 0.05)
    True
    """
    rows = estimator.encode_rows(X)
    x, observed = rows.tensors()
    with inference(x.device):
        log_evidence = _integrate(estimator.vae_, x, observed, tol).numpy()
    return log_evidence - estimator.schema_.log_units(rows)


def _integrate(vae: VAE, x: Tensor, observed: Tensor, tol: float) -> Tensor:
    """Return log p(x_obs) in float64: (N, D), (N, D) bool -> (N,)."""
    n_latents = vae.prior.n_latents
    if n_latents > 2:
        raise ValueError(
            f"Integration on a grid needs one or two latents; the model has {n_latents}. Use "
            "score_samples with many importance draws."
        )
    n = _MIN_GRID
    at_nodes = _trapezoidal_sum(vae, x, observed, n, 0.0)
    while n <= _MAX_GRID:
        at_midpoints = _trapezoidal_sum(vae, x, observed, n, 0.5)
        difference = at_midpoints - at_nodes
        if abs(float(difference.mean())) < tol and difference.abs().mean() < 10 * tol:
            return torch.logaddexp(at_nodes, at_midpoints) - math.log(2)
        n *= 2
        at_nodes = _trapezoidal_sum(vae, x, observed, n, 0.0)
    raise ValueError(
        f"A grid of {_MAX_GRID} points per axis is too coarse for tol={tol}, because the decoder "
        "varies too fast. Use score_samples with many importance draws."
    )


def _trapezoidal_sum(vae: VAE, x: Tensor, observed: Tensor, n: int, shift: float) -> Tensor:
    """Return the logarithm of the trapezoidal sum on a grid of n points per axis, (N,)."""
    axis, log_weight = _grid_axis(vae, n, shift)
    n_latents = vae.prior.n_latents
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    block = min(max(1, _MAX_CELLS // max(1, x.numel())), _MAX_POINTS)
    for start in range(0, n**n_latents, block):
        flat = torch.arange(start, min(start + block, n**n_latents))
        indices = [flat // n**latent % n for latent in range(n_latents)]
        z = torch.stack([axis[index] for index in indices], -1).to(x.dtype).unsqueeze(1)
        log_mass = torch.stack([log_weight[index] for index in indices]).sum(0)
        log_mass = log_mass + vae.prior().log_prob(z).squeeze(-1).double()  # (M,)
        log_joint = _log_conditional(vae, x, observed, z).add_(log_mass)
        total = torch.logaddexp(total, torch.logsumexp(log_joint, -1))
    return total


def _grid_axis(vae: VAE, n: int, shift: float) -> tuple[Tensor, Tensor]:
    """Return the points of an axis, moved by ``shift`` of a cell, and their log-weights: (n,)."""
    steps = torch.arange(n, dtype=torch.float64) + shift
    if math.isfinite(vae.prior.tail):
        end = math.asinh(_HEAVY_TAIL_REACH)
        t = steps * (2 * end / n) - end
        return t.sinh(), t.cosh().log() + math.log(2 * end / n)
    component = vae.prior().component
    end = float(component.loc.abs().max() + _NORMAL_REACH * component.scale.max())
    axis = steps * (2 * end / n) - end
    return axis, torch.full_like(axis, math.log(2 * end / n))


def _log_conditional(vae: VAE, x: Tensor, observed: Tensor, z: Tensor) -> Tensor:
    """Return log p(x_obs | z) in float64: (N, D), (N, D) bool, (M, 1, L) -> (N, M)."""
    columns = vae.decode(z)
    if not isinstance(columns, NormalColumns):
        return torch.where(observed, columns.log_prob(x), 0.0).sum(-1).double().T.contiguous()
    # quadratic in each cell, so that all pairs (row, point) are one matrix product
    loc, scale = columns.loc.double().squeeze(1), columns.scale.double().expand_as(columns.loc)
    scale = scale.squeeze(1)  # (M, D)
    precision = scale**-2
    constant = -0.5 * precision * loc**2 - scale.log() - 0.5 * math.log(2 * math.pi)
    mask = observed.double()
    cells = torch.cat([x.double() ** 2 * mask, x.double() * mask, mask], -1)  # (N, 3 D)
    return cells @ torch.cat([-0.5 * precision, precision * loc, constant], -1).T


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
    half of the variance. Rows with a low effective sample size get an adapted proposal instead of
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
        Importance draws per row.

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
    is_empty = ~rows.observed.any(1)
    scores = np.where(is_empty, 0.0, result.log_evidence) - with_draws.schema_.log_units(rows)
    ess = np.where(is_empty, n_draws, result.ess)
    errors = np.sqrt(np.maximum(1 / ess - 1 / n_draws, 0.0))
    std = scores.std(ddof=1) if len(scores) > 1 else math.nan
    return LogLikelihood(float(scores.mean()), float(std / math.sqrt(len(scores))), scores, errors)
