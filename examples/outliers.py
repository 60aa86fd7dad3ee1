"""Outliers among incomplete rows, and the cells that cause them.

A fifth of the cells of scikit-learn's breast cancer table are missing. A density estimator is
fitted to 419 rows and scores the other 150. In some of these one value was replaced by that of
another tumour: usual in its column, but not in its row. The density of the observed cells finds the
rows, the contributions of the cells find the wrong values.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import VAEDensityEstimator, make_missing

mpl.use("Agg")

# -- new rows with wrong values --------------------------------------------------------------------

X = load_breast_cancer(as_frame=True).data
rng = np.random.default_rng(0)
X = X.iloc[rng.permutation(len(X))].reset_index(drop=True)
values = X.to_numpy(copy=True)
wrong_rows = rng.choice(np.arange(419, len(X)), 40, replace=False)
wrong_cells = rng.integers(0, X.shape[1], len(wrong_rows))
for i, j in zip(wrong_rows, wrong_cells, strict=True):
    far = (
        np.abs(values[:, j] - values[i, j]) > X.iloc[:, j].std()
    )  # otherwise it is hardly an error
    values[i, j] = rng.choice(values[far, j])
incomplete = make_missing(
    X.assign(**dict(zip(X, values.T, strict=True))), "mcar", 0.2, random_state=0
)
train, new = incomplete[:419], incomplete[419:]
is_observed = incomplete.notna().to_numpy()[
    wrong_rows, wrong_cells
]  # some wrong values are missing
wrong_rows, wrong_cells = wrong_rows[is_observed], wrong_cells[is_observed]
is_wrong = np.isin(new.index, wrong_rows)
print(f"{is_wrong.sum()} of {len(new)} new rows contain a value of another tumour.")

# -- rows: area under the ROC curve, 0.5 by chance -------------------------------------------------

density = VAEDensityEstimator(n_importance_draws=300, max_iter=150, random_state=0).fit(train)
outliers = density.outlier_scores(new)
for name, model in (
    ("IsolationForest", IsolationForest(random_state=0)),
    ("LocalOutlierFactor", LocalOutlierFactor(novelty=True)),
):
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), model).fit(train)
    score = -pipeline.score_samples(new)
    print(f"  {name + ', mean imputation':36} {roc_auc_score(is_wrong, score):.2f}")
cells = outliers[list(X)]
for name, score in (
    ("score per cell", outliers["per_cell"]),
    ("largest contribution", cells.max(axis=1)),
):
    print(f"  {'VAEDensityEstimator, ' + name:36} {roc_auc_score(is_wrong, score):.2f}")

# -- cells -----------------------------------------------------------------------------------------

largest = cells.loc[wrong_rows].to_numpy(copy=True)
largest = np.where(np.isnan(largest), -np.inf, largest).argmax(1)
share, chance = np.mean(largest == wrong_cells), 1 / new.notna().sum(axis=1).mean()
print(
    f"In {share:.0%} of them the wrong cell has the largest contribution (by chance {chance:.0%})."
)

# -- figure ----------------------------------------------------------------------------------------

order = outliers["per_cell"].sort_values(ascending=False).index[:25]
figure, ax = plt.subplots(figsize=(10, 5.6), layout="constrained")
image = ax.imshow(cells.loc[order], aspect="auto", cmap="magma_r", vmin=0, vmax=15)
ax.set_facecolor("0.85")
for position, i in enumerate(order):
    for j in wrong_cells[wrong_rows == i]:
        box = (j - 0.5, position - 0.5)
        ax.add_patch(plt.Rectangle(box, 1, 1, fill=False, edgecolor="C0", lw=2))
ax.set_xticks(range(X.shape[1]), X.columns, rotation=60, ha="right", fontsize=8)
ax.set_yticks([])
ax.set_title("Contributions of the cells of 25 rows (grey: missing; framed: wrong)")
figure.colorbar(image, label="nats")
path = Path(__file__).with_name("outliers.png")
figure.savefig(path, dpi=110)
print(f"Figure: {path.name}")
