"""Pictures of holes, of training, and of what models are sure of, as scikit-learn's displays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._utils.validation import check_minimum
from ..estimators.imputer_base import BaseImputer
from ..tables.codecs import Codec, Dates
from ..tables.column_selection import column_index
from ..tables.columns import Column, Mask, to_objects
from ..tables.dataframes import columns_and_names
from ..tables.missingness import missing_patterns
from ..tables.schema import MODELLED_ROLES
from .plotting import (
    BLUE,
    GREY,
    PALE,
    axes_of,
    despine,
    fitted,
    grid_of_axes,
    pyplot,
    style_of_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MANY = 40  # columns or patterns from which on white lines between cells would hide them


_LABELLED = 15  # columns up to which there is room for a number over each


_LONG, _LETTERS = 12, 24  # letters of a level's name, and of those that fit beside one another


_FEW_VALUES = 12  # different whole numbers that are shown by bars


_GRID = 256  # points of a curve


_DAY = 86_400_000_000  # microseconds


class MissingnessDisplay:
    """Picture of a table's holes: its patterns, how many rows have each, and each column's share.

    Parameters
    ----------
    patterns : DataFrame
        What ``missing_patterns`` returns.

    Attributes
    ----------
    patterns : DataFrame
        As given.
    columns : list
        Names of the table's columns.
    missing : ndarray of bool of shape (n_patterns, n_features)
        Which columns each pattern lacks, the most frequent first.
    n_rows : ndarray of shape (n_patterns,)
        Rows that have it.
    missing_share : ndarray of shape (n_features,)
        Share of the rows that lack each column.
    mesh_ : matplotlib QuadMesh
        The patterns drawn.
    ax_ : matplotlib Axes
        Axes that hold the three that follow.
    patterns_ax_, rows_ax_, columns_ax_ : matplotlib Axes
        Those of the patterns, of the rows' counts beside them, and of the columns' shares on top.
    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    missing_patterns : The numbers.

    References
    ----------
    .. [1] van Buuren and Groothuis-Oudshoorn (2011). mice: Multivariate Imputation by Chained
       Equations in R. Journal of Statistical Software 45(3), of whose ``md.pattern`` it is a
       relative.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmissvae.inspection import MissingnessDisplay
    >>> table = pd.DataFrame({"age": [20, 31, 42, 53], "bmi": [None, 22.7, 30.1, None]})
    >>> display = MissingnessDisplay.from_data(table)
    >>> display.missing_share
    array([0. , 0.5])
    """

    mesh_: Any
    ax_: Axes
    patterns_ax_: Axes
    rows_ax_: Axes
    columns_ax_: Axes
    figure_: Figure

    def __init__(self, patterns: pd.DataFrame) -> None:
        self.patterns = patterns
        seen = patterns.drop(columns=["n_rows", "share", "n_missing"])
        self.columns = list(seen.columns)
        self.missing: Mask = ~seen.to_numpy(dtype=bool)
        self.n_rows = patterns["n_rows"].to_numpy()
        self.missing_share = self.n_rows @ self.missing / self.n_rows.sum()

    @classmethod
    def from_data(
        cls, X: Any, *, max_patterns: int = 20, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the holes of a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A table, with holes marked NaN or null.
        max_patterns : int, default=20
            Patterns to draw, the most frequent ones.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the patterns, as matplotlib's ``pcolormesh`` takes it.

        Returns
        -------
        MissingnessDisplay
            The display, drawn.
        """
        pyplot(cls)
        return cls(missing_patterns(X)).plot(ax, max_patterns=max_patterns, **kwargs)

    def plot(self, ax: Axes | None = None, *, max_patterns: int = 20, **kwargs: Any) -> Self:
        """Draw the patterns.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        max_patterns : int, default=20
            Patterns to draw, the most frequent ones.
        **kwargs : dict
            Style of the patterns, as matplotlib's ``pcolormesh`` takes it.

        Returns
        -------
        MissingnessDisplay
            The display.
        """
        check_minimum(1, max_patterns=max_patterns)
        missing, n_rows = self.missing[:max_patterns], self.n_rows[:max_patterns]
        n_patterns, n_columns = missing.shape
        size = min(3 + 0.45 * n_columns, 14), min(2.2 + 0.22 * n_patterns, 12)
        self.ax_, self.figure_ = ax, _ = axes_of(type(self), ax, figsize=size)
        ax.set_axis_off()
        cells = self.patterns_ax_ = ax.inset_axes((0, 0, 0.8, 0.8))
        rows = self.rows_ax_ = ax.inset_axes((0.82, 0, 0.18, 0.8), sharey=cells)
        columns = self.columns_ax_ = ax.inset_axes((0, 0.82, 0.8, 0.18), sharex=cells)

        from matplotlib.colors import ListedColormap

        line = 1.0 if max(missing.shape) < _MANY else 0.0
        style: dict[str, Any] = {"cmap": ListedColormap([PALE, BLUE]), "vmin": 0, "vmax": 1}
        style |= {"edgecolors": "white", "linewidth": line, **kwargs}
        self.mesh_ = cells.pcolormesh(missing, **style)
        cells.invert_yaxis()  # the most frequent on top
        places, every = np.arange(n_columns) + 0.5, math.ceil(n_columns / _MANY)
        cells.set_xticks(places[::every], list(map(str, self.columns[::every])), rotation=90)
        told = f"{n_patterns} of {len(self.missing)} patterns"
        cells.set(yticks=[], xlabel=f"{told}, {n_rows.sum() / self.n_rows.sum():.0%} of the rows")
        cells.tick_params(length=0)

        bars = rows.barh(np.arange(n_patterns) + 0.5, n_rows, 0.75, color=GREY)
        if n_patterns <= _MANY:
            rows.bar_label(bars, padding=2, fontsize="small")
        rows.set_title("rows", fontsize="medium", loc="left")
        rows.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
        color = self.mesh_.get_cmap()(1.0)
        bars = columns.bar(places, self.missing_share, 0.75, color=color)
        beside = {"transform": columns.transAxes, "va": "center", "color": color}
        columns.text(0.82 / 0.8, 0.5, "missing", **beside)
        columns.tick_params(bottom=False, labelbottom=False)
        if n_columns <= _LABELLED:
            columns.bar_label(bars, fmt="{:.0%}", padding=1, fontsize="small")
            columns.tick_params(left=False, labelleft=False)
        else:
            columns.yaxis.set_major_formatter("{x:.0%}")
        for part in (cells, rows, columns):
            part.spines[:].set_visible(False)
        return self


class ImputedDensityDisplay:
    """Picture of imputed values beside observed ones, column by column.

    Where cells are missing completely at random both are alike; where what is missing depends on
    what is seen they need not be, but a difference wants a reason.

    Parameters
    ----------
    observed : mapping of column to ndarray of shape (n_observed,)
        Observed cells: numbers, dates (numpy's datetime64 or timedelta64) or levels.
    imputed : mapping of column to ndarray of shape (n_imputations, n_missing)
        Imputed cells of the same columns.
    levels : mapping of column to list, default=None
        Levels of the columns that are shown by bars; the others are shown by densities.

    Attributes
    ----------
    observed, imputed, levels : dict
        As given.
    axes_ : ndarray of matplotlib Axes of shape (n_columns,)
        An axes for each column.
    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    OverimputationDisplay : Hidden cells against their intervals.

    References
    ----------
    .. [1] Abayomi, Gelman and Levy (2008). Diagnostics for Multivariate Imputations. Journal of
       the Royal Statistical Society C 57(3).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import ImputedDensityDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> display = ImputedDensityDisplay.from_estimator(imputer, X)
    >>> display.imputed["x1"].shape
    (5, 17)
    """

    axes_: NDArray[Any]
    figure_: Figure

    def __init__(
        self,
        observed: Mapping[Any, NDArray[Any]],
        imputed: Mapping[Any, NDArray[Any]],
        levels: Mapping[Any, Sequence[Any]] | None = None,
    ) -> None:
        self.observed, self.imputed, self.levels = observed, imputed, levels or {}

    @classmethod
    def from_estimator(
        cls,
        imputer: Any,
        X: Any,
        columns: Iterable[Any] | None = None,
        *,
        n_imputations: int = 5,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw what a fitted imputer puts into the holes of a table.

        Parameters
        ----------
        imputer : imputer of this package
            Fitted.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        columns : iterable of str or int, or None, default=None
            Columns to show, by name or index; None takes all that are modelled and have holes.
        n_imputations : int, default=5
            Number of times that the holes are filled.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None takes the imputer's own ``random_state``.
        ax : matplotlib Axes, array-like of them or None, default=None
            An axes for each column; None makes a figure.
        **kwargs : dict
            Style of the imputations, as matplotlib's ``plot`` takes it.

        Returns
        -------
        ImputedDensityDisplay
            The display, drawn.
        """
        pyplot(cls)
        check_minimum(1, n_imputations=n_imputations)
        source, cells, _ = fitted(imputer, BaseImputer, "imputer")._rows(X)
        table, names = imputer._table, imputer._table.names
        places = _places_with_holes(imputer, cells.missing, columns)
        tables = imputer.impute(
            X,
            n_imputations,
            random_state=random_state,
            where=np.isin(np.arange(len(names)), places),
        )
        completed = [columns_and_names(one)[0] for one in tables]
        observed, imputed, levels = {}, {}, {}
        modelled = {int(j): d for d, j in enumerate(table.modelled)}
        for j in places:
            name, codec, hole = names[j], table.codecs[j], cells.missing[:, j]
            observed[name] = _cells(codec, source.columns[j], cells.observed[:, j])
            kept = table.output_columns.tolist().index(j)
            imputed[name] = np.stack([_cells(codec, one[kept], hole) for one in completed])
            levels[name] = table.categories(modelled[table.copies.get(j, j)])
            if codec.is_integer:
                values = np.unique(np.append(observed[name], imputed[name]))
                levels[name] = values.tolist() if len(values) <= _FEW_VALUES else []
        return cls(observed, imputed, levels).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the columns: densities, or shares of levels.

        All densities of a column have kernels of one width, so that they differ by their values
        alone.

        Parameters
        ----------
        ax : matplotlib Axes, array-like of them or None, default=None
            An axes for each column; None makes a figure.
        **kwargs : dict
            Style of the imputations, as matplotlib's ``plot`` takes it.

        Returns
        -------
        ImputedDensityDisplay
            The display.
        """
        self.axes_ = grid_of_axes(type(self), ax, len(self.observed))
        self.figure_ = self.axes_[0].get_figure()
        for name, one in zip(self.observed, self.axes_, strict=True):
            observed, imputed = self.observed[name], self.imputed[name]
            if levels := self.levels.get(name):
                _draw_shares(one, observed, imputed, levels, kwargs)
            else:
                _draw_densities(one, observed, imputed, kwargs)
            one.set_title(f"{name}, {imputed.shape[1]} imputed", fontsize="medium")
            despine(one)
        handles, names = self.axes_[0].get_legend_handles_labels()
        handles = [handles[names.index(name)] for name in ("observed", "imputed")]
        times = len(imputed)
        names = ["observed", f"imputed, {times} times" if times > 1 else "imputed"]
        if ax is None:
            self.figure_.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)
        else:
            self.axes_[0].legend(handles, names, frameon=False)
        return self


def _places_with_holes(imputer: BaseImputer, holes: Mask, columns: Any) -> list[int]:
    """Return the columns to show: those wanted, which must have holes that the model fills."""
    names, table = imputer._table.names, imputer._table
    modelled = np.isin(table.roles, MODELLED_ROLES)
    if columns is None:
        places = np.flatnonzero(holes.any(0) & modelled).tolist()
        if not places:
            raise ValueError("X has no hole in a modelled column: nothing is imputed.")
        return places
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of columns; got {columns!r}: put it into [].")
    places = [column_index(column, names, "columns") for column in columns]
    if not places:
        raise ValueError("columns must name one column or more; got none.")
    for j in places:
        if not modelled[j] or not holes[:, j].any():
            why = "no missing cell in X" if modelled[j] else f"no model ({table.roles[j]})"
            raise ValueError(f"columns names {names[j]!r}, which has {why}; leave it out.")
    return list(dict.fromkeys(places))


def _cells(codec: Codec, column: Column, where: Mask) -> NDArray[Any]:
    """Return cells of a column: levels, dates or numbers."""
    if codec.categories:
        return to_objects(column)[where]
    numbers = codec.encode(column, ~where)[where]
    if isinstance(codec, Dates):
        return numbers.astype("timedelta64[us]" if codec.is_duration else "datetime64[us]")
    return numbers


def _numbers(cells: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers as they are, and times in days, as matplotlib has them."""
    if cells.dtype.kind in "mM":
        return cells.astype("int64") / _DAY
    return cells.astype(np.float64)


def _draw_densities(
    ax: Axes,
    observed: NDArray[Any],
    imputed: NDArray[Any],
    style: Mapping[str, Any],
) -> None:
    """Draw densities of numbers or times."""
    seen, made = _numbers(observed), _numbers(imputed)
    every = np.append(seen, made)
    # Scott's rule for the smaller of both
    width = every.std() * min(len(seen) or np.inf, made.shape[1]) ** -0.2 or 1.0
    grid = np.linspace(every.min() - 2 * width, every.max() + 2 * width, _GRID)
    ax.fill_between(grid, _density(seen, grid, width), color=PALE, label="observed")
    lines = style_of_lines(style, color=BLUE, linewidth=1.0)
    for i, one in enumerate(made):
        label = "imputed" if i == 0 else None
        ax.plot(grid, _density(one, grid, width), **{**lines, "label": label})
    if observed.dtype.kind == "M":
        ax.xaxis_date()
    elif observed.dtype.kind == "m":
        ax.set_xlabel("days")
    ax.set(yticks=[], ylim=(0, None))
    ax.spines["left"].set_visible(False)


def _density(
    values: NDArray[np.float64], grid: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """Return a density by Normal kernels; zero of no value."""
    if not len(values):
        return np.zeros(len(grid))
    kernels = [np.exp(-0.5 * ((point - values) / width) ** 2).mean() for point in grid]
    return np.array(kernels) / (width * math.sqrt(2 * math.pi))


def _draw_shares(
    ax: Axes,
    observed: NDArray[Any],
    imputed: NDArray[Any],
    levels: Sequence[Any],
    style: Mapping[str, Any],
) -> None:
    """Draw shares of levels: a bar of the observed ones, a dot for each imputation."""
    places = np.arange(len(levels))
    ax.bar(places, _shares(observed, levels), 0.7, color=PALE, label="observed")
    ours = {"color": BLUE, "marker": "o", "linestyle": "none", "markersize": 4.0, "alpha": 0.7}
    dots = style_of_lines(style, **ours)
    beside = np.linspace(-0.2, 0.2, len(imputed)) if len(imputed) > 1 else [0.0]
    for i, (one, shift) in enumerate(zip(imputed, beside, strict=True)):
        label = "imputed" if i == 0 else None
        ax.plot(places + shift, _shares(one, levels), **{**dots, "label": label})
    names = [f"{level:g}" if isinstance(level, float) else str(level) for level in levels]
    names = [name if len(name) <= _LONG else f"{name[: _LONG - 1]}…" for name in names]
    crowded = sum(map(len, names)) > _LETTERS
    ax.set_xticks(places, names, rotation=90 if crowded else 0)
    ax.yaxis.set_major_formatter("{x:.0%}")


def _shares(cells: NDArray[Any], levels: Sequence[Any]) -> NDArray[np.float64]:
    """Return how much of the cells is of each level, (n_levels,)."""
    if cells.dtype == object:
        code = {level: k for k, level in enumerate(levels)}
        codes = np.array([code[cell] for cell in cells], dtype=int)
    else:  # sums in other units may miss a level by a rounding error
        codes = np.abs(np.subtract.outer(cells, levels)).argmin(1)
    return np.bincount(codes, minlength=len(levels)) / max(len(cells), 1)
