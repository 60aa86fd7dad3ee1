"""The training table: in memory, in chunks, or in shares of several processes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from .._utils.random import SeedStream, derive_seed
from ..tables.chunks import Chunks, concatenate_tables, draw_sample, is_table, take_rows
from ..tables.encoded_rows import EncodedRows
from .loaders import BatchLoader, ChunkLoader, DistributedLoader
from .optim import EarlyStopping
from .processes import gather, is_distributed


class TrainingRows(NamedTuple):
    """The rows of a fit."""

    rows: EncodedRows  # in memory; a sample if the table is larger
    held_out: Tensor | None = None  # (N,) bool   rows in memory that decide when to stop
    loader: BatchLoader | None = None  # all training rows, if they are not those in memory

    @property
    def n_rows(self) -> int:
        """Number of rows: all of those in memory, or the training rows of the loader."""
        return len(self.rows.x) if self.loader is None else self.loader.n_rows

    def weight(self, device: torch.device) -> Tensor | None:
        """Return the weights of the rows in memory, (N,), on a device; None if they are equal.

        Those of the training rows have mean one.
        """
        weight = self.rows.weight
        if weight is None:
            return None
        relative = weight / weight[self.training_positions()].mean()
        return torch.from_numpy(relative).float().to(device)

    def training_positions(self) -> NDArray[np.intp]:
        """Return the positions of rows in memory that are not held out."""
        if self.held_out is None:
            return np.arange(len(self.rows.x))
        return np.flatnonzero(~self.held_out.numpy())


class JointSample(NamedTuple):
    """Rows drawn from a table, or from the shares of all processes: the same in each process."""

    table: Any
    positions: NDArray[np.int64]  # of the rows in the share that they come from
    is_own: NDArray[np.bool_]  # whether this process has the row
    sizes: list[int]  # rows of each chunk of this process
    n_rows: int  # of all shares


def joint_sample(share: Chunks, seed: int) -> JointSample:
    """Return a sample of all shares, in proportion to their rows.

    Parameters
    ----------
    share : Chunks
        The rows of this process.
    seed : int
        Seed of the sample, the same in every process.
    """
    rank, own = dist.get_rank(), draw_sample(share, derive_seed(seed, dist.get_rank()))
    sizes = gather(sum(own.sizes))
    n_rows = sum(sizes)
    n = min(len(own.table), math.ceil(share.sample_size * sizes[rank] / n_rows))
    chosen = np.random.default_rng(derive_seed(seed, rank, 1)).permutation(len(own.table))[:n]
    chosen.sort()
    samples = gather((take_rows(own.table, chosen), own.places[chosen]))
    table = concatenate_tables([table for table, _ in samples])
    positions = np.concatenate([position for _, position in samples])
    is_own = np.repeat(np.arange(len(samples)) == rank, [len(table) for table, _ in samples])
    return JointSample(table, positions, is_own, own.sizes, n_rows)


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
    return torch.from_numpy(np.isin(np.arange(n_rows), order[:n_held_out]))
