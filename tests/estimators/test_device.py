"""What would fail on a GPU, or make it wait, by a GPU that is pretended."""

import pickle

import numpy as np
import pandas as pd
import pytest
from estimator_cases import ESTIMATORS, IMPUTERS, quiet, tiny
from pretend import AT, Pretended, place

from skmissvae import Chunks, MissSIWAEImputer, MIWAEImputer
from skmissvae.inference import SAMPLERS
from skmissvae.vae.priors import PRIORS

AUTO = {"device": "auto", "max_iter": 2}
pytestmark = quiet


def table(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1)) + 0.3 * rng.normal(size=(n, 2))
    frame = pd.DataFrame(np.where(rng.random(x.shape) < 0.3, np.nan, x), columns=["a", "b"])
    frame["kind"] = pd.Categorical(rng.choice(list("xyz"), n))
    frame["rank"] = pd.Categorical(rng.choice(list("123"), n), ordered=True)
    frame["n"] = pd.array(rng.integers(0, 9, n), dtype="Int64")
    frame["flag"] = pd.array(rng.random(n) < 0.5, dtype="boolean")
    for j, name in enumerate(frame.columns[2:]):
        frame.loc[j::5, name] = None
    return frame


@pytest.fixture
def gpu(monkeypatch):
    with Pretended(monkeypatch) as pretended:
        yield pretended


def on_cpu(model):
    parts = [*model.vae_.parameters(), *model.vae_.buffers()]
    return all(place(part) != AT for part in parts)


@pytest.mark.parametrize("cls", IMPUTERS, ids=lambda cls: cls.__name__)
def test_imputers_do_all_they_can(gpu, cls):
    X, imputer = table(), tiny(cls, **AUTO)
    imputer.fit(X)
    assert on_cpu(imputer)
    for estimate in ("auto", "median", "mode", "draw"):
        imputer.set_params(estimate=estimate).transform(X[:5])
    imputer.set_params(estimate="auto", min_value=-9.0).transform(X[:5])
    list(imputer.impute(X[:5], 2))
    imputer.cell_distribution(X[:2])
    pickle.loads(pickle.dumps(imputer)).transform(X[:5])
    assert on_cpu(imputer.refit_encoder(X))
    assert on_cpu(imputer.partial_fit(X))


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_what_estimators_tell(gpu, cls):
    X, model = table(), tiny(cls, **AUTO, early_stopping=True)
    model.fit(X)
    for log_progress in ("score_samples", "encode", "mixture_weights", "outlier_scores"):
        getattr(model, log_progress)(X[:3])
    model.latent_information(X[:1])


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"importance"}))
def test_chains(gpu, sampler):
    X = table()
    imputer = tiny(MIWAEImputer, **AUTO, sampler=sampler, n_sampler_steps=8).fit(X)
    imputer.transform(X[:2])
    imputer.chain_diagnostics(X[:2])


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(
    "likelihood", ["normal", "student_t", "continuous_bernoulli", "cross_entropy"]
)
def test_observation_models_and_priors(gpu, likelihood, prior):
    X = 1 / (1 + np.exp(-table()[["a", "b"]].to_numpy()))
    tiny(MissSIWAEImputer, **AUTO, prior=prior, likelihood=likelihood).fit(X).transform(X[:4])


def test_images_and_dropout(gpu):
    X = np.random.default_rng(0).normal(size=(20, 36))
    X[:, ::3] = np.nan
    X[::2, ::3] = 1.0
    tiny(MIWAEImputer, **AUTO, image_shape=(6, 6), dropout=0.2).fit(X).transform(X[:2])


def test_training_is_that_of_the_cpu(monkeypatch):
    X = table()
    alone = tiny(MissSIWAEImputer, max_iter=2).fit(X).transform(X)
    with Pretended(monkeypatch):
        pd.testing.assert_frame_equal(tiny(MissSIWAEImputer, **AUTO).fit(X).transform(X), alone)


@pytest.mark.parametrize("cls", IMPUTERS, ids=lambda cls: cls.__name__)
def test_no_step_waits_for_the_device(gpu, cls):
    X, waits = table(64), []
    for batch_size in (32, 8):
        gpu.waits.clear()
        tiny(cls, device="auto", max_iter=1, batch_size=batch_size, dropout=0.1).fit(X)
        waits.append(len(gpu.waits))
    assert waits[0] == waits[1]


def test_chunks(gpu):
    X = table()
    tiny(MIWAEImputer, **AUTO).fit(Chunks([X[:12], X[12:]], sample_size=15))
