"""The VAE ignores missing cells, and gradient estimators only differ in the encoder."""

import itertools
import math

import pytest
import torch
from helpers import (
    BOUND_METHODS,
    MetaNoise,
    NoTensorElsewhere,
    generator,
    stream,
    tiny_rows,
    tiny_vae,
)

from skmissvae.training.loop import train
from skmissvae.training.objectives import BoundObjective
from skmissvae.training.optim import TrainingSettings
from skmissvae.vae import NormalLikelihood, elbo, iwelbo
from skmissvae.vae.likelihoods import LIKELIHOODS
from skmissvae.vae.posteriors import POSTERIORS
from skmissvae.vae.priors import PRIORS

D, L = 4, 2
DRAWING = {
    "ancestral": {},
    "systematic": {"systematic": True},
    "stratified": {"stratified": True},
}


def double_vae(likelihood="normal", **options):
    return tiny_vae(D, L, likelihood=LIKELIHOODS[likelihood](D, 0.01), **options).double()


def cells(likelihood, n=6):
    """Return rows with values in the support of the likelihood, and their mask."""
    rows, support = tiny_rows(n, dtype=torch.float64), LIKELIHOODS[likelihood](D, 0.01).support
    x = rows.x if support == "real" else rows.x.sigmoid()
    return (x.round() if support == "binary" else x), rows.observed


@pytest.mark.parametrize("drawing", DRAWING)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_values_of_missing_cells_do_not_change_draws_or_gradients(likelihood, drawing):
    outcomes = []
    for filling in (0.0, math.nan, math.inf, 1e30):
        vae, (x, observed) = double_vae(likelihood), cells(likelihood)
        x = torch.where(observed, x, filling)
        draws = vae.draw(x, observed, 3, stream(), **DRAWING[drawing])
        iwelbo(draws).sum().backward()
        grads = [weight.grad for weight in vae.parameters()]
        outcomes.append([draws.z, draws.log_ratio, *grads])
    expected, *others = outcomes
    for actual in others:
        assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


@torch.no_grad()
def test_missing_columns_are_equivalent_to_absent_columns():
    vae, (x, observed) = double_vae(), cells("normal")
    observed[:, 1:3] = False
    smaller = tiny_vae(2, L, likelihood=NormalLikelihood(2)).double()
    # inputs and outputs come in two halves: values and mask, location and scale
    observed_columns = [0, 3]
    keep = [*observed_columns, *(D + i for i in observed_columns)]
    smaller.load_state_dict(
        {
            name: value[:, keep]
            if name in ("encoder.inlet.weight", "encoder.linear.weight")
            else value[keep]
            if name in ("decoder.outlet.weight", "decoder.outlet.bias", "decoder.linear.weight")
            else value
            for name, value in vae.state_dict().items()
        }
    )
    full = vae.draw(x, observed, 3, stream())
    part = smaller.draw(x[:, observed_columns], observed[:, observed_columns], 3, stream())
    torch.testing.assert_close(full.z, part.z)
    torch.testing.assert_close(full.log_ratio, part.log_ratio)


@torch.no_grad()
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_ratio_of_complete_rows_is_joint_over_posterior(likelihood):
    vae, (x, observed) = double_vae(likelihood), cells(likelihood)
    observed = torch.ones_like(observed)
    draws = vae.draw(x, observed, 3, stream())
    expected = (
        vae.decode(draws.z).log_prob(x).sum(-1)
        + vae.prior().log_prob(draws.z)
        - vae.posterior(x, observed).log_prob(draws.z)
    )
    torch.testing.assert_close(draws.log_ratio, expected)


@torch.no_grad()
@pytest.mark.parametrize("drawing", DRAWING)
def test_masses_sum_to_one(drawing):
    vae, (x, observed) = double_vae(), cells("normal")
    draws = vae.draw(x, observed, 3, stream(), **DRAWING[drawing])
    torch.testing.assert_close(draws.log_mass.exp().sum(0), torch.ones(6).double())


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
@pytest.mark.parametrize("name", BOUND_METHODS)
def test_gradient_estimators_only_differ_in_the_encoder(name, gradient):
    """Gradients of decoder and prior are those of the plain bound."""
    method, outcomes = BOUND_METHODS[name], []
    for choice in ("plain", gradient):
        vae, (x, observed) = double_vae(prior="mixture"), cells("normal")
        draws = vae.draw(x, observed, 3, stream(), stratified=method.stratified, gradient=choice)
        method.bound(draws).sum().backward()
        others = [*vae.decoder.parameters(), *vae.prior.parameters()]
        outcomes.append(
            ([method.bound(draws), *(p.grad for p in others)], vae.encoder.outlet.weight.grad)
        )
    for ours, theirs in zip(outcomes[0][0], outcomes[1][0], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(outcomes[0][1], outcomes[1][1])


@pytest.mark.parametrize("stratified", [False, True])
def test_stl_only_detaches_the_log_density_of_the_posterior(stratified):
    """The gradient to the parameters of the posterior is by draws and masses only."""
    vae, (x, observed) = double_vae(), cells("normal")
    gradients = []
    for detached in (False, True):
        q = vae.posterior(x, observed)
        noise = stream()
        if detached:
            z, log_mass = q.stratified(2, noise) if stratified else q.ancestral(2, noise)
            log_ratio = vae.log_joint(x, observed, z) - q.detach().log_prob(z)
            value = (log_mass.exp() * log_ratio).sum()
        else:
            value = elbo(
                vae.draw(x, observed, 2, noise, stratified=stratified, gradient="stl")
            ).sum()
        gradients.append(torch.autograd.grad(value, vae.encoder.outlet.weight)[0])
    torch.testing.assert_close(*gradients)
    n_logits = vae.family.n_components
    assert gradients[0][-n_logits:].abs().sum() > 0


@torch.no_grad()
def test_outliers_are_clamped_for_the_encoder_but_not_for_the_likelihood():
    vae, (x, observed) = double_vae(), cells("normal")
    observed = torch.ones_like(observed)
    x[:, 0], closer = 1e6, x.clone()
    closer[:, 0] = 1e3
    posterior = vae.posterior(x, observed)
    assert torch.equal(posterior.component.loc, vae.posterior(closer, observed).component.loc)
    z = posterior.stratified(1, stream())[0]
    assert (vae.log_joint(x, observed, z) < vae.log_joint(closer, observed, z)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_works_in_every_dtype(dtype):
    vae, rows = tiny_vae().to(dtype), tiny_rows(dtype=dtype)
    objective = BoundObjective(elbo, 1, stratified=True, gradient="stl")
    state = train(vae, objective, rows, TrainingSettings(2, 32, 1e-3), generator())
    assert all(math.isfinite(value) for value in state.history["bound"])
    assert {p.dtype for p in vae.parameters()} == {dtype}


@pytest.mark.slow
@pytest.mark.parametrize("drawing", DRAWING)
@pytest.mark.parametrize(
    ("likelihood", "prior"), zip(LIKELIHOODS, itertools.cycle(PRIORS), strict=False)
)
@pytest.mark.parametrize("family", POSTERIORS)
def test_draw_creates_no_tensor_on_another_device(family, prior, likelihood, drawing):
    likelihood = LIKELIHOODS[likelihood](D, 0.01)
    vae = tiny_vae(D, L, prior=prior, family=family, likelihood=likelihood).to("meta")
    x = torch.empty(6, D, device="meta")
    observed = torch.empty(6, D, device="meta", dtype=torch.bool)
    with NoTensorElsewhere():
        draws = vae.draw(x, observed, 3, MetaNoise(), gradient="dreg", **DRAWING[drawing])
        (elbo(draws) + iwelbo(draws)).sum().backward()
    assert draws.columns.mean().shape == (*draws.log_ratio.shape, D)
