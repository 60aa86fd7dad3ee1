"""How good a model is: exact where the exact is known, and bounds that hold."""

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as holed
from helpers import LinearGaussian, lattice, tiny_vae
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from skmissvae import DeMissVAEImputer, MIWAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.inspection.likelihood import (
    _integrate,
    frechet_distance,
    gradient_signal_to_noise,
    integrated_score_samples,
    log_likelihood,
)
from skmissvae.inspection.upper_bound import (
    _cells,
    _Columns,
    _Kernels,
    _log_prob,
    _wanting,
    likelihood_upper_bound,
)

pytestmark = quiet


@pytest.mark.parametrize("n_latents", [1, 2])
def test_it_is_exact_for_probabilistic_pca(n_latents):
    model = LinearGaussian(5, n_latents)
    x, observed = model.rows(20)
    found = _integrate(model.vae(), x, observed, 1e-4)
    torch.testing.assert_close(found, model.log_evidence(x, observed), atol=1e-4, rtol=0)


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
def test_every_prior_has_its_tails(prior):
    vae = tiny_vae(n_latents=1, prior=prior).double()
    x, observed = LinearGaussian(4).rows(10)
    nodes, log_weight = lattice(1, 40_001)
    with torch.no_grad():
        log_joint = vae.log_joint(x, observed, nodes.unsqueeze(1))
        exact = torch.logsumexp(log_joint + log_weight.unsqueeze(-1), 0)
        found = _integrate(vae, x, observed, 1e-5)
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=0)


def test_importance_draws_come_near_in_the_units_of_the_table():
    X = holed(60)
    density = tiny(VAEDensityEstimator, n_latents=2, n_importance_draws=5000).fit(X)
    exact = integrated_score_samples(density, X)
    # three epochs make a poor encoder: the weights of some rows are uneven
    assert np.abs(np.median(exact - density.score_samples(X))) < 0.03
    thousand = tiny(VAEDensityEstimator, n_latents=2).fit(1000 * X)
    shift = np.log(1000) * (~np.isnan(X)).sum(1)
    np.testing.assert_allclose(integrated_score_samples(thousand, 1000 * X), exact - shift, 1e-3)


def test_nothing_seen_is_certain():
    vae = tiny_vae(n_latents=2).double()
    x = torch.zeros(1, 4, dtype=torch.float64)
    with torch.no_grad():
        found = _integrate(vae, x, torch.zeros_like(x, dtype=torch.bool), 1e-4)
    assert abs(found.item()) < 1e-6


def test_more_latents_are_refused():
    imputer = tiny(MIWAEImputer, n_latents=3).fit(holed())
    with pytest.raises(ValueError, match=r"one or two latents; the model has 3.*score_samples"):
        integrated_score_samples(imputer, holed())


def test_what_no_grid_resolves_is_refused(monkeypatch):
    monkeypatch.setattr("skmissvae.inspection.likelihood._FINEST", 128)
    model = LinearGaussian(4, 1, sigma=1e-3)
    x, observed = model.rows(5)
    with pytest.raises(ValueError, match="too coarse for tol="):
        _integrate(model.vae(), x, observed, 1e-6)


# -- by many draws ---------------------------------------------------------------------------------


@every_estimator
def test_many_draws_come_within_their_errors_of_the_exact_density(cls):
    X = holed(60)
    estimator = tiny(cls, n_latents=1).fit(X)
    found = log_likelihood(estimator, X, n_draws=20_000)
    off = (found.scores - integrated_score_samples(estimator, X, tol=1e-4)) / found.errors
    trusted = found.errors < 0.1
    assert trusted.mean() > 0.5
    # noise is shared by the rows: they may all be off in the same direction
    assert np.abs(off[trusted]).max() < 5
    assert found.mean == pytest.approx(found.scores.mean())
    assert found.standard_error == pytest.approx(found.scores.std(ddof=1) / np.sqrt(60))
    assert estimator.n_importance_draws == 40


def test_as_many_draws_as_score_samples_takes_give_its_scores():
    X = holed()
    X[0] = np.nan
    density = tiny(VAEDensityEstimator).fit(X[1:])
    found = log_likelihood(density, X, n_draws=density.n_importance_draws)
    np.testing.assert_array_equal(found.scores, density.score_samples(X))
    assert found.scores[0] == found.errors[0] == 0
    with pytest.raises(ValueError, match="n_draws must be an integer of 1 or more"):
        log_likelihood(density, X, n_draws=0)


# -- gradients -------------------------------------------------------------------------------------


def test_twice_the_rows_raise_the_ratio_by_the_root_of_two():
    X = holed(20)
    imputer = tiny(MVAEImputer, dropout=0.0, max_iter=1).fit(X)
    before = {name: weight.clone() for name, weight in imputer.vae_.state_dict().items()}
    one, two = (
        gradient_signal_to_noise(imputer, table, n_repeats=600, random_state=0)
        for table in (X, np.vstack([X, X]))
    )
    for part, other in zip(one, two, strict=True):
        assert other / part == pytest.approx(np.sqrt(2), rel=0.12)
    for name, weight in imputer.vae_.state_dict().items():
        assert torch.equal(weight, before[name])


def test_more_draws_tell_the_decoder_more():
    X = holed(20)
    few, many = (tiny(MIWAEImputer, n_draws=n, dropout=0.0, max_iter=1).fit(X) for n in (1, 50))
    ratios = [gradient_signal_to_noise(one, X, random_state=0) for one in (few, many)]
    assert ratios[1].decoder > 2 * ratios[0].decoder


@pytest.mark.parametrize("signal", [0.0, 3.0])
def test_the_ratio_is_that_of_signal_and_noise(signal, monkeypatch):
    class Known:
        def backward(self, vae, batch, noise):
            for weight in vae.parameters():
                weight.grad = signal + torch.randn(weight.shape, generator=noise.generator)

    imputer = tiny(MIWAEImputer).fit(holed())
    monkeypatch.setattr(MIWAEImputer, "_objective", lambda self: Known())
    found = gradient_signal_to_noise(imputer, holed(), n_repeats=100, random_state=0)
    # an average of nothing but noise would be 0.08 of it
    assert found.encoder == pytest.approx(signal, rel=0.05, abs=0.05)
    assert found.decoder == pytest.approx(signal, rel=0.05, abs=0.05)


def test_decomposed_methods_have_no_single_gradient():
    imputer = tiny(DeMissVAEImputer).fit(holed())
    with pytest.raises(ValueError, match="two objectives"):
        gradient_signal_to_noise(imputer, holed())


# -- distances -------------------------------------------------------------------------------------


def test_the_frechet_distance_is_its_formula():
    rng = np.random.default_rng(0)
    turn = ortho_group.rvs(3, random_state=0)
    one = rng.normal(size=(500, 3)) @ np.diag([1, 2, 0.5]) @ turn
    other = rng.normal([1, 0, -2], size=(400, 3))
    covs = np.cov(one.T), np.cov(other.T)
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum()
    expected += np.trace(covs[0] + covs[1] - 2 * sqrtm(covs[0] @ covs[1]).real)
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(other, one) == pytest.approx(expected)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    flat = np.column_stack([one, one[:, 0]])  # of a rank less
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one[:, :1], one[:, :1] + 2) == pytest.approx(4)
    with pytest.raises(ValueError, match="3 and 2 features"):
        frechet_distance(one, other[:, :2])


# -- the best mixture ------------------------------------------------------------------------------


@pytest.mark.parametrize("min_scale", [0.5, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_no_model_passes_the_bound_of_mixtures(min_scale, share):
    X = holed(60, share=share)
    density = tiny(
        VAEDensityEstimator, n_latents=1, min_scale=min_scale, learn_shapes=False, max_iter=200
    ).fit(X)
    found = likelihood_upper_bound(density, X)
    assert found.attained <= found.bound <= found.attained + 0.01
    assert integrated_score_samples(density, X).mean() < found.bound
    # nor does a mixture of two, fitted with the same floor
    two = MixtureOfTwo(min_scale).fit(density._rows(X)[2])
    assert two - np.mean(density._table.log_units(density._rows(X)[2])) < found.bound


class MixtureOfTwo:
    """Expectation maximisation by hand."""

    def __init__(self, floor):
        self.floor = floor

    def fit(self, rows):
        x, seen = rows.x, rows.observed
        loc, scale = np.array([[-0.5], [0.5]]) * np.ones(x.shape[1]), np.ones((2, x.shape[1]))
        for _ in range(50):
            log_p = -0.5 * ((x[:, None] - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))
            log_p = (log_p * seen[:, None]).sum(-1) + np.log(0.5)
            total = np.logaddexp(*log_p.T)
            share = np.exp(log_p - total[:, None])
            n = share.T @ seen
            loc = share.T @ (x * seen) / n
            second = share.T @ (x**2 * seen) / n
            scale = np.maximum(np.sqrt(np.maximum(second - loc**2, 0)), self.floor)
        return total.mean()


def test_rows_far_apart_have_a_component_each():
    X = 100.0 * np.arange(8)[:, None] * [1.0, -2.0] + [0.5, 3.0]
    imputer = tiny(MVAEImputer, min_scale=1e-3).fit(X)
    found = likelihood_upper_bound(imputer, X, tol=1e-6)
    units = np.log(X.std(0)).sum()
    exact = -2 * np.log(1e-3 * np.sqrt(2 * np.pi)) - np.log(8) - units
    assert found.bound == pytest.approx(exact, abs=1e-5)
    # and without a floor there is no bound: a hundredth of it gains log 100 a cell
    lower = likelihood_upper_bound(tiny(MVAEImputer, min_scale=1e-5).fit(X), X, tol=1e-6)
    assert lower.bound - found.bound == pytest.approx(2 * np.log(100), abs=1e-4)


def test_binary_rows_have_at_most_their_frequencies():
    X = (np.random.default_rng(0).random((50, 3)) < [0.3, 0.5, 0.9]).astype(float)
    imputer = tiny(MVAEImputer, likelihood="bernoulli").fit(X)
    counts = np.unique(X, axis=0, return_counts=True)[1]
    found = likelihood_upper_bound(imputer, X, tol=1e-4)
    assert found.bound == pytest.approx((counts / 50 * np.log(counts / 50)).sum(), abs=1e-3)


def test_mixed_columns_have_a_bound_too():
    X = holed(50)
    X[:, 0] = np.where(np.isnan(X[:, 0]), np.nan, X[:, 0] > 0)
    imputer = tiny(MVAEImputer, likelihood={0: "bernoulli"}, min_scale=0.3).fit(X)
    found = likelihood_upper_bound(imputer, X)
    assert imputer.score(X) < found.bound < found.attained + 0.02


def test_halves_of_rows_have_the_bound_of_their_table():
    """Of two flags never seen together anything can be: each has its frequencies."""
    nan = np.nan
    X = np.repeat([[1, nan], [0, nan], [nan, 1], [nan, 0]], [55, 45, 55, 45], axis=0)
    imputer = tiny(MVAEImputer, likelihood="bernoulli").fit(X)
    found = likelihood_upper_bound(imputer, X, tol=1e-3)
    exact = 0.55 * np.log(0.55) + 0.45 * np.log(0.45)
    assert exact - 1e-6 < found.bound < exact + 2e-3


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_no_mixture_from_elsewhere_passes_the_bound(share):
    X = (holed(80, share=0.0, seed=3) > [0, 100, 1, -7]).astype(float)
    X[np.random.default_rng(0).random(X.shape) < share] = np.nan
    X = X[~np.isnan(X).all(1)]
    imputer = tiny(MVAEImputer, likelihood="bernoulli").fit(X)
    found = likelihood_upper_bound(imputer, X)
    x, seen = np.nan_to_num(X), ~np.isnan(X)
    rng = np.random.default_rng(1)
    for _ in range(5):
        p, weight = rng.uniform(0.05, 0.95, size=(40, 4)), np.full(40, 1 / 40)
        for _ in range(500):
            log_p = np.where(x[:, None] > 0.5, np.log(p), np.log1p(-p)) * seen[:, None]
            log_p = log_p.sum(-1) + np.log(weight)
            total = np.logaddexp.reduce(log_p, 1)
            share_of = np.exp(log_p - total[:, None])
            weight = share_of.mean(0).clip(1e-12)
            p = (share_of.T @ (x * seen) / (share_of.T @ seen).clip(1e-9)).clip(1e-9, 1 - 1e-9)
        assert total.mean() < found.bound
    assert found.bound <= found.attained + 0.01
    assert found.n_components <= len(X)


def test_what_is_wanting_is_found():
    """In one dimension a grid sees every kernel."""
    x = torch.tensor([-2.0, -1.9, 0.3, 0.5, 3.0]).double()[:, None]
    columns = _Columns(torch.zeros(1).bool(), torch.full((1,), 0.2), torch.full((1,), torch.inf))
    wrong = _Kernels(torch.zeros(1, 1).double(), 2 * torch.ones(1, 1).double())
    cells = _cells(x, torch.ones(5, 1, dtype=torch.bool))
    log_f = _log_prob(cells, wrong, columns)[:, 0]
    loc, scale = torch.meshgrid(
        torch.linspace(-4, 4, 801).double(), torch.linspace(0.2, 3, 281).double(), indexing="ij"
    )
    grid = _Kernels(loc.reshape(-1, 1), scale.reshape(-1, 1))
    exact = torch.logsumexp(_log_prob(cells, grid, columns) - log_f[:, None], 0) - np.log(5)
    _, gain = _wanting(cells, log_f, wrong, columns)
    assert float(gain.max()) == pytest.approx(float(exact.max()), abs=1e-3)


def test_other_models_and_long_tables_have_no_such_bound():
    X = holed()
    with pytest.raises(ValueError, match=r"StudentTLikelihood.*likelihood='normal'"):
        likelihood_upper_bound(tiny(MVAEImputer, likelihood="student_t").fit(X), X)
    with pytest.raises(ValueError, match="tol must be a number above 0; got 0"):
        likelihood_upper_bound(tiny(MVAEImputer).fit(X), X, tol=0)
    with pytest.raises(ValueError, match="40 rows, above max_rows=39"):
        likelihood_upper_bound(tiny(MVAEImputer).fit(X), X, max_rows=39)
