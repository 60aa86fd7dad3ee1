"""Warps of columns: monotone maps that make skewed and heavy-tailed columns easier to model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_MAX_CELLS = 2000  # of a column: more tell little of four numbers
_STRAIGHT = (0.0, 0.0, 0.0, 0.0)


class _Arsinh(torch.autograd.Function):
    """The inverse of sinh: torch's own is several times as slow on CPU."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        # the square of what is larger leaves the range
        size = x.abs().clamp_max_(0.5 * torch.finfo(x.dtype).max ** 0.5)
        root = (size * size).add_(1).sqrt_().add_(1)
        return (size / root).add_(1).mul_(size).log1p_().copysign_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x * x + 1).rsqrt()


def arsinh(x: Tensor) -> Tensor:
    """Return the inverse of sinh; it has first derivatives.

    Beyond half of the root of the greatest number it stays as it is there, 44 in single precision.
    """
    found: Tensor = _Arsinh.apply(x)
    return found


class Warp(nn.Module):
    r"""The sinh-arcsinh map of each column (Jones and Pewsey 2009).

    .. math:: T(x) = \sinh\left(e^\delta \operatorname{arsinh}\frac{x - \xi}{e^\eta}
                                - \epsilon\right)

    It takes the whole line to the whole line: :math:`\epsilon` straightens skewness, negative
    :math:`\delta` heavy tails. With :math:`\epsilon = \delta = 0` it is linear.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    parameters : array-like of shape (n_columns, 4), optional
        :math:`\xi, \eta, \epsilon, \delta` of each column; None leaves all as they are.
    """

    numbers: Tensor

    def __init__(self, n_columns: int, parameters: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__()
        given = [_STRAIGHT] * n_columns if parameters is None else parameters
        self.identity = parameters is None
        numbers = torch.tensor(np.asarray(given, dtype=np.float32).reshape(n_columns, 4))
        self.register_buffer("numbers", numbers)

    def _apart(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shift, log_unit, skew, log_tail = self.numbers.unbind(-1)
        return shift, log_unit.exp(), skew, log_tail

    def forward(self, x: Tensor) -> Tensor:
        """Return T(x), column by column: (*, D) -> (*, D)."""
        if self.identity:
            return x
        shift, unit, skew, log_tail = self._apart()
        return torch.sinh(log_tail.exp() * arsinh((x - shift) / unit) - skew)

    def inverse(self, y: Tensor) -> Tensor:
        """Return the values whose map is y."""
        if self.identity:
            return y
        shift, unit, skew, log_tail = self._apart()
        # beyond it sinh would leave the range of float32
        inner = ((arsinh(y) + skew) / log_tail.exp()).clamp(-40, 40)
        return shift + unit * torch.sinh(inner)

    def log_slope(self, x: Tensor) -> Tensor:
        """Return log T'(x)."""
        if self.identity:
            return torch.zeros_like(x)
        shift, unit, skew, log_tail = self._apart()
        u = (x - shift) / unit
        inner = (log_tail.exp() * arsinh(u) - skew).abs()
        log_cosh = inner + torch.log1p(torch.exp(-2 * inner)) - math.log(2)
        return log_cosh + log_tail - unit.log() - 0.5 * torch.log1p(u * u)


def fit_warp(values: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Return the parameters that make a column's values most nearly standard Normal.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Observed cells, standardised.

    Returns
    -------
    tuple of float
        Parameters of ``Warp``, by maximum likelihood.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if len(x) > _MAX_CELLS:  # evenly by rank
        x = x[np.linspace(0, len(x) - 1, _MAX_CELLS).round().astype(int)]

    def loss(theta: NDArray[np.float64]) -> float:
        shift, log_unit, skew, log_tail = theta
        u = (x - shift) * np.exp(-log_unit)
        inner = np.exp(log_tail) * np.arcsinh(u) - skew
        size = np.abs(inner)
        log_cosh = size + np.log1p(np.exp(-2 * size)) - math.log(2)
        log_density = -0.5 * np.sinh(np.clip(inner, -30, 30)) ** 2
        log_density += log_cosh + log_tail - log_unit - 0.5 * np.log1p(u * u)
        # a weak pull to the straight line: short columns tell little of their shape
        return float(-log_density.mean() + 0.5 * (skew**2 + log_tail**2) / len(x))

    found = optimize.minimize(
        loss,
        np.array([np.median(x), 0.0, 0.0, 0.0]),
        method="L-BFGS-B",
        bounds=[(-3, 3), (-4, 3), (-4, 4), (-2, 1)],
    )
    shift, log_unit, skew, log_tail = (float(number) for number in found.x)
    return shift, log_unit, skew, log_tail
