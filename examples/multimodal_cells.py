"""
Cells with several plausible values
===================================

The rows are points on two half-moons; one coordinate of some points is missing. Given the other
coordinate, the missing one is often on either of two moons. The conditional mean lies between the
moons, where there are no points; most draws of a model with a mixture posterior lie on the moons.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import make_moons
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from skmissvae import MissSIWAEImputer, MVAEImputer

X, _ = make_moons(1000, noise=0.05, random_state=0)
rng = np.random.default_rng(0)
incomplete = X.copy()
rows = rng.permutation(len(X))[:600]  # rows with one missing coordinate
incomplete[rows, rng.integers(0, 2, len(rows))] = np.nan

# %%
# Four imputations
# ----------------
#
# The energy distance (Székely and Rizzo, 2013) between the completed rows and new points is about 0
# if both have the same distribution. ``IterativeImputer`` draws from linear regressions;
# :class:`~skmissvae.MVAEImputer` has a Gaussian posterior, :class:`~skmissvae.MissSIWAEImputer` a
# mixture. Both start from random weights, because the default initialization is linear.


def energy_distance(A, B):
    """Return the energy distance of two samples."""
    return 2 * cdist(A, B).mean() - cdist(A, A).mean() - cdist(B, B).mean()


options = {"n_latents": 2, "min_scale": 0.03, "init": "random", "random_state": 0}
options |= {"learning_rate": 0.005, "max_iter": 100, "n_importance_draws": 200}
mixture = MissSIWAEImputer(**options).fit(incomplete)
gaussian = MVAEImputer(**options).fit(incomplete)
chained = IterativeImputer(sample_posterior=True, random_state=0)
samples = {
    "IterativeImputer, a draw": chained.fit_transform(incomplete),
    "MVAEImputer, a draw": gaussian.impute(incomplete, 1)[0],
    "MissSIWAEImputer, the mean": mixture.transform(incomplete),
    "MissSIWAEImputer, a draw": mixture.impute(incomplete, 1)[0],
}
fresh, _ = make_moons(1000, noise=0.05, random_state=1)
figure, axes = plt.subplots(2, 2, figsize=(8, 5), sharex=True, sharey=True, layout="constrained")
print("Energy distance of completed rows and new points, times 1000")
for ax, (name, sample) in zip(axes.flat, samples.items(), strict=True):
    distance = 1000 * energy_distance(sample[rows], fresh)
    print(f"{name:27} {distance:6.1f}")
    ax.scatter(*X.T, s=2, color="0.8")
    ax.scatter(*sample[rows].T, s=4)
    ax.set(title=f"{name}: {distance:.1f}", xticks=[], yticks=[])
plt.show()

# %%
# One cell
# --------
#
# At 0.5, in the middle, both moons are possible. Mean and standard deviation of the cell do not
# show this; its draws do.

point = np.array([[0.5, np.nan]])
cell = mixture.cell_distribution(point).iloc[0]
draws = np.array([table[0, 1] for table in mixture.impute(np.repeat(point, 2, axis=0), 200)])
print(f"Second coordinate: mean {cell['mean']:.2f}, standard deviation {cell['std']:.2f}")
print(f"Draws on the upper moon: {np.mean(draws > 0.25):.0%}")

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.hist(draws, bins=np.linspace(-0.8, 1.3, 43))
ax.axvline(cell["mean"], color="C1", label="conditional mean")
ax.set(xlabel="second coordinate given that the first is 0.5", ylabel="draws of 200")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
