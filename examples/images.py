"""Imputation of images, and the uncertainty of each pixel.

A square of a quarter of each image is missing in scikit-learn's 8 x 8 digits. The imputer completes
new digits and is compared with imputers of scikit-learn. The standard deviation of its imputations
of a pixel indicates the size of the error.
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
squares = np.zeros((25, 8, 8), dtype=bool)  # all squares of 4 x 4 pixels
for i, square in enumerate(squares):
    top, left = divmod(i, 5)
    square[top : top + 4, left : left + 4] = True
patterns = squares.reshape(25, 64)
incomplete = make_missing(X, "mcar", 1.0, of="rows", patterns=patterns, random_state=0)
train, test = slice(0, 1200), slice(1200, None)
hidden = np.isnan(incomplete)

# -- imputation ------------------------------------------------------------------------------------

imputer = MissSIWAEImputer(random_state=0).fit(incomplete[train])
completed = imputer.transform(incomplete[test])
draws = list(imputer.impute(incomplete[test], 5, random_state=0))


def error(images):
    """Return the root mean squared error on hidden pixels."""
    return np.sqrt(np.mean((images - X[test])[hidden[test]] ** 2))


print("Root mean squared error on hidden pixels of new digits")
for name, baseline in (("mean", SimpleImputer()), ("10 neighbours", KNNImputer(n_neighbors=10))):
    print(f"  {name:14} {error(baseline.fit(incomplete[train]).transform(incomplete[test])):.3f}")
print(f"  {'MissSIWAE':14} {error(completed):.3f}")

figure, axes = plt.subplots(6, 8, figsize=(8, 6.4), layout="constrained")
titles = ["observed", "mean", *(f"draw {i}" for i in range(1, 5)), "std of draws", "truth"]
for n, row in enumerate(axes):
    i = 20 * (n + 1)
    spread = np.std([draw[i] for draw in draws], axis=0)
    panels = [
        incomplete[test][i],
        completed[i],
        *(draw[i] for draw in draws[:4]),
        spread,
        X[test][i],
    ]
    for ax, title, image in zip(row, titles, panels, strict=True):
        style = {"cmap": "magma", "vmax": 0.5} if title == "std of draws" else {"cmap": "gray_r"}
        ax.imshow(image.reshape(8, 8), **{"vmin": 0, "vmax": 1, **style})
        ax.set_facecolor("C0")  # missing pixels
        ax.set(xticks=[], yticks=[], title="" if n else title)
path = Path(__file__).with_name("images.png")
figure.savefig(path, dpi=110)
print(f"Figure: {path.name}")

# -- error by uncertainty --------------------------------------------------------------------------

spread = np.std(draws, axis=0)[hidden[test]]
error_of_cells = (completed - X[test])[hidden[test]]
quarter = np.searchsorted(np.quantile(spread, [0.25, 0.5, 0.75]), spread)
print("Root mean squared error by quarters of the standard deviation of the draws")
print(
    "  " + ", ".join(f"{np.sqrt(np.mean(error_of_cells[quarter == q] ** 2)):.3f}" for q in range(4))
)
