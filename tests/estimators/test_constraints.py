"""Conditions between columns: draws that violate them are rejected."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import every_imputer, quiet, tiny
from sklearn.base import clone

from skmissvae import MissSIWAEImputer, MVAEImputer, load

pytestmark = quiet


def intervals(n=60, seed=0):
    """Return ordered pairs with a third column, with missing cells in all of them."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=n)
    low = centre + 0.5 * rng.normal(size=n)
    frame = pd.DataFrame(
        {"centre": centre, "low": low, "high": low + rng.exponential(0.3, size=n) + 0.01}
    )
    return frame.mask(rng.random(frame.shape) < 0.35)


ORDER = {"constraints": ["low <= high"]}
FREE = {"constraints": None}


def limits(X):
    """Return the limits of cells whose row has the other end of the interval."""
    return {"lower": {"high": X["low"].to_numpy()}, "upper": {"low": X["high"].to_numpy()}}


@every_imputer
def test_an_observed_end_is_a_limit_and_other_draws_are_rejected(cls):
    X = intervals(24)
    X.loc[:7, ["low", "high"]] = np.nan
    imputer = tiny(cls, **ORDER).fit(X)
    plain = clone(imputer).set_params(**FREE).fit(X)
    neither = X[["low", "high"]].isna().all(axis=1)
    for strategy in ("auto", "draw"):
        completed = imputer.set_params(strategy=strategy).transform(X)
        assert (completed["low"] <= completed["high"]).all()
        pd.testing.assert_frame_equal(completed.where(X.notna()), X)
        free = plain.set_params(strategy=strategy).transform(X, **limits(X))
        pd.testing.assert_frame_equal(completed[~neither], free[~neither])
    imputations, others = imputer.impute(X, 2), plain.impute(X, 2, **limits(X))
    shares = []
    for i, (completed, free) in enumerate(zip(imputations, others, strict=True)):
        is_met = free["low"] <= free["high"]
        assert is_met[~neither].all()
        pd.testing.assert_frame_equal(completed[is_met], free[is_met])
        assert (completed["low"] <= completed["high"]).all()
        shares.append((~is_met).sum() / X.isna().any(axis=1).sum())
        assert imputations.rejected().loc[i, "low <= high"] == pytest.approx(shares[i])
    assert max(shares) > 0
    assert imputations[1:].rejected().index.tolist() == [1]
    cells, free = imputer.cell_distribution(X), plain.cell_distribution(X, **limits(X))
    pd.testing.assert_frame_equal(cells, free)


def distance(sample, other):
    """Return the greatest difference of means, mean squares and widths, in standard errors."""
    sample, other = (np.hstack([v, v**2, v[:, 1:] - v[:, :1]]) for v in (sample, other))
    error = np.sqrt(sample.var(0) / len(sample) + other.var(0) / len(other))
    return np.max(np.abs(sample.mean(0) - other.mean(0)) / np.where(error > 1e-9, error, np.inf))


@pytest.mark.parametrize("high", [np.nan, 0.8])
def test_draws_and_means_are_those_of_the_truncated_distribution(high):
    X = intervals(80)
    X.loc[0] = [0.3, np.nan, high]
    options = {"max_iter": 60, "init": "factor_analysis", "n_importance_draws": 100}
    imputer = tiny(MVAEImputer, strategy="draw", **options, **ORDER).fit(X)
    plain = clone(imputer).set_params(**FREE).fit(X)
    rows = pd.concat([X[:1]] * 800, ignore_index=True)  # draws of a row differ by position
    free, columns = plain.transform(rows), ["low", "high"]
    expected = free.loc[free["low"] <= free["high"], columns].to_numpy()
    assert 0.1 < len(expected) / len(free) < 0.97
    drawn = imputer.transform(rows)[columns].to_numpy()
    assert distance(drawn, expected) < 4.5 < distance(free[columns].to_numpy(), expected)
    mean = imputer.set_params(strategy="mean").transform(X[:1])[columns].to_numpy()
    error = expected.std(0) * np.sqrt(1 / 100 + 1 / len(expected)) + 1e-9
    assert np.abs((mean - expected.mean(0)) / error).max() < 4.5


def test_rows_do_not_depend_on_others():
    X = intervals()
    X.loc[[7, 45]] = np.nan
    imputer = tiny(MissSIWAEImputer, **ORDER).fit(X)
    completed = imputer.transform(X)
    pd.testing.assert_frame_equal(imputer.transform(X[::-1])[::-1], completed)
    pd.testing.assert_frame_equal(imputer.transform(X[7:9]), completed[7:9])
    (drawn,) = imputer.impute(X, 1)
    (last,) = imputer.impute(X[40:], 1, row_ids=np.arange(40, 60))
    pd.testing.assert_frame_equal(last, drawn[40:])


def mixed(n=60, seed=0):
    """Return categories, dates, integers and booleans with relations, and missing cells."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    frame = pd.DataFrame(
        {
            "sex": pd.Categorical(sex),
            "is pregnant": pd.array((sex == "f") & (rng.random(n) < 0.5), dtype="boolean"),
            "n": pd.array(rng.integers(0, 5, n), dtype="Int64"),
            "start": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, n), "D"),
        }
    )
    frame["end"] = frame["start"] + pd.to_timedelta(rng.integers(0, 9, n), "D")
    return frame.mask(rng.random(frame.shape) < 0.3)


CONDITIONS = [
    "sex == 'f' or not `is pregnant`",
    "start <= end",
    "0 < n + 1 <= 5 and n * n < 26",
]


@pytest.mark.parametrize("strategy", ["auto", "median", "draw"])
def test_columns_of_every_kind(strategy):
    X = mixed(30)
    imputer = tiny(MVAEImputer, strategy=strategy, constraints=CONDITIONS).fit(X)
    _, (drawn,) = imputer.impute(X, 1)[0], imputer.impute(X, 1)
    for completed in (imputer.transform(X), drawn):
        for condition in CONDITIONS:
            assert completed.eval(condition, engine="python").all()
        assert completed.dtypes.equals(X.dtypes)


def test_arrays_frames_of_polars_and_functions_agree():
    X = intervals()
    imputer = tiny(MVAEImputer, **ORDER)
    expected = imputer.fit_transform(X).to_numpy()
    of_polars = clone(imputer).fit_transform(pl.from_pandas(X))
    np.testing.assert_array_equal(of_polars.to_numpy(), expected)
    other_side = clone(imputer).set_params(constraints=["high >= low"])
    np.testing.assert_array_equal(other_side.fit_transform(X).to_numpy(), expected)
    by_position = clone(imputer).set_params(constraints=["x1 <= x2"])
    np.testing.assert_array_equal(by_position.fit_transform(X.to_numpy()), expected)
    # without limits: what functions read is not known
    expected = clone(imputer).set_params(constraints=["low - high <= 0"]).fit_transform(X)
    of_series = {"order": lambda t: t["low"] <= t["high"]}
    of_lists = {"order": lambda t: list(t["low"] <= t["high"])}
    of_arrays = {"order": lambda t: t[:, 1] <= t[:, 2]}
    for conditions, container in (
        (of_series, X),
        (of_lists, pl.from_pandas(X)),
        (of_arrays, X.to_numpy()),
    ):
        completed = clone(imputer).set_params(constraints=conditions).fit_transform(container)
        np.testing.assert_array_equal(np.asarray(completed), expected.to_numpy())


def test_estimates_that_violate_a_constraint_become_accepted_draws():
    X = intervals(20)
    apart = {"apart": lambda t: np.abs(t["low"] - t["high"]) > 0.5}  # on two sides
    imputer = tiny(MVAEImputer, constraints=apart).fit(X)
    completed, incomplete = imputer.transform(X), X[["low", "high"]].isna().any(axis=1)
    assert (np.abs(completed["low"] - completed["high"])[incomplete] > 0.5).all()


def test_derived_columns_shifts_limits_and_where_are_combined():
    X = intervals().assign(width=lambda t: t["high"] - t["low"])
    derived = {"width": lambda t: t["high"] - t["low"]}
    imputer = tiny(MVAEImputer, derived=derived, constraints=["width >= 0.1"]).fit(X)
    missing = X[["low", "high"]].isna().any(axis=1)
    (shifted,) = imputer.impute(X, 1, shift={"high": 0.2})
    (limited,) = imputer.impute(X, 1, lower={"high": 0.0})
    for completed in (imputer.transform(X), shifted, limited):
        assert (completed["width"][missing] >= 0.1).all()
        np.testing.assert_allclose(
            completed["width"][missing], derived["width"](completed)[missing]
        )
    assert (limited["high"][X["high"].isna()] >= 0).all()
    some = imputer.transform(X, where=["low", "width"])
    pd.testing.assert_series_equal(some["high"], X["high"])
    is_complete = some.notna().all(axis=1) & X["low"].isna()
    assert (some["width"][is_complete] >= 0.1).all()


def test_observed_cells_may_violate_constraints():
    X = intervals(15)
    X.loc[3] = [np.nan, 2.0, 1.0]  # of the columns of the constraint all are observed
    imputer = tiny(MVAEImputer, **ORDER).fit(X)
    plain = clone(imputer).set_params(**FREE).fit(X)
    X.loc[4] = [0.0, 1e4, np.nan]  # no draw of the model is there
    assert imputer.transform(X).loc[3, "low"] == 2.0
    assert imputer.transform(X).loc[4, "high"] >= 1e4
    X.loc[4] = [0.0, 1.0, np.nan]
    never = {"never": lambda t: t["low"] + 100 < t["high"]}
    imputer.set_params(constraints=never)
    incomplete = int(X.isna().any(axis=1).sum())
    first = int(np.flatnonzero(X.isna().any(axis=1))[0])
    message = rf"{incomplete} rows do not meet parameter 'constraints' \('never'\).*row {first}:"
    with pytest.warns(UserWarning, match=message):
        completed = imputer.transform(X)
    pd.testing.assert_frame_equal(completed, plain.transform(X))
    imputations = imputer.impute(X[:4], 2)
    with pytest.warns(UserWarning, match="they keep the first draw"):
        completed = imputations[0]
    pd.testing.assert_frame_equal(completed, plain.impute(X[:4], 2)[0])
    assert imputations.rejected().loc[0, "never"] == 1.0


def test_a_single_possible_value_is_imputed():
    X = pd.DataFrame({"n": [0, 3, 5, 2, None] * 8, "total": [4, 9, 5, 7, 0] * 8}, dtype="Int64")
    X["share"] = X["n"] / (X["total"] + 1)
    X["limit"] = X["share"].fillna(0.0)
    options = {"min_value": {"n": 0, "share": 0.0}}
    imputer = tiny(MVAEImputer, constraints=["n <= total", "share <= limit"], **options).fit(X)
    for completed in (imputer.transform(X), imputer.impute(X, 1)[0]):
        assert (completed[["n", "share"]][X["n"].isna()] == 0).all(axis=None)


def test_draws_outside_the_domain_of_a_derived_column_are_rejected():
    X = intervals(30).assign(log_width=lambda t: np.log(t["high"] - t["low"]))
    derived = {"log_width": lambda t: np.log(t["high"] - t["low"])}
    imputer = tiny(MVAEImputer, derived=derived).fit(X)
    with np.errstate(invalid="ignore"):
        with pytest.raises(ValueError, match="'derived' returns nan"):
            for _ in imputer.impute(X, 5):
                pass
        imputer.set_params(constraints=["low < high"])
        for completed in (imputer.transform(X), *imputer.impute(X, 5)):
            assert np.isfinite(completed["log_width"]).all()


def test_conditions_are_independent_of_each_other():
    X = intervals(30)
    X.loc[5] = [np.nan, 1.2, 1.0]
    both = tiny(MVAEImputer, constraints=["low <= high and centre <= 1"]).fit(X)
    completed = both.transform(X)
    assert (completed["centre"][X["centre"].isna()] <= 1).all()
    pd.testing.assert_frame_equal(
        completed, both.set_params(constraints=["low <= high", "centre <= 1"]).transform(X)
    )
    X["rest"] = np.where(np.arange(30) % 2, np.nan, 1.0)
    some = both.set_params(constraints=["low <= centre + 0.3"]).fit(X)
    where = ["low", "centre"]
    completed = some.transform(X, where=where)
    width = (completed["low"] - completed["centre"])[X[where].isna().any(axis=1)]
    assert (width <= 0.3 + 1e-9).all()
    low = X.assign(low=np.nan)[:8]  # cells that stay missing decide about no row
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "8 rows do not meet")
        some.set_params(constraints=["low <= rest"]).transform(
            low.assign(rest=np.nan), where=["low"]
        )

    def mutate(table):
        table["low"] = 0.0
        return table["low"] == 0.0

    some.set_params(constraints={"mutate": mutate, "order": "low <= high"})
    completed = some.transform(X)
    pd.testing.assert_frame_equal(completed, some.set_params(**ORDER).transform(X))


def test_shifts_of_other_columns_keep_the_limits():
    X = intervals(30)
    imputer = tiny(MVAEImputer, **ORDER).fit(X)
    (plain,) = imputer.impute(X, 1)
    for shift in ({}, {"centre": 0.0}):
        pd.testing.assert_frame_equal(imputer.impute(X, 1, shift=shift)[0], plain)
    (moved,) = imputer.impute(X, 1, shift={"centre": -0.5})
    pd.testing.assert_frame_equal(moved[["low", "high"]], plain[["low", "high"]])
    (moved,) = imputer.impute(X, 1, shift={"high": -0.5})
    assert (moved["low"] <= moved["high"]).all()


def test_copies_of_columns_are_one_variable():
    X = intervals(40)[["low", "high"]]
    X["copy"] = X["low"]
    X["centre"] = X["low"] + 1
    imputer = tiny(MVAEImputer, constraints=["copy <= high"]).fit(X)
    new = pd.DataFrame({"low": [1.0], "high": [0.0], "copy": [np.nan], "centre": [2.0]})
    assert imputer.transform(new)["copy"][0] == 1.0
    new = pd.DataFrame({"low": [5.0], "high": [np.nan], "copy": [np.nan], "centre": [2.0]})
    assert imputer.transform(new)["high"][0] >= 5.0


def test_limits_follow_from_chains_of_pairs():
    X = intervals(40)
    X["highest"] = (X["high"] + 1).where(np.arange(40) % 2 == 0)
    imputer = tiny(MVAEImputer, constraints=["low <= high", "high <= highest"]).fit(X)
    new = pd.DataFrame(
        {"centre": [0.0, 0.0], "low": [5.0, np.nan], "high": np.nan, "highest": [np.nan, 0.5]}
    )
    for completed in (imputer.transform(new), imputer.impute(new, 1)[0]):
        rows = completed[["low", "high", "highest"]].to_numpy()
        assert (np.diff(rows, axis=1) >= 0).all()


def test_models_of_missingness_are_not_replaced_by_limits():
    X = intervals(40)
    X["low"] -= 100.0  # no draw violates the constraint
    imputer = tiny(MVAEImputer, missingness={"high": "high"}, **ORDER).fit(X)
    plain = clone(imputer).set_params(**FREE).fit(X)
    rows = X[X["low"].notna()]
    pd.testing.assert_frame_equal(imputer.impute(rows, 1)[0], plain.impute(rows, 1)[0])


def test_ordered_numbers_are_compared_in_their_order():
    rng = np.random.default_rng(0)
    grade = pd.Categorical(rng.choice([1, 2, 3], 60), [3, 2, 1], ordered=True)
    X = pd.DataFrame({"grade": grade, "x": rng.normal(size=60)})
    X["grade"] = X["grade"].where(np.arange(60) % 3 > 0)
    completed = tiny(MVAEImputer, constraints=["grade <= 2"]).fit_transform(X)
    assert (completed["grade"][X["grade"].isna()] <= 2).all()


def test_names_that_python_does_not_distinguish_are_refused():
    X = pd.DataFrame(intervals(30).to_numpy(), columns=["\ufb01", "fi", "b"])
    with pytest.raises(ValueError, match="which is not unique"):
        tiny(MVAEImputer, constraints=["\ufb01 <= 9"]).fit(X)
    completed = tiny(MVAEImputer, constraints=["`\ufb01` <= 0.5"]).fit_transform(X)
    assert (completed["\ufb01"][X["\ufb01"].isna()] <= 0.5).all()


def test_names_and_containers_of_expressions():
    X = intervals(30).to_numpy()
    imputer = tiny(MVAEImputer, constraints=["(x1\n <= x2)"]).fit(X)
    completed = imputer.transform(pd.DataFrame(X))
    assert (completed.iloc[:, 1] <= completed.iloc[:, 2]).all()
    frame = pd.DataFrame(X, columns=["_0", "a b", "µ"])
    odd = tiny(MVAEImputer, constraints=["`a b` <= µ", "_0 <= 9 and `a b` != 3"]).fit(frame)
    np.testing.assert_array_equal(odd.transform(frame), imputer.transform(X))
    small = pd.DataFrame({"a": [100, 60, None, 70] * 8, "b": [90, 80, 70, None] * 8}, dtype="Int8")
    sums = tiny(MVAEImputer, constraints=["a + b <= 150 or a > b"]).fit_transform(small)
    sums = sums[small.isna().any(axis=1)].astype(float)
    assert ((sums["a"] + sums["b"] <= 150) | (sums["a"] > sums["b"])).all()


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_dates_are_compared_with_constants(zone):
    X = mixed(30)[["start", "end"]]
    X = X.apply(lambda column: column.dt.tz_localize(zone))
    imputer = tiny(MVAEImputer, constraints=["start < end and end >= '2020-01-20'"])
    late, imputed = pd.Timestamp("2020-01-20", tz=zone), X["end"].isna().to_numpy()
    for frame in (X, pl.from_pandas(X)):
        completed = imputer.fit(frame).transform(frame)
        start, end = (pd.Series(completed[name].to_list())[imputed] for name in ("start", "end"))
        assert (end >= late).all()
        assert (start < end).all()
    other = X.assign(end=X["end"].dt.tz_localize("UTC" if zone is None else None))
    with pytest.raises(ValueError, match="with and without a zone"):
        imputer.fit(other)


def test_every_imputation_warns_of_rows_without_accepted_draws():
    X = intervals(12)
    rare = {"rare": lambda t: t["high"] - t["low"] > 2.5}
    imputer = tiny(MVAEImputer, constraints=rare).fit(X)
    imputations = imputer.impute(X, 4)
    with pytest.warns(UserWarning, match="do not meet|does not meet"):
        tables = list(imputations)
    assert any((t["high"] - t["low"] <= 2.5).any() for t in tables)


def test_files_hold_expressions_and_no_code(tmp_path):
    X = intervals()
    imputer = tiny(MVAEImputer, **ORDER).fit(X)
    imputer.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.transform(X), imputer.transform(X))
    target = tmp_path / "written"
    call = f"low.to_csv({str(target)!r})"
    for expression in (call, f"low != '`' and {call} != '`'", f"`low` > 0 and {call} > 0"):
        imputer.set_params(constraints=[expression]).save(tmp_path / "model")
        with pytest.raises(ValueError, match="'constraints' has"):
            load(tmp_path / "model").transform(X)
    assert not target.exists()


INVALID = {
    "column": (["low <= hight"], ValueError, "'hight' in 'low <= hight', which X does not have"),
    "empty": (["low <= empty"], ValueError, "which completed tables do not have"),
    "syntax": (["low <= "], ValueError, "with a fault .invalid syntax"),
    "or": (["low <= high | n > 3"], ValueError, "cannot have there .BinOp"),
    "text": (["low < 'a'"], ValueError, "a comparison of text"),
    "number as condition": (["low"], ValueError, "a number in place of a condition"),
    "difference": (["low - high"], ValueError, "a number in place of a condition"),
    "nested": (["low < (high < n)"], ValueError, "cannot have there .Compare"),
    "deep": (["-" * 60 + "low < 1"], ValueError, "too many parts within parts"),
    "long": (["+".join(["low"] * 400) + " < 1"], ValueError, "with 1603 characters"),
    "huge": (["low < " + "9" * 400], ValueError, "cannot have there .Constant"),
    "category": (["word != 'bule'"], ValueError, "category 'bule', which no row had at fit"),
    "order": (["word < 'blue'"], ValueError, "an order of categories that have none"),
    "words and numbers": (["word == 1"], ValueError, "the category 1, which no row had"),
    "dates": (["day - day <= '5 days'"], ValueError, "a comparison of text with other values"),
    "arithmetic of dates": (["day - day <= 5"], ValueError, "'day', whose values are dates"),
    "attribute": (["low.size > 1"], ValueError, "cannot have there .Attribute"),
    "call": (["abs(low) > 1"], ValueError, "cannot have there .Call"),
    "variable": (["low > @limit"], ValueError, "with a fault"),
    "constant": (["1 < 2"], ValueError, "names no column"),
    "equality": (["n > 0 and low + centre == high"], ValueError, "with probability zero"),
    "number": ({"order": 3}, TypeError, "has 3 as 'order'"),
    "mode": (["low <= high"], ValueError, "cannot be combined with strategy='mode'"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_constraints_are_refused_by_fit(kind):
    constraints, error, message = INVALID[kind]
    X = intervals().assign(empty=np.nan, n=np.arange(60) % 7, word=["red", "blue"] * 30)
    X["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(60), "D")
    strategy = "mode" if kind == "mode" else "auto"
    imputer = tiny(MVAEImputer, constraints=constraints, strategy=strategy)
    before = dict(vars(imputer))
    with pytest.raises(error, match=message):
        imputer.fit(X)
    assert vars(imputer) == before


RESULTS = {
    "numbers": (lambda t: t["low"], TypeError, "for 'order', which are not bools"),
    "one": (lambda t: True, ValueError, r"shape \(\) for 'order'"),
    "shuffled": (
        lambda t: (t["low"] <= t["high"]).sample(frac=1, random_state=0),
        ValueError,
        "another index than that of the table for 'order'",
    ),
    "short": (lambda t: [True], ValueError, r"shape \(1,\) for 'order'"),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_invalid_results_are_refused(kind):
    function, error, message = RESULTS[kind]
    X = intervals()
    imputer = tiny(MVAEImputer, constraints={"order": function}).fit(X)
    with pytest.raises(error, match=message):
        imputer.transform(X)
    with pytest.raises(error, match=message):
        imputer.impute(X, 1)[0]
    with pytest.raises(ValueError, match="No draws are rejected without constraints"):
        imputer.set_params(**FREE).impute(X, 1).rejected()
