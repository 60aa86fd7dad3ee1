"""Normal likelihood."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.random import Noise
from ..functional import normal_log_prob, raw_above, softplus_above
from .base import Likelihood, LocationScaleColumns
from .initialization import (
    LinearInitialization,
    LinearModel,
    floored_scale,
    location_scale_initialization,
)


class NormalColumns(LocationScaleColumns):
    """Normal columns with location and scale (*, D)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return normal_log_prob(x, self.loc, self.scale)

    @override
    def sample(self, noise: Noise) -> Tensor:
        return self.loc + self.scale * noise.normal(*self.loc.shape)

    @override
    def truncated_mean(self, low: Tensor, high: Tensor, probability: Tensor) -> Tensor:
        """Return mu + sigma (phi(a) - phi(b)) / probability, a and b the standardized bounds."""
        a, b = ((bound - self.loc) / self.scale for bound in (low, high))
        difference = torch.exp(-0.5 * a.square()) - torch.exp(-0.5 * b.square())
        return self.loc + self.scale * difference / (math.sqrt(2 * math.pi) * probability)

    def _standard_cdf(self, t: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc(-math.sqrt(0.5) * t)  # ndtr is inaccurate in the lower tail

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
    scale : {"decoder", "column"} or float
        Outputs of the decoder, one parameter per column, or a fixed value.
    """

    def __init__(
        self,
        n_columns: int,
        min_scale: float = 0.01,
        scale: Literal["decoder", "column"] | float = "decoder",
    ) -> None:
        n_params = (2 if scale == "decoder" else 1) * n_columns
        super().__init__(n_columns, min_scale, n_params=n_params, n_linear=n_columns)
        is_fixed = not isinstance(scale, str) and scale > 0
        if not is_fixed and scale not in ("decoder", "column"):
            raise ValueError(
                "scale of a NormalLikelihood must be 'decoder', 'column' or a positive number; "
                f"got {scale!r}."
            )
        self.scale = scale
        if scale == "column":
            self.raw_scale = nn.Parameter(torch.zeros(n_columns))

    @torch.no_grad()
    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        """Return locations and scales; set scales that are parameters."""
        if isinstance(self.scale, str):
            if self.scale == "column":
                scale = floored_scale(model.variance.sqrt(), self.min_scale)
                self.raw_scale.copy_(raw_above(scale, self.min_scale))
            return location_scale_initialization(model, self.min_scale, self.n_params)
        precision = torch.full_like(model.variance, self.scale**-2)
        return location_scale_initialization(model, 0.0, self.n_params)._replace(
            precision=precision
        )

    @override
    def forward(self, params: Tensor) -> NormalColumns:
        if self.scale == "decoder":
            loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
            return NormalColumns(loc, softplus_above(raw_scale, self.min_scale))
        if self.scale == "column":
            return NormalColumns(params, softplus_above(self.raw_scale, self.min_scale))
        return NormalColumns(params, params.new_full((), self.scale))
