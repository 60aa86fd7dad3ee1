"""Which new rows are strange, and which of their cells is to blame, where all have holes.

Measurements of 569 tumours, bundled with scikit-learn, a fifth of the cells missing. A model of the
first 419 is shown the others. In some of these one value was taken from another tumour: a value
like any other in its column, but not beside the rest of its row. The density of a row's observed
cells tells which rows, and what each cell contributes tells where to look.
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

# -- new rows with holes and wrong values ----------------------------------------------------------

X = load_breast_cancer(as_frame=True).data
rng = np.random.default_rng(0)
X = X.iloc[rng.permutation(len(X))].reset_index(drop=True)
values = X.to_numpy(copy=True)
wrong_rows = rng.choice(np.arange(419, len(X)), 40, replace=False)
wrong_cells = rng.integers(0, X.shape[1], len(wrong_rows))
for i, j in zip(wrong_rows, wrong_cells, strict=True):
    far = np.abs(values[:, j] - values[i, j]) > X.iloc[:, j].std()  # or it would be no error
    values[i, j] = rng.choice(values[far, j])
holed = make_missing(X.assign(**dict(zip(X, values.T, strict=True))), "mcar", 0.2, random_state=0)
train, new = holed[:419], holed[419:]
there = holed.notna().to_numpy()[wrong_rows, wrong_cells]  # some of the errors went missing
wrong_rows, wrong_cells = wrong_rows[there], wrong_cells[there]
is_wrong = np.isin(new.index, wrong_rows)
print(f"{is_wrong.sum()} of {len(new)} new rows hold a value of another tumour.")

# -- which rows: area under the ROC curve, 0.5 by chance -------------------------------------------

density = VAEDensityEstimator(n_importance_draws=300, max_iter=150, random_state=0).fit(train)
found = density.outlier_scores(new)
for name, model in (
    ("IsolationForest", IsolationForest(random_state=0)),
    ("LocalOutlierFactor", LocalOutlierFactor(novelty=True)),
):
    filled = make_pipeline(SimpleImputer(), StandardScaler(), model).fit(train)
    score = -filled.score_samples(new)
    print(f"  {name + ', means in holes':36} {roc_auc_score(is_wrong, score):.2f}")
cells = found[list(X)]
for name, score in (("the row", found["per_cell"]), ("its worst cell", cells.max(axis=1))):
    print(f"  {'VAEDensityEstimator, ' + name:36} {roc_auc_score(is_wrong, score):.2f}")

# -- which cell ------------------------------------------------------------------------------------

blamed = cells.loc[wrong_rows].to_numpy(copy=True)
blamed = np.where(np.isnan(blamed), -np.inf, blamed).argmax(1)
right, chance = np.mean(blamed == wrong_cells), 1 / new.notna().sum(axis=1).mean()
print(f"In {right:.0%} of them it is the cell that contributes most (by chance {chance:.0%}).")

# -- picture ---------------------------------------------------------------------------------------

order = found["per_cell"].sort_values(ascending=False).index[:25]
figure, ax = plt.subplots(figsize=(10, 5.6), layout="constrained")
image = ax.imshow(cells.loc[order], aspect="auto", cmap="magma_r", vmin=0, vmax=15)
ax.set_facecolor("0.85")
for place, i in enumerate(order):
    for j in wrong_cells[wrong_rows == i]:
        box = (j - 0.5, place - 0.5)
        ax.add_patch(plt.Rectangle(box, 1, 1, fill=False, edgecolor="C0", lw=2))
ax.set_xticks(range(X.shape[1]), X.columns, rotation=60, ha="right", fontsize=8)
ax.set_yticks([])
ax.set_title("The 25 strangest rows: what each cell contributes (grey: missing; framed: wrong)")
figure.colorbar(image, label="nats")
path = Path(__file__).with_name("strange_rows.png")
figure.savefig(path, dpi=110)
print(f"Picture: {path.name}")
