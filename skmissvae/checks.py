"""Checks of fitted imputers: by cells that are hidden, by tables they make, by what they impute."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from ._columns import TAKEN
from ._frames import CODED, Codec, Mask, codec, columns_and_names, is_time, missing, without
from ._input import missing_marker
from ._params import refuse_fewer
from .missingness import borrowed_masks

Floats = NDArray[np.float64]
#: What a method says of a column's hidden cells: points (n,), and quantiles (n, Q) of numbers, or
#: chances of levels (n, L).
Estimate = tuple[Floats, Floats]

_N_FOLDS = 5  # of the rows: cells of one are hidden, so that models hardly know less without them
_MIDPOINTS = (np.arange(39) + 0.5) / 39  # probabilities, of a sum that stands for an integral
_N_DRAWS = 20  # of IterativeImputer, at least
_ROUNDING = 1e-6  # of values that come back from float32, in standard deviations
_FEW = 3  # rows below which every correlation is 1 or -1
_FLAT = 1e-12  # product of two variances below which only rounding errors correlate
_CELLS = (
    *("repeat", "row", "column", "kind", "method", "truth", "mean", "low", "high", "covered"),
    *("crps", "scale", "level", "predicted", "probability", "brier"),
)


class _Table(NamedTuple):
    """The columns of a table that can be judged."""

    names: list[Any]
    kinds: list[str]
    places: list[int]  # in the table
    codecs: list[Codec]
    x: Floats  # (N, D)   codes of levels, NaN where missing
    labels: NDArray[Any]  # (N,)   of the rows
    made: list[Any]  # columns of the arrays that the imputer makes

    def read(self, made: Any) -> Floats:
        """Return these columns of a table that the imputer made, (n, D)."""
        columns, names = columns_and_names(made)
        # indicators may follow
        found = dict(zip(self.made if names is None else names, columns, strict=False))
        pairs = zip(self.codecs, [found[name] for name in self.names], strict=True)
        return np.column_stack(
            [one.encode(column, missing(column, np.nan)) for one, column in pairs]
        )

    def pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of columns of numbers."""
        return list(combinations([d for d, one in enumerate(self.codecs) if not one.levels], 2))


@dataclass(frozen=True, eq=False, repr=False)
class OverimputationReport:
    """How well an imputer tells cells that are hidden from it.

    It is made by :func:`overimputation_report`, and prints as its ``summary``.

    Parameters
    ----------
    cells : DataFrame
        A line per hidden cell, as the imputer has it: ``repeat``, ``row`` (label of a pandas index,
        or position), ``column`` and ``kind``. Of numbers ``truth``, ``mean``, ``low`` and ``high``
        (the ends of the interval), whether the truth is ``covered`` (1 or 0), ``crps``, in the
        column's units, and ``scale``, the standard deviation of its observed cells. Of levels the
        true ``level``, the most probable one (``predicted``), the ``probability`` of the true one,
        and ``brier``, half the squared distance of the probabilities from the truth.
    baselines : DataFrame
        The same of the baselines, with their names in ``method``.
    level : float
        Probability of the intervals.

    See Also
    --------
    overimputation_report : Make it.

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
        """A line per column and method, then those of all columns of numbers, and of levels.

        Of numbers ``error`` is the root mean squared error, and it, the mean ``crps`` and the mean
        ``width`` of intervals are in standard deviations of the column; ``coverage`` is the share
        of intervals that hold the truth. Of levels ``error`` is the share of wrong ones, and
        ``brier`` a mean.
        """
        lines = pd.concat([self.cells.assign(method="imputer"), self.baselines], ignore_index=True)
        lines = _by_column(lines, list(self.cells["column"].unique()))
        coded, scale = lines["probability"].notna(), lines["scale"]
        off = (lines["mean"] - lines["truth"]) / scale
        scores = lines[["column", "kind", "method"]].assign(
            n_cells=1,
            error=(off**2).where(~coded, lines["predicted"] != lines["level"]).astype(float),
            crps=lines["crps"] / scale,
            coverage=lines["covered"],
            width=(lines["high"] - lines["low"]) / scale,
            brier=lines["brier"],
        )
        every = scores.assign(column="all", kind=np.where(coded, "levels", "numbers"))
        groups = pd.concat([scores, every]).groupby(["column", "kind", "method"], sort=False)
        summary = groups.mean().assign(n_cells=groups.size()).reset_index()
        summary["error"] = summary["error"].where(summary["brier"].notna(), summary["error"] ** 0.5)
        return summary

    def plot(self, ax: Any = None) -> Any:
        """Draw the hidden cells against their intervals.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        OverimputationDisplay
            The display, drawn.
        """
        from .displays import OverimputationDisplay

        return OverimputationDisplay(self).plot(ax=ax)

    def __repr__(self) -> str:
        """Return the summary as text."""
        told = self.summary.dropna(axis=1, how="all")
        return told.to_string(index=False, na_rep="", float_format="{:.3f}".format)


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
    r"""Hide observed cells, and tell how well an imputer knows them.

    In each repeat another fifth of the rows borrow the holes of other rows, so that cells go
    missing together as they do in the table, and each column keeps most of its cells to learn from.
    Of a table without holes a fifth of the cells of these rows are hidden. What
    ``cell_distribution`` says of a hidden number is scored by

    .. math:: \mathrm{CRPS}(F, x) = \int \{F(t) - 1[t \geq x]\}^2 \, dt
              = 2 \int_0^1 \{q - 1[x < F^{-1}(q)]\} \{x - F^{-1}(q)\} \, dq,

    the continuous ranked probability score, an absolute error for whole distributions, by 39
    quantiles; by the error of its mean; and by whether its central interval holds the truth. What
    it says of a hidden level is scored by the error of the most probable one and by the Brier score
    :math:`\frac12 \sum_l (p_l - 1[l = x])^2`, from 0 to 1. Dates, and columns that are not modelled
    or hold one value, are not judged.

    Parameters
    ----------
    imputer : imputer of this package
        A fitted one.
    X : data frame or array-like of shape (n_samples, n_features)
        The table that it was fitted to, or other rows; it stays as it is.
    n_repeats : int, default=5
        Times that cells are hidden.
    level : float, default=0.9
        Probability of the intervals. Those of whole numbers hold more where these are few.
    refit : bool, default=True
        Whether a clone of the imputer is fitted to each holed table, so that it has never seen what
        it is asked for. False takes the imputer as it is: that is honest for rows that it was not
        fitted to, and flatters it by those that it was.
    baselines : bool, default=True
        Whether the same cells are told by the column's mean, or most frequent level, and by
        scikit-learn's IterativeImputer, both fitted to the holed table: columns standardised,
        levels as codes in their order, rounded. The mean is a point, whose CRPS is its absolute
        error and which has no interval. IterativeImputer with its defaults makes the points, and
        draws with ``sample_posterior=True``, 20 or as many as an interval needs, the rest.
    random_state : int, RandomState instance or None, default=None
        Which cells are hidden; the seed of clones whose own ``random_state`` is None, and of
        IterativeImputer.
    n_jobs : int or None, default=None
        Processes that share the repeats, as in joblib; the report does not depend on it.

    Returns
    -------
    OverimputationReport
        ``cells``, ``baselines`` and ``summary``, which it prints.

    Raises
    ------
    ValueError
        If a parameter is out of range, or no cell can be hidden.
    TypeError
        If the imputer has no ``cell_distribution``.

    See Also
    --------
    HiddenCellScorer : One number, for searches of parameters.
    posterior_predictive_check : Whether the model makes tables like X.
    compare_imputed : How imputed values differ from observed ones.

    Notes
    -----
    Hidden cells were observed. Where cells are missing by their own values, missing ones are not
    like them, and no report on observed cells tells how well those are imputed. Refitted models
    know less than the model of the whole table: errors are slightly pessimistic.

    References
    ----------
    .. [1] Honaker, King and Blackwell (2011). Amelia II: A Program for Missing Data. Journal of
       Statistical Software 45(7), whose ``overimpute`` hides one cell at a time.
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
    3    all     numbers  imputer       19
    """
    refuse_fewer(1, n_repeats=n_repeats)
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, such as 0.9; got {level!r}.")
    table, rng = _opened(imputer, X, "cell_distribution"), check_random_state(random_state)
    masks = _masks(~np.isnan(table.x), n_repeats, rng)
    seeds = rng.randint(2**31 - 1, size=n_repeats)
    found = Parallel(n_jobs=n_jobs)(
        delayed(_judged)(imputer, X, table, gone, int(seed), level, refit, baselines)
        for gone, seed in zip(masks, seeds, strict=True)
    )
    pieces = [one.assign(repeat=i) for i, pieces in enumerate(found) for one in pieces]
    if not pieces:
        raise ValueError(
            "No observed cell could be hidden: every row and every column keeps one. Give more "
            "rows or columns, or raise n_repeats."
        )
    lines = _by_column(pd.concat(pieces).reindex(columns=_CELLS), table.names)
    ours = lines["method"] == "imputer"
    cells, others = (lines[part].reset_index(drop=True) for part in (ours, ~ours))
    return OverimputationReport(cells.drop(columns="method"), others, float(level))


def posterior_predictive_check(
    imputer: Any, X: Any, *, n_replicates: int = 50, random_state: Any = None
) -> pd.DataFrame:
    r"""Compare a table with those that the fitted model makes.

    Tables of as many rows are drawn by ``sample`` and lose the cells that ``X`` lacks. A statistic
    :math:`T` of X that few of theirs reach on one side,

    .. math:: p = 2 \min\{\Pr(T_{rep} \geq T), \Pr(T_{rep} \leq T)\},

    is something that the model has not learned.

    Parameters
    ----------
    imputer : estimator of this package
        A fitted one.
    X : data frame or array-like of shape (n_samples, n_features)
        The table that it was fitted to, or other rows.
    n_replicates : int, default=50
        Tables that are drawn.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    DataFrame
        A line per ``statistic``: "mean", "std", "5%" and "95%" (quantiles) of each ``column`` of
        numbers, "share" of each level of other columns, which stands in ``other``, "correlation" of
        each pair of columns of numbers, over rows in which both are observed, the second in
        ``other``. Of each its value in X (``observed``), the mean (``replicated``) and the 5% and
        95% quantiles over the replicates, and ``p_value``, at least 2 / (n_replicates + 1). Dates,
        and columns that are not modelled or hold one value, have no line.

    Raises
    ------
    ValueError
        If ``n_replicates`` is out of range, or X has no column to compare.
    TypeError
        If the imputer has no ``sample``.

    See Also
    --------
    overimputation_report : How well hidden cells are told.

    Notes
    -----
    Replicates lose cells whatever their values. Where what is missing in X depends on values,
    observed cells are a selection: replicated and observed columns then differ for that reason
    alone, however right the model.

    The p-values are no tests. The model has seen X, so that they lie too close to 1 where it is
    right [1]_, and its parameters are taken as known. There is one for each of many statistics:
    some are small by chance.

    References
    ----------
    .. [1] Gelman, Meng and Stern (1996). Posterior Predictive Assessment of Model Fitness via
       Realized Discrepancies. Statistica Sinica 6(4).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, posterior_predictive_check
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> check = posterior_predictive_check(imputer, X, random_state=0)
    >>> check["statistic"].tolist()
    ['mean', 'std', '5%', '95%', 'mean', 'std', '5%', '95%', 'correlation']
    """
    refuse_fewer(1, n_replicates=n_replicates)
    table = _opened(imputer, X, "sample")
    seeds = check_random_state(random_state).randint(2**31 - 1, size=n_replicates).tolist()
    samples = (imputer.sample(len(table.x), random_state=seed) for seed in seeds)
    observed = _statistics(table, table.x)
    value = np.array(list(observed.values()))
    made = np.array([list(_statistics(table, table.read(one)).values()) for one in samples])
    made = np.nan_to_num(made)  # a column that came out constant correlates with nothing
    fewer = np.minimum((made >= value).sum(0), (made <= value).sum(0))
    check = pd.DataFrame(list(observed), columns=["statistic", "column", "other"])
    check["observed"], check["replicated"] = value, made.mean(0)
    check["5%"], check["95%"] = np.quantile(made, (0.05, 0.95), axis=0)
    check["p_value"] = np.minimum(2 * (1 + fewer) / (1 + n_replicates), 1.0)
    return check.dropna(subset="observed", ignore_index=True)


class ImputedComparison(NamedTuple):
    """Imputed cells beside observed ones; it is made by :func:`compare_imputed`.

    Parameters
    ----------
    distributions : DataFrame
        A line per column of numbers with holes, and one per level of others (``level``), of which
        means are shares: ``n_observed``, ``n_missing``, ``mean_observed``, ``mean_imputed``,
        ``std_observed`` and ``std_imputed``; the ``difference`` of the means in standard deviations
        of the observed cells; the ``ratio`` of the standard deviations, imputed to observed; and
        the ``distance`` of the distributions, from 0 to 1: that of Kolmogorov and Smirnov for
        numbers, total variation for levels, the same for all levels of a column.
    correlations : DataFrame
        A line per pair of columns of numbers, ``column`` and ``other``, of which one has holes:
        ``n_observed`` rows in which both are seen, and the correlation in them (``observed``), in
        the others (``imputed``), and in all (``completed``).
    """

    distributions: pd.DataFrame
    correlations: pd.DataFrame


def compare_imputed(
    imputer: Any, X: Any, *, n_imputations: int = 5, random_state: Any = None
) -> ImputedComparison:
    """Compare imputed cells with observed ones.

    A difference is no error by itself: where what is missing depends on what is seen, imputed cells
    should differ as far as that explains. Look at the columns that differ most, and at
    correlations: those between imputed cells that are nearer to zero than the observed ones tell of
    a model that has not learned them.

    Parameters
    ----------
    imputer : imputer of this package
        A fitted one.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows, with holes.
    n_imputations : int, default=5
        Tables that are imputed, and taken together.
    random_state : int, RandomState instance or None, default=None
        Source of the draws; None takes the imputer's own ``random_state``.

    Returns
    -------
    ImputedComparison
        The frames ``distributions`` and ``correlations``. Dates, and columns that are not modelled
        or hold one value, have no line.

    Raises
    ------
    ValueError
        If ``n_imputations`` is out of range, or X has no hole in a column to compare.
    TypeError
        If the imputer has no ``impute``.

    See Also
    --------
    overimputation_report : How well hidden cells are told.

    References
    ----------
    .. [1] Abayomi, Gelman and Levy (2008). Diagnostics for Multivariate Imputations. Journal of the
       Royal Statistical Society C 57(3).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, compare_imputed
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> found = compare_imputed(imputer, X, random_state=0)
    >>> found.distributions[["column", "kind", "n_observed", "n_missing"]]
      column        kind  n_observed  n_missing
    0     x1  continuous          40         20
    >>> found.correlations[["column", "other", "n_observed"]]
      column other  n_observed
    0     x0    x1          40
    """
    table = _opened(imputer, X, "impute")
    x, seen = table.x, ~np.isnan(table.x)
    if seen.all():
        raise ValueError(
            "X has no hole in a column that the imputer models and that holds two different "
            "values: there is nothing to compare. Give rows with holes."
        )
    tables = imputer.impute(X, n_imputations, random_state=random_state)
    completed = np.stack([table.read(made) for made in tables])  # (M, N, D)
    distributions = [
        {"column": table.names[d], "kind": table.kinds[d], **line}
        for d in np.flatnonzero(~seen.all(0))
        for line in _compared(
            x[seen[:, d], d], completed[:, ~seen[:, d], d], table.codecs[d].levels
        )
    ]
    joint = _sums(table, x, seen)
    whole_table = np.sum([_sums(table, one, np.ones_like(seen)) for one in completed], axis=0)
    found = {
        "observed": _correlations(joint),
        "imputed": _correlations(whole_table - len(completed) * joint),
        "completed": _correlations(whole_table),
    }
    correlations = [
        {
            "column": table.names[a],
            "other": table.names[b],
            "n_observed": int((seen[:, a] & seen[:, b]).sum()),
            **{part: matrix[a, b] for part, matrix in found.items()},
        }
        for a, b in table.pairs()
        if not seen[:, [a, b]].all()
    ]
    columns = ["column", "other", "n_observed", *found]
    return ImputedComparison(
        pd.DataFrame(distributions), pd.DataFrame(correlations, columns=columns)
    )


# -- tables ------------------------------------------------------------------------------------


def _opened(imputer: Any, X: Any, method: str) -> _Table:
    """Return what can be judged of a table by an imputer that has the method."""
    if not hasattr(imputer, method):
        raise TypeError(
            f"imputer must have a method {method!r}, as those of skmissvae have; got "
            f"{type(imputer).__name__}. Of a Pipeline give the step that is one."
        )
    check_is_fitted(imputer)
    report: pd.DataFrame = imputer.fit_report_
    columns, names = columns_and_names(X)
    known = list(report.index)
    if len(columns) != len(known) or names not in (None, known):
        raise ValueError(
            f"X has the columns {list(range(len(columns))) if names is None else names}, but "
            f"imputer was fitted to {known}; give these, in their order."
        )
    marker = missing_marker(getattr(imputer, "missing_values", np.nan))
    kept, codecs, cells = [], [], []
    for j in np.flatnonzero(report["treatment"].isin(TAKEN)).tolist():
        column = columns[j]
        if not isinstance(column, np.ndarray) and is_time(column.dtype):
            continue
        holes, coded = missing(column, marker), report["kind"].iloc[j] in CODED
        one = codec(str(known[j]), column, holes, "categorical" if coded else "continuous")
        numbers = one.encode(column, holes)
        if len(np.unique(numbers[~holes])) > 1:
            kept.append(j)
            codecs.append(one)
            cells.append(numbers)
    if not kept:
        raise ValueError(
            "X has no column to judge: none that the imputer models, dates aside, holds two "
            "different values. Give more rows."
        )
    labels = np.asarray(X.index) if isinstance(X, pd.DataFrame) else np.arange(len(columns[0]))
    dropped = [] if getattr(imputer, "keep_empty_features", False) else ["empty"]
    return _Table(
        names=[known[j] for j in kept],
        kinds=report["kind"].iloc[kept].tolist(),
        places=kept,
        codecs=codecs,
        x=np.column_stack(cells),
        labels=labels,
        made=report.index[~report["treatment"].isin(dropped)].tolist(),
    )


def _by_column(lines: pd.DataFrame, names: list[Any]) -> pd.DataFrame:
    place = {name: i for i, name in enumerate(names)}
    return lines.sort_values(
        "column", key=lambda column: column.map(place), kind="stable", ignore_index=True
    )


# -- hidden cells ------------------------------------------------------------------------------


def _masks(observed: Mask, n_repeats: int, rng: np.random.RandomState) -> list[Mask]:
    """Return observed cells to hide in each repeat, (N, D)."""
    fold = rng.permutation(len(observed)) % _N_FOLDS
    masks = []
    for i in range(n_repeats):
        hidden = borrowed_masks(observed, rng)
        hidden[fold != i % _N_FOLDS] = False
        masks.append(hidden & (observed & ~hidden).any(0))  # of an empty column nothing is known
    return masks


def _judged(
    imputer: Any,
    X: Any,
    table: _Table,
    gone: Mask,
    seed: int,
    level: float,
    refit: bool,
    baselines: bool,
) -> list[pd.DataFrame]:
    """Return the scores of hidden cells, a frame for each method and column."""
    if not gone.any():
        return []
    hidden = np.zeros((len(gone), len(imputer.fit_report_)), dtype=bool)
    hidden[:, table.places] = gone
    holed = without(X, hidden)
    if refit:
        unset = imputer.get_params().get("random_state", seed) is None
        imputer = clone(imputer).set_params(**({"random_state": seed} if unset else {})).fit(holed)
    q = np.array([*_MIDPOINTS, (1 - level) / 2, (1 + level) / 2])
    told = imputer.cell_distribution(holed, q, where=hidden)
    kinds: dict[int, str] = {}
    levels: dict[int, list[Any]] = {}  # none of numbers
    ours: dict[int, Estimate] = {}
    for d in np.flatnonzero(gone.any(0)).tolist():
        lines, n = told[told["column"] == table.names[d]], int(gone[:, d].sum())
        if not len(lines):  # the holed column has a single value
            continue
        kinds[d], levels[d] = lines["kind"].iloc[0], []
        if lines["probability"].isna().all():
            ours[d] = lines["mean"].to_numpy(float), lines.iloc[:, -len(q) :].to_numpy(float)
        else:
            chances = lines["probability"].to_numpy(float).reshape(n, -1)
            levels[d] = lines["level"].tolist()[: chances.shape[1]]
            ours[d] = chances.argmax(1).astype(float), chances
    methods = {"imputer": ours}
    if baselines:
        methods |= _baselines(table, gone, levels, q, seed)
    pieces = []
    for method, estimates in methods.items():
        for d, (point, spread) in estimates.items():
            truth = table.codecs[d].decode(table.x[gone[:, d], d])
            scores = (
                _scores_of_levels(truth, point, spread, levels[d])
                if levels[d]
                else _scores_of_numbers(truth, point, spread, float(np.nanstd(table.x[:, d])))
            )
            of = {"column": table.names[d], "kind": kinds[d], "method": method}
            pieces.append(pd.DataFrame({"row": table.labels[gone[:, d]], **of, **scores}))
    return pieces


def _scores_of_numbers(
    truth: Floats, mean: Floats, quantiles: Floats, scale: float
) -> dict[str, Any]:
    low, high = quantiles[:, -2:].T
    slack = _ROUNDING * scale
    covered = ((low - slack <= truth) & (truth <= high + slack)).astype(float)
    return {
        "truth": truth,
        "mean": mean,
        "low": low,
        "high": high,
        "covered": np.where(np.isnan(low), np.nan, covered),
        "crps": _crps(truth, quantiles[:, :-2]),
        "scale": scale,
    }


def _crps(truth: Floats, quantiles: Floats) -> Floats:
    """Return twice the mean pinball loss of quantiles at the midpoints: (n,), (n, Q) -> (n,)."""
    off = truth[:, None] - quantiles
    return 2 * np.maximum(_MIDPOINTS * off, (_MIDPOINTS - 1) * off).mean(1)


def _scores_of_levels(
    truth: Sequence[Any], code: Floats, chances: Floats, levels: Sequence[Any]
) -> dict[str, Any]:
    probability = (chances * _indicators(truth, levels)).sum(1)
    return {
        "level": truth,
        "predicted": [levels[k] for k in code.astype(int)],
        "probability": probability,
        "brier": (1 + (chances**2).sum(1)) / 2 - probability,
    }


def _indicators(cells: Sequence[Any], levels: Sequence[Any]) -> Mask:
    """Return which level a cell has, (n, L); one that is not among them has none."""
    return np.asarray(cells, object)[:, None] == np.asarray(levels, object)


def _baselines(
    table: _Table, gone: Mask, levels: dict[int, list[Any]], q: Floats, seed: int
) -> dict[str, dict[int, Estimate]]:
    """Return what simpler methods say of the same columns' hidden cells."""
    # an experiment of scikit-learn, which importing the package does not enable
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    x, rows = np.where(gone, np.nan, table.x), gone.any(1)
    mean = np.nanmean(x, 0)
    for d, found in levels.items():
        if found:
            seen = ~np.isnan(x[:, d])
            codes = _indicators(table.codecs[d].decode(x[seen, d]), found).argmax(1)
            x[seen, d], mean[d] = codes, np.bincount(codes).argmax()
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regressed = scaler.inverse_transform(IterativeImputer().fit_transform(z)[rows])
    sampler = IterativeImputer(sample_posterior=True, random_state=seed).fit(z)
    n_draws = max(_N_DRAWS, math.ceil(1 / q[-2]))  # the ends lie among them
    draws = [scaler.inverse_transform(sampler.transform(z[rows])) for _ in range(n_draws)]
    constant = np.broadcast_to(mean, regressed.shape)
    methods = {
        "mean or mode": (constant, constant[None]),
        "IterativeImputer": (regressed, np.stack(draws)),
    }
    return {
        method: {
            d: _estimate(points[cells, d], drawn[:, cells, d], len(found), q)
            for d, found in levels.items()
            for cells in [gone[rows, d]]
        }
        for method, (points, drawn) in methods.items()
    }


def _estimate(point: Floats, drawn: Floats, n_levels: int, q: Floats) -> Estimate:
    """Return points, and quantiles or chances by draws: (n,), (S, n)."""
    if n_levels:
        point, drawn = (np.rint(codes.clip(0, n_levels - 1)) for codes in (point, drawn))
        return point, (drawn[..., None] == np.arange(n_levels)).mean(0)
    # such that one more draw lies below with the probability asked for
    quantiles = np.quantile(drawn, q, axis=0, method="weibull").T
    if len(drawn) == 1:
        quantiles[:, -2:] = np.nan  # a point has no interval
    return point, quantiles


# -- statistics --------------------------------------------------------------------------------


def _statistics(table: _Table, x: Floats) -> dict[tuple[str, Any, Any], float]:
    """Return statistics of the cells that the table has: their names, columns, and what of."""
    seen, found = ~np.isnan(table.x), {}
    for d, (name, one) in enumerate(zip(table.names, table.codecs, strict=True)):
        cells = x[seen[:, d], d]
        for code, level in enumerate(one.levels):
            found["share", name, level] = float((cells == code).mean())
        if not one.levels:
            found["mean", name, None] = float(cells.mean())
            found["std", name, None] = float(cells.std())
            for q in (0.05, 0.95):
                found[f"{q:.0%}", name, None] = float(np.quantile(cells, q))
    correlations = _correlations(_sums(table, x, seen))
    for a, b in table.pairs():
        found["correlation", table.names[a], table.names[b]] = float(correlations[a, b])
    return found


def _sums(table: _Table, x: Floats, seen: Mask) -> Floats:
    """Return what correlations are made of: sums over rows in which both columns are seen.

    They are those of 1, x, y, x^2, y^2 and x y: (N, D) -> (6, D, D).
    """
    z = np.where(seen, (x - np.nanmean(table.x, 0)) / np.nanstd(table.x, 0), 0.0)
    o = seen.astype(float)
    return np.stack([o.T @ o, z.T @ o, o.T @ z, (z**2).T @ o, o.T @ z**2, z.T @ z])


def _correlations(sums: Floats) -> Floats:
    """Return correlations, NaN where a column is constant: (6, D, D) -> (D, D)."""
    x, y, xx, yy, xy = sums[1:] / np.maximum(sums[0], 1)
    variances = (xx - x**2) * (yy - y**2)
    told = (sums[0] >= _FEW) & (variances > _FLAT)
    return np.where(told, xy - x * y, np.nan) / np.sqrt(np.where(told, variances, 1.0))


def _compared(known: Floats, made: Floats, levels: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield a line, or one per level, on observed cells (n,) and imputed ones (M, n_missing)."""
    n_missing, made = made.shape[1], made.ravel()
    parts: list[tuple[Any, Any, Any]] = [(None, known, made)]
    if levels:
        parts = [(level, known == code, made == code) for code, level in enumerate(levels)]
        distance = 1 - sum(min(a.mean(), b.mean()) for _, a, b in parts)
    else:
        distance = ks_2samp(known, made, method="asymp").statistic
    for level, a, b in parts:
        yield {
            "level": level,
            "n_observed": len(known),
            "n_missing": n_missing,
            "mean_observed": a.mean(),
            "mean_imputed": b.mean(),
            "std_observed": a.std(),
            "std_imputed": b.std(),
            "difference": (b.mean() - a.mean()) / a.std(),
            "ratio": b.std() / a.std(),
            "distance": distance,
        }
