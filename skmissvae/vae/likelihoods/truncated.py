"""Columns truncated to an interval, for bounded imputations."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from typing_extensions import override

from .base import ColumnDistribution, mean_by_quadrature
from .bernoulli import CrossEntropyColumns
from .product import ProductColumns

_NOTHING = 1e-290  # what is within bounds, where digits are lost


_LEAST_SHARE = -60.0  # logarithm of what is within bounds, where nothing is: all latents the same


class TruncatedColumns(ColumnDistribution):
    """Columns whose distributions are cut off: what imputations may be, not what evidence is.

    Parameters
    ----------
    base : ColumnDistribution
        The distributions, in double precision for the sake of their tails.
    low, high : Tensor of shape (D,)
        Bounds, infinite where there are none.
    """

    def __init__(self, base: ColumnDistribution, low: Tensor, high: Tensor) -> None:
        self.base, self.low, self.high = base, low, high
        self._share = base.share(low, high)
        self._share = torch.where(self._share < _NOTHING, 0.0, self._share)
        self._free = self._share >= 1

    @property
    @override
    def shape(self) -> torch.Size:
        return self._share.shape

    def log_share(self) -> Tensor:
        """Return the logarithm of what lies within the bounds, (*, D)."""
        if isinstance(self.base, CrossEntropyColumns):  # certain given z: moved to a bound
            return torch.zeros_like(self._share)
        return self._share.log().clamp_min(_LEAST_SHARE)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        inside = (x >= self.low) & (x <= self.high)
        return torch.where(inside, self.base.log_prob(x) - self.log_share(), -torch.inf)

    @override
    def mean(self) -> Tensor:
        share = torch.where(self._share > 0, self._share, 1.0)
        within = self.base.mean_between(self.low, self.high, share)
        if within is None:
            within = mean_by_quadrature(self, self._share)
        else:  # but for rounding
            within = torch.minimum(torch.maximum(within, self.low), self.high)
            within = torch.where(self._share > 0, within, self._edge)
        return torch.where(self._free, self.base.mean(), within)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        inside = self.base.share(self.low, torch.minimum(x, self.high)) / self._share.clamp_min(
            _NOTHING
        )
        # where nothing lies within the bounds all is at the nearest one
        inside = torch.where(self._share > 0, inside.clamp(0, 1), (x >= self._edge).to(inside))
        return torch.where(x < self.low, 0.0, torch.where(x >= self.high, 1.0, inside))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        at = self.base.icdf_between(u, self.low, self.high)
        at = torch.minimum(torch.maximum(at, self.low), self.high)
        return torch.where(self._share > 0, at, self._edge)

    @functools.cached_property
    def _edge(self) -> Tensor:
        """Return the bound nearest to what there is."""
        free = self.low.new_full((), -torch.inf)
        above = (self.base.share(free, self.low) >= 0.5) | self.high.isinf()
        return torch.where(above & self.low.isfinite(), self.low, self.high)


def truncated(
    columns: ColumnDistribution, low: Tensor, high: Tensor
) -> tuple[ColumnDistribution, Tensor]:
    """Return columns cut off at bounds of shape (D,), and the logarithm of what is left of them.

    Coded columns have infinite bounds.
    """
    if isinstance(columns, ProductColumns):
        pairs = zip(columns.parts, columns.columns, strict=True)
        parts = [truncated(part, low[places], high[places]) for part, places in pairs]
        joined = ProductColumns([part for part, _ in parts], columns.columns, columns.order)
        return joined, joined.join([share for _, share in parts])
    if bool((low.isinf() & high.isinf()).all()):
        return columns, low.new_zeros(columns.shape)
    cut = TruncatedColumns(columns, low, high)
    return cut, cut.log_share()
