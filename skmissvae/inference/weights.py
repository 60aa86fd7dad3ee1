"""Importance weights: sums, effective sample size, Pareto shape of the tail."""

import math

import numpy as np
import torch
from torch import Tensor

from .._utils.matmul import apply_to_rows, must_separate_rows, pad_to_cache_line
from ..vae.vae import Draws

_NO_WEIGHT = -1e30  # finite, so that rows without a finite log-weight get equal weights, not NaN
# the spacing of float32 exceeds a sixteenth of a nat beyond this log-weight
_MAX_RESOLVED = 2.0**20
_LOW_ESS = 10.0  # effective draws
_SUFFICIENT_SHARE = 0.1  # share of effective draws below which a better proposal is sought
# a better proposal takes hundreds of draws, more than a smaller request is worth
_MIN_ADAPTED_DRAWS = 100


def low_ess(n_draws: int) -> float:
    """Return the limit below which the effective sample size of n draws is low."""
    return min(_LOW_ESS, 0.1 * n_draws)


def effective_sample_size_of(w: Tensor) -> Tensor:
    """Return the effective sample size of normalized weights: (*, M) -> (*)."""
    return 1 / w.square().sum(-1)


def sufficient_ess(n_draws: int) -> float:
    """Return the effective sample size of n draws below which a better proposal is sought."""
    if n_draws < _MIN_ADAPTED_DRAWS:
        return 0.0
    return max(_SUFFICIENT_SHARE * n_draws, _LOW_ESS)


def log_weights(draws: Draws, extra: Tensor | float = 0.0) -> Tensor:
    """Return log mass + log ratio + extra in float64, rows first: (B, M).

    Where float32 cannot separate the log-weights of a row, only the best draw keeps its weight:
    equal rounded log-weights would count as a high effective sample size.
    """
    # contiguous rows: the sum over draws then has the same bits at every position of a row
    log_w = (draws.log_mass + draws.log_ratio + extra).double().T.contiguous()
    log_w = finite_log_weights(log_w)
    top, best = log_w.max(-1, keepdim=True)
    is_rounded = (top.abs() > _MAX_RESOLVED) & (top > _NO_WEIGHT)
    others = torch.arange(log_w.shape[-1], device=log_w.device) != best
    return torch.where(is_rounded & others, _NO_WEIGHT, log_w)


def finite_log_weights(log_w: Tensor) -> Tensor:
    """Return log-weights with -1e30 for values that are not finite.

    Such draws have no weight next to finite ones; if all are not finite, weights are equal.
    """
    return log_w.nan_to_num(nan=_NO_WEIGHT, posinf=_NO_WEIGHT, neginf=_NO_WEIGHT)


class WeightSums:
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
        return self.top + apply_to_rows(torch.log, self.total.unsqueeze(-1)).squeeze(-1)


def weighted_sum(w: Tensor, values: Tensor) -> Tensor:
    """Return sum_m w_bm v_mbd: (B, M), (M, B, D) -> (B, D)."""
    # one product of the same shape for every row, so that its bits do not depend on other rows;
    # values that are not finite become 0, the mean of a standardized column
    per_row, w = values.nan_to_num(0.0, 0.0, 0.0).transpose(0, 1), w.to(values)
    if must_separate_rows():
        per_row, w = pad_to_cache_line(per_row, 2), pad_to_cache_line(w)
    return (w.unsqueeze(1) @ per_row)[:, 0, : values.shape[-1]].double()


def choose_by_weight(w: Tensor, u: Tensor) -> Tensor:
    """Return indices of draws, chosen by uniform numbers: weights (*, M), (*, n) -> (*, n)."""
    total = w.cumsum(-1)
    # rounding must not choose an index beyond the last
    return torch.searchsorted(total, u.to(total) * total[..., -1:]).clamp_max(w.shape[-1] - 1)


def pareto_k(log_w: Tensor) -> float:
    r"""Return the shape of the generalized Pareto distribution of the largest weights.

    With shape k the weights have moments up to order 1 / k: below 0.5 their variance is finite;
    above about 0.7 weighted means are unreliable, whatever the effective sample size (Vehtari,
    Simpson, Gelman, Yao and Gabry 2024). The estimator is that of Zhang and Stephens (2009), shrunk
    towards 0.5 by ten pseudo-observations.

    Parameters
    ----------
    log_w : Tensor of shape (M,)
        Logarithms of weights.

    Returns
    -------
    float
        The shape; NaN if the tail has fewer than five weights, minus infinity if they are equal.
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
    with np.errstate(over="ignore"):  # such grid points have no weight
        share = 1 / np.exp(log_likelihood - log_likelihood[:, None]).sum(1)
    shape = float(np.log1p(-(share * b).sum() / share.sum() * y).mean())
    return (n_tail * shape + 10 * 0.5) / (n_tail + 10)
