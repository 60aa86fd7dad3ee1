"""Scorers that need no complete data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array


class HiddenCellScorer:
    """Score an imputer by the error on observed cells that are hidden from it.

    A callable ``(estimator, X, y=None) -> float`` for the ``scoring`` of GridSearchCV and
    cross_val_score. It works with any fitted imputer, or Pipeline of imputers, that returns the
    columns of its input in their units. It is minus the root mean squared error over hidden cells,
    in standard deviations of their columns: greater is better, as for every scorer.

    The parameters that impute best need not be those of the best density (an estimator's own
    ``score``): the one rewards conditional means alone, the other the whole distribution.

    Parameters
    ----------
    fraction : float, default=0.2
        Share of the observed cells that is hidden.
    n_repeats : int, default=1
        Number of times that other cells are hidden.
    random_state : int, RandomState instance or None, default=0
        Which cells are hidden. With an int every candidate of a search meets the same ones.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.impute import SimpleImputer
    >>> from skmissvae import HiddenCellScorer
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> score = HiddenCellScorer(n_repeats=5)(SimpleImputer().fit(X), X)
    >>> -1.2 < score < -0.8
    True
    """

    def __init__(self, fraction: float = 0.2, *, n_repeats: int = 1, random_state: Any = 0) -> None:
        self.fraction, self.n_repeats, self.random_state = fraction, n_repeats, random_state

    def __call__(self, estimator: Any, X: Any, y: object = None) -> float:
        """Return minus the root mean squared error on hidden cells.

        Parameters
        ----------
        estimator : object
            A fitted imputer.
        X : array-like of shape (n_samples, n_features)
            A table, with holes marked NaN.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        float
            The score, at most 0.
        """
        if not 0 < self.fraction < 1:
            raise ValueError(f"fraction must be above 0 and below 1; got {self.fraction!r}.")
        if self.n_repeats < 1:
            raise ValueError(f"n_repeats must be 1 or more; got {self.n_repeats!r}.")
        table = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
        observed = ~np.isnan(table)
        random_state = check_random_state(self.random_state)
        low = np.where(observed, table, np.inf).min(0)
        high = np.where(observed, table, -np.inf).max(0)
        varies = low < high
        scale = np.ones(table.shape[1])
        scale[varies] = np.nanstd(table[:, varies], axis=0)
        errors = []
        for _ in range(self.n_repeats):
            hidden = observed & varies & (random_state.uniform(size=table.shape) < self.fraction)
            incomplete = np.where(hidden, np.nan, table)
            given = (
                pd.DataFrame(incomplete, index=X.index, columns=X.columns)
                if isinstance(X, pd.DataFrame)
                else incomplete
            )
            completed = np.asarray(estimator.transform(given), dtype=np.float64)
            if completed.shape != table.shape:
                raise ValueError(
                    f"The estimator gives {completed.shape[1]} columns for {table.shape[1]}; "
                    "HiddenCellScorer needs one with the columns of its input "
                    "(add_indicator=False)."
                )
            kept = observed & ~hidden
            if not np.allclose(completed[kept], table[kept], rtol=1e-5):
                raise ValueError(
                    "The estimator changes observed cells, so that its output cannot be compared "
                    "with the table: in a Pipeline, score the imputer before columns are rescaled."
                )
            errors.append(((completed - table) / scale)[hidden])
        if not any(error.size for error in errors):
            raise ValueError("No observed cell was hidden; give more rows or a larger fraction.")
        return -float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
