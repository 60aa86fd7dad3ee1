"""A lower bound of Simkus and Gutmann (2024) that the estimators do not use."""

import math

from torch import Tensor

from skmissvae.vae import Draws


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
