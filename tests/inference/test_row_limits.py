"""Rows with limits of missing cells, against the truncated multivariate Normal distribution."""

import functools
import math

import numpy as np
import pytest
import torch
from helpers import LinearGaussian, deviates, stream
from scipy.stats import multivariate_normal

from skmissvae.inference import LAIR, MetropolisWithinGibbs
from skmissvae.inference.conditional import ConditionalModel
from skmissvae.vae.likelihoods.base import Limits

MODEL = LinearGaussian(one_latent_each=True)  # its posteriors are diagonal
# limits of some cells of a row: below, above, both
INTERVALS = {
    "upper": {0: (-math.inf, -0.5)},
    "lower": {1: (0.8, math.inf)},
    "both": {0: (0.2, 0.5), 2: (-0.4, 1.0)},
    "several": {0: (-math.inf, 0.0), 1: (0.5, math.inf), 3: (-1.0, 0.3)},
    "improbable": {2: (1.3, math.inf)},
}


def row(name):
    """Return a row of MODEL, its mask and the limits of its missing cells."""
    x, observed = MODEL.rows(4, seed=3)
    x, observed = x[2:3], torch.zeros(1, 5, dtype=torch.bool)
    observed[:, 4] = True
    low, high = torch.full((1, 5), -torch.inf).double(), torch.full((1, 5), torch.inf).double()
    for d, (a, b) in INTERVALS[name].items():
        low[0, d], high[0, d] = a, b
    return x, observed, Limits(low, high)


@functools.cache
def truth(name, n=200_000):
    """Return the log-probability of the intervals, and draws of cells and latents within them."""
    x, observed, (low, high) = row(name)
    mean, cov = MODEL.condition(x[0], observed[0])
    limited = list(INTERVALS[name])
    normal = multivariate_normal(mean[limited], cov[np.ix_(limited, limited)])
    a, b = low[0, limited].numpy(), high[0, limited].numpy()
    draws = np.random.default_rng(0).multivariate_normal(mean, cov, n)
    inside = ((draws[:, limited] >= a) & (draws[:, limited] <= b)).all(1)
    log_p = math.log(normal.cdf(b, lower_limit=a, rng=np.random.default_rng(0)))
    return MODEL.log_evidence(x, observed) + log_p, torch.tensor(draws[inside])


def batch(model, name):
    x, observed, limits = row(name)
    return model.encode(x, observed, lambda: stream(1), (0,), limits)


def conditional(n_draws=4000, **options):
    unbounded = torch.full((5,), torch.inf).double()
    bounds = -unbounded, unbounded
    return ConditionalModel(MODEL.vae(widen=1.1), n_draws, bounds=bounds, **options)


@pytest.mark.parametrize("name", INTERVALS)
def test_evidence_is_the_density_and_the_probability_of_the_intervals(name):
    model = conditional()
    log_evidence, ess = model.evidence(batch(model, name))
    expected, _ = truth(name)
    assert (log_evidence - expected).abs() < 4.5 / math.sqrt(ess.item())


@pytest.mark.parametrize("name", INTERVALS)
def test_means_are_those_of_the_truncated_distribution(name):
    model, (_, draws) = conditional(), truth(name)
    means = model.means(batch(model, name))
    result = torch.cat([means.expected[0, :4], means.z[0]])
    draws = torch.cat([draws[:, :4], draws[:, 5:]], 1)
    error = draws.std(0) * math.sqrt(1 / means.ess.item() + 1 / len(draws))
    assert ((result - draws.mean(0)).abs() < 4.5 * error).all()


@pytest.mark.parametrize("sampler", [None, LAIR(n_steps=400), MetropolisWithinGibbs(n_steps=400)])
@pytest.mark.parametrize("name", ["both", "several"])
def test_draws_are_those_of_the_truncated_distribution(name, sampler):
    model, (_, exact) = conditional(sampler=sampler), truth(name)
    low, high = row(name)[2]
    latents = model.latents(batch(model, name), 400)
    cells = model.decode(latents.z.transpose(0, 1), batch(model, name)).sample(stream(2))[:, 0]
    assert ((cells >= low) & (cells <= high))[:, :4].all()
    draws = torch.cat([cells[:, :4], latents.z[0]], 1)
    exact = torch.cat([exact[:, :4], exact[:, 5:]], 1)
    # draws of chains are correlated
    assert deviates(draws, exact.mean(0)) < (4.5 if sampler is None else 9)
    assert ((draws.std(0) / exact.std(0)).log().abs() < 0.2).all()


def test_bounds_and_limits_hold_together():
    x, observed, limits = row("upper")
    upper = torch.full((5,), torch.inf).double()
    upper[1] = 0.0
    model = conditional()._replace(bounds=(-torch.full_like(upper, torch.inf), upper))
    means = model.means(model.encode(x, observed, lambda: stream(1), (0,), limits))
    _, draws = truth("upper")
    inside = draws[draws[:, 1] <= 0]
    error = inside.std(0) * math.sqrt(1 / means.ess.item() + 1 / len(inside))
    assert ((means.expected[0] - inside[:, :5].mean(0)).abs()[:4] < 4.5 * error[:4]).all()
    # the evidence is that of the limits alone
    log_evidence = model.evidence(batch(model, "upper")).log_evidence
    assert torch.equal(log_evidence, conditional().evidence(batch(model, "upper")).log_evidence)


def test_lower_bounds_and_limits_hold_together():
    x, observed, limits = row("upper")
    lower = torch.full((5,), -torch.inf).double()
    lower[1] = 0.5
    model = conditional()._replace(bounds=(lower, torch.full_like(lower, torch.inf)))
    means = model.means(model.encode(x, observed, lambda: stream(1), (0,), limits))
    _, draws = truth("upper")
    inside = draws[draws[:, 1] >= 0.5]
    error = inside.std(0) * math.sqrt(1 / means.ess.item() + 1 / len(inside))
    assert ((means.expected[0] - inside[:, :5].mean(0)).abs()[:4] < 4.5 * error[:4]).all()
