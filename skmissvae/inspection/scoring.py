"""Scorer of imputers for parameter searches, which needs no complete table."""

from __future__ import annotations

from typing import Any, Self

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from .._utils.html import DocumentationLink
from .._utils.quoting import listed, quoted
from .._utils.random import SeedStream, derive_seed
from .._utils.validation import check_minimum, checked_weights, real
from ..tables.codecs import Numbers
from ..tables.column_kinds import choose_codec
from ..tables.column_statistics import mean_std
from ..tables.columns import Column, Mask, is_missing, time_type, to_objects
from ..tables.input_table import columns_and_names, hide_cells


class HiddenCellScorer(DocumentationLink, BaseEstimator):
    """Score an imputer by its error on observed cells that are hidden from it.

    A callable ``(estimator, X, y=None) -> float`` for the ``scoring`` of GridSearchCV and
    cross_val_score. It accepts any fitted imputer, or Pipeline of imputers, whose output has the
    columns of its input in their units. The score is minus the root mean squared error over hidden
    cells, in standard deviations of their columns; a wrong category counts as an error of one
    standard deviation. Greater is better.

    The parameters with the best imputations may differ from those with the best density (the
    ``score`` of an estimator): this score depends on conditional means only, a density on the
    whole distribution.

    Parameters
    ----------
    fraction : float, default=0.2
        Share of the observed cells to hide.
    n_repeats : int, default=1
        Number of times that cells are hidden, each time others.
    random_state : int, RandomState instance or None, default=0
        Seed of the choice of cells. With an int the same cells are hidden from every candidate of
        a search.

    See Also
    --------
    overimputation_report : Errors, intervals and baselines for each column.

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
        self.fraction = fraction
        self.n_repeats = n_repeats
        self.random_state = random_state

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Set whether a search passes ``sample_weight``, if metadata routing is enabled.

        Parameters
        ----------
        sample_weight : bool, str or None
            As in scikit-learn's scorers: whether it is passed, or under which name.

        Returns
        -------
        self : object
            The scorer.
        """
        request = self.get_metadata_routing()
        request.score.add_request(param="sample_weight", alias=sample_weight)
        self._metadata_request = request
        return self

    def __call__(
        self, estimator: Any, X: Any, y: object = None, sample_weight: Any = None
    ) -> float:
        """Return minus the root mean squared error on hidden cells.

        Parameters
        ----------
        estimator : object
            Fitted imputer.
        X : data frame or array-like of shape (n_samples, n_features)
            Table whose missing cells are NaN or null.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, and so of their cells; None weights them equally.

        Returns
        -------
        float
            The score, at most 0.

        Raises
        ------
        ValueError
            If a parameter is out of range, no cell is hidden, or the output of the estimator does
            not have the columns of X in their units.
        """
        if requirement := real(0, 1, above=True)(self.fraction):
            raise ValueError(f"fraction must be {requirement}; got {quoted(self.fraction)}.")
        check_minimum(1, n_repeats=self.n_repeats)
        columns, names = columns_and_names(X)
        truth = [cells_of(column) for column in columns]
        observed = np.column_stack([~is_missing(column) for column in columns])
        row_weight = None
        if sample_weight is not None:
            row_weight = checked_weights(sample_weight, len(observed))
        weight = np.ones(len(observed)) if row_weight is None else row_weight
        triples = zip(columns, truth, observed.T, strict=True)
        scale = np.array([scale_of(*triple, row_weight) for triple in triples])
        # with the seed itself, the same cells would be hidden as by make_missing of this seed
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        rng = np.random.default_rng(derive_seed(seed, SeedStream.HIDDEN_CELLS))
        errors: list[NDArray[np.float64]] = []
        weights: list[NDArray[np.float64]] = []
        for _ in range(self.n_repeats):
            hidden = observed & (scale > 0) & (rng.uniform(size=observed.shape) < self.fraction)
            hidden &= weight[:, None] > 0
            imputed = completed_cells(
                estimator.transform(hide_cells(X, hidden)), names, len(columns)
            )
            for j, cells in enumerate(imputed):
                cells = comparable_cells(cells, truth[j], observed[:, j] & ~hidden[:, j], scale[j])
                at = hidden[:, j]
                errors.append(_squared_errors(cells[at], truth[j][at], scale[j]))
                weights.append(weight[at])
        if not any(error.size for error in errors):
            raise ValueError("No observed cell was hidden. Pass more rows, or raise fraction.")
        error = np.average(np.concatenate(errors), weights=np.concatenate(weights))
        return -float(np.sqrt(error))


def completed_cells(table: Any, names: list[Any] | None, n_columns: int) -> list[np.ndarray]:
    """Return the cells of each column of a completed table, checked to have the given columns."""
    columns, output_names = columns_and_names(table)
    if len(columns) != n_columns or (names is not None and output_names not in (None, names)):
        expected = f"the {n_columns} columns" if names is None else listed(names)
        description = f"{len(columns)} columns" if output_names is None else listed(output_names)
        raise ValueError(
            f"The completed table has {description} instead of {expected}. Use an imputer that "
            "returns the columns of its input in their order (add_indicator=False)."
        )
    return [cells_of(column) for column in columns]


def comparable_cells(
    cells: np.ndarray, truth: np.ndarray, observed: Mask, scale: float
) -> np.ndarray:
    """Return the cells of a completed column, as numbers if the true ones are.

    Raises
    ------
    ValueError
        If an observed cell differs from the true one.
    """
    if truth.dtype != object:  # scikit-learn's imputers may return objects
        cells = pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy(float)
    if not _equal(cells[observed], truth[observed], scale):
        raise ValueError(
            "The estimator changes observed cells, so that its output cannot be compared with X. "
            "In a Pipeline, score the imputer before columns are rescaled."
        )
    return cells


def cells_of(column: Column) -> np.ndarray:
    """Return the cells as numbers, NaN where missing, or as objects."""
    if isinstance(column, nw.Series) and not column.dtype.is_numeric():
        return to_objects(column)
    return Numbers("continuous", is_integer=False).encode(column, is_missing(column))


def scale_of(
    column: Column,
    cells: np.ndarray,
    observed: Mask,
    weight: NDArray[np.float64] | None = None,
) -> float:
    """Return the standard deviation of numbers, 1 for categories, and 0 for excluded columns.

    Dates, row identifiers and constant columns are excluded. Rows may have weights.
    """
    if weight is not None:
        observed = observed & (weight > 0)
    if isinstance(column, nw.Series):
        kind = choose_codec("", column, ~observed, None).kind if column.dtype.is_integer() else ""
        if kind == "identifier" or time_type(column, ~observed) is not None:
            return 0.0
    values = cells[observed]
    if cells.dtype == object:
        return float(1 < len(set(map(repr, values))) < max(len(values), 3))
    if not len(values) or np.ptp(values) == 0:
        return 0.0
    size = np.abs(values).max()  # avoids overflow of squares
    return float(size * mean_std(values / size, None if weight is None else weight[observed])[1])


def _equal(cells: np.ndarray, truth: np.ndarray, scale: float) -> bool:
    if truth.dtype == object:
        return bool((cells == truth).all())
    return np.allclose(cells, truth, rtol=1e-5, atol=1e-5 * scale)


def _squared_errors(cells: np.ndarray, truth: np.ndarray, scale: float) -> NDArray[np.float64]:
    """Return squared errors in standard deviations, or 1 for wrong categories: (n,)."""
    if truth.dtype == object:
        return (cells != truth).astype(float)
    return ((cells - truth) / (scale or 1.0)) ** 2
