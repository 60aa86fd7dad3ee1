"""Elementwise log-densities, and transforms of parameters."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from .._utils.random import Noise

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


_MIN_DEVIATE = -1e8  # the derivative of torch's log_ndtr is NaN at some of the lower ones


_LINEAR_FROM = 20.0  # torch's softplus is the identity above


def normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return log N(x; loc, scale^2) elementwise."""
    return standard_normal_log_prob((x - loc) / scale, scale)


def standard_normal_log_prob(standard: Tensor, scale: Tensor) -> Tensor:
    """Return log N(x; loc, scale^2) elementwise at standard values (x - loc) / scale."""
    constant = scale.log().neg_().sub_(_HALF_LOG_TWO_PI)
    return torch.addcmul(constant, standard, standard, value=-0.5)


def log_ndtr(t: Tensor) -> Tensor:
    """Return log P(T <= t) of a standard Normal in double precision, with finite gradients."""
    return torch.special.log_ndtr(t.double().clamp_min(_MIN_DEVIATE))


def student_t_log_prob(x: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density of a Student-t with ``df`` degrees of freedom elementwise."""
    constant = torch.lgamma(0.5 * (df + 1)) - torch.lgamma(0.5 * df) - 0.5 * (df * math.pi).log()
    tail = 0.5 * (df + 1) * torch.log1p(((x - loc) / scale).square() / df)
    return constant - scale.log() - tail


def mixing_scale(noise: Noise, df: Tensor) -> Tensor:
    """Draw standard deviations such that a Normal is Student-t: df of any shape, likewise.

    A Student-t is a Normal with a Gamma distributed precision.
    """
    half_df = 0.5 * df
    # with few degrees of freedom a gamma draw can underflow to zero in float32
    return (noise.gamma(half_df) / half_df).clamp_min(1e-12).rsqrt()


def softplus_above(raw: Tensor, floor: float) -> Tensor:
    """Return softplus(raw) + floor, which maps all numbers to numbers above the floor."""
    return nn.functional.softplus(raw) + floor


def raw_above(value: Tensor, floor: float) -> Tensor:
    """Return the inverse of ``softplus_above`` at values above the floor."""
    excess = value - floor
    return torch.where(excess > _LINEAR_FROM, excess, excess.clamp_max(_LINEAR_FROM).expm1().log())


def pick_category(values: Tensor, index: Tensor) -> Tensor:
    """Return the entries of the last axis at an index per cell: (*, D, C), (*, D) -> (*, D)."""
    shape = np.broadcast_shapes(values.shape[:-1], index.shape)
    index = index.expand(shape).unsqueeze(-1)
    return values.expand(*shape, -1).gather(-1, index).squeeze(-1)
