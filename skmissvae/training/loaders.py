"""Training rows in batches: in memory, in chunks, or in the shares of several processes.

In data-parallel training by a process group of torch each process has its own rows.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from .._utils.random import SeedStream, derive_seed
from ..tables.chunks import Chunks, shuffled_chunks
from ..tables.encoded_rows import EncodedRows
from ..vae.vae import VAE
from .objectives import Batch
from .optim import FlatParameters
from .processes import exchange, from_first_process, gather

# Steps after which processes read whether another one raised an error, by the type of their device:
# a GPU has to complete its steps first. Other types as "cuda".
_STEPS_PER_READ = {"cpu": 1, "cuda": 16}


class BatchLoader(ABC):
    """Training rows in batches, and the communication of processes that train one model.

    With a single process, the methods after ``n_batches`` have no effect.
    """

    n_rows: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    is_distributed: bool = False  # whether other processes train the same model

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield all rows once, in random order, ``batch_size`` at a time."""

    def n_batches(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.n_rows / batch_size)

    def store_coordinates(self, vae: VAE) -> None:  # noqa: B027
        """Compute the coordinates of the posteriors once for all steps, if rows are in memory."""

    def broadcast(self, weights: Sequence[Tensor]) -> None:  # noqa: B027
        """Copy the weights of the first process to all, in place."""

    def begin_epoch(self, batch_size: int) -> None:  # noqa: B027
        """Begin the steps of an epoch in all processes."""

    def average_gradients(self, loss: Tensor, flat: FlatParameters) -> None:  # noqa: B027
        """Average gradients over all processes, in place."""

    def leave_epoch(self, flat: FlatParameters) -> None:  # noqa: B027
        """Report an error of this process to the others."""

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all processes."""
        return value

    def agree(self, value: Any) -> Any:
        """Return the value of the first process."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes."""
        return [value]

    def process_seed(self, seed: int) -> int:
        """Return the seed of this process."""
        return seed


class InMemoryLoader(BatchLoader):
    """Training rows in memory, on their device.

    Parameters
    ----------
    rows : Batch
        The table.
    """

    def __init__(self, rows: Batch) -> None:
        self._rows, self.n_rows = rows, rows.x.shape[0]
        self.device, self.dtype = rows.x.device, rows.x.dtype

    @override
    def store_coordinates(self, vae: VAE) -> None:
        self._rows = self._rows.with_coordinates(vae)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the rows without leaving the device."""
        order = torch.randperm(self.n_rows, generator=generator, device=self.device)
        for index in order.split(batch_size):
            yield self._rows.part(index)


class ChunkLoader(BatchLoader):
    """The rows of a table in chunks, without those that are held out.

    Parameters
    ----------
    chunks : Chunks
        The table.
    encode : callable
        Returns a chunk as the model sees it.
    sizes : list of int
        Rows of each chunk.
    held_out : ndarray of shape (n,)
        Positions in the table of rows that are not trained on.
    device : torch.device
        Device of the batches.
    """

    def __init__(
        self,
        chunks: Chunks,
        encode: Callable[[Any], EncodedRows],
        sizes: list[int],
        held_out: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self._chunks, self._encode, self._held_out = chunks, encode, np.sort(held_out)
        self._sizes, self._starts = sizes, np.cumsum([0, *sizes])
        self.n_rows, self.device = sum(sizes) - len(held_out), device

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield all rows once, shuffled over a few chunks at a time; the last batch is short."""
        bits = torch.randint(2**62, (), generator=generator, device=generator.device)
        chunks = shuffled_chunks(self._chunks, np.random.default_rng(int(bits)))
        waiting: list[Batch] = []
        n_rows = 0
        for n_chunks, (i, chunk) in enumerate(chunks, 1):
            self._check_size(i, len(chunk))
            if len(chunk):
                waiting.append(self._training_rows(i, chunk))
                n_rows += len(waiting[-1].x)
            if waiting and n_chunks % self._chunks.n_together == 0:
                shuffled = self._shuffled(waiting, generator)
                n = len(shuffled.x) // batch_size * batch_size
                yield from shuffled.part(slice(n)).split(batch_size)
                rest = shuffled.part(slice(n, None))
                waiting = [Batch(rest.x.clone(), rest.observed.clone(), rest.position.clone())]
        if n_rows != self.n_rows:
            raise ValueError(
                f"Chunks yielded {n_rows} training rows in this pass and {self.n_rows} in the "
                "first pass; a function that makes chunks must yield the same ones in every call."
            )
        if waiting:
            yield from self._shuffled(waiting, generator).split(batch_size)

    def _check_size(self, i: int, n_rows: int) -> None:
        """Raise if the i-th chunk has another number of rows than in the first pass."""
        expected = self._sizes[i] if i < len(self._sizes) else 0
        if n_rows != expected:
            raise ValueError(
                f"Chunk {i} has {n_rows} rows in this pass and had {expected} in the first; "
                "chunks must be the same in every pass."
            )

    def _training_rows(self, i: int, chunk: Any) -> Batch:
        """Return the rows of the i-th chunk that are trained on."""
        position = np.arange(self._starts[i], self._starts[i + 1])
        is_trained_on = ~np.isin(position, self._held_out, assume_unique=True)
        try:
            rows = self._encode(chunk).part(is_trained_on)
        except (ValueError, TypeError) as error:
            raise ValueError(f"Chunk {i}: {error}") from error
        return Batch(*rows.tensors(), torch.from_numpy(position[is_trained_on]))

    def _shuffled(self, batches: list[Batch], generator: torch.Generator) -> Batch:
        """Return the rows of several batches in random order, on the device."""
        x, observed, position = (
            torch.cat([values.to(self.device) for values in field])
            for field in zip(*(batch[:3] for batch in batches), strict=True)
        )
        rows = Batch(x, observed, position)
        order = torch.randperm(len(rows.x), generator=generator, device=generator.device)
        return rows.part(order)


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
        sizes: Sequence[int]
        sizes, devices = zip(*gather((share.n_rows, share.device.type)), strict=True)
        if not min(sizes):
            raise ValueError(
                f"Process {sizes.index(0)} has no rows to train on: all of its rows are held out "
                "for early stopping. Distribute the rows evenly."
            )
        self.n_rows, self.device, self.dtype = sum(sizes), share.device, share.dtype
        self._largest_share, self._n_processes = max(sizes), len(sizes)
        self._weight = share.n_rows / self.n_rows
        steps = [_STEPS_PER_READ.get(device, _STEPS_PER_READ["cuda"]) for device in devices]
        self._read_every = max(steps)
        self._n_left = 0  # steps of the epoch that all processes have yet to take

    @override
    def n_batches(self, batch_size: int) -> int:
        return math.ceil(self._largest_share / math.ceil(batch_size / self._n_processes))

    @override
    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Return the rows of this process, in as many batches as every other process returns."""
        own_batch_size = math.ceil(batch_size / self._n_processes)
        passes = (self._share.batches(own_batch_size, generator) for _ in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(passes), self.n_batches(batch_size))

    @override
    def broadcast(self, weights: Sequence[Tensor]) -> None:
        # those of other processes may differ in the last bits
        with exchange():
            gather(None)
            for weight in weights:
                dist.broadcast(weight.detach(), 0)

    @override
    def begin_epoch(self, batch_size: int) -> None:
        with exchange():
            gather(None)
            self._n_left = self.n_batches(batch_size)

    @override
    def average_gradients(self, loss: Tensor, flat: FlatParameters) -> None:
        # if the loss of one process is not finite, all skip the step, as a single process would
        invalid = torch.where(loss.isfinite(), 0.0, torch.nan)
        for gradient in flat.gradients:
            gradient.mul_(self._weight).add_(invalid)
        if self._reduce(flat):
            gather(None)  # raises the error

    @override
    def leave_epoch(self, flat: FlatParameters) -> None:
        while self._n_left:
            flat.n_errors.fill_(1.0)
            self._reduce(flat)

    def _reduce(self, flat: FlatParameters) -> bool:
        """Sum gradients over all processes; return whether one of them raised an error."""
        with exchange():
            for values in flat.exchanged:
                dist.all_reduce(values)
            self._n_left -= 1
            has_error = self._n_left % self._read_every == 0 and bool(flat.n_errors)
            if has_error:
                self._n_left = 0
        return has_error

    @override
    def mean(self, value: Tensor) -> Tensor:
        return value.new_tensor(sum(gather(self._weight * value.item())))

    @override
    def agree(self, value: Any) -> Any:
        return from_first_process(value)

    @override
    def gather(self, value: Any) -> list[Any]:
        return gather(value)

    @override
    def process_seed(self, seed: int) -> int:
        return derive_seed(seed, SeedStream.PROCESS, dist.get_rank())
