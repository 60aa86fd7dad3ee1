"""Tables to train on, of which some are not all here: in chunks, or in shares of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from .._utils.random import derive_seed
from ..tables.chunks import Chunks, draw_sample, is_table
from ..tables.schema import EncodedRows
from .distributed import DistributedLoader, is_shared, shared_sample
from .loaders import BatchLoader, ChunkLoader


class TrainingRows(NamedTuple):
    """A table to train on."""

    rows: EncodedRows  # of a table in chunks a sample
    held_out: Tensor | None = None  # (N,) bool
    stream: BatchLoader | None = None  # all rows of a table in chunks, but for those held out

    @property
    def n_rows(self) -> int:
        """Number of rows, with those held out as long as they are in memory."""
        return len(self.rows.x) if self.stream is None else self.stream.n_rows

    def process_seed(self, seed: int) -> int:
        """Return the seed of this process, where several train together."""
        return seed if self.stream is None else self.stream.seed(seed)

    def training_positions(self) -> NDArray[np.intp]:
        """Return the places of rows in memory that are not held out."""
        if self.held_out is None:
            return np.arange(len(self.rows.x))
        return np.flatnonzero(~self.held_out.numpy())


class OutOfCoreTable:
    """A table that is not all here, and a sample of it from which to learn the schema.

    Parameters
    ----------
    X : Chunks, data frame or array-like
        The table; of several processes the share of this one.
    seed : int
        Of the sample; the same in every process.
    """

    def __init__(self, X: Any, seed: int) -> None:
        self._shared, seed = is_shared(), derive_seed(seed, 15)
        if not isinstance(X, Chunks):
            table = X if is_table(X) else np.asarray(X)
            if not is_table(table):
                raise TypeError(
                    "X must be a data frame, an array of two axes or Chunks where several "
                    f"processes fit together; got a {type(X).__name__}."
                )
            X = Chunks([table])
        self._chunks: Chunks = X
        if self._shared:
            sample = shared_sample(X, seed)
            self._mine, self.n_rows = sample.ranks == dist.get_rank(), sample.n_rows
            self.table, self._places, self._sizes = sample.table, sample.places, sample.sizes
        else:
            self.table, self._places, self._sizes = draw_sample(X, seed)
            self._mine, self.n_rows = np.ones(len(self._places), dtype=bool), sum(self._sizes)

    def stream(
        self, encode: Callable[[Any], EncodedRows], held_out: Tensor | None, device: torch.device
    ) -> BatchLoader | None:
        """Return what to train on, or None where the sample is the table.

        Parameters
        ----------
        encode : callable
            Returns a chunk as the model sees it.
        held_out : Tensor of shape (n_sample,), optional
            Rows of the sample that are not trained on.
        device : torch.device
            Where batches are needed.
        """
        if not self._shared and len(self._places) == self.n_rows:
            return None
        kept_out = self._mine & (False if held_out is None else held_out.numpy())
        share = ChunkLoader(self._chunks, encode, self._sizes, self._places[kept_out], device)
        return DistributedLoader(share) if self._shared else share
