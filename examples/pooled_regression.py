"""A regression of an incomplete table: what is lost with rows, with one imputation, with none.

Of the diabetes table that comes with scikit-learn, most rows lose one or two cells, the more so the
higher the other columns and the outcome are. The same regression is then made from the
complete table, from the rows that stay complete, from one imputation, and from ten, pooled.
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from skmissvae import MissSIWAEImputer, make_missing, pool_models

complete = load_diabetes(as_frame=True, scaled=False).frame
complete = complete[["age", "bmi", "bp", "s3", "s5", "target"]].astype(float)
complete = (complete - complete.mean()) / complete.std()  # effects in standard deviations

# a row loses bmi, s5, or both, by a chance that rises with the columns that it keeps
patterns = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0]], dtype=bool)
incomplete = make_missing(complete, "mar", 0.6, of="rows", patterns=patterns, random_state=0)


class LeastSquares:
    """A regression of the outcome on all other columns, as pool_models wants it."""

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
    def told(self):
        """Return estimates with standard errors, as text."""
        errors = np.sqrt(np.diag(self._cov))
        return [f"{b:.2f} ({e:.2f})" for b, e in zip(self.params, errors, strict=True)]


# -- ten imputations, each by a model of another bootstrap sample of the rows ----------------------

# The outcome is among the columns: without it effects would come out too weak.
imputer = MissSIWAEImputer(n_models=10, n_jobs=2, random_state=0).fit(incomplete)
tables = imputer.impute(incomplete, n_imputations=10)
pooled = pool_models([LeastSquares(table) for table in tables])

# -- beside what one might do instead --------------------------------------------------------------

ways = {
    "complete table": LeastSquares(complete).told,
    "complete rows": LeastSquares(incomplete.dropna()).told,
    "one imputation": LeastSquares(imputer.transform(incomplete)).told,
    "ten, pooled": [
        f"{b:.2f} ({e:.2f})" for b, e in zip(pooled.qbar, np.sqrt(pooled.t), strict=True)
    ],
}
print("Effects on the outcome, with standard errors:\n")
print(pd.DataFrame(ways, index=pooled.qbar.index).drop(index="intercept"), "\n")
print(pooled, "\n")
print("Do bmi and s5 matter together?", pooled.test(columns=["bmi", "s5"]))
