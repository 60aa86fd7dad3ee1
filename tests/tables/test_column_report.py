"""The report of columns, and warnings about them."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from estimator_cases import table as incomplete
from table_cases import REAL, TIMES, N, assert_completed, mixed, with_missing

from skmissvae import MVAEImputer, VAEDensityEstimator, diagnose

pytestmark = quiet


def test_remarks_on_suspicious_columns():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "typo": np.where(np.arange(100) == 7, 999.0, rng.normal(size=100)),
            "fine": rng.normal(size=100),
            "rare": np.where(np.arange(100) == 9, 2, 0),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, 100), "D"),
            "code": rng.choice([3, 6, 7], 100),
            "words": rng.choice(["1.5", "2.5", "7"], 100),
            "years": rng.choice(["2009_10", "2011_12", "2013_14"], 100),
            "days": rng.choice(["2020-01-02", "2021-03-04", "2022-05-06"], 100),
        }
    )
    frame.loc[[3, 5], "day"] = pd.Timestamp("2199-01-01"), pd.NaT
    imputer = tiny(MVAEImputer, init="random").fit(frame)
    remark = imputer.fit_report_["remark"]
    assert "2199-01-01 00:00:00 among them" in remark["day"]
    assert "variance" not in remark["rare"]
    assert "999 among them" in remark["typo"]
    assert "'ordinal'" in remark["code"]
    assert "to_numeric" in remark["words"]
    assert "to_datetime" in remark["days"]
    assert remark["fine"] == remark["years"] == ""
    findings = [problem.finding for problem in diagnose(imputer, frame).problems]
    assert any("'typo'" in finding and "'fine'" not in finding for finding in findings)
    transformed = tiny(MVAEImputer, learn_shapes=True, init="random").fit(frame)
    assert "variance" not in transformed.fit_report_["remark"]["typo"]
    with pytest.raises(ValueError, match=r"'words' 'continuous', .*holds '.*'; .*to_numeric"):
        tiny(MVAEImputer, feature_kinds={"words": "continuous"}).fit(frame)


def test_an_outlier_in_a_short_column_is_reported():
    x = np.random.default_rng(0).normal(size=(30, 2))
    assert not tiny(MVAEImputer).fit(x).fit_report_["remark"].any()
    x[3, 0] = 1e6
    assert "1e+06 among them" in tiny(MVAEImputer).fit(x).fit_report_.loc["x0", "remark"]


def test_reports_of_columns_with_a_multiindex():
    names = pd.MultiIndex.from_product([["a"], range(4)])
    frame = pd.DataFrame(incomplete()).set_axis(names, axis=1)
    imputer = tiny(MVAEImputer).fit(frame)
    assert imputer.fit_report_.index.tolist() == names.tolist()
    assert diagnose(imputer, frame).findings


def test_cell_distribution_of_columns_with_a_multiindex():
    frame = pd.DataFrame(incomplete()).set_axis(
        pd.MultiIndex.from_product([["a"], range(4)]), axis=1
    )
    cells = tiny(MVAEImputer).fit(frame).cell_distribution(frame)
    assert set(cells["column"]) == set(frame.columns)


def with_unmodelled_columns():
    frame = mixed().assign(
        name=[f"person {i}" for i in range(N)],
        number=np.arange(N)[::-1] + 100,
        empty=None,
        same="yes",
        when=TIMES,
        copy=lambda f: f["real"],
        parts=[(i,) for i in range(N)],
    )
    frame.loc[3, "same"] = frame.loc[3, "name"] = None
    return frame


def test_roles_of_columns_that_are_not_modelled():
    frame = with_unmodelled_columns()
    with pytest.warns(UserWarning, match="'empty'"):
        imputer = tiny(MVAEImputer).fit(frame)
    report = imputer.fit_report_
    assert list(report.index) == list(frame.columns)
    assert report["role"].loc["name":].to_dict() == {
        "name": "identifier",
        "number": "identifier",
        "empty": "empty",
        "same": "constant",
        "when": "date",
        "copy": "copy",
        "parts": "other",
    }
    np.testing.assert_array_equal(report["n_missing"], frame.isna().sum())
    out = imputer.transform(frame)
    assert_completed(out, frame.drop(columns="empty"))
    pd.testing.assert_series_equal(out["copy"], out["real"], check_names=False)
    assert out["same"].eq("yes").all()
    # other columns do not contribute to densities
    without = tiny(MVAEImputer).fit(mixed())
    np.testing.assert_allclose(imputer.score_samples(frame), without.score_samples(mixed()))
    with_empty = tiny(MVAEImputer, keep_empty_features=True).fit(frame).transform(frame)
    assert list(with_empty.columns) == list(frame.columns)


def test_warning_about_strings_of_numbers():
    words = [f"{100 + 10 * x:.3f}" for x in REAL]
    words[::9] = ["?"] * len(words[::9])
    frame = pd.DataFrame({"x": REAL, "hp": words})
    with pytest.warns(UserWarning, match=r"mostly numbers.*'hp'.*to_numeric"):
        imputer = tiny(MVAEImputer).fit(frame)
    assert "to_numeric" in imputer.fit_report_.loc["hp", "remark"]
    codes = [f"0{i}" for i in range(N)]
    for options, column in (
        ({"feature_kinds": {"hp": "categorical"}}, words),
        ({}, pd.Categorical(words)),
        (
            {},
            pd.Series(words).map({w: w for w in words[:5]}).fillna("1").tolist(),
        ),  # few categories
        ({}, [str(10_000 + 7 * i) for i in range(N)]),  # row identifiers
        ({}, codes),
    ):
        assert not warnings_with(tiny(MVAEImputer, **options), frame.assign(hp=column), "mostly")


def warnings_with(imputer, frame, words):
    """Return the messages of the warnings of fit that have some words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        imputer.fit(frame)
    return [str(w.message) for w in caught if words in str(w.message)]


def test_warning_about_missing_row_identifiers():
    frame = pd.DataFrame({"x": REAL, "email": with_missing([f"u{i}@x" for i in range(N)], 9)})
    assert warnings_with(tiny(MVAEImputer), frame, "'email'. Drop these columns")
    assert not warnings_with(tiny(MVAEImputer), frame.dropna(), "Drop these columns")
    assert not warnings_with(tiny(VAEDensityEstimator), frame, "Drop these columns")


def single_valued(kind):
    """Return a table with a column a that has one value in 3 of 60 rows, and its name."""
    answers = [None] * N
    answers[:3] = [True if "bool" in kind else 1 if kind in NUMBERS else "yes"] * 3
    if kind == "array":
        return np.column_stack([np.array(answers, float), REAL]), "x0"
    if kind == "array of objects":
        return np.array([answers, REAL], dtype=object).T, "x0"
    if kind.startswith("polars"):
        dtype = {"bool": pl.Boolean, "number": pl.Int64, "text": pl.String}[kind.split()[1]]
        return pl.DataFrame({"a": pl.Series(answers, dtype=dtype), "b": REAL}), "a"
    return pd.DataFrame({"a": pd.Series(answers, dtype=kind), "b": REAL}), "a"


NUMBERS = ("array", "float32", "Int64", "int64[pyarrow]", "polars number")
SINGLE_VALUED = [
    *(*NUMBERS, "array of objects", "object", "category", "string", "string[pyarrow]"),
    *("boolean", "bool[pyarrow]", "polars text", "polars bool"),
]


@pytest.mark.parametrize("kind", SINGLE_VALUED)
def test_warning_about_a_single_value_and_missing_cells(kind):
    X, name = single_valued(kind)
    expected = f"single value have missing cells.*: '{name}' \\(95% missing\\).*fillna"
    with pytest.warns(UserWarning, match=expected):
        imputer = tiny(MVAEImputer, init="random").fit(X)
    assert "fill it before fit" in imputer.fit_report_.loc[name, "remark"]
    with pytest.warns(UserWarning, match=expected):
        tiny(MVAEImputer, max_iter=1).partial_fit(X)
    assert not warnings_with(tiny(VAEDensityEstimator), X, "single value")  # imputes no cell


LABELS = [kind for kind in SINGLE_VALUED if kind not in NUMBERS]


def with_second_value(X, value):
    """Return a table of ``single_valued`` with a second value in row 5."""
    if isinstance(X, np.ndarray):
        X = X.copy()
        X[5, 0] = value
        return X
    cells = list(X["a"])
    cells[5] = value
    if isinstance(X, pl.DataFrame):
        return X.with_columns(pl.Series("a", cells, X["a"].dtype))
    dtype = "category" if X["a"].dtype == "category" else X["a"].dtype
    return X.assign(a=pd.Series(cells, dtype=dtype))


@pytest.mark.parametrize("kind", LABELS)
def test_a_second_label_in_a_constant_column_is_refused(kind):
    X, name = single_valued(kind)
    second = False if "bool" in kind else "no"
    Y = with_second_value(X, second)
    imputer = tiny(MVAEImputer, init="random").fit(X)
    for method in (imputer.transform, imputer.score_samples, lambda X: imputer.impute(X, 1)[0]):
        with pytest.raises(ValueError, match=f"'{name}', row 5, holds {second!r}.*handle_unknown"):
            method(Y)
    imputer.set_params(handle_unknown="missing")
    out = imputer.transform(Y)
    column = out[:, 0] if isinstance(out, np.ndarray) else out["a"]
    first = X[0, 0] if isinstance(X, np.ndarray) else X["a"][0]
    assert list(column) == [second if i == 5 else first for i in range(N)]
    np.testing.assert_array_equal(imputer.score_samples(Y), imputer.score_samples(X))


@pytest.mark.parametrize("kind", SINGLE_VALUED)
def test_warning_about_a_second_value_in_continued_fits(kind):
    X, name = single_valued(kind)
    Y = with_second_value(X, 2 if kind in NUMBERS else False if "bool" in kind else "no")
    expected = f"at most one value in the first table or chunk have others now: '{name}'"
    imputer = tiny(MVAEImputer, max_iter=1, warm_start=True).partial_fit(X)
    with pytest.warns(UserWarning, match=expected):
        imputer.partial_fit(Y)
    with pytest.warns(UserWarning, match=expected):
        imputer.fit(Y)
    assert not warnings_with(imputer, X, "others now")


def test_warning_about_labels_in_an_empty_column():
    frame = pd.DataFrame({"a": pd.Series([None] * N, dtype="string"), "b": REAL})
    imputer = tiny(MVAEImputer).partial_fit(frame)
    with pytest.warns(UserWarning, match="others now: 'a'"):
        imputer.partial_fit(frame.assign(a="yes"))


def test_a_filled_column_is_modelled_without_a_warning():
    X, _ = single_valued("object")
    filled = X.assign(a=X["a"].fillna("no"))
    imputer = tiny(MVAEImputer)
    assert not warnings_with(imputer, filled, "single value")
    assert imputer.feature_kinds_["a"] == "binary"
    assert not warnings_with(tiny(MVAEImputer), X.assign(a="yes"), "single value")


def test_a_warning_names_at_most_ten_columns():
    frame = pd.DataFrame({f"a{j}": with_missing(["yes"] * N, 2) for j in range(65)}).assign(b=REAL)
    (message,) = warnings_with(tiny(MVAEImputer), frame, "single value")
    assert "'a9' (50% missing), ... and 55 more." in message


def test_no_warning_about_categorical_types_of_polars():
    frame = pl.DataFrame({"x": REAL, "hp": pl.Series([str(i % 30) for i in range(N)])})
    assert warnings_with(tiny(MVAEImputer), frame, "mostly")
    declared = frame.with_columns(pl.col("hp").cast(pl.Categorical))
    assert not warnings_with(tiny(MVAEImputer), declared, "mostly")


def test_warning_about_new_values_in_constant_columns():
    X = incomplete(60)
    X[0] = [0.0, np.nan, 1.0, 2.0]
    X[1:, 1] = 0.0  # the column is empty in the first call
    imputer = tiny(MVAEImputer).partial_fit(X[:1])
    with pytest.warns(
        UserWarning, match="in the first table or chunk have others now: 'x0', 'x1', 'x2', 'x3'"
    ):
        imputer.partial_fit(X[1:])
    X[:, 1] = np.where(np.arange(len(X)) % 2, 0.3, np.nextafter(0.3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(MVAEImputer).partial_fit(X).partial_fit(X)
