"""Overimputation: observed cells that are hidden, and what imputers say of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from .._utils.validation import check_minimum
from ..tables.columns import Mask
from ..tables.dataframes import hide_cells
from ..tables.missingness import borrowed_masks
from .comparable_columns import ComparableTable, Floats, comparable_table
from .plotting import BLUE, GREY, RED, axes_of, despine, pyplot, style_of_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: What a method says of a column's hidden cells: points (n,), and quantiles (n, Q) of numbers, or
#: chances of levels (n, L).
Estimate = tuple[Floats, Floats]


_N_FOLDS = 5  # of the rows: cells of one are hidden, so that models hardly know less without them


_MIDPOINTS = (np.arange(39) + 0.5) / 39  # probabilities, of a sum that stands for an integral


_N_DRAWS = 100  # of IterativeImputer, at least: by fewer it would seem less sure than it is


_ROUNDING = 1e-6  # of values that come back from float32, in standard deviations


_CELLS = (
    *("repeat", "row", "column", "kind", "method", "truth", "mean", "low", "high", "covered"),
    *("crps", "scale", "level", "predicted", "probability", "brier"),
)


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

    def plot(self, ax: Any = None) -> OverimputationDisplay:
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
        draws with ``sample_posterior=True``, 100 or as many as an interval needs, the rest. It
        sees the columns that are judged; the imputer may learn from dates, too.
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
    check_minimum(1, n_repeats=n_repeats)
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, such as 0.9; got {level!r}.")
    table, rng = comparable_table(imputer, X, "cell_distribution"), check_random_state(random_state)
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


class OverimputationDisplay:
    """Picture of observed cells that were hidden: what they hold against what the model says.

    Each point is a cell of numbers, whose mean and interval the model gives from the rest of its
    row. Lines that miss the diagonal are intervals that miss the truth: of 90% intervals one in
    ten ought to.

    Parameters
    ----------
    report : OverimputationReport
        What ``overimputation_report`` returns.

    Attributes
    ----------
    report : OverimputationReport
        As given.
    cells : DataFrame
        Its hidden cells of numbers, as they are drawn.
    coverage : float
        Share of their intervals that hold the truth.
    points_ : list of matplotlib Line2D
        Means of the cells inside their intervals, and of those outside.
    intervals_ : list of matplotlib LineCollection
        Their intervals.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    overimputation_report : The numbers, and those of simpler imputers.
    ImputedDensityDisplay : Imputed values beside observed ones.

    References
    ----------
    .. [1] Honaker, King and Blackwell (2011). Amelia II: A Program for Missing Data. Journal of
       Statistical Software 45(7).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import OverimputationDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> display = OverimputationDisplay.from_estimator(
    ...     imputer, X, refit=False, baselines=False, random_state=0
    ... )
    >>> 0.5 < display.coverage <= 1
    True
    """

    cells: pd.DataFrame
    coverage: float
    points_: list[Any]
    intervals_: list[Any]
    ax_: Axes
    figure_: Figure

    def __init__(self, report: OverimputationReport) -> None:
        self.report = report

    @classmethod
    def from_estimator(
        cls,
        imputer: Any,
        X: Any,
        *,
        column: Any = None,
        ax: Axes | None = None,
        style: Mapping[str, Any] | None = None,
        **report_options: Any,
    ) -> Self:
        """Hide cells of a table, and draw what an imputer says of them.

        Parameters
        ----------
        imputer : imputer of this package
            Fitted.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        column : str or None, default=None
            Column to draw, in its units; None draws all columns of numbers, standardised.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        style : mapping or None, default=None
            Style of the points, as matplotlib's ``plot`` takes it.
        **report_options : dict
            What ``overimputation_report`` takes: ``refit=False`` is quick.

        Returns
        -------
        OverimputationDisplay
            The display, drawn.
        """
        pyplot(cls)
        report = overimputation_report(imputer, X, **report_options)
        return cls(report).plot(ax, column=column, **(style or {}))

    def plot(self, ax: Axes | None = None, *, column: Any = None, **kwargs: Any) -> Self:
        """Draw the cells.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        column : str or None, default=None
            Column to draw, in its units; None draws all columns of numbers, each from the mean of
            its hidden cells, in standard deviations.
        **kwargs : dict
            Style of the points, as matplotlib's ``plot`` takes it.

        Returns
        -------
        OverimputationDisplay
            The display.
        """
        cells = self.report.cells
        cells = cells[cells["low"].notna()]
        columns, unit = cells["column"].unique().tolist(), "standard deviations"
        if column is not None and column not in columns:
            raise ValueError(
                "column must be one of numbers of which cells were hidden, "
                f"{', '.join(map(repr, columns)) or 'but there is none'}; got {column!r}."
            )
        if column is not None:
            cells, unit = cells[cells["column"] == column], str(column)
        elif columns:
            mean = cells.groupby("column")["truth"].transform("mean")
            values = cells[["truth", "mean", "low", "high"]]
            cells = cells.assign(**values.sub(mean, axis=0).div(cells["scale"], axis=0))
        else:
            raise ValueError("report has no hidden cell of numbers: levels have no intervals.")
        self.cells, self.coverage = cells, float(cells["covered"].mean())
        self.ax_, self.figure_ = ax, _ = axes_of(type(self), ax, figsize=(6, 5.5))
        ax.axline((cells["truth"].mean(),) * 2, slope=1, color=GREY, linewidth=1)
        self.points_, self.intervals_ = [], []
        for covered, name, color, alpha in ((1, "inside", BLUE, 0.4), (0, "outside", RED, 0.8)):
            part = cells[cells["covered"] == covered]
            level = f"{100 * self.report.level:g}%"
            label = f"{name} the {level} interval: {len(part) / len(cells):.0%}"
            ours = {"color": color, "marker": "o", "markersize": 2.5, "linestyle": "none"}
            style = style_of_lines(kwargs, **ours)
            self.points_ += ax.plot(part["truth"], part["mean"], **{**style, "label": label})
            ends = part["truth"], part["low"], part["high"]
            lines = ax.vlines(*ends, colors=style["color"], linewidth=0.6, alpha=alpha)
            self.intervals_.append(lines)
        ax.legend(frameon=False, loc="upper left", markerscale=2)
        ax.set(xlabel=f"truth, {unit}", ylabel=f"mean and interval, {unit}")
        despine(ax)
        return self


def _by_column(lines: pd.DataFrame, names: list[Any]) -> pd.DataFrame:
    """Return lines in the order of the columns that they are of."""
    place = {name: i for i, name in enumerate(names)}
    return lines.sort_values(
        "column", key=lambda column: column.map(place), kind="stable", ignore_index=True
    )


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
    table: ComparableTable,
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
    holed = hide_cells(X, hidden)
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
    table: ComparableTable, gone: Mask, levels: dict[int, list[Any]], q: Floats, seed: int
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
    quantiles[(drawn == drawn[0]).all(0), -2:] = np.nan  # a point has no interval
    return point, quantiles
