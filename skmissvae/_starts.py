"""Which start serves a small table better: as hidden cells tell."""

from __future__ import annotations

import copy
import dataclasses
import logging

import numpy as np
from torch import Tensor

from ._columns import Rows
from ._conditional import Conditional
from ._estimator import BaseVAE
from ._frames import Mask
from ._spec import Spec
from .noise import derive_seed

#: Rows from which on nothing is tried: it takes longer, and factor analysis is seldom the worse.
TRIED_BELOW = 500

_log = logging.getLogger("skmissvae")

_SHARE = 0.1  # of the observed cells that are hidden
_DRAWS = 200  # importance draws that are enough to compare means


def better_start(
    estimator: BaseVAE, rows: Rows, coded: Mask, held_out: Tensor | None, seed: int
) -> Spec:
    """Return the specification of the model that is nearer to hidden cells.

    Models with and without a start from factor analysis are fitted to the other cells.

    Parameters
    ----------
    estimator : BaseVAE
        An estimator that has a schema, and whose model has a guide.
    rows : Rows
        The table.
    coded : ndarray of shape (D,)
        Columns of codes, of which a wrong one counts one.
    held_out : Tensor of shape (N,), optional
        Rows that decide when to stop.
    seed : int
        Of the hidden cells and of the models.
    """
    spec = estimator._spec
    random_state = np.random.default_rng(derive_seed(seed, 12))
    hidden = rows.observed & (random_state.random(rows.observed.shape) < _SHARE)
    if not hidden.any():
        return spec
    less = Rows(np.where(hidden, 0.0, rows.x), rows.observed & ~hidden)
    errors = {}
    for guided in (True, False):
        other = copy.copy(estimator)
        other.n_importance_draws = min(estimator.n_importance_draws, _DRAWS)
        other._spec = dataclasses.replace(spec, guided=guided)
        other._build(seed)
        max_iter = other.max_iter or other._model_epochs(len(rows.x))
        other = other._refitted(less, held_out, max_iter, seed)
        errors[guided] = _error(other, rows, less, hidden, coded)
    if estimator.verbose:
        told = "%s, mean squared error of hidden cells: %.4g from factor analysis, %.4g at random"
        _log.info(told, type(estimator).__name__, errors[True], errors[False])
    return dataclasses.replace(spec, guided=errors[True] <= errors[False])


def _error(fitted: BaseVAE, rows: Rows, less: Rows, hidden: Mask, coded: Mask) -> float:
    """Return the mean squared error of a model's means in hidden cells, of codes their share."""
    likelihood = fitted.vae_.likelihood

    def complete(given: Conditional, x: Tensor, o: Tensor, _: int) -> tuple[Tensor, ...]:
        return (likelihood.point(given.means(x, o, fitted._common(x))[0]),)

    which = np.flatnonzero(hidden.any(1))
    (made,) = fitted._row_by_row(less, complete, which=which)
    off = np.where(coded, made != rows.x[which], (made - rows.x[which]) ** 2)
    return float(off[hidden[which]].mean())
