"""Columns with many equal smallest or largest values, such as zeros, as point masses."""

import numpy as np
import pandas as pd
import pytest
from estimator_cases import every_imputer, quiet, tiny
from scipy import stats

from skmissvae import MVAEImputer, VAEDensityEstimator
from skmissvae.vae import NormalLikelihood, PointMassLikelihood

pytestmark = quiet
NOISE = 0.5


def zero_inflated(n, seed=0):
    """Return a column and another one that is zero where a latent is negative, else positive."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    return np.column_stack([z + NOISE * rng.normal(size=n), np.maximum(z, 0.0)])


def hidden(X, share=0.3, seed=1):
    """Return a table with missing cells in its second column."""
    X = X.copy()
    X[np.random.default_rng(seed).random(len(X)) < share, 1] = np.nan
    return X


@every_imputer
def test_draws_have_the_value_and_means_lie_beside_it(cls):
    X = hidden(zero_inflated(80))
    missing = np.isnan(X[:, 1])
    imputer = tiny(cls, learn_shapes="point_masses").fit(X)
    assert imputer.fit_report_["remark"].str.contains("point mass").tolist() == [False, True]
    draw = imputer.impute(X, 1)[0][missing, 1]
    assert 0.1 < (draw == 0).mean() < 0.9
    assert (imputer.transform(X)[missing, 1] != 0).all()
    without = tiny(cls).fit(X)
    assert (without.impute(X, 1)[0][missing, 1] != 0).all()


def test_the_share_of_zeros_depends_on_the_other_columns_as_it_should():
    X = hidden(zero_inflated(600))
    options = {"init": "factor_analysis", "learn_shapes": "point_masses", "random_state": 0}
    options |= {"n_hidden": 16, "n_importance_draws": 100, "max_iter": 15}
    imputer = MVAEImputer(**options).fit(X)
    predictor = np.array([-1.5, -0.5, 0.0, 0.5, 1.5])
    new = np.column_stack([np.repeat(predictor, 200), np.full(1000, np.nan)])
    shares = (imputer.impute(new, 1)[0][:, 1] == 0).reshape(5, 200).mean(1)
    # z given the predictor is Normal
    weight = 1 / (1 + NOISE**2)
    exact = stats.norm.cdf(0, weight * predictor, NOISE * np.sqrt(weight))
    np.testing.assert_allclose(shares, exact, atol=0.15)


def test_the_uncertainty_of_the_decoder_includes_the_point_mass():
    X = hidden(zero_inflated(80))
    imputer = tiny(MVAEImputer, init="factor_analysis", learn_shapes="point_masses").fit(X)
    draws = [imputer._decoder_uncertainty.draw(seed).bias for seed in range(8)]
    assert (np.std(draws, axis=0) > 1e-3).all()


@pytest.mark.parametrize("likelihood", ["continuous_bernoulli", "cross_entropy"])
def test_values_from_zero_to_one_have_no_point_mass(likelihood):
    X = np.clip(zero_inflated(80), 0, 1)
    results = []
    for learn_shapes in (False, "point_masses"):
        options = {"likelihood": likelihood, "learn_shapes": learn_shapes}
        imputer = tiny(MVAEImputer, **options).fit(hidden(X))
        assert not imputer.fit_report_["remark"].str.contains("point mass").any()
        results.append(imputer.transform(hidden(X)))
    np.testing.assert_array_equal(*results)


def test_the_end_of_the_range_is_that_of_the_value_if_it_is_the_location():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(400) < 0.6, 0.0, 1 + np.exp(5 * rng.normal(size=400)))
    X = np.column_stack([x, rng.normal(size=400)])
    density = tiny(VAEDensityEstimator, init="random").fit(X)
    assert "cells are 0: modelled as a point mass" in density.fit_report_["remark"].iloc[0]
    assert ((density.sample(400)[:, 0] == 0).mean()) > 0.3


def test_values_that_single_precision_cannot_separate_from_it_are_no_point_mass():
    X = hidden(zero_inflated(80))[:, ::-1].copy()
    X[0, 0] = 1e8
    imputer = tiny(MVAEImputer, learn_shapes="point_masses").fit(X)
    assert not imputer.fit_report_["remark"].str.contains("point mass").any()


def test_dates_are_reported_as_dates():
    dates = pd.Timestamp("2020-01-01") + pd.to_timedelta(zero_inflated(60)[:, 1], "D")
    frame = pd.DataFrame({"date": dates, "x": zero_inflated(60)[:, 0]})
    frame.loc[::7, "date"] = None
    imputer = tiny(MVAEImputer, learn_shapes="point_masses").fit(frame)
    assert "cells are 2020-01-01" in imputer.fit_report_.loc["date", "remark"]


def test_tables_of_more_than_one_hundred_columns_keep_the_uncertainty():
    X = np.hstack([zero_inflated(60, seed)[:, 1:] for seed in range(120)])
    X[::3, :60] = np.nan
    imputer = tiny(MVAEImputer, learn_shapes="point_masses", max_iter=1).fit(X)
    assert imputer.vae_.likelihood.n_linear > 200
    assert imputer._decoder_uncertainty is not None


def test_a_custom_likelihood_with_a_point_mass_is_refused():
    def custom(n):
        return PointMassLikelihood(NormalLikelihood(n), [0.0] * n, [0.5] * n)

    with pytest.raises(ValueError, match="has no point mass, but its likelihood needs one"):
        tiny(MVAEImputer, likelihood=custom).fit(zero_inflated(20))


def test_parameter():
    assert MVAEImputer().learn_shapes is False
    assert VAEDensityEstimator().learn_shapes is True
    message = (
        "'learn_shapes' of MVAEImputer must be one of True, False, 'point_masses'; got 'zeros'"
    )
    with pytest.raises(ValueError, match=message):
        tiny(MVAEImputer, learn_shapes="zeros").fit(zero_inflated(20))
