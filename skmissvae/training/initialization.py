"""Which start serves a small table better, as hidden cells tell."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
from torch import Tensor

from .._utils.random import derive_seed
from .._utils.runtime import log_progress
from ..estimators.base import BaseVAE
from ..inference.conditional import ConditionalModel
from ..tables.schema import EncodedRows
from .data import TrainingRows
from .optim import DivergenceError
from .spec import ModelSpec

#: Fewer rows have too few cells to tell; with more it takes longer, and factor analysis was seldom
#: the worse start.
TRIED_ROWS = range(100, 500)


_SHARE = 0.1  # of the observed cells that are hidden


_DRAWS = 200  # importance draws that are enough to compare means


def choose_initialization(
    estimator: BaseVAE, rows: EncodedRows, held_out: Tensor | None, seed: int
) -> ModelSpec:
    """Return the specification of the model that is nearer to hidden cells.

    Models with and without a start from factor analysis are fitted to the other cells, and impute
    by importance weights, without bounds.

    Parameters
    ----------
    estimator : BaseVAE
        An estimator that has a schema, and whose model has a guide.
    rows : EncodedRows
        The table.
    held_out : Tensor of shape (N,), optional
        Rows that decide when to stop.
    seed : int
        Of the hidden cells and of the models.
    """
    spec = estimator._spec
    random_state = np.random.default_rng(derive_seed(seed, 14))
    hidden = rows.observed & (random_state.random(rows.observed.shape) < _SHARE)
    hidden &= (rows.observed & ~hidden).any(0)  # nothing is learned of a column without a cell
    if not hidden.any():
        return spec
    less = EncodedRows(np.where(hidden, 0.0, rows.x), rows.observed & ~hidden)
    if estimator.verbose:
        log_progress("%s tries both starts on hidden cells", type(estimator).__name__)
    table, errors = TrainingRows(less, held_out), {}
    for guided in (True, False):
        other = copy.copy(estimator).set_params(
            sampler="importance", n_importance_draws=_DRAWS, min_value=None, max_value=None
        )
        other._spec = dataclasses.replace(spec, guided=guided)
        other._build(seed)
        try:
            other = other._refitted(table, other._model_epochs(table.n_rows), seed)
            error = _error(other, rows, less)
        except ValueError as diverged:
            if not isinstance(diverged.__cause__, DivergenceError):
                raise
            error = math.inf
        errors[guided] = error if math.isfinite(error) else math.inf
    if estimator.verbose:
        told = "%s, mean squared error of hidden cells: %.4g from factor analysis, %.4g at random"
        log_progress(told, type(estimator).__name__, errors[True], errors[False])
    return dataclasses.replace(spec, guided=errors[True] <= errors[False])


def _error(fitted: BaseVAE, rows: EncodedRows, less: EncodedRows) -> float:
    """Return the mean squared error of a model's means in the cells that it was not given.

    Of two values that of the probability (Brier score), of more the share of wrong ones.
    """
    hidden = rows.observed & ~less.observed

    def complete(given: ConditionalModel, x: Tensor, o: Tensor, _: object) -> tuple[Tensor, ...]:
        expected, _, *ess = given.means(x, o, fitted._common(x))
        return given.vae.likelihood.point(expected, decide=False), *ess

    which = np.flatnonzero(hidden.any(1))
    made = fitted._by_weights(less, complete, which)[0]
    truth = rows.x[which]
    coded = np.array([support == "coded" for support in fitted._table.supports], dtype=bool)
    off = np.where(coded, made != truth, (made - truth) ** 2)
    return float(off[hidden[which]].mean())
