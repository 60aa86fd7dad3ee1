"""When a missing cell has several right answers: two half-moons with holes.

Of a point on two moons one coordinate is missing. Its mean lies between the moons, where no point
is; draws lie on them. The table is bundled with scikit-learn, and the same question is put to its
imputers: which completed table looks like the one that holes were made in?
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import make_moons
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from skmissvae import MissSIWAEImputer, MVAEImputer

X, _ = make_moons(1500, noise=0.05, random_state=0)
rng = np.random.default_rng(0)
holed = X.copy()
rows = rng.permutation(len(X))[:900]  # of these one coordinate is missing
holed[rows, rng.integers(0, 2, len(rows))] = np.nan


def energy_distance(A, B):
    """Return how unlike two clouds of points are; 0 for the same law (Szekely and Rizzo 2013)."""
    return 2 * cdist(A, B).mean() - cdist(A, A).mean() - cdist(B, B).mean()


# -- several answers: a mixture posterior, and draws -----------------------------------------------

options = {"n_latents": 2, "min_scale": 0.03, "max_iter": 200, "random_state": 0}
mixture = MissSIWAEImputer(**options).fit(holed)
gaussian = MVAEImputer(**options).fit(holed)
chained = IterativeImputer(sample_posterior=True, random_state=0)
clouds = {
    "IterativeImputer, a draw": chained.fit_transform(holed),
    "MVAEImputer, a draw": gaussian.impute(holed, 1)[0],
    "MissSIWAEImputer, the mean": mixture.transform(holed),
    "MissSIWAEImputer, a draw": mixture.impute(holed, 1)[0],
}
fresh, _ = make_moons(1500, noise=0.05, random_state=1)
print("Energy distance of the completed rows from new points of the moons, x 1000")
figure, axes = plt.subplots(1, 4, figsize=(14, 3.2), sharex=True, sharey=True, layout="constrained")
for ax, (name, cloud) in zip(axes, clouds.items(), strict=True):
    distance = 1000 * energy_distance(cloud[rows], fresh)
    print(f"  {name:27} {distance:6.1f}")
    ax.scatter(*X.T, s=2, color="0.8")
    ax.scatter(*cloud[rows].T, s=4)
    ax.set(title=f"{name}\n{distance:.1f}", xticks=[], yticks=[])
path = Path(__file__).with_name("many_answers.png")
figure.savefig(path, dpi=110)
print(f"Completed moons: {path.name}")

# -- how sure: a wide interval, and draws in two places --------------------------------------------

point = np.array([[0.5, np.nan]])
cell = mixture.cell_distribution(point, quantiles=(0.05, 0.5, 0.95)).iloc[0]
draws = np.array([draw[0, 1] for draw in mixture.impute(np.repeat(point, 2, 0), 50)])
mean, std = cell[["mean", "std"]]
print(f"\nAt {point[0, 0]} across the height is {mean:.2f} +- {std:.2f} by the model;")
print(f"{np.mean(draws > 0.25):.0%} of draws are on the upper moon, the others on the lower one.")
