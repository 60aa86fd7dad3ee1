"""Values that are missing because of their own value: the parameter missingness."""

import numpy as np
import pandas as pd
import pytest
from estimator_cases import assert_same, outputs, over, quiet, table, tiny
from scipy import special

from skmissvae import (
    DeMissVAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    load,
)
from skmissvae.inference.conditional import ConditionalModel

pytestmark = quiet

METHODS = (
    MVAEImputer,
    MissVAEImputer,
    MissSVAEImputer,
    MIWAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    VAEDensityEstimator,
)


def masked(n=400, seed=0, slope=2.0):
    """Return complete rows, and the same without some values of the first column, mostly high."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    truth = np.column_stack([x, 0.8 * x + 0.6 * rng.normal(size=n), rng.normal(size=n)])
    X = truth.copy()
    X[rng.random(n) < special.ndtr(slope * x - 0.5), 0] = np.nan
    return truth, X


def fit(X, cls=MIWAEImputer, **options):
    options = {
        "init": "factor_analysis",
        "max_iter": 50,
        "learning_rate": 0.008,
        "n_importance_draws": 100,
    } | options
    return tiny(cls, **options).fit(X)


@pytest.mark.slow
def test_means_of_self_masked_columns_are_recovered():
    truth, X = masked()
    ignorable, modelled = fit(X), fit(X, missingness="self_masking")
    means = [np.mean([Z[:, 0].mean() for Z in i.impute(X, 5)]) for i in (ignorable, modelled)]
    # the standard error of the complete data is 0.05
    assert means[0] < truth[:, 0].mean() - 0.25
    assert abs(means[1] - truth[:, 0].mean()) < 0.15
    frame = modelled.missingness_
    assert list(frame.index) == ["x0"]
    assert frame.loc["x0", "slope"] > 0.5
    assert ignorable.missingness_.empty


@pytest.mark.slow
def test_other_reasons_of_missing_cells_are_not_their_own_values():
    rng = np.random.default_rng(1)
    x = rng.normal(size=600)
    truth = np.column_stack([x, 0.8 * x + 0.6 * rng.normal(size=600)])
    missing = rng.random(600) < special.ndtr(truth.sum(1) - 0.5)
    X = truth.copy()
    X[missing, 0] = np.nan
    bias = {}
    for missingness in ("self_masking", "linear"):
        imputer = fit(X, missingness=missingness)
        means = [Z[missing, 0].mean() for Z in imputer.impute(X, 3, random_state=0)]
        bias[missingness] = np.mean(means) - truth[missing, 0].mean()
    # the standard error of the mean is 0.06
    assert bias["self_masking"] > 0.5
    assert abs(bias["linear"]) < 0.2
    slopes = imputer.missingness_.loc["x0"]
    assert list(slopes.index) == ["slope", "intercept", "by x1"]
    assert (slopes[["slope", "by x1"]] > 0.3).all()


def test_the_sign_of_a_direction_is_kept():
    _, X = masked(60)
    for direction, sign in (("high", 1), ("low", -1)):
        slope = fit(X, MVAEImputer, missingness={"x0": direction}, max_iter=5).missingness_["slope"]
        assert sign * slope["x0"] > 0


@over(METHODS)
def test_every_bound_method_models_the_missingness(cls):
    X = table()
    option = "linear" if cls in (MissSVAEImputer, VAEDensityEstimator) else "self_masking"
    with_model, without = (tiny(cls, missingness=m).fit(X) for m in (option, "ignorable"))
    assert list(with_model.missingness_.index) == ["x0", "x1", "x2", "x3"]
    scores = [estimator.score_samples(X) for estimator in (with_model, without)]
    assert np.isfinite(scores).all()
    # the density of cells and mask: with all cells, too
    assert not np.allclose(*scores)
    assert with_model.score_samples(np.full((1, 4), np.nan)) < 0
    if cls is VAEDensityEstimator:
        return
    for Z in (with_model.transform(X), with_model.impute(X, 1, random_state=0)[0]):
        assert np.isfinite(Z).all()
        np.testing.assert_array_equal(Z[~np.isnan(X)], X[~np.isnan(X)])
    parts = [with_model.impute(X[[i]], 1, random_state=0, row_ids=[i])[0] for i in (3, 11)]
    np.testing.assert_array_equal(
        np.concatenate(parts), with_model.impute(X, 1, random_state=0)[0][[3, 11]]
    )


def test_masks_of_a_row_have_the_density_of_the_row():
    """Densities over all masks of a column, with its values integrated over, add up."""
    X = table(60)
    density = tiny(
        VAEDensityEstimator,
        missingness={0: "self_masking"},
        n_importance_draws=400,
        learn_shapes=False,
    ).fit(X)
    row = X[~np.isnan(X[:, 1:]).any(1)][:1].repeat(601, axis=0)
    location, scale = density.schema_.location[0], density.schema_.scale[0]
    grid = np.linspace(-12, 12, 601)
    row[:, 0] = location + scale * grid
    observed = np.exp(density.score_samples(row)).sum() * scale * (grid[1] - grid[0])
    row[0, 0] = np.nan
    missing = np.exp(density.score_samples(row[:1]))[0]
    vae = density.vae_
    model, vae.missingness = vae.missingness, None
    total = np.exp(density.score_samples(row[:1]))[0]
    vae.missingness = model
    assert observed + missing == pytest.approx(total, rel=0.05)


def test_mixed_columns_and_bounds():
    rng = np.random.default_rng(0)
    n = 30
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "n": rng.poisson(3, n),
            "flag": rng.random(n) < 0.5,
            "color": rng.choice(["red", "green", "blue"], n),
        }
    ).astype({"n": "Int64", "flag": "boolean"})
    X = frame.mask(rng.random(frame.shape) < 0.3)
    missingness = {"x": "linear", "n": "self_masking", "flag": "linear"}
    imputer = tiny(MissSVAEImputer, missingness=missingness, min_value={"x": -0.5}).fit(X)
    assert list(imputer.missingness_.index) == ["x", "n", "flag"]
    assert list(imputer.missingness_)[2:] == ["by x", "by n", "by flag"]
    assert (imputer.missingness_.loc["n", "by x":] == 0).all()
    for Z in (imputer.transform(X), *imputer.impute(X, 1, random_state=0)):
        assert (Z["x"][X["x"].isna()] >= -0.5).all()
        assert (Z["n"] >= 0).all()
        assert not Z.isna().any(axis=None)
    described = imputer.cell_distribution(X)
    numeric = described[described["column"].isin(["x", "n"])]
    assert (numeric["5%"] <= numeric["95%"]).all()
    Z = imputer.transform(X, upper={"x": 0.1})
    assert Z["x"][X["x"].isna()].between(-0.5, 0.1).all()
    medians = imputer.set_params(strategy="median").transform(X)
    assert not medians.isna().any(axis=None)


def test_models_are_stored(tmp_path):
    X = table()
    imputer = tiny(MissSIWAEImputer, missingness={1: "low", 2: "linear"}).fit(X)
    imputer.save(tmp_path / "model")
    other = load(tmp_path / "model")
    assert_same(outputs(other, X), outputs(imputer, X))
    pd.testing.assert_frame_equal(other.missingness_, imputer.missingness_)


def test_another_encoder_keeps_the_missingness():
    X = table()
    imputer = tiny(MissSVAEImputer, missingness="self_masking").fit(X)
    other = imputer.refit_encoder(X[:20])
    pd.testing.assert_frame_equal(other.missingness_, imputer.missingness_)


@pytest.mark.parametrize(
    ("missingness", "message"),
    [
        ({"z": "high"}, "'z'"),
        ({"color": "high"}, "names column 'color', which is categorical"),
        ({"full": "high"}, "names column 'full', which has no missing cell at fit"),
        ({"same": "high"}, "names column 'same', which is constant"),
    ],
)
def test_columns_without_a_model_are_refused(missingness, message):
    X = pd.DataFrame(table(), columns=list("abcd"))
    X["color"] = np.tile(["red", "green", None, "blue"], 10)
    X["full"], X["same"] = np.arange(40.0), np.tile([1.0, None], 20)
    with pytest.raises(ValueError, match=message):
        tiny(MVAEImputer, missingness=missingness).fit(X)


def test_cells_with_limits_have_no_other_reason_to_be_missing():
    X = table(40)
    imputer = tiny(MVAEImputer, missingness={0: "high"}, max_iter=20).fit(X)
    cells = {"upper": {0: 3.0, 1: 1000.0}}
    draws = np.stack(imputer.impute(X, 4, random_state=0, **cells))
    vae = imputer.vae_
    model, vae.missingness = vae.missingness, None
    without = np.stack(imputer.impute(X, 4, random_state=0, **cells))
    vae.missingness = model
    missing = np.isnan(X[:, 0])
    difference = draws[:, missing, 0].mean() - without[:, missing, 0].mean()
    assert abs(difference) < 0.1 * without[:, missing, 0].std()
    plain = np.stack(imputer.impute(X, 4, random_state=0))
    assert plain[:, missing, 0].mean() > draws[:, missing, 0].mean()


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
def test_a_row_does_not_depend_on_the_limits_of_other_rows(likelihood):
    X = table(16)
    X[:8, 0] = np.nan
    imputer = tiny(MVAEImputer, missingness={0: "high"}, likelihood=likelihood).fit(X)
    upper = np.full(X.shape, np.nan)
    upper[:4, 0] = 0.5
    together = list(imputer.impute(X, 2, upper=upper, random_state=0))
    means = imputer.transform(X, upper=upper)
    for rows in (np.arange(4), np.arange(2, 6)):
        alone = imputer.impute(X[rows], 2, upper=upper[rows], row_ids=rows, random_state=0)
        np.testing.assert_array_equal(np.stack(alone), np.stack(together)[:, rows])
        np.testing.assert_array_equal(imputer.transform(X[rows], upper=upper[rows]), means[rows])


def test_outlier_scores_ignore_the_missingness():
    X = table()
    imputer = tiny(MVAEImputer, missingness="self_masking").fit(X)
    scores = imputer.outlier_scores(X)
    imputer.vae_.missingness = None
    pd.testing.assert_frame_equal(imputer.outlier_scores(X), scores)
    log_evidence = imputer.map_rows(X, ConditionalModel.evidence, batched=True).log_evidence
    some = ~np.isnan(X).all(1)
    np.testing.assert_allclose(scores["score"][some], -log_evidence[some], rtol=1e-9, atol=1e-9)


def test_columns_named_ignorable_are_ignorable():
    X = table()
    X[:, 1] = np.nan_to_num(X[:, 1], nan=100.0)
    plain = tiny(MVAEImputer).fit(X)
    named = tiny(MVAEImputer, missingness={0: "ignorable", 1: "ignorable"}).fit(X)
    assert_same(outputs(named, X), outputs(plain, X))
    assert tiny(DeMissVAEImputer, missingness={0: "ignorable"}).fit(X).missingness_.empty


def test_calibration_and_grey_values_are_refused():
    X = table()
    with pytest.raises(ValueError, match="'calibrate' of MVAEImputer must be False"):
        tiny(MVAEImputer, missingness="self_masking", calibrate=True).fit(X)
    grey = np.where(np.isnan(X), np.nan, 0.5)
    grey[::2] = np.where(np.isnan(X[::2]), np.nan, 0.2)
    with pytest.raises(ValueError, match="cannot model column 'x0', whose likelihood"):
        tiny(MVAEImputer, likelihood="cross_entropy", missingness="self_masking").fit(grey)


def test_chains_are_refused():
    X = table()
    with pytest.raises(ValueError, match="'missingness' of DeMissVAEImputer must be 'ignorable'"):
        tiny(DeMissVAEImputer, missingness="self_masking").fit(X)
    imputer = tiny(MVAEImputer, missingness="self_masking")
    with pytest.raises(ValueError, match="sampler='lair'"):
        imputer.set_params(sampler="lair").fit(X)
    imputer.set_params(sampler="importance").fit(X)
    with pytest.raises(ValueError, match="sampler='lair'"):
        imputer.set_params(sampler="lair").transform(X)
