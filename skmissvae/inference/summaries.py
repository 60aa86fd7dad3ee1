"""Summaries of weighted draws: cells, probabilities of categories, medians and modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .._utils.random import Noise
from ..vae.likelihoods.base import ColumnDistribution, quantile
from ..vae.likelihoods.categorical import CategoricalColumns
from ..vae.likelihoods.ordinal import CumulativeLogitColumns
from ..vae.likelihoods.product import ProductColumns
from .conditional import ConditionalModel

_N_CANDIDATES = 64  # latents whose values are tried as modes


def describe_cells(
    given: Sequence[ConditionalModel], x: Tensor, observed: Tensor, noise: Callable[[Tensor], Noise]
) -> tuple[Tensor, Tensor, Tensor, list[tuple[ColumnDistribution, Tensor]], Tensor]:
    """Return what several models in equal parts tell of the cells of a row.

    Weighted values (P, D) and (P,), means (D,), the weighted columns behind them, and the
    effective number of latents of a model (1,).
    """
    found = [one.spread(x, observed, noise(x)) for one in given]
    values = torch.cat([values for values, *_ in found])
    w = torch.cat([w / len(given) for _, w, *_ in found])
    columns = [(part, w.view(part.shape[0], -1).sum(1) / len(given)) for _, w, part, _ in found]
    mean = torch.stack([share @ part.mean().squeeze(1).double() for part, share in columns]).sum(0)
    return values, w, mean, columns, torch.stack([ess for *_, ess in found]).mean(0)


def level_probabilities(columns: ColumnDistribution, share: Tensor, n_codes: int) -> Tensor:
    """Return probabilities of the codes 0, 1, ... under a mixture of columns.

    Columns of batch (M, 1, D), weights (M,) -> (D, n_codes); of numbers they have no meaning.
    """
    if isinstance(columns, ProductColumns):
        parts = [level_probabilities(part, share, n_codes) for part in columns.parts]
        return torch.cat(parts).index_select(0, columns.order)
    found = share.new_zeros(columns.shape[-1], n_codes)
    if isinstance(columns, (CategoricalColumns, CumulativeLogitColumns)):
        p = columns.probabilities().squeeze(1).double()  # (M, D, n_levels)
        found[:, : p.shape[-1]] = (share @ p.flatten(1)).view(p.shape[1:])
        return found
    codes = torch.arange(min(2, n_codes), dtype=torch.float32, device=share.device)
    for k, code in enumerate(codes):  # two values, whatever their model
        found[:, k] = share @ columns.log_prob(code.expand(columns.shape)).exp().squeeze(1).double()
    return found


def median(columns: ColumnDistribution, half: Tensor) -> Tensor:
    """Return the median of an equal mixture over the first axis: (R, B, D) -> (B, D)."""
    # it lies among those of the components
    medians = columns.icdf(half)
    return quantile(columns, 0.5, medians.amin(0), medians.amax(0))


def mode(columns: ColumnDistribution, half: Tensor) -> Tensor:
    """Return the centre of highest density under an equal mixture: (R, B, D) -> (B, D)."""
    centre = columns.icdf(half)
    # 0 and 1 are where a continuous Bernoulli has its mode, and candidates like any other elsewhere
    ends = torch.zeros_like(centre[:2])
    ends[1] = 1.0
    candidates = torch.cat([centre[:_N_CANDIDATES], ends])
    density = torch.stack(
        [columns.log_prob(value.expand_as(centre)).logsumexp(0) for value in candidates]
    )
    return candidates.gather(0, density.argmax(0, keepdim=True)).squeeze(0)
