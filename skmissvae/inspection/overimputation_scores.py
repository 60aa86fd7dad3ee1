"""Scores of predicted cell distributions, and the predictions of two baselines."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from ..tables.columns import Mask
from .evaluated_columns import EvaluatedColumns, Floats

MIDPOINTS = (np.arange(39) + 0.5) / 39  # probabilities of the quantiles that approximate the CRPS
N_BASELINE_DRAWS = 100  # of IterativeImputer, at least: intervals of fewer draws are too narrow
_ROUNDING = 1e-6  # error of values stored in float32, in standard deviations


class Predictions(NamedTuple):
    """Predicted distributions of n hidden cells of a column."""

    point: Floats  # (n,)   means, or codes of the most probable categories
    distribution: Floats  # (n, Q) quantiles of numbers, or (n, L) probabilities of categories


def interval_probabilities(level: float) -> Floats:
    """Return the probabilities of the quantiles to predict: midpoints, then interval limits."""
    return np.array([*MIDPOINTS, (1 - level) / 2, (1 + level) / 2])


def numeric_scores(truth: Floats, predictions: Predictions, scale: float) -> dict[str, Any]:
    """Return the columns of a report for hidden numbers."""
    mean, quantiles = predictions
    low, high = quantiles[:, -2:].T
    tolerance = _ROUNDING * scale
    covered = ((low - tolerance <= truth) & (truth <= high + tolerance)).astype(float)
    return {
        "truth": truth,
        "mean": mean,
        "low": low,
        "high": high,
        "covered": np.where(np.isnan(low), np.nan, covered),
        "crps": crps(truth, quantiles[:, :-2]),
        "scale": scale,
    }


def crps(truth: Floats, quantiles: Floats) -> Floats:
    """Return twice the mean pinball loss of quantiles at the midpoints: (n,), (n, Q) -> (n,)."""
    error = truth[:, None] - quantiles
    return 2 * np.maximum(MIDPOINTS * error, (MIDPOINTS - 1) * error).mean(1)


def categorical_scores(
    truth: Sequence[Any], predictions: Predictions, categories: Sequence[Any]
) -> dict[str, Any]:
    """Return the columns of a report for hidden categories."""
    code, probabilities = predictions
    probability = (probabilities * _one_hot(truth, categories)).sum(1)
    return {
        "category": truth,
        "predicted": [categories[k] for k in code.astype(int)],
        "probability": probability,
        "brier": (1 + (probabilities**2).sum(1)) / 2 - probability,
    }


def _one_hot(cells: Sequence[Any], categories: Sequence[Any]) -> Mask:
    """Return the one-hot code of each cell, zeros for an unknown category: (n, L)."""
    return np.asarray(cells, object)[:, None] == np.asarray(categories, object)


def baseline_predictions(
    columns: EvaluatedColumns,
    hidden: Mask,
    categories: dict[int, list[Any]],
    probabilities: Floats,
    seed: int,
) -> dict[str, dict[int, Predictions]]:
    """Return the predictions of simpler imputers for the hidden cells of the same columns."""
    # experimental in scikit-learn; importing this package does not enable it
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    x, rows = np.where(hidden, np.nan, columns.x), hidden.any(1)
    constant = np.nanmean(x, 0)
    for d, column_categories in categories.items():
        if column_categories:
            observed = ~np.isnan(x[:, d])
            cells = columns.codecs[d].decode(x[observed, d])
            codes = _one_hot(cells, column_categories).argmax(1)
            x[observed, d], constant[d] = codes, np.bincount(codes).argmax()
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression = scaler.inverse_transform(IterativeImputer().fit_transform(z)[rows])
    sampler = IterativeImputer(sample_posterior=True, random_state=seed).fit(z)
    # enough draws for the interval limits to lie among them
    n_draws = max(N_BASELINE_DRAWS, math.ceil(1 / probabilities[-2]))
    draws = [scaler.inverse_transform(sampler.transform(z[rows])) for _ in range(n_draws)]
    constants = np.broadcast_to(constant, regression.shape)
    methods = {
        "mean or mode": (constants, constants[None]),
        "IterativeImputer": (regression, np.stack(draws)),
    }
    predictions: dict[str, dict[int, Predictions]] = {method: {} for method in methods}
    for method, (points, samples) in methods.items():
        for d, column_categories in categories.items():
            cells = hidden[rows, d]
            predictions[method][d] = predictions_from_draws(
                points[cells, d], samples[:, cells, d], len(column_categories), probabilities
            )
    return predictions


def predictions_from_draws(
    point: Floats, draws: Floats, n_categories: int, probabilities: Floats
) -> Predictions:
    """Return predictions from points (n,) and draws (S, n)."""
    if n_categories:
        point, draws = (np.rint(codes.clip(0, n_categories - 1)) for codes in (point, draws))
        return Predictions(point, (draws[..., None] == np.arange(n_categories)).mean(0))
    # Weibull: a further draw lies below a quantile with exactly its probability
    quantiles = np.quantile(draws, probabilities, axis=0, method="weibull").T
    quantiles[(draws == draws[0]).all(0), -2:] = np.nan  # constant draws have no interval
    return Predictions(point, quantiles)
