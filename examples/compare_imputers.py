"""
Which imputer for your table?
=============================

The best imputer depends on the table. Any table can decide, although its missing values are
unknown: some of its observed cells are hidden, and each imputer is scored by its errors on them.
Here 30% of the cells of the Palmer penguins are missing, so that their true values can confirm the
decision in the end; replace the table by yours.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import KFold, cross_val_score

from skmissvae import HiddenCellScorer, MissSIWAEImputer, make_missing
from skmissvae.datasets import load_penguins

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # of IterativeImputer

penguins = load_penguins()
table, hidden = make_missing(penguins, "mcar", 0.3, random_state=1, return_mask=True)
print(table.sample(4, random_state=0).to_string())

# %%
# Categories for imputers of numbers
# ----------------------------------
#
# ``SimpleImputer``, ``KNNImputer`` and ``IterativeImputer`` need numbers. This transformer encodes
# each category but the first of a column by a column of zeros and ones, standardizes all columns,
# imputes them, and replaces a missing category by the one with the largest value. Imputers of this
# package need no encoding.


class Encoded(TransformerMixin, BaseEstimator):
    """Impute a table of numbers and categories by an imputer of numbers."""

    def __init__(self, imputer):
        self.imputer = imputer

    def _encode(self, X):
        columns = [X[self.numbers_].astype(float)]
        for name in self.categories_:
            ones = pd.get_dummies(X[name], prefix=name, dtype=float).iloc[:, 1:]
            columns.append(ones.mask(X[name].isna()))
        return pd.concat(columns, axis=1)

    def fit(self, X, y=None):
        """Fit the imputer to the encoded table."""
        self.numbers_ = X.select_dtypes("number").columns.tolist()
        self.categories_ = [name for name in X if name not in self.numbers_]
        encoded = self._encode(X)
        self.mean_, self.std_ = encoded.mean(), encoded.std()
        self.imputer_ = clone(self.imputer).set_output(transform="pandas")
        self.imputer_.fit((encoded - self.mean_) / self.std_)
        return self

    def transform(self, X):
        """Return the table with imputed cells."""
        encoded = self.imputer_.transform((self._encode(X) - self.mean_) / self.std_)
        encoded = encoded * self.std_ + self.mean_
        completed = X.copy()
        for name in self.numbers_:
            completed[name] = X[name].fillna(encoded[name])
        for name in self.categories_:
            ones = encoded[[f"{name}_{category}" for category in X[name].cat.categories[1:]]]
            first = 1 - ones.sum(axis=1)
            largest = np.column_stack([first, ones]).argmax(axis=1)
            largest = X[name].cat.categories[largest]
            completed[name] = X[name].fillna(pd.Series(largest, index=X.index))
        return completed


imputers = {
    "SimpleImputer": Encoded(SimpleImputer()),
    "KNNImputer(10)": Encoded(KNNImputer(n_neighbors=10)),
    "IterativeImputer": Encoded(IterativeImputer(max_iter=30, tol=0.01, random_state=0)),
    "MissSIWAEImputer": MissSIWAEImputer(init="factor_analysis", random_state=0),
}

# %%
# Cross-validation
# ----------------
#
# :class:`~skmissvae.HiddenCellScorer` works as ``scoring`` of ``cross_val_score`` and
# ``GridSearchCV``. It hides a share of the observed cells of the rows that were held out and
# returns minus the root mean squared error on them, in standard deviations of their columns; a
# wrong category counts as 1. With an int as ``random_state`` the same cells are hidden from each
# imputer, so that differences within a fold are meaningful.

scorer = HiddenCellScorer(0.2, n_repeats=5, random_state=0)
folds = KFold(3, shuffle=True, random_state=0)
print(f"{'':18} mean    in each fold")
for name, imputer in imputers.items():
    errors = -cross_val_score(imputer, table, scoring=scorer, cv=folds)
    print(f"{name:18} {errors.mean():.3f}  ", *(f"{e:.3f}" for e in errors), flush=True)

# %%
# Numbers and categories
# ----------------------
#
# A single score conceals where an imputer is good. Usually the true values are unknown
# (:func:`~skmissvae.overimputation_report` has the errors of each column then); here they are
# known. The error of a column is the root mean squared error in standard deviations, or the share
# of wrong categories.

hidden = pd.DataFrame(hidden, index=penguins.index, columns=penguins.columns)
by_column = {}
for name, imputer in imputers.items():
    completed = imputer.fit(table).transform(table)
    by_column[name] = {}
    for column in penguins:
        true, imputed = penguins[column][hidden[column]], completed[column][hidden[column]]
        if isinstance(penguins[column].dtype, pd.CategoricalDtype):
            by_column[name][column] = np.mean(true.astype(object) != imputed.astype(object))
        else:
            by_column[name][column] = np.sqrt(np.mean((true - imputed) ** 2)) / true.std()
by_column = pd.DataFrame(by_column)
print(by_column.round(2).to_string())

# %%
# Smaller is better. The year is nearly unrelated to the other columns, and no imputer predicts it.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
colors, markers = ["0.75", "0.55", "0.3", "C0"], "sv^o"
for (name, errors), color, marker in zip(by_column.items(), colors, markers, strict=True):
    ax.plot(errors, range(len(errors)), marker, color=color, ms=9, label=name)
kinds = [isinstance(dtype, pd.CategoricalDtype) for dtype in penguins.dtypes]
ax.set_yticks(
    range(len(kinds)),
    [
        f"{column}, {'share wrong' if is_category else 'RMSE'}"
        for column, is_category in zip(penguins, kinds, strict=True)
    ],
)
ax.grid(axis="y", color="0.9")
ax.set(title="Errors on hidden cells of the penguins", xlim=(0, None))
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()
