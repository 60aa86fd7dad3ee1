"""
Outliers among incomplete rows, and the cells responsible
=========================================================

A fifth of the cells of scikit-learn's breast cancer table are missing. A detector is fitted to 419
rows and scores the other 150. In some of these one value was replaced by that of another tumour: it
is usual in its column, but not in its row. Scores of rows find such rows, contributions of cells
find the wrong values.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import VAEDensityEstimator, VAEOutlierDetector, make_missing

# outliers have a low effective sample size
warnings.filterwarnings("ignore", message=".*effective sample size")

# %%
# New rows with wrong values
# --------------------------
#
# Each wrong value differs from the right one by more than a standard deviation of its column;
# otherwise it is hardly an error. Some wrong values are missing, and their rows are in order.

X = load_breast_cancer(as_frame=True).data.sample(frac=1, random_state=0, ignore_index=True)
rng = np.random.default_rng(0)
values = X.to_numpy(copy=True)
wrong_rows = rng.choice(np.arange(419, len(X)), 40, replace=False)
wrong_cells = rng.integers(0, X.shape[1], len(wrong_rows))
for i, j in zip(wrong_rows, wrong_cells, strict=True):
    is_far = np.abs(values[:, j] - values[i, j]) > X.iloc[:, j].std()
    values[i, j] = rng.choice(values[is_far, j])
incomplete = make_missing(pd.DataFrame(values, columns=X.columns), "mcar", 0.2, random_state=0)
train, new = incomplete[:419], incomplete[419:]
is_observed = incomplete.notna().to_numpy()[wrong_rows, wrong_cells]
wrong_rows, wrong_cells = wrong_rows[is_observed], wrong_cells[is_observed]
is_wrong = new.index.isin(wrong_rows)
print(f"{is_wrong.sum()} of {len(new)} new rows contain a value of another tumour.")

# %%
# Rows
# ----
#
# :class:`~skmissvae.VAEOutlierDetector` compares the density of the observed cells of a row with
# that of rows of the model that have the same missing cells. By default, rows whose score is below
# -3 are outliers: three standard deviations less than the model expects. Detectors that need
# complete rows follow the imputation of means. The area under the ROC curve is 0.5 by chance.

density = VAEDensityEstimator(n_importance_draws=300, max_iter=100, random_state=0)
detectors = {
    "IsolationForest": make_pipeline(SimpleImputer(), IsolationForest(random_state=0)),
    "LocalOutlierFactor": make_pipeline(
        SimpleImputer(), StandardScaler(), LocalOutlierFactor(novelty=True)
    ),
    "VAEOutlierDetector": VAEOutlierDetector(density),
}
areas = {}
for name, detector in detectors.items():
    scores = detector.fit(train).score_samples(new)
    areas[name] = roc_auc_score(is_wrong, -scores)
    print(f"{name:20} area under the ROC curve {areas[name]:.2f}")
is_outlier = scores < detector.offset_  # as detector.predict(new) == -1
print(
    f"{is_outlier.sum()} new rows are outliers; {(is_outlier & is_wrong).sum()} of them contain a "
    "wrong value."
)

# %%
# Cells
# -----
#
# ``outlier_scores`` of the fitted density returns the contribution of each observed cell, in nats:
# minus its log-density given the other observed cells of its row.

outliers = detector.estimator_.outlier_scores(new)
cells = outliers[list(X)]
largest = cells.loc[wrong_rows].fillna(-np.inf).to_numpy().argmax(axis=1)
share, chance = np.mean(largest == wrong_cells), 1 / new.notna().sum(axis=1).mean()
print(
    f"In {share:.0%} of the rows with a wrong value, its cell has the largest contribution "
    f"(by chance {chance:.0%})."
)
areas["largest contribution"] = roc_auc_score(is_wrong, cells.max(axis=1))
print(f"Area under the ROC curve of the largest contribution: {areas['largest contribution']:.2f}")

# %%
# A wrong value is one of some 24 observed cells of its row, and correct tumours can have unusual
# rows, too. The largest contribution concerns a single cell.

figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
bars = ax.barh(list(areas), list(areas.values()), color=["0.7", "0.7", "C0", "C1"])
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.invert_yaxis()
ax.axvline(0.5, color="0.3", lw=1, ls=":")
ax.set(title="Rows with a wrong value: area under the ROC curve", xlim=(0.4, 1.0))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The 25 rows with the largest contributions. Missing cells are grey, wrong values are framed.

# sphinx_gallery_thumbnail_number = 2
order = cells.max(axis=1).sort_values(ascending=False).index[:25]
figure, ax = plt.subplots(figsize=(9, 6), layout="constrained")
image = ax.imshow(cells.loc[order], aspect="auto", cmap="magma_r", vmin=0, vmax=40)
ax.set_facecolor("0.8")
for position, i in enumerate(order):
    for j in wrong_cells[wrong_rows == i]:
        box = (j - 0.5, position - 0.5)
        ax.add_patch(plt.Rectangle(box, 1, 1, fill=False, edgecolor="C0", lw=2.5))
ax.set_xticks(range(X.shape[1]), X.columns, rotation=60, ha="right", fontsize=8)
ax.set(yticks=[], ylabel="rows", title="Contributions of cells")
figure.colorbar(image, label="contribution, nats", extend="max")
plt.show()
