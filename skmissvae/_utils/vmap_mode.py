"""Whether what runs is several models at once, under ``torch.func.vmap``.

Those that take most of a step, networks and densities, have two forms: torch takes a while to call
an operation of one's own that vmap can take apart, longer than small tables can spare.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BATCHED: ContextVar[bool] = ContextVar("batched", default=False)


is_batched = _BATCHED.get


@contextmanager
def batched() -> Iterator[None]:
    """Let operations take their form for vmap within the block."""
    token = _BATCHED.set(True)
    try:
        yield
    finally:
        _BATCHED.reset(token)
