"""Training rows: in memory, or in chunks of a table that is larger than memory."""

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
                waiting = [Batch(*(values[n:].clone() for values in shuffled))]
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
        fields = zip(*batches, strict=True)
        rows = Batch(*(torch.cat([values.to(self.device) for values in field]) for field in fields))
        order = torch.randperm(len(rows.x), generator=generator, device=generator.device)
        return rows.part(order)
