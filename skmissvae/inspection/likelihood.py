"""How good a model is: log-likelihoods, their bounds, and how it draws."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state
from torch import Tensor

from .._utils.random import StreamNoise
from .._utils.runtime import full_precision, inference
from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..training.objectives import Batch
from ..vae.likelihoods.normal import NormalColumns
from ..vae.vae import VAE

_CELLS = 20_000_000  # cells (grid point, row, column) held at once


_POINTS = 2**15  # grid points that the decoder sees at once


_FINEST = 2**13  # grid points per axis at most


_TAILS = 8.0  # standard deviations beyond which a Normal prior is nothing


_HEAVY_TAILS = 1e5  # the same for a Student-t prior, where spacing grows with distance


def integrated_score_samples(estimator: BaseVAE, X: Any, *, tol: float = 1e-3) -> np.ndarray:
    r"""Return the log-density of each row's observed cells by numerical integration.

    .. math:: \log p(x_{obs}) = \log \int p(x_{obs} | z)\, p(z)\, dz

    by the trapezoidal rule over a grid of latents, made finer until a grid between its points
    agrees. It is what ``score_samples`` tends to from below as importance draws grow, whatever the
    encoder.

    Parameters
    ----------
    estimator : BaseVAE
        A fitted estimator with one or two latents.
    X : array-like of shape (n_samples, n_features)
        Rows, with holes.
    tol : float, default=1e-3
        Error allowed in the mean over rows, in nats.

    Returns
    -------
    ndarray of shape (n_samples,)
        Log-densities in the units of ``X``.

    Raises
    ------
    ValueError
        If the model has more than two latents, or the finest grid is not fine enough.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import integrated_score_samples
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=20, random_state=0).fit(X)
    >>> exact = integrated_score_samples(imputer, X).mean()
    >>> bool(abs(exact - imputer.score(X)) < 0.05)
    True
    """
    _, _, rows = estimator._rows(X)
    x, observed = rows.tensors()
    with inference(x.device):
        log_evidence = _integrate(estimator.vae_, x, observed, tol).numpy()
    return log_evidence - estimator._table.log_units(rows)


def _integrate(vae: VAE, x: Tensor, observed: Tensor, tol: float) -> Tensor:
    """Return log p(x_obs) in float64: (N, D), (N, D) bool -> (N,)."""
    n_latents = vae.prior.n_latents
    if n_latents > 2:
        raise ValueError(
            f"Integration over a grid takes one or two latents; the model has {n_latents}. Use "
            "score_samples with many importance draws."
        )
    n = 128
    coarse = _sum(vae, x, observed, n, 0.0)
    while n <= _FINEST:
        between = _sum(vae, x, observed, n, 0.5)
        # two grids, of points and of the middles of their cells: half the error is seen
        if (
            abs(float((between - coarse).mean())) < tol
            and (between - coarse).abs().mean() < 10 * tol
        ):
            return torch.logaddexp(coarse, between) - math.log(2)
        n *= 2
        coarse = _sum(vae, x, observed, n, 0.0)
    raise ValueError(
        f"A grid of {_FINEST} points per axis is too coarse for tol={tol}: the decoder changes too "
        "fast. Use score_samples with many importance draws."
    )


def _sum(vae: VAE, x: Tensor, observed: Tensor, n: int, shift: float) -> Tensor:
    """Return the logarithm of the trapezoidal sum over a grid of n points per axis, (N,)."""
    component = vae.prior().component
    reach = float(component.loc.abs().max() + _TAILS * component.scale.max())
    if math.isfinite(vae.prior.tail):
        ends = math.asinh(_HEAVY_TAILS)
        t = (torch.arange(n, dtype=torch.float64) + shift) * (2 * ends / n) - ends
        axis, log_weight = t.sinh(), t.cosh().log() + math.log(2 * ends / n)
    else:
        axis = (torch.arange(n, dtype=torch.float64) + shift) * (2 * reach / n) - reach
        log_weight = torch.full_like(axis, math.log(2 * reach / n))
    n_latents = vae.prior.n_latents
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    block = min(max(1, _CELLS // max(1, x.numel())), _POINTS)
    for start in range(0, n**n_latents, block):
        index = torch.arange(start, min(start + block, n**n_latents))
        places = [index // n**axis_number % n for axis_number in range(n_latents)]
        z = torch.stack([axis[place] for place in places], -1).to(x.dtype).unsqueeze(1)
        weights = torch.stack([log_weight[place] for place in places]).sum(0)
        weights = weights + vae.prior().log_prob(z).squeeze(-1).double()  # (M,)
        log_joint = _log_conditional(vae, x, observed, z).add_(weights)
        total = torch.logaddexp(total, torch.logsumexp(log_joint, -1))
    return total


def _log_conditional(vae: VAE, x: Tensor, observed: Tensor, z: Tensor) -> Tensor:
    """Return log p(x_obs | z) in float64: (N, D), (N, D) bool, (M, 1, L) -> (N, M)."""
    columns = vae.decode(z)
    if not isinstance(columns, NormalColumns):
        return torch.where(observed, columns.log_prob(x), 0.0).sum(-1).double().T.contiguous()
    # a quadratic of every cell, so that all pairs are one product of matrices
    loc, scale = columns.loc.double().squeeze(1), columns.scale.double().expand_as(columns.loc)
    scale = scale.squeeze(1)  # (M, D)
    precision = scale**-2
    constant = -0.5 * precision * loc**2 - scale.log() - 0.5 * math.log(2 * math.pi)
    seen = observed.double()
    cells = torch.cat([x.double() ** 2 * seen, x.double() * seen, seen], -1)  # (N, 3 D)
    return cells @ torch.cat([-0.5 * precision, precision * loc, constant], -1).T


class LogLikelihood(NamedTuple):
    """A log-likelihood by importance draws, and how far to trust it."""

    mean: float  # over rows, in nats
    standard_error: float  # of the mean, as an estimate for all rows there are
    scores: np.ndarray  # (n_samples,)
    errors: np.ndarray  # (n_samples,)   Monte-Carlo standard errors of the scores


def log_likelihood(estimator: BaseVAE, X: Any, *, n_draws: int = 5000) -> LogLikelihood:
    r"""Return the mean log-density of rows by many importance draws, with error bars.

    The score of a row is the importance-weighted bound
    :math:`\log \frac1n \sum_m p(x_{obs}, z_m) / q(z_m | x_{obs})`, whose Monte-Carlo variance is
    :math:`1 / ESS - 1 / n` to first order, with Kish's effective sample size; half of that is how
    far the score lies below the log-density in expectation. Where weights are poor an adapted
    proposal takes the place of q, as in ``score_samples``. Draws are taken in blocks, so that
    memory does not grow with them. Rows share their noise: their errors are alike, and that of the
    mean is up to the mean of theirs, which ``standard_error``, of the choice of rows, leaves out.

    Parameters
    ----------
    estimator : BaseVAE
        A fitted estimator; it stays as it is.
    X : array-like of shape (n_samples, n_features)
        Rows, with holes.
    n_draws : int, default=5000
        Importance draws per row.

    Returns
    -------
    LogLikelihood
        Mean, its standard error over rows, scores and their Monte-Carlo errors, in the units of
        ``X``. Where errors exceed 0.3 or so the expansion, and the score, are not to be trusted.

    References
    ----------
    .. [1] Burda, Grosse and Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import log_likelihood
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=20, random_state=0).fit(X)
    >>> found = log_likelihood(imputer, X, n_draws=500)
    >>> bool(found.errors.max() < 0.1)
    True
    """
    check_minimum(1, n_draws=n_draws)
    other = copy.copy(estimator).set_params(n_importance_draws=n_draws)
    rows = other._rows(X)[2]
    scores, ess = other._evidence(rows)
    empty = ~rows.observed.any(1)
    scores[empty], ess[empty] = 0.0, n_draws
    scores = scores - other._table.log_units(rows)
    errors = np.sqrt(np.maximum(1 / ess - 1 / n_draws, 0.0))
    spread = scores.std(ddof=1) if len(scores) > 1 else math.nan
    return LogLikelihood(
        float(scores.mean()), float(spread / math.sqrt(len(scores))), scores, errors
    )


class GradientNoise(NamedTuple):
    """Signal-to-noise ratios of a training step's gradient, by part of the model."""

    encoder: float
    decoder: float


def gradient_signal_to_noise(
    estimator: BaseVAE, X: Any, *, n_repeats: int = 100, random_state: Any = None
) -> GradientNoise:
    r"""Return the signal-to-noise ratios of the gradients of a fitted model's bound.

    Of each weight it is :math:`|E[g]| / \sqrt{Var[g]}`, over draws of the latents; the parts'
    ratios are the mean over their weights, as in [1]_ and [2]_. What the variance adds to the
    square of an average of n gradients, :math:`Var[g] / n`, is taken off, down to zero: without
    that a ratio of zero would come out as :math:`\sqrt{2 / (\pi n)}`, with it as 0.43 of that.
    Dropout is off.

    Parameters
    ----------
    estimator : BaseVAE
        A fitted estimator of a method with a bound (not DeMissVAE); it stays as it is.
    X : array-like of shape (n_samples, n_features)
        The rows of the step, with holes.
    n_repeats : int, default=100
        Gradients to take.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    GradientNoise
        Ratios of encoder and decoder. Weights whose gradient is always zero are left out.

    References
    ----------
    .. [1] Rainforth et al. (2018). Tighter Variational Bounds Are Not Necessarily Better. ICML.
    .. [2] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR. Figure 8.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import gradient_signal_to_noise
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=5, random_state=0).fit(X)
    >>> gradient_signal_to_noise(imputer, X, n_repeats=20, random_state=0).encoder > 0
    True
    """
    check_minimum(2, n_repeats=n_repeats)
    if estimator._decomposed():
        raise ValueError(
            f"{type(estimator).__name__} has two objectives over imputations that change while "
            "training; signal-to-noise ratios are those of methods with one bound."
        )
    rows = estimator._rows(X)[2]
    vae, objective = copy.deepcopy(estimator.vae_), estimator._objective()
    batch = Batch(*rows.tensors(), torch.arange(len(rows.x)))
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    noise = StreamNoise(torch.Generator().manual_seed(seed))
    parts = [list(part.parameters()) for part in (vae.encoder, vae.decoder)]
    sizes = [sum(weight.numel() for weight in part) for part in parts]
    total = torch.zeros(sum(sizes), dtype=torch.float64)
    squares = torch.zeros_like(total)
    for _ in range(n_repeats):
        vae.zero_grad()
        with full_precision(batch.x.device):
            objective.backward(vae, batch, noise)
        gradients = [_gradient(weight) for part in parts for weight in part]
        gradient = torch.cat(gradients).double()
        total += gradient
        squares += gradient.square()
    mean = total / n_repeats
    variance = (squares / n_repeats - mean.square()).clamp_min(0)
    variance = variance * n_repeats / (n_repeats - 1)
    signal = (mean.square() - variance / n_repeats).clamp_min(0).sqrt()
    ratio = torch.where(variance > 0, signal / variance.sqrt(), math.nan)
    return GradientNoise(*(float(part.nanmean()) for part in ratio.split(sizes)))


def _gradient(weight: Tensor) -> Tensor:
    """Return the gradient of a weight, zero where it has none."""
    return (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()


def frechet_distance(features: Any, others: Any) -> float:
    r"""Return the Fréchet distance of two samples, each taken for a Normal.

    .. math:: |\mu_1 - \mu_2|^2 + tr(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})

    Of features such as the ``encode`` of a model that has seen neither sample it tells how well a
    generator draws: 0 for equal moments [1]_.

    Parameters
    ----------
    features, others : array-like of shape (n_samples, n_features)
        Two samples, complete.

    Returns
    -------
    float
        The squared distance, in squared units of the features.

    References
    ----------
    .. [1] Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017). GANs Trained by a Two
       Time-Scale Update Rule Converge to a Local Nash Equilibrium. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae.inspection import frechet_distance
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> round(frechet_distance(X, X + [3, 0]), 6)
    9.0
    """
    samples = [
        check_array(sample, dtype=np.float64, ensure_min_samples=2) for sample in (features, others)
    ]
    if samples[0].shape[1] != samples[1].shape[1]:
        raise ValueError(
            f"The samples have {samples[0].shape[1]} and {samples[1].shape[1]} features; give both "
            "the same."
        )
    (mean, other), (cov, others_cov) = (
        [function(sample) for sample in samples]
        for function in (lambda s: s.mean(0), lambda s: np.atleast_2d(np.cov(s.T)))
    )
    # roots of symmetric matrices alone: that of a product may come out complex
    values, vectors = np.linalg.eigh(cov)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ others_cov @ root).clip(0)).sum()
    distance = ((mean - other) ** 2).sum() + np.trace(cov) + np.trace(others_cov) - 2 * shared
    return float(max(distance, 0.0))
