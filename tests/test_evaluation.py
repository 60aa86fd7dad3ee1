"""Densities by integration: exact where the exact is known, and what importance draws tend to."""

import numpy as np
import pytest
import torch
from estimators import quiet, tiny
from estimators import table as holed
from helpers import LinearGaussian, lattice, tiny_vae

from skmissvae import MIWAEImputer, VAEDensityEstimator
from skmissvae.evaluation import _integrate, integrated_score_samples

pytestmark = quiet


@pytest.mark.parametrize("n_latents", [1, 2])
def test_it_is_exact_for_probabilistic_pca(n_latents):
    model = LinearGaussian(5, n_latents)
    x, observed = model.rows(20)
    found = _integrate(model.vae(), x, observed, 1e-4)
    torch.testing.assert_close(found, model.log_evidence(x, observed), atol=1e-4, rtol=0)


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
def test_every_prior_has_its_tails(prior):
    vae = tiny_vae(n_latents=1, prior=prior).double()
    x, observed = LinearGaussian(4).rows(10)
    nodes, log_weight = lattice(1, 40_001)
    with torch.no_grad():
        log_joint = vae.log_joint(x, observed, nodes.unsqueeze(1))
        exact = torch.logsumexp(log_joint + log_weight.unsqueeze(-1), 0)
        found = _integrate(vae, x, observed, 1e-5)
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=0)


def test_importance_draws_come_near_in_the_units_of_the_table():
    X = holed(60)
    density = tiny(VAEDensityEstimator, n_latents=2, n_importance_draws=5000).fit(X)
    exact = integrated_score_samples(density, X)
    # three epochs make a poor encoder: the weights of some rows are uneven
    assert np.abs(np.median(exact - density.score_samples(X))) < 0.03
    thousand = tiny(VAEDensityEstimator, n_latents=2).fit(1000 * X)
    shift = np.log(1000) * (~np.isnan(X)).sum(1)
    np.testing.assert_allclose(integrated_score_samples(thousand, 1000 * X), exact - shift, 1e-3)


def test_nothing_seen_is_certain():
    vae = tiny_vae(n_latents=2).double()
    x = torch.zeros(1, 4, dtype=torch.float64)
    with torch.no_grad():
        found = _integrate(vae, x, torch.zeros_like(x, dtype=torch.bool), 1e-4)
    assert abs(found.item()) < 1e-6


def test_more_latents_are_refused():
    imputer = tiny(MIWAEImputer, n_latents=3).fit(holed())
    with pytest.raises(ValueError, match=r"one or two latents; the model has 3.*score_samples"):
        integrated_score_samples(imputer, holed())


def test_what_no_grid_resolves_is_refused(monkeypatch):
    monkeypatch.setattr("skmissvae.evaluation._FINEST", 128)
    model = LinearGaussian(4, 1, sigma=1e-3)
    x, observed = model.rows(5)
    with pytest.raises(ValueError, match="too coarse for tol="):
        _integrate(model.vae(), x, observed, 1e-6)
