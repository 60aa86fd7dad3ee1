"""Data-parallel training by a process group of torch, in which each process has its own rows."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from .._utils.random import SeedStream, derive_seed
from ..tables.chunks import Chunks, concatenate_tables, draw_sample, take_rows
from .loaders import BatchLoader
from .objectives import Batch


def is_distributed() -> bool:
    """Return whether there is a process group of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def from_first_process(value: Any) -> Any:
    """Return the value of the first process; without a process group, the value itself."""
    values = [value]
    if is_distributed():
        dist.broadcast_object_list(values)
    return values[0]


class JointSample(NamedTuple):
    """Rows drawn from the shares of all processes, the same in each process, or from one table."""

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
    rank, own, cause = dist.get_rank(), None, None
    outcome: int | str
    try:
        own = draw_sample(share, derive_seed(seed, rank))
        outcome = sum(own.sizes)
    except Exception as error:  # every process has to learn of it, or the others would wait
        cause, outcome = error, f"{type(error).__name__}: {error}"
    outcomes = _gather(outcome)
    for i, message in enumerate(outcomes):
        if isinstance(message, str):
            raise ValueError(f"Process {i} cannot read its share: {message}") from cause
    assert own is not None, "an error was raised above"
    n_rows = sum(outcomes)
    n = min(len(own.table), math.ceil(share.sample_size * outcomes[rank] / n_rows))
    chosen = np.random.default_rng(derive_seed(seed, rank, 1)).permutation(len(own.table))[:n]
    chosen.sort()
    samples = _gather((take_rows(own.table, chosen), own.places[chosen]))
    table = concatenate_tables([table for table, _ in samples])
    positions = [position for _, position in samples]
    is_own = [np.full(len(position), i == rank) for i, position in enumerate(positions)]
    return JointSample(table, *map(np.concatenate, (positions, is_own)), own.sizes, n_rows)


class DistributedLoader(BatchLoader):
    """The share of a process, in training together with the shares of the others.

    Each process takes its part of every batch. Gradients are averaged with the number of rows as
    weights; a process that has used all of its rows before the others starts over with them.

    Parameters
    ----------
    share : BatchLoader
        The rows of this process.
    """

    is_distributed = True

    def __init__(self, share: BatchLoader) -> None:
        self._share = share
        sizes: Sequence[int] = _gather(share.n_rows)
        if not min(sizes):
            raise ValueError(
                f"Process {sizes.index(0)} has no rows to train on: all of its rows are held out "
                "for early stopping. Distribute the rows evenly."
            )
        self.n_rows, self.device, self.dtype = sum(sizes), share.device, share.dtype
        self._largest_share, self._n_processes = max(sizes), len(sizes)
        self._weight = share.n_rows / self.n_rows

    @override
    def n_batches(self, batch_size: int) -> int:
        return math.ceil(self._largest_share / math.ceil(batch_size / self._n_processes))

    @override
    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the rows of this process, in as many batches as every other process yields."""
        n_batches, n_yielded = self.n_batches(batch_size), 0
        own_batch_size = math.ceil(batch_size / self._n_processes)
        while n_yielded < n_batches:
            for batch in self._share.batches(own_batch_size, generator):
                yield batch
                n_yielded += 1
                if n_yielded == n_batches:
                    return

    @override
    def broadcast(self, weights: Sequence[Tensor]) -> None:
        # those of other processes may differ in the last bits
        for weight in weights:
            dist.broadcast(weight.detach(), 0)

    @override
    def average_gradients(self, loss: Tensor, gradients: Sequence[Tensor]) -> None:
        # if the loss of one process is not finite, all skip the step, as a single process would
        invalid = torch.where(loss.isfinite(), 0.0, torch.nan)
        for gradient in gradients:
            gradient.mul_(self._weight).add_(invalid)
            dist.all_reduce(gradient)

    @override
    def mean(self, value: Tensor) -> Tensor:
        value = self._weight * value
        dist.all_reduce(value)
        return value

    @override
    def agree(self, value: Any) -> Any:
        return from_first_process(value)

    @override
    def process_seed(self, seed: int) -> int:
        return derive_seed(seed, SeedStream.PROCESS, dist.get_rank())


def _gather(value: Any) -> list[Any]:
    """Return the values of all processes."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
