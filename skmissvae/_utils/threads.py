"""How many threads work on what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_MOST = 4  # a third of a row's time is Python's own, which one thread at a time can have


In = TypeVar("In")


Out = TypeVar("Out")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch work with n threads at most, and put its number back."""
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
    """Apply a function to parts, each by a single thread, as many at a time as torch has, up to 4.

    What comes out does not depend on their number.
    """
    n = min(torch.get_num_threads(), len(parts), _MOST)
    with threads(1):
        if n <= 1:
            return [function(part) for part in parts]
        pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))
        try:
            return list(pool.map(function, parts))
        finally:
            pool.shutdown(cancel_futures=True)
