"""Scores of imputations as draws: the energy distance and the energy I-score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils import check_random_state

from .._utils.html import DocumentationLink
from .._utils.validation import check_minimum
from ..tables.columns import is_missing
from ..tables.input_table import columns_and_names, hide_cells, select_columns
from .scoring import cells_of, comparable_cells, completed_cells, scale_of

Floats = NDArray[np.float64]


def energy_distance(completed: Any, truth: Any) -> float:
    r"""Return the energy distance between the rows of two complete tables.

    .. math:: 2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|

    for independent rows X, X' of one table and Y, Y' of the other [1]_. It is zero if both have the
    same distribution, and depends on the relations of columns as well as on each column. A table
    completed by conditional means has a large distance from the true one, whatever its error.
    Numbers are in standard deviations of the column in ``truth``; different categories are at a
    distance of 1. Columns of ``truth`` that are constant, of dates or of row identifiers do not
    count.

    Parameters
    ----------
    completed : data frame or array-like of shape (n_samples, n_features)
        A completed table.
    truth : data frame or array-like of shape (n_rows, n_features)
        The complete table, or other rows of its distribution.

    Returns
    -------
    float
        The distance, at least 0 up to rounding.

    Raises
    ------
    ValueError
        If the tables have different columns, a cell is missing, or no column counts.

    References
    ----------
    .. [1] Székely and Rizzo (2013). Energy statistics: A class of statistics based on distances.
       Journal of Statistical Planning and Inference 143.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae.inspection import energy_distance
    >>> truth = np.random.default_rng(0).normal(size=(500, 2))
    >>> X = truth.copy()
    >>> X[::2, 1] = 0.0  # the mean
    >>> round(energy_distance(truth[::-1], truth), 6), round(energy_distance(X, truth), 2)
    (0.0, 0.04)
    """
    columns, names = columns_and_names(truth)
    columns_of_completed = completed_cells(completed, names, len(columns))
    parts = []
    for j, (column, x) in enumerate(zip(columns, columns_of_completed, strict=True)):
        y = cells_of(column)
        for name, cells in (("completed", x), ("truth", y)):
            if pd.isna(cells).any():
                raise ValueError(f"Column {j} of {name} has missing cells; complete it first.")
        scale = scale_of(column, y, np.ones(len(y), dtype=bool))
        if scale and y.dtype == object:
            values = pd.unique(np.concatenate([y, x]))
            parts.append([(cells[:, None] == values) / np.sqrt(2) for cells in (x, y)])
        elif scale:
            numbers = (pd.to_numeric(pd.Series(cells)).to_numpy(float) for cells in (x, y))
            parts.append([(values - y.mean())[:, None] / scale for values in numbers])
    if not parts:
        raise ValueError(
            "truth has no column to compare: each is constant, of dates or of row identifiers."
        )
    x, y = map(np.hstack, zip(*parts, strict=True))
    return 2 * _mean_distance(x, y) - _mean_distance(x, x) - _mean_distance(y, y)


def _mean_distance(x: Floats, y: Floats) -> float:
    """Return the mean Euclidean distance of the rows of two tables, in scikit-learn's memory."""
    sums = pairwise_distances_chunked(x, y, reduce_func=lambda chunk, start: chunk.sum(1))
    return float(sum(part.sum() for part in sums)) / (len(x) * len(y))


class EnergyIScorer(DocumentationLink, BaseEstimator):
    r"""Score an imputer by the energy I-score, which compares distributions without true values.

    A callable ``(estimator, X, y=None) -> float`` for the ``scoring`` of GridSearchCV. For each
    column j with missing cells, a clone of the imputer is fitted to the imputed cells of the
    column and to the columns that are observed wherever j is, and draws the observed cells n times
    [1]_. If imputed and observed cells have the same conditional distribution, these draws agree
    with the true values, by the continuous ranked probability score

    .. math:: S_j = - E_i \left\{ \frac1n \sum_l |x_{il} - x_i|
                    - \frac{1}{2 n^2} \sum_{l, m} |x_{il} - x_{im}| \right\}.

    The score is the mean of :math:`S_j` with weights in proportion to the product of the numbers
    of observed and missing cells. Greater is better. Numbers are in standard deviations of the
    column; for categories :math:`S_j` is minus half of the Brier score of several categories.

    Draws are those of ``impute`` if the estimator has this method, otherwise of repeated calls of
    ``transform``, which differ for IterativeImputer with ``sample_posterior=True``. An imputer
    without draws, such as one that imputes means, is scored by its absolute error.

    Parameters
    ----------
    n_draws : int, default=50
        Number of draws of each cell.
    random_state : int, RandomState instance or None, default=0
        Seed of the draws of ``impute``. Clones are fitted with their own ``random_state``: give the
        estimator one for reproducible scores.

    See Also
    --------
    HiddenCellScorer : Errors of point estimates.
    skmissvae.inspection.energy_distance : Distance from a true table.

    References
    ----------
    .. [1] Näf, Grzesiak and Scornet (2025). How to rank imputation methods? arXiv:2507.11297.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import EnergyIScorer, MIWAEImputer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 3))
    >>> X[rng.random(60) < 0.3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> -1 < EnergyIScorer()(imputer, X) < 0
    True
    """

    def __init__(self, n_draws: int = 50, *, random_state: Any = 0) -> None:
        self.n_draws = n_draws
        self.random_state = random_state

    def __call__(self, estimator: Any, X: Any, y: object = None) -> float:
        """Return the energy I-score.

        Parameters
        ----------
        estimator : object
            Fitted imputer. It is not changed.
        X : data frame or array-like of shape (n_samples, n_features)
            Table with missing cells, which are NaN or null.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        float
            The score, at most 0.

        Raises
        ------
        ValueError
            As of ``column_scores``.
        """
        scores = self.column_scores(estimator, X)
        return float(np.average(scores["score"], weights=scores["weight"]))

    def column_scores(self, estimator: Any, X: Any) -> pd.DataFrame:
        """Return the score of each column that has missing and observed cells.

        Parameters
        ----------
        estimator : object
            Fitted imputer. It is not changed.
        X : data frame or array-like of shape (n_samples, n_features)
            Table with missing cells, which are NaN or null.

        Returns
        -------
        DataFrame
            A row per column: its name or position (``column``), ``score``, ``weight``, and the
            numbers of cells that are compared (``n_cells``) and of columns that predict them
            (``n_predictors``). Columns of dates, of row identifiers and constant ones are left out.

        Raises
        ------
        ValueError
            If no column can be compared, if the output of the estimator does not have the columns
            of X in their units, or if it has options for single columns, since clones are fitted to
            some of the columns.
        """
        check_minimum(2, n_draws=self.n_draws)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        columns, names = columns_and_names(X)
        truth = [cells_of(column) for column in columns]
        observed = np.column_stack([~is_missing(column) for column in columns])
        has_draws = hasattr(estimator, "impute")
        completed = (
            estimator.impute(X, 1, random_state=seed)[0] if has_draws else estimator.transform(X)
        )
        lines = []
        for j, cells in enumerate(completed_cells(completed, names, len(columns))):
            scale = scale_of(columns[j], truth[j], observed[:, j])
            comparable_cells(cells, truth[j], observed[:, j], scale)
            compared, predictors = observed[:, j], _predictors(observed, j)
            if len(predictors) == 1:  # the column that is observed most often
                compared = compared & observed[:, predictors[0]]
            if observed[:, j].all() or scale == 0 or not (predictors and compared.any()):
                continue
            part = select_columns(completed, [*predictors, j])
            hidden = np.zeros((len(compared), len(predictors) + 1), dtype=bool)
            hidden[:, -1] = observed[:, j]
            draws = self._draws(estimator, hide_cells(part, hidden), seed)[:, compared]
            score = -_crps(draws, truth[j][compared], scale).mean()
            weight = observed[:, j].mean() * (1 - observed[:, j].mean())
            name = j if names is None else names[j]
            lines.append((name, score, weight, int(compared.sum()), len(predictors)))
        if not lines:
            raise ValueError(
                "X has no column with missing and with different observed cells that another "
                "column predicts; hide cells by make_missing."
            )
        return pd.DataFrame(lines, columns=["column", "score", "weight", "n_cells", "n_predictors"])

    def _draws(self, estimator: Any, table: Any, seed: int) -> np.ndarray:
        """Return draws of the last column of a table by a clone of the estimator, (n, N)."""
        imputer = clone(estimator).fit(table)
        if hasattr(imputer, "impute"):
            tables = imputer.impute(table, self.n_draws, random_state=seed)
        else:
            tables = (imputer.transform(table) for _ in range(self.n_draws))
        return np.stack([cells_of(columns_and_names(drawn)[0][-1]) for drawn in tables])


def _predictors(observed: NDArray[np.bool_], j: int) -> list[int]:
    """Return the columns that are observed wherever j is, or the one that is most often."""
    others = [k for k in range(observed.shape[1]) if k != j]
    counts = observed[observed[:, j]].sum(0)
    complete = [k for k in others if counts[k] == counts[j]]
    return complete or sorted(others, key=lambda k: -counts[k])[:1]


def _crps(draws: np.ndarray, truth: np.ndarray, scale: float) -> Floats:
    """Return the continuous ranked probability score of draws: (n, N), (N,) -> (N,)."""
    n = len(draws)
    if truth.dtype == object:
        codes = np.sort(pd.factorize(draws.ravel())[0].reshape(draws.shape), axis=0)
        # the squared length of a run of n equal draws is the sum of 1, 3, ..., 2 n - 1
        rank = np.arange(n)[:, None]
        is_first = np.vstack([np.ones_like(codes[:1], dtype=bool), codes[1:] != codes[:-1]])
        first = np.maximum.accumulate(np.where(is_first, rank, 0), axis=0)
        squares = (2 * (rank - first) + 1).sum(0) / n**2
        hit: Floats = (draws == truth).mean(0)
        return (1 + squares) / 2 - hit
    draws = np.sort(draws.astype(float), axis=0)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    spread = (ranks[:, None] * draws).sum(0) / n**2  # half the mean distance of two draws
    return (np.abs(draws - truth.astype(float)).mean(0) - spread) / scale
