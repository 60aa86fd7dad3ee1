"""Distributions of categories with shifted log-odds, for sensitivity analyses."""

import torch
from torch import Tensor
from typing_extensions import override

from ..functional import pick_category
from .base import CodedColumns, ColumnDistribution
from .bernoulli import BernoulliColumns
from .product import ProductColumns
from .truncated import TruncatedColumns


class TiltedColumns(CodedColumns):
    """Columns of categories whose log-odds are shifted.

    Parameters
    ----------
    base : CodedColumns
        The distributions.
    log_odds : Tensor of shape (D, C)
        What is added to the log-probability of each category, up to a constant of the column;
        -inf for categories that a column does not have.
    """

    def __init__(self, base: CodedColumns, log_odds: Tensor) -> None:
        # probabilities of categories lose the digits of small ones
        codes = range(base.probabilities().shape[-1])
        like = log_odds.new_zeros(base.shape)
        log_p = torch.stack([base.log_prob(like + code).double() for code in codes], -1)
        self._log_p = (log_p + log_odds[:, : len(codes)]).log_softmax(-1)
        self._base, self._is_shifted = base, has_shift(log_odds)
        self.shape = base.shape

    @override
    def probabilities(self) -> Tensor:
        return self._log_p.exp()

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return pick_category(self._log_p, x.long().clamp(0, self._log_p.shape[-1] - 1))

    @override
    def mean(self) -> Tensor:
        """Return the mean code."""
        return (1 - self._total()[..., :-1]).sum(-1)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        total = self._total()
        at = pick_category(total, x.floor().long().clamp(0, total.shape[-1] - 1))
        return torch.where(x < 0, 0.0, at)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        total = self._total()
        code = (total < u.unsqueeze(-1) * total[..., -1:]).sum(-1)
        # rounding errors go to the last category that is possible
        places = torch.arange(total.shape[-1], device=total.device)
        last = torch.where(self.probabilities() > 0, places, 0).amax(-1)
        # columns without a shift keep their draws
        return torch.where(self._is_shifted, code.minimum(last).to(u), self._base.icdf(u))

    @override
    def expected(self) -> Tensor:
        """Return the probabilities of all categories, column by column."""
        return self.probabilities().flatten(-2)

    def _total(self) -> Tensor:
        return self.probabilities().cumsum(-1)


def has_shift(log_odds: Tensor) -> Tensor:
    """Return which columns have log-odds that are shifted: (D, C) -> (D,)."""
    return (log_odds.isfinite() & (log_odds != 0)).any(-1)


def tilted(columns: ColumnDistribution, log_odds: Tensor) -> ColumnDistribution:
    """Return columns with shifted log-odds of their categories, (D, C).

    Binary columns have two categories. Log-odds are zero for columns that are not shifted, and -inf
    for categories that a column does not have.
    """
    if not has_shift(log_odds).any():
        return columns
    if isinstance(columns, ProductColumns):
        pairs = zip(columns.parts, columns.columns, strict=True)
        parts = [tilted(part, log_odds[places]) for part, places in pairs]
        return ProductColumns(parts, columns.columns, columns.order)
    if isinstance(columns, TruncatedColumns):
        return TruncatedColumns(tilted(columns.base, log_odds), columns.low, columns.high)
    if isinstance(columns, CodedColumns):
        return TiltedColumns(columns, log_odds)
    if type(columns) is BernoulliColumns:
        logits = columns.logits
    else:  # of a custom likelihood
        one = log_odds.new_ones(columns.shape)
        logits = columns.log_prob(one) - columns.log_prob(0 * one)
    return BernoulliColumns(logits + (log_odds[:, 1] - log_odds[:, 0]).to(logits))
