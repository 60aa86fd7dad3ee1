"""Laws of columns that can be counted, of warps, of piles of a value and of bounds."""

import math

import numpy as np
import pytest
import torch
from helpers import check_start, stream, uniform
from scipy import stats
from test_vae import MetaNoise, NoTensorElsewhere

from skmissvae.tables.marginal_transforms import fit_sinh_arcsinh
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
from skmissvae.vae.likelihoods.normal import NormalColumns
from skmissvae.vae.likelihoods.transformed import SinhArcsinh, arsinh
from skmissvae.vae.likelihoods.truncated import TruncatedColumns, truncated

WARPS = [[0.1, -0.5, 0.4, -0.3], [-0.2, 0.3, -0.6, 0.2], [0.0, 0.0, 0.0, 0.0]]
COUNTS = [[5, 9, 1], [20, 3, 4, 1, 1, 1], [7, 8]]
STEPS, LOWS, ORIGINS = [0.5, 0.25, 1.0], [-2.0, -math.inf, -3.0], [-2.0, 0.1, 0.0]

#: Each with the values that its three columns can have.
LIKELIHOODS = {
    "whole": lambda: DiscretizedLogisticLikelihood(STEPS, LOWS, ORIGINS, 0.05),
    "whole, warped": lambda: DiscretizedLogisticLikelihood(STEPS, LOWS, ORIGINS, 0.05, WARPS),
    "ordinal": lambda: CumulativeLogitLikelihood(COUNTS),
    "categorical": lambda: CategoricalLikelihood(COUNTS),
}
CONTINUOUS = {
    "warped": lambda: TransformedLikelihood(NormalLikelihood(3, 0.05), WARPS),
    "warped, heavy": lambda: TransformedLikelihood(StudentTLikelihood(3, 0.05), WARPS),
    "atom": lambda: PointMassLikelihood(
        NormalLikelihood(3, 0.05), [0.0, -1.0, 0.5], [0.3, 0.5, 0.9]
    ),
    "atom, warped": lambda: PointMassLikelihood(
        TransformedLikelihood(NormalLikelihood(3, 0.05), WARPS), [0.0, -1.0, 0.5], [0.3, 0.5, 0.9]
    ),
}
ALL = LIKELIHOODS | CONTINUOUS
PLAIN = {
    "normal": lambda: NormalLikelihood(3, 0.05),
    "student_t": lambda: StudentTLikelihood(3, 0.05),
}
every_discrete = pytest.mark.parametrize("name", LIKELIHOODS)
every_continuous = pytest.mark.parametrize("name", CONTINUOUS)
every_one = pytest.mark.parametrize("name", ALL)


def columns_of(name, *batch, seed=0, spread=2.0):
    likelihood = (ALL | PLAIN)[name]().double()
    params = uniform(*batch, likelihood.n_params, seed=seed, low=-spread, high=spread)
    return likelihood, likelihood(params)


def values_of(name, d):
    """Return the values of a column, the mass beyond which does not count."""
    if not name.startswith("whole"):
        return torch.arange(len(COUNTS[d])).double()
    low = LOWS[d] if math.isfinite(LOWS[d]) else ORIGINS[d] - 4000 * STEPS[d]
    return low + STEPS[d] * torch.arange(8000).double()


def along(values, d):
    x = torch.zeros(len(values), 4, 3).double()
    x[..., d] = values.unsqueeze(-1)
    return x


@every_discrete
@pytest.mark.parametrize("d", range(3))
def test_probabilities_sum_to_one_and_cdf_and_quantiles_belong_to_them(name, d):
    _, columns = columns_of(name, 4)
    values = values_of(name, d)
    x = along(values, d)
    p = columns.log_prob(x)[..., d].exp()
    torch.testing.assert_close(p.sum(0), torch.ones(4).double(), atol=1e-4, rtol=0)
    total = p.cumsum(0)
    torch.testing.assert_close(columns.cdf(x)[..., d], total, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        columns.cdf(x + 1e-2 * x.abs().min())[..., d], total, atol=1e-4, rtol=0
    )
    for u in (0.1, 0.37, 0.81):
        found = columns.icdf(torch.full((4, 3), u).double())[:, d]
        expected = values[(total < u).sum(0)]
        torch.testing.assert_close(found, expected)
    # coarse where a warp needs quantiles in place of a formula
    coarse = 0.2 if "warped" in name else 0.03
    mean = (p * values.unsqueeze(-1)).sum(0)
    size = ((p * values.unsqueeze(-1) ** 2).sum(0) - mean**2).sqrt()
    assert ((columns.mean().expand(4, 3)[:, d] - mean).abs() < coarse * size + 1e-3).all()


@every_one
def test_draws_follow_their_columns(name):
    _, columns = columns_of(name, 4)
    likelihood = ALL[name]().double()
    params = uniform(4, likelihood.n_params, low=-2, high=2)
    draws = likelihood(params.expand(20_000, 4, -1)).sample(stream(3))
    assert draws.shape == (20_000, 4, 3)
    for at in (-1.0, 0.0, 1.0, 2.0):
        below = columns.cdf(torch.full((4, 3), at).double())
        error = (below * (1 - below) / len(draws)).sqrt()
        # rounding may put a draw on either side of the value it is
        share = (draws <= at + 1e-9).double().mean(0)
        assert ((share - below).abs() < 4.5 * error + 1e-4).all(), at


@every_one
def test_quantiles_of_a_probability_per_column_are_those_of_each_cell(name):
    _, columns = columns_of(name, 5, 4)
    u = torch.tensor([0.1, 0.5, 0.8]).double()
    assert columns.shape == columns.mean().shape == (5, 4, 3)
    torch.testing.assert_close(columns.icdf(u), columns.icdf(u.expand(5, 4, 3)))
    if name in CONTINUOUS:
        low, high = torch.tensor([-0.5, -math.inf, 0.1]), torch.tensor([0.5, 0.3, math.inf])
        columns, _ = truncated(columns, low.double(), high.double())
        torch.testing.assert_close(columns.icdf(u), columns.icdf(u.expand(5, 4, 3)))


@every_continuous
@pytest.mark.parametrize("d", range(3))
def test_densities_and_atoms_sum_to_one(name, d):
    likelihood, columns = columns_of(name, 4, spread=1.0)
    t = torch.linspace(-12, 12, 40_002).double()  # even, so that no node is an atom
    nodes, weight = t.sinh(), t.cosh() * (t[1] - t[0])
    x = along(nodes, d)
    density = columns.log_prob(x)[..., d].exp() * weight.unsqueeze(-1)
    atom = torch.zeros(4).double()
    if hasattr(likelihood, "atoms"):
        atom = columns.log_prob(likelihood.atoms.expand(4, 3))[:, d].exp()
    torch.testing.assert_close(density.sum(0) + atom, torch.ones(4).double(), atol=1e-3, rtol=0)
    for u in (0.05, 0.4, 0.6, 0.95):
        at = columns.icdf(torch.full((4, 3), u).double())
        assert (columns.cdf(at) >= u - 1e-6).all()
        assert (columns.below(at) <= u + 1e-6).all()


@every_one
def test_the_encoder_sees_zero_where_nothing_is_seen(name):
    likelihood, _ = columns_of(name)
    x = torch.stack([values_of("ordinal", d)[:2].repeat(3) for d in range(3)], -1)
    observed = uniform(6, 3, seed=1) > 0.5
    seen = likelihood.embed(x, observed)
    assert seen.shape == (6, likelihood.n_inputs)
    for filling in (5.0, math.nan, math.inf, -1e30):
        assert torch.equal(seen, likelihood.embed(torch.where(observed, x, filling), observed))
    assert (likelihood.embed(x, torch.zeros(6, 3).bool()) == 0).all()


@every_one
def test_a_linear_start_has_the_sizes_it_tells(name):
    check_start(ALL[name]())


# but for Student-t quantiles, which scipy has, on the host
@pytest.mark.parametrize("name", [name for name in ALL if "heavy" not in name])
def test_a_step_makes_no_tensor_on_another_device(name):
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
def test_the_point_is_the_most_probable_level(name):
    likelihood, columns = columns_of(name, 50, spread=4.0)
    point = likelihood.point(columns.expected())
    for d in range(3):
        p = columns.log_prob(along(values_of(name, d), d)[:, :1].expand(-1, 50, 3))[..., d]
        torch.testing.assert_close(point[:, d], p.argmax(0).double())


def test_a_decoder_that_says_nothing_leaves_the_frequencies():
    likelihood = CategoricalLikelihood(COUNTS)
    columns = likelihood(torch.zeros(1, likelihood.n_params))
    for d, counts in enumerate(COUNTS):
        p = columns.probabilities()[0, d, : len(counts)]
        torch.testing.assert_close(p, torch.tensor(counts) / sum(counts))
    ranked = CumulativeLogitLikelihood([[50, 30, 20]])
    one = math.log(math.expm1(0.9))  # a scale of one
    p = ranked(torch.tensor([[0.0, one]])).probabilities()[0, 0]
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


def test_whole_numbers_keep_their_digits_in_single_precision():
    """Steps far below the standard deviation: probabilities are density times step."""
    for step in (1e-3, 1e-5, 1e-7):
        likelihood = DiscretizedLogisticLikelihood([step], [-math.inf], [0.0], 0.1)
        columns = likelihood(torch.tensor([[0.2, 0.3]]))
        x = torch.tensor([[0.5]])
        scale = columns.scale.item()
        exact = stats.logistic(columns.loc.item(), scale).logpdf(0.5) + math.log(step)
        assert columns.log_prob(x).item() == pytest.approx(exact, abs=2e-3)
    far = columns.log_prob(torch.tensor([[300.0]]))
    assert math.isfinite(far.item())


@pytest.mark.parametrize("warp", WARPS)
def test_a_warp_has_its_inverse_and_its_slope(warp):
    warp = SinhArcsinh(1, [warp]).double()
    x = torch.linspace(-8, 8, 201).double().unsqueeze(-1).requires_grad_()
    y = warp(x)
    torch.testing.assert_close(warp.inverse(y), x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(warp.log_slope(x), slope.log())


def test_the_inverse_of_sinh_is_that_and_has_its_slope():
    sizes = torch.logspace(-30, 30, 121, dtype=torch.float64)
    x = torch.cat([-sizes.flip(0), torch.zeros(1, dtype=torch.float64), sizes])
    torch.testing.assert_close(arsinh(x), torch.asinh(x), rtol=1e-14, atol=0)
    single = x[x.abs() < 1e18].float()
    torch.testing.assert_close(arsinh(single), torch.asinh(single), rtol=1e-6, atol=0)
    beyond = torch.tensor([1e30, math.inf, -math.inf])
    torch.testing.assert_close(arsinh(beyond).abs(), torch.full((3,), 44.0), atol=1.0, rtol=0)
    assert torch.equal(arsinh(beyond).sign(), beyond.sign())
    assert torch.autograd.gradcheck(arsinh, x[x.abs() < 1e3].requires_grad_())


@pytest.mark.parametrize("kind", ["normal", "skewed", "heavy", "bounded"])
def test_a_fitted_warp_makes_columns_more_normal(kind):
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=800),
        "skewed": rng.gamma(1.0, size=800),
        "heavy": rng.standard_t(2, size=800),
        "bounded": rng.beta(0.7, 0.7, size=800),
    }[kind]
    x = (x - x.mean()) / x.std()
    warp = SinhArcsinh(1, [fit_sinh_arcsinh(x)]).double()
    column = torch.tensor(x).unsqueeze(-1)
    y = warp(column)
    density = -0.5 * y.square() - 0.5 * math.log(2 * math.pi) + warp.log_slope(column)
    assert density.mean().item() > stats.norm.logpdf(x).mean() - 0.01
    if kind == "normal":
        assert (y - column).abs().median() < 0.1
    else:
        assert density.mean().item() > stats.norm.logpdf(x).mean() + 0.05


def test_bounds_cut_off_and_keep_proportions():
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
def test_what_is_cut_off_integrates_to_one_and_has_its_mean(name, low, high):
    likelihood, columns = columns_of(name, 4)
    cut = TruncatedColumns(columns, *torch.tensor([[low] * 3, [high] * 3]).double())
    t = torch.linspace(-9, 9, 160_002).double()  # even, so that no node is an atom
    nodes, weight = t.sinh(), t.cosh() * (t[1] - t[0])
    inside = (nodes >= low) & (nodes <= high)
    nodes, weight = nodes[inside], weight[inside]
    for d in range(3):
        density = cut.log_prob(along(nodes, d))[..., d].exp() * weight.unsqueeze(-1)
        total, mean = density.sum(0), (density * nodes.unsqueeze(-1)).sum(0)
        if hasattr(likelihood, "atoms"):
            at = likelihood.atoms.double().expand(4, 3)
            atom = cut.log_prob(at)[:, d].exp()
            total, mean = total + atom, mean + atom * at[:, d]
        torch.testing.assert_close(total, torch.ones(4).double(), atol=3e-3, rtol=0)
        # quantiles stand for means where there is no formula, and the nodes miss far tails
        coarse = 0.05 if "warped" in name or "atom" in name else 2e-3
        torch.testing.assert_close(cut.mean()[:, d], mean, atol=coarse, rtol=coarse)


@pytest.mark.parametrize("kind", ["normal", "student_t"])
def test_shares_of_both_tails_are_mirror_images(kind):
    likelihood = {"normal": NormalLikelihood, "student_t": StudentTLikelihood}[kind](1, 0.05)
    params = torch.zeros(1, likelihood.n_params).double()
    columns = likelihood.double()(params)
    infinite = torch.tensor([math.inf]).double()
    scale = columns.scale.item()
    law = stats.norm(scale=scale)
    if kind == "student_t":
        law = stats.t(columns.df.item(), scale=scale)
    u = torch.tensor([0.01, 0.5, 0.99]).double()[:, None, None]
    for far in (0.0, 1.0, 7.0, 8.2, 8.4, 20.0, 30.0):
        edge = far * scale * torch.ones(1).double()
        above, log_share = truncated(columns, edge, infinite)
        below, mirrored = truncated(columns, -infinite, -edge)
        torch.testing.assert_close(log_share, mirrored)
        exact = max(law.logsf(edge.item()), -60.0)
        torch.testing.assert_close(log_share.item(), exact, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(above.mean(), -below.mean())
        if kind == "normal":  # the inverse Mills ratio
            mills = scale * np.exp(stats.norm.logpdf(far) - stats.norm.logsf(far))
            torch.testing.assert_close(above.mean().item(), mills, rtol=1e-9, atol=1e-9)
        at = above.icdf(u)
        expected = law.isf(law.sf(edge.item()) * (1 - u.numpy()))
        np.testing.assert_allclose(at.numpy(), expected, rtol=1e-6)
        torch.testing.assert_close(above.cdf(at), u, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(below.icdf(1 - u), -at)


def test_locations_that_are_no_numbers_leave_other_columns_alone():
    loc = torch.tensor([[math.nan, 0.0], [1.0, 0.0]]).double()
    columns = NormalColumns(loc, torch.ones_like(loc))
    low = torch.tensor([-math.inf, 0.5]).double()
    _, log_share = truncated(columns, low, torch.full_like(low, math.inf))
    assert (log_share[:, 0] == 0).all()
    assert log_share.isfinite().all()


@pytest.mark.parametrize("loc", [-1.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("scale", [0.45, 0.51, 1.0, 4.0])
def test_means_of_counts_near_their_least_value(loc, scale):
    likelihood = DiscretizedLogisticLikelihood([1.0], [0.0], [0.0], 0.01).double()
    raw = likelihood(torch.zeros(1, 2).double())
    columns = type(raw)(
        torch.full((1, 1), loc).double(),
        torch.full((1, 1), scale * math.pi / math.sqrt(3)).double(),
        raw.warp,
        raw.step,
        raw.low,
        raw.origin,
    )
    n = torch.arange(400).double().view(-1, 1, 1)
    exact = (n * columns.log_prob(n).exp()).sum(0)
    torch.testing.assert_close(columns.mean(), exact, atol=3e-3, rtol=0)


def test_bounds_leave_coded_columns_and_whole_ones_whole():
    joined = ProductLikelihood(
        [CategoricalLikelihood([[3, 4]]), DiscretizedLogisticLikelihood([0.5], [-math.inf], [0.0])],
        [[1], [0]],
    )
    columns = joined(uniform(200, joined.n_params, low=-1, high=1).float())
    infinite = torch.tensor([math.inf])
    low, high = torch.tensor([0.6, -math.inf]), torch.cat([torch.tensor([1.4]), infinite])
    cut, log_share = truncated(columns, low, high)
    draws = cut.sample(stream(dtype=torch.float32))
    assert (draws[:, 0] == 1.0).all()  # the only multiple of a half between 0.6 and 1.4
    assert set(draws[:, 1].tolist()) == {0.0, 1.0}
    at = columns.log_prob(torch.ones(200, 2))[:, 0]
    torch.testing.assert_close(log_share[:, 0], at, atol=1e-4, rtol=1e-4)
    assert (log_share[:, 1] == 0).all()
    free, nothing = truncated(columns, -infinite.expand(2), infinite.expand(2))
    assert free.parts[0] is columns.parts[0]
    assert (nothing == 0).all()


@every_one
def test_below_is_what_is_less(name):
    _, columns = columns_of(name, 4)
    for at in (-1.5, -1.0, 0.0, 0.1, 0.5, 1.0, 2.0):
        x = torch.full((4, 3), at).double()
        # a value of the grid is one but for rounding
        just_less = columns.cdf(x - (1e-2 if name.startswith("whole") else 1e-5))
        torch.testing.assert_close(columns.below(x), just_less, atol=1e-3, rtol=0)
