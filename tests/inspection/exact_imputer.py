"""An imputer with an exact answer, and tables for the tests of checks."""

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import BaseEstimator

COV = np.array([[1.0, 0.8, 0.5], [0.8, 1.0, 0.3], [0.5, 0.3, 1.0]])
MEAN = np.array([0.0, 1.0, -2.0])
PREDICTED, FITTED = [], []  # tables passed to cell_distribution, and to fit


class Gaussian(BaseEstimator):
    """An imputer with a fixed Normal distribution: the true one, unless ``cov`` is changed.

    ``widen`` multiplies the standard deviations of its cell distributions.
    """

    def __init__(self, cov=COV, widen=1.0):
        self.cov, self.widen = cov, widen

    def fit(self, X, y=None):
        FITTED.append(X)
        names = [f"x{j}" for j in range(len(MEAN))]
        self.fit_report_ = pd.DataFrame({"kind": "continuous", "role": "modelled"}, names)
        return self

    def conditional(self, row):
        o = ~np.isnan(row)
        gain = self.cov[~o][:, o] @ np.linalg.inv(self.cov[o][:, o])
        cov = self.cov[~o][:, ~o] - gain @ self.cov[o][:, ~o]
        return ~o, MEAN[~o] + gain @ (row[o] - MEAN[o]), cov

    def cell_distribution(self, X, quantiles, *, where):
        PREDICTED.append(X)
        lines = []
        for i in np.flatnonzero(where.any(1)):
            m, mean, cov = self.conditional(X[i])
            for j, centre, std in zip(np.flatnonzero(m), mean, cov.diagonal() ** 0.5, strict=True):
                if where[i, j]:
                    values = centre + self.widen * std * stats.norm.ppf(quantiles)
                    lines.append([i, f"x{j}", "continuous", None, np.nan, centre, std, *values])
        columns = ["row", "column", "kind", "category", "probability", "mean", "std"]
        return pd.DataFrame(lines, columns=[*columns, *map(str, quantiles)])

    def sample(self, n_samples, random_state):
        rng = np.random.default_rng(random_state)
        return rng.multivariate_normal(MEAN, self.cov, n_samples, method="cholesky")

    def impute(self, X, n_imputations, random_state):
        rng = np.random.default_rng(random_state)
        for _ in range(n_imputations):
            table = X.copy()
            for row in table:
                if np.isnan(row).any():
                    m, mean, cov = self.conditional(row)
                    row[m] = rng.multivariate_normal(mean, cov, method="cholesky")
            yield table


def rows(n=1000, share=0.3, seed=0):
    """Return rows of the Normal distribution with missing cells, one or more observed per row."""
    rng = np.random.default_rng(seed)
    X = rng.multivariate_normal(MEAN, COV, n, method="cholesky")
    is_missing = rng.random(X.shape) < share
    is_missing[np.arange(n), rng.integers(len(MEAN), size=n)] = False
    return np.where(is_missing, np.nan, X)


def mixed(n=90, seed=0):
    """Return a frame of many types with missing cells and an index that is not unique."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "real": group + 0.3 * rng.normal(size=n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(99, size=n), "D"),
            "word": np.array(["a", "b", "c"])[group],
            "binary": group == 1,
            "n": group * 10 + rng.integers(5, size=n),
            "size": pd.Categorical(np.array(["s", "m", "l"])[group], ["s", "m", "l"], ordered=True),
            "one": 1.0,
        },
        index=[f"r{i // 2}" for i in range(n)],
    )
    is_missing = rng.random(frame.shape) < 0.15
    is_missing[:, 0] = False
    return frame.astype({"n": "Int64", "binary": "boolean"}).mask(is_missing)


EVALUATED = ["real", "word", "binary", "n", "size"]
CATEGORICAL = ["word", "binary", "size"]
