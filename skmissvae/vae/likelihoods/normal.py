"""Normal likelihood."""

import math

import torch
from torch import Tensor
from typing_extensions import override

from ..._utils.random import Noise
from ..functional import log_ndtr, normal_log_prob
from .base import Likelihood, LinearInitialization, LinearModel, LocationScaleColumns


class NormalColumns(LocationScaleColumns):
    """Normal columns with location and scale (*, D)."""

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return normal_log_prob(x, self.loc, self.scale)

    @override
    def sample(self, noise: Noise) -> Tensor:
        return self.loc + self.scale * noise.normal(*self.shape)

    @override
    def log_expected_probit(self, slope: Tensor, intercept: Tensor) -> Tensor:
        """Return log Phi((a mu + b) / sqrt(1 + a^2 sigma^2))."""
        spread = (1 + (slope * self.scale).square()).sqrt()
        return log_ndtr((slope * self.loc + intercept) / spread)

    def selected_moments(self, slope: Tensor, intercept: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return mean and standard deviation of densities prop. to p(x_d | z) Phi(a_d x_d + b_d).

        With :math:`r^2 = 1 + a^2 \sigma^2`, :math:`h = (a \mu + b) / r` and :math:`\lambda =
        \phi(h) / \Phi(h)` they are :math:`\mu + a \sigma^2 \lambda / r` and :math:`\sigma \sqrt{1 -
        (a \sigma / r)^2 \lambda (\lambda + h)}`.
        """
        loc, scale = self.loc.double(), self.scale.double()
        r = (1 + (slope * scale).square()).sqrt()
        h = (slope * loc + intercept) / r
        ratio = (-0.5 * h.square() - log_ndtr(h) - 0.5 * math.log(2 * math.pi)).exp()
        share = slope * scale / r
        variance = 1 - share.square() * ratio * (ratio + h)
        mean = loc + share * scale * ratio
        return mean.to(self.loc), (scale * variance.clamp_min(1e-6).sqrt()).to(self.loc)

    @override
    def truncated_mean(self, low: Tensor, high: Tensor, probability: Tensor) -> Tensor:
        """Return mu + sigma (phi(a) - phi(b)) / probability, a and b the standardized bounds."""
        a, b = ((bound - self.loc) / self.scale for bound in (low, high))
        difference = torch.exp(-0.5 * a.square()) - torch.exp(-0.5 * b.square())
        return self.loc + self.scale * difference / (math.sqrt(2 * math.pi) * probability)

    def _standard_cdf(self, t: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc(-math.sqrt(0.5) * t)  # ndtr is inaccurate in the lower tail

    def _standard_log_cdf(self, t: Tensor) -> Tensor:
        return log_ndtr(t)

    def _standard_icdf(self, p: Tensor) -> Tensor:
        return torch.special.ndtri(p)


class NormalLikelihood(Likelihood):
    """Normal columns with a floor of the scale.

    Parameters
    ----------
    n_columns : int
        Number of columns D.
    min_scale : float
        Floor of the scale, in standard deviations of the column. Without it the likelihood of a
        column with a repeated value is unbounded.
    scale : float or None
        A fixed scale of all columns; None makes scales outputs of the decoder.
    """

    def __init__(self, n_columns: int, min_scale: float = 0.01, scale: float | None = None) -> None:
        n_params = (2 if scale is None else 1) * n_columns
        super().__init__(n_columns, min_scale, n_params=n_params, n_linear=n_columns)
        if scale is not None and not scale > 0:
            raise ValueError(f"scale of a NormalLikelihood must be above 0; got {scale!r}.")
        self.scale = scale

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        initialization = super().linear_initialization(model)
        if self.scale is None:
            return initialization
        return initialization._replace(precision=torch.full_like(model.variance, self.scale**-2))

    @override
    def forward(self, params: Tensor) -> NormalColumns:
        if self.scale is not None:
            return NormalColumns(params, params.new_full((), self.scale))
        return NormalColumns(*self.loc_scale(params))
