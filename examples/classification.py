"""
Classification of incomplete rows
=================================

Half of the pixels of scikit-learn's 8 x 8 digits are missing, in the training set and in the test
set. The same classifier follows several imputers. Imputer and classifier form a ``Pipeline``, so
that the imputer learns from the training set only.
"""

import time

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skmissvae import MissSIWAEImputer, make_missing

X, y = load_digits(return_X_y=True)
X = X[:, X.std(axis=0) > 0] / 16  # grey values from 0 to 1, without pixels that are always white
incomplete = make_missing(X, "mcar", 0.5, random_state=0)
train, test = train_test_split(range(len(X)), test_size=600, stratify=y, random_state=0)

# %%
# Accuracy after each imputer
# ---------------------------
#
# The classifier of complete digits is a bound that no imputer can be expected to exceed. Gradient
# boosted trees accept missing values and need no imputer. The imputer trains for 80 epochs here, to
# save time.

regression = LogisticRegression(max_iter=1000)
imputer = MissSIWAEImputer(n_importance_draws=300, max_iter=80, random_state=0)
models = {
    "complete digits": (X, regression),
    "trees, no imputer": (incomplete, HistGradientBoostingClassifier(random_state=0)),
    "SimpleImputer": (incomplete, make_pipeline(SimpleImputer(), regression)),
    "KNNImputer(10)": (incomplete, make_pipeline(KNNImputer(n_neighbors=10), regression)),
    "MissSIWAEImputer": (incomplete, make_pipeline(imputer, regression)),
}
scores = {}
print(f"{'600 new digits':20} accuracy  cross-entropy  seconds")
for name, (table, model) in models.items():
    start = time.perf_counter()
    probabilities = model.fit(table[train], y[train]).predict_proba(table[test])
    seconds = time.perf_counter() - start
    accuracy = accuracy_score(y[test], probabilities.argmax(1))
    scores[name] = (accuracy, log_loss(y[test], probabilities))
    print(f"{name:20} {accuracy:8.3f} {scores[name][1]:14.3f} {seconds:8.1f}", flush=True)

# %%
# :class:`~skmissvae.MultipleImputationClassifier` averages predictions over several imputations
# instead of using the conditional mean (:doc:`../guide/prediction`).

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True, layout="constrained")
titles = ("accuracy", "cross-entropy, nats")
for ax, title, values in zip(axes, titles, zip(*scores.values(), strict=True), strict=True):
    bars = ax.barh(list(scores), values, color=["0.85", *["0.6"] * 3, "C0"])
    ax.bar_label(bars, fmt="%.3f", padding=3)
    ax.set(title=title, xlim=(0, 1.25 * max(values)))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()
plt.show()
