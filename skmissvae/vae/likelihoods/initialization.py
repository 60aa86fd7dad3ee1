"""Initialization of likelihoods from a linear model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import special
from torch import Tensor

from ..functional import raw_above


class LinearModel(NamedTuple):
    """The model t = W z + b + noise of straightened columns, with z ~ N(0, I)."""

    loadings: Tensor  # (S, L)
    intercept: Tensor  # (S,)
    variance: Tensor  # (S,)   of the noise


class LinearInitialization(NamedTuple):
    """A decoder and a posterior to start from: what factor analysis is in an observation model."""

    weight: Tensor  # (P, L)   of latents in the decoder's outputs
    bias: Tensor  # (P,)
    chosen: Tensor  # (P,) bool   the outputs that have a start
    precision: Tensor  # (S,)   of straightened cells


#: Share of a coded column's variance that counts as unexplained, at least: what a linear model
#: tells of flags and categories is too sure, and a start that is so is hard to leave.
LEAST_UNEXPLAINED = 0.8


_ROUNDS = 100  # in which biases settle


def marginal_bias(weight: Tensor, share: Tensor) -> Tensor:
    """Return biases b with E sigma(w z + b) as given, z ~ N(0, I): (D, L), (D,) -> (D,)."""
    nodes, masses = (torch.from_numpy(part).to(weight) for part in special.roots_hermitenorm(40))
    reach = weight.norm(dim=-1).unsqueeze(-1) * nodes  # (D, 40)
    bias = share.logit()
    for _ in range(_ROUNDS):
        mean = ((reach + bias.unsqueeze(-1)).sigmoid() @ masses) / masses.sum()
        bias = bias + share.logit() - mean.logit()
    return bias


def location_scale_initialization(
    model: LinearModel, min_scale: float, n_params: int
) -> LinearInitialization:
    """Return the start of S columns whose outputs are S locations, then S raw scales, then others.

    Where there is no place for scales they are not among the outputs.
    """
    S, L = model.loadings.shape
    scale = floored_scale(model.variance.sqrt(), min_scale)
    weight = model.loadings.new_zeros(n_params, L)
    bias = weight.new_zeros(n_params)
    chosen = torch.arange(n_params, device=bias.device) < 2 * S
    weight[:S], bias[:S] = model.loadings, model.intercept
    if n_params > S:
        bias[S : 2 * S] = raw_above(scale, min_scale)
    return LinearInitialization(weight, bias, chosen, scale**-2)


def floored_scale(scale: Tensor, min_scale: float) -> Tensor:
    """Return scales that softplus and a floor can give."""
    return (scale - min_scale).clamp_min(0.01) + min_scale
