"""Estimators on a simulated GPU: devices of tensors, and no step that waits for the device."""

import pickle

import numpy as np
import pandas as pd
import pytest
from estimator_cases import over, quiet, tiny
from pretend import AT, Pretended, place

from skmissvae import (
    Chunks,
    ConvNetwork,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae.inference import LAIR, MetropolisWithinGibbs, PseudoGibbs
from skmissvae.inspection import chain_diagnostics, latent_information, mixture_weights
from skmissvae.vae.priors import PRIORS

AUTO = {"device": "auto", "max_iter": 2, "n_latents": 2}
pytestmark = quiet


def table(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1)) + 0.3 * rng.normal(size=(n, 2))
    frame = pd.DataFrame(np.where(rng.random(x.shape) < 0.3, np.nan, x), columns=["a", "b"])
    frame["category"] = pd.Categorical(rng.choice(list("xyz"), n))
    frame["rank"] = pd.Categorical(rng.choice(list("123"), n), ordered=True)
    frame["n"] = pd.array(rng.integers(0, 9, n), dtype="Int64")
    frame["binary"] = pd.array(rng.random(n) < 0.5, dtype="boolean")
    for j, name in enumerate(frame.columns[2:]):
        frame.loc[j::5, name] = None
    return frame


@pytest.fixture
def gpu(monkeypatch):
    # small batches: here the rows that pad a batch take time
    monkeypatch.setattr("skmissvae.inference.batching._GPU_LIMITS", (2**12, 2**6))
    monkeypatch.setattr("skmissvae.training.decoder_uncertainty._N_REPLICATES", 2)
    monkeypatch.setattr("skmissvae.inspection.row_diagnostics._N_COMPLETIONS", 4)
    monkeypatch.setattr("skmissvae.inference.conditional._N_CANDIDATES", 32)
    monkeypatch.setattr("skmissvae.inference.summaries._N_CANDIDATES", 4)
    monkeypatch.setattr("skmissvae.vae.likelihoods.base._N_BISECTIONS", 4)
    with Pretended(monkeypatch) as pretended:
        yield pretended


def on_cpu(estimator):
    parts = [*estimator.vae_.parameters(), *estimator.vae_.buffers()]
    return all(place(part) != AT for part in parts)


@over([MVAEImputer, MissSIWAEImputer, DeMissVAEImputer])
def test_methods_of_imputers(gpu, cls):
    X, imputer = table(), tiny(cls, **AUTO)
    imputer.fit(X)
    assert on_cpu(imputer)
    row = X[16:17]  # without a number and a rank
    assert row.isna().to_numpy().tolist() == [[True, False, False, True, False, False]]
    for strategy in ("auto", "median", "mode", "draw"):
        imputer.set_params(strategy=strategy).transform(row)
    imputer.set_params(strategy="auto", min_value=-9.0).transform(row)
    list(imputer.impute(row, 2))
    imputer.cell_distribution(row)
    pickle.loads(pickle.dumps(imputer)).transform(X[:2])
    assert on_cpu(imputer.refit_encoder(X))
    assert on_cpu(imputer.partial_fit(X))


@over([MVAEImputer, MissSIWAEImputer, DeMissVAEImputer, VAEDensityEstimator])
def test_scores_and_diagnostics(gpu, cls):
    X, estimator = table(), tiny(cls, **AUTO, early_stopping=True)
    estimator.fit(X)
    for method in (estimator.score_samples, estimator.encode):
        method(X[:3])
    estimator.outlier_scores(X[2:3])
    mixture_weights(estimator, X[:3])
    latent_information(estimator, X[:1])


@pytest.mark.parametrize("sampler", [LAIR, MetropolisWithinGibbs, PseudoGibbs])
def test_chains(gpu, sampler):
    X = table()
    imputer = tiny(MIWAEImputer, **AUTO, sampler=sampler(n_steps=4)).fit(X)
    imputer.transform(X[:2])
    chain_diagnostics(imputer, X[:2])


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(
    "likelihood", ["normal", "student_t", "continuous_bernoulli", "cross_entropy"]
)
def test_likelihoods_and_priors(gpu, likelihood, prior):
    X = 1 / (1 + np.exp(-table()[["a", "b"]].to_numpy()))
    tiny(MissSIWAEImputer, **AUTO, prior=prior, likelihood=likelihood).fit(X).transform(X[:4])


def test_images_and_dropout(gpu):
    X = np.random.default_rng(0).normal(size=(20, 36))
    X[:, ::3] = np.nan
    X[::2, ::3] = 1.0
    tiny(MIWAEImputer, **AUTO, network=ConvNetwork((6, 6)), dropout=0.2).fit(X).transform(X[:2])


def test_bootstrap_models_and_calibration(gpu):
    X = table(40)[["a", "b"]]
    imputer = tiny(MIWAEImputer, **AUTO, n_bootstrap=2, calibrate=True).fit(X)
    list(imputer.impute(X[:2], 2))
    assert len(imputer.cell_distribution(X[1:2]))
    assert all(place(part) != AT for m in imputer.models_ for part in m.vae.parameters())


def test_results_equal_those_of_the_cpu(monkeypatch):
    X = table()
    expected = tiny(MissSIWAEImputer, max_iter=2, n_latents=2).fit(X).transform(X)
    with Pretended(monkeypatch):
        completed = tiny(MissSIWAEImputer, **AUTO).fit(X).transform(X)
    pd.testing.assert_frame_equal(completed, expected)


@over([MVAEImputer, MissSIWAEImputer, DeMissVAEImputer])
def test_no_step_waits_for_the_device(gpu, cls):
    X, waits = table(), []
    for batch_size in (12, 6):
        gpu.waits.clear()
        tiny(cls, **AUTO | {"max_iter": 1}, batch_size=batch_size, dropout=0.1).fit(X)
        waits.append(len(gpu.waits))
    assert waits[0] == waits[1]


def test_chunks(gpu):
    X = table()
    tiny(MIWAEImputer, **AUTO).fit(Chunks([X[:12], X[12:]], sample_size=15))
