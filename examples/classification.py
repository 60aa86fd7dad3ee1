"""Classification of incomplete rows: the same classifier after several imputers.

Half of the pixels of scikit-learn's 8 x 8 digits are missing, in the training set and in the test
set. Imputer and classifier form a Pipeline, so that the imputer learns from the training set only.
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
incomplete = make_missing(X, "mcar", 0.5, random_state=0)
train, test = train_test_split(range(len(X)), test_size=600, stratify=y, random_state=0)

# -- accuracy after each imputer -------------------------------------------------------------------

regression = LogisticRegression(max_iter=1000)
models = {
    "complete digits": (X, regression),
    "trees with missing values": (incomplete, HistGradientBoostingClassifier(random_state=0)),
    "mean of each pixel": (incomplete, make_pipeline(SimpleImputer(), regression)),
    "10 neighbours": (incomplete, make_pipeline(KNNImputer(n_neighbors=10), regression)),
    "MissSIWAE": (incomplete, make_pipeline(MissSIWAEImputer(random_state=0), regression)),
}
scores = {}
print("600 new digits               accuracy  cross-entropy  seconds")
for name, (table, model) in models.items():
    start = time.perf_counter()
    probabilities = model.fit(table[train], y[train]).predict_proba(table[test])
    seconds = time.perf_counter() - start
    scores[name] = (
        accuracy_score(y[test], probabilities.argmax(1)),
        log_loss(y[test], probabilities),
    )
    print(f"  {name:25} {scores[name][0]:9.3f} {scores[name][1]:14.3f} {seconds:8.0f}")

# -- figure ----------------------------------------------------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True, layout="constrained")
titles = ("accuracy", "cross-entropy, nats")
for ax, title, values in zip(axes, titles, zip(*scores.values(), strict=True), strict=True):
    bars = ax.barh(list(scores), values, color=["0.8", *["C0"] * 3, "C1"])
    ax.bar_label(bars, fmt="%.3f", padding=3)
    ax.set(title=title, xlim=(0, 1.2 * max(values)))
axes[0].invert_yaxis()
path = Path(__file__).with_name("classification.png")
figure.savefig(path, dpi=110)
print(f"Figure: {path.name}")
