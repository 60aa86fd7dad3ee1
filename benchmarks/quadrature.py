"""Log-densities of incomplete rows by numerical integration over one or two latents."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skmissvae.estimators.base import BaseVAE
from skmissvae.vae.likelihoods.normal import NormalColumns
from skmissvae.vae.vae import VAE

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
    """
    rows = estimator.encode_rows(X)
    x, observed = rows.tensors()
    with torch.inference_mode():
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
