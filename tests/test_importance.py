import math

import pytest
import torch
from helpers import SplitNoise, deviates, stream, tiny_rows, tiny_vae
from torch import nn

from skmissvae import importance

N = 2 * importance.BLOCK + 44  # draws that fill no block


@torch.no_grad()
@pytest.mark.parametrize("n", [1, importance.BLOCK, N])
def test_masses_sum_to_one_over_blocks(n):
    rows = tiny_rows(5)
    parts = list(
        importance.blocks(tiny_vae(), rows.x, rows.observed, n, stream(dtype=torch.float32))
    )
    log_mass = torch.cat([part.log_mass for part in parts])
    assert log_mass.shape == (n, 5)
    torch.testing.assert_close(log_mass.exp(), torch.full_like(log_mass, 1 / n))


@torch.no_grad()
def test_moments_are_weighted_sums_over_all_draws():
    vae, rows = tiny_vae().double(), tiny_rows(5, dtype=torch.float64)
    parts = list(importance.blocks(vae, rows.x, rows.observed, N, stream()))
    log_w = torch.cat([part.log_mass + part.log_ratio for part in parts])  # (N, B)
    w = log_w.softmax(0)
    found = importance.moments(vae, rows.x, rows.observed, N, stream())
    torch.testing.assert_close(found.ess, 1 / w.square().sum(0))
    evidence = importance.evidence(vae, rows.x, rows.observed, N, stream())
    torch.testing.assert_close(evidence.log_evidence, log_w.logsumexp(0))
    assert torch.equal(evidence.ess, found.ess)
    z, x = (torch.cat(p) for p in zip(*[(p.z, p.columns.mean()) for p in parts], strict=True))
    torch.testing.assert_close(found.z, torch.einsum("mb,mbl->bl", w, z))
    torch.testing.assert_close(found.expected, torch.einsum("mb,mbd->bd", w, x))


@torch.no_grad()
def test_resampled_latents_follow_the_weights_of_the_pool():
    vae, rows = tiny_vae(n_components=1).double(), tiny_rows(3, dtype=torch.float64)
    pool = importance.moments(vae, rows.x, rows.observed, N, SplitNoise(1))
    z, ess = importance.resample(vae, rows.x, rows.observed, N, SplitNoise(1), size=50_000)
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
        for part in found(vae, rows.x, rows.observed, N, stream(dtype=torch.float32)):
            assert part.isfinite().all()
    z, ess = importance.resample(
        vae, rows.x, rows.observed, N, stream(dtype=torch.float32), size=20
    )
    assert z.isfinite().all()
    assert ess.isfinite().all()
    if not everywhere:
        seen = rows.observed.any(-1)
        assert (z[:, seen, 0] <= 0).all()  # a broken draw has no weight beside a sound one
