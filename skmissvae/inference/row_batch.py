"""Rows with their posterior and their noise, which methods of a conditional model take."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from .._utils.random import Noise
from ..vae.distributions import LatentDistribution
from ..vae.likelihoods.base import Likelihood, Limits
from ..vae.vae import VAE

F = TypeVar("F", bound=Callable[..., Any])


def of_draws(function: F) -> F:
    """Mark a function of rows whose tensors of all cells have an axis of draws.

    The bits of a row then do not depend on how many rows are computed at a time.
    """
    vars(function)["is_of_draws"] = True
    return function


def is_separable(vae: VAE, device: torch.device) -> bool:
    """Return whether functions of draws may take any number of rows on a device.

    They may not with models of missingness and custom likelihoods, which have tensors without an
    axis of draws.
    """
    parts = (part for part in vae.likelihood.modules() if isinstance(part, Likelihood))
    package = __name__.partition(".")[0]
    is_ours = all(type(part).__module__.partition(".")[0] == package for part in parts)
    return device.type == "cpu" and vae.missingness is None and is_ours


class RowBatch(NamedTuple):
    """Rows with their posterior and their noise."""

    x: Tensor  # (B, D)   zero where missing
    observed: Tensor  # (B, D) bool
    posterior: LatentDistribution  # q(z | x_obs), batch (B,); the prior without an observed cell
    new_noise: Callable[[], Noise]  # returns the noise of these rows, from its start
    positions: Sequence[int]  # of the rows in the table
    limits: Limits | None = None  # of missing cells

    @property
    def has_value(self) -> Tensor:
        """Which cells are observed and not represented by the middle of their limits, (B, D)."""
        return self.observed if self.limits is None else self.observed & ~self.limits.exist

    @property
    def is_evidence(self) -> Tensor:
        """Which cells are observed or have limits, (B, D)."""
        return self.observed if self.limits is None else self.observed | self.limits.exist

    def first(self, n: int) -> Self:
        """Return the first n rows, with the noise of all."""
        limits = None if self.limits is None else self.limits.part(slice(n))
        return self._replace(
            x=self.x[:n],
            observed=self.observed[:n],
            posterior=self.posterior.first(n),
            positions=self.positions[:n],
            limits=limits,
        )

    def of_missing(self, values: Tensor) -> Tensor:
        """Return values of cells, (*, B, D), zero in cells that are evidence."""
        return torch.where(self.is_evidence, 0.0, values)
