"""Discretized logistic likelihood of integers and counts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from .base import DiscreteColumns, Likelihood, finite, log_logistic_interval, quadrature
from .transformed import SinhArcsinh

_MIN_PROBABILITY = 1e-6  # of quantiles, which are infinite at 0 and 1


_UNIT_SCALE = 3**0.5 / torch.pi  # of a logistic distribution with standard deviation one


# interval length below which a difference of transformed edges is replaced by the derivative
_NARROW = 1e-3


class DiscretizedLogisticColumns(DiscreteColumns):
    """Integers: a discretized logistic distribution of transformed values.

    Parameters
    ----------
    loc, scale : Tensor of shape (*, D)
        Mean and standard deviation of the transformed values.
    transform : SinhArcsinh
        Transform of the values.
    grid : Tensor of shape (3, D)
        Distance of neighbouring values; the least value, whose interval is unbounded below, or
        -inf; some value of the grid.
    """

    def __init__(self, loc: Tensor, scale: Tensor, transform: SinhArcsinh, grid: Tensor) -> None:
        self.loc, self.scale, self.transform = loc, scale * _UNIT_SCALE, transform
        self.step, self.low, self.origin = grid
        self.shape = loc.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        half = 0.5 * self.step
        low = self.transform(x - half)
        slope = self.step * self.transform.log_slope(x).exp()
        width = torch.where(self.step < _NARROW, slope, self.transform(x + half) - low)
        lowest = x < self.low + half
        low, width = (low - self.loc) / self.scale, width / self.scale
        return log_logistic_interval(low, width, lowest, torch.zeros_like(lowest))

    @override
    def log_interval(self, low: Tensor, high: Tensor) -> Tensor:
        half = 0.5 * self.step.double()
        start, end = self.transform(finite(low) - half), self.transform(finite(high) + half)
        lowest, highest = low.isinf() | (low < self.low + half), high.isinf()
        # the width is not used, but must be positive, where a limit does not exist
        width = torch.where(lowest | highest, 1.0, end - start)
        start = torch.where(lowest, end - width, start)
        loc, scale = self.loc.double(), self.scale.double()
        return log_logistic_interval((start - loc) / scale, width / scale, lowest, highest)

    @override
    def mean(self) -> Tensor:
        """Return the means.

        Without a transform the mean is a sum over values: over the nearest ones if the scale is
        below half a step, else by the first three terms of the Euler-Maclaurin formula of the
        upper tail. With a transform it is an integral over quantiles.
        """
        if self.transform.identity:
            is_narrow = self.scale < 0.5 * self.step
            return torch.where(is_narrow, self._mean_of_nearest(), self._euler_maclaurin_mean())
        total = torch.zeros_like(self.loc)
        for u, weight in quadrature():
            at = self.transform.inverse(self.loc + self.scale * math.log(u / (1 - u)))
            total = total + weight * torch.maximum(at, self.low)
        return total

    def _euler_maclaurin_mean(self) -> Tensor:
        edge = self.low.nan_to_num(neginf=0.0) + 0.5 * self.step
        above = (self.loc - edge) / self.scale
        first = above.sigmoid()
        slope = first * (1 - first) / self.scale
        tail = self.scale * nn.functional.softplus(above) + 0.5 * self.step * first
        tail = tail + self.step.square() / 12 * slope
        return torch.where(self.low.isinf(), self.loc, self.low + tail)

    def _mean_of_nearest(self) -> Tensor:
        nearest = torch.maximum(self._on_grid(self.loc), self.low)
        steps = torch.arange(4, dtype=self.loc.dtype, device=self.loc.device).unsqueeze(-1) + 0.5
        away = steps * self.step  # (4, D)   from the nearest value to interval edges
        loc, scale, middle = (v.unsqueeze(-2) for v in (self.loc, self.scale, nearest))
        beyond = ((loc - middle - away) / scale).sigmoid()
        before = ((middle - away - loc) / scale).sigmoid()
        before = torch.where(middle - away > self.low, before, 0.0)
        return nearest + self.step * (beyond - before).sum(-2)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        logit = u.clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY).logit()
        at = self.transform.inverse(self.loc + self.scale * logit)
        return torch.maximum(self._on_grid(at), self.low)

    @override
    def transformed(self, x: Tensor) -> Tensor:
        return self.transform(x)

    @override
    def smooth_icdf(self, u: Tensor) -> Tensor:
        """Return quantiles with the gradients of those of the continuous distribution."""
        at = self.transform.inverse(self.loc + self.scale * u.logit(_MIN_PROBABILITY))
        return at + (self.icdf(u) - at).detach()

    @override
    def cdf(self, x: Tensor) -> Tensor:
        # the tolerance keeps rounding from taking a value of the grid for the one below
        cell = ((x - self.origin) / self.step + 1e-3).floor() * self.step + self.origin
        below = ((self.transform(cell + 0.5 * self.step) - self.loc) / self.scale).sigmoid()
        return torch.where(cell < self.low - 0.5 * self.step, 0.0, below)

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        cell = ((x - self.origin) / self.step - 1e-3).ceil() - 1
        return self.cdf(cell * self.step + self.origin)

    def _on_grid(self, x: Tensor) -> Tensor:
        return ((x - self.origin) / self.step).round() * self.step + self.origin


class DiscretizedLogisticLikelihood(Likelihood):
    r"""Discretized logistic distribution of integers, such as counts and ages.

    .. math:: P(n) = \sigma\left(\frac{T(n + 1/2) - \mu}{s}\right)
                   - \sigma\left(\frac{T(n - 1/2) - \mu}{s}\right),

    where T is the transform of the column. The interval of the least value is unbounded below.

    Parameters
    ----------
    steps, lows, origins : sequence of float
        Distance of neighbouring values, the least value (or -inf), and some value of the grid.
    min_scale : float
        Floor of the scale, in standard deviations of the column.
    transforms : array-like of shape (n_columns, 4), optional
        Parameters of ``SinhArcsinh``; None is the identity.
    """

    support = "whole"

    def __init__(
        self,
        steps: Sequence[float],
        lows: Sequence[float],
        origins: Sequence[float],
        min_scale: float = 0.01,
        transforms: Sequence[Sequence[float]] | None = None,
    ) -> None:
        n = len(steps)
        super().__init__(n, min_scale, n_params=2 * n, n_linear=n)
        grid = [list(values) for values in (steps, lows, origins)]
        self.grid = nn.Buffer(torch.tensor(grid, dtype=torch.float32))
        self.transform = SinhArcsinh(n, transforms)

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform(x), observed

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        return torch.where(observed, self.transform(torch.where(observed, x, 0.0)), 0.0)

    @override
    def forward(self, params: Tensor) -> DiscretizedLogisticColumns:
        loc, scale = self.loc_scale(params)
        return DiscretizedLogisticColumns(loc, scale, self.transform, self.grid)
