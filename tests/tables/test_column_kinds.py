"""Kinds of columns: inferred from types and values, or declared by parameters."""

import decimal
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from pandas.testing import assert_frame_equal
from table_cases import COUNTS, DAYS, REAL, RNG, N, mixed, pandas_column, with_missing

from skmissvae import MissSVAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.inference import batching

pytestmark = quiet


def test_kinds_follow_from_types():
    assert tiny(MVAEImputer).fit(mixed()).feature_kinds_ == {
        "real": "continuous",
        "count": "count",
        "flag": "binary",
        "word": "categorical",
        "rank": "ordinal",
    }


def test_declared_kinds():
    frame = mixed().assign(code=[i % 4 for i in range(N)], low=[i % 5 - 2 for i in range(N)])
    kinds = {"count": "continuous", "code": "ordinal"}
    fitted = tiny(MVAEImputer, feature_kinds=kinds).fit(frame).feature_kinds_
    assert fitted["count"] == "continuous"
    assert fitted["code"] == "ordinal"
    assert fitted["low"] == "integer"
    by_position = tiny(MVAEImputer, feature_kinds={5: "categorical"}).fit(frame).feature_kinds_
    assert by_position["code"] == "categorical"


def test_declared_kinds_of_arrays():
    X = np.column_stack([REAL, [c % 3 for c in COUNTS], COUNTS]).astype(float)
    X[RNG.random(X.shape) < 0.2] = np.nan
    imputer = tiny(MVAEImputer, feature_kinds={1: "categorical", 2: "count"}).fit(X)
    for out in (imputer.transform(X), imputer.sample(50)):
        assert isinstance(out, np.ndarray)
        assert set(out[:, 1]) <= {0, 1, 2}
        assert (out[:, 2] == out[:, 2].round()).all()
        assert (out[:, 2] >= 0).all()


def test_column_names_can_be_numbers():
    frame = pd.DataFrame({2: [i % 3 for i in range(N)], 1: REAL, 0: REAL[::-1]})
    imputer = tiny(MVAEImputer, feature_kinds={2: "categorical"}).fit(frame)
    assert imputer.feature_kinds_ == {2: "categorical", 1: "continuous", 0: "continuous"}
    assert list(imputer.transform(frame).columns) == [2, 1, 0]
    with pytest.raises(ValueError, match="column 5"):
        tiny(MVAEImputer, feature_kinds={5: "categorical"}).fit(frame)


def test_integers_of_any_size():
    sizes = np.rint(10 ** np.random.default_rng(0).uniform(3, 14, N))
    frame = pd.DataFrame({"size": sizes, "x": REAL})
    tiny(MVAEImputer, feature_kinds={"size": "count"}).fit(frame).score_samples(frame)
    few = frame.assign(size=COUNTS)
    imputer = tiny(MVAEImputer, feature_kinds={"size": "count"}).fit(few)
    with pytest.raises(ValueError, match="only integers"):
        imputer.score_samples(few.assign(size=3.4))
    with pytest.raises(ValueError, match="leave no value for column"):
        imputer.set_params(min_value=np.inf).transform(few)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e8), ("float64", 1e17)])
def test_large_floats_are_not_counts(dtype, size):
    frame = pd.DataFrame(
        {"p": (size * (1 + 0.1 * np.random.default_rng(1).normal(size=60))).astype(dtype)}
    )
    frame["n"] = np.random.default_rng(1).poisson(4, 60).astype(dtype)
    kinds = tiny(MVAEImputer).fit(frame).feature_kinds_
    assert kinds == {"p": "continuous", "n": "count"}


def test_large_integers_keep_their_digits():
    rng = np.random.default_rng(0)
    values = 1_600_000_000 + rng.integers(0, 10, 200)
    frame = pd.DataFrame({"t": pd.array(values, dtype="Int64"), "x": rng.normal(size=200)})
    incomplete = frame.mask(rng.random(frame.shape) < 0.3)
    imputer = tiny(MVAEImputer, init="random", max_iter=10, strategy="draw").fit(incomplete)
    drawn = imputer.transform(incomplete)["t"][incomplete["t"].isna()]
    assert drawn.nunique() > 4
    assert np.isfinite(imputer.score_samples(incomplete)).all()
    ids = pd.array([2**53 + 1, 2**53 + 3, None] * 8, dtype="Int64")
    labels = pd.DataFrame({"id": ids, "x": rng.normal(size=24)})
    out = tiny(MVAEImputer, feature_kinds={"id": "categorical"}).fit_transform(labels)
    assert set(out["id"]) == {2**53 + 1, 2**53 + 3}


def test_new_values_may_contradict_inferred_kinds():
    frame = pd.DataFrame(
        {
            "count": np.array(COUNTS, float),
            "few": [i % 2 for i in range(N)],
            "name": [f"person {i}" for i in range(N)],
            "same": "yes",
            "x": REAL,
        }
    )
    imputer = tiny(MVAEImputer).fit(frame)
    other = frame[:4].assign(count=[1.5, -2.0, np.nan, 3.0], few=[2, 0, 1, 1], name=list("abcd"))
    out = imputer.transform(other)
    observed = other.notna()
    assert_frame_equal(out.where(observed), other)
    assert np.isfinite(imputer.score_samples(other)).all()


def text_table(words, kind):
    """Return a table with a column of strings, and the name of that column."""
    numbers = RNG.normal(size=len(words))
    if kind == "array of objects":
        return np.array([words, numbers], dtype=object).T, "x0"
    if kind.startswith("polars"):
        dtype = {"String": pl.String, "Categorical": pl.Categorical}[kind.split()[1]]
        return pl.DataFrame({"t": pl.Series(words, dtype=dtype), "b": numbers}), "t"
    return pd.DataFrame({"t": pd.Series(words, dtype=kind), "b": numbers}), "t"


@pytest.mark.parametrize(
    "kind",
    [
        *("object", "str", "string", "string[pyarrow]", "category", "array of objects"),
        *("polars String", "polars Categorical"),
    ],
)
def test_near_unique_text_is_not_modelled(kind):
    words = [f"person {i}" for i in range(59)] + ["person 7"] + [None] * 4
    X, name = text_table(words, kind)
    imputer = tiny(MVAEImputer)
    with pytest.warns(UserWarning, match=f"most values occur once.*'{name}'. Drop these columns"):
        imputer.fit(X)
    assert imputer.fit_report_.loc[name, ["kind", "role"]].tolist() == ["identifier"] * 2
    assert "most values occur once" in imputer.fit_report_.loc[name, "remark"]
    out = imputer.transform(X)
    column = out[:, 0].tolist() if isinstance(out, np.ndarray) else out[name].to_list()
    assert column == [*words[:60], *["person 7"] * 4]
    other, _ = text_table(["someone else", "person 1"], kind)  # names are not refused
    assert np.isfinite(imputer.score_samples(other)).all()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (list("aabbccddee") + [f"{i}" for i in range(10)], "categorical"),  # a half occurs once
        (list("aabbccdde") + [f"{i}" for i in range(11)], "identifier"),
        (["USA"] * 50 + ["Chad", "Fiji", "Iran", "Laos", "Mali", "Peru"], "categorical"),
        (list("aabcd"), "categorical"),  # too few cells
        (list("abcde"), "identifier"),
        (["a"] + ["b"] * 30, "binary"),
    ],
)
def test_text_is_near_unique_by_the_share_of_cells_with_a_value_that_occurs_once(words, expected):
    X, _ = text_table(words, "object")
    imputer = tiny(MVAEImputer, init="random", max_iter=1)
    assert imputer.fit(X).feature_kinds_["t"] == expected
    declared = imputer.set_params(feature_kinds={"t": "categorical"}).fit(X).feature_kinds_
    assert declared["t"] == ("binary" if expected == "binary" else "categorical")


def test_strings_among_numbers_are_refused():
    frame = pd.DataFrame({"q": pd.Series([1, 2, "42", "bad"] * 10, dtype=object), "x": range(40)})
    with pytest.raises(ValueError, match="holds 'bad' in row 3"):
        tiny(MVAEImputer).fit(frame)
    frame["q"] = pd.Series([1, 2, "nan", 4] * 10, dtype=object)
    with pytest.raises(ValueError, match="missing_values='nan'"):
        tiny(MVAEImputer).fit(frame)
    frame["q"] = pd.Series([1, 2, "42", 4] * 10, dtype=object)
    with pytest.raises(ValueError, match=r"holds '42' in row 2.*make it a number"):
        tiny(MVAEImputer).fit(frame)


def test_warm_start_with_other_kinds_is_refused():
    imputer = tiny(MVAEImputer, warm_start=True).fit(mixed())
    for change in ({"feature_kinds": {"count": "integer"}}, {"learn_shapes": True}):
        with pytest.raises(ValueError, match=f"{next(iter(change))!r}.*Set it back"):
            pickle.loads(pickle.dumps(imputer)).set_params(**change).fit(mixed())


def test_imputed_dates_lie_among_the_observed_dates():
    frame = mixed().assign(day=pd.to_datetime(with_missing(DAYS, 5)))
    out = tiny(MVAEImputer, strategy="draw", max_iter=20).fit(frame).transform(frame)
    assert (out["day"] == out["day"].dt.normalize()).all()
    assert out["day"].between("2019-01-01", "2021-01-01").all()


def test_complete_dates_have_no_cell_distribution():
    frame = pd.DataFrame({"when": pandas_column("with a zone"), "x": with_missing(REAL, 4)})
    imputer = tiny(MVAEImputer).fit(frame)
    observed = frame[frame["when"].notna()]
    assert set(imputer.cell_distribution(observed)["column"]) == {"x"}


def test_drawn_categories_have_their_conditional_frequencies():
    rng = np.random.default_rng(0)
    n, p = 1500, {"a": [0.8, 0.15, 0.05], "b": [0.1, 0.2, 0.7]}
    group = rng.choice(["a", "b"], n)
    word = [rng.choice(["x", "y", "z"], p=p[g]) for g in group]
    frame = pd.DataFrame({"group": group, "word": word})
    incomplete = frame.assign(word=frame["word"].mask(rng.random(n) < 0.3))
    imputer = MissSVAEImputer(n_hidden=16, n_blocks=0, n_latents=2, dropout=0.0, random_state=0)
    imputer.set_params(max_iter=10, learning_rate=0.03, batch_size=100).fit(incomplete)
    drawn = imputer.set_params(n_importance_draws=100).impute(incomplete, 1)[0]
    result = drawn[incomplete["word"].isna()]
    for name, expected in p.items():
        frequencies = result[result["group"] == name]["word"].value_counts(normalize=True)
        np.testing.assert_allclose(
            frequencies.reindex(list("xyz"), fill_value=0), expected, atol=0.1
        )


@pytest.mark.parametrize("cls", [MVAEImputer, VAEDensityEstimator])
def test_probabilities_of_discrete_tables_sum_to_one(cls):
    flags, words = [True, False], ["x", "y", "z"]
    ranks = pd.CategoricalDtype(["low", "high", "top"], ordered=True)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"flag": rng.choice(flags, 80), "word": rng.choice(words, 80)},
    ).assign(rank=pd.Categorical(rng.choice(ranks.categories, 80), dtype=ranks))
    model = tiny(cls, n_importance_draws=5_000, max_iter=10).fit(frame)
    every = pd.MultiIndex.from_product([flags, words, ranks.categories]).to_frame(index=False)
    every.columns = frame.columns
    every["rank"] = every["rank"].astype(ranks)
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1, abs=0.02)
    words_alone = pd.DataFrame(
        {"flag": None, "word": words, "rank": pd.Series([None] * 3, dtype=ranks)}
    )
    assert np.exp(model.score_samples(words_alone)).sum() == pytest.approx(1, abs=0.02)


def test_densities_of_counts_and_reals_integrate_to_one(monkeypatch):
    # rows with many draws are computed in batches, too
    monkeypatch.setattr(batching, "_CPU_LIMITS", batching._GPU_LIMITS)
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(300) < 0.5, 0.0, rng.gamma(0.7, 3, size=300))
    frame = pd.DataFrame({"n": rng.poisson(np.where(rain > 0, 9.0, 2.0)), "rain": rain})
    options = {"max_iter": 10, "n_importance_draws": 500}
    for learn_shapes in (False, True):
        model = tiny(VAEDensityEstimator, learn_shapes=learn_shapes, **options).fit(frame)
        counts = pd.DataFrame({"n": range(60), "rain": np.nan})
        assert np.exp(model.score_samples(counts)).sum() == pytest.approx(1, abs=0.02)
        grid = np.sinh(np.linspace(-4.5, 5.5, 160))
        density = np.exp(model.score_samples(pd.DataFrame({"n": None, "rain": [0.0, *grid]})))
        point_mass = density[0] if learn_shapes else 0.0
        assert point_mass + density[1:] @ np.gradient(grid) == pytest.approx(1, abs=0.05)


def large_integers(dtype, step, n=9):
    """Return integers above 2**53, every seventh one missing, in a container of a type."""
    ids = with_missing([2**60 + step * i for i in range(n)], 7)
    beside = np.random.default_rng(0).normal(size=n).tolist()
    if dtype.startswith("polars."):
        kind = pl.Decimal(38, 0) if dtype == "polars.Decimal" else getattr(pl, dtype[7:])
        return pl.DataFrame({"id": pl.Series(ids).cast(kind), "x": beside}), ids
    if dtype == "int64 array":
        filled = [-1 if i is None else i for i in ids]
        return np.array([filled, np.rint(np.multiply(beside, 100))], dtype=np.int64).T, ids
    if dtype == "object array":
        return np.array([ids, beside], dtype=object).T, ids
    if dtype == "decimal":
        ids = [None if i is None else decimal.Decimal(i) for i in ids]
        return pd.DataFrame({"id": pd.Series(ids, dtype=object), "x": beside}), ids
    return pd.DataFrame({"id": pd.Series(ids, dtype=dtype), "x": beside}), ids


def test_large_integers_in_lists_are_not_rounded():
    rows = [[2**60 + i, float(i % 7)] for i in range(60)]
    rows[3][1] = np.nan
    imputer = tiny(MVAEImputer).fit(rows)
    assert imputer.fit_report_["n_values"].iloc[0] == 60


LARGE_INTEGERS = [
    *("Int64", "UInt64", "int64[pyarrow]", "object", "decimal", "int64 array", "object array"),
    *("polars.Int64", "polars.UInt64", "polars.Decimal"),
]


@pytest.mark.parametrize("step", [1, 3, 10_007])
@pytest.mark.parametrize("dtype", LARGE_INTEGERS)
def test_large_integers_without_repetitions_are_identifiers(dtype, step):
    X, ids = large_integers(dtype, step)
    marker = -1 if isinstance(X, np.ndarray) else None
    imputer = tiny(MVAEImputer, init="random", max_iter=1, missing_values=marker)
    with pytest.warns(UserWarning, match="most values occur once are not modelled"):
        imputer.fit(X)
    report = imputer.fit_report_.iloc[0]
    observed = [i for i in ids if i is not None]
    assert report[["kind", "role", "n_values"]].tolist() == ["identifier"] * 2 + [len(observed)]
    for out in (imputer.transform(X), *imputer.impute(X, 1)):
        assert type(out) is type(X)
        cells = out[:, 0].tolist() if isinstance(out, np.ndarray) else out["id"].to_list()
        assert set(cells) == set(observed)
        assert all(cell == i for cell, i in zip(cells, ids, strict=True) if i is not None)
    assert np.isfinite(imputer.score_samples(X)).all()


@pytest.mark.parametrize("dtype", LARGE_INTEGERS)
def test_large_integers_with_repetitions_are_categories(dtype):
    X, ids = large_integers(dtype, 1, n=10)
    rows = np.arange(40) % 5 + 5
    X = X[rows] if not isinstance(X, pd.DataFrame) else X.iloc[rows]
    marker = -1 if isinstance(X, np.ndarray) else None
    imputer = tiny(MVAEImputer, init="random", max_iter=1, missing_values=marker).fit(X)
    assert imputer.fit_report_["kind"].iloc[0] == "categorical"
    assert imputer.fit_report_["n_values"].iloc[0] == 4
    out = imputer.transform(X)
    cells = out[:, 0].tolist() if isinstance(out, np.ndarray) else out["id"].to_list()
    assert set(cells) == set(ids[5:10]) - {None}


@pytest.mark.parametrize("dtype", ["Int64", "UInt64", "int64[pyarrow]", "object"])
@pytest.mark.parametrize("kind", [None, "integer", "continuous"])
def test_unequal_large_integers_are_no_copies(kind, dtype):
    rng = np.random.default_rng(0)
    # the next float is 256 away
    ids = [2**60 + 1024 * int(i) for i in rng.integers(0, 2**49, 40).repeat(2)]
    near = [i + int(j) for i, j in zip(ids, rng.integers(1, 60, 80), strict=True)]
    frame = pd.DataFrame(
        {
            "a": pd.Series(with_missing(ids, 7), dtype=dtype),
            "b": pd.Series(with_missing(near, 5), dtype=dtype),
            "c": pd.Series(with_missing(ids, 9), dtype=dtype),
        }
    )
    kinds = None if kind is None else dict.fromkeys("abc", kind)
    imputer = tiny(MVAEImputer, init="random", max_iter=1, feature_kinds=kinds).fit(frame)
    assert imputer.fit_report_["role"]["b"] != "copy"
    assert imputer.fit_report_["role"]["c"] == "copy"
    out = imputer.transform(frame)
    if kind is None:
        missing = frame["c"].isna() & frame["a"].notna()
        assert out["c"][missing].tolist() == [ids[i] for i in np.flatnonzero(missing)]


def test_measurements_with_a_large_integer_stay_numbers():
    cells = with_missing([*COUNTS[:-1], 2**53 + 1], 5)
    frame = pd.DataFrame({"n": pd.array(cells, dtype="Int64"), "x": REAL})
    imputer = tiny(MVAEImputer).fit(frame)
    assert imputer.feature_kinds_["n"] == "count"
    assert imputer.transform(frame)["n"].tolist()[-1] == 2**53 + 1


def test_decimals_that_differ_beyond_floats_are_numbers():
    digit = decimal.Decimal("1e-20")
    cells = [1 + digit * (i % 3) for i in range(30)] + [decimal.Decimal(2)] * 10
    frame = pd.DataFrame({"d": pd.Series(with_missing(cells, 5), dtype=object), "x": REAL[:40]})
    assert tiny(MVAEImputer).fit(frame).feature_kinds_["d"] == "count"
