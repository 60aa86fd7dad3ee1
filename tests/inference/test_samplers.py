"""Samplers: agreement with the exact conditional distributions of probabilistic PCA."""

import dataclasses
import math

import pytest
import torch
from helpers import LinearGaussian, generator, stream, tiny_rows, tiny_vae

from skmissvae.inference import ConditionalModel, conditional
from skmissvae.inference.samplers import (
    LAIR,
    SAMPLERS,
    Chain,
    ImportanceResampling,
    MetropolisWithinGibbs,
    PseudoGibbs,
    encodings,
    run,
)
from skmissvae.vae import DiagonalNormal, Mixture

DENSE = LinearGaussian()
SPARSE = LinearGaussian(one_latent_each=True)  # an encoder of diagonal posteriors can be exact
CHAINS = 1000


def incomplete_rows(model, n=3):
    """Return rows with observed and missing cells."""
    x, observed = model.rows(n + 2, share=0.4)
    x, observed = x[2:], observed[2:].clone()
    observed[:, 0], observed[:, 1] = True, False
    return torch.where(observed, x, 0.0), observed


def prior_draws(model, x, n=CHAINS):
    return stream(11).normal(n, len(x), model.n_latents)


def run_chains(sampler, model, vae, n_steps=30, n=CHAINS):
    """Return rows, their mask, and the run of n chains that are initialized from the prior."""
    x, observed = incomplete_rows(model)
    sampler = dataclasses.replace(sampler, n_steps=n_steps)
    return x, observed, run(sampler, vae, x, observed, prior_draws(model, x, n), stream(3))


def error_of(states, model, x, observed):
    """Return the largest error of means and covariances, in standard deviations."""
    worst = 0.0
    for b in range(len(x)):
        loc, cov = (torch.tensor(part) for part in model.condition(x[b], observed[b]))
        hidden = torch.cat([~observed[b], torch.zeros(model.n_latents, dtype=torch.bool)])
        missing, cov = states[:, b, ~observed[b]], cov[hidden][:, hidden]
        spread = cov.diagonal().sqrt()
        bias = ((missing.mean(0) - loc[hidden]) / spread).abs().max()
        error = ((missing.T.cov() - cov) / torch.outer(spread, spread)).abs().max()
        worst = max(worst, bias.item(), error.item())
    return worst


def noise_level(n):
    """Return five standard errors of a covariance of n independent draws."""
    return 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_exact_encoder_makes_every_sampler_exact(name):
    n = 300 if name == "lair" else CHAINS  # the densities of its pools are n x n
    x, observed, chains = run_chains(SAMPLERS[name], SPARSE, SPARSE.vae(), n=n)
    assert error_of(chains.chain.x, SPARSE, x, observed) < noise_level(n)
    assert (chains.acceptance > 1 - 1e-9).all()


def test_metropolis_is_exact_for_an_inexact_encoder_and_pseudo_gibbs_is_not():
    vae = DENSE.vae(spread=0.0, widen=2.0)
    x, observed, chains = run_chains(MetropolisWithinGibbs(), DENSE, vae, n_steps=50)
    assert error_of(chains.chain.x, DENSE, x, observed) < noise_level(CHAINS)
    assert ((chains.acceptance > 0.05) & (chains.acceptance < 0.95)).all()
    x, observed, chains = run_chains(PseudoGibbs(), DENSE, vae, n_steps=50)
    assert error_of(chains.chain.x, DENSE, x, observed) > 4 * noise_level(CHAINS)


@pytest.mark.parametrize("kind", ["importance", "lair"])
def test_error_decreases_with_the_size_of_the_pool(kind):
    vae = DENSE.vae(widen=2.5)
    x, observed = (rows[:1] for rows in incomplete_rows(DENSE))
    errors = []
    for size in (1, 4, 64):
        # only the chains of one copy of the row share a pool
        copies = 4000 if kind == "importance" else 6000 // size
        rows = x.expand(copies, -1), observed.expand(copies, -1)
        sampler = ImportanceResampling(n_draws=size) if kind == "importance" else LAIR()
        n = 1 if kind == "importance" else size
        start = stream(5).normal(n, copies, DENSE.n_latents)
        sampler = dataclasses.replace(sampler, n_steps=1 if kind == "importance" else 8)
        states = run(sampler, vae, *rows, start, stream(6)).chain.x
        errors.append(error_of(states.flatten(0, 1).unsqueeze(1), DENSE, x, observed))
    assert errors[0] > errors[1] + 0.02 > errors[2] + 0.04, errors


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@pytest.mark.parametrize("family", ["normal", "student_t"])
@pytest.mark.parametrize("n_replenish", [0, 1, 3])
@pytest.mark.parametrize("n_draws", [1, 2])
@torch.no_grad()
def test_weights_of_lair_are_those_of_the_deterministic_mixture(
    n_draws, n_replenish, family, prior
):
    vae = tiny_vae(prior=prior, family=family).double().eval()
    rows = tiny_rows(5, dtype=torch.float64)
    x = torch.where(rows.observed, rows.x, stream(1).normal(4, 5, 4))
    q = encodings(vae, x)
    z = q.ancestral(n_draws, stream(2))[0].flatten(0, 1)
    sampler = LAIR(n_replenish=n_replenish)
    pool = sampler.weigh(vae, rows.x, rows.observed, q, z, vae.decoder(z), stream(3))
    size = 4 * n_draws + n_replenish
    assert pool.z.shape == (size, 5, 2)
    for b in range(5):
        row, mask = rows.x[b : b + 1], rows.observed[b : b + 1]
        ones = torch.ones_like(mask)
        encoded = [vae.posterior(x[k, b : b + 1], ones) for k in range(4)]
        for m, point in enumerate(pool.z[:, b]):
            point = point.view(1, 1, -1)
            prior_density = vae.prior().log_prob(point).exp()
            total = n_draws * sum(q.log_prob(point).exp() for q in encoded)
            total = total + n_replenish * prior_density
            expected = vae.log_joint(row, mask, point) - (total / size).log()
            torch.testing.assert_close(pool.log_w[m, b], expected.squeeze())


@torch.no_grad()
def test_pools_are_resampled_by_their_weights():
    vae, rows = tiny_vae().double().eval(), tiny_rows(2, dtype=torch.float64)
    q = encodings(vae, rows.x.expand(3, 2, 4))
    z = q.ancestral(1, stream(2))[0].squeeze(0)
    pool = LAIR(n_replenish=0).weigh(vae, rows.x, rows.observed, q, z, vae.decoder(z), stream(3))
    chosen, params = pool.choose(100_000, stream(4))
    w = pool.log_w.softmax(0)
    for m in range(3):
        share = (chosen == pool.z[m]).all(-1).double().mean(0)
        torch.testing.assert_close(share, w[m], atol=0.01, rtol=0)
    torch.testing.assert_close(params, vae.decoder(chosen))


@torch.no_grad()
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("final", [True, False])
def test_final_resampling_of_lair_uses_the_pools_of_all_iterations(iterations, final, monkeypatch):
    pools = []

    def recorded(*args):
        pools.append(weigh(*args))
        return pools[-1]

    weigh = LAIR.weigh
    vae, rows, noise = tiny_vae().eval(), tiny_rows(40), stream(0, torch.float32)
    chain = Chain(rows.x.expand(3, 40, 4), noise.normal(3, 40, 2), torch.ones(3, 40))
    sampler = LAIR(n_iterations=iterations, final_resampling=final)
    with monkeypatch.context() as patch:
        patch.setattr(LAIR, "weigh", recorded)
        z = sampler.step(vae, chain, rows.observed, noise).z
    assert len(pools) == iterations
    of_pool = [(z.unsqueeze(1) == pool.z).all(-1).any(1) for pool in pools]  # (3, 40) each
    assert torch.stack(of_pool).any(0).all()
    assert of_pool[-1].all() == (iterations == 1 or not final)

    sampler = LAIR(n_iterations=iterations, final_resampling=final)
    x, observed, chains = run_chains(sampler, DENSE, DENSE.vae(widen=1.2), n_steps=15, n=200)
    assert error_of(chains.chain.x, DENSE, x, observed) < 1.5 * noise_level(200)


@torch.no_grad()
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_step_changes_missing_cells_only(name):
    vae, rows = tiny_vae().eval(), tiny_rows(12)
    noise = stream(0, torch.float32)
    x = rows.x.expand(3, 12, 4)
    start = Chain(x, noise.normal(3, 12, 2), x.new_ones(3, 12))
    chain = SAMPLERS[name].step(vae, start, rows.observed, noise)
    assert torch.equal(chain.x[:, rows.observed], x[:, rows.observed])
    moved = (chain.x != x).any(-1)[:, ~rows.observed.all(-1)]
    if name == "metropolis":  # also cells of rows whose proposal is rejected
        assert moved.all()
    assert moved.float().mean() > 0.9


class NaNDecoder(torch.nn.Module):
    def forward(self, z):
        return torch.full((*z.shape[:-1], 8), math.nan)


@torch.no_grad()
@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_that_are_not_finite_are_ignored(name):
    vae, rows = tiny_vae().eval(), tiny_rows(6)
    vae.decoder = NaNDecoder()
    noise = stream(0, torch.float32)
    x = rows.x.expand(3, 6, 4)
    start = Chain(x, noise.normal(3, 6, 2), x.new_ones(3, 6))
    assert torch.equal(SAMPLERS[name].step(vae, start, rows.observed, noise).x, x)


def test_a_pooled_density_is_that_of_the_mixture_of_all_rows():
    log_pi = torch.randn(4, 3, 2, generator=generator()).double().log_softmax(-1)
    loc = torch.randn(4, 3, 2, 5, generator=generator(1)).double()
    parts = Mixture(log_pi, DiagonalNormal(loc, loc.exp()))
    z = torch.randn(7, 3, 5, generator=generator(2)).double()
    flat = Mixture(
        log_pi.movedim(0, 1).flatten(1) - math.log(4),
        DiagonalNormal(*(c.movedim(0, 1).flatten(1, 2) for c in (loc, loc.exp()))),
    )
    torch.testing.assert_close(parts.log_prob_pooled(z), flat.log_prob(z))


@torch.no_grad()
def test_the_first_half_of_a_run_is_discarded():
    vae, rows = tiny_vae().eval(), tiny_rows(3)
    start = torch.zeros(2, 3, 2)
    for n_steps, n_retained in ((1, 1), (10, 5), (11, 6)):
        noise, sampler = stream(0, torch.float32), PseudoGibbs(n_steps=n_steps)
        chains = run(sampler, vae, rows.x, rows.observed, start, noise)
        assert chains.z.shape == (n_retained, 2, 3, 2)


@torch.no_grad()
def test_latents_by_chains_are_those_of_the_last_steps(monkeypatch):
    x, observed = incomplete_rows(SPARSE, 1)
    runs = []
    monkeypatch.setattr(conditional, "run", lambda *args: runs.append(run(*args)) or runs[-1])
    model = ConditionalModel(SPARSE.vae(), 50, PseudoGibbs(n_chains=5, n_steps=8))
    for n, steps in ((3, [17, 18, 19]), (22, [*range(20), 0, 1])):
        z = model.latents(model.encode(x, observed, stream), n).z
        assert torch.equal(z[0], runs[-1].z.flatten(0, 2)[steps])


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (LAIR, {"n_iterations": 0}),
        (LAIR, {"n_chains": 0}),
        (LAIR, {"n_replenish": -1}),
        (LAIR, {"n_replenish": 1.5}),
        (ImportanceResampling, {"n_draws": 0}),
        (MetropolisWithinGibbs, {"n_chains": True}),
    ],
)
def test_invalid_options_raise_an_error(make, options):
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"Parameter '{name}' of {make.__name__} .* got {value}"):
        make(**options)
