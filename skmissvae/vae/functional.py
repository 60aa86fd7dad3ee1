"""Log-densities and maps of parameters, elementwise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .._utils.random import Noise

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


_LINEAR_FROM = 20.0  # where softplus is the identity, as torch has it


def normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return log N(x; loc, scale^2) elementwise."""
    return standard_normal_log_prob((x - loc) / scale, scale)


def standard_normal_log_prob(standard: Tensor, scale: Tensor) -> Tensor:
    """Return log N(x; loc, scale^2) elementwise at standard values (x - loc) / scale."""
    constant = scale.log().neg_().sub_(_HALF_LOG_TWO_PI)
    return torch.addcmul(constant, standard, standard, value=-0.5)


def student_t_log_prob(x: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density of a Student-t with ``df`` degrees of freedom elementwise."""
    constant = torch.lgamma(0.5 * (df + 1)) - torch.lgamma(0.5 * df) - 0.5 * (df * math.pi).log()
    tail = 0.5 * (df + 1) * torch.log1p(((x - loc) / scale).square() / df)
    return constant - scale.log() - tail


def mixing_scale(noise: Noise, df: Tensor) -> Tensor:
    """Return draws of the scale of a Normal that is then Student-t: degrees of freedom, likewise.

    A Student-t is a Normal whose precision is Gamma distributed.
    """
    half_df = 0.5 * df
    # in float32 a gamma draw can underflow to zero where the degrees of freedom are few
    return (noise.gamma(half_df) / half_df).clamp_min(1e-12).rsqrt()


def softplus_above(raw: Tensor, floor: float) -> Tensor:
    """Return numbers above a floor, of any numbers."""
    return nn.functional.softplus(raw) + floor


def raw_above(value: Tensor, floor: float) -> Tensor:
    """Return the numbers of which ``softplus_above`` makes values that lie above the floor."""
    off = value - floor
    # softplus leaves large numbers as they are
    return torch.where(off > _LINEAR_FROM, off, off.clamp_max(_LINEAR_FROM).expm1().log())
