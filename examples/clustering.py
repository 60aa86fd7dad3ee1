"""Groups in a table with holes: clusters of the latents, of the completed table, of the means.

178 wines of three growers, bundled with scikit-learn, 30% of the cells missing. k-means cannot take
holes. It is given what imputers make of them, and the latents: few numbers a row, which all of its
cells have had their say in, the missing ones none.
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


def groups(table):
    """Return three groups of rows."""
    return KMeans(3, n_init=10, random_state=0).fit_predict(table)


def scaled(table):
    """Return columns of one standard deviation each."""
    return StandardScaler().fit_transform(table)


# -- adjusted Rand index: 1 where groups are the growers, 0 by chance ------------------------------

found = {}
for seed in SEEDS:
    holed = make_missing(X, "mcar", 0.3, random_state=seed)
    imputer = MissSIWAEImputer(random_state=seed).fit(holed)
    latents = imputer.encode(holed)
    tables = {
        "no cell missing": scaled(X),
        "mean": scaled(SimpleImputer().fit_transform(holed)),
        "10 neighbours": scaled(KNNImputer(n_neighbors=10).fit_transform(holed)),
        "MissSIWAE, completed": scaled(imputer.transform(holed)),
        "MissSIWAE, latents": latents,
    }
    for name, table in tables.items():
        found.setdefault(name, []).append(adjusted_rand_score(grower, groups(table)))

print(f"Adjusted Rand index of k-means, mean (range) over {len(SEEDS)} masks")
for name, values in found.items():
    print(f"  {name:27} {np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")

# -- picture ---------------------------------------------------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, name, table in (
    (axes[0], "mean of each column", tables["mean"]),
    (axes[1], "latents", latents),
):
    plane, chosen = PCA(2).fit_transform(table), groups(table)
    for k, marker in enumerate("o^s"):
        here = chosen == k
        ax.scatter(*plane[here].T, c=grower[here], marker=marker, cmap="viridis", vmin=0, vmax=2)
    score = adjusted_rand_score(grower, chosen)
    ax.set(title=f"{name}: {score:.2f}", xticks=[], yticks=[])
figure.suptitle("Wines by grower (colour) and group (marker)", fontsize=11)
path = Path(__file__).with_name("groups.png")
figure.savefig(path, dpi=110)
print(f"Picture: {path.name}")
