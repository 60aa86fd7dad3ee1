"""
First steps: complete a table, and compare imputers
===================================================

Half of the cells of scikit-learn's breast cancer table are hidden. Four imputers learn from two
thirds of the patients and complete the rows of the others. They are compared by their errors on the
hidden cells, and by a diagnosis that is predicted from the completed rows.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skmissvae import MissSIWAEImputer, make_missing

# %%
# An incomplete table
# -------------------
#
# :func:`~skmissvae.make_missing` hides cells at random. Columns are standardized, which only
# ``KNNImputer`` needs, so that errors are in standard deviations.

complete, diagnosis = load_breast_cancer(return_X_y=True, as_frame=True)
incomplete = make_missing(complete, "mcar", 0.5, random_state=0)
scaler = StandardScaler().set_output(transform="pandas").fit(incomplete)
truth, table = scaler.transform(complete), scaler.transform(incomplete)
train, test = train_test_split(table.index, test_size=1 / 3, stratify=diagnosis, random_state=0)
hidden = table.loc[test].isna()
print(f"{incomplete.isna().to_numpy().mean():.0%} of {complete.size:,} cells are hidden.")

# %%
# Imputation and prediction
# -------------------------
#
# An imputer of this package is used like those of scikit-learn. The error is the root mean squared
# error on the hidden cells of new patients; AUC is the area under the ROC curve of a logistic
# regression for the same patients.

imputers = {
    "mean": SimpleImputer(),
    "KNNImputer": KNNImputer(n_neighbors=10),
    "IterativeImputer": IterativeImputer(random_state=0),
    "MissSIWAEImputer": MissSIWAEImputer(random_state=0),
}
errors = {}
print(f"{'':18} error    AUC  seconds")
for name, imputer in imputers.items():
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # IterativeImputer warns that it did not converge
        imputer.set_output(transform="pandas").fit(table.loc[train])
    completed = imputer.transform(table)
    seconds = time.perf_counter() - start
    difference = (completed - truth).loc[test].to_numpy()[hidden]
    errors[name] = np.sqrt(np.mean(difference**2))
    model = LogisticRegression(max_iter=1000).fit(completed.loc[train], diagnosis[train])
    auc = roc_auc_score(diagnosis[test], model.decision_function(completed.loc[test]))
    print(f"{name:18} {errors[name]:.3f}  {auc:.3f} {seconds:8.1f}", flush=True)

# %%
# Uncertainty of cells
# --------------------
#
# ``cell_distribution`` returns mean, standard deviation and quantiles of each missing cell given
# the observed cells of its row.

imputer = imputers["MissSIWAEImputer"]
cells = imputer.cell_distribution(table.loc[test], quantiles=(0.05, 0.5, 0.95))
cells = cells[cells["column"] == "mean radius"].set_index("row")
radius = truth.loc[cells.index, "mean radius"]
is_inside = radius.between(cells["5%"], cells["95%"])
print(cells[["mean", "std", "5%", "95%"]].head())
print(f"90% intervals of 'mean radius' contain {is_inside.mean():.0%} of the hidden values.")

# %%
# The intervals are narrow where other cells of the row determine the radius.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
bars = left.barh(list(errors), list(errors.values()), color=["0.75", "0.6", "0.45", "C0"])
left.bar_label(bars, fmt="%.2f", padding=3)
left.invert_yaxis()
left.set(title="Error on hidden cells", xlabel="RMSE, standard deviations", xlim=(0, 1.25))
below, above = cells["mean"] - cells["5%"], cells["95%"] - cells["mean"]
right.errorbar(
    radius,
    cells["mean"],
    [below.clip(lower=0), above.clip(lower=0)],
    fmt=".",
    ecolor="lightsteelblue",
    elinewidth=1,
)
right.axline((0, 0), slope=1, color="0.4", lw=1)
right.set(
    title="Hidden values of 'mean radius'",
    xlabel="truth, standard deviations",
    ylabel="imputed mean and 90% interval",
)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
