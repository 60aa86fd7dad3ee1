"""The uncertainty of the decoder is that of the rows, and imputations draw from it."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_imputer, quiet, tiny
from estimator_cases import table as incomplete
from helpers import LinearGaussian, stream, uniform
from torch import nn

from skmissvae import MissSIWAEImputer, MVAEImputer
from skmissvae.inference.conditional import ConditionalModel
from skmissvae.inference.decoder_uncertainty import DecoderUncertainty
from skmissvae.vae.factor_analysis import bootstrap_factor_analysis, factor_analysis
from skmissvae.vae.networks.mlp import RowInvariantLinear
from skmissvae.vae.networks.shifted import DecoderShifts, ShiftedDecoder

pytestmark = quiet


class Weights:
    """A source of given weights of rows instead of exponential ones."""

    def __init__(self, weights):
        self._weights = np.asarray(weights, dtype=float)[None, :, None]

    def exponential(self, size):
        """Return the weights."""
        assert size == self._weights.shape
        return self._weights


def linear_rows(n, seed=0):
    """Return incomplete rows of a linear model with two factors, and their mask."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(n, 5)) + 1.0
    observed = rng.random(x.shape) < 0.8
    return np.where(observed, x, 0.0), observed


def covariance(model):
    """Return the mean and the covariance of rows of a linear model."""
    return model.intercept, model.loadings @ model.loadings.T + torch.diag(model.variance)


def test_equal_weights_return_the_factor_analysis_of_all_rows():
    x, observed = linear_rows(300)
    model = factor_analysis(x, observed, 2, np.random.default_rng(0), n_iter=500)
    (sample,) = bootstrap_factor_analysis(model, x, observed, 1, Weights(np.ones(300)))
    # up to the precisions of the priors of the loadings
    for found, expected in zip(covariance(sample), covariance(model), strict=True):
        np.testing.assert_allclose(found, expected, atol=0.04 * x.var(0).max())


def test_rows_without_weight_do_not_count():
    x, observed = linear_rows(300)
    model = factor_analysis(x, observed, 2, np.random.default_rng(0))
    weights = np.random.default_rng(1).integers(0, 3, 300)
    (sample,) = bootstrap_factor_analysis(model, x, observed, 1, Weights(weights))
    repeated = np.repeat(np.arange(300), weights)
    rows = x[repeated], observed[repeated], 1, Weights(np.ones(len(repeated)))
    # the units of the columns, in which loadings have their priors, differ slightly
    (other,) = bootstrap_factor_analysis(model, *rows)
    for found, expected in zip(covariance(sample), covariance(other), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_draws_have_the_covariance_of_the_replicates():
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 3, 2)) + 3.0, rng.normal(size=(5, 3)) - 2.0
    uncertainty = DecoderUncertainty(weight.astype(np.float32), bias.astype(np.float32))
    draws = [uncertainty.draw(seed) for seed in range(2000)]
    flat = np.array([np.append(d.weight.numpy().ravel(), d.bias.numpy()) for d in draws])
    expected = np.cov(np.hstack([weight.reshape(5, -1), bias]).T)
    size = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    np.testing.assert_allclose(flat.mean(0) / np.sqrt(expected.diagonal()), 0, atol=0.07)
    np.testing.assert_allclose(np.cov(flat.T) / size, expected / size, atol=0.12)
    again = uncertainty.draw(0)
    assert torch.equal(again.weight, draws[0].weight)
    assert not again.weight.requires_grad


def shifted_model(model, seed, size=0.3):
    """Return a linear function of the latents and the model with this function added."""
    shift = nn.Linear(model.n_latents, model.n_columns).double().requires_grad_(False)
    shift.weight.copy_(uniform(*shift.weight.shape, seed=seed, low=-0.3, high=0.3))
    shift.bias.copy_(uniform(*shift.bias.shape, seed=seed + 1, low=-size, high=size))
    other = LinearGaussian()
    other.__dict__.update(vars(model))
    other.weight, other.bias = (
        model.weight + shift.weight.numpy(),
        model.bias + shift.bias.numpy(),
    )
    W, sigma = other.weight, other.sigma
    noise = sigma**2 * np.eye(model.n_columns)
    other.cov = np.block([[W @ W.T + noise, W], [W.T, np.eye(model.n_latents)]])
    other.loc = np.append(other.bias, np.zeros(model.n_latents))
    return shift, other


def latents_of_shifts(shifts, n, model, x, observed):
    """Return n latents of each row and each of several shifted decoders, (B, n, shifts, L)."""
    conditional = ConditionalModel(model.vae(widen=1.2), 500, proposal="encoder")
    modules, z = DecoderShifts(shifts * (n // 30)), []
    for repeat in range(30):  # each with its own pool
        batch = conditional.encode(x, observed, lambda seed=repeat: stream(seed))
        u = stream(100 + repeat).uniform(len(x), len(shifts) * (n // 30))
        z.append(conditional.shared_latents(batch, u, modules).z)
    return torch.cat(z, 1).unflatten(1, (-1, len(shifts)))


@pytest.mark.parametrize(("size", "n_moves"), [(0.3, 0), (2.0, 2)])
def test_shared_latents_have_the_moments_of_each_decoder(size, n_moves, monkeypatch):
    model = LinearGaussian()
    x, observed = (values[2:] for values in model.rows(6))
    shifts, others = zip(*[shifted_model(model, seed, size) for seed in (20, 30)], strict=True)
    monkeypatch.setattr("skmissvae.inference.own_decoders._N_MOVES", 0)
    is_far = latents_of_shifts(shifts, 30, model, x, observed).isnan().any()
    assert is_far == (n_moves > 0)
    monkeypatch.setattr("skmissvae.inference.own_decoders._N_MOVES", n_moves)
    z = latents_of_shifts(shifts, 1800, model, x, observed)
    for i, other in enumerate(others):
        for b in range(len(x)):
            loc, cov = (part[model.n_columns :] for part in other.condition(x[b], observed[b]))
            sd = np.sqrt(cov[:, model.n_columns :].diagonal())
            np.testing.assert_allclose((z[b, :, i].mean(0).numpy() - loc) / sd, 0, atol=0.13)
            ratio = z[b, :, i].std(0).numpy() / sd
            np.testing.assert_allclose(ratio, 1, atol=0.1)


def test_shifted_decoder_adds_the_shift_in_both_forms():
    model, z = LinearGaussian(), uniform(7, 4, 2, seed=1)
    shift, other = shifted_model(model, 3)
    vae = model.vae()
    decoder = ShiftedDecoder(vae.decoder, shift)
    expected = z @ torch.tensor(other.weight.T) + torch.tensor(other.bias)
    torch.testing.assert_close(decoder(z), expected)
    torch.testing.assert_close(RowInvariantLinear(shift)(z) + vae.decoder(z), expected)
    assert decoder.row_invariant() is None  # as the linear decoder has no such form


@pytest.mark.parametrize("init", ["factor_analysis", "random"])
def test_means_of_imputations_vary_as_sample_means_do(init):
    # an independent column: its mean over the imputed cells varies by the noise of the cells, and
    # by the uncertainty of the mean of the observed cells
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 3))
        X[:30, 0] = np.nan
        imputer = MVAEImputer(
            init=init, max_iter=60, n_hidden=16, n_importance_draws=100, random_state=seed
        )
        tables = list(imputer.fit(X).impute(X[:30], 60))
        means = [table[:, 0].mean() for table in tables]
        spread = np.mean([table[:, 0].var() for table in tables])
        ratios.append(np.var(means) / (spread / 30 + np.var(X[30:, 0]) / 30))
    assert 0.75 < np.mean(ratios) < 1.35


def test_shares_of_categories_vary_as_sample_shares_do():
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = pd.DataFrame({"x": rng.normal(size=90), "word": rng.choice(["a", "b", "c"], 90)})
        X.loc[:44, "word"] = None
        imputer = MVAEImputer(
            init="factor_analysis", max_iter=20, n_hidden=16, n_importance_draws=100, random_state=0
        )
        shares = [(t["word"] == "a").mean() for t in imputer.fit(X).impute(X[:45], 60)]
        p = np.mean(shares)
        ratios.append(np.var(shares) / (p * (1 - p) * (1 / 45 + 1 / 45)))
    assert 0.7 < np.mean(ratios) < 1.4


@every_imputer
def test_imputations_have_their_own_decoders_unless_models_are_refitted(cls):
    X = incomplete(40)
    imputer = tiny(cls).fit(X)
    assert imputer._decoder_uncertainty is not None
    assert tiny(cls, n_bootstrap=1).fit(X)._decoder_uncertainty is None
    assert imputer.with_model(imputer.model_)._decoder_uncertainty is None
    three, five = list(imputer.impute(X, 3)), list(imputer.impute(X, 5))
    for first, second in zip(three, five, strict=False):
        np.testing.assert_array_equal(first, second)
    assert (three[0] != three[1])[np.isnan(X)].all()


UNKNOWN = r"uncertainty of the model is not known for {}: .* n_bootstrap"


def test_imputations_from_a_model_without_known_uncertainty_warn():
    X = incomplete(40)
    imputer = tiny(MissSIWAEImputer).partial_fit(X)
    with pytest.warns(UserWarning, match=UNKNOWN.format("'x0', 'x1', 'x2', 'x3'")):
        imputer.impute(X, 2)
    few = tiny(MVAEImputer).fit(X[:9])
    with pytest.warns(UserWarning, match=UNKNOWN.format(".*")):
        few.impute(X, 2)


def test_columns_without_uncertainty_are_named():
    rng = np.random.default_rng(0)
    rank = pd.Categorical(rng.choice(["low", "high", "top"], 60), ["low", "high", "top"], True)
    X = pd.DataFrame({"x": rng.normal(size=60), "rank": rank, "flag": rng.choice([0, 1], 60)})
    X.loc[:9, "x"] = np.nan
    imputer = tiny(MVAEImputer).fit(X)
    imputer.impute(X, 2)  # all ranks are observed
    X.loc[20:30, "rank"] = None
    with pytest.warns(UserWarning, match=UNKNOWN.format("'rank'")):
        imputer.impute(X, 2)


@pytest.mark.filterwarnings("error:.*uncertainty")
def test_a_single_imputation_does_not_warn():
    X = incomplete(40)
    tiny(MissSIWAEImputer).partial_fit(X).impute(X, 1)


def test_models_of_files_without_uncertainty_impute_with_a_warning():
    X = incomplete(40)
    imputer = tiny(MVAEImputer).fit(X)
    vars(imputer).pop("_decoder_uncertainty")
    other = pickle.loads(pickle.dumps(imputer))
    with pytest.warns(UserWarning, match=UNKNOWN.format(".*")):
        assert not np.isnan(other.impute(X, 2)[0]).any()


def test_bounds_and_many_imputations():
    X = incomplete(40)
    imputer = tiny(MVAEImputer, min_value=-0.5, max_value=0.5, n_importance_draws=200).fit(X)
    imputations = imputer.impute(X, 150)
    for table in (imputations[0], imputations[149]):
        imputed = table[np.isnan(X)]
        assert (np.abs(imputed) <= 0.5).all()


def test_means_of_correlated_columns_vary_as_sample_means_do():
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 1)) + 0.15 * rng.normal(size=(60, 4))
        X = np.column_stack([X, rng.normal(size=60)])
        X[:30, :4] = np.nan
        options = {"max_iter": 20, "n_hidden": 16, "n_importance_draws": 100}
        imputer = MVAEImputer(init="factor_analysis", random_state=seed, **options)
        tables = list(imputer.fit(X).impute(X[:30], 60))
        means = [table[:, :4].mean() for table in tables]
        of_rows = np.mean([table[:, :4].mean(1).var() for table in tables])
        ratios.append(np.var(means) / (of_rows / 30 + np.var(X[30:, :4].mean(1)) / 30))
    assert 0.7 < np.mean(ratios) < 1.4


def test_uncertainty_falls_with_the_number_of_cells():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 3))
    X[40:, 2] = np.nan  # of which the sample of rows would have five cells
    expected = {n: np.array([1 / n, 1 / n, 1 / 40]) for n in (300, 1500)}
    for n in (300, 1500):
        variances = []
        for seed in range(5):
            options = {"init": "factor_analysis", "max_iter": 1, "random_state": seed}
            imputer = tiny(MVAEImputer, **options).fit(X[:n])
            draws = [imputer._decoder_uncertainty.draw(i).bias[:3].numpy() for i in range(60)]
            variances.append(np.var(draws, axis=0))
        np.testing.assert_allclose(np.mean(variances, axis=0) / expected[n], 1, atol=0.45)
