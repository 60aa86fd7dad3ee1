"""Noise has its distribution, and that of a row depends on its seed and key only."""

import pytest
import torch
from helpers import generator
from scipy import stats

from skmissvae._utils.random import (
    AntitheticNoise,
    KeyedNoise,
    SeedStream,
    StreamNoise,
    derive_seed,
)

SOURCES = {
    "stream": lambda dtype: StreamNoise(generator(3), dtype),
    "keyed": lambda dtype: KeyedNoise(3, range(50), dtype),
    "shared": lambda dtype: KeyedNoise(3, [0], dtype),
}
KINDS = {
    "normal": (lambda noise, *shape: noise.normal(*shape), stats.norm),
    "uniform": (lambda noise, *shape: noise.uniform(*shape), stats.uniform),
    "gamma": (
        lambda noise, *shape: noise.gamma(torch.full(shape, 1.7, dtype=torch.float64)),
        stats.gamma(1.7),
    ),
}

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("source", SOURCES)
def test_noise_has_its_distribution_and_independent_rows(source, kind):
    draw, distribution = KINDS[kind]
    values = draw(SOURCES[source](torch.float64), 4000, 50, 1)
    assert stats.kstest(values.flatten().numpy(), distribution.cdf).pvalue > 1e-3
    if values.shape[1] > 1:  # rows are independent
        correlation = values.squeeze(-1).T.corrcoef() - torch.eye(50)
        assert correlation.abs().max() < 5 / 4000**0.5


@every_kind
@pytest.mark.parametrize("n", [1, 4000, 4001])
def test_antithetic_noise_has_its_distribution_in_pairs(kind, n):
    draw, distribution = KINDS[kind]
    values = draw(AntitheticNoise(KeyedNoise(3, range(5), torch.float64)), n, 5, 1)
    assert values.shape == (n, 5, 1)
    first, second = values[0 : n - 1 : 2], values[1::2]  # the last one has no partner if n is odd
    if n > 1:
        independent = torch.cat([first, values[len(first) * 2 :]])
        assert stats.kstest(independent.flatten().numpy(), distribution.cdf).pvalue > 1e-3
    if kind == "normal":
        assert torch.equal(first, -second)
    elif kind == "gamma":
        assert torch.equal(first, second)
    elif n > 1:
        assert (first != second).all()


@every_kind
def test_noise_of_a_row_is_independent_of_the_other_rows(kind):
    draw, _ = KINDS[kind]
    together, alone = KeyedNoise(3, [5, 9, 2]), KeyedNoise(3, [9])
    for shape in ((4,), (1,), (7,)):  # call after call
        assert torch.equal(draw(together, *shape, 3, 2)[:, 1:2], draw(alone, *shape, 1, 2))


@every_kind
def test_other_seeds_and_keys_give_other_noise(kind):
    draw, _ = KINDS[kind]
    noises = [KeyedNoise(seed, [key]) for seed in (3, 4, 2**64 - 1) for key in (0, 1, 2**63)]
    values = torch.stack([draw(noise, 4, 1, 2).flatten() for noise in noises])
    assert len(values.unique(dim=0)) == len(noises)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_requested_dtype(kind, dtype):
    draw, _ = KINDS[kind]
    assert draw(KeyedNoise(3, [0, 1], dtype), 4, 2, 2).dtype == dtype


def test_gamma_noise_of_a_row_has_the_concentration_of_the_row():
    concentration = torch.tensor([[0.5], [50.0]]).expand(2000, 2, 1)
    draws = KeyedNoise(0, [3, 4]).gamma(concentration)
    torch.testing.assert_close(draws.mean(0), concentration[0], rtol=0.1, atol=0)


def test_gamma_noise_is_differentiable_in_the_concentration():
    concentration = torch.full((20_000, 1), 1.7, dtype=torch.float64, requires_grad=True)
    draws = StreamNoise(generator(), torch.float64).gamma(concentration)
    (grad,) = torch.autograd.grad(draws.sum(), concentration)
    assert grad.mean().item() == pytest.approx(1, abs=0.05)  # the mean of a Gamma(a) is a


def test_seed_streams_are_distinct_and_equal_to_their_numbers():
    seeds = {derive_seed(3, stream) for stream in SeedStream}
    assert len(seeds) == len(SeedStream)
    assert derive_seed(3, SeedStream.BOOTSTRAP, 2) == derive_seed(3, 8, 2)
