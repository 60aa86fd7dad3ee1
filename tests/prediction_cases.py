"""Small estimators for prediction from incomplete rows, and an outcome."""

import numpy as np
import pytest
from estimator_cases import tiny
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skmissvae import MultipleImputationClassifier, MultipleImputationRegressor, MVAEImputer

BOTH = [MultipleImputationClassifier, MultipleImputationRegressor]
both = pytest.mark.parametrize("cls", BOTH, ids=lambda cls: cls.__name__)
LINEAR = {
    MultipleImputationClassifier: LogisticRegression(solver="newton-cholesky"),
    MultipleImputationRegressor: Ridge(),
}
# their predictions of a row do not depend on the other rows, bit for bit
TREES = {
    MultipleImputationClassifier: DecisionTreeClassifier(max_depth=4, random_state=0),
    MultipleImputationRegressor: DecisionTreeRegressor(max_depth=4, random_state=0),
}


def fast(cls, estimator=None, **changes):
    """Return an estimator that is fitted in little time."""
    imputer = tiny(MVAEImputer, n_latents=2, init="random")
    defaults = {"imputer": imputer, "n_imputations": 3, "random_state": 0}
    return cls(LINEAR[cls] if estimator is None else estimator, **{**defaults, **changes})


def outcome(cls, X, seed=0):
    """Return an outcome that depends on the columns."""
    noise = np.random.default_rng(seed).normal(size=len(X))
    y = np.nan_to_num((np.asarray(X, float) - [0, 100, 1, -7]) / [1, 20, 0.05, 3]).sum(1) + noise
    if cls is MultipleImputationRegressor:
        return y
    return np.array(["a", "b", "c"])[np.digitize(y, [-1, 1])]
