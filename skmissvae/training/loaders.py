"""Training rows: in memory, or in chunks of a table that is larger than memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..tables.chunks import Chunks, shuffled_chunks
from ..tables.schema import EncodedRows
from .objectives import Batch


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

    def broadcast(self, weights: Sequence[Tensor]) -> None:  # noqa: B027
        """Copy the weights of the first process to all, in place."""

    def average_gradients(self, loss: Tensor, gradients: Sequence[Tensor]) -> None:  # noqa: B027
        """Average gradients over all processes, in place."""

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all processes."""
        return value

    def agree(self, value: Any) -> Any:
        """Return the value of the first process."""
        return value

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

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the rows without leaving the device."""
        order = torch.randperm(self.n_rows, generator=generator, device=self.device)
        for index in order.split(batch_size):
            yield Batch(*(values[index] for values in self._rows))


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
        self._starts = np.cumsum([0, *sizes])
        self.n_rows, self.device = int(self._starts[-1]) - len(held_out), device

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield all rows once, shuffled over a few chunks at a time; the last batch is short."""
        bits = torch.randint(2**62, (), generator=generator, device=generator.device)
        rng = np.random.default_rng(int(bits))
        waiting: list[Batch] = []
        n_chunks = n_rows = 0
        for i, chunk in shuffled_chunks(self._chunks, rng):
            rows = self._training_rows(i, chunk)
            n_chunks, n_rows = n_chunks + 1, n_rows + len(rows.x)
            waiting.append(rows)
            if n_chunks % self._chunks.n_together == 0:
                shuffled = self._shuffled(waiting, generator)
                n = len(shuffled.x) // batch_size * batch_size
                yield from _split(shuffled, 0, n, batch_size)
                waiting = [Batch(*(values[n:].clone() for values in shuffled))]
        if n_rows != self.n_rows:
            raise ValueError(
                f"Chunks yielded {n_rows} training rows in this pass and {self.n_rows} in the "
                "first pass; a function that makes chunks must yield the same ones in every call."
            )
        shuffled = self._shuffled(waiting, generator)
        yield from _split(shuffled, 0, len(shuffled.x), batch_size)

    def _training_rows(self, i: int, chunk: Any) -> Batch:
        """Return the rows of the i-th chunk that are trained on."""
        is_new = i + 1 >= len(self._starts)
        expected = 0 if is_new else self._starts[i + 1] - self._starts[i]
        if is_new or len(chunk) != expected:
            raise ValueError(
                f"Chunk {i} has {len(chunk)} rows in this pass and had {expected} in the first; "
                "chunks must be the same in every pass."
            )
        position = np.arange(self._starts[i], self._starts[i + 1])
        is_trained_on = ~np.isin(position, self._held_out, assume_unique=True)
        if not len(chunk):
            return _no_rows(torch.device("cpu"))
        try:
            rows = self._encode(chunk)
        except (ValueError, TypeError) as error:
            raise ValueError(f"Chunk {i}: {error}") from error
        position = position[is_trained_on]
        return Batch(*rows.part(is_trained_on).tensors(), torch.from_numpy(position))

    def _shuffled(self, batches: list[Batch], generator: torch.Generator) -> Batch:
        """Return the rows of several batches in random order, on the device."""
        batches = [batch for batch in batches if len(batch.x)]
        if not batches:
            return _no_rows(self.device)
        n_rows = sum(len(batch.x) for batch in batches)
        order = torch.randperm(n_rows, generator=generator, device=generator.device)
        on_device = (Batch(*(values.to(self.device) for values in batch)) for batch in batches)
        joined = (torch.cat(values) for values in zip(*on_device, strict=True))
        return Batch(*(values[order] for values in joined))


def _no_rows(device: torch.device) -> Batch:
    empty = torch.empty(0, device=device)
    return Batch(empty.view(0, 0), empty.view(0, 0).bool(), empty.long())


def _split(rows: Batch, start: int, stop: int, size: int) -> Iterator[Batch]:
    """Yield the rows from start to stop in batches."""
    for first in range(start, stop, size):
        yield Batch(*(values[first : min(first + size, stop)] for values in rows))
