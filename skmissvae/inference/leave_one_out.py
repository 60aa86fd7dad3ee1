"""Contributions of cells to the density of a row, by the draws of the whole row."""

from typing import NamedTuple

import torch
from torch import Tensor

from .conditional import ConditionalModel
from .row_batch import RowBatch
from .weights import effective_sample_size_of, finite_log_weights, pareto_k

_MIN_ESS, _MAX_PARETO_K = 20.0, 0.7  # of the weights without a cell, if they are reliable


class CellContributions(NamedTuple):
    """Contributions of the cells of a row to minus its log-density."""

    contribution: Tensor  # (1, D)   log p(other cells) - log p(all cells), in float64
    is_reliable: Tensor  # (1, D)   whether the weights without the cell are reliable


def leave_one_out(model: ConditionalModel, batch: RowBatch) -> CellContributions:
    """Return what each cell contributes to minus the log-density of a single row.

    It is of use for observed cells of rows with several of them. The draws of the row are weighted
    anew [1]_.

    References
    ----------
    .. [1] Vehtari, Gelman and Gabry (2017). Practical Bayesian model evaluation using leave-one-out
       cross-validation and WAIC. Statistics and Computing 27.
    """
    draws, vae = model.weighted_draws(batch), model.vae
    log_w = draws.log_w.squeeze(0).unsqueeze(1)  # (M, 1)
    log_p = [
        vae.log_prob_of_cells(vae.decode(z), batch.x, batch.observed, batch.limits)
        for z in draws.z.split(model.n_decoded)
    ]
    without = log_w - torch.cat(log_p).squeeze(1).double()  # (M, D)
    ess = effective_sample_size_of(finite_log_weights(without.T.contiguous()).softmax(-1))
    k = [
        pareto_k(values) if is_observed else 0.0
        for values, is_observed in zip(without.T, batch.observed[0].tolist(), strict=True)
    ]
    is_reliable = (ess >= _MIN_ESS) & (torch.tensor(k, device=ess.device) <= _MAX_PARETO_K)
    contribution = without.logsumexp(0) - log_w.logsumexp(0)
    return CellContributions(contribution.unsqueeze(0), is_reliable.unsqueeze(0))
