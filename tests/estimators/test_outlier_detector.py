"""Outlier detection by the density of incomplete rows."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as incomplete
from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmissvae import Chunks, MVAEImputer, VAEDensityEstimator, VAEOutlierDetector
from skmissvae.estimators import outlier_detector

pytestmark = quiet

WEIGHT = np.array([1.0, -2.0, 0.5, 1.0, 3.0, -1.0])
NOISE = 0.5
COV = np.outer(WEIGHT, WEIGHT) + NOISE**2 * np.eye(6)


def density(**changes):
    return tiny(VAEDensityEstimator, **{"init": "random", "n_importance_draws": 20, **changes})


@pytest.mark.slow
@parametrize_with_checks(
    [VAEOutlierDetector(density(max_iter=1, n_importance_draws=10))],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": "other batches and draws; see "
        "test_sample_weight.py"
    },
)
def test_scikit_learn(estimator, check):
    check(estimator)


def test_tags():
    tags = get_tags(VAEOutlierDetector())
    assert tags.estimator_type == "outlier_detector"
    assert is_outlier_detector(VAEOutlierDetector())
    assert tags.input_tags.allow_nan
    assert not tags.input_tags.sparse
    assert VAEOutlierDetector().get_params() == {"estimator": None, "contamination": "auto"}


# -- scores ---------------------------------------------------------------------------------------


def correlated(n, share, seed):
    """Return incomplete rows of a Gaussian with a common factor."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 1)) * WEIGHT + NOISE * rng.normal(size=(n, 6))
    missing = rng.random(X.shape) < share
    missing[np.arange(n), rng.integers(6, size=n)] = False
    return np.where(missing, np.nan, X)


@pytest.fixture(scope="module")
def detector():
    """Return a detector whose density is nearly exact."""
    estimator = tiny(
        VAEDensityEstimator,
        K=1,
        n_latents=1,
        init="factor_analysis",
        learn_shapes=False,
        max_iter=1,
        dropout=0.0,
        learning_rate=1e-5,
        n_importance_draws=100,
        early_stopping=False,
    )
    return VAEOutlierDetector(estimator).fit(correlated(1500, 0.3, 0))


def exact_score(row):
    """Return the score of a row under the Gaussian that generates the tables."""
    observed = ~np.isnan(row)
    n, x = observed.sum(), row[observed]
    distance = x @ np.linalg.solve(COV[np.ix_(observed, observed)], x)
    # minus log-density: half of a chi-squared variable of n degrees of freedom, and a constant
    return -0.5 * (distance - n) / max(np.sqrt(n / 2), 1.0)


def test_scores_compare_densities_with_those_of_rows_with_the_same_missing_cells(detector):
    for share in (0.0, 0.4, 0.8):
        X = correlated(60, share, 1)
        X[::7] *= 3.0
        exact = np.apply_along_axis(exact_score, 1, X)
        scores = detector.score_samples(X)
        assert np.corrcoef(scores, exact)[0, 1] > 0.98
        usual = exact > -3
        assert abs(scores[usual] - exact[usual]).mean() < 0.3


def test_scores_of_usual_rows_do_not_depend_on_the_number_of_missing_cells(detector):
    tables = [correlated(200, share, 2) for share in (0.0, 0.4, 0.9)]
    means = [detector.score_samples(X).mean() for X in tables]
    assert np.ptp(means) < 0.2
    for X in tables:
        assert (detector.predict(X) == 1).mean() > 0.95
    # unlike the density per cell
    density_per_cell = [
        (detector.estimator_.score_samples(X) / (~np.isnan(X)).sum(1)).mean() for X in tables
    ]
    assert np.ptp(density_per_cell) > 0.4


def test_cells_that_contradict_each_other_make_an_outlier(detector):
    usual = np.array([[1.0, -2.0, np.nan, np.nan, 3.0, np.nan]])
    odd = usual * [1, -1, 1, 1, 1, 1]
    far = np.array([[np.nan, 20.0, np.nan, np.nan, np.nan, np.nan]])
    assert detector.predict(np.vstack([usual, odd, far])).tolist() == [1, -1, -1]


def test_a_row_without_an_observed_cell_is_no_outlier(detector):
    empty = np.full((2, 6), np.nan)
    assert detector.score_samples(empty).tolist() == [0.0, 0.0]
    assert detector.predict(empty).tolist() == [1, 1]


def test_scores_of_a_row_do_not_depend_on_the_other_rows(detector, monkeypatch):
    X = correlated(50, 0.4, 3)
    scores = detector.score_samples(X)
    for i in (0, 7, 49):
        assert detector.score_samples(X[[i]]) == scores[i]
    np.testing.assert_array_equal(detector.score_samples(X[::-1]), scores[::-1])
    monkeypatch.setattr(outlier_detector, "_N_PATTERNS", 1)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    monkeypatch.setattr("skmissvae.tables.reader._BLOCK_ROWS", 7)
    np.testing.assert_array_equal(detector.score_samples(X), scores)


@every_estimator
def test_any_estimator_of_a_density(cls):
    X = incomplete()
    detector = VAEOutlierDetector(tiny(cls, max_iter=2, init="random")).fit(X)
    scores = detector.score_samples(X)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(clone(detector).fit(X).score_samples(X), scores)
    np.testing.assert_array_equal(detector.decision_function(X), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X), np.where(scores < -3.0, -1, 1))


def test_frames():
    frame = pd.DataFrame(incomplete(60), columns=["real", "x", "y", "z"]).assign(
        n=pd.array(np.resize([0, 3, None, 2, 5], 60), dtype="Int64"),
        word=np.resize(["red", "blue", None, "red"], 60),
        flag=pd.array(np.resize([True, None, False], 60), dtype="boolean"),
        same=1.0,
        twin=lambda f: f["real"],
    )
    for table in (frame, pl.from_pandas(frame)):
        detector = VAEOutlierDetector(density(), contamination=0.1).fit(table)
        assert list(detector.feature_names_in_) == list(frame)
        assert np.isfinite(detector.score_samples(table)).all()
        assert (detector.predict(table) == -1).sum() == 6
    error = frame[:1].assign(real=1e4, twin=1e4)
    assert detector.predict(pl.from_pandas(error)).tolist() == [-1]


def test_a_table_with_an_empty_column():
    X = np.column_stack([incomplete(), np.full(40, np.nan)])
    with pytest.warns(UserWarning, match="without an observed cell"):
        detector = VAEOutlierDetector(density()).fit(X)
    expected = VAEOutlierDetector(density()).fit(X[:, :4]).score_samples(X[:, :4])
    np.testing.assert_array_equal(detector.score_samples(X), expected)


# -- the threshold --------------------------------------------------------------------------------


@pytest.mark.parametrize("contamination", [0.05, 0.25, 0.5, np.float32(0.25)])
def test_contamination_is_the_share_of_outliers_among_training_rows(contamination):
    X = incomplete(60)
    detector = VAEOutlierDetector(density(), contamination=contamination)
    labels = detector.fit_predict(X)
    assert set(labels.tolist()) == {-1, 1}
    assert (labels == -1).sum() == round(60 * contamination)
    assert detector.offset_ == np.percentile(detector.score_samples(X), 100 * contamination)


def test_automatic_threshold(detector):
    assert detector.offset_ == -3.0
    X = correlated(50, 0.2, 4)
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(detector.decision_function(X), scores + 3.0)
    at_threshold = copy.copy(detector)
    at_threshold.offset_ = np.sort(scores)[5]
    assert (at_threshold.predict(X) == -1).sum() == 5  # a row at the threshold is no outlier


def test_tables_in_chunks():
    X = incomplete(60)
    detector = VAEOutlierDetector(density(), contamination=0.1).fit(Chunks([X[:30], X[30:]]))
    assert (detector.predict(X) == -1).sum() == 6


# -- errors and copies ----------------------------------------------------------------------------


@pytest.mark.parametrize("contamination", [0, 0.0, -0.1, 0.6, 1, np.nan, "none", None, True, [0.1]])
def test_invalid_contamination(contamination):
    detector = VAEOutlierDetector(density(), contamination=contamination)
    with pytest.raises(ValueError, match="'contamination' of VAEOutlierDetector must be one of"):
        detector.fit(incomplete())
    assert not hasattr(detector, "estimator_")


@pytest.mark.parametrize("estimator", [LinearRegression(), VAEDensityEstimator, "MIWAE"])
def test_invalid_estimators(estimator):
    with pytest.raises(TypeError, match="'estimator' of VAEOutlierDetector must be a VAEDensity"):
        VAEOutlierDetector(estimator).fit(incomplete())


def test_invalid_tables():
    X = incomplete()
    detector = VAEOutlierDetector(density())
    for call in (detector.score_samples, detector.decision_function, detector.predict):
        with pytest.raises(NotFittedError):
            call(X)
    detector.fit(X)
    before = dict(vars(detector))
    with pytest.raises(ValueError, match="no observed cell"):
        detector.fit(X * np.nan)
    assert vars(detector) == before
    with pytest.raises(ValueError, match="expecting 4 features"):
        detector.predict(X[:, :3])
    with pytest.raises(ValueError, match="infinity"):
        detector.predict(np.where(np.isnan(X), np.inf, X))


def by_skops(detector):
    data = skops.io.dumps(detector)
    trusted = skops.io.get_untrusted_types(data=data)
    assert all(name.startswith("skmissvae.") for name in trusted), trusted
    return skops.io.loads(data, trusted=trusted)


def by_joblib(detector):
    file = io.BytesIO()
    joblib.dump(detector, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "round_trip", [lambda d: pickle.loads(pickle.dumps(d)), copy.deepcopy, by_joblib, by_skops]
)
def test_saved_detectors(round_trip):
    for table in (incomplete(), pd.DataFrame(incomplete())):
        detector = VAEOutlierDetector(tiny(MVAEImputer), contamination=0.1).fit(table)
        loaded = round_trip(detector)
        scores = detector.decision_function(table)
        np.testing.assert_array_equal(loaded.decision_function(table), scores)
