"""Display of the missingness patterns of a table."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import pandas as pd

from .._utils.validation import check_minimum
from ..tables.columns import Mask
from ..tables.missingness import missing_patterns
from .plotting import BLUE, GREY, PALE, get_axes, import_pyplot

_MAX_SEPARATED = 40  # columns or patterns up to which cells are separated by white lines
_MAX_LABELLED = 15  # columns up to which each has its share as a number


class MissingnessDisplay:
    """Plot of missingness patterns, their numbers of rows, and the missing share of each column.

    Parameters
    ----------
    patterns : DataFrame
        Patterns as returned by ``missing_patterns``.

    Attributes
    ----------
    patterns : DataFrame
        As passed.
    columns : list
        Names of the columns of the table.
    missing : ndarray of bool of shape (n_patterns, n_features)
        Missing columns of each pattern, the most frequent pattern first.
    n_rows : ndarray of shape (n_patterns,)
        Number of rows with each pattern.
    missing_share : ndarray of shape (n_features,)
        Share of rows in which each column is missing.
    mesh_ : matplotlib QuadMesh
        The patterns.
    ax_ : matplotlib Axes
        Axes that contain the following three.
    patterns_ax_, rows_ax_, columns_ax_ : matplotlib Axes
        Axes of the patterns, of the numbers of rows, and of the shares of columns.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    skmissvae.missing_patterns : The patterns as a data frame.

    References
    ----------
    .. [1] van Buuren and Groothuis-Oudshoorn (2011). mice: Multivariate Imputation by Chained
       Equations in R. Journal of Statistical Software 45(3). ``md.pattern`` is similar.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmissvae.inspection import MissingnessDisplay
    >>> table = pd.DataFrame({"age": [20, 31, 42, 53], "bmi": [None, 22.7, 30.1, None]})
    >>> display = MissingnessDisplay.from_data(table)
    >>> display.missing_share
    array([0. , 0.5])
    """

    def __init__(self, patterns: pd.DataFrame) -> None:
        self.patterns = patterns
        observed = patterns.drop(columns=["n_rows", "share", "n_missing"])
        self.columns = list(observed.columns)
        self.missing: Mask = ~observed.to_numpy(dtype=bool)
        self.n_rows = patterns["n_rows"].to_numpy()
        self.missing_share = self.n_rows @ self.missing / self.n_rows.sum()

    @classmethod
    def from_data(cls, X: Any, *, max_patterns: int = 20, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the missingness patterns of a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Table whose missing cells are NaN or null.
        max_patterns : int, default=20
            Number of patterns to draw, the most frequent ones.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``pcolormesh`` for the patterns.

        Returns
        -------
        MissingnessDisplay
            The display, after it is drawn.
        """
        import_pyplot(cls)
        return cls(missing_patterns(X)).plot(ax, max_patterns=max_patterns, **kwargs)

    def plot(self, ax: Any = None, *, max_patterns: int = 20, **kwargs: Any) -> Self:
        """Draw the patterns.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        max_patterns : int, default=20
            Number of patterns to draw, the most frequent ones.
        **kwargs : dict
            Keyword arguments of matplotlib's ``pcolormesh`` for the patterns.

        Returns
        -------
        MissingnessDisplay
            The display.
        """
        check_minimum(1, max_patterns=max_patterns)
        missing, n_rows = self.missing[:max_patterns], self.n_rows[:max_patterns]
        n_patterns, n_columns = missing.shape
        size = min(3 + 0.45 * n_columns, 14), min(2.2 + 0.22 * n_patterns, 12)
        self.ax_, self.figure_ = ax, _ = get_axes(type(self), ax, figsize=size)
        ax.set_axis_off()
        cells = self.patterns_ax_ = ax.inset_axes((0, 0, 0.8, 0.8))
        rows = self.rows_ax_ = ax.inset_axes((0.82, 0, 0.18, 0.8), sharey=cells)
        columns = self.columns_ax_ = ax.inset_axes((0, 0.82, 0.8, 0.18), sharex=cells)

        from matplotlib.colors import ListedColormap

        linewidth = 1.0 if max(missing.shape) < _MAX_SEPARATED else 0.0
        style: dict[str, Any] = {"cmap": ListedColormap([PALE, BLUE]), "vmin": 0, "vmax": 1}
        style |= {"edgecolors": "white", "linewidth": linewidth, **kwargs}
        self.mesh_ = cells.pcolormesh(missing, **style)
        cells.invert_yaxis()  # the most frequent pattern on top
        positions, step = np.arange(n_columns) + 0.5, math.ceil(n_columns / _MAX_SEPARATED)
        cells.set_xticks(positions[::step], list(map(str, self.columns[::step])), rotation=90)
        share = n_rows.sum() / self.n_rows.sum()
        xlabel = f"{n_patterns} of {len(self.missing)} patterns, {share:.0%} of the rows"
        cells.set(yticks=[], xlabel=xlabel)
        cells.tick_params(length=0)

        bars = rows.barh(np.arange(n_patterns) + 0.5, n_rows, 0.75, color=GREY)
        if n_patterns <= _MAX_SEPARATED:
            rows.bar_label(bars, padding=2, fontsize="small")
        rows.set_title("rows", fontsize="medium", loc="left")
        rows.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
        color = self.mesh_.get_cmap()(1.0)
        bars = columns.bar(positions, self.missing_share, 0.75, color=color)
        place = {"transform": columns.transAxes, "va": "center"}
        columns.text(0.82 / 0.8, 0.5, "missing", color=color, **place)
        columns.tick_params(bottom=False, labelbottom=False)
        if n_columns <= _MAX_LABELLED:
            columns.bar_label(bars, fmt="{:.0%}", padding=1, fontsize="small")
            columns.tick_params(left=False, labelleft=False)
        else:
            columns.yaxis.set_major_formatter("{x:.0%}")
        for axes in (cells, rows, columns):
            axes.spines[:].set_visible(False)
        return self
