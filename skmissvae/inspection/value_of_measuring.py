"""Which missing cell of a row to measure next."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._utils.runtime import user_stacklevel
from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..inference.conditional import ConditionalModel
from ..inference.row_batch import RowBatch
from ..tables.column_selection import modelled_index
from .plotting import BLUE, GREY, check_fitted, despine, get_axes, import_pyplot

_FEW_LATENTS, _MAX_SHARE = 20, 0.01  # effective ones; of the cells with fewer


class _Information(NamedTuple):
    nats: Tensor  # (B, D)
    ess: Tensor  # (B, D)   of the latents given the cell


def value_of_measuring(
    estimator: Any, X: Any, target: Any = None, *, n_draws: int = 256
) -> pd.DataFrame:
    r"""Return how much each missing cell of a row would say about a column, if it were measured.

    The value of cell d is the expected reduction of the uncertainty of the target [1]_, the mutual
    information given the observed cells,

    .. math:: I(x_t; x_d | x_{obs}) = E \log \frac{p(x_t, x_d | x_{obs})}
              {p(x_t | x_{obs}) \, p(x_d | x_{obs})},

    estimated by completions of the row and up to eight times ``n_importance_draws`` of its latents.
    If the value of a cell determines the latents so well that few of these agree with it, the
    estimate is inaccurate, and a warning is given. Values of several cells do not add up: measure
    the best one, enter its value, and call the function again.

    Parameters
    ----------
    estimator : estimator of this package
        A fitted imputer or density estimator.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows, with missing values.
    target : str, int or None, default=None
        Column of interest, by name or index. Rows in which it is observed are left out. None means
        the latents, and so all that is unknown about the row.
    n_draws : int, default=256
        Completions of each row. The standard error of a value falls with their square root.

    Returns
    -------
    DataFrame
        A row per missing cell of a modelled column: ``row`` (label of a pandas index, or position),
        ``column`` and ``nats``, the best cell of each row first. Independent of the other rows.

    Raises
    ------
    ValueError, TypeError
        If X does not match the table of ``fit``, or if ``target`` is not a modelled column.

    See Also
    --------
    skmissvae.inspection.latent_information : The information of all missing cells together.

    References
    ----------
    .. [1] Ma, Tschiatschek, Palla, Hernandez-Lobato, Nowozin and Zhang (2019). EDDI: Efficient
       Dynamic Discovery of High-Value Information with Partial VAE. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MVAEImputer, value_of_measuring
    >>> x = np.random.default_rng(0).normal(size=(80, 3))
    >>> x[:, 2] = x[:, 0] + 0.3 * x[:, 2]
    >>> imputer = MVAEImputer(max_iter=10, random_state=0).fit(x)
    >>> values = value_of_measuring(imputer, [[np.nan, np.nan, np.nan]], target=2)
    >>> values["column"].tolist()
    ['x0', 'x1']
    """
    check_fitted(estimator, BaseVAE)
    check_minimum(1, n_draws=n_draws)
    index = None if target is None else modelled_index(target, estimator.schema_, "target")

    def is_valued(observed: Any) -> Any:
        """Return which cells have a value: missing ones of rows with a missing target."""
        valued = ~observed
        if index is not None:
            valued = valued & valued[:, [index]]
            valued[:, index] = False
        return valued

    def information(model: ConditionalModel, batch: RowBatch) -> _Information:
        if not is_valued(batch.observed).any():
            return _Information(*torch.zeros(2, *batch.x.shape, dtype=torch.float64))
        return _Information(*model.cell_information(batch, n_draws, index))

    rows, columns = np.nonzero(is_valued(estimator.encode_rows(X).observed))
    result = estimator.map_rows(X, information)
    nats, ess = (np.asarray(part)[rows, columns] for part in (result.nats, result.ess))
    _warn_of_few_latents(ess, estimator.n_importance_draws)
    order = np.lexsort((-nats, rows))
    labels = np.asarray(
        X.index if isinstance(X, pd.DataFrame) else np.arange(rows.max(initial=0) + 1)
    )
    names = np.empty(len(estimator.schema_.modelled), dtype=object)
    names[:] = estimator.schema_.modelled_names
    cells = {"row": labels[rows[order]], "column": names[columns[order]], "nats": nats[order]}
    return pd.DataFrame(cells)


def _warn_of_few_latents(ess: np.ndarray, n_draws: int) -> None:
    """Warn if the values of many cells rest on few latents."""
    n_few = int((ess < _FEW_LATENTS).sum())
    if n_few > _MAX_SHARE * len(ess):
        warnings.warn(
            f"The values of {n_few} of {len(ess)} cells are inaccurate: given the value of the "
            f"cell fewer than {_FEW_LATENTS} latents are effective, of {n_draws} importance draws "
            "and more. Increase n_importance_draws.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


class ValueOfMeasuringDisplay:
    """Plot of the values of measuring the columns, averaged over rows.

    Bars are means over the rows in which the column is missing; dots are these rows.

    Parameters
    ----------
    values : DataFrame
        As ``value_of_measuring`` returns it.

    Attributes
    ----------
    values : DataFrame
        As passed.
    mean : Series
        Mean value of each column, the largest first.
    bars_ : matplotlib BarContainer
        The bars.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    skmissvae.value_of_measuring : The values as a frame.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MVAEImputer
    >>> from skmissvae.inspection import ValueOfMeasuringDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MVAEImputer(max_iter=5, random_state=0).fit(X)
    >>> display = ValueOfMeasuringDisplay.from_estimator(imputer, X)
    >>> display.mean.index.tolist()
    ['x1']
    """

    def __init__(self, values: pd.DataFrame) -> None:
        self.values = values
        by_column = values.groupby("column", sort=False)["nats"]
        self.mean = by_column.mean().sort_values(ascending=False, kind="stable")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        target: Any = None,
        *,
        n_draws: int = 256,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the values of measuring of a fitted estimator.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted estimator.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing values.
        target : str, int or None, default=None
            Column of interest, as in ``value_of_measuring``.
        n_draws : int, default=256
            Completions of each row.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``barh`` for the bars.

        Returns
        -------
        ValueOfMeasuringDisplay
            The display, after it is drawn.
        """
        import_pyplot(cls)
        values = value_of_measuring(estimator, X, target, n_draws=n_draws)
        return cls(values).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``barh`` for the bars.

        Returns
        -------
        ValueOfMeasuringDisplay
            The display.
        """
        n = len(self.mean)
        self.ax_, self.figure_ = ax, _ = get_axes(type(self), ax, figsize=(6.4, 1.2 + 0.3 * n))
        places = pd.Series(range(n), self.mean.index)
        self.bars_ = ax.barh(places, self.mean, **{"color": BLUE, "height": 0.7, **kwargs})
        at = self.values["column"].map(places)
        ax.plot(self.values["nats"], at, "o", color=GREY, ms=2.5)
        ax.set_yticks(range(n), [str(name) for name in self.mean.index])
        ax.invert_yaxis()
        ax.set_xlabel("value of measuring, nats")
        despine(ax)
        return self
