"""Factor analysis of incomplete tables, the initialization of networks with a linear path."""

import math
from typing import NamedTuple

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
_MIN_WEIGHT = 1.0  # of the cells of a column
_MAX_BOOTSTRAP_FACTORS = 10
_MAX_NUMBERS = 2_000_000  # of the largest array that is computed at a time

_CELLS_PER_COEFFICIENT = 3  # columns with fewer observed cells have learned priors
# Rows and share of cells by which the priors of the other columns are chosen.
_ENOUGH_TO_CHOOSE, _HIDDEN_SHARE = 500, 0.2

ENOUGH_ROWS = 2000  # larger samples do not improve the initialization


def needs_shrinkage(
    x: NDArray[np.float64],
    observed: NDArray[np.bool_],
    n_factors: int,
    random_state: np.random.Generator,
    weight: NDArray[np.float64] | None = None,
) -> bool:
    """Return whether learned priors of the loadings lower the error of hidden cells.

    Such priors lower the errors of tables with many columns for their rows, and bias the relations
    of columns towards zero. A fifth of the observed cells of up to 500 rows is hidden. The priors
    are needed if they lower the squared error by more than its standard error, with rows as
    independent units.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Rows, zero where missing.
    observed : ndarray of shape (N, D)
        Mask of the observed cells.
    n_factors : int
        Number of factors.
    random_state : Generator
        Source of the hidden cells.
    weight : ndarray of shape (N,), optional
        Weights of the rows.

    Returns
    -------
    bool
        Whether they do; True if all columns have few observed cells.
    """
    rows = random_state.permutation(len(x))[:_ENOUGH_TO_CHOOSE]
    x, observed = x[rows], observed[rows]
    weight = None if weight is None else weight[rows]
    unit = _units(x, _cell_weights(observed, weight))
    hidden = observed & (random_state.random(x.shape) < _HIDDEN_SHARE)
    observed = observed & ~hidden
    seed = random_state.integers(2**32)
    if _has_few_cells(observed, n_factors).all():
        return True
    cells = np.where(observed, x, 0.0), observed
    both = np.array([False, True])
    random_state = np.random.default_rng(seed)
    model = factor_analysis(*cells, n_factors, random_state, shrinks=both, weight=weight)
    predicted = factor_means(model, *cells) @ model.loadings.mT + model.intercept.unsqueeze(1)
    errors = (hidden * ((predicted.numpy() - x) / unit) ** 2).sum(-1)
    gain = errors[0] - errors[1]  # of each row
    if weight is not None:
        gain *= weight
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def factor_analysis(
    x: NDArray[np.float64],
    observed: NDArray[np.bool_],
    n_factors: int,
    random_state: np.random.Generator,
    n_iter: int = 50,
    *,
    shrinks: bool | NDArray[np.bool_] = True,
    weight: NDArray[np.float64] | None = None,
) -> LinearModel:
    """Fit factor analysis to incomplete rows by expectation maximization.

    The loadings of a factor have a Normal prior with learned precision in units of the noise of the
    columns (automatic relevance determination): superfluous factors vanish, so that their number
    may be large. Without shrinkage this is so in columns with few observed cells only, and those of
    the other columns have a weak prior.

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
    shrinks : bool or ndarray of shape (M,)
        Whether the loadings of all columns have learned priors; of several models, which are then
        fitted from the same initial loadings.
    weight : ndarray of shape (N,), optional
        Weights of the rows. A row of weight two counts as two rows.

    Returns
    -------
    LinearModel
        The fitted model, or M of them, in double precision.

    References
    ----------
    .. [1] Rubin and Thayer (1982). EM algorithms for ML factor analysis. Psychometrika 47.
    .. [2] Bishop (1999). Bayesian PCA. NeurIPS 11.
    """
    mask, cell_weights = observed.astype(np.float64), _cell_weights(observed, weight)
    n_columns = x.shape[1]
    has_cells: NDArray[np.bool_] = np.any(observed, axis=0)
    unit = _units(x, cell_weights)
    x = x / unit
    is_shrunk = np.asarray(shrinks)[..., None] | _has_few_cells(observed, n_factors)
    loadings = 0.3 * random_state.normal(size=(n_columns, n_factors))
    model = _Model(
        np.broadcast_to(loadings, (*is_shrunk.shape, n_factors)),
        np.zeros(is_shrunk.shape),
        np.full(is_shrunk.shape, 0.5),
    )
    relevance = np.full((*is_shrunk.shape[:-1], n_factors), _MIN_PRECISION)
    for i in range(n_iter):
        moments = _moments(model, x, mask)
        model, loadings_cov = _maximized(*moments, x, cell_weights, _penalty(relevance, is_shrunk))
        model.variance[..., ~has_cells] = 1.0
        if i >= _N_BURN_IN:
            diagonal = loadings_cov.diagonal(axis1=-2, axis2=-1)[..., :-1]
            relevance = _relevance(model, has_cells, diagonal)
    return model.in_units(unit)


def bootstrap_factor_analysis(
    model: LinearModel,
    x: NDArray[np.float64],
    observed: NDArray[np.bool_],
    n: int,
    random_state: np.random.Generator,
    n_iter: int = 20,
    *,
    shrinks: bool = True,
    weight: NDArray[np.float64] | None = None,
) -> list[LinearModel]:
    """Fit factor analysis to Bayesian bootstrap samples of incomplete rows.

    Rows have independent exponential weights [1]_. The iterations start from the model of all rows,
    so that factors keep their order and rotation, by parameter expansion [2]_. At most ten factors
    are fitted, the strongest ones after a rotation; with shrinkage, those whose loadings exceed the
    noise.

    Parameters
    ----------
    model : LinearModel
        Factor analysis of the rows, in double precision.
    x : ndarray of shape (N, D)
        Rows, zero where missing.
    observed : ndarray of shape (N, D)
        Mask of the observed cells.
    n : int
        Number of samples.
    random_state : Generator
        Source of the weights.
    n_iter : int
        Iterations.
    shrinks : bool
        Whether the loadings of all columns have learned priors, as in ``factor_analysis``.
    weight : ndarray of shape (N,), optional
        Weights of the rows, by which those of each sample are multiplied.

    Returns
    -------
    list of LinearModel
        The fitted models, in double precision.

    References
    ----------
    .. [1] Rubin (1981). The Bayesian Bootstrap. Annals of Statistics 9.
    .. [2] Liu, Rubin and Wu (1998). Parameter expansion to accelerate EM: The PX-EM algorithm.
       Biometrika 85.
    """
    mask = observed.astype(np.float64)
    has_cells: NDArray[np.bool_] = np.any(observed, axis=0)
    unit = _units(x, _cell_weights(observed, weight))
    x = x / unit
    loadings, intercept, variance = (values.numpy() for values in model)
    loadings, variance = loadings / unit[:, None], variance / unit**2
    _, strength, rotation = np.linalg.svd(loadings / np.sqrt(variance[:, None]))
    is_strong = strength[:_MAX_BOOTSTRAP_FACTORS] > (1 if shrinks else 0)
    n_strong = max(1, int(np.count_nonzero(is_strong)))
    weak = loadings @ rotation[n_strong:].T @ rotation[n_strong:]
    rotation = rotation[:n_strong]
    start = _Model(loadings @ rotation.T, intercept / unit, variance)
    is_shrunk = shrinks | _has_few_cells(observed, n_strong)
    penalty = _penalty(_relevance(start, has_cells), is_shrunk)
    all_weights = random_state.exponential(size=(n, len(x), 1))
    if weight is not None:
        all_weights *= weight[:, None]
    n_parts = math.ceil(all_weights.size * max((n_strong + 1) ** 2, len(unit)) / _MAX_NUMBERS)
    samples = []
    for weights in np.array_split(all_weights, min(n_parts, n)):
        sample = _Model(*(np.repeat(part[None], len(weights), 0) for part in start))
        for _ in range(n_iter):
            moments = _moments(sample, x, mask)
            expanded, _ = _maximized(*moments, x, weights * mask, penalty)
            sample = _reduced(expanded, *moments, weights / weights.sum(-2, keepdims=True))
            sample.variance[:, ~has_cells] = 1.0
        scaled = sample.loadings / start.variance[:, None]
        left, _, right = np.linalg.svd(_transposed(scaled) @ start.loadings)
        aligned = sample.loadings @ left @ right  # the rotation that changes the factors least
        sample = sample._replace(loadings=aligned @ rotation + weak)
        samples += [_Model(*parts).in_units(unit) for parts in zip(*sample, strict=True)]
    return samples


def factor_means(
    model: LinearModel, x: NDArray[np.float64], observed: NDArray[np.bool_]
) -> torch.Tensor:
    """Return the posterior means of the factors of each row, (*, N, L)."""
    estimate = _Model(*(values.numpy() for values in model))
    return torch.from_numpy(_moments(estimate, x, observed.astype(np.float64))[0])


class _Model(NamedTuple):
    """Factor analysis in standard deviations of the columns, or several of them (*)."""

    loadings: NDArray[np.float64]  # (*, D, L)
    intercept: NDArray[np.float64]  # (*, D)
    variance: NDArray[np.float64]  # (*, D)   of the noise

    def in_units(self, unit: NDArray[np.float64]) -> LinearModel:
        """Return the model in units of the table, given those of this one."""
        parameters = self.loadings * unit[:, None], self.intercept * unit, self.variance * unit**2
        return LinearModel(*map(torch.from_numpy, parameters))


def _maximized(
    mean: NDArray[np.float64],
    cov: NDArray[np.float64],
    x: NDArray[np.float64],
    weights: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> tuple[_Model, NDArray[np.float64]]:
    """Return the model of the M step, and the covariances of its loadings, (*, D, L + 1, L + 1).

    Covariances are in units of the noise of each column, the last entries are the intercepts'.
    Given are the moments of the factors, weights of the observed cells, zero where missing,
    (*, N, D), and precisions of the priors in units of the noise, (*, D, L + 1).
    """
    first = np.concatenate([mean, np.ones((*mean.shape[:-1], 1))], -1)
    second = first[..., :, None] * first[..., None, :]
    second[..., :-1, :-1] += cov
    # regression of each column on the factors of its observed rows
    flat = second.reshape(*first.shape[:-1], -1)
    gram = (_transposed(weights) @ flat).reshape(*first.shape[:-2], -1, *second.shape[-2:])
    gram += np.eye(penalty.shape[-1]) * penalty[..., None]
    moment = _transposed(weights * x) @ first
    loadings_cov = np.linalg.inv(gram)
    solution = np.einsum("...ij,...j->...i", loadings_cov, moment)
    residual = (weights * x**2).sum(-2) - 2 * (solution * moment).sum(-1)
    residual += np.einsum("...i,...ij,...j->...", solution, gram, solution)
    variance = np.maximum(residual / np.maximum(weights.sum(-2), _MIN_WEIGHT), _MIN_VARIANCE)
    return _Model(solution[..., :-1], solution[..., -1], variance), loadings_cov


def _moments(
    model: _Model, x: NDArray[np.float64], mask: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return posterior means (*, N, L) and covariances (*, N, L, L) of the factors of each row."""
    loadings, intercept, variance = model
    n_factors = loadings.shape[-1]
    scaled = loadings / variance[..., None]
    outer = scaled[..., :, None] * loadings[..., None, :]
    precision = mask @ outer.reshape(*variance.shape, -1)
    precision = precision.reshape(*precision.shape[:-1], n_factors, n_factors)
    cov = np.linalg.inv(precision + np.eye(n_factors)).astype(np.float64, copy=False)
    deviation = (mask * (x - intercept[..., None, :])) @ scaled
    mean: NDArray[np.float64] = np.einsum("...ij,...j->...i", cov, deviation)
    return mean, cov


def _reduced(
    model: _Model,
    mean: NDArray[np.float64],
    cov: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> _Model:
    """Return the same model for factors whose distribution over the rows is N(0, I).

    Given are their moments in each row, (*, N, L) and (*, N, L, L), and weights of the rows,
    (*, N, 1). With this step the iterations are those of parameter expansion (PX-EM), which need
    not move the intercepts and loadings by many small steps if there is little noise.
    """
    centre = (weights * mean).sum(-2, keepdims=True)
    deviation = mean - centre
    second = _transposed(weights * deviation) @ deviation
    second += np.einsum("...n,...nij->...ij", weights[..., 0], cov)
    variance, axes = np.linalg.eigh(second)
    # symmetric, so that it rotates no factor
    root = axes * np.sqrt(variance)[..., None, :] @ _transposed(axes)
    shift = (model.loadings @ _transposed(centre))[..., 0]
    return model._replace(loadings=model.loadings @ root, intercept=model.intercept + shift)


def _transposed(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.swapaxes(matrices, -1, -2)


def _has_few_cells(observed: NDArray[np.bool_], n_factors: int) -> NDArray[np.bool_]:
    """Return which columns have few observed cells for regressions on the factors, (D,)."""
    few: NDArray[np.bool_] = observed.sum(0) < _CELLS_PER_COEFFICIENT * (n_factors + 1)
    return few


def _penalty(relevance: NDArray[np.float64], is_shrunk: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the precisions of loadings and intercepts of each column, (*, D, L + 1)."""
    of_loadings = np.where(is_shrunk[..., None], relevance[..., None, :], _MIN_PRECISION)
    of_intercepts = np.full((*is_shrunk.shape, 1), _MIN_PRECISION)
    return np.concatenate([of_loadings, of_intercepts], -1)


def _relevance(
    model: _Model, has_cells: NDArray[np.bool_], diagonal: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Return the precisions of the priors of the loadings, (*, L), given their variances."""
    size = model.loadings**2 / model.variance[..., None] + diagonal
    size = size[..., has_cells, :].mean(-2)
    return (1 / np.maximum(size, 1 / _MAX_PRECISION)).clip(_MIN_PRECISION)


def _cell_weights(
    observed: NDArray[np.bool_], weight: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the weights of cells, (N, D), those of their rows, zero where missing."""
    mask = observed.astype(np.float64)
    return mask if weight is None else mask * weight[:, None]


def _units(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviations of columns, 1 for those without cells or variance."""
    n = np.where(weights.any(0), weights.sum(0), 1.0)
    mean = (weights * x).sum(0) / n
    unit = np.sqrt((weights * (x - mean) ** 2).sum(0) / n)
    return np.where(unit > 1e-6 * np.abs(mean), unit, 1.0)  # smaller ones are of rounding


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
