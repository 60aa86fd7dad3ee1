"""Densities of a row without each of its cells, by the draws of the whole row."""

import torch
from torch import Tensor

from .conditional import ConditionalModel
from .row_batch import RowBatch
from .weights import effective_sample_size_of, finite_log_weights, pareto_k

_MIN_ESS, _MAX_PARETO_K = 20.0, 0.7  # of the weights without a cell, if they are reliable


def leave_one_out(model: ConditionalModel, batch: RowBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-density of a single row, and those without each observed cell.

    The draws of the row are weighted anew [1]_.

    Parameters
    ----------
    model : ConditionalModel
        The fitted model.
    batch : RowBatch
        A row, (1, D), with an observed cell.

    Returns
    -------
    log_evidence : Tensor of shape ()
        The log-density of its observed cells, in float64.
    log_rest : Tensor of shape (D,)
        Those without each cell.
    is_reliable : Tensor of shape (D,)
        Whether the weights without each cell are reliable.

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
    k = torch.tensor([pareto_k(values) for values in without.T], device=ess.device)
    is_reliable = (ess >= _MIN_ESS) & (k <= _MAX_PARETO_K)
    return log_w.logsumexp(0).squeeze(0), without.logsumexp(0), is_reliable
