"""The contract of all estimators: scikit-learn's checks, randomness, global state, clones."""

import copy
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import (
    ESTIMATORS,
    IMPUTERS,
    assert_same,
    every_estimator,
    every_imputer,
    outputs,
    quiet,
    tiny,
)
from estimator_cases import table as incomplete
from sklearn.base import clone, is_outlier_detector
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from skmissvae import (
    DeMissVAEImputer,
    HiddenCellScorer,
    MissSVAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae._utils.runtime import SeededGenerators

pytestmark = quiet


@functools.cache
def fitted(cls):
    """Return a fitted estimator, which tests must not change."""
    return tiny(cls).fit(incomplete())


@functools.cache
def results(cls):
    """Return the results of the fitted estimator."""
    return outputs(fitted(cls), incomplete())


# one class of each kind, without the choice of an initialization, which fits three models
@parametrize_with_checks(
    [
        tiny(cls, max_iter=1, n_importance_draws=5, n_latents=1, init="random")
        for cls in (MVAEImputer, MissSVAEImputer, DeMissVAEImputer, VAEDensityEstimator)
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


@every_estimator
def test_tags(cls):
    tags = get_tags(cls())
    assert tags.input_tags.allow_nan
    assert tags.input_tags.categorical
    assert not tags.non_deterministic
    assert not tags.target_tags.required
    assert not is_outlier_detector(cls())
    assert tags.estimator_type == ("density_estimator" if cls is VAEDensityEstimator else None)


@every_estimator
def test_fitted_attributes(cls):
    frame = pd.DataFrame(incomplete(), columns=list("abcd"))
    estimator = tiny(cls).fit(frame)
    assert isinstance(estimator.vae_, nn.Module)
    assert estimator.n_features_in_ == 4
    assert list(estimator.feature_names_in_) == list("abcd")
    assert estimator.n_iter_ == estimator.max_iter_ == 3
    assert np.isnan(estimator.validation_score_)
    assert estimator.early_stopping_ is False
    assert set(estimator.history_) == {"bound", "learning_rate", "seconds"}
    assert all(len(values) == 3 for values in estimator.history_.values())


# -- randomness and global state ----------------------------------------------------------------


@every_estimator
def test_integer_random_state_reproduces_all_results(cls):
    X = incomplete()
    assert_same(outputs(tiny(cls).fit(X), X), results(cls))
    assert (tiny(cls, random_state=1).fit(X).encode(X) != results(cls)["encode"]).any()


@every_estimator
def test_random_state_instance_advances_between_calls(cls):
    X, state = incomplete(), np.random.RandomState(0)
    estimator = tiny(cls, random_state=state)
    assert (estimator.fit(X).encode(X) != estimator.fit(X).encode(X)).any()
    assert (estimator.sample(3) != estimator.sample(3)).any()


@pytest.mark.parametrize("make_state", [lambda: None, lambda: np.random.RandomState(0), int])
@every_imputer
def test_draws_repeat_only_with_an_integer_random_state(cls, make_state):
    X = incomplete()
    imputer = tiny(cls, strategy="draw", n_latents=2, random_state=make_state()).fit(X)
    first, second = imputer.transform(X), imputer.transform(X)
    assert ((first == second) == (make_state is int or ~np.isnan(X))).all()
    imputer.set_params(strategy="mean")
    np.testing.assert_array_equal(imputer.transform(X), imputer.transform(X))


@every_imputer
def test_means_do_not_advance_a_random_state_instance(cls):
    X, state = incomplete(), np.random.RandomState(0)
    imputer = copy.copy(fitted(cls)).set_params(random_state=state)
    before = state.get_state()[2]
    imputer.transform(X)
    assert state.get_state()[2] == before


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@every_estimator
def test_global_state_does_not_change(cls, dropout, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = incomplete()
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    estimator = tiny(cls, dropout=dropout).fit(X)
    outputs(estimator, X)
    estimator.sample(3)
    estimator.partial_fit(X)
    if cls in IMPUTERS:
        estimator.impute(X, 1)[0]
    copy.deepcopy(estimator)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert torch.is_grad_enabled()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@every_estimator
def test_results_do_not_depend_on_the_global_random_state(cls):
    X, options = incomplete(), {"dropout": 0.2, "n_latents": 2, "max_iter": 1}
    with SeededGenerators(1, torch.device("cpu")).block():
        first = outputs(tiny(cls, **options).fit(X), X)
    with SeededGenerators(2, torch.device("cpu")).block():
        assert_same(outputs(tiny(cls, **options).fit(X), X), first)


@every_estimator
def test_results_do_not_depend_on_autocast(cls):
    X, first = incomplete(), results(cls)

    def continued():
        return copy.copy(fitted(cls)).set_params(warm_start=True).fit(incomplete(20, seed=1))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(outputs(tiny(cls).fit(X), X), first)
        # DeMissVAE runs chains for rows that the model was not trained on
        values = outputs(continued(), X)
    assert_same(outputs(continued(), X), values)


# -- densities and samples ----------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@every_estimator
def test_samples(cls, prior):
    estimator = tiny(cls, prior=prior, n_latents=2, init="random").fit(incomplete(20))
    sample = estimator.sample(30)
    assert sample.shape == (30, 4)
    assert np.isfinite(sample).all()
    np.testing.assert_array_equal(sample, estimator.sample(30))
    with_seed = estimator.sample(30, random_state=4)
    np.testing.assert_array_equal(with_seed, estimator.sample(30, random_state=4))
    assert (sample != with_seed).all()
    assert estimator.sample().shape == (1, 4)


def test_blocks_of_a_large_sample_are_different(monkeypatch):
    estimator = tiny(MVAEImputer).fit(incomplete())
    monkeypatch.setattr("skmissvae.estimators.latent_methods._ROWS_AT_A_TIME", 7)
    sample = estimator.sample(20, random_state=1)
    assert sample.shape == (20, 4)
    assert len(np.unique(sample[:, 0])) == 20


@every_estimator
def test_score_is_the_mean_of_score_samples(cls):
    X, estimator = incomplete(), fitted(cls)
    score = estimator.score(X)
    assert isinstance(score, float)
    assert score == estimator.score(X, np.zeros(40)) == np.mean(estimator.score_samples(X))


@every_estimator
def test_effective_sample_size_is_between_one_and_the_number_of_draws(cls):
    ess = results(cls)["effective_sample_size"]
    assert ess.shape == (40,)
    assert ((ess >= 1 - 1e-9) & (ess <= 40 + 1e-9)).all()


@every_estimator
def test_encode_returns_latents_in_the_precision_of_the_table(cls):
    assert results(cls)["encode"].shape == (40, 4)
    assert results(cls)["encode"].dtype == np.float64
    small = incomplete().astype(np.float32)
    estimator = tiny(cls, n_latents=2).fit(small)
    assert estimator.encode(small).shape == (40, 2)
    assert estimator.encode(small).dtype == np.float32


def test_low_effective_sample_sizes_are_warned_about():
    X = np.random.default_rng(0).normal(size=(40, 4)) * 10.0 ** np.arange(4)
    density = tiny(VAEDensityEstimator, n_importance_draws=1000, max_iter=1).fit(X)
    with pytest.warns(UserWarning, match="of 40 rows have an effective sample size below 10 of"):
        density.score_samples(X + 30 * X.std(0))


@every_estimator
def test_any_number_of_importance_draws_gives_finite_results(cls):
    X, estimator = incomplete(5), copy.copy(fitted(cls))
    for n in [1, 2, 127, 128, 129]:
        for values in outputs(estimator.set_params(n_importance_draws=n), X).values():
            assert np.isfinite(values).all()


# -- searches, pipelines, clones ----------------------------------------------------------------


@every_estimator
def test_grid_search_needs_neither_y_nor_a_complete_table(cls):
    X = incomplete()
    grid = {"K": [1, 3]} if "K" in ESTIMATORS[cls] else {"n_hidden": [8, 16]}
    estimator = tiny(cls, max_iter=2, n_latents=1, init="random")
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(search.score(X))


def test_grid_search_in_two_processes_gives_the_same_scores():
    X, grid = incomplete(), {"n_latents": [1, 2]}
    imputer = tiny(MissSVAEImputer, max_iter=2)
    searches = [GridSearchCV(imputer, grid, cv=2, n_jobs=n).fit(X) for n in [1, 2]]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_allclose(*scores, rtol=1e-4)


@every_imputer
def test_cross_validation_by_hidden_cells(cls):
    scores = cross_val_score(tiny(cls, n_latents=1), incomplete(), scoring=HiddenCellScorer(), cv=2)
    assert (scores < 0).all()


@every_imputer
def test_pipelines(cls):
    X, imputer = incomplete(), tiny(cls, n_latents=1)
    y = np.nan_to_num(X[:, 0]) > 0
    pipeline = Pipeline([("impute", imputer), ("clf", LogisticRegression())])
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=2, error_score="raise")).all()
    pipeline = make_pipeline(StandardScaler(), imputer).set_output(transform="pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert list(pipeline.fit_transform(frame)) == list("abcd")
    assert np.isfinite(pipeline.score(frame))


@every_estimator
def test_clones_are_unfitted_and_have_equal_parameters(cls):
    cloned = clone(fitted(cls))
    assert cloned.get_params() == fitted(cls).get_params()
    assert vars(cloned) == cloned.get_params()
    assert_same(outputs(cloned.fit(incomplete()), incomplete()), results(cls))
