"""Data frames of pandas and polars: completed tables keep container, types and observed cells."""

import collections
import copy
import datetime
import decimal
import functools
import itertools
import pickle
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from estimator_cases import IMPUTERS, outputs, quiet, tiny
from estimator_cases import table as incomplete
from pandas.testing import assert_frame_equal
from table_cases import (
    COUNTS,
    DAYS,
    PANDAS,
    POLARS,
    REAL,
    RNG,
    TIMES,
    N,
    assert_completed,
    mixed,
    pandas_frame,
    polars_frame,
    with_missing,
)

from skmissvae import DeMissVAEImputer, MVAEImputer, make_missing, missing_patterns

pytestmark = quiet


@functools.cache
def fitted_to_pandas(dtype):
    """Return an imputer that is fitted to rows of a type of pandas; tests do not change it."""
    return tiny(MVAEImputer, init="random", max_iter=2).fit(pandas_frame(dtype)[1:10])


@pytest.mark.parametrize("strategy", ["auto", "draw", "median", "mode", "mean"])
@pytest.mark.parametrize("dtype", PANDAS)
def test_transform_keeps_types_of_pandas(dtype, strategy):
    frame = pandas_frame(dtype)[1:10]
    before = frame.copy(deep=True)
    imputer = copy.copy(fitted_to_pandas(dtype)).set_params(strategy=strategy)
    assert_completed(imputer.transform(frame), frame)
    assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", POLARS)
def test_results_keep_types_of_polars(name):
    frame = polars_frame(name)
    imputer = tiny(MVAEImputer, init="random", max_iter=2).fit(frame)
    for out in (imputer.transform(frame), *imputer.impute(frame, 2)):
        assert_completed(out, frame)
    drawn = imputer.sample(7)
    assert drawn.schema == frame.schema
    assert drawn.null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize("dtype", PANDAS)
def test_sample_has_the_types_of_the_table(dtype):
    frame = pandas_frame(dtype)
    drawn = fitted_to_pandas(dtype).sample(9)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert len(drawn) == 9
    assert not drawn.isna().any(axis=None)


def test_sparse_and_object_columns_keep_their_types():
    rng = np.random.default_rng(0)
    sparse = pd.arrays.SparseArray(rng.choice([0.0, 0.0, 1.5, 2.5, 4.0], N))
    prices = [decimal.Decimal(f"{x:.2f}") for x in REAL]
    frame = pd.DataFrame(
        {
            "sparse": sparse,
            "price": pd.Series(with_missing(prices, 4), dtype=object),
            "count": pd.Series(with_missing(COUNTS, 5), dtype=object),
            "x": REAL,
        }
    )
    frame["sparse"] = frame["sparse"].mask(rng.random(N) < 0.2).astype(pd.SparseDtype(float))
    frame["integer"] = pd.arrays.SparseArray(COUNTS, dtype=pd.SparseDtype("int64", 0))
    imputer = tiny(MVAEImputer, strategy="draw").fit(frame)
    out = imputer.transform(frame)
    assert_completed(out, frame)
    assert set(map(type, out["price"])) == {decimal.Decimal}
    assert set(map(type, out["count"])) == {int}
    assert imputer.sample(3)["integer"].dtype == frame["integer"].dtype
    marked = frame[["price", "x"]].assign(price=frame["price"].fillna("?"))
    out = tiny(MVAEImputer, missing_values="?").fit_transform(marked)
    assert set(map(type, out["price"])) == {decimal.Decimal}
    means = tiny(MVAEImputer, feature_kinds={"count": "continuous"}).fit_transform(frame)
    assert not (means["count"][frame["count"].isna()] % 1 == 0).all()


ZONE = zoneinfo.ZoneInfo("Asia/Tokyo")


HOURS = [datetime.timedelta(hours=count) for count in COUNTS]


OBJECTS = {
    "date": (DAYS, pd.ArrowDtype(pa.date32())),
    "datetime": (TIMES, "datetime64[us]"),
    "aware datetime": ([t.replace(tzinfo=ZONE) for t in TIMES], "datetime64[us, Asia/Tokyo]"),
    "Timestamp": ([pd.Timestamp(t) for t in TIMES], "datetime64[us]"),
    "aware Timestamp": ([pd.Timestamp(t, tz="UTC") for t in TIMES], "datetime64[us, UTC]"),
    "timedelta": (HOURS, "timedelta64[us]"),
    "Timedelta": ([pd.Timedelta(hour) for hour in HOURS], "timedelta64[us]"),
}


def time_frames(name):
    """Return a frame with a column of objects, and the same with a column of their type."""
    values, dtype = OBJECTS[name]
    objects = pd.Series(with_missing(values, 5), dtype=object)
    frame = pd.DataFrame({"x": objects, "beside": REAL})
    return frame, frame.assign(x=objects.astype(dtype))


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_of_time_are_completed_like_their_types(name):
    frame, typed = time_frames(name)
    options = {"init": "random", "max_iter": 1, "strategy": "draw"}
    imputer, expected = (tiny(MVAEImputer, **options).fit(X) for X in (frame, typed))
    np.testing.assert_array_equal(imputer.score_samples(frame), expected.score_samples(typed))
    for method in (lambda m, X: m.transform(X), lambda m, X: m.impute(X, 1)[0]):
        out = method(imputer, frame)
        assert_completed(out, frame)
        assert out["x"].tolist() == method(expected, typed)["x"].tolist()
        assert set(map(type, out["x"])) == {type(OBJECTS[name][0][0])}
    for model, X in ((imputer, typed), (expected, frame)):  # the other type than at fit
        out = model.transform(X)
        assert_completed(out, X)
        assert out["x"].tolist() == imputer.transform(frame)["x"].tolist()
    drawn, typed_drawn = imputer.sample(3), expected.sample(3)
    assert drawn["x"].tolist() == typed_drawn["x"].tolist()
    assert drawn["x"].dtype == object
    again = pickle.loads(pickle.dumps(imputer))
    assert_frame_equal(again.transform(frame), imputer.transform(frame))


def test_objects_of_time_obey_bounds():
    frame, _ = time_frames("date")
    low = datetime.date(2020, 2, 1)
    imputer = tiny(MVAEImputer, max_iter=1, strategy="draw", min_value={"x": low}).fit(frame)
    assert (imputer.transform(frame)["x"][frame["x"].isna()] >= low).all()
    quantiles = imputer.cell_distribution(frame)
    assert (quantiles[quantiles["column"] == "x"]["5%"] >= low).all()


CLOCK = [datetime.time(i % 24, i % 60) for i in range(N)]


@pytest.mark.parametrize(
    "cells",
    [
        CLOCK,
        [pd.Period(day, "D") for day in DAYS],
        [DAYS[i] if i % 2 else TIMES[i] for i in range(N)],
        [np.datetime64(time) for time in TIMES],
        [np.timedelta64(count, "h") for count in COUNTS],
    ],
    ids=["times of day", "periods", "dates and times", "datetime64", "timedelta64"],
)
def test_other_objects_of_time_are_named_in_a_warning(cells):
    frame = pd.DataFrame({"when": pd.Series(with_missing(cells, 5), dtype=object), "x": REAL})
    with pytest.warns(UserWarning, match="keep their missing values: 'when'. Convert"):
        imputer = tiny(MVAEImputer, max_iter=1).fit(frame)
    assert_frame_equal(imputer.transform(frame), frame)


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [(pl.Int128, "such as polars.Int64"), (pl.Object, "to strings or to dates")],
)
def test_unsupported_types_of_polars_are_refused(dtype, remedy):
    column = pl.Series("x", with_missing(COUNTS, 5), dtype=dtype)
    frame = pl.DataFrame([column, pl.Series("beside", with_missing(REAL, 7))])
    error = f"Column 'x' has the polars type {dtype}, which is not supported: .*{remedy}"
    with pytest.raises(TypeError, match=error):
        tiny(MVAEImputer).fit(frame)
    with pytest.raises(TypeError, match=error):
        make_missing(frame)


def test_kept_empty_columns_keep_their_types():
    frame = pd.DataFrame({"x": REAL, "y": COUNTS})
    for dtype in ("string", "category", "object", "Int64", "float64"):
        frame[dtype] = pd.Series([None] * N, dtype=dtype)
    imputer = tiny(MVAEImputer, keep_empty_features=True).fit(frame)
    result = imputer.sample(5)
    assert list(result) == list(frame)
    assert list(map(str, result.dtypes)) == list(map(str, frame.dtypes))
    assert result["string"].isna().all()


@pytest.mark.parametrize("dtype", ["category", "string", "Int64", "datetime64[ns]"])
def test_read_only_frames(dtype):
    if dtype == "string" and pd.__version__.startswith("2.2."):
        pytest.skip("pandas 2.2 does not slice read-only columns of strings")
    frame = pandas_frame(dtype)
    for name in frame:
        values = frame[name].array
        if hasattr(values, "_ndarray"):
            values._ndarray.flags.writeable = False
    assert_completed(tiny(MVAEImputer, max_iter=2).fit_transform(frame), frame)


@pytest.mark.parametrize(
    ("cls", "container"),
    [
        *zip(IMPUTERS, itertools.cycle(["pandas", "polars"]), strict=False),
        (DeMissVAEImputer, "polars"),
    ],
)
def test_imputers_complete_mixed_tables(cls, container):
    frame = mixed(container)
    imputer, frame = tiny(cls, init="random", max_iter=1).fit(frame), frame[:15]
    assert_completed(imputer.transform(frame), frame)
    for completed in imputer.impute(frame, 2):
        assert_completed(completed, frame)
    for values in outputs(imputer, frame).values():
        assert not pd.isna(np.asarray(values, dtype=object)).any()


def test_no_negative_zeros():
    frame = pd.DataFrame({"n": RNG.poisson(0.3, N).astype(float), "m": RNG.poisson(0.3, N)})
    incomplete = frame.mask(RNG.random(frame.shape) < 0.4)
    imputer = tiny(MVAEImputer, feature_kinds={"n": "count"}, strategy="draw").fit(incomplete)
    for result in (
        imputer.transform(incomplete),
        imputer.sample(200),
        imputer.impute(incomplete, 1)[0],
    ):
        assert not np.signbit(result.to_numpy(float)).any()


@pytest.mark.parametrize("dtype", PANDAS)
def test_pickled_estimators_keep_types(dtype):
    frame, imputer = pandas_frame(dtype)[1:10], fitted_to_pandas(dtype)
    back = pickle.loads(pickle.dumps(imputer))
    assert_frame_equal(back.transform(frame), imputer.transform(frame))
    assert_frame_equal(back.sample(3, random_state=0), imputer.sample(3, random_state=0))


def test_draws_do_not_overflow_their_types():
    small = pl.DataFrame({"x": pl.Series([200, 255, 250, 231] * 10, dtype=pl.UInt8)})
    assert tiny(MVAEImputer).fit(small).sample(500)["x"].max() <= 255
    late = pd.DataFrame({"d": pd.to_datetime(["2000-01-01", None, "2261-01-01", "2001-01-01"] * 8)})
    for unit in ("ns", "us"):
        out = tiny(MVAEImputer, strategy="draw").fit_transform(late.astype(f"datetime64[{unit}]"))
        assert not out["d"].isna().any()


def test_complex_columns_stay_unchanged():
    for cells in (np.array([1j, 2j] * 10), [np.complex64(1j), np.complex64(2j)] * 10):
        frame = pd.DataFrame({"c": pd.Series(cells), "x": with_missing(REAL[:20], 3)})
        assert_frame_equal(tiny(MVAEImputer).fit_transform(frame)[["c"]], frame[["c"]])


def test_other_containers_are_refused():
    table = pa.table({"x": REAL})
    for X in (table, pl.LazyFrame({"x": REAL})):
        with pytest.raises(TypeError, match=r"pandas or polars|collect"):
            tiny(MVAEImputer).fit(X)


@pytest.mark.parametrize(
    "X", [np.zeros(3, dtype=[("a", "f4"), ("b", "f4")]), [{"a": 1.0}, {"a": 2.0}]]
)
def test_records_are_refused_with_a_remedy(X):
    with pytest.raises(TypeError, match=r"pass pandas.DataFrame\(X\)"):
        tiny(MVAEImputer).fit(X)


@pytest.mark.parametrize("mapping", [dict, collections.OrderedDict])
def test_mappings_of_columns_are_refused_with_a_remedy(mapping):
    columns = mapping(a=REAL, b=COUNTS)
    imputer = tiny(MVAEImputer, max_iter=1).fit(pd.DataFrame(columns))
    calls = (tiny(MVAEImputer).fit, imputer.transform, imputer.impute, imputer.score_samples)
    for call in (*calls, make_missing, missing_patterns):
        with pytest.raises(TypeError, match=r"X is a (Ordered)?[dD]ict of columns; pass pandas"):
            call(columns)


@pytest.mark.parametrize("add_indicator", [False, True])
def test_completed_tables_keep_attrs(add_indicator):
    frame = mixed()
    imputer = tiny(MVAEImputer, max_iter=1, add_indicator=add_indicator).fit(frame[:9])
    frame.attrs = {"units": {"real": "m"}}
    tables = [imputer.transform(frame), imputer.impute(frame, 1)[0]]
    for table in (*tables, imputer.set_output(transform="pandas").transform(frame)):
        assert table.attrs == frame.attrs
        assert table.attrs["units"] is not frame.attrs["units"]


def test_nullable_integers_and_booleans():
    n = 24
    frame = pd.DataFrame(
        {
            "count": pd.array([pd.NA if i % 5 == 0 else i for i in range(n)], dtype="Int64"),
            "flag": pd.array([pd.NA if i % 7 == 0 else i % 2 == 0 for i in range(n)], "boolean"),
            "real": [np.nan if i % 4 == 0 else i / 3 for i in range(n)],
        }
    )
    out = tiny(MVAEImputer).fit_transform(frame)
    assert list(out.dtypes) == list(frame.dtypes)
    assert not out.isna().any(axis=None)
    pd.testing.assert_frame_equal(out.where(frame.notna()), frame)


@pytest.mark.parametrize("dtype", ["float64", "Float64", object])
def test_frames_of_any_type_raise_no_warnings(dtype, recwarn):
    frame = pd.DataFrame(incomplete(), columns=list("abcd")).astype(dtype)
    frame = frame.assign(e=pd.array([1, pd.NA, 2, pd.NA] * 10, dtype="Int64"), f=["1", "2"] * 20)
    imputer = tiny(MVAEImputer).set_output(transform="pandas").fit(frame)
    imputer.transform(frame)
    imputer.impute(frame, 1)[0]
    messages = [str(warning.message) for warning in recwarn]
    assert [message for message in messages if "effective sample size" not in message] == []


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_arrays_of_numbers_as_strings_are_read_as_the_numbers_of_a_frame(make):
    X = incomplete()
    imputer = tiny(MVAEImputer).fit(make(pd.DataFrame(X, columns=list("abcd")).to_dict("list")))
    rows = X[:5].astype(str)
    completed = imputer.transform(rows)
    assert completed.dtype == np.float64
    np.testing.assert_array_equal(completed, imputer.transform(X[:5].tolist()))
