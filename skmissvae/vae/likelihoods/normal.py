"""Normal likelihood."""

import math

import torch
from torch import Tensor
from typing_extensions import override

from ..._utils.random import Noise
from ..functional import normal_log_prob
from .base import Likelihood, LinearInitialization, LinearModel, LocationScaleColumns

_MIN_DEVIATE = -1e8  # the derivative of torch's log_ndtr is NaN at some of the lower ones


class NormalColumns(LocationScaleColumns):
    """Normal columns with location and scale (*, D)."""

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return normal_log_prob(x, self.loc, self.scale)

    @override
    def sample(self, noise: Noise) -> Tensor:
        return self.loc + self.scale * noise.normal(*self.shape)

    @override
    def truncated_mean(self, low: Tensor, high: Tensor, probability: Tensor) -> Tensor:
        """Return mu + sigma (phi(a) - phi(b)) / probability, a and b the standardized bounds."""
        a, b = ((bound - self.loc) / self.scale for bound in (low, high))
        difference = torch.exp(-0.5 * a.square()) - torch.exp(-0.5 * b.square())
        return self.loc + self.scale * difference / (math.sqrt(2 * math.pi) * probability)

    def _standard_cdf(self, t: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc(-math.sqrt(0.5) * t)  # ndtr is inaccurate in the lower tail

    def _standard_log_cdf(self, t: Tensor) -> Tensor:
        return torch.special.log_ndtr(t.clamp_min(_MIN_DEVIATE))

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
