"""Factor analysis of incomplete tables, the initialization of networks with a linear path."""

import numpy as np
import torch
from numpy.typing import NDArray

from .likelihoods.base import LinearModel
from .networks.conv import ConvDecoder, ConvEncoder
from .networks.mlp import ResidualMLP
from .vae import VAE

# Precisions of the priors of the loadings. The least keeps the loadings of a column with few cells
# finite; a factor with the greatest has vanished.
_MIN_PRECISION, _MAX_PRECISION = 1e-2, 1e4


_N_BURN_IN = 10  # iterations before precisions of the priors are updated


_MIN_VARIANCE = 2.5e-3  # of the noise, as a share of the variance of the column


ENOUGH_ROWS = 2000  # larger samples do not improve the initialization


def factor_analysis(
    x: NDArray[np.float64],
    observed: NDArray[np.bool_],
    n_factors: int,
    random_state: np.random.Generator,
    n_iter: int = 50,
) -> LinearModel:
    """Fit factor analysis to incomplete rows by expectation maximization.

    The loadings of a factor have a Normal prior with learned precision in units of the noise of the
    columns (automatic relevance determination): superfluous factors vanish, so that their number
    may be large.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Rows, zero where missing.
    observed : ndarray of shape (N, D)
        Mask of the observed cells.
    n_factors : int
        Number of factors L.
    random_state : Generator
        Source of the initial loadings.
    n_iter : int
        Iterations. Weak factors vanish after hundreds of iterations only.

    Returns
    -------
    LinearModel
        The fitted model, in double precision.

    References
    ----------
    .. [1] Rubin and Thayer (1982). EM algorithms for ML factor analysis. Psychometrika 47.
    .. [2] Bishop (1999). Bayesian PCA. NeurIPS 11.
    """
    mask = observed.astype(np.float64)
    n_rows, n_columns = x.shape
    has_cells = observed.any(0)
    unit = _units(x, mask)
    x = x / unit
    identity = np.eye(n_factors)
    loadings = 0.3 * random_state.normal(size=(n_columns, n_factors))
    intercept, variance = np.zeros(n_columns), np.full(n_columns, 0.5)
    relevance = np.full(n_factors + 1, _MIN_PRECISION)  # the last one is the intercept's
    second = np.empty((n_rows, n_factors + 1, n_factors + 1))
    for i in range(n_iter):
        # E step: moments of the factors of each row, with a constant for the intercept
        scaled = loadings / variance[:, None]
        outer = (scaled[:, :, None] * loadings[:, None]).reshape(n_columns, -1)
        precision = (mask @ outer).reshape(n_rows, n_factors, n_factors)
        cov = np.linalg.inv(precision + identity)
        mean = np.einsum("nij,nj->ni", cov, (mask * (x - intercept)) @ scaled)
        first = np.hstack([mean, np.ones((n_rows, 1))])
        second[:] = first[:, :, None] * first[:, None, :]
        second[:, :-1, :-1] += cov
        # M step: regression of each column on the factors of its observed rows
        flat = second.reshape(n_rows, -1)
        gram = (mask.T @ flat).reshape(n_columns, n_factors + 1, n_factors + 1)
        gram += np.diag(relevance)
        moment = (mask * x).T @ first
        loadings_cov = np.linalg.inv(gram)  # in units of the noise of each column
        solution = np.einsum("dij,dj->di", loadings_cov, moment)
        loadings, intercept = solution[:, :-1], solution[:, -1]
        residual = (mask * x**2).sum(0) - 2 * (solution * moment).sum(-1)
        residual += np.einsum("di,dij,dj->d", solution, gram, solution)
        variance = np.maximum(residual / np.maximum(mask.sum(0), 1), _MIN_VARIANCE)
        variance[~has_cells] = 1.0
        if i >= _N_BURN_IN:
            size = loadings**2 / variance[:, None] + loadings_cov.diagonal(axis1=1, axis2=2)[:, :-1]
            size = size[has_cells].mean(0)
            relevance[:-1] = (1 / np.maximum(size, 1 / _MAX_PRECISION)).clip(_MIN_PRECISION)
    parameters = loadings * unit[:, None], intercept * unit, variance * unit**2
    return LinearModel(*map(torch.from_numpy, parameters))


def _units(x: NDArray[np.float64], mask: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviations of columns, 1 for those without cells or variance."""
    n = np.maximum(mask.sum(0), 1)
    mean = (mask * x).sum(0) / n
    unit = np.sqrt((mask * (x - mean) ** 2).sum(0) / n)
    return np.where(unit > 0, unit, 1.0)


@torch.no_grad()
def initialize_from(vae: VAE, model: LinearModel, with_encoder: bool = True) -> None:
    """Initialize a model with a linear path as factor analysis with its exact posterior.

    Decoder weights of latents beyond the number of factors are small, and so are the output weights
    of the encoder. Outputs for columns without a linear initialization and custom encoders are not
    changed.
    """
    decoder, coordinates = vae.decoder, vae.coordinates
    assert isinstance(decoder, (ResidualMLP, ConvDecoder)), "has a linear path"
    assert decoder.linear is not None, "has a linear path"
    assert coordinates is not None, "the initialization sets coordinates"
    linear = LinearModel(*(values.to(coordinates.intercept) for values in model))
    initialization = vae.likelihood.linear_initialization(linear)
    n_factors = linear.loadings.shape[1]
    extra = 0.01 * decoder.linear.weight
    extra[initialization.weight.abs().sum(-1) == 0] = 0.0  # scales
    weight = torch.cat([initialization.weight, extra[:, n_factors:]], -1)
    decoder.initialize_linear_path(weight, initialization.bias, initialization.initialized)
    coordinates.loadings[:, :n_factors] = linear.loadings
    coordinates.intercept.copy_(linear.intercept)
    coordinates.precision.copy_(initialization.precision)
    if with_encoder:
        assert isinstance(vae.encoder, (ResidualMLP, ConvEncoder)), "not a custom encoder"
        assert vae.encoder.linear is not None, "has a linear path"
        for layer in (vae.encoder.outlet, vae.encoder.linear):
            layer.weight.mul_(0.1)  # not zero, as equal components would stay equal
        vae.encoder.outlet.bias.copy_(vae.family.standard_params())
