"""Training by the estimators: bounds, continuation, early stopping, options, custom parts."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from estimator_cases import IMPUTERS, every_estimator, outputs, over, quiet, tiny
from estimator_cases import table as incomplete
from torch import nn

from skmissvae import (
    AdamW,
    CustomNetwork,
    DeMissVAEImputer,
    EarlyStopping,
    MissSVAEImputer,
    MIWAEImputer,
    MVAEImputer,
    ResidualNetwork,
    VAEDensityEstimator,
)
from skmissvae._utils import progress
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
NO_LINEAR_PATH = ResidualNetwork(linear_path=False)
#: With a single component, a stratified mixture, two encoders, and marginal transforms.
different_methods = over([MIWAEImputer, MissSVAEImputer, DeMissVAEImputer, VAEDensityEstimator])


def assert_finite(estimator, X):
    for name, values in outputs(estimator, X).items():
        assert np.isfinite(values).all(), name
    assert np.isfinite(estimator.sample(3)).all()


@every_estimator
def test_training_increases_the_bound(cls):
    X = incomplete(50)
    options = {"max_iter": 24, "learning_rate": 0.02, "n_latents": 2}
    bound = tiny(cls, network=NO_LINEAR_PATH, **options).fit(X).history_["bound"]
    assert np.mean(bound[-6:]) > np.mean(bound[:6]) + 0.1
    initialized = tiny(cls, n_hidden=32, dropout=0.0, **options).fit(X).history_["bound"]
    assert np.mean(initialized[-6:]) > np.mean(initialized[:6]) + 0.05
    if cls is not DeMissVAEImputer:  # it is not initialized from factor analysis
        networks, options = (NO_LINEAR_PATH, None), {"max_iter": 1, "n_latents": 2}
        random, linear = (tiny(cls, network=network, **options).fit(X) for network in networks)
        assert linear.history_["bound"][0] > random.history_["bound"][0] + 0.5


@every_estimator
def test_warm_start_continues_with_weights_and_schema(cls):
    X, options = incomplete(50), {"max_iter": 10, "learning_rate": 0.02, "network": NO_LINEAR_PATH}
    estimator = tiny(cls, warm_start=True, **options).fit(X)
    first, schema = estimator.history_["bound"], estimator.schema_
    estimator.set_params(max_iter=2).fit(incomplete(50, seed=1))
    assert estimator.schema_ is schema
    estimator.fit(X)
    assert np.mean(estimator.history_["bound"]) > np.mean(first[:3])
    estimator.set_params(warm_start=False, max_iter=10).fit(X)
    np.testing.assert_array_equal(estimator.history_["bound"], first)


def test_warm_start_uses_new_noise():
    estimator = tiny(MVAEImputer, warm_start=True, max_iter=1, learning_rate=1e-30)
    bounds = [estimator.fit(incomplete()).history_["bound"][0] for _ in range(3)]
    assert len(set(bounds)) == 3
    assert estimator.n_iter_ == 3


@every_estimator
def test_partial_fit_trains_by_chunks(cls):
    X = incomplete(80)
    estimator = tiny(cls, learning_rate=0.03)
    for i in range(16):
        assert estimator.partial_fit(X[40 * (i % 2) :][:40]) is estimator
        bounds = estimator.history_["bound"]
        assert len(bounds) == estimator.n_iter_ == i + 1
    assert np.mean(bounds[-4:]) > np.mean(bounds[:4])
    for values in outputs(estimator, X).values():
        assert np.isfinite(values).all()


def test_first_chunk_determines_the_schema():
    X = incomplete(80)
    X[:40, 1] = 5.0  # constant in the first chunk
    imputer = tiny(MVAEImputer).partial_fit(X[:40])
    with pytest.warns(UserWarning, match="at most one value in the first table or chunk"):
        imputer.partial_fit(X[40:])
    completed, missing = imputer.transform(X), np.isnan(X[:, 1])
    assert missing.any()
    assert (completed[missing, 1] == 5.0).all()
    with pytest.raises(ValueError, match="features"):
        imputer.partial_fit(X[:, :3])


def test_partial_fit_continues_from_fit_and_fit_starts_anew():
    X = incomplete()
    estimator = tiny(MVAEImputer).fit(X)
    first = estimator.history_["bound"]
    estimator.partial_fit(X)
    assert estimator.history_["bound"][:3] == first
    assert estimator.n_iter_ == 4
    assert estimator.fit(X).history_["bound"] == first


@every_estimator
def test_early_stopping(cls):
    X = incomplete(100)
    # imputers of so few rows would fit other models to choose an initialization
    auto = tiny(cls, max_iter=1, n_latents=1, init="random").fit(X)  # densities overfit sooner
    assert ("validation_bound" in auto.history_) == (cls is VAEDensityEstimator)
    options = EarlyStopping(n_iter_no_change=2, tol=1e6)
    stopped = tiny(cls, early_stopping=options, max_iter=30, n_latents=1, init="random").fit(X)
    validation_bound = stopped.history_["validation_bound"]
    assert stopped.early_stopping_ == options
    assert stopped.n_iter_ == len(validation_bound) == 3
    assert stopped.validation_score_ == np.nanmax(validation_bound)
    stopped.partial_fit(X)
    assert {len(values) for values in stopped.history_.values()} == {4}
    assert np.isnan(stopped.history_["validation_bound"][-1])
    with pytest.raises(ValueError, match="holds out 0 of 3 rows"):
        tiny(cls, early_stopping=True).fit(X[:3])


@pytest.mark.parametrize("gradient", ["auto", "stl", "plain", "dreg"])
@every_estimator
def test_gradients(cls, gradient):
    X = incomplete(20)
    estimator = tiny(cls, gradient=gradient, n_latents=2)
    if gradient == "dreg" and cls.__name__ not in ("MIWAEImputer", "MissIWAEImputer"):
        with pytest.raises(ValueError, match=r"'gradient'.*cannot be 'dreg'"):
            estimator.fit(X)
    else:
        assert np.isfinite(estimator.fit(X).score(X))


@pytest.mark.parametrize("objective", ["MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE"])
def test_density_estimator_with_an_objective_equals_the_imputer(objective):
    X = incomplete()
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
        {"optimizer": AdamW(schedule="constant", weight_decay=0.1, max_grad_norm=0.1)},
        {"dropout": 0.2},
        {"network": NO_LINEAR_PATH},
        {"n_blocks": 0},
        {"n_draws": 2},
        {"batch_size": 7},
        {"batch_size": 1, "max_iter": 1},
        {"device": torch.device("cpu")},
        {"device": "auto"},
    ],
    ids=str,
)
@different_methods
def test_options_give_finite_results(cls, change):
    X = incomplete(20)
    assert_finite(tiny(cls, n_latents=2, **change).fit(X), X)


def test_prior_with_heavier_tails_than_the_posterior_is_warned_about():
    with pytest.warns(UserWarning, match="prior has heavier tails than the posterior"):
        tiny(MVAEImputer, prior="student_t", posterior="normal").fit(incomplete())


def test_numpy_values_and_no_clipping_are_valid_options():
    network = ResidualNetwork(linear_path=np.True_)
    optimizer = AdamW(max_grad_norm=np.inf)
    imputer = tiny(MVAEImputer, network=network, optimizer=optimizer, max_iter=np.int64(2))
    assert imputer.fit(incomplete()).n_iter_ == 2


# -- verbose ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verbose", "epochs"),
    [(0, []), (1, [1, 20]), (2, range(1, 21))],
    ids=["silent", "some", "every epoch"],
)
def test_verbose_is_the_level_of_reports(verbose, epochs, caplog, monkeypatch):
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    with caplog.at_level("INFO", logger="skmissvae"):
        tiny(MVAEImputer, max_iter=20, verbose=verbose).fit(incomplete())
    messages = [record.getMessage() for record in caplog.records]
    titles = [message.partition(":")[0] for message in messages]
    assert titles == [f"MVAEImputer, epoch {epoch} of 20" for epoch in epochs]
    assert all("bound " in message for message in messages)


# -- custom parts -------------------------------------------------------------------------------


class CustomLikelihood(NormalLikelihood):
    """A subclass of a likelihood."""


@pytest.mark.parametrize(
    "change",
    [
        {"prior": partial(StudentTPrior, df=3)},
        {"prior": MixturePrior},
        {"posterior": NormalFamily},
        {"likelihood": partial(NormalLikelihood, min_scale=0.3)},
        {"likelihood": {1: StudentTLikelihood, 2: "student_t"}},
        {"likelihood": CustomLikelihood},
        {"network": CustomNetwork(encoder=nn.Linear, decoder=nn.Linear)},
        {"network": CustomNetwork(decoder=partial(ResidualMLP, n_hidden=8, n_blocks=0))},
    ],
    ids=["df", "mixture", "family", "min_scale", "mapping", "subclass", "linear", "partial"],
)
@different_methods
def test_custom_parts_give_finite_results(cls, change):
    X = incomplete(20)
    assert_finite(tiny(cls, n_latents=2, **change).fit(X), X)


def test_network_functions_get_the_widths_of_input_and_output():
    widths = []

    def linear(in_features, out_features):
        widths.append((in_features, out_features))
        return nn.Linear(in_features, out_features)

    network = CustomNetwork(encoder=linear, decoder=linear)
    imputer = tiny(MissSVAEImputer, network=network, n_latents=2).fit(incomplete())
    family, likelihood = imputer.vae_.family, imputer.vae_.likelihood
    assert widths[:2] == [(8, family.n_params), (2, likelihood.n_params)]
    assert isinstance(imputer.vae_.encoder, nn.Linear)
    x, observed = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
    assert isinstance(imputer.vae_.posterior(x, observed).component, DiagonalNormal)


@pytest.mark.parametrize("df", [2.5, 3, 5, 30])
def test_default_posterior_has_heavier_tails_than_the_prior(df):
    estimator = tiny(MVAEImputer, prior=partial(StudentTPrior, df=df)).fit(incomplete())
    family = estimator.vae_.family
    assert (family(torch.zeros(1, family.n_params)).component.df < df).all()
