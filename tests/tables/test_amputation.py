"""Arguments and results of make_missing: containers, types and errors."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skmissvae.tables import make_missing, missing_patterns

TABLES = ["mcar", "mar", "mnar"]


N = 20_000
ERROR = 4 * np.sqrt(0.25 / N)  # four standard errors of a share of N rows
PATTERNS = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]], dtype=bool)


every_mechanism = pytest.mark.parametrize("mechanism", TABLES)


def normal(n=1000, n_columns=4, correlation=0.6):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n, 1)) * np.sqrt(correlation)
    return common + rng.normal(size=(n, n_columns)) * np.sqrt(1 - correlation)


def incomplete(n=1000, share=0.3):
    X = normal(n)
    X[np.random.default_rng(1).random(X.shape) < share * np.array([0, 1, 1.5, 0.5])] = np.nan
    return X


def masked(*args, random_state=0, **kwargs):
    return make_missing(*args, random_state=random_state, return_mask=True, **kwargs)[1]


def many(n=3000):
    rng = np.random.default_rng(0)
    code = rng.integers(3, size=n)
    day = pd.Timestamp("2020-01-01", tz="Europe/Berlin") + pd.to_timedelta(code, "D")
    return code, pd.DataFrame(
        {
            "word": np.array(["a", "b", "c"])[code],
            "level": pd.Categorical(np.array(["z", "m", "a"])[code], ["z", "m", "a"], ordered=True),
            "day": day,
            "wait": pd.to_timedelta(code, "h"),
            "count": pd.array(code, "Int64"),
            "flag": pd.array(code > 1, "boolean"),
            "int": code,
            "bool": code > 1,
            "small": code.astype(np.float32),
            "object": np.array(["a", "b", "c"], dtype=object)[code],
            "integer": rng.integers(-9, 9, size=n).astype(np.int8),
        },
        index=pd.Index(rng.permutation(n), name="row"),
    )


def as_polars(frame):
    return pl.from_pandas(frame.drop(columns=["level", "object"])).with_columns(
        pl.Series("^.*$", frame["level"].to_list(), dtype=pl.Enum(["z", "m", "a"])),
        pl.Series("date", frame["day"].dt.date.to_list()),
        pl.Series("price", frame["count"].to_list(), dtype=pl.Decimal(10, 2)),
    )


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_columns_of_all_types_have_scores(container):
    code, frame = many()
    X = as_polars(frame) if container == "polars" else frame
    hidden = masked(X, "mnar", 0.4)
    for name, is_hidden in zip(X.columns, hidden.T, strict=True):
        if name != "integer":
            assert code[is_hidden].mean() > code[~is_hidden].mean() + 0.3, name
    for j in range(X.shape[1]):
        others = [[k == (j + 1) % X.shape[1] for k in range(X.shape[1])]]
        weights = [[float(k == j) for k in range(X.shape[1])]]
        is_hidden = masked(X, "mar", 0.4, of="rows", patterns=others, weights=weights).any(1)
        assert code[is_hidden].mean() > code[~is_hidden].mean() + 0.3 or X.columns[j] == "integer"


def test_columns_of_unsupported_types_are_hidden_at_random():
    X = pl.DataFrame(
        {
            "list": [[1], [2], [3]] * 100,
            "time": [datetime.time(1)] * 300,
            "null": [None] * 300,
            "x": range(300),
        }
    )
    for mechanism in TABLES:
        result, hidden = make_missing(X, mechanism, 0.3, random_state=0, return_mask=True)
        assert result.schema == X.schema
        assert hidden.sum() / 900 == pytest.approx(0.3, abs=0.06)
        assert not hidden[:, 2].any()


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_pandas_frames_keep_types_and_observed_cells(mechanism):
    _, frame = many(300)
    frame = frame.mask(np.random.default_rng(1).random(frame.shape) < [0.1] * 6 + [0] * 5)
    before = frame.copy()
    result, hidden = make_missing(frame, mechanism, random_state=0, return_mask=True)
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_array_equal(result.isna(), frame.isna() | hidden)
    assert result.columns.equals(frame.columns)
    pd.testing.assert_index_equal(result.index, frame.index)
    for name, is_hidden in zip(frame, hidden.T, strict=True):
        expected = {"int": "float64", "bool": "object", "integer": "float64"}.get(name)
        if expected is None or not is_hidden.any():
            expected = frame[name].dtype
        assert result[name].dtype == expected, name
        assert (
            result[name][~is_hidden].dropna().tolist() == frame[name][~is_hidden].dropna().tolist()
        )


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_polars_frames_keep_types_and_observed_cells(mechanism):
    frame = as_polars(many(300)[1])
    before = frame.clone()
    result, hidden = make_missing(frame, mechanism, random_state=0, return_mask=True)
    assert frame.equals(before)
    assert result.schema == frame.schema
    for before, after, is_hidden in zip(frame, result, hidden.T, strict=True):
        assert after.is_null().to_list() == is_hidden.tolist()
        assert after.filter(~is_hidden).equals(before.filter(~is_hidden))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, int, bool])
def test_arrays_keep_observed_cells(dtype):
    X = (100 * normal(200)).astype(dtype)
    before = X.copy()
    result, hidden = make_missing(X, "mar", random_state=0, return_mask=True)
    np.testing.assert_array_equal(X, before)
    assert result.dtype == (dtype if dtype == np.float32 else np.float64)
    assert not np.shares_memory(result, X)
    np.testing.assert_array_equal(np.isnan(result), hidden)
    np.testing.assert_array_equal(result[~hidden], X[~hidden])


def test_lists_are_tables():
    X = normal(30)
    result = make_missing(X.tolist(), random_state=0)
    np.testing.assert_array_equal(result, make_missing(X, random_state=0))


@every_mechanism
def test_missing_cells_stay_missing_and_are_not_in_the_mask(mechanism):
    X = incomplete(500)
    for patterns in (None, PATTERNS):
        result, hidden = make_missing(X, mechanism, patterns=patterns, return_mask=True)
        assert not (hidden & np.isnan(X)).any()
        np.testing.assert_array_equal(np.isnan(result), hidden | np.isnan(X))


@every_mechanism
@pytest.mark.parametrize("patterns", [None, PATTERNS], ids=["cells", "patterns"])
def test_the_same_seed_hides_the_same_cells_in_any_container(mechanism, patterns):
    X, chosen = incomplete(500), {"mechanism": mechanism, "patterns": patterns}
    state = np.random.get_state()[1].copy()  # noqa: NPY002  the global state
    hidden = masked(X, **chosen)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    frame = pd.DataFrame(X, index=range(9, 509))
    for same in (X, X.copy("F"), frame, pl.DataFrame(X)):
        np.testing.assert_array_equal(hidden, masked(same, **chosen))
    rng = np.random.RandomState(0)
    np.testing.assert_array_equal(hidden, masked(X, random_state=rng, **chosen))
    assert (hidden != masked(X, random_state=rng, **chosen)).any()
    assert (hidden != masked(X, random_state=1, **chosen)).any()


@pytest.mark.parametrize(
    ("error", "parameters"),
    [
        ("mechanism must be one of 'mcar', 'mar', 'mnar'; got 'MAR'", {"mechanism": "MAR"}),
        ("proportion must be a number from 0 to 1; got 30", {"proportion": 30}),
        ("proportion must be .* got nan", {"proportion": np.nan}),
        ("proportion must be .* got '0.3'", {"proportion": "0.3"}),
        ("proportion must be .* got True", {"proportion": True}),
        ("of must be one of 'cells', 'rows'; got 'columns'", {"of": "columns"}),
        ("kind must be one of 'right', .* got \\['left'\\]", {"kind": ["left"]}),
        ("of='rows' needs patterns; give patterns", {"of": "rows"}),
        (
            "weights have no effect without",
            {"mechanism": "mar", "weights": [[1, 0, 0, 0]]},
        ),
        (
            "weights have no effect with mechanism='mcar'",
            {"patterns": PATTERNS, "weights": PATTERNS},
        ),
        ("proportion=0.8 is too high: at most 0.75 of", {"mechanism": "mar", "proportion": 0.8}),
        ("too high: at most 0.5 of", {"patterns": PATTERNS, "proportion": 0.6}),
        ("patterns must be bool of shape .n_patterns, 4.* got int64", {"patterns": 1 * PATTERNS}),
        ("patterns must be bool .* got bool of shape .3, 3.", {"patterns": PATTERNS[:, 1:]}),
        ("patterns must be bool .* got bool of shape .4,.", {"patterns": PATTERNS[0]}),
        ("patterns must be bool .* got bool of shape .0, 4.", {"patterns": PATTERNS[:0]}),
        ("patterns.1. hides no column", {"patterns": [[True] * 4, [False] * 4]}),
        (
            "patterns.0. hides every column, but mechanism='mar'",
            {"mechanism": "mar", "patterns": [[True] * 4]},
        ),
        (
            "weights must be finite numbers of the shape of patterns, .3, 4.",
            {"mechanism": "mnar", "patterns": PATTERNS, "weights": [1, 2, 3, 4]},
        ),
        (
            "weights must be finite",
            {"mechanism": "mnar", "patterns": PATTERNS, "weights": np.where(PATTERNS, np.inf, 0)},
        ),
        (
            "weights.1, 2.=3.0 belongs to a column that patterns.1. hides",
            {
                "mechanism": "mar",
                "patterns": PATTERNS,
                "weights": [[0, 1, 1, 1], [1, 0, 3, 1], [0, 0, 1, 0]],
            },
        ),
    ],
)
def test_wrong_parameters(error, parameters):
    with pytest.raises(ValueError, match=error):
        make_missing(normal(20), **parameters)


@pytest.mark.parametrize("function", [make_missing, missing_patterns])
def test_inputs_that_are_no_tables(function):
    frame = pl.DataFrame({"a": [1, 2]})
    with pytest.raises(TypeError, match="lazy frame"):
        function(frame.lazy())
    for wrong in (frame["a"], pd.Series([1.0]), np.ones(3), pd.DataFrame()):
        with pytest.raises(ValueError):
            function(wrong)


def test_tables_with_nothing_to_hide():
    for X in (np.full((3, 2), np.nan), pd.DataFrame({"a": []}), pl.DataFrame()):
        with pytest.raises(ValueError, match="no observed cell to hide"):
            make_missing(X)
    with pytest.raises(ValueError, match="contains infinity: column 'b', row 1, holds -inf"):
        make_missing(pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, -np.inf]}), "mnar")
    with pytest.raises(ValueError, match="at most 0 of"):
        make_missing(normal(20, 1), "mar")
