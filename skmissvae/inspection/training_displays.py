"""The display of a model's training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.base import BaseVAE
from .plotting import BLUE, RED, axes_of, despine, fitted, pyplot, style_of_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETTLED = 0.1  # share of the epochs after which the bound is worth its place in the picture


class TrainingDisplay:
    """Picture of a model's training: the bound, epoch by epoch.

    Parameters
    ----------
    bound : array-like of shape (n_epochs,)
        Mean bound of the rows trained on, in each epoch.
    validation_bound : array-like of shape (n_epochs,) or None, default=None
        Mean bound of the rows that are held out.

    Attributes
    ----------
    bound, validation_bound : ndarray of shape (n_epochs,)
        As given; ``validation_bound`` may be None.
    lines_ : list of matplotlib Line2D
        The curves.
    best_ : matplotlib Line2D or None
        The mark of the best epoch, of which the estimator keeps the weights.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    MixtureUseDisplay : How much each component of the posterior is used.
    OverimputationDisplay : Hidden cells against their intervals.

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

    lines_: list[Any]
    best_: Any
    ax_: Axes
    figure_: Figure

    def __init__(self, bound: ArrayLike, validation_bound: ArrayLike | None = None) -> None:
        self.bound = np.asarray(bound, dtype=float)
        self.validation_bound = (
            None if validation_bound is None else np.asarray(validation_bound, dtype=float)
        )

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the curves, as matplotlib's ``plot`` takes it.

        Returns
        -------
        TrainingDisplay
            The display, drawn.
        """
        pyplot(cls)
        history = fitted(estimator, BaseVAE).history_
        if not history.get("bound"):
            raise ValueError(
                f"{type(estimator).__name__} has no epoch to show: its training ended within the "
                "first; fit it again."
            )
        display = cls(history["bound"], history.get("validation_bound"))
        return display.plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the curves.

        The first tenth of the epochs, where bounds are often far lower than ever after, may leave
        the picture at its lower edge. Curves of several estimators can share ``ax``.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the curves, as matplotlib's ``plot`` takes it.

        Returns
        -------
        TrainingDisplay
            The display.
        """
        self.ax_, self.figure_ = ax, _ = axes_of(type(self), ax, figsize=(6.4, 4))
        label = kwargs.pop("label", None)
        epochs = np.arange(1, len(self.bound) + 1)
        style = style_of_lines(kwargs, color=BLUE, marker="o" if len(epochs) == 1 else "")
        self.lines_ = ax.plot(epochs, self.bound, **style, label=label or "rows trained on")
        self.best_ = None
        if self.validation_bound is not None:
            style = style_of_lines(kwargs, color=RED)
            name = f"{label}, held-out rows" if label else "held-out rows"
            self.lines_ += ax.plot(epochs, self.validation_bound, **style, label=name)
            best = int(np.nan_to_num(self.validation_bound, nan=-np.inf).argmax())
            style |= {"marker": "o", "linestyle": "none"}
            at = [epochs[best]], [self.validation_bound[best]]
            (self.best_,) = ax.plot(*at, **style, label=f"best, epoch {epochs[best]}")
        if self.validation_bound is not None or label:
            ax.legend(frameon=False, loc="lower right")
        lift_axes(ax)
        ax.set(xlabel="epoch", ylabel="bound per row, nats (standardised columns)")
        despine(ax)
        return self


def lift_axes(ax: Axes) -> None:
    """Raise the lower edge of curves over what they leave in their first steps."""
    later = [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]
    settled = np.concatenate([y[int(_SETTLED * len(y)) :] for y in later])
    low, high = np.nanmin(settled), np.nanmax(settled)
    if low < high:
        room = 0.1 * (high - low)
        ax.set_ylim(max(low - room, ax.get_ylim()[0]), high + room, auto=None)
