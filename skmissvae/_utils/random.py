"""Seeds, and standard noise, which is an argument of all functions that draw.

The rows of a table are on the second-to-last axis of all shapes: (..., B, L).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum, unique

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override


@unique
class SeedStream(IntEnum):
    """Second argument of ``derive_seed``: one independent stream for each use of a seed.

    Values must not change: results for a given ``random_state`` depend on them.
    """

    DRAW = 1  # transform with strategy="draw"
    IMPUTATION = 2  # values of the i-th imputation of impute (seed, 2, i)
    SAMPLE = 3  # sample
    GLOBAL_GENERATORS = 4  # torch's global generators in training: dropout
    DEMISSVAE_IMPUTATIONS = 5  # imputations of the training rows in DeMissVAE
    DEMISSVAE_ENCODER = 6  # training of DeMissVAE's encoder of incomplete rows
    FACTOR_ANALYSIS = 7  # rows and initial values of the factor analysis
    BOOTSTRAP = 8  # i-th bootstrap model (seed, 8, i)
    CALIBRATION_ROWS = 9  # rows and hidden cells of the calibration
    CALIBRATION_MODEL = 10  # model that is fitted to the other rows
    CALIBRATION_SCORES = 11  # noise of the scores of point masses and discrete columns
    IMPUTATION_POOL = 12  # latents of impute, common to all imputations
    IMPUTATION_CHOICE = 13  # resampling of these latents for the i-th imputation (seed, 13, i)
    CHOICE_OF_INITIALIZATION = 14  # hidden cells by which the initialization is chosen
    CHUNKS = 15  # sample of a table in chunks
    PROCESS = 16  # training in several processes (seed, 16, rank)
    HIDDEN_CELLS = 17  # cells that HiddenCellScorer hides
    CONTINUATION = 18  # training that continues after n epochs (seed, 18, n)
    OUTLIER_REFERENCE = 19  # rows with which VAEOutlierDetector compares densities
    DECODER_UNCERTAINTY = 20  # bootstrap samples of the uncertainty of the decoder
    IMPUTATION_DECODER = 21  # decoder of the i-th imputation of impute (seed, 21, i)
    CONSTRAINED_DRAWS = 22  # draws in place of rejected ones (seed, 22, i, round)
    LATENTS = 23  # draw_latents


def derive_seed(*parts: int) -> int:
    """Return a 64-bit seed; seeds of different parts give independent streams."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


class Noise(ABC):
    """A source of standard normal, uniform and gamma noise."""

    @abstractmethod
    def normal(self, *shape: int) -> Tensor:
        """Return N(0, 1) noise of the given shape (..., B, L)."""

    @abstractmethod
    def uniform(self, *shape: int) -> Tensor:
        """Return noise on [0, 1) of the given shape (..., B, L)."""

    @abstractmethod
    def gamma(self, concentration: Tensor) -> Tensor:
        """Return Gamma(concentration, 1) noise of the concentration's shape (..., B, L)."""


class StreamNoise(Noise):
    """Noise from one generator, on its device, for training and for sampling new rows.

    Parameters
    ----------
    generator : torch.Generator
        The source, which advances with each call.
    dtype : torch.dtype
        Type of the noise.
    """

    def __init__(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> None:
        self.generator = generator
        self._options = {"dtype": dtype, "device": generator.device, "generator": generator}

    @override
    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, **self._options)  # type: ignore[call-overload]

    @override
    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, **self._options)  # type: ignore[call-overload]

    @override
    def gamma(self, concentration: Tensor) -> Tensor:
        """Return Gamma(concentration, 1) noise, differentiable in the concentration."""
        # torch.distributions.Gamma calls the same function, but only with the global generator
        return torch._standard_gamma(concentration, generator=self.generator)


class AntitheticNoise(Noise):
    """Noise in antithetic pairs that follow each other on the first axis.

    Normal noise has opposite signs in a pair, gamma noise is equal, uniform noise independent.

    Parameters
    ----------
    source : Noise
        Source of the first noise of each pair.
    """

    def __init__(self, source: Noise) -> None:
        self._source = source

    @override
    def normal(self, *shape: int) -> Tensor:
        """Return N(0, 1) noise; with an odd number the last one has no partner."""
        half = self._source.normal((shape[0] + 1) // 2, *shape[1:])
        return torch.stack([half, -half], 1).flatten(0, 1)[: shape[0]]

    @override
    def uniform(self, *shape: int) -> Tensor:
        return self._source.uniform(*shape)

    @override
    def gamma(self, concentration: Tensor) -> Tensor:
        """Return Gamma(concentration, 1) noise; both of a pair have the first concentration."""
        return self._source.gamma(concentration[::2]).repeat_interleave(2, 0)[: len(concentration)]


class KeyedNoise(Noise):
    """Noise of rows that is a function of the seed and the key of the row.

    With one key per row, the noise of a row is independent of the other rows and of the batch
    size. With a single key, all rows of a call have the same (common) noise.

    Parameters
    ----------
    seed : int
        First half of the key of the counter-based generator, 64 bits.
    keys : sequence of int
        Second half: one per row, or a single one for noise that is common to all rows.
    dtype : torch.dtype
        Type of the noise.
    device : torch.device or str
        Device of the noise. It is drawn on the CPU, so that it is the same on every device.
    """

    def __init__(
        self,
        seed: int,
        keys: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self._rows = [
            np.random.Generator(np.random.Philox(key=np.array([seed, key], dtype=np.uint64)))
            for key in keys
        ]
        self.dtype, self.device = dtype, device
        self._float = np.float64 if dtype == torch.float64 else np.float32

    def _tensor(self, rows: list[np.ndarray]) -> Tensor:
        noise = np.stack(rows, axis=-2)  # (..., B, L), or (..., 1, L) with a single key
        return torch.from_numpy(noise).to(dtype=self.dtype, device=self.device)

    @override
    def normal(self, *shape: int) -> Tensor:
        """Return N(0, 1) noise of shape (..., B, L), or (..., 1, L) with a single key."""
        size = (*shape[:-2], shape[-1])
        return self._tensor([row.standard_normal(size, dtype=self._float) for row in self._rows])

    @override
    def uniform(self, *shape: int) -> Tensor:
        """Return noise on [0, 1) of shape (..., B, L), or (..., 1, L) with a single key."""
        size = (*shape[:-2], shape[-1])
        return self._tensor([row.random(size, dtype=self._float) for row in self._rows])

    @override
    def gamma(self, concentration: Tensor) -> Tensor:
        """Return Gamma(concentration, 1) noise; a single key requires equal rows."""
        value = concentration.detach().cpu().double().numpy()
        size = (*value.shape[:-2], value.shape[-1])
        # with a single key the concentrations are those of the first row
        return self._tensor(
            [row.standard_gamma(value[..., b, :], size) for b, row in enumerate(self._rows)]
        )
