"""Integers and counts by a discretized logistic distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..functional import softplus_above
from .base import DiscreteColumns, Likelihood, log_logistic_interval, quadrature
from .initialization import LinearInitialization, LinearModel, location_scale_initialization
from .transformed import SinhArcsinh

_EDGE = 1e-6  # probabilities that stand for 0 and 1 where a quantile would be infinite


_SD = 3**0.5 / torch.pi  # scale of a logistic distribution of standard deviation one


_NARROW = 1e-3  # width of a cell from which on its slope stands for a difference of edges


class DiscretizedLogisticColumns(DiscreteColumns):
    """Whole numbers: a logistic distribution, of warped values, cut into cells.

    Parameters
    ----------
    loc, scale : Tensor of shape (*, D)
        Mean and standard deviation of the warped values.
    warp : SinhArcsinh
        From values to warped values.
    step, low : Tensor of shape (D,)
        Distance of neighbours; the least value, whose cell has all that lies below, or -inf.
    origin : Tensor of shape (D,)
        A value of the grid.
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        warp: SinhArcsinh,
        step: Tensor,
        low: Tensor,
        origin: Tensor,
    ) -> None:
        self.loc, self.scale, self.warp = loc, scale * _SD, warp
        self.step, self.low, self.origin = step, low, origin

    @property
    @override
    def shape(self) -> torch.Size:
        return self.loc.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        half = 0.5 * self.step
        low = self.warp(x - half)
        slope = self.step * self.warp.log_slope(x).exp()
        width = torch.where(self.step < _NARROW, slope, self.warp(x + half) - low)
        lowest = x < self.low + half
        never = torch.zeros_like(lowest)
        return log_logistic_interval(
            (low - self.loc) / self.scale, width / self.scale, lowest, never
        )

    @override
    def mean(self) -> Tensor:
        """Return the means.

        Without a warp it is a sum over cells: of the nearest ones where they are wide, else by
        the first three terms of Euler and Maclaurin's formula for that of the upper tail. With one
        it is an integral over quantiles.
        """
        if self.warp.identity:
            return torch.where(self.scale < 0.5 * self.step, self._mean_of_wide(), self._smooth())
        total = torch.zeros_like(self.loc)
        for u, weight in quadrature():
            at = self.warp.inverse(self.loc + self.scale * math.log(u / (1 - u)))
            total = total + weight * torch.maximum(at, self.low)
        return total

    def _smooth(self) -> Tensor:
        edge = self.low.nan_to_num(neginf=0.0) + 0.5 * self.step
        above = (self.loc - edge) / self.scale
        first = above.sigmoid()
        slope = first * (1 - first) / self.scale
        tail = self.scale * nn.functional.softplus(above) + 0.5 * self.step * first
        tail = tail + self.step.square() / 12 * slope
        return torch.where(self.low.isinf(), self.loc, self.low + tail)

    def _mean_of_wide(self) -> Tensor:
        nearest = torch.maximum(self._on_grid(self.loc), self.low)
        steps = torch.arange(4, dtype=self.loc.dtype, device=self.loc.device).unsqueeze(-1) + 0.5
        away = steps * self.step  # (4, D)   from the nearest cell's middle to edges on either side
        loc, scale, middle = (v.unsqueeze(-2) for v in (self.loc, self.scale, nearest))
        beyond = ((loc - middle - away) / scale).sigmoid()
        before = ((middle - away - loc) / scale).sigmoid()
        before = torch.where(middle - away > self.low, before, 0.0)
        return nearest + self.step * (beyond - before).sum(-2)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        at = self.warp.inverse(self.loc + self.scale * u.clamp(_EDGE, 1 - _EDGE).logit())
        return torch.maximum(self._on_grid(at), self.low)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        # a little above, lest a value of the grid be taken for the one below
        cell = ((x - self.origin) / self.step + 1e-3).floor() * self.step + self.origin
        below = ((self.warp(cell + 0.5 * self.step) - self.loc) / self.scale).sigmoid()
        return torch.where(cell < self.low - 0.5 * self.step, 0.0, below)

    @override
    def below(self, x: Tensor) -> Tensor:
        cell = ((x - self.origin) / self.step - 1e-3).ceil() - 1
        return self.cdf(cell * self.step + self.origin)

    def _on_grid(self, x: Tensor) -> Tensor:
        return ((x - self.origin) / self.step).round() * self.step + self.origin


class DiscretizedLogisticLikelihood(Likelihood):
    r"""Whole numbers, such as counts and ages, by a discretised logistic distribution.

    .. math:: P(n) = \sigma\left(\frac{T(n + 1/2) - \mu}{s}\right)
                   - \sigma\left(\frac{T(n - 1/2) - \mu}{s}\right),

    where T is the column's warp. The least value of a count has all that lies below it.

    Parameters
    ----------
    steps, lows, origins : sequence of float
        Distance of neighbouring values, the least one (-inf where there is none), and one of them.
    min_scale : float
        Floor of the standard deviation, in those of the column.
    warps : array-like of shape (n_columns, 4), optional
        Parameters of ``SinhArcsinh``; None leaves values as they are.
    """

    steps: Tensor
    lows: Tensor
    origins: Tensor
    support = "whole"

    def __init__(
        self,
        steps: Sequence[float],
        lows: Sequence[float],
        origins: Sequence[float],
        min_scale: float = 0.01,
        warps: Sequence[Sequence[float]] | None = None,
    ) -> None:
        n = len(steps)
        super().__init__(n, min_scale, n_params=2 * n, n_linear=n)
        for name, values in (("steps", steps), ("lows", lows), ("origins", origins)):
            self.register_buffer(name, torch.tensor(list(values), dtype=torch.float32))
        self.warp = SinhArcsinh(len(steps), warps)

    @override
    def start(self, model: LinearModel) -> LinearInitialization:
        return location_scale_initialization(model, self.min_scale, self.n_params)

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        return self.warp(x), observed

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        return torch.where(observed, self.warp(torch.where(observed, x, 0.0)), 0.0)

    def forward(self, params: Tensor) -> DiscretizedLogisticColumns:
        """Return columns of whole numbers."""
        loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
        scale = softplus_above(raw_scale, self.min_scale)
        return DiscretizedLogisticColumns(
            loc, scale, self.warp, self.steps, self.lows, self.origins
        )
