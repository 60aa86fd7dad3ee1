"""Handwritten digits with a quarter of each image missing: filled in, several times, and doubted.

The digits are those bundled with scikit-learn, 8 x 8 pixels. A model imputes the holes and says how
sure it is of each pixel; another gives the density of what is seen of an image, by which digits
stand out that were put upside down, and its prior of several components sorts the digits without
their labels.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from skmissvae import MIWAEImputer, VAEDensityEstimator, make_missing

X, labels = load_digits(return_X_y=True)
X = X / 16  # grey values from 0 to 1
holed = make_missing(X, "squares", 0.25, image_shape=(8, 8), random_state=0)
train, test = slice(0, 1200), slice(1200, None)
hidden = np.isnan(holed)

# -- images: holes filled in -----------------------------------------------------------------------

imputer = MIWAEImputer(
    image_shape=(8, 8),
    n_hidden=32,
    n_latents=16,
    max_iter=60,
    n_importance_draws=200,
    keep_empty_features=True,  # pixels in the corners that are always white
    random_state=0,
).fit(holed[train])
completed = imputer.transform(holed[test])
draws = list(imputer.impute(holed[test], 5, random_state=0))


def error(made):
    """Return the root mean squared error on hidden pixels."""
    return np.sqrt(np.mean((made - X[test])[hidden[test]] ** 2))


print("Root mean squared error on hidden pixels of new digits")
for name, other in (("mean", SimpleImputer()), ("10 neighbours", KNNImputer(n_neighbors=10))):
    print(f"  {name:14} {error(other.fit(holed[train]).transform(holed[test])):.3f}")
print(f"  {'MIWAE':14} {error(completed):.3f}")

figure, axes = plt.subplots(6, 8, figsize=(8, 6.4), layout="constrained")
titles = ["seen", "mean", "draw 1", "draw 2", "draw 3", "draw 4", "how unsure", "truth"]
for n, line in enumerate(axes):
    i = 20 * (n + 1)
    spread = np.std([draw[i] for draw in draws], axis=0)
    shown = [holed[test][i], completed[i], *(draw[i] for draw in draws[:4]), spread, X[test][i]]
    for ax, title, image in zip(line, titles, shown, strict=True):
        style = {"cmap": "magma", "vmax": 0.5} if title == "how unsure" else {"cmap": "gray_r"}
        ax.imshow(image.reshape(8, 8), **{"vmin": 0, "vmax": 1, **style})
        ax.set_facecolor("C0")  # holes
        ax.set(xticks=[], yticks=[], title="" if n else title)
path = Path(__file__).with_name("digits.png")
figure.savefig(path, dpi=110)
print(f"Completed digits: {path.name}")

# -- densities: what does not belong ---------------------------------------------------------------

density = VAEDensityEstimator(
    n_hidden=64, max_iter=60, prior="mixture", n_importance_draws=200, random_state=0
)
density.fit(np.where(hidden, np.nan, X)[train])
turned = X[test].reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)
turned = np.where(hidden[test], np.nan, turned)
scores = np.concatenate([density.score_samples(part) for part in (holed[test], turned)])
upright = np.repeat([1, 0], len(turned))
print(
    f"Upside down or not, by the density of what is seen: AUC {roc_auc_score(upright, scores):.3f}"
)

# -- a prior of several components: clusters -------------------------------------------------------

prior = density.vae_.prior()
with torch.no_grad():
    z = torch.from_numpy(density.encode(holed[test])).float()
    shares = prior.log_pi + prior.component.log_prob(z[:, None])  # (N, components)
clusters = shares.argmax(-1).numpy()
rand = adjusted_rand_score(labels[test], clusters)
print(f"Clusters of the prior against the true digits: adjusted Rand index {rand:.2f}")
