r"""Rank-normalized effective sample size and R-hat of Markov chains.

Chains are split into halves, and the values of a cell are replaced by normal scores of their ranks
among all chains [1]_. Distributions without a finite mean or variance have ranks, too.

References
----------
.. [1] Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021). Rank-Normalization, Folding, and
   Localization: An Improved R-hat for Assessing Convergence of MCMC. Bayesian Analysis 16(2).
.. [2] Geyer (1992). Practical Markov Chain Monte Carlo. Statistical Science 7(4).
.. [3] Blom (1958). Statistical Estimates and Transformed Beta-Variables. Wiley.
"""

import math

import torch
from torch import Tensor


def worst_cell_diagnostics(trace: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest bulk ESS and the highest R-hat over the missing cells of each row.

    Parameters
    ----------
    trace : Tensor of shape (T, n, B, D)
        Values of each cell at T steps of n chains.
    observed : Tensor of shape (B, D)
        True for observed cells. Every row has a missing cell.

    Returns
    -------
    ess, r_hat : Tensor of shape (B,)
        Both minimum and maximum are taken over cells, and may come from different cells.
    """
    ess, r_hat = rank_normalized_diagnostics(trace)
    return ess.masked_fill(observed, math.inf).amin(-1), r_hat.masked_fill(observed, 1.0).amax(-1)


def rank_normalized_diagnostics(trace: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bulk effective sample size and the rank-normalized split R-hat of chains.

    R-hat is the maximum of the R-hat of the values, which compares the locations of the chains,
    and that of the distances from the median, ``abs(x - median)``, which compares their scales.

    Parameters
    ----------
    trace : Tensor of shape (T, n, ...)
        Values at T steps of n chains; trailing axes are diagnosed independently.

    Returns
    -------
    ess, r_hat : Tensor of shape (...)
        Effective sample size over all chains, and R-hat. Chains that cannot be assessed, because
        they have fewer than four values or values that are not finite, get 1 and infinity.
        Constant chains get the number of values and 1.
    """
    half = len(trace) // 2
    if half < 2:
        return torch.ones_like(trace[0, 0]), torch.full_like(trace[0, 0], math.inf)
    chains = torch.cat([trace[:half], trace[-half:]], 1).movedim((1, 0), (-2, -1))
    values = chains.flatten(-2)  # (..., 2 n T/2)
    finite = values.isfinite().all(-1)
    values = values.where(finite.unsqueeze(-1), 0.0)
    scores, folded_scores = (
        _normal_scores(x).view(chains.shape) for x in (values, (values - _median(values)).abs())
    )
    ess = _effective_sample_size(scores)
    r_hat = torch.maximum(_r_hat(scores), _r_hat(folded_scores))
    return ess.where(finite, 1.0), r_hat.where(finite, math.inf)


def _median(x: Tensor) -> Tensor:
    # torch.quantile refuses more than 16 million values
    ordered, n = x.sort(-1).values, x.shape[-1]
    return (ordered[..., (n - 1) // 2] + ordered[..., n // 2]).unsqueeze(-1) / 2


def _normal_scores(x: Tensor) -> Tensor:
    """Replace values along the last axis by normal quantiles of their average ranks [3]_."""
    ordered = x.sort(-1).values
    n_below = torch.searchsorted(ordered, x)
    n_up_to = torch.searchsorted(ordered, x, right=True)
    rank = (n_below + n_up_to + 1).to(x.dtype) / 2
    return torch.special.ndtri((rank - 3 / 8) / (x.shape[-1] + 1 / 4))


def _r_hat(chains: Tensor) -> Tensor:
    r"""Return :math:`\sqrt{V/W}` of chains (..., n, T), 1 if they are constant.

    W is the mean variance within chains, V = (T - 1) / T W + the variance of the chains' means.
    """
    n_steps = chains.shape[-1]
    within = chains.var(-1).mean(-1)
    between = chains.mean(-1).var(-1)
    r_hat = (between / within + (n_steps - 1) / n_steps).sqrt()
    return r_hat.where((between > 0) | (within > 0), 1.0)


def _effective_sample_size(chains: Tensor) -> Tensor:
    r"""Return the effective sample size of chains (..., n, T), n T if they are constant.

    The n T values are divided by :math:`1 + 2 \sum_t \rho_t`. Sums of adjacent pairs
    :math:`\rho_{2k} + \rho_{2k+1}` of the true autocorrelations are positive and decrease in k,
    so that those of the estimates are summed up to the first that is not positive, each at most
    its predecessor [2]_. As in ArviZ and Stan, the even lag of that pair is added once, not
    twice, and the effective sample size is at most n T log10(n T).
    """
    n_values = chains.shape[-2] * chains.shape[-1]
    rho = _autocorrelation(chains)
    # ArviZ stops at these lags. Half chains of fewer than five values have only the first pair,
    # which is always summed: without it, ArviZ reports the upper limit whatever the values are.
    n_pairs = max(0, (chains.shape[-1] - 3) // 2) + 1
    pairs = rho[..., : 2 * n_pairs].unflatten(-1, (n_pairs, 2))
    pair_sums = pairs.sum(-1)
    n_positive = (pair_sums[..., :-1] > 0).cumprod(-1).sum(-1, keepdim=True)
    summed = torch.arange(n_pairs, device=rho.device) < n_positive.clamp_min(1)
    next_even = pairs[..., 0].gather(-1, n_positive)
    next_is_positive = pair_sums.gather(-1, n_positive) >= 0
    next_even = next_even.where(next_is_positive, next_even.clamp_min(0)) * (n_positive > 0)
    monotone = pair_sums.cummin(-1).values * summed
    time = 2 * monotone.sum(-1) + next_even.squeeze(-1) - 1
    ess = n_values / time.clamp_min(1 / math.log10(n_values))
    return ess.where(chains.amax((-2, -1)) > chains.amin((-2, -1)), n_values)


def _autocorrelation(chains: Tensor) -> Tensor:
    """Return autocorrelations, with the variance between chains, at each lag.

    1 - (W - the autocovariance within chains) / V, (..., n, T) -> (..., T); see ``_r_hat``.
    """
    n_steps = chains.shape[-1]
    mean = chains.mean(-1, keepdim=True)
    # zero padding: the convolution must not wrap around
    spectrum = torch.fft.rfft(chains - mean, 2 * n_steps).abs().square()
    autocovariance = torch.fft.irfft(spectrum, 2 * n_steps)[..., :n_steps].mean(-2) / n_steps
    variance = autocovariance[..., :1]
    within = variance * n_steps / (n_steps - 1)
    rho = 1 - (within - autocovariance) / (variance + mean.var(-2))
    rho[..., 0] = 1.0
    return rho
