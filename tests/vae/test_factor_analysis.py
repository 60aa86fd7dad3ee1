"""Factor analysis of incomplete tables, and the initialization of models from it."""

import numpy as np
import pytest
import torch
from helpers import LinearGaussian, stream, tiny_vae
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

from skmissvae.vae import (
    AffineMixture,
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    CrossEntropyLikelihood,
    DiagonalNormal,
    FactorAnalysisPosterior,
    Mixture,
    NormalLikelihood,
    ProductLikelihood,
)
from skmissvae.vae.factor_analysis import (
    bootstrap_factor_analysis,
    factor_analysis,
    initialize_from,
    needs_shrinkage,
)
from skmissvae.vae.likelihoods.base import LinearModel

MODEL = LinearGaussian(6, 2, sigma=0.6)


def rows(n, share, seed=0):
    x, observed = (part.numpy() for part in MODEL.rows(n, seed, share))
    return np.where(observed, x, 0.0), observed


def fit(x, observed, n_factors=2, **options):
    """Return the fitted model with numpy arrays."""
    model = factor_analysis(x, observed, n_factors, np.random.default_rng(0), **options)
    return LinearModel(*(part.numpy() for part in model))


def initialize(vae, model):
    initialize_from(vae, LinearModel(*map(torch.from_numpy, model)))


def log_evidence(model, x, observed):
    """Return the log-density of the observed cells."""
    cov = model.loadings @ model.loadings.T + np.diag(model.variance)
    return sum(
        multivariate_normal(model.intercept[o], cov[np.ix_(o, o)]).logpdf(row[o])
        for row, o in zip(x, observed, strict=True)
        if o.any()
    )


def test_complete_tables_have_the_maximum_likelihood_solution():
    x, _ = rows(500, 0.0)
    x, observed = x[2:], np.ones_like(x[2:], dtype=bool)
    best = FactorAnalysis(2, tol=1e-6, max_iter=5000).fit(x).score(x)
    assert log_evidence(fit(x, observed), x, observed) / len(x) > best - 2e-3


def test_iterations_increase_the_likelihood_of_the_observed_cells():
    x, observed = rows(200, 0.5)
    log_likelihood = [
        log_evidence(fit(x, observed, n_iter=n_iter), x, observed) for n_iter in (1, 3, 10, 30, 100)
    ]
    increase = np.diff(log_likelihood)
    assert (increase[:2] > -0.05).all()
    # learned priors of the loadings may reduce the likelihood a little
    assert (increase[2:] > -2).all()
    assert increase.sum() > 50


def test_covariance_is_estimated_from_incomplete_rows():
    x, observed = rows(2000, 0.5)
    model = fit(x, observed)
    cov = model.loadings @ model.loadings.T + np.diag(model.variance)
    true = MODEL.cov[:6, :6]
    scale = np.sqrt(np.outer(true.diagonal(), true.diagonal()))
    assert np.abs((cov - true) / scale).max() < 0.15
    assert np.abs(model.intercept - MODEL.bias).max() < 0.1


def test_columns_without_variance_or_cells_have_finite_parameters():
    x, observed = rows(50, 0.5)
    x[:, 0], observed[:, 1] = 0.0, False
    x[:, 1] = 0.0
    assert all(np.isfinite(part).all() for part in fit(x, observed, 3))


def test_superfluous_factors_vanish():
    few, many = (fit(*rows(400, 0.3), n_factors) for n_factors in (2, 6))
    size = np.sort(np.linalg.norm(many.loadings, axis=0))
    assert (size[:4] < 0.05).all()
    assert (size[4:] > 0.3).all()
    x, observed = rows(2000, 0.3, seed=1)  # test rows
    assert log_evidence(many, x, observed) > log_evidence(few, x, observed) - 10


def correlated(n, n_columns, seed):
    """Return incomplete rows of equally correlated columns, and their mask."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1)) + rng.normal(size=(n, n_columns))
    observed = rng.random(x.shape) < 0.7
    return np.where(observed, x, 0.0), observed


def slopes(model):
    """Return the regression of the last of four columns on the others."""
    cov = np.asarray(model.loadings @ model.loadings.T) + np.diag(model.variance)
    return np.linalg.solve(cov[:3, :3], cov[:3, 3])


def regression_rows(seed, n=60):
    """Return incomplete rows of three covariates and an outcome, their mask, and slopes of all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) @ np.linalg.cholesky(0.5 * (np.ones((3, 3)) + np.eye(3))).T
    y = x @ [1.0, 0.5, -0.5] + rng.normal(size=n)
    rows = np.column_stack([x, y])
    observed = rng.random(rows.shape) < [0.7, 0.7, 1.0, 1.0]
    complete = np.linalg.lstsq(x - x.mean(0), y - y.mean(), rcond=None)[0]
    return np.where(observed, rows, 0.0), observed, complete


def test_shrinkage_is_needed_if_columns_are_many_for_the_rows():
    tables = [correlated(120, 30, seed) for seed in range(5)]
    assert all(needs_shrinkage(*table, 20, np.random.default_rng(0)) for table in tables)


def test_shrinkage_is_rarely_chosen_for_few_columns():
    # one standard error of noise would choose it in 16% of the tables
    tables = [regression_rows(seed)[:2] for seed in range(100)]
    n = sum(needs_shrinkage(*table, 4, np.random.default_rng(0)) for table in tables)
    assert 0 < n < 25


def test_relations_are_unbiased_without_shrinkage():
    error, error_of_shrunk = [], []
    for seed in range(60):
        x, observed, complete = regression_rows(seed)
        error.append(slopes(fit(x, observed, 4, shrinks=False)) - complete)
        error_of_shrunk.append(slopes(fit(x, observed, 4)) - complete)
    assert (np.abs(np.mean(error, 0)) < 3 * np.std(error, 0) / np.sqrt(60)).all()
    assert np.mean(error_of_shrunk, 0)[2] > 3 * np.std(error_of_shrunk, 0)[2] / np.sqrt(60)


def test_bootstrap_samples_vary_as_slopes_of_other_rows_do():
    found, variances, shifts = [], [], []
    for seed in range(60):
        x, observed, _ = regression_rows(seed)
        random_state = np.random.default_rng(seed)
        model = factor_analysis(x, observed, 4, random_state, shrinks=False)
        samples = bootstrap_factor_analysis(model, x, observed, 16, random_state, shrinks=False)
        drawn = np.array([slopes(LinearModel(*map(np.asarray, sample))) for sample in samples])
        found.append(slopes(LinearModel(*map(np.asarray, model))))
        variances.append(drawn.var(0, ddof=1))
        shifts.append(drawn.mean(0) - found[-1])
    ratio = np.mean(variances, 0) / np.var(found, 0, ddof=1)
    np.testing.assert_allclose(ratio, 1, atol=0.4)  # standard error 0.18
    assert (np.abs(np.mean(shifts, 0)) < 0.03).all()


def test_columns_with_few_cells_are_shrunk():
    x, observed = correlated(300, 8, 0)
    observed[12:, 0] = False
    x = np.where(observed, x, 0.0)
    shrunk, free = (fit(x, observed, 8, shrinks=shrinks) for shrinks in (True, False))
    few, many = (free.variance[part] / shrunk.variance[part] for part in (0, slice(1, None)))
    assert few > 0.7  # nine coefficients of its own would explain nearly all of twelve cells
    assert (many < 1).all()


@pytest.mark.parametrize("n", [3, 40, 700])
def test_the_choice_of_shrinkage_accepts_rows_and_columns_without_cells(n):
    x, observed = correlated(n, 6, 0)
    observed[: n // 4] = False
    observed[:, 0] = False
    x = np.where(observed, x, 0.0)
    x[:, 1] = 0.1 * observed[:, 1]  # constant
    choices = {needs_shrinkage(x, observed, 5, np.random.default_rng(0)) for _ in range(2)}
    assert len(choices) == 1
    if n == 3:
        assert choices == {True}


def test_columns_without_cells_do_not_change_the_factors():
    x, observed = rows(400, 0.3)
    empty = np.zeros((len(x), 30), dtype=bool)
    expected = fit(x, observed, 5)
    model = fit(np.hstack([x, empty]), np.hstack([observed, empty]), 5)
    size, expected_size = (np.linalg.norm(m.loadings[:6], axis=0) for m in (model, expected))
    np.testing.assert_allclose(np.sort(size), np.sort(expected_size), atol=0.1)
    assert (model.variance[6:] == 1).all()


@pytest.mark.parametrize(
    "options",
    [{"min_scale": 0.02}, {"min_scale": 0.9}, {"scale": 0.7}],
    ids=str,
)
@pytest.mark.parametrize(("n_latents", "n_components"), [(2, 1), (3, 3)])
def test_initial_posterior_is_exact(n_latents, n_components, options):
    x, observed = rows(300, 0.5)
    model = fit(x, observed)
    likelihood = NormalLikelihood(6, **options)
    vae = tiny_vae(6, n_latents, n_components, likelihood=likelihood, guided=True).eval()
    initialize(vae, model)
    min_scale = options.get("min_scale", 0.01)
    scale = options.get("scale", "")
    scale = (
        scale if scale == 0.7 else np.maximum(np.sqrt(model.variance) - min_scale, 0.01) + min_scale
    )
    model = model._replace(variance=np.broadcast_to(np.square(scale), 6))
    for layer in (vae.encoder.outlet, vae.encoder.linear):
        torch.nn.init.zeros_(layer.weight)
    for weight in (vae.decoder.outlet.weight, vae.decoder.linear.weight[:, 2:]):
        torch.nn.init.zeros_(weight)
    batch = torch.tensor(x, dtype=torch.float32), torch.tensor(observed)
    with torch.no_grad():
        draws = vae.draw(*batch, 5, stream(dtype=torch.float32), stratified=True)
    evidence = [log_evidence(model, x[i : i + 1], observed[i : i + 1]) for i in range(len(x))]
    # the ratio of joint and exact posterior is the evidence for every draw
    expected = np.broadcast_to(evidence, draws.log_ratio.shape)
    np.testing.assert_allclose(draws.log_ratio, expected, atol=2e-3)


def test_factor_analysis_posterior_is_exact_for_each_pattern():
    coordinates = FactorAnalysisPosterior(6, 2)
    coordinates.loadings.copy_(torch.tensor(MODEL.weight))
    coordinates.intercept.copy_(torch.tensor(MODEL.bias))
    coordinates.precision.fill_(MODEL.sigma**-2)
    x, observed = MODEL.rows(8)
    zeros = x.new_zeros(2, 4, 1, 2)
    u = Mixture(x.new_zeros(2, 4, 1), DiagonalNormal(zeros, zeros + 1))
    incomplete = torch.where(observed, x, torch.nan).unflatten(0, (2, 4))  # (n, B, D)
    q = AffineMixture(u, *coordinates(incomplete, observed.unflatten(0, (2, 4))))
    cov = (q.factor @ q.factor.mT).flatten(0, 1)
    for i in range(8):
        mean, exact = MODEL.condition(x[i], observed[i])
        np.testing.assert_allclose(q.mean().flatten(0, 1)[i], mean[6:], atol=1e-6)
        np.testing.assert_allclose(cov[i], exact[6:, 6:], atol=1e-6)


def test_outliers_have_a_bounded_effect_on_the_posterior():
    coordinates = FactorAnalysisPosterior(2, 1)
    coordinates.loadings.fill_(1.0)
    coordinates.precision.fill_(1.0)
    observed = torch.ones(2, 2, dtype=torch.bool)
    mean = coordinates(torch.tensor([[0.0, 10.0], [0.0, 1e30]]), observed).loc
    assert mean[0] == mean[1]


@pytest.mark.parametrize("n_latents", [2, 3])
def test_initial_decoder_is_factor_analysis(n_latents):
    x, observed = rows(300, 0.3)
    model = fit(x, observed)
    vae = tiny_vae(6, n_latents, likelihood=NormalLikelihood(6, min_scale=0.05), guided=True)
    initialize(vae, model)
    z = torch.randn(100, 1, n_latents)
    z[..., 2:] = 0
    columns = vae.decode(z)
    expected = z[:, 0, :2].numpy() @ model.loadings.T + model.intercept
    np.testing.assert_allclose(columns.mean()[:, 0].detach().numpy(), expected, atol=1e-5)
    draws = columns.sample(stream(dtype=torch.float32)).detach()[:, 0].numpy() - expected
    assert np.abs(draws.std(0) / np.sqrt(model.variance) - 1).max() < 0.3


def test_initial_scale_of_a_product_is_that_of_factor_analysis():
    parts = [NormalLikelihood(2, min_scale=0.3), NormalLikelihood(4, min_scale=0.05)]
    likelihood = ProductLikelihood(parts, [[0, 2], [1, 3, 4, 5]])
    vae = tiny_vae(6, likelihood=likelihood, guided=True)
    x, observed = rows(300, 0.3)
    x = x * np.linspace(1, 3, 6)  # different scales
    linearized = likelihood.linearize(torch.from_numpy(x), torch.from_numpy(observed))
    model = fit(*(part.numpy() for part in linearized))
    initialize(vae, model)
    columns = vae.decode(torch.zeros(4000, 1, 2))
    draws = columns.sample(stream(dtype=torch.float32)).detach()[:, 0].numpy()
    expected = np.sqrt(model.variance)[likelihood.order]
    np.testing.assert_allclose(draws.std(0), expected, rtol=0.06)


def test_columns_without_a_linear_initialization_do_not_change():
    parts = [NormalLikelihood(2), ContinuousBernoulliLikelihood(2)]
    likelihood = ProductLikelihood(parts, [[0, 2], [1, 3]])
    assert not likelihood.covers_all_columns
    vae, uninitialized = (tiny_vae(4, likelihood=likelihood, guided=True) for _ in range(2))
    x, observed = (part[:, [0, 2]] for part in rows(60, 0.3))
    initialize(vae, fit(x, observed))
    z = torch.randn(20, 1, 2)
    means, before = (model.decode(z).mean() for model in (vae, uninitialized))
    assert torch.equal(means[..., [1, 3]], before[..., [1, 3]])
    assert not torch.equal(means[..., [0, 2]], before[..., [0, 2]])


def discriminant(contrasts, loadings):
    """Return slopes of log-odds given z, (C, L); z is Normal given a category."""
    means = contrasts @ loadings
    # the contrasts have covariance I, so that the means of the categories have that of the loadings
    within = np.eye(loadings.shape[1]) - loadings.T @ loadings
    return means @ np.linalg.inv(within)


def latents(n=4096, n_latents=2):
    """Return quasi-random latents, whose means are more exact than those of random ones."""
    sobol = torch.quasirandom.SobolEngine(n_latents, scramble=True, seed=0)
    return torch.special.ndtri(sobol.draw(n, dtype=torch.float64))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("explained", [0.1, 0.7])
def test_binary_columns_are_initialized_by_discriminant_analysis(share, explained):
    loadings = np.sqrt(explained) * np.array([[0.6, -0.8]])  # of the standardized column
    t = np.array([[-np.sqrt(share / (1 - share))], [np.sqrt((1 - share) / share)]])
    unit = np.sqrt(share * (1 - share))
    parts = unit * loadings, [share], [unit**2 * (1 - explained)]
    initialization = BernoulliLikelihood(1).linear_initialization(
        LinearModel(*map(torch.tensor, parts))
    )
    # at most a fifth of the variance counts as explained
    tempered = (1 - explained) / max(1 - explained, 0.8)
    slopes = tempered * discriminant(t, loadings)
    np.testing.assert_allclose(initialization.weight[0], slopes[1] - slopes[0])
    np.testing.assert_allclose(initialization.precision, tempered / parts[2][0])
    mean = (latents() @ initialization.weight.T + initialization.bias).sigmoid().mean()
    assert mean == pytest.approx(share, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.4, 0.9])
def test_categories_are_initialized_by_discriminant_analysis(size):
    counts = [[60, 30, 10], [50, 50], [10] * 40]
    likelihood = CategoricalLikelihood(counts).double()
    assert likelihood.n_linear == 3  # none of the column with many categories
    assert likelihood.covers_all_columns
    loadings = size * np.array([[0.8, 0.6], [-0.6, 0.8], [0.6, 0.8]])
    variance = 1 - (loadings**2).sum(-1)
    model = LinearModel(*map(torch.tensor, (loadings, np.full(3, 0.3), variance)))
    initialization = likelihood.linear_initialization(model)
    contrasts = likelihood.contrasts.numpy()
    tempered = variance[0] / max(variance[0], 0.8)
    for categories, width, contrast, count in (
        (slice(0, 3), 2, slice(0, 2), counts[0]),
        (slice(3, 5), 1, slice(2, 3), counts[1]),
    ):
        frequency = np.array(count) / sum(count)
        t = contrasts[categories, :width]
        np.testing.assert_allclose(frequency @ t, 0, atol=1e-6)
        np.testing.assert_allclose(t.T @ (frequency[:, None] * t), np.eye(width), atol=1e-6)
        slopes = tempered * discriminant(t, loadings[contrast])
        np.testing.assert_allclose(initialization.weight[categories], slopes, atol=1e-6)
    assert initialization.initialized.tolist() == [True] * 5 + [False] * 40
    columns = likelihood(latents() @ initialization.weight.T + initialization.bias)
    probability = columns.log_p.exp().mean(0)
    for d, (place, width) in enumerate([(slice(0, 3), 2), (slice(3, 5), 1)]):
        t, frequency = contrasts[place, :width], np.array(counts[d]) / sum(counts[d])
        implied = frequency * (1 + t @ np.full(width, 0.3))
        np.testing.assert_allclose(implied @ t, 0.3, atol=1e-6)
        np.testing.assert_allclose(probability[d, : len(implied)], implied, atol=4e-3)
    x = torch.tensor([[2.0, 1.0, 5.0], [0.0, 0.0, 7.0]], dtype=torch.float64)
    observed = torch.tensor([[True, False, True], [True, True, True]])
    values, count = likelihood.linearize(x, observed)
    np.testing.assert_allclose(values[0], [*contrasts[2], 0])
    np.testing.assert_allclose(values[1], [*contrasts[0], contrasts[3, 0]])
    assert count.tolist() == [[True, True, False], [True, True, True]]


def test_grey_values_are_initialized_with_their_means():
    share = torch.tensor([0.05, 0.5, 0.8]).double()
    loadings = torch.tensor([[0.1, 0.0], [0.2, 0.3], [-0.1, 0.2]]).double()
    initialization = CrossEntropyLikelihood(3).linear_initialization(
        LinearModel(loadings, share, torch.full_like(share, 0.01))
    )
    z = latents()
    means = (z @ initialization.weight.T + initialization.bias).sigmoid()
    np.testing.assert_allclose(means.mean(0), share, rtol=0.02)
    correlation = np.corrcoef(means.T, (z @ loadings.T).T)[:3, 3:].diagonal()
    assert (correlation > 0.6).all()  # in the direction of the linear model


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_row_of_weight_two_counts_as_two_rows(shrinks):
    x, observed = rows(80, 0.3)
    weight = np.arange(80) % 3
    weighted = fit(x, observed, shrinks=shrinks, weight=weight.astype(float))
    repeated = fit(x.repeat(weight, 0), observed.repeat(weight, 0), shrinks=shrinks)
    for values, expected in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-10)


def test_bootstrap_samples_follow_the_weights():
    x, observed = rows(200, 0.2)
    x[100:] += 3 * observed[100:]
    weight = np.where(np.arange(200) < 100, 1.8, 0.2)
    model = factor_analysis(x, observed, 2, np.random.default_rng(0), weight=weight)
    samples = bootstrap_factor_analysis(
        model, x, observed, 40, np.random.default_rng(0), weight=weight
    )
    means = np.stack([sample.intercept.numpy() for sample in samples])
    distance = np.abs(means.mean(0) - model.intercept.numpy())
    assert (distance < 5 * means.std(0) / np.sqrt(40)).all()
    unweighted = bootstrap_factor_analysis(model, x, observed, 40, np.random.default_rng(0))
    shift = np.mean([sample.intercept.numpy() for sample in unweighted], 0) - means.mean(0)
    np.testing.assert_allclose(shift, 3 * (0.5 - 0.1), atol=0.5)
