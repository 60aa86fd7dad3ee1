"""Rows of a table as the model sees them."""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .columns import Mask


class EncodedRows(NamedTuple):
    """Rows of a table as the model sees them."""

    x: NDArray[np.float64]  # (N, D)   standardised, zero where missing
    observed: Mask  # (N, D)
    weight: NDArray[np.float64] | None = None  # (N,)   None if all are equal

    def part(self, rows: Any) -> Self:
        """Return the rows that an index selects."""
        weight = None if self.weight is None else self.weight[rows]
        return self._replace(x=self.x[rows], observed=self.observed[rows], weight=weight)

    def reweighted(self) -> Self:
        """Return the rows with weights of mean one."""
        return (
            self if self.weight is None else self._replace(weight=self.weight / self.weight.mean())
        )

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return values in single precision and mask, in C order, on a device."""
        x = torch.from_numpy(self.x.astype(np.float32, order="C"))
        observed = torch.from_numpy(np.ascontiguousarray(self.observed))
        return x.to(device), observed.to(device)
