"""Limits of imputed values: min_value and max_value."""

import copy
import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from estimator_cases import table as incomplete
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from table_cases import COUNTS, FLAGS, REAL, RNG, N, mixed

from skmissvae import MissSVAEImputer, MVAEImputer
from skmissvae.inference import LAIR

pytestmark = quiet


@functools.cache
def fitted_to_skewed(likelihood, learn_shapes):
    """Return an incomplete table and an imputer that is fitted to it; tests do not change them."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.gamma(1.0, size=(90, 3)), columns=list("abc")).assign(
        n=rng.poisson(1.0, 90)
    )
    incomplete = frame.astype({"n": "Int64"}).mask(rng.random(frame.shape) < 0.4)
    imputer = tiny(MissSVAEImputer, likelihood=likelihood, learn_shapes=learn_shapes, max_iter=10)
    return incomplete, imputer.fit(incomplete)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "likelihood", "learn_shapes"),
    [
        *((strategy, "normal", False) for strategy in ("auto", "draw", "median", "mode")),
        *((strategy, "normal", True) for strategy in ("auto", "draw", "median")),
        ("draw", "student_t", False),
        ("draw", "student_t", True),
    ],
)
def test_values_lie_within_limits_and_not_on_them(strategy, likelihood, learn_shapes):
    incomplete, imputer = fitted_to_skewed(likelihood, learn_shapes)
    incomplete = incomplete[:30]
    bounds = {"min_value": {"a": 0.5, "n": 1}, "max_value": {"a": 0.8, "b": 1.0}}
    # limits are read when transform is called
    imputer = copy.copy(imputer).set_params(strategy=strategy, **bounds)
    tables = [imputer.transform(incomplete), *imputer.impute(incomplete, 1)]
    for out in tables:
        result = out[incomplete["a"].isna()]["a"]
        assert result.between(0.5, 0.8).all()
        assert result.isin([0.5, 0.8]).mean() < 0.05
        assert (out[incomplete["b"].isna()]["b"] <= 1).all()
        assert (out[incomplete["n"].isna()]["n"] >= 1).all()
        observed = incomplete.notna()
        assert_frame_equal(out.where(observed), incomplete.where(observed))


def test_limits_condition_the_latents():
    """Limits of one of four highly correlated columns apply to the others through the latents."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(400, 1))
    X = pd.DataFrame(factor + 0.1 * rng.normal(size=(400, 4)), columns=list("abcd"))
    imputer = MissSVAEImputer(
        n_hidden=16,
        n_blocks=0,
        n_latents=1,
        dropout=0.0,
        max_iter=30,
        init="factor_analysis",
        random_state=0,
    ).fit(X.mask(rng.random(X.shape) < 0.2))
    empty = pd.DataFrame(np.nan, index=range(100), columns=X.columns)
    free = pd.concat(imputer.impute(empty, 40, random_state=1))
    expected = free[free["a"] > 1.0]
    imputer.set_params(min_value={"a": 1.0})
    drawn = pd.concat(imputer.impute(empty, 4, random_state=2))
    assert (drawn["a"] >= 1).all()
    for name in X:
        error = expected[name].std() * (1 / len(expected) + 1 / len(drawn)) ** 0.5
        assert abs(drawn[name].mean() - expected[name].mean()) < 4.5 * error
    assert (drawn["a"] < 1.01).mean() < 0.1
    truth = {"auto": expected["a"].mean(), "median": expected["a"].median()}
    for strategy, value in truth.items():
        middle = imputer.set_params(strategy=strategy).transform(empty[:1])["a"].iloc[0]
        assert middle == pytest.approx(value, abs=0.1)
    chains = imputer.set_params(sampler=LAIR(n_steps=20), strategy="auto")
    observed = empty[:3].assign(b=1.2)
    assert (chains.transform(observed)["a"] >= 1).all()


@pytest.mark.parametrize("learn_shapes", [False, True])
def test_wide_limits_change_nothing(learn_shapes):
    frame = mixed().assign(heavy=np.exp(REAL))
    imputer = tiny(MVAEImputer, learn_shapes=learn_shapes).fit(frame.mask(RNG.random((N, 6)) < 0.1))
    plain = imputer.transform(frame)
    truncated = imputer.set_params(min_value=-1e9, max_value=1e9).transform(frame)
    for name in frame:
        if pd.api.types.is_float_dtype(frame[name]):
            np.testing.assert_allclose(truncated[name], plain[name], rtol=1e-4, atol=1e-4)
        else:
            pd.testing.assert_series_equal(truncated[name], plain[name])


def test_limits_in_the_units_of_the_table():
    rng = np.random.default_rng(0)
    days = pd.to_datetime("1950-01-01") + pd.to_timedelta(rng.integers(999, size=N), unit="D")
    frame = pd.DataFrame(
        {"x": 1000 + np.array(REAL), "n": COUNTS, "day": days, "flag": FLAGS, "same": 0.5}
    ).assign(twin=lambda f: f["x"])
    incomplete = frame.astype({"n": "Int64", "flag": "boolean"}).mask(rng.random(frame.shape) < 0.3)
    incomplete["twin"] = incomplete["x"]
    bounds = {"x": 1001.1, "n": 2.5, "day": "1951-02-03"}
    imputer = tiny(MVAEImputer, min_value=bounds, max_value={"twin": 1001.3}).fit(incomplete)
    for out in (imputer.transform(incomplete), imputer.impute(incomplete, 1)[0]):
        for name in ("x", "twin"):
            assert out[name][incomplete[name].isna()].between(1001.1, 1001.3).all()
        assert (out["n"][incomplete["n"].isna()] >= 3).all()
        assert (out["day"][incomplete["day"].isna()] >= pd.Timestamp("1951-02-03")).all()
    # the limit of a column of days moves to the next day
    imputer.set_params(min_value={"day": "1951-02-03 11:00"}, max_value=None, strategy="draw")
    drawn = imputer.transform(incomplete)["day"][incomplete["day"].isna()]
    assert (drawn >= pd.Timestamp("1951-02-04")).all()
    # a single number limits numbers, not booleans and dates
    imputer.set_params(min_value=0, max_value=None, strategy="draw")
    drawn = imputer.transform(incomplete)
    assert set(drawn["flag"]) == {True, False}
    assert (drawn["day"] < pd.Timestamp("1960-01-01")).all()
    X = np.array([[float(f), r] for f, r in zip(FLAGS, REAL, strict=True)])
    X[rng.random(X.shape) < 0.4] = np.nan
    coded = tiny(MVAEImputer, likelihood={0: "bernoulli"}, min_value=0, strategy="draw")
    assert 0 < coded.fit_transform(X)[np.isnan(X[:, 0]), 0].mean() < 1


def test_single_limits_and_wrong_limits():
    imputer = tiny(MVAEImputer, min_value=0.0, max_value=5.0).fit(mixed())
    out = imputer.transform(mixed())
    for name in ("real", "count"):
        assert out[name][mixed()[name].isna()].between(0, 5).all()
    for wrong, match in (
        ({"min_value": {"word": 1}}, "'min_value' bounds column 'word'"),
        ({"min_value": 3.0, "max_value": 2.0}, "leave no value for column 'real'"),
        ({"min_value": {"count": 0.2}, "max_value": {"count": 0.4}}, "no value for column 'count'"),
        ({"max_value": {"nothing": 1}}, "'nothing'"),
        ({"max_value": "high"}, "'max_value'"),
        ({"max_value": [0, 0]}, "'max_value' has 2 numbers, but X has 5 columns.*a mapping"),
        ({"max_value": np.zeros(6)}, "'max_value' has 6 numbers, but X has 5 columns.*a mapping"),
        ({"max_value": []}, "'max_value' has 0 numbers"),
        ({"max_value": pd.DataFrame([[1.0]])}, "'max_value'"),
        ({"max_value": pd.Series({"word": 1})}, "'max_value' bounds column 'word'"),
        ({"max_value": pd.Series({"real": np.nan})}, "'max_value' must bound column 'real'"),
        ({"max_value": {"real": "18"}}, "'max_value' must bound column 'real' by a number"),
        ({"max_value": {"real": np.nan}}, "'max_value' must bound column 'real' by a number"),
        ({"max_value": {"real": None}}, "'max_value' must bound column 'real' by a number"),
    ):
        with pytest.raises(ValueError, match=match):
            tiny(MVAEImputer, **wrong).fit(mixed()).transform(mixed())


FORMS = {
    "list": lambda limits, names: limits,
    "tuple": lambda limits, names: tuple(limits),
    "array": lambda limits, names: np.array(limits),
    "float32": lambda limits, names: np.float32(limits),
    "polars": lambda limits, names: pl.Series(limits),
    "series": lambda limits, names: pd.Series(limits, index=names)[names[::-1]],
    "positions": lambda limits, names: pd.Series(limits),
}


@functools.cache
def completed_within_limits(container):
    """Return a table, its columns' names, and completed tables within limits of columns."""
    X = incomplete(9, share=0.5)
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(container)
    table = X if frame is None else frame(dict(zip("abcd", X.T, strict=True)))
    names = [f"x{j}" for j in range(4)] if frame is None else list("abcd")
    expected = tiny(MVAEImputer).fit(table)
    expected.set_params(min_value={0: -0.25, 2: 1.0}, max_value={0: 0.5, 1: 100.0})
    return table, names, np.asarray(expected.transform(table)), expected.impute(table, 1)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("container", ["array", "pandas", "polars"])
def test_one_limit_for_each_column(container, form):
    low, high = [-0.25, -np.inf, 1.0, -np.inf], [0.5, 100.0, np.inf, np.inf]
    table, names, completed, draws = completed_within_limits(container)
    X = np.asarray(table, float)
    imputer = clone(
        tiny(MVAEImputer, min_value=FORMS[form](low, names), max_value=FORMS[form](high, names))
    )
    imputer.fit(table)
    out = np.asarray(imputer.transform(table))
    np.testing.assert_array_equal(out, completed)
    imputed = np.where(np.isnan(X), out, np.clip(X, low, high))
    np.testing.assert_array_equal(imputed, np.clip(imputed, low, high))
    assert (imputed == out)[np.isnan(X)].all()
    drawn = np.asarray(imputer.impute(table, 1)[0])[np.isnan(X)]
    np.testing.assert_array_equal(drawn, np.asarray(draws)[np.isnan(X)])


def test_one_limit_for_each_column_has_no_effect_on_other_columns_than_numbers():
    frame = mixed().assign(same=1.0, twin=lambda f: f["real"])
    frame.insert(0, "blank", np.nan)
    imputer = tiny(MVAEImputer).fit(frame)
    names = list(frame)
    limits = np.full(len(names), 5.0)
    # a copy obeys the limits of both
    limits[[names.index("real"), names.index("twin")]] = -1.0, 0.5
    expected = imputer.set_params(min_value={"real": 0.5, "count": 5}).transform(frame)
    assert_frame_equal(imputer.set_params(min_value=limits).transform(frame), expected)
    assert (expected["real"][frame["real"].isna()] >= 0.5).all()


@pytest.mark.parametrize(
    ("dtype", "bounds", "held"),
    [
        ("UInt8", {"min_value": 300}, "0.0 to 255.0"),
        ("uint8[pyarrow]", {"min_value": {"n": 255.5}}, "0.0 to 255.0"),
        ("Int8", {"max_value": -200}, "-128.0 to 127.0"),
        ("polars.UInt8", {"min_value": {"n": 300}}, "0.0 to 255.0"),
        ("polars.Int16", {"max_value": {"n": -1e5}}, "-32768.0 to 32767.0"),
        ("float32", {"min_value": {"n": 1e39}}, "-3.4.*"),
        ("Float32", {"max_value": {"n": -1e39}}, "-3.4.*"),
        ("float32 array", {"min_value": {0: 1e39}}, "-3.4.*"),
        ("datetime64[ns]", {"min_value": {"n": "2300-01-01"}}, "1679-.* to 2260-.*"),
    ],
)
def test_limits_that_a_type_cannot_hold_are_refused(dtype, bounds, held):
    cells = [None if i % 5 == 1 else i % 50 for i in range(N)]
    if dtype.startswith("polars"):
        kind = getattr(pl, dtype[7:])
        X = pl.DataFrame({"n": pl.Series(cells, dtype=kind), "x": REAL})
    elif dtype.startswith("datetime"):
        X = pd.DataFrame({"n": pd.to_datetime(pd.Series(cells), unit="D").astype(dtype)})
    elif dtype == "float32 array":
        X = np.array([cells, REAL], dtype=np.float32).T
    else:
        X = pd.DataFrame({"n": pd.Series(cells, dtype=dtype), "x": REAL})
    imputer = tiny(MVAEImputer).fit(X).set_params(**bounds)
    name = "x0" if dtype == "float32 array" else "n"
    for call in (imputer.transform, lambda X: imputer.impute(X, 1)[0], imputer.fit):
        with pytest.raises(ValueError, match=f"leave no value for column '{name}'.*{held};"):
            call(X)


@pytest.mark.parametrize("dtype", ["UInt8", "uint8[pyarrow]"])
def test_limits_on_one_side_of_a_type_are_accepted(dtype):
    cells = [None if i % 5 == 1 else i % 50 for i in range(N)]
    frame = pd.DataFrame({"n": pd.Series(cells, dtype=dtype), "x": REAL})
    imputer = tiny(MVAEImputer, min_value={"n": -5}, max_value={"n": 300}).fit(frame)
    assert imputer.transform(frame)["n"].between(0, 255).all()
