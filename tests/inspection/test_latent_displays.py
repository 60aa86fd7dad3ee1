"""LatentDisplay and MixtureUseDisplay: densities, contours and weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import quiet, table, tiny
from helpers import LinearGaussian, tiny_vae
from scipy.stats import multivariate_normal

from skmissvae import MissSVAEImputer, MIWAEImputer
from skmissvae.inspection import LatentDisplay, MixtureUseDisplay, integrated_score_samples
from skmissvae.inspection.latent_displays import _contour_levels, _row_posterior

pytestmark = [quiet, pytest.mark.usefixtures("agg_backend")]

X = table()
FRAME = pd.DataFrame(X, columns=list("abcd"))


@pytest.fixture(scope="module")
def imputer():
    return tiny(MissSVAEImputer, n_latents=2).fit(FRAME)


# -- latents ---------------------------------------------------------------------------------------


def mass(grid):
    return grid.density.sum() * (grid.z1[1] - grid.z1[0]) * (grid.z2[1] - grid.z2[0])


def points(grid):
    """Return the points of a grid; z2 is the first axis."""
    return np.stack(np.meshgrid(grid.z1, grid.z2), -1)


def test_posteriors_of_probabilistic_pca_are_exact():
    model = LinearGaussian(5, 2)
    x, observed = model.rows(6)
    for i in range(6):
        row = x[i : i + 1], observed[i : i + 1]
        posterior = _row_posterior(model.vae(), *row, 100, i)
        mean, cov = model.condition(x[i], observed[i])
        density = multivariate_normal(mean[-2:], cov[-2:, -2:]).pdf(points(posterior.exact))
        np.testing.assert_allclose(posterior.exact.density, density, atol=1e-4 * density.max())
        assert posterior.log_evidence == pytest.approx(model.log_evidence(*row).item(), abs=1e-3)
        assert posterior.n_missing == (~observed[i]).sum()


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@pytest.mark.parametrize("family", ["normal", "student_t"])
def test_posteriors_integrate_to_one(prior, family):
    vae = tiny_vae(prior=prior, family=family).double()
    x, observed = LinearGaussian(4).rows(4)
    with torch.no_grad():
        for i in range(4):
            row = x[i : i + 1], observed[i : i + 1]
            posterior = _row_posterior(vae, *row, 150, i)
            assert mass(posterior.exact) == pytest.approx(1)
            assert mass(posterior.approximate) == pytest.approx(1, abs=0.01)
            log_joint = vae.log_joint(*row, torch.tensor(points(posterior.exact)).reshape(-1, 1, 2))
            exact = (log_joint - posterior.log_evidence).exp().reshape(150, 150)
            np.testing.assert_allclose(posterior.exact.density, exact)
            z = torch.tensor(points(posterior.approximate)).reshape(-1, 1, 2)
            q = vae.posterior(*row).log_prob(z).exp().reshape(150, 150)
            np.testing.assert_allclose(posterior.approximate.density, q)


def test_latents_equal_those_of_the_estimator(imputer):
    display = LatentDisplay.from_estimator(imputer, FRAME, rows=np.array([3, 0]), c=np.arange(40))
    np.testing.assert_array_equal(display.latents, imputer.encode(FRAME))
    np.testing.assert_allclose(display.scatter_.get_offsets(), display.latents)
    np.testing.assert_array_equal(display.scatter_.get_array(), np.arange(40))
    assert [posterior.row for posterior in display.posteriors] == [3, 0]
    log_evidence = [posterior.log_evidence for posterior in display.posteriors]
    exact = integrated_score_samples(imputer, FRAME)[[3, 0]]
    np.testing.assert_allclose(log_evidence, exact, atol=0.01)


def test_contours_enclose_their_probabilities(imputer):
    (posterior,) = LatentDisplay.from_estimator(imputer, FRAME).posteriors
    for density in (posterior.exact, posterior.approximate):
        cells = density.density
        masses = [cells[cells >= level].sum() / cells.sum() for level in _contour_levels(density)]
        np.testing.assert_allclose(masses, [0.9, 0.5], atol=0.01)


def test_without_rows_only_points_are_drawn(imputer):
    display = LatentDisplay.from_estimator(imputer, FRAME, rows=())
    assert display.posteriors == []
    assert display.ax_.get_legend() is None


def test_a_model_must_have_two_latents():
    estimator = tiny(MIWAEImputer, n_latents=3).fit(X)
    with pytest.raises(ValueError, match=r"two latents; the model has 3. Fit it with n_latents=2"):
        LatentDisplay.from_estimator(estimator, X)


@pytest.mark.parametrize("row", [40, -1, 0.5])
def test_rows_must_be_positions_of_rows(row, imputer):
    with pytest.raises(ValueError, match=f"rows must be positions.*0 to 39; got {row}"):
        LatentDisplay.from_estimator(imputer, FRAME, rows=[0, row])


# -- mixtures --------------------------------------------------------------------------------------


def test_mixture_weights_equal_those_of_the_posteriors(imputer):
    display = MixtureUseDisplay.from_estimator(imputer, FRAME, color="k")
    x, observed = imputer.encode_rows(FRAME).tensors()
    with torch.no_grad():
        weights = imputer.vae_.posterior(x, observed).log_pi.exp().numpy()
    np.testing.assert_allclose(display.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(display.mean, weights.mean(0), rtol=1e-5)
    np.testing.assert_allclose([bar.get_height() for bar in display.bars_], display.mean)
    assert ((display.low <= display.mean) & (display.mean <= display.high)).all()
    assert display.bars_[0].get_facecolor()[:3] == (0, 0, 0)


def test_a_single_component_has_a_weight_of_one():
    display = MixtureUseDisplay.from_estimator(tiny(MIWAEImputer).fit(X), X)
    np.testing.assert_array_equal(display.mean, [1.0])
