"""The choice between the initializations of a small table, by hidden cells."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from .._utils.progress import SILENT, Progress, log_progress
from .._utils.random import KeyedNoise, SeedStream, derive_seed
from ..inference.batching import map_rows
from ..inference.conditional import ConditionalModel
from ..tables.columns import Mask
from ..tables.encoded_rows import EncodedRows
from .callbacks import FitProgress
from .data import TrainingRows
from .fit import FitTask, FittedModel, fit_model
from .optim import DivergenceError, TrainingSettings
from .spec import ModelSpec

#: Numbers of rows for which the initialization is chosen: with fewer there are too few cells to
#: hide; with more it takes longer, and factor analysis was seldom worse.
ROWS_WITH_CHOICE = range(100, 500)

_HIDDEN_SHARE = 0.1  # of the observed cells
# Epochs and learning rate of a candidate, relative to those of a fit
_EPOCHS_FACTOR, _LEARNING_RATE_FACTOR = 0.3, 2.0
_N_DRAWS = 200  # importance draws, enough to compare means


def choose_initialization(
    task: FitTask,
    default_settings: Callable[[ModelSpec], TrainingSettings],
    is_coded: Mask,
    progress: Progress = SILENT,
) -> ModelSpec:
    """Return the specification of the initialization whose model has the lower error.

    A model with and one without factor analysis are fitted to the table without some cells; the
    error is that of their conditional means in these cells.

    Parameters
    ----------
    task : FitTask
        The fit; its seed, settings and held-out rows are not used, so that they cannot change the
        choice.
    default_settings : callable
        Returns the default training of a specification.
    is_coded : ndarray of shape (D,)
        Which modelled columns are categorical or ordinal.
    progress : Progress
        Shows the epochs and the errors.
    """
    rows = task.rows.rows
    seed = derive_seed(task.init_seed, SeedStream.CHOICE_OF_INITIALIZATION)
    random_state = np.random.default_rng(seed)
    hidden = rows.observed & (random_state.random(rows.observed.shape) < _HIDDEN_SHARE)
    hidden &= ~rows.has_limit()
    hidden &= (rows.observed & ~hidden).any(0)  # every column keeps an observed cell
    if not hidden.any():
        return task.spec
    rest = TrainingRows(
        rows._replace(x=np.where(hidden, 0.0, rows.x), observed=rows.observed & ~hidden)
    )
    candidates, errors = {}, {}
    for init in ("if possible", "never"):
        spec = dataclasses.replace(task.spec, factor_analysis=init)
        candidates[init] = task._replace(
            spec=spec,
            rows=rest,
            settings=_shortened(default_settings(spec)),
            seed=task.init_seed,
            record=task.record.part(f"factor analysis {init}"),
        )
    n_epochs = sum(candidate.settings.max_iter for candidate in candidates.values())
    with progress.task("initialization, epoch", n_epochs) as epochs:
        for init, candidate in candidates.items():
            try:
                model = fit_model(candidate, progress=FitProgress(task=epochs))
                error = _hidden_error(model, candidate, rows, is_coded)
            except DivergenceError:
                error = math.inf
            errors[init] = error if math.isfinite(error) else math.inf
    if progress.verbose:
        message = "error of hidden cells: %.4g from factor analysis, %.4g from random weights"
        log_progress(message, errors["if possible"], errors["never"])
    is_linear = errors["if possible"] <= errors["never"]
    return task.spec if is_linear else dataclasses.replace(task.spec, factor_analysis="never")


def _shortened(settings: TrainingSettings) -> TrainingSettings:
    """Return the training of a candidate: enough to compare it, not to impute by it."""
    return settings._replace(
        max_iter=math.ceil(_EPOCHS_FACTOR * settings.max_iter),
        learning_rate=_LEARNING_RATE_FACTOR * settings.learning_rate,
    )


def _hidden_error(fitted: FittedModel, task: FitTask, rows: EncodedRows, is_coded: Mask) -> float:
    """Return the weighted mean squared error of conditional means in hidden cells.

    For binary columns it is the Brier score, for categories the share of wrong ones.
    """
    remaining = task.rows.rows
    hidden = rows.observed & ~remaining.observed
    positions = np.flatnonzero(hidden.any(1))
    model = ConditionalModel(fitted.vae, _N_DRAWS)

    def noise(_: Sequence[int], device: torch.device) -> KeyedNoise:
        return KeyedNoise(task.init_seed, [0], device=device)

    means = map_rows(
        remaining, ConditionalModel.means, model, task.device, noise, positions, batched=True
    )
    point = fitted.vae.likelihood.point(torch.from_numpy(means.expected), decide=False).numpy()
    truth = rows.x[positions]
    error = np.where(is_coded, point != truth, (point - truth) ** 2)
    at = hidden[positions]
    if rows.weight is None:
        return float(error[at].mean())
    weights = np.broadcast_to(rows.weight[positions, None], at.shape)
    return float(np.average(error[at], weights=weights[at]))
