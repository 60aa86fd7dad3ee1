"""A fitted model conditioned on the observed cells of rows: evidence, means, draws, chains."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from .._utils.compat import take_along_dim
from .._utils.random import Noise
from .._utils.runtime import convert
from ..vae.likelihoods.base import ColumnDistribution, Limits
from ..vae.likelihoods.product import numeric_quantiles
from ..vae.likelihoods.tilted import tilted
from ..vae.likelihoods.truncated import truncated
from ..vae.networks.shifted import DecoderShifts
from ..vae.vae import VAE, Draws
from .importance import (
    BLOCK,
    Evidence,
    ImportanceSampler,
    ProposalKind,
    RowLatents,
    RowMeans,
    WeightedDraws,
)
from .mcmc_diagnostics import worst_cell_diagnostics
from .own_decoders import CommonLatents
from .row_batch import RowBatch, is_separable, of_draws
from .samplers import ChainRun, Sampler, run
from .weights import choose_by_weight, effective_sample_size_of, low_ess

_N_VALUES = 4096  # values that represent the distribution of a cell, unless there are more latents
# Effective number of latents given the value of a cell that is sufficient for its information.
_ENOUGH_OF_A_CELL = 50
_MAX_POOLS_OF_A_CELL = 8
# Effective sample sizes that suffice for all imputations: of up to three pools, and at the last.
_SHARED_ESS, _MAX_SHARED_POOLS, _MIN_SHARED_ESS = 100.0, 3, 20.0
_N_CANDIDATES = 128  # latents that imputations with their own decoders choose from
_MAX_R_HAT = 1.5  # above it chains disagree, and count as a single draw


class RowDraws(NamedTuple):
    """A draw of every cell of rows."""

    x: Tensor  # (B, D)   approximately from p(x | x_obs)
    ess: Tensor  # (B,)   effective sample size of the latents behind it
    proposal_ess: Tensor  # (B,)   without the effect of bounds on the weights


class ConditionalModel(NamedTuple):
    """A fitted model and the ways to condition it on the observed cells of rows.

    Methods take a ``RowBatch``: many rows if ``row_invariant`` has made the model, a single row
    otherwise.

    Parameters
    ----------
    vae : VAE
        The model, with an encoder of incomplete rows.
    n_draws : int
        Importance draws per row.
    sampler : Sampler or None
        Runs chains; None uses importance weights.
    completed_vae : VAE or None
        The same model with an encoder of completed rows, for the chains; None uses ``vae``.
    chains_for_low_ess : bool
        Whether chains run only for rows whose importance weights have a low effective sample size.
    n_decoded : int
        Importance draws of a row that are decoded at a time.
    bounds : tuple of Tensor of shape (D,), optional
        Lower and upper bounds of imputed columns, infinite ones if only cells have limits.
    proposal : {"encoder", "normal", "refined", "adapted", "sufficient"}
        Which proposals importance draws come from.
    log_odds : Tensor of shape (D, C), optional
        What is added to the log-odds of the categories of imputed columns.
    required_ess : float
        No pools are added for rows with a lower one, whose results are not used.
    """

    vae: VAE
    n_draws: int
    sampler: Sampler | None = None
    completed_vae: VAE | None = None
    chains_for_low_ess: bool = False
    n_decoded: int = BLOCK
    bounds: tuple[Tensor, Tensor] | None = None
    proposal: ProposalKind = "sufficient"
    log_odds: Tensor | None = None
    required_ess: float = 0.0

    def to(self, device: torch.device) -> Self:
        """Return a copy on a device."""
        if device.type == "cpu":
            return self
        models = copy.deepcopy((self.vae, self.completed_vae))
        vae, completed_vae = convert(models, VAE, lambda model: model.to(device))
        bounds, log_odds = convert((self.bounds, self.log_odds), Tensor, lambda t: t.to(device))
        return self._replace(vae=vae, completed_vae=completed_vae, bounds=bounds, log_odds=log_odds)

    def row_invariant(self) -> Self | None:
        """Return a model for many rows at a time, by importance weights without chains.

        None if a network has no form in which the bits of a row do not depend on other rows.
        """
        vae = self.vae.row_invariant()
        return None if vae is None else self._replace(vae=vae, sampler=None, proposal="encoder")

    def ignoring_missingness(self) -> Self:
        """Return a model that ignores why cells are missing."""
        return self._replace(vae=self.vae.ignoring_missingness())

    def encode(
        self,
        x: Tensor,
        observed: Tensor,
        new_noise: Callable[[], Noise],
        positions: Sequence[int] = (),
        limits: Limits | None = None,
    ) -> RowBatch:
        """Return rows, (B, D), with their posterior.

        Without an observed cell the posterior is the prior; such rows come alone.
        """
        has_evidence = observed.any()
        q = self.vae.posterior(x, observed) if has_evidence else self.vae.prior().expand(len(x))
        return RowBatch(x, observed, q, new_noise, positions, limits)

    def decode(self, z: Tensor, batch: RowBatch) -> ColumnDistribution:
        """Return the distribution of imputed cells given latents: (*, B, L) -> batch (*, B, D)."""
        if self.bounds is None:
            columns = self._of_missing(self.vae.decode(z), batch)
        else:
            columns = self._truncated(z, batch)[0]
        return columns if self.log_odds is None else tilted(columns, self.log_odds)

    @of_draws
    def evidence(self, batch: RowBatch) -> Evidence:
        """Return the evidence by importance weights, without the effect of bounds."""
        return self._importance(batch, batch.new_noise()).evidence()

    def weighted_draws(self, batch: RowBatch) -> WeightedDraws:
        """Return all importance draws of rows, with their weights."""
        return self._importance(batch, batch.new_noise()).weighted_draws()

    @of_draws
    def means(self, batch: RowBatch) -> RowMeans:
        """Return conditional means."""
        noise = batch.new_noise()
        if not self._always_runs_chains(batch):
            means = self._importance(batch, noise, antithetic=True).means()
            if not self._needs_chains(batch, means.ess):
                return means
        z, log_share, ess = self._chain_latents(batch, noise)
        w = log_share.softmax(0)[:, None, None].double()
        return RowMeans(ess, (w * self.decode(z, batch).expected()).sum(0), (w * z).sum(0), ess)

    @of_draws
    def latent_means(self, batch: RowBatch) -> RowMeans:
        """Return conditional means of the latents, without those of the cells."""
        means = self.means(batch)
        return means._replace(expected=means.expected[:, :0])

    def latents(self, batch: RowBatch, n: int) -> RowLatents:
        """Return n latents of each row."""
        return self._latents(batch, batch.new_noise(), n)

    def draw(self, batch: RowBatch) -> RowDraws:
        """Return a draw of every cell."""
        noise = batch.new_noise()
        z, ess, proposal_ess = self._latents(batch, noise, 1)
        x = self.decode(z.transpose(0, 1), batch).sample(noise)[0].double()
        return RowDraws(x, ess, proposal_ess)

    def _latents(self, batch: RowBatch, noise: Noise, n: int) -> RowLatents:
        if not self._always_runs_chains(batch):
            latents = self._importance(batch, noise, antithetic=True).resample(n)
            if not self._needs_chains(batch, latents.ess):
                return latents
        z, log_share, ess = self._chain_latents(batch, noise)
        if self.bounds is not None:
            z = z[choose_by_weight(log_share.softmax(0), noise.uniform(n, 1, 1).flatten())]
        else:  # the last ones, which come from different chains if there are enough
            z = z[-n:] if n <= len(z) else z[torch.arange(n) % len(z)]
        return RowLatents(z.transpose(0, 1), ess, ess)

    def log_weights(self, batch: RowBatch) -> Tensor:
        """Return the logarithms of the importance weights of one row, (M,)."""
        draws = self._importance(batch, batch.new_noise()).weighted_draws()
        return draws.log_w.squeeze(0)

    def weighted_latents(
        self, batch: RowBatch, noise: Noise | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return weighted latents of a single row that represent p(z | x_obs).

        Latents (M, 1, L), weights (M,), whose sum is one, and the effective sample size (1,).
        """
        noise = noise or batch.new_noise()
        if not self._always_runs_chains(batch):
            pool = self._importance(batch, noise, antithetic=True).weighted_draws()
            if not self._needs_chains(batch, pool.ess):
                return pool.z, pool.log_w.squeeze(0).softmax(0), pool.ess
        z, log_share, ess = self._chain_latents(batch, noise)
        return z, log_share.double().softmax(0), ess

    def latent_information(self, batch: RowBatch, n: int) -> Tensor:
        """Return the mutual information of latents and missing cells of a row, in nats, (1,).

        It is estimated by n completions of the row.
        """
        noise = batch.new_noise()
        z, w, _ = self.weighted_latents(batch, noise)
        columns = self.decode(z, batch)
        chosen = choose_by_weight(w, noise.uniform(n, 1, 1).flatten())  # (n,)
        completed = self.decode(z[chosen], batch).completion(noise)  # (n, 1, D)
        log_p = [columns.log_prob(row.expand(columns.shape)) for row in completed]  # (M, 1, D) each
        log_p_missing = torch.where(batch.observed, 0.0, torch.stack(log_p))
        log_p_missing = log_p_missing.sum((-1, -2)).double()  # (n, M)
        given_z = log_p_missing.gather(1, chosen.unsqueeze(1)).squeeze(1)
        marginal = (log_p_missing + w.log()).logsumexp(1)
        return (given_z - marginal).mean().clamp_min(0).reshape(1)

    def cell_information(
        self, batch: RowBatch, n: int, target: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the information of each cell of a row about another one, in nats, (1, D).

        ``target`` is the index of the other column; None means the latents. The expectation is
        estimated by n completions of the row. The second value is the mean effective number of
        latents given the values of the cell, (1, D): with few the information is inaccurate. Pools
        of latents are added until all are sufficient, or there are eight.
        """
        noise = batch.new_noise()
        pools = [self.weighted_latents(batch, noise)[:2]]
        chosen = choose_by_weight(pools[0][1], noise.uniform(n, 1, 1).flatten())
        completed = self.decode(pools[0][0][chosen], batch).completion(noise)  # (n, 1, D)
        while True:
            z, w = (torch.cat(parts) for parts in zip(*pools, strict=True))
            columns = self.decode(z, batch)
            log_w = (w / len(pools)).log().unsqueeze(1)
            information, ess = torch.zeros(2, *batch.x.shape, dtype=torch.float64)
            for i, row in zip(chosen, completed, strict=True):
                log_p = columns.log_prob(row.expand(columns.shape)).squeeze(1).double()  # (M, D)
                log_joint = log_w + log_p
                marginal = log_joint.logsumexp(0)
                ess += (2 * marginal - (2 * log_joint).logsumexp(0)).exp() / n
                if target is None:
                    information += (log_p[i] - marginal) / n
                    continue
                # with the latents of the completion the estimate is too large, without them too
                # small: their mean has less bias
                for part in (log_joint, log_joint.index_fill(0, i, -torch.inf)):
                    marginal, at_target = part.logsumexp(0), log_p[:, target].unsqueeze(1)
                    both = (part + at_target).logsumexp(0)
                    information += (both - marginal - marginal[target]) / (2 * n)
            is_enough = ess >= _ENOUGH_OF_A_CELL
            if len(pools) == _MAX_POOLS_OF_A_CELL or bool((is_enough | batch.observed).all()):
                return information.clamp_min(0), ess
            missing = _MAX_POOLS_OF_A_CELL - len(pools)
            pools += [
                self.weighted_latents(batch, noise)[:2] for _ in range(min(len(pools), missing))
            ]

    def shared_latents(
        self, batch: RowBatch, u: Tensor, shifts: DecoderShifts | None = None
    ) -> RowLatents:
        """Return latents of n imputations, chosen by uniform numbers, (B, n), from shared pools.

        Draws from shared pools vary less than independent ones by the share 1 / ess. Latents are
        NaN for rows in which this matters or for which chains run. ``shifts`` are those of n
        decoders, if imputations have their own.
        """
        noise = batch.new_noise()
        if shifts is not None:
            steps = torch.arange(_N_CANDIDATES, device=u.device)
            candidates = (noise.uniform(1, len(u), 1)[0] + steps) / _N_CANDIDATES
            latents, pool_ess = self._pooled(batch, candidates.expand(len(u), -1), noise)
            if latents.z.isnan().all():  # none of the rows is used
                return latents._replace(z=latents.z[:, :1].expand(-1, u.shape[1], -1))
            common = self._common_latents(batch, latents.z, pool_ess)
            return latents._replace(z=common.choose(u, shifts, low_ess(_N_CANDIDATES)))
        return self._pooled(batch, u, noise)[0]

    def _pooled(self, batch: RowBatch, u: Tensor, noise: Noise) -> tuple[RowLatents, Tensor]:
        """Return latents from pools, and the effective sample size of all pools of a row, (B,)."""
        z = batch.x.new_full((*u.shape, self.vae.prior.n_latents), torch.nan)
        if self._always_runs_chains(batch):
            no_ess = z[:, 0, 0].double()
            return RowLatents(z, no_ess, no_ess), no_ess
        pools = [self._importance(batch, noise).weighted_draws()]
        # all pools of a row have the same kind of proposal
        later = self._replace(proposal=pools[0].proposal)
        ess, proposal_ess = pools[0].ess, pools[0].proposal_ess
        waiting = proposal_ess >= self.required_ess
        if self._needs_chains(batch, ess):
            return RowLatents(z, ess, proposal_ess), ess
        pool_ess = ess
        while True:
            w = torch.cat([pool.log_w for pool in pools], 1).softmax(-1)  # (B, M)
            is_last = len(pools) == _MAX_SHARED_POOLS or not waiting.any()
            min_ess = _MIN_SHARED_ESS if is_last else _SHARED_ESS
            pool_ess = torch.where(waiting, effective_sample_size_of(w), pool_ess)
            is_enough = pool_ess >= min_ess
            draws = torch.cat([pool.z for pool in pools]).transpose(0, 1)  # (B, M, L)
            chosen = take_along_dim(draws, choose_by_weight(w, u).unsqueeze(-1), 1)
            z = torch.where((waiting & is_enough)[:, None, None], chosen, z)
            waiting &= ~is_enough
            if is_last or not waiting.any():
                return RowLatents(z, ess, proposal_ess), pool_ess
            pools.append(later._importance(batch, noise).weighted_draws())

    def _common_latents(self, batch: RowBatch, z: Tensor, pool_ess: Tensor) -> CommonLatents:
        """Return latents, (B, M, L), of pools, (B,), for decoders with shifted outputs."""
        vae = self.vae

        def log_p(outputs: Tensor, rows: Tensor) -> Tensor:
            limits = None if batch.limits is None else batch.limits.part(rows)
            cells = batch.x[rows], batch.observed[rows], limits
            log_p = vae.log_prob_of_cells(vae.likelihood(outputs), *cells)
            if not self._has_finite_bounds():
                return log_p.sum(-1).double()
            columns = vae.of_missing(vae.likelihood(outputs.double()), *cells)
            log_share = truncated(columns, *self._bounds(limits))[1]
            return (log_p + torch.where(batch.is_evidence[rows], 0.0, log_share)).sum(-1)

        return CommonLatents(
            z,
            (pool_ess / z.shape[1]).clamp_max(1),
            vae.decoder,
            vae.prior().log_prob,
            log_p,
            self.n_decoded,
            is_separable(vae, z.device),
        )

    def cell_values(self, batch: RowBatch) -> tuple[Tensor, Tensor, ColumnDistribution, Tensor]:
        """Return weighted values that represent p(x | x_obs) of a single row.

        Values (P, D), NaN in columns of categories, and their weights (P,); the columns of batch
        (M, 1, D) they come from, each with the weight of P / M values; the effective sample size
        (1,).
        """
        noise = batch.new_noise()
        z, w, ess = self.weighted_latents(batch, noise)
        columns = self.decode(z, batch)
        n = max(1, _N_VALUES // len(z))
        u = noise.uniform(*columns.shape)
        i = torch.arange(n, device=u.device).view(n, 1, 1, 1)
        values = numeric_quantiles(columns, (u + i) / n).transpose(0, 1)
        return values.flatten(0, 2).double(), (w / n).repeat_interleave(n), columns, ess

    def run_chains(self, batch: RowBatch, noise: Noise) -> ChainRun:
        """Run the chains of one row, initialized from importance draws."""
        assert self.sampler is not None
        unbounded = self._replace(bounds=None)._importance(batch, noise)
        start = unbounded.resample(self.sampler.n_chains).z.transpose(0, 1)
        vae = self.vae
        if self.completed_vae is not None and self.sampler.sees_completed:
            vae = self.completed_vae
        return run(self.sampler, vae, batch.x, batch.observed, start, noise, batch.limits)

    def has_low_ess(self, ess: Tensor) -> Tensor:
        """Return which effective sample sizes are low: (B,) -> (B,)."""
        return ess < low_ess(self.n_draws)

    def _chain_latents(self, batch: RowBatch, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents of chains, later steps last, and the effect of the bounds on them.

        Latents (M, 1, L), log-weights (M,), and the effective sample size (1,), which is 1 if the
        chains disagree.
        """
        chains = self.run_chains(batch, noise)
        ess, r_hat = worst_cell_diagnostics(chains.means(self.vae), batch.observed)
        z = chains.z.flatten(0, 1)
        return z, self._log_share(z, batch), torch.where(r_hat < _MAX_R_HAT, ess, 1.0)

    def _may_run_chains(self, batch: RowBatch) -> bool:
        """Return whether there is a sampler, and the row has evidence and is not complete.

        The draws of a row without evidence, which come from the prior, are exact.
        """
        has_evidence, is_complete = bool(batch.is_evidence.any()), bool(batch.has_value.all())
        return self.sampler is not None and has_evidence and not is_complete

    def _always_runs_chains(self, batch: RowBatch) -> bool:
        return not self.chains_for_low_ess and self._may_run_chains(batch)

    def _needs_chains(self, batch: RowBatch, ess: Tensor) -> bool:
        """Return whether chains replace importance draws of the given effective sample size."""
        return self._may_run_chains(batch) and bool(self.has_low_ess(ess))

    def _has_finite_bounds(self) -> bool:
        """Return whether imputed cells of a column have a bound, besides limits of cells."""
        return self.bounds is not None and any(bool(b.isfinite().any()) for b in self.bounds)

    def _bounds(self, limits: Limits | None) -> tuple[Tensor, Tensor]:
        """Return the bounds of imputed cells, (D,), or with limits (B, D)."""
        assert self.bounds is not None, "checked by the callers"
        if limits is None:
            return self.bounds
        return torch.maximum(self.bounds[0], limits.low), torch.minimum(self.bounds[1], limits.high)

    def _of_missing(self, columns: ColumnDistribution, batch: RowBatch) -> ColumnDistribution:
        return self.vae.of_missing(columns, batch.x, batch.observed, batch.limits)

    def _truncated(self, z: Tensor, batch: RowBatch) -> tuple[ColumnDistribution, Tensor]:
        """Return columns truncated to the bounds, and the log-probabilities of the bounds, (*, D).

        Tails need double precision.
        """
        columns = self.vae.likelihood(self.vae.decoder(z).double())
        return truncated(self._of_missing(columns, batch), *self._bounds(batch.limits))

    def _log_share(self, z: Tensor, batch: RowBatch) -> Tensor:
        """Return the effect of the bounds on log-weights of latents: (M, 1, L) -> (M,)."""
        if not self._has_finite_bounds():
            return z.new_zeros(len(z))
        log_share = self._truncated(z, batch)[1]
        return batch.of_missing(log_share).sum(-1).squeeze(-1)

    def _importance(
        self, batch: RowBatch, noise: Noise, *, antithetic: bool = False
    ) -> ImportanceSampler:
        def imputed(draws: Draws) -> tuple[ColumnDistribution, Tensor]:
            columns, log_share = self._truncated(draws.z, batch)
            return columns, batch.of_missing(log_share).sum(-1)

        return ImportanceSampler(
            self.vae,
            batch.x,
            batch.observed,
            self.n_draws,
            noise,
            posterior=batch.posterior,
            imputed=None if self.bounds is None else imputed,
            proposal=self.proposal,
            n_decoded=self.n_decoded,
            antithetic=antithetic,
            limits=batch.limits,
        )
