r"""Samplers of the missing cells of rows: Markov chains over completed rows.

A sampler updates n completions of each row by ``step``; their distribution approaches
p(x_mis | x_obs) of a fitted model. Networks are in evaluation mode. The encoder gets completed
rows with a mask of ones.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .._utils.compat import take_along_dim
from .._utils.random import Noise
from .._utils.validation import check_fields, integer
from ..vae.distributions import LatentDistribution
from ..vae.likelihoods.base import ColumnDistribution, Limits
from ..vae.likelihoods.truncated import truncated
from ..vae.vae import VAE
from .importance import ImportanceSampler
from .weights import finite_log_weights


class Chain(NamedTuple):
    """States of n chains per row."""

    x: Tensor  # (n, B, D)   completed rows
    z: Tensor  # (n, B, L)   latents that the missing cells were drawn from
    accepted: Tensor  # (n, B)   1 where the last step took its proposal, else 0
    limits: Limits | None = None  # (B, D)   of missing cells


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """A Markov chain over completed rows.

    Parameters
    ----------
    n_chains : int, default=20
        Chains per row in imputation. DeMissVAE runs K chains in training.
    n_steps : int, default=50
        Steps of the chains in imputation; the first half is warm-up. With fewer than 8 there are no
        convergence diagnostics.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inference import LAIR
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> X[::4, 1] = np.nan
    >>> imputer = MIWAEImputer(sampler=LAIR(n_chains=5, n_steps=10), max_iter=5)
    >>> bool(np.isnan(imputer.fit_transform(X)).any())
    False
    """

    n_chains: int = 20
    n_steps: int = 50

    #: Whether a step needs the latents of the previous step.
    keeps_z: ClassVar[bool] = False
    #: Whether the encoder gets completed rows, or their observed cells.
    sees_completed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self, n_chains=integer(1), n_steps=integer(1))

    @abstractmethod
    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return the chains after one step: (n, B, D), (B, D) bool -> (n, B, D)."""


@dataclass(frozen=True, kw_only=True)
class ImportanceResampling(Sampler):
    """Sampling importance resampling (Rubin 1987): draws that do not depend on earlier steps.

    Parameters
    ----------
    n_chains, n_steps : int
        As in Sampler.
    n_draws : int
        Importance draws of a step, from the posterior given the observed cells.
    """

    sees_completed: ClassVar[bool] = False

    n_draws: int = 1000

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_fields(self, n_draws=integer(1))

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return new draws."""
        n, x = len(chain.x), chain.x[0]
        sampler = ImportanceSampler(vae, x, observed, self.n_draws, noise, limits=chain.limits)
        latents = sampler.resample(n)
        z = latents.z.transpose(0, 1)
        return impute(vae.decode(z), z, chain, observed, noise)


@dataclass(frozen=True, kw_only=True)
class PseudoGibbs(Sampler):
    """Pseudo-Gibbs sampling (Rezende et al. 2014): latents from the encoder, then cells.

    Its stationary distribution is that of the model only if the encoder is exact.

    Parameters
    ----------
    n_chains, n_steps : int
        As in Sampler.
    """

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return the chains after one step."""
        z = one_each(encodings(vae, chain.x), noise)
        return impute(vae.decode(z), z, chain, observed, noise)


@dataclass(frozen=True, kw_only=True)
class MetropolisWithinGibbs(Sampler):
    r"""Metropolis-within-Gibbs sampling (Mattei and Frellsen 2018).

    A latent z' from the encoder of the completed row replaces z with probability

    .. math:: \min\left(1, \frac{p(x, z')\, q(z | x)}{p(x, z)\, q(z' | x)}\right),

    and the missing cells are drawn given the latent. Its stationary distribution is exact for every
    encoder.

    Parameters
    ----------
    n_chains, n_steps : int
        As in Sampler.
    """

    keeps_z: ClassVar[bool] = True

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return the chains after one step."""
        q = encodings(vae, chain.x)
        both = torch.stack([one_each(q, noise), chain.z])  # (2, n, B, L)
        complete = torch.ones_like(chain.x, dtype=torch.bool)
        # of observed cells; imputed ones are values within theirs
        limits = None if chain.limits is None else chain.limits.of(observed)
        log_w = vae.log_joint(chain.x, complete, both, limits=limits)
        log_w = finite_log_weights(log_w - q.log_prob(both))  # (2, n, B)
        u = noise.uniform(*chain.accepted.shape, 1).squeeze(-1)
        accept = torch.lt(u.log(), log_w[0] - log_w[1])
        z = torch.where(accept.unsqueeze(-1), both[0], both[1])
        moved = impute(vae.decode(z), z, chain, observed, noise)
        return moved._replace(accepted=accept.to(z.dtype))


class Pool(NamedTuple):
    """Weighted latents, M per row."""

    z: Tensor  # (M, B, L)
    params: Tensor  # (M, B, P)   outputs of the decoder
    log_w: Tensor  # (M, B)

    def choose(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return n latents and outputs in proportion to their weights, (n, B, L) and (n, B, P)."""
        below = self.log_w.double().softmax(0).cumsum(0)[:-1]  # (M - 1, B)
        u = noise.uniform(n, below.shape[1], 1).double()  # (n, B, 1)
        winner = (u > below.T).sum(-1, keepdim=True)  # (n, B, 1)
        return take_along_dim(self.z, winner, 0), take_along_dim(self.params, winner, 0)


@dataclass(frozen=True, kw_only=True)
class LAIR(Sampler):
    r"""Latent-adaptive importance resampling (Simkus and Gutmann 2023).

    A pool consists of one latent of each of the n encodings q_k and R latents of the prior, with
    the deterministic-mixture weights

    .. math:: w = p(x_{obs}, z) \Big/ \frac{1}{n + R} \Big(\sum_k q_k(z) + R\, p(z)\Big).

    n latents are resampled from the pool, across the chains, and missing cells are drawn given
    them.

    Parameters
    ----------
    n_chains, n_steps : int
        As in Sampler.
    n_replenish : int
        Draws R of the prior, which keep the pool from collapsing.
    n_iterations : int
        Pools in a step, one after the other.
    final_resampling : bool
        Whether the latents at the end of a step are resampled from the pools of all iterations.
    """

    n_replenish: int = 1
    n_iterations: int = 1
    final_resampling: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_fields(self, n_replenish=integer(0), n_iterations=integer(1))

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return the chains after one step."""
        pools: list[Pool] = []
        for _ in range(self.n_iterations):
            if pools:
                chain = self.resample(vae, pools[-1], chain, observed, noise)
            q = encodings(vae, chain.x)
            z = one_each(q, noise)
            params = vae.decoder(z)
            pools.append(self.weigh(vae, chain.x[0], observed, q, z, params, noise, chain.limits))
        if self.final_resampling:
            pools[-1] = Pool(*(torch.cat(parts) for parts in zip(*pools, strict=True)))
        return self.resample(vae, pools[-1], chain, observed, noise)

    def resample(self, vae: VAE, pool: Pool, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return completions from latents of a pool."""
        z, params = pool.choose(len(chain.x), noise)
        return impute(vae.likelihood(params), z, chain, observed, noise)

    def weigh(
        self,
        vae: VAE,
        x: Tensor,
        observed: Tensor,
        q: LatentDistribution,
        z: Tensor,
        params: Tensor,
        noise: Noise,
        limits: Limits | None = None,
    ) -> Pool:
        """Return the pool of latents drawn from the encodings and of new ones from the prior.

        Parameters
        ----------
        vae : VAE
            The model.
        x, observed : Tensor of shape (B, D)
            Rows and mask of observed cells.
        q : LatentDistribution
            The encodings, batch (n, B).
        z : Tensor of shape (M, B, L)
            Latents, the same number of each encoding.
        params : Tensor of shape (M, B, P)
            Outputs of the decoder for the latents.
        noise : Noise
            Source of the noise.
        limits : Limits, optional
            Intervals of missing cells.
        """
        n, r, prior = len(z), self.n_replenish, vae.prior()
        if r:
            fresh, _ = prior.expand(x.shape[0]).ancestral(r, noise)
            z, params = torch.cat([z, fresh]), torch.cat([params, vae.decoder(fresh)])
        log_joint = vae.log_joint(x, observed, z, vae.likelihood(params), limits)
        log_proposal = q.log_prob_pooled(z)
        if r:  # encodings and prior are one mixture, with their shares of the latents as weights
            log_p = prior.log_prob(z) + math.log(r / (n + r))
            log_proposal = torch.logaddexp(log_proposal + math.log(n / (n + r)), log_p)
        return Pool(z, params, finite_log_weights(log_joint - log_proposal))


def encodings(vae: VAE, x: Tensor) -> LatentDistribution:
    """Return q(z | x) of completed rows: (n, B, D) -> batch (n, B)."""
    return vae.posterior(x, torch.ones_like(x, dtype=torch.bool))


def one_each(q: LatentDistribution, noise: Noise) -> Tensor:
    """Return a draw of each distribution of a batch: (*batch, L)."""
    return q.ancestral(1, noise)[0].squeeze(0)


def impute(
    columns: ColumnDistribution, z: Tensor, chain: Chain, observed: Tensor, noise: Noise
) -> Chain:
    """Return the chains with new draws of the missing cells, except draws that are not finite."""
    if chain.limits is not None:
        columns, _ = truncated(columns, *chain.limits)
    x = columns.completion(noise).to(chain.x)
    x = torch.where(observed | ~x.isfinite(), chain.x, x)
    return chain._replace(x=x, z=z, accepted=torch.ones_like(chain.accepted))


class ChainRun(NamedTuple):
    """T steps of n chains after their warm-up."""

    chain: Chain  # the last step
    z: Tensor  # (T, n, B, L)   latents of each step
    acceptance: Tensor  # (B,)   share of accepted proposals

    def means(self, vae: VAE) -> Tensor:
        """Return E[x | z] of each step and chain in float64, (T, n, B, D)."""
        return vae.decode(self.z).mean().double()


def run(
    sampler: Sampler,
    vae: VAE,
    x: Tensor,
    observed: Tensor,
    start: Tensor,
    noise: Noise,
    limits: Limits | None = None,
) -> ChainRun:
    """Run ``sampler.n_steps`` steps of chains, and discard the first half.

    Parameters
    ----------
    sampler : Sampler
        Updates the chains.
    vae : VAE
        The model, with an encoder of completed rows.
    x, observed : Tensor of shape (B, D)
        Rows and mask of observed cells.
    start : Tensor of shape (n, B, L)
        Initial latents of the chains.
    noise : Noise
        Source of the noise.
    limits : Limits, optional
        Intervals of missing cells.

    Returns
    -------
    ChainRun
        The second half of the steps.
    """
    accepted = torch.ones_like(start[..., 0])
    rows = Chain(x.expand(len(start), *x.shape), start, accepted, limits)
    chain = impute(vae.decode(start), start, rows, observed, noise)
    z, accepted_steps = [], []
    for step in range(sampler.n_steps):
        chain = sampler.step(vae, chain, observed, noise)
        if step >= sampler.n_steps // 2:
            z.append(chain.z)
            accepted_steps.append(chain.accepted)
    return ChainRun(chain, torch.stack(z), torch.stack(accepted_steps).mean((0, 1)))


#: Samplers by name.
SAMPLERS: dict[str, Sampler] = {
    "importance": ImportanceResampling(),
    "pseudo_gibbs": PseudoGibbs(),
    "metropolis": MetropolisWithinGibbs(),
    "lair": LAIR(),
}
