"""Rows of a table as the model sees them."""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .columns import Mask

_MAX_WIDTH = 4.0  # standard deviations of an interval with a typical value


class EncodedRows(NamedTuple):
    """Rows of a table as the model sees them."""

    x: NDArray[np.float64]  # (N, D)   standardised, zero where missing
    observed: Mask  # (N, D)   cells for the encoder, also the middles of narrow intervals
    weight: NDArray[np.float64] | None = None  # (N,)   None if all are equal
    # (N, D) each   lower and upper limits of missing cells, infinite for others; None without any
    limits: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def part(self, rows: Any) -> Self:
        """Return the rows that an index selects."""
        weight = None if self.weight is None else self.weight[rows]
        limits = None if self.limits is None else (self.limits[0][rows], self.limits[1][rows])
        x, observed = self.x[rows], self.observed[rows]
        return self._replace(x=x, observed=observed, weight=weight, limits=limits)

    def reweighted(self) -> Self:
        """Return the rows with weights of mean one."""
        return (
            self if self.weight is None else self._replace(weight=self.weight / self.weight.mean())
        )

    def has_evidence(self) -> Mask:
        """Return which rows have an observed cell or a limit, (N,)."""
        return np.asarray((self.observed | self.has_limit()).any(1))

    def has_limit(self) -> Mask:
        """Return which cells have limits, (N, D)."""
        if self.limits is None:
            return np.zeros_like(self.observed)
        low, high = self.limits
        return np.asarray(np.isfinite(low) | np.isfinite(high))

    def with_middles(self) -> Self:
        """Return rows in which the middles of intervals with two near ends are observed."""
        if self.limits is None:
            return self
        low, high = self.limits
        both = np.isfinite(low) & np.isfinite(high)
        low, high = np.where(both, low, 0.0), np.where(both, high, 0.0)
        is_interval = both & ~self.observed & (high - low <= _MAX_WIDTH)
        middle = 0.5 * (low + high)
        x = np.where(is_interval, middle, self.x)
        return self._replace(x=x, observed=self.observed | is_interval)

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return values in single precision and mask, in C order, on a device."""
        x = torch.from_numpy(self.x.astype(np.float32, order="C"))
        observed = torch.from_numpy(np.ascontiguousarray(self.observed))
        return x.to(device), observed.to(device)
