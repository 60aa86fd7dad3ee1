"""Remarks on undeclared markers of missing cells and on numbers stored as text."""

import functools
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from estimator_cases import quiet, tiny

from skmissvae import MVAEImputer, diagnose

pytestmark = quiet

N = 60
RNG = np.random.default_rng(0)
REAL = RNG.normal(size=N)
WORDS = RNG.choice(["a", "b", "c"], N).tolist()
AGES = RNG.integers(18, 90, N).tolist()
TEMPERATURES = (100 * RNG.normal(size=N)).round(1)


def with_marker(values, *markers):
    """Return values of which each marker replaces three tenths."""
    values = list(values)
    for i, marker in enumerate(markers):
        values[i::10], values[i + 3 :: 10] = [marker] * 6, [marker] * 6
        values[i + 6 :: 10] = [marker] * len(values[i + 6 :: 10])
    return values


def table_of(values, kind):
    """Return a table with a column of values, and the name of that column."""
    if kind == "array":
        return np.column_stack([values, REAL]), "x0"
    if kind == "array of float32":
        return np.column_stack([values, REAL]).astype("float32"), "x0"
    if kind == "array of objects":
        return np.array([values, REAL], dtype=object).T, "x0"
    if kind.startswith("polars"):
        column = pl.Series(values, dtype=getattr(pl, kind[7:]))
        return pl.DataFrame({"a": column, "b": REAL}), "a"
    return pd.DataFrame({"a": pd.Series(values, dtype=kind), "b": REAL}), "a"


def remark(X, name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = tiny(MVAEImputer, init="random", max_iter=1, **options)
        return estimator.fit(X).fit_report_.loc[name, "remark"]


@functools.cache
def remark_without_marker(values, kind):
    """Return the remark on a column of values of a type."""
    return remark(*table_of(values, kind))


TEXT = [
    *("object", "str", "string", "string[pyarrow]", "category", "array of objects"),
    *("polars String", "polars Categorical"),
]
NUMBERS = [
    *("float64", "float32", "Float64", "Int64", "int64[pyarrow]", "array", "array of float32"),
    *("array of objects", "object", "polars Int64", "polars Float32"),
]


@pytest.mark.parametrize(
    ("kind", "marker"),
    [*((kind, "?") for kind in TEXT), *(("object", marker) for marker in ("-", "N/A", ""))],
)
def test_strings_that_mark_missing_cells_are_reported(kind, marker):
    X, name = table_of(with_marker(WORDS, marker), kind)
    expected = f"{marker!r} in 30% of the cells may mark missing cells: set missing_values="
    assert f"{expected}{{{name!r}: {marker!r}}}" in remark(X, name)
    assert remark(X, name, missing_values=marker) == ""
    assert remark_without_marker(tuple(WORDS), kind) == ""


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("marker", [-999, 999])
def test_numbers_that_mark_missing_cells_are_reported(kind, marker):
    X, name = table_of(with_marker(AGES, marker), kind)
    expected = f"{marker} in 30% of the cells may mark missing cells: set missing_values="
    assert f"{expected}{{{name!r}: {marker}}}" in remark(X, name)
    assert "mark missing" not in remark(X, name, missing_values=marker)
    assert "mark missing" not in remark_without_marker(tuple(AGES), kind)


@pytest.mark.parametrize(
    ("values", "marker"),
    [
        ([*AGES[:59], 999], "999 in 2%"),
        (with_marker(TEMPERATURES, -9999.9), "-9999.9 in 30%"),
        (
            with_marker(TEMPERATURES.astype("float32"), np.float32(-999.9)),
            "-999.9000244140625 in 30%",
        ),
        (with_marker(RNG.integers(0, 500, N), -99), "-99 in 30%"),  # no other one is negative
        (with_marker([1] * N, 999), "999 in 30%"),
        (with_marker([0, 1] * 30, 99), "99 in 30%"),
        ([*range(80, 100)] * 3, None),
        ([-99, *range(-80, 500)], None),
        ([999.0] * N, None),
        ([0.5, 9.0, 9.9] * 20, None),
    ],
)
def test_markers_of_numbers_are_far_from_the_other_values(values, marker):
    frame = pd.DataFrame({"a": values})
    frame["b"] = np.random.default_rng(0).normal(size=len(frame))
    text = remark(frame, "a")
    if marker is None:
        assert "mark missing" not in text
        return
    assert f"{marker} of the cells may mark missing cells" in text
    reported = eval(text.split("set missing_values=")[1].split(";")[0])
    assert "mark missing" not in remark(frame, "a", missing_values=reported)


def test_declared_codes_are_no_markers():
    X, name = table_of(with_marker(AGES, 999), "Int64")
    assert remark(X, name, feature_kinds={name: "categorical"}) == ""


def test_several_markers_of_a_column_are_one_mapping():
    X, name = table_of(with_marker(WORDS, "?", "N/A"), "object")
    text = remark(X, name)
    assert "'?' in 30%, 'N/A' in 30% of the cells" in text
    reported = eval(text.partition("set missing_values=")[2])
    assert reported == {"a": ["?", "N/A"]}
    imputer = tiny(MVAEImputer, max_iter=1, missing_values=reported).fit(X)
    assert imputer.fit_report_.loc["a", "n_missing"] == 36
    assert remark(X, name, missing_values=reported) == ""


FORMATS = {
    "plain": ("{:.2f}", "'"),
    "decimal comma": ("{:.2f}", ","),
    "currency and unit": ("${:.2f}M", "'"),
    "currency with letters": ("USD {:.2f}", "'"),
    "percent": ("{:.2f}%", "'"),
    "unit": ("{:.2f} kg", "'"),
    "thousands": ("{:,.2f}", "'"),
    "German thousands": ("{:,.2f}", "German"),
}


def written(values, name):
    """Return numbers as strings of a format."""
    pattern, comma = FORMATS[name]
    texts = [pattern.format(value) for value in values]
    if comma == "German":
        return [text.translate(str.maketrans(",.", ".,")) for text in texts]
    return [text.replace(".", ",") if comma == "," else text for text in texts]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.05, 1.0])  # of distinct values
def test_the_reported_call_converts_strings_to_numbers(name, share):
    values = np.repeat(np.linspace(-2000.25, 9000.75, 40).round(2), 1 if share == 1 else 20)
    frame = pd.DataFrame({"a": written(values, name), "b": np.arange(len(values)) % 7})
    frame.loc[3, "a"] = "n/a"
    with pytest.warns(UserWarning, match=r"mostly numbers.*'a'.*to_numeric"):
        imputer = tiny(MVAEImputer, init="random", max_iter=1).fit(frame)
    text = imputer.fit_report_.loc["a", "remark"]
    assert "% of the cells are strings of numbers, such as '" in text
    converted = eval(text.rpartition(": use ")[2], {"X": frame, "pandas": pd})
    np.testing.assert_allclose(converted, np.where(np.arange(len(values)) == 3, np.nan, values))
    assert imputer.transform(frame)["a"].tolist() == frame["a"].tolist()  # no conversion


def test_dots_between_thousands_are_no_decimal_points():
    values = 1_100_000 + 1_000 * np.arange(N)
    texts = [f"{value:,} €".replace(",", ".") for value in values.tolist()]
    text = remark(pd.DataFrame({"a": texts, "b": REAL}), "a")
    frame = pd.DataFrame({"a": texts})
    converted = eval(text.rpartition(": use ")[2], {"X": frame, "pandas": pd})
    np.testing.assert_array_equal(converted, values)


def test_exponents_before_a_unit_are_not_converted():
    texts = [f"{1 + i / 7:.3f}e3 kg" for i in range(N)]
    assert "strings of numbers" not in remark(pd.DataFrame({"a": texts, "b": REAL}), "a")


@pytest.mark.parametrize(
    "kind", [kind for kind in TEXT if kind not in ("category", "polars Categorical")]
)
def test_numbers_among_markers_are_reported(kind):
    X, name = table_of(with_marker([str(t) for t in TEMPERATURES], "?"), kind)
    text = remark(X, name, missing_values="?")
    assert "100% of the cells are strings of numbers" in text
    assert "pandas.to_numeric(X['" in text
    text = remark(X, name)
    assert "'?' in 30% of the cells may mark missing cells" in text
    assert "70% of the cells are strings of numbers" in text


@pytest.mark.parametrize(
    "words",
    [
        [f"{'ABC'[i % 3]}{i // 2}" for i in range(N)],
        [f"{i // 7}{'ABCDEFG'[i % 7]}" for i in range(N)],
        [f"{i:04d}" for i in range(N)],
        [str(4_000 + 7 * i) for i in range(N)],  # row identifiers
        [f"555 {i:03d} 123" for i in range(N)],
        [f"10.0.{i}.1" for i in range(N)],
        [f"{i % 24}:30" for i in range(N)],
        [f"{1 + i % 28:02d}.03.2020" for i in range(N)],
        [f"{i}-{i + 5}" for i in range(N)],
        ["2009_10", "2011_12", "2013_14"] * 20,
        ["60%", "70%", "80%"] * 20,  # few categories
        ["None", "unknown", "some"] * 20,
    ],
)
def test_codes_are_no_numbers(words):
    text = remark(*table_of(words, "object"))
    assert "strings of numbers" not in text
    assert "mark missing" not in text


def test_diagnose_reports_each_column():
    frame = pd.DataFrame(
        {
            "word": with_marker(WORDS, "?"),
            "age": with_marker(AGES, -999),
            "price": [f"${t:.1f}M" for t in TEMPERATURES],
            "fine": REAL,
        }
    )
    imputer = tiny(MVAEImputer).fit(frame)
    findings = diagnose(imputer, frame).findings
    problems = [f for f in findings if (f.check, f.level) == ("columns", "problem")]
    assert [f.finding.partition(":")[0] for f in problems] == [
        "column 'word'",
        "column 'age'",
        "column 'price'",
    ]
    assert "30% of the cells" in problems[0].finding
    assert problems[0].remedy == "Set missing_values={'word': '?'}."
    assert problems[1].remedy == "Set missing_values={'age': -999}."
    assert problems[2].remedy.startswith("Use pandas.to_numeric(X['price']")
    assert not any((f.check, f.level) == ("columns", "ok") for f in findings)


def test_remarks_are_saved():
    X, _ = table_of(with_marker(WORDS, "?"), "object")
    imputer = tiny(MVAEImputer, init="random", max_iter=1).fit(X)
    findings = diagnose(imputer, X).findings
    data = skops.io.dumps(imputer)
    from_skops = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    for loaded in (pickle.loads(pickle.dumps(imputer)), from_skops):
        pd.testing.assert_frame_equal(loaded.fit_report_, imputer.fit_report_)
        assert diagnose(loaded, X).findings == findings


def test_diagnose_lists_at_most_twenty_columns():
    frame = pd.DataFrame({f"a{j}": with_marker(AGES, -999) for j in range(30)}).assign(b=REAL)
    frame = frame.assign(**{f"a{j}": RNG.permutation(frame[f"a{j}"]) for j in range(30)})
    findings = diagnose(tiny(MVAEImputer, max_iter=1).fit(frame), frame).findings
    assert sum("-999 in 30%" in f.finding for f in findings) == 20
    assert any(f.finding.startswith("10 more columns") for f in findings)
