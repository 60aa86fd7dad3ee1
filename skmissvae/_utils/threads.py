"""Numbers of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

# a third of the time of a row is spent in Python, which runs in one thread at a time
_MAX_THREADS = 4


In = TypeVar("In")


Out = TypeVar("Out")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Limit torch to n threads within the block."""
    before = torch.get_num_threads()
    if n >= before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_in_threads(function: Callable[[In], Out], parts: Sequence[In]) -> list[Out]:
    """Apply a function to parts in up to 4 threads, not more than torch may use.

    Each part is computed by a single thread, so that results do not depend on their number.
    """
    n = min(torch.get_num_threads(), len(parts), _MAX_THREADS)
    with threads(1):
        if n <= 1:
            return [function(part) for part in parts]
        pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))
        try:
            return list(pool.map(function, parts))
        finally:
            pool.shutdown(cancel_futures=True)
