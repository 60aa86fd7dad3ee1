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
SMALL = {"n_hidden": 8, "n_blocks": 1, "n_importance_draws": 30, "random_state": 0, "device": "cpu"}


def numeric_table(n=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n, 4))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def curved_table(n=150):
    """Return a table of two clusters on a curve, which factor analysis does not describe."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-np.pi, np.pi, size=n)
    X = np.column_stack([np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t), np.cos(3 * t)])
    X += 0.05 * rng.normal(size=X.shape)
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def mixed_table(n=150):
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


def assert_reported_values_reproduce(estimator, X):
    """Assert it for each reported value alone, and for all together."""
    fitted = clone(estimator).fit(X)
    values = reported(fitted)
    for changes in [*({name: value} for name, value in values.items()), values]:
        assert_same_bits(clone(estimator).set_params(**changes).fit(X), fitted, X)
    return fitted


@pytest.fixture
def few_steps(monkeypatch):
    """Let the default number of epochs be ten."""
    monkeypatch.setattr("skmissvae.training.defaults._N_STEPS", 1)


@pytest.mark.parametrize("init", ["factor_analysis", "random"])
@pytest.mark.parametrize("table", [numeric_table, mixed_table])
def test_imputers_with_either_initialization(table, init, few_steps, monkeypatch):
    monkeypatch.setattr(selection, "_hidden_error", lambda fitted, *_: float(fitted.init != init))
    fitted = assert_reported_values_reproduce(MVAEImputer(**SMALL), table())
    assert fitted.init_ == init
    assert fitted.max_iter_ == 10
    assert fitted.early_stopping_ is False


def test_initialization_is_chosen_by_hidden_cells_and_reproduced():
    """With the full default training, for tables that prefer one or the other."""
    chosen = set()
    for X in (numeric_table(), curved_table()):
        fitted = MVAEImputer(**SMALL).fit(X)
        assert_same_bits(MVAEImputer(**SMALL, **reported(fitted)).fit(X), fitted, X)
        chosen.add(fitted.init_)
    assert chosen == {"factor_analysis", "random"}


def test_imputer_of_a_large_table_has_larger_batches(few_steps):
    fitted = assert_reported_values_reproduce(MVAEImputer(**SMALL), numeric_table(600))
    assert (fitted.batch_size_, fitted.learning_rate_) == (128, 4e-3)


@pytest.mark.parametrize("early_stopping", [True, EarlyStopping(n_iter_no_change=1, tol=1.0)])
@pytest.mark.parametrize("cls", [MissSIWAEImputer, DeMissVAEImputer])
def test_imputers_with_early_stopping(cls, early_stopping, few_steps):
    estimator = cls(**SMALL, early_stopping=early_stopping)
    fitted = assert_reported_values_reproduce(estimator, numeric_table())
    assert isinstance(fitted.early_stopping_, EarlyStopping)


@pytest.mark.parametrize("n_rows", [8, 10, 11, 40])
def test_tables_too_small_for_factor_analysis(n_rows, few_steps):
    X = numeric_table(n_rows)
    fitted = assert_reported_values_reproduce(MVAEImputer(**SMALL), X)
    assert fitted.init_ == ("random" if n_rows < 10 else "factor_analysis")
    stopping = assert_reported_values_reproduce(MVAEImputer(**SMALL, early_stopping=True), X)
    assert stopping.init_ == ("random" if n_rows < 11 else "factor_analysis")


@pytest.mark.parametrize("table", [numeric_table, mixed_table])
def test_densities(table, few_steps):
    fitted = assert_reported_values_reproduce(VAEDensityEstimator(**SMALL), table())
    assert fitted.early_stopping_ == EarlyStopping(n_iter_no_change=40)
