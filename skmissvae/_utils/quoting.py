"""Values of users in messages, shortened so that messages stay readable."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

_WIDTH, _WIDTH_IN_LIST = 50, 30  # characters of a value
_MAX_LISTED = 10  # values of a list


def quoted(value: Any, width: int = _WIDTH) -> str:
    """Return the ``repr`` of a value without its middle if it has more characters."""
    return shortened(repr(value), width)


def shortened(text: str, width: int) -> str:
    """Return a text in one line, without its middle if it has more characters."""
    text = " ".join(text.split())
    n_last = width // 4
    return text if len(text) <= width else f"{text[: width - n_last - 3]}...{text[-n_last:]}"


def listed(values: Iterable[Any], width: int = 100, notes: Iterable[str] | None = None) -> str:
    """Return the first values, at most 10 and about ``width`` characters, and how many follow.

    A note follows each value.
    """
    values, texts = list(values), list[str]()
    for value, note in zip(values[:_MAX_LISTED], notes or repeat(""), strict=False):
        text = quoted(value, _WIDTH_IN_LIST) + note
        if texts and len(", ".join([*texts, text])) > width:
            break
        texts.append(text)
    n_more = len(values) - len(texts)
    return ", ".join([*texts, f"... and {n_more} more"] if n_more else texts)
