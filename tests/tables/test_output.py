"""Containers and columns of completed tables."""

import functools
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from estimator_cases import IMPUTERS, every_estimator, every_imputer, outputs, quiet, tiny
from estimator_cases import table as incomplete
from pandas.testing import assert_frame_equal
from sklearn.impute import SimpleImputer
from table_cases import LABELS, N, assert_completed, labelled_frame, mixed

from skmissvae import MVAEImputer

pytestmark = quiet


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@every_imputer
def test_observed_cells_are_unchanged_and_no_cell_is_missing(cls, dtype):
    X = incomplete(9, dtype=dtype)
    out = tiny(cls).fit(X).transform(X)
    assert out.dtype == dtype
    assert out.shape == X.shape
    assert np.isfinite(out).all()
    observed = ~np.isnan(X)
    assert out[observed].tobytes() == X[observed].tobytes()


def test_observed_cells_of_any_magnitude_are_unchanged():
    extreme = [0.1, -0.0, 5e-324, 1e-300, 1.7e308, -1.7e308, 2**53 + 1.0, 1 / 3]
    X = np.column_stack([extreme, np.arange(8.0), [np.nan, *range(7)]])
    out = tiny(MVAEImputer).fit_transform(X)
    assert out[:, 0].tobytes() == np.array(extreme).tobytes()


@every_imputer
def test_integer_arrays(cls):
    X = np.arange(40).reshape(10, 4) ** 2 % 7
    np.testing.assert_array_equal(tiny(cls).fit_transform(X), X)
    X[::3, 1] = -1
    out = tiny(cls, missing_values=-1).fit_transform(X)
    np.testing.assert_array_equal(out[X != -1], X[X != -1])
    assert np.isfinite(out).all()


@every_imputer
def test_fit_transform_equals_fit_and_transform(cls):
    X = incomplete(12)
    fitted = tiny(cls).fit(X)
    once = fitted.transform(X)
    np.testing.assert_array_equal(tiny(cls).fit_transform(X), once)
    np.testing.assert_array_equal(fitted.transform(X), once)


@every_estimator
def test_the_input_array_is_unchanged(cls):
    X = incomplete(12)
    table = X.copy()
    estimator = tiny(cls).fit(table)
    outputs(estimator, table)
    if cls in IMPUTERS:
        estimator.transform(table)[:] = 0.0
        estimator.impute(table, 1)[0][:] = 0.0
    np.testing.assert_array_equal(table, X)


def test_the_input_frame_is_unchanged():
    frame = pd.DataFrame(incomplete(), columns=list("abcd"))
    before = frame.copy(deep=True)
    imputer = tiny(MVAEImputer).set_output(transform="pandas")
    for out in [imputer.fit_transform(frame), imputer.impute(frame, 1)[0]]:
        out.iloc[:, :] = 0.0
        pd.testing.assert_frame_equal(frame, before)


@pytest.mark.slow
@every_imputer
def test_results_are_the_same_for_any_container(cls):
    X = incomplete(9)
    expected = tiny(cls).fit_transform(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    names = list("abcd")
    same = {
        "read-only": frozen,
        "Fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "object": X.astype(object),
        "list": X.tolist(),
        "frame": pd.DataFrame(X, columns=names),
        "Float64": pd.DataFrame(
            {
                name: pd.array([pd.NA if np.isnan(v) else v for v in X[:, j]], dtype="Float64")
                for j, name in enumerate(names)
            }
        ),
    }
    for name, table in same.items():
        out = tiny(cls).fit_transform(table)
        np.testing.assert_array_equal(np.asarray(out), expected, err_msg=name)


def test_object_arrays_stay_object_arrays():
    X = np.array([[1.5, "a"], [None, "b"], [2.5, None], [3.0, "a"]] * 5, dtype=object)
    out = tiny(MVAEImputer).fit_transform(X)
    assert out.dtype == object
    observed = np.array([[cell is not None for cell in row] for row in X])
    assert (out[observed] == X[observed]).all()
    assert set(out[:, 1]) == {"a", "b"}


def test_set_output():
    frame = mixed()
    imputer = tiny(MVAEImputer).fit(frame)
    plain = imputer.transform(frame)
    assert_frame_equal(imputer.set_output(transform="pandas").transform(frame), plain)
    other = imputer.set_output(transform="polars").transform(frame)
    assert isinstance(other, pl.DataFrame)
    assert other.columns == list(frame.columns)
    array = frame[["real"]].to_numpy()
    result = tiny(MVAEImputer).set_output(transform="pandas").fit_transform(array)
    assert isinstance(result, pd.DataFrame)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_latents_have_the_type_of_the_table(dtype):
    X = incomplete(dtype=dtype)
    assert tiny(MVAEImputer).fit(X).encode(X).dtype == dtype


def test_numbers_in_columns_that_have_become_integers_are_rounded():
    X = pd.DataFrame(incomplete(), columns=list("abcd"))
    imputer = tiny(MVAEImputer).fit(X)
    X["b"] = X["b"].round()
    floats, integers = (imputer.transform(X.astype({"b": t}))["b"] for t in ("float64", "Int64"))
    assert integers.dtype == "Int64"
    np.testing.assert_array_equal(integers.to_numpy(float), np.rint(floats))
    assert (np.rint(floats) != np.floor(floats)).any()


@pytest.mark.parametrize("container", ["array", "objects", "list", "pandas", "polars"])
def test_default_output_is_the_container_of_the_input(container):
    frame = mixed()[:9]
    table = {
        "array": incomplete(9),
        "objects": frame[["real", "word"]].to_numpy(dtype=object, na_value=None),
        "list": incomplete(9).tolist(),
        "pandas": frame,
        "polars": mixed("polars")[:9],
    }[container]
    imputer = tiny(MVAEImputer).fit(table)
    plain = imputer.transform(table)
    assert type(plain) is (np.ndarray if container == "list" else type(table))
    for other in ("pandas", "polars"):
        changed = imputer.set_output(transform=other).transform(table)
        assert type(changed).__module__.startswith(other)
        imputer.set_output(transform="default")
        with sklearn.config_context(transform_output=other):
            again = imputer.transform(table)
        for out in (again, imputer.transform(table), imputer.fit_transform(table)):
            assert type(out) is type(plain)
            np.testing.assert_array_equal(np.asarray(out), np.asarray(plain))
            assert getattr(out, "dtypes", None) is None or list(out.dtypes) == list(plain.dtypes)


def test_set_output_keeps_index_and_columns():
    frame = pd.DataFrame(incomplete(), columns=list("abcd"), index=np.arange(40) * 10)
    out = tiny(MVAEImputer).set_output(transform="pandas").fit_transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert list(out) == list(frame)
    pd.testing.assert_index_equal(out.index, frame.index)


def test_set_output_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.0, None, 3.0, 4.0], "b": [2.0, 4.0, None, 8.5]})
    out = tiny(MVAEImputer).set_output(transform="polars").fit_transform(frame)
    assert isinstance(out, polars.DataFrame)
    assert out.columns == ["a", "b"]
    assert out.null_count().sum_horizontal()[0] == 0


def test_indicators_with_set_output():
    frame = mixed()
    imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)
    expected = imputer.transform(frame)
    with sklearn.config_context(transform_output="pandas"):
        assert_frame_equal(imputer.transform(frame), expected)


def test_indicators_follow_the_columns():
    for frame in (mixed(), mixed("polars")):
        imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)
        out = imputer.transform(frame)
        assert list(out.columns) == list(imputer.get_feature_names_out())
        flags = np.asarray(out["missingindicator_word"], dtype=bool)
        np.testing.assert_array_equal(flags, [i % 7 == 1 for i in range(N)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping features without any observed:UserWarning")
@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("missing_values", [np.nan, -1])
@every_imputer
def test_indicators_equal_those_of_simple_imputer(cls, missing_values, keep_empty_features):
    X = incomplete(16)
    X[:, 0] = np.arange(16)  # complete: no indicator
    X[:, 2] = np.nan  # empty
    assert np.isnan(X[:, [1, 3]]).any(0).all()
    table = np.where(np.isnan(X), missing_values, X)
    options = {
        "missing_values": missing_values,
        "add_indicator": True,
        "keep_empty_features": keep_empty_features,
    }
    ours = tiny(cls, **options).fit(table)
    theirs = SimpleImputer(**options).fit(table)
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    names = list("abcd")
    assert list(ours.get_feature_names_out(names)) == list(theirs.get_feature_names_out(names))
    new = table[::-1].copy()
    new[0, 0] = missing_values  # missing, though complete at fit
    out, simple = ours.transform(new), theirs.transform(new)
    assert out.shape == simple.shape
    n_kept = 4 if keep_empty_features else 3
    np.testing.assert_array_equal(out[:, n_kept:], simple[:, n_kept:])
    assert ours.impute(new, 1)[0].shape == simple.shape


def with_empty_columns(container):
    """Return a table with columns without any observed cell."""
    X = incomplete(9)
    X[:, 1] = np.nan
    frame = pd.DataFrame(X, columns=list("abcd"))
    if container == "polars":
        return pl.from_pandas(frame).with_columns(text=pl.lit(None, pl.String), null=pl.lit(None))
    if container == "pandas":
        for dtype in ("Int64", "string", "category", "datetime64[ns]", object, "double[pyarrow]"):
            frame[str(dtype)] = pd.Series([None] * len(X), dtype=dtype)
    if container == "object":
        return frame.assign(a=np.resize(["x", "y", "z"], len(X))).to_numpy()
    return frame if container == "pandas" else X.astype(container)


@pytest.mark.filterwarnings("ignore:Columns without an observed cell:UserWarning")
@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("container", ["float64", "float32", "object", "pandas", "polars"])
def test_samples_have_the_columns_of_the_table(container, keep_empty_features):
    X = with_empty_columns(container)
    imputer = tiny(MVAEImputer, keep_empty_features=keep_empty_features).fit(X)
    drawn = imputer.sample(4)
    assert type(drawn) is type(X)
    if isinstance(X, np.ndarray):
        assert drawn.dtype == X.dtype
    else:
        assert list(drawn.columns) == list(X.columns)
        assert list(drawn.dtypes) == list(X.dtypes)
    cells = pd.DataFrame(np.asarray(drawn, dtype=object))
    assert cells[[0, 2, 3]].notna().all(axis=None)
    assert cells[1].isna().all() != keep_empty_features
    assert np.isfinite(imputer.score_samples(drawn)).all()
    assert len(imputer.transform(drawn)) == 4


def assert_same_labels(out, frame):
    """Assert that categories of a frame have the same labels, of the same types."""
    for name in LABELS:
        labels, expected = (f[name].cat.categories for f in (out, frame))
        pd.testing.assert_index_equal(labels, expected, exact=True)


@functools.cache
def fitted_to_labels(*, plain):
    """Return an imputer that is fitted to the labelled frame; tests do not change it."""
    options = {"init": "random", "max_iter": 1, "strategy": "draw"}
    return tiny(MVAEImputer, **options).fit(labelled_frame(plain=plain))


@pytest.mark.parametrize("plain_at_fit", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_labels_of_categories_keep_their_types(plain_at_fit, plain):
    at_fit, frame = labelled_frame(plain=plain_at_fit), labelled_frame(plain=plain)
    imputer = fitted_to_labels(plain=plain_at_fit)
    drawn = imputer.sample(3)
    assert not drawn.isna().any(axis=None)
    assert_same_labels(drawn, at_fit)
    for out in (imputer.transform(frame), imputer.impute(frame, 1)[0]):
        assert_completed(out, frame)
        assert_same_labels(out, frame)
    row = frame[:1].assign(**{name: frame[name][1:2].array for name in LABELS})
    assert_same_labels(imputer.transform(row), frame)
    assert np.isfinite(imputer.score_samples(frame)).all()


@pytest.mark.parametrize("plain", [False, True])
def test_new_labels_of_categories_have_the_type_of_the_others(plain):
    frame, imputer = labelled_frame(plain=plain), fitted_to_labels(plain=plain)
    row = frame[:1].assign(**{name: frame[name][1:2].array for name in LABELS})
    for name in LABELS:
        row[name] = row[name].cat.remove_categories(frame[name].cat.categories[1:])
    for completed in imputer.impute(row, 5):
        assert not completed.isna().any(axis=None)
        for name in LABELS:
            assert completed[name].cat.categories.dtype == frame[name].cat.categories.dtype


def test_new_labels_of_another_type_are_unchanged():
    frame = pd.DataFrame({"x": pd.Categorical([1, 2, 3] * 10), "y": np.arange(30.0)})
    imputer = tiny(MVAEImputer, max_iter=1).fit(frame)
    for labels in (pd.Index(["a"], dtype="str"), pd.Index(["a"], dtype="string"), ["a"], []):
        new = frame.assign(x=pd.Categorical([None] * 30, categories=labels))
        out = imputer.transform(new)["x"]
        assert set(out) <= {1, 2, 3}
        assert list(out.cat.categories[: len(labels)]) == list(labels)


def test_bootstrap_models_survive_skops():
    skops = pytest.importorskip("skops.io")
    X = incomplete()
    imputer = tiny(MVAEImputer, n_bootstrap=2).fit(X)
    data = skops.dumps(imputer)
    back = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    np.testing.assert_array_equal(back.impute(X, 2)[1], imputer.impute(X, 2)[1])


def test_models_load_from_a_read_only_memory_map(tmp_path):
    X = incomplete()
    imputer = tiny(MVAEImputer, warm_start=True).fit(X)
    joblib.dump(imputer, tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(back.transform(X), imputer.transform(X))
    back.fit(X)
