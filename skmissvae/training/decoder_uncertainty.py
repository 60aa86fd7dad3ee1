"""The uncertainty of a decoder by a Bayesian bootstrap of factor analysis."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._utils.random import SeedStream, derive_seed
from .._utils.runtime import torch_defaults
from ..inference.decoder_uncertainty import DecoderUncertainty
from ..tables.columns import Mask
from ..vae.factor_analysis import (
    bootstrap_factor_analysis,
    factor_analysis,
    factor_means,
    needs_shrinkage,
)
from ..vae.likelihoods.base import Likelihood, LinearModel
from ..vae.likelihoods.product import ProductLikelihood
from ..vae.vae import VAE
from .data import TrainingRows
from .fit import MIN_ROWS, FittedModel, number_of_factors

_N_REPLICATES = 16
_ENOUGH_ROWS, _ENOUGH_CELLS = 500, 100  # of the sample, and observed cells of each column in it
_MAX_COLUMNS = 200


@torch_defaults()
def decoder_uncertainty(
    model: FittedModel, rows: TrainingRows, seed: int
) -> DecoderUncertainty | None:
    r"""Return the uncertainty of the linear relations between the latents and the columns.

    Factor analysis of the rows is fitted to Bayesian bootstrap samples. The differences of its
    loadings, intercepts and noise are differences of the decoder's outputs, by the map with which
    networks are initialized. Where the latents of the model are not the factors, since it started
    from random weights, factors are regressed on latents.

    The uncertainty of deviations from linear relations is not included. Of large tables a sample of
    rows is used, and deviations are scaled by the number of observed cells of each column.

    Parameters
    ----------
    model : FittedModel
        The fitted model.
    rows : TrainingRows
        The rows to which it was fitted.
    seed : int
        Seed of the samples.

    Returns
    -------
    DecoderUncertainty or None
        None if there are fewer than 10 rows, or more than 200 columns.
    """
    vae, positions = model.vae, rows.training_positions()
    part = rows.rows.part(positions)
    x, observed = part.tensors()
    values, is_observed = vae.likelihood.linearize(*part.with_middles().tensors())
    n_factors = number_of_factors(model.spec.n_latents, is_observed)
    if len(x) < MIN_ROWS or not n_factors or vae.likelihood.n_columns > _MAX_COLUMNS:
        return None
    random_state = np.random.default_rng(derive_seed(seed, SeedStream.DECODER_UNCERTAINTY))
    chosen = _sample(is_observed.numpy(), random_state)
    n_rows = len(x) if rows.loader is None else rows.n_rows
    n_cells = is_observed.sum(0) * n_rows / len(x)
    values, is_observed = values[chosen], is_observed[chosen]
    share = is_observed.sum(0) / n_cells.clamp_min(1)  # of the observed cells of each column
    cells = torch.where(is_observed, values, 0.0).double().numpy(), is_observed.numpy()
    row_weight = part.part(chosen).reweighted().weight
    shrinks = model.shrinks
    if shrinks is None:
        shrinks = needs_shrinkage(*cells, n_factors, random_state, row_weight)
    if model.init == "factor_analysis":
        linear, to_factors = _of_coordinates(vae), None
    else:
        linear = factor_analysis(
            *cells, n_factors, random_state, shrinks=shrinks, weight=row_weight
        )
        latents = _latent_means(vae, x[chosen], observed[chosen])
        to_factors = _regression(latents, factor_means(linear, *cells))
    samples = bootstrap_factor_analysis(
        linear, *cells, _N_REPLICATES, random_state, shrinks=shrinks, weight=row_weight
    )
    weights, biases = [], []
    for sample in _scaled(samples, share.double().sqrt()):
        outputs = vae.likelihood.linear_initialization(sample)
        weight, bias = outputs.weight.double(), outputs.bias.double()
        if to_factors is not None:
            slopes, intercept = to_factors
            weight, bias = weight @ slopes, bias + weight @ intercept
        weights.append(weight)
        biases.append(bias)
    return DecoderUncertainty(
        torch.stack(weights).float().numpy(), torch.stack(biases).float().numpy()
    )


def columns_without_uncertainty(likelihood: Likelihood) -> list[int]:
    """Return the indices of columns that factor analysis does not cover."""
    if not isinstance(likelihood, ProductLikelihood):
        return [] if likelihood.n_linear else list(range(likelihood.n_columns))
    pairs = zip(likelihood.likelihoods, likelihood.columns, strict=True)
    return sorted(d for part, columns in pairs if not part.n_linear for d in columns.tolist())


def _sample(observed: Mask, random_state: np.random.Generator) -> NDArray[np.intp]:
    """Return positions of rows, at least 100 with an observed cell of each column if there are."""
    n_rows = len(observed)
    is_chosen = np.zeros(n_rows, dtype=bool)
    is_chosen[random_state.permutation(n_rows)[:_ENOUGH_ROWS]] = True
    for is_observed in observed.T:
        n_more = _ENOUGH_CELLS - np.count_nonzero(is_chosen & is_observed)
        if n_more > 0:
            others = np.flatnonzero(is_observed & ~is_chosen)
            is_chosen[random_state.permutation(others)[:n_more]] = True
    return np.flatnonzero(is_chosen)


def _scaled(samples: Sequence[LinearModel], factor: Tensor) -> Iterator[LinearModel]:
    """Yield models whose deviations from their mean are multiplied, by a factor per column."""
    stacked = [torch.stack(values) for values in zip(*samples, strict=True)]
    loadings, intercept, log_variance = stacked[0], stacked[1], stacked[2].log()
    scaled = [
        values.mean(0) + by * (values - values.mean(0))
        for values, by in ((loadings, factor[:, None]), (intercept, factor), (log_variance, factor))
    ]
    for parts in zip(scaled[0], scaled[1], scaled[2].exp(), strict=True):
        yield LinearModel(*(part.float() for part in parts))


def _of_coordinates(vae: VAE) -> LinearModel:
    """Return the factor analysis from which a model was initialized."""
    coordinates = vae.coordinates
    assert coordinates is not None, "initialized from factor analysis"
    precision = coordinates.precision.double()
    variance = 1 / torch.where(precision > 0, precision, 1.0)
    return LinearModel(coordinates.loadings.double(), coordinates.intercept.double(), variance)


@torch.no_grad()
def _latent_means(vae: VAE, x: Tensor, observed: Tensor) -> Tensor:
    """Return the means of the encoder, (N, L)."""
    return vae.posterior(x, observed).mean().double()


def _regression(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return slopes, (n_y, n_x), and intercepts of a slightly shrunk regression."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    slopes = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], dtype=x.dtype), x.T @ y).T
    return slopes, y_mean - slopes @ x_mean
