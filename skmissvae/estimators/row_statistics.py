"""Statistics of single rows that the estimators report."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..inference.conditional import ConditionalModel, RowBatch


class OutlierScores(NamedTuple):
    """Outlier scores of rows."""

    scores: Tensor  # (B, 1 + D)   of the row, and of each cell
    n_observed: Tensor  # (B,)


def outlier_scores(model: ConditionalModel, batch: RowBatch) -> OutlierScores:
    """Return minus the log-density of a row, and the contribution of each observed cell."""
    x, observed = batch.x, batch.observed
    scores = torch.full((1, 1 + x.shape[1]), math.nan, dtype=torch.float64, device=x.device)
    scores[0, 0] = -model.evidence(batch).log_evidence if observed.any() else 0.0
    for d in observed[0].nonzero().flatten().tolist():
        without = observed.clone()
        without[0, d] = False
        rest = model.evidence(model.encode(x, without, batch.new_noise)).log_evidence
        scores[0, 1 + d] = (rest if without.any() else 0.0) + scores[0, 0]
    return OutlierScores(scores, observed.sum(1))
