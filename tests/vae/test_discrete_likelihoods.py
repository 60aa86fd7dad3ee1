"""Properties of discrete, transformed, point-mass and truncated likelihoods."""

import math

import numpy as np
import pytest
import torch
from helpers import (
    MetaNoise,
    NoTensorElsewhere,
    check_linear_initialization,
    stream,
    uniform,
)
from scipy import stats

from skmissvae.tables.column_statistics import fit_sinh_arcsinh
from skmissvae.vae import (
    CategoricalLikelihood,
    CumulativeLogitLikelihood,
    DiscretizedLogisticLikelihood,
    NormalLikelihood,
    PointMassLikelihood,
    ProductLikelihood,
    StudentTLikelihood,
    TransformedLikelihood,
)
from skmissvae.vae.likelihoods.base import LinearModel
from skmissvae.vae.likelihoods.normal import NormalColumns
from skmissvae.vae.likelihoods.transformed import SinhArcsinh, clamped_asinh
from skmissvae.vae.likelihoods.truncated import TruncatedColumns, truncated

TRANSFORMS = [[0.1, -0.5, 0.4, -0.3], [-0.2, 0.3, -0.6, 0.2], [0.0, 0.0, 0.0, 0.0]]
COUNTS = [[5, 9, 1], [20, 3, 4, 1, 1, 1], [7, 8]]
STEPS, LOWS, ORIGINS = [0.5, 0.25, 1.0], [-2.0, -math.inf, -3.0], [-2.0, 0.1, 0.0]

#: Discrete likelihoods of three columns.
LIKELIHOODS = {
    "integer": lambda: DiscretizedLogisticLikelihood(STEPS, LOWS, ORIGINS, 0.05),
    "integer, transformed": lambda: DiscretizedLogisticLikelihood(
        STEPS, LOWS, ORIGINS, 0.05, TRANSFORMS
    ),
    "ordinal": lambda: CumulativeLogitLikelihood(COUNTS),
    "categorical": lambda: CategoricalLikelihood(COUNTS),
}
CONTINUOUS = {
    "transformed": lambda: TransformedLikelihood(NormalLikelihood(3, 0.05), TRANSFORMS),
    "transformed, student_t": lambda: TransformedLikelihood(
        StudentTLikelihood(3, 0.05), TRANSFORMS
    ),
    "point_mass": lambda: PointMassLikelihood(
        NormalLikelihood(3, 0.05), [0.0, -1.0, 0.5], [0.3, 0.5, 0.9]
    ),
    "point_mass, transformed": lambda: PointMassLikelihood(
        TransformedLikelihood(NormalLikelihood(3, 0.05), TRANSFORMS),
        [0.0, -1.0, 0.5],
        [0.3, 0.5, 0.9],
    ),
}
ALL = LIKELIHOODS | CONTINUOUS
PLAIN = {
    "normal": lambda: NormalLikelihood(3, 0.05),
    "student_t": lambda: StudentTLikelihood(3, 0.05),
}
every_discrete = pytest.mark.parametrize("name", LIKELIHOODS)
every_continuous = pytest.mark.parametrize("name", CONTINUOUS)
every_likelihood = pytest.mark.parametrize("name", ALL)


def columns_of(name, *batch, seed=0, spread=2.0):
    likelihood = (ALL | PLAIN)[name]().double()
    params = uniform(*batch, likelihood.n_params, seed=seed, low=-spread, high=spread)
    return likelihood, likelihood(params)


def values_of(name, d):
    """Return the values of a column; the mass of other values is negligible."""
    if not name.startswith("integer"):
        return torch.arange(len(COUNTS[d])).double()
    low = LOWS[d] if math.isfinite(LOWS[d]) else ORIGINS[d] - 4000 * STEPS[d]
    return low + STEPS[d] * torch.arange(8000).double()


def with_column(values, d):
    x = torch.zeros(len(values), 4, 3).double()
    x[..., d] = values.unsqueeze(-1)
    return x


@every_discrete
@pytest.mark.parametrize("d", range(3))
def test_probabilities_sum_to_one_and_agree_with_cdf_quantiles_and_mean(name, d):
    _, columns = columns_of(name, 4)
    values = values_of(name, d)
    x = with_column(values, d)
    p = columns.log_prob(x)[..., d].exp()
    torch.testing.assert_close(p.sum(0), torch.ones(4).double(), atol=1e-4, rtol=0)
    total = p.cumsum(0)
    torch.testing.assert_close(columns.cdf(x)[..., d], total, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        columns.cdf(x + 1e-2 * x.abs().min())[..., d], total, atol=1e-4, rtol=0
    )
    for u in (0.1, 0.37, 0.81):
        quantiles = columns.icdf(torch.full((4, 3), u).double())[:, d]
        expected = values[(total < u).sum(0)]
        torch.testing.assert_close(quantiles, expected)
    # tolerance where a transform needs quantiles in place of a formula
    tolerance = 0.2 if "transformed" in name else 0.03
    mean = (p * values.unsqueeze(-1)).sum(0)
    size = ((p * values.unsqueeze(-1) ** 2).sum(0) - mean**2).sqrt()
    assert ((columns.mean().expand(4, 3)[:, d] - mean).abs() < tolerance * size + 1e-3).all()


@every_likelihood
def test_draws_have_the_distribution_function_of_their_column(name):
    _, columns = columns_of(name, 4)
    likelihood = ALL[name]().double()
    params = uniform(4, likelihood.n_params, low=-2, high=2)
    draws = likelihood(params.expand(20_000, 4, -1)).sample(stream(3))
    assert draws.shape == (20_000, 4, 3)
    for at in (-1.0, 0.0, 1.0, 2.0):
        below = columns.cdf(torch.full((4, 3), at).double())
        error = (below * (1 - below) / len(draws)).sqrt()
        # rounding may move a draw that equals the value to either side
        share = (draws <= at + 1e-9).double().mean(0)
        assert ((share - below).abs() < 4.5 * error + 1e-4).all(), at


@every_likelihood
def test_quantiles_broadcast_probabilities_per_column(name):
    _, columns = columns_of(name, 5, 4)
    u = torch.tensor([0.1, 0.5, 0.8]).double()
    assert columns.shape == columns.mean().shape == (5, 4, 3)
    more = uniform(6, 5, 4, 3, low=0.01, high=0.99)
    torch.testing.assert_close(columns.icdf(u), columns.icdf(u.expand(5, 4, 3)))
    torch.testing.assert_close(columns.icdf(more), torch.stack([columns.icdf(p) for p in more]))
    if name in CONTINUOUS:
        low, high = torch.tensor([-0.5, -math.inf, 0.1]), torch.tensor([0.5, 0.3, math.inf])
        columns, _ = truncated(columns, low.double(), high.double())
        torch.testing.assert_close(columns.icdf(u), columns.icdf(u.expand(5, 4, 3)))
        torch.testing.assert_close(columns.icdf(more), torch.stack([columns.icdf(p) for p in more]))


@every_continuous
@pytest.mark.parametrize("d", range(3))
def test_density_and_point_mass_integrate_to_one(name, d):
    likelihood, columns = columns_of(name, 4, spread=1.0)
    t = torch.linspace(-12, 12, 40_002).double()  # an even number: no node is a point mass
    nodes, weight = t.sinh(), t.cosh() * (t[1] - t[0])
    x = with_column(nodes, d)
    density = columns.log_prob(x)[..., d].exp() * weight.unsqueeze(-1)
    point_mass = torch.zeros(4).double()
    if hasattr(likelihood, "locations"):
        point_mass = columns.log_prob(likelihood.locations.expand(4, 3))[:, d].exp()
    torch.testing.assert_close(
        density.sum(0) + point_mass, torch.ones(4).double(), atol=1e-3, rtol=0
    )
    for u in (0.05, 0.4, 0.6, 0.95):
        at = columns.icdf(torch.full((4, 3), u).double())
        assert (columns.cdf(at) >= u - 1e-6).all()
        assert (columns.cdf_left(at) <= u + 1e-6).all()


@every_likelihood
def test_embedding_of_missing_cells_is_zero_whatever_their_values(name):
    likelihood, _ = columns_of(name)
    x = torch.stack([values_of("ordinal", d)[:2].repeat(3) for d in range(3)], -1)
    observed = uniform(6, 3, seed=1) > 0.5
    inputs = likelihood.embed(x, observed)
    assert inputs.shape == (6, likelihood.n_inputs)
    for filling in (5.0, math.nan, math.inf, -1e30):
        assert torch.equal(inputs, likelihood.embed(torch.where(observed, x, filling), observed))
    assert (likelihood.embed(x, torch.zeros(6, 3).bool()) == 0).all()


@every_likelihood
def test_linear_initialization_has_the_declared_shapes(name):
    check_linear_initialization(ALL[name]())


# Student-t quantiles are computed by scipy on the CPU
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if "student_t" not in name])
def test_likelihood_creates_no_tensor_on_another_device(name):
    likelihood = ALL[name]().to("meta")
    x, observed = torch.empty(6, 3, device="meta"), torch.empty(6, 3, device="meta").bool()
    params = torch.empty(5, 6, likelihood.n_params, device="meta", requires_grad=True)
    with NoTensorElsewhere():
        likelihood.embed(x, observed)
        likelihood.linearize(x, observed)
        columns = likelihood(params)
        columns.log_prob(x).sum().backward()
        likelihood.point(columns.expected().mean(0))
        assert columns.sample(MetaNoise()).shape == (5, 6, 3)


@pytest.mark.parametrize("name", ["ordinal", "categorical"])
def test_point_estimate_is_the_most_probable_category(name):
    likelihood, columns = columns_of(name, 50, spread=4.0)
    point = likelihood.point(columns.expected())
    for d in range(3):
        p = columns.log_prob(with_column(values_of(name, d), d)[:, :1].expand(-1, 50, 3))[..., d]
        torch.testing.assert_close(point[:, d], p.argmax(0).double())


def test_zero_decoder_outputs_give_the_observed_frequencies():
    likelihood = CategoricalLikelihood(COUNTS)
    columns = likelihood(torch.zeros(1, likelihood.n_params))
    for d, counts in enumerate(COUNTS):
        p = columns.probabilities()[0, d, : len(counts)]
        torch.testing.assert_close(p, torch.tensor(counts) / sum(counts))
    ordinal = CumulativeLogitLikelihood([[50, 30, 20]])
    raw_scale = math.log(math.expm1(0.9))  # of the scale 1
    p = ordinal(torch.tensor([[0.0, raw_scale]])).probabilities()[0, 0]
    torch.testing.assert_close(p, torch.tensor([0.5, 0.3, 0.2]), atol=0.02, rtol=0)


def test_rare_categories_share_a_class():
    counts = [[100, *[1] * 1000, 50]]
    likelihood = CategoricalLikelihood(counts)
    assert likelihood.n_params == 3
    columns = likelihood(uniform(4, 3).float())
    p = columns.probabilities()[:, 0]
    torch.testing.assert_close(p.sum(-1), torch.ones(4))
    torch.testing.assert_close(p[:, 1:1001], p[:, 1:2].expand(4, 1000))
    many = CategoricalLikelihood([list(range(2, 600))])
    assert many.n_params == 255


def test_discretized_logistic_is_accurate_for_small_steps_in_float32():
    """For steps far below the standard deviation probabilities are density times step."""
    for step in (1e-3, 1e-5, 1e-7):
        likelihood = DiscretizedLogisticLikelihood([step], [-math.inf], [0.0], 0.1)
        columns = likelihood(torch.tensor([[0.2, 0.3]]))
        x = torch.tensor([[0.5]])
        scale = columns.scale.item()
        exact = stats.logistic(columns.loc.item(), scale).logpdf(0.5) + math.log(step)
        assert columns.log_prob(x).item() == pytest.approx(exact, abs=2e-3)
    far = columns.log_prob(torch.tensor([[300.0]]))
    assert math.isfinite(far.item())


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transform_has_its_inverse_and_derivative(transform):
    transform = SinhArcsinh(1, [transform]).double()
    x = torch.linspace(-8, 8, 201).double().unsqueeze(-1).requires_grad_()
    y = transform(x)
    torch.testing.assert_close(transform.inverse(y), x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(transform.log_slope(x), slope.log())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clamped_asinh_is_asinh_with_finite_values_and_gradients_everywhere(dtype):
    sizes = torch.logspace(-30, 18, 97, dtype=torch.float64)
    x = torch.cat([-sizes.flip(0), torch.zeros(1, dtype=torch.float64), sizes]).to(dtype)
    expected = np.arcsinh(x.double().numpy())
    torch.testing.assert_close(clamped_asinh(x).double(), torch.tensor(expected), rtol=2e-6, atol=0)
    huge = torch.tensor([-torch.inf, -1e30, 1e15, 1e30, torch.inf], dtype=dtype)
    values = clamped_asinh(huge.requires_grad_())
    assert values.isfinite().all()
    assert torch.equal(values.sign(), huge.sign())
    assert torch.autograd.grad(values.sum(), huge)[0].isfinite().all()


@pytest.mark.parametrize("kind", ["normal", "skewed", "student_t", "bounded"])
def test_fitted_transform_makes_columns_more_normal(kind):
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=800),
        "skewed": rng.gamma(1.0, size=800),
        "student_t": rng.standard_t(2, size=800),
        "bounded": rng.beta(0.7, 0.7, size=800),
    }[kind]
    x = (x - x.mean()) / x.std()
    transform = SinhArcsinh(1, [fit_sinh_arcsinh(x)]).double()
    column = torch.tensor(x).unsqueeze(-1)
    y = transform(column)
    density = -0.5 * y.square() - 0.5 * math.log(2 * math.pi) + transform.log_slope(column)
    assert density.mean().item() > stats.norm.logpdf(x).mean() - 0.01
    if kind == "normal":
        assert (y - column).abs().median() < 0.1
    else:
        assert density.mean().item() > stats.norm.logpdf(x).mean() + 0.05


def test_truncated_columns_agree_with_truncnorm():
    likelihood = NormalLikelihood(3, 0.05).double()
    base = likelihood(uniform(4, 6, low=-1, high=1))
    low, high = torch.tensor([-0.5, -math.inf, -math.inf]), torch.tensor([0.5, 0.3, math.inf])
    columns = TruncatedColumns(base, low.double(), high.double())
    u = torch.linspace(0.01, 0.99, 99).double()[:, None, None].expand(99, 4, 3)
    at = columns.icdf(u)
    assert (at >= low).all()
    assert (at <= high).all()
    torch.testing.assert_close(columns.cdf(at), u, atol=1e-6, rtol=1e-6)
    loc, scale = base.loc.numpy(), base.scale.numpy()
    cut = [(-0.5, 0.5), (-np.inf, 0.3), (-np.inf, np.inf)]
    for d, (a, b) in enumerate(cut):
        m, s = loc[:, d], scale[:, d]
        exact = stats.truncnorm((a - m) / s, (b - m) / s, m, s).mean()
        np.testing.assert_allclose(columns.mean()[:, d].numpy(), exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["normal", "student_t", *CONTINUOUS])
@pytest.mark.parametrize(("low", "high"), [(-0.4, 0.9), (0.3, math.inf), (-math.inf, 0.2)])
def test_truncated_density_integrates_to_one_and_to_the_mean(name, low, high):
    likelihood, columns = columns_of(name, 4)
    cut = TruncatedColumns(columns, *torch.tensor([[low] * 3, [high] * 3]).double())
    t = torch.linspace(-9, 9, 80_002).double()  # an even number: no node is a point mass
    nodes, weight = t.sinh(), t.cosh() * (t[1] - t[0])
    inside = (nodes >= low) & (nodes <= high)
    nodes, weight = nodes[inside], weight[inside]
    for d in range(3):
        density = cut.log_prob(with_column(nodes, d))[..., d].exp() * weight.unsqueeze(-1)
        total, mean = density.sum(0), (density * nodes.unsqueeze(-1)).sum(0)
        if hasattr(likelihood, "locations"):
            at = likelihood.locations.double().expand(4, 3)
            point_mass = cut.log_prob(at)[:, d].exp()
            total, mean = total + point_mass, mean + point_mass * at[:, d]
        torch.testing.assert_close(total, torch.ones(4).double(), atol=3e-3, rtol=0)
        # means without a formula are those of quantiles, and the nodes omit far tails
        tolerance = 0.05 if "transformed" in name else 2e-3
        torch.testing.assert_close(cut.mean()[:, d], mean, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", ["normal", "student_t"])
def test_truncation_is_accurate_and_symmetric_in_both_tails(kind):
    likelihood = {"normal": NormalLikelihood, "student_t": StudentTLikelihood}[kind](1, 0.05)
    params = torch.zeros(1, likelihood.n_params).double()
    columns = likelihood.double()(params)
    infinite = torch.tensor([math.inf]).double()
    scale = columns.scale.item()
    distribution = stats.norm(scale=scale)
    if kind == "student_t":
        distribution = stats.t(columns.df.item(), scale=scale)
    u = torch.tensor([0.01, 0.5, 0.99]).double()[:, None, None]
    for far in (0.0, 1.0, 7.0, 8.2, 8.4, 20.0, 30.0):
        edge = far * scale * torch.ones(1).double()
        above, log_probability = truncated(columns, edge, infinite)
        below, mirrored = truncated(columns, -infinite, -edge)
        torch.testing.assert_close(log_probability, mirrored)
        exact = max(distribution.logsf(edge.item()), -60.0)
        torch.testing.assert_close(log_probability.item(), exact, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(above.mean(), -below.mean())
        if kind == "normal":  # the inverse Mills ratio
            mills = scale * np.exp(stats.norm.logpdf(far) - stats.norm.logsf(far))
            torch.testing.assert_close(above.mean().item(), mills, rtol=1e-9, atol=1e-9)
        at = above.icdf(u)
        expected = distribution.isf(distribution.sf(edge.item()) * (1 - u.numpy()))
        np.testing.assert_allclose(at.numpy(), expected, rtol=1e-6)
        torch.testing.assert_close(above.cdf(at), u, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(below.icdf(1 - u), -at)


@pytest.mark.parametrize("loc", [-1e6, 1e6])
def test_distributions_outside_of_the_bounds_are_point_masses_at_the_nearest_one(loc):
    low, high = torch.tensor([-0.5]).double(), torch.tensor([0.5]).double()
    columns = NormalColumns(torch.tensor([[loc]]).double(), torch.ones(1, 1).double())
    cut = TruncatedColumns(columns, low, high)
    expected = torch.tensor([[math.copysign(0.5, loc)]]).double()
    assert torch.equal(cut.mean(), expected)
    assert torch.equal(cut.icdf(torch.tensor([0.3]).double()), expected)


def test_nan_locations_do_not_affect_other_columns():
    loc = torch.tensor([[math.nan, 0.0], [1.0, 0.0]]).double()
    columns = NormalColumns(loc, torch.ones_like(loc))
    low = torch.tensor([-math.inf, 0.5]).double()
    _, log_probability = truncated(columns, low, torch.full_like(low, math.inf))
    assert (log_probability[:, 0] == 0).all()
    assert log_probability.isfinite().all()


@pytest.mark.parametrize("loc", [-1.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("scale", [0.45, 0.51, 1.0, 4.0])
def test_means_of_counts_near_their_lower_limit_are_exact(loc, scale):
    likelihood = DiscretizedLogisticLikelihood([1.0], [0.0], [0.0], 0.01).double()
    raw = likelihood(torch.zeros(1, 2).double())
    columns = type(raw)(
        torch.full((1, 1), loc).double(),
        torch.full((1, 1), scale * math.pi / math.sqrt(3)).double(),
        likelihood.transform,
        likelihood.grid,
    )
    n = torch.arange(400).double().view(-1, 1, 1)
    exact = (n * columns.log_prob(n).exp()).sum(0)
    torch.testing.assert_close(columns.mean(), exact, atol=3e-3, rtol=0)


def test_the_scale_of_integers_is_their_standard_deviation():
    likelihood = DiscretizedLogisticLikelihood([0.01], [-math.inf], [0.0])
    columns = likelihood(torch.zeros(1, 2))
    scale = likelihood.loc_scale(torch.zeros(1, 2))[1].item()
    u = (torch.arange(10_000) + 0.5) / 10_000
    values = columns.icdf(u.view(-1, 1, 1))
    assert values.std().item() == pytest.approx(scale, rel=0.01)


def test_factor_analysis_has_values_beside_the_point_mass_and_indicators_of_it():
    likelihood = PointMassLikelihood(NormalLikelihood(2), [0.0, 1.0], [0.3, 0.5])
    x = torch.tensor([[0.0, 0.5], [0.5, 1.0]])
    observed = torch.tensor([[True, True], [True, False]])
    values, is_observed = likelihood.linearize(x, observed)
    assert is_observed.tolist() == [[False, True, True, True], [True, False, True, False]]
    assert values[:, 2:].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_linear_initialization_keeps_the_shares_of_point_masses():
    likelihood = PointMassLikelihood(NormalLikelihood(2), [0.0, 1.0], [0.3, 0.5])
    share = torch.tensor([0.2, 0.6])
    loadings = torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.2, 0.1], [-0.3, 0.2]])
    intercept = torch.cat([torch.zeros(2), share])
    model = LinearModel(loadings, intercept, torch.tensor([0.5, 0.5, 0.1, 0.15]))
    weight, bias, initialized, precision = likelihood.linear_initialization(model)
    assert initialized.tolist() == [True] * 6
    assert precision.shape == (4,)
    z = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    p = likelihood(z @ weight.T + bias).logits.sigmoid()
    torch.testing.assert_close(p.mean(0), share, atol=0.01, rtol=0)
    slopes = torch.linalg.lstsq(z, p - p.mean(0)).solution.T
    assert (slopes.sign() == loadings[2:].sign()).all()


def test_truncated_integers_are_integers_and_coded_columns_unchanged():
    joined = ProductLikelihood(
        [CategoricalLikelihood([[3, 4]]), DiscretizedLogisticLikelihood([0.5], [-math.inf], [0.0])],
        [[1], [0]],
    )
    columns = joined(uniform(200, joined.n_params, low=-1, high=1).float())
    infinite = torch.tensor([math.inf])
    low, high = torch.tensor([0.6, -math.inf]), torch.cat([torch.tensor([1.4]), infinite])
    cut, log_probability = truncated(columns, low, high)
    draws = cut.sample(stream(dtype=torch.float32))
    assert (draws[:, 0] == 1.0).all()  # the only multiple of a half between 0.6 and 1.4
    assert set(draws[:, 1].tolist()) == {0.0, 1.0}
    at = columns.log_prob(torch.ones(200, 2))[:, 0]
    torch.testing.assert_close(log_probability[:, 0], at, atol=1e-4, rtol=1e-4)
    assert (log_probability[:, 1] == 0).all()
    unbounded, log_probability = truncated(columns, -infinite.expand(2), infinite.expand(2))
    assert unbounded.parts[0] is columns.parts[0]
    assert (log_probability == 0).all()


@every_likelihood
def test_cdf_left_is_the_left_limit_of_the_cdf(name):
    _, columns = columns_of(name, 4)
    for at in (-1.5, -1.0, 0.0, 0.1, 0.5, 1.0, 2.0):
        x = torch.full((4, 3), at).double()
        # values of the grid are subject to rounding
        just_less = columns.cdf(x - (1e-2 if name.startswith("integer") else 1e-5))
        torch.testing.assert_close(columns.cdf_left(x), just_less, atol=1e-3, rtol=0)
