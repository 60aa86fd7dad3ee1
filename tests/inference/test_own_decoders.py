"""Latents for decoders with shifted outputs, chosen from those of the common decoder."""

import pytest
import torch
from helpers import stream
from torch import nn

from skmissvae.inference import own_decoders
from skmissvae.inference.own_decoders import CommonLatents
from skmissvae.vae.distributions import DiagonalNormal, Mixture
from skmissvae.vae.networks.shifted import DecoderShifts

N_ROWS, N_LATENTS, REQUIRED_ESS = 5, 1, 4.0
PRIOR = Mixture(torch.zeros(1), DiagonalNormal(torch.zeros(1, 1), torch.ones(1, 1)))


def log_p(outputs, rows):
    """Return log N(outputs; 0, 0.5), the same for all rows, (m, n, R)."""
    return -2 * outputs.square().sum(-1).double()


def latents(z, log_p=log_p, is_separable=True):
    share = torch.ones(len(z), dtype=torch.float64)
    return CommonLatents(z, share, nn.Identity(), PRIOR.log_prob, log_p, 10**6, is_separable)


def posterior_draws():
    """Return latents from the posterior given outputs z, N(0, 0.2), in double precision."""
    return stream(0).normal(N_ROWS, 128, N_LATENTS) * 0.2**0.5


def added(value):
    layer = nn.Linear(1, 1).double().requires_grad_(False)
    layer.weight.fill_(0.0)
    layer.bias.fill_(value)
    return DecoderShifts([layer])


def chosen(z, shift, **options):
    u = (torch.arange(N_ROWS) + 0.5).view(-1, 1) / N_ROWS
    return latents(z, **options).choose(u, added(shift), REQUIRED_ESS)[:, 0, 0]


def test_latents_that_are_sufficient_are_not_moved():
    z = posterior_draws()
    assert all(value in row for value, row in zip(chosen(z, 0.2), z, strict=True))


def test_moved_latents_are_around_the_mean_of_the_posterior():
    # given outputs z + 3 it is -3 * 0.8
    values = chosen(posterior_draws(), 3.0)
    assert not values.isnan().any()
    assert abs(values.mean() + 2.4) < 3 * 0.2**0.5 / N_ROWS**0.5


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_latents_whose_density_is_not_finite_have_no_weight(value):
    def broken(outputs, rows):
        return torch.where(outputs.sum(-1) > 1.2, value, log_p(outputs, rows))

    for shift in (0.2, 1.4):
        values = chosen(posterior_draws(), shift, log_p=broken)
        assert ((values + shift) <= 1.2).all()


def test_a_move_to_densities_that_are_not_finite_is_not_used():
    n_calls = []

    def broken(outputs, rows):
        n_calls.append(len(rows))
        return log_p(outputs, rows) * (torch.nan if len(n_calls) > 2 else 1.0)

    z = posterior_draws()
    values = chosen(z, 0.8, log_p=broken)
    assert len(n_calls) > 2
    assert all(value in row for value, row in zip(values, z, strict=True))


def test_all_rows_are_evaluated_if_their_number_matters():
    z, sizes = posterior_draws(), []
    z[::2] = 0.2 * z[::2] - 1.2  # sufficient for this shift, as the posterior is around -1.2

    def counted(outputs, rows):
        sizes.append(len(rows))
        return log_p(outputs, rows)

    separable = chosen(z, 1.5, log_p=counted)
    assert min(sizes) < N_ROWS
    sizes.clear()
    together = chosen(z, 1.5, log_p=counted, is_separable=False)
    assert set(sizes) == {N_ROWS}
    torch.testing.assert_close(separable, together)


def test_without_sufficient_latents_there_are_none(monkeypatch):
    monkeypatch.setattr(own_decoders, "_N_MOVES", 0)
    assert chosen(posterior_draws(), 30.0).isnan().all()
