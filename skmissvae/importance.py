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
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ._products import padded, rows_apart
from .column_distributions import ColumnDistribution
from .distributions import (
    AffineMixture,
    Defensive,
    DiagonalNormal,
    LatentDistribution,
    Mixture,
)
from .model import VAE, Draws
from .noise import Noise

#: Draws of a block. With how many are held it sets the order of summation, and so the last bits.
BLOCK = 1024

#: Whose proposals are adapted: those of rows whose weights are poor, or of all rows.
Adapt = Literal["never", "where poor", "always"]
#: What is imputed given draws: columns, and what their bounds add to the log-weights, (M, B).
Imputed = Callable[[Draws], tuple[ColumnDistribution, Tensor]]

_NO_WEIGHT = -1e30
_BLURRED = 2.0**20  # log-weights beyond which single precision has no sixteenth of a nat

_FEW = 10.0  # effective draws
_POOR = 0.05  # share of effective draws below which the proposal is adapted
_LEAST_ADAPTED = 100  # draws: to adapt takes hundreds, which fewer of them gain more from
_ROUNDS = 8
_LEAST_PILOT, _MOST_PILOT = 64, 256  # draws of a round, but for many latents
_PER_LATENT = 5  # effective draws that a Gaussian is fitted to, as far as a round has so many
_INFLATION = 1.3  # of its covariance: weights have a variance where the proposal is the wider one
_SHRINKAGE = 0.2  # effective draws per latent that a diagonal covariance stands for
_DEFENSE = 0.2  # share of draws that come from the encoder's posterior all the same
_POWERS = tuple(2 ** (-0.5 * i) for i in range(24))  # of weights that are too uneven to fit to


class Proposal(Protocol):
    """What importance draws can come from, batch (B,) and event (L,)."""

    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        """Return n draws per row and the logarithms of their masses: (n, B, L), (n, B)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density: (M, B, L) -> (M, B)."""


def poor_ess(n_draws: int) -> float:
    """Return the effective draws below which a row's importance weights are called poor."""
    return min(_FEW, 0.1 * n_draws)


class Piece(NamedTuple):
    """Some draws of rows, and what they weigh."""

    z: Tensor  # (M, B, L)
    columns: ColumnDistribution  # batch (M, B, D)   to impute from
    log_w: Tensor  # (B, M)   in float64
    log_proposal: Tensor  # (B, M)   the weights without what bounds add to them


class Blocks:
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
            w = weighable((log_mass + log_ratio).double().T.contiguous()).softmax(-1)
            self.adapted = self.adapt == "always" or bool(uneven(effective(w), sizes[0]))
            if self.adapted:
                rows = vae, self.x, self.observed
                proposal = _adapted(*rows, q, z, log_ratio, self.n, self.noise, self.held)
                pieces = self._drawn(sizes[0], proposal)
                first = self._weighed(*pieces[0])
        yield first
        del first
        yield from itertools.starmap(self._weighed, pieces[1:])
        for size in sizes[1:]:
            yield from itertools.starmap(self._weighed, self._drawn(size, proposal))

    def weighed(self) -> Iterator[Piece]:
        """Yield the pieces with what is imputed and with their weights, once."""
        for draws in self:
            log_proposal = log_weights(draws)
            if self.imputed is None:
                yield Piece(draws.z, draws.columns, log_proposal, log_proposal)
            else:
                columns, more = self.imputed(draws)
                yield Piece(draws.z, columns, log_weights(draws, more), log_proposal)

    def whole(self) -> Iterator[Weighted]:
        """Yield the draws of whole blocks and their weights: columns are let go."""
        found: list[Weighted] = []
        taken = 0
        for z, _, log_w, log_proposal in self.weighed():
            found.append(Weighted(z, log_w, log_proposal))
            taken += len(z)
            if taken % BLOCK == 0 or taken == self.n:
                yield _joined(found)
                found = []

    def sums(self) -> tuple[_Weights, _Weights]:
        """Return room for sums over weights, with and without what bounds add to them."""
        weights = _Weights(self.x)
        return weights, weights if self.imputed is None else _Weights(self.x)

    def _drawn(self, size: int, proposal: Proposal) -> list[tuple[Tensor, ...]]:
        z, log_mass = proposal.ancestral(size, self.noise, systematic=True)
        parts = z, log_mass + math.log(size / self.n), proposal.log_prob(z)
        return list(zip(*(part.split(self.held) for part in parts), strict=True))

    def _weighed(self, z: Tensor, log_mass: Tensor, log_q: Tensor) -> Draws:
        columns = self.vae.decode(z)
        log_ratio = self.vae.log_joint(self.x, self.observed, z, columns) - log_q
        return Draws(z, log_mass, log_ratio, columns)


def effective(w: Tensor) -> Tensor:
    """Return how many draws are effective by their weights, which sum to one: (*, M) -> (*)."""
    return 1 / w.square().sum(-1)


def uneven(ess: Tensor, n_draws: int) -> Tensor:
    """Tell where so few of a first block's draws are effective that the proposal is adapted."""
    return (ess < max(_POOR * n_draws, _FEW)) & (n_draws >= _LEAST_ADAPTED)


def draws_to_adapt(n: int, n_latents: int) -> int:
    """Return how many draws are taken of a row, at most, to adapt the proposal of n."""
    n_pilot = max(min(max(n // 4, _LEAST_PILOT), _MOST_PILOT), _PER_LATENT * n_latents)
    return _ROUNDS * n_pilot


def _adapted(
    vae: VAE,
    x: Tensor,
    observed: Tensor,
    q: LatentDistribution,
    z: Tensor,
    log_ratio: Tensor,
    n: int,
    noise: Noise,
    held: int,
) -> Proposal:
    r"""Return a proposal that each row's own draws have moved to its posterior.

    In every round a Gaussian with their weighted mean and covariance is fitted to all draws so
    far, weighted against the mixture of what they came from [1]_, and drawn from. Weights that are
    too uneven to tell a covariance are flattened, :math:`w^\beta`, as little as will do [2]_: the
    Gaussians walk towards the posterior, and stay once no flattening is needed. The draws that
    count are fresh ones: given the proposal evidence is unbiased. Whether there is one depends on
    draws that count where there is none, which biases the evidence of rows at the limit a little.

    Parameters
    ----------
    vae : VAE
        The model.
    x, observed : Tensor of shape (B, D)
        Rows and what is seen of them.
    q : LatentDistribution
        The encoder's posteriors.
    z, log_ratio : Tensor of shape (M, B, L) and (M, B)
        Draws from them, and log p(x_obs, z) - log q(z | x_obs).
    n : int
        Draws that are to come from the proposal: rounds have a quarter of them, as far as that is
        neither too few nor too many.
    noise : Noise
        Source of the noise.
    held : int
        Draws of a row that are decoded at once.

    Returns
    -------
    Proposal
        The last Gaussians and, for a fifth of the draws, the encoder's posteriors.

    References
    ----------
    .. [1] Cornuet, Marin, Mira and Robert (2012). Adaptive multiple importance sampling.
       Scandinavian Journal of Statistics 39.
    .. [2] Koblents and Míguez (2015). A population Monte Carlo scheme with transformed weights and
       its application to stochastic kinetic models. Statistics and Computing 25.
    """
    sources: list[LatentDistribution] = [q]
    n_of = [len(z)]
    log_q = q.log_prob(z).T.unsqueeze(1)  # (B, S, M)   of each source at all draws
    log_p = log_ratio.T + log_q[:, 0]  # (B, M)
    enough = _PER_LATENT * z.shape[-1]
    n_pilot = draws_to_adapt(n, z.shape[-1]) // _ROUNDS
    least = min(max(enough, 20), n_pilot // 2)
    # of all rounds at once: what a row draws afterwards does not depend on how many others take
    rounds = [noise.normal(n_pilot, *z.shape[1:]) for _ in range(_ROUNDS)]
    gaussian: AffineMixture | None = None
    walks = torch.ones(z.shape[1], dtype=torch.bool, device=z.device)
    for done, standard in enumerate([*rounds, None]):
        share = (log_q.new_tensor(n_of) / len(z)).log().unsqueeze(-1)
        log_w = weighable((log_p - (share + log_q).logsumexp(1)).double())
        power = _power(log_w, least)
        there = _gaussian(z, (power.unsqueeze(-1) * log_w).softmax(-1))
        gaussian = there if gaussian is None else _where(walks, there, gaussian)
        if done:
            walks &= power < 1
        if standard is None or not walks.any():
            break
        fresh = gaussian.at(standard)
        at_fresh = torch.stack([one.log_prob(fresh).T for one in sources], 1)
        log_q = torch.cat([log_q, at_fresh], -1)
        joint = [vae.log_joint(x, observed, piece).T for piece in fresh.split(held)]
        log_p = torch.cat([log_p, *joint], -1)
        z = torch.cat([z, fresh])
        log_q = torch.cat([log_q, gaussian.log_prob(z).T.unsqueeze(1)], 1)
        sources.append(gaussian)
        n_of.append(n_pilot)
    assert gaussian is not None, "a round, at least"
    return Defensive(gaussian, q, _DEFENSE)


def _power(log_w: Tensor, least: int) -> Tensor:
    """Return the greatest powers of weights that leave so many effective: (B, M) -> (B,)."""
    powers = log_w.new_tensor(_POWERS)
    flattened = powers.unsqueeze(-1) * log_w.unsqueeze(-2)  # (B, P, M)
    enough = effective(flattened.softmax(-1)) >= least
    enough[..., -1] = True
    return powers[enough.to(torch.uint8).argmax(-1)]


def _gaussian(z: Tensor, w: Tensor) -> AffineMixture:
    """Return Gaussians with the mean and more than the covariance of draws: (M, B, L), (B, M)."""
    n_latents, n_effective = z.shape[-1], effective(w)
    points = z.transpose(0, 1).double().nan_to_num(0.0, 0.0, 0.0)  # (B, M, L)
    if rows_apart(len(w)):
        points, w = padded(points, 2), padded(w)  # what is more has no weight and no spread
    mean = (w.unsqueeze(1) @ points).squeeze(1)
    off = points - mean.unsqueeze(1)
    covariance = _INFLATION * (w.unsqueeze(-1) * off).mT @ off  # (B, L, L)
    # few draws tell little of how latents go together
    kept = (n_effective / (n_effective + _SHRINKAGE * n_latents)).view(-1, 1, 1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    covariance = covariance.mul(kept)
    # draws that all but agree in a direction still leave it open
    covariance.diagonal(dim1=-2, dim2=-1).copy_(variance * (1 + 1e-6) + 1e-10)
    root, _ = torch.linalg.cholesky_ex(covariance)  # of no error: it is positive definite
    identity = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    inverse = torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False)
    mean = mean[..., :n_latents]
    root, inverse = (part[..., :n_latents, :n_latents] for part in (root, inverse))
    nothing = z.new_zeros(len(w), 1, n_latents)
    standard = Mixture(z.new_zeros(len(w), 1), DiagonalNormal(nothing, torch.ones_like(nothing)))
    return AffineMixture(standard, *(part.to(z) for part in (mean, root, inverse)))


def _where(chosen: Tensor, one: AffineMixture, other: AffineMixture) -> AffineMixture:
    """Return one Gaussian in the chosen rows, (B,), and another elsewhere."""
    pairs = (one.loc, other.loc), (one.factor, other.factor), (one.inverse, other.inverse)
    parts = (torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs)
    return AffineMixture(one.base, *parts)


def log_weights(draws: Draws, more: Tensor | float = 0.0) -> Tensor:
    """Return log m r, and what is added to it, in float64, rows first: (B, M)."""
    # rows first and contiguous: a sum over draws is then the same wherever a row stands
    return _told_apart(weighable((draws.log_mass + draws.log_ratio + more).double().T.contiguous()))


def _told_apart(log_w: Tensor) -> Tensor:
    """Leave the best draw alone where single precision cannot tell draws apart: (B, M).

    Of rows that far out draws of the same number would be taken for draws that agree.
    """
    top, best = log_w.max(-1, keepdim=True)
    blurred = (top.abs() > _BLURRED) & (top > _NO_WEIGHT)
    others = torch.arange(log_w.shape[-1], device=log_w.device) != best
    return torch.where(blurred & others, _NO_WEIGHT, log_w)


def weighable(log_w: Tensor) -> Tensor:
    """Return log-weights in which a draw that is no number weighs nothing beside any other.

    Where all are so their weights are equal.
    """
    return log_w.nan_to_num(nan=_NO_WEIGHT, posinf=_NO_WEIGHT, neginf=_NO_WEIGHT)


class _Weights:
    """Running sums of the weights of B rows, scaled by the largest so far."""

    def __init__(self, like: Tensor) -> None:
        self.top = like.new_full((like.shape[0],), -math.inf, dtype=torch.float64)
        self.total, self.squares = torch.zeros_like(self.top), torch.zeros_like(self.top)

    def add(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """Add a block, (B, M); return its weights, (B, M), and the factor of the sums so far."""
        top = torch.maximum(self.top, log_w.amax(-1))
        shrink, self.top = (self.top - top).exp(), top
        w = (log_w - top.unsqueeze(-1)).exp()
        self.total = shrink * self.total + w.sum(-1)
        self.squares = shrink.square() * self.squares + w.square().sum(-1)
        return w, shrink.unsqueeze(-1)

    def ess(self) -> Tensor:
        """Return (sum w)^2 / sum w^2, (B,)."""
        return self.total.square() / self.squares

    def log_evidence(self) -> Tensor:
        """Return log sum w, (B,)."""
        return self.top + self.total.log()


class Evidence(NamedTuple):
    """What the weights of a row's draws tell."""

    log_evidence: Tensor  # (B,)   log sum w: importance-weighted estimate of log p(x_obs)
    ess: Tensor  # (B,)   effective sample size (sum w)^2 / sum w^2


def evidence(blocks: Blocks) -> Evidence:
    """Return evidence and effective sample size in float64; bounds have no say in them."""
    weights = _Weights(blocks.x)
    for draws in blocks:
        weights.add(log_weights(draws))
    return Evidence(weights.log_evidence(), weights.ess())


class Moments(NamedTuple):
    """Means by the weighted draws of a row."""

    ess: Tensor  # (B,)   effective sample size
    expected: Tensor  # (B, n_expected)   of the columns, given x_obs
    z: Tensor  # (B, L)   E[z | x_obs]
    proposal_ess: Tensor  # (B,)   effective sample size without what bounds add to the weights


def moments(blocks: Blocks) -> Moments:
    """Return effective sample size and conditional means, in float64."""
    weights, unbounded = blocks.sums()
    sum_x = sum_z = weights.top.new_zeros(())
    for z, columns, log_w, log_proposal in blocks.weighed():
        if unbounded is not weights:
            unbounded.add(log_proposal)
        w, shrink = weights.add(log_w)
        sum_x = shrink * sum_x + _weighted_sum(w, columns.expected())
        sum_z = shrink * sum_z + _weighted_sum(w, z)
    total = weights.total.unsqueeze(-1)
    return Moments(weights.ess(), sum_x / total, sum_z / total, unbounded.ess())


class Weighted(NamedTuple):
    """Draws of rows and what they weigh."""

    z: Tensor  # (n, B, L)
    log_w: Tensor  # (B, n)
    log_proposal: Tensor  # (B, n)   the weights without what bounds add to them
    adapted: bool = False  # whether the draws come from adapted proposals

    @property
    def ess(self) -> Tensor:
        """Effective sample size, (B,)."""
        return effective(self.log_w.softmax(-1))

    @property
    def proposal_ess(self) -> Tensor:
        """That without what bounds add to the weights, (B,)."""
        return effective(self.log_proposal.softmax(-1))


def weighted(blocks: Blocks) -> Weighted:
    """Return all draws of each row and the logarithms of their weights, in float64."""
    return _joined(list(blocks.whole()))._replace(adapted=blocks.adapted)


def _joined(pieces: Sequence[Weighted]) -> Weighted:
    log_w = torch.cat([piece.log_w for piece in pieces], 1)
    log_proposal = log_w
    if any(piece.log_proposal is not piece.log_w for piece in pieces):
        log_proposal = torch.cat([piece.log_proposal for piece in pieces], 1)
    return Weighted(torch.cat([piece.z for piece in pieces]), log_w, log_proposal)


def _weighted_sum(w: Tensor, values: Tensor) -> Tensor:
    """Return sum_m w_bm v_mbd: (B, M), (M, B, D) -> (B, D)."""
    # one product per row, of the same shape for every row
    # what is no number counts as nothing: the centre of a standardised column
    per_row, w = values.nan_to_num(0.0, 0.0, 0.0).transpose(0, 1), w.to(values)
    if rows_apart(len(w)):
        per_row, w = padded(per_row, 2), padded(w)
    return (w.unsqueeze(1) @ per_row)[:, 0, : values.shape[-1]].double()


class Resampled(NamedTuple):
    """Latents by the weights of a row's draws."""

    z: Tensor  # (size, B, L)   approximately from p(z | x_obs)
    ess: Tensor  # (B,)   effective sample size of the pool
    proposal_ess: Tensor  # (B,)   that without what bounds add to the weights


def resample(blocks: Blocks, size: int = 1) -> Resampled:
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
    return Resampled(chosen, weights.ess(), unbounded.ess())


def pareto_k(log_w: Tensor) -> float:
    r"""Return the shape of the generalised Pareto distribution of the largest weights.

    With shape k the weights have moments up to order 1 / k: below 0.5 their variance is finite,
    above 0.7 or so sums of them are not to be trusted, however large the effective sample size
    seems (Vehtari, Simpson, Gelman, Yao and Gabry 2024). The estimate is that of Zhang and
    Stephens (2009), drawn towards 0.5 by ten pseudo-observations.

    Parameters
    ----------
    log_w : Tensor of shape (M,)
        Logarithms of weights.

    Returns
    -------
    float
        The shape; NaN where fewer than five weights make up the tail, minus infinity where those
        of the tail are equal.
    """
    w = np.sort(np.exp((log_w - log_w.max()).double().cpu().numpy()))
    n_tail = math.ceil(min(0.2 * len(w), 3 * math.sqrt(len(w))))
    if n_tail < 5 or n_tail >= len(w):
        return math.nan
    y = w[-n_tail:] - w[-n_tail - 1]  # in ascending order, above the threshold
    if y[0] == y[-1] or y[-1] <= 0:
        return -math.inf
    # a posterior mean over a grid of the profile likelihood
    m = 30 + int(math.sqrt(n_tail))
    quartile = max(y[int(n_tail / 4 + 0.5) - 1], 1e-300)
    b = 1 / y[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    k = np.log1p(-b[:, None] * y).mean(1)
    log_likelihood = n_tail * (np.log(-b / k) - k - 1)
    with np.errstate(over="ignore"):  # of no weight
        share = 1 / np.exp(log_likelihood - log_likelihood[:, None]).sum(1)
    shape = float(np.log1p(-(share * b).sum() / share.sum() * y).mean())
    return (n_tail * shape + 10 * 0.5) / (n_tail + 10)
