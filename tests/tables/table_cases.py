"""Columns and data frames of many types, with missing cells."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pandas.testing import assert_frame_equal

N = 60


RNG = np.random.default_rng(0)


def with_missing(values, step):
    """Return values, every ``step``-th one missing."""
    return [None if i % step == 1 else value for i, value in enumerate(values)]


REAL = RNG.normal(size=N).round(3).tolist()


COUNTS = RNG.poisson(4, N).tolist()


FLAGS = (RNG.random(N) < 0.4).tolist()


WORDS = RNG.choice(["red", "green", "blue"], N).tolist()


RANKS = RNG.choice(["low", "middle", "high"], N).tolist()


DAYS = [
    datetime.date(2020, 1, 1) + datetime.timedelta(days=int(i)) for i in RNG.integers(99, size=N)
]


TIMES = [
    datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=int(i))
    for i in RNG.integers(99, size=N)
]


def pandas_column(dtype):
    """Return a column of a type of pandas, with missing cells."""
    if dtype in ("float64", "float32", "Float64", "double[pyarrow]"):
        return pd.Series(with_missing(REAL, 4), dtype=dtype)
    if dtype in ("Int64", "UInt8", "int64[pyarrow]", "Int8"):
        return pd.Series(with_missing(COUNTS, 5), dtype=dtype)
    if dtype in ("boolean", "bool[pyarrow]"):
        return pd.Series(with_missing(FLAGS, 6), dtype=dtype)
    if dtype == "flags of objects":
        return pd.Series(with_missing(FLAGS, 6), dtype=object)
    if dtype == "category":
        levels = pd.CategoricalDtype(["red", "green", "blue", "never"])
        return pd.Series(with_missing(WORDS, 7), dtype=levels)
    if dtype == "ordered":
        levels = pd.CategoricalDtype(["low", "middle", "high"], ordered=True)
        return pd.Series(with_missing(RANKS, 7), dtype=levels)
    if dtype == "numbers as categories":
        return pd.Series(with_missing([c % 3 for c in COUNTS], 5), dtype="category")
    if dtype.startswith("datetime"):
        return pd.Series(pd.to_datetime(with_missing(TIMES, 5))).astype(dtype)
    if dtype == "with a zone":
        return pd.Series(pd.to_datetime(with_missing(TIMES, 5))).dt.tz_localize("America/New_York")
    if dtype == "timedelta64[s]":
        return pd.Series(pd.to_timedelta(with_missing(COUNTS, 5), unit="h")).astype(dtype)
    if dtype == "date32[day][pyarrow]":
        return pd.Series(with_missing(DAYS, 5), dtype=pd.ArrowDtype(pa.date32()))
    return pd.Series(with_missing(WORDS, 3), dtype=dtype)


PANDAS = [
    *("float64", "float32", "Float64", "double[pyarrow]", "Int64", "UInt8", "Int8"),
    *("int64[pyarrow]", "boolean", "bool[pyarrow]", "category", "ordered", "object", "str"),
    *("string", "string[pyarrow]", "datetime64[ns]", "datetime64[s]", "timedelta64[s]"),
    *("date32[day][pyarrow]", "flags of objects", "numbers as categories", "with a zone"),
]


POLARS = {
    "Float64": (REAL, pl.Float64),
    "Float32": (REAL, pl.Float32),
    "Int64": (COUNTS, pl.Int64),
    "UInt8": (COUNTS, pl.UInt8),
    "Boolean": (FLAGS, pl.Boolean),
    "String": (WORDS, pl.String),
    "Categorical": (WORDS, pl.Categorical),
    "Enum": (RANKS, pl.Enum(["low", "middle", "high", "never"])),
    "Date": (DAYS, pl.Date),
    "Datetime": (TIMES, pl.Datetime("ms")),
    "Datetime with a zone": (TIMES, pl.Datetime("us", "Asia/Tokyo")),
    "Duration": ([datetime.timedelta(hours=c) for c in COUNTS], pl.Duration("ms")),
    "Decimal": ([f"{x:.2f}" for x in REAL], pl.Decimal(10, 2)),
}


CODES = [count % 3 for count in COUNTS]


HALVES = [code / 2 for code in CODES]


LABELS = {
    **dict.fromkeys(["Int64", "UInt8", "int64[pyarrow]"], CODES),
    **dict.fromkeys(["Float64", "double[pyarrow]"], HALVES),
    **dict.fromkeys(["boolean", "bool[pyarrow]"], FLAGS),
    **dict.fromkeys(["string[python]", "string[pyarrow]", "large_string[pyarrow]"], WORDS),
    "date32[day][pyarrow]": [DAYS[code] for code in CODES],
    "timestamp[us][pyarrow]": [TIMES[code] for code in CODES],
    "datetime64[us]": [TIMES[code] for code in CODES],
    "str": WORDS,
    "object": RANKS,
}


def labelled_frame(*, plain=False):
    """Return a frame of categories whose labels have the types of LABELS, or Python's types."""
    dtypes = {"date32[day][pyarrow]": pd.ArrowDtype(pa.date32())}
    columns = {
        name: pd.Series(
            with_missing(labels, 5), dtype=object if plain else dtypes.get(name, name)
        ).astype("category")
        for name, labels in LABELS.items()
    }
    return pd.DataFrame({**columns, "beside": REAL})


def pandas_frame(dtype):
    """Return a frame of pandas: a column x of a type, and a column of numbers."""
    index = pd.Index([f"row {i}" for i in range(N)], name="who")
    column = pandas_column(dtype).set_axis(index)
    return pd.DataFrame({"x": column, "beside": pd.Series(REAL, index)})


def polars_frame(name):
    """Return a frame of polars: a column x of a type, and a column of numbers."""
    values, dtype = POLARS[name]
    column = pl.Series("x", with_missing(values, 5)).cast(dtype)
    return pl.DataFrame([column, pl.Series("beside", REAL)])


def assert_completed(out, frame):
    """Assert that no cell is missing, and that types and observed cells are those of the frame."""
    assert type(out) is type(frame)
    assert list(out.columns) == list(frame.columns)
    if isinstance(frame, pl.DataFrame):
        assert out.schema == frame.schema
        out, frame = ({n: f[n].to_list() for n in f.columns} for f in (out, frame))
        for name, column in frame.items():
            for completed, cell in zip(out[name], column, strict=True):
                assert completed is not None
                assert completed == completed
                if cell is not None and cell == cell:
                    assert completed == cell
        return
    assert out.index.equals(frame.index)
    for name in frame.columns:
        assert out[name].dtype == frame[name].dtype, name
    assert not out.isna().any(axis=None)
    observed = frame.notna()
    assert_frame_equal(out.where(observed), frame.where(observed))


def mixed(container="pandas"):
    """Return a frame with a column of each kind."""
    data = {
        "real": with_missing(REAL, 4),
        "count": with_missing(COUNTS, 5),
        "flag": with_missing(FLAGS, 6),
        "word": with_missing(WORDS, 7),
        "rank": with_missing(RANKS, 8),
    }
    if container == "polars":
        return pl.DataFrame(data)
    order = pd.CategoricalDtype(["low", "middle", "high"], ordered=True)
    return pd.DataFrame(data).astype({"count": "Int64", "flag": "boolean", "rank": order})
