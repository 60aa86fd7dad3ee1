"""Signal-to-noise ratios of the gradients of a fitted model."""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from skmissvae import VAEDensityEstimator
from skmissvae._utils.random import StreamNoise
from skmissvae._utils.runtime import full_precision
from skmissvae._utils.validation import check_minimum
from skmissvae.training.methods import METHODS, BoundMethod
from skmissvae.training.objectives import Batch


class GradientNoise(NamedTuple):
    """Signal-to-noise ratios of a training step's gradient."""

    encoder: float
    decoder: float


def gradient_signal_to_noise(
    estimator: VAEDensityEstimator,
    X: np.ndarray,
    *,
    n_repeats: int = 100,
    random_state: int | None = None,
) -> GradientNoise:
    r"""Return the mean signal-to-noise ratios of the encoder's and decoder's gradients.

    The ratio of a weight is :math:`|E[g]| / \sqrt{Var[g]}` over ``n_repeats`` draws of the latents
    of the rows of one step, without dropout; ratios are averaged over weights (Rainforth et al.
    2018, Tighter Variational Bounds Are Not Necessarily Better, ICML; figure 8 of Simkus and
    Gutmann 2024). The squared average of n gradients overestimates :math:`E[g]^2` by
    :math:`Var[g] / n`, which is subtracted, down to zero: a ratio of zero is then estimated as
    :math:`0.43 \sqrt{2 / (\pi n)}` instead of :math:`\sqrt{2 / (\pi n)}`. Weights whose gradient
    is constant are left out. The method must have one bound (not DeMissVAE). The estimator is not
    changed.
    """
    check_minimum(2, n_repeats=n_repeats)
    method = METHODS[estimator.objective]
    if not isinstance(method, BoundMethod):
        raise ValueError(
            f"{method.name} has two objectives over imputations that change during training; "
            "signal-to-noise ratios are defined for methods with one bound."
        )
    objective = method.configured(estimator.n_draws, estimator.gradient, None).objective()
    rows, vae = estimator.encode_rows(X), copy.deepcopy(estimator.vae_)
    batch = Batch(*rows.tensors(), torch.arange(len(rows.x)))
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    noise = StreamNoise(torch.Generator().manual_seed(seed))
    networks = [list(network.parameters()) for network in (vae.encoder, vae.decoder)]
    sizes = [sum(weight.numel() for weight in network) for network in networks]
    total = torch.zeros(sum(sizes), dtype=torch.float64)
    total_square = torch.zeros_like(total)
    for _ in range(n_repeats):
        vae.zero_grad()
        with full_precision(batch.x.device):
            objective.backward(vae, batch, noise)
        gradient = torch.cat([_gradient(weight) for network in networks for weight in network])
        total += gradient.double()
        total_square += gradient.double().square()
    mean = total / n_repeats
    variance = (total_square / n_repeats - mean.square()).clamp_min(0)
    variance = variance * n_repeats / (n_repeats - 1)
    signal = (mean.square() - variance / n_repeats).clamp_min(0).sqrt()
    ratio = torch.where(variance > 0, signal / variance.sqrt(), math.nan)
    return GradientNoise(*(float(ratios.nanmean()) for ratios in ratio.split(sizes)))


def _gradient(weight: Tensor) -> Tensor:
    """Return the gradient of a weight, flattened; zeros if it has none."""
    return (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()
