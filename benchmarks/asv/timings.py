"""Timings of training and of the methods of fitted models, for airspeed velocity (asv).

The tables have 8 continuous columns, of which 30% of the cells are missing.
"""

import warnings
from typing import ClassVar

import numpy as np

from skmissvae import MissSIWAEImputer, MVAEImputer, VAEDensityEstimator, make_missing


def table(n_rows, n_columns=8):
    """Return a table whose columns have correlations of about 0.7."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, 1)) + 0.7 * rng.normal(size=(n_rows, n_columns))
    return make_missing(x, "mcar", 0.3, random_state=0)


class Training:
    """Epochs over 2,000 rows from a random initialization, without early stopping."""

    params: ClassVar = [[MVAEImputer, MissSIWAEImputer]]
    param_names: ClassVar = ["estimator"]
    timeout = 300

    def setup(self, estimator):
        """Make the table and the estimator."""
        self.x = table(2000)
        self.options = {"init": "random", "early_stopping": False, "random_state": 0}
        estimator(max_iter=1, **self.options).fit(self.x)  # loads libraries

    def time_three_epochs(self, estimator):
        """Fit for three epochs."""
        estimator(max_iter=3, **self.options).fit(self.x)

    def peakmem_three_epochs(self, estimator):
        """Fit for three epochs."""
        estimator(max_iter=3, **self.options).fit(self.x)


class Methods:
    """Methods of a model that was fitted to 500 rows for five epochs."""

    timeout = 300

    def setup_cache(self):
        """Fit the estimators once."""
        warnings.simplefilter("ignore")  # of the short training
        x = table(500)
        imputer = MissSIWAEImputer(max_iter=5, init="factor_analysis", random_state=0).fit(x)
        density = VAEDensityEstimator(max_iter=5, init="factor_analysis", random_state=0).fit(x)
        return x, imputer, density

    def setup(self, cache):
        """Call a method once, which loads libraries."""
        x, imputer, _ = cache
        imputer.transform(x[:10])

    def time_transform(self, cache):
        """Impute conditional means."""
        x, imputer, _ = cache
        imputer.transform(x)

    def time_impute(self, cache):
        """Make five imputations."""
        x, imputer, _ = cache
        for _ in imputer.impute(x, 5):
            pass

    def time_score_samples(self, cache):
        """Score rows."""
        x, _, density = cache
        density.score_samples(x)

    def time_one_row(self, cache):
        """Impute one row."""
        x, imputer, _ = cache
        imputer.transform(x[np.isnan(x).any(axis=1)][:1])

    def peakmem_transform(self, cache):
        """Impute conditional means."""
        x, imputer, _ = cache
        imputer.transform(x)
