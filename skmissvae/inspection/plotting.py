"""Colours, axes and checks shared by the displays."""

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

# colours that are distinguishable with colour vision deficiency (Okabe and Ito 2008)
BLUE, RED = "#0072B2", "#D55E00"
PALE, GREY = "0.88", "0.55"


def import_pyplot(display: type) -> Any:
    """Return matplotlib.pyplot, or raise an ImportError that names the display."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{display.__name__} requires matplotlib, which cannot be imported. Install it by "
            "`pip install matplotlib`."
        ) from error
    return plt


def check_fitted(estimator: Any, kind: type, parameter: str = "estimator") -> Any:
    """Return the estimator if it is of a kind of this package and fitted, else raise."""
    if not isinstance(estimator, kind):
        expected = "an imputer" if kind is BaseImputer else "an estimator"
        raise TypeError(
            f"{parameter} must be {expected} of skmissvae; got {type(estimator).__name__}. For a "
            "Pipeline, pass the step that is one."
        )
    check_is_fitted(estimator)
    return estimator


def get_axes(display: type, ax: Any, **figure: Any) -> tuple[Axes, Figure]:
    """Return ``ax``, or the axes of a new figure if it is None, and their figure."""
    plt = import_pyplot(display)
    ax = plt.subplots(layout="constrained", **figure)[1] if ax is None else ax
    return ax, ax.get_figure()


def get_grid_of_axes(display: type, ax: Any, n: int) -> NDArray[Any]:
    """Return ``ax`` as an array of n axes, or n axes of a new figure if it is None: (n,)."""
    plt = import_pyplot(display)
    if ax is None:
        n_columns = 2 if n == 4 else min(n, 3)
        n_rows = math.ceil(n / n_columns)
        size = 3.2 * n_columns, 2.4 * n_rows
        _, ax = plt.subplots(n_rows, n_columns, figsize=size, layout="constrained")
        for unused in np.ravel(ax)[n:]:
            unused.remove()
        ax = np.ravel(ax)[:n]
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) != n:
        raise ValueError(
            f"ax must have one axes for each of the {n} columns; got {len(axes)}. Pass as many, or "
            "select columns."
        )
    return axes


def line_style(kwargs: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Return properties of lines: ``kwargs``, under any of their names, over the defaults."""
    from matplotlib import cbook, lines

    return {**defaults, **cbook.normalize_kwargs(dict(kwargs), lines.Line2D)}


def despine(ax: Axes) -> None:
    """Hide the top and right spines."""
    ax.spines[["top", "right"]].set_visible(False)
