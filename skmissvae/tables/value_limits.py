"""Limits of imputed numbers, from the parameters ``min_value`` and ``max_value``."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codecs import Dates, Numbers
from .column_selection import column_index
from .schema import MODELLED_ROLES, TableSchema


def limits(
    schema: TableSchema, min_value: Any, max_value: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest number that can be imputed in each column.

    Parameters
    ----------
    schema : TableSchema
        The schema.
    min_value, max_value : float, mapping or None
        The parameters of these names.

    Returns
    -------
    low, high : ndarray of shape (n_features,)
        The limits in the columns' units, infinite where there is none.
    """
    low = _one_sided(schema, "min_value", min_value, -math.inf)
    high = _one_sided(schema, "max_value", max_value, math.inf)
    for copy, original in schema.copies.items():  # one variable, which obeys the limits of both
        low[original] = low[copy] = max(low[original], low[copy])
        high[original] = high[copy] = min(high[original], high[copy])
    # limits move inwards to the next integer, or to the next date of the column's resolution
    step = np.array(
        [getattr(codec, "resolution", float(codec.is_integer)) for codec in schema.codecs]
    )
    discrete = step > 0
    low[discrete] = np.ceil(low[discrete] / step[discrete]) * step[discrete]
    high[discrete] = np.floor(high[discrete] / step[discrete]) * step[discrete]
    empty = (low > high) | ((low == high) & ~discrete) | np.isposinf(low) | np.isneginf(high)
    if empty.any():
        raise ValueError(
            "Parameters 'min_value' and 'max_value' leave no value for column "
            f"{schema.names[int(np.argmax(empty))]!r}; min_value must be below max_value."
        )
    return low, high


def _one_sided(
    schema: TableSchema, parameter: str, value: Any, default: float
) -> NDArray[np.float64]:
    """Return one limit of each column; a single number limits columns of numbers only."""
    names, limit = schema.names, np.full(len(schema.names), default)
    if value is None:
        return limit
    if not isinstance(value, Mapping):
        numeric = schema.modelled[schema.numeric()].tolist()
        limit[[j for j in numeric if isinstance(schema.codecs[j], Numbers)]] = value
        return limit
    for column, column_limit in value.items():
        j = column_index(column, names, parameter)
        codec, role = schema.codecs[j], schema.roles[j]
        if not isinstance(codec, (Numbers, Dates)):
            raise ValueError(
                f"Parameter {parameter!r} bounds column {names[j]!r}, whose values are "
                f"{codec.kind}: only numbers, dates and durations have limits; remove it."
            )
        if role not in MODELLED_ROLES:
            raise ValueError(
                f"Parameter {parameter!r} bounds column {names[j]!r}, which is not modelled "
                f"({role}): all of its missing cells get one value; remove the limit."
            )
        try:
            limit[j] = codec.encode_limit(column_limit)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Parameter {parameter!r} must bound column {names[j]!r} by {error}; got "
                f"{column_limit!r}."
            ) from error
    return limit
