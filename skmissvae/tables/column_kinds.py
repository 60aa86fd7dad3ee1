"""The kind of each column, and with it the codec: from parameters, data type and values."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from .._utils.quoting import listed, quoted
from .codecs import CODED, KINDS, Categories, Codec, Dates, Numbers, Unsupported
from .column_selection import column_index
from .columns import (
    FIRST_INEXACT_INTEGER,
    Column,
    Markers,
    Mask,
    category_order,
    check_markers,
    column_type,
    holds_numbers,
    is_missing,
    time_type,
    to_floats,
    to_objects,
    type_limits,
)
from .input_table import InputTable

# Rows from which on consecutive integers and near-unique text are taken for row identifiers, and
# two distinct fractions for categories.
_MIN_ROWS = 20


# Range of row identifiers, at most, as a multiple of the number of rows: a subset of a table does
# not have all of the identifiers.
_MAX_RANGE = 5


_MAX_INTEGER = 2.0**64  # beyond every integer type


_DAY = 86_400_000_000  # microseconds


_REQUIREMENTS = {"continuous": "numbers", "integer": "integers", "count": "integers of 0 or more"}


def declared_kinds(
    source: InputTable, feature_kinds: Mapping[Any, str] | None, likelihood: Any
) -> dict[int, str]:
    """Return the kinds that follow from the parameters, by position of the column."""
    names = source.names
    kinds: dict[int, str] = {}
    if isinstance(likelihood, Mapping):  # a likelihood of numbers needs a column of numbers
        for column, model in likelihood.items():
            j = column_index(column, names, "likelihood")
            values = source.columns[j]
            is_numeric = isinstance(values, np.ndarray) or values.dtype.is_numeric()
            if model != "bernoulli" and is_numeric:
                kinds[j] = "continuous"
    keys: dict[int, Any] = {}
    for column, kind in (feature_kinds or {}).items():
        if kind not in KINDS:
            raise ValueError(
                f"Parameter 'feature_kinds' calls column {quoted(column)} {quoted(kind)}; choose "
                f"one of {', '.join(map(repr, KINDS))}."
            )
        j = column_index(column, names, "feature_kinds")
        if j in keys:
            raise ValueError(
                f"Parameter 'feature_kinds' names column {quoted(names[j])} twice, as "
                f"{quoted(keys[j])} and "
                f"as {quoted(column)}; remove one of them."
            )
        keys[j], kinds[j] = column, kind
    return kinds


def choose_codecs(
    source: InputTable, markers: Sequence[Markers], kinds: Mapping[int, str]
) -> list[Codec]:
    """Return the codec of each column.

    Parameters
    ----------
    source : InputTable
        The table at fit.
    markers : sequence of tuple
        Values that mark missing cells of each column beside nulls.
    kinds : mapping of int to str
        Kinds that are declared, by position of the column; others are inferred.
    """
    check_markers(source.names, source.columns, markers)
    columns = zip(source.names, source.columns, markers, strict=True)
    codecs = [
        choose_codec(name, column, is_missing(column, marked), kinds.get(j))
        for j, (name, column, marked) in enumerate(columns)
    ]
    for codec, column in zip(codecs, source.columns, strict=True):
        if isinstance(codec, Numbers):
            codec.limits = type_limits(column)
    return codecs


def choose_codec(name: Any, column: Column, missing: Mask, kind: str | None) -> Codec:
    """Return the codec of a column.

    Parameters
    ----------
    name : str
        Name of the column, for errors.
    column : Series or ndarray of shape (N,)
        The column.
    missing : ndarray of shape (N,)
        Which of its cells are missing.
    kind : str or None
        Kind that the user declares; None infers it from the column.
    """
    if (time := time_type(column, missing)) is not None:
        return _dates(name, column, time, missing, kind)
    if isinstance(column, nw.Series) and not _is_supported(column, missing):
        return Unsupported()
    if kind in CODED:
        return _categories(name, column, missing, kind)
    if kind is not None:
        return _numbers(name, column, missing, kind)
    if not isinstance(column, nw.Series):
        return Numbers("continuous", is_integer=False)  # an array has one type for all columns
    if not holds_numbers(column, missing):
        _refuse_strings_among_numbers(name, column, missing)
        return _categories(name, column, missing, None)
    return _inferred_numbers(name, column, missing)


def _inferred_numbers(name: Any, column: nw.Series, missing: Mask) -> Codec:
    """Return the codec of a column of numbers whose kind nobody declares."""
    dtype, numbers = column_type(column), to_floats(column, missing)[~missing]
    # from this size on a floating-point type has no fractions
    no_fractions = 2.0 ** (23 if dtype == nw.Float32 else 52)
    is_integer = dtype.is_integer() or bool(
        len(numbers)
        and np.abs(numbers).min() < no_fractions
        and np.abs(numbers).max() < _MAX_INTEGER
        and (numbers == np.rint(numbers)).all()
    )
    values = np.unique(numbers)
    has_unique_rows = len(values) == len(missing) >= _MIN_ROWS
    if _are_large_integers(column, missing, numbers):
        codec: Codec = _categories(name, column, missing, None)
    elif (
        len(values) == 2
        and (is_integer or len(numbers) >= _MIN_ROWS)
        and len(set(to_objects(column)[~missing].tolist())) == 2  # decimals may have more digits
    ):
        codec = _categories(name, column, missing, "binary")
    elif not is_integer:
        return Numbers("continuous", is_integer=False)
    elif dtype.is_integer() and has_unique_rows and np.ptp(values) <= _MAX_RANGE * len(missing):
        return Numbers("identifier", is_integer=True)
    else:
        codec = Numbers("count" if (values >= 0).all() else "integer", is_integer=True)
    codec.is_inferred = True
    return codec


def _are_large_integers(column: nw.Series, missing: Mask, numbers: NDArray[np.float64]) -> bool:
    """Return whether at least half of the cells are integers that floats do not represent exactly.

    Measurements do not have so many digits, so that such integers are labels.
    """
    dtype = column_type(column)
    if dtype.is_float() or not len(numbers) or np.median(np.abs(numbers)) < FIRST_INEXACT_INTEGER:
        return False
    is_float = (float, np.floating)
    return dtype.is_integer() or all(
        not isinstance(cell, is_float) and cell == int(cell)
        for cell in to_objects(column)[~missing].tolist()
    )


def _dates(name: Any, column: Any, dtype: Any, missing: Mask, kind: str | None) -> Dates:
    if kind not in (None, "continuous"):
        raise ValueError(
            f"Parameter 'feature_kinds' calls column {quoted(name)} {kind!r}, but it holds "
            f"{dtype}; choose 'continuous'."
        )
    # a complete column is not modelled: other columns seldom depend on the date itself
    codec = Dates(kind or ("continuous" if missing.any() else "date"), dtype)
    if column_type(column) == nw.Object:
        codec.object_class = type(to_objects(column)[np.argmin(missing)]).__name__
    numbers = codec.encode(column, missing)[~missing]
    step = 1
    while step * 1000 <= 1_000_000 and (numbers % (step * 1000) == 0).all():
        step *= 1000
    codec.resolution = _DAY if len(numbers) and (numbers % _DAY == 0).all() else step
    return codec


def _is_supported(column: nw.Series, missing: Mask) -> bool:
    """Return whether a column holds numbers, strings, booleans or categories."""
    dtype = column_type(column)
    if dtype in (nw.String, nw.Categorical, nw.Boolean) or dtype == nw.Enum or dtype.is_numeric():
        return True
    if dtype in (nw.Object, nw.Unknown):
        supported = (str, bool, Number, np.generic)
        unordered = (complex, np.complexfloating, np.datetime64, np.timedelta64)
        cells = to_objects(column)[~missing]
        return all(isinstance(c, supported) and not isinstance(c, unordered) for c in cells)
    return False


def _refuse_strings_among_numbers(name: Any, column: nw.Series, missing: Mask) -> None:
    """Raise where a column of objects holds both numbers and strings."""
    if column_type(column) != nw.Object:
        return
    cells = to_objects(column)
    strings = [i for i in np.flatnonzero(~missing) if isinstance(cells[i], str)]
    if 0 < len(strings) < (~missing).sum():
        # a string that cannot be read as a number is more likely to be the error
        not_numeric = [i for i in strings if not can_be_read(cells[i], finite_number)]
        i = (not_numeric or strings)[0]
        remedy = (
            f"mark it missing (missing_values={quoted(cells[i])})"
            if not_numeric
            else "make it a number"
        )
        raise ValueError(
            f"Column {quoted(name)} holds {quoted(cells[i])} in row {i}, but numbers in other "
            f"rows; correct it, {remedy} (pandas.to_numeric(errors='coerce') does this for the "
            "whole column), or make all of them strings if they are categories."
        )


def finite_number(text: str) -> float:
    """Return the number that a string holds; raise ValueError for others, "nan" and "inf"."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def can_be_read(value: Any, read: Callable[[str], Any]) -> bool:
    """Return whether a value is a string that a function can read."""
    if not isinstance(value, str) or "_" in value:  # Python reads 2_011 as a number
        return False
    try:
        read(value)
    except ValueError:
        return False
    return True


def _numbers(name: Any, column: Column, missing: Mask, kind: str) -> Numbers:
    """Return the codec of a column that the user declares one of numbers."""
    is_number = isinstance(column, np.ndarray) or holds_numbers(column, missing)
    cells = to_floats(column, missing) if is_number else to_objects(column)
    wrong = [
        value
        for value in cells[~missing].tolist()
        if not is_number
        or (kind != "continuous" and value % 1 != 0)
        or (kind == "count" and value < 0)
    ]
    if wrong:
        conversion = "convert it (pandas.to_numeric), or " if isinstance(wrong[0], str) else ""
        raise ValueError(
            f"Parameter 'feature_kinds' calls column {quoted(name)} {kind!r}, which needs "
            f"{_REQUIREMENTS[kind]}, but it holds {quoted(wrong[0])}; {conversion}choose another "
            f"of {', '.join(map(repr, KINDS))}."
        )
    has_integer_type = isinstance(column, nw.Series) and column.dtype.is_integer()
    return Numbers(kind, is_integer=has_integer_type or kind != "continuous")


def _categories(name: Any, column: Column, missing: Mask, kind: str | None) -> Categories:
    """Return the codec of a column of categories; a kind of None is inferred."""
    observed = Counter(to_objects(column)[~missing].tolist())
    for infinity in (math.inf, -math.inf):  # the reader refuses such cells
        observed.pop(infinity, None)
    order = category_order(column)
    if order is not None:
        categories = [category for category in order if category in observed]
    else:
        categories = sorted(observed, key=_sort_key)
    _check_categories(name, categories, kind, has_order=order is not None)
    is_declared = kind is not None or order is not None or column.dtype == nw.Categorical
    if len(categories) == 2:
        kind = "binary"  # the three kinds have the same model for two categories
    elif kind is None and len(categories) > 2 and _is_near_unique(observed):
        kind = "identifier"
    elif kind is None:  # Categorical of pandas is the only type with this attribute
        dtype = getattr(nw.to_native(column, pass_through=True), "dtype", None)
        kind = "ordinal" if getattr(dtype, "ordered", False) else "categorical"
    return Categories(kind, categories, is_declared)


def _is_near_unique(counts: Counter[Any]) -> bool:
    """Return whether all values of a column differ, or most of its cells have one that occurs once.

    The share of cells whose value occurs once estimates the probability that a further cell has a
    value that did not occur (Good and Turing). Above a half, every imputed value is more probably
    wrong than right.
    """
    n_cells, n_once = counts.total(), sum(count == 1 for count in counts.values())
    return n_once == n_cells or (n_cells >= _MIN_ROWS and n_once > n_cells / 2)


def _check_categories(name: Any, categories: list[Any], kind: str | None, has_order: bool) -> None:
    """Raise where the categories of a column do not fit the kind that the user declares."""
    if kind == "ordinal" and not has_order and any(isinstance(c, str) for c in categories):
        raise ValueError(
            f"Parameter 'feature_kinds' calls column {quoted(name)} 'ordinal', but its values are "
            "strings without an order; give it an ordered type "
            "(pandas.CategoricalDtype([...], ordered=True), polars.Enum([...])) or numbers."
        )
    if kind == "binary" and len(categories) > 2:
        raise ValueError(
            f"Parameter 'feature_kinds' calls column {quoted(name)} 'binary', but it has "
            f"{len(categories)} values: {listed(categories)}; choose 'categorical' or 'ordinal'."
        )


def _sort_key(category: Any) -> tuple[bool, Any]:
    return isinstance(category, str), category
