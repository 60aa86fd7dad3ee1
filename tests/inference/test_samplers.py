"""Samplers on probabilistic PCA, whose conditional distributions are known, and by brute force."""

import math

import pytest
import torch
from helpers import LinearGaussian, generator, stream, tiny_rows, tiny_vae

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


def half_seen(model, n=3):
    """Return rows of which some cells are seen and some are not."""
    x, observed = model.rows(n + 2, share=0.4)
    x, observed = x[2:], observed[2:].clone()
    observed[:, 0], observed[:, 1] = True, False
    return torch.where(observed, x, 0.0), observed


def prior_draws(model, x, n=CHAINS):
    return stream(11).normal(n, len(x), model.n_latents)


def settle(sampler, model, vae, n_steps=30, n=CHAINS):
    """Return the states of many chains after some steps, and what the second half accepted."""
    x, observed = half_seen(model)
    done = run(sampler, vae, x, observed, prior_draws(model, x, n), n_steps, stream(3))
    return x, observed, done


def error_of(states, model, x, observed):
    """Return how far means and covariances of missing cells are off, in standard deviations."""
    worst = 0.0
    for b in range(len(x)):
        loc, cov = (torch.tensor(part) for part in model.condition(x[b], observed[b]))
        hidden = torch.cat([~observed[b], torch.zeros(model.n_latents, dtype=torch.bool)])
        missing, cov = states[:, b, ~observed[b]], cov[hidden][:, hidden]
        spread = cov.diagonal().sqrt()
        bias = ((missing.mean(0) - loc[hidden]) / spread).abs().max()
        off = ((missing.T.cov() - cov) / torch.outer(spread, spread)).abs().max()
        worst = max(worst, bias.item(), off.item())
    return worst


def noise_level(n):
    """Return what a covariance of n independent draws may be off by."""
    return 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_exact_encoder_makes_every_sampler_exact(name):
    n = 300 if name == "lair" else CHAINS  # its pool's densities are n x n
    x, observed, done = settle(SAMPLERS[name], SPARSE, SPARSE.vae(), n=n)
    assert error_of(done.chain.x, SPARSE, x, observed) < noise_level(n)
    assert (done.acceptance > 1 - 1e-9).all()


def test_metropolis_is_exact_whatever_the_encoder_and_pseudo_gibbs_is_not():
    vae = DENSE.vae(spread=0.0, widen=2.0)
    x, observed, done = settle(MetropolisWithinGibbs(), DENSE, vae, n_steps=50)
    assert error_of(done.chain.x, DENSE, x, observed) < noise_level(CHAINS)
    assert ((done.acceptance > 0.05) & (done.acceptance < 0.95)).all()
    x, observed, done = settle(PseudoGibbs(), DENSE, vae, n_steps=50)
    assert error_of(done.chain.x, DENSE, x, observed) > 4 * noise_level(CHAINS)


@pytest.mark.parametrize("kind", ["importance", "lair"])
def test_the_error_falls_as_the_pool_grows(kind):
    vae = DENSE.vae(widen=2.5)
    x, observed = (rows[:1] for rows in half_seen(DENSE))
    errors = []
    for size in (1, 4, 64):
        # many small sets of chains side by side: only chains of one set share a pool
        copies = 4000 if kind == "importance" else 12_000 // size
        many, seen = x.expand(copies, -1), observed.expand(copies, -1)
        sampler = ImportanceResampling(n_draws=size) if kind == "importance" else LAIR()
        n = 1 if kind == "importance" else size
        start = stream(5).normal(n, copies, DENSE.n_latents)
        n_steps = 1 if kind == "importance" else 8
        states = run(sampler, vae, many, seen, start, n_steps, stream(6)).chain.x
        errors.append(error_of(states.flatten(0, 1).unsqueeze(1), DENSE, x, observed))
    assert errors[0] > errors[1] + 0.02 > errors[2] + 0.04, errors


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@pytest.mark.parametrize("family", ["normal", "student_t"])
@pytest.mark.parametrize("n_replenish", [0, 1, 3])
@pytest.mark.parametrize("n_draws", [1, 2])
@torch.no_grad()
def test_the_weights_of_lair_are_those_of_the_deterministic_mixture(
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
        row, seen = rows.x[b : b + 1], rows.observed[b : b + 1]
        ones = torch.ones_like(seen)
        encoded = [vae.posterior(x[k, b : b + 1], ones) for k in range(4)]
        for m, point in enumerate(pool.z[:, b]):
            point = point.view(1, 1, -1)
            prior_density = vae.prior().log_prob(point).exp()
            total = n_draws * sum(one.log_prob(point).exp() for one in encoded)
            total = total + n_replenish * prior_density
            expected = vae.log_joint(row, seen, point) - (total / size).log()
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
def test_lair_iterates(iterations, final, monkeypatch):
    pools = []

    def spied(*args):
        pools.append(weigh(*args))
        return pools[-1]

    weigh = LAIR.weigh
    vae, rows, noise = tiny_vae().eval(), tiny_rows(40), stream(0, torch.float32)
    chain = Chain(rows.x.expand(3, 40, 4), noise.normal(3, 40, 2), torch.ones(3, 40))
    sampler = LAIR(n_iterations=iterations, final_resampling=final)
    with monkeypatch.context() as patch:
        patch.setattr(LAIR, "weigh", spied)
        z = sampler.step(vae, chain, rows.observed, noise).z
    assert len(pools) == iterations
    of_pool = [(z.unsqueeze(1) == pool.z).all(-1).any(1) for pool in pools]  # (3, 40) each
    assert torch.stack(of_pool).any(0).all()
    assert of_pool[-1].all() == (iterations == 1 or not final)

    sampler = LAIR(n_iterations=iterations, final_resampling=final)
    x, observed, done = settle(sampler, DENSE, DENSE.vae(widen=1.2), n_steps=15, n=200)
    assert error_of(done.chain.x, DENSE, x, observed) < 1.5 * noise_level(200)


@torch.no_grad()
@pytest.mark.parametrize("name", SAMPLERS)
def test_observed_cells_stay_and_missing_ones_move(name):
    vae, rows = tiny_vae().eval(), tiny_rows(12)
    noise = stream(0, torch.float32)
    x = rows.x.expand(3, 12, 4)
    start = Chain(x, noise.normal(3, 12, 2), x.new_ones(3, 12))
    chain = SAMPLERS[name].step(vae, start, rows.observed, noise)
    assert torch.equal(chain.x[:, rows.observed], x[:, rows.observed])
    moved = (chain.x != x).any(-1)[:, ~rows.observed.all(-1)]
    if name == "metropolis":  # cells are drawn anew where the latent stays, too
        assert moved.all()
    assert moved.float().mean() > 0.9


class Broken(torch.nn.Module):
    def forward(self, z):
        return torch.full((*z.shape[:-1], 8), math.nan)


@torch.no_grad()
@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_that_are_no_numbers_change_nothing(name):
    vae, rows = tiny_vae().eval(), tiny_rows(6)
    vae.decoder = Broken()
    noise = stream(0, torch.float32)
    x = rows.x.expand(3, 6, 4)
    start = Chain(x, noise.normal(3, 6, 2), x.new_ones(3, 6))
    assert torch.equal(SAMPLERS[name].step(vae, start, rows.observed, noise).x, x)


def test_a_pooled_mixture_is_the_mean_of_its_parts():
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
def test_the_first_half_is_warm_up():
    vae, rows = tiny_vae().eval(), tiny_rows(3)
    start = torch.zeros(2, 3, 2)
    for n_steps, n_kept in ((1, 1), (10, 5), (11, 6)):
        noise = stream(0, torch.float32)
        done = run(PseudoGibbs(), vae, rows.x, rows.observed, start, n_steps, noise)
        assert done.z.shape == (n_kept, 2, 3, 2)


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
def test_options_that_make_no_sense_are_refused(make, options):
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"Parameter '{name}' of {make.__name__} .* got {value}"):
        make(**options)
