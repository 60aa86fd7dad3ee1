r"""Lower bounds on log p(x_obs): functions of weighted draws, (M, B) -> (B,).

With masses m and ratios r = p(x_obs, z) / q(z | x_obs), ancestral draws (m = 1/S) give the bounds
of MVAE, MissVAE, MIWAE and MissIWAE, stratified draws (m = pi_k / S) those of MissSVAE and
MissSIWAE (Simkus and Gutmann 2024).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .vae import Draws


def elbo(draws: Draws) -> Tensor:
    r"""Return the evidence lower bound, :math:`\sum_m m \log r`."""
    return (draws.log_mass.exp() * draws.log_ratio).sum(0)


def iwelbo(draws: Draws) -> Tensor:
    r"""Return the importance-weighted bound, :math:`\log \sum_m m\, r` (Burda et al. 2016)."""
    return torch.logsumexp(draws.log_mass + draws.log_ratio, 0)


def looser_iwelbo(draws: Draws, n_components: int) -> Tensor:
    r"""Return the importance-weighted bound within each component.

    It is :math:`\sum_k \pi_k \log \frac{1}{S} \sum_s r_{sk}`, by Jensen's inequality below
    ``iwelbo`` of the same stratified draws and above their ``elbo`` (Simkus and Gutmann 2024,
    footnote 7).

    Parameters
    ----------
    draws : Draws
        Stratified draws, M = S * K, component fastest.
    n_components : int
        Number of components K.

    Returns
    -------
    Tensor of shape (B,)
        The bound.
    """
    log_mass = draws.log_mass.unflatten(0, (-1, n_components))  # (S, K, B)
    log_ratio = draws.log_ratio.unflatten(0, (-1, n_components))
    pi = log_mass.logsumexp(0).exp()  # (K, B)
    return (pi * (log_ratio.logsumexp(0) - math.log(log_ratio.shape[0]))).sum(0)
