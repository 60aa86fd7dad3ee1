"""Mean and variance over imputations, and the whitening of their covariance matrices."""

from typing import Any

import numpy as np

from .inputs import Floats

_SINGULAR = 1e-12  # smallest eigenvalue of a correlation matrix that is not singular


def imputation_moments(x: Floats) -> tuple[Floats, Floats]:
    """Return the mean over imputations and the deviations from it: (m, ...) -> (...), (m, ...).

    Differences are taken first, so that identical analyses have a variance of exactly 0.
    """
    difference = x - x[0]
    shift = difference.mean(0)
    return x[0] + shift, difference - shift


def variance_ratio(numerator: Any, denominator: Any) -> Floats:
    """Return numerator / denominator, where 0 / 0 is 0."""
    numerator, denominator = np.asarray(numerator), np.asarray(denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0, 0.0, np.divide(numerator, denominator))


def submatrix(variance: Any, covariance: Any, index: np.ndarray) -> Floats:
    """Return the covariance matrix of some quantities, diagonal without ``covariance``: (k, k)."""
    if covariance is None:
        return np.diag(np.atleast_1d(variance)[index])
    return np.asarray(covariance)[np.ix_(index, index)]


def whitening(covariance: Floats) -> Floats:
    """Return W with W covariance W' = 1."""
    scale = np.sqrt(np.diagonal(covariance))
    if (scale > 0).all():
        # correlations, so that singularity does not depend on units
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        if values[0] > _SINGULAR:
            return vectors.T / (np.sqrt(values)[:, None] * scale)
    raise ValueError(
        "The covariances of the tested quantities are singular. Choose columns that are not "
        "linear functions of one another."
    )
