"""Pools of importance draws that several imputations of a row share."""

import numpy as np
import pytest
from estimator_cases import MissSIWAEImputer, every_imputer, quiet, table, tiny
from helpers import LinearGaussian, stream

from skmissvae.estimators import imputation_sampler
from skmissvae.inference import ConditionalModel, ImportanceSampler, conditional

pytestmark = [quiet, pytest.mark.filterwarnings("ignore:.*imputations are drawn:UserWarning")]

MODEL = LinearGaussian()


def row_of(model, row=2):
    """Return a row of the linear Gaussian model with its posterior and noise."""
    x, observed = (values[row : row + 1] for values in MODEL.rows(4))
    return model.encode(x, observed, lambda: stream(4))


@pytest.mark.parametrize("n_bootstrap", [0, 2])
def test_an_imputation_does_not_depend_on_the_number_of_imputations(n_bootstrap, monkeypatch):
    X = table()
    options = {"n_bootstrap": n_bootstrap, "n_importance_draws": 400}
    imputer = tiny(MissSIWAEImputer, **options).fit(X)
    six = list(imputer.impute(X, 6))
    for i, completed in enumerate(imputer.impute(X, 3)):
        np.testing.assert_array_equal(completed, six[i])
    monkeypatch.setattr(imputation_sampler, "_MAX_STORED", 0)
    for completed, expected in zip(imputer.impute(X, 6), six, strict=True):
        np.testing.assert_array_equal(completed, expected)


def test_latents_of_a_shared_pool_have_the_moments_of_the_posterior():
    model = ConditionalModel(MODEL.vae(widen=1.3), 20_000)
    batch = row_of(model)
    loc, cov = MODEL.condition(batch.x[0], batch.observed[0])
    z, ess, _ = model.shared_latents(batch, stream(3).uniform(1, 20_000))
    assert ess > 5000
    assert z.shape == (1, 20_000, 2)
    np.testing.assert_allclose(z[0].mean(0), loc[-2:], atol=0.05)
    np.testing.assert_allclose(z[0].T.cov(), cov[-2:, -2:], atol=0.05)


def test_pools_are_added_until_their_effective_sample_size_is_sufficient(monkeypatch):
    model = ConditionalModel(MODEL.vae(widen=1.3), 50)
    batch, u, noise = row_of(model), stream(3).uniform(1, 200), stream(4)
    pools = [
        ImportanceSampler(model.vae, batch.x, batch.observed, 50, noise).weighted_draws()
        for _ in range(3)
    ]
    latents = [pool.z[:, 0].tolist() for pool in pools]
    first_ess = float(pools[0].ess)
    assert first_ess > 20

    def n_pools(shared_ess, min_shared_ess):
        monkeypatch.setattr(conditional, "_SHARED_ESS", shared_ess)
        monkeypatch.setattr(conditional, "_MIN_SHARED_ESS", min_shared_ess)
        z, ess, _ = model.shared_latents(batch, u)
        assert float(ess) == pytest.approx(first_ess)
        counts = [sum(latent in pool for latent in z[0].tolist()) for pool in latents]
        assert sum(counts) == (0 if z.isnan().all() else u.numel())
        return sum(count > 0 for count in counts)

    assert n_pools(0.99 * first_ess, 0.99 * first_ess) == 1
    assert n_pools(1.2 * first_ess, first_ess) == 2
    assert n_pools(np.inf, 20.0) == 3
    assert n_pools(np.inf, np.inf) == 0


@every_imputer
def test_shared_pools_have_nearly_the_variance_of_separate_pools(cls, monkeypatch):
    X = table(20, share=0.4)
    imputer = tiny(cls, n_importance_draws=300, max_iter=10).fit(X)
    missing, variances = np.isnan(X), []
    for shared_ess, min_shared_ess in ((100.0, 20.0), (np.inf, np.inf)):
        monkeypatch.setattr(conditional, "_SHARED_ESS", shared_ess)
        monkeypatch.setattr(conditional, "_MIN_SHARED_ESS", min_shared_ess)
        draws = np.stack(list(imputer.impute(X, 16)))
        relative = draws.var(0, ddof=1)[missing] / np.nanvar(X, 0)[np.nonzero(missing)[1]]
        variances.append(relative.mean())
    shared, separate = variances
    assert abs(shared / separate - 1) < 0.25
