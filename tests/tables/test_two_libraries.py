"""Data frames of one library at fit, and of another afterwards."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from estimator_cases import quiet, tiny
from pandas.testing import assert_frame_equal
from table_cases import COUNTS, DAYS, FLAGS, REAL, TIMES, WORDS, N, with_missing

from skmissvae import MVAEImputer
from skmissvae.tables.input_table import hide_cells

pytestmark = quiet


def of_many_kinds():
    return pd.DataFrame(
        {
            "a": REAL,
            "b": with_missing(REAL[::-1], 4),
            "n": pd.Series(with_missing(COUNTS, 5), dtype="Int64"),
            "s": pd.Series(with_missing(WORDS, 7), dtype="category"),
            "w": with_missing(WORDS, 6),
            "t": pd.Series(pd.to_datetime(with_missing(TIMES, 5))),
            "flag": pd.Series(with_missing(FLAGS, 6), dtype="boolean"),
        }
    )


def test_empty_rows_of_either_library():
    frame = of_many_kinds()
    row = {"a": [1.0], **{name: [None] for name in frame.columns[1:]}}
    ours, theirs = pd.DataFrame(row), pl.DataFrame(row)
    for fitted in (frame, pl.from_pandas(frame)):
        imputer = tiny(MVAEImputer).fit(fitted)
        result, also = imputer.transform(ours), imputer.transform(theirs)
        assert isinstance(result, pd.DataFrame)
        assert isinstance(also, pl.DataFrame)
        assert list(result.columns) == also.columns == list(frame.columns)
        cells, others = result.iloc[0].tolist(), also.row(0)
        assert not any(cell is None or pd.isna(cell) for cell in (*cells, *others))
        assert [str(c).removesuffix(".0") for c in cells] == [
            str(c).removesuffix(".0") for c in others
        ]
        assert also.schema["n"] == pl.Int64
        assert also.schema["t"].is_temporal()
        assert imputer.impute(theirs, 2)[1].null_count().to_numpy().sum() == 0
        assert not imputer.impute(ours, 2)[1].isna().any(axis=None)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([0.1, 0.2] * 20, dtype="float32"),
        pd.Series([1, 2, 3, 4] * 10, dtype="Int8"),
        pd.Series(pd.Categorical(["lo", "hi"] * 20, ["lo", "mid", "hi"], ordered=True)),
        pd.Series(pd.Categorical([3, 4, 5, 4] * 10)),
        pd.Series(pd.Categorical([3, 4, 5, 4] * 10, ordered=True)),
        pd.Series([1.5, 2.25] * 20, dtype=pd.ArrowDtype(pa.decimal128(6, 2))),
        pd.Series([decimal.Decimal("1.5"), decimal.Decimal("2.25")] * 20),
        pd.Series(["a", 1] * 20).map(lambda cell: cell == "a").astype(object),
        pd.Series(pd.to_datetime(TIMES[:40])).dt.tz_localize("America/New_York"),
        pl.Series([1.5, 2.25] * 20, dtype=pl.Decimal(6, 2)),
        pl.Series([1, 2, 3, 4] * 10, dtype=pl.Int32),
        pl.Series([200, 250] * 20, dtype=pl.UInt8),
        pl.Series(["lo", "hi"] * 20, dtype=pl.Enum(["lo", "mid", "hi"])),
        pl.Series(DAYS[:40]),
    ],
    ids=lambda column: f"{type(column).__module__.split('.')[0]} {column.dtype}",
)
def test_imputed_values_in_another_library(column):
    theirs = isinstance(column, pl.Series)
    frame = pl.DataFrame({"c": column}) if theirs else column.to_frame("c")
    incomplete = hide_cells(frame, np.arange(40)[:, None] % 5 == 0)
    x = pl.Series("x", range(40), dtype=pl.Float64) if theirs else np.arange(40.0)
    incomplete = incomplete.with_columns(x) if theirs else incomplete.assign(x=x)
    imputer = tiny(MVAEImputer).fit(incomplete)
    row = {"c": [None], "x": [7.0]}
    result = imputer.transform(pd.DataFrame(row) if theirs else pl.DataFrame(row))["c"].to_list()[0]
    values = column.to_list()
    if isinstance(values[0], (float, decimal.Decimal)):
        assert float(result) != round(float(result))  # not rounded
    elif isinstance(values[0], (int, datetime.date)):
        assert min(values) <= result <= max(values)
    else:
        assert result in values


def test_polars_frames_become_pandas_frames_with_the_same_types():
    frame = pl.from_pandas(of_many_kinds()).with_columns(
        pl.col("s").cast(pl.Enum(["blue", "green", "red"]))
    )
    imputer = tiny(MVAEImputer).fit(frame)
    expected = imputer.transform(frame)
    result = imputer.set_output(transform="pandas").transform(frame)
    assert isinstance(result, pd.DataFrame)
    kinds = {
        name: dtype.kind if hasattr(dtype, "kind") else dtype
        for name, dtype in result.dtypes.items()
    }
    assert (kinds["a"], kinds["b"], kinds["n"], kinds["t"], kinds["flag"]) == (
        "f",
        "f",
        "i",
        "M",
        "b",
    )
    assert result["s"].dtype == pd.CategoricalDtype(["blue", "green", "red"], ordered=True)
    for name in frame.columns:
        assert result[name].tolist() == expected[name].to_list()
    with sklearn.config_context(transform_output="pandas"):
        assert_frame_equal(tiny(MVAEImputer).fit(frame).transform(frame), result)


@pytest.mark.parametrize("library", [pd, pl])
def test_narrow_integer_types_are_widened(library):
    number = np.arange(N) % 7 + 1000
    frame = pd.DataFrame(
        {"n": pd.array(with_missing(number.tolist(), 5), dtype="Int64"), "x": number / 7}
    )
    imputer = tiny(MVAEImputer, feature_kinds={"n": "integer"}).fit(frame)
    new = pd.DataFrame({"n": pd.array([None, 1], dtype="Int8"), "x": [143.0, 143.0]})
    result = imputer.transform(new if library is pd else pl.from_pandas(new))["n"]
    assert result.dtype == (pd.Int64Dtype() if library is pd else pl.Int64)
    assert result.to_list()[0] > 900
    assert result.to_list()[1] == 1
    complete = new.assign(n=pd.array([3, 1], dtype="Int8"))
    assert_frame_equal(imputer.transform(complete), complete)


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize(
    ("at_fit", "served", "cells"),
    [
        ("Int64", "UInt64", [None, 2**64 - 1]),  # neither type holds all
        ("UInt64", "Int64", [None, -5]),
        ("Int8", "Int64", [None, 2**40]),
    ],
)
def test_observed_integers_stay_unchanged(library, at_fit, served, cells):
    low = {"Int64": -200, "UInt64": 2**63 + 10**6, "Int8": -90}[at_fit]
    values = [low + 3 * (i % 7) for i in range(N)]
    frame = pd.DataFrame({"n": pd.array(with_missing(values, 5), dtype=at_fit), "x": range(N)})
    imputer = tiny(MVAEImputer, feature_kinds={"n": "integer"}).fit(frame)
    new = pd.DataFrame({"n": pd.array(cells, dtype=served), "x": [3, 3]})
    result = imputer.transform(new if library is pd else pl.from_pandas(new))["n"]
    assert result.to_list()[1] == cells[1]
    assert result.to_list()[0] is not None
    assert str(result.dtype) == served


def test_columns_without_a_type_in_pandas_become_objects():
    zone = pl.Datetime("us", "America/New_York")
    frame = pl.DataFrame(
        {
            "x": with_missing(REAL, 4),
            "t": pl.Series(TIMES).dt.replace_time_zone("America/New_York").cast(zone),
            "day": DAYS,
            "parts": [{"a": 1}] * N,
            "n": pl.Series(with_missing([2**60 + i for i in COUNTS], 5)),
            "flag": with_missing(FLAGS, 6),
        }
    )
    imputer = tiny(MVAEImputer).set_output(transform="pandas").fit(frame)
    result = imputer.transform(frame, where=["x"])
    assert str(result["t"].dtype.tz) == "America/New_York"
    assert [time.isoformat() for time in result["t"]] == [time.isoformat() for time in frame["t"]]
    assert result["day"].tolist() == DAYS
    assert result["parts"].tolist() == [{"a": 1}] * N
    assert result["n"].dtype == pd.Int64Dtype()
    assert result["n"].dropna().tolist() == frame["n"].drop_nulls().to_list()
    assert result["flag"].dtype == pd.BooleanDtype()


@pytest.mark.parametrize(
    ("at_fit", "new"),
    [
        (pl.Series([datetime.timedelta(hours=c) for c in COUNTS]), pl.Series(COUNTS)),
        (pl.Series(WORDS), pl.Series(with_missing(COUNTS, 5))),
        (pd.Series(WORDS), pd.Series(with_missing(COUNTS, 5), dtype="Int64")),
    ],
)
def test_columns_of_another_type_are_named(at_fit, new):
    frame = type(at_fit.to_frame())
    imputer = tiny(MVAEImputer, handle_unknown="missing")
    imputer.fit(frame({"name of it": at_fit, "beside": REAL}))
    with pytest.raises(ValueError, match=r"Column 'name of it' .*; give it the type .* at fit"):
        imputer.transform(frame({"name of it": new, "beside": REAL}))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_empty_columns_of_frames_get_the_type_of_the_array_at_fit(dtype):
    imputer = tiny(MVAEImputer).fit(np.column_stack([REAL, REAL[::-1]]).astype(dtype))
    empty = pd.DataFrame({"a": pd.array([None, None], dtype=pd.ArrowDtype(pa.null()))})
    for frame in (empty.assign(b=1.0), pl.DataFrame({"a": [None, None], "b": [1.0, 1.0]})):
        column = imputer.transform(frame)["a"]
        assert str(column.dtype).lower().startswith(dtype)
        assert np.isfinite(column.to_numpy()).all()


def test_numbers_as_strings_in_arrays_stay_strings_for_an_estimator_of_a_frame():
    labels = ["0.5", "1.5"] * (N // 2)
    imputer = tiny(MVAEImputer).fit(pd.DataFrame({"n": COUNTS, "label": labels}))
    rows = np.array([[3, "0.5"], [None, "1.5"], [2, None]], dtype=object)
    completed = imputer.transform(rows)
    assert completed[0].tolist() == [3, "0.5"]
    assert type(completed[0, 0]) is int
    assert completed[2, 1] in labels
