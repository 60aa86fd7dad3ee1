"""Parameters that are set to the reported values of their defaults give the same model."""

import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet
from sklearn.base import clone

from skmissvae import (
    DeMissVAEImputer,
    EarlyStopping,
    MissSIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae.training import selection

pytestmark = quiet

REPORTED = ("max_iter", "batch_size", "learning_rate", "init", "n_latents", "early_stopping")
SMALL = {"n_hidden": 8, "n_blocks": 1, "n_importance_draws": 10, "random_state": 0, "device": "cpu"}


def numeric_table(n=100, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n, 4))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def curved_table(n=100):
    """Return a table of points on a curve, which factor analysis does not describe."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-np.pi, np.pi, size=n)
    X = np.column_stack([np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t), np.cos(3 * t)])
    X += 0.05 * rng.normal(size=X.shape)
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def mixed_table(n=100):
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "number": z + 0.3 * rng.normal(size=n),
            "count": pd.array(rng.poisson(np.exp(z)), dtype="Int64"),
            "binary": pd.array(z + rng.normal(size=n) > 0, dtype="boolean"),
            "category": pd.Categorical(np.array(list("xyz"))[(z > -0.5).astype(int) + (z > 0.5)]),
        }
    )
    for j, name in enumerate(frame.columns):
        frame.loc[j::6, name] = None
    return frame


def reported(estimator):
    """Return the parameters that are reported after fit, with these values."""
    return {name: getattr(estimator, f"{name}_") for name in REPORTED}


def assert_same_bits(estimator, expected, X):
    np.testing.assert_array_equal(estimator.score_samples(X), expected.score_samples(X))
    if hasattr(expected, "transform"):
        completed, expected_table = estimator.transform(X), expected.transform(X)
        pd.testing.assert_frame_equal(
            pd.DataFrame(completed), pd.DataFrame(expected_table), check_exact=True
        )
    assert reported(estimator) == reported(expected)


def assert_reproduced(estimator, X, *, each=False):
    """Assert that all reported values, or also ``each`` of them alone, give the same model."""
    fitted = clone(estimator).fit(X)
    values = reported(fitted)
    names = REPORTED if each else ["init"]
    for changes in [*({name: values[name]} for name in names), values]:
        assert_same_bits(clone(estimator).set_params(**changes).fit(X), fitted, X)
    return fitted


@pytest.fixture
def few_epochs(monkeypatch):
    """Let the default number of epochs be four."""
    monkeypatch.setattr("skmissvae.training.defaults._N_STEPS", 1)
    monkeypatch.setattr("skmissvae.training.defaults._MIN_EPOCHS", 4)


@pytest.mark.parametrize("init", ["factor_analysis", "random"])
@pytest.mark.parametrize(("table", "each"), [(numeric_table, True), (mixed_table, False)])
def test_imputers_with_either_initialization(table, each, init, few_epochs, monkeypatch):
    monkeypatch.setattr(selection, "_hidden_error", lambda fitted, *_: float(fitted.init != init))
    fitted = assert_reproduced(MVAEImputer(**SMALL), table(), each=each)
    assert fitted.init_ == init
    assert fitted.max_iter_ == 4
    assert fitted.early_stopping_ is False


def test_initialization_is_chosen_by_hidden_cells_and_reproduced():
    """With the full default training, for tables that prefer one or the other."""
    chosen = set()
    for X in (numeric_table(), curved_table()):
        fitted = MVAEImputer(**SMALL).fit(X)
        assert_same_bits(MVAEImputer(**SMALL, **reported(fitted)).fit(X), fitted, X)
        chosen.add(fitted.init_)
    assert chosen == {"factor_analysis", "random"}


def test_imputer_of_a_large_table_has_larger_batches(few_epochs):
    fitted = assert_reproduced(MVAEImputer(**SMALL), numeric_table(600), each=True)
    assert (fitted.batch_size_, fitted.learning_rate_) == (128, 4e-3)


@pytest.mark.parametrize(
    ("cls", "early_stopping"),
    [(MissSIWAEImputer, True), (DeMissVAEImputer, EarlyStopping(n_iter_no_change=1, tol=1.0))],
)
def test_imputers_with_early_stopping(cls, early_stopping, few_epochs):
    estimator = cls(**SMALL, early_stopping=early_stopping)
    fitted = assert_reproduced(estimator, numeric_table(110))
    assert isinstance(fitted.early_stopping_, EarlyStopping)


@pytest.mark.parametrize("n_rows", [8, 10, 11, 40])
def test_tables_too_small_for_factor_analysis(n_rows, few_epochs):
    X = numeric_table(n_rows)
    fitted = assert_reproduced(MVAEImputer(**SMALL), X)
    assert fitted.init_ == ("random" if n_rows < 10 else "factor_analysis")
    fitted = assert_reproduced(MVAEImputer(**SMALL, early_stopping=True), X)
    assert fitted.init_ == ("random" if n_rows < 11 else "factor_analysis")


@pytest.mark.parametrize(("table", "each"), [(numeric_table, True), (mixed_table, False)])
def test_densities(table, each, few_epochs):
    fitted = assert_reproduced(VAEDensityEstimator(**SMALL), table(), each=each)
    assert fitted.early_stopping_ == EarlyStopping(n_iter_no_change=40)
