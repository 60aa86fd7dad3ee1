"""What pictures share: colours, axes, and the estimators they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimators.imputer_base import BaseImputer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# colours that the colour-blind tell apart (Okabe and Ito 2008)
BLUE, RED, GREEN, PINK, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"


ROW_COLORS = (BLUE, RED, GREEN, PINK, ORANGE)


PALE, GREY = "0.88", "0.55"


def pyplot(display: type) -> Any:
    """Return matplotlib.pyplot, or say who needs it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{display.__name__} draws with matplotlib, which cannot be imported; "
            "`pip install matplotlib` brings it."
        ) from error
    return plt


def fitted(estimator: Any, kind: type, parameter: str = "estimator") -> Any:
    """Return the estimator, if it is a fitted one of ours."""
    if not isinstance(estimator, kind):
        wanted = "an imputer" if kind is BaseImputer else "an estimator"
        raise TypeError(
            f"{parameter} must be {wanted} of skmissvae; got {type(estimator).__name__}. Of a "
            "Pipeline give the step that is one."
        )
    check_is_fitted(estimator)
    return estimator


def axes_of(display: type, ax: Any, **figure: Any) -> tuple[Axes, Figure]:
    """Return the axes given, or those of a new figure, and their figure."""
    plt = pyplot(display)
    ax = plt.subplots(layout="constrained", **figure)[1] if ax is None else ax
    return ax, ax.get_figure()


def grid_of_axes(display: type, ax: Any, n: int) -> NDArray[Any]:
    """Return n axes, (n,): those given, or those of a new figure."""
    plt = pyplot(display)
    if ax is None:
        n_columns = 2 if n == 4 else min(n, 3)
        n_rows = math.ceil(n / n_columns)
        size = 3.2 * n_columns, 2.4 * n_rows
        _, ax = plt.subplots(n_rows, n_columns, figsize=size, layout="constrained")
        for spare in np.ravel(ax)[n:]:
            spare.remove()
        ax = np.ravel(ax)[:n]
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) != n:
        raise ValueError(
            f"ax must hold an axes for each of the {n} columns; got {len(axes)}. Give as many, or "
            "name the columns to show."
        )
    return axes


def style_of_lines(given: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """Return the user's style of lines over ours, whichever name of a property they use."""
    from matplotlib import cbook, lines

    return {**ours, **cbook.normalize_kwargs(dict(given), lines.Line2D)}


def despine(ax: Axes) -> None:
    """Take away the frame above and to the right."""
    ax.spines[["top", "right"]].set_visible(False)
