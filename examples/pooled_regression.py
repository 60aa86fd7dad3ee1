"""
A pooled linear regression
==========================

In scikit-learn's diabetes table one or two cells of most rows are hidden, with probabilities that
depend on the other columns and the outcome. A regression pooled over ten imputations is compared
with the same regression of the complete table, of the complete rows, and of a single imputation.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from skmissvae import MissSIWAEImputer, make_missing, pool_models

# %%
# The table
# ---------
#
# bmi, s5 or both are missing in 60% of the rows, with a probability that rises with the other
# columns. Columns are standardized: effects are in standard deviations.

complete = load_diabetes(as_frame=True, scaled=False).frame
complete = complete[["age", "bmi", "bp", "s3", "s5", "target"]].astype(float)
complete = (complete - complete.mean()) / complete.std()
patterns = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0]], dtype=bool)
incomplete = make_missing(complete, "mar", 0.6, of="rows", patterns=patterns, random_state=0)
print(f"{len(incomplete.dropna())} of {len(incomplete)} rows are complete.")

# %%
# The regression
# --------------
#
# ``pool_models`` needs estimates, their covariance matrix and degrees of freedom, under the names
# that they have in statsmodels.


class LeastSquares:
    """Least squares regression of the target on all other columns."""

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


# %%
# Ten imputations
# ---------------
#
# Each also draws the model, so that standard errors include its uncertainty. The outcome is one of
# the columns: without it estimated effects would be too weak. The model trains for 40 epochs here,
# to save time.

options = {"init": "factor_analysis", "max_iter": 40, "n_importance_draws": 100}
imputer = MissSIWAEImputer(random_state=0, **options).fit(incomplete)
tables = imputer.impute(incomplete, n_imputations=10)
pooled = pool_models([LeastSquares(table) for table in tables])
print(pooled.to_frame()[["estimate", "std_error", "low", "high", "p_value", "fmi"]].round(3))

# %%
# Comparison
# ----------
#
# The single imputation replaces missing cells by their conditional means and counts them as
# observed: it exaggerates the effects of bmi and s5, and its standard errors are too small.

models = {
    "complete table": LeastSquares(complete),
    "complete rows": LeastSquares(incomplete.dropna()),
    "single imputation": LeastSquares(imputer.transform(incomplete)),
}
results = {}
for name, model in models.items():
    std_error = np.sqrt(np.diag(model.cov_params()))
    results[name] = pd.DataFrame({"estimate": model.params, "std_error": std_error})
results["ten imputations, pooled"] = pooled.to_frame()[["estimate", "std_error"]]
results = pd.concat(results, axis=1).drop(index="intercept")
print(results.round(3).to_string())
print("\nJoint test of bmi and s5:", pooled.test(columns=["bmi", "s5"]))

# %%
# Intervals of 95% (1.96 standard errors). Complete rows are few, and selected by the outcome. The
# fraction of missing information (``fmi``) is largest for the columns with missing cells.

figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
styles = zip(results.columns.unique(0), ("0.3", "0.7", "C1", "C0"), strict=True)
for i, (name, color) in enumerate(styles):
    ax.errorbar(
        results[name]["estimate"],
        np.arange(len(results)) + 0.18 * (i - 1.5),
        xerr=1.96 * results[name]["std_error"],
        fmt="o",
        color=color,
        ms=5,
        label=name,
    )
ax.axvline(0, color="0.4", lw=1)
ax.set_yticks(range(len(results)), list(results.index))
ax.set(xlabel="effect on the outcome, standard deviations")
ax.invert_yaxis()
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
