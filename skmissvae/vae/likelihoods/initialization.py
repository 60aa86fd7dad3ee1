"""Initialization of likelihoods from a linear model (factor analysis)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import special
from torch import Tensor

from ..functional import raw_above


class LinearModel(NamedTuple):
    """The model t = W z + b + noise of linearized columns, with z ~ N(0, I)."""

    loadings: Tensor  # (S, L)
    intercept: Tensor  # (S,)
    variance: Tensor  # (S,)   of the noise


class LinearInitialization(NamedTuple):
    """Initial decoder outputs ``weight z + bias`` and noise precisions of a likelihood."""

    weight: Tensor  # (P, L)
    bias: Tensor  # (P,)
    initialized: Tensor  # (P,) bool   which outputs are initialized
    precision: Tensor  # (S,)   of the noise of linearized columns


#: Least noise variance of binary columns and categories, as a share of their variance. A linear
#: model is overconfident about them, and training leaves an overconfident initialization slowly.
MIN_UNEXPLAINED = 0.8


_N_ITERATIONS = 100  # until biases have converged


def marginal_bias(weight: Tensor, share: Tensor) -> Tensor:
    """Solve E[sigmoid(w z + b)] = share for b, with z ~ N(0, I): (D, L), (D,) -> (D,)."""
    nodes, weights = (torch.from_numpy(array).to(weight) for array in special.roots_hermitenorm(40))
    logits = weight.norm(dim=-1).unsqueeze(-1) * nodes  # (D, 40)
    bias = share.logit()
    for _ in range(_N_ITERATIONS):
        mean = ((logits + bias.unsqueeze(-1)).sigmoid() @ weights) / weights.sum()
        bias = bias + share.logit() - mean.logit()
    return bias


def location_scale_initialization(
    model: LinearModel, min_scale: float, n_params: int
) -> LinearInitialization:
    """Return the initialization of S columns with S locations and then S raw scales as outputs.

    With ``n_params = S`` the scales are not among the outputs; outputs beyond 2 S are not
    initialized.
    """
    S, L = model.loadings.shape
    # softplus_above cannot return the floor itself
    scale = (model.variance.sqrt() - min_scale).clamp_min(0.01) + min_scale
    weight = model.loadings.new_zeros(n_params, L)
    bias = weight.new_zeros(n_params)
    initialized = torch.arange(n_params, device=bias.device) < 2 * S
    weight[:S], bias[:S] = model.loadings, model.intercept
    if n_params > S:
        bias[S : 2 * S] = raw_above(scale, min_scale)
    return LinearInitialization(weight, bias, initialized, scale**-2)
