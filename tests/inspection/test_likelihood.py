"""Log-likelihoods by importance draws: within their errors of the exact values."""

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as incomplete_table
from helpers import lattice

from skmissvae import VAEDensityEstimator
from skmissvae.inspection import log_likelihood

pytestmark = quiet


def exact_score_samples(estimator, X):
    """Return log-densities by integration over one latent."""
    rows = estimator.encode_rows(X)
    nodes, log_weight = lattice(1, 10_001)
    with torch.no_grad():
        z = nodes.to(rows.tensors()[0].dtype).unsqueeze(1)
        log_joint = estimator.vae_.log_joint(*rows.tensors(), z)
        log_evidence = torch.logsumexp(log_joint.double() + log_weight.unsqueeze(-1), 0)
    return log_evidence.numpy() - estimator.schema_.log_units(rows)


@every_estimator
def test_errors_cover_the_distance_from_the_exact_density(cls):
    X = incomplete_table(20)
    estimator = tiny(cls, n_latents=1).fit(X)
    result = log_likelihood(estimator, X, n_draws=20_000)
    z = (result.scores - exact_score_samples(estimator, X)) / result.errors
    reliable = result.errors < 0.1
    assert reliable.mean() > 0.5
    # the rows share their random numbers: all errors may have the same sign
    assert np.abs(z[reliable]).max() < 5
    assert result.mean == pytest.approx(result.scores.mean())
    assert result.standard_error == pytest.approx(result.scores.std(ddof=1) / np.sqrt(20))
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
