r"""Lower bounds on log p(x_obs) from weighted draws: (M, B) -> (B,).

A draw z has the ratio r = p(x_obs, z) / q(z | x_obs) and the mass m. Ancestral draws (m = 1/S)
give the bounds of MVAE, MissVAE, MIWAE and MissIWAE, stratified draws (m = pi_k / S) those of
MissSVAE and MissSIWAE (Simkus and Gutmann 2024).
"""

from torch import Tensor

from .vae import Draws


def elbo(draws: Draws) -> Tensor:
    r"""Return the evidence lower bound, :math:`\sum_m m \log r`.

    Parameters
    ----------
    draws : Draws
        Weighted draws of B rows.

    Returns
    -------
    Tensor
        The bound of each row, (B,).
    """
    return (draws.log_mass.exp() * draws.log_ratio).sum(0)


def iwelbo(draws: Draws) -> Tensor:
    r"""Return the importance-weighted bound, :math:`\log \sum_m m\, r` (Burda et al. 2016).

    Parameters
    ----------
    draws : Draws
        Weighted draws of B rows.

    Returns
    -------
    Tensor
        The bound of each row, (B,).
    """
    return (draws.log_mass + draws.log_ratio).logsumexp(0)
