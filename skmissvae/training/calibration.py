"""Calibration of intervals by hidden cells of rows that the models were not fitted to."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .._utils.progress import SILENT, Progress
from .._utils.random import KeyedNoise, SeedStream, derive_seed
from ..inference.batching import RowNoise, map_rows
from ..inference.calibration import Calibration, normal_score
from ..inference.conditional import ConditionalModel
from ..inference.row_batch import RowBatch
from ..inference.summaries import summarize_cells
from ..tables.columns import Mask
from ..tables.encoded_rows import EncodedRows
from ..tables.missingness import borrowed_masks
from .callbacks import FitProgress
from .data import TrainingRows, held_out_mask
from .fit import FitTask, FittedModel, fit_bootstrap_models, fit_model

_CALIBRATION_SHARE = 0.2  # of the rows that the models are not fitted to
_N_MASKS = 5  # masks that hide cells of these rows


class _Scores(NamedTuple):
    """Normal scores of the cells of rows."""

    score: torch.Tensor  # (B, D)


def fit_calibration(
    task: FitTask,
    condition: Callable[[Sequence[FittedModel]], list[ConditionalModel]],
    noise: RowNoise,
    is_numeric: Mask,
    *,
    n_bootstrap: int = 0,
    n_jobs: int | None = None,
    progress: Progress = SILENT,
) -> Calibration:
    """Return the calibration of the intervals of a fit.

    Models are fitted as those of all rows were, to 80% of the rows; cells of the others are hidden
    by masks that occur in the table, and scored by the intervals of these models.

    Parameters
    ----------
    task : FitTask
        The fit to all rows.
    condition : callable
        Returns the conditional models of fitted ones.
    noise : callable
        Returns the noise of rows.
    is_numeric : ndarray of shape (D,)
        Which modelled columns have intervals.
    n_bootstrap, n_jobs : int
        As of the imputers.
    progress : Progress
        Shows the fits and the rows.

    Raises
    ------
    ValueError
        If no numeric cell is hidden.
    """
    seed, rows = task.seed, task.rows.rows
    random_state = np.random.RandomState(derive_seed(seed, SeedStream.CALIBRATION_ROWS) % 2**32)
    order = random_state.permutation(len(rows.x))
    n_fitted = round((1 - _CALIBRATION_SHARE) * len(order))
    fitted_rows, rest = (rows.part(index) for index in np.split(order, [n_fitted]))
    masks = np.stack([borrowed_masks(rest.observed, random_state) for _ in range(_N_MASKS)])
    masks &= ~rest.has_limit()
    if not (masks & is_numeric).any():
        raise ValueError(
            f"calibrate=True requires numeric cells that can be hidden in {len(rest.x)} of "
            f"{len(order)} rows; use more rows or calibrate=False."
        )
    model_seed = derive_seed(seed, SeedStream.CALIBRATION_MODEL)
    held_out = held_out_mask(n_fitted, seed, task.settings.early_stopping)
    part_rows = TrainingRows(fitted_rows, held_out)
    part = task._replace(
        rows=part_rows,
        seed=model_seed,
        init_seed=model_seed,
        record=task.record.part("calibration"),
    )
    seeds = [derive_seed(model_seed, SeedStream.BOOTSTRAP, i) for i in range(n_bootstrap)]
    if seeds:
        models = fit_bootstrap_models(part, seeds, n_jobs, progress, "calibration, model")
    else:
        n_epochs = part.method.n_epochs(part.settings.max_iter)
        with progress.task("calibration, epoch", n_epochs) as epochs:
            models = [fit_model(part, progress=FitProgress(task=epochs))]
    conditional = [model.to(task.device) for model in condition(models)]
    hidden = masks.reshape(-1, rest.x.shape[1])
    x, observed = np.tile(rest.x, (_N_MASKS, 1)), np.tile(rest.observed, (_N_MASKS, 1))
    # a cell is scored once, with the first mask that hides it
    is_first = masks & (masks.cumsum(0) == 1)
    is_scored = is_first.reshape(hidden.shape) & is_numeric
    score_seed = derive_seed(seed, SeedStream.CALIBRATION_SCORES)
    incomplete = EncodedRows(np.where(hidden, 0.0, x), observed & ~hidden)
    if rest.limits is not None:
        low, high = (np.tile(limit, (_N_MASKS, 1)) for limit in rest.limits)
        incomplete = incomplete._replace(limits=(low, high))

    def score(model: ConditionalModel, batch: RowBatch) -> _Scores:
        models = [other._replace(n_decoded=model.n_decoded) for other in conditional]
        cells = summarize_cells(models, batch)
        (position,) = batch.positions
        ties = KeyedNoise(score_seed, [position], device=batch.x.device)
        truth = torch.as_tensor(x[position], device=batch.x.device)
        return _Scores(normal_score(cells.values, cells.w, truth, ties.uniform(1, len(truth))))

    positions = np.flatnonzero(is_scored.any(1))
    arguments = incomplete, score, conditional[0], task.device, noise, positions
    with progress.task("calibration, row", len(positions), of_rows=True) as scored_rows:
        scores = map_rows(*arguments, task=scored_rows).score
    return Calibration(np.where(is_scored[positions], scores, np.nan))
