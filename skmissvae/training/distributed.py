"""Data-parallel training: a process group of torch, each process with its share of the rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from .._utils.random import derive_seed
from ..tables.chunks import Chunks, Sample, concatenate_tables, draw_sample, take_rows
from .loaders import BatchLoader
from .objectives import Batch


def is_shared() -> bool:
    """Tell whether there is a process group of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def agreed(value: Any) -> Any:
    """Return what the first process has; alone that is one's own."""
    if not is_shared():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


class SharedSample(NamedTuple):
    """Rows drawn from the shares of all processes, the same in each."""

    table: Any
    places: NDArray[np.int64]  # of the rows in the share they are from
    ranks: NDArray[np.int64]  # which process has it
    sizes: list[int]  # rows of each chunk of this process
    n_rows: int  # of all shares


def shared_sample(share: Chunks, seed: int) -> SharedSample:
    """Return a sample of all shares, from each in proportion to its rows.

    Parameters
    ----------
    share : Chunks
        The rows of this process.
    seed : int
        The same in every process.
    """
    rank = dist.get_rank()
    mine: Sample | None = None
    told: int | str
    try:
        mine = draw_sample(share, derive_seed(seed, rank))
        told = sum(mine.sizes)
    except Exception as error:  # all must learn of it, or they would wait for ever
        told = f"{type(error).__name__}: {error}"
        cause: Exception | None = error
    else:
        cause = None
    known = _gathered(told)
    for i, said in enumerate(known):
        if isinstance(said, str):
            raise ValueError(f"Process {i} cannot read its share: {said}") from cause
    assert mine is not None, "raised above"
    n_rows = sum(known)
    n = min(len(mine.table), math.ceil(share.sample_size * known[rank] / n_rows))
    chosen = np.random.default_rng(derive_seed(seed, rank, 1)).permutation(len(mine.table))[:n]
    chosen.sort()
    parts = _gathered((take_rows(mine.table, chosen), mine.places[chosen]))
    places = [places for _, places in parts]
    ranks = np.repeat(np.arange(len(parts)), [len(one) for one in places])
    table = concatenate_tables([table for table, _ in parts])
    return SharedSample(table, np.concatenate(places), ranks, mine.sizes, n_rows)


class DistributedLoader(BatchLoader):
    """The share of a process, trained on together with those of the others.

    Each process takes its part of every batch. Gradients are averaged by the rows of the shares;
    a process whose rows are used up before those of others begins with them again.

    Parameters
    ----------
    share : BatchLoader
        The rows of this process.
    """

    alone = False

    def __init__(self, share: BatchLoader) -> None:
        self._share = share
        sizes: Sequence[int] = _gathered(share.n_rows)
        if not min(sizes):
            raise ValueError(
                f"Process {sizes.index(0)} has no rows to train on: those it has are held out for "
                "early stopping. Share the rows evenly."
            )
        self.n_rows, self.device, self.dtype = sum(sizes), share.device, share.dtype
        self._most, self._n = max(sizes), len(sizes)
        self._part = share.n_rows / self.n_rows

    def n_batches(self, batch_size: int) -> int:
        """Return the number of steps of an epoch: that of the largest share."""
        return math.ceil(self._most / math.ceil(batch_size / self._n))

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the rows of this process, in as many batches as every other yields."""
        wanted, given = self.n_batches(batch_size), 0
        while given < wanted:
            for batch in self._share.batches(math.ceil(batch_size / self._n), generator):
                yield batch
                given += 1
                if given == wanted:
                    return

    def share(self, weights: Sequence[Tensor]) -> None:
        """Give all processes the weights of the first: their own may differ in the last bits."""
        for weight in weights:
            dist.broadcast(weight.detach(), 0)

    def average(self, loss: Tensor, gradients: Sequence[Tensor]) -> None:
        """Make gradients the mean over the rows of all processes, in place."""
        # a loss that is not finite anywhere spoils the step everywhere, as in a single process
        spoil = torch.where(loss.isfinite(), 0.0, torch.nan)
        for gradient in gradients:
            gradient.mul_(self._part).add_(spoil)
            dist.all_reduce(gradient)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over the rows of all processes."""
        value = self._part * value
        dist.all_reduce(value)
        return value

    def agree(self, value: Any) -> Any:
        """Return what the first process has."""
        return agreed(value)

    def seed(self, seed: int) -> int:
        """Return another seed in each process."""
        return derive_seed(seed, 16, dist.get_rank())


def _gathered(value: Any) -> list[Any]:
    """Return what every process has."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
