"""Arrays of dates, durations, objects and large integers, which are read like data frames."""

import enum
import pickle

import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet, tiny
from table_cases import FLAGS, REAL, TIMES, N, with_missing

from skmissvae import MVAEImputer, make_missing, missing_patterns

pytestmark = quiet


NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


class Color(enum.Enum):
    """A type of cells that cannot be modelled."""

    RED = 1


def time_array(dtype):
    """Return an array of two columns of dates or durations, with missing cells."""
    times = np.array(TIMES, "datetime64[h]")
    if dtype.startswith("m"):
        times = times - np.datetime64("2020-01-01", "h")
    cells = np.column_stack([times, np.roll(times, 1)]).astype(dtype)
    cells[np.random.default_rng(0).random(cells.shape) < 0.3] = "NaT"
    cells[:2] = times[0].astype(dtype)
    return cells


@pytest.mark.parametrize(
    "dtype", ["M8[D]", "M8[h]", "M8[s]", "M8[ms]", "M8[ns]", "m8[h]", "m8[us]"]
)
def test_arrays_of_times_are_completed_like_frames(dtype):
    X = time_array(dtype)
    missing, frame = np.isnat(X), pd.DataFrame(X)
    imputer, of_frame = (tiny(MVAEImputer, max_iter=2).fit(table) for table in (X, frame))
    assert imputer.fit_report_["n_missing"].tolist() == missing.sum(0).tolist()
    loaded = pickle.loads(pickle.dumps(imputer))
    for out in (imputer.transform(X), loaded.transform(X), *imputer.impute(X, 1)):
        assert out.dtype == X.dtype
        assert not np.isnat(out).any()
        np.testing.assert_array_equal(out[~missing], X[~missing])
    np.testing.assert_array_equal(
        imputer.transform(X), of_frame.transform(frame).to_numpy(X.dtype), strict=True
    )
    np.testing.assert_array_equal(imputer.score_samples(X), of_frame.score_samples(frame))
    assert imputer.sample(5).dtype == X.dtype
    empty = np.full((1, 2), np.nan)
    assert not pd.isna(imputer.transform(empty)).any()
    with pytest.raises(ValueError, match="Column 'x0' cannot be read as at fit"):
        imputer.transform(np.zeros((3, 2)))


def test_indicators_beside_dates():
    X = time_array("M8[D]")
    out = tiny(MVAEImputer, add_indicator=True).fit_transform(X)
    np.testing.assert_array_equal(out[:, 2:].astype(bool), np.isnat(X))
    assert set(map(type, out[:, 0])) == {pd.Timestamp}


def test_functions_of_tables_accept_arrays_of_times():
    X = time_array("M8[D]")
    assert missing_patterns(X)["n_rows"].sum() == N
    hidden = make_missing(X, "mcar", 0.5, random_state=0)
    assert hidden.dtype == X.dtype
    assert np.isnat(hidden).sum() > np.isnat(X).sum()


@pytest.mark.parametrize("dtype", ["m8[Y]", "m8[M]", "m8[ps]", "M8[ps]"])
def test_units_without_an_exact_conversion_are_refused(dtype):
    with pytest.raises(TypeError, match=r"X is an array of .*convert it to another one"):
        tiny(MVAEImputer).fit(np.arange(6).reshape(3, 2).astype(dtype))


@pytest.mark.parametrize("null", [None, np.nan, pd.NA])
@pytest.mark.parametrize("bool_type", [bool, np.bool_])
def test_booleans_of_object_arrays_are_binary(bool_type, null):
    flags = with_missing([bool_type(flag) for flag in FLAGS], 6)
    cells = [[null if f is None else f, x] for f, x in zip(flags, REAL, strict=True)]
    X, missing = np.array(cells, dtype=object), np.array([flag is None for flag in flags])
    imputer = tiny(MVAEImputer).fit(X)
    assert imputer.feature_kinds_ == {"x0": "binary", "x1": "continuous"}
    for out in (imputer.transform(X), *imputer.impute(X, 1)):
        assert out.dtype == object
        assert set(out[:, 0]) == {True, False}
        assert (out[~missing, 0] == X[~missing, 0]).all()
        assert out[:, 1].tolist() == REAL
    frame = pd.DataFrame(X).infer_objects()
    expected = tiny(MVAEImputer).fit(frame)
    np.testing.assert_array_equal(imputer.transform(X)[:, 0], expected.transform(frame)[0])
    np.testing.assert_array_equal(imputer.score_samples(X), expected.score_samples(frame))


def test_object_arrays_of_numbers_are_arrays_of_numbers():
    X = np.array([[1, 0.5], [0, None], [None, 2.5], [1, np.float32(1)]] * 6, dtype=object)
    imputer = tiny(MVAEImputer).fit(X)
    assert set(imputer.feature_kinds_.values()) == {"continuous"}
    assert imputer.transform(X).dtype == np.float64


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (pd.NaT, "categorical"),  # a column of nulls
        (pd.Timestamp("2020-01-01"), "continuous"),
        (np.datetime64("2020-01-01", "ns"), "continuous"),
        (np.timedelta64(3, "ns"), "continuous"),
        (np.timedelta64(2**60, "ns"), "continuous"),
        (pd.Timedelta("1D"), "continuous"),
        (pd.Period("2020-01"), "other"),
        (Color.RED, "other"),
        (1 + 2j, "other"),
    ],
)
def test_object_arrays_hold_cells_of_any_type(cell, kind):
    X = np.array([[None, 1.5, "a"]] * 4 + [[cell, 2.5, "b"]] * 4, dtype=object)
    imputer = tiny(MVAEImputer, keep_empty_features=True)
    for table in (X, X[:, :2]):
        out = imputer.fit(table).transform(table)
        assert imputer.feature_kinds_["x0"] == kind
        assert out[:, 1:].tolist() == table[:, 1:].tolist()
        assert out[4, 0] == cell or cell is pd.NaT
        assert missing_patterns(table)["n_missing"].max() == 1


@pytest.mark.parametrize("dtype", ["U3", *([np.dtypes.StringDType()] if NUMPY_2 else [])])
def test_arrays_of_strings(dtype):
    words = np.array([["red", "1.5"], ["sea", "2.5"], ["red", "3"]] * 6, dtype=dtype)
    imputer = tiny(MVAEImputer).fit(words)
    assert imputer.feature_kinds_ == {"x0": "binary", "x1": "categorical"}
    assert (imputer.transform(words) == words.astype(object)).all()
    numbers = tiny(MVAEImputer).fit(words[:, 1:])
    assert numbers.feature_kinds_ == {"x0": "continuous"}
