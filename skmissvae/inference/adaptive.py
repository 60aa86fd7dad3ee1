"""Importance proposals adapted to the posterior of each row."""

from collections.abc import Callable

import torch
from torch import Tensor

from .._utils.matmul import products
from .._utils.random import Noise
from ..vae.distributions import AffineMixture, DefensiveMixture, Proposal
from .normal_proposal import normal
from .weights import effective_sample_size_of, finite_log_weights

_ROUNDS = 8
_LEAST_PILOT, _MOST_PILOT = 64, 256  # limits of the draws of an iteration; more for many latents
_PER_LATENT = 5  # effective draws per latent to which a Gaussian is fitted
_INFLATION = 1.3  # of the covariance: weights have a finite variance if the proposal is wider
_SHRINKAGE = 0.2  # weight of a diagonal covariance, in effective draws per latent
_DEFENSE = 0.2  # share of draws from the first proposal, which keeps weights bounded
_POWERS = tuple(2 ** (-0.5 * i) for i in range(24))  # exponents that flatten weights


def n_adaptation_draws(n: int, n_latents: int) -> int:
    """Return the largest number of draws per row that adapt a proposal for n draws."""
    n_pilot = max(min(max(n // 4, _LEAST_PILOT), _MOST_PILOT), _PER_LATENT * n_latents)
    return _ROUNDS * n_pilot


def adapt_proposal(
    log_joint: Callable[[Tensor], Tensor],
    q: Proposal,
    z: Tensor,
    log_ratio: Tensor,
    n: int,
    noise: Noise,
) -> Proposal:
    r"""Return a proposal that is adapted to the posterior of each row by importance sampling.

    Each iteration fits a Gaussian, with the weighted mean and covariance, to all draws so far,
    weighted against the mixture of their proposals [1]_, and draws from it. If too few draws are
    effective to estimate a covariance, weights are flattened, :math:`w^\beta`, with the largest
    sufficient exponent [2]_; a row stops once its weights need no flattening. Results use
    new draws, so that the evidence is unbiased given the proposal. Rows are selected for
    adaptation by draws that count if they are not selected; this biases the evidence of rows near
    the limit a little.

    Parameters
    ----------
    log_joint : callable
        Returns log p(x_obs, z) of the rows: (M, B, L) -> (M, B).
    q : Proposal
        The first proposals.
    z, log_ratio : Tensor of shape (M, B, L) and (M, B)
        Draws from them, and log p(x_obs, z) - log q(z | x_obs).
    n : int
        Number of draws for which the proposal is used. An iteration takes a quarter of it, within
        limits.
    noise : Noise
        Source of the noise.

    Returns
    -------
    Proposal
        The last Gaussians and, for a fifth of the draws, the first proposals.

    References
    ----------
    .. [1] Cornuet, Marin, Mira and Robert (2012). Adaptive multiple importance sampling.
       Scandinavian Journal of Statistics 39.
    .. [2] Koblents and Míguez (2015). A population Monte Carlo scheme with transformed weights and
       its application to stochastic kinetic models. Statistics and Computing 25.
    """
    sources: list[Proposal] = [q]
    n_draws_of = [len(z)]
    log_q = q.log_prob(z).T.unsqueeze(1)  # (B, S, M): each source at all draws
    log_p = log_ratio.T + log_q[:, 0]  # (B, M)
    n_pilot = n_adaptation_draws(n, z.shape[-1]) // _ROUNDS
    min_ess = min(max(_PER_LATENT * z.shape[-1], 20), n_pilot // 2)
    # noise of all iterations at once: later draws must not depend on the number of iterations
    noise_of_rounds = [noise.normal(n_pilot, *z.shape[1:]) for _ in range(_ROUNDS)]
    gaussian: AffineMixture | None = None
    is_active = torch.ones(z.shape[1], dtype=torch.bool, device=z.device)
    for i, standard in enumerate([*noise_of_rounds, None]):
        share = (log_q.new_tensor(n_draws_of) / len(z)).log().unsqueeze(-1)
        log_w = finite_log_weights((log_p - (share + log_q).logsumexp(1)).double())
        power = _power(log_w, min_ess)
        refitted = _gaussian(z, (power.unsqueeze(-1) * log_w).softmax(-1))
        gaussian = refitted if gaussian is None else _where(is_active, refitted, gaussian)
        if i:
            is_active &= power < 1
        if standard is None or not is_active.any():
            break
        new_z = gaussian.transform(standard)
        new_log_q = torch.stack([source.log_prob(new_z).T for source in sources], 1)
        log_q = torch.cat([log_q, new_log_q], -1)
        log_p = torch.cat([log_p, log_joint(new_z).T], -1)
        z = torch.cat([z, new_z])
        log_q = torch.cat([log_q, gaussian.log_prob(z).T.unsqueeze(1)], 1)
        sources.append(gaussian)
        n_draws_of.append(n_pilot)
    assert gaussian is not None, "there is at least one iteration"
    return DefensiveMixture(gaussian, q, _DEFENSE)


def _power(log_w: Tensor, min_ess: int) -> Tensor:
    """Return the largest exponents with an ESS of at least ``min_ess``: (B, M) -> (B,)."""
    powers = log_w.new_tensor(_POWERS)
    flattened = powers.unsqueeze(-1) * log_w.unsqueeze(-2)  # (B, P, M)
    is_sufficient = effective_sample_size_of(flattened.softmax(-1)) >= min_ess
    is_sufficient[..., -1] = True
    return powers[is_sufficient.to(torch.uint8).argmax(-1)]


def _gaussian(z: Tensor, w: Tensor) -> AffineMixture:
    """Return Gaussians with the mean and inflated covariance of draws: (M, B, L), (B, M)."""
    n_latents, n_effective = z.shape[-1], effective_sample_size_of(w)
    points = z.transpose(0, 1).double().nan_to_num(0.0, 0.0, 0.0)  # (B, M, L)
    mean = products(w.unsqueeze(1), points)  # (B, 1, L)
    deviation = points - mean
    covariance = _INFLATION * products((w.unsqueeze(-1) * deviation).mT, deviation)  # (B, L, L)
    # covariances are shrunk to diagonal ones if few draws are effective
    factor = (n_effective / (n_effective + _SHRINKAGE * n_latents)).view(-1, 1, 1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    covariance = covariance.mul(factor)
    # a nearly singular covariance would have no Cholesky factor
    covariance.diagonal(dim1=-2, dim2=-1).copy_(variance * (1 + 1e-6) + 1e-10)
    return normal(mean.squeeze(1), covariance, z)


def _where(condition: Tensor, first: AffineMixture, second: AffineMixture) -> AffineMixture:
    """Return the first Gaussian in rows where a condition, (B,), holds, else the second."""
    pairs = (first.loc, second.loc), (first.factor, second.factor), (first.inverse, second.inverse)
    parts = (torch.where(condition.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs)
    return AffineMixture(first.base, *parts)
