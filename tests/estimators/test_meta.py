"""Prediction from incomplete rows by members that are fitted to completed tables."""

from functools import cache, partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from estimator_cases import quiet, tiny
from estimator_cases import table as incomplete
from prediction_cases import BOTH, LINEAR, TREES, both, fast, outcome
from round_trips import by_joblib, by_pickle, by_skops
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmissvae import InconsistentVersionWarning, MissSIWAEImputer, MVAEImputer
from skmissvae.estimators import meta_imputation
from skmissvae.estimators.meta import MultipleImputationClassifier, MultipleImputationRegressor
from skmissvae.estimators.meta_imputation import row_digests
from skmissvae.tables.input_table import open_table

pytestmark = quiet


def probabilities(model, X):
    """Return probabilities of classifiers, predictions of regressors."""
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


class Constants(TransformerMixin, BaseEstimator):
    """An imputer whose i-th table has i in its missing cells."""

    def fit(self, X, y=None):
        assert y is None
        return self

    def impute(self, X, n_imputations, *, random_state):
        return (np.where(np.isnan(X), float(i), X) for i in range(n_imputations))


@parametrize_with_checks(
    [
        fast(
            cls, imputer=tiny(MVAEImputer, init="random", max_iter=1, n_latents=1), n_imputations=2
        )
        for cls in BOTH
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


@both
def test_tags(cls):
    tags = get_tags(fast(cls))
    assert tags.input_tags.allow_nan
    assert not tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.estimator_type == cls._kind


# -- the definition -------------------------------------------------------------------------------


@both
def test_members_of_a_complete_table_equal_the_final_estimator(cls):
    X = incomplete(60, share=0.0)
    y, new = outcome(cls, X), incomplete(20, seed=1, share=0.0)
    model, single = fast(cls).fit(X, y), clone(LINEAR[cls]).fit(X, y)
    for member in model.estimators_:
        np.testing.assert_allclose(member.coef_, single.coef_, rtol=1e-11)
        np.testing.assert_allclose(member.intercept_, single.intercept_, rtol=1e-11)
    np.testing.assert_allclose(probabilities(model, new), probabilities(single, new), rtol=1e-11)
    assert model.score(new, outcome(cls, new)) == pytest.approx(
        single.score(new, outcome(cls, new))
    )


@both
def test_each_member_has_its_own_imputation_of_training_and_new_rows(cls):
    X, new = incomplete(), incomplete(10, seed=1)
    y = outcome(cls, X)
    predictions = fast(cls, imputer=Constants()).fit(X, y).predict_all(new)
    for i in range(3):
        member = clone(LINEAR[cls]).fit(np.where(np.isnan(X), i, X), y)
        expected = probabilities(member, np.where(np.isnan(new), i, new))
        np.testing.assert_allclose(predictions[i], expected, rtol=1e-12)


def test_classes_are_those_of_the_mean_probabilities():
    X, new = incomplete(), incomplete(200, seed=1)
    model = fast(MultipleImputationClassifier).fit(X, outcome(MultipleImputationClassifier, X))
    by_member, mean = model.predict_all(new), model.predict_proba(new)
    assert by_member.shape == (3, 200, 3)
    np.testing.assert_allclose(mean, by_member.mean(0), rtol=1e-14)
    np.testing.assert_allclose(mean.sum(1), 1.0, rtol=1e-14)
    assert ((mean >= 0) & (mean <= 1)).all()
    assert list(model.classes_) == ["a", "b", "c"]
    np.testing.assert_array_equal(model.predict(new), model.classes_[mean.argmax(1)])


def test_members_without_probabilities_vote():
    X, new = incomplete(), incomplete(200, seed=1)
    y = outcome(MultipleImputationClassifier, X)
    model = fast(MultipleImputationClassifier, LinearSVC(), n_imputations=5)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model.fit(X, y), "predict_proba")
    votes = model.predict_all(new)
    assert votes.shape == (5, 200, 3)
    assert set(np.unique(votes)) == {0.0, 1.0}
    assert (votes.sum(2) == 1).all()
    np.testing.assert_array_equal(model.predict(new), model.classes_[votes.sum(0).argmax(1)])
    assert (votes != votes[0]).any()


def test_standard_deviation_is_that_over_members():
    X, new = incomplete(), incomplete(50, seed=1)
    new[0] = incomplete(1, seed=2, share=0.0)
    model = fast(MultipleImputationRegressor, imputer=tiny(MVAEImputer), n_imputations=4)
    model.fit(incomplete(share=0.0), outcome(MultipleImputationRegressor, X))
    mean, std = model.predict(new, return_std=True)
    by_member = model.predict_all(new)
    assert by_member.shape == (4, 50)
    np.testing.assert_allclose(mean, by_member.mean(0), rtol=1e-13)
    np.testing.assert_array_equal(mean, model.predict(new))
    complete = ~np.isnan(new).any(1)
    np.testing.assert_allclose(std, by_member.std(0, ddof=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(std[complete], 0.0, atol=1e-12)
    assert (std[~complete] > 1e-4).all()


def test_several_outcomes():
    X, new = incomplete(), incomplete(10, seed=1)
    y = np.column_stack([outcome(MultipleImputationRegressor, X, seed) for seed in range(2)])
    model = fast(MultipleImputationRegressor).fit(X, y)
    mean, std = model.predict(new, return_std=True)
    assert mean.shape == std.shape == (10, 2)
    first = fast(MultipleImputationRegressor).fit(X, y[:, 0]).predict(new)
    np.testing.assert_allclose(mean[:, 0], first, rtol=1e-9)


# -- independence of other rows ------------------------------------------------------------------


@both
def test_prediction_of_a_row_does_not_depend_on_other_rows(cls):
    X, new = incomplete(), incomplete(12, seed=1)
    model = fast(cls, TREES[cls], n_imputations=3).fit(X, outcome(cls, X))
    by_member, mean = model.predict_all(new), probabilities(model, new)
    order = np.random.default_rng(0).permutation(12)
    for index in [order[:5], np.repeat(order, 2), [3, 3, 3], [7]]:
        np.testing.assert_array_equal(model.predict_all(new[index]), by_member[:, index])
        np.testing.assert_array_equal(probabilities(model, new[index]), mean[index])


@both
def test_prediction_of_a_row_does_not_depend_on_data_types_of_other_rows(cls):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"n": rng.integers(9, size=60), "x": rng.normal(size=60)}, dtype=float)
    X["flag"] = rng.random(60) < 0.5
    X = X.astype({"flag": object}).mask(rng.random(X.shape) < 0.2)
    y = (X["n"].fillna(4.0) > 4).to_numpy().astype(int)
    model = fast(cls).fit(X, y)
    whole = pd.DataFrame({"n": [3, 5], "x": [np.nan, 0.5], "flag": [True, False]})
    parts = whole.astype({"n": float, "flag": object})
    parts.loc[2] = [np.nan, 1.0, None]
    assert whole.dtypes["n"] != parts.dtypes["n"]
    expected = model.predict_all(parts)[:, :2]
    np.testing.assert_allclose(model.predict_all(whole), expected, rtol=1e-9)


def test_digests_of_different_rows_are_different():
    columns = [
        np.array([1.0, -1.0, np.nan, 2.0]),
        np.array([0.1, 0.1, 0.1, np.nan]),
    ]
    names = ["nan", "None", "", "1"]
    frame = pd.DataFrame({"word": [*names, None], "number": [1.0, 1, 1, 1, 1]})
    assert len(set(row_digests(columns))) == 4
    source = open_table(MVAEImputer(), frame)
    assert len(set(row_digests(source.columns))) == 5
    big = [np.array([2**53, 2**53 + 1], dtype=np.int64)]
    series = open_table(MVAEImputer(), pd.DataFrame({"n": big[0]}))
    assert len(set(row_digests(series.columns))) == 2


@both
def test_predictions_do_not_depend_on_the_container(cls):
    X, new = incomplete(), incomplete(12, seed=1)
    y = outcome(cls, X)
    imputer = tiny(MVAEImputer, init="random", max_iter=1, n_latents=1)
    unfitted = fast(cls, TREES[cls], imputer=imputer, n_imputations=2)
    expected = clone(unfitted).fit(X, y).predict_all(new)
    names = list("abcd")
    kinds = {
        "list": np.ndarray.tolist,
        "pandas": partial(pd.DataFrame, columns=names, index=None),
        "polars": partial(pl.DataFrame, schema=names),
        "objects": lambda table: table.astype(object),
    }
    for name, make in kinds.items():
        model = clone(unfitted).fit(make(X), list(y))
        assert list(getattr(model, "feature_names_in_", [])) == (
            names if name in ("pandas", "polars") else []
        )
        np.testing.assert_array_equal(model.predict_all(make(new)), expected, err_msg=name)
    shuffled = pd.DataFrame(new, columns=names, index=np.arange(12)[::-1])
    model = clone(unfitted).fit(pd.DataFrame(X, columns=names), y)
    np.testing.assert_array_equal(model.predict_all(shuffled), expected)


def test_equal_training_rows_have_different_draws():
    X = np.repeat(incomplete(10), 4, axis=0)
    X[:, 0] = np.nan
    X[::4, 0] = np.arange(10)
    y = np.arange(40) % 2
    model = fast(MultipleImputationClassifier, KNeighborsClassifier()).fit(X, y)
    tables = [member._fit_X for member in model.estimators_]
    assert all(len(np.unique(table[1:4, 0])) == 3 for table in tables)
    assert len({float(table[1, 0]) for table in tables}) == 3


# -- the outcome ----------------------------------------------------------------------------------


@both
def test_imputations_do_not_depend_on_the_outcome(cls):
    X = incomplete()
    y = outcome(cls, X)
    models = [
        fast(cls).fit(X, y),
        fast(cls).fit(X, np.random.default_rng(0).permutation(y)),
        fast(cls, TREES[cls]).fit(X, y),
    ]
    expected, *states = (model.imputer_.vae_.state_dict() for model in models)
    for state in states:
        for name, weights in expected.items():
            assert torch.equal(weights, state[name]), name
    assert (models[0].estimators_[0].coef_ != models[1].estimators_[0].coef_).any()


# -- randomness -----------------------------------------------------------------------------------


@both
def test_integer_random_state_reproduces_predictions(cls):
    X, new = incomplete(), incomplete(10, seed=1)
    y, imputer = outcome(cls, X), tiny(MVAEImputer, n_latents=1, random_state=None)
    forest = clone(TREES[cls]).set_params(random_state=None, splitter="random")
    model = fast(cls, make_pipeline(forest), imputer=imputer).fit(X, y)
    expected = model.predict_all(new)
    np.testing.assert_array_equal(model.predict_all(new), expected)
    for n_jobs in [None, 2]:
        repeated = clone(model).set_params(n_jobs=n_jobs).fit(X, y)
        np.testing.assert_array_equal(repeated.predict_all(new), expected)
    assert (clone(model).set_params(random_state=1).fit(X, y).predict_all(new) != expected).any()
    assert len({member[-1].random_state for member in model.estimators_}) == 3
    assert imputer.random_state is forest.random_state is None


def test_random_states_that_are_set_are_not_replaced():
    X = incomplete()
    tree = TREES[MultipleImputationRegressor]
    model = fast(MultipleImputationRegressor, tree, random_state=7).fit(X, X[:, 0] > 0)
    assert model.imputer_.random_state == 0
    assert [member.random_state for member in model.estimators_] == [0, 0, 0]


def test_random_state_instance_advances_between_fits():
    X, state = incomplete(), np.random.RandomState(0)
    y = outcome(MultipleImputationRegressor, X)
    model = fast(MultipleImputationRegressor, random_state=state)
    assert (model.fit(X, y).predict(X) != model.fit(X, y).predict(X)).any()
    np.testing.assert_array_equal(model.predict(X), model.predict(X))


# -- other imputers -------------------------------------------------------------------------------


@both
def test_imputer_without_impute_is_fitted_several_times(cls):
    X, new = incomplete(), incomplete(10, seed=1)
    imputer = IterativeImputer(sample_posterior=True, max_iter=2, tol=1e9)
    model = fast(cls, imputer=imputer).fit(X, outcome(cls, X))
    assert len({imputer.random_state for imputer in model.imputer_.clones}) == 3
    expected = model.predict_all(new)
    assert (expected[0] != expected[1]).any()
    np.testing.assert_array_equal(model.predict_all(new), expected)
    np.testing.assert_array_equal(model.predict_all(new[::-1]), expected[:, ::-1])
    repeated = clone(model).fit(X, outcome(cls, X))
    np.testing.assert_array_equal(repeated.predict_all(new), expected)


def test_default_imputer(monkeypatch):
    monkeypatch.setattr(meta_imputation, "MissSIWAEImputer", partial(tiny, MissSIWAEImputer))
    X = incomplete()
    model = MultipleImputationRegressor(Ridge()).fit(X, outcome(MultipleImputationRegressor, X))
    assert type(model.imputer_) is MissSIWAEImputer
    assert len(model.estimators_) == 5
    assert np.isfinite(model.predict(X)).all()


def test_one_completed_table_is_in_memory_at_a_time():
    events = []

    class Watcher(LinearRegression):
        def fit(self, X, y):
            events.append("member")
            return super().fit(X, y)

    class Maker(Constants):
        def impute(self, X, n_imputations, *, random_state):
            for table in super().impute(X, n_imputations, random_state=random_state):
                events.append("table")
                yield table

    X = incomplete()
    fast(MultipleImputationRegressor, Watcher(), imputer=Maker()).fit(X, np.arange(40.0))
    assert events == ["table", "member"] * 3


# -- with scikit-learn -------------------------------------------------------------------


def people(n=80):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": pd.array(rng.integers(18, 80, n), dtype="Int64"),
            "town": rng.choice(["Ulm", "Bonn", "Kiel"], n),
            "health": pd.Categorical(rng.choice(["poor", "good"], n), ["poor", "good"]),
        }
    )
    y = np.where((frame["town"] == "Ulm") | (frame["age"] > 60), "yes", "no")
    return frame.mask(rng.random(frame.shape) < 0.2), y


def test_encoders_of_columns_follow_the_imputation():
    X, y = people()
    encoder = make_column_transformer(
        (OneHotEncoder(), ["town", "health"]), remainder=StandardScaler()
    )
    pipeline = make_pipeline(encoder, LogisticRegression())
    model = fast(MultipleImputationClassifier, pipeline).fit(X, y)
    assert list(model.feature_names_in_) == ["age", "town", "health"]
    assert model.score(X, y) > 0.6
    np.testing.assert_array_equal(model.predict(X[:1]), model.predict(X)[:1])
    with pytest.raises(ValueError, match="town"):
        model.predict(X.assign(town="Rom"))


@both
def test_searches_and_pipelines(cls):
    X = incomplete(60)
    y = outcome(cls, X)
    imputer = tiny(MVAEImputer, init="random", max_iter=1, n_latents=1)
    model = fast(cls, imputer=imputer, n_imputations=2)
    name = "C" if cls is MultipleImputationClassifier else "alpha"
    grid = [
        {f"estimator__{name}": [value], "imputer__n_hidden": [n_hidden]}
        for value, n_hidden in [(0.1, 4), (1.0, 8)]
    ]
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert best.imputer_.n_hidden == search.best_params_["imputer__n_hidden"]
    assert getattr(best.estimators_[0], name) == search.best_params_[f"estimator__{name}"]
    pipeline = make_pipeline(StandardScaler(), model)
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=2)).all()


@cache
def fitted(cls, imputer):
    """Return a fitted estimator, new rows and their predictions, which tests must not change."""
    X, new = incomplete(), incomplete(10, seed=1)
    if imputer == "frame":
        X, new = (pd.DataFrame(table, columns=list("abcd")) for table in (X, new))
    repeated = IterativeImputer(sample_posterior=True, max_iter=2, random_state=0)
    options = {"imputer": repeated} if imputer == "repeated" else {}
    model = fast(cls, n_imputations=2, **options).fit(X, outcome(cls, incomplete()))
    return model, new, model.predict_all(new)


@pytest.mark.parametrize(
    "round_trip",
    [by_pickle, by_joblib, partial(by_skops, prefixes=["sklearn.impute.", "numpy."])],
    ids=["pickle", "joblib", "skops"],
)
@pytest.mark.parametrize("imputer", ["own", "repeated", "frame"])
@both
def test_round_trips_keep_every_bit(cls, imputer, round_trip):
    model, new, expected = fitted(cls, imputer)
    restored = round_trip(model)
    np.testing.assert_array_equal(restored.predict_all(new), expected)
    assert repr(restored) == repr(model)
    with pytest.raises(ValueError, match=r"4 features|feature names"):
        restored.predict(new.rename(columns={"a": "z"}) if imputer == "frame" else new[:, :3])


@both
def test_states_of_another_version_warn(cls):
    state = fast(cls).__getstate__()
    with pytest.warns(InconsistentVersionWarning, match=cls.__name__):
        cls(None).__setstate__(state | {"_skmissvae_version": "0.0.1"})


@both
def test_clones_are_not_fitted(cls):
    X = incomplete()
    cloned = clone(fast(cls, n_imputations=2).fit(X, outcome(cls, X)))
    assert set(vars(cloned)) == set(cloned.get_params(deep=False))


@both
def test_sample_weights_equal_repeated_rows(cls):
    X = incomplete(60, share=0.0)
    y, weights = outcome(cls, X), np.arange(60) % 3
    repeated = fast(cls).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    weighted = fast(cls).fit(X, y, sample_weight=weights)
    expected, predictions = (probabilities(model, X) for model in [repeated, weighted])
    np.testing.assert_allclose(predictions, expected, rtol=1e-6)
    assert not np.allclose(probabilities(fast(cls).fit(X, y), X), expected, rtol=0.01)
    with config_context(enable_metadata_routing=True):
        requesting = clone(LINEAR[cls]).set_fit_request(sample_weight=True)
        model = fast(cls, requesting)
        model.imputer.set_fit_request(sample_weight=True)
        routed = clone(model).fit(X, y, sample_weight=weights)
        np.testing.assert_array_equal(probabilities(routed, X), predictions)
        pipeline = make_pipeline("passthrough", clone(model)).fit(X, y, sample_weight=weights)
        np.testing.assert_array_equal(probabilities(pipeline, X), predictions)
        model.imputer.set_fit_request(sample_weight=False)
        refusing = clone(model).set_params(
            estimator=clone(LINEAR[cls]).set_fit_request(sample_weight=False)
        )
        with pytest.raises(TypeError, match="sample_weight"):
            refusing.fit(X, y, sample_weight=weights)


@both
def test_sample_weights_reach_the_imputer(cls):
    X = incomplete(60)
    y, weights = outcome(cls, X), 1.0 + np.arange(60) % 3
    weighted = fast(cls).fit(X, y, sample_weight=weights)
    expected = clone(weighted.imputer_).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(weighted.imputer_.encode(X), expected.encode(X))
    unweighted = clone(weighted.imputer_).fit(X)
    assert not np.array_equal(unweighted.encode(X), expected.encode(X))
    repeated = IterativeImputer(sample_posterior=True, max_iter=2)  # takes no weights
    model = fast(cls, imputer=repeated).fit(X, y, sample_weight=weights)
    assert np.isfinite(model.predict_all(X)).all()
    with config_context(enable_metadata_routing=True):
        member = clone(LINEAR[cls]).set_fit_request(sample_weight=True)
        model = cls(member, n_imputations=1).fit(X, y, sample_weight=weights)
    assert model.imputer_.n_features_in_ == 4


def test_complete_rows_are_predicted():
    X = incomplete()
    y = np.arange(len(X), dtype=float)
    model = MultipleImputationRegressor(Ridge(), imputer=MVAEImputer(max_iter=3), random_state=0)
    complete = np.nan_to_num(X[:5])
    assert np.isfinite(model.fit(X, y).predict(complete)).all()
