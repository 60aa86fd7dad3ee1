"""Properties of all priors, families and likelihoods."""

import functools

import pytest
import torch
from helpers import check_linear_initialization, deviates, lattice, stream, uniform
from scipy import stats

from skmissvae.vae import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    CumulativeLogitLikelihood,
    MixturePrior,
    NormalLikelihood,
    ProductLikelihood,
    StudentTFamily,
    StudentTLikelihood,
    StudentTPrior,
)
from skmissvae.vae.likelihoods import LIKELIHOODS
from skmissvae.vae.likelihoods.base import quantile
from skmissvae.vae.posteriors import POSTERIORS
from skmissvae.vae.priors import PRIORS

PRIOR_FACTORIES = {
    **PRIORS,
    "student_t, df=3": functools.partial(StudentTPrior, df=3),
    "mixture, 4": functools.partial(MixturePrior, n_components=4),
}
FAMILY_FACTORIES = {
    **POSTERIORS,
    "student_t, learned df": functools.partial(StudentTFamily, df=6.0, learn_df=True),
}
LIKELIHOOD_FACTORIES = {
    **LIKELIHOODS,
    "normal, known": functools.partial(NormalLikelihood, scale=0.3),
    "product": lambda n_columns, min_scale=0.05: ProductLikelihood(
        [
            BernoulliLikelihood(1),
            StudentTLikelihood(n_columns - 2, min_scale),
            ContinuousBernoulliLikelihood(1),
        ],
        [[1], [0, *range(3, n_columns)], [2]],
    ),
}
D = 4

every_prior = pytest.mark.parametrize("prior", PRIOR_FACTORIES)
every_family = pytest.mark.parametrize("family", FAMILY_FACTORIES)
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOOD_FACTORIES)
every_density = pytest.mark.parametrize(
    "likelihood", [name for name in LIKELIHOOD_FACTORIES if name != "cross_entropy"]
)


def columns_of(name, *batch, seed=0):
    likelihood = LIKELIHOOD_FACTORIES[name](D, 0.05).double()
    return likelihood, likelihood(uniform(*batch, likelihood.n_params, seed=seed, low=-2, high=2))


# -- priors and families ---------------------------------------------------------------------------


@every_prior
@pytest.mark.parametrize("n_latents", [1, 2])
def test_prior_integrates_to_one_and_draws_have_its_moments(prior, n_latents):
    p = PRIOR_FACTORIES[prior](n_latents).double()()
    z, log_weight = lattice(n_latents, {1: 4001, 2: 501}[n_latents])
    mass = (p.log_prob(z) + log_weight).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    draws, log_mass = p.ancestral(50_000, stream(1))
    assert draws.shape == (50_000, n_latents)
    assert log_mass.exp().sum().item() == pytest.approx(1)
    squashed = torch.einsum("m,ml->l", mass, z.tanh())
    assert deviates(draws.detach().tanh(), squashed.detach()) < 4.5


@every_family
def test_family_returns_an_independent_mixture_for_each_row(family):
    family = FAMILY_FACTORIES[family](2, 3).double()
    params = uniform(5, family.n_params, low=-1, high=1)
    q = family(params)
    assert q.log_pi.shape == (5, 3)
    assert q.component.loc.shape == q.component.scale.shape == (5, 3, 2)
    torch.testing.assert_close(q.log_pi.exp().sum(-1), torch.ones(5).double())
    assert (family(params - 1e4).component.scale >= family.min_scale).all()
    single = family(params[3:4])
    z = uniform(7, 5, 2, low=-2, high=2)
    torch.testing.assert_close(single.log_prob(z[:, 3:4]), q.log_prob(z)[:, 3:4])


@pytest.mark.parametrize("df", [2.5, 6.0, 30.0, 300.0])
def test_degrees_of_freedom_have_their_initial_value(df):
    family = StudentTFamily(2, 1, df=df, learn_df=True)
    df_of_family = family(torch.zeros(1, family.n_params)).component.df
    torch.testing.assert_close(df_of_family, torch.full((2,), df))


# -- likelihoods ----------------------------------------------------------------------------


@every_density
def test_density_integrates_to_one_and_agrees_with_mean_and_cdf(likelihood):
    likelihood, columns = columns_of(likelihood, 3)
    for d, support in enumerate(likelihood.supports):
        if support == "binary":
            x = torch.tensor([0.0, 1.0]).double()
            weight = torch.ones(2).double()
        elif support == "unit":
            x = torch.linspace(0, 1, 20_001).double()
            weight = torch.full_like(x, 1 / 20_000)
            weight[[0, -1]] /= 2
        else:
            x, log_weight = lattice(1, 20_001)
            x, weight = x.squeeze(-1), log_weight.exp()
        full = torch.zeros(len(x), 3, D).double()
        full[..., d] = x.unsqueeze(-1)
        p = columns.log_prob(full)[..., d].exp() * weight.unsqueeze(-1)
        torch.testing.assert_close(p.sum(0), torch.ones(3).double(), atol=1e-5, rtol=0)
        mean = columns.mean().expand(3, D)[:, d]
        torch.testing.assert_close((p * x.unsqueeze(-1)).sum(0), mean, atol=1e-4, rtol=1e-4)
        at = 0.3 if support == "unit" else 0.0
        full[..., d] = at
        below = p[x <= at].sum(0)
        torch.testing.assert_close(columns.cdf(full)[0, :, d], below, atol=2e-3, rtol=0)


@every_likelihood
def test_draws_have_the_distribution_function_of_their_column(likelihood):
    likelihood, columns = columns_of(likelihood, 3)
    many = likelihood.double()(
        uniform(3, likelihood.n_params, low=-2, high=2).expand(40_000, 3, -1)
    )
    draws = many.sample(stream(2))
    assert draws.shape == (40_000, 3, D)
    for at in (0.2, 0.7):
        below = columns.cdf(torch.full((3, D), at).double())
        error = (below * (1 - below) / len(draws)).sqrt()
        assert (((draws <= at).double().mean(0) - below).abs() < 4.5 * error + 1e-4).all()


@every_likelihood
def test_quantiles_broadcast_probabilities_per_column(likelihood):
    _, columns = columns_of(likelihood, 5, 3)
    u = torch.linspace(0.1, 0.9, D).double()
    torch.testing.assert_close(columns.icdf(u), columns.icdf(u.expand(5, 3, D)))
    u = uniform(6, 5, 3, D, low=0.01, high=0.99)
    torch.testing.assert_close(columns.icdf(u), torch.stack([columns.icdf(p) for p in u]))


@every_density
def test_half_of_the_mass_is_below_the_median(likelihood):
    likelihood, columns = columns_of(likelihood, 5, 3)
    real = torch.tensor([support == "real" for support in likelihood.supports])
    low = torch.where(real, -60.0, 0.0).double().expand(3, D)
    high = torch.where(real, 60.0, 1.0).double().expand(3, D)
    median = quantile(columns, 0.5, low, high)
    smooth = torch.tensor([support != "binary" for support in likelihood.supports])
    mass = columns.cdf(median.expand(5, 3, D)).mean(0)
    torch.testing.assert_close(mass[:, smooth], torch.full_like(mass, 0.5)[:, smooth])
    if not smooth.all():
        more_probable = (columns.mean().mean(0) > 0.5).double()
        torch.testing.assert_close(median[:, ~smooth], more_probable[:, ~smooth])


@every_likelihood
def test_quantiles_are_inverse_to_the_distribution_function(likelihood):
    _, columns = columns_of(likelihood, 3)
    for u in (0.05, 0.3, 0.5, 0.9):
        at = columns.icdf(torch.full((3, D), u).double())
        assert (columns.cdf_left(at) <= u + 1e-6).all()
        assert (columns.cdf(at) >= u - 1e-6).all()


def test_quantile_is_the_smallest_value_with_the_probability():
    columns = BernoulliLikelihood(1)(torch.zeros(2, 1, 1))
    assert quantile(columns, 0.5, torch.zeros(1, 1), torch.ones(1, 1)).item() < 1e-6


def test_completions_of_grey_values_are_zeros_and_ones():
    likelihood, _ = columns_of("cross_entropy")
    columns = likelihood(uniform(3, D, low=-2, high=2).expand(20_000, 3, D))
    draws = columns.completion(stream())
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert deviates(draws, columns.mean()[0]) < 4.5


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
def test_scales_have_a_lower_limit(likelihood):
    likelihood = LIKELIHOOD_FACTORIES[likelihood](D, 0.07)
    with torch.no_grad():
        for weight in likelihood.parameters():
            weight.fill_(-100.0)
    columns = likelihood(torch.full((2, likelihood.n_params), -100.0))
    torch.testing.assert_close(columns.scale.expand(2, D), torch.full((2, D), 0.07))


def test_degrees_of_freedom_stay_above_two():
    likelihood = StudentTLikelihood(D, 0.05)
    with torch.no_grad():
        for weight in likelihood.parameters():
            weight.fill_(-100.0)
    assert (likelihood(torch.full((2, likelihood.n_params), -100.0)).df >= 2).all()


def test_student_t_columns_converge_to_normal_columns():
    likelihood = StudentTLikelihood(D).double()
    params = uniform(3, likelihood.n_params, low=-1, high=1)
    normal = NormalLikelihood(D).double()(params)
    with torch.no_grad():
        likelihood.raw_df.fill_(1e6)
    x = uniform(3, D, low=-2, high=2)
    torch.testing.assert_close(
        likelihood(params).log_prob(x), normal.log_prob(x), atol=1e-3, rtol=0
    )


def test_product_has_the_columns_of_its_parts_in_the_order_of_the_table():
    product, columns = columns_of("product", 3)
    params = uniform(3, product.n_params, seed=0, low=-2, high=2)
    x = torch.tensor([0.4, 1.0, 0.3, -0.2]).double().expand(3, D)
    parts = params.split(product.sizes, -1)
    for likelihood, part, index in zip(product.parts, parts, product.columns, strict=True):
        expected = likelihood(part).log_prob(x[:, index])
        torch.testing.assert_close(columns.log_prob(x)[:, index], expected)
    assert product.supports == ["real", "binary", "unit", "real"]


@every_likelihood
def test_embedding_of_missing_cells_is_zero_whatever_their_values(likelihood):
    likelihood, _ = columns_of(likelihood)
    x, observed = uniform(6, D), uniform(6, D, seed=1) > 0.5
    inputs = likelihood.embed(x, observed)
    assert torch.equal(inputs, likelihood.embed(torch.where(observed, x, 5.0), observed))
    assert (likelihood.embed(x, torch.zeros(6, D).bool()) == 0).all()
    assert inputs.shape == (6, likelihood.n_inputs)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli"])
def test_embedding_of_an_observed_zero_differs_from_that_of_a_missing_cell(likelihood):
    likelihood, _ = columns_of(likelihood)
    ends = torch.tensor([[0.0], [1.0]]).expand(2, D)
    assert (likelihood.embed(ends, torch.ones(2, D).bool()) == 2 * ends - 1).all()


@every_likelihood
def test_linear_initialization_has_the_declared_shapes(likelihood):
    check_linear_initialization(LIKELIHOOD_FACTORIES[likelihood](D, 0.05))


def test_product_concatenates_linear_initializations_in_the_order_of_the_parts():
    ordinal = CumulativeLogitLikelihood([[3, 4, 5]])  # has no linear initialization
    likelihood = ProductLikelihood(
        [NormalLikelihood(1), ordinal, BernoulliLikelihood(1)], [[2], [0], [1]]
    )
    check_linear_initialization(likelihood)
    assert not likelihood.covers_all_columns
    x = torch.tensor([[2.0, 1.0, -0.7]])
    values, observed = likelihood.linearize(x, torch.tensor([[True, False, True]]))
    assert values[0, 0] == x[0, 2]
    assert observed.tolist() == [[True, False]]


def test_student_t_cdf_equals_that_of_scipy():
    _likelihood, columns = columns_of("student_t", 3)
    x = uniform(3, D, low=-3, high=3)
    df, loc, scale = (t.detach().numpy() for t in (columns.df, columns.loc, columns.scale))
    expected = stats.t(df, loc, scale).cdf(x.numpy())
    torch.testing.assert_close(columns.cdf(x), torch.tensor(expected))
