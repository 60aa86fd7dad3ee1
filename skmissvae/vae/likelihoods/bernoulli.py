"""Binary columns, and grey values by cross entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.random import Noise
from .base import DiscreteColumns, Likelihood, Support
from .initialization import LEAST_UNEXPLAINED, LinearInitialization, LinearModel, marginal_bias


class BernoulliColumns(DiscreteColumns):
    """Bernoulli columns with logits (*, D)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    @override
    def shape(self) -> torch.Size:
        return self.logits.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return x * self.logits - nn.functional.softplus(self.logits)

    @override
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @override
    def sample(self, noise: Noise) -> Tensor:
        return (noise.uniform(*self.logits.shape) < self.mean()).to(self.logits.dtype)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return torch.where(x < 0, 0.0, torch.where(x < 1, 1 - self.mean(), 1.0))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        return (u > 1 - self.mean()).to(self.logits)


class CrossEntropyColumns(BernoulliColumns):
    """Columns on [0, 1] that are judged by cross entropy, and are their means for certain."""

    @override
    def sample(self, noise: Noise) -> Tensor:
        """Return the means."""
        return self.mean()

    @override
    def completion(self, noise: Noise) -> Tensor:
        """Return zeros and ones, of which cross entropy is the law."""
        return super().sample(noise)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        """Return whether the means are reached."""
        return (self.mean() <= x).to(self.logits)

    @override
    def below(self, x: Tensor) -> Tensor:
        """Return whether the means are passed."""
        return (self.mean() < x).to(self.logits)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        mean = self.mean()
        return mean.expand(torch.broadcast_shapes(mean.shape, u.shape))


class BernoulliLikelihood(Likelihood):
    """Binary columns; any two values, of which the greater is the model's one."""

    support: Support = "binary"

    def __init__(self, n_columns: int, min_scale: float = 0.01) -> None:
        super().__init__(n_columns, min_scale, n_params=n_columns, n_linear=n_columns)

    @override
    def start(self, model: LinearModel) -> LinearInitialization:
        r"""Return the logits of linear discriminant analysis, tempered.

        Where latents are Normal given a value, with the moments of the linear model, the log-odds
        are linear, with :math:`w / v` for weight. The bias keeps the share of ones.
        """
        share = model.intercept.clamp(0.001, 0.999)
        variance = torch.maximum(model.variance, LEAST_UNEXPLAINED * share * (1 - share))
        weight = model.loadings / variance.unsqueeze(-1)
        bias = marginal_bias(weight, share)
        return LinearInitialization(weight, bias, torch.ones_like(bias).bool(), 1 / variance)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return -1 and 1, so that zero stands for missing alone."""
        return torch.where(observed, 2 * x - 1, 0.0)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        return (expected >= 0.5).to(expected) if decide else expected

    def forward(self, params: Tensor) -> BernoulliColumns:
        """Return Bernoulli columns."""
        return BernoulliColumns(params)


class CrossEntropyLikelihood(BernoulliLikelihood):
    r"""Columns with values from 0 to 1, each taken for the mean of many Bernoulli draws.

    The log-density is the cross entropy :math:`x \log p + (1 - x) \log(1 - p)`, as is common for
    grey values of pixels. It is no density: it does not integrate to one, so that scores can be
    compared among models of this kind alone. Given the latents a draw is the mean itself:
    imputations and intervals tell how uncertain the latents are, and nothing beside, and bounds
    move it without being evidence. ``estimate="mode"`` is 0 or 1, where cross entropy is least.
    """

    support: Support = "unit"

    @override
    def start(self, model: LinearModel) -> LinearInitialization:
        """Return logits that move as the linear model does, and keep the column's mean."""
        mean = model.intercept.clamp(0.01, 0.99)
        slope = 1 / (mean * (1 - mean))
        weight = model.loadings * slope.unsqueeze(-1)
        bias = marginal_bias(weight, mean)
        return LinearInitialization(weight, bias, torch.ones_like(bias).bool(), slope)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        return expected.clamp(0, 1)

    def forward(self, params: Tensor) -> CrossEntropyColumns:
        """Return columns of grey values."""
        return CrossEntropyColumns(params)
