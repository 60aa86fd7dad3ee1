"""Rows with their posterior and their noise, which methods of a conditional model take."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._utils.random import Noise
from ..vae.distributions import LatentDistribution
from ..vae.likelihoods.base import Limits


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

    def of_missing(self, values: Tensor) -> Tensor:
        """Return values of cells, (*, B, D), zero in cells that are evidence."""
        return torch.where(self.is_evidence, 0.0, values)
