"""Display of the training curve of an estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.base import BaseVAE
from .plotting import BLUE, RED, check_fitted, despine, get_axes, import_pyplot, line_style

_SKIPPED_SHARE = 0.1  # share of the first epochs that do not determine the limits of the y axis


class TrainingDisplay:
    """Plot of the bound by epoch of training.

    Parameters
    ----------
    bound : array-like of shape (n_epochs,)
        Mean bound of the training rows in each epoch.
    validation_bound : array-like of shape (n_epochs,) or None, default=None
        Mean bound of the validation rows in each epoch.

    Attributes
    ----------
    bound, validation_bound : ndarray of shape (n_epochs,)
        As passed; ``validation_bound`` may be None.
    lines_ : list of matplotlib Line2D
        The curves.
    best_ : matplotlib Line2D or None
        Marker of the best epoch, whose weights the estimator keeps.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    MixtureUseDisplay : Weights of the components of the posterior.
    skmissvae.diagnose : Judge the training curve, among other checks.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import TrainingDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> display = TrainingDisplay.from_estimator(imputer)
    >>> display.bound.shape
    (20,)
    """

    def __init__(self, bound: ArrayLike, validation_bound: ArrayLike | None = None) -> None:
        self.bound = np.asarray(bound, dtype=float)
        self.validation_bound = (
            None if validation_bound is None else np.asarray(validation_bound, dtype=float)
        )

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the training curve of a fitted estimator.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted estimator.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the curves.

        Returns
        -------
        TrainingDisplay
            The display, after it is drawn.
        """
        import_pyplot(cls)
        history = check_fitted(estimator, BaseVAE).history_
        if not history.get("bound"):
            raise ValueError(
                f"{type(estimator).__name__} has no completed epoch to plot. Fit it again."
            )
        display = cls(history["bound"], history.get("validation_bound"))
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the curves.

        The limits of the y axis ignore the first tenth of the epochs, in which bounds are often
        much lower than afterwards. Curves of several estimators can share ``ax``.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the curves.

        Returns
        -------
        TrainingDisplay
            The display.
        """
        self.ax_, self.figure_ = ax, _ = get_axes(type(self), ax, figsize=(6.4, 4))
        label = kwargs.pop("label", None)
        epochs = np.arange(1, len(self.bound) + 1)
        style = line_style(kwargs, color=BLUE, marker="o" if len(epochs) == 1 else "")
        self.lines_ = ax.plot(epochs, self.bound, **style, label=label or "training rows")
        self.best_ = None
        if self.validation_bound is not None:
            style = line_style(kwargs, color=RED)
            name = f"{label}, validation rows" if label else "validation rows"
            self.lines_ += ax.plot(epochs, self.validation_bound, **style, label=name)
            best = int(np.nan_to_num(self.validation_bound, nan=-np.inf).argmax())
            style |= {"marker": "o", "linestyle": "none"}
            point = [epochs[best]], [self.validation_bound[best]]
            (self.best_,) = ax.plot(*point, **style, label=f"best, epoch {epochs[best]}")
        if self.validation_bound is not None or label:
            ax.legend(frameon=False, loc="lower right")
        _limit_y_axis(ax)
        ax.set(xlabel="epoch", ylabel="bound per row, nats (standardised columns)")
        despine(ax)
        return self


def _limit_y_axis(ax: Any) -> None:
    """Set the y limits to the range of all curves after their first epochs."""
    curves = [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]
    later = np.concatenate([y[int(_SKIPPED_SHARE * len(y)) :] for y in curves])
    low, high = np.nanmin(later), np.nanmax(later)
    if low < high:
        margin = 0.1 * (high - low)
        ax.set_ylim(max(low - margin, ax.get_ylim()[0]), high + margin, auto=None)
