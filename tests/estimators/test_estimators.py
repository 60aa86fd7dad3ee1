"""The contract of the estimators: scikit-learn's own checks, and what they do not check."""

import copy
from functools import partial

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
from estimator_cases import table as holed
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
from skmissvae.inference import importance as importance
from skmissvae.vae import (
    DiagonalNormal,
    MixturePrior,
    NormalFamily,
    NormalLikelihood,
    ResidualMLP,
    StudentTLikelihood,
    StudentTPrior,
)

pytestmark = quiet


@parametrize_with_checks([tiny(cls) for cls in ESTIMATORS])
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
    frame = pd.DataFrame(holed(), columns=list("abcd"))
    estimator = tiny(cls).fit(frame)
    assert isinstance(estimator.vae_, nn.Module)
    assert estimator.n_features_in_ == 4
    assert list(estimator.feature_names_in_) == list("abcd")
    assert estimator.n_iter_ == 3
    assert np.isnan(estimator.validation_score_)
    assert set(estimator.history_) == {"bound", "learning_rate", "seconds"}
    assert all(len(values) == 3 for values in estimator.history_.values())


# -- randomness -------------------------------------------------------------------------------


@every_estimator
def test_an_integer_random_state_reproduces_everything(cls):
    X = holed()
    assert_same(outputs(tiny(cls).fit(X), X), outputs(tiny(cls).fit(X), X))
    other = tiny(cls, random_state=1).fit(X)
    assert (other.encode(X) != tiny(cls).fit(X).encode(X)).any()


@every_estimator
def test_a_random_state_instance_moves_on(cls):
    X, state = holed(), np.random.RandomState(0)
    estimator = tiny(cls, random_state=state)
    assert (estimator.fit(X).encode(X) != estimator.fit(X).encode(X)).any()
    assert (estimator.sample(3) != estimator.sample(3)).any()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@every_estimator
def test_the_world_is_left_alone(cls, dropout, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = holed()
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), True
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
    assert torch.is_grad_enabled() is grad
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@every_estimator
def test_results_do_not_depend_on_the_global_random_state(cls):
    X = holed()
    with SeededGenerators(1, torch.device("cpu")).block():
        first = outputs(tiny(cls, dropout=0.2).fit(X), X)
    with SeededGenerators(2, torch.device("cpu")).block():
        assert_same(outputs(tiny(cls, dropout=0.2).fit(X), X), first)


@every_estimator
def test_results_do_not_depend_on_autocast(cls):
    X = holed()
    first = outputs(tiny(cls).fit(X), X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(outputs(tiny(cls).fit(X), X), first)
        # rows that are new to a model are more than a fit
        going_on = outputs(tiny(cls, warm_start=True).fit(X[:20]).fit(X[20:]), X)
    assert_same(outputs(tiny(cls, warm_start=True).fit(X[:20]).fit(X[20:]), X), going_on)


# -- multiple imputation ------------------------------------------------------------------------


@every_imputer
def test_imputations_are_a_lazy_sequence(cls, monkeypatch):
    X = holed()
    imputer = tiny(cls).fit(X)
    tables = imputer.impute(X, 6)
    assert len(tables) == 6
    with monkeypatch.context() as patch:
        patch.setattr(importance, "ImportanceSampler", None)
        part = imputer.impute(X, 6)[2:]  # nothing is drawn until it is asked for
        with pytest.raises(TypeError):
            part[0]
    every = list(tables)
    assert len(every) == 6
    np.testing.assert_array_equal(tables[2], every[2])
    np.testing.assert_array_equal(tables[-1], every[5])
    np.testing.assert_array_equal(tables[np.int64(1)], every[1])
    for chosen in [slice(1, 3), slice(None, None, -2), slice(-2, None), slice(4, 4)]:
        part = tables[chosen]
        assert len(part) == len(every[chosen])
        for left, right in zip(part, every[chosen], strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(tables[::2][1:][-1], every[4])
    for out_of_range in [6, -7]:
        with pytest.raises(IndexError):
            tables[out_of_range]


@every_imputer
def test_imputations_agree_on_what_is_seen_and_differ_on_what_is_not(cls):
    X = holed()
    seen = ~np.isnan(X)
    first, second = tiny(cls).fit(X).impute(X, 2)
    for filled in [first, second]:
        assert np.isfinite(filled).all()
        assert filled[seen].tobytes() == X[seen].tobytes()
    assert (first[~seen] != second[~seen]).all()


@every_imputer
def test_imputations_are_reproducible(cls):
    X = holed()
    imputer = tiny(cls).fit(X)
    default, again, other = (imputer.impute(X, 1, random_state=s)[0] for s in [None, None, 7])
    np.testing.assert_array_equal(default, again)
    assert (default != other).any()
    np.testing.assert_array_equal(other, imputer.impute(X, 3, random_state=7)[0])
    state = np.random.RandomState(7)
    np.testing.assert_array_equal(other, imputer.impute(X, 1, random_state=state)[0])
    assert (imputer.impute(X, 1, random_state=state)[0] != other).any()


@every_imputer
def test_imputations_of_equal_rows_are_independent(cls):
    X = holed()
    same = np.tile([0.5, np.nan, np.nan, -7.0], (40, 1))
    imputer = tiny(cls).fit(X)
    drawn = imputer.impute(same, 1)[0][:, 1:3]
    assert len(np.unique(drawn, axis=0)) == 40
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.5
    drawn = imputer.set_params(estimate="draw").transform(same)[:, 1:3]
    assert len(np.unique(drawn, axis=0)) == 40


@every_imputer
def test_imputations_belong_to_the_fit_they_were_made_with(cls):
    X = holed()
    imputer = tiny(cls).fit(X)
    tables = imputer.impute(X, 2)
    before = tables[0]
    frames = imputer.impute(pd.DataFrame(X), 1)
    columns = list(frames[0])
    imputer.set_params(n_importance_draws=1, estimate="mean").partial_fit(X)
    np.testing.assert_array_equal(tables[0], before)
    other = pd.DataFrame(holed(seed=3), columns=list("abcd")).assign(b=np.nan)
    imputer.set_params(add_indicator=True).fit(other)
    np.testing.assert_array_equal(tables[0], before)
    assert list(frames[0]) == columns


def test_imputations_do_not_follow_changes_of_the_table_given():
    X = holed()
    imputer = tiny(MVAEImputer).fit(X)
    tables = imputer.impute(X, 1)
    before = tables[0]
    X[:] = 0.0
    np.testing.assert_array_equal(tables[0], before)


@every_imputer
def test_imputations_of_frames_are_frames(cls):
    frame = pd.DataFrame(holed(), columns=list("abcd"), index=pd.RangeIndex(40) + 7)
    out = tiny(cls).fit(frame).impute(frame, 1)[0]
    assert isinstance(out, pd.DataFrame)
    assert list(out) == list(frame)
    pd.testing.assert_index_equal(out.index, frame.index)
    seen = frame.notna()
    pd.testing.assert_frame_equal(out[seen], frame)


def test_imputations_have_names_for_their_indicators():
    frame = pd.DataFrame(holed(), columns=list("abcd"))
    imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)
    assert list(imputer.impute(frame, 1)[0]) == list(imputer.get_feature_names_out())


# -- densities and samples ----------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@every_estimator
def test_samples(cls, prior):
    estimator = tiny(cls, prior=prior).fit(holed())
    drawn = estimator.sample(30)
    assert drawn.shape == (30, 4)
    assert np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn, estimator.sample(30))
    np.testing.assert_array_equal(
        estimator.sample(30, random_state=4), estimator.sample(30, random_state=4)
    )
    assert (drawn != estimator.sample(30, random_state=4)).all()
    assert estimator.sample().shape == (1, 4)


@every_estimator
def test_score_is_the_mean_of_score_samples(cls):
    X = holed()
    estimator = tiny(cls).fit(X)
    score = estimator.score(X)
    assert isinstance(score, float)
    assert score == estimator.score(X, np.zeros(40)) == np.mean(estimator.score_samples(X))


@every_estimator
def test_effective_sample_sizes_lie_between_one_and_all(cls):
    X = holed()
    ess = tiny(cls).fit(X).effective_sample_size(X)
    assert ess.shape == (40,)
    assert ((ess >= 1 - 1e-9) & (ess <= 40 + 1e-9)).all()


@every_estimator
def test_codes(cls):
    X = holed()
    assert tiny(cls).fit(X).encode(X).shape == (40, 4)
    assert tiny(cls, n_latents=2).fit(X).encode(X).shape == (40, 2)
    assert tiny(cls).fit(X.astype(np.float32)).encode(X.astype(np.float32)).dtype == np.float32


def test_poor_importance_weights_are_told():
    X = np.random.default_rng(0).normal(size=(40, 4)) * 10.0 ** np.arange(4)
    density = tiny(VAEDensityEstimator, n_importance_draws=1000, max_iter=1).fit(X)
    with pytest.warns(UserWarning, match="of 40 rows have fewer than 10 effective"):
        density.score_samples(X + 30 * X.std(0))


@every_estimator
def test_any_number_of_importance_draws(cls):
    X = holed(5)
    estimator = tiny(cls).fit(X)
    for n in [1, 2, 127, 128, 129]:
        for values in outputs(estimator.set_params(n_importance_draws=n), X).values():
            assert np.isfinite(values).all()


# -- searches and pipelines -----------------------------------------------------------------------


@every_estimator
def test_a_grid_search_needs_no_y_and_no_complete_table(cls):
    X = holed()
    grid = {"K": [1, 3]} if "K" in ESTIMATORS[cls] else {"n_latents": [1, 2]}
    search = GridSearchCV(tiny(cls, max_iter=2), grid, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(search.score(X))


def test_a_grid_search_in_two_processes_gives_the_same():
    X = holed()
    searches = [
        GridSearchCV(tiny(MissSVAEImputer, max_iter=2), {"n_latents": [1, 2]}, cv=2, n_jobs=n).fit(
            X
        )
        for n in [1, 2]
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_allclose(*scores, rtol=1e-4)


@every_imputer
def test_a_search_by_hidden_cells(cls):
    scores = cross_val_score(tiny(cls), holed(), scoring=HiddenCellScorer(), cv=2)
    assert (scores < 0).all()


@every_imputer
def test_pipelines(cls):
    X = holed(60)
    y = np.nan_to_num(X[:, 0]) > 0
    pipeline = Pipeline([("impute", tiny(cls)), ("clf", LogisticRegression())])
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=3, error_score="raise")).all()
    pipeline = make_pipeline(StandardScaler(), tiny(cls)).set_output(transform="pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert list(pipeline.fit_transform(frame)) == list("abcd")
    assert np.isfinite(pipeline.score(frame))


@every_estimator
def test_clones_are_unfitted_equals(cls):
    X = holed()
    fitted = tiny(cls).fit(X)
    cloned = clone(fitted)
    assert cloned.get_params() == fitted.get_params()
    assert vars(cloned) == cloned.get_params()
    assert_same(outputs(cloned.fit(X), X), outputs(fitted, X))


# -- training -----------------------------------------------------------------------------------


@every_estimator
def test_training_raises_the_bound(cls):
    X = holed(100)
    bound = tiny(cls, max_iter=60, linear_path=False, learning_rate=0.01).fit(X).history_["bound"]
    assert np.mean(bound[-10:]) > np.mean(bound[:10]) + 0.5
    started = tiny(cls, max_iter=60, n_hidden=32, dropout=0.0, learning_rate=0.01).fit(X)
    bound = started.history_["bound"]
    assert np.mean(bound[-10:]) > np.mean(bound[:10]) + 0.05
    bound = tiny(cls, max_iter=1, linear_path=False).fit(X).history_["bound"]
    if cls is not DeMissVAEImputer:  # it does not start from factor analysis
        assert tiny(cls, max_iter=1).fit(X).history_["bound"][0] > bound[0] + 0.5


@every_estimator
def test_a_warm_start_goes_on(cls):
    X = holed(100)
    estimator = tiny(cls, max_iter=40, warm_start=True, linear_path=False).fit(X)
    first, schema = estimator.history_["bound"], estimator._table
    estimator.fit(holed(100, seed=1))
    assert estimator._table is schema
    estimator.fit(X)
    assert np.mean(estimator.history_["bound"][:5]) > np.mean(first[:5])
    estimator.set_params(warm_start=False).fit(X)
    np.testing.assert_array_equal(estimator.history_["bound"], first)


@every_estimator
def test_partial_fit_trains_piece_by_piece(cls):
    X = holed(80)
    estimator = tiny(cls)
    bounds = []
    for i in range(30):
        assert estimator.partial_fit(X[40 * (i % 2) :][:40]) is estimator
        bounds = estimator.history_["bound"]
        assert len(bounds) == estimator.n_iter_ == i + 1
    assert np.mean(bounds[-6:]) > np.mean(bounds[:6])
    for values in outputs(estimator, X).values():
        assert np.isfinite(values).all()


def test_the_first_piece_sets_the_schema():
    X = holed(80)
    X[:40, 1] = 5.0  # constant in the first piece
    imputer = tiny(MVAEImputer).partial_fit(X[:40]).partial_fit(X[40:])
    out = imputer.transform(X)
    holes = np.isnan(X[:, 1])
    assert holes.any()
    assert (out[holes, 1] == 5.0).all()
    with pytest.raises(ValueError, match="features"):
        imputer.partial_fit(X[:, :3])


def test_partial_fit_goes_on_from_fit_and_fit_forgets():
    X = holed()
    estimator = tiny(MVAEImputer).fit(X)
    first = estimator.history_["bound"]
    estimator.partial_fit(X)
    assert estimator.history_["bound"][:3] == first
    assert estimator.n_iter_ == 4
    assert estimator.fit(X).history_["bound"] == first


@every_estimator
def test_early_stopping(cls):
    X = holed(200)
    auto = tiny(cls).fit(X)  # densities are overfitted sooner
    assert ("validation_bound" in auto.history_) == (cls is VAEDensityEstimator)
    options = {"early_stopping": True, "max_iter": 30, "n_iter_no_change": 2}
    stopped = tiny(cls, **options, tol=1e6).fit(X)
    held_out = stopped.history_["validation_bound"]
    assert stopped.n_iter_ == len(held_out) == 3
    assert stopped.validation_score_ == np.nanmax(held_out)
    stopped.partial_fit(X)
    assert {len(values) for values in stopped.history_.values()} == {4}
    assert np.isnan(stopped.history_["validation_bound"][-1])
    with pytest.raises(ValueError, match="holds out 0 of 3 rows"):
        tiny(cls, early_stopping=True).fit(X[:3])


@pytest.mark.parametrize("gradient", ["auto", "stl", "plain", "dreg"])
@every_estimator
def test_gradients(cls, gradient):
    X = holed()
    estimator = tiny(cls, gradient=gradient)
    if gradient == "dreg" and cls.__name__ not in ("MIWAEImputer", "MissIWAEImputer"):
        with pytest.raises(ValueError, match=r"'gradient'.*cannot be 'dreg'"):
            estimator.fit(X)
    else:
        assert np.isfinite(estimator.fit(X).score(X))


@pytest.mark.parametrize("objective", ["MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE"])
def test_the_density_estimator_takes_every_objective(objective):
    X = holed()
    options = {"min_scale": 0.05, "n_draws": 1, "learn_shapes": False, "gradient": "auto"}
    density = tiny(VAEDensityEstimator, objective=objective, **options).fit(X)
    imputer = next(cls for cls in IMPUTERS if cls.__name__ == objective + "Imputer")
    expected = tiny(imputer, n_draws=1).fit(X).score_samples(X)
    np.testing.assert_array_equal(density.score_samples(X), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"prior": "student_t"},
        {"prior": "mixture"},
        {"posterior": "student_t"},
        {"likelihood": "student_t"},
        {"schedule": "constant"},
        {"weight_decay": 0.1},
        {"dropout": 0.2},
        {"linear_path": False},
        {"n_blocks": 0},
        {"n_draws": 2},
        {"batch_size": 7},
        {"batch_size": 1},
        {"max_grad_norm": 0.1},
        {"device": torch.device("cpu")},
        {"device": "auto"},
    ],
    ids=str,
)
@every_estimator
def test_options(cls, change):
    X = holed()
    estimator = tiny(cls, **change).fit(X)
    for name, values in outputs(estimator, X).items():
        assert np.isfinite(values).all(), name
    assert np.isfinite(estimator.sample(3)).all()


def test_a_heavy_prior_with_a_light_posterior_warns():
    with pytest.warns(UserWarning, match="tails are heavier"):
        tiny(MVAEImputer, prior="student_t", posterior="normal").fit(holed())


def test_verbose_tells_epochs_to_the_logger(caplog):
    with caplog.at_level("INFO", logger="skmissvae"):
        tiny(MVAEImputer, max_iter=5, verbose=2).fit(holed())
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    for message, epoch in zip(told, ["epoch 2 of 5", "epoch 4 of 5"], strict=True):
        assert "MVAEImputer" in message
        assert epoch in message


# -- objects in place of names --------------------------------------------------------------------


class LaplaceLike(NormalLikelihood):
    """A likelihood of one's own: here only a name."""


@pytest.mark.parametrize(
    "change",
    [
        {"prior": partial(StudentTPrior, df=3)},
        {"prior": MixturePrior},
        {"posterior": NormalFamily},
        {"likelihood": partial(NormalLikelihood, min_scale=0.3)},
        {"likelihood": {1: StudentTLikelihood, 2: "student_t"}},
        {"likelihood": LaplaceLike},
        {"encoder": nn.Linear, "decoder": nn.Linear},
        {"decoder": partial(ResidualMLP, n_hidden=8, n_blocks=0)},
    ],
    ids=["df", "mixture", "family", "min_scale", "mapping", "own", "linear", "partial"],
)
@every_estimator
def test_objects_stand_for_names(cls, change):
    X = holed()
    estimator = tiny(cls, **change).fit(X)
    for name, values in outputs(estimator, X).items():
        assert np.isfinite(values).all(), name
    assert np.isfinite(estimator.sample(3)).all()


def test_factories_are_told_the_sizes_they_must_have():
    sizes = []

    def linear(in_features, out_features):
        sizes.append((in_features, out_features))
        return nn.Linear(in_features, out_features)

    imputer = tiny(MissSVAEImputer, encoder=linear, decoder=linear, n_latents=2).fit(holed())
    family, likelihood = imputer.vae_.family, imputer.vae_.likelihood
    assert sizes[:2] == [(8, family.n_params), (2, likelihood.n_params)]
    assert isinstance(imputer.vae_.encoder, nn.Linear)
    x, observed = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
    assert isinstance(imputer.vae_.posterior(x, observed).component, DiagonalNormal)


def test_a_warm_start_meets_new_noise():
    estimator = tiny(MVAEImputer, warm_start=True, max_iter=1, learning_rate=1e-30)
    bounds = [estimator.fit(holed()).history_["bound"][0] for _ in range(3)]
    assert len(set(bounds)) == 3
    assert estimator.n_iter_ == 3


@pytest.mark.parametrize("df", [2.5, 3, 5, 30])
def test_the_posterior_has_tails_at_least_as_heavy_as_the_prior(df):
    estimator = tiny(MVAEImputer, prior=partial(StudentTPrior, df=df)).fit(holed())
    found = estimator.vae_.family(torch.zeros(1, estimator.vae_.family.n_params)).component.df
    assert (found < df).all()


def test_options_of_numpy_and_no_clipping():
    tiny(MVAEImputer, linear_path=np.True_, max_iter=np.int64(2), max_grad_norm=np.inf).fit(holed())


def test_large_samples_come_in_pieces_of_one_stream(monkeypatch):
    estimator = tiny(MVAEImputer).fit(holed())
    monkeypatch.setattr("skmissvae.estimators.fitted._PIECE", 7)
    assert estimator.sample(20, random_state=1).shape == (20, 4)
    assert len(np.unique(estimator.sample(20, random_state=1)[:, 0])) == 20
