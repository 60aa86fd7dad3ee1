"""Distributions of columns truncated to an interval, for imputations with limits."""

import functools

import torch
from torch import Tensor
from typing_extensions import override

from ..._utils.random import Noise
from .base import CodedColumns, ColumnDistribution
from .bernoulli import BernoulliColumns, CrossEntropyColumns
from .product import ProductColumns

_MIN_PROBABILITY = 1e-290  # of the interval: smaller ones are rounding errors


# of the interval: latents with smaller probabilities have equal weights
_MIN_LOG_PROBABILITY = -60.0


class TruncatedColumns(ColumnDistribution):
    """Columns with distributions truncated to an interval, for imputations (not for evidence).

    Parameters
    ----------
    base : ColumnDistribution
        The distributions, in double precision for accurate tails.
    low, high : Tensor of shape (D,) or (B, D)
        Bounds, or infinity.
    """

    def __init__(self, base: ColumnDistribution, low: Tensor, high: Tensor) -> None:
        self.base, self.low, self.high = base, low, high
        probability = base.interval_probability(low, high)
        self._probability = torch.where(probability < _MIN_PROBABILITY, 0.0, probability)
        self._unbounded = probability >= 1
        self.shape = self._probability.shape

    def log_normalizer(self) -> Tensor:
        """Return log P(low <= x_d <= high | z), (*, D)."""
        if isinstance(self.base, CrossEntropyColumns):  # a constant given z, which is clipped
            return torch.zeros_like(self._probability)
        return self._probability.log().clamp_min(_MIN_LOG_PROBABILITY)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        inside = (x >= self.low) & (x <= self.high)
        return torch.where(inside, self.base.log_prob(x) - self.log_normalizer(), -torch.inf)

    @override
    def mean(self) -> Tensor:
        probability = torch.where(self._probability > 0, self._probability, 1.0)
        within = self.base.truncated_mean(self.low, self.high, probability)
        if within is None:
            within = self.mean_by_quadrature(self._probability)
        else:  # rounding may exceed the bounds
            within = torch.minimum(torch.maximum(within, self.low), self.high)
            within = torch.where(self._probability > 0, within, self._nearest_bound)
        return torch.where(self._unbounded, self.base.mean(), within)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        below = self.base.interval_probability(self.low, torch.minimum(x, self.high))
        inside = (below / self._probability.clamp_min(_MIN_PROBABILITY)).clamp(0, 1)
        # a distribution outside of the bounds becomes a point mass at the nearest one
        at_bound = (x >= self._nearest_bound).to(inside)
        inside = torch.where(self._probability > 0, inside, at_bound)
        return torch.where(x < self.low, 0.0, torch.where(x >= self.high, 1.0, inside))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        at = self.base.truncated_icdf(u, self.low, self.high)
        at = torch.minimum(torch.maximum(at, self.low), self.high)
        return torch.where(self._probability > 0, at, self._nearest_bound)

    @override
    def completion(self, noise: Noise) -> Tensor:
        if isinstance(self.base, CrossEntropyColumns):  # draws for chains differ from the means
            return self.base.completion(noise)
        return self.sample(noise)

    @functools.cached_property
    def _nearest_bound(self) -> Tensor:
        """Return the bound nearest to the distribution."""
        unbounded = self.low.new_full((), -torch.inf)
        above = (self.base.interval_probability(unbounded, self.low) >= 0.5) | self.high.isinf()
        return torch.where(above & self.low.isfinite(), self.low, self.high)


def truncated(
    columns: ColumnDistribution, low: Tensor, high: Tensor
) -> tuple[ColumnDistribution, Tensor]:
    """Return columns truncated to bounds, and the log-probabilities of the intervals.

    Bounds (D,) hold for all rows, bounds (B, D) for each row. Those of columns of categories are
    infinite.
    """
    if isinstance(columns, ProductColumns):
        pairs = zip(columns.parts, columns.columns, strict=True)
        parts = [truncated(part, low[..., places], high[..., places]) for part, places in pairs]
        product = ProductColumns([part for part, _ in parts], columns.columns, columns.order)
        return product, product.join([log_p for _, log_p in parts])
    is_category = isinstance(columns, CodedColumns) or type(columns) is BernoulliColumns
    # bounds of other rows must not change the draws of a row
    if is_category or (low.ndim == 1 and bool((low.isinf() & high.isinf()).all())):
        return columns, low.new_zeros(columns.shape)
    columns = TruncatedColumns(columns, low, high)
    return columns, columns.log_normalizer()
