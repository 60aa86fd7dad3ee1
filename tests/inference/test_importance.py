import functools
import math
import warnings

import numpy as np
import pytest
import sklearn
import torch
from helpers import LinearGaussian, SplitNoise, deviates, stream, tiny_rows, tiny_vae
from torch import nn

from skmissvae import MVAEImputer
from skmissvae._utils.random import KeyedNoise
from skmissvae.inference import ImportanceSampler
from skmissvae.inference import importance as importance
from skmissvae.vae import AffineMixture, DefensiveMixture, DiagonalNormal, Mixture

N = 2 * importance.BLOCK + 44  # draws that fill no block


@torch.no_grad()
@pytest.mark.parametrize("n", [1, importance.BLOCK, N])
def test_masses_sum_to_one_over_blocks(n):
    rows = tiny_rows(5)
    parts = list(
        ImportanceSampler(tiny_vae(), rows.x, rows.observed, n, stream(dtype=torch.float32))
    )
    log_mass = torch.cat([part.log_mass for part in parts])
    assert log_mass.shape == (n, 5)
    torch.testing.assert_close(log_mass.exp(), torch.full_like(log_mass, 1 / n))


@torch.no_grad()
def test_moments_are_weighted_sums_over_all_draws():
    vae, rows = tiny_vae().double(), tiny_rows(5, dtype=torch.float64)
    parts = list(ImportanceSampler(vae, rows.x, rows.observed, N, stream()))
    log_w = torch.cat([part.log_mass + part.log_ratio for part in parts])  # (N, B)
    w = log_w.softmax(0)
    found = importance.moments(ImportanceSampler(vae, rows.x, rows.observed, N, stream()))
    torch.testing.assert_close(found.ess, 1 / w.square().sum(0))
    evidence = importance.evidence(ImportanceSampler(vae, rows.x, rows.observed, N, stream()))
    torch.testing.assert_close(evidence.log_evidence, log_w.logsumexp(0))
    assert torch.equal(evidence.ess, found.ess)
    z, x = (torch.cat(p) for p in zip(*[(p.z, p.columns.mean()) for p in parts], strict=True))
    torch.testing.assert_close(found.z, torch.einsum("mb,mbl->bl", w, z))
    torch.testing.assert_close(found.expected, torch.einsum("mb,mbd->bd", w, x))


@torch.no_grad()
def test_resampled_latents_follow_the_weights_of_the_pool():
    vae, rows = tiny_vae(n_components=1).double(), tiny_rows(3, dtype=torch.float64)
    pool = importance.moments(ImportanceSampler(vae, rows.x, rows.observed, N, SplitNoise(1)))
    z, ess, _ = importance.resample(
        ImportanceSampler(vae, rows.x, rows.observed, N, SplitNoise(1)), size=50_000
    )
    torch.testing.assert_close(ess, pool.ess)
    assert deviates(z, pool.z) < 4.5


class Breaking(nn.Module):
    """A decoder whose outputs are not finite where the latents are positive, or everywhere."""

    def __init__(self, decoder, value, everywhere):
        super().__init__()
        self.decoder, self.value, self.everywhere = decoder, value, everywhere

    def forward(self, z):
        broken = (z[..., :1] > 0) | self.everywhere
        return torch.where(broken, self.value, self.decoder(z))


@torch.no_grad()
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_ratios_that_are_no_numbers_give_finite_results(value, everywhere):
    vae, rows = tiny_vae(), tiny_rows(8)
    sound = vae.decoder
    vae.decoder = Breaking(sound, value, everywhere)
    for found in (importance.moments, importance.evidence):
        for part in found(
            ImportanceSampler(vae, rows.x, rows.observed, N, stream(dtype=torch.float32))
        ):
            assert part.isfinite().all()
    blocks = ImportanceSampler(vae, rows.x, rows.observed, N, stream(dtype=torch.float32))
    z, ess, _ = importance.resample(blocks, size=20)
    assert z.isfinite().all()
    assert ess.isfinite().all()
    if not everywhere:
        seen = rows.observed.any(-1)
        assert (z[:, seen, 0] <= 0).all()  # a broken draw has no weight beside a sound one


# ---- proposals that are adapted

WIDE = LinearGaussian(n_columns=12, n_latents=6, sigma=0.3)


class Astray(nn.Module):
    """An encoder whose posteriors are some way off."""

    def __init__(self, encoder, n_latents, shift):
        super().__init__()
        self.encoder, self.n_latents, self.shift = encoder, n_latents, shift

    def forward(self, inputs):
        params = self.encoder(inputs).clone()
        params[..., : self.n_latents] += self.shift
        return params


def astray(shift=0.5, model=WIDE):
    vae = model.vae()
    vae.encoder = Astray(vae.encoder, model.n_latents, shift)
    return vae


class Narrow(nn.Module):
    """A decoder on a device that is too small for more than so many draws at once."""

    def __init__(self, decoder, room):
        super().__init__()
        self.decoder, self.room, self.most = decoder, room, 0

    def forward(self, z):
        n = z.shape[:-1].numel()
        if n > self.room:
            raise torch.OutOfMemoryError(f"no room for {n} draws")
        self.most = max(self.most, n)
        return self.decoder(z)


@torch.no_grad()
@pytest.mark.parametrize("make", [astray, WIDE.vae], ids=["adapted", "as it is"])
def test_what_comes_out_does_not_depend_on_how_many_draws_are_held(make):
    x, observed = WIDE.rows(3)
    for i in range(3):
        row, n = (x[i : i + 1], observed[i : i + 1]), 2500
        for outcome in (
            importance.moments,
            importance.evidence,
            importance.weighted,
            functools.partial(importance.resample, size=20),
        ):
            vae = make()
            whole = outcome(ImportanceSampler(vae, *row, n, stream(1), adapt="where poor"))
            vae.decoder = Narrow(vae.decoder, 100)
            pieces = outcome(
                ImportanceSampler(vae, *row, n, stream(1), adapt="where poor", held=100)
            )
            for one, other in zip(whole, pieces, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("row", [0, 2, 3, 4])
def test_where_weights_are_poor_the_proposal_goes_to_the_posterior(row):
    x, observed = WIDE.rows(5)
    n, vae, one = 2000, astray(), slice(row, row + 1)
    together = importance.evidence(ImportanceSampler(vae, x, observed, n, stream(1)))
    assert together.ess[row] < 0.05 * n
    found = importance.moments(
        ImportanceSampler(vae, x[one], observed[one], n, stream(1), adapt="where poor")
    )
    assert found.ess > 0.3 * n
    error = 4.5 / found.ess.sqrt()
    evidence = importance.evidence(
        ImportanceSampler(vae, x[one], observed[one], n, stream(1), adapt="where poor")
    )
    assert torch.equal(evidence.ess, found.ess)
    assert (evidence.log_evidence - WIDE.log_evidence(x[one], observed[one])).abs() < error
    mean, cov = (torch.tensor(part) for part in WIDE.condition(x[row], observed[row]))
    hidden = torch.cat([~observed[row], torch.ones(WIDE.n_latents, dtype=torch.bool)])
    off = torch.cat([found.expected, found.z], -1)[0] - mean
    assert (off[hidden].abs() < error * cov.diagonal()[hidden].sqrt()).all()


@torch.no_grad()
@pytest.mark.parametrize("shift", [0.2, 0.4])
def test_evidence_by_an_adapted_proposal_is_unbiased(shift):
    x, observed = (part[:1] for part in WIDE.rows(2, seed=3))
    vae, exact = astray(shift), WIDE.log_evidence(x, observed)
    found = [
        # whether there is one does not hang on draws
        importance.evidence(
            ImportanceSampler(vae, x, observed, 200, stream(seed), adapt="always")
        ).log_evidence
        for seed in range(300)
    ]
    ratios = (torch.stack(found) - exact).exp()
    assert deviates(ratios, torch.ones(1)) < 4
    assert ratios.std() < 1.0  # or a mean would tell little


def gaussian(loc, scale):
    """Return a Gaussian of one latent as a posterior of one row."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    standard = Mixture(zero, DiagonalNormal(zero[None], zero[None] + 1))
    return AffineMixture(standard, zero + loc, zero[None] + scale, zero[None] + 1 / scale)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_defensive_mixture_is_a_density_and_draws_from_it(share):
    (a, s), (b, t) = (1.0, 0.5), (-2.0, 2.0)
    mixture = DefensiveMixture(gaussian(a, s), gaussian(b, t), share)
    grid = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
    density = mixture.log_prob(grid[:, None, None]).exp().squeeze()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-6)
    z, log_mass = mixture.ancestral(40_001, stream(), systematic=True)
    assert log_mass.exp().sum().item() == pytest.approx(1.0)
    assert deviates(z, torch.tensor((1 - share) * a + share * b)) < 4.5
    second = (1 - share) * (s**2 + a**2) + share * (t**2 + b**2)
    assert deviates(z.square(), torch.tensor(second)) < 4.5
    # a single draw falls to either by chance
    single = torch.cat([mixture.ancestral(1, stream(seed))[0] for seed in range(400)])
    assert deviates(single, torch.tensor((1 - share) * a + share * b)) < 4.5
    # or, in rows that have noise of their own, to different ones
    rows = DefensiveMixture(gaussian(a, s).expand(400), gaussian(b, t).expand(400), share)
    noise = KeyedNoise(0, range(400), torch.float64)
    drawn = rows.ancestral(3, noise)[0].flatten()
    assert drawn.shape == (1200,)
    assert deviates(drawn, torch.tensor((1 - share) * a + share * b)) < 4.5


@torch.no_grad()
@pytest.mark.parametrize("n_latents", [20, 40])
def test_proposals_are_adapted_in_many_dimensions(n_latents):
    model = LinearGaussian(n_columns=2 * n_latents, n_latents=n_latents, sigma=1.0)
    vae = model.vae(widen=0.6)  # too narrow: the weights of few draws are large
    x, observed = (part[2:3] for part in model.rows(3, seed=1, share=0.3))
    exact = model.log_evidence(x, observed)

    def off(adapt):
        found = [
            importance.evidence(
                ImportanceSampler(vae, x, observed, 1000, stream(seed), adapt=adapt)
            )
            for seed in range(5)
        ]
        return torch.stack([(one.log_evidence - exact).abs() for one in found]).mean()

    assert off("where poor") < 0.25 * off("never")


@torch.no_grad()
def test_a_single_latent_is_adapted():
    model = LinearGaussian(n_columns=3, n_latents=1, sigma=0.3)
    x, observed = (part[:1] for part in model.rows(2))
    vae = astray(2.0, model)
    assert importance.evidence(ImportanceSampler(vae, x, observed, 1000, stream())).ess < 50
    assert (
        importance.evidence(
            ImportanceSampler(vae, x, observed, 1000, stream(), adapt="where poor")
        ).ess
        > 300
    )


@torch.no_grad()
def test_proposals_that_do_well_stay_as_they_are():
    x, observed = WIDE.rows(5)
    vae = WIDE.vae(widen=1.2)
    rows = [(x[i : i + 1], observed[i : i + 1]) for i in range(5)]
    found = [
        importance.moments(ImportanceSampler(vae, *row, 500, stream(1), adapt="where poor"))
        for row in rows
    ]
    for row, before in zip(rows, found, strict=True):
        after = importance.moments(ImportanceSampler(vae, *row, 500, stream(1)))
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("everywhere", [False, True])
def test_an_adapted_proposal_bears_draws_that_are_no_numbers(everywhere):
    vae = astray()
    vae.decoder = Breaking(vae.decoder, math.nan, everywhere)
    x, observed = WIDE.rows(3)
    for i in range(3):
        one = slice(i, i + 1)
        found = importance.moments(
            ImportanceSampler(vae, x[one], observed[one], 300, stream(1), adapt="where poor")
        )
        assert all(part.isfinite().all() for part in found)


def test_adapted_or_not_a_row_is_completed_as_in_company(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 20)) + 0.1 * rng.normal(size=(60, 20))
    X[rng.random(X.shape) < 0.4] = np.nan
    # from nothing and for an epoch: the encoder knows little
    imputer = MVAEImputer(linear_path=False, max_iter=1, n_importance_draws=200, random_state=0)
    imputer.fit(X)
    adapted, moved = [], importance.adapt_proposal
    monkeypatch.setattr(
        importance, "adapt_proposal", lambda *args: adapted.append(1) or moved(*args)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few weights are poor all the same
        completed, scores = imputer.transform(X), imputer.score_samples(X)
        assert 0 < len(adapted) < 2 * 60
        for i in range(60):
            np.testing.assert_array_equal(imputer.transform(X[i : i + 1]), completed[i : i + 1])
            assert imputer.score_samples(X[i : i + 1]) == scores[i]


# ---- memory


@pytest.fixture
def fitted_and_table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(40, 6))
    X[rng.random(X.shape) < 0.3] = np.nan
    imputer = MVAEImputer(max_iter=1, n_importance_draws=500, device="cpu", random_state=0)
    return imputer.fit(X), X


def test_a_device_that_is_too_small_holds_fewer_draws_and_goes_on(fitted_and_table):
    imputer, X = fitted_and_table

    def drawn(X):
        return imputer.impute(X, 2)[1]

    outcomes = imputer.transform, imputer.score_samples, imputer.encode, drawn
    expected = [outcome(X) for outcome in outcomes]
    decoder = imputer.vae_.decoder
    imputer.vae_.decoder = Narrow(decoder, 100)
    for outcome, wanted in zip(outcomes, expected, strict=True):
        np.testing.assert_allclose(outcome(X), wanted, rtol=1e-4, atol=1e-5)
    assert 50 < imputer.vae_.decoder.most <= 100
    imputer.vae_.decoder = Narrow(decoder, 0)
    with pytest.raises(torch.OutOfMemoryError, match="no room for 1 draws"):
        imputer.transform(X)


@pytest.mark.parametrize(("least", "most"), [(None, 60), (-5.0, 30)])
def test_working_memory_limits_the_draws_that_are_held(fitted_and_table, least, most):
    imputer, X = fitted_and_table
    imputer.set_params(min_value=least)
    expected = imputer.transform(X)
    imputer.vae_.decoder = Narrow(imputer.vae_.decoder, math.inf)
    with sklearn.config_context(working_memory=0.1):
        np.testing.assert_allclose(imputer.transform(X), expected, rtol=1e-4, atol=1e-5)
    assert most / 2 < imputer.vae_.decoder.most <= most
    imputer.transform(X)
    assert imputer.vae_.decoder.most == 500


@pytest.mark.parametrize("size", [1e6, 1e9])
def test_draws_that_single_precision_cannot_tell_apart_do_not_agree(size):
    """Of a row so far out numbers are rounded to thousands of nats: ties tell nothing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 1)) + 0.3 * rng.normal(size=(100, 3))
    imputer = MVAEImputer(max_iter=5, n_importance_draws=500, random_state=0).fit(x)
    far = np.array([[size, np.nan, np.nan]])
    assert imputer.effective_sample_size(far)[0] <= 2
    assert imputer.pareto_k(far)[0] > 0.7
    with pytest.warns(UserWarning, match="effective importance draws"):
        imputer.transform(far)
    assert imputer.effective_sample_size(x[:1])[0] > 50
