"""Which digit is it, of half of its pixels? What a classifier gains from better completions.

Digits of 8 x 8 pixels, bundled with scikit-learn; half of the pixels are missing, where the
classifier learns as well as where it is put to use. All is done within a Pipeline, so that what
fills a new digit has been learned from the digits of training alone.
"""

import time
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skmissvae import MissSIWAEImputer, make_missing

mpl.use("Agg")

X, y = load_digits(return_X_y=True)
X = X / 16  # grey values from 0 to 1
holed = make_missing(X, "pixels", 0.5, image_shape=(8, 8), random_state=0)
train, test = train_test_split(range(len(X)), test_size=600, stratify=y, random_state=0)

# -- the same classifier, given other completions --------------------------------------------------

regression = LogisticRegression(max_iter=1000)
ways = {
    "complete digits": (X, regression),
    "trees, which take holes": (holed, HistGradientBoostingClassifier(random_state=0)),
    "mean of each pixel": (holed, make_pipeline(SimpleImputer(), regression)),
    "10 neighbours": (holed, make_pipeline(KNNImputer(n_neighbors=10), regression)),
    "MissSIWAE": (holed, make_pipeline(MissSIWAEImputer(random_state=0), regression)),
}
found = {}
print("Of 600 new digits            accuracy  cross-entropy  seconds")
for name, (table, model) in ways.items():
    start = time.perf_counter()
    chances = model.fit(table[train], y[train]).predict_proba(table[test])
    seconds = time.perf_counter() - start
    found[name] = accuracy_score(y[test], chances.argmax(1)), log_loss(y[test], chances)
    print(f"  {name:25} {found[name][0]:9.3f} {found[name][1]:14.3f} {seconds:8.0f}")

# -- picture ---------------------------------------------------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True, layout="constrained")
titles = ("share of digits recognised", "cross-entropy, nats")
for ax, title, values in zip(axes, titles, zip(*found.values(), strict=True), strict=True):
    bars = ax.barh(list(found), values, color=["0.8", *["C0"] * 3, "C1"])
    ax.bar_label(bars, fmt="%.3f", padding=3)
    ax.set(title=title, xlim=(0, 1.2 * max(values)))
axes[0].invert_yaxis()
path = Path(__file__).with_name("classify.png")
figure.savefig(path, dpi=110)
print(f"Picture: {path.name}")
