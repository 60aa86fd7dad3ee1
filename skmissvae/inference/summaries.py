"""Summaries of weighted draws: cells, probabilities of categories, medians and modes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..vae.likelihoods.base import CodedColumns, ColumnDistribution, quantile
from ..vae.likelihoods.product import ProductColumns
from .conditional import ConditionalModel
from .row_batch import RowBatch

_N_CANDIDATES = 64  # latents whose values are tried as modes


class CellSummary(NamedTuple):
    """The conditional distribution of the cells of a row, over models with equal weights."""

    values: Tensor  # (P, D)   NaN in columns of categories
    w: Tensor  # (P,)   weights of the values
    mean: Tensor  # (D,)
    columns: list[tuple[ColumnDistribution, Tensor]]  # batch (M, 1, D) with weights (M,), per model
    ess: Tensor  # (1,)   mean effective sample size of the models


def summarize_cells(models: Sequence[ConditionalModel], batch: RowBatch) -> CellSummary:
    """Return the conditional distribution of the cells of a single row.

    Parameters
    ----------
    models : sequence of ConditionalModel
        The models.
    batch : RowBatch
        The row, with the posterior of the first model.
    """
    n = len(models)
    row = batch.x, batch.observed, batch.new_noise, batch.positions, batch.limits
    batches = [batch, *(model.encode(*row) for model in models[1:])]
    samples = [model.cell_values(rows) for model, rows in zip(models, batches, strict=True)]
    values = torch.cat([values for values, *_ in samples])
    w = torch.cat([w / n for _, w, *_ in samples])
    columns = [(part, w.view(part.shape[0], -1).sum(1) / n) for _, w, part, _ in samples]
    means = [share @ part.mean().squeeze(1).double() for part, share in columns]
    ess = torch.stack([ess for *_, ess in samples]).mean(0)
    return CellSummary(values, w, torch.stack(means).sum(0), columns, ess)


def category_probabilities(columns: ColumnDistribution, w: Tensor, n_codes: int) -> Tensor:
    """Return the probabilities of the codes 0, 1, ... under weighted columns.

    Columns of batch (M, 1, D) and weights (M,) -> (D, n_codes). The entries of numeric columns have
    no meaning.
    """
    if isinstance(columns, ProductColumns):
        parts = [category_probabilities(part, w, n_codes) for part in columns.parts]
        return torch.cat(parts).index_select(0, columns.order)
    probabilities = w.new_zeros(columns.shape[-1], n_codes)
    if isinstance(columns, CodedColumns):
        p = columns.probabilities().squeeze(1).double()  # (M, D, n_categories)
        probabilities[:, : p.shape[-1]] = (w @ p.flatten(1)).view(p.shape[1:])
        return probabilities
    codes = torch.arange(min(2, n_codes), dtype=torch.float32, device=w.device)
    for k, code in enumerate(codes):  # binary columns, whatever their model
        p = columns.log_prob(code.expand(columns.shape)).exp().squeeze(1).double()
        probabilities[:, k] = w @ p
    return probabilities


def median(columns: ColumnDistribution, z: Tensor) -> Tensor:
    """Return the median of an equal mixture over latents: (R, B, L), batch (R, B, D) -> (B, D)."""
    medians = columns.icdf(z.new_full(columns.shape[-1:], 0.5))
    return quantile(columns, 0.5, medians.amin(0), medians.amax(0))


def mode(columns: ColumnDistribution, z: Tensor) -> Tensor:
    """Return the median of a component that has the highest density, as ``median``."""
    medians = columns.icdf(z.new_full(columns.shape[-1:], 0.5))
    # the modes of a continuous Bernoulli are 0 and 1, which are candidates for every column
    ends = torch.zeros_like(medians[:2])
    ends[1] = 1.0
    candidates = torch.cat([medians[:_N_CANDIDATES], ends])
    log_density = torch.stack(
        [columns.log_prob(value.expand_as(medians)).logsumexp(0) for value in candidates]
    )
    return candidates.gather(0, log_density.argmax(0, keepdim=True)).squeeze(0)
