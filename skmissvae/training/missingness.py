"""The parameter missingness: which columns have a model of their missing cells."""

from collections.abc import Mapping

from .._utils.quoting import quoted
from ..tables.column_selection import column_index
from ..tables.schema import TableSchema
from ..vae.missingness import Direction

# Kinds of columns whose missing cells may depend on their own value.
_SELF_MASKED = ("continuous", "count", "integer", "binary")

#: What a column's entry in ``missingness`` says about the values that are missing more often.
_DIRECTIONS: dict[str, Direction] = {
    "self_masking": "any",
    "linear": "linear",
    "high": "high",
    "low": "low",
}


def check_missingness(missingness: object) -> str | None:
    """Return what the parameter ``missingness`` must be, or None if it is valid."""
    values = missingness.values() if isinstance(missingness, Mapping) else [missingness]
    names = ["ignorable", "self_masking", "linear"]
    if isinstance(missingness, Mapping):
        names = [*_DIRECTIONS, "ignorable"]
    if all(isinstance(value, str) and value in names for value in values):
        return None
    return (
        "'ignorable', 'self_masking', 'linear', or a mapping from columns to one of these, 'high' "
        "or 'low'"
    )


def missingness_directions(
    option: str | Mapping[object, str], schema: TableSchema
) -> tuple[Direction, ...]:
    """Return the direction of the missingness of each modelled column; () if all are ignorable.

    Parameters
    ----------
    option : str or mapping
        The parameter ``missingness``.
    schema : TableSchema
        The schema of the table.
    """
    directions: dict[int, Direction] = {}
    if isinstance(option, Mapping):
        for column, direction in option.items():
            j = column_index(column, schema.names, "missingness")
            if direction == "ignorable":
                continue
            kind = schema.codecs[j].kind if schema.roles[j] == "modelled" else schema.roles[j]
            if kind not in _SELF_MASKED:
                raise ValueError(
                    f"Parameter 'missingness' names column {quoted(column)}, which is {kind}: only "
                    "modelled columns of numbers and binary ones can have missing cells that "
                    "depend on their own value; remove it."
                )
            if not schema.n_missing[j]:
                raise ValueError(
                    f"Parameter 'missingness' names column {quoted(column)}, which has no missing "
                    "cell at fit; remove it."
                )
            directions[j] = _DIRECTIONS[direction]
    elif option != "ignorable":
        modelled = schema.modelled.tolist()
        numeric = [j for j in modelled if schema.codecs[j].kind in _SELF_MASKED]
        directions = {j: _DIRECTIONS[option] for j in numeric if schema.n_missing[j]}
    if not directions:
        return ()
    return tuple(directions.get(j, "ignorable") for j in schema.modelled.tolist())
