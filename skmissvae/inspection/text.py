"""Text of lists of names in messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def list_names(names: Iterable[Any], n_shown: int = 5) -> str:
    """Return names as text, with "and n more" in place of those after the first ``n_shown``."""
    texts = [repr(name) for name in names]
    n_more = len(texts) - n_shown
    return ", ".join(texts[:n_shown]) + (f" and {n_more} more" if n_more > 0 else "")
