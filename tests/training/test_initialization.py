"""Factor analysis with holes: as good as the complete one where nothing is missing, and a start."""

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, tiny
from estimator_cases import table as holed
from helpers import LinearGaussian, stream, tiny_vae
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis as Complete

from skmissvae import Chunks, DeMissVAEImputer, MissSIWAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.training import initialization as _starts
from skmissvae.training.optim import DivergenceError
from skmissvae.vae import (
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
from skmissvae.vae.factor_analysis import factor_analysis, initialize_from
from skmissvae.vae.likelihoods.initialization import LinearModel

MODEL = LinearGaussian(6, 2, sigma=0.6)


def rows(n, share, seed=0):
    x, observed = (part.numpy() for part in MODEL.rows(n, seed, share))
    return np.where(observed, x, 0.0), observed


def fit(x, observed, n_factors=2, **options):
    return factor_analysis(x, observed, n_factors, np.random.default_rng(0), **options)


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
    best = Complete(2, tol=1e-6, max_iter=5000).fit(x).score(x)
    assert log_evidence(fit(x, observed), x, observed) / len(x) > best - 2e-3


def test_every_round_raises_the_likelihood_of_the_observed_cells():
    x, observed = rows(200, 0.5)
    found = [
        log_evidence(fit(x, observed, n_iter=n_iter), x, observed) for n_iter in (1, 3, 10, 30, 100)
    ]
    assert (np.diff(found)[:2] > -0.05).all()
    # priors of the loadings that are learned may cost a trifle
    assert (np.diff(found)[2:] > -2).all()
    assert found[-1] > found[0] + 50


def test_rows_with_holes_tell_of_the_covariance():
    x, observed = rows(2000, 0.5)
    model = fit(x, observed)
    cov = model.loadings @ model.loadings.T + np.diag(model.variance)
    true = MODEL.cov[:6, :6]
    scale = np.sqrt(np.outer(true.diagonal(), true.diagonal()))
    assert np.abs((cov - true) / scale).max() < 0.15
    assert np.abs(model.intercept - MODEL.bias).max() < 0.1


def test_columns_without_variance_or_cells_keep_finite_numbers():
    x, observed = rows(50, 0.5)
    x[:, 0], observed[:, 1] = 0.0, False
    x[:, 1] = 0.0
    assert all(np.isfinite(part).all() for part in fit(x, observed, 3))


def test_factors_that_the_table_does_not_bear_out_vanish():
    few, many = (fit(*rows(400, 0.3), n_factors) for n_factors in (2, 6))
    size = np.sort(np.linalg.norm(many.loadings, axis=0))
    assert (size[:4] < 0.05).all()
    assert (size[4:] > 0.3).all()
    x, observed = rows(2000, 0.3, seed=1)  # other rows
    assert log_evidence(many, x, observed) > log_evidence(few, x, observed) - 10


def test_columns_of_another_kind_do_not_keep_factors():
    x, observed = rows(400, 0.3)
    beside = np.zeros((len(x), 30), dtype=bool)  # never seen
    alone, among = (
        fit(x, observed, 5),
        fit(np.hstack([x, beside]), np.hstack([observed, beside]), 5),
    )
    one, other = (np.linalg.norm(model.loadings[:6], axis=0) for model in (alone, among))
    np.testing.assert_allclose(np.sort(one), np.sort(other), atol=0.1)
    assert (among.variance[6:] == 1).all()


@pytest.mark.parametrize(
    "options",
    [{"min_scale": 0.02}, {"min_scale": 0.9}, {"scale": 0.7}],
    ids=str,
)
@pytest.mark.parametrize(("n_latents", "n_components"), [(2, 1), (3, 3)])
def test_the_posterior_starts_as_the_exact_one(n_latents, n_components, options):
    x, observed = rows(300, 0.5)
    model = fit(x, observed)
    likelihood = NormalLikelihood(6, **options)
    vae = tiny_vae(6, n_latents, n_components, likelihood=likelihood, guided=True).eval()
    initialize_from(vae, model)
    floor = options.get("min_scale", 0.01)
    scale = options.get("scale", "")
    scale = scale if scale == 0.7 else np.maximum(np.sqrt(model.variance) - floor, 0.01) + floor
    model = model._replace(variance=np.broadcast_to(np.square(scale), 6))
    for layer in (vae.encoder.outlet, vae.encoder.linear):
        torch.nn.init.zeros_(layer.weight)
    for weight in (vae.decoder.outlet.weight, vae.decoder.linear.weight[:, 2:]):
        torch.nn.init.zeros_(weight)
    batch = torch.tensor(x, dtype=torch.float32), torch.tensor(observed)
    with torch.no_grad():
        draws = vae.draw(*batch, 5, stream(dtype=torch.float32), stratified=True)
    evidence = [log_evidence(model, x[i : i + 1], observed[i : i + 1]) for i in range(len(x))]
    # each draw tells all: the ratio of joint and posterior is the evidence
    expected = np.broadcast_to(evidence, draws.log_ratio.shape)
    np.testing.assert_allclose(draws.log_ratio, expected, atol=2e-3)


def test_the_guide_is_the_posterior_of_each_pattern():
    coordinates = FactorAnalysisPosterior(6, 2)
    coordinates.loadings.copy_(torch.tensor(MODEL.weight))
    coordinates.intercept.copy_(torch.tensor(MODEL.bias))
    coordinates.precision.fill_(MODEL.sigma**-2)
    x, observed = MODEL.rows(8)
    zeros = x.new_zeros(2, 4, 1, 2)
    u = Mixture(x.new_zeros(2, 4, 1), DiagonalNormal(zeros, zeros + 1))
    holed = torch.where(observed, x, torch.nan).unflatten(0, (2, 4))  # (n, B, D)
    q = coordinates(u, holed, observed.unflatten(0, (2, 4)))
    cov = (q.factor @ q.factor.mT).flatten(0, 1)
    for i in range(8):
        mean, exact = MODEL.condition(x[i], observed[i])
        np.testing.assert_allclose(q.mean().flatten(0, 1)[i], mean[6:], atol=1e-6)
        np.testing.assert_allclose(cov[i], exact[6:, 6:], atol=1e-6)


def test_a_cell_far_out_does_not_carry_the_row_away():
    coordinates = FactorAnalysisPosterior(2, 1)
    coordinates.loadings.fill_(1.0)
    coordinates.precision.fill_(1.0)
    u = Mixture(torch.zeros(2, 1), DiagonalNormal(torch.zeros(2, 1, 1), torch.ones(2, 1, 1)))
    seen = torch.ones(2, 2, dtype=torch.bool)
    far = coordinates(u, torch.tensor([[0.0, 10.0], [0.0, 1e30]]), seen).mean()
    assert far[0] == far[1]


@pytest.mark.parametrize("n_latents", [2, 3])
def test_the_decoder_starts_as_factor_analysis(n_latents):
    x, observed = rows(300, 0.3)
    model = fit(x, observed)
    vae = tiny_vae(6, n_latents, likelihood=NormalLikelihood(6, min_scale=0.05), guided=True)
    initialize_from(vae, model)
    z = torch.randn(100, 1, n_latents)
    z[..., 2:] = 0
    columns = vae.decode(z)
    expected = z[:, 0, :2].numpy() @ model.loadings.T + model.intercept
    np.testing.assert_allclose(columns.mean()[:, 0].detach().numpy(), expected, atol=1e-5)
    draws = columns.sample(stream(dtype=torch.float32)).detach()[:, 0].numpy() - expected
    assert np.abs(draws.std(0) / np.sqrt(model.variance) - 1).max() < 0.3


def test_joined_columns_start_with_the_scale_of_factor_analysis():
    parts = [NormalLikelihood(2, min_scale=0.3), NormalLikelihood(4, min_scale=0.05)]
    likelihood = ProductLikelihood(parts, [[0, 2], [1, 3, 4, 5]])
    vae = tiny_vae(6, likelihood=likelihood, guided=True)
    x, observed = rows(300, 0.3)
    x = x * np.linspace(1, 3, 6)  # so that no column passes for another
    straight = likelihood.linearize(torch.from_numpy(x), torch.from_numpy(observed))
    model = fit(*(part.numpy() for part in straight))
    initialize_from(vae, model)
    columns = vae.decode(torch.zeros(4000, 1, 2))
    draws = columns.sample(stream(dtype=torch.float32)).detach()[:, 0].numpy()
    expected = np.sqrt(model.variance)[likelihood.order]
    np.testing.assert_allclose(draws.std(0), expected, rtol=0.06)


def test_columns_without_a_linear_start_are_as_they_were():
    parts = [NormalLikelihood(2), ContinuousBernoulliLikelihood(2)]
    likelihood = ProductLikelihood(parts, [[0, 2], [1, 3]])
    assert not likelihood.covers_all_columns
    vae, untouched = (tiny_vae(4, likelihood=likelihood, guided=True) for _ in range(2))
    x, observed = (part[:, [0, 2]] for part in rows(60, 0.3))
    initialize_from(vae, fit(x, observed))
    z = torch.randn(20, 1, 2)
    means, before = (model.decode(z).mean() for model in (vae, untouched))
    assert torch.equal(means[..., [1, 3]], before[..., [1, 3]])
    assert not torch.equal(means[..., [0, 2]], before[..., [0, 2]])


def discriminant(contrasts, loadings):
    """Return slopes of the log-odds of classes given z, (C, L), where z is Normal given a class."""
    means = contrasts @ loadings
    # the contrasts have covariance I, so that the classes' means have that of the loadings
    within = np.eye(loadings.shape[1]) - loadings.T @ loadings
    return means @ np.linalg.inv(within)


def latents(n=200_000, n_latents=2):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, n_latents)))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("explained", [0.1, 0.7])
def test_flags_start_as_a_discriminant_analysis_that_keeps_their_share(share, explained):
    loadings = np.sqrt(explained) * np.array([[0.6, -0.8]])  # of the standardised flag
    t = np.array([[-np.sqrt(share / (1 - share))], [np.sqrt((1 - share) / share)]])
    unit = np.sqrt(share * (1 - share))
    parts = unit * loadings, [share], [unit**2 * (1 - explained)]
    start = BernoulliLikelihood(1).linear_initialization(LinearModel(*map(torch.tensor, parts)))
    # of what is explained no more than a fifth counts
    tempered = (1 - explained) / max(1 - explained, 0.8)
    slopes = tempered * discriminant(t, loadings)
    np.testing.assert_allclose(start.weight[0], slopes[1] - slopes[0])
    np.testing.assert_allclose(start.precision, tempered / parts[2][0])
    mean = (latents() @ start.weight.T + start.bias).sigmoid().mean()
    assert mean == pytest.approx(share, rel=0.03)


@pytest.mark.parametrize("size", [0.4, 0.9])
def test_categories_start_as_a_discriminant_analysis_that_keeps_their_frequencies(size):
    counts = [[60, 30, 10], [50, 50], [10] * 40]
    likelihood = CategoricalLikelihood(counts).double()
    assert likelihood.n_linear == 3  # a column of many classes is left alone
    assert likelihood.covers_all_columns
    loadings = size * np.array([[0.8, 0.6], [-0.6, 0.8], [0.6, 0.8]])
    variance = 1 - (loadings**2).sum(-1)
    # intercepts are of no use: frequencies are those of the likelihood
    model = LinearModel(*map(torch.tensor, (loadings, np.full(3, 0.3), variance)))
    start = likelihood.linear_initialization(model)
    contrasts = likelihood.contrasts.numpy()
    tempered = variance[0] / max(variance[0], 0.8)
    for classes, wide, of, count in (
        (slice(0, 3), 2, slice(0, 2), counts[0]),
        (slice(3, 5), 1, slice(2, 3), counts[1]),
    ):
        frequency = np.array(count) / sum(count)
        t = contrasts[classes, :wide]
        np.testing.assert_allclose(frequency @ t, 0, atol=1e-6)
        np.testing.assert_allclose(t.T @ (frequency[:, None] * t), np.eye(wide), atol=1e-6)
        slopes = tempered * discriminant(t, loadings[of])
        np.testing.assert_allclose(start.weight[classes], slopes, atol=1e-6)
    assert start.initialized.tolist() == [True] * 5 + [False] * 40
    columns = likelihood(latents() @ start.weight.T + start.bias)
    found = columns.log_p.exp().mean(0)
    np.testing.assert_allclose(found[0, :3], [0.6, 0.3, 0.1], atol=4e-3)
    np.testing.assert_allclose(found[1, :2], 0.5, atol=4e-3)
    x = torch.tensor([[2.0, 1.0, 5.0], [0.0, 0.0, 7.0]], dtype=torch.float64)
    observed = torch.tensor([[True, False, True], [True, True, True]])
    values, count = likelihood.linearize(x, observed)
    np.testing.assert_allclose(values[0], [*contrasts[2], 0])
    np.testing.assert_allclose(values[1], [*contrasts[0], contrasts[3, 0]])
    assert count.tolist() == [[True, True, False], [True, True, True]]


def test_grey_values_start_with_their_means():
    share = torch.tensor([0.05, 0.5, 0.8]).double()
    loadings = torch.tensor([[0.1, 0.0], [0.2, 0.3], [-0.1, 0.2]]).double()
    start = CrossEntropyLikelihood(3).linear_initialization(
        LinearModel(loadings, share, torch.full_like(share, 0.01))
    )
    z = latents()
    means = (z @ start.weight.T + start.bias).sigmoid()
    np.testing.assert_allclose(means.mean(0), share, rtol=0.02)
    moved = np.corrcoef(means.T, (z @ loadings.T).T)[:3, 3:].diagonal()
    assert (moved > 0.6).all()  # in the direction of the linear model


@every_estimator
def test_tables_of_one_row_or_one_column_are_fitted(cls):
    X = holed()
    for piece in (X[:1], X[:, :1]):
        assert np.isfinite(tiny(cls).fit(piece).score(X[:2, : piece.shape[1]]))


@every_estimator
def test_decomposed_methods_do_without(cls, monkeypatch):
    def refuse(*args):
        raise RuntimeError("factor analysis")

    monkeypatch.setattr("skmissvae.vae.factor_analysis.factor_analysis", refuse)
    if cls is DeMissVAEImputer:
        assert len(tiny(cls).fit(holed()).history_["bound"]) == 3
        return
    with pytest.raises(RuntimeError, match="factor analysis"):
        tiny(cls).fit(holed())
    X = np.where(holed() > np.nanmedian(holed(), 0), 0.8, 0.3)
    tiny(cls, likelihood="continuous_bernoulli").fit(X)  # no column has a linear start


def test_epochs_and_steps_of_imputers_grow_with_rows_within_bounds():
    four = tiny(MissSIWAEImputer).fit(holed()[:, :4])
    assert len(four.vae_.coordinates.intercept) == 4
    asked = [four._model_epochs(n) for n in (9, 50, 200, 399, 1000, 10_000, 10**6)]
    assert asked == [200, 30, 50, 100, 400, 64, 10]  # nine rows are no start
    X = np.random.default_rng(0).normal(size=(60, 20))
    X[::3, 1] = np.nan
    wide = tiny(MissSIWAEImputer).fit(X)
    assert [wide._model_epochs(n) for n in (50, 400, 700, 1000)] == [30, 30, 115, 200]
    assert [wide._step(n) for n in (9, 599, 600)] == [(64, 2e-3), (64, 2e-3), (128, 4e-3)]
    assert wide.set_params(batch_size=32)._step(600) == (32, 2e-3)
    assert wide.set_params(learning_rate=1e-4)._step(600) == (32, 1e-4)
    share = {"likelihood": {0: "continuous_bernoulli"}}  # a column that starts from nothing
    for other in (
        tiny(MissSIWAEImputer, linear_path=False),
        tiny(MissSIWAEImputer, **share),
        tiny(VAEDensityEstimator),
    ):
        X = holed()
        X[:, 0] = np.where(X[:, 0] > 0, 0.7, 0.2)
        other.fit(X)
        assert [other._model_epochs(n) for n in (50, 10_000, 10**6)] == [200, 16, 10]
        assert other._step(10_000) == (64, 2e-3)


# ---- which start


def a_plane(n=110):
    """Return a table of two linear factors and little noise."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, 8)) + 0.05 * rng.normal(size=(n, 8))


@pytest.mark.parametrize("start", ["factor_analysis", "random"])
def test_the_start_that_hidden_cells_tell_for_is_taken(start, monkeypatch):
    X = a_plane()
    X[np.random.default_rng(2).random(X.shape) < 0.4] = np.nan
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 40)
    measure, given = _starts._error, []

    def error(fitted, rows, less):
        given.append(less)
        # random networks are worse here: take the worse one
        return measure(fitted, rows, less) * (1 if start == "factor_analysis" else -1)

    monkeypatch.setattr(_starts, "_error", error)
    learned, refitted = [], MVAEImputer._refitted
    monkeypatch.setattr(
        MVAEImputer, "_refitted", lambda *args: learned.append(args[1].rows) or refitted(*args)
    )
    tried, named = (
        tiny(MVAEImputer, max_iter=None, n_hidden=32, init=init).fit(X) for init in ("auto", start)
    )
    assert tried.init_ == named.init_ == start
    seen = ~np.isnan(X)
    for less in [*learned, *given]:  # models neither learn from hidden cells nor see them
        assert 0.05 < 1 - less.observed.sum() / seen.sum() < 0.15
        assert not (less.observed & ~seen).any()
        assert not less.x[~less.observed].any()
    assert len(learned) == len(given) == 2
    assert tried.history_["bound"] == named.history_["bound"]
    np.testing.assert_array_equal(tried.transform(X), named.transform(X))


def test_starts_are_tried_for_imputers_of_small_tables_that_train_as_long_as_they_like(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "skmissvae.training.initialization.choose_initialization",
        lambda imputer, *_: calls.append(1) or imputer._spec,
    )
    monkeypatch.setattr("skmissvae.training.initialization.TRIED_ROWS", range(30, 40))
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 1)
    X = holed(40)
    few = {"max_iter": None, "n_importance_draws": 5}
    tiny(MVAEImputer, **few).fit(X[:39])
    assert len(calls) == 1
    for imputer, rows in (
        (tiny(MVAEImputer), X[:39]),
        (tiny(MVAEImputer, **few), X),
        (tiny(MVAEImputer, **few), X[:29]),
        (tiny(MVAEImputer, **few), Chunks(lambda: iter([X[:39]]))),
        (tiny(MVAEImputer, **few, init="random"), X[:39]),
        (tiny(MVAEImputer, **few, init="factor_analysis"), X[:39]),
        (tiny(MVAEImputer, **few, linear_path=False), X[:39]),
        (tiny(VAEDensityEstimator, **few), X[:39]),
        (tiny(DeMissVAEImputer, **few), X[:39]),
    ):
        imputer.fit(rows)
    tiny(MVAEImputer, **few).partial_fit(X[:39])
    assert len(calls) == 1


def test_what_goes_on_keeps_its_start():
    imputer = tiny(MVAEImputer, warm_start=True).fit(holed())
    imputer.set_params(init="random")
    with pytest.raises(ValueError, match="began as 'factor_analysis'"):
        imputer.fit(holed())
    assert imputer.set_params(init="factor_analysis").fit(holed()).init_ == "factor_analysis"


@pytest.mark.parametrize("lost", [True, False])
def test_a_start_that_comes_to_nothing_is_not_taken(lost, monkeypatch):
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 2)
    refitted = MVAEImputer._refitted

    def fail(self, *args):
        if self._spec.guided is not lost:
            return refitted(self, *args)
        raise ValueError("Training diverged") from DivergenceError()

    monkeypatch.setattr(MVAEImputer, "_refitted", fail)
    imputer = tiny(MVAEImputer, max_iter=None, n_importance_draws=5).fit(a_plane())
    assert imputer.init_ == ("random" if lost else "factor_analysis")
    monkeypatch.setattr(_starts, "_error", lambda *args: np.nan)
    assert imputer.fit(a_plane()).init_ == "factor_analysis"


@every_estimator
def test_a_start_that_cannot_be_is_refused(cls):
    X = holed()
    low = np.where(np.nanmedian(X, 0) < X, 0.8, 0.3)
    for table, other in (
        (X, {"linear_path": False}),
        (X[:9], {}),
        (low, {"likelihood": "continuous_bernoulli"}),
    ):
        estimator = tiny(cls, init="factor_analysis", **other)
        with pytest.raises(ValueError, match=r"Parameter 'init' of .*'factor_analysis' here"):
            estimator.fit(table)
        assert not hasattr(estimator, "vae_")
