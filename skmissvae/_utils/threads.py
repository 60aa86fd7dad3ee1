"""The number of threads that torch uses."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

_MAX_THREADS = 4  # a third of a row's time holds Python's interpreter lock


@contextmanager
def thread_limit(n: int) -> Iterator[None]:
    """Limit torch to n threads within the block."""
    before = torch.get_num_threads()
    try:  # Ctrl-C may come before the block begins
        if n < before:
            torch.set_num_threads(n)
        yield
    finally:
        if n < before:
            torch.set_num_threads(before)


@contextmanager
def thread_map(device: torch.device, n_calls: int) -> Iterator[Callable[..., Any]]:
    """Yield a ``map`` that runs calls in parallel, each in a single thread.

    As many of ``n_calls`` calls run at a time as torch has threads, up to 4; on a GPU one after the
    other, since its libraries are not loaded safely by several threads. Results do not depend on
    the number of threads.
    """
    n = min(torch.get_num_threads(), n_calls, _MAX_THREADS) if device.type == "cpu" else 1
    with thread_limit(1):
        if n <= 1:
            yield map
            return
        pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)
