"""The uncertainty of a fitted decoder, from which imputations draw."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .._utils.random import SeedStream, derive_seed
from .._utils.runtime import torch_defaults
from ..vae.networks.mlp import fixed_linear


class DecoderUncertainty:
    """Normal approximation of the uncertainty of a decoder that comes from the number of rows.

    A draw is a linear function of the latents that is added to the outputs of the decoder. It has
    mean zero and the covariance of R replicates of this function.

    Parameters
    ----------
    weight : ndarray of shape (R, P, L)
        Weights of the replicates, for P outputs and L latents.
    bias : ndarray of shape (R, P)
        Their constants.
    """

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self._weight = weight - weight.mean(0)
        self._bias = bias - bias.mean(0)

    def draws(self, seed: int, n: int) -> list[nn.Linear]:
        """Return the draws of n imputations; the i-th does not depend on n."""
        return [self.draw(derive_seed(seed, SeedStream.IMPUTATION_DECODER, i)) for i in range(n)]

    @torch_defaults()
    def draw(self, seed: int) -> nn.Linear:
        """Return a draw, (*, L) -> (*, P)."""
        n = len(self._weight)
        share = np.random.default_rng(seed).standard_normal(n) / np.sqrt(n - 1)
        parts = (np.tensordot(share, values, 1) for values in (self._weight, self._bias))
        return fixed_linear(*(torch.from_numpy(part.astype(np.float32)) for part in parts))
