"""Probabilistic PCA, with exact evidence, posterior and conditional distributions."""

import itertools
import math

import pytest
import torch
from helpers import LinearGaussian, stream, uniform

from skmissvae.inference import ImportanceSampler
from skmissvae.vae import elbo, iwelbo

DENSE = LinearGaussian()
SPARSE = LinearGaussian(one_latent_each=True)  # its posteriors are diagonal
APPROXIMATE = {
    "wide": {"widen": 1.4},
    "student_t": {"widen": 1.2, "family": "student_t"},
    "mixture": {"n_components": 3, "spread": 0.7, "widen": 1.2},
    "student_t mixture": {
        "n_components": 3,
        "spread": 0.7,
        "widen": 1.2,
        "family": "student_t",
    },
}


@pytest.mark.parametrize("name", APPROXIMATE)
def test_importance_sampling_is_consistent_for_evidence_and_means(name):
    x, observed = DENSE.rows(6)
    n = 20_000
    rows = DENSE.vae(**APPROXIMATE[name]), x, observed
    estimate = ImportanceSampler(*rows, n, stream(1)).means()
    exact = torch.stack(
        [torch.tensor(DENSE.condition(*row)[0]) for row in zip(x, observed, strict=True)]
    )
    error = 4.5 / estimate.ess.sqrt().max()
    assert (estimate.ess > 0.2 * n).all()
    log_evidence, ess = ImportanceSampler(*rows, n, stream(1)).evidence()
    assert torch.equal(ess, estimate.ess)
    assert ((log_evidence - DENSE.log_evidence(x, observed)).abs() < error).all()
    means = torch.cat([estimate.expected, estimate.z], -1)
    unknown = torch.cat([~observed, torch.ones_like(estimate.z, dtype=torch.bool)], -1)
    assert ((means - exact).abs()[unknown] < error).all()


def test_resampling_and_decoding_follow_the_exact_conditional_distribution():
    x, observed = DENSE.rows(4)
    vae = DENSE.vae(3, spread=0.7, widen=1.2)
    noise = stream(2)
    latents = ImportanceSampler(vae, x, observed, 10_000, noise).resample(10_000)
    z = latents.z.transpose(0, 1)
    draws = torch.cat([vae.decode(z).sample(noise), z], -1)  # (size, B, D + L)
    for b in range(len(x)):
        loc, cov = (torch.tensor(part) for part in DENSE.condition(x[b], observed[b]))
        hidden = torch.cat([~observed[b], torch.ones(DENSE.n_latents, dtype=torch.bool)])
        sample, cov = draws[:, b, hidden], cov[hidden][:, hidden]
        deviation = (sample.mean(0) - loc[hidden]) / cov.diagonal().sqrt()
        assert deviation.abs().max() < 0.06
        scale = torch.outer(cov.diagonal(), cov.diagonal()).sqrt()
        assert ((sample.T.cov() - cov) / scale).abs().max() < 0.08


@pytest.mark.parametrize(("n_components", "stratified"), [(1, False), (3, False), (3, True)])
def test_with_the_exact_posterior_bounds_are_tight_and_weights_are_equal(n_components, stratified):
    x, observed = SPARSE.rows(8)
    exact = SPARSE.log_evidence(x, observed)
    vae = SPARSE.vae(n_components)
    draws = vae.draw(x, observed, 3, stream(), stratified=stratified)
    for value in (elbo(draws), iwelbo(draws)):
        torch.testing.assert_close(value, exact, atol=1e-6, rtol=0)
    log_evidence, ess = ImportanceSampler(vae, x, observed, 300, stream()).evidence()
    torch.testing.assert_close(log_evidence, exact, atol=1e-6, rtol=0)
    torch.testing.assert_close(ess, torch.full_like(ess, 300), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", APPROXIMATE)
def test_bounds_are_below_the_evidence_and_ordered_in_expectation(name):
    n_rows = 4
    x, observed = DENSE.rows(n_rows)
    options = APPROXIMATE[name]
    copies = [t.repeat(5000, 1) for t in (x, observed)]
    draws = DENSE.vae(**options).draw(*copies, 3, stream(), stratified=True)
    bounds = [
        elbo(draws).view(-1, n_rows),
        iwelbo(draws).view(-1, n_rows),
        DENSE.log_evidence(x, observed).expand(5000, -1),
    ]
    for lower, upper in itertools.pairwise(bounds):
        gap = (upper - lower).mean(0)
        assert (gap > 4 * (upper - lower).std(0) / math.sqrt(5000)).all()


def test_the_vae_of_probabilistic_pca_has_its_joint_density():
    x, observed = DENSE.rows(6)
    z = uniform(5, 6, DENSE.n_latents, seed=3, low=-2, high=2)
    W, b = torch.tensor(DENSE.weight), torch.tensor(DENSE.bias)
    cell = torch.distributions.Normal(z @ W.T + b, DENSE.sigma).log_prob(x)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    expected = (cell * observed).sum(-1) + prior
    torch.testing.assert_close(DENSE.vae().log_joint(x, observed, z), expected)


def test_new_rows_follow_the_marginal_distribution():
    rows = DENSE.vae().sample(40_000, stream(4))
    D = DENSE.n_columns
    torch.testing.assert_close(rows.mean(0), torch.tensor(DENSE.bias), atol=0.04, rtol=0)
    torch.testing.assert_close(rows.T.cov(), torch.tensor(DENSE.cov[:D, :D]), atol=0.06, rtol=0)
