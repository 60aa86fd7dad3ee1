"""Latents of rows: codes, draws, components, and rows decoded from them."""

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_estimator, quiet, table, tiny

from skmissvae import MissSIWAEImputer, MVAEImputer, VAEDensityEstimator

pytestmark = quiet


@every_estimator
def test_draws_of_latents_have_the_means_of_encode(cls):
    X = table(12)
    X[3] = np.nan
    estimator = tiny(cls, n_latents=2, n_importance_draws=100).fit(table(40))
    for distribution in ("posterior", "encoder"):
        z = estimator.draw_latents(X, 400, distribution=distribution, random_state=0)
        assert z.shape == (12, 400, 2)
        # the draws are those of a pool of 100, or of short chains
        error = 4.5 * z.std(1) / np.sqrt(5 if distribution == "posterior" else 400) + 1e-6
        mean = estimator.encode(X, distribution=distribution)
        assert (np.abs(z.mean(1) - mean) < error).all()
        part = estimator.draw_latents(X[:5], 400, distribution=distribution, random_state=0)
        np.testing.assert_array_equal(part, z[:5])
    assert (estimator.draw_latents(X, random_state=1) != z[:, :1]).any()
    assert not np.allclose(estimator.encode(X), estimator.encode(X, distribution="encoder"))


def test_rows_of_later_blocks_have_their_own_noise(monkeypatch):
    X = table(12)
    estimator = tiny(MVAEImputer).fit(X)
    z = estimator.draw_latents(X, 3)
    monkeypatch.setattr("skmissvae.tables.reader._BLOCK_ROWS", 5)
    np.testing.assert_array_equal(estimator.draw_latents(X, 3), z)


def test_component_probabilities_agree_with_draws():
    X = table(60)
    X[30:, 0] += 9.0
    options = {"max_iter": 10, "n_importance_draws": 200, "n_latents": 2}
    mixture = tiny(MVAEImputer, prior="mixture", **options).fit(X)
    probabilities = mixture.component_probabilities(X)
    assert probabilities.shape == (60, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    z = mixture.draw_latents(X[:8], 2000, random_state=0)
    prior = mixture.vae_.prior()
    scale = prior.component.scale.detach().numpy()
    normal = -0.5 * ((z[:, :, None] - prior.component.loc.detach().numpy()) / scale) ** 2
    log_p = (normal - np.log(scale)).sum(-1) + prior.log_pi.detach().numpy()
    share = np.exp(log_p - log_p.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    assert np.abs(share.mean(1) - probabilities[:8]).max() < 0.12
    single = tiny(MVAEImputer).fit(X)
    np.testing.assert_allclose(single.component_probabilities(X), np.ones((60, 1)))


@every_estimator
def test_decoded_means_are_the_imputations_of_rows_without_evidence(cls):
    X = table()
    estimator = tiny(cls, n_latents=2).fit(X)
    z = estimator.encode(X)
    decoded = estimator.decode(z)
    schema = estimator.schema_
    with torch.no_grad():
        columns = estimator.vae_.decode(torch.from_numpy(z).float())
    np.testing.assert_allclose(
        decoded, columns.mean().double().numpy() * schema.scale + schema.location, rtol=1e-5
    )
    reconstructed = estimator.reconstruct(X)
    assert reconstructed.shape == X.shape
    if hasattr(estimator, "transform") and not estimator._sampler():
        missing = np.isnan(X)
        np.testing.assert_allclose(reconstructed[missing], estimator.transform(X)[missing], 2e-2)
    assert np.isfinite(reconstructed).all()
    assert (reconstructed != X).all()


def test_containers_and_categories():
    frame = pd.DataFrame(table(30), columns=list("abcd"), index=np.arange(30) * 2)
    frame["color"] = np.tile(["red", "green", "blue"], 10)
    frame["empty"] = np.nan
    with pytest.warns(UserWarning, match="'empty'"):
        density = tiny(VAEDensityEstimator, n_latents=2).fit(frame)
    reconstructed = density.reconstruct(frame)
    assert reconstructed.index.equals(frame.index)
    assert list(reconstructed) == list(frame)
    assert set(reconstructed["color"]) <= {"red", "green", "blue"}
    assert reconstructed["empty"].isna().all()
    assert list(density.decode(np.zeros((2, 2)))) == list(frame)


def test_reconstructions_of_missing_cells_are_imputations_with_a_model_of_missingness():
    X = table()
    imputer = tiny(MissSIWAEImputer, missingness={0: "high"}, n_latents=2).fit(X)
    with torch.no_grad():
        imputer.vae_.missingness.raw_slope[0] = 0.5  # steep
    missing = np.isnan(X)
    reconstructed = imputer.reconstruct(X)
    np.testing.assert_allclose(reconstructed[missing], imputer.transform(X)[missing], rtol=2e-2)
    imputer.vae_.missingness = None
    without = imputer.reconstruct(X)[missing[:, 0], 0]
    assert (reconstructed[missing[:, 0], 0] - without).mean() > 0.1


def test_invalid_arguments_are_refused():
    X = table()
    imputer = tiny(MVAEImputer, n_latents=2).fit(X)
    with pytest.raises(ValueError, match="Z has 3 columns, but the model has 2 latents"):
        imputer.decode(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="contains NaN"):
        imputer.decode([[np.nan, 0.0]])
    with pytest.raises(ValueError, match="n_draws"):
        imputer.draw_latents(X, 0)
    for method in (imputer.encode, imputer.draw_latents):
        with pytest.raises(ValueError, match="distribution must be 'posterior' or 'encoder'"):
            method(X, distribution="prior")
