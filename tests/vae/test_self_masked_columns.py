"""Self-masking: probabilities of masks, and distributions of missing cells."""

import math

import pytest
import torch
from helpers import LinearGaussian, generator, stream, uniform
from torch import nn

from skmissvae.inference import ImportanceSampler
from skmissvae.vae import (
    BernoulliLikelihood,
    NormalLikelihood,
    ProductLikelihood,
    StudentTLikelihood,
)
from skmissvae.vae.likelihoods.base import ColumnDistribution, Limits
from skmissvae.vae.likelihoods.counts import DiscretizedLogisticLikelihood
from skmissvae.vae.likelihoods.normal import NormalColumns
from skmissvae.vae.likelihoods.point_mass import PointMassLikelihood
from skmissvae.vae.likelihoods.transformed import TransformedLikelihood
from skmissvae.vae.missingness import SelectedColumns, SelfMasking, _log_expected, _means

SKEWED = [[0.1, -0.2, 0.5, -0.3], [0.0, 0.0, 0.0, 0.0], [-0.3, 0.2, -0.8, 0.2]]
GRID = [1.0, 0.5, 2.0], [0.0, -math.inf, -2.0], [0.0, 0.25, 4.0]
FACTORIES = {
    "normal": lambda: NormalLikelihood(3),
    "student_t": lambda: StudentTLikelihood(3),
    "bernoulli": lambda: BernoulliLikelihood(3),
    "transformed": lambda: TransformedLikelihood(NormalLikelihood(3), SKEWED),
    "counts": lambda: DiscretizedLogisticLikelihood(*GRID, transforms=SKEWED),
    "point mass": lambda: PointMassLikelihood(NormalLikelihood(3), [0.5, -1.0, 0.0], [0.3] * 3),
    "product": lambda: ProductLikelihood(
        [StudentTLikelihood(1), BernoulliLikelihood(1), NormalLikelihood(1)], [[1], [0], [2]]
    ),
}
SLOPE = torch.tensor([0.8, -1.5, 3.0]).double()
ALL = torch.ones(3, dtype=torch.bool)
INTERCEPT = torch.tensor([-0.5, 0.3, -1.0]).double()

every_likelihood = pytest.mark.parametrize("name", FACTORIES)


def columns_of(name, *batch, seed=0) -> ColumnDistribution:
    likelihood = FACTORIES[name]().double().requires_grad_(False)
    return likelihood(uniform(*batch, likelihood.n_params, seed=seed, low=-1.5, high=1.5))


def slope_of(name):
    """Return slopes for a likelihood; neighbouring values of a count differ by up to two."""
    return SLOPE / 3 if name == "counts" else SLOPE


def self_masking(slope=SLOPE):
    """Return a model with these coefficients and INTERCEPT."""
    model = SelfMasking(["any"] * 3, [0.5] * 3, [True] * 3).double()
    with torch.no_grad():
        model.raw_slope.copy_(slope / 10)
        model.raw_intercept.copy_(INTERCEPT / 10)
    return model.requires_grad_(False)


def of_missing(model, columns):
    """Return the distribution of cells of rows in which all cells are missing."""
    x = torch.zeros(columns.shape[-2:]).double()
    return model.of_missing(columns, x, torch.zeros_like(x, dtype=torch.bool))


@every_likelihood
def test_the_expected_probability_is_that_over_draws(name):
    columns, slope, n = columns_of(name, 4), slope_of(name), 100_000
    likelihood = FACTORIES[name]().double().requires_grad_(False)
    params = uniform(4, likelihood.n_params, low=-1.5, high=1.5).expand(n, 4, -1)
    x = likelihood(params).sample(stream(1))
    p = torch.special.ndtr(slope * columns.transformed(x) + INTERCEPT)
    expected = _log_expected(columns, slope, INTERCEPT, ALL).exp()
    assert ((p.mean(0) - expected).abs() < (0.01 if name == "counts" else 0.006)).all()


@every_likelihood
def test_missing_cells_have_the_distribution_of_selected_draws(name):
    likelihood = FACTORIES[name]().double().requires_grad_(False)
    params, n = uniform(4, likelihood.n_params, low=-1.5, high=1.5), 20_000
    slope = slope_of(name)
    model = self_masking(slope)
    x = likelihood(params.expand(n, 4, -1)).sample(stream(1))
    columns = likelihood(params)
    p = torch.special.ndtr(slope * columns.transformed(x) + INTERCEPT)
    missing = of_missing(model, likelihood(params))
    w, tolerance = p / p.sum(0), 0.1 if name == "counts" else 5e-3
    spread = ((w * x.square()).sum(0) - (w * x).sum(0).square()).clamp_min(1e-6).sqrt()
    error = 4.5 * spread * (w.square().sum(0) + 1 / n).sqrt() + tolerance * spread
    assert ((missing.mean() - (w * x).sum(0)).abs() < error).all()
    draws = of_missing(model, likelihood(params.expand(n // 4, 4, -1))).sample(stream(2))
    error = 4.5 * spread * (w.square().sum(0) + 4 / n).sqrt() + tolerance * spread
    assert ((draws.mean(0) - (w * x).sum(0)).abs() < error).all()
    for at in (-0.4, 0.6):
        below = (w * (x <= at)).sum(0)
        cdf = missing.cdf(torch.full((4, 3), at).double())
        assert ((cdf - below).abs() < (0.05 if name == "counts" else 0.02)).all()


@pytest.mark.parametrize("name", ["normal", "student_t", "transformed", "point mass"])
def test_quantiles_are_inverse_to_the_distribution_function(name):
    missing = of_missing(self_masking(), columns_of(name, 4))
    u = uniform(6, 4, 3, low=0.02, high=0.98)
    at = missing.icdf(u)
    assert (missing.cdf(at) >= u - 1e-3).all()
    assert (missing.cdf_left(at) <= u + 1e-3).all()


@pytest.mark.parametrize(
    ("loc", "scale", "slope", "intercept"),
    [
        (-1.0, 0.2, 10, -10),
        (0.0, 0.3, 10, -20),
        (0.5, 1.0, -20, 3),
        (0.0, 1.0, 20, 0),
        (3.0, 0.1, 0.5, 0),
    ],
)
def test_means_and_draws_agree_for_steep_slopes_and_improbable_cells(loc, scale, slope, intercept):
    base = NormalColumns(torch.full((1,), loc).double(), torch.full((1,), scale).double())
    coefficients = (torch.tensor([float(c)], dtype=torch.float64) for c in (slope, intercept))
    missing = SelectedColumns(base, *coefficients)
    x = torch.linspace(-9, 9, 400_001, dtype=torch.float64).unsqueeze(-1)
    log_p = missing.log_prob(x)
    p = log_p.softmax(0)
    assert log_p.exp().sum() * (x[1] - x[0]) == pytest.approx(1, abs=1e-3)
    mean = (p * x).sum()
    std = (p * (x - mean).square()).sum().sqrt()
    draws = missing.icdf((torch.arange(2000).double() + 0.5).unsqueeze(-1) / 2000)
    assert missing.mean().item() == pytest.approx(mean.item(), abs=1e-3 * scale)
    assert draws.mean().item() == pytest.approx(mean.item(), abs=0.03 * std.item())
    assert draws.std().item() == pytest.approx(std.item(), rel=0.05)
    at = x[::1000]
    torch.testing.assert_close(missing.cdf(at), p.cumsum(0)[::1000], atol=0.03, rtol=0)


@pytest.mark.parametrize("name", ["normal", "transformed", "student_t"])
def test_densities_of_missing_cells_integrate_to_one(name):
    missing = of_missing(self_masking(), columns_of(name, 4))
    x = torch.linspace(-60, 60, 40_001, dtype=torch.float64)
    p = missing.log_prob(x.view(-1, 1, 1).expand(-1, 4, 3)).exp().sum(0) * (x[1] - x[0])
    torch.testing.assert_close(p, torch.ones(4, 3).double(), atol=5e-3, rtol=0)


# values of counts are not differentiable
@pytest.mark.parametrize("name", [name for name in FACTORIES if name != "counts"])
def test_gradients_are_those_of_finite_differences(name):
    likelihood = FACTORIES[name]().double().requires_grad_(False)
    params = uniform(4, likelihood.n_params, low=-1.5, high=1.5).requires_grad_()

    def log_expected(params, slope, intercept):
        return _log_expected(likelihood(params), slope, intercept, ALL)

    coefficients = (t.clone().requires_grad_() for t in (SLOPE, INTERCEPT))
    assert torch.autograd.gradcheck(log_expected, (params, *coefficients), rtol=1e-4, atol=1e-6)


def test_counts_move_as_their_continuous_distribution_does():
    likelihood = FACTORIES["counts"]().double().requires_grad_(False)
    params = uniform(4, likelihood.n_params, low=-1.5, high=1.5).requires_grad_()
    log_p = likelihood(params).log_expected_probit(SLOPE, INTERCEPT)
    (gradient,) = torch.autograd.grad(log_p.sum(), params)
    assert (gradient[:, :3] * SLOPE > 0).all()


def test_signs_and_ignorable_columns():
    model = SelfMasking(["high", "low", "ignorable"], [0.3, 0.2, 0.4], [True] * 3)
    slope, intercept = (value.detach() for value in model.coefficients())
    assert slope[0] > 0 > slope[1]
    assert slope[2] == intercept[2] == 0
    shares = torch.special.ndtr(intercept[:2])
    torch.testing.assert_close(shares, torch.tensor([0.3, 0.2]))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.tensor([-50.0, 50.0, 9.0]))
    slope, _ = model.coefficients()
    assert slope[0] >= 0 >= slope[1]
    columns = NormalLikelihood(3)(uniform(5, 6).float())
    x, observed = uniform(5, 3).float(), uniform(5, 3, seed=1) > 0.5
    assert (model.log_prob(columns, x, observed, ~observed)[..., 2] == 0).all()


def test_probabilities_of_all_masks_sum_to_one():
    model = self_masking()
    # values of observed cells are integrated over
    x = torch.linspace(-40, 40, 20_001, dtype=torch.float64).view(-1, 1, 1).expand(-1, 1, 3)
    yes = torch.ones(1, 3, dtype=torch.bool)
    one = columns_of("normal", 1)
    log_p_mask = model.log_prob(one, x, yes, ~yes)
    observed = (log_p_mask + one.log_prob(x)).exp().sum(0) * (x[1, 0, 0] - x[0, 0, 0])
    missing = model.log_prob(one, x[:1], ~yes, yes).exp()[0]
    torch.testing.assert_close(observed + missing, torch.ones(1, 3).double(), atol=1e-4, rtol=0)


WEIGHTS = torch.tensor([[9.0, 0.5, -1.0], [0.3, 9.0, 0.0], [0.0, 0.7, 9.0]]).double()


def linear():
    """Return a model with the coefficients of self_masking, and WEIGHTS."""
    model = SelfMasking(["linear"] * 3, [0.5] * 3, [True] * 3).double()
    model.load_state_dict(self_masking().state_dict(), strict=False)
    with torch.no_grad():
        model.raw_weight.copy_(WEIGHTS / 10)
    return model.requires_grad_(False)


@every_likelihood
def test_other_columns_move_the_intercept_of_linear_ones(name):
    model, other = linear(), self_masking()
    weights = WEIGHTS * (1 - torch.eye(3))
    torch.testing.assert_close(model.weights(), weights)
    columns = columns_of(name, 4)
    x, observed = columns.sample(stream(1)), uniform(4, 3, seed=2) > 0.5
    missing = ~observed
    values = torch.where(observed, columns.transformed(x), _means(columns))
    intercept = INTERCEPT + (weights @ values.unsqueeze(-1)).squeeze(-1)
    log_p = model.log_prob(columns, x, observed, missing)
    cells = model.of_missing(columns, x, observed)
    for i in range(4):
        with torch.no_grad():
            other.raw_intercept.copy_(intercept[i] / 10)
        of_row = other.log_prob(columns, x, observed, missing)[i]
        torch.testing.assert_close(log_p[i], of_row, atol=1e-9, rtol=1e-9)
        mean = of_missing(other, columns).mean()[i]
        torch.testing.assert_close(cells.mean()[i], mean, atol=1e-6, rtol=1e-6)


def test_evidence_of_a_linear_gaussian_model_with_self_masking():
    """The exact evidence is a density times the probability of jointly Normal probits."""
    exact = LinearGaussian(3, 1)
    vae = exact.vae(widen=1.3)
    vae.missingness = self_masking()
    x, observed = exact.rows(2)[0][:1], torch.tensor([[True, False, False]])
    n = 40_000
    log_evidence, ess = ImportanceSampler(vae, x, observed, n, stream(1)).evidence()
    mean, cov = exact.condition(x[0], observed[0])
    mean, cov = torch.tensor(mean[1:3]), torch.tensor(cov[1:3, 1:3])
    slope, intercept = SLOPE[1:], INTERCEPT[1:]
    spread = torch.diag(slope) @ cov @ torch.diag(slope) + torch.eye(2).double()
    noise = torch.randn(400_000, 2, generator=generator(), dtype=torch.float64)
    draws = slope * mean + intercept + noise @ torch.linalg.cholesky(spread).T
    both = (draws > 0).all(1).double()
    of_observed = torch.special.log_ndtr(-(SLOPE[0] * x[0, 0] + INTERCEPT[0]))
    expected = exact.log_evidence(x, observed) + of_observed + both.mean().log()
    error = 4.5 * (1 / ess + (1 - both.mean()) / both.sum()).sqrt()
    assert ((log_evidence - expected).abs() < error).all()


def test_missingness_goes_with_every_form_of_the_model():
    vae = LinearGaussian(3, 1).vae()
    vae.missingness = self_masking()
    for other in (vae.with_posterior_of(vae), vae.with_decoder(nn.Linear(1, 3))):
        assert other.missingness is vae.missingness


def test_cells_with_limits_contribute_their_interval_only():
    vae = LinearGaussian(3, 1).vae()
    vae.missingness = self_masking()
    x, observed = torch.zeros(2, 3).double(), torch.tensor([[True, False, False]] * 2)
    low, high = torch.full((2, 3), -torch.inf).double(), torch.full((2, 3), torch.inf).double()
    low[:, 1] = 0.3
    columns = vae.decode(uniform(5, 2, 1))
    with_limits, without = (
        vae.log_prob_of_cells(columns, x, observed, limits) for limits in (Limits(low, high), None)
    )
    torch.testing.assert_close(with_limits[..., 1], columns.log_interval(low, high)[..., 1])
    assert torch.equal(with_limits[..., [0, 2]], without[..., [0, 2]])
