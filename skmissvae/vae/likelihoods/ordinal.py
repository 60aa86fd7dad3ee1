"""Cumulative logit likelihood of ordered categories."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ..functional import pick_category, raw_above, softplus_above
from .base import CodedColumns, Likelihood, log_logistic_interval


class CumulativeLogitColumns(CodedColumns):
    """Ordered categories 0, 1, ...: a logistic distribution discretized by thresholds.

    Parameters
    ----------
    loc, scale : Tensor of shape (*, D)
        Location and scale of the logistic distribution.
    thresholds : Tensor of shape (D, C + 1)
        Lower threshold of each category (-inf for the first), then +inf.
    """

    def __init__(self, loc: Tensor, scale: Tensor, thresholds: Tensor) -> None:
        self.loc, self.scale, self.thresholds = loc, scale, thresholds
        self.shape = loc.shape

    def _cumulative(self) -> Tensor:
        """Return P(x < c) for c = 0, ..., C: (*, D, C + 1)."""
        return ((self.thresholds - self.loc.unsqueeze(-1)) / self.scale.unsqueeze(-1)).sigmoid()

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        n_levels = self.thresholds.shape[-1] - 1
        code = x.long().clamp(0, n_levels - 1)
        column = torch.arange(self.thresholds.shape[0], device=x.device)
        low, high = self.thresholds[column, code], self.thresholds[column, code + 1]
        lowest, highest = low.isinf(), high.isinf()
        low, high = low.nan_to_num(neginf=0.0), high.nan_to_num(posinf=0.0)
        # the lowest category only has an upper threshold
        edge = torch.where(lowest, high, low)
        width = torch.where(lowest | highest, 0.0, high - low) / self.scale
        return log_logistic_interval((edge - self.loc) / self.scale, width, lowest, highest)

    @override
    def probabilities(self) -> Tensor:
        return self._cumulative().diff(dim=-1)

    @override
    def mean(self) -> Tensor:
        """Return the mean code."""
        return (1 - self._cumulative()[..., 1:]).sum(-1)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        code = x.floor().long().clamp(-1, self.thresholds.shape[-1] - 2)
        return pick_category(self._cumulative(), code + 1)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        below = self._cumulative()[..., 1:-1]
        return (below < u.unsqueeze(-1)).sum(-1).to(u)

    @override
    def expected(self) -> Tensor:
        """Return the probabilities of all categories, column by column."""
        return self.probabilities().flatten(-2)


class CumulativeLogitLikelihood(Likelihood):
    r"""Cumulative logit model of ordered categories (McCullagh 1980).

    .. math:: P(x \le c) = \sigma\left(\frac{\theta_{c + 1} - \mu}{s}\right)

    with learned thresholds of each column, and location and scale as outputs of the decoder.

    Parameters
    ----------
    counts : sequence of sequence of float
        Number of observed cells of each category in its order, for each column.
    """

    support = "coded"

    def __init__(self, counts: Sequence[Sequence[float]]) -> None:
        n, n_levels = len(counts), [len(column) for column in counts]
        widest = max(n_levels, default=0)
        super().__init__(n, 0.1, n_params=2 * n, n_inputs=sum(n_levels) - n, n_expected=n * widest)
        lowest, gaps = torch.zeros(n), torch.zeros(n, max(widest - 2, 0))
        for d, column in enumerate(counts):
            share = (np.asarray(column, float) + 0.5).cumsum()
            theta = torch.from_numpy(np.log(share[:-1] / (share[-1] - share[:-1])))
            lowest[d] = theta[0]
            gaps[d, : len(theta) - 1] = raw_above(theta.diff().float().clamp_min(0.01), 0)
        self.lowest_threshold, self.raw_gaps = nn.Parameter(lowest), nn.Parameter(gaps)
        # (D, C - 1)   whether a column has the threshold, and where it does
        exists = torch.arange(1, widest) < torch.tensor(n_levels).unsqueeze(-1)
        self.exists = nn.Buffer(exists, persistent=False)
        inner = [(widest - 1) * d + c for d, n in enumerate(n_levels) for c in range(n - 1)]
        self.inner = nn.Buffer(torch.tensor(inner, dtype=torch.long), persistent=False)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return -1 or 1 for values below or above each threshold, zero where missing."""
        between = torch.arange(self.exists.shape[-1], device=x.device) + 0.5
        above = 2.0 * (x.unsqueeze(-1) > between) - 1
        above = torch.where(observed.unsqueeze(-1), above, 0.0)
        return above.flatten(-2).index_select(-1, self.inner)

    @override
    def forward(self, params: Tensor) -> CumulativeLogitColumns:
        first = self.lowest_threshold.unsqueeze(-1)
        inner = torch.cat([first, first + softplus_above(self.raw_gaps, 0).cumsum(-1)], -1)
        inner = torch.where(self.exists, inner, torch.inf)
        edge = torch.full_like(first, torch.inf)
        thresholds = torch.cat([-edge, inner, edge], -1)
        return CumulativeLogitColumns(*self.loc_scale(params), thresholds)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the most probable category: (B, n_expected) -> (B, D)."""
        return expected.unflatten(-1, (self.n_columns, -1)).argmax(-1).to(expected)
