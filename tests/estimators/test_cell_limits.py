"""Limits of missing cells: the parameters lower and upper of fit and of fitted estimators."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from estimator_cases import (
    assert_same,
    every_estimator,
    every_imputer,
    outputs,
    over,
    quiet,
    table,
    tiny,
)
from helpers import generator, stream, tiny_rows, tiny_vae
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmissvae import (
    Chunks,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MultipleImputationClassifier,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae.inference import PseudoGibbs
from skmissvae.training import selection
from skmissvae.training.demissvae import DeMissObjective, ImputationStore
from skmissvae.vae import NormalLikelihood
from skmissvae.vae.likelihoods.base import Limits

pytestmark = quiet

UPPER = {0: -1.0, 2: 0.95}
LOWER = {1: 110.0}


def limited(n=40, seed=0):
    """Return a table, and the cells with limits; all of column 2 below 0.95 is missing."""
    X = table(n, seed=seed)
    missing = np.isnan(X)
    missing[:, 2] |= X[:, 2] < 0.95
    return np.where(missing, np.nan, X), missing & [True, True, True, False]


@functools.cache
def fitted(cls=MissSVAEImputer, **changes):
    """Return an estimator fitted with limits; tests do not change it."""
    X, _ = limited()
    return tiny(cls, **changes).fit(X, lower=LOWER, upper=UPPER)


@every_imputer
def test_imputations_lie_within_limits_and_observed_cells_are_unchanged(cls):
    X, cells = limited()
    imputer = fitted(cls)
    limits = {"lower": LOWER, "upper": UPPER}
    strategies = [
        tiny(cls, strategy=s).fit(X, **limits).transform(X, **limits) for s in ("draw", "median")
    ]
    draws = imputer.impute(X, 2, **limits)
    for Z in [imputer.transform(X, **limits), *strategies, *draws]:
        assert np.array_equal(Z[~np.isnan(X)], X[~np.isnan(X)])
        assert (Z[cells[:, 0], 0] <= -1).all()
        assert (Z[cells[:, 1], 1] >= 110).all()
        assert (Z[cells[:, 2], 2] <= 0.95).all()
        assert ((Z == -1) | (Z == 110) | (Z == 0.95)).sum() <= 1
    described = imputer.cell_distribution(X, (0.0001, 0.9999), **limits)
    of = described.groupby("column")
    assert (of.get_group("x0")[["mean", "0.01%", "99.99%"]] <= -1).all(axis=None)
    assert (of.get_group("x1")[["mean", "0.01%", "99.99%"]] >= 110).all(axis=None)


@every_estimator
def test_limits_on_both_sides_of_a_value_share_the_density(cls):
    X, _ = limited()
    # only the weights of the same draws differ
    estimator = fitted(cls, n_importance_draws=90)
    rows = X[~np.isnan(X).all(1) & np.isnan(X[:, 2])]
    below, above = (estimator.score_samples(rows, **{k: {2: 0.97}}) for k in ("upper", "lower"))
    whole = estimator.score_samples(rows)
    np.testing.assert_allclose(np.logaddexp(below, above), whole, atol=1e-4)
    assert (np.maximum(below, above) <= whole + 1e-4).all()
    assert estimator.score(rows, upper={2: 0.97}) == pytest.approx(below.mean())


@over([MVAEImputer, VAEDensityEstimator])
def test_limits_are_equal_in_every_form(cls):
    X, _ = limited()
    dense = np.full(X.shape, np.nan)
    dense[:, 0], dense[:, 2] = -1.0, 0.95
    by_row = {"x0": np.full(40, -1.0), "x2": [0.95] * 40}
    names = ["x0", "x1", "x2", "x3"]
    frame = pd.DataFrame(X, columns=names)
    forms = [(X, UPPER), (X, dense), (X, by_row), (X, pd.DataFrame(dense, columns=names))]
    forms += [(frame, UPPER), (frame, pl.DataFrame(dense, schema=names)), (frame, by_row)]
    forms.append((frame, pd.DataFrame({"x2": dense[:, 2], "x0": dense[:, 0]})))
    scores = [tiny(cls).fit(X, upper=upper).score_samples(X, upper=upper) for X, upper in forms]
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])


@every_estimator
def test_limits_change_the_fit(cls):
    X, _ = limited()
    scores = [estimator.score_samples(X) for estimator in (fitted(cls), tiny(cls).fit(X))]
    assert not np.array_equal(*scores)


@every_estimator
def test_a_row_does_not_depend_on_the_limits_of_other_rows(cls):
    X, _ = limited()
    estimator = fitted(cls)
    upper = np.full(X.shape, np.nan)
    upper[::2, 0], upper[1::2, 2] = -1.0, 0.95
    results = {"score": estimator.score_samples(X, upper=upper)}
    if cls is not VAEDensityEstimator:
        results["transform"] = estimator.transform(X, upper=upper)
        results["draw"] = estimator.impute(X, 1, upper=upper, random_state=0)[0]
    for rows in ([3], [4], [17, 2, 8]):
        part = {"score": estimator.score_samples(X[rows], upper=upper[rows])}
        if cls is not VAEDensityEstimator:
            part["transform"] = estimator.transform(X[rows], upper=upper[rows])
            draws = estimator.impute(X[rows], 1, upper=upper[rows], row_ids=rows, random_state=0)
            part["draw"] = draws[0]
        assert_same(part, {name: values[rows] for name, values in results.items()})


def test_rows_without_observed_cells_are_drawn_within_their_limits():
    imputer = fitted()
    empty = np.full((50, 4), np.nan)
    limits = {"lower": {3: -7.5}, "upper": {3: -7.0, 0: 0.0}}
    Z = imputer.impute(empty, 1, random_state=0, **limits)[0]
    assert ((Z[:, 3] >= -7.5) & (Z[:, 3] <= -7) & (Z[:, 0] <= 0)).all()
    score = imputer.score_samples(empty[:1], **limits)
    assert score < 0
    both = [imputer.score_samples(empty[:1], **{k: {3: -7.2}}) for k in ("lower", "upper")]
    np.testing.assert_allclose(np.logaddexp(*both), 0, atol=1e-4)


def test_units_of_counts_dates_and_copies():
    rng = np.random.default_rng(0)
    n = 60
    days = pd.to_datetime("2000-01-01") + pd.to_timedelta(rng.integers(500, size=n), unit="D")
    frame = pd.DataFrame({"n": rng.poisson(4.0, n), "day": days, "x": rng.normal(size=n)})
    frame["twin"] = frame["x"]
    X = frame.astype({"n": "Int64"}).mask(rng.random(frame.shape) < 0.3)
    X["twin"] = X["x"]
    lower = {"n": 2.5, "day": pd.Series(pd.to_datetime(["2001-01-01", None] * 30))}
    upper = {"n": 4, "x": 0.5, "twin": 0.2}
    imputer = tiny(MVAEImputer).fit(X, lower=lower, upper=upper)
    for Z in (
        imputer.transform(X, lower=lower, upper=upper),
        *imputer.impute(X, 2, lower=lower, upper=upper),
    ):
        assert Z["n"][X["n"].isna()].isin([3, 4]).all()
        assert (Z["day"][::2][X["day"][::2].isna()] >= "2001-01-01").all()
        assert (Z["x"][X["x"].isna()] <= 0.2).all()
        assert Z["x"].equals(Z["twin"])
    # a cell of a count with a single value
    Z = imputer.transform(X, lower={"n": 3}, upper={"n": 3})
    assert (Z["n"][X["n"].isna()] == 3).all()


@pytest.mark.parametrize(("cls", "width"), [(MissSVAEImputer, 2.0), (DeMissVAEImputer, 0.5)])
def test_a_column_may_be_known_in_groups_only(cls, width):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=90)
    other = truth + 0.5 * rng.normal(size=90)
    low = np.floor(truth / width) * width
    limits = {"lower": {0: low}, "upper": {0: low + width}}
    X = np.column_stack([np.full(90, np.nan), other])
    imputer = tiny(cls, max_iter=60, learning_rate=0.01, n_importance_draws=200).fit(X, **limits)
    Z = imputer.impute(X, 1, random_state=0, **limits)[0]
    assert ((Z[:, 0] >= low) & (Z[:, 0] <= low + width)).all()
    assert np.corrcoef(Z[:, 0], other)[0, 1] == pytest.approx(
        np.corrcoef(truth, other)[0, 1], abs=0.1
    )
    # other cells are imputed from the groups
    Z = imputer.transform(np.full((2, 2), np.nan), lower={0: [-2.0, 1.5]}, upper={0: [-1.5, 2.0]})
    assert Z[0, 1] < -0.5
    assert Z[1, 1] > 0.5
    counts = tiny(cls).fit(np.column_stack([X[:, 0], np.abs(np.rint(other))]), **limits)
    assert np.isfinite(counts.score(X[:, :2], **limits))


def test_groups_of_two_columns_make_no_copies_and_no_point_masses():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 30, size=(120, 2))
    low = np.floor(values / 10) * 10
    low[:60, 1] = low[:60, 0]
    limits = {
        "lower": {0: low[:, 0], 1: low[:, 0]},
        "upper": {0: low[:, 0] + 10, 1: low[:, 0] + 10},
    }
    X = np.column_stack([np.full((120, 2), np.nan), values[:, 0] + rng.normal(size=120)])
    imputer = tiny(MVAEImputer, learn_shapes=True, n_latents=2).fit(X, **limits)
    assert not imputer.schema_.copies
    assert all(column.point_mass is None for column in imputer.schema_.columns)
    Z = imputer.impute(X, 1, random_state=0, **limits)[0]
    assert (Z[:, 0] != Z[:, 1]).all()
    assert len(np.unique(Z[:, 0])) == 120


def test_wide_limits_change_little():
    X = table(80)
    wide = {"lower": {0: -1e5, 1: -1e300}, "upper": {0: 1e5, 1: 1e300, 2: 1e30}}
    plain, limited = tiny(MVAEImputer).fit(X), tiny(MVAEImputer).fit(X, **wide)
    np.testing.assert_array_equal(limited.schema_.scale, plain.schema_.scale)
    np.testing.assert_allclose(
        limited.transform(X, **wide),
        plain.transform(X),
        rtol=2e-3,
        atol=2e-3 * X[~np.isnan(X)].std(),
    )
    single = X.astype(np.float32)
    Z = tiny(MVAEImputer).fit(single, **wide).transform(single, **wide)
    assert np.isfinite(Z).all()


@pytest.mark.parametrize("kind", ["date", "integer"])
def test_single_values_of_dates_and_integers_have_their_probability(kind):
    rng = np.random.default_rng(0)
    day = rng.integers(0, 60, size=80)
    frame = pd.DataFrame({"x": 0.1 * day + rng.normal(size=80), "day": day})
    options = {"feature_kinds": {"day": "continuous"}}
    if kind == "date":
        frame["day"] = pd.to_datetime("2000-01-01") + pd.to_timedelta(frame["day"], unit="D")
        options = {}
    row = frame[:1].copy()
    row["day"] = pd.NaT if kind == "date" else pd.Series([pd.NA], dtype="Int64")

    options |= {"learn_shapes": False, "n_importance_draws": 1000}
    density = tiny(VAEDensityEstimator, **options).fit(pd.concat([frame, row]))

    def score(low, high):
        first = pd.Timestamp("2000-01-01")
        ends = (first + pd.Timedelta(end, "D") if kind == "date" else end for end in (low, high))
        return density.score_samples(
            row, **dict(zip(("lower", "upper"), ({"day": e} for e in ends), strict=True))
        )[0]

    days = [score(i, i) for i in range(20, 30)]
    assert np.isfinite(days).all()
    assert np.logaddexp.reduce(days) == pytest.approx(score(20, 29), abs=0.02)
    groups = [score(*ends) for ends in ((-900, 9), (10, 29), (30, 31), (32, 900))]
    assert np.logaddexp.reduce(groups) == pytest.approx(density.score_samples(row)[0], abs=0.02)


def test_rows_of_an_observed_copy_ignore_limits():
    X = pd.DataFrame(table(60), columns=list("abcd")).assign(twin=lambda f: f["a"])
    X.loc[0, ["a", "twin"]] = [np.nan, 2.5]
    imputer = tiny(MVAEImputer).fit(X)
    assert imputer.schema_.copies
    Z = imputer.transform(X, upper={"a": 0.2, "twin": 0.2})
    assert Z.loc[0, ["a", "twin"]].tolist() == [2.5, 2.5]


def test_cells_with_limits_are_not_shifted():
    X, cells = limited()
    upper = np.full(X.shape, np.nan)
    upper[::2, 0] = -1.0
    imputer = fitted()
    plain, shifted = (
        imputer.impute(X, 1, random_state=0, upper=upper, shift=shift)[0]
        for shift in (None, {0: 2.0})
    )
    missing = np.isnan(X[:, 0])
    limit = missing & ~np.isnan(upper[:, 0])
    np.testing.assert_array_equal(shifted[limit], plain[limit])
    np.testing.assert_allclose(
        shifted[missing & ~limit, 0], plain[missing & ~limit, 0] + 2, rtol=1e-5
    )
    assert cells.any()


def test_chains_of_grey_values_beside_limits_are_zeros_and_ones():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(size=40), rng.normal(size=40)])
    X[::3, 0] = np.nan
    X[1::3, 1] = np.nan
    imputer = tiny(DeMissVAEImputer, likelihood={0: "cross_entropy"}, warm_start=True)
    imputer.fit(X, upper={1: 0.5})
    stored = imputer.model_.imputations
    drawn = stored["x"][..., 0][np.isnan(X[:, 0])]
    assert np.isin(drawn, [0.0, 1.0]).any()


def test_limits_are_within_those_of_the_column():
    X, _ = limited()
    imputer = tiny(MissSVAEImputer, min_value={0: -3.0}, strategy="draw").fit(X, upper=UPPER)
    Z = imputer.transform(X, upper=UPPER)
    drawn = Z[np.isnan(X[:, 0]), 0]
    assert ((drawn >= -3) & (drawn <= -1)).all()
    with pytest.raises(ValueError, match=r"column 'x0', row \d+: .*they are -3.0 and -4.0"):
        imputer.transform(X, upper={0: -4.0})


def test_observed_cells_ignore_limits():
    X, _ = limited()
    imputer = fitted()
    complete = X[~np.isnan(X).any(1)]
    np.testing.assert_array_equal(imputer.transform(complete, upper={0: -100.0}), complete)
    where = np.zeros(complete.shape, dtype=bool)
    where[:, 0] = True
    hidden = imputer.transform(complete, where=where, upper={0: -100.0})
    assert (hidden[:, 0] > -100).any()


def test_weights_of_zero_and_limits_of_rows():
    X, _ = limited()
    weight = (np.arange(40) % 3 > 0).astype(float)
    upper = np.full(X.shape, np.nan)
    upper[:, 0] = np.where(weight > 0, -1.0, -np.inf)
    used = weight > 0
    both = [
        tiny(MVAEImputer).fit(X, sample_weight=weight, upper=upper),
        tiny(MVAEImputer).fit(X[used], upper=upper[used]),
    ]
    assert_same(*(outputs(imputer, X) for imputer in both))


def test_fit_transform_and_pipelines_pass_limits():
    X, _ = limited()
    expected = fitted(MVAEImputer).transform(X, lower=LOWER, upper=UPPER)
    Z = tiny(MVAEImputer).fit_transform(X, lower=LOWER, upper=UPPER)
    np.testing.assert_array_equal(Z, expected)
    with config_context(enable_metadata_routing=True):
        imputer = tiny(MVAEImputer).set_fit_request(lower=True, upper=True)
        imputer.set_transform_request(lower=True, upper=True)
        pipeline = make_pipeline(FunctionTransformer(), imputer)
        pipeline.fit(X, lower=LOWER, upper=UPPER)
        Z = pipeline.transform(X, lower=LOWER, upper=UPPER)
    np.testing.assert_array_equal(Z, expected)


def test_bootstrap_models_and_calibration_use_limits():
    X, _ = limited(60)
    options = {"n_bootstrap": 2, "calibrate": True}
    plain, with_limits = (
        tiny(MVAEImputer, **options).fit(X, upper=upper) for upper in (None, UPPER)
    )
    for name in ("models_", "calibration_"):
        assert len(getattr(with_limits, name))
    weights = [i.models_[0].vae.decoder.outlet.weight for i in (plain, with_limits)]
    assert not weights[0].equal(weights[1])
    low = with_limits.cell_distribution(X, (0.01, 0.99), upper=UPPER)
    at = low["column"] == "x0"
    assert (low["99%"][at] <= -1).all()


ERRORS = {
    "shape": (ValueError, {"upper": np.zeros((3, 4))}, "upper must be a table of X's shape"),
    "scalar": (ValueError, {"lower": 0.5}, "lower must be a table of X's shape"),
    "name": (ValueError, {"lower": {"z": 0.5}}, "lower.*'z'"),
    "length": (ValueError, {"lower": {0: [1.0, 2.0]}}, "one for each of the 40 rows"),
    "string": (
        TypeError,
        {"upper": {0: "low"}},
        "upper of column 'x0' must be a number; got 'low'",
    ),
    "crossing": (ValueError, {"lower": {0: 1.0}, "upper": {0: 0.5}}, "they are 1.0 and 0.5"),
    "equal": (ValueError, {"lower": {0: 1.0}, "upper": {0: 1.0}}, "they are 1.0 and 1.0"),
    "infinite": (ValueError, {"lower": {0: np.inf}}, "leave no value for column 'x0'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_parameter_and_change_nothing(case):
    error, limits, message = ERRORS[case]
    X, _ = limited()
    before = dict(vars(fitted()))
    for call in (fitted().transform, fitted().impute, fitted().score_samples, fitted().score):
        with pytest.raises(error, match=message):
            call(X, **limits)
    assert vars(fitted()) == before
    unfitted = tiny(MVAEImputer)
    with pytest.raises(error, match=message):
        unfitted.fit(X, **limits)
    assert not hasattr(unfitted, "schema_")


def test_columns_that_cannot_have_limits():
    X = pd.DataFrame(table(60), columns=list("abcd"))
    X["flag"] = np.tile([True, False, None], 20)
    X["color"] = np.tile(["red", "green", None], 20)
    X["same"] = np.tile([1.0, None], 30)
    imputer = tiny(MVAEImputer)
    for name, limit in (("flag", 0.5), ("color", "red"), ("same", 2.0)):
        with pytest.raises(ValueError, match=f"'upper' limits column '{name}'"):
            imputer.fit(X, upper={name: limit})
    # no limit is none of any column
    imputer.fit(X, upper=pd.DataFrame({name: [None] * 60 for name in X}))


def test_other_indices_and_meta_estimators_are_refused():
    X = pd.DataFrame(table(), columns=list("abcd"))
    upper = pd.DataFrame({"a": np.ones(40)}, index=range(1, 41))
    for limits in (upper, {"a": upper["a"]}):
        with pytest.raises(ValueError, match=r"upper.reindex\(X.index\)"):
            tiny(MVAEImputer).fit(X, upper=limits)
    with config_context(enable_metadata_routing=True):
        imputer = tiny(MVAEImputer).set_fit_request(upper=True)
        both = MultipleImputationClassifier(LogisticRegression(), imputer=imputer)
        with pytest.raises(ValueError, match="passes no limits of cells"):
            both.fit(X, np.arange(40) % 2, upper={"a": 0.0})


def test_chunks_take_no_limits():
    with pytest.raises(ValueError, match="cannot be fitted to Chunks with lower or upper"):
        tiny(MVAEImputer).fit(Chunks([table()]), upper=UPPER)


@pytest.mark.slow
def test_means_and_slopes_of_a_censored_column():
    """40% of a column lies below its limit of detection; half of the limit would be biased."""
    rng = np.random.default_rng(0)
    n, limit = 500, -0.25
    x = rng.normal(size=n)
    y = 0.8 * x + 0.6 * rng.normal(size=n)
    X = np.column_stack([np.where(x < limit, np.nan, x), y])
    options = {"max_iter": 40, "learning_rate": 0.01, "n_importance_draws": 100}
    imputer = tiny(MissSIWAEImputer, **options)
    upper = {0: limit}
    tables = imputer.fit(X, upper=upper).impute(X, 3, upper=upper)
    means = np.mean([Z[:, 0].mean() for Z in tables])
    slopes = np.mean([np.polyfit(Z[:, 0], Z[:, 1], 1)[0] for Z in tables])
    # standard errors of the complete data are 0.045 and 0.027
    assert abs(means - x.mean()) < 0.05
    assert abs(slopes - np.polyfit(x, y, 1)[0]) < 0.06
    without = imputer.fit(X).impute(X, 2)
    assert np.mean([Z[:, 0].mean() for Z in without]) > means + 0.3


def test_the_objective_of_demissvae_contains_the_limits():
    vae, rows = tiny_vae(likelihood=NormalLikelihood(4)), tiny_rows(30)
    cells = ~rows.observed

    def bound(low, high):
        infinite = torch.full_like(rows.x, torch.inf).double()
        limits = Limits(torch.where(cells, low, -infinite), torch.where(cells, high, infinite))
        batch = rows._replace(limits=limits)
        store = ImputationStore(rows, 2, 0, generator(), rows)  # the same for all limits
        objective = DeMissObjective(store, PseudoGibbs())
        return objective.bound(vae, batch, stream(1, torch.float32))[cells.any(1)]

    everywhere, far = bound(-1e5, 1e5), bound(40.0, 50.0)
    assert (far < everywhere - 20).all()


def test_cells_with_limits_are_not_hidden_to_choose_an_initialization(monkeypatch):
    hidden = []

    def error(fitted, task, rows, is_coded):
        hidden.append(rows.observed & ~task.rows.rows.observed)
        return 1.0

    monkeypatch.setattr(selection, "_hidden_error", error)
    X = table(110)
    narrow = np.isnan(X) & [True, False, False, False]
    low = np.where(narrow, 0.0, np.nan)
    tiny(MVAEImputer, max_iter=1).fit(X, lower=low, upper=low + 0.5)
    assert len(hidden) == 2
    assert hidden[0].any()
    assert not (hidden[0] & narrow).any()
