"""
Clustering of incomplete rows
=============================

30% of the cells of scikit-learn's wine table (178 wines, three growers) are missing. k-means needs
complete rows. It clusters tables completed by several imputers, and the latents: the posterior
means of a few variables per row, given its observed cells.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from skmissvae import MissSIWAEImputer, make_missing

X, grower = load_wine(return_X_y=True)


def clusters(table):
    """Return the cluster of each row."""
    return KMeans(3, n_init=10, random_state=0).fit_predict(table)


def scaled(table):
    """Return the table with standardized columns."""
    return StandardScaler().fit_transform(table)


# %%
# Agreement of clusters and growers
# ---------------------------------
#
# The adjusted Rand index is 1 if the clusters are the growers, and 0 by chance. ``encode`` returns
# the latents.

scores = {}
for seed in range(3):
    incomplete = make_missing(X, "mcar", 0.3, random_state=seed)
    imputer = MissSIWAEImputer(random_state=seed).fit(incomplete)
    latents = imputer.encode(incomplete)
    tables = {
        "no cell missing": scaled(X),
        "SimpleImputer": scaled(SimpleImputer().fit_transform(incomplete)),
        "KNNImputer(10)": scaled(KNNImputer(n_neighbors=10).fit_transform(incomplete)),
        "MissSIWAE, completed": scaled(imputer.transform(incomplete)),
        "MissSIWAE, latents": latents,
    }
    for name, table in tables.items():
        scores.setdefault(name, []).append(adjusted_rand_score(grower, clusters(table)))

print("Adjusted Rand index of k-means, mean (range) over three masks")
for name, values in scores.items():
    print(f"{name:22} {np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")

# %%
# The last of the three masks, in the plane of the first two principal components of the clustered
# table. Mean imputation moves incomplete rows towards the centre; latents summarize the observed
# cells only.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, name, title in (
    (axes[0], "SimpleImputer", "column means"),
    (axes[1], "MissSIWAE, latents", "latents"),
):
    plane, labels = PCA(2).fit_transform(tables[name]), clusters(tables[name])
    for k, marker in enumerate("o^s"):
        rows = labels == k
        ax.scatter(*plane[rows].T, c=grower[rows], marker=marker, cmap="viridis", vmin=0, vmax=2)
    score = adjusted_rand_score(grower, labels)
    ax.set(title=f"{title}, Rand index {score:.2f}", xticks=[], yticks=[])
figure.suptitle("Wines by grower (color) and cluster (marker)", fontsize=11)
plt.show()
