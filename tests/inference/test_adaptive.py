"""Proposals adapted to the posterior of a row, and the defensive mixture they are part of."""

import math

import pytest
import torch
from helpers import BreakingDecoder, LinearGaussian, deviates, stream
from torch import nn

from skmissvae._utils.random import KeyedNoise
from skmissvae.inference import ImportanceSampler
from skmissvae.inference.adaptive import _INFLATION, adapt_proposal
from skmissvae.vae import AffineMixture, DefensiveMixture, DiagonalNormal, Mixture

MODEL = LinearGaussian(n_columns=12, n_latents=6, sigma=0.3)


class ShiftedEncoder(nn.Module):
    """An encoder whose posteriors have shifted means."""

    def __init__(self, encoder, n_latents, shift):
        super().__init__()
        self.encoder, self.n_latents, self.shift = encoder, n_latents, shift

    def forward(self, inputs):
        params = self.encoder(inputs).clone()
        params[..., : self.n_latents] += self.shift
        return params


def shifted_vae(shift=0.5, model=MODEL):
    vae = model.vae()
    vae.encoder = ShiftedEncoder(vae.encoder, model.n_latents, shift)
    return vae


@torch.no_grad()
@pytest.mark.parametrize("row", [0, 2, 3, 4])
def test_proposals_with_a_low_effective_sample_size_are_adapted_to_the_posterior(row):
    x, observed = (values[row : row + 1] for values in MODEL.rows(5))
    n, vae = 2000, shifted_vae()

    def sampler(proposal):
        return ImportanceSampler(vae, x, observed, n, stream(1), proposal=proposal)

    assert sampler("encoder").evidence().ess < 0.05 * n
    means = sampler("sufficient").means()
    assert means.ess > 0.1 * n
    error = 4.5 / means.ess.sqrt()
    log_evidence, ess = sampler("sufficient").evidence()
    assert torch.equal(ess, means.ess)
    assert (log_evidence - MODEL.log_evidence(x, observed)).abs() < error
    mean, cov = (torch.tensor(moment) for moment in MODEL.condition(x[0], observed[0]))
    unknown = torch.cat([~observed[0], torch.ones(MODEL.n_latents, dtype=torch.bool)])
    deviation = torch.cat([means.expected, means.z], -1)[0] - mean
    assert (deviation[unknown].abs() < error * cov.diagonal()[unknown].sqrt()).all()


@torch.no_grad()
@pytest.mark.parametrize("shift", [0.2, 0.4])
def test_evidence_by_an_adapted_proposal_is_unbiased(shift):
    n_rows = 200  # copies of one row with their own draws
    x, observed = (values[:1] for values in MODEL.rows(2, seed=3))
    exact = MODEL.log_evidence(x, observed)
    rows = x.expand(n_rows, -1), observed.expand(n_rows, -1)
    sampler = ImportanceSampler(shifted_vae(shift), *rows, 200, stream(), proposal="adapted")
    ratios = (sampler.evidence().log_evidence - exact).exp()
    assert deviates(ratios, torch.ones(())) < 4
    assert ratios.std() < 1.0  # with a large variance the mean would be no test


def test_gaussians_have_the_moments_of_the_target_whatever_the_number_of_draws_of_each_proposal():
    n_rows = 200
    zero = torch.zeros(n_rows, 1, 1, dtype=torch.float64)
    q, target = (Mixture(zero[..., 0], DiagonalNormal(zero + loc, zero + 1)) for loc in (1.5, 0.0))
    z, _ = q.ancestral(1000, stream())  # each iteration adds 64 draws
    log_ratio = target.log_prob(z) - q.log_prob(z)
    gaussian = adapt_proposal(target.log_prob, q, z, log_ratio, 4, stream(1)).proposal
    assert abs(gaussian.loc.mean().item()) < 0.1
    assert abs(gaussian.factor.square().mean().item() / _INFLATION - 1) < 0.1


@torch.no_grad()
@pytest.mark.parametrize("n_latents", [20, 40])
def test_adaptation_reduces_the_error_with_many_latents(n_latents):
    model = LinearGaussian(n_columns=2 * n_latents, n_latents=n_latents, sigma=1.0)
    vae = model.vae(widen=0.6)  # posteriors that are too narrow
    x, observed = (values[2:3] for values in model.rows(3, seed=1, share=0.3))
    exact = model.log_evidence(x, observed)

    def error(proposal):
        estimates = [
            ImportanceSampler(vae, x, observed, 1000, stream(seed), proposal=proposal).evidence()
            for seed in range(4)
        ]
        return torch.stack([(e.log_evidence - exact).abs() for e in estimates]).mean()

    assert error("sufficient") < 0.25 * error("encoder")


@torch.no_grad()
def test_proposals_with_a_single_latent_are_adapted():
    model = LinearGaussian(n_columns=3, n_latents=1, sigma=0.3)
    x, observed = (values[:1] for values in model.rows(2))
    vae = shifted_vae(2.0, model)
    ess = [
        ImportanceSampler(vae, x, observed, 1000, stream(), proposal=proposal).evidence().ess
        for proposal in ("encoder", "sufficient")
    ]
    assert ess[0] < 50
    assert ess[1] > 300


@torch.no_grad()
def test_proposals_with_a_sufficient_effective_sample_size_are_not_adapted():
    x, observed = MODEL.rows(5)
    vae = MODEL.vae(widen=1.1)
    for i in (0, 1, 4):
        row = x[i : i + 1], observed[i : i + 1]
        means, expected = (
            ImportanceSampler(vae, *row, 500, stream(1), proposal=proposal).means()
            for proposal in ("sufficient", "encoder")
        )
        assert all(torch.equal(*pair) for pair in zip(means, expected, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("everywhere", [False, True])
def test_adapted_proposals_give_finite_results_with_draws_that_are_not_finite(everywhere):
    vae = shifted_vae()
    vae.decoder = BreakingDecoder(vae.decoder, math.nan, everywhere)
    x, observed = MODEL.rows(3)
    for i in range(3):
        row = x[i : i + 1], observed[i : i + 1]
        means = ImportanceSampler(vae, *row, 300, stream(1), proposal="sufficient").means()
        assert all(values.isfinite().all() for values in means)


def gaussian(loc, scale):
    """Return a Gaussian of one latent as the proposal of one row."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    standard = Mixture(zero, DiagonalNormal(zero[None], zero[None] + 1))
    return AffineMixture(standard, zero + loc, zero[None] + scale, zero[None] + 1 / scale)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_defensive_mixture_integrates_to_one_and_draws_have_its_moments(share):
    (a, s), (b, t) = (1.0, 0.5), (-2.0, 2.0)
    mean = torch.tensor((1 - share) * a + share * b)
    mixture = DefensiveMixture(gaussian(a, s), gaussian(b, t), share)
    grid = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
    density = mixture.log_prob(grid[:, None, None]).exp().squeeze()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-6)
    z, log_mass = mixture.ancestral(40_001, stream(), systematic=True)
    assert log_mass.exp().sum().item() == pytest.approx(1.0)
    assert deviates(z, mean) < 4.5
    second = (1 - share) * (s**2 + a**2) + share * (t**2 + b**2)
    assert deviates(z.square(), torch.tensor(second)) < 4.5
    # the component of a single draw is random
    single = torch.cat([mixture.ancestral(1, stream(seed))[0] for seed in range(400)])
    assert deviates(single, mean) < 4.5
    # and that of rows with their own noise
    rows = DefensiveMixture(gaussian(a, s).expand(400), gaussian(b, t).expand(400), share)
    noise = KeyedNoise(0, range(400), torch.float64)
    draws = rows.ancestral(3, noise)[0].flatten()
    assert draws.shape == (1200,)
    assert deviates(draws, mean) < 4.5
