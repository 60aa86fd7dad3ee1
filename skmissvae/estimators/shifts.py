"""Shifts of imputed values, for analyses of values that are missing because of their own value."""

import numbers
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._utils.quoting import listed, quoted
from ..tables.codecs import Numbers
from ..tables.column_selection import column_index, modelled_index
from ..tables.schema import TableSchema

ShiftUnit = Literal["column", "sd"]


class Shifts(NamedTuple):
    """What is added to imputed cells."""

    numbers: NDArray[np.float64] | None = None  # (D,)   in the model's units
    log_odds: Tensor | None = None  # (D, C)   of categories

    def columns(self, schema: TableSchema) -> list[int]:
        """Return the columns of the table whose numbers move, and their copies."""
        moved = [] if self.numbers is None else schema.modelled[self.numbers != 0].tolist()
        return [j for j in range(len(schema.names)) if schema.copies.get(j, j) in moved]

    def apply(self, x: NDArray[np.float64], schema: TableSchema) -> NDArray[np.float64]:
        """Return modelled columns, (N, D), with shifted numbers, within the limits of columns."""
        if self.numbers is None:
            return x
        x = x.copy()
        for d in np.flatnonzero(self.numbers).tolist():
            low, high = ((b - schema.location[d]) / schema.scale[d] for b in schema.limits(d))
            x[:, d] = np.clip(x[:, d] + self.numbers[d], low, high)
        return x


NO_SHIFTS = Shifts()


def column_shifts(
    shift: Any, unit: Any, schema: TableSchema, derived: Collection[int] = ()
) -> Shifts:
    """Return the shifts of the parameters ``shift`` and ``shift_unit`` of ``impute``.

    Columns at the positions ``derived`` cannot be shifted.

    Raises
    ------
    ValueError, TypeError
        If a column, a value or the unit is invalid.
    """
    if unit not in ("column", "sd"):
        raise ValueError(f"shift_unit must be 'column' or 'sd'; got {quoted(unit)}.")
    if shift is None:
        return NO_SHIFTS
    if isinstance(shift, pd.Series):
        shift = shift.to_dict()
    if not isinstance(shift, Mapping):
        raise TypeError(
            "shift must be a mapping from columns to shifts, such as {'income': 0.5}; got "
            f"{quoted(shift)}."
        )
    added, names = np.zeros(len(schema.modelled)), dict[int, Any]()
    log_odds = dict[int, NDArray[np.float64]]()
    for column, value in shift.items():
        if column_index(column, schema.names, "shift") in derived:
            raise ValueError(
                f"Parameter 'shift' names column {quoted(column)}, which is computed from others "
                "('derived'). Shift those."
            )
        d = modelled_index(column, schema, "shift")
        if d in names:
            raise ValueError(
                f"Parameter 'shift' names columns {quoted(names[d])} and {quoted(column)}, which "
                "are the same variable. Name one of them."
            )
        names[d] = column
        if schema.supports[d] in ("binary", "coded"):
            log_odds[d] = _log_odds(column, value, schema, d)
        else:
            added[d] = _number(column, value, unit, schema, d)
    numbers_added = added if added.any() else None
    is_tilted = any(values.any() for values in log_odds.values())
    return Shifts(numbers_added, _padded(log_odds, schema) if is_tilted else None)


def _padded(log_odds: Mapping[int, NDArray[np.float64]], schema: TableSchema) -> Tensor:
    """Return the log-odds of all modelled columns, -inf for categories they do not have, (D, C)."""
    sizes = [max(2, len(schema.categories(d))) for d in range(len(schema.modelled))]
    padded = np.full((len(sizes), max(sizes)), -np.inf)
    for d, size in enumerate(sizes):
        padded[d, :size] = log_odds.get(d, 0.0)
    return torch.from_numpy(padded)


def _number(column: Any, value: Any, unit: ShiftUnit, schema: TableSchema, d: int) -> float:
    """Return the shift of a column of numbers in the model's units."""
    codec = schema.codecs[schema.modelled[d]]
    if not isinstance(codec, Numbers):
        raise ValueError(
            f"Parameter 'shift' names column {quoted(column)}, which holds dates or times; only "
            "numbers and categories can be shifted. Convert it to a number."
        )
    if not _is_finite(value):
        raise TypeError(
            f"The shift of column {quoted(column)} must be a finite number; got {quoted(value)}."
        )
    if unit == "sd" and (codec.is_integer or schema.supports[d] == "unit"):
        values = "integers" if codec.is_integer else "from 0 to 1"
        raise ValueError(
            f"shift_unit='sd' is not possible for column {quoted(column)}, whose values are "
            f"{values}. Use shift_unit='column'."
        )
    if codec.is_integer and value != np.rint(value):
        raise ValueError(
            f"The shift of column {quoted(column)} is {value}, but its values are integers. Use an "
            f"integer, or fit with feature_kinds={{{quoted(column)}: 'continuous'}}."
        )
    return float(value) / (1.0 if unit == "sd" else float(schema.scale[d]))


def _log_odds(column: Any, value: Any, schema: TableSchema, d: int) -> NDArray[np.float64]:
    """Return what is added to the log-odds of each category of a column, (C,)."""
    categories, codec = schema.categories(d), schema.codecs[schema.modelled[d]]
    is_ordered = schema.supports[d] == "binary" or codec.kind == "ordinal"
    if _is_finite(value) and is_ordered:
        return float(value) * np.arange(len(categories), dtype=np.float64)
    if isinstance(value, Mapping) and all(map(_is_finite, value.values())):
        unknown = [key for key in value if key not in categories]
        if unknown:
            raise ValueError(
                f"The shift of column {quoted(column)} names the category {quoted(unknown[0])}; "
                f"its categories are {listed(categories)}."
            )
        return np.array([float(value.get(category, 0.0)) for category in categories])
    expected = "a finite number of log-odds, or " if is_ordered else ""
    raise TypeError(
        f"The shift of column {quoted(column)} must be {expected}a mapping from categories to "
        f"finite log-odds, such as {{{quoted(categories[0])}: 0.5}}; got {quoted(value)}."
    )


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    return is_number and bool(np.isfinite(float(value)))
