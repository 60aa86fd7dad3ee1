"""Reading of tables after fit: blocks of rows, categories, markers of missing cells."""

import decimal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from estimator_cases import assert_same, every_imputer, outputs, quiet, tiny
from estimator_cases import table as incomplete
from pandas.testing import assert_frame_equal
from table_cases import COUNTS, DAYS, REAL, WORDS, N, mixed, pandas_frame, with_missing

from skmissvae import DeMissVAEImputer, MissSIWAEImputer, MVAEImputer
from skmissvae.inference import LAIR, ConditionalModel
from skmissvae.inspection import mixture_weights, pareto_k
from skmissvae.tables import reader
from skmissvae.tables.columns import is_missing, to_floats

pytestmark = quiet


@pytest.mark.slow
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_are_the_same_read_by_blocks(container, monkeypatch):
    frame = mixed(container)
    imputer = tiny(MVAEImputer, init="random", add_indicator=True).fit(frame)
    rows = frame[:15]

    def results():
        return [imputer.transform(rows), *imputer.impute(rows, 2), imputer.outlier_scores(rows)]

    expected = results()
    monkeypatch.setattr(reader, "_BLOCK_ROWS", 7)
    for actual, result in zip(results(), expected, strict=True):
        assert type(actual) is type(result)
        assert actual.equals(result)
    if container == "polars":
        frame[50, "word"] = "mauve"
    else:
        frame.loc[50, "word"] = "mauve"
    with pytest.raises(ValueError, match="'word', row 50, holds 'mauve'"):
        imputer.transform(frame)


@pytest.mark.parametrize("words", [False, True])
def test_object_columns_are_the_same_read_by_blocks(words, monkeypatch):
    cells = np.array(["a", "b"] if words else [1.5, 2.5, 4.0], dtype=object)
    cells = np.resize(cells, 450)
    cells[200:320], cells[330:] = None, -999
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object), "beside": np.resize(REAL, 450)})
    imputer = tiny(MVAEImputer, missing_values=-999, init="random").fit(frame)
    expected = imputer.transform(frame)
    assert not (expected["x"] == -999).any()
    monkeypatch.setattr(reader, "_BLOCK_ROWS", 200)
    assert_frame_equal(imputer.transform(frame), expected)


def curved(n=150, d=13, seed=0):
    """Return a nonlinear table of three latents."""
    rng = np.random.default_rng(seed)
    X = np.sin(2 * rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))) + 0.1 * rng.normal(
        size=(n, d)
    )
    X[rng.random(X.shape) < 0.4] = np.nan
    return X


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (MissSIWAEImputer, {"add_indicator": True}),
        (MissSIWAEImputer, {"n_bootstrap": 2, "min_value": -0.5, "n_importance_draws": 110}),
        (DeMissVAEImputer, {"sampler": LAIR(n_steps=3)}),
    ],
    ids=["weights", "models and bounds", "chains"],
)
def test_arrays_are_the_same_read_by_blocks(cls, options, monkeypatch):
    X = np.vstack([curved(6), np.random.default_rng(1).normal(size=(6, 13)), curved(6, seed=1)])
    imputer = tiny(cls, **options).fit(X)
    mask = np.random.default_rng(2).random(X.shape) < 0.3

    def results():
        computed = {
            **outputs(imputer, X),
            "draws": list(imputer.impute(X, 2)),
            "row identifiers": imputer.impute(X, 1, row_ids=np.arange(len(X))[::-1])[0],
            "of a mask": imputer.transform(X, where=mask),
            "of columns": imputer.transform(X, where=["x1", "x4"]),
            "pareto_k": pareto_k(imputer, X),
            "mixture_weights": mixture_weights(imputer, X),
            "outlier_scores": imputer.outlier_scores(X[:9]),
        }
        computed["distribution"] = imputer.cell_distribution(X).to_numpy()[:, 3:].astype(float)
        return {name: np.asarray(values) for name, values in computed.items()}

    expected = results()
    monkeypatch.setattr(reader, "_BLOCK_ROWS", 7)
    assert_same(results(), expected)


def test_draws_are_the_same_read_by_blocks(monkeypatch):
    X = incomplete()
    imputer = tiny(MVAEImputer, strategy="draw").fit(X)
    expected = imputer.transform(X), imputer.impute(X, 1)[0]
    monkeypatch.setattr(reader, "_BLOCK_ROWS", 7)
    np.testing.assert_array_equal(imputer.transform(X), expected[0])
    np.testing.assert_array_equal(imputer.impute(X, 1)[0], expected[1])


def test_errors_of_later_blocks_have_the_position_in_the_table(monkeypatch):
    X = np.random.default_rng(0).random((30, 2))
    X[::4, 1] = np.nan
    imputer = tiny(MVAEImputer, likelihood={0: "continuous_bernoulli"}).fit(X)
    X[25, 0] = 1.5
    monkeypatch.setattr(reader, "_BLOCK_ROWS", 7)
    with pytest.raises(ValueError, match=r"row 25, holds 1\.5"):
        imputer.transform(X)


@pytest.mark.parametrize("at_once", [7, 1000])
def test_lazy_imputations_ignore_later_changes(at_once, monkeypatch):
    monkeypatch.setattr(reader, "_BLOCK_ROWS", at_once)
    X, mask = curved(20, 6), np.random.default_rng(2).random((20, 6)) < 0.3
    imputer = tiny(MissSIWAEImputer).fit(X)
    expected = list(imputer.impute(X, 2, where=mask))
    copy, mask = X.copy(), mask.copy()
    imputations = imputer.impute(copy, 2, where=mask)
    copy[:], mask[:] = 0.0, False
    imputer.set_params(device="nowhere", sampler="lair", n_importance_draws=1, missing_values=-1)
    for result, table in zip(imputations, expected, strict=True):
        np.testing.assert_array_equal(result, table)
    imputer.set_params(device="cpu", missing_values=np.nan).fit(curved(20, 6, seed=1))
    np.testing.assert_array_equal(imputations[1], expected[1])


def test_errors_in_late_blocks_are_raised_first(monkeypatch):
    X = curved(40)
    imputer = tiny(MissSIWAEImputer).fit(X)
    monkeypatch.setattr(reader, "_BLOCK_ROWS", 7)
    X[33, 2] = np.inf
    encoded = []
    monkeypatch.setattr(ConditionalModel, "encode", lambda *args: encoded.append(args))
    for call in (imputer.transform, imputer.impute, imputer.score_samples, imputer.encode):
        with pytest.raises(ValueError, match="column 'x2', row 33, holds inf"):
            call(X)
    assert not encoded


@every_imputer
def test_unknown_categories(cls):
    frame = mixed()[["real", "count", "word"]]
    imputer = tiny(cls).fit(frame.head(9))
    other = frame.head(8).assign(word=["violet", *frame["word"].iloc[1:8]])
    with pytest.raises(ValueError, match=r"'word', row 0, holds 'violet'.*handle_unknown"):
        imputer.transform(other)
    imputer.set_params(handle_unknown="missing")
    out = imputer.transform(other)
    assert out["word"].iloc[0] == "violet"
    assert not out.isna().any(axis=None)
    # other cells are imputed as if the cell were missing
    incomplete = frame.head(8).assign(word=[None, *frame["word"].iloc[1:8]])
    assert_frame_equal(out.drop(columns="word"), imputer.transform(incomplete).drop(columns="word"))
    np.testing.assert_array_equal(imputer.score_samples(other), imputer.score_samples(incomplete))


def test_imputed_categories_extend_the_type():
    frame = pandas_frame("category")
    imputer = tiny(MVAEImputer).fit(frame)
    poorer = frame.assign(x=pd.Categorical([None] * N, categories=["red"]))
    out = imputer.transform(poorer)
    assert not out["x"].isna().any()
    assert set(out["x"].cat.categories) <= {"red", "green", "blue", "never"}


@pytest.mark.parametrize("marker", ["?", -1, None, pd.NA, np.nan])
def test_markers_of_missing_cells_in_frames(marker):
    frame = pd.DataFrame({"word": with_missing(WORDS, 3), "n": with_missing(COUNTS, 5), "x": REAL})
    frame = frame[:9]
    plain = tiny(MVAEImputer).fit_transform(frame)
    marked = frame.copy()
    if isinstance(marker, str):
        marked["word"] = frame["word"].fillna(marker)
    elif marker == -1 if marker is not pd.NA else False:
        marked["n"] = frame["n"].fillna(marker)
    imputer = tiny(MVAEImputer, missing_values=marker)
    assert_frame_equal(imputer.fit_transform(marked), plain)


def test_markers_in_object_and_categorical_columns():
    frame = pd.DataFrame({"o": pd.Series([1, -9, 2, 5] * 9, dtype=object), "x": REAL[:36]})
    frame["c"] = pd.Categorical([1, 2, -9, 2] * 9)
    imputer = tiny(MVAEImputer, missing_values=-9).fit(frame)
    assert imputer.fit_report_["n_missing"].tolist() == [9, 0, 9]
    assert not (imputer.transform(frame)[["o", "c"]].astype(int) == -9).any(axis=None)


FLOATS = [1.0, None, np.nan, -999.0, 2.5]


@pytest.mark.parametrize(
    "column",
    [
        *[
            pd.Series(FLOATS, dtype=dtype)
            for dtype in ("float64", "float32", "Float64", "Float32", "double[pyarrow]", "object")
        ],
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(FLOATS))),
        pl.Series(FLOATS, dtype=pl.Float64),
        pl.Series(FLOATS, dtype=pl.Float32),
    ],
    ids=lambda column: str(column.dtype),
)
def test_floats_with_nulls_and_nan_of_every_type(column):
    series = nw.from_native(column, series_only=True)
    for marker, expected in ((-999, [0, 1, 1, 1, 0]), ("?", [0, 1, 1, 0, 0])):
        missing = is_missing(series, (marker,))
        np.testing.assert_array_equal(missing, np.array(expected, bool))
        values = np.where(missing, np.nan, [1.0, 0.0, 0.0, -999.0, 2.5])
        np.testing.assert_array_equal(to_floats(series, missing), values)


@pytest.mark.parametrize("marker", [-1, -1.0, np.nan, None])
def test_markers_of_missing_cells_in_arrays(marker):
    X = incomplete(9)
    marked = X.astype(object) if marker is None else X.copy()
    marked[np.isnan(X)] = marker
    out = tiny(MVAEImputer, missing_values=marker).fit_transform(marked)
    np.testing.assert_array_equal(out, tiny(MVAEImputer).fit_transform(X))


def numbers(kind):
    """Return four columns of numbers, as an array or a data frame."""
    X = incomplete()
    if kind == "polars":
        return pl.DataFrame(X, schema=list("abcd"))
    if kind in ("list", "float32", "object"):
        return X.tolist() if kind == "list" else X.astype(kind)
    return pd.DataFrame(X.round(), columns=list("abcd")).astype(kind)


@pytest.mark.parametrize(
    "kind", ["list", "float32", "object", "polars", "float64", "Int64", "double[pyarrow]"]
)
def test_markers_that_no_column_can_hold_are_refused(kind):
    imputer = tiny(MVAEImputer, missing_values="?")
    for fit in (imputer.fit, imputer.partial_fit):
        with pytest.raises(ValueError, match=r"has the marker '\?', but X has no column"):
            fit(numbers(kind))
    words = pd.DataFrame({"word": with_missing(WORDS, 3), "other": WORDS}, dtype="string")
    words["flag"] = True
    for frame in (words, pl.from_pandas(words), words.convert_dtypes(dtype_backend="pyarrow")):
        with pytest.raises(ValueError, match="has the marker -1, but X has no column of num"):
            tiny(MVAEImputer, missing_values=-1).fit(frame)


def test_markers_of_a_column_that_cannot_hold_them_are_refused():
    frame = pd.DataFrame({"word": with_missing(WORDS, 3), "x": REAL, "flag": [True, False] * 30})
    for missing_values in ({"x": "?"}, {"x": "?", "word": "?"}):
        with pytest.raises(ValueError, match=r"marker '\?', but column 'x' holds no strings"):
            tiny(MVAEImputer, missing_values=missing_values).fit(frame)


@pytest.mark.parametrize("marker", ["<NA>", "NaT"])
def test_strings_that_pandas_prints_for_nulls_are_markers(marker):
    frame = pd.DataFrame({"word": [marker, "a", "b"] * 20, "x": REAL})
    imputer = tiny(MVAEImputer, missing_values=marker).fit(frame)
    assert imputer.fit_report_["n_missing"].tolist() == [20, 0]


def test_booleans_of_objects_are_no_numeric_markers():
    frame = pd.DataFrame({"flag": np.array([True, False, None] * 20, dtype=object), "x": REAL})
    imputer = tiny(MVAEImputer, missing_values=0).fit(frame)
    assert imputer.fit_report_["n_missing"].tolist() == [20, 0]


def test_new_rows_may_have_no_column_that_can_hold_the_marker():
    X = incomplete()
    marked = X.astype(object)
    marked[np.isnan(X)] = "?"
    imputer = tiny(MVAEImputer, missing_values="?").fit(marked)
    expected = imputer.transform(marked).astype(float)
    np.testing.assert_array_equal(imputer.transform(X).astype(float), expected)


MARKED = {"word": ["?", "n/a"], "n": [-1, -2], "x": [-1.0], "category": ["?"], "object": [-1]}


def marked_frame(container):
    """Return a frame with several markers of missing cells in each column, and one with nulls."""
    data = {"word": WORDS, "n": COUNTS, "x": REAL, "category": WORDS, "object": COUNTS}
    types = {"n": "Int64", "category": "category", "object": object}
    marked, plain = {}, {}
    for j, (name, values) in enumerate(data.items()):
        markers = [*MARKED[name], None]
        cells = [markers[i % len(markers)] if i % 5 == j else v for i, v in enumerate(values)]
        marked[name] = cells
        plain[name] = [None if i % 5 == j else value for i, value in enumerate(values)]
    if container == "polars":
        types = {"category": pl.Categorical}
        return tuple(pl.DataFrame(d, schema_overrides=types) for d in (marked, plain))
    if container == "objects":
        return tuple(pd.DataFrame(d).astype(object).to_numpy() for d in (marked, plain))
    return tuple(pd.DataFrame(d).astype(types) for d in (marked, plain))


@pytest.mark.parametrize("container", ["pandas", "polars", "objects"])
def test_several_markers_of_missing_cells(container):
    marked, plain = marked_frame(container)
    options = {"strategy": "draw", "init": "random", "max_iter": 1}
    if container == "objects":
        kinds = {1: "count", 2: "continuous", 4: "count"}
        names = dict(zip(MARKED, range(5), strict=True))
        by_column = {names[name]: tuple(markers) for name, markers in MARKED.items()}
    else:
        kinds, by_column = {"x": "continuous"}, {**MARKED, "x": -1.0}
    options |= {"feature_kinds": kinds}
    expected = tiny(MVAEImputer, **options).fit(plain)
    for missing_values in ([None, "?", -1, -2, "n/a"], {"?", "n/a", -1, -2.0}, by_column):
        imputer = tiny(MVAEImputer, missing_values=missing_values, **options).fit(marked)
        assert imputer.fit_report_["n_missing"].tolist() == [12] * 5
        assert_same_tables(imputer.transform(marked), expected.transform(plain))
        np.testing.assert_array_equal(imputer.score_samples(marked), expected.score_samples(plain))


def assert_same_tables(actual, expected):
    """Assert that tables have equal cells; their types may have other categories."""
    np.testing.assert_array_equal(np.asarray(actual, object), np.asarray(expected, object))


def test_markers_of_a_column_do_not_apply_to_others():
    frame = pd.DataFrame({"a": [1.5, -1, 2, 4] * 9, "b": [-1.0, 0.5, 2, 3] * 9})
    for missing_values in ({"a": -1}, {0: [-1]}, {"a": -1, "b": []}, {"a": [-1], "b": np.nan}):
        imputer = tiny(MVAEImputer, missing_values=missing_values).fit(frame)
        assert imputer.fit_report_["n_missing"].tolist() == [9, 0]
        out = imputer.transform(frame)
        assert (out["b"] == frame["b"]).all()
        assert not (out["a"] == -1).any()
    imputer = tiny(MVAEImputer, missing_values={0: -1.0}).fit(frame.to_numpy())
    assert imputer.fit_report_["n_missing"].tolist() == [9, 0]
    with pytest.raises(ValueError, match="'missing_values' names column 'c', which X does not"):
        tiny(MVAEImputer, missing_values={"c": -1}).fit(frame)


@pytest.mark.parametrize("dtype", ["Float64", object])
@pytest.mark.parametrize("marker", [np.nan, pd.NA])
def test_pandas_na(marker, dtype):
    X = incomplete(9)
    cells = X.astype(object)
    cells[np.isnan(X)] = pd.NA
    frame = pd.DataFrame(cells, columns=list("abcd")).astype(dtype)
    out = tiny(MVAEImputer, missing_values=marker).fit_transform(frame)
    np.testing.assert_array_equal(out, tiny(MVAEImputer).fit_transform(X))


def test_columns_without_observed_cells_may_have_other_types():
    frame = mixed().assign(day=pd.to_datetime(DAYS), when=pd.to_datetime(with_missing(DAYS, 5)))
    imputer = tiny(MVAEImputer).fit(frame)
    expected = imputer.transform(frame)
    for blank in (np.nan, None):
        row = frame[:2].assign(word=blank, rank=blank, flag=blank, when=blank)
        out = imputer.transform(row)
        assert not out.isna().any(axis=None)
        assert list(out.index) == [0, 1]
        assert set(out["word"]) <= set(expected["word"])
    polars = mixed("polars")
    out = tiny(MVAEImputer).fit(polars).transform(polars[:2].with_columns(word=pl.lit(None)))
    assert out["word"].dtype == pl.String
    assert out["word"].null_count() == 0
    X = np.array([[1.5, "a"], [None, "b"], [2.5, None], [3.0, "a"]] * 5, dtype=object)
    fitted = tiny(MVAEImputer).fit(X)
    assert list(fitted.transform(X[2:3])[0]) == list(fitted.transform(X)[2])


def test_names_other_than_strings_are_compared():
    frame = pd.DataFrame(incomplete())
    imputer = tiny(MVAEImputer).fit(frame)
    with pytest.raises(ValueError, match=r"X has the columns 1, 0, 2, 3.*fitted to 0, 1, 2, 3"):
        imputer.transform(frame[[1, 0, 2, 3]])
    np.testing.assert_array_equal(imputer.transform(frame.to_numpy()), imputer.transform(frame))
    renamed = frame.rename(columns=str)
    with pytest.warns(UserWarning, match="feature names"):
        assert list(imputer.transform(renamed).columns) == list("0123")
    odd = frame.set_axis([0.0, np.nan, 1.0, 2.0], axis=1)
    tiny(MVAEImputer).fit(odd).transform(odd)


def with_infinity(dtype, infinity):
    """Return a frame whose first column holds 1, infinity in row 1, and missing cells."""
    if dtype.startswith("polars."):
        kind = getattr(pl, dtype[7:])
        column = pl.Series([1.0, infinity, None, 1.0] * 10, dtype=kind)
        return pl.DataFrame({"a": column, "b": REAL[:40]})
    number = decimal.Decimal if dtype == "decimal" else float
    cells = [number(1), number(infinity), None, number(1)] * 10
    dtype = object if dtype == "decimal" else dtype
    return pd.DataFrame({"a": pd.Series(cells, dtype=dtype), "b": REAL[:40]})


INFINITE = ["float64", "float32", "Float64", "double[pyarrow]", "object", "category", "decimal"]


@pytest.mark.parametrize("dtype", [*INFINITE, "polars.Float64", "polars.Float32"])
def test_infinity_is_no_category(dtype):
    match = "infinity: column 'a', row 1, holds -?inf"
    imputer = tiny(MVAEImputer, init="random").fit(with_infinity(dtype, 2.0))
    assert imputer.feature_kinds_["a"] in ("binary", "categorical")
    for infinite in (with_infinity(dtype, np.inf), with_infinity(dtype, -np.inf)):
        for kinds in (None, {"a": "binary"}, {"a": "categorical"}):
            with pytest.raises(ValueError, match=match):
                tiny(MVAEImputer, feature_kinds=kinds).fit(infinite)
        for handle_unknown in ("error", "missing"):
            imputer.set_params(handle_unknown=handle_unknown)
            for call in (imputer.transform, imputer.impute, imputer.score_samples):
                with pytest.raises(ValueError, match=match):
                    call(infinite)


@pytest.mark.parametrize("kind", ["count", "integer", "continuous"])
def test_infinity_is_no_number_of_a_declared_kind(kind):
    with pytest.raises(ValueError, match=r"column 'a'.*holds inf"):
        tiny(MVAEImputer, feature_kinds={"a": kind}).fit(with_infinity("float64", np.inf))


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_integers_beyond_floats_are_infinite(number):
    frame = pd.DataFrame({"a": pd.Series([1, number, None, 3] * 5, dtype=object)})
    with pytest.raises(ValueError, match="infinity: column 'a', row 1"):
        tiny(MVAEImputer).fit(frame.assign(b=REAL[:20]))
