"""Bias of gradient estimators, by comparison with exact expectations.

With one latent and two draws the expectation of a bound is a sum over pairs of nodes.
"""

import pytest
import torch
from helpers import (
    BOUND_METHODS,
    FixedEncoder,
    LinearGaussian,
    deviates,
    lattice,
    stream,
    tiny_rows,
    tiny_vae,
)

from skmissvae.vae import elbo

N_ROWS = 40_000
PARAMS = {
    1: [0.4, -0.2, 0.0],  # location, raw scale, logit
    2: [0.9, -0.7, -0.3, 0.2, 0.3, -0.2],  # locations, raw scales, logits
}
UNBIASED = {
    ("MVAE", "plain"),
    ("MVAE", "stl"),
    ("MissVAE", "plain"),
    ("MissVAE", "stl"),
    ("MissSVAE", "plain"),
    ("MissSVAE", "stl"),
    ("MIWAE", "plain"),
    ("MIWAE", "dreg"),
    ("MissIWAE", "plain"),
    ("MissIWAE", "dreg"),
    ("MissSIWAE", "plain"),
}
BIASED = {("MIWAE", "stl"), ("MissIWAE", "stl"), ("MissSIWAE", "stl")}


def example(name, family):
    n_components = 2 if BOUND_METHODS[name].mixture else 1
    vae = tiny_vae(n_latents=1, n_components=n_components, family=family).double()
    with torch.no_grad():  # the bound depends on the latents
        vae.decoder.linear.weight[: len(vae.decoder.linear.weight) // 2] = 1.0
    x, observed, *_ = tiny_rows(4, dtype=torch.float64).part(slice(2, 3))
    return vae, x, observed, torch.tensor([PARAMS[n_components]], dtype=torch.float64)


def exact_gradient(name, vae, x, observed, params):
    """Return the gradient of the expected bound with respect to the parameters of the family."""
    params = params.clone().requires_grad_()
    q, method = vae.family(params), BOUND_METHODS[name]
    z, log_weight = lattice(1, 1201)
    z = z.unsqueeze(1)  # (nodes, 1, 1)
    log_ratio = (vae.log_joint(x, observed, z) - q.log_prob(z)).squeeze(1)
    mass = (q.log_prob(z).squeeze(1) + log_weight).exp()
    if method.bound is elbo:
        value = (mass * log_ratio).sum()
    elif method.stratified:  # one draw from each of two components
        first, second = (q.component.log_prob(z.unsqueeze(-2))[:, 0] + log_weight[:, None]).exp().T
        log_pi = q.log_pi[0]
        terms = torch.logaddexp(
            log_pi[0] + log_ratio.unsqueeze(1), log_pi[1] + log_ratio.unsqueeze(0)
        )
        value = torch.einsum("i,j,ij->", first, second, terms)
    else:  # two draws
        terms = torch.logaddexp(log_ratio.unsqueeze(1), log_ratio.unsqueeze(0))
        value = torch.einsum("i,j,ij->", mass, mass, terms)
    return torch.autograd.grad(value, params)[0][0]


def sampled_gradients(name, gradient, vae, x, observed, params):
    """Return one draw of the estimator per row, (N_ROWS, P)."""
    method = BOUND_METHODS[name]
    copies = params.repeat(N_ROWS, 1).requires_grad_()
    vae.encoder = FixedEncoder(copies)
    draws = vae.draw(
        x.expand(N_ROWS, -1),
        observed.expand(N_ROWS, -1),
        1 if method.stratified else 2,
        stream(1),
        stratified=method.stratified,
        gradient=gradient,
    )
    return torch.autograd.grad(method.bound(draws).sum(), copies)[0]


@pytest.mark.parametrize("family", ["normal", "student_t"])
@pytest.mark.parametrize(("name", "gradient"), sorted(UNBIASED))
def test_estimator_is_unbiased(name, gradient, family):
    case = example(name, family)
    exact = exact_gradient(name, *case)
    gradients = sampled_gradients(name, gradient, *case)
    assert exact.abs().max() > 0.02
    assert deviates(gradients, exact) < 4.5


@pytest.mark.parametrize(("name", "gradient"), sorted(BIASED))
def test_estimator_is_biased(name, gradient):
    case = example(name, "normal")
    gradients = sampled_gradients(name, gradient, *case)
    assert deviates(gradients, exact_gradient(name, *case)) > 6


def test_sticking_the_landing_keeps_the_gradient_of_the_masses():
    vae, x, observed, params = example("MissSVAE", "normal")
    gradients = sampled_gradients("MissSVAE", "stl", vae, x, observed, params)
    logits = gradients[:, -2:]
    assert deviates(logits, torch.zeros(2).double()) > 10


def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    model = LinearGaussian(one_latent_each=True)
    vae = model.vae()
    x, observed = model.rows(6)
    params = vae.encoder(torch.cat([torch.where(observed, x, 0.0), observed.double()], -1))
    params = params.clone().requires_grad_()
    vae.encoder = FixedEncoder(params)
    sizes = {}
    for gradient in ("stl", "plain"):
        draws = vae.draw(x, observed, 2, stream(), gradient=gradient)
        sizes[gradient] = torch.autograd.grad(elbo(draws).sum(), params)[0].abs().max()
    assert sizes["stl"] < 1e-6 < 1e-2 < sizes["plain"]
