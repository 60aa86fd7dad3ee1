"""Display of hidden cells: predicted means and intervals against true values."""

from __future__ import annotations

from typing import Any, Self

import pandas as pd

from .._utils.quoting import listed, quoted
from .plotting import BLUE, GREY, RED, despine, get_axes, line_style


class OverimputationDisplay:
    """Plot of predicted means and intervals of hidden cells against their true values.

    Each point is a hidden cell of a numeric column, predicted from the other cells of its row.
    Lines that do not cross the diagonal are intervals that do not contain the truth; one in ten
    90% intervals should not.

    Parameters
    ----------
    report : OverimputationReport
        Report returned by ``overimputation_report``.

    Attributes
    ----------
    report : OverimputationReport
        As passed.
    cells : DataFrame
        The plotted cells of the report, in the plotted units.
    coverage : float
        Share of their intervals that contain the truth.
    points_ : list of matplotlib Line2D
        Points of the cells inside their intervals, and of those outside.
    intervals_ : list of matplotlib LineCollection
        Intervals of the cells inside and outside.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    skmissvae.overimputation_report : Compute a report.
    ImputedDensityDisplay : Distributions of imputed and observed values.

    References
    ----------
    .. [1] Honaker, King and Blackwell (2011). Amelia II: A Program for Missing Data. Journal of
       Statistical Software 45(7).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, overimputation_report
    >>> from skmissvae.inspection import OverimputationDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> report = overimputation_report(imputer, X, refit=False, baselines=False, random_state=0)
    >>> display = OverimputationDisplay(report).plot()
    >>> 0.5 < display.coverage <= 1
    True
    """

    def __init__(self, report: Any) -> None:
        self.report = report

    def plot(self, ax: Any = None, *, column: Any = None, **kwargs: Any) -> Self:
        """Draw the cells.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        column : str or None, default=None
            Column to draw, in its units. None draws all numeric columns, centred by the mean of
            their hidden cells, in standard deviations.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the points.

        Returns
        -------
        OverimputationDisplay
            The display.
        """
        self.cells, unit = self._select_cells(column)
        self.coverage = float(self.cells["covered"].mean())
        self.ax_, self.figure_ = ax, _ = get_axes(type(self), ax, figsize=(6, 5.5))
        ax.axline((self.cells["truth"].mean(),) * 2, slope=1, color=GREY, linewidth=1)
        self.points_, self.intervals_ = [], []
        for covered, name, color, alpha in ((1, "inside", BLUE, 0.4), (0, "outside", RED, 0.8)):
            cells = self.cells[self.cells["covered"] == covered]
            level = f"{100 * self.report.level:g}%"
            label = f"{name} the {level} interval: {len(cells) / len(self.cells):.0%}"
            style = line_style(kwargs, color=color, marker="o", markersize=2.5, linestyle="none")
            self.points_ += ax.plot(cells["truth"], cells["mean"], **{**style, "label": label})
            ends = cells["truth"], cells["low"], cells["high"]
            lines = ax.vlines(*ends, colors=style["color"], linewidth=0.6, alpha=alpha)
            self.intervals_.append(lines)
        ax.legend(frameon=False, loc="upper left", markerscale=2)
        ax.set(xlabel=f"true value, {unit}", ylabel=f"mean and interval, {unit}")
        despine(ax)
        return self

    def _select_cells(self, column: Any) -> tuple[pd.DataFrame, str]:
        """Return the cells to draw, in the units to draw, and the name of these units."""
        cells = self.report.cells
        cells = cells[cells["low"].notna()]
        columns = cells["column"].unique().tolist()
        if not columns:
            raise ValueError(
                "report has no hidden cell of a numeric column; categories have no intervals. Pass "
                "a report with numeric columns."
            )
        if column is None:
            mean = cells.groupby("column")["truth"].transform("mean")
            values = cells[["truth", "mean", "low", "high"]]
            standardised = values.sub(mean, axis=0).div(cells["scale"], axis=0)
            return cells.assign(**standardised), "standard deviations"
        if column not in columns:
            names = listed(columns)
            raise ValueError(
                f"column must be a numeric column with hidden cells: {names}; got {quoted(column)}."
            )
        return cells[cells["column"] == column], str(column)
