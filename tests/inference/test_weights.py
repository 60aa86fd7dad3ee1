"""The tail of importance weights, and statistics of weights and latents of single rows."""

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, table, tiny
from helpers import LinearGaussian, stream
from scipy import stats

from skmissvae.inference import ConditionalModel, weights
from skmissvae.inspection import (
    component_divergence,
    latent_information,
    mixture_weights,
    pareto_k,
)
from skmissvae.vae import Draws

pytestmark = quiet

MODEL = LinearGaussian()


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_estimates_the_shape_of_the_tail(k):
    w = stats.genpareto.rvs(k, size=(20, 20_000), random_state=0)
    estimates = [weights.pareto_k(torch.tensor(row).log()) for row in w]
    assert abs(np.mean(estimates) - k) < 0.06
    rescaled = weights.pareto_k(torch.tensor(w[0]).log() - 1000)
    assert rescaled == pytest.approx(estimates[0], abs=1e-6)


def test_pareto_k_of_equal_weights_and_of_few_weights():
    assert weights.pareto_k(torch.zeros(1000)) == -np.inf
    assert np.isnan(weights.pareto_k(torch.arange(8.0)))


def test_pareto_k_of_a_short_tail_is_shrunk_towards_a_half():
    w = torch.arange(1.0, 26.0)  # the tail of five equally distant weights has the shape -1
    assert 0 < weights.pareto_k(w.log()) < 0.5


def test_log_weights_that_are_not_finite_have_no_weight():
    log_w = torch.tensor([[0.0, np.inf, -np.inf, np.nan]])
    assert torch.equal(weights.finite_log_weights(log_w).softmax(-1), torch.eye(4)[:1])


def test_of_log_weights_that_float32_cannot_separate_the_best_is_kept():
    log_ratio = torch.tensor([[-3e6, -5.0], [-2e6, -4.0], [-2e6, -6.0]])
    draws = Draws(torch.zeros(3, 2, 1), torch.zeros(3, 2), log_ratio, None)
    w = weights.log_weights(draws).softmax(-1)
    torch.testing.assert_close(w[0], torch.tensor([0.0, 1.0, 0.0]).double())
    torch.testing.assert_close(w[1], log_ratio[:, 1].double().softmax(0))


@pytest.mark.slow
@every_estimator
def test_statistics_of_rows_are_independent_of_the_other_rows(cls):
    X = table(20)
    estimator = tiny(cls).fit(X)
    K = getattr(estimator, "K", 1)
    shape = {pareto_k: (), mixture_weights: (K,), latent_information: ()}
    shape[component_divergence] = ()
    values = {function: function(estimator, X) for function in shape}
    for function, row_shape in shape.items():
        assert values[function].shape == (len(X), *row_shape)
        np.testing.assert_array_equal(function(estimator, X[5:6]), values[function][5:6])
    np.testing.assert_allclose(values[mixture_weights].sum(1), 1, rtol=1e-6)
    divergence = values[component_divergence]
    assert ((divergence >= 0) & (divergence < np.log(K) + 0.05)).all()
    information, is_complete = values[latent_information], ~np.isnan(X).any(1)
    assert is_complete.any()
    assert (information[is_complete] == 0).all()
    assert (information >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("widen", [1.1, 2.0])
def test_latent_information_of_the_linear_gaussian_model_is_exact(widen):
    x, observed = MODEL.rows(6)
    model, L = ConditionalModel(MODEL.vae(widen=widen), 2000), MODEL.n_latents
    for b in (1, 2, 3):  # the first row is complete
        complete = torch.ones_like(observed[b])
        before, after = (
            MODEL.condition(x[b], mask)[1][-L:, -L:] for mask in (observed[b], complete)
        )
        exact = 0.5 * np.log(np.linalg.det(before) / np.linalg.det(after))
        estimates = []
        for seed in range(4):
            noise = stream(seed)
            batch = model.encode(x[b : b + 1], observed[b : b + 1], lambda noise=noise: noise)
            estimates.append(float(model.latent_information(batch, 400)))
        assert abs(np.mean(estimates) - exact) < 0.1
