"""k-means clustering of an incomplete table: completed tables and latents.

30% of the cells of scikit-learn's wine table (178 wines, three growers) are missing. k-means needs
complete rows. It clusters tables completed by several imputers, and the latents: the posterior
means of a few variables per row, given its observed cells.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from skmissvae import MissSIWAEImputer, make_missing

mpl.use("Agg")

X, grower = load_wine(return_X_y=True)
SEEDS = range(3)


def clusters(table):
    """Return the cluster of each row."""
    return KMeans(3, n_init=10, random_state=0).fit_predict(table)


def scaled(table):
    """Return the table with standardized columns."""
    return StandardScaler().fit_transform(table)


# -- adjusted Rand index: 1 if clusters are the growers, 0 by chance -------------------------------

scores = {}
for seed in SEEDS:
    incomplete = make_missing(X, "mcar", 0.3, random_state=seed)
    imputer = MissSIWAEImputer(random_state=seed).fit(incomplete)
    latents = imputer.encode(incomplete)
    tables = {
        "no cell missing": scaled(X),
        "mean": scaled(SimpleImputer().fit_transform(incomplete)),
        "10 neighbours": scaled(KNNImputer(n_neighbors=10).fit_transform(incomplete)),
        "MissSIWAE, completed": scaled(imputer.transform(incomplete)),
        "MissSIWAE, latents": latents,
    }
    for name, table in tables.items():
        scores.setdefault(name, []).append(adjusted_rand_score(grower, clusters(table)))

print(f"Adjusted Rand index of k-means, mean (range) over {len(SEEDS)} masks")
for name, values in scores.items():
    print(f"  {name:27} {np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")

# -- figure ----------------------------------------------------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, name, table in (
    (axes[0], "mean of each column", tables["mean"]),
    (axes[1], "latents", latents),
):
    plane, labels = PCA(2).fit_transform(table), clusters(table)
    for k, marker in enumerate("o^s"):
        rows = labels == k
        ax.scatter(*plane[rows].T, c=grower[rows], marker=marker, cmap="viridis", vmin=0, vmax=2)
    score = adjusted_rand_score(grower, labels)
    ax.set(title=f"{name}: {score:.2f}", xticks=[], yticks=[])
figure.suptitle("Wines by grower (color) and cluster (marker)", fontsize=11)
path = Path(__file__).with_name("clustering.png")
figure.savefig(path, dpi=110)
print(f"Figure: {path.name}")
