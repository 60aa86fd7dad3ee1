"""MCMC diagnostics: agreement with ArviZ, and chains with an exact effective sample size."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from skmissvae.inference.mcmc_diagnostics import (
    rank_normalized_diagnostics,
    worst_cell_diagnostics,
)


def autoregression(rho, n_steps=2000, n_chains=4, n_cells=1, offset=0.0, seed=0):
    """Return chains (T, n, D) with N(0, 1) marginals, the k-th shifted by k offsets."""
    rng = np.random.default_rng(seed)
    trace = rng.normal(size=(n_steps, n_chains, n_cells))
    for t in range(1, n_steps):
        trace[t] = rho * trace[t - 1] + math.sqrt(1 - rho**2) * trace[t]
    return torch.tensor(trace + offset * np.arange(n_chains)[:, None])


CHAINS = {
    "independent": lambda *shape: autoregression(0.0, *shape),
    "autocorrelated": lambda *shape: autoregression(0.9, *shape),
    "antithetic": lambda *shape: autoregression(-0.8, *shape),
    "in disagreement": lambda *shape: autoregression(0.3, *shape, offset=1.0),
    "of different scales": lambda *shape: (
        autoregression(0.3, *shape) * torch.arange(1, shape[1] + 1).view(-1, 1)
    ),
    "with heavy tails": lambda *shape: autoregression(0.5, *shape).mul(5).sinh(),
    "with ties": lambda *shape: autoregression(0.5, *shape).mul(2).round(),
    "of two values": lambda *shape: (autoregression(0.5, *shape) > 1.2).double(),
}


def arviz_diagnostics(trace):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    axes = {"chain_axis": 1, "draw_axis": 0}
    with np.errstate(divide="ignore", invalid="ignore"):  # constant chains
        return (
            array_stats.ess(trace.numpy(), method="bulk", **axes),
            array_stats.rhat(trace.numpy(), method="rank", **axes),
        )


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("n_chains", [1, 2, 7])
@pytest.mark.parametrize("n_steps", [10, 11, 12, 13, 14, 50, 301])
def test_diagnostics_agree_with_arviz(n_steps, n_chains, kind):
    trace = CHAINS[kind](n_steps, n_chains, 5)
    ess, r_hat = rank_normalized_diagnostics(trace)
    expected_ess, expected_r_hat = arviz_diagnostics(trace)
    np.testing.assert_allclose(ess, expected_ess, rtol=1e-9)
    if n_chains > 1:  # ArviZ has no R-hat of one chain
        constant = (trace == trace[0, 0]).all((0, 1))
        np.testing.assert_allclose(r_hat[~constant], expected_r_hat[~constant], rtol=1e-9)
        assert (r_hat[constant] == 1).all()


@pytest.mark.parametrize("n_steps", range(4, 10))
def test_short_chains_differ_from_arviz_in_ess_only(n_steps):
    # ArviZ sums no autocorrelation of half chains of fewer than five values
    trace = autoregression(0.8, n_steps, 10, 50)
    ess, r_hat = rank_normalized_diagnostics(trace)
    upper_limit, expected_r_hat = arviz_diagnostics(trace)
    np.testing.assert_allclose(r_hat, expected_r_hat, rtol=1e-9)
    n_values = 10 * 2 * (n_steps // 2)
    np.testing.assert_allclose(upper_limit, n_values * math.log10(n_values))
    assert (ess <= n_values).all()


def test_r_hat_equals_the_formula_of_the_paper():
    trace = autoregression(0.9, 40, 3, offset=0.5).squeeze(-1).numpy()
    halves = np.concatenate([trace[:20], trace[20:]], 1)
    expected = 0.0
    for values in (halves, np.abs(halves - np.median(halves))):
        z = stats.norm.ppf((stats.rankdata(values) - 3 / 8) / (120 + 1 / 4)).reshape(20, 6)
        within, between = z.var(0, ddof=1).mean(), z.mean(0).var(ddof=1)
        expected = max(expected, math.sqrt((19 / 20 * within + between) / within))
    _, r_hat = rank_normalized_diagnostics(torch.tensor(trace))
    assert r_hat.item() == pytest.approx(expected)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
def test_effective_sample_sizes_of_autoregressions_are_exact(rho):
    ess, r_hat = rank_normalized_diagnostics(autoregression(rho, n_cells=30))
    expected = 8000 * (1 - rho) / (1 + rho)
    assert ess.mean().item() == pytest.approx(expected, rel=0.05)
    assert (abs(ess / expected - 1) < 0.35).all()
    assert (r_hat < 1.03).all()


def test_bulk_ess_does_not_change_under_monotone_transforms():
    trace = autoregression(0.5, 100, 4, 5)
    ess, _ = rank_normalized_diagnostics(trace)
    transformed, _ = rank_normalized_diagnostics(trace.mul(10).exp())
    torch.testing.assert_close(transformed, ess, rtol=0, atol=0)


def test_chains_with_different_locations_have_a_high_r_hat():
    ess, r_hat = rank_normalized_diagnostics(autoregression(0.5, offset=3.0))
    assert r_hat.item() > 1.5
    assert ess.item() < 50
    drift = torch.linspace(0, 10, 100, dtype=torch.float64).view(100, 1, 1)
    _, r_hat = rank_normalized_diagnostics(autoregression(0.0, 100, 1) + drift)
    assert r_hat.item() > 1.5


def test_chains_of_different_scales_have_a_high_r_hat():
    scale = torch.tensor([1.0, 1.0, 1.0, 10.0]).view(4, 1)
    _, r_hat = rank_normalized_diagnostics(autoregression(0.0) * scale)
    assert r_hat.item() > 1.2


def test_cells_are_diagnosed_independently():
    trace = torch.cat([autoregression(-0.9, 50, 3), autoregression(0.5, 50, 3)], -1)
    together = rank_normalized_diagnostics(trace)
    first_alone = rank_normalized_diagnostics(trace[..., :1])
    in_rows = rank_normalized_diagnostics(trace.unsqueeze(2))
    for diagnostic, alone, row in zip(together, first_alone, in_rows, strict=True):
        torch.testing.assert_close(alone, diagnostic[:1])
        torch.testing.assert_close(row, diagnostic.unsqueeze(0))


def test_the_worst_missing_cell_of_a_row_is_reported():
    trace = torch.cat([autoregression(rho, 200) for rho in (0.0, 0.5, 0.9)], -1)
    trace = trace.unsqueeze(2).expand(-1, -1, 2, -1)
    observed = torch.tensor([[False, False, True], [True, False, False]])
    cells = rank_normalized_diagnostics(trace[:, :, 0])
    ess, r_hat = worst_cell_diagnostics(trace, observed)
    torch.testing.assert_close(ess, cells[0][1:])
    torch.testing.assert_close(r_hat, torch.stack([cells[1][:2].amax(), cells[1][1:].amax()]))


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_chains_of_fewer_than_four_values_cannot_be_assessed(n_steps):
    ess, r_hat = rank_normalized_diagnostics(torch.zeros(n_steps, 5, 2))
    assert (ess == 1).all()
    assert r_hat.isinf().all()


@pytest.mark.parametrize("n_steps", [4, 24])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e5 / 7])
def test_constant_chains_have_converged(value, n_steps):
    trace = torch.full((n_steps, 5, 2), value, dtype=torch.float64)
    ess, r_hat = rank_normalized_diagnostics(trace)
    assert (ess == n_steps * 5).all()
    assert (r_hat == 1).all()


def test_chains_stuck_at_different_values_disagree():
    trace = torch.arange(5.0, dtype=torch.float64).view(1, 5, 1).expand(40, 5, 1)
    ess, r_hat = rank_normalized_diagnostics(trace)
    assert r_hat.item() > 100
    assert ess.item() < 15


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n_steps", [4, 50])
def test_values_that_are_not_finite_cannot_be_assessed(n_steps, value):
    trace = autoregression(0.5, n_steps, 4, 3)
    expected = rank_normalized_diagnostics(trace[..., 1:])
    trace[2, 1, 0] = value
    ess, r_hat = rank_normalized_diagnostics(trace)
    assert ess[0] == 1
    assert r_hat[0] == math.inf
    torch.testing.assert_close((ess[1:], r_hat[1:]), expected)


def test_diagnostics_have_the_dtype_of_the_chains():
    trace = autoregression(0.5, 50, 4, 3)
    single = rank_normalized_diagnostics(trace.float())
    assert [part.dtype for part in single] == [torch.float32] * 2
    expected = [part.float() for part in rank_normalized_diagnostics(trace)]
    torch.testing.assert_close(list(single), expected, rtol=1e-3, atol=0)
