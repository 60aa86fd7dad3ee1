"""Proposals from Normal approximations of the posteriors of rows."""

import math

import pytest
import torch
from helpers import BreakingDecoder, LinearGaussian, deviates, stream
from test_adaptive import MODEL, shifted_vae

from skmissvae.inference import ImportanceSampler
from skmissvae.inference.normal_proposal import _INFLATION, normal_proposal
from skmissvae.vae import AffineMixture, DiagonalNormal, Mixture


def gradient_of(log_joint):
    """Return the function with the derivatives of a function of latents."""

    def gradient(z):
        with torch.enable_grad():
            leaf = z.clone().requires_grad_()
            return torch.autograd.grad(log_joint(leaf).sum(), leaf)[0]

    return gradient


def approximation(vae, x, observed):
    """Return means and covariances of the approximations of the posteriors of rows."""
    gradient = gradient_of(lambda z: vae.log_joint(x, observed, z))
    normals = normal_proposal(gradient, vae.posterior(x, observed), refined=True).proposal
    return normals.loc, normals.factor @ normals.factor.mT / _INFLATION


@torch.no_grad()
@pytest.mark.parametrize("n_latents", [1, 6, 11, 20])
def test_approximations_of_normal_posteriors_are_exact(n_latents):
    model = LinearGaussian(n_columns=2 * n_latents, n_latents=n_latents, sigma=0.5)
    x, observed = model.rows(5)
    mean, covariance = approximation(shifted_vae(0.5, model), x, observed)
    for i in range(5):
        expected, spread = (torch.tensor(m) for m in model.condition(x[i], observed[i]))
        expected, spread = expected[-n_latents:], spread[-n_latents:, -n_latents:]
        sd = spread.diagonal().sqrt()
        assert ((mean[i] - expected).abs() < 0.03 * sd).all()
        assert ((covariance[i] - spread).abs() < 0.02 * sd.outer(sd)).all()


@torch.no_grad()
def test_approximations_of_curved_posteriors_maximize_the_bound():
    # log p(x, z) = z - z^4 / 4, of which the expected first and second derivative are
    # 1 - m^3 - 3 m v and -3 (m^2 + v) under N(m, v)
    zero = torch.zeros(3, 1, 1, dtype=torch.float64)
    q = Mixture(zero[..., 0], DiagonalNormal(zero + 1.0, zero + 1.0))
    normals = normal_proposal(gradient_of(lambda z: z - z**4 / 4), q, refined=True).proposal
    m, v = normals.loc, normals.factor.square()[..., 0] / _INFLATION
    assert torch.allclose(m**3 + 3 * m * v, torch.ones_like(m), atol=0.1)
    assert torch.allclose(1 / v, 3 * (m**2 + v), rtol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["normal", "refined"])
def test_evidence_by_normal_proposals_is_unbiased(kind):
    n_rows = 200  # copies of one row with their own draws
    x, observed = (values[:1] for values in MODEL.rows(2, seed=3))
    rows = x.expand(n_rows, -1), observed.expand(n_rows, -1)
    sampler = ImportanceSampler(shifted_vae(0.4), *rows, 200, stream(), proposal=kind)
    ratios = (sampler.evidence().log_evidence - MODEL.log_evidence(x, observed)).exp()
    assert deviates(ratios, torch.ones(())) < 4
    assert ratios.std() < 1.0  # with a large variance the mean would be no test


@torch.no_grad()
@pytest.mark.parametrize("kind", ["normal", "refined", "adapted"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_proposals_are_finite_with_draws_that_are_not_finite(kind, everywhere):
    vae = shifted_vae()
    vae.decoder = BreakingDecoder(vae.decoder, math.nan, everywhere)
    x, observed = MODEL.rows(3)
    means = ImportanceSampler(vae, x, observed, 300, stream(1), proposal=kind).means()
    assert all(values.isfinite().all() for values in means)


@torch.no_grad()
@pytest.mark.parametrize("value", [1e4, 1e15, 1e30])
def test_proposals_of_outlying_rows_are_finite(value):
    x, observed = MODEL.rows(3)
    x[2, observed[2].nonzero()[0]] = value
    mean, covariance = approximation(MODEL.vae(), x, observed)
    assert mean.isfinite().all()
    assert covariance.isfinite().all()
    assert torch.linalg.eigvalsh(covariance.double()).min() > 0


@torch.no_grad()
@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-4])
def test_almost_singular_posteriors_are_approximated(scale):
    factor = torch.tensor([[[1.0, 0.0], [1.0, scale]]])
    zero = torch.zeros(1, 1, 2)
    standard = Mixture(zero[..., 0], DiagonalNormal(zero, zero + 1))
    q = AffineMixture(standard, zero[0], factor, torch.linalg.inv(factor))
    target = AffineMixture(standard, zero[0] + factor @ torch.tensor([0.5, 1.0]), factor, q.inverse)
    proposal = normal_proposal(gradient_of(target.log_prob), q, refined=True)
    z, log_mass = proposal.ancestral(2000, stream(dtype=torch.float32))
    log_w = log_mass + target.log_prob(z) - proposal.log_prob(z)
    assert log_w.softmax(0).square().sum() < 1 / 800
    assert abs(log_w.logsumexp(0).item()) < 0.1


class InPlaceDecoder(torch.nn.Module):
    """A decoder that changes its input."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, z):
        z *= 1.0
        return self.decoder(z)


@torch.no_grad()
def test_decoders_may_change_their_input():
    x, observed = MODEL.rows(3)
    vae = shifted_vae()
    sampler = ImportanceSampler(vae, x, observed, 64, stream(), proposal="normal")
    expected = sampler.evidence().log_evidence
    vae.decoder = InPlaceDecoder(vae.decoder)
    sampler = ImportanceSampler(vae, x, observed, 64, stream(), proposal="normal")
    torch.testing.assert_close(sampler.evidence().log_evidence, expected)


@torch.no_grad()
def test_proposals_are_the_same_in_torchs_inference_mode():
    vae, rows = shifted_vae(), MODEL.rows(3)

    def log_evidence():
        copies = (values.clone() for values in rows)
        return ImportanceSampler(vae, *copies, 64, stream(), proposal="refined").evidence()[0]

    expected = log_evidence()
    with torch.inference_mode():
        assert torch.equal(log_evidence(), expected)


def mixtures():
    """Return a mixture and the same in other coordinates, of two rows."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    base = Mixture(
        noise(2, 3).log_softmax(-1), DiagonalNormal(noise(2, 3, 4), noise(2, 3, 4).exp())
    )
    factor = noise(2, 4, 4).tril() + 2 * torch.eye(4)
    return base, AffineMixture(base, noise(2, 4), factor, torch.linalg.inv(factor))


@pytest.mark.parametrize("index", [0, 1])
def test_covariances_are_those_of_draws(index):
    q = mixtures()[index]
    z, _ = q.ancestral(40_000, stream())
    deviation = z - q.mean()
    outer = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)  # (M, B, L, L)
    error = (outer.mean(0) - q.covariance()) / (outer.std(0) / math.sqrt(len(z)))
    assert error.abs().max() < 4.5


@pytest.mark.parametrize("index", [0, 1])
def test_the_first_rows_have_the_same_distributions(index):
    q = mixtures()[index]
    z = q.ancestral(5, stream())[0]
    assert torch.equal(q.first(1).log_prob(z[:, :1]), q.log_prob(z)[:, :1])
