"""Conditional expectations and draws given a row's observed cells, by importance sampling.

Draws from q(z | x_obs) are weighted by w = m r and taken in blocks of constant size, so that any
number of them runs in the memory of one block, or of a part of it; sums over them are kept in
float64 and in a fixed order. Where the weights of a row's first block are poor, the row's draws
come from a proposal that is adapted to its posterior.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._utils.random import Noise
from ..vae.distributions import Proposal
from ..vae.likelihoods.base import ColumnDistribution
from ..vae.vae import VAE, Draws
from .adaptive import adapt_proposal
from .weights import (
    WeightSums,
    effective_sample_size_of,
    finite_log_weights,
    log_weights,
    needs_adaptation,
    weighted_sum,
)

#: Draws of a block. With how many are held it sets the order of summation, and so the last bits.
BLOCK = 1024


#: Whose proposals are adapted: those of rows whose weights are poor, or of all rows.
Adapt = Literal["never", "where poor", "always"]


#: What is imputed given draws: columns, and what their bounds add to the log-weights, (M, B).
Imputed = Callable[[Draws], tuple[ColumnDistribution, Tensor]]


class WeightedBlock(NamedTuple):
    """Some draws of rows, and what they weigh."""

    z: Tensor  # (M, B, L)
    columns: ColumnDistribution  # batch (M, B, D)   to impute from
    log_w: Tensor  # (B, M)   in float64
    log_proposal: Tensor  # (B, M)   the weights without what bounds add to them


class ImportanceSampler:
    """n draws per row in pieces; their masses sum to one over all pieces.

    They come from the encoder's posterior. Where weights are poor, that is where less than a
    twentieth of a row's first block is effective, or fewer than ten draws, all can come from a
    proposal that is adapted to its p(z | x_obs), if 100 are wanted; bounds of imputations have no
    say in it.

    A piece is a block, or ``held`` draws of it; no more of a row are decoded at once. The draws are
    the same however many are held, if those who take the pieces draw from the same noise between
    blocks only.

    Parameters
    ----------
    vae : VAE
        The model.
    x, observed : Tensor of shape (B, D)
        Rows and what is seen of them. Only a single one can be adapted where it is poor.
    n : int
        Draws per row.
    noise : Noise
        Source of the noise.
    imputed : callable, optional
        Returns what is imputed given draws, where that is not what the model decodes.
    adapt : {"never", "where poor", "always"}
        Whose proposals are adapted.
    held : int
        Draws of a row that are decoded at once, ``BLOCK`` at most.
    """

    def __init__(
        self,
        vae: VAE,
        x: Tensor,
        observed: Tensor,
        n: int,
        noise: Noise,
        *,
        imputed: Imputed | None = None,
        adapt: Adapt = "never",
        held: int = BLOCK,
    ) -> None:
        assert adapt != "where poor" or len(x) == 1, "rows together go one way"
        self.vae, self.x, self.observed, self.n, self.noise = vae, x, observed, n, noise
        self.imputed, self.adapt, self.held = imputed, adapt, held
        #: Whether proposals were adapted; known with the first piece.
        self.adapted = False

    def __iter__(self) -> Iterator[Draws]:
        """Yield the pieces, once."""
        seen = bool(self.observed.any())
        # without evidence the posterior is the prior, and all weights are one; such rows come alone
        vae = self.vae
        q = vae.posterior(self.x, self.observed) if seen else vae.prior().expand(len(self.x))
        sizes = [min(BLOCK, self.n - start) for start in range(0, self.n, BLOCK)]
        proposal: Proposal = q
        pieces = self._drawn(sizes[0], q)
        first = self._weighed(*pieces[0])
        if seen and self.adapt != "never":
            z, log_mass, _ = (torch.cat(parts) for parts in zip(*pieces, strict=True))
            rest = [self._weighed(*piece).log_ratio for piece in pieces[1:]]
            log_ratio = torch.cat([first.log_ratio, *rest])
            w = finite_log_weights((log_mass + log_ratio).double().T.contiguous()).softmax(-1)
            self.adapted = self.adapt == "always" or bool(
                needs_adaptation(effective_sample_size_of(w), sizes[0])
            )
            if self.adapted:
                rows = vae, self.x, self.observed
                proposal = adapt_proposal(*rows, q, z, log_ratio, self.n, self.noise, self.held)
                pieces = self._drawn(sizes[0], proposal)
                first = self._weighed(*pieces[0])
        yield first
        del first
        yield from itertools.starmap(self._weighed, pieces[1:])
        for size in sizes[1:]:
            yield from itertools.starmap(self._weighed, self._drawn(size, proposal))

    def weighed(self) -> Iterator[WeightedBlock]:
        """Yield the pieces with what is imputed and with their weights, once."""
        for draws in self:
            log_proposal = log_weights(draws)
            if self.imputed is None:
                yield WeightedBlock(draws.z, draws.columns, log_proposal, log_proposal)
            else:
                columns, more = self.imputed(draws)
                yield WeightedBlock(draws.z, columns, log_weights(draws, more), log_proposal)

    def whole(self) -> Iterator[WeightedDraws]:
        """Yield the draws of whole blocks and their weights: columns are let go."""
        found: list[WeightedDraws] = []
        taken = 0
        for z, _, log_w, log_proposal in self.weighed():
            found.append(WeightedDraws(z, log_w, log_proposal))
            taken += len(z)
            if taken % BLOCK == 0 or taken == self.n:
                yield _joined(found)
                found = []

    def sums(self) -> tuple[WeightSums, WeightSums]:
        """Return room for sums over weights, with and without what bounds add to them."""
        weights = WeightSums(self.x)
        return weights, weights if self.imputed is None else WeightSums(self.x)

    def _drawn(self, size: int, proposal: Proposal) -> list[tuple[Tensor, ...]]:
        z, log_mass = proposal.ancestral(size, self.noise, systematic=True)
        parts = z, log_mass + math.log(size / self.n), proposal.log_prob(z)
        return list(zip(*(part.split(self.held) for part in parts), strict=True))

    def _weighed(self, z: Tensor, log_mass: Tensor, log_q: Tensor) -> Draws:
        columns = self.vae.decode(z)
        log_ratio = self.vae.log_joint(self.x, self.observed, z, columns) - log_q
        return Draws(z, log_mass, log_ratio, columns)


class Evidence(NamedTuple):
    """What the weights of a row's draws tell."""

    log_evidence: Tensor  # (B,)   log sum w: importance-weighted estimate of log p(x_obs)
    ess: Tensor  # (B,)   effective sample size (sum w)^2 / sum w^2


def evidence(blocks: ImportanceSampler) -> Evidence:
    """Return evidence and effective sample size in float64; bounds have no say in them."""
    weights = WeightSums(blocks.x)
    for draws in blocks:
        weights.add(log_weights(draws))
    return Evidence(weights.log_evidence(), weights.ess())


class WeightedMeans(NamedTuple):
    """Means by the weighted draws of a row."""

    ess: Tensor  # (B,)   effective sample size
    expected: Tensor  # (B, n_expected)   of the columns, given x_obs
    z: Tensor  # (B, L)   E[z | x_obs]
    proposal_ess: Tensor  # (B,)   effective sample size without what bounds add to the weights


def moments(blocks: ImportanceSampler) -> WeightedMeans:
    """Return effective sample size and conditional means, in float64."""
    weights, unbounded = blocks.sums()
    sum_x = sum_z = weights.top.new_zeros(())
    for z, columns, log_w, log_proposal in blocks.weighed():
        if unbounded is not weights:
            unbounded.add(log_proposal)
        w, shrink = weights.add(log_w)
        sum_x = shrink * sum_x + weighted_sum(w, columns.expected())
        sum_z = shrink * sum_z + weighted_sum(w, z)
    total = weights.total.unsqueeze(-1)
    return WeightedMeans(weights.ess(), sum_x / total, sum_z / total, unbounded.ess())


class WeightedDraws(NamedTuple):
    """Draws of rows and what they weigh."""

    z: Tensor  # (n, B, L)
    log_w: Tensor  # (B, n)
    log_proposal: Tensor  # (B, n)   the weights without what bounds add to them
    adapted: bool = False  # whether the draws come from adapted proposals

    @property
    def ess(self) -> Tensor:
        """Effective sample size, (B,)."""
        return effective_sample_size_of(self.log_w.softmax(-1))

    @property
    def proposal_ess(self) -> Tensor:
        """That without what bounds add to the weights, (B,)."""
        return effective_sample_size_of(self.log_proposal.softmax(-1))


def weighted(blocks: ImportanceSampler) -> WeightedDraws:
    """Return all draws of each row and the logarithms of their weights, in float64."""
    return _joined(list(blocks.whole()))._replace(adapted=blocks.adapted)


def _joined(pieces: Sequence[WeightedDraws]) -> WeightedDraws:
    log_w = torch.cat([piece.log_w for piece in pieces], 1)
    log_proposal = log_w
    if any(piece.log_proposal is not piece.log_w for piece in pieces):
        log_proposal = torch.cat([piece.log_proposal for piece in pieces], 1)
    return WeightedDraws(torch.cat([piece.z for piece in pieces]), log_w, log_proposal)


class ResampledLatents(NamedTuple):
    """Latents by the weights of a row's draws."""

    z: Tensor  # (size, B, L)   approximately from p(z | x_obs)
    ess: Tensor  # (B,)   effective sample size of the pool
    proposal_ess: Tensor  # (B,)   that without what bounds add to the weights


def resample(blocks: ImportanceSampler, size: int = 1) -> ResampledLatents:
    """Draw latents, with replacement, in proportion to the weights of a pool (Rubin 1987).

    The pool is never held: each block's winner takes the place of the earlier ones with the
    probability of its share of the weights so far.
    """
    n_rows = len(blocks.x)
    weights, unbounded = blocks.sums()
    chosen: Tensor | None = None
    for z, log_w, log_proposal, _ in blocks.whole():
        if unbounded is not weights:
            unbounded.add(log_proposal)
        w, _ = weights.add(log_w)
        share = (w.sum(-1) / weights.total).unsqueeze(-1)  # (B, 1)
        u = blocks.noise.uniform(size, n_rows, 2).double().expand(size, n_rows, 2)
        within = w.cumsum(-1)  # (B, M)
        winner = torch.searchsorted(within, u[..., 0].T.contiguous() * within[:, -1:])  # (B, size)
        winner = winner.clamp_max(w.shape[1] - 1).T.unsqueeze(-1)  # (size, B, 1)
        z = z.expand(-1, n_rows, -1).gather(0, winner.expand(-1, -1, z.shape[-1]))
        replaced = u[..., 1:] < share  # (size, B, 1)
        chosen = z if chosen is None else torch.where(replaced, z, chosen)
    assert chosen is not None, "n is at least one"
    return ResampledLatents(chosen, weights.ess(), unbounded.ess())
