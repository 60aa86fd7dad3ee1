"""Handwritten digits with a quarter of each image missing: filled in, several times, and doubted.

The digits are those bundled with scikit-learn, 8 x 8 pixels. The model completes digits that it has
not seen, beside the imputers of scikit-learn, and how much its imputations of a pixel differ tells
where it errs.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer

from skmissvae import MissSIWAEImputer, make_missing

X = load_digits().data / 16  # grey values from 0 to 1
holed = make_missing(X, "squares", 0.25, image_shape=(8, 8), random_state=0)
train, test = slice(0, 1200), slice(1200, None)
hidden = np.isnan(holed)

# -- images: holes filled in -----------------------------------------------------------------------

imputer = MissSIWAEImputer(random_state=0).fit(holed[train])
completed = imputer.transform(holed[test])
draws = list(imputer.impute(holed[test], 5, random_state=0))


def error(made):
    """Return the root mean squared error on hidden pixels."""
    return np.sqrt(np.mean((made - X[test])[hidden[test]] ** 2))


print("Root mean squared error on hidden pixels of new digits")
for name, other in (("mean", SimpleImputer()), ("10 neighbours", KNNImputer(n_neighbors=10))):
    print(f"  {name:14} {error(other.fit(holed[train]).transform(holed[test])):.3f}")
print(f"  {'MissSIWAE':14} {error(completed):.3f}")

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

# -- doubt: it tells where the errors are ----------------------------------------------------------

spread = np.std(draws, axis=0)[hidden[test]]
off = (completed - X[test])[hidden[test]]
quarter = np.searchsorted(np.quantile(spread, [0.25, 0.5, 0.75]), spread)
print("Root mean squared error by how much imputations of a pixel differ, quarter by quarter")
print("  " + ", ".join(f"{np.sqrt(np.mean(off[quarter == q] ** 2)):.3f}" for q in range(4)))
