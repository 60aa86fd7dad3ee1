"""Importance proposals from Normal approximations of the posteriors of rows."""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import special
from torch import Tensor

from .._utils.matmul import pad_to_cache_line
from ..vae.distributions import (
    AffineMixture,
    DefensiveMixture,
    DiagonalNormal,
    LatentDistribution,
    Mixture,
    Proposal,
)

_RATES = 6 * (0.5,) + 6 * (0.3,)  # of the steps of refined approximations; others take four steps
_N_STEPS = 4
_LEAST_PAIRS = 16  # of points of a step, of which there are at least as many as latents
_MAX_CHANGE = 5.0  # Frobenius norm of the change of a precision, in units of the current one
_MAX_STEP = 1.0  # standard deviations per latent by which a mean moves in a step
_INFLATION = 1.15  # of covariances: weights have a finite variance if the proposal is wider
_JITTER = 1e-10  # share of a variance
_N_AVERAGES = 8  # equal rows of a regression, which align matrices
_DEFENSE = 0.2  # share of draws from the encoder's posterior, which keeps weights bounded


def normal_proposal(
    gradient: Callable[[Tensor], Tensor], q: LatentDistribution, refined: bool = False
) -> Proposal:
    r"""Return a proposal from Normals that approximate the posteriors of rows.

    Their means m and precisions :math:`\Lambda` maximize the evidence lower bound of each row.
    From the moments of q, natural-gradient steps [1]_ of rate 0.5 go towards

    .. math:: \Lambda = -E[\nabla^2 \log p(x_{obs}, z)], \qquad E[\nabla \log p(x_{obs}, z)] = 0,

    with the second-order term that keeps precisions positive definite [2]_. The expectations come
    from gradients at pairs of points on opposite sides of the mean in nearly orthogonal
    directions, the same for all rows, by a linear regression: exact if the gradient is linear.

    Parameters
    ----------
    gradient : callable
        Returns the derivatives of log p(x_obs, z) of the rows by z: (S, B, L) -> (S, B, L).
    q : LatentDistribution
        The encoder's posteriors, batch (B,).
    refined : bool
        Whether twelve steps are taken instead of four, the last six with the rate 0.3.

    Returns
    -------
    Proposal
        The Normals, with inflated covariances, and for a fifth of the draws the encoder's
        posteriors.

    References
    ----------
    .. [1] Khan and Rue (2023). The Bayesian learning rule. Journal of Machine Learning Research 24.
    .. [2] Lin, Schmidt and Khan (2020). Handling the positive-definite constraint in the Bayesian
       learning rule. ICML.
    """
    like, n_latents = q.mean(), q.mean().shape[-1]
    # in double precision; latents of the padding, which aligns matrices, stay standard Normal
    mean = pad_to_cache_line(like.double()).unsqueeze(-1)
    factor = _root(q.covariance())
    for rate, design in zip(
        _RATES[: None if refined else _N_STEPS], _designs(n_latents), strict=False
    ):
        points, regression = (part.to(mean).expand(len(mean), -1, -1) for part in design)
        z = torch.baddbmm(mean, factor, points)[:, :n_latents].permute(2, 0, 1)  # (S, B, L)
        slopes = gradient(z.to(like)).nan_to_num(0.0, 0.0, 0.0).transpose(0, 1).double()
        # derivatives by the latents in units of the factor
        fit = regression @ (pad_to_cache_line(slopes) @ factor)
        slope, average = fit[:, :-_N_AVERAGES], fit[:, -1:]
        mean, factor = _step(mean, factor, slope, average, rate, n_latents)
    covariance = _INFLATION * factor @ factor.mT
    mean, covariance = mean[:, :n_latents, 0], covariance[:, :n_latents, :n_latents]
    return DefensiveMixture(normal(mean, covariance, like), q, _DEFENSE)


def _step(
    mean: Tensor, factor: Tensor, slope: Tensor, average: Tensor, rate: float, n_latents: int
) -> tuple[Tensor, Tensor]:
    """Return means, (B, L, 1), and factors of covariances, (B, L, L), after a step.

    Given are the expected second derivatives, (B, L, L), and first ones, (B, 1, L), by the latents
    in units of the factor.
    """
    identity = torch.eye(slope.shape[-1], dtype=slope.dtype, device=slope.device)
    is_latent = identity.clone()
    is_latent.diagonal()[n_latents:] = 0.0
    change = -rate * ((slope + slope.mT) / 2 + is_latent)
    norm = change.flatten(1).square().sum(-1).sqrt()
    change = change * (_MAX_CHANGE / norm.clamp_min(_MAX_CHANGE)).view(-1, 1, 1)
    precision = torch.baddbmm(identity + change, change, change, alpha=0.5)
    inverse = _inverse(torch.linalg.cholesky_ex(precision)[0])
    move = rate * inverse @ average.mT
    size, max_size = move.square().sum(1, keepdim=True).sqrt(), _MAX_STEP * math.sqrt(n_latents)
    move = move * (max_size / size.clamp_min(max_size))
    factor = factor @ inverse.mT
    return torch.baddbmm(mean, factor, move), factor


def n_points(n_latents: int) -> int:
    """Return the number of points of a step."""
    return 2 * _LEAST_PAIRS * math.ceil(max(_LEAST_PAIRS, n_latents) / _LEAST_PAIRS)


def normal(mean: Tensor, covariance: Tensor, like: Tensor) -> AffineMixture:
    """Return Normals, (B, L) and (B, L, L), with parameters of the type of a tensor."""
    n_latents = mean.shape[-1]
    root = _root(covariance)
    factors = (part[:, :n_latents, :n_latents].to(like) for part in (root, _inverse(root)))
    zeros = like.new_zeros(len(mean), 1, n_latents)
    standard = Mixture(like.new_zeros(len(mean), 1), DiagonalNormal(zeros, torch.ones_like(zeros)))
    return AffineMixture(standard, mean.to(like), *factors)


def _root(covariance: Tensor) -> Tensor:
    """Return Cholesky factors, which are padded with an identity: (B, L, L)."""
    padded = pad_to_cache_line(covariance, 2)
    variance = padded.diagonal(dim1=-2, dim2=-1)
    variance.mul_(1 + _JITTER)  # an almost singular covariance would have no Cholesky factor
    variance[:, covariance.shape[-1] :] = 1.0
    return torch.linalg.cholesky_ex(padded)[0]


def _inverse(root: Tensor) -> Tensor:
    """Return the inverses of lower triangular matrices, (B, L, L)."""
    identity = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    return torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False)


@functools.lru_cache(maxsize=4)
def _designs(n_latents: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the points of each step, (L, S), and the regression on them, (L + 8, S).

    The rows of the regression give the slopes of a function of the points, and its mean. The
    directions are rows of random orthogonal matrices, drawn once and for all: a proposal is a
    function of its row. Latents are padded.
    """
    n_pairs = n_points(n_latents) // 2
    generator = torch.Generator().manual_seed(0)
    # the distances from the mean are those of a standard Normal
    probabilities = (np.arange(n_pairs) + 0.5) / n_pairs
    radii = torch.from_numpy(np.sqrt(2 * special.gammaincinv(n_latents / 2, probabilities)))
    designs = []
    for _ in _RATES:
        shape = math.ceil(n_pairs / n_latents), n_latents, n_latents
        noise = torch.randn(*shape, generator=generator, dtype=torch.float64)
        directions = torch.linalg.qr(noise)[0].flatten(0, 1)[:n_pairs].T  # (L, n_pairs)
        points = directions * radii[torch.randperm(n_pairs, generator=generator)]
        points = torch.cat([points, -points], 1)
        slopes = torch.linalg.solve(points @ points.T, points)
        points, slopes = (pad_to_cache_line(part.T).T for part in (points, slopes))
        average = torch.full_like(points[:_N_AVERAGES], 0.5 / n_pairs)
        designs.append((points.contiguous(), torch.cat([slopes, average])))
    return tuple(designs)
