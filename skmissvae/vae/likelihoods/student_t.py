"""Student-t likelihood, for tables with outliers."""

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy import special
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from ..._utils.random import Noise
from ..functional import mixing_scale, softplus_above, student_t_log_prob
from .base import Likelihood, LocationScaleColumns, finite

_MIN_PROBABILITY = 1e-290  # that scipy computes accurately
_STEP_OF_DF = 1e-4  # relative, of differences


class _LogStudentTCdf(torch.autograd.Function):
    """log P(T <= t) of Student-t distributions, by scipy, with gradients to t and df."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, df: Tensor) -> Tensor:
        ctx.save_for_backward(t, df)
        return _log_cdf(t, df)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        t, df = ctx.saved_tensors
        zero, one = t.new_zeros(()), t.new_ones(())
        slope = (student_t_log_prob(t, df, zero, one) - _log_cdf(t, df)).exp()
        h = _STEP_OF_DF * df
        df_slope = (_log_cdf(t, df + h) - _log_cdf(t, df - h)) / (2 * h)
        return grad * slope, (grad * df_slope).sum_to_size(df.shape)


def _log_cdf(t: Tensor, df: Tensor) -> Tensor:
    p = special.stdtr(df.detach().cpu().numpy(), t.detach().cpu().numpy())
    log_p = torch.as_tensor(p).to(t).clamp_min(_MIN_PROBABILITY).log()
    # beyond the range of floats: the leading term of the tail, t f(t) / df
    density = student_t_log_prob(t, df, t.new_zeros(()), t.new_ones(()))
    tail = density + (t.abs().clamp_min(1) / df + 1 / t.abs().clamp_min(1)).log()
    return torch.where((t < 0) & (log_p <= math.log(_MIN_PROBABILITY)), tail, log_p)


class StudentTColumns(LocationScaleColumns):
    """Student-t columns with degrees of freedom, location and scale (*, D).

    Mean and variance exist, as degrees of freedom are above two. Distribution functions and
    quantiles are those of scipy, on the CPU, as torch has none.
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc, scale)
        self.df = df

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return student_t_log_prob(x, self.df, self.loc, self.scale)

    @override
    def sample(self, noise: Noise) -> Tensor:
        mixing = mixing_scale(noise, self.df.expand_as(self.loc))
        return self.loc + self.scale * mixing * noise.normal(*self.shape)

    @override
    def truncated_mean(self, low: Tensor, high: Tensor, probability: Tensor) -> Tensor:
        r"""Return the truncated means by the antiderivative of t f(t).

        It is :math:`-\frac{\nu}{\nu - 1} (1 + t^2 / \nu) f(t)`.
        """
        zero, one = self.loc.new_zeros(()), self.loc.new_ones(())

        def antiderivative(bound: Tensor) -> Tensor:
            t = (finite(bound) - self.loc) / self.scale
            density = student_t_log_prob(t, self.df, zero, one).exp()
            return torch.where(bound.isinf(), 0.0, (1 + t.square() / self.df) * density)

        factor = self.df / (self.df - 1)
        difference = antiderivative(low) - antiderivative(high)
        return self.loc + self.scale * factor * difference / probability

    def _standard_cdf(self, t: Tensor) -> Tensor:
        return self._apply_scipy(special.stdtr, t)

    def _standard_log_cdf(self, t: Tensor) -> Tensor:
        result: Tensor = _LogStudentTCdf.apply(t, self.df.double())
        return result

    def _standard_icdf(self, p: Tensor) -> Tensor:
        return self._apply_scipy(special.stdtrit, p)

    def _apply_scipy(self, function: Callable[[Any, Any], Any], x: Tensor) -> Tensor:
        df = self.df.detach().cpu().numpy()
        return torch.as_tensor(function(df, x.detach().cpu().numpy())).to(self.loc)


class StudentTLikelihood(Likelihood):
    """Student-t columns with learned degrees of freedom above 2, for tables with outliers.

    Parameters
    ----------
    n_columns : int
        Number of columns D.
    min_scale : float
        Floor of the scale, in standard deviations of the column.
    """

    def __init__(self, n_columns: int, min_scale: float = 0.01) -> None:
        super().__init__(n_columns, min_scale, n_params=2 * n_columns, n_linear=n_columns)
        self.raw_df = nn.Parameter(torch.full((n_columns,), 2.0))

    @override
    def forward(self, params: Tensor) -> StudentTColumns:
        return StudentTColumns(softplus_above(self.raw_df, 2), *self.loc_scale(params))
