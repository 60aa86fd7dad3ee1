"""The continuous Bernoulli is accurate for all logits."""

import math

import pytest
import torch
from helpers import stream

from skmissvae.vae import ContinuousBernoulliLikelihood, NormalFamily, NormalLikelihood


def of(logit, dtype, n=1):
    return ContinuousBernoulliLikelihood(1)(torch.full((n, 1), logit, dtype=dtype))


def mean_at(logit):
    if abs(logit) < 1e-3:
        return 0.5 + logit / 12
    return 0.5 + 0.5 / math.tanh(logit / 2) - 1 / logit


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("logit", [1e-6, 0.0041, 0.1, 3.0, 14.0, 20.0, 60.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_is_accurate_for_every_logit(dtype, logit, sign):
    logit *= sign
    grid = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    density = of(logit, dtype).log_prob(grid.to(dtype).unsqueeze(-1)).double().exp().squeeze(-1)
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-3)
    mean = mean_at(logit)
    columns = of(logit, dtype, 20_000)
    assert columns.mean()[0].item() == pytest.approx(mean, abs=1e-4)
    draws = columns.sample(stream(dtype=dtype)).double()
    assert ((draws >= 0) & (draws <= 1)).all()
    assert draws.mean().item() == pytest.approx(mean, abs=4.5 * draws.std().item() / 20_000**0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-60.0, -20.0, -0.0041, 0.0, 0.0041, 1.0, 20.0, 60.0])
def test_continuous_bernoulli_has_the_gradient_of_an_exponential_family(logit, dtype):
    """The derivative of the log-density by the logit is x minus the mean."""
    logits = torch.tensor([[logit]], dtype=dtype, requires_grad=True)
    value = ContinuousBernoulliLikelihood(1)(logits).log_prob(torch.tensor([[0.3]], dtype=dtype))
    (grad,) = torch.autograd.grad(value.sum(), logits)
    assert grad.item() == pytest.approx(0.3 - mean_at(logit), abs=1e-4)


def test_properties_of_custom_parts_follow_attributes_set_after_construction():
    likelihood = NormalLikelihood(2)
    likelihood.support = "unit"
    assert likelihood.supports == ["unit", "unit"]
    family = NormalFamily(2, 1)
    family.sizes = [*family.sizes, 3]
    assert family.n_params == 8
