"""The report of a fitted table's columns: kinds, roles, missing cells and remarks."""

import datetime
from collections.abc import Iterator

import numpy as np
import pandas as pd

from .._utils.quoting import quoted
from .codecs import Codec, Dates
from .column_kinds import can_be_read
from .column_statistics import HIGH_TAIL_SHARE
from .schema import TableSchema

#: Remarks on the roles of columns, except modelled columns and copies.
ROLE_REMARKS = {
    "empty": "no observed cell: the column is left out unless keep_empty_features=True",
    "constant": "a single value: not modelled; missing cells get this value; if an empty cell "
    "means 'no' or 0, fill it before fit",
    "identifier": "most values occur once: not modelled; missing cells get the most frequent "
    "value, unless 'where' excludes them",
    "date": "complete at fit: not modelled, unless feature_kinds calls it 'continuous'",
    "other": "a type that cannot be modelled: missing cells stay missing",
}


_MAX_CODES = 10  # distinct integers that may be codes of categories


def column_report(schema: TableSchema) -> pd.DataFrame:
    """Return a row for each column of the input: kind, role, missing cells, values, remarks."""
    position = {int(j): d for d, j in enumerate(schema.modelled)}
    remarks = ["; ".join(_remarks(schema, j, position.get(j))) for j in range(len(schema.codecs))]
    return pd.DataFrame(
        {
            "kind": [codec.kind for codec in schema.codecs],
            "role": schema.roles,
            "n_missing": schema.n_missing,
            "missing_share": schema.n_missing / schema.n_rows,
            "n_values": schema.n_values,
            "remark": remarks,
        },
        index=pd.Index(schema.names, name="column", tupleize_cols=False),
    )


def _remarks(schema: TableSchema, j: int, d: int | None) -> Iterator[str]:
    """Yield unusual properties of a column and what to do; ``d`` is its place in the model."""
    codec, to_date = schema.codecs[j], datetime.date.fromisoformat
    if schema.roles[j] == "copy":
        yield f"an exact copy of {quoted(schema.names[schema.copies[j]])}: modelled as one column"
    elif schema.roles[j] != "modelled":
        yield ROLE_REMARKS[schema.roles[j]]
    if d is not None and schema.supports[d] == "atom":
        end, share = schema.point_mass(d)
        yield f"{share:.0%} of the cells are {_as_text(codec, end)}: modelled as a point mass"
    for suspicion in schema.suspicions.get(j, []):
        yield f"{suspicion.finding}: {suspicion.remedy}"
    if codec.categories and all(can_be_read(c, to_date) for c in codec.categories):
        yield "strings of dates, modelled as categories: pandas.to_datetime makes dates"
    if d is None:
        return
    is_integer = codec.kind in ("count", "integer") and codec.is_inferred
    if is_integer and schema.n_values[j] <= _MAX_CODES:
        yield (
            "few distinct integers, modelled as numbers: if they are codes, declare them "
            "'categorical' or 'ordinal' in feature_kinds"
        )
    if schema.tail_share[d] > HIGH_TAIL_SHARE:
        ends = np.array([schema.low[d], schema.high[d]])
        farthest = ends[np.abs(ends - schema.location[d]).argmax()]
        yield (
            f"1% of the cells make up {schema.tail_share[d]:.0%} of the variance, "
            f"{_as_text(codec, farthest)} among them: correct errors, or set learn_shapes=True"
        )


def _as_text(codec: Codec, value: float) -> str:
    """Return a number of a column as text."""
    return str(codec.decode(np.array([value]))[0]) if isinstance(codec, Dates) else f"{value:.6g}"
