"""
Missing parts of images
=======================

A square of a quarter of each image is missing in scikit-learn's 8 x 8 digits. The imputer completes
new digits and is compared with imputers of scikit-learn. The standard deviation of its imputations
of a pixel indicates the size of the error.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer

from skmissvae import MissSIWAEImputer, make_missing

# some pixels at the border are always white; a few digits have a low effective sample size
warnings.filterwarnings("ignore", message="Columns with a single value")
warnings.filterwarnings("ignore", message=".*effective sample size")

# %%
# Images with missing squares
# ---------------------------
#
# ``patterns`` are the sets of cells that a row can lose together: here all squares of 4 x 4 pixels.

digits = load_digits()
X = digits.data / 16  # grey values from 0 to 1
squares = np.zeros((25, 8, 8), dtype=bool)
for i, square in enumerate(squares):
    top, left = divmod(i, 5)
    square[top : top + 4, left : left + 4] = True
patterns = squares.reshape(25, 64)
incomplete = make_missing(X, "mcar", 1.0, of="rows", patterns=patterns, random_state=0)
train, test = incomplete[:1200], incomplete[1200:1500]
truth, hidden = X[1200:1500], np.isnan(test)

# %%
# Errors
# ------
#
# The imputer learns from incomplete digits and completes others. It trains for 90 epochs here, to
# save time. The mean of ten neighbours has a similar error; it has no draws and no measure of
# uncertainty.

imputer = MissSIWAEImputer(n_importance_draws=300, max_iter=90, random_state=0).fit(train)
completed = imputer.transform(test)
draws = list(imputer.impute(test, 5, random_state=0))


def error(images):
    """Return the root mean squared error on hidden pixels."""
    return np.sqrt(np.mean((images - truth)[hidden] ** 2))


print("Root mean squared error on hidden pixels of new digits")
for baseline in (SimpleImputer(), KNNImputer(n_neighbors=10)):
    print(f"{type(baseline).__name__:17} {error(baseline.fit(train).transform(test)):.3f}")
print(f"{'MissSIWAEImputer':17} {error(completed):.3f}")

# %%
# Imputations
# -----------
#
# Missing pixels are blue. The mean is blurred where several continuations are plausible; each draw
# is one of them.

figure, axes = plt.subplots(5, 8, figsize=(8.4, 5.6), layout="constrained")
titles = ["observed", "mean", *(f"draw {i}" for i in range(1, 5)), "std of draws", "truth"]
for n, (row, digit) in enumerate(zip(axes, (2, 4, 5, 6, 8), strict=True)):
    i = np.flatnonzero(digits.target[1200:1500] == digit)[1]
    spread = np.std([draw[i] for draw in draws], axis=0)
    panels = [test[i], completed[i], *(draw[i] for draw in draws[:4]), spread, truth[i]]
    for ax, title, image in zip(row, titles, panels, strict=True):
        style = {"cmap": "magma", "vmax": 0.5} if title == "std of draws" else {"cmap": "gray_r"}
        ax.imshow(image.reshape(8, 8), **{"vmin": 0, "vmax": 1, **style})
        ax.set_facecolor("C0")
        ax.set(xticks=[], yticks=[])
        ax.set_title("" if n else title, fontsize=10)
plt.show()

# %%
# Error by uncertainty
# --------------------
#
# Hidden pixels are divided into quarters by the standard deviation of their draws.

spread = np.std(draws, axis=0)[hidden]
squares = ((completed - truth)[hidden]) ** 2
quarter = np.searchsorted(np.quantile(spread, [0.25, 0.5, 0.75]), spread)
by_quarter = [np.sqrt(squares[quarter == q].mean()) for q in range(4)]

figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
bars = ax.bar(["lowest", "second", "third", "highest"], by_quarter, width=0.6)
ax.bar_label(bars, fmt="%.3f")
ax.set(xlabel="quarter of the standard deviation of draws", ylabel="RMSE of the mean")
ax.spines[["top", "right"]].set_visible(False)
plt.show()
