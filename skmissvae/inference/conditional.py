"""What a fitted model tells of a row's latents and missing cells given its observed cells."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .._utils.random import Noise
from ..vae.likelihoods.base import ColumnDistribution
from ..vae.likelihoods.truncated import truncated
from ..vae.vae import VAE, Draws
from .importance import (
    BLOCK,
    Adapt,
    Evidence,
    ImportanceSampler,
    ResampledLatents,
    WeightedDraws,
    WeightedMeans,
    evidence,
    moments,
    resample,
    weighted,
)
from .mcmc_diagnostics import worst_cell_diagnostics
from .samplers import ChainRun, Sampler, run
from .weights import effective_sample_size_of, low_ess

_POINTS = 4096  # values that stand for a cell's distribution, if there are not more latents


# Pools are added until so many draws are effective that all imputations can choose from them; at
# the last fewer will do, as a pool for each imputation would take long.
_SHARED_ESS, _SHARED_POOLS, _LEAST_SHARED_ESS = 100.0, 3, 20.0


_DISAGREE = 1.5  # R-hat from which on chains are told to disagree


W = TypeVar("W", WeightedMeans, ResampledLatents, WeightedDraws)


def _effective(trace: Tensor, observed: Tensor) -> Tensor:
    """Return the effective number of draws of chains; those that disagree count as one."""
    ess, r_hat = worst_cell_diagnostics(trace, observed)
    return torch.where(r_hat < _DISAGREE, ess, 1.0)


def _chosen(w: Tensor, u: Tensor) -> Tensor:
    """Return which draws uniform numbers choose by their weights: (*, M), (*, n) -> (*, n)."""
    total = w.cumsum(-1)
    # rounding must not choose one behind the last
    return torch.searchsorted(total, u.to(total) * total[..., -1:]).clamp_max(w.shape[-1] - 1)


class ConditionalModel(NamedTuple):
    """Ways to condition a model on the observed cells of rows.

    Parameters
    ----------
    vae : VAE
        The model, with an encoder for incomplete rows.
    n_draws : int
        Importance draws.
    sampler : Sampler or None
        What runs chains; None leaves it to the importance weights.
    completed : VAE or None
        The same model with an encoder for completed rows, for the chains; None takes ``vae``.
    n_steps : int
        Steps of the chains.
    where_poor : bool
        Whether chains run for those rows alone whose importance weights are poor.
    held : int
        Importance draws of which there are columns at a time, as far as they are summed over.
    bounds : tuple of Tensor of shape (D,), optional
        Where the columns of what is imputed are cut off.
    adapt : {"never", "where poor", "always"}
        Whose proposals are adapted.
    """

    vae: VAE
    n_draws: int
    sampler: Sampler | None
    completed: VAE | None
    n_steps: int
    where_poor: bool
    held: int = BLOCK
    bounds: tuple[Tensor, Tensor] | None = None
    adapt: Adapt = "where poor"

    def decode(self, z: Tensor) -> ColumnDistribution:
        """Return what is imputed given latents: (*, L) -> batch (*, D)."""
        return self.vae.decode(z) if self.bounds is None else self._cut(z)[0]

    def _cut(self, z: Tensor) -> tuple[ColumnDistribution, Tensor]:
        """Return columns cut off at the bounds, and the log-shares that are left, (*, D)."""
        assert self.bounds is not None, "asked by those who have them"
        # tails want double precision
        columns = self.vae.likelihood(self.vae.decoder(z).double())
        return truncated(columns, *self.bounds)

    def _blocks(self, x: Tensor, observed: Tensor, noise: Noise) -> ImportanceSampler:
        """Return the importance draws of rows."""

        def imputed(draws: Draws) -> tuple[ColumnDistribution, Tensor]:
            columns, log_share = self._cut(draws.z)
            return columns, torch.where(observed, 0.0, log_share).sum(-1)

        return ImportanceSampler(
            self.vae,
            x,
            observed,
            self.n_draws,
            noise,
            imputed=None if self.bounds is None else imputed,
            adapt=self.adapt,
            held=self.held,
        )

    def _log_share(self, z: Tensor, observed: Tensor) -> Tensor:
        """Return what the bounds add to the log-weights of latents: (M, 1, L) -> (M,)."""
        if self.bounds is None:
            return z.new_zeros(len(z))
        return torch.where(observed, 0.0, self._cut(z)[1]).sum(-1).squeeze(-1)

    def to(self, device: torch.device) -> ConditionalModel:
        """Return a copy on a device."""
        if device.type == "cpu":
            return self
        vae, completed = copy.deepcopy((self.vae, self.completed))
        return self._replace(
            vae=vae.to(device),
            completed=None if completed is None else completed.to(device),
            bounds=self.bounds and (self.bounds[0].to(device), self.bounds[1].to(device)),
        )

    def row_invariant(self) -> ConditionalModel | None:
        """Return what takes many rows at a time, (B, D), where this takes one, by weights alone.

        Their draws are the encoder's: no proposal is adapted. None where networks have no such
        form.
        """
        vae = self.vae.row_invariant()
        return None if vae is None else self._replace(vae=vae, sampler=None, adapt="never")

    def evidence(self, x: Tensor, observed: Tensor, noise: Noise) -> Evidence:
        """Return evidence and effective sample size by importance weights: of rows, (B, D).

        They come one at a time but where ``row_invariant`` has made this.
        """
        return evidence(self._blocks(x, observed, noise))

    def means(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, ...]:
        """Return what is expected of x, E[z | x_obs] and the effective number of draws behind them.

        And that number without what bounds do to the weights. Rows come one at a time, but where
        ``row_invariant`` has made this: (B, D) -> (B, n_expected), (B, L), (B,), (B,).
        """
        blocks = self._blocks(x, observed, noise)
        if found := self._unless_chains_run(observed, lambda: moments(blocks)):
            return found.expected, found.z, found.ess, found.proposal_ess
        run = self.run(x, observed, noise)
        ess = _effective(run.means(self.vae), observed)
        z = run.z.flatten(0, 1)  # (M, 1, L)
        w = self._log_share(z, observed).softmax(0)[:, None, None].double()
        return (w * self.decode(z).expected()).sum(0), (w * z).sum(0), ess, ess

    def latents(
        self, x: Tensor, observed: Tensor, noise: Noise, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents that stand for p(z | x_obs), and the effective number they come from.

        And that number without what bounds do to the weights. Rows come one at a time, but where
        ``row_invariant`` has made this: (B, D) -> (size, B, L), (B,), (B,).
        """
        blocks = self._blocks(x, observed, noise)
        if found := self._unless_chains_run(observed, lambda: resample(blocks, size)):
            return found.z, found.ess, found.proposal_ess
        run = self.run(x, observed, noise)
        ess = _effective(run.means(self.vae), observed)
        z = run.z.flatten(0, 1)  # later steps last
        if self.bounds is not None:
            w = self._log_share(z, observed).softmax(0)
            return z[_chosen(w, noise.uniform(size, 1, 1).flatten())], ess, ess
        # the last ones, each from another chain as far as there are chains
        return z[-size:] if size <= len(z) else z[torch.arange(size) % len(z)], ess, ess

    def drawn(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, ...]:
        """Return a draw of all cells from p(x | x_obs), (B, D), and what ``latents`` tells of it.

        Rows come one at a time, but where ``row_invariant`` has made this.
        """
        z, *ess = self.latents(x, observed, noise, 1)
        return self.decode(z).sample(noise)[0].double(), *ess

    def log_weights(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return importance draws of one row and the logarithms of their weights.

        (1, D) -> (M, 1, L), (M,).
        """
        found = self._pool(x, observed, noise)
        return found.z, found.log_w.squeeze(0)

    def _pool(self, x: Tensor, observed: Tensor, noise: Noise) -> WeightedDraws:
        """Return importance draws of rows and their weights."""
        return weighted(self._blocks(x, observed, noise))

    def weighted(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents and weights that stand for p(z | x_obs), and their effective number.

        Rows come one at a time: (1, D) -> (M, 1, L), (M,), (1,).
        """
        if found := self._unless_chains_run(observed, lambda: self._pool(x, observed, noise)):
            return found.z, found.log_w.squeeze(0).softmax(0), found.ess
        run = self.run(x, observed, noise)
        z = run.z.flatten(0, 1)
        w = self._log_share(z, observed).double().softmax(0)
        return z, w, _effective(run.means(self.vae), observed)

    def information(self, x: Tensor, observed: Tensor, noise: Noise, n: int) -> Tensor:
        """Return what the missing cells would tell of the latents, in nats: (1, D) -> (1,)."""
        z, w, _ = self.weighted(x, observed, noise)
        columns = self.decode(z)
        chosen = _chosen(w, noise.uniform(n, 1, 1).flatten())  # (n,)
        filled = self.decode(z[chosen]).completion(noise)  # (n, 1, D)
        cells = [columns.log_prob(one.expand(columns.shape)) for one in filled]  # (M, 1, D) each
        log_p = torch.where(observed, 0.0, torch.stack(cells)).sum((-1, -2)).double()  # (n, M)
        given_z = log_p.gather(1, chosen.unsqueeze(1)).squeeze(1)
        return (given_z - (log_p + w.log()).logsumexp(1)).mean().clamp_min(0).reshape(1)

    def several(
        self, x: Tensor, observed: Tensor, noise: Noise, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents that pools of importance draws give for uniform numbers.

        Draws from pools that they share vary less than independent ones by the share 1 / ess:
        where this matters, and where chains run, they are NaN. Beside them the effective number of
        a pool's draws, with and without what bounds do to the weights. Rows come one at a time, but
        where ``row_invariant`` has made this: (B, D), (B, n) -> (B, n, L), (B,), (B,).
        """
        z = x.new_full((*u.shape, self.vae.prior.n_latents), torch.nan)
        if self._may_run(observed) and not self.where_poor:
            nothing = z[:, 0, 0].double()
            return z, nothing, nothing
        pools = [self._pool(x, observed, noise)]
        # a row's pools are all of one kind
        later = self._replace(adapt="always" if pools[0].adapted else "never")
        ess, proposal_ess = pools[0].ess, pools[0].proposal_ess
        waiting = torch.ones_like(ess, dtype=torch.bool)
        if self._may_run(observed) and self.is_poor(ess):
            return z, ess, proposal_ess
        while True:
            w = torch.cat([pool.log_w for pool in pools], 1).softmax(-1)  # (B, M)
            last = len(pools) == _SHARED_POOLS
            enough = effective_sample_size_of(w) >= (_LEAST_SHARED_ESS if last else _SHARED_ESS)
            draws = torch.cat([pool.z for pool in pools]).transpose(0, 1)  # (B, M, L)
            found = draws.take_along_dim(_chosen(w, u).unsqueeze(-1), 1)
            z = torch.where((waiting & enough)[:, None, None], found, z)
            waiting &= ~enough
            if last or not waiting.any():
                return z, ess, proposal_ess
            pools.append(later._pool(x, observed, noise))

    def spread(
        self, x: Tensor, observed: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor, ColumnDistribution, Tensor]:
        """Return weighted values that stand for p(x | x_obs).

        Rows come one at a time: (1, D) -> (P, D), (P,), and what they come from: columns of batch
        (M, 1, D), each with the weight of P / M values, and the effective number of latents.
        """
        z, w, ess = self.weighted(x, observed, noise)
        columns = self.decode(z)
        n = max(1, _POINTS // len(z))
        u = noise.uniform(*columns.shape)
        values = torch.stack([columns.icdf((u + part) / n) for part in range(n)], 1)
        return values.flatten(0, 2).double(), (w / n).repeat_interleave(n), columns, ess

    def run(self, x: Tensor, observed: Tensor, noise: Noise) -> ChainRun:
        """Run the chains of one row from importance draws."""
        assert self.sampler is not None
        free = self._replace(bounds=None)._blocks(x, observed, noise)
        start = resample(free, self.sampler.n_chains).z
        vae = self.vae
        if self.completed is not None and self.sampler.sees_completed:
            vae = self.completed
        return run(self.sampler, vae, x, observed, start, self.n_steps, noise)

    def _unless_chains_run(self, observed: Tensor, weigh: Callable[[], W]) -> W | None:
        """Return what importance draws give, or None where chains have to run in their place."""
        may_run = self._may_run(observed)
        if may_run and not self.where_poor:
            return None
        found = weigh()
        return None if may_run and self.is_poor(found.ess) else found

    def _may_run(self, observed: Tensor) -> bool:
        # nothing seen: the prior's draws are exact; all seen: nothing to draw
        return self.sampler is not None and bool(observed.any()) and not bool(observed.all())

    def is_poor(self, ess: Tensor) -> Tensor:
        """Tell where weights are poor, by the effective number of draws: (B,), (B,)."""
        return ess < low_ess(self.n_draws)
