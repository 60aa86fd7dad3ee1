"""Standard noise, drawn in one place and handed in, so that no module owns a random state.

Every shape has the rows of a table on its second-to-last axis: (..., B, L).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int) -> int:
    """Return 64 bits that belong to the parts: streams of other parts are independent."""
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
    """Noise from one generator, on its device: for training and for sampling new rows.

    Parameters
    ----------
    generator : torch.Generator
        The source; it advances with each call.
    dtype : torch.dtype
        Type of the noise.
    """

    def __init__(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> None:
        self.generator = generator
        self._options = {"dtype": dtype, "device": generator.device, "generator": generator}

    def normal(self, *shape: int) -> Tensor:
        """Return N(0, 1) noise of the given shape."""
        return torch.randn(*shape, **self._options)  # type: ignore[call-overload]

    def uniform(self, *shape: int) -> Tensor:
        """Return noise on [0, 1) of the given shape."""
        return torch.rand(*shape, **self._options)  # type: ignore[call-overload]

    def gamma(self, concentration: Tensor) -> Tensor:
        """Return Gamma(concentration, 1) noise, differentiable in the concentration."""
        # torch.distributions.Gamma calls the same function, but on the global generator only
        return torch._standard_gamma(concentration, generator=self.generator)


class KeyedNoise(Noise):
    """Noise that belongs to rows: what a row gets depends on the seed and its key alone.

    With a key per row, rows are independent, and neither batch size nor neighbours matter. With a
    single key, all rows of a call share the same (common) noise.

    Parameters
    ----------
    seed : int
        First half of the key of the counter-based generator, 64 bits.
    keys : sequence of int
        Second half: one per row, or a single one for noise that all rows share.
    dtype : torch.dtype
        Type of the noise.
    device : torch.device or str
        Where the noise is needed. It is drawn on the host: the same on every device.
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
        noise = np.stack(rows, axis=-2)  # (..., B, L), or (..., 1, L) where the key is shared
        return torch.from_numpy(noise).to(dtype=self.dtype, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Return N(0, 1) noise of shape (..., B, L), or (..., 1, L) where the key is shared."""
        size = (*shape[:-2], shape[-1])
        return self._tensor([row.standard_normal(size, dtype=self._float) for row in self._rows])

    def uniform(self, *shape: int) -> Tensor:
        """Return noise on [0, 1) of shape (..., B, L), or (..., 1, L) where the key is shared."""
        size = (*shape[:-2], shape[-1])
        return self._tensor([row.random(size, dtype=self._float) for row in self._rows])

    def gamma(self, concentration: Tensor) -> Tensor:
        """Return Gamma(concentration, 1) noise; one shared key needs equal rows."""
        value = concentration.detach().cpu().double().numpy()
        size = (*value.shape[:-2], value.shape[-1])
        draws = [
            # where the key is shared the concentrations are those of any row
            row.standard_gamma(value[..., b, :], size).astype(self._float)
            for b, row in enumerate(self._rows)
        ]
        return self._tensor(draws)
