"""Log-probabilities of intervals, for all columns of numbers."""

import math

import pytest
import torch
from helpers import uniform
from scipy import stats

from skmissvae.vae import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    NormalLikelihood,
    ProductLikelihood,
    StudentTLikelihood,
)
from skmissvae.vae.likelihoods.base import Likelihood
from skmissvae.vae.likelihoods.counts import DiscretizedLogisticLikelihood
from skmissvae.vae.likelihoods.point_mass import PointMassLikelihood
from skmissvae.vae.likelihoods.student_t import StudentTColumns
from skmissvae.vae.likelihoods.transformed import TransformedLikelihood
from skmissvae.vae.likelihoods.truncated import truncated

SKEWED = [[0.1, -0.2, 0.5, -0.3], [0.0, 0.0, 0.0, 0.0], [-0.3, 0.2, -0.8, 0.2]]
GRID = [1.0, 0.5, 2.0], [0.0, -math.inf, -2.0], [0.0, 0.25, 4.0]
FACTORIES = {
    "normal": lambda: NormalLikelihood(3),
    "known scale": lambda: NormalLikelihood(3, scale=0.3),
    "student_t": lambda: StudentTLikelihood(3),
    "transformed": lambda: TransformedLikelihood(NormalLikelihood(3), SKEWED),
    "counts": lambda: DiscretizedLogisticLikelihood(*GRID),
    "transformed counts": lambda: DiscretizedLogisticLikelihood(*GRID, transforms=SKEWED),
    "point mass": lambda: PointMassLikelihood(NormalLikelihood(3), [0.5, -1.0, 0.0], [0.3] * 3),
    "unit": lambda: ContinuousBernoulliLikelihood(3),
    "product": lambda: ProductLikelihood(
        [StudentTLikelihood(1), BernoulliLikelihood(1), NormalLikelihood(1)], [[1], [0], [2]]
    ),
}
ENDLESS = torch.full((3,), torch.inf).double()

every_likelihood = pytest.mark.parametrize("name", FACTORIES)


def columns_of(name, *batch, seed=0):
    likelihood: Likelihood = FACTORIES[name]().double().requires_grad_(False)
    return likelihood(uniform(*batch, likelihood.n_params, seed=seed, low=-1.5, high=1.5))


def ends(name):
    """Return lower and upper ends of intervals that hold values of the column, (3,)."""
    if name == "unit":
        return torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0.9, 0.5, 0.31]).double()
    if "counts" in name:
        return torch.tensor([1.0, -0.75, 0.0]).double(), torch.tensor([3.0, -0.75, 4.0]).double()
    low, high = torch.tensor([-1.1, -1.0, 0.2]).double(), torch.tensor([0.9, 0.4, 0.21]).double()
    if name == "product":  # the first column is binary
        low[0], high[0] = -torch.inf, torch.inf
    return low, high


@every_likelihood
def test_it_is_the_logarithm_of_the_mass_of_the_interval(name):
    columns, (low, high) = columns_of(name, 40), ends(name)
    for a, b in ((low, high), (-ENDLESS, high), (low, ENDLESS)):
        below = torch.where(a.isinf(), 0.0, columns.cdf_left(torch.where(a.isinf(), 0.0, a)))
        above = torch.where(b.isinf(), 1.0, columns.cdf(torch.where(b.isinf(), 0.0, b)))
        p = columns.log_interval(a, b).exp()
        torch.testing.assert_close(p, above.expand(p.shape) - below, atol=1e-6, rtol=1e-5)
    assert (columns.log_interval(-ENDLESS, ENDLESS).abs() < 1e-12).all()


@every_likelihood
def test_limits_of_rows_are_those_of_their_row(name):
    columns, (low, high) = columns_of(name, 5, 2), ends(name)
    rows = torch.stack([low, -ENDLESS]), torch.stack([high, high])
    result = columns.log_interval(*rows)
    torch.testing.assert_close(result[:, 0], columns.log_interval(low, high)[:, 0])
    torch.testing.assert_close(result[:, 1], columns.log_interval(-ENDLESS, high)[:, 1])
    of_rows, _ = truncated(columns, *rows)
    for i, (a, b) in enumerate(zip(*rows, strict=True)):
        of_all, _ = truncated(columns, a, b)
        torch.testing.assert_close(of_rows.mean()[:, i], of_all.mean()[:, i])
        u = uniform(5, 2, 3)
        torch.testing.assert_close(of_rows.icdf(u)[:, i], of_all.icdf(u)[:, i])


@every_likelihood
def test_gradients_are_those_of_finite_differences(name):
    likelihood: Likelihood = FACTORIES[name]().double()
    params = uniform(4, likelihood.n_params, low=-1.5, high=1.5).requires_grad_()
    weights = [weight.requires_grad_() for weight in likelihood.parameters()]
    low, high = ends(name)

    def log_interval(params, *weights):
        columns = likelihood(params)
        parts = (low, high), (-ENDLESS, high), (low, ENDLESS)
        return torch.stack([columns.log_interval(a, b) for a, b in parts])

    assert torch.autograd.gradcheck(log_interval, (params, *weights), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["normal", "student_t", "counts", "transformed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distant_intervals_have_finite_values_and_gradients(name, dtype):
    likelihood = FACTORIES[name]().to(dtype)
    params = torch.zeros(1, likelihood.n_params, dtype=dtype, requires_grad=True)
    far = torch.tensor([1e4, 300.0, 50.0]).double()
    intervals = (far, ENDLESS), (-ENDLESS, -far), (far, far + 1), (-far, ENDLESS), (-far, -far + 2)
    for low, high in intervals:
        low, high = low.round(), high.round()
        log_p = likelihood(params).log_interval(low, high)
        (gradient,) = torch.autograd.grad(log_p.sum(), params)
        assert log_p.isfinite().all()
        assert (log_p <= 0).all()
        assert gradient.isfinite().all()
    # the location moves towards the interval
    (gradient,) = torch.autograd.grad(likelihood(params).log_interval(far, ENDLESS).sum(), params)
    assert (gradient[0, :3] > 0).all()


def test_tails_of_student_t_columns_beyond_the_range_of_floats():
    df, t = torch.tensor(500.0).double(), torch.tensor([-90.0, -200.0, -1e4]).double()
    columns = StudentTColumns(df, torch.zeros(3).double(), torch.ones(3).double())
    expected = torch.tensor(stats.t(500).logcdf(t.numpy()))
    result = columns.log_interval(torch.full_like(t, -torch.inf), t)
    assert result.isfinite().all()
    at = expected.isfinite()
    torch.testing.assert_close(result[at], expected[at], rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["normal", "student_t", "transformed"])
def test_very_narrow_intervals_have_the_density_times_the_width(name):
    columns, low = columns_of(name, 20), torch.tensor([0.3, -0.2, 1.1]).double()
    width = 1e-7
    expected = columns.log_prob((low + 0.5 * width).expand(20, 3)) + math.log(width)
    torch.testing.assert_close(columns.log_interval(low, low + width), expected, atol=1e-4, rtol=0)
