"""Bernoulli likelihood of binary columns, and of grey values (cross entropy)."""

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.random import Noise
from ..functional import log_ndtr
from .base import DiscreteColumns, Likelihood, LinearInitialization, LinearModel, Support

#: Least noise variance of binary columns and categories, as a share of their variance. A linear
#: model is overconfident about them, and training leaves an overconfident initialization slowly.
MIN_UNEXPLAINED = 0.8


_MAX_ITERATIONS = 100  # of biases
_TOLERANCE = 1e-4  # of log-odds, whose rounding errors are nearly as large


class BernoulliColumns(DiscreteColumns):
    """Bernoulli columns with logits (*, D)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.shape = logits, logits.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return x * self.logits - nn.functional.softplus(self.logits)

    @override
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @override
    def sample(self, noise: Noise) -> Tensor:
        return (noise.uniform(*self.shape) < self.mean()).to(self.logits.dtype)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return torch.where(x < 0, 0.0, torch.where(x < 1, 1 - self.mean(), 1.0))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        return (u > 1 - self.mean()).to(self.logits)

    @override
    def log_expected_probit(self, slope: Tensor, intercept: Tensor) -> Tensor:
        log_p, log_q = (nn.functional.logsigmoid(sign * self.logits) for sign in (1, -1))
        return torch.logaddexp(log_p + log_ndtr(slope + intercept), log_q + log_ndtr(intercept))


class CrossEntropyColumns(BernoulliColumns):
    """Columns on [0, 1] with cross entropy as log_prob; draws given z are the means."""

    @override
    def sample(self, noise: Noise) -> Tensor:
        """Return the means."""
        return self.mean()

    @override
    def completion(self, noise: Noise) -> Tensor:
        """Return zeros and ones, whose log-probability is the cross entropy."""
        return super().sample(noise)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        """Return one where x is at least the mean, else zero."""
        return (self.mean() <= x).to(self.logits)

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        """Return one where x is above the mean, else zero."""
        return (self.mean() < x).to(self.logits)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        return self.mean().expand(np.broadcast_shapes(self.shape, u.shape))


class BernoulliLikelihood(Likelihood):
    """Binary columns; any two values, of which the greater is the model's one.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    min_scale : float
        Not used: the distribution has no scale.
    """

    support: Support = "binary"

    def __init__(self, n_columns: int, min_scale: float = 0.01) -> None:
        super().__init__(n_columns, min_scale, n_params=n_columns, n_linear=n_columns)

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        return discriminant(model)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return -1 and 1, so that zero only encodes missing cells."""
        return torch.where(observed, 2 * x - 1, 0.0)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        return (expected >= 0.5).to(expected) if decide else expected

    @override
    def forward(self, params: Tensor) -> BernoulliColumns:
        return BernoulliColumns(params)


class CrossEntropyLikelihood(BernoulliLikelihood):
    r"""Cross entropy of columns with values from 0 to 1, such as grey values of pixels.

    ``log_prob`` is :math:`x \log p + (1 - x) \log(1 - p)`. It is not a log-density, as it does not
    integrate to one: scores are only comparable between models with this likelihood. Given the
    latents, draws are the means, so that imputations and intervals reflect the uncertainty of the
    latents only; limits of values clip them. ``strategy="mode"`` is 0 or 1, which minimizes the
    cross entropy.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    min_scale : float
        Not used: the distribution has no scale.
    """

    support: Support = "unit"

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        """Return logits with the linear model's slope at the mean, and the mean of the column."""
        mean = model.intercept.clamp(0.01, 0.99)
        slope = 1 / (mean * (1 - mean))
        weight = model.loadings * slope.unsqueeze(-1)
        bias = _marginal_bias(weight, mean)
        return LinearInitialization(weight, bias, torch.ones_like(bias).bool(), slope)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        return expected.clamp(0, 1)

    @override
    def forward(self, params: Tensor) -> CrossEntropyColumns:
        return CrossEntropyColumns(params)


def discriminant(model: LinearModel) -> LinearInitialization:
    r"""Return the logits of linear discriminant analysis, with a floor of the variance.

    If the latents given a value are Normal with the moments of the linear model, the log-odds are
    linear with weight :math:`w / v`. The bias preserves the share of ones.
    """
    share = model.intercept.clamp(0.001, 0.999)
    variance = torch.maximum(model.variance, MIN_UNEXPLAINED * share * (1 - share))
    weight = model.loadings / variance.unsqueeze(-1)
    bias = _marginal_bias(weight, share)
    return LinearInitialization(weight, bias, torch.ones_like(bias).bool(), 1 / variance)


def _marginal_bias(weight: Tensor, share: Tensor) -> Tensor:
    """Solve E[sigmoid(w z + b)] = share for b, with z ~ N(0, I): (D, L), (D,) -> (D,)."""
    nodes, weights = (torch.from_numpy(array).to(weight) for array in special.roots_hermitenorm(40))
    logits = weight.norm(dim=-1).unsqueeze(-1) * nodes  # (D, 40)
    bias = share.logit()
    for _ in range(_MAX_ITERATIONS):
        mean = ((logits + bias.unsqueeze(-1)).sigmoid() @ weights) / weights.sum()
        error = share.logit() - mean.logit()
        bias = bias + error
        if error.abs().max() < _TOLERANCE:
            break
    return bias
