"""Data types and labels of columns in saved models."""

import datetime
import decimal
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import skops.io
from estimator_cases import quiet, tiny
from pandas.testing import assert_frame_equal
from table_cases import PANDAS, POLARS, REAL, WORDS, N, pandas_frame, polars_frame, with_missing

from skmissvae import MVAEImputer
from skmissvae.tables.codecs import Categories
from skmissvae.tables.columns import as_frame
from skmissvae.tables.input_table import InputTable, columns_of
from skmissvae.tables.plain_types import label_from_plain, plain_label, plain_type, type_from_plain

pytestmark = quiet

ARROW = [
    *(pa.string(), pa.large_string(), pa.decimal128(10, 2), pa.binary(), pa.null(), pa.int8()),
    *(pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.int64()), pa.date32(), pa.duration("s")),
    *(pa.struct([("a", pa.int64())]), pa.timestamp("us", "America/New_York"), pa.time64("us")),
]


TIMES = [pd.Timestamp("2020-01-01 12:00:00.5"), pd.Timestamp("2021-03-28", tz="Asia/Tokyo")]


LABELS = [
    *(*TIMES, TIMES[0].as_unit("ns"), pd.Timestamp("2020-01-01", tz="UTC+03:07")),
    *(pd.Timedelta("1.5h"), pd.Timedelta(np.timedelta64(10**15, "s")), pd.Period("2020-02", "M")),
    *(pd.Interval(0, 1.5, "left"), pd.Interval(pd.Timestamp(0), TIMES[0], "both")),
    *("a", 1, 2.5, True, decimal.Decimal("1.20"), datetime.date(2020, 1, 1)),
]


def categorical(values, dtype=None):
    return pd.CategoricalDtype(pd.Index(values, dtype=dtype))


PANDAS_2_3 = tuple(map(int, pd.__version__.split(".")[:2])) >= (2, 3)
TYPES = [
    *map(pd.ArrowDtype, ARROW),
    *(categorical([2, 1], "Int64"), categorical(["b", "a"], "string[pyarrow]")),
    *(categorical([True, False], "boolean"), categorical([0.5], "Float64")),
    *(categorical([1], "int64[pyarrow]"), categorical([TIMES[0]]), categorical([TIMES[1]])),
    *(pd.CategoricalDtype(["b", "a"], ordered=True), pd.cut([0, 1, 2], 2).dtype),
    *(categorical(pd.period_range("2020", periods=2, freq="D")), pd.PeriodDtype("D")),
    *(pd.IntervalDtype("float64", "left"), pd.SparseDtype("float64", 7.0), pd.SparseDtype("int64")),
    *(pd.StringDtype("python"), pd.StringDtype("pyarrow")),
    *(pd.StringDtype(s, np.nan) for s in ("python", "pyarrow") if PANDAS_2_3),
    *(pd.DatetimeTZDtype("us", "Europe/Berlin"), np.dtype("timedelta64[ms]"), np.dtype("O")),
    *(pd.Int8Dtype(), pd.BooleanDtype(), np.dtype("complex64"), np.dtype("float32")),
]


def saved(value):
    """Return a value after skops, which must know all of its classes."""
    data = skops.io.dumps(value)
    assert skops.io.get_untrusted_types(data=data) == []
    return skops.io.loads(data)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_types_are_restored(dtype):
    restored = type_from_plain(saved(plain_type(dtype)))
    assert restored == dtype
    assert type(restored) is type(dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        pd.testing.assert_index_equal(restored.categories, dtype.categories, exact=True)
        assert restored.ordered == dtype.ordered


@pytest.mark.parametrize("label", LABELS, ids=repr)
def test_labels_are_restored(label):
    restored = label_from_plain(plain_label(label))
    assert restored == label
    assert type(restored) is type(label)
    assert getattr(restored, "unit", None) == getattr(label, "unit", None)
    assert str(getattr(restored, "tz", None)) == str(getattr(label, "tz", None))
    codec = Categories("categorical", [label])
    assert pickle.loads(pickle.dumps(codec)).categories == codec.categories


@pytest.mark.parametrize("frame", [*map(pandas_frame, PANDAS), *map(polars_frame, POLARS)])
def test_templates_are_restored(frame):
    narwhals_frame = as_frame(frame)
    template = InputTable(columns_of(narwhals_frame), narwhals_frame, None).template()
    restored = InputTable.from_plain(saved(template.to_plain()))
    empty, expected = restored.frame.to_native(), template.frame.to_native()
    assert list(empty.columns) == list(expected.columns)
    assert list(empty.dtypes) == list(expected.dtypes)
    assert len(empty) == 0


def nested_types(library):
    """Return a frame of types that models cannot use, and of labels and strings that they can."""
    days = [datetime.datetime(2020, 1, 1 + i % 3) for i in range(N)]
    if library == "polars":
        columns = {"list": [[1]] * N, "struct": [{"a": 1}] * N, "time": [datetime.time(1)] * N}
        return pl.DataFrame({**columns, "real": with_missing(REAL, 3), "day": days})
    arrow = {
        f"arrow{i}": pd.Series([None] * N, dtype=pd.ArrowDtype(t)) for i, t in enumerate(ARROW)
    }
    frame = pd.DataFrame({**arrow, "real": with_missing(REAL, 3)})
    frame["word"] = pd.Series(with_missing(WORDS, 5), dtype=pd.ArrowDtype(pa.string()))
    frame["day"] = pd.Series(with_missing(days, 4), dtype="category")
    frame["interval"] = pd.cut(frame["real"], 3)
    return frame.assign(python=frame["word"].astype(pd.StringDtype("python")))


@pytest.mark.filterwarnings("ignore:Columns of a data type that cannot be modelled:UserWarning")
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_skops_loads_models_of_any_types(library):
    frame = nested_types(library)
    imputer = tiny(MVAEImputer, max_iter=1, keep_empty_features=True).fit(frame)
    data = skops.io.dumps(imputer)
    restored = skops.io.loads(data, trusted=["skmissvae.MVAEImputer"])
    for call in (lambda m: m.transform(frame), lambda m: m.sample(3, random_state=0)):
        if library == "polars":
            assert call(restored).equals(call(imputer))
            assert call(restored).schema == call(imputer).schema
        else:
            assert_frame_equal(call(restored), call(imputer))
