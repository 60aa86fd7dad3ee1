"""Importance sampling: weighted sums over blocks of draws, and draws that are not finite."""

import math

import numpy as np
import pytest
import torch
from helpers import (
    BreakingDecoder,
    LinearGaussian,
    SplitNoise,
    deviates,
    stream,
    tiny_rows,
    tiny_vae,
)

from skmissvae import MVAEImputer
from skmissvae.inference import ConditionalModel, ImportanceSampler
from skmissvae.inference.importance import BLOCK
from skmissvae.inspection import pareto_k

N = 2 * BLOCK + 44  # the last block is not full


@torch.no_grad()
@pytest.mark.parametrize("n", [1, BLOCK, N])
def test_masses_sum_to_one_over_blocks(n):
    rows = tiny_rows(5)
    noise = stream(dtype=torch.float32)
    blocks = ImportanceSampler(tiny_vae(), rows.x, rows.observed, n, noise)
    log_mass = torch.cat([draws.log_mass for draws in blocks])
    assert log_mass.shape == (n, 5)
    torch.testing.assert_close(log_mass.exp(), torch.full_like(log_mass, 1 / n))


@torch.no_grad()
def test_means_and_evidence_are_weighted_sums_over_all_draws():
    vae, rows = tiny_vae().double(), tiny_rows(5, dtype=torch.float64)

    def sampler():
        return ImportanceSampler(vae, rows.x, rows.observed, N, stream())

    blocks = list(sampler())
    log_w = torch.cat([draws.log_mass + draws.log_ratio for draws in blocks])  # (N, B)
    w = log_w.softmax(0)
    means, (log_evidence, ess) = sampler().means(), sampler().evidence()
    torch.testing.assert_close(means.ess, 1 / w.square().sum(0))
    torch.testing.assert_close(log_evidence, log_w.logsumexp(0))
    assert torch.equal(ess, means.ess)
    assert torch.equal(means.proposal_ess, means.ess)  # there are no bounds
    z = torch.cat([draws.z for draws in blocks])
    x = torch.cat([draws.columns.mean() for draws in blocks])
    torch.testing.assert_close(means.z, torch.einsum("mb,mbl->bl", w, z))
    torch.testing.assert_close(means.expected, torch.einsum("mb,mbd->bd", w, x))
    pool = sampler().weighted_draws()
    assert torch.equal(pool.z, z)
    torch.testing.assert_close(pool.log_w, log_w.T)
    torch.testing.assert_close(pool.ess, means.ess)


@torch.no_grad()
@pytest.mark.parametrize("n_decoded", [BLOCK, 100])
def test_whole_blocks_have_a_constant_number_of_draws(n_decoded):
    rows = tiny_rows(5)
    noise = stream(dtype=torch.float32)
    sampler = ImportanceSampler(tiny_vae(), rows.x, rows.observed, N, noise, n_decoded=n_decoded)
    assert [len(block.z) for block in sampler.whole_blocks()] == [BLOCK, BLOCK, 44]


@torch.no_grad()
@pytest.mark.parametrize("n", [2, 10])
def test_means_of_antithetic_draws_from_the_exact_posterior_are_exact(n):
    model = LinearGaussian(one_latent_each=True)
    x, observed = model.rows(6)
    for row in zip(x.split(1), observed.split(1), strict=True):
        loc, _ = model.condition(row[0][0], row[1][0])
        fitted = ConditionalModel(model.vae(), n)
        means = fitted.means(fitted.encode(*row, stream))
        np.testing.assert_allclose(means.z[0], loc[-2:], atol=1e-6)
        missing = ~row[1][0].numpy()
        np.testing.assert_allclose(means.expected[0, missing], loc[:-2][missing], atol=1e-6)
        independent = ImportanceSampler(fitted.vae, *row, n, stream()).means()
        assert (independent.z - means.z).abs().max() > 1e-3


@torch.no_grad()
def test_means_of_antithetic_draws_from_another_proposal_are_correct():
    model = LinearGaussian(one_latent_each=True)
    x, observed = (values[2:3] for values in model.rows(3))
    loc, _ = model.condition(x[0], observed[0])
    for family in ("normal", "student_t"):
        vae = model.vae(3, spread=0.3, widen=1.2, family=family)
        deviations = {}
        for antithetic in (False, True):
            means = torch.cat(
                [
                    ImportanceSampler(vae, x, observed, 501, stream(seed), antithetic=antithetic)
                    .means()
                    .z
                    for seed in range(200)
                ]
            )
            assert deviates(means, torch.tensor(loc[-2:])) < 4.5
            deviations[antithetic] = means.std(0)
        assert (deviations[True] < deviations[False]).all()


@torch.no_grad()
def test_resampled_latents_follow_the_weights_of_the_pool():
    vae, rows = tiny_vae(n_components=1).double(), tiny_rows(3, dtype=torch.float64)

    def sampler():
        return ImportanceSampler(vae, rows.x, rows.observed, N, SplitNoise(1))

    means, resampled = sampler().means(), sampler().resample(50_000)
    torch.testing.assert_close(resampled.ess, means.ess)
    assert deviates(resampled.z.transpose(0, 1), means.z) < 4.5


@torch.no_grad()
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_ratios_that_are_not_finite_give_finite_results(value, everywhere):
    vae, rows = tiny_vae(), tiny_rows(8)
    vae.decoder = BreakingDecoder(vae.decoder, value, everywhere)

    def sampler():
        return ImportanceSampler(vae, rows.x, rows.observed, N, stream(dtype=torch.float32))

    for estimate in (ImportanceSampler.means, ImportanceSampler.evidence):
        assert all(values.isfinite().all() for values in estimate(sampler()))
    z, ess, _ = sampler().resample(20)
    assert z.isfinite().all()
    assert ess.isfinite().all()
    if not everywhere:
        has_evidence = rows.observed.any(-1)
        assert (z[has_evidence, :, 0] <= 0).all()  # a draw that is not finite has no weight


@pytest.mark.parametrize("size", [1e6, 1e9])
def test_draws_of_far_outliers_are_not_equally_good(size):
    """Log-densities of far outliers are rounded to thousands of nats, so that they have ties."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 1)) + 0.3 * rng.normal(size=(100, 3))
    imputer = MVAEImputer(
        max_iter=5, n_importance_draws=500, init="factor_analysis", random_state=0
    ).fit(x)
    far = np.array([[size, np.nan, np.nan]])
    assert imputer.effective_sample_size(far)[0] <= 2
    assert pareto_k(imputer, far)[0] > 0.7
    with pytest.warns(UserWarning, match="effective sample size"):
        imputer.transform(far)
    assert imputer.effective_sample_size(x[:1])[0] > 50
