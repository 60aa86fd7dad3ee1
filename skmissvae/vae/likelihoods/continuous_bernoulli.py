"""Continuous Bernoulli likelihood of columns with values from 0 to 1."""

import torch
from torch import Tensor
from typing_extensions import override

from .base import ColumnDistribution, Likelihood


class ContinuousBernoulliColumns(ColumnDistribution):
    r"""Continuous Bernoulli columns on [0, 1] with logits (*, D).

    The density is :math:`e^{\eta x - A(\eta)}` with logit :math:`\eta` and
    :math:`A(\eta) = \log((e^\eta - 1) / \eta)` (Loaiza-Ganem and Cunningham 2019).
    """

    # torch.distributions.ContinuousBernoulli computes with probabilities: in float32 its values
    # and gradients are wrong for logits beyond about 16, which confident decoders reach

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.shape = logits, logits.shape

    def _safe(self) -> tuple[Tensor, Tensor]:
        """Return where logits are small, and logits with small ones replaced by one."""
        small = self.logits.abs() < 0.05
        return small, torch.where(small, 1.0, self.logits)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        small, eta = self._safe()
        square = self.logits.square()
        series = 0.5 * self.logits + square / 24 - square.square() / 2880
        absolute = eta.abs()
        normaliser = eta.clamp_min(0) + torch.log(-torch.expm1(-absolute)) - absolute.log()
        return self.logits * x - torch.where(small, series, normaliser)

    @override
    def mean(self) -> Tensor:
        small, eta = self._safe()
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        return torch.where(small, series, -1 / torch.expm1(-eta) - 1 / eta)

    def _decreasing(self) -> Tensor:
        """Return minus the absolute logits: the mirror image of increasing densities decreases."""
        return -self.logits.abs().clamp_min(1e-6)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        eta, increasing = self._decreasing(), self.logits > 0
        u = torch.where(increasing, 1 - u, u)
        x = (torch.log1p(u * torch.expm1(eta)) / eta).clamp(0, 1)
        return torch.where(increasing, 1 - x, x)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        eta, increasing, x = self._decreasing(), self.logits > 0, x.clamp(0, 1)
        below = torch.expm1(eta * torch.where(increasing, 1 - x, x)) / torch.expm1(eta)
        return torch.where(increasing, 1 - below, below)


class ContinuousBernoulliLikelihood(Likelihood):
    """Columns with values from 0 to 1, such as grey values of pixels.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    min_scale : float
        Not used: the distribution has no scale.
    """

    support = "unit"

    def __init__(self, n_columns: int, min_scale: float = 0.01) -> None:
        super().__init__(n_columns, min_scale, n_params=n_columns)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return values from -1 to 1, zero where missing."""
        return torch.where(observed, 2 * x - 1, 0.0)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        return expected.clamp(0, 1)

    @override
    def forward(self, params: Tensor) -> ContinuousBernoulliColumns:
        return ContinuousBernoulliColumns(params)
