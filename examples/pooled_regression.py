"""A linear regression of an incomplete table, pooled over ten imputations.

In scikit-learn's diabetes table one or two cells of most rows are hidden, with probabilities that
depend on the other columns and the outcome. The pooled regression is compared with the same
regression of the complete table, of the complete rows, and of a single imputation.
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from skmissvae import MissSIWAEImputer, make_missing, pool_models

complete = load_diabetes(as_frame=True, scaled=False).frame
complete = complete[["age", "bmi", "bp", "s3", "s5", "target"]].astype(float)
complete = (complete - complete.mean()) / complete.std()  # effects in standard deviations

# bmi, s5 or both are missing, with a probability that rises with the other columns
patterns = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0]], dtype=bool)
incomplete = make_missing(complete, "mar", 0.6, of="rows", patterns=patterns, random_state=0)


class LeastSquares:
    """Least squares regression of the target on all other columns, as pool_models needs it."""

    def __init__(self, table):
        X = table.drop(columns="target").assign(intercept=1.0)
        inverse = np.linalg.inv(X.T.to_numpy() @ X.to_numpy())
        self.params = pd.Series(inverse @ X.T.to_numpy() @ table["target"], index=X.columns)
        self.df_resid = len(X) - X.shape[1]
        residual = table["target"] - X @ self.params
        self._cov = inverse * (residual @ residual) / self.df_resid

    def cov_params(self):
        """Return the covariance matrix of the estimates."""
        return pd.DataFrame(self._cov, self.params.index, self.params.index)

    @property
    def summary(self):
        """Return estimates with standard errors, as text."""
        errors = np.sqrt(np.diag(self._cov))
        return [f"{b:.2f} ({e:.2f})" for b, e in zip(self.params, errors, strict=True)]


# -- ten imputations, each by the model of another bootstrap sample of the rows --------------------

# The outcome is one of the columns: without it estimated effects would be too weak.
imputer = MissSIWAEImputer(n_bootstrap=10, n_jobs=2, random_state=0).fit(incomplete)
tables = imputer.impute(incomplete, n_imputations=10)
pooled = pool_models([LeastSquares(table) for table in tables])

# -- comparison with alternatives ------------------------------------------------------------------

columns = {
    "complete table": LeastSquares(complete).summary,
    "complete rows": LeastSquares(incomplete.dropna()).summary,
    "one imputation": LeastSquares(imputer.transform(incomplete)).summary,
    "ten, pooled": [
        f"{b:.2f} ({e:.2f})" for b, e in zip(pooled.qbar, np.sqrt(pooled.t), strict=True)
    ],
}
print("Effects on the outcome, with standard errors:\n")
print(pd.DataFrame(columns, index=pooled.qbar.index).drop(index="intercept"), "\n")
print(pooled, "\n")
print("Joint test of bmi and s5:", pooled.test(columns=["bmi", "s5"]))
