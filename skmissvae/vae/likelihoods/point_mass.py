"""Likelihood of columns with a point mass at one value and a continuous part."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.numerics import is_point_mass
from ..._utils.random import Noise
from ..functional import log_ndtr
from .base import ColumnDistribution, Likelihood, LinearInitialization, LinearModel
from .bernoulli import discriminant


class PointMassColumns(ColumnDistribution):
    """Mixture of a point mass at one value and a continuous distribution, for each column.

    Parameters
    ----------
    base : ColumnDistribution
        Distributions of all other values.
    logits : Tensor of shape (*, D)
        Logits of the point mass.
    locations : Tensor of shape (D,)
        Location of the point mass.
    """

    def __init__(self, base: ColumnDistribution, logits: Tensor, locations: Tensor) -> None:
        self.base, self.logits, self.locations = base, logits, locations
        self.shape = logits.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        at_location = is_point_mass(x, self.locations)
        # at the point mass the density may be infinite, where the derivative of a transform is zero
        other = self.base.log_prob(x)
        log_p = nn.functional.logsigmoid(self.logits)
        return torch.where(at_location, log_p, log_p - self.logits + other)

    @override
    def mean(self) -> Tensor:
        p = self.logits.sigmoid()
        return p * self.locations + (1 - p) * self.base.mean()

    @override
    def sample(self, noise: Noise) -> Tensor:
        other = self.base.sample(noise)
        at_location = noise.uniform(*self.shape) < self.logits.sigmoid()
        return torch.where(at_location, self.locations, other)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        reached = (x >= self.locations) | is_point_mass(x, self.locations)
        return (1 - p) * self.base.cdf(x) + torch.where(reached, p, 0.0)

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        passed = (x > self.locations) & ~is_point_mass(x, self.locations)
        return (1 - p) * self.base.cdf_left(x) + torch.where(passed, p, 0.0)

    @override
    def interval_probability(self, low: Tensor, high: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        inside = torch.where(self._is_within(low, high), p, 0.0)
        return inside + (1 - p) * self.base.interval_probability(low, high)

    @override
    def log_interval(self, low: Tensor, high: Tensor) -> Tensor:
        log_p = nn.functional.logsigmoid(self.logits)
        other = log_p - self.logits + self.base.log_interval(low, high)
        return torch.where(self._is_within(low, high), torch.logaddexp(log_p, other), other)

    @override
    def transformed(self, x: Tensor) -> Tensor:
        return self.base.transformed(x)

    @override
    def log_expected_probit(self, slope: Tensor, intercept: Tensor) -> Tensor:
        log_p = nn.functional.logsigmoid(self.logits)
        at_location = log_ndtr(slope * self.transformed(self.locations) + intercept)
        other = self.base.log_expected_probit(slope, intercept)
        return torch.logaddexp(log_p + at_location, log_p - self.logits + other)

    @override
    def truncated_mean(self, low: Tensor, high: Tensor, probability: Tensor) -> Tensor | None:
        p, of_base = self.logits.sigmoid(), self.base.interval_probability(low, high)
        mean = self.base.truncated_mean(low, high, torch.where(of_base > 0, of_base, 1.0))
        if mean is None:
            return None
        inside = torch.where(self._is_within(low, high), p * self.locations, 0.0)
        return (inside + (1 - p) * of_base * mean) / probability

    def _is_within(self, low: Tensor, high: Tensor) -> Tensor:
        """Return which point masses are within bounds up to rounding."""
        above = (self.locations >= low) | is_point_mass(low, self.locations)
        return above & ((self.locations <= high) | is_point_mass(high, self.locations))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        mass_below = (1 - p) * self.base.cdf(self.locations.expand(self.shape))
        below, above = u < mass_below, u > mass_below + p
        rest = torch.where(below, u, u - p) / (1 - p).clamp_min(1e-6)
        return torch.where(below | above, self.base.icdf(rest.clamp(0, 1)), self.locations)


class PointMassLikelihood(Likelihood):
    r"""Likelihood with a point mass at one value, such as the zeros of precipitation.

    .. math:: P(x = a) = \pi(z), \quad p(x | x \ne a) = (1 - \pi(z))\, p_{base}(x | z)

    Parameters
    ----------
    base : Likelihood
        Likelihood of all other values.
    locations : sequence of float
        Location of the point mass of each column, in units of the model.
    shares : sequence of float
        Share of the observed cells that have this value.
    """

    support = "atom"

    def __init__(
        self, base: Likelihood, locations: Sequence[float], shares: Sequence[float]
    ) -> None:
        n = base.n_columns
        super().__init__(
            n,
            base.min_scale,
            n_params=base.n_params + n,
            n_inputs=base.n_inputs + n,
            n_linear=base.n_linear + n,
        )
        self.base = base
        share = np.asarray(shares, dtype=np.float64)
        self.locations = nn.Buffer(torch.tensor(list(locations), dtype=torch.float32))
        log_odds = np.log(share / (1 - share))
        self.log_odds = nn.Buffer(torch.tensor(log_odds, dtype=torch.float32))

    @property
    @override
    def covers_all_columns(self) -> bool:
        return self.base.covers_all_columns

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of the base, missing at the point mass, and indicators of it."""
        at_location = is_point_mass(x, self.locations)
        values, is_observed = self.base.linearize(x, observed & ~at_location)
        indicators = torch.where(observed, at_location.to(x), 0.0)
        return torch.cat([values, indicators], -1), torch.cat([is_observed, observed], -1)

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        """Return the initialization of the base, and logits as those of binary columns."""
        pieces = zip(
            *(part.split([self.base.n_linear, self.n_columns]) for part in model), strict=True
        )
        of_base, of_indicators = (LinearModel(*piece) for piece in pieces)
        base = self.base.linear_initialization(of_base)
        logits = discriminant(of_indicators)
        logits = logits._replace(bias=logits.bias - self.log_odds)
        return LinearInitialization(*map(torch.cat, zip(base, logits, strict=True)))

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return the inputs of the base, and 1 at the point mass, -1 elsewhere, 0 where missing."""
        at_location = is_point_mass(x, self.locations)
        sign = torch.where(observed, 2 * at_location.to(x) - 1, 0.0)
        return torch.cat([self.base.embed(x, observed), sign], -1)

    def forward(self, params: Tensor) -> PointMassColumns:
        """Return columns; logits of the point mass are offsets from its observed log-odds."""
        of_base, offsets = params.tensor_split([self.base.n_params], -1)
        return PointMassColumns(self.base(of_base), offsets + self.log_odds, self.locations)
