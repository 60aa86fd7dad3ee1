"""Data types and labels of pandas as plain values, which every file format can store."""

from typing import Any

import numpy as np
import pandas as pd

from .._utils.compat import string_type

# -- data types -----------------------------------------------------------------------------------


def plain_type(dtype: Any) -> Any:
    """Return the type of a pandas column as its name or a tuple of plain values.

    A type of another package that pandas does not recover by its name is returned as it is.
    """
    if isinstance(dtype, pd.CategoricalDtype):
        labels = dtype.categories
        plain = [plain_label(label) for label in labels.tolist()]
        return "category", plain_type(labels.dtype), plain, bool(dtype.ordered)
    if isinstance(dtype, pd.SparseDtype):
        return "sparse", plain_type(dtype.subtype), plain_label(dtype.fill_value)
    if isinstance(dtype, pd.StringDtype):
        return "string", dtype.storage, dtype.na_value is pd.NA
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa

        return "arrow", pa.schema([("", dtype.pyarrow_dtype)]).serialize().to_pybytes()
    try:
        return str(dtype) if pd.api.types.pandas_dtype(str(dtype)) == dtype else dtype
    except (TypeError, NotImplementedError):
        return dtype


def type_from_plain(plain: Any) -> Any:
    """Return the type that ``plain_type`` converted."""
    if not isinstance(plain, tuple):
        return pd.api.types.pandas_dtype(plain)
    kind, *values = plain
    if kind == "category":
        labels = [label_from_plain(label) for label in values[1]]
        return pd.CategoricalDtype(pd.Index(labels, dtype=type_from_plain(values[0])), values[2])
    if kind == "sparse":
        return pd.SparseDtype(type_from_plain(values[0]), label_from_plain(values[1]))
    if kind == "string":
        return string_type(values[0], has_na=values[1])
    import pyarrow as pa

    return pd.ArrowDtype(pa.ipc.read_schema(pa.py_buffer(values[0])).types[0])


_POLARS_FIELDS = {
    "Datetime": ("time_unit", "time_zone"),
    "Duration": ("time_unit",),
    "Decimal": ("precision", "scale"),
    "List": ("inner",),
    "Array": ("inner", "size"),
    "Struct": ("fields",),
    "Enum": ("categories",),
}


def plain_polars_type(dtype: Any) -> Any:
    """Return the type of a polars column as its name or a tuple of plain values."""
    name = type(dtype).__name__
    values = [getattr(dtype, field) for field in _POLARS_FIELDS.get(name, ())]
    if name in ("List", "Array"):
        values[0] = plain_polars_type(values[0])
    if name == "Struct":
        values = [[(field.name, plain_polars_type(field.dtype)) for field in values[0]]]
    if name == "Enum":
        values = [values[0].to_list()]
    return (name, *values) if values else name


def polars_type_from_plain(plain: Any) -> Any:
    """Return the type that ``plain_polars_type`` converted."""
    import polars

    name, *values = plain if isinstance(plain, tuple) else (plain,)
    cls = getattr(polars, name)
    if not (isinstance(cls, type) and issubclass(cls, polars.DataType)):
        raise ValueError(f"{name} is not a type of polars")
    if name in ("List", "Array"):
        values[0] = polars_type_from_plain(values[0])
    if name == "Struct":
        values = [{key: polars_type_from_plain(field) for key, field in values[0]}]
    return cls(*values)


# -- labels ---------------------------------------------------------------------------------------


def plain_label(label: Any) -> Any:
    """Return a label, such as a category; one of a class of pandas as a dict of plain values."""
    if isinstance(label, pd.Timestamp) and _has_zone_name(label):
        zone = None if label.tz is None else str(label.tz)
        return {"kind": "time", "iso": label.isoformat(), "unit": label.unit, "zone": zone}
    if isinstance(label, pd.Timedelta):
        return {
            "kind": "duration",
            "ticks": int(label.to_numpy().view("int64")),
            "unit": label.unit,
        }
    if isinstance(label, pd.Period):
        return {"kind": "period", "ordinal": label.ordinal, "freq": label.freqstr}
    if isinstance(label, pd.Interval):
        ends = plain_label(label.left), plain_label(label.right)
        return {"kind": "interval", "ends": ends, "closed": label.closed}
    return label


def _has_zone_name(label: pd.Timestamp) -> bool:
    """Return whether the time zone of a label is recovered by its name."""
    try:
        return label.tz is None or label.tz_convert(str(label.tz)) == label
    except (KeyError, ValueError):  # zoneinfo's error is a KeyError
        return False


def label_from_plain(plain: Any) -> Any:
    """Return the label that ``plain_label`` converted."""
    if not isinstance(plain, dict):  # no label is a dict, since labels are hashable
        return plain
    if plain["kind"] == "time":
        time = pd.Timestamp(plain["iso"]).as_unit(plain["unit"])
        return time if plain["zone"] is None else time.tz_convert(plain["zone"])
    if plain["kind"] == "duration":
        return pd.Timedelta(np.timedelta64(plain["ticks"], plain["unit"]))
    if plain["kind"] == "period":
        return pd.Period(ordinal=plain["ordinal"], freq=plain["freq"])
    left, right = map(label_from_plain, plain["ends"])
    return pd.Interval(left, right, plain["closed"])
