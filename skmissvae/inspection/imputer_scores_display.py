"""Display of the scores of several imputers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd

from .energy import EnergyIScorer
from .plotting import despine, get_axes, import_pyplot, line_style

_MARKERS = "osD^vP*X"


class ImputerScoresDisplay:
    """Plot of the energy I-scores of imputers, for each column and over all.

    Greater scores are better: imputations have the distribution of the observed cells.

    Parameters
    ----------
    scores : DataFrame
        A row per imputer and column: ``imputer``, ``column``, ``score`` and ``weight``, as
        ``EnergyIScorer.column_scores`` returns them.

    Attributes
    ----------
    scores : DataFrame
        As passed.
    mean : Series
        Weighted mean of the scores of each imputer, the greatest first.
    lines_ : list of matplotlib Line2D
        The points of each imputer, in the order of ``mean``.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    skmissvae.EnergyIScorer : The score, also for searches.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import EnergyIScorer, MissVAEImputer, MVAEImputer
    >>> from skmissvae.inspection import ImputerScoresDisplay
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> X[::3, 1] = np.nan
    >>> imputers = {
    ...     cls.__name__: cls(max_iter=5, random_state=0).fit(X)
    ...     for cls in (MVAEImputer, MissVAEImputer)
    ... }
    >>> display = ImputerScoresDisplay.from_estimators(imputers, X, EnergyIScorer(n_draws=5))
    >>> sorted(display.mean.index)
    ['MVAEImputer', 'MissVAEImputer']
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        self.scores = scores
        weighted = scores["score"] * scores["weight"]
        by_imputer = [scores["imputer"]]
        mean = weighted.groupby(by_imputer, sort=False).sum()
        mean /= scores["weight"].groupby(by_imputer, sort=False).sum()
        self.mean = mean.sort_values(ascending=False, kind="stable").rename("score")

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        X: Any,
        scorer: EnergyIScorer | None = None,
        *,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the scores of fitted imputers.

        Parameters
        ----------
        estimators : mapping of str to object
            Fitted imputers by their names, of this package or others.
        X : data frame or array-like of shape (n_samples, n_features)
            Table with missing cells, which are NaN or null.
        scorer : EnergyIScorer or None, default=None
            The score; None is ``EnergyIScorer()``. It fits clones of each imputer.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the points.

        Returns
        -------
        ImputerScoresDisplay
            The display, after it is drawn.

        Raises
        ------
        ValueError
            If there is no imputer, or as of ``EnergyIScorer.column_scores``.
        """
        import_pyplot(cls)
        if not isinstance(estimators, Mapping) or not estimators:
            raise ValueError(
                "estimators must be a mapping from names to fitted imputers, such as "
                "{'forest': forest, 'vae': vae}."
            )
        scorer = EnergyIScorer() if scorer is None else scorer
        parts = {name: scorer.column_scores(imputer, X) for name, imputer in estimators.items()}
        frames = [part.assign(imputer=name) for name, part in parts.items()]
        return cls(pd.concat(frames, ignore_index=True)).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw a point for each imputer and column, and for its weighted mean.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the points.

        Returns
        -------
        ImputerScoresDisplay
            The display.
        """
        columns = list(dict.fromkeys(self.scores["column"]))
        n, m = len(columns), len(self.mean)
        size = 6.4, 1.4 + (0.25 + 0.06 * m) * (n + 1)
        self.ax_, self.figure_ = ax, _ = get_axes(type(self), ax, figsize=size)
        self.lines_ = []
        offsets = 0.5 * (np.arange(m) - 0.5 * (m - 1)) / m
        for i, (name, mean) in enumerate(self.mean.items()):
            part = self.scores[self.scores["imputer"] == name].set_index("column")["score"]
            x = [mean, *part.reindex(columns)]
            marker = _MARKERS[i % len(_MARKERS)]
            style = line_style(kwargs, color=f"C{i}", marker=marker, linestyle="none", markersize=5)
            y = np.arange(n + 1) + offsets[i]
            self.lines_ += ax.plot(x, y, **{**style, "label": f"{name} ({mean:.3f})"})
        ax.axhline(0.5, color="0.8", linewidth=0.8)
        ax.set_yticks(range(n + 1), ["mean", *map(str, columns)])
        ax.invert_yaxis()
        ax.set_xlabel("energy I-score")
        ax.legend(frameon=False)
        despine(ax)
        return self
