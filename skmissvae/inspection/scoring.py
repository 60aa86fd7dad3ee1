"""Scorers that need no complete data."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
from sklearn.utils import check_random_state

from .._utils.validation import check_minimum, real
from ..tables.codecs import Numbers
from ..tables.column_kinds import choose_codec
from ..tables.columns import Column, column_type, is_missing, is_time, to_objects
from ..tables.dataframes import columns_and_names, hide_cells


class HiddenCellScorer:
    """Score an imputer by the error on observed cells that are hidden from it.

    A callable ``(estimator, X, y=None) -> float`` for the ``scoring`` of GridSearchCV and
    cross_val_score. It works with any fitted imputer, or Pipeline of imputers, that returns the
    columns of its input in their units. It is minus the root mean squared error over hidden cells,
    in standard deviations of their columns, where a category that is not the hidden one counts
    one: greater is better, as for every scorer.

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
        X : data frame or array-like of shape (n_samples, n_features)
            A table, with holes marked NaN or null.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        float
            The score, at most 0.

        Raises
        ------
        ValueError
            If a parameter is out of range, no cell is hidden, or the estimator does not
            give back the columns of X in their units.
        """
        if wanted := real(0, 1, above=True)(self.fraction):
            raise ValueError(f"fraction must be {wanted}; got {self.fraction!r}.")
        check_minimum(1, n_repeats=self.n_repeats)
        columns, names = columns_and_names(X)
        truth = [_cells(column) for column in columns]
        observed = np.column_stack([~is_missing(column, np.nan) for column in columns])
        random_state = check_random_state(self.random_state)
        spread = np.array([_spread(t, o) for t, o in zip(truth, observed.T, strict=True)])
        # dates are no categories; nobody can guess the names of rows
        spread[[isinstance(c, nw.Series) and is_time(column_type(c)) for c in columns]] = 0.0
        spread[[_is_identifier(c, o) for c, o in zip(columns, observed.T, strict=True)]] = 0.0
        errors: list[np.ndarray] = []
        for _ in range(self.n_repeats):
            hidden = (
                observed
                & (spread > 0)
                & (random_state.uniform(size=observed.shape) < self.fraction)
            )
            made, found = columns_and_names(estimator.transform(hide_cells(X, hidden)))
            if len(made) != len(columns) or (names is not None and found not in (None, names)):
                raise ValueError(
                    f"The estimator gives {len(made)} columns for {len(columns)}; "
                    "HiddenCellScorer needs one with the columns of its input "
                    "(add_indicator=False)."
                )
            for j, column in enumerate(made):
                cells, kept, gone = _cells(column), observed[:, j] & ~hidden[:, j], hidden[:, j]
                if truth[j].dtype != object:
                    cells = _as_numbers(cells)
                if not _same(cells[kept], truth[j][kept], spread[j]):
                    raise ValueError(
                        "The estimator changes observed cells, so that its output cannot be "
                        "compared with the table: in a Pipeline, score the imputer before columns "
                        "are rescaled."
                    )
                if truth[j].dtype == object:
                    errors.append((cells[gone] != truth[j][gone]).astype(float))
                else:
                    errors.append(((cells[gone] - truth[j][gone]) / (spread[j] or 1.0)) ** 2)
        if not any(error.size for error in errors):
            raise ValueError("No observed cell was hidden; give more rows or a larger fraction.")
        return -float(np.sqrt(np.mean(np.concatenate(errors))))


def _cells(column: Column) -> np.ndarray:
    """Return the cells as numbers, NaN where missing, or as objects."""
    if isinstance(column, nw.Series) and not column.dtype.is_numeric():
        return to_objects(column)
    holes = is_missing(column, np.nan)
    return Numbers("continuous", is_integer=False).encode(column, holes)


def _spread(cells: np.ndarray, observed: np.ndarray) -> float:
    """Return the standard deviation of numbers, 1 for words; 0 where there is one value."""
    seen = cells[observed]
    if cells.dtype == object:
        return float(1 < len(set(map(repr, seen))) < max(len(seen), 3))
    if not len(seen) or np.ptp(seen) == 0:
        return 0.0
    size = np.abs(seen).max()  # squares must not leave the range
    return float(size * np.std(seen / size))


def _is_identifier(column: Column, observed: np.ndarray) -> bool:
    """Tell whether whole numbers of a frame are names of rows, as imputers do."""
    if not (isinstance(column, nw.Series) and column.dtype.is_integer()):
        return False
    return choose_codec("", column, ~observed, None).kind == "identifier"


def _as_numbers(cells: np.ndarray) -> np.ndarray:
    """Return objects as numbers, where they are: scikit-learn's imputers give back objects."""
    if cells.dtype == object and any(isinstance(cell, str) for cell in cells):
        return cells
    try:
        return cells.astype(float)
    except (TypeError, ValueError):
        return cells


def _same(made: np.ndarray, truth: np.ndarray, spread: float) -> bool:
    if truth.dtype == object:
        return bool((made == truth).all())
    return made.dtype != object and np.allclose(made, truth, rtol=1e-5, atol=1e-5 * spread)
