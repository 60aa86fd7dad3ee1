"""Display of the distributions of imputed and observed values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .._utils.quoting import quoted
from .._utils.validation import check_minimum
from ..estimators.imputer_base import BaseImputer
from ..tables.codecs import Codec, Dates
from ..tables.column_selection import column_index, missing_markers
from ..tables.columns import Column, Mask, is_missing, to_objects
from ..tables.input_table import columns_and_names
from ..tables.schema import MODELLED_ROLES, TableSchema
from .plotting import BLUE, PALE, check_fitted, despine, get_grid_of_axes, import_pyplot, line_style

_MAX_LABEL = 12  # characters of a category's label
_MAX_HORIZONTAL = 24  # characters of all labels of an axis, above which they are rotated
_MAX_INTEGERS = 12  # distinct integers up to which a column is shown by bars
_N_GRID = 256  # points of a curve
_MICROSECONDS_PER_DAY = 86_400_000_000


#: How numbers are drawn.
Kind = Literal["density", "box", "strip"]


class ImputedDensityDisplay:
    """Plot of the distributions of imputed and observed values of each column.

    If cells are missing completely at random the distributions are equal. If missingness depends
    on observed values they may differ, but large differences should have an explanation.

    Parameters
    ----------
    observed : mapping of column to ndarray of shape (n_observed,)
        Observed cells: numbers, dates (numpy's datetime64 or timedelta64) or categories.
    imputed : mapping of column to ndarray of shape (n_imputations, n_missing)
        Imputed cells of the same columns.
    categories : mapping of column to list, default=None
        Column of the columns that are shown by bars; other columns are shown by densities.

    Attributes
    ----------
    observed, imputed, categories : dict
        As passed.
    axes_ : ndarray of matplotlib Axes of shape (n_columns,)
        One axes for each column.
    figure_ : matplotlib Figure
        Figure of ``axes_``.

    See Also
    --------
    skmissvae.compare_imputed : The differences as numbers.
    OverimputationDisplay : Imputations of cells with known values.

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

    def __init__(
        self,
        observed: Mapping[Any, NDArray[Any]],
        imputed: Mapping[Any, NDArray[Any]],
        categories: Mapping[Any, Sequence[Any]] | None = None,
    ) -> None:
        self.observed, self.imputed, self.categories = observed, imputed, categories or {}

    @classmethod
    def from_estimator(
        cls,
        imputer: Any,
        X: Any,
        columns: Iterable[Any] | None = None,
        *,
        n_imputations: int = 5,
        random_state: Any = None,
        kind: Kind = "density",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the imputations of a table by a fitted imputer.

        Parameters
        ----------
        imputer : imputer of this package
            Fitted imputer.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.
        columns : iterable of str or int, or None, default=None
            Columns to plot, by name or index. None plots all modelled columns with missing cells.
        n_imputations : int, default=5
            Number of imputations.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None uses the ``random_state`` of the imputer.
        kind : {"density", "box", "strip"}, default="density"
            How numbers are drawn, as in ``plot``.
        ax : matplotlib Axes, array-like of them or None, default=None
            One axes for each column; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib for the imputations, as in ``plot``.

        Returns
        -------
        ImputedDensityDisplay
            The display, after it is drawn.
        """
        import_pyplot(cls)
        _check_kind(kind)
        check_minimum(1, n_imputations=n_imputations)
        check_fitted(imputer, BaseImputer, "imputer").encode_rows(X)  # raises if X does not match
        schema = imputer.schema_
        markers = missing_markers(imputer.missing_values, schema.names)
        table = columns_and_names(X)[0]
        missing = np.column_stack(list(map(is_missing, table, markers)))
        indices = _columns_to_plot(schema, missing, columns)
        where = np.isin(np.arange(len(table)), indices)
        tables = imputer.impute(X, n_imputations, random_state=random_state, where=where)
        completed = [columns_and_names(table)[0] for table in tables]
        observed, imputed, categories = {}, {}, {}
        modelled, output_columns = schema.modelled.tolist(), schema.output_columns.tolist()
        for j in indices:
            name, codec, i = schema.names[j], schema.codecs[j], output_columns.index(j)
            observed[name] = _values(codec, table[j], ~missing[:, j])
            cells = [_values(codec, output[i], missing[:, j]) for output in completed]
            imputed[name] = np.stack(cells)
            categories[name] = schema.categories(modelled.index(schema.copies.get(j, j)))
            if codec.is_integer:
                integers = np.unique(np.append(observed[name], imputed[name]))
                categories[name] = integers.tolist() if len(integers) <= _MAX_INTEGERS else []
        return cls(observed, imputed, categories).plot(ax, kind=kind, **kwargs)

    def plot(self, ax: Any = None, *, kind: Kind = "density", **kwargs: Any) -> Self:
        """Draw the columns: distributions of numbers, or shares of categories.

        All kernel densities of a column have the same bandwidth.

        Parameters
        ----------
        ax : matplotlib Axes, array-like of them or None, default=None
            One axes for each column; None creates a figure.
        kind : {"density", "box", "strip"}, default="density"
            How numbers are drawn: by kernel densities; by a box plot of the observed cells and one
            of each imputation; or by a point for each cell, with random offsets.
        **kwargs : dict
            Keyword arguments of matplotlib's ``plot`` for the imputations, or of ``boxplot``.

        Returns
        -------
        ImputedDensityDisplay
            The display.
        """
        _check_kind(kind)
        self.axes_ = get_grid_of_axes(type(self), ax, len(self.observed))
        self.figure_ = self.axes_[0].get_figure()
        for name, column_ax in zip(self.observed, self.axes_, strict=True):
            observed, imputed = self.observed[name], self.imputed[name]
            if categories := self.categories.get(name):
                _draw_shares(column_ax, observed, imputed, categories, kwargs)
            else:
                _DRAW[kind](column_ax, observed, imputed, kwargs)
            column_ax.set_title(f"{name}, {imputed.shape[1]} imputed", fontsize="medium")
            despine(column_ax)
        # one handle for all imputations; boxes and strips have labels at their axis
        legends = [column_ax.get_legend_handles_labels()[::-1] for column_ax in self.axes_]
        handle_of = {label: h for legend in legends for label, h in zip(*legend, strict=True)}
        if not handle_of:
            return self
        handles = [handle_of["observed"], handle_of["imputed"]]
        n_imputations = len(imputed)
        times = f", {n_imputations} times" if n_imputations > 1 else ""
        names = "observed", f"imputed{times}"
        if ax is None:
            self.figure_.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)
        else:
            self.axes_[0].legend(handles, names, frameon=False)
        return self


def _columns_to_plot(schema: TableSchema, missing: Mask, columns: Any) -> list[int]:
    """Return the indices of the selected columns, checked to be modelled and to miss cells."""
    names, modelled = schema.names, np.isin(schema.roles, MODELLED_ROLES)
    if columns is None:
        indices = np.flatnonzero(missing.any(0) & modelled).tolist()
        if not indices:
            raise ValueError(
                "X has no missing cell in a modelled column. Pass rows with missing cells."
            )
        return indices
    if isinstance(columns, str):
        raise TypeError(
            f"columns must be a list of columns; got {quoted(columns)}. Use [{quoted(columns)}]."
        )
    indices = [column_index(column, names, "columns") for column in columns]
    if not indices:
        raise ValueError("columns must contain at least one column; got none.")
    for j in indices:
        if not modelled[j] or not missing[:, j].any():
            why = "no missing cell in X" if modelled[j] else f"no model ({schema.roles[j]})"
            raise ValueError(f"columns contains {quoted(names[j])}, which has {why}. Leave it out.")
    return list(dict.fromkeys(indices))


def _values(codec: Codec, column: Column, where: Mask) -> NDArray[Any]:
    """Return selected cells of a column: categories, dates or numbers."""
    if codec.categories:
        return to_objects(column)[where]
    numbers = codec.encode(column, ~where)[where]
    if isinstance(codec, Dates):
        return numbers.astype("timedelta64[us]" if codec.is_duration else "datetime64[us]")
    return numbers


def _to_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers unchanged, and dates and durations in days, matplotlib's unit."""
    if values.dtype.kind in "mM":
        return values.astype("int64") / _MICROSECONDS_PER_DAY
    return values.astype(np.float64)


def _draw_densities(
    ax: Any, observed: NDArray[Any], imputed: NDArray[Any], kwargs: Mapping[str, Any]
) -> None:
    """Draw kernel densities of numbers, dates or durations."""
    x_observed, x_imputed = _to_numbers(observed), _to_numbers(imputed)
    x = np.append(x_observed, x_imputed)
    # Scott's rule for the smaller sample
    n = min(len(x_observed) or np.inf, x_imputed.shape[1])
    bandwidth = x.std() * n**-0.2 or 1.0
    grid = np.linspace(x.min() - 2 * bandwidth, x.max() + 2 * bandwidth, _N_GRID)
    ax.fill_between(grid, _density(x_observed, grid, bandwidth), color=PALE, label="observed")
    style = line_style(kwargs, color=BLUE, linewidth=1.0)
    for values in x_imputed:
        ax.plot(grid, _density(values, grid, bandwidth), **{**style, "label": "imputed"})
    if observed.dtype.kind == "M":
        ax.xaxis_date()
    elif observed.dtype.kind == "m":
        ax.set_xlabel("days")
    ax.set(yticks=[], ylim=(0, None))
    ax.spines["left"].set_visible(False)


def _draw_boxes(
    ax: Any, observed: NDArray[Any], imputed: NDArray[Any], kwargs: Mapping[str, Any]
) -> None:
    """Draw box plots of observed cells and of each imputation."""
    samples = [_to_numbers(observed), *_to_numbers(imputed)]
    style = {"widths": 0.6, "patch_artist": True, "medianprops": {"color": "black"}}
    style["flierprops"] = {"marker": ".", "markersize": 3.0}
    boxes = ax.boxplot(samples, positions=range(len(samples)), **{**style, **kwargs})
    for i, box in enumerate(boxes["boxes"]):
        if hasattr(box, "set_facecolor"):  # unless patch_artist=False
            box.set_facecolor(BLUE if i else PALE)
    _label_samples(ax, observed, len(imputed))


def _draw_strips(
    ax: Any, observed: NDArray[Any], imputed: NDArray[Any], kwargs: Mapping[str, Any]
) -> None:
    """Draw a point for each observed cell, and for each cell of each imputation."""
    offsets = np.random.default_rng(0)
    style = line_style(kwargs, color=BLUE, marker=".", linestyle="none", markersize=3.0, alpha=0.6)
    for i, values in enumerate([_to_numbers(observed), *_to_numbers(imputed)]):
        color = {} if i else {"color": "0.6"}
        ax.plot(i + offsets.uniform(-0.3, 0.3, len(values)), values, **{**style, **color})
    _label_samples(ax, observed, len(imputed))


def _label_samples(ax: Any, observed: NDArray[Any], n_imputations: int) -> None:
    """Label the observed cells and the imputations on the x axis, and dates on the y axis."""
    ax.set_xticks(range(n_imputations + 1), ["observed", *map(str, range(1, n_imputations + 1))])
    if observed.dtype.kind == "M":
        ax.yaxis_date()
    elif observed.dtype.kind == "m":
        ax.set_ylabel("days")


def _density(
    values: NDArray[np.float64], grid: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """Return a kernel density with Normal kernels; zeros without values."""
    if not len(values):
        return np.zeros(len(grid))
    kernels = [np.exp(-0.5 * ((point - values) / bandwidth) ** 2).mean() for point in grid]
    return np.array(kernels) / (bandwidth * math.sqrt(2 * math.pi))


def _draw_shares(
    ax: Any,
    observed: NDArray[Any],
    imputed: NDArray[Any],
    categories: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Draw shares of categories: a bar for the observed cells, a dot for each imputation."""
    positions = np.arange(len(categories))
    ax.bar(positions, _shares(observed, categories), 0.7, color=PALE, label="observed")
    style = line_style(kwargs, color=BLUE, marker="o", linestyle="none", markersize=4.0, alpha=0.7)
    offsets = np.linspace(-0.2, 0.2, len(imputed)) if len(imputed) > 1 else [0.0]
    for values, offset in zip(imputed, offsets, strict=True):
        ax.plot(positions + offset, _shares(values, categories), **{**style, "label": "imputed"})
    labels = [_label(category) for category in categories]
    rotated = sum(map(len, labels)) > _MAX_HORIZONTAL
    ax.set_xticks(positions, labels, rotation=90 if rotated else 0)
    ax.yaxis.set_major_formatter("{x:.0%}")


def _label(category: Any) -> str:
    label = f"{category:g}" if isinstance(category, float) else str(category)
    return label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 1]}…"


def _shares(values: NDArray[Any], categories: Sequence[Any]) -> NDArray[np.float64]:
    """Return the share of each category, (n_categories,)."""
    if values.dtype == object:
        code = {category: k for k, category in enumerate(categories)}
        codes = np.array([code[value] for value in values], dtype=int)
    else:  # the nearest, as conversion between units may round
        codes = np.abs(np.subtract.outer(values, categories)).argmin(1)
    return np.bincount(codes, minlength=len(categories)) / max(len(values), 1)


_DRAW = {"density": _draw_densities, "box": _draw_boxes, "strip": _draw_strips}


def _check_kind(kind: object) -> None:
    if kind not in _DRAW:
        raise ValueError(f"kind must be 'density', 'box' or 'strip'; got {quoted(kind)}.")
