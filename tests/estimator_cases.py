"""Small estimators of every class, an incomplete table, and comparisons that several tests use."""

import numpy as np
import pytest

from skmissvae import (
    DeMissVAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae.inference import LAIR

TINY = {
    "max_iter": 3,
    "n_hidden": 16,
    "n_blocks": 1,
    "n_importance_draws": 40,
    "device": "cpu",
    "random_state": 0,
}
IMPUTERS = {
    MVAEImputer: {},
    MissVAEImputer: {"K": 3},
    MissSVAEImputer: {"K": 3},
    MIWAEImputer: {},
    MissIWAEImputer: {"K": 3},
    MissSIWAEImputer: {"K": 3},
    DeMissVAEImputer: {"K": 3, "sampler": LAIR(n_steps=4)},
}
ESTIMATORS = {**IMPUTERS, VAEDensityEstimator: {"K": 3}}

#: After three epochs the encoder is inaccurate for some rows, which the estimators warn about.
quiet = pytest.mark.filterwarnings("ignore:.*effective sample size below:UserWarning")


def tiny(cls, **changes):
    """Return an estimator with small networks and three epochs."""
    return cls(**{**TINY, **ESTIMATORS[cls], **changes})


def over(classes):
    """Parametrize a test over estimator classes."""
    return pytest.mark.parametrize("cls", list(classes), ids=lambda cls: cls.__name__)


every_imputer = over(IMPUTERS)
every_estimator = over(ESTIMATORS)


def table(n=40, dtype=np.float64, seed=0, share=0.25):
    """Return four correlated columns with missing cells; every row has an observed cell."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    X = z @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n, 4))
    X = X * [1.0, 20.0, 0.05, 3.0] + [0.0, 100.0, 1.0, -7.0]
    missing = rng.random(X.shape) < share
    missing[np.arange(n), rng.integers(4, size=n)] = False
    X[missing] = np.nan
    return X.astype(dtype)


def outputs(estimator, X):
    """Return the results of a fitted estimator for a table, by method."""
    results = {
        "score_samples": estimator.score_samples(X),
        "encode": estimator.encode(X),
        "effective_sample_size": estimator.effective_sample_size(X),
    }
    if hasattr(estimator, "transform"):
        results["transform"] = estimator.transform(X)
    return results


def assert_same(actual, expected):
    """Assert that results are equal bit for bit."""
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, err_msg=name, strict=True)
