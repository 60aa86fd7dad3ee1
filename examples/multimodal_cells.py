"""Missing cells with several plausible values: mixture posteriors, and draws instead of means.

The rows are points on two half-moons; one coordinate of some points is missing. The conditional
mean lies between the moons, where there are no points; draws lie on the moons. The completed tables
of several imputers are compared with new points by the energy distance.
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
incomplete = X.copy()
rows = rng.permutation(len(X))[:900]  # rows with one missing coordinate
incomplete[rows, rng.integers(0, 2, len(rows))] = np.nan


def energy_distance(A, B):
    """Return the energy distance of two samples; 0 for equal laws (Szekely and Rizzo 2013)."""
    return 2 * cdist(A, B).mean() - cdist(A, A).mean() - cdist(B, B).mean()


# -- imputations -----------------------------------------------------------------------------------

options = {"n_latents": 2, "min_scale": 0.03, "max_iter": 200, "random_state": 0}
mixture = MissSIWAEImputer(**options).fit(incomplete)
gaussian = MVAEImputer(**options).fit(incomplete)
chained = IterativeImputer(sample_posterior=True, random_state=0)
samples = {
    "IterativeImputer, a draw": chained.fit_transform(incomplete),
    "MVAEImputer, a draw": gaussian.impute(incomplete, 1)[0],
    "MissSIWAEImputer, the mean": mixture.transform(incomplete),
    "MissSIWAEImputer, a draw": mixture.impute(incomplete, 1)[0],
}
fresh, _ = make_moons(1500, noise=0.05, random_state=1)
print("Energy distance of completed rows and new points, times 1000")
figure, axes = plt.subplots(1, 4, figsize=(14, 3.2), sharex=True, sharey=True, layout="constrained")
for ax, (name, sample) in zip(axes, samples.items(), strict=True):
    distance = 1000 * energy_distance(sample[rows], fresh)
    print(f"  {name:27} {distance:6.1f}")
    ax.scatter(*X.T, s=2, color="0.8")
    ax.scatter(*sample[rows].T, s=4)
    ax.set(title=f"{name}\n{distance:.1f}", xticks=[], yticks=[])
path = Path(__file__).with_name("multimodal_cells.png")
figure.savefig(path, dpi=110)
print(f"Figure: {path.name}")

# -- one cell: a wide interval, and draws in two places --------------------------------------------

point = np.array([[0.5, np.nan]])
cell = mixture.cell_distribution(point, quantiles=(0.05, 0.5, 0.95)).iloc[0]
draws = np.array([draw[0, 1] for draw in mixture.impute(np.repeat(point, 2, 0), 50)])
mean, std = cell[["mean", "std"]]
print(f"\nSecond coordinate at {point[0, 0]}: mean {mean:.2f}, standard deviation {std:.2f};")
print(
    f"{np.mean(draws > 0.25):.0%} of the draws are on the upper moon, the others on the lower one."
)
