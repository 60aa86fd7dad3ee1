"""The training table: in memory, in chunks, or in shares of several processes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._utils.random import SeedStream, derive_seed
from ..tables.chunks import Chunks, draw_sample, is_table
from ..tables.schema import EncodedRows
from .loaders import (
    BatchLoader,
    ChunkLoader,
    DistributedLoader,
    JointSample,
    is_distributed,
    joint_sample,
)
from .optim import EarlyStopping


class TrainingRows(NamedTuple):
    """The rows of a fit."""

    rows: EncodedRows  # in memory; a sample if the table is larger
    held_out: Tensor | None = None  # (N,) bool   rows in memory that decide when to stop
    loader: BatchLoader | None = None  # all training rows, if they are not those in memory

    @property
    def n_rows(self) -> int:
        """Number of rows: all of those in memory, or the training rows of the loader."""
        return len(self.rows.x) if self.loader is None else self.loader.n_rows

    def training_positions(self) -> NDArray[np.intp]:
        """Return the positions of rows in memory that are not held out."""
        if self.held_out is None:
            return np.arange(len(self.rows.x))
        return np.flatnonzero(~self.held_out.numpy())


class OutOfCoreTable:
    """A table that is not in memory, and a sample of it from which the schema is learned.

    Parameters
    ----------
    X : Chunks, data frame or array-like
        The table; in a process group the share of this process.
    seed : int
        Seed of the sample, the same in every process.
    """

    def __init__(self, X: Any, seed: int) -> None:
        seed = derive_seed(seed, SeedStream.CHUNKS)
        if not isinstance(X, Chunks):
            table = X if is_table(X) else np.asarray(X)
            if not is_table(table):
                raise TypeError(
                    "X must be a data frame, an array with two axes or Chunks if several "
                    f"processes fit together; got a {type(X).__name__}."
                )
            X = Chunks([table])
        self._chunks: Chunks = X
        if is_distributed():
            self.sample = joint_sample(X, seed)
        else:
            table, positions, sizes = draw_sample(X, seed)
            is_own = np.ones(len(positions), dtype=bool)
            self.sample = JointSample(table, positions, is_own, sizes, sum(sizes))

    def loader(
        self, encode: Callable[[Any], EncodedRows], held_out: Tensor | None, device: torch.device
    ) -> BatchLoader | None:
        """Return a loader of the training rows, or None if the sample is the whole table.

        Parameters
        ----------
        encode : callable
            Returns a chunk as the model sees it.
        held_out : Tensor of shape (n_sample,), optional
            Rows of the sample that are not trained on.
        device : torch.device
            Device of the batches.
        """
        sample = self.sample
        if not is_distributed() and len(sample.positions) == sample.n_rows:
            return None
        is_held_out = sample.is_own & (False if held_out is None else held_out.numpy())
        positions = sample.positions[is_held_out]
        share = ChunkLoader(self._chunks, encode, sample.sizes, positions, device)
        return DistributedLoader(share) if is_distributed() else share


def held_out_mask(n_rows: int, seed: int, early_stopping: EarlyStopping | None) -> Tensor | None:
    """Return which rows in memory are held out, (N,) bool, or None.

    Parameters
    ----------
    n_rows : int
        Number of rows in memory.
    seed : int
        Seed of the fit.
    early_stopping : EarlyStopping or None
        How many rows are held out; None holds out none.
    """
    if early_stopping is None:
        return None
    fraction = early_stopping.validation_fraction
    n_held_out = round(fraction * n_rows)
    if not 0 < n_held_out < n_rows:
        raise ValueError(
            f"early_stopping with validation_fraction={fraction} holds out {n_held_out} of "
            f"{n_rows} rows; use more rows, another fraction, or early_stopping=False."
        )
    # a separate stream, or the split would depend on the order of the batches
    order = np.random.default_rng([seed, 1]).permutation(n_rows)
    held_out = np.zeros(n_rows, dtype=bool)
    held_out[order[:n_held_out]] = True
    return torch.from_numpy(held_out)
