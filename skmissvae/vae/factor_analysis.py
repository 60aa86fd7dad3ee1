"""Factor analysis of incomplete tables: where a network with a linear path starts from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .likelihoods.initialization import LinearModel
from .networks.conv import ConvDecoder, ConvEncoder
from .networks.mlp import ResidualMLP
from .vae import VAE

# Precisions of the loadings' priors: the least keeps the loadings of a column with few cells
# finite, the greatest leaves nothing of a factor.
_LEAST, _GREATEST = 1e-2, 1e4


_SETTLING = 10  # rounds before factors are weighed


_MIN_VARIANCE = 2.5e-3  # of a column given the factors, as a share of its own


ENOUGH_ROWS = 2000  # more of them add nothing to a start


class FactorAnalysis(NamedTuple):
    """The model x = W z + b + noise, with z ~ N(0, I) and independent noise in each column."""

    loadings: NDArray[np.float64]  # (D, L)
    intercept: NDArray[np.float64]  # (D,)
    variance: NDArray[np.float64]  # (D,)   of the noise


def factor_analysis(
    x: NDArray[np.float64],
    observed: NDArray[np.bool_],
    n_factors: int,
    random_state: np.random.Generator,
    n_iter: int = 50,
) -> FactorAnalysis:
    """Fit factor analysis to rows with holes by expectation maximisation.

    The loadings of a factor have a Normal prior whose precision, in units of the columns' noise, is
    learned (automatic relevance determination): factors that the table does not bear out vanish,
    so that there can be as many as one likes.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Rows, zero where missing.
    observed : ndarray of shape (N, D)
        What is seen.
    n_factors : int
        Number of factors L.
    random_state : Generator
        Source of the start.
    n_iter : int
        Rounds. With hundreds of them factors vanish that weakly hold, which the few keep.

    Returns
    -------
    FactorAnalysis
        The model.

    References
    ----------
    .. [1] Rubin and Thayer (1982). EM algorithms for ML factor analysis. Psychometrika 47.
    .. [2] Bishop (1999). Bayesian PCA. NeurIPS 11.
    """
    seen = observed.astype(np.float64)
    n_rows, n_columns = x.shape
    known = observed.any(0)
    unit = _units(x, seen)
    x = x / unit
    identity = np.eye(n_factors)
    loadings = 0.3 * random_state.normal(size=(n_columns, n_factors))
    intercept, variance = np.zeros(n_columns), np.full(n_columns, 0.5)
    relevance = np.full(n_factors + 1, _LEAST)  # the last one is the intercept's
    second = np.empty((n_rows, n_factors + 1, n_factors + 1))
    for done in range(n_iter):
        # E: moments of a row's factors, with a one beside them for the intercept
        scaled = loadings / variance[:, None]
        precision = (
            seen @ (scaled[:, :, None] * loadings[:, None]).reshape(n_columns, -1)
        ).reshape(n_rows, n_factors, n_factors)
        cov = np.linalg.inv(precision + identity)
        mean = np.einsum("nij,nj->ni", cov, (seen * (x - intercept)) @ scaled)
        first = np.hstack([mean, np.ones((n_rows, 1))])
        second[:] = first[:, :, None] * first[:, None, :]
        second[:, :-1, :-1] += cov
        # M: a regression of every column on the factors of the rows that have it
        flat = second.reshape(n_rows, -1)
        gram = (seen.T @ flat).reshape(n_columns, n_factors + 1, n_factors + 1)
        gram += np.diag(relevance)
        moment = (seen * x).T @ first
        spread = np.linalg.inv(gram)  # covariance of a column's loadings, in units of its noise
        solution = np.einsum("dij,dj->di", spread, moment)
        loadings, intercept = solution[:, :-1], solution[:, -1]
        residual = (seen * x**2).sum(0) - 2 * (solution * moment).sum(-1)
        residual += np.einsum("di,dij,dj->d", solution, gram, solution)
        variance = np.maximum(residual / np.maximum(seen.sum(0), 1), _MIN_VARIANCE)
        variance[~known] = 1.0  # nothing is known of them
        if done >= _SETTLING:
            size = loadings**2 / variance[:, None] + spread.diagonal(axis1=1, axis2=2)[:, :-1]
            size = size[known].mean(0)
            relevance[:-1] = (1 / np.maximum(size, 1 / _GREATEST)).clip(_LEAST)
    return FactorAnalysis(loadings * unit[:, None], intercept * unit, variance * unit**2)


def _units(x: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each column's cells, one where there is none."""
    n = np.maximum(seen.sum(0), 1)
    mean = (seen * x).sum(0) / n
    unit = np.sqrt((seen * (x - mean) ** 2).sum(0) / n)
    return np.where(unit > 0, unit, 1.0)


@torch.no_grad()
def initialize_from(vae: VAE, model: FactorAnalysis, with_encoder: bool = True) -> None:
    """Make a model with a linear path one of factor analysis, with its exact posterior.

    Where there are more latents than factors the decoder's rest begins near zero; the networks'
    outlets do so, too. Columns whose observation model has no linear start are as they were, and
    the posterior heeds them as the encoder does. An encoder that is not ours stays as it is.
    """
    decoder, coordinates = vae.decoder, vae.coordinates
    assert isinstance(decoder, (ResidualMLP, ConvDecoder)), "has a linear path"
    assert decoder.linear is not None, "has a linear path"
    assert coordinates is not None, "starts where it is"
    linear = LinearModel(*(torch.from_numpy(part).to(coordinates.intercept) for part in model))
    start = vae.likelihood.start(linear)
    n_factors = linear.loadings.shape[1]
    rest = 0.01 * decoder.linear.weight
    rest[start.weight.abs().sum(-1) == 0] = 0.0  # scales
    weight = torch.cat([start.weight, rest[:, n_factors:]], -1)
    decoder.start_linear(weight, start.bias, start.chosen)
    coordinates.loadings[:, :n_factors] = linear.loadings
    coordinates.intercept.copy_(linear.intercept)
    coordinates.precision.copy_(start.precision)
    if with_encoder:
        assert isinstance(vae.encoder, (ResidualMLP, ConvEncoder)), "is ours"
        assert vae.encoder.linear is not None, "has a linear path"
        for layer in (vae.encoder.outlet, vae.encoder.linear):
            layer.weight.mul_(0.1)  # not zero, or components would stay alike
        vae.encoder.outlet.bias.copy_(vae.family.standard())
