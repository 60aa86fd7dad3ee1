"""Fit of marginal transforms, which make the distribution of a column more nearly Normal."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

_MAX_CELLS = 2000  # of a column: more hardly change four parameters


def fit_sinh_arcsinh(values: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Return the sinh-arcsinh transform by which a column is most nearly standard Normal.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Observed cells, standardised.

    Returns
    -------
    tuple of float
        Parameters of ``SinhArcsinh``, by maximum likelihood.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if len(x) > _MAX_CELLS:  # quantiles
        x = x[np.linspace(0, len(x) - 1, _MAX_CELLS).round().astype(int)]

    def loss(theta: NDArray[np.float64]) -> float:
        shift, log_unit, skew, log_tail = theta
        u = (x - shift) * np.exp(-log_unit)
        inner = np.exp(log_tail) * np.arcsinh(u) - skew
        size = np.abs(inner)
        log_cosh = size + np.log1p(np.exp(-2 * size)) - math.log(2)
        log_density = -0.5 * np.sinh(np.clip(inner, -30, 30)) ** 2
        log_density += log_cosh + log_tail - log_unit - 0.5 * np.log1p(u * u)
        # a weak penalty towards the identity, since short columns determine their shape poorly
        return float(-log_density.mean() + 0.5 * (skew**2 + log_tail**2) / len(x))

    result = optimize.minimize(
        loss,
        np.array([np.median(x), 0.0, 0.0, 0.0]),
        method="L-BFGS-B",
        bounds=[(-3, 3), (-4, 3), (-4, 4), (-2, 1)],
    )
    shift, log_unit, skew, log_tail = (float(number) for number in result.x)
    return shift, log_unit, skew, log_tail
