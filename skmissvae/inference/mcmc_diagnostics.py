"""Convergence diagnostics of chains."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def worst(trace: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fewest effective draws and the greatest R-hat of rows' missing cells.

    Parameters
    ----------
    trace : Tensor of shape (T, n, B, D)
        Values of each cell, step and chain.
    observed : Tensor of shape (B, D)
        What is seen; every row misses a cell.

    Returns
    -------
    ess, r_hat : Tensor of shape (B,)
        Of the cell that is the worst of its row.
    """
    ess, r_hat = convergence(trace)
    return ess.masked_fill(observed, math.inf).amin(-1), r_hat.masked_fill(observed, 1.0).amax(-1)


def convergence(trace: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return effective sample size and split R-hat of chains (Gelman et al. 2013, chapter 11).

    With W the variance within half chains of length T and B that of their means,
    :math:`V = (T-1)/T\, W + B`, :math:`\hat R = \sqrt{V/W}`; the effective sample size is the
    number of draws over :math:`1 + 2 \sum_t \rho_t`, the sum ended by Geyer's rule, at the first
    negative pair of autocorrelations.

    Parameters
    ----------
    trace : Tensor of shape (T, n, ...)
        T values of each of n chains. Chains of fewer than four values tell nothing: their
        effective sample size is 1 and their R-hat infinite.

    Returns
    -------
    ess, r_hat : Tensor of shape (...)
        Effective sample size over all chains, and R-hat.
    """
    half = len(trace) // 2
    if half < 2:
        return torch.ones_like(trace[0, 0]), torch.full_like(trace[0, 0], math.inf)
    chains = torch.cat([trace[:half], trace[-half:]], 1)  # (T / 2, 2 n, ...)
    centred = chains - chains.mean(0)
    spectrum = torch.fft.rfft(centred, 2 * half, dim=0).abs().square()
    autocovariance = (
        torch.fft.irfft(spectrum, 2 * half, dim=0)[:half].mean(1) / half
    )  # (T / 2, ...)
    within = autocovariance[0] * half / (half - 1)
    between = chains.mean(0).var(0)
    total = autocovariance[0] + between
    rho = 1 - (within - autocovariance) / total
    rho[0] = 1.0
    n_pairs = half // 2
    pairs = rho[: 2 * n_pairs].unflatten(0, (n_pairs, 2)).sum(1)
    positive = (pairs > 0).cumprod(0)
    n_values = chains.shape[0] * chains.shape[1]
    time = (2 * (pairs * positive).sum(0) - 1).clamp_min(1 / math.log10(max(10, n_values)))
    r_hat = (total / within).sqrt()
    # nothing moves because there is nothing to learn
    still = chains.amax((0, 1)) == chains.amin((0, 1))
    ess = torch.full_like(time, n_values).where(still, n_values / time)
    return ess, torch.ones_like(r_hat).where(still, r_hat)
