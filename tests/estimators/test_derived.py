"""Columns that are functions of others: consistent in every completed table."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import every_imputer, quiet, tiny
from round_trips import by_pickle
from sklearn.base import clone

from skmissvae import MissSIWAEImputer, MVAEImputer, load

pytestmark = quiet


def bmi(table):
    return table["weight"] / table["height"] ** 2


def body(n=60, seed=0):
    """Return weights, heights and their body-mass index, with missing cells in all of them."""
    rng = np.random.default_rng(seed)
    height = rng.normal(1.7, 0.1, n)
    weight = 24 * height**2 * np.exp(0.1 * rng.normal(size=n))
    frame = pd.DataFrame({"bmi": weight / height**2, "weight": weight, "height": height})
    return frame.mask(rng.random(frame.shape) < 0.3)


OPTIONS = {"derived": {"bmi": bmi}, "min_value": {"height": 0.5}}


@every_imputer
def test_missing_cells_equal_the_function_of_the_completed_row(cls):
    X = body()
    imputer = tiny(cls, **OPTIONS).fit(X)
    missing = X["bmi"].isna()
    plain = clone(imputer).set_params(derived=None).fit(X)
    for completed, without in (
        (imputer.transform(X), plain.transform(X)),
        *zip(imputer.impute(X, 2), plain.impute(X, 2), strict=True),
    ):
        np.testing.assert_allclose(completed.loc[missing, "bmi"], bmi(completed)[missing])
        assert not np.allclose(without.loc[missing, "bmi"], bmi(without)[missing])
        observed = ~missing
        pd.testing.assert_series_equal(completed.loc[observed, "bmi"], X.loc[observed, "bmi"])
        others = ["weight", "height"]  # the column stays evidence for the others
        pd.testing.assert_frame_equal(completed[others], without[others])


def test_functions_are_applied_in_their_order():
    X = body().assign(double=lambda t: 2 * t["bmi"], fourfold=lambda t: 4 * t["bmi"])
    derived = {
        "bmi": bmi,
        "double": lambda t: 2 * t["bmi"],
        "fourfold": lambda t: 2 * t["double"],
    }
    X.loc[::4, "double"] = X.loc[::5, "fourfold"] = np.nan
    completed = tiny(MVAEImputer, derived=derived, min_value={"height": 0.5}).fit_transform(X)
    missing = X["fourfold"].isna() & X["double"].isna() & X["bmi"].isna()
    assert missing.sum() > 5
    np.testing.assert_allclose(completed.loc[missing, "fourfold"], 4 * bmi(completed)[missing])


def test_integers_and_other_containers():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(1, 9, 60), "b": rng.integers(1, 9, 60)}, dtype="Int64")
    frame["sum"] = frame["a"] + frame["b"]
    frame = frame.mask(rng.random(frame.shape) < 0.3)
    total = tiny(MissSIWAEImputer, derived={"sum": lambda t: t["a"] + t["b"]})
    completed = total.fit_transform(frame)
    missing = frame["sum"].isna()
    assert completed["sum"].dtype == "Int64"
    expected = (completed["a"] + completed["b"])[missing]
    pd.testing.assert_series_equal(completed.loc[missing, "sum"], expected, check_names=False)
    of_polars = clone(total).fit_transform(pl.from_pandas(frame))
    np.testing.assert_array_equal(of_polars["sum"], completed["sum"].to_numpy(float))
    X = frame.to_numpy(dtype=float, na_value=np.nan)
    by_index = clone(total).set_params(derived={2: lambda t: t[:, 0] + t[:, 1]})
    filled, at = by_index.fit_transform(X), missing.to_numpy()
    np.testing.assert_array_equal(filled[at, 2], filled[at, 0] + filled[at, 1])


def test_cells_of_where_and_indicators():
    X = body()
    where = np.zeros(X.shape, dtype=bool)
    where[:5, 0] = True
    imputer = tiny(MVAEImputer, add_indicator=True, **OPTIONS).fit(X)
    known = imputer.transform(X)[["bmi", "weight", "height"]]
    completed = imputer.transform(known, where=where)
    np.testing.assert_allclose(completed["bmi"][:5], bmi(known)[:5])
    np.testing.assert_array_equal(completed["bmi"][5:], known["bmi"][5:])


def refuse(table):
    raise AssertionError("a function must not be called without a cell to compute")


def test_only_requested_cells_are_computed():
    X = body()
    imputer = tiny(MVAEImputer, **OPTIONS).fit(X)
    plain = clone(imputer).set_params(derived=None).fit(X)
    completed = imputer.transform(X, where=["bmi"])
    others = X[["weight", "height"]]
    pd.testing.assert_frame_equal(completed[["weight", "height"]], others)
    computed, missing = others.notna().all(axis=1) & X["bmi"].isna(), X["bmi"].isna()
    np.testing.assert_allclose(completed["bmi"][computed], bmi(X)[computed])
    rest = missing & ~computed  # of which a part is unknown
    assert rest.any()
    np.testing.assert_array_equal(completed["bmi"][rest], plain.transform(X)["bmi"][rest])
    complete = imputer.transform(X)
    imputer.set_params(derived={"bmi": refuse})
    pd.testing.assert_frame_equal(imputer.transform(complete), complete)


def test_copies_stay_equal_and_shuffled_series_are_aligned():
    X = body()
    X = X.assign(copy=X["bmi"])
    derived = {"bmi": lambda t: bmi(t).sample(frac=1, random_state=0)}
    imputer = tiny(MVAEImputer, derived=derived, min_value={"height": 0.5}).fit(X)
    completed, missing = imputer.transform(X), X["bmi"].isna()
    np.testing.assert_allclose(completed.loc[missing, "bmi"], bmi(completed)[missing])
    pd.testing.assert_series_equal(completed["bmi"], completed["copy"], check_names=False)


def test_what_cannot_be_combined_is_refused():
    X = body()
    imputer = tiny(MVAEImputer, **OPTIONS).fit(X)
    with pytest.raises(ValueError, match="'bmi', which is computed from others"):
        imputer.impute(X, 1, shift={"bmi": 1.0})
    with pytest.raises(ValueError, match="names column 0 twice, by name and by index"):
        tiny(MVAEImputer, derived={"bmi": bmi, 0: bmi}).fit(X)
    small = pd.DataFrame({"n": [1, 2, None, 4] * 10, "m": [1, None, 3, 4] * 10}, dtype="Int8")
    large = tiny(MVAEImputer, derived={"n": lambda t: 300 + t["m"].astype(float)}).fit(small)
    with pytest.raises(ValueError, match=r"'n', row 2, whose data type holds -128 to 127"):
        large.transform(small)


def test_files_keep_the_function(tmp_path):
    X = body()
    imputer = tiny(MVAEImputer, **OPTIONS).fit(X)
    imputer.save(tmp_path / "imputer")
    with pytest.raises(ValueError, match="custom functions"):
        load(tmp_path / "imputer")
    from_file = load(tmp_path / "imputer", custom={"bmi": bmi})
    for loaded in (by_pickle(imputer), from_file):
        pd.testing.assert_frame_equal(loaded.transform(X), imputer.transform(X))


INVALID = {
    "unknown": ({"y": bmi}, ValueError, "'derived' names column 'y', which X does not have"),
    "no function": ({"bmi": "weight"}, TypeError, "'derived' has 'weight' for column 'bmi'"),
    "words": ({"word": bmi}, ValueError, "'word', which is not a column of numbers"),
    "empty": ({"empty": bmi}, ValueError, "'empty', which is not a column of numbers"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_mappings_are_refused_by_fit(kind):
    derived, error, message = INVALID[kind]
    X = body().assign(word=["a", "b"] * 30, empty=np.nan)
    imputer = tiny(MVAEImputer, derived=derived)
    before = dict(vars(imputer))
    with pytest.raises(error, match=message):
        imputer.fit(X)
    assert vars(imputer) == before


RESULTS = {
    "text": (lambda t: ["a"] * len(t), TypeError, "for column 'bmi', which are not numbers"),
    "short": (
        lambda t: t["weight"].to_numpy()[:3],
        ValueError,
        r"shape \(3,\) for column 'bmi'.*60 rows",
    ),
    "number": (lambda t: 1.0, ValueError, r"shape \(\) for column 'bmi'"),
    "infinite": (lambda t: t["weight"] / 0, ValueError, r"returns inf for column 'bmi', row \d+"),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_invalid_results_are_refused(kind):
    function, error, message = RESULTS[kind]
    X = body()
    imputer = tiny(MVAEImputer, derived={"bmi": function}).fit(X)
    with pytest.raises(error, match=message):
        imputer.transform(X)
    with pytest.raises(error, match=message):
        imputer.impute(X, 1)[0]
