"""Cells that may be meant as missing or as numbers, and the calls that convert them."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._utils.quoting import quoted, shortened
from .codecs import Categories, Codec, Numbers
from .columns import Floats, Mask

# Strings by which files mark missing cells, in lower case. "none" and "unknown" are absent: they
# are often categories of their own.
_MARKERS = {
    *("", "?", "??", "-", "--", "---", ".", "..", "*", "n/a", "n.a.", "na", "#n/a", "#na"),
    *("<na>", "nan", "null", "nat", "missing", "not available"),
}


# Strings of more distinct values, at least such a share of which are numbers, are hardly
# categories.
_MAX_CATEGORIES, _NUMERIC_SHARE = 20, 0.9


_MAX_AFFIXES = 5  # currencies and units in a column of numbers; codes have more


# A number in a string, with a currency before it and a unit after it.
_NUMBER_IN_TEXT = re.compile(
    r"[+-]?(?P<before>[$€£¥₹₩₽¢~]?|[^\W\d_]{1,3}\$?(?=\s))\s?"
    r"(?P<number>[+-]?(?:\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?"  # with separators of thousands
    r"|\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?|\.\d+))"
    r"\s?(?P<after>[^\d.,-]{0,12})"
)


class Suspicion(NamedTuple):
    """A property of a column's cells that is probably an error of reading."""

    reason: Literal["marker", "numbers"]
    level: Literal["problem", "note"]
    finding: str  # with the share of the cells
    remedy: str  # the call that fixes it


def find_suspicions(
    names: Sequence[Any], codecs: Sequence[Codec], X: Floats, observed: Mask
) -> dict[int, list[Suspicion]]:
    """Return undeclared markers of missing cells and numbers stored as text, by column.

    Parameters
    ----------
    names : sequence of str
        Names of the columns.
    codecs : sequence of Codec
        Codec of each column.
    X : ndarray of shape (N, n_features)
        The table as floats, categories by their codes.
    observed : ndarray of shape (N, n_features)
        Mask of its observed cells.
    """
    suspicions = {
        j: list(_of_column(name, codec, X[observed[:, j], j]))
        for j, (name, codec) in enumerate(zip(names, codecs, strict=True))
    }
    return {j: of_column for j, of_column in suspicions.items() if of_column}


def _of_column(name: Any, codec: Codec, cells: Floats) -> Iterator[Suspicion]:
    """Yield the suspicions about a column from its observed cells."""
    if not isinstance(codec, (Numbers, Categories)) or not len(cells):
        return
    if isinstance(codec, Numbers) or codec.is_inferred:
        values = cells.astype(np.float64)
        if codec.categories:
            values = np.array(codec.categories, dtype=np.float64)[cells.astype(int)]
        if np.isfinite(values).all():
            yield from _marker(name, _numeric_markers(values, cells.dtype), len(cells))
        return
    counts = np.bincount(cells.astype(int), minlength=len(codec.categories))
    markers = {
        category: int(count)
        for category, count in zip(codec.categories, counts, strict=True)
        if isinstance(category, str) and category.strip().lower() in _MARKERS
    }
    yield from _marker(name, markers, len(cells))
    if not codec.is_declared:
        yield from _numbers_in_text(name, codec, counts)


# -- markers of missing cells -------------------------------------------------------------------


def _marker(name: Any, markers: dict[Any, int], n_cells: int) -> Iterator[Suspicion]:
    """Yield the suspicion about values, with their numbers of cells, that may mark missing ones."""
    if not markers:
        return
    shares = [f"{value!r} in {_share(n, n_cells)}" for value, n in markers.items()]
    values = list(markers) if len(markers) > 1 else next(iter(markers))
    remedy = f"set missing_values={{{shortened(repr(name), 100)}: {values!r}}}"
    finding = f"{', '.join(shares)} of the cells may mark missing cells"
    yield Suspicion("marker", "problem", finding, remedy)


def _share(n: int, n_cells: int) -> str:
    share = n / n_cells
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _numeric_markers(values: NDArray[np.float64], dtype: Any) -> dict[Any, int]:
    """Return numbers such as -999 and 999 that are far from the other values, and their counts.

    They are negative while the others are not, or farther from the others than these from each
    other.
    """
    candidates: list[float] = []
    others = values
    while len(others):
        ends = {float(others.min()), float(others.max())}
        nines = [end for end in ends if _has_only_nines(end)]
        if not nines:
            break
        candidates += nines
        others = others[~np.isin(others, nines)]
    if not candidates or not len(others):
        return {}
    low, high = float(others.min()), float(others.max())
    return {
        _plain_number(value, dtype): int((values == value).sum())
        for value in sorted(candidates)
        if value < 0 <= low or max(low - value, value - high) > high - low
    }


def _has_only_nines(value: float) -> bool:
    """Return whether a number is -9, -99, 99, -99.9, 999, ..."""
    digits = f"{abs(value):.7g}".replace(".", "")
    return set(digits) == {"9"} and (value >= 99 or value <= -9)


def _plain_number(value: float, dtype: Any) -> int | float:
    """Return a number as the user would write it."""
    return int(value) if value == int(value) else float(str(np.dtype(dtype).type(value)))


# -- numbers stored as text -----------------------------------------------------------------------


def _numbers_in_text(
    name: Any, codec: Categories, counts: NDArray[np.integer]
) -> Iterator[Suspicion]:
    """Yield the suspicion that strings are numbers, if most categories hold one.

    A few categories must all be plain numbers, without a currency or a unit.
    """
    is_identifier = codec.kind == "identifier"
    parsed = [_parse(category, is_identifier) for category in codec.categories]
    is_number = np.array([match is not None for match in parsed], dtype=bool)
    matches = [match for match in parsed if match is not None]
    affixes = {(match["before"], match["after"]) for match in matches}
    is_plain = affixes == {("", "")} and all(_is_float(match["number"]) for match in matches)
    is_varied = len(parsed) > _MAX_CATEGORIES or is_identifier
    if is_varied:
        are_numbers = is_number.mean() >= _NUMERIC_SHARE and len(affixes) <= _MAX_AFFIXES
    else:
        are_numbers = bool(parsed) and is_number.all() and is_plain
    if not are_numbers:
        return
    example = codec.categories[int(is_number.argmax())]
    share = _share(int(counts[is_number].sum()), int(counts.sum()))
    finding = f"{share} of the cells are strings of numbers, such as {quoted(example)}"
    remedy = f"use {_conversion(name, [match['number'] for match in matches], is_plain)}"
    units = sorted({after for _, after in affixes if after})
    if len(units) > 1:
        remedy += f", after a conversion of the units {', '.join(map(repr, units))} to one"
    yield Suspicion("numbers", "problem" if is_varied else "note", finding, remedy)


def _parse(category: Any, is_identifier: bool) -> re.Match[str] | None:
    """Return the parts of a string that is a number with a currency or a unit.

    Integers of identifiers, codes with a leading zero and exponents next to a unit do not count.
    """
    match = _NUMBER_IN_TEXT.fullmatch(category.strip()) if isinstance(category, str) else None
    if match is None or re.match(r"[+-]?0\d", match["number"]):
        return None
    is_integer = match["number"] == category.strip() and category.replace(" ", "").isdigit()
    has_affix = bool(match["before"] or match["after"])
    has_exponent = "e" in match["number"].lower()
    return None if (is_identifier and is_integer) or (has_affix and has_exponent) else match


def _is_float(number: str) -> bool:
    return not set(number) & set(",' ")


def _conversion(name: Any, numbers: Sequence[str], is_plain: bool) -> str:
    """Return the call of pandas that converts a column of strings to numbers."""
    column = f"X[{shortened(repr(name), 100)}]"
    if not is_plain:
        # 3,14, 1.234,5 and 1.234.567 have or allow a decimal comma, 1,234 and 1,234.5 do not
        is_comma = any(re.search(r",(?!\d{3}$)\d+$|\..*[.,]", number) for number in numbers)
        decimal_mark = "," if is_comma else "."
        column += f".str.replace(r'[^\\d{decimal_mark}-]', '', regex=True)"
        column += ".str.replace(',', '.')" if is_comma else ""
    return f"pandas.to_numeric({column}, errors='coerce')"
