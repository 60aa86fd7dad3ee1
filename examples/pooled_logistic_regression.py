"""
A pooled logistic regression, compared with mice
================================================

In the table of Pima women, blood tests and skinfolds were not taken from everyone: only half of the
768 rows are complete. A logistic regression of diabetes on the eight other columns is fitted to
complete rows, and pooled over multiple imputations by this package and by the R package mice.

The table is read from ``pima2.csv.gz`` in the folder ``$SKMISSVAE_DATA``, or from OpenML.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import fetch_openml

from skmissvae import MissSIWAEImputer, pool_models

# %%
# The table
# ---------
#
# OpenML has zeros where measurements are missing.

measured = ["glucose", "pressure", "triceps", "insulin", "mass"]
names = ["pregnant", *measured, "pedigree", "age", "diabetes"]
folder = os.environ.get("SKMISSVAE_DATA")
if folder:
    pima = pd.read_csv(Path(folder) / "E_real_missing" / "pima2.csv.gz")[names]
else:
    pima = fetch_openml("diabetes", version=1, as_frame=True).frame.set_axis(names, axis=1)
    pima[measured] = pima[measured].mask(pima[measured] == 0)
    pima["diabetes"] = pima["diabetes"].map({"tested_positive": "pos", "tested_negative": "neg"})
pima["diabetes"] = pima["diabetes"].astype("category")
print(f"{len(pima.dropna())} of {len(pima)} rows are complete. Missing cells:")
print(pima.isna().sum().loc[lambda n: n > 0].to_string())

# %%
# A model for ``pool_models``
# ---------------------------
#
# :func:`~skmissvae.pool_models` uses ``params``, ``cov_params()`` and ``df_resid``, which the
# models of statsmodels have. Without statsmodels, a logistic regression by Newton's method needs
# few lines.


class Logit:
    """Logistic regression of diabetes on all other columns."""

    def __init__(self, table):
        X = table.drop(columns="diabetes").astype(float)
        y = (table["diabetes"] == "pos").to_numpy(float)
        scale = np.append(X.std(), 1.0)
        A = np.column_stack([X, np.ones(len(X))]) / scale
        b = np.zeros(A.shape[1])
        for _ in range(15):
            p = 1 / (1 + np.exp(-A @ b))
            information = (A.T * (p * (1 - p))) @ A
            b += np.linalg.solve(information, A.T @ (y - p))
        names = [*X, "intercept"]
        covariance = np.linalg.inv(information) / np.outer(scale, scale)
        self.params = pd.Series(b / scale, names)
        self.df_resid = len(A) - len(b)
        self._covariance = pd.DataFrame(covariance, names, names)

    def cov_params(self):
        """Return the covariance matrix of the estimates."""
        return self._covariance


# %%
# Imputation and pooling
# ----------------------
#
# The outcome is one of the imputed table's columns: without it, estimated effects would be too
# weak. Each imputation also draws the model (:doc:`../guide/multiple_imputation`). Here it trains
# for 50 epochs with fewer draws, to save time.

imputer = MissSIWAEImputer(n_importance_draws=100, max_iter=50, random_state=0)
tables = imputer.fit(pima).impute(pima, n_imputations=20)
pooled = pool_models([Logit(table) for table in tables])
print(pooled.to_frame()[["estimate", "std_error", "low", "high", "p_value", "fmi"]].round(4))

# %%
# Comparison with mice
# --------------------
#
# Constants are the output of mice 3.15.0 in R 4.2.2 (predictive mean matching, its default, with 20
# imputations) for the same table:
#
# .. code-block:: r
#
#    imp <- mice(pima, m = 20, seed = 1, printFlag = FALSE)
#    fit <- with(imp, glm(diabetes == "pos" ~ pregnant + glucose + pressure + triceps + insulin +
#                         mass + pedigree + age, family = binomial))
#    summary(pool(fit))

mice = pd.DataFrame(
    {
        "pregnant": (0.121493, 0.032749),
        "glucose": (0.039549, 0.004911),
        "pressure": (-0.009239, 0.008735),
        "triceps": (0.008247, 0.016389),
        "insulin": (-0.001387, 0.001474),
        "mass": (0.089647, 0.021845),
        "pedigree": (0.885009, 0.299674),
        "age": (0.013281, 0.009817),
    },
    index=["estimate", "std_error"],
).T
rows = Logit(pima.dropna())
errors = pd.Series(np.sqrt(np.diag(rows.cov_params())), rows.params.index)
methods = {
    "complete rows": pd.DataFrame({"estimate": rows.params, "std_error": errors}),
    "mice": mice,
    "MissSIWAEImputer": pooled.to_frame(),
}
comparison = pd.concat(
    {name: table.loc[mice.index, ["estimate", "std_error"]] for name, table in methods.items()},
    axis=1,
)
print(comparison.round(4).to_string())
ratio = comparison["complete rows"]["std_error"] / comparison["MissSIWAEImputer"]["std_error"]
print("\nStandard error of complete rows, divided by that of MissSIWAEImputer:")
print(ratio.round(2).to_string())

# %%
# Both pooled regressions use all rows, and their intervals are narrower where few cells are
# missing. They find an effect of pregnancies, which the complete rows do not show. Effects in this
# figure are per standard deviation of a column, with 95% intervals (1.96 standard errors).

scale = pima[mice.index].std()
figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
for shift, (name, color) in zip(
    (-0.22, 0, 0.22), zip(methods, ("0.65", "C1", "C0"), strict=True), strict=True
):
    effect = comparison[name]["estimate"] * scale
    ax.errorbar(
        effect,
        np.arange(len(effect)) + shift,
        xerr=1.96 * comparison[name]["std_error"] * scale,
        fmt="o",
        color=color,
        ms=5,
        label=name,
    )
ax.axvline(0, color="0.4", lw=1)
ax.set_yticks(range(len(mice)), list(mice.index))
ax.set(xlabel="change of the log-odds of diabetes per standard deviation")
ax.invert_yaxis()
ax.legend(loc="lower right", frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
