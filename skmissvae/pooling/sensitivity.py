"""Sensitivity of pooled estimates to values that are missing because of their own value."""

import itertools
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from .._utils.html import html_table
from .._utils.quoting import listed, quoted
from .._utils.validation import check_minimum
from ..estimators.imputer_base import BaseImputer
from ..estimators.shifts import ShiftUnit, column_shifts
from ..inspection.plotting import BLUE, GREY, PALE, check_fitted, despine, get_axes
from .estimates import PooledEstimates
from .models import pool_models


class SensitivityAnalysis:
    """Pooled estimates by shift of the imputed values of a column.

    Returned by :func:`sensitivity`.

    Parameters
    ----------
    shifts : sequence of float
        The shifts, in increasing order.
    pooled : sequence of PooledEstimates
        Estimates pooled over the imputations with each shift.
    column : str or int
        The column.
    unit : str
        Unit of the shifts, for the plot.

    See Also
    --------
    sensitivity : Compute it.
    """

    def __init__(
        self,
        shifts: Sequence[float],
        pooled: Sequence[PooledEstimates],
        column: Any,
        unit: str = "units of the column",
    ) -> None:
        self.shifts, self.pooled = list(shifts), list(pooled)
        self.column, self.unit = column, unit
        names = [_names(part) for part in self.pooled]
        other = next((i for i, terms in enumerate(names) if terms != names[0]), None)
        if other is not None:
            raise ValueError(
                f"The analysis returns the terms {listed(names[0])} for the shift "
                f"{self.shifts[0]:g}, but {listed(names[other])} for {self.shifts[other]:g}. Let "
                "it return the same terms for every table."
            )

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return a row for each quantity and shift.

        Parameters
        ----------
        level : float, default=0.95
            Probability that an interval covers its quantity.

        Returns
        -------
        DataFrame
            ``term``, ``shift``, and the columns of ``PooledEstimates.to_frame``.
        """
        names, n = _names(self.pooled[0]), len(self.shifts)
        frames = [pooled.to_frame(level).reset_index(drop=True) for pooled in self.pooled]
        frame = pd.concat(frames, ignore_index=True)
        places = np.arange(n * len(names)).reshape(n, -1).T.ravel()  # the terms in their order
        frame = frame.iloc[places].reset_index(drop=True)
        terms = np.empty(len(frame), dtype=object)
        terms[:] = [name for name in names for _ in self.shifts]
        frame.insert(0, "term", terms)
        frame.insert(1, "shift", np.tile(self.shifts, len(names)))
        return frame

    def tipping_points(self, null: float = 0.0, level: float = 0.95) -> pd.DataFrame:
        """Return the shifts at which the conclusion about each quantity changes.

        The conclusion is whether the interval lies below, around or above the null value. It is
        compared with that of the shift nearest to zero. Between two shifts the end of the interval
        is interpolated linearly.

        Parameters
        ----------
        null : float, default=0.0
            Value of the null hypothesis.
        level : float, default=0.95
            Probability that an interval covers its quantity.

        Returns
        -------
        DataFrame
            A row per quantity: its ``conclusion`` at the shift nearest to zero ("below", "around"
            or "above"), and the nearest shifts ``downwards`` and ``upwards`` that change it, NaN if
            none of those computed does.
        """
        frame, n = self.to_frame(level), len(self.shifts)
        lines = []
        for start_of_term in range(0, len(frame), n):
            part = frame.iloc[start_of_term : start_of_term + n]
            low, high = part["low"].to_numpy() - null, part["high"].to_numpy() - null
            side = np.where(low > 0, "above", np.where(high < 0, "below", "around"))
            start = int(np.argmin(np.abs(self.shifts)))
            line = {
                "conclusion": side[start],
                "downwards": self._change(range(start, -1, -1), side, low, high),
                "upwards": self._change(range(start, n), side, low, high),
            }
            lines.append(line)
        return pd.DataFrame(lines, index=pd.Index(_names(self.pooled[0]), name="term"))

    def _change(self, path: range, side: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
        """Return the first shift on a path at which the conclusion differs, NaN if none does."""
        for i, j in itertools.pairwise(path):
            if side[j] != side[i]:
                # the end of the interval that leaves, or reaches, the null value
                was_around = side[i] == "around"
                end = low if (side[j] if was_around else side[i]) == "above" else high
                share = end[i] / (end[i] - end[j])
                return float(self.shifts[i] + share * (self.shifts[j] - self.shifts[i]))
        return float("nan")

    def plot(self, term: Any = None, *, ax: Any = None, level: float = 0.95) -> Any:
        """Plot the estimate and the interval of a quantity by shift.

        Parameters
        ----------
        term : object, optional
            Name of the quantity; None takes the first one.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        level : float, default=0.95
            Probability that an interval covers its quantity.

        Returns
        -------
        matplotlib Axes
            The axes.
        """
        terms, n = _names(self.pooled[0]), len(self.shifts)
        if term is not None and term not in terms:
            raise ValueError(f"term must be one of {terms}; got {quoted(term)}.")
        place = 0 if term is None else terms.index(term)
        part = self.to_frame(level).iloc[n * place : n * (place + 1)]
        ax, _ = get_axes(type(self), ax, figsize=(6.4, 4))
        ax.axhline(0, color=GREY, lw=1)
        ax.fill_between(part["shift"], part["low"], part["high"], color=PALE)
        ax.plot(part["shift"], part["estimate"], color=BLUE, marker="o", ms=4)
        ax.set_xlabel(f"shift of {self.column}, {self.unit}")
        ax.set_ylabel(f"{terms[place]}, interval of {100 * level:g}%")
        despine(ax)
        return ax

    def __repr__(self) -> str:
        """Return the column and the shifts."""
        return f"SensitivityAnalysis(column={self.column!r}, shifts={self.shifts})"

    def _repr_html_(self) -> str:
        """Return the table of all estimates."""
        return html_table(self.to_frame(), repr(self))


def _names(pooled: PooledEstimates) -> list[Any]:
    """Return the names of the quantities."""
    return pooled.to_frame().index.to_flat_index().tolist()


def sensitivity(
    imputer: Any,
    X: Any,
    analysis: Callable[[Any], Any],
    column: Any,
    shifts: Iterable[float],
    *,
    shift_unit: ShiftUnit = "column",
    n_imputations: int = 20,
    random_state: Any = None,
    estimates: Callable[[Any], Any] | None = None,
    variances: Callable[[Any], Any] | None = None,
    dfcom: float | None = None,
) -> SensitivityAnalysis:
    r"""Return pooled estimates for several shifts of the imputed values of a column.

    If values are missing because of their own value, they differ from what is expected given the
    rest of their rows. Data cannot show by how much. A sensitivity analysis asks how large the
    difference :math:`\delta` would have to be to change a conclusion (delta adjustment [1]_): the
    imputed values are :math:`x_{mis} + \delta`, or their log-odds given the latents rise by
    :math:`\delta`. All shifts share the same draws, so that estimates differ by the shift only.

    Parameters
    ----------
    imputer : imputer of this package
        A fitted imputer.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows, with missing values.
    analysis : callable
        Function of a completed table that returns a fitted model, as ``pool_models`` takes it.
    column : str or int
        The column whose imputed values are shifted.
    shifts : iterable of float
        The shifts, in any order: numbers, or log-odds of binary and ordered columns, as in
        ``impute``. Include 0, the analysis without a shift.
    shift_unit : {"column", "sd"}, default="column"
        Whether shifts of numbers are in the units of the column or in its standard deviations.
    n_imputations : int, default=20
        Number of imputations for each shift.
    random_state : int, RandomState instance or None, default=None
        Source of the draws; None uses the ``random_state`` of the imputer.
    estimates, variances : callable or None, default=None
        As in ``pool_models``.
    dfcom : float or None, default=None
        As in ``pool_models``.

    Returns
    -------
    SensitivityAnalysis
        With ``to_frame()``, ``tipping_points()`` and ``plot()``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is invalid, or as of ``impute`` and ``pool_models``.

    See Also
    --------
    pool_models : Pool fitted models.

    References
    ----------
    .. [1] Carpenter, Kenward and Vansteelandt (2006). A comparison of multiple imputation and
       doubly robust estimation for analyses with missing data. JRSS A 169.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmissvae import MVAEImputer, sensitivity
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(1, 1, (60, 2)), columns=["age", "income"])
    >>> X.loc[:19, "income"] = np.nan
    >>> imputer = MVAEImputer(max_iter=5, random_state=0).fit(X)
    >>> result = sensitivity(
    ...     imputer, X, lambda table: table["income"], "income", [-1, 0, 1], n_imputations=5,
    ...     estimates=np.mean, variances=lambda x: x.var() / len(x),
    ... )
    >>> frame = result.to_frame()
    >>> (frame["estimate"].diff().dropna() * 60 / 20).round(6).tolist()
    [1.0, 1.0]
    """
    check_fitted(imputer, BaseImputer, "imputer")
    check_minimum(2, n_imputations=n_imputations)
    if isinstance(shifts, str) or not np.iterable(shifts):
        raise TypeError(f"shifts must be a list of numbers, such as [-1, 0, 1]; got {shifts!r}.")
    all_shifts = list(shifts)
    if not all_shifts:
        raise ValueError("shifts is empty. Pass numbers, such as [-1, -0.5, 0, 0.5, 1].")
    if wrong := [value for value in all_shifts if not isinstance(value, numbers.Real)]:
        raise TypeError(
            f"shifts must hold finite numbers; got {wrong[0]!r}. For categories without order use "
            "impute(shift=) and pool_models."
        )
    for value in all_shifts:  # before the first analysis
        column_shifts({column: value}, shift_unit, imputer.schema_)
    values = sorted(set(map(float, all_shifts)))
    # the same draws for all shifts; an integer gives those of impute
    source = imputer.random_state if random_state is None else random_state
    if not isinstance(source, numbers.Integral):
        random_state = int(check_random_state(source).randint(2**31 - 1))
    pooled = []
    for value in values:
        shift = {column: value}
        tables = imputer.impute(
            X, n_imputations, random_state=random_state, shift=shift, shift_unit=shift_unit
        )
        models = (analysis(table) for table in tables)
        pooled.append(pool_models(models, estimates=estimates, variances=variances, dfcom=dfcom))
    unit = "standard deviations" if shift_unit == "sd" else "units of the column"
    is_odds = column_shifts({column: 1.0}, "column", imputer.schema_).log_odds is not None
    return SensitivityAnalysis(values, pooled, column, "log-odds" if is_odds else unit)
