"""Training rows of a table in chunks."""

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
    """Training rows, wherever they are, and who else trains on others."""

    n_rows: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    alone: bool = True  # whether no other process trains the same model

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield all rows once, in random order, ``batch_size`` at a time."""

    # what processes that train together have to agree on

    def share(self, weights: Sequence[Tensor]) -> None:  # noqa: B027 - a hook
        """Give all who train the same weights, in place."""

    def n_batches(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.n_rows / batch_size)

    def average(self, loss: Tensor, gradients: Sequence[Tensor]) -> None:  # noqa: B027 - a hook
        """Make gradients the mean over all who train, in place."""

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all who train."""
        return value

    def agree(self, value: Any) -> Any:
        """Return what all who train go by."""
        return value

    def seed(self, seed: int) -> int:
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
            yield Batch(*(piece[index] for piece in self._rows))


class ChunkLoader(BatchLoader):
    """The rows of a table in chunks, but for some that are held out.

    Parameters
    ----------
    chunks : Chunks
        The table.
    encode : callable
        Returns a chunk as the model sees it.
    sizes : list of int
        Rows of each chunk.
    held_out : ndarray of shape (n,)
        Places in the table of rows that are not trained on.
    device : torch.device
        Where batches are needed.
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
        held: list[Batch] = []
        n_chunks = n_seen = 0
        for i, chunk in shuffled_chunks(self._chunks, rng):
            part = self._rows(i, chunk)
            n_chunks, n_seen = n_chunks + 1, n_seen + len(part.x)
            held.append(part)
            if n_chunks % self._chunks.n_together == 0:
                whole = self._shuffled(held, generator)
                n = len(whole.x) // batch_size * batch_size
                yield from _split(whole, 0, n, batch_size)
                held = [Batch(*(piece[n:].clone() for piece in whole))]
        if n_seen != self.n_rows:
            raise ValueError(
                f"Chunks have given {n_seen} rows to train on in this pass, where the first pass "
                f"had {self.n_rows}; a function that makes them must begin anew at each call."
            )
        whole = self._shuffled(held, generator)
        yield from _split(whole, 0, len(whole.x), batch_size)

    def _rows(self, i: int, chunk: Any) -> Batch:
        """Return the rows of the i-th chunk that are trained on."""
        if i + 1 >= len(self._starts) or len(chunk) != self._starts[i + 1] - self._starts[i]:
            expected = 0 if i + 1 >= len(self._starts) else self._starts[i + 1] - self._starts[i]
            raise ValueError(
                f"Chunk {i} has {len(chunk)} rows in this pass and had {expected} in the first; "
                "chunks must be the same in every pass."
            )
        place = np.arange(self._starts[i], self._starts[i + 1])
        keep = ~np.isin(place, self._held_out, assume_unique=True)
        if not len(chunk):
            empty = torch.empty(0, device="cpu")
            return Batch(empty.view(0, 0), empty.view(0, 0).bool(), empty.long())
        try:
            rows = self._encode(chunk)
        except (ValueError, TypeError) as error:
            raise ValueError(f"Chunk {i}: {error}") from error
        return Batch(*rows.part(keep).tensors(), torch.from_numpy(place[keep]))

    def _shuffled(self, parts: list[Batch], generator: torch.Generator) -> Batch:
        """Return parts as one, in random order, on the device."""
        parts = [part for part in parts if len(part.x)]
        if not parts:
            empty = torch.empty(0, device=self.device)
            return Batch(empty.view(0, 0), empty.view(0, 0).bool(), empty.long())
        n = sum(len(part.x) for part in parts)
        order = torch.randperm(n, generator=generator, device=generator.device)
        there = (Batch(*(piece.to(self.device) for piece in part)) for part in parts)
        together = (torch.cat(pieces) for pieces in zip(*there, strict=True))
        return Batch(*(piece[order] for piece in together))


def _split(rows: Batch, start: int, stop: int, size: int) -> Iterator[Batch]:
    for at in range(start, stop, size):
        yield Batch(*(piece[at : min(at + size, stop)] for piece in rows))
