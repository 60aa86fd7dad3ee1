"""Distributions of latents: densities, draws, and gradients of draws."""

import math

import pytest
import torch
from helpers import build, deviates, generator, lattice, mixture, stream, uniform

from skmissvae.vae import AffineMixture, DiagonalNormal, DiagonalStudentT
from skmissvae.vae.functional import normal_log_prob, student_t_log_prob
from skmissvae.vae.reparameterization import reparameterize_mixture

KINDS = ["normal", "student_t"]
N_NODES = {1: 4001, 2: 501}


def conditional_cdf(z, log_pi, loc, scale):
    """Return F_d(z_d | z_<d) of a mixture of Normals by its definition: (L,)."""
    normal, result = torch.distributions.Normal(loc, scale), []
    for d in range(len(z)):
        log_w = log_pi + normal.log_prob(z)[:, :d].sum(-1)
        result.append((log_w.softmax(0) * normal.cdf(z)[:, d]).sum())
    return torch.stack(result)


def statistic(z):
    """Return a function of the latents with finite moments for all tails: (..., L) -> (...)."""
    step = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    return (z * step).sum(-1).cos() + (z / step).prod(-1).tanh() + z.square().log1p().sum(-1)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("n_latents", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_densities_integrate_to_one_and_to_the_mean(kind, n_latents, n_components):
    q, _ = mixture(kind, n_components, n_latents, 2, df=3.0)
    z, log_weight = lattice(n_latents, N_NODES[n_latents])
    mass = (q.log_prob(z.unsqueeze(1)) + log_weight.unsqueeze(1)).exp()  # (M, 2)
    torch.testing.assert_close(mass.sum(0), torch.ones_like(mass[0]), atol=1e-7, rtol=0)
    torch.testing.assert_close(torch.einsum("mb,ml->bl", mass, z), q.mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_equals_that_of_torch(kind):
    q, leaves = mixture(kind, 3, 2, 4)
    if kind == "normal":
        cell = torch.distributions.Normal(leaves["loc"], leaves["scale"])
    else:
        cell = torch.distributions.StudentT(leaves["df"], leaves["loc"], leaves["scale"])
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=leaves["logits"]),
        torch.distributions.Independent(cell, 1),
    )
    z = 5 * torch.randn(6, 4, 2, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z))


@pytest.mark.parametrize(
    "shapes", [((4, 3), (3,), (1, 1)), ((2,), (4, 2), (4, 2)), ((1,), (1,), (3,))]
)
def test_gradients_of_the_normal_log_density_equal_finite_differences(shapes):
    x, loc, scale = (uniform(*shape, seed=i, low=0.5) for i, shape in enumerate(shapes))
    leaves = [leaf.requires_grad_() for leaf in (x, loc, scale)]
    assert torch.autograd.gradcheck(normal_log_prob, leaves)
    for leaf in leaves[:2]:
        leaf.requires_grad_(False)
        assert torch.autograd.gradcheck(normal_log_prob, leaves)


def test_student_t_converges_to_the_normal():
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    loc, scale = torch.tensor(0.3).double(), torch.tensor(0.7).double()
    student = student_t_log_prob(x, torch.tensor(1e6).double(), loc, scale)
    torch.testing.assert_close(student, normal_log_prob(x, loc, scale), atol=1e-3, rtol=0)
    df = torch.full((1,), 1e7, dtype=torch.float64)
    heavy = DiagonalStudentT(df, loc.view(1, 1), scale.view(1, 1)).standard_draws(stream(), 4000, 1)
    light = torch.distributions.Normal(0.0, 1.0)
    uniformised = light.cdf(heavy.squeeze(-1)).sort().values
    step = torch.linspace(0, 1, 4000, dtype=torch.float64)
    assert (uniformised - step).abs().max() < 1.9 / math.sqrt(4000)  # Kolmogorov's distance


@pytest.mark.parametrize("df", [3.0, 30.0, 1000.0])
def test_student_t_is_accurate_in_float32(df):
    x = torch.linspace(-4, 4, 9)
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    exact = student_t_log_prob(x.double(), torch.tensor(df).double(), zero.double(), one.double())
    single = student_t_log_prob(x, torch.tensor(df), zero, one)
    torch.testing.assert_close(single.double(), exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_stratified_draws_have_the_component_axis_fastest_and_masses_that_sum_to_one(kind):
    K, S = 3, 4
    q, leaves = mixture(kind, K, 2, 5)
    z, log_mass = q.stratified(S, stream(1))
    standard = q.component.standard_draws(stream(1), S, K, 5, 2)
    for s in range(S):
        for k in range(K):
            expected = leaves["loc"][:, k] + leaves["scale"][:, k] * standard[s, k]
            torch.testing.assert_close(z[s * K + k], expected)
            torch.testing.assert_close(log_mass[s * K + k], q.log_pi[:, k] - math.log(S))
    torch.testing.assert_close(log_mass.exp().sum(0), torch.ones(5).double())


@pytest.mark.parametrize("kind", KINDS)
def test_all_methods_of_drawing_coincide_for_one_component(kind):
    q, leaves = mixture(kind, 1, 2, 5)
    outcomes = []
    for draw in (q.ancestral, q.stratified):
        z, log_mass = draw(7, stream(1))
        grads = torch.autograd.grad(statistic(z).sum(), list(leaves.values()))
        outcomes.append((z, log_mass, *grads))
    for ancestral, stratified in zip(*outcomes, strict=True):
        torch.testing.assert_close(ancestral, stratified, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_detached_mixture_has_no_gradients(kind):
    original, _ = mixture(kind, 3, 2, 5)
    q = original.detach()
    z, log_mass = q.stratified(2, stream())
    assert original.log_prob(z).requires_grad
    ancestral, _ = q.ancestral(2, stream())
    for tensor in (z, log_mass, ancestral, q.log_prob(z), q.mean()):
        assert not tensor.requires_grad


def affine(kind, n_components, n_latents, *batch):
    """Return an affine mixture with upper triangular matrices, and its base."""
    base, _ = mixture(kind, n_components, n_latents, *batch)
    factor = uniform(*batch, n_latents, n_latents, seed=5, low=-0.6, high=0.6).triu(1)
    factor = factor + torch.diag_embed(uniform(*batch, n_latents, seed=6, low=0.5, high=1.5))
    loc = uniform(*batch, n_latents, seed=7, low=-1, high=1)
    return AffineMixture(base, loc, factor, torch.linalg.inv(factor)), base


@pytest.mark.parametrize("n_latents", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_affine_densities_integrate_to_one_and_to_the_mean(kind, n_latents):
    q, _ = affine(kind, 3, n_latents, 2)
    z, log_weight = lattice(n_latents, N_NODES[n_latents])
    mass = (q.log_prob(z.unsqueeze(1)) + log_weight.unsqueeze(1)).exp()  # (M, 2)
    torch.testing.assert_close(mass.sum(0), torch.ones_like(mass[0]), atol=1e-6, rtol=0)
    mean = torch.einsum("mb,ml->bl", mass, z)
    torch.testing.assert_close(mean, q.mean(), atol=1e-4, rtol=0)


def test_affine_normal_is_the_normal_with_full_covariance():
    q, base = affine("normal", 1, 3, 4)
    root = q.factor * base.component.scale  # columns by their scales
    loc = q.loc + (q.factor @ base.component.loc.mT).squeeze(-1)
    full = torch.distributions.MultivariateNormal(loc, root @ root.mT)
    z = torch.randn(6, 4, 3, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), full.log_prob(z))
    centre, scale = q.centres()
    torch.testing.assert_close(centre.squeeze(-2), full.mean)
    torch.testing.assert_close(scale.squeeze(-2), full.stddev)


@pytest.mark.parametrize("kind", KINDS)
def test_components_are_as_far_apart_as_their_divergence(kind):
    q, base = affine(kind, 3, 1, 4)
    n = 20_000
    divergence = base.component_divergence(n, stream(1))
    z = torch.linspace(-200, 200, 200_001, dtype=torch.float64).view(-1, 1, 1).expand(-1, 4, 1)
    log_q = base.component.log_prob(z.unsqueeze(-2))  # (n_nodes, 4, 3)
    ratio = log_q - base.log_prob(z).unsqueeze(-1)
    exact = (base.log_pi.exp() * (log_q.exp() * ratio).sum(0) * 0.002).sum(-1)
    torch.testing.assert_close(divergence, exact, atol=0.02, rtol=0)
    assert torch.equal(q.component_divergence(n, stream(1)), divergence)
    same, _ = mixture(kind, 3, 1, 4)
    same.component.loc = same.component.loc[:, :1].expand(4, 3, 1)
    same.component.scale = same.component.scale[:, :1].expand(4, 3, 1)
    assert same.component_divergence(10, stream(1)).abs().max() < 1e-12
    same.component.loc = same.component.loc + 1e4 * torch.arange(3).view(1, 3, 1)
    entropy = -(same.log_pi.exp() * same.log_pi).sum(-1)
    torch.testing.assert_close(same.component_divergence(10, stream(1)), entropy)


@pytest.mark.parametrize("way", ["stratified", "ancestral"])
@pytest.mark.parametrize("kind", KINDS)
def test_affine_draws_are_transformed_draws_of_the_base(kind, way):
    q, base = affine(kind, 3, 2, 2, 4)
    (z, log_mass), (u, base_mass) = (getattr(one, way)(5, stream(1)) for one in (q, base))
    torch.testing.assert_close(z, q.loc + torch.einsum("...ij,m...j->m...i", q.factor, u))
    torch.testing.assert_close(log_mass, base_mass)
    log_volume = q.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    torch.testing.assert_close(q.log_prob(z), base.log_prob(u) - log_volume)


def test_affine_mixtures_expand_and_detach():
    q, _ = affine("normal", 3, 2)
    z = torch.randn(6, 4, 2, generator=generator(), dtype=torch.float64)
    each = torch.stack([q.log_prob(z[:, i]) for i in range(4)], 1)
    torch.testing.assert_close(q.expand(4).log_prob(z), each)
    wide = q.expand(4).detach()
    for tensor in (wide.log_prob(z), wide.mean(), *wide.centres(), *wide.stratified(2, stream())):
        assert not tensor.requires_grad


WAYS = {
    "stratified": lambda q, noise: q.stratified(2, noise),
    "ancestral": lambda q, noise: q.ancestral(2, noise),
    "systematic": lambda q, noise: q.ancestral(4, noise, systematic=True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_and_their_gradients_are_unbiased(kind, n_components, way):
    """Each row has its own leaves, so that means over rows have standard errors."""
    n_rows, n_latents = 60_000, 2
    _, leaves = mixture(kind, n_components, n_latents)
    z, log_weight = lattice(n_latents, 251)
    exact = ((build(leaves).log_prob(z) + log_weight).exp() * statistic(z)).sum()
    exact_grads = torch.autograd.grad(exact, list(leaves.values()))

    copies = {
        name: leaf.detach().expand(n_rows, *leaf.shape).clone().requires_grad_()
        for name, leaf in leaves.items()
    }
    draws, log_mass = WAYS[way](build(copies), stream(3))
    estimate = (log_mass.exp() * statistic(draws)).sum(0)  # (rows,)
    assert deviates(estimate.detach(), exact.detach()) < 4.5
    grads = torch.autograd.grad(estimate.sum(), list(copies.values()))
    for name, grad, exact_grad in zip(leaves, grads, exact_grads, strict=True):
        assert deviates(grad, exact_grad) < 4.5, name
        assert deviates(grad, 0.0) > 10, name  # otherwise the test has no power


def test_systematic_draws_are_proportional_to_the_weights():
    q, leaves = mixture("normal", 4, 1, 50)
    q.component = DiagonalNormal(
        100 * torch.arange(4.0).double().view(1, 4, 1).expand(50, 4, 1), leaves["scale"]
    )
    z, _ = q.ancestral(40, stream(), systematic=True)
    counts = torch.stack([((z - 100 * k).abs() < 50).sum((0, 2)) for k in range(4)], -1)
    assert ((counts - 40 * q.log_pi.exp()).abs() < 1 + 1e-9).all()


@pytest.mark.parametrize("shared_scale", [True, False])
def test_implicit_jacobian_equals_that_of_the_conditional_cdf(shared_scale):
    n, B, K, L = 2, 3, 3, 3
    log_pi = uniform(B, K, seed=1).log_softmax(-1)
    loc = uniform(*(() if shared_scale else (n,)), B, K, L, seed=2, low=-2, high=2)
    scale = uniform(*loc.shape, seed=3, low=0.5, high=1.5)
    z = uniform(n, B, L, seed=4, low=-2, high=2)
    closed = torch.autograd.functional.jacobian(
        lambda p, m, s: reparameterize_mixture(z, p, m, s), (log_pi, loc, scale)
    )
    for i in range(n):
        for b in range(B):
            at = b if shared_scale else (i, b)
            params = (log_pi[b], loc[at], scale[at])
            by_z = torch.autograd.functional.jacobian(
                lambda point, params=params: conditional_cdf(point, *params), z[i, b]
            )
            by_params = torch.autograd.functional.jacobian(
                lambda *p, i=i, b=b: conditional_cdf(z[i, b], *p), params
            )
            for ours, index, theirs in zip(closed, (b, at, at), by_params, strict=True):
                expected = -torch.linalg.solve(by_z, theirs.flatten(1)).view_as(theirs)
                block = ours[i, b].movedim(0, -1)[index].movedim(-1, 0)
                torch.testing.assert_close(block, expected)


def test_implicit_gradients_stay_finite_far_from_every_component():
    loc = torch.tensor([[[-50.0, 0.0], [50.0, 0.0]]], requires_grad=True)
    scale = torch.full_like(loc, 1e-4).requires_grad_()
    logits = torch.zeros(1, 2, requires_grad=True)
    leaves = {"loc": loc, "scale": scale, "logits": logits}
    z, _ = build(leaves).ancestral(200, stream(dtype=torch.float32))
    for grad in torch.autograd.grad(z.square().sum(), list(leaves.values())):
        assert grad.isfinite().all()
