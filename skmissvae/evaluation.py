"""Exact log-densities of small models, to hold estimates against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._estimator import BaseVAE
from .likelihoods import NormalColumns
from .model import VAE

_CELLS = 20_000_000  # cells (grid point, row, column) held at once
_POINTS = 2**15  # grid points that the decoder sees at once
_FINEST = 2**13  # grid points per axis at most
_TAILS = 8.0  # standard deviations beyond which a Normal prior is nothing
_HEAVY_TAILS = 1e5  # the same for a Student-t prior, where spacing grows with distance


def integrated_score_samples(estimator: BaseVAE, X: Any, *, tol: float = 1e-3) -> np.ndarray:
    r"""Return the log-density of each row's observed cells by numerical integration.

    .. math:: \log p(x_{obs}) = \log \int p(x_{obs} | z)\, p(z)\, dz

    by the trapezoidal rule over a grid of latents, made finer until a grid between its points
    agrees. It is what ``score_samples`` tends to from below as importance draws grow, whatever the
    encoder.

    Parameters
    ----------
    estimator : BaseVAE
        A fitted estimator with one or two latents.
    X : array-like of shape (n_samples, n_features)
        Rows, with holes.
    tol : float, default=1e-3
        Error allowed in the mean over rows, in nats.

    Returns
    -------
    ndarray of shape (n_samples,)
        Log-densities in the units of ``X``.

    Raises
    ------
    ValueError
        If the model has more than two latents, or the finest grid is not fine enough.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.evaluation import integrated_score_samples
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=20, random_state=0).fit(X)
    >>> exact = integrated_score_samples(imputer, X).mean()
    >>> bool(abs(exact - imputer.score(X)) < 0.05)
    True
    """
    _, _, rows = estimator._rows(X)
    x, observed = torch.from_numpy(rows.x.astype(np.float32)), torch.from_numpy(rows.observed)
    with torch.inference_mode():
        log_evidence = _integrate(estimator.vae_, x, observed, tol).numpy()
    return log_evidence - estimator._table.log_units(rows)


def _integrate(vae: VAE, x: Tensor, observed: Tensor, tol: float) -> Tensor:
    """Return log p(x_obs) in float64: (N, D), (N, D) bool -> (N,)."""
    n_latents = vae.prior.n_latents
    if n_latents > 2:
        raise ValueError(
            f"Integration over a grid takes one or two latents; the model has {n_latents}. Use "
            "score_samples with many importance draws."
        )
    n = 128
    coarse = _sum(vae, x, observed, n, 0.0)
    while n <= _FINEST:
        between = _sum(vae, x, observed, n, 0.5)
        # two grids, of points and of the middles of their cells: half the error is seen
        if (
            abs(float((between - coarse).mean())) < tol
            and (between - coarse).abs().mean() < 10 * tol
        ):
            return torch.logaddexp(coarse, between) - math.log(2)
        n *= 2
        coarse = _sum(vae, x, observed, n, 0.0)
    raise ValueError(
        f"A grid of {_FINEST} points per axis is too coarse for tol={tol}: the decoder changes too "
        "fast. Use score_samples with many importance draws."
    )


def _sum(vae: VAE, x: Tensor, observed: Tensor, n: int, shift: float) -> Tensor:
    """Return the logarithm of the trapezoidal sum over a grid of n points per axis, (N,)."""
    component = vae.prior().component
    reach = float(component.loc.abs().max() + _TAILS * component.scale.max())
    if math.isfinite(vae.prior.tail):
        ends = math.asinh(_HEAVY_TAILS)
        t = (torch.arange(n, dtype=torch.float64) + shift) * (2 * ends / n) - ends
        axis, log_weight = t.sinh(), t.cosh().log() + math.log(2 * ends / n)
    else:
        axis = (torch.arange(n, dtype=torch.float64) + shift) * (2 * reach / n) - reach
        log_weight = torch.full_like(axis, math.log(2 * reach / n))
    n_latents = vae.prior.n_latents
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    block = min(max(1, _CELLS // max(1, x.numel())), _POINTS)
    for start in range(0, n**n_latents, block):
        index = torch.arange(start, min(start + block, n**n_latents))
        places = [index // n**axis_number % n for axis_number in range(n_latents)]
        z = torch.stack([axis[place] for place in places], -1).to(x.dtype).unsqueeze(1)
        weights = torch.stack([log_weight[place] for place in places]).sum(0)
        weights = weights + vae.prior().log_prob(z).squeeze(-1).double()  # (M,)
        log_joint = _log_conditional(vae, x, observed, z).add_(weights)
        total = torch.logaddexp(total, torch.logsumexp(log_joint, -1))
    return total


def _log_conditional(vae: VAE, x: Tensor, observed: Tensor, z: Tensor) -> Tensor:
    """Return log p(x_obs | z) in float64: (N, D), (N, D) bool, (M, 1, L) -> (N, M)."""
    columns = vae.decode(z)
    if not isinstance(columns, NormalColumns):
        return torch.where(observed, columns.log_prob(x), 0.0).sum(-1).double().T.contiguous()
    # a quadratic of every cell, so that all pairs are one product of matrices
    loc, scale = columns.loc.double().squeeze(1), columns.scale.double().expand_as(columns.loc)
    scale = scale.squeeze(1)  # (M, D)
    precision = scale**-2
    constant = -0.5 * precision * loc**2 - scale.log() - 0.5 * math.log(2 * math.pi)
    seen = observed.double()
    cells = torch.cat([x.double() ** 2 * seen, x.double() * seen, seen], -1)  # (N, 3 D)
    return cells @ torch.cat([-0.5 * precision, precision * loc, constant], -1).T
