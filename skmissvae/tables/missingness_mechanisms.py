"""Missingness mechanisms: random masks whose probabilities may depend on the values of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from .column_kinds import choose_codec
from .columns import Column, Floats, Mask

# A column loses at most this share of its cells, unless only one stays observed: with more
# missing cells, missingness hardly depends on any value.
_MAX_SHARE = 0.9


_ROUNDING = 1e-9


#: Functions of the score in which the log-odds of missingness are linear.
LOG_ODDS: dict[str, Callable[[Floats], Floats]] = {
    "right": lambda score: score,
    "left": np.negative,
    "mid": lambda score: -np.abs(score),
    "tail": np.abs,
}


def column_scores(columns: Sequence[Column], names: Sequence[Any] | None, observed: Mask) -> Floats:
    """Return columns as numbers of mean 0 and standard deviation 1, 0 where missing, (N, D)."""
    z = np.zeros(observed.shape)
    for j, (column, is_observed) in enumerate(zip(columns, observed.T, strict=True)):
        name = j if names is None else names[j]
        numbers = choose_codec(str(name), column, ~is_observed, None).encode(column, ~is_observed)
        if np.isinf(numbers).any():
            i = np.flatnonzero(np.isinf(numbers))[0]
            raise ValueError(
                f"Input X contains infinity: column {name!r}, row {i}, holds {numbers[i]}; replace "
                "it, or mark it missing."
            )
        is_number = ~np.isnan(numbers)  # False for all cells of an unsupported type
        z[:, j] = _standardise(np.where(is_number, numbers, 0.0), is_number.astype(float))
        z[:, j] *= is_number
    return z


def _standardise(score: Floats, weight: Floats) -> Floats:
    """Return a score of weighted mean 0 and standard deviation 1, 0 where it is constant: (N,)."""
    weighted = score[weight > 0]
    if not len(weighted) or (weighted == weighted[0]).all():
        return np.zeros(len(score))
    score = score / np.abs(weighted).max()  # so that squares neither overflow nor underflow
    centred = score - np.average(score, weights=weight)
    return centred / np.sqrt(np.average(centred**2, weights=weight))


def missing_probabilities(score: Floats, share: float, weight: Floats, kind: str) -> Floats:
    """Return probabilities that are logistic in a score, with a given weighted mean.

    Parameters
    ----------
    score : ndarray of shape (N,)
        The score.
    share : float
        Weighted mean of the probabilities.
    weight : ndarray of shape (N,)
        Weights.
    kind : str
        Key of ``LOG_ODDS``.
    """
    log_odds = LOG_ODDS[kind](_standardise(score, weight))
    if share in (0, 1) or not np.ptp(log_odds):
        return np.full(len(score), share)

    def excess(intercept: float) -> float:
        return float(np.average(expit(log_odds + intercept), weights=weight)) - share

    # all probabilities are below the share at the first bound, and above it at the second
    bounds = logit(share) - log_odds.max() - 1, logit(share) - log_odds.min() + 1
    return expit(log_odds + brentq(excess, *bounds))


def draw_cells(
    mechanism: str,
    proportion: float,
    z: Floats,
    observed: Mask,
    kind: str,
    rng: np.random.RandomState,
) -> Mask:
    """Return a mask of cells that are drawn independently given the scores, (N, D)."""
    scores, shares = z, np.full(z.shape[1], proportion)
    if mechanism == "mar":
        predictors, share = _observed_columns(proportion, z, observed, rng)
        scores = z[:, predictors] @ rng.exponential(size=(len(predictors), len(shares)))
        shares = np.full(len(shares), share)
        shares[predictors] = 0.0
    probabilities = [
        missing_probabilities(score, share, is_observed.astype(float), kind)
        for score, share, is_observed in zip(scores.T, shares, observed.T, strict=True)
    ]
    return rng.uniform(size=observed.shape) < np.column_stack(probabilities)


def _observed_columns(
    proportion: float, z: Floats, observed: Mask, rng: np.random.RandomState
) -> tuple[NDArray[np.intp], float]:
    """Return columns that stay observed, and the share of cells that the other columns lose."""
    n_columns = z.shape[1]
    order = rng.permutation(n_columns)
    is_constant = ~z[:, order].any(0)  # no score: last
    order = order[np.argsort(is_constant, kind="stable")]
    n_cells = int(observed.sum())
    n_others = n_cells - np.cumsum(observed[:, order].sum(0))  # without the first 1, 2, ... columns
    n_observed = int((proportion * n_cells <= _MAX_SHARE * n_others).sum())
    n_observed = max(1, min(n_observed, round(n_columns / 3)))
    share = _share_of_available(
        proportion,
        n_others[n_observed - 1] / n_cells,
        "one column stays observed with mechanism='mar'; lower it, or choose another mechanism",
    )
    return order[:n_observed], share


def _share_of_available(proportion: float, available: float, reason: str) -> float:
    """Return a proportion of all cells as a share of those that can be hidden."""
    if proportion > available * (1 + _ROUNDING):
        raise ValueError(
            f"proportion={proportion} is too high: at most {available:.3g} of the observed cells "
            f"can be hidden where {reason}."
        )
    return min(proportion / available, 1.0) if available else 0.0


class Patterns(NamedTuple):
    """Sets of cells that go missing together."""

    hidden: Mask  # (P, D)
    weights: Floats  # (P, D)   of the columns in the score


def draw_patterns(
    patterns: Patterns,
    proportion: float,
    of: str,
    z: Floats,
    observed: Mask,
    kind: str,
    rng: np.random.RandomState,
) -> Mask:
    """Return a mask in which each row has one of the patterns or none, (N, D)."""
    n_rows, n_patterns = len(z), len(patterns.hidden)
    shares, weight = np.full(n_patterns, 1 / n_patterns), np.ones((n_rows, n_patterns))
    if of == "cells":
        weight = observed.astype(float) @ patterns.hidden.T  # cells that a row would lose
        proportion = _share_of_available(
            proportion,
            float(weight.sum(0) @ shares) / observed.sum(),
            "each row gets one of the patterns; lower it, or give patterns that hide more columns",
        )
    drawn = rng.choice(n_patterns, size=n_rows, p=shares)
    probabilities = np.empty(n_rows)
    for p, column_weights in enumerate(patterns.weights):
        rows = drawn == p
        score = z @ column_weights
        probabilities[rows] = missing_probabilities(score, proportion, weight[:, p], kind)[rows]
    return patterns.hidden[drawn] & (rng.uniform(size=n_rows) < probabilities)[:, None]
