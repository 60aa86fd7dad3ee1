"""First steps: imputation of a table with half of its cells missing, compared with other imputers.

Half of the cells of scikit-learn's breast cancer table are hidden. Each imputer is evaluated twice:
by its error on the hidden cells, and as a step of a Pipeline that predicts the diagnosis of new
patients.
"""

import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import MissSIWAEImputer

mpl.use("Agg")
import matplotlib.pyplot as plt

# -- an incomplete table ---------------------------------------------------------------------------

complete, diagnosis = load_breast_cancer(return_X_y=True, as_frame=True)
hidden = np.random.default_rng(0).random(complete.shape) < 0.5
incomplete = complete.mask(hidden)
standardised = (incomplete - incomplete.mean()) / incomplete.std()  # needed by KNNImputer only

imputers = {
    "mean": SimpleImputer(),
    "KNNImputer": KNNImputer(n_neighbors=10),
    "IterativeImputer": IterativeImputer(max_iter=10, random_state=0),
    "MissSIWAEImputer": MissSIWAEImputer(random_state=0),
}

# -- imputation and prediction ---------------------------------------------------------------------

truth = (complete - incomplete.mean()) / incomplete.std()
rows, completed = [], {}
for name, imputer in imputers.items():
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # IterativeImputer warns that it did not converge
        completed[name] = imputer.set_output(transform="pandas").fit_transform(standardised)
        seconds = time.perf_counter() - start
        pipeline = Pipeline(
            [
                ("scale", StandardScaler()),
                ("impute", imputer),
                ("predict", LogisticRegression(max_iter=1000)),
            ]
        )
        auc = cross_val_score(pipeline, incomplete, diagnosis, cv=3, scoring="roc_auc")
    error = (completed[name] - truth).to_numpy()[hidden]
    rows.append((name, np.sqrt(np.mean(error**2)), auc.mean(), seconds))
    print(f"{name}: finished after {time.perf_counter() - start:.1f} s", flush=True)

table = pd.DataFrame(rows, columns=["imputer", "RMSE of hidden cells", "AUC", "seconds"])
print(f"\n{hidden.mean():.0%} of {complete.size:,} cells hidden; RMSE in standard deviations;")
print("AUC of a logistic regression on new patients, 3-fold cross-validation\n")
print(table.to_string(index=False, float_format="{:.3f}".format))

# -- uncertainty -----------------------------------------------------------------------------------

imputer = imputers["MissSIWAEImputer"]
tables = imputer.impute(standardised, n_imputations=19, random_state=0)
mean_radius = np.array([t["mean radius"] for t in tables])[:, hidden[:, 0]]
low, high = (
    mean_radius.min(0),
    mean_radius.max(0),
)  # a new draw is between them with probability 18 / 20
radius = truth.loc[hidden[:, 0], "mean radius"]
inside = np.mean((low <= radius) & (radius <= high))
print(f"\n90% intervals of 'mean radius' from 19 imputations contain {inside:.0%} of hidden values")

# -- figure ----------------------------------------------------------------------------------------

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
colors = ["0.75", "0.6", "0.45", "tab:blue"]
left.barh(table["imputer"], table["RMSE of hidden cells"], color=colors)
left.invert_yaxis()
left.set(title="Error on hidden cells", xlabel="RMSE, standard deviations")
left.bar_label(left.containers[0], fmt="%.2f", padding=3)
left.spines[["top", "right"]].set_visible(False)
centre = mean_radius.mean(0)
right.errorbar(
    radius,
    centre,
    [centre - low.clip(max=centre), high.clip(min=centre) - centre],
    fmt=".",
    color="tab:blue",
    ecolor="lightsteelblue",
    elinewidth=1,
    ms=4,
)
right.axline((0, 0), slope=1, color="0.4", lw=1)
right.set(
    title="Hidden values of 'mean radius', 90% intervals",
    xlabel="truth, standard deviations",
    ylabel="MissSIWAEImputer",
)
right.spines[["top", "right"]].set_visible(False)
picture = Path(__file__).with_suffix(".png")
figure.savefig(picture, dpi=150)
print(
    f"Figure: {picture.relative_to(Path.cwd()) if picture.is_relative_to(Path.cwd()) else picture}"
)
