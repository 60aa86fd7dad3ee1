"""Bounds equal their formulas, and are ordered."""

import math

import pytest
import torch
from helpers import deviates, stream, tiny_rows, tiny_vae

from skmissvae.vae import elbo, iwelbo

K, S = 3, 4


def vae_and_rows(n_components=K, family="normal", n=6):
    vae = tiny_vae(n_components=n_components, prior=family, family=family).double()
    return vae, tiny_rows(n + 2, dtype=torch.float64).part(slice(n))


def naive_weights_and_ratios(vae, x, observed, z):
    """Return weights pi (K,) and ratios (S, K) of the stratified draws of a row."""
    q = vae.posterior(x[None], observed[None])
    weights = [math.exp(q.log_pi[0, k]) for k in range(K)]
    ratios = []
    for s in range(S):
        ratios.append([])
        for k in range(K):
            point = z[s * K + k]
            joint = sum(
                vae.decode(point).log_prob(x)[d].item() for d in range(len(x)) if observed[d]
            )
            joint += vae.prior().log_prob(point[None]).item()
            densities = [math.exp(q.component.log_prob(point[None, None])[0, j]) for j in range(K)]
            mixture = sum(w * density for w, density in zip(weights, densities, strict=True))
            ratios[-1].append(math.exp(joint) / mixture)
    return weights, ratios


@torch.no_grad()
@pytest.mark.parametrize("family", ["normal", "student_t"])
def test_stratified_bounds_equal_the_formulas_of_the_paper(family):
    vae, rows = vae_and_rows(family=family)
    draws = vae.draw(rows.x, rows.observed, S, stream(), stratified=True)
    for b in range(len(rows.x)):
        pi, r = naive_weights_and_ratios(vae, rows.x[b], rows.observed[b], draws.z[:, b])
        both = [(s, k) for s in range(S) for k in range(K)]
        expected = {
            elbo: sum(pi[k] * math.log(r[s][k]) for s, k in both) / S,
            iwelbo: math.log(sum(pi[k] * r[s][k] for s, k in both) / S),
        }
        for bound, value in expected.items():
            assert bound(draws)[b].item() == pytest.approx(value, rel=1e-9)


@torch.no_grad()
def test_ancestral_bounds_are_means_over_draws():
    vae, rows = vae_and_rows()
    draws = vae.draw(rows.x, rows.observed, S, stream())
    torch.testing.assert_close(elbo(draws), draws.log_ratio.mean(0))
    torch.testing.assert_close(iwelbo(draws), draws.log_ratio.exp().mean(0).log())


@torch.no_grad()
@pytest.mark.parametrize("seed", range(5))
def test_elbo_is_below_iwelbo_on_the_same_draws(seed):
    vae, rows = vae_and_rows(n=50)
    draws = vae.draw(rows.x, rows.observed, S, stream(seed), stratified=True)
    assert (elbo(draws) < iwelbo(draws)).all()


@torch.no_grad()
@pytest.mark.parametrize("stratified", [False, True])
def test_expected_iwelbo_increases_with_draws_and_elbo_is_constant(stratified):
    vae, rows = vae_and_rows(n=1)
    x, observed = (t.expand(8_000, -1) for t in (rows.x, rows.observed))
    draws = [vae.draw(x, observed, n, stream(n), stratified=stratified) for n in (1, 2, 4, 8)]
    iwelbos = torch.stack([iwelbo(d) for d in draws], -1)
    assert deviates(iwelbos.diff(dim=-1), torch.zeros(3).double()) > 4.5
    assert (iwelbos.mean(0).diff() > 0).all()
    elbos = torch.stack([elbo(d) for d in draws], -1)
    assert deviates(elbos.diff(dim=-1), torch.zeros(3).double()) < 4.5


@torch.no_grad()
def test_bounds_coincide_for_one_draw_of_one_component():
    vae, rows = vae_and_rows(n_components=1)
    for stratified in (False, True):
        draws = vae.draw(rows.x, rows.observed, 1, stream(), stratified=stratified)
        torch.testing.assert_close(elbo(draws), iwelbo(draws))
    stratified_draws = vae.draw(rows.x, rows.observed, S, stream(), stratified=True)
    ancestral = vae.draw(rows.x, rows.observed, S, stream())
    for bound in (elbo, iwelbo):
        torch.testing.assert_close(bound(stratified_draws), bound(ancestral))
