"""Conditions between columns: draws that violate them are rejected."""

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
    X = mixed()
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
    with pytest.warns(UserWarning, match="the first draw is kept"):
        completed = imputations[0]
    pd.testing.assert_frame_equal(completed, plain.impute(X[:4], 2)[0])
    assert imputations.rejected().loc[0, "never"] == 1.0


def test_files_hold_expressions_and_no_code(tmp_path):
    X = intervals()
    imputer = tiny(MVAEImputer, **ORDER).fit(X)
    imputer.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.transform(X), imputer.transform(X))
    target = tmp_path / "written"
    imputer.set_params(constraints=[f"low.to_csv({str(target)!r})"]).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"cannot have \(Call\)"):
        load(tmp_path / "model").transform(X)
    assert not target.exists()


INVALID = {
    "column": (["low <= hight"], ValueError, "'hight' in 'low <= hight', which X does not have"),
    "empty": (["low <= empty"], ValueError, "which completed tables do not have"),
    "syntax": (["low <= "], ValueError, "not an expression"),
    "attribute": (["low.size > 1"], ValueError, "cannot have .Attribute"),
    "call": (["abs(low) > 1"], ValueError, "cannot have .Call"),
    "variable": (["low > @limit"], ValueError, "not an expression"),
    "constant": (["1 < 2"], ValueError, "names no column"),
    "equality": (["n > 0 and low + centre == high"], ValueError, "with probability zero"),
    "number": ({"order": 3}, TypeError, "has 3 as 'order'"),
    "mode": (["low <= high"], ValueError, "cannot be combined with strategy='mode'"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_constraints_are_refused_by_fit(kind):
    constraints, error, message = INVALID[kind]
    X = intervals().assign(empty=np.nan, n=np.arange(60) % 7)
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
