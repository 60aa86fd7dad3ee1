"""Overimputation: hiding observed cells, and comparing an imputer's predictions with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from .._utils.html import html_table
from .._utils.quoting import quoted
from .._utils.validation import check_minimum
from ..tables.columns import Mask
from ..tables.input_table import hide_cells
from ..tables.missingness import borrowed_masks
from .evaluated_columns import EvaluatedColumns, Floats, evaluated_columns
from .overimputation_display import OverimputationDisplay
from .overimputation_scores import (
    Predictions,
    baseline_predictions,
    categorical_scores,
    interval_probabilities,
    numeric_scores,
)

_N_FOLDS = 5  # of the rows; cells of one are hidden, so that a refitted model loses few cells
_CELL_COLUMNS = (
    *("repeat", "row", "column", "kind", "method", "truth", "mean", "low", "high", "covered"),
    *("crps", "scale", "category", "predicted", "probability", "brier"),
)
_FORMAT = "{:.3f}".format  # of scores


@dataclass(frozen=True, eq=False, repr=False)
class OverimputationReport:
    """Errors and intervals of an imputer for observed cells that were hidden from it.

    Returned by :func:`overimputation_report`; it prints as its ``summary``.

    Parameters
    ----------
    cells : DataFrame
        The imputer's predictions, one line per hidden cell: ``repeat``, ``row`` (label of a pandas
        index, or position), ``column`` and ``kind``. For numbers ``truth``, ``mean``, ``low`` and
        ``high`` (the limits of the interval), whether the truth is ``covered`` (1 or 0), ``crps``
        in the column's units, and ``scale``, the standard deviation of the observed cells. For
        categories the true ``category``, the most probable one (``predicted``), the
        ``probability`` of the true one, and ``brier``, half the squared distance between the
        predicted probabilities and the truth.
    baselines : DataFrame
        The same columns for the baselines, whose names are in ``method``.
    level : float
        Probability of the intervals.

    See Also
    --------
    overimputation_report : Compute a report.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, overimputation_report
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 3))
    >>> X[rng.random(X.shape) < 0.3] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> report = overimputation_report(imputer, X, n_repeats=1, random_state=0)
    >>> report.summary.columns.tolist()
    ['column', 'kind', 'method', 'n_cells', 'error', 'crps', 'coverage', 'width', 'brier']
    >>> report.summary["method"].unique().tolist()
    ['imputer', 'mean or mode', 'IterativeImputer']
    """

    cells: pd.DataFrame
    baselines: pd.DataFrame
    level: float

    @property
    def summary(self) -> pd.DataFrame:
        """Scores of each column and method, and of all numeric and all categorical columns.

        For numbers ``error`` is the root mean squared error; ``error``, the mean ``crps`` and the
        mean ``width`` of intervals are in standard deviations of the column, and ``coverage`` is
        the share of intervals that contain the truth. For categories ``error`` is the share of
        wrong predictions, and ``brier`` the mean Brier score.
        """
        lines = pd.concat([self.cells.assign(method="imputer"), self.baselines], ignore_index=True)
        lines = _sort_by_column(lines, list(self.cells["column"].unique()))
        categorical, scale = lines["probability"].notna(), lines["scale"]
        error = (lines["mean"] - lines["truth"]) / scale
        wrong = lines["predicted"] != lines["category"]
        scores = lines[["column", "kind", "method"]].assign(
            n_cells=1,
            error=(error**2).where(~categorical, wrong).astype(float),
            crps=lines["crps"] / scale,
            coverage=lines["covered"],
            width=(lines["high"] - lines["low"]) / scale,
            brier=lines["brier"],
        )
        kinds = np.where(categorical, "categorical", "numeric")
        scores_of_all = scores.assign(column="all", kind=kinds)
        keys = ["column", "kind", "method"]
        groups = pd.concat([scores, scores_of_all]).groupby(keys, sort=False)
        summary = groups.mean().assign(n_cells=groups.size()).reset_index()
        summary["error"] = summary["error"].where(summary["brier"].notna(), summary["error"] ** 0.5)
        return summary

    def plot(self, ax: Any = None, *, column: Any = None, **kwargs: Any) -> OverimputationDisplay:
        """Plot the means and intervals of the hidden cells against their true values.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        column : str or None, default=None
            Column to plot, in its units; None plots all numeric columns, standardised.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the points.

        Returns
        -------
        OverimputationDisplay
            The display, after it is drawn.
        """
        return OverimputationDisplay(self).plot(ax, column=column, **kwargs)

    def __repr__(self) -> str:
        """Return the summary as text."""
        summary = self.summary.dropna(axis=1, how="all")
        return summary.to_string(index=False, na_rep="", float_format=_FORMAT)

    def _repr_html_(self) -> str:
        """Return the summary as a table."""
        return html_table(self.summary.dropna(axis=1, how="all"), float_format=_FORMAT)


def overimputation_report(
    imputer: Any,
    X: Any,
    *,
    n_repeats: int = 5,
    level: float = 0.9,
    refit: bool = True,
    baselines: bool = True,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> OverimputationReport:
    r"""Hide observed cells, and compare the imputer's predictions with their true values.

    In each repeat cells of another fifth of the rows are hidden, in the missingness patterns of
    other rows of the table, so that cells are missing jointly as they are in the table. In a table
    without missing cells a fifth of the cells of these rows are hidden. Predictions of
    ``cell_distribution`` for numbers are evaluated by the continuous ranked probability score

    .. math:: \mathrm{CRPS}(F, x) = \int \{F(t) - 1[t \geq x]\}^2 \, dt
              = 2 \int_0^1 \{q - 1[x < F^{-1}(q)]\} \{x - F^{-1}(q)\} \, dq,

    a generalisation of the absolute error to distributions, computed from 39 quantiles; by the
    error of the mean; and by whether the central interval contains the truth. Predictions for
    categories are evaluated by the error of the most probable one and by the Brier score
    :math:`\frac12 \sum_l (p_l - 1[l = x])^2`, from 0 to 1. Columns of dates, columns that are not
    modelled and constant columns are not evaluated.

    Parameters
    ----------
    imputer : imputer of this package
        Fitted imputer.
    X : data frame or array-like of shape (n_samples, n_features)
        The table the imputer was fitted to, or other rows. It is not changed.
    n_repeats : int, default=5
        Number of times that cells are hidden.
    level : float, default=0.9
        Probability of the intervals. Intervals of columns with few distinct integers contain the
        truth more often.
    refit : bool, default=True
        Whether a clone of the imputer is fitted to each table with hidden cells. False uses the
        imputer as it is: results are then optimistic for the rows it was fitted to.
    baselines : bool, default=True
        Whether the same cells are also predicted by the mean, or most frequent category, of the
        column, and by scikit-learn's IterativeImputer. Both are fitted to the table with hidden
        cells, with standardised columns and categories as rounded codes. The mean has no interval,
        and its CRPS is its absolute error. The points of IterativeImputer are those of its default
        parameters; its intervals are from 100 or more draws with ``sample_posterior=True``. It is
        fitted to the evaluated columns only, whereas the imputer may also use dates.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of hidden cells, of clones whose ``random_state`` is None, and of
        IterativeImputer.
    n_jobs : int or None, default=None
        Number of processes for the repeats, as in joblib. The report does not depend on it.

    Returns
    -------
    OverimputationReport
        ``cells``, ``baselines`` and ``summary``, which is printed.

    Raises
    ------
    ValueError
        If a parameter is out of range, or no cell can be hidden.
    TypeError
        If the imputer has no ``cell_distribution``.

    See Also
    --------
    HiddenCellScorer : A single score, for parameter searches.
    posterior_predictive_check : Compare X with tables sampled from the model.
    compare_imputed : Compare imputed values with observed ones.

    Notes
    -----
    Hidden cells were observed. If missingness depends on the missing values themselves, missing
    cells differ from hidden ones, and no report on observed cells shows how well they are imputed.
    Refitted models have fewer observed cells than the model of the whole table, so errors are
    slightly pessimistic.

    References
    ----------
    .. [1] Honaker, King and Blackwell (2011). Amelia II: A Program for Missing Data. Journal of
       Statistical Software 45(7). Its ``overimpute`` hides one cell at a time.
    .. [2] Gneiting and Raftery (2007). Strictly Proper Scoring Rules, Prediction, and Estimation.
       Journal of the American Statistical Association 102(477).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, overimputation_report
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 3))
    >>> X[rng.random(X.shape) < 0.3] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> report = overimputation_report(imputer, X, n_repeats=2, baselines=False, random_state=0)
    >>> report.summary[["column", "kind", "method", "n_cells"]]
      column        kind   method  n_cells
    0     x0  continuous  imputer       10
    1     x1  continuous  imputer        3
    2     x2  continuous  imputer        6
    3    all     numeric  imputer       19
    """
    check_minimum(1, n_repeats=n_repeats)
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, such as 0.9; got {quoted(level)}.")
    columns = evaluated_columns(imputer, X, "cell_distribution")
    rng = check_random_state(random_state)
    masks = _hidden_masks(~np.isnan(columns.x), n_repeats, rng)
    seeds = rng.randint(2**31 - 1, size=n_repeats)
    results = Parallel(n_jobs=n_jobs)(
        delayed(_score_hidden_cells)(
            imputer, X, columns, hidden, int(seed), level, refit=refit, baselines=baselines
        )
        for hidden, seed in zip(masks, seeds, strict=True)
    )
    frames = [frame.assign(repeat=i) for i, result in enumerate(results) for frame in result]
    if not frames:
        raise ValueError(
            "No observed cell could be hidden, because every row and every column keeps at least "
            "one. Pass more rows or columns, or raise n_repeats."
        )
    lines = _sort_by_column(pd.concat(frames).reindex(columns=_CELL_COLUMNS), columns.names)
    of_imputer = lines["method"] == "imputer"
    return OverimputationReport(
        cells=lines[of_imputer].reset_index(drop=True).drop(columns="method"),
        baselines=lines[~of_imputer].reset_index(drop=True),
        level=float(level),
    )


def _sort_by_column(lines: pd.DataFrame, names: list[Any]) -> pd.DataFrame:
    """Return lines sorted by their ``column`` in the order of ``names``."""
    position = {name: i for i, name in enumerate(names)}
    return lines.sort_values(
        "column", key=lambda column: column.map(position), kind="stable", ignore_index=True
    )


def _hidden_masks(observed: Mask, n_repeats: int, rng: np.random.RandomState) -> list[Mask]:
    """Return the observed cells to hide in each repeat, (N, D)."""
    fold = rng.permutation(len(observed)) % _N_FOLDS
    masks = []
    for i in range(n_repeats):
        hidden = borrowed_masks(observed, rng)
        hidden[fold != i % _N_FOLDS] = False
        masks.append(hidden & (observed & ~hidden).any(0))  # a column keeps an observed cell
    return masks


def _score_hidden_cells(
    imputer: Any,
    X: Any,
    columns: EvaluatedColumns,
    hidden: Mask,
    seed: int,
    level: float,
    *,
    refit: bool,
    baselines: bool,
) -> list[pd.DataFrame]:
    """Return the scores of hidden cells, one frame for each method and column."""
    if not hidden.any():
        return []
    mask = np.zeros((len(hidden), len(imputer.fit_report_)), dtype=bool)
    mask[:, columns.indices] = hidden
    incomplete = hide_cells(X, mask)
    if refit:
        imputer = clone(imputer)
        if imputer.get_params().get("random_state", seed) is None:
            imputer.set_params(random_state=seed)
        imputer.fit(incomplete)
    probabilities = interval_probabilities(level)
    distribution = imputer.cell_distribution(incomplete, probabilities, where=mask)
    kinds, categories, predictions = _read_distribution(
        distribution, columns, hidden, len(probabilities)
    )
    methods = {"imputer": predictions}
    if baselines:
        methods |= baseline_predictions(columns, hidden, categories, probabilities, seed)
    frames = []
    for method, by_column in methods.items():
        for d, column_predictions in by_column.items():
            truth = columns.codecs[d].decode(columns.x[hidden[:, d], d])
            if categories[d]:
                scores = categorical_scores(truth, column_predictions, categories[d])
            else:
                scale = float(np.nanstd(columns.x[:, d]))
                scores = numeric_scores(truth, column_predictions, scale)
            labels = {"column": columns.names[d], "kind": kinds[d], "method": method}
            rows = columns.row_labels[hidden[:, d]]
            frames.append(pd.DataFrame({"row": rows, **labels, **scores}))
    return frames


def _read_distribution(
    distribution: pd.DataFrame, columns: EvaluatedColumns, hidden: Mask, n_quantiles: int
) -> tuple[dict[int, str], dict[int, list[Any]], dict[int, Predictions]]:
    """Return kinds, categories (none of numbers) and predictions of the columns by index."""
    kinds: dict[int, str] = {}
    categories: dict[int, list[Any]] = {}
    predictions: dict[int, Predictions] = {}
    for d in np.flatnonzero(hidden.any(0)).tolist():
        lines = distribution[distribution["column"] == columns.names[d]]
        if not len(lines):  # constant apart from the hidden cells, hence not modelled
            continue
        kinds[d], categories[d] = lines["kind"].iloc[0], []
        if lines["probability"].isna().all():
            quantiles: Floats = lines.iloc[:, -n_quantiles:].to_numpy(float)
            predictions[d] = Predictions(lines["mean"].to_numpy(float), quantiles)
        else:
            n_cells = int(hidden[:, d].sum())
            probabilities = lines["probability"].to_numpy(float).reshape(n_cells, -1)
            categories[d] = lines["category"].tolist()[: probabilities.shape[1]]
            predictions[d] = Predictions(probabilities.argmax(1).astype(float), probabilities)
    return kinds, categories, predictions
