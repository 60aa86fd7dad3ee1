"""Energy distances and energy I-scores agree with values computed by hand."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from sklearn.base import clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import MVAEImputer
from skmissvae.inspection import EnergyIScorer, energy_distance
from skmissvae.inspection.energy import _crps

pytestmark = quiet


def test_distance_of_two_points():
    # 2 * mean distance 2, the other terms are means over all pairs of rows: 1/2 of 2 and of 0
    truth = [[-1.0, 5.0], [1.0, 5.0]]  # standard deviation 1, and a constant column
    assert energy_distance([[0.0, 3.0], [0.0, 3.0]], truth) == pytest.approx(2 * 1 - 0 - 1)
    assert energy_distance([[1.0, 3.0], [3.0, 3.0]], truth) == pytest.approx(2 * 2 - 1 - 1)


def test_distance_of_categories_is_twice_the_squared_distance_of_shares():
    truth = pd.DataFrame({"word": ["a", "a", "b", "c"]})
    completed = pd.DataFrame({"word": ["a", "b", "b", "b"]})
    # E|X - Y| = 1 - p @ q
    p, q = np.array([1, 3, 0]) / 4, np.array([2, 1, 1]) / 4
    assert energy_distance(completed, truth) == pytest.approx(((p - q) ** 2).sum())


def test_tables_without_a_column_to_compare_are_refused():
    dates = pd.DataFrame({"day": pd.date_range("1990-01-01", periods=3)})
    with pytest.raises(ValueError, match="no column to compare"):
        energy_distance(dates, dates)


def test_brier_score_of_draws():
    draws = np.array([["a", "b"], ["a", "c"], ["b", "c"], ["a", "c"]], dtype=object)
    truth = np.array(["a", "d"], dtype=object)
    expected = [(1 + (9 + 1) / 16) / 2 - 3 / 4, (1 + (1 + 9) / 16) / 2]
    np.testing.assert_allclose(_crps(draws, truth, 1.0), expected)


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
def test_distance_is_zero_for_equal_tables_and_free_of_units(factor, shift):
    rng = np.random.default_rng(0)
    truth, other = rng.normal(size=(2, 300, 2)) @ [[1.0, 0.8], [0.0, 0.6]] + shift
    shuffled = np.column_stack([truth[:, 0], rng.permutation(truth[:, 1])])
    assert energy_distance(truth[::-1] * factor, truth * factor) == pytest.approx(0, abs=1e-7)
    # the columns alone do not differ
    assert energy_distance(shuffled * factor, truth * factor) > 0.02
    assert energy_distance(other * factor, truth * factor) < 0.02


def test_distance_rises_with_the_dispersion_that_is_lost():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 2))
    by_share = []
    for scale in (1.0, 0.5, 0.0):
        completed = truth.copy()
        completed[:200, 1] = scale * rng.normal(size=200)
        by_share.append(energy_distance(completed, truth))
    assert by_share == sorted(by_share)


@pytest.mark.parametrize(
    ("completed", "message"),
    [
        ([[1.0, np.nan]] * 3, "Column 1 of completed"),
        ([[1.0]] * 3, "has 1 columns instead of the 2 columns"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(completed, message):
    with pytest.raises(ValueError, match=message):
        energy_distance(completed, [[1.0, 2.0], [2.0, 3.0]])


class Drawing(SimpleImputer):
    """Draws the i-th imputation of each cell as i, and keeps the tables that it is fitted to."""

    fits = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.fits.append(np.array(X))
        return super().fit(X)

    def impute(self, X, n_imputations, *, random_state):
        """Return tables with the numbers 0, 1, ... in missing cells."""
        return [np.where(np.isnan(X), i, X) for i in range(n_imputations)]


def test_score_is_that_computed_by_hand():
    # x2 is observed wherever x1 is, x0 is not
    X = np.array([[1.0, 2.0, 1.0], [np.nan, 0.0, 5.0], [3.0, np.nan, 4.0]])
    Drawing.fits = []
    scores = EnergyIScorer(2).column_scores(Drawing().fit(X), X)
    assert scores["column"].tolist() == [0, 1]
    assert scores["n_predictors"].tolist() == [1, 1]
    assert scores["n_cells"].tolist() == [2, 2]
    # draws 0 and 1: half of their mean distance is 1/4
    x0 = -np.mean([abs(0 - 1) + abs(1 - 1), abs(0 - 3) + abs(1 - 3)]) / 2 + 0.25
    x1 = -np.mean([abs(0 - 2) + abs(1 - 2), abs(0 - 0) + abs(1 - 0)]) / 2 + 0.25
    np.testing.assert_allclose(scores["score"], [x0, x1])  # both standard deviations are one
    np.testing.assert_allclose(scores["weight"], 2 / 9)
    assert EnergyIScorer(2)(Drawing().fit(X), X) == pytest.approx((x0 + x1) / 2)
    # the imputed cell of x0 (0) with the column that is complete; the observed ones are hidden
    expected = [[1.0, np.nan], [5.0, 0.0], [4.0, np.nan]]
    np.testing.assert_array_equal(Drawing.fits[1], expected)


def test_imputer_without_draws_is_scored_by_its_absolute_error():
    X = np.array([[0.0, 1.0], [np.nan, 2.0], [2.0, 3.0], [np.nan, 5.0]])
    (line,) = EnergyIScorer().column_scores(SimpleImputer().fit(X), X).to_dict("records")
    assert line["score"] == pytest.approx(-1.0)  # the mean 1, in standard deviations of 1


def test_proper_draws_score_better_than_means():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1)) + 0.7 * rng.normal(size=(300, 3))
    X[rng.random(300) < 0.4, 0] = np.nan
    score = {}
    for draws in (False, True):
        imputer = IterativeImputer(sample_posterior=draws, random_state=0).fit(X)
        score[draws] = EnergyIScorer(20)(imputer, X)
    assert score[True] > score[False] + 0.05


@pytest.mark.parametrize(
    "container", [pd.DataFrame, pl.DataFrame, lambda t: pd.DataFrame(t).to_numpy()]
)
def test_containers_and_mixed_columns(container):
    rng = np.random.default_rng(0)
    word, flag = rng.choice(["a", "b"], 60).astype(object), rng.choice([True, False], 60)
    number = (word == "a") + 0.3 * rng.normal(size=60)
    word[:20], number[30:40] = None, np.nan
    X = container({"word": word.tolist(), "number": number, "flag": flag})
    imputer = tiny(MVAEImputer, max_iter=20, n_latents=1).fit(X)
    scores = EnergyIScorer(5).column_scores(imputer, X)
    assert scores["n_predictors"].tolist() == [1, 1]
    assert (scores["score"] < 0).all()
    assert (scores["score"] > -1.5).all()
    mean = np.average(scores["score"], weights=scores["weight"])
    assert EnergyIScorer(5)(imputer, X) == pytest.approx(mean, rel=1e-12)


def test_scorer_selects_parameters():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 1)) + 0.2 * rng.normal(size=(80, 3))
    X[rng.random(80) < 0.3, 0] = np.nan
    search = GridSearchCV(
        SimpleImputer(),
        {"fill_value": [0.0, 30.0], "strategy": ["constant"]},
        cv=2,
        scoring=EnergyIScorer(2),
    )
    assert search.fit(X).best_params_["fill_value"] == 0.0


def test_invalid_calls_are_refused():
    X = np.random.default_rng(0).normal(size=(20, 2))
    imputer = SimpleImputer().fit(X)
    apart = X.copy()  # never observed together
    apart[:10, 0], apart[10:, 1] = np.nan, np.nan
    for table in (X, X[:, :1], apart):
        with pytest.raises(ValueError, match="no column with missing"):
            EnergyIScorer()(clone(imputer).fit(table), table)
    apart[:5] = X[:5]
    scaled = make_pipeline(SimpleImputer(), StandardScaler()).fit(apart)
    with pytest.raises(ValueError, match="changes observed cells"):
        EnergyIScorer()(scaled, apart)
    with pytest.raises(ValueError, match="n_draws"):
        EnergyIScorer(1)(imputer, X)
