"""Models of bootstrap samples of the rows, for imputations that reflect parameter uncertainty."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.utils.parallel import Parallel, delayed

from .data import TrainingRows, held_out_mask
from .fit import FitTask, FittedModel, fit_model


def fit_bootstrap_models(
    task: FitTask, seeds: Sequence[int], n_jobs: int | None
) -> list[FittedModel]:
    """Return models that are fitted to bootstrap samples of the rows, one per seed.

    Parameters
    ----------
    task : FitTask
        The fit of the model of all rows.
    seeds : sequence of int
        Seeds of the samples and of the models.
    n_jobs : int or None
        Number of processes, as in joblib. Results do not depend on it.
    """
    parallel = Parallel(n_jobs=n_jobs)
    models = parallel(delayed(_fit)(bootstrap_task(task, seed)) for seed in seeds)
    # other processes return copies of the specification
    return [model.replace(spec=task.spec) for model in models]


def _fit(task: FitTask) -> FittedModel:
    return fit_model(task).without_training_state()


def bootstrap_task(task: FitTask, seed: int) -> FitTask:
    """Return the fit to a bootstrap sample of the rows that are not held out."""
    rows = task.rows.rows
    held_out = held_out_mask(len(rows.x), seed, task.settings.early_stopping)
    in_training = TrainingRows(rows, held_out).training_positions()
    positions = np.random.default_rng(seed).choice(in_training, len(in_training))
    if held_out is not None:
        positions = np.append(positions, np.flatnonzero(held_out.numpy()))
        held_out = torch.arange(len(positions)) >= len(in_training)
    sample = TrainingRows(rows.part(positions), held_out)
    return task._replace(rows=sample, seed=seed, init_seed=seed)
