"""HiddenCellScorer: the score, its checks, and its scikit-learn interface."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import every_imputer, quiet, tiny
from estimator_cases import table as incomplete_table
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmissvae import HiddenCellScorer, MVAEImputer, ResidualNetwork, make_missing

pytestmark = quiet


class Oracle(TransformerMixin, BaseEstimator):
    """An imputer that returns the truth plus an error in standard deviations of the columns."""

    def __init__(self, truth, error=0.0):
        self.truth, self.error = truth, error

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        wrong = self.truth + self.error * np.nanstd(self.truth, axis=0)
        return np.where(np.isnan(X), wrong, X)


@pytest.mark.parametrize("error", [0.0, 0.5, -2.0])
def test_the_score_is_minus_the_error_in_standard_deviations(error):
    X = incomplete_table(share=0.0)
    assert HiddenCellScorer()(Oracle(X, error), X) == pytest.approx(-abs(error))


def test_only_observed_cells_are_scored():
    X = incomplete_table()
    assert HiddenCellScorer(n_repeats=3)(Oracle(X, 0.5), X) == pytest.approx(-0.5)


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("array", [False, True])
def test_imputers_that_return_objects_are_scored(array, output):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "word": rng.choice(["a", "b"], 50),
            "x": rng.normal(size=50),
            "n": rng.integers(9, size=50),
        }
    ).mask(rng.random((50, 3)) < 0.2)
    frame["word"] = frame["word"].astype(object)
    X = frame.to_numpy() if array else frame
    imputer = SimpleImputer(strategy="most_frequent").set_output(transform=output).fit(X)
    assert -3 < HiddenCellScorer()(imputer, X) < -0.3


@pytest.mark.parametrize("unit", [1e-10, 1.0])
def test_changed_observed_cells_are_an_error_in_all_units(unit):
    X = unit * incomplete_table()
    doubled = FunctionTransformer(lambda X: np.nan_to_num(2 * X))
    with pytest.raises(ValueError, match="changes observed cells"):
        HiddenCellScorer()(doubled, X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": "a"}, "fraction must be a number above 0 and below 1; got 'a'"),
        ({"fraction": 1}, "fraction must be a number above 0 and below 1"),
        ({"n_repeats": 1.5}, "n_repeats must be an integer of 1 or more; got 1.5"),
    ],
)
def test_invalid_parameters_are_named(options, message):
    X = incomplete_table()
    with pytest.raises(ValueError, match=message):
        HiddenCellScorer(**options)(SimpleImputer().fit(X), X)


def test_the_score_is_invariant_to_units_of_columns():
    X = incomplete_table(100)
    scorer = HiddenCellScorer()
    plain, scaled = (scorer(SimpleImputer().fit(T), T) for T in [X, X * [1e6, 1, 1e-6, -3]])
    assert plain == pytest.approx(scaled)
    assert plain == pytest.approx(-1, abs=0.3)


def test_the_same_cells_are_hidden_from_every_candidate():
    X = incomplete_table(100)
    imputer = KNNImputer().fit(X)
    assert HiddenCellScorer()(imputer, X) == HiddenCellScorer()(imputer, X)
    scores = {HiddenCellScorer(random_state=seed)(imputer, X) for seed in range(3)}
    assert len(scores) == 3
    assert HiddenCellScorer(n_repeats=2)(imputer, X) != HiddenCellScorer()(imputer, X)


def test_fraction_is_the_share_of_hidden_cells():
    shares = []

    class Spy(Oracle):
        def transform(self, X):
            shares.append(np.isnan(X).mean())
            return super().transform(X)

    X = incomplete_table(2000, share=0.0)
    HiddenCellScorer(fraction=0.3, n_repeats=4)(Spy(X), X)
    np.testing.assert_allclose(shares, 0.3, atol=0.02)
    assert len(set(shares)) == 4


@every_imputer
def test_arrays_and_data_frames_have_equal_scores(cls):
    X = incomplete_table()
    score = HiddenCellScorer()(tiny(cls).fit(X), X)
    assert isinstance(score, float)
    assert score < 0
    frame = pd.DataFrame(X, columns=list("abcd"))
    copy = frame.copy()
    assert HiddenCellScorer()(tiny(cls).fit(frame), frame) == score
    pd.testing.assert_frame_equal(frame, copy)


def test_constant_and_empty_columns_are_excluded():
    X = np.column_stack([incomplete_table(), np.full(40, 2.0), np.full(40, np.nan)])
    imputer = SimpleImputer(keep_empty_features=True).fit(X)
    bare = SimpleImputer().fit(X[:, :4])
    assert HiddenCellScorer()(imputer, X) < 0
    assert HiddenCellScorer()(bare, X[:, :4]) < 0


def test_polars_frames_are_scored():
    frame = pl.DataFrame(incomplete_table(), schema=list("abcd"))
    assert HiddenCellScorer()(tiny(MVAEImputer).fit(frame), frame) < 0


def test_grid_search_uses_the_scorer():
    X = incomplete_table(60)
    search = GridSearchCV(
        KNNImputer(), {"n_neighbors": [1, 5, 20]}, scoring=HiddenCellScorer(), cv=3
    )
    scores = search.fit(X).cv_results_["mean_test_score"]
    assert (scores < 0).all()
    assert len(set(scores)) == 3


def test_invalid_calls_are_rejected():
    X = incomplete_table()
    imputer = SimpleImputer().fit(X)
    for fraction in [0, 1, -0.2, np.nan]:
        with pytest.raises(ValueError, match="fraction must be a number above 0 and below 1"):
            HiddenCellScorer(fraction)(imputer, X)
    with pytest.raises(ValueError, match="n_repeats must be an integer of 1 or more"):
        HiddenCellScorer(n_repeats=0)(imputer, X)
    with pytest.raises(ValueError, match="has 8 columns instead of the 4 columns"):
        HiddenCellScorer()(SimpleImputer(add_indicator=True).fit(X), X)
    with pytest.raises(ValueError, match="No observed cell was hidden"):
        HiddenCellScorer(fraction=1e-9)(imputer, X)


def test_columns_constant_in_the_scored_rows_are_excluded():
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[:30, 2], X[30:, 2] = 1000.0, 3000.0
    imputer = SimpleImputer().fit(X)
    assert HiddenCellScorer()(imputer, X[:30]) > -2


def test_a_pipeline_that_rescales_is_rejected():
    X = 1000 + 100 * np.random.default_rng(0).normal(size=(60, 3))
    pipeline = make_pipeline(StandardScaler(), SimpleImputer()).fit(X)
    with pytest.raises(ValueError, match="changes observed cells"):
        HiddenCellScorer()(pipeline, X)


@pytest.mark.slow
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_tables_of_mixed_types_are_scored(container):
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=90)
    frame = pd.DataFrame(
        {
            "real": group + 0.1 * rng.normal(size=90),
            "word": np.array(["a", "b", "c"])[group],
            "binary": group == 1,
            "n": group * 10 + rng.integers(3, size=90),
        }
    )
    incomplete = frame.astype({"n": "Int64", "binary": "boolean"}).mask(
        rng.random(frame.shape) < 0.1
    )
    X = pl.from_pandas(incomplete) if container == "polars" else incomplete
    imputer = tiny(MVAEImputer, max_iter=40, init="factor_analysis").fit(X)
    score = HiddenCellScorer(random_state=1)
    trained_score = score(imputer, X)
    assert trained_score > -0.6
    # one epoch from random weights
    network = ResidualNetwork(linear_path=False)
    untrained = tiny(MVAEImputer, max_iter=1, n_hidden=1, network=network, init="random").fit(X)
    assert score(untrained, X) < trained_score - 0.1


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e160])
def test_the_score_is_invariant_to_extreme_units(size):
    X = np.random.default_rng(0).normal(size=(40, 3))
    score = HiddenCellScorer(random_state=0)(SimpleImputer().fit(X * size), X * size)
    assert score == pytest.approx(HiddenCellScorer(random_state=0)(SimpleImputer().fit(X), X))


def test_row_identifiers_are_not_hidden():
    x = np.random.default_rng(0).normal(size=40)
    frame = pd.DataFrame({"id": range(40), "x": x, "y": x})
    n_missing = []

    class Spy(SimpleImputer):
        def transform(self, X):
            n_missing.append(X.isna().sum())
            return super().transform(X)

    HiddenCellScorer(random_state=0)(Spy().fit(frame), frame)
    assert all(counts["id"] == 0 < counts["x"] for counts in n_missing)


# -- the scikit-learn interface --------------------------------------------------------------------


def test_parameters_are_stored_unchanged_and_cloned():
    random_state = np.random.RandomState(0)
    scorer = HiddenCellScorer("a", n_repeats=-1, random_state=random_state)
    assert scorer.get_params() == {
        "fraction": "a",
        "n_repeats": -1,
        "random_state": random_state,
    }
    assert scorer.random_state is random_state
    copy = clone(HiddenCellScorer(0.3, n_repeats=2, random_state=5))
    assert copy.get_params() == {"fraction": 0.3, "n_repeats": 2, "random_state": 5}
    assert copy.set_params(fraction=0.4).fraction == 0.4


def test_repr_shows_changed_parameters():
    assert repr(HiddenCellScorer()) == "HiddenCellScorer()"
    assert repr(HiddenCellScorer(n_repeats=3)) == "HiddenCellScorer(n_repeats=3)"


def test_a_pickled_scorer_has_the_same_score():
    X = incomplete_table()
    imputer, scorer = SimpleImputer().fit(X), HiddenCellScorer(n_repeats=2)
    assert pickle.loads(pickle.dumps(scorer))(imputer, X) == scorer(imputer, X)


@pytest.mark.parametrize("make_state", [int, np.random.RandomState])
def test_hidden_cells_are_independent_of_those_of_make_missing(make_state):
    observed = []

    class Spy(Oracle):
        def transform(self, X):
            observed.append(~np.isnan(X))
            return super().transform(X)

    X = incomplete_table(n=500, share=0.0)
    HiddenCellScorer(0.5, random_state=make_state(0))(Spy(X), X)
    by_make_missing = np.isnan(make_missing(X, "mcar", 0.5, random_state=make_state(0)))
    correlation = np.corrcoef(~observed[0].ravel(), by_make_missing.ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(X.size)
