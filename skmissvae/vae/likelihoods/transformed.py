"""Likelihood of columns after a sinh-arcsinh transform."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.matmul import apply_to_rows
from ..._utils.random import Noise
from .base import ColumnDistribution, Likelihood, LinearInitialization, LinearModel, finite


def clamped_asinh(x: Tensor) -> Tensor:
    """Return arsinh(x), constant where x squared would overflow (|x| > 9e18 in float32)."""
    # for larger values torch.asinh is infinite
    limit = 0.5 * torch.finfo(x.dtype).max ** 0.5
    return torch.asinh(x.clamp(-limit, limit))


class SinhArcsinh(nn.Module):
    r"""Sinh-arcsinh transform of each column (Jones and Pewsey 2009).

    .. math:: T(x) = \sinh\left(e^\delta \operatorname{arsinh}\frac{x - \xi}{e^\eta}
                                - \epsilon\right)

    It maps the real line onto itself: :math:`\epsilon` corrects skewness, negative :math:`\delta`
    heavy tails. With :math:`\epsilon = \delta = 0` it is linear.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    parameters : array-like of shape (n_columns, 4), optional
        :math:`\xi, \eta, \epsilon, \delta` of each column; None is the identity.
    """

    def __init__(self, n_columns: int, parameters: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__()
        self.identity = parameters is None
        rows = np.zeros((n_columns, 4)) if parameters is None else np.asarray(parameters)
        self.coefficients = nn.Buffer(torch.tensor(rows, dtype=torch.float32).view(n_columns, 4))

    def _unpack(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shift, log_unit, skew, log_tail = self.coefficients.unbind(-1)
        return shift, log_unit.exp(), skew, log_tail

    def forward(self, x: Tensor) -> Tensor:
        """Return T(x): (*, D) -> (*, D)."""
        return x if self.identity else apply_to_rows(self._forward, x)

    def _forward(self, x: Tensor) -> Tensor:
        shift, unit, skew, log_tail = self._unpack()
        return torch.sinh(log_tail.exp() * clamped_asinh((x - shift) / unit) - skew)

    def inverse(self, y: Tensor) -> Tensor:
        """Return x with T(x) = y: (*, D) -> (*, D)."""
        if self.identity:
            return y
        shift, unit, skew, log_tail = self._unpack()
        # sinh overflows beyond in float32
        inner = ((clamped_asinh(y) + skew) / log_tail.exp()).clamp(-40, 40)
        return shift + unit * torch.sinh(inner)

    def log_slope(self, x: Tensor) -> Tensor:
        """Return log T'(x): (*, D) -> (*, D)."""
        return torch.zeros_like(x) if self.identity else apply_to_rows(self._log_slope, x)

    def _log_slope(self, x: Tensor) -> Tensor:
        shift, unit, skew, log_tail = self._unpack()
        u = (x - shift) / unit
        inner = (log_tail.exp() * clamped_asinh(u) - skew).abs()
        log_cosh = inner + torch.log1p(torch.exp(-2 * inner)) - math.log(2)
        return log_cosh + log_tail - unit.log() - 0.5 * torch.log1p(u * u)


class TransformedColumns(ColumnDistribution):
    """Columns with distributions of transformed values.

    Parameters
    ----------
    base : ColumnDistribution
        Distributions of the transformed values.
    transform : SinhArcsinh
        Transform of the values.
    """

    def __init__(self, base: ColumnDistribution, transform: SinhArcsinh) -> None:
        self.base, self.transform, self.shape = base, transform, base.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return self.base.log_prob(self.transform(x)) + self.transform.log_slope(x)

    @override
    def mean(self) -> Tensor:
        return self.mean_by_quadrature(self.base.mean())

    @override
    def sample(self, noise: Noise) -> Tensor:
        return self.transform.inverse(self.base.sample(noise))

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return self.base.cdf(self.transform(x))

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        return self.base.cdf_left(self.transform(x))

    @override
    def transformed(self, x: Tensor) -> Tensor:
        return self.transform(x)

    @override
    def smooth_icdf(self, u: Tensor) -> Tensor:
        return self.transform.inverse(self.base.smooth_icdf(u))

    @override
    def log_expected_probit(self, slope: Tensor, intercept: Tensor) -> Tensor:
        return self.base.log_expected_probit(slope, intercept)

    @override
    def log_interval(self, low: Tensor, high: Tensor) -> Tensor:
        ends = (torch.where(b.isinf(), b, self.transform(finite(b))) for b in (low, high))
        return self.base.log_interval(*ends)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        return self.transform.inverse(self.base.icdf(u))


class TransformedLikelihood(Likelihood):
    r"""Continuous likelihood of transformed values.

    .. math:: p(x | z) = p_{base}(T(x) | z)\, T'(x)

    Parameters
    ----------
    base : Likelihood
        Likelihood of the transformed values.
    transforms : array-like of shape (n_columns, 4)
        Parameters of ``SinhArcsinh``.
    """

    def __init__(self, base: Likelihood, transforms: Sequence[Sequence[float]]) -> None:
        n_params, n_linear = base.n_params, base.n_linear
        super().__init__(base.n_columns, base.min_scale, n_params=n_params, n_linear=n_linear)
        self.base, self.transform = base, SinhArcsinh(base.n_columns, transforms)

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.linearize(self.transform(x), observed)

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        return self.base.linear_initialization(model)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.base.embed(self.transform(torch.where(observed, x, 0.0)), observed)

    @override
    def forward(self, params: Tensor) -> TransformedColumns:
        return TransformedColumns(self.base(params), self.transform)
