"""Log-likelihoods of rows: exact where the exact value is known, within their errors elsewhere."""

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as incomplete_table
from helpers import LinearGaussian, lattice, tiny_vae

from skmissvae import MIWAEImputer, VAEDensityEstimator
from skmissvae.inspection.likelihood import _integrate, integrated_score_samples, log_likelihood

pytestmark = quiet


@pytest.mark.parametrize("n_latents", [1, 2])
def test_integration_is_exact_for_probabilistic_pca(n_latents):
    model = LinearGaussian(5, n_latents)
    x, observed = model.rows(20)
    log_evidence = _integrate(model.vae(), x, observed, 1e-4)
    torch.testing.assert_close(log_evidence, model.log_evidence(x, observed), atol=1e-4, rtol=0)


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
def test_the_grid_covers_the_tails_of_every_prior(prior):
    vae = tiny_vae(n_latents=1, prior=prior).double()
    x, observed = LinearGaussian(4).rows(10)
    nodes, log_weight = lattice(1, 40_001)
    with torch.no_grad():
        log_joint = vae.log_joint(x, observed, nodes.unsqueeze(1))
        exact = torch.logsumexp(log_joint + log_weight.unsqueeze(-1), 0)
        log_evidence = _integrate(vae, x, observed, 1e-5)
    torch.testing.assert_close(log_evidence, exact, atol=1e-4, rtol=0)


def test_integration_agrees_with_importance_draws_in_the_units_of_the_table():
    X = incomplete_table(60)
    density = tiny(VAEDensityEstimator, n_latents=2, n_importance_draws=5000).fit(X)
    exact = integrated_score_samples(density, X)
    # after three epochs the effective sample size of some rows is low, hence the median
    assert np.abs(np.median(exact - density.score_samples(X))) < 0.03
    scaled = tiny(VAEDensityEstimator, n_latents=2).fit(1000 * X)
    shift = np.log(1000) * (~np.isnan(X)).sum(1)
    np.testing.assert_allclose(integrated_score_samples(scaled, 1000 * X), exact - shift, 1e-3)


def test_a_row_without_observed_cells_has_log_density_zero():
    vae = tiny_vae(n_latents=2).double()
    x = torch.zeros(1, 4, dtype=torch.float64)
    with torch.no_grad():
        log_evidence = _integrate(vae, x, torch.zeros_like(x, dtype=torch.bool), 1e-4)
    assert abs(log_evidence.item()) < 1e-6


def test_more_than_two_latents_are_rejected():
    imputer = tiny(MIWAEImputer, n_latents=3).fit(incomplete_table())
    with pytest.raises(ValueError, match=r"one or two latents; the model has 3.*score_samples"):
        integrated_score_samples(imputer, incomplete_table())


def test_a_decoder_that_the_finest_grid_does_not_resolve_is_an_error(monkeypatch):
    monkeypatch.setattr("skmissvae.inspection.likelihood._MAX_GRID", 128)
    model = LinearGaussian(4, 1, sigma=1e-3)
    x, observed = model.rows(5)
    with pytest.raises(ValueError, match="too coarse for tol="):
        _integrate(model.vae(), x, observed, 1e-6)


# -- by importance draws ---------------------------------------------------------------------------


@every_estimator
def test_errors_cover_the_distance_from_the_exact_density(cls):
    X = incomplete_table(60)
    estimator = tiny(cls, n_latents=1).fit(X)
    result = log_likelihood(estimator, X, n_draws=20_000)
    z = (result.scores - integrated_score_samples(estimator, X, tol=1e-4)) / result.errors
    reliable = result.errors < 0.1
    assert reliable.mean() > 0.5
    # the rows share their random numbers: all errors may have the same sign
    assert np.abs(z[reliable]).max() < 5
    assert result.mean == pytest.approx(result.scores.mean())
    assert result.standard_error == pytest.approx(result.scores.std(ddof=1) / np.sqrt(60))
    assert estimator.n_importance_draws == 40


def test_with_the_draws_of_score_samples_the_scores_are_equal():
    X = incomplete_table()
    X[0] = np.nan
    density = tiny(VAEDensityEstimator).fit(X[1:])
    result = log_likelihood(density, X, n_draws=density.n_importance_draws)
    # rounding differs, as score_samples computes many rows at a time
    np.testing.assert_allclose(result.scores, density.score_samples(X), atol=1e-5)
    assert result.scores[0] == result.errors[0] == 0
    with pytest.raises(ValueError, match="n_draws must be an integer of 1 or more"):
        log_likelihood(density, X, n_draws=0)
