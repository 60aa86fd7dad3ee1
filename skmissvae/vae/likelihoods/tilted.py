"""Distributions of categories with shifted log-odds, for sensitivity analyses."""

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
        What is added to the log-probability of each category, up to a constant of the column.
    """

    def __init__(self, base: CodedColumns, log_odds: Tensor) -> None:
        p = base.probabilities()
        self._log_p = (p.log() + log_odds[:, : p.shape[-1]].to(p)).log_softmax(-1)
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
        return at.where(x >= 0, at.new_zeros(()))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        total = self._total()
        code = (total < u.unsqueeze(-1) * total[..., -1:]).sum(-1)
        # rounding errors go to the last category of the column
        last = self._log_p.isfinite().sum(-1) - 1
        return code.minimum(last).to(u)

    @override
    def expected(self) -> Tensor:
        """Return the probabilities of all categories, column by column."""
        return self.probabilities().flatten(-2)

    def _total(self) -> Tensor:
        return self.probabilities().cumsum(-1)


def tilted(columns: ColumnDistribution, log_odds: Tensor) -> ColumnDistribution:
    """Return columns with shifted log-odds of their categories, (D, C).

    Binary columns have two categories. Columns of numbers are unchanged.
    """
    if isinstance(columns, ProductColumns):
        pairs = zip(columns.parts, columns.columns, strict=True)
        parts = [tilted(part, log_odds[places]) for part, places in pairs]
        return ProductColumns(parts, columns.columns, columns.order)
    if isinstance(columns, TruncatedColumns) and type(columns.base) is BernoulliColumns:
        return TruncatedColumns(tilted(columns.base, log_odds), columns.low, columns.high)
    if type(columns) is BernoulliColumns:
        return BernoulliColumns(
            columns.logits + (log_odds[:, 1] - log_odds[:, 0]).to(columns.logits)
        )
    return TiltedColumns(columns, log_odds) if isinstance(columns, CodedColumns) else columns
