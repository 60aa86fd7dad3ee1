"""What imputed numbers cannot fall below or exceed, column by column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codecs import Numbers
from .parameters import column_index
from .schema import TAKEN, TableSchema


def limits(
    table: TableSchema, names: Sequence[Any], min_value: Any, max_value: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest number that each column may get, in its units.

    Parameters
    ----------
    table : TableSchema
        The schema.
    names : sequence of str
        Names of its columns.
    min_value, max_value : float, mapping or None
        The parameters of these names.

    Returns
    -------
    low, high : ndarray of shape (n_features,)
        The limits, infinite where there is none.
    """
    low = _limit(table, names, "min_value", min_value, -math.inf)
    high = _limit(table, names, "max_value", max_value, math.inf)
    for also, source in table.copies.items():  # one variable, the bounds of both
        low[source] = low[also] = max(low[source], low[also])
        high[source] = high[also] = min(high[source], high[also])
    # what comes back are whole numbers, or dates of a grain: the next ones within
    grain = np.array([getattr(codec, "grain", float(codec.whole)) for codec in table.codecs])
    whole = grain > 0
    low[whole] = np.ceil(low[whole] / grain[whole]) * grain[whole]
    high[whole] = np.floor(high[whole] / grain[whole]) * grain[whole]
    empty = (low > high) | ((low == high) & ~whole) | np.isposinf(low) | np.isneginf(high)
    if empty.any():
        raise ValueError(
            "Parameters 'min_value' and 'max_value' leave no value for column "
            f"{names[int(np.argmax(empty))]!r}; min_value must be below max_value."
        )
    return low, high


def _limit(
    table: TableSchema, names: Sequence[Any], parameter: str, given: Any, without: float
) -> NDArray[np.float64]:
    """Return a limit of each column; one for all is that of numbers, and codes have none."""
    limit = np.full(len(names), without)
    if given is None:
        return limit
    if not isinstance(given, Mapping):
        numeric = table.modelled[table.numeric()].tolist()
        limit[[j for j in numeric if isinstance(table.codecs[j], Numbers)]] = given
        return limit
    for column, value in given.items():
        j = column_index(column, names, parameter)
        codec, treatment = table.codecs[j], table.treatment[j]
        measure = getattr(codec, "bound", None)
        if measure is None:
            raise ValueError(
                f"Parameter {parameter!r} bounds column {names[j]!r}, whose values are "
                f"{codec.kind}: only numbers, dates and durations have bounds."
            )
        if treatment not in TAKEN:
            raise ValueError(
                f"Parameter {parameter!r} bounds column {names[j]!r}, which is not modelled "
                f"({treatment}): its holes have one value. Leave the bound out."
            )
        try:
            limit[j] = measure(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Parameter {parameter!r} must bound column {names[j]!r} by {error}; got {value!r}."
            ) from error
    return limit
