"""Distributions of missing cells, and outlier scores of rows and their observed cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._utils.progress import Task, progress_of
from ..inference.batching import map_rows
from ..inference.calibration import checked_quantiles, quantiles_at, weighted_quantiles
from ..inference.conditional import ConditionalModel
from ..inference.leave_one_out import leave_one_out
from ..inference.row_batch import RowBatch
from ..inference.summaries import category_probabilities, summarize_cells
from ..tables.codecs import Codec, Dates
from ..tables.encoded_rows import EncodedRows
from ..tables.input_table import InputTable
from ..tables.schema import TableSchema
from .imputation_task import ImputationTask, RowBlock
from .messages import warn_of_low_ess

if TYPE_CHECKING:
    from .base import BaseVAE
    from .imputer_base import BaseImputer


class _RowCells(NamedTuple):
    """The distributions of the cells of rows."""

    statistics: Tensor  # (B, D, 2 + n_quantiles)
    probabilities: Tensor  # (B, D, n_categories)
    ess: Tensor  # (B,)


def describe_cells(
    imputer: BaseImputer,
    X: Any,
    quantiles: Sequence[float],
    where: Any,
    limits: tuple[Any, Any],
) -> pd.DataFrame:
    """Return the frame of ``BaseImputer.cell_distribution``."""
    levels = checked_quantiles(quantiles)
    task, schema = imputer._imputation_task(X, where, limits=limits), imputer.schema_
    device, calibration = imputer._device(), imputer._calibration
    block, D = task.whole(), len(schema.modelled)
    fitted, has_limits = imputer.models_, task.has_limits
    models = [m.to(device) for m in imputer._conditional_models(fitted, has_limits)]
    n_categories = max((len(schema.categories(d)) for d in range(D)), default=0)
    if calibration is None:
        quantiles_of, at = weighted_quantiles, np.tile(levels, (D, 1))
    else:
        quantiles_of, at = quantiles_at, calibration.moved(levels)
    positions = torch.as_tensor(at, device=device)

    def describe(model: ConditionalModel, batch: RowBatch) -> _RowCells:
        parts = [other._replace(n_decoded=model.n_decoded) for other in models]
        cells = summarize_cells(parts, batch)
        missing = (~batch.has_value[0]).nonzero().squeeze(1)
        shape = (1, D, 2 + len(levels))
        statistics = torch.full(shape, math.nan, dtype=cells.w.dtype, device=device)
        values, mean = cells.values[:, missing], cells.mean[missing]
        statistics[0, missing, 0] = mean
        statistics[0, missing, 1] = (cells.w @ (values - mean).square()).sqrt()
        statistics[0, missing, 2:] = quantiles_of(values, cells.w, positions[missing])
        probabilities = [category_probabilities(c, w, n_categories) for c, w in cells.columns]
        total = torch.stack(probabilities).sum(0, keepdim=True)
        return _RowCells(statistics, total, cells.ess)

    arguments = block.rows, describe, models[0], device, imputer._shared_noise, block.incomplete
    with progress_of(imputer).task("row", task.n_incomplete, of_rows=True) as rows:
        result = map_rows(*arguments, task=rows)
    warn_of_low_ess(imputer, np.asarray(result.ess))
    statistics, probabilities = np.asarray(result.statistics), np.asarray(result.probabilities)
    names = ["mean", "std", *(f"{100 * q:g}%" for q in levels)]
    return cell_frame(task, block, statistics, probabilities, names)


def cell_frame(
    task: ImputationTask,
    block: RowBlock,
    statistics: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    statistic_names: Sequence[str],
) -> pd.DataFrame:
    """Return a row per numeric cell to describe, and one per category of other cells.

    Parameters
    ----------
    task : ImputationTask
        The table.
    block : RowBlock
        The whole of it.
    statistics : ndarray of shape (n_incomplete, D, n_statistics)
        Of numeric cells, in the model's units; the second is a standard deviation.
    probabilities : ndarray of shape (n_incomplete, D, n_categories)
        Of categories.
    statistic_names : sequence of str
        Names of the statistics.
    """
    schema, incomplete = task.reader.schema, block.incomplete
    modelled = {int(j): d for d, j in enumerate(schema.modelled)}
    modelled |= {copy: modelled[source] for copy, source in schema.copies.items()}
    labels = _row_labels(task.source)
    frames = []
    for j, d in modelled.items():
        rows = np.flatnonzero(block.to_impute[incomplete, j])
        if not len(rows):
            continue
        # the cell of a copy whose original is observed
        is_known = block.rows.observed[:, d] & ~block.rows.has_limit()[:, d]
        copied = rows[is_known[incomplete[rows]]]
        value = block.rows.x[incomplete[copied], d]
        categories = schema.categories(d)
        n_lines = max(1, len(categories))
        positions = np.repeat(incomplete[rows], n_lines)
        columns: dict[str, Any] = {
            "_position": positions,
            "_column": j,
            "row": labels[positions],
            "column": pd.Series([schema.names[j]] * len(positions), dtype=object),
            "kind": schema.codecs[j].kind,
        }
        if categories:
            probabilities[copied, d] = value[:, None] == np.arange(probabilities.shape[-1])
            columns["category"] = list(categories) * len(rows)
            columns["probability"] = probabilities[rows, d, :n_lines].ravel()
        else:
            statistics[copied, d], statistics[copied, d, 1] = value[:, None], 0.0
            bounds = task.bounds[0][j], task.bounds[1][j]
            if block.limits is not None:
                at = incomplete[rows], j
                low, high = (limit[at][:, None] for limit in block.limits)
                bounds = np.fmax(bounds[0], low), np.fmin(bounds[1], high)
            values = _in_units(schema, d, schema.codecs[j], statistics[rows, d], bounds)
            columns |= dict(zip(statistic_names, values, strict=True))
        frames.append(pd.DataFrame(columns))
    columns_out = ["row", "column", "kind", "category", "probability", *statistic_names]
    if not frames:
        return pd.DataFrame(columns=columns_out)
    result = pd.concat(frames)
    result = result.sort_values(["_position", "_column"], kind="stable", ignore_index=True)
    return result.reindex(columns=columns_out)


def _in_units(
    schema: TableSchema,
    d: int,
    codec: Codec,
    statistics: NDArray[np.float64],
    bounds: tuple[Any, Any],
) -> list[Any]:
    """Return mean, standard deviation and quantiles in the units and the type of the column."""
    values = schema.to_table_units(d, statistics)
    # calibration may move quantiles beyond the possible values
    low, high = schema.limits(d)
    values[:, 2:] = values[:, 2:].clip(np.fmax(low, bounds[0]), np.fmin(high, bounds[1]))
    values[:, 1] = schema.scale[d] * statistics[:, 1]
    if isinstance(codec, Dates):
        columns: list[Any] = [codec.decode(column) for column in values.T]
        if codec.time_zone:
            columns = [pd.DatetimeIndex(times).tz_convert(codec.time_zone) for times in columns]
        columns[1] = codec.durations(values[:, 1])
        return columns
    if codec.is_integer:  # quantiles are values, means are not
        values[:, 2:] = np.rint(values[:, 2:]) + 0.0
    return list(values.T)


def _row_labels(source: InputTable) -> NDArray[Any]:
    """Return the labels of a pandas index, or positions."""
    native = None if source.frame is None else nw.to_native(source.frame)
    if isinstance(native, pd.DataFrame) and source.dtype is None:
        return np.asarray(native.index)
    return np.arange(source.n_rows)


def describe_outliers(estimator: BaseVAE, X: Any) -> pd.DataFrame:
    """Return the frame of ``BaseVAE.outlier_scores``."""
    check_is_fitted(estimator)
    names = estimator.schema_.modelled_names
    for name in ("score", "per_cell"):
        if name in names:
            raise ValueError(
                f"X has a column named {name!r}, which outlier_scores adds; rename it."
            )
    table = estimator._open(X)
    # the cell that is left out is not missing
    model = estimator.conditional_model().ignoring_missingness()
    with progress_of(estimator).task("row", table.n_rows, of_rows=True) as task:
        apply = partial(
            map_rows,
            model=model,
            device=estimator._device(),
            noise=estimator._shared_noise,
            task=task,
        )
        parts = [_outlier_scores(rows, apply, task) for rows in estimator._reader().blocks(table)]
    frame = pd.DataFrame(np.concatenate(parts), columns=["score", *names])
    if isinstance(X, pd.DataFrame):
        frame.index = X.index
    n_observed = frame[names].notna().sum(axis=1)
    frame.insert(1, "per_cell", frame["score"] / n_observed.clip(lower=1))
    return frame


def _outlier_scores(
    rows: EncodedRows, apply: Callable[..., Any], task: Task
) -> NDArray[np.float64]:
    """Return minus the log-densities of rows, and the contributions of their cells, (N, 1 + D).

    Contributions come from the draws of the whole row where these are reliable, otherwise from the
    density of the row without the cell. ``apply`` is ``map_rows`` of a model.
    """
    log_evidence = apply(rows, ConditionalModel.evidence, batched=True).log_evidence
    contribution = np.full(rows.x.shape, math.nan)
    several = np.flatnonzero(rows.observed.sum(1) > 1)
    if len(several):
        task.extend(len(several))
        cells = apply(rows, leave_one_out, positions=several)
        contribution[several] = np.where(cells.is_reliable, cells.contribution, math.nan)
    row, cell = np.nonzero(rows.observed & np.isnan(contribution))
    if len(row):
        task.extend(len(row))
        without = rows.part(row)
        without.observed[np.arange(len(row)), cell] = False
        log_rest = apply(without, ConditionalModel.evidence, batched=True).log_evidence
        contribution[row, cell] = log_rest - log_evidence[row]
    contribution[~rows.observed] = math.nan
    return np.column_stack([-log_evidence, contribution])
