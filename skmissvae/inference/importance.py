"""Importance sampling given a row's observed cells.

Draws from q(z | x_obs) have the weights w = m r, with mass m and ratio r = p(x_obs, z) / q(z).
They are taken in blocks of constant size, so that any number of draws needs the memory of one
block; sums over them are accumulated in float64 in a fixed order. If the first block of a row has a
low effective sample size, all draws come from a better proposal: a Normal approximation of the
row's posterior, by few or more steps, or in the end one that is adapted to weighted draws.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._utils.compat import take_along_dim
from .._utils.random import AntitheticNoise, Noise
from ..vae.distributions import LatentDistribution, Proposal
from ..vae.likelihoods.base import ColumnDistribution, Limits
from ..vae.vae import VAE, Draws
from . import weights
from .adaptive import adapt_proposal
from .normal_proposal import normal_proposal

#: Draws of a block. It determines the order of summation, and thereby the last bits.
BLOCK = 1024

#: Proposals: the encoder's posteriors, Normal approximations of the posteriors, the same with more
#: iterations, and Normals adapted to weighted draws; or the first of these that is sufficient.
ProposalKind = Literal["encoder", "normal", "refined", "adapted", "sufficient"]
# in the order in which a sufficient one is sought
_PROPOSAL_KINDS: tuple[ProposalKind, ...] = ("encoder", "normal", "refined", "adapted")
#: Returns the columns to impute from and the effect of their bounds on log-weights, (M, B).
Imputed = Callable[[Draws], tuple[ColumnDistribution, Tensor]]


class Evidence(NamedTuple):
    """The evidence of rows by importance weights."""

    log_evidence: Tensor  # (B,)   log sum w, an estimate of log p(x_obs)
    ess: Tensor  # (B,)   effective sample size (sum w)^2 / sum w^2

    @property
    def proposal_ess(self) -> Tensor:
        """The same effective sample size, because bounds have no effect on the evidence."""
        return self.ess


class RowMeans(NamedTuple):
    """Conditional means of rows."""

    ess: Tensor  # (B,)   effective sample size
    expected: Tensor  # (B, n_expected)   of what the point estimate of a column is made of
    z: Tensor  # (B, L)   E[z | x_obs]
    proposal_ess: Tensor  # (B,)   without the effect of bounds on the weights


class WeightedDraws(NamedTuple):
    """Draws of rows and the logarithms of their weights."""

    z: Tensor  # (M, B, L)
    log_w: Tensor  # (B, M)   in float64
    log_proposal: Tensor  # (B, M)   without the effect of bounds
    proposal: ProposalKind  # which the draws come from

    @property
    def ess(self) -> Tensor:
        """Effective sample size, (B,)."""
        return weights.effective_sample_size_of(self.log_w.softmax(-1))

    @property
    def proposal_ess(self) -> Tensor:
        """Effective sample size without the effect of bounds, (B,)."""
        return weights.effective_sample_size_of(self.log_proposal.softmax(-1))


class RowLatents(NamedTuple):
    """Unweighted latents of rows, approximately from p(z | x_obs)."""

    z: Tensor  # (B, n, L)
    ess: Tensor  # (B,)   effective sample size of the draws behind them
    proposal_ess: Tensor  # (B,)   without the effect of bounds on the weights


class ImportanceSampler:
    """Importance draws of rows, in blocks.

    There are n draws per row, whose masses sum to one over all blocks. The proposal of a single
    row can be the first sufficient one, or else the last: an effective sample size of a tenth of
    the row's first block, and at least ten draws, provided that 100 draws are requested. Bounds of
    imputations do not affect this decision. Draws do not depend on how many are decoded at a time,
    if the consumer of the blocks uses the same noise only between blocks of ``BLOCK`` draws.

    Parameters
    ----------
    vae : VAE
        The model.
    x, observed : Tensor of shape (B, D)
        Rows and mask of observed cells. With proposal="sufficient" a single row.
    n : int
        Draws per row.
    noise : Noise
        Source of the noise.
    posterior : LatentDistribution, optional
        Posterior q(z | x_obs), batch (B,); None computes it.
    imputed : callable, optional
        Returns the columns to impute from, if they are not those that the model decodes.
    proposal : {"encoder", "normal", "refined", "adapted", "sufficient"}
        Which proposals draws come from; without evidence from the encoder's.
    n_decoded : int
        Draws of a row that are decoded at a time, at most ``BLOCK``.
    antithetic : bool
        Whether draws are in pairs on opposite sides of a component. Means of functions that are
        nearly linear in the latents then vary less, those of even functions, such as the
        evidence, may vary more.
    limits : Limits, optional
        Intervals of missing cells, which are evidence.
    """

    def __init__(
        self,
        vae: VAE,
        x: Tensor,
        observed: Tensor,
        n: int,
        noise: Noise,
        *,
        posterior: LatentDistribution | None = None,
        imputed: Imputed | None = None,
        proposal: ProposalKind = "encoder",
        n_decoded: int = BLOCK,
        antithetic: bool = False,
        limits: Limits | None = None,
    ) -> None:
        assert proposal != "sufficient" or len(x) == 1, "the decision is made for a single row"
        self.vae, self.x, self.observed, self.n, self.noise = vae, x, observed, n, noise
        self.imputed, self.n_decoded, self.limits = imputed, n_decoded, limits
        self.noise_of_draws = AntitheticNoise(noise) if antithetic else noise
        if posterior is None:
            posterior = vae.posterior(x, observed) if observed.any() else vae.prior().expand(len(x))
        self.posterior = posterior
        # without evidence all weights are one
        has_evidence = limits is not None or vae.missingness is not None or bool(observed.any())
        #: Which proposals draws come from; "sufficient" until the first block.
        self.proposal: ProposalKind = proposal if has_evidence else "encoder"

    def __iter__(self) -> Iterator[Draws]:
        """Yield the draws, at most ``n_decoded`` of a row at a time."""
        sizes = [min(BLOCK, self.n - start) for start in range(0, self.n, BLOCK)]
        proposal, first, parts = self._first_block(sizes[0])
        yield first
        del first
        yield from itertools.starmap(self._score, parts[1:])
        for size in sizes[1:]:
            yield from itertools.starmap(self._score, self._draw_block(size, proposal))

    def weighted_blocks(self) -> Iterator[tuple[WeightedDraws, ColumnDistribution]]:
        """Yield the draws with their weights and the columns to impute from, batch (M, B, D)."""
        for draws in self:
            columns = self.vae.of_missing(draws.columns, self.x, self.observed, self.limits)
            log_w = log_proposal = weights.log_weights(draws)
            if self.imputed is not None:
                columns, log_share = self.imputed(draws)
                log_w = weights.log_weights(draws, log_share)
            yield WeightedDraws(draws.z, log_w, log_proposal, self.proposal), columns

    def whole_blocks(self) -> Iterator[WeightedDraws]:
        """Yield the weighted draws of whole blocks, without their columns."""
        parts: list[WeightedDraws] = []
        n_draws = 0
        for part, _ in self.weighted_blocks():
            parts.append(part)
            n_draws += len(part.z)
            if n_draws % BLOCK == 0 or n_draws == self.n:
                yield _concatenate(parts)
                parts = []

    def evidence(self) -> Evidence:
        """Return evidence and effective sample size in float64, without the effect of bounds."""
        sums = weights.WeightSums(self.x)
        for draws in self:
            sums.add(weights.log_weights(draws))
        return Evidence(sums.log_evidence(), sums.ess())

    def means(self) -> RowMeans:
        """Return effective sample size and conditional means, in float64."""
        sums, proposal_sums = self._new_sums()
        sum_x = sum_z = sums.top.new_zeros(())
        for (z, log_w, log_proposal, _), columns in self.weighted_blocks():
            if proposal_sums is not sums:
                proposal_sums.add(log_proposal)
            w, factor = sums.add(log_w)
            sum_x = factor * sum_x + weights.weighted_sum(w, columns.expected())
            sum_z = factor * sum_z + weights.weighted_sum(w, z)
        total = sums.total.unsqueeze(-1)
        return RowMeans(sums.ess(), sum_x / total, sum_z / total, proposal_sums.ess())

    def weighted_draws(self) -> WeightedDraws:
        """Return all draws of each row and the logarithms of their weights, in float64."""
        return _concatenate(list(self.whole_blocks()))

    def resample(self, n: int) -> RowLatents:
        """Draw n latents with replacement in proportion to the weights of all draws (Rubin 1987).

        The draws are never stored: the latent chosen from a block replaces the earlier one with the
        probability of the block's share of the weights so far.
        """
        n_rows = len(self.x)
        sums, proposal_sums = self._new_sums()
        chosen: Tensor | None = None
        for z, log_w, log_proposal, _ in self.whole_blocks():
            if proposal_sums is not sums:
                proposal_sums.add(log_proposal)
            w, _ = sums.add(log_w)
            share = (w.sum(-1) / sums.total).unsqueeze(-1)  # (B, 1)
            u = self.noise.uniform(n, n_rows, 2).double().expand(n, n_rows, 2)
            index = weights.choose_by_weight(w, u[..., 0].T.contiguous())  # (B, n)
            z = take_along_dim(z, index.T.unsqueeze(-1), 0)  # (n, B, L)
            is_replaced = u[..., 1:] < share  # (n, B, 1)
            chosen = z if chosen is None else torch.where(is_replaced, z, chosen)
        assert chosen is not None, "there is at least one draw"
        return RowLatents(chosen.transpose(0, 1), sums.ess(), proposal_sums.ess())

    def _new_sums(self) -> tuple[weights.WeightSums, weights.WeightSums]:
        """Return empty sums over weights with and without the effect of bounds."""
        sums = weights.WeightSums(self.x)
        return sums, sums if self.imputed is None else weights.WeightSums(self.x)

    def _first_block(self, size: int) -> tuple[Proposal, Draws, list[tuple[Tensor, ...]]]:
        """Return the proposal, the first draws scored, and all parts of its first block."""
        kinds = _PROPOSAL_KINDS if self.proposal == "sufficient" else (self.proposal,)
        for self.proposal in kinds:
            proposal = self._new_proposal(size)
            parts = self._draw_block(size, proposal)
            first = self._score(*parts[0])
            if self.proposal == kinds[-1] or self._is_sufficient(first, parts):
                break
        return proposal, first, parts

    def _new_proposal(self, size: int) -> Proposal:
        if self.proposal == "encoder":
            return self.posterior
        if self.proposal == "normal":
            return self._normal_proposal(refined=False)
        proposal = self._normal_proposal(refined=True)
        if self.proposal == "refined":
            return proposal
        z, _ = proposal.ancestral(size, self.noise_of_draws, systematic=True)
        log_ratio = self._log_joint(z) - proposal.log_prob(z)
        return adapt_proposal(self._log_joint, proposal, z, log_ratio, self.n, self.noise)

    def _normal_proposal(self, refined: bool) -> Proposal:
        """Return the Normal approximations, for which gradients are computed."""
        with torch.inference_mode(False), torch.no_grad():
            # copies are not tensors of the inference mode, which have no gradients
            row = self.x.clone(), self.observed.clone()
            limits = self.limits and Limits(*(part.clone() for part in self.limits))

            def gradient(z: Tensor) -> Tensor:
                parts = []
                for part in z.split(self.n_decoded):
                    with torch.enable_grad():
                        leaf = part.detach().requires_grad_()
                        # a copy, as a decoder may change its input in place
                        log_p = self.vae.log_joint(*row, leaf.clone(), limits=limits)
                        (slope,) = torch.autograd.grad(log_p.sum(), leaf)
                    parts.append(slope)
                return torch.cat(parts)

            return normal_proposal(gradient, self.posterior, refined)

    def _is_sufficient(self, first: Draws, parts: list[tuple[Tensor, ...]]) -> bool:
        """Return whether the effective sample size of the first block of a row is sufficient."""
        scored = [first, *(self._score(*part) for part in parts[1:])]
        log_w = torch.cat([weights.log_weights(draws) for draws in scored], 1)
        ess = weights.effective_sample_size_of(log_w.softmax(-1))
        return bool(ess >= weights.sufficient_ess(log_w.shape[1]))

    def _draw_block(self, size: int, proposal: Proposal) -> list[tuple[Tensor, ...]]:
        z, log_mass = proposal.ancestral(size, self.noise_of_draws, systematic=True)
        values = z, log_mass + math.log(size / self.n), proposal.log_prob(z)
        return list(zip(*(value.split(self.n_decoded) for value in values), strict=True))

    def _log_joint(self, z: Tensor) -> Tensor:
        """Return log p(x_obs, z), (M, B)."""
        parts = z.split(self.n_decoded)
        row = self.x, self.observed
        return torch.cat([self.vae.log_joint(*row, part, limits=self.limits) for part in parts])

    def _score(self, z: Tensor, log_mass: Tensor, log_q: Tensor) -> Draws:
        columns = self.vae.decode(z)
        log_joint = self.vae.log_joint(self.x, self.observed, z, columns, self.limits)
        return Draws(z, log_mass, log_joint - log_q, columns)


def _concatenate(parts: Sequence[WeightedDraws]) -> WeightedDraws:
    z, log_w, log_proposal, (kind, *_) = zip(*parts, strict=True)
    return WeightedDraws(torch.cat(z), torch.cat(log_w, 1), torch.cat(log_proposal, 1), kind)
