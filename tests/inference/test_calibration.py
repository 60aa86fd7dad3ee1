"""Quantiles of weighted values, and intervals that are calibrated by hidden cells."""

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import MVAEImputer, every_imputer, quiet, table, tiny
from scipy import stats

from skmissvae.inference.batching import map_rows
from skmissvae.inference.calibration import (
    Calibration,
    normal_score,
    quantiles_at,
    share_below,
    weighted_quantiles,
)
from skmissvae.training import calibration

pytestmark = quiet


def test_weighted_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=(50, 3)), rng.integers(1, 5, 50)
    q = np.array([0.1, 0.33, 0.5, 0.9])
    quantiles = weighted_quantiles(
        torch.tensor(values),
        torch.tensor(times / times.sum()),
        torch.tensor(np.tile(q, (3, 1))),
    )
    expected = np.quantile(np.repeat(values, times, 0), q, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(quantiles, expected.T)


def test_the_share_of_draws_below_a_draw_of_the_same_distribution_is_uniform():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(500, 2000)), rng.poisson(1.5, size=(500, 2000))):
        values = torch.tensor(values, dtype=torch.float64)
        u = torch.tensor(rng.random((1, 2000)))
        w = torch.full((499,), 1 / 499.0).double()
        shares = share_below(values[:-1], w, values[-1], u)
        assert stats.kstest(shares[0], "uniform").pvalue > 0.01


def test_correct_intervals_are_not_moved():
    z = np.random.default_rng(0).normal(size=(20_000, 1))
    q = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    calibration = Calibration(z)
    np.testing.assert_allclose(calibration.moved(q)[0], stats.norm.ppf(q), atol=0.03)
    coverage = calibration.report(["x"]).loc["x", ["50%", "80%", "90%", "95%"]]
    np.testing.assert_allclose(coverage.astype(float), [0.5, 0.8, 0.9, 0.95], atol=0.01)


def test_limits_of_intervals_are_order_statistics_of_the_scores():
    z = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))[:, None]
    q = np.array([0.05, 0.75, 0.9, 0.95])
    # a new score is among the k smallest of 101 with probability k / 101: the least k above q
    np.testing.assert_array_equal(Calibration(z).moved(q)[0], [-91, 51, 81, 91])


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 2.0, 6.0])
def test_calibrated_intervals_have_their_nominal_coverage(factor):
    rng = np.random.default_rng(0)
    # the standard deviations of the model are wrong by a factor
    values = torch.tensor(rng.normal(size=(512, 2000)))
    w = torch.full((512,), 1 / 512).double()
    hidden, new = torch.tensor(factor * rng.normal(size=(2, 2000)))
    z = normal_score(values, w, hidden, torch.zeros(1, 2000))
    moved = torch.tensor(Calibration(z.T.numpy()).moved(np.array([0.05, 0.95])))
    low, high = quantiles_at(values, w, moved.expand(2000, 2)).unbind(-1)
    assert abs(float(((low <= new) & (new <= high)).double().mean()) - 0.9) < 0.025
    assert bool((moved[0, 1] > 1.645) == (factor > 1))


def test_quantiles_at_normal_scores_are_the_values():
    rng = np.random.default_rng(1)
    values, w = torch.tensor(rng.gamma(2.0, size=(5000, 4))), torch.tensor(rng.random(5000))
    w = w / w.sum()
    x = torch.tensor([0.3, 1.5, 9.0, 40.0]).double()
    z = normal_score(values, w, x, torch.zeros(1, 4))
    assert (z.diff() > 0).all()
    torch.testing.assert_close(quantiles_at(values, w, z.T).squeeze(1), x, atol=0.02, rtol=0.01)


def test_columns_with_few_hidden_cells_use_those_of_all_columns():
    rng = np.random.default_rng(0)
    z = np.full((500, 2), np.nan)
    z[:, 0] = 2 * rng.normal(size=500)
    z[:7, 1] = 0.0
    calibration = Calibration(z)
    assert (np.diff(calibration.moved(np.linspace(0.001, 0.999, 401))) >= 0).all()
    assert calibration.moved(np.array([0.05]))[1] < -1  # 0 by the seven cells of the column
    np.testing.assert_array_equal(calibration.moved(np.array([0.5])), 0)
    report = calibration.report(["a", "b"])
    assert report["n_cells"].tolist() == [500, 7]
    assert report.loc["b", "90%"] == 1.0


# -- estimators -----------------------------------------------------------------------------------


def test_calibrated_quantiles_are_possible_values(monkeypatch):
    X = pd.DataFrame({"n": pd.array(np.random.default_rng(0).poisson(1.0, 80), "Int64")})
    X["a"] = X["n"].astype(float) + np.random.default_rng(1).normal(size=80)
    X = X.mask(np.random.default_rng(2).random(X.shape) < 0.3)
    imputer = tiny(MVAEImputer, calibrate=True, max_value={"a": 2.0}).fit(X)
    monkeypatch.setattr(Calibration, "moved", lambda self, q: np.tile(40 * (q - 0.5), (2, 1)))
    cells = imputer.cell_distribution(X).set_index("column")
    assert (cells.loc["n", "5%"] == 0).all()
    assert (cells.loc["a", "95%"] == 2.0).all()


def test_a_hidden_cell_is_scored_once():
    X = table(60)
    n_cells = tiny(MVAEImputer, calibrate=True).fit(X).calibration_["n_cells"]
    assert n_cells.sum() <= 12 * X.shape[1]  # of a fifth of the rows


def test_scored_cells_are_hidden_from_the_model(monkeypatch):
    calls = []
    monkeypatch.setattr(
        calibration, "map_rows", lambda *args, **options: calls.append(args) or map_rows(*args)
    )
    tiny(MVAEImputer, calibrate=True).fit(table(60))
    ((rows, *_, positions),) = calls
    observed = rows.observed.reshape(-1, 12, 4)  # by mask
    n_hidden = (observed.any(0) & ~observed).sum(2).ravel()
    assert (n_hidden[positions] > 0).mean() > 0.5  # some cells are hidden by all masks
    assert (rows.x[~rows.observed] == 0).all()


@pytest.mark.slow
@every_imputer
def test_calibration_moves_the_ends_of_intervals_only(cls):
    X = table()
    plain, calibrated = tiny(cls).fit(X), tiny(cls, calibrate=True).fit(X)
    assert plain.calibration_ is None
    assert set(calibrated.calibration_.index) <= {"x0", "x1", "x2", "x3"}
    assert calibrated.calibration_["n_cells"].sum() > 0
    before, after = (imputer.cell_distribution(X) for imputer in (plain, calibrated))
    unchanged = ["row", "column", "mean", "std", "50%"]
    pd.testing.assert_frame_equal(before[unchanged], after[unchanged])
    assert (before["5%"] != after["5%"]).any()
    np.testing.assert_array_equal(plain.transform(X), calibrated.transform(X))


def test_calibration_requires_hidden_numeric_cells():
    with pytest.raises(ValueError, match="calibrate=True requires numeric cells"):
        tiny(MVAEImputer, calibrate=True).fit([[1.0, 2.0], [2.0, np.nan]])
    categories = pd.DataFrame({"a": list("xyz") * 20, "b": list("uvvu") * 15})
    with pytest.raises(ValueError, match="'calibrate' of MVAEImputer must be False"):
        tiny(MVAEImputer, calibrate=True).fit(categories)


def test_a_refitted_encoder_has_no_calibration():
    X = table(60)
    imputer = tiny(MVAEImputer, calibrate=True).fit(X)
    assert imputer.refit_encoder(X).calibration_ is None
    assert imputer.calibration_ is not None
