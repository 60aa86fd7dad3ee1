"""The kind of each column: from its data type, its values and the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .codecs import KINDS, Codec, codec, is_numeric, missing
from .input_table import InputTable
from .parameters import column_index, missing_marker


def choose_codecs(
    source: InputTable,
    names: Sequence[str],
    missing_values: Any,
    feature_kinds: Mapping[Any, str] | None,
    categorical_features: Any,
    likelihood: Any,
) -> list[Codec]:
    """Return how each column becomes numbers.

    Parameters
    ----------
    source : InputTable
        The table to learn from.
    names : sequence of str
        Names of the columns.
    missing_values, feature_kinds, categorical_features, likelihood : object
        The parameters of these names.
    """
    wanted: dict[int, str | None] = dict.fromkeys(range(len(names)))
    if isinstance(likelihood, Mapping):  # a model of numbers wants numbers
        for column, model in likelihood.items():
            j = column_index(column, names, "likelihood")
            if model != "bernoulli" and is_numeric(source.columns[j]):
                wanted[j] = "continuous"
    categorical = _chosen(categorical_features, names)
    wanted |= dict.fromkeys(categorical, "categorical")
    named: dict[int, Any] = {}
    for column, kind in (feature_kinds or {}).items():
        if kind not in KINDS:
            raise ValueError(
                f"Parameter 'feature_kinds' calls column {column!r} {kind!r}, which is none of "
                f"{', '.join(map(repr, KINDS))}."
            )
        j = column_index(column, names, "feature_kinds")
        if j in named:
            raise ValueError(
                f"Parameter 'feature_kinds' names column {names[j]!r} twice, as {named[j]!r} and "
                f"as {column!r}; leave one of them out."
            )
        if j in categorical and kind in ("continuous", "count", "integer"):
            raise ValueError(
                f"Parameter 'feature_kinds' calls column {names[j]!r} {kind!r}, and "
                "'categorical_features' calls it categorical; leave one of them out."
            )
        named[j], wanted[j] = column, kind
    marker = missing_marker(missing_values)
    return [
        codec(names[j], column, missing(column, marker), wanted[j])
        for j, column in enumerate(source.columns)
    ]


def _chosen(categorical_features: Any, names: Sequence[str]) -> list[int]:
    if categorical_features is None or isinstance(categorical_features, str):
        return []  # "from_dtype": types tell
    chosen = np.asarray(categorical_features)
    if chosen.dtype == bool:
        if len(chosen) != len(names):
            raise ValueError(
                f"Parameter 'categorical_features' is a mask of {len(chosen)} columns, but X has "
                f"{len(names)}."
            )
        return np.flatnonzero(chosen).tolist()
    return [column_index(column, names, "categorical_features") for column in chosen.tolist()]
