"""The schema of a table: which columns are modelled, and their encoding for the model."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .._utils.numerics import is_point_mass
from .._utils.quoting import quoted
from .codecs import CODED, Codec, Numbers
from .column_statistics import (
    HIGH_TAIL_SHARE,
    equal_up_to_rounding,
    equally_weighted,
    find_copies,
    find_point_mass,
    fit_sinh_arcsinh,
    mean_std,
    most_frequent,
    robust_location_scale,
    tail_share,
)
from .columns import Column, Floats, Mask
from .encoded_rows import EncodedRows
from .input_table import NumericTable
from .suspect_cells import Suspicion, find_suspicions

#: Roles of columns that are part of the model, directly or as copies of others.
MODELLED_ROLES = ("modelled", "copy")
#: Roles of columns whose categories are those of the table at fit.
CLOSED_ROLES = (*MODELLED_ROLES, "constant")

# Standard deviations beyond which encoded values are clipped: squares would overflow in float32.
_LIMIT = 1e15

_MIN_DISTINCT = 20  # values of a column that is treated as continuous

# Standard deviations from the mean beyond which zero is no useful bound of a count.
_FAR = 1000.0

_MAX_FLOAT = float(np.finfo(np.float64).max)

# Larger numbers are divided by four in conversions, so that sums do not overflow.
_DIVIDED_FROM = _MAX_FLOAT / 4

# Ratio of standard deviation to robust scale from which on outliers dominate the former.
_OUTLIER_RATIO = 50.0


class ColumnSchema(NamedTuple):
    """Properties of a modelled column that its likelihood depends on, in the model's units."""

    kind: str
    counts: tuple[float, ...] = ()  # observed cells of each category, by the weights of rows
    step: float = 0.0  # between neighbouring values of an integer column
    low: float = -np.inf  # lower bound of such a column
    origin: float = 0.0  # one of its values
    marginal_transform: tuple[float, ...] | None = None
    point_mass: tuple[float, float] | None = None  # a frequent value and its share


class TableSchema:
    """Schema of a table, learned at fit.

    Every column has a role. Columns of the role "modelled" are standardised by their observed
    cells, or coded; a "copy" of such a column is the same variable. Columns with a single value
    ("constant"), columns in most of whose cells a value occurs once ("identifier"), complete
    dates ("date") and columns of unsupported types ("other") are not modelled and do not
    contribute to densities. A column without any observed cell ("empty") is dropped, or filled
    with zeros if it is kept.

    Parameters
    ----------
    keep_empty : bool
        Whether columns without any observed cell are kept.
    has_transforms, has_point_masses : bool
        Whether columns of numbers get marginal transforms, and continuous ones point masses.
    """

    names: list[Any]  # of all columns of the input
    roles: list[str]  # of all columns of the input
    output_columns: NDArray[np.intp]  # columns of the input that the output has
    modelled: NDArray[np.intp]  # columns of the input that the model sees, D of them
    location: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,)
    factor: NDArray[np.float64]  # (D,)   of numbers in conversions, 1 or 1/4
    tail_share: NDArray[np.float64]  # (D,)   of the variance, from the farthest 1% of the cells
    fill_values: NDArray[np.float64]  # for missing cells of each column that is not modelled
    copies: dict[int, int]  # from copies to the modelled columns that they repeat
    columns: list[ColumnSchema]  # of the modelled columns
    suspicions: dict[int, list[Suspicion]]  # cells that may be missing or numbers, by column

    def __init__(
        self, keep_empty: bool = False, has_transforms: bool = False, has_point_masses: bool = False
    ) -> None:
        self.keep_empty = keep_empty
        self.has_transforms, self.has_point_masses = has_transforms, has_point_masses

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("location", "scale", "log_scale", "factor", "fill_values"):
            if not np.isfinite(state.get(name, 0.0)).all():
                raise ValueError(f"the {name} of a column is not finite")
        vars(self).update(state)
        if "roles" in state:
            self._select_columns()

    @property
    def modelled_names(self) -> list[Any]:
        """Names of the modelled columns."""
        return [self.names[j] for j in self.modelled]

    # -- learning ---------------------------------------------------------------------------------

    def fit(
        self,
        cells: NumericTable,
        codecs: Sequence[Codec],
        names: Sequence[Any],
        columns: Sequence[Column],
        weight: NDArray[np.float64] | None = None,
        is_grouped: Mask | None = None,
    ) -> None:
        """Learn the schema of a table.

        Parameters
        ----------
        cells : NumericTable
            The table.
        codecs : sequence of Codec
            Codec of each column.
        names : sequence of str
            Names of the columns.
        columns : sequence of Series or ndarray
            Cells of each column in its own type.
        weight : ndarray of shape (N,), optional
            Weights of the rows, for units, point masses and marginal transforms.
        is_grouped : ndarray of shape (n_features,), optional
            Columns whose cells are middles of intervals: they have units, but no shape.
        """
        X, observed = cells.values, cells.observed
        is_grouped = np.zeros(X.shape[1], dtype=bool) if is_grouped is None else is_grouped
        self.codecs, self.names = list(codecs), list(names)
        self.n_rows, self.n_missing = len(X), cells.missing.sum(0)
        self.n_values = [len(np.unique(X[observed[:, j], j])) for j in range(X.shape[1])]
        low = X.min(0, where=observed, initial=np.inf)
        high = X.max(0, where=observed, initial=-np.inf)
        varies: Mask = np.asarray((low < high) & ~equal_up_to_rounding(low, high, X.dtype))
        compared = np.flatnonzero(varies & ~is_grouped)
        self.copies = find_copies(X, observed, compared, self.codecs, columns)
        self._assign_roles(X, observed, low, varies)
        self.suspicions = find_suspicions(names, codecs, X, observed & ~is_grouped)

        self.low, self.high = low[self.modelled].astype(float), high[self.modelled].astype(float)
        self.location, self.scale = np.zeros(len(self.modelled)), np.ones(len(self.modelled))
        self.factor = np.where(np.maximum(-self.low, self.high) > _DIVIDED_FROM, 0.25, 1.0)
        self.tail_share = np.zeros(len(self.modelled))
        self.columns = []
        for d, j in enumerate(self.modelled.tolist()):  # one column at a time, to limit memory
            at = observed[:, j]
            values, weight_at = X[at, j].astype(np.float64), None if weight is None else weight[at]
            if self.codecs[j].kind not in CODED:
                self._learn_units(d, values, weight_at)
            has_shape = not is_grouped[j]
            self.columns.append(self._column_schema(d, values, weight_at, has_shape=has_shape))
        self.log_scale = np.log(self.scale)

    def _assign_roles(self, X: Floats, observed: Mask, low: Floats, varies: Mask) -> None:
        """Set role and fill value of each column; ``low`` is its minimum."""
        has_cells: Mask = np.asarray(observed.any(0))
        self.roles = []
        for j, codec in enumerate(self.codecs):
            if codec.kind == "other":
                self.roles.append("other")
            elif not varies[j]:
                self.roles.append("constant" if has_cells[j] else "empty")
            elif codec.kind in ("identifier", "date"):
                self.roles.append(codec.kind)
            else:
                self.roles.append("copy" if j in self.copies else "modelled")
        self._select_columns()
        roles = np.array(self.roles)
        self.fill_values = np.where(roles == "constant", low, 0.0).astype(np.float64)
        for j in np.flatnonzero(np.isin(roles, ("identifier", "date"))).tolist():
            self.fill_values[j] = most_frequent(X[observed[:, j], j])

    def _select_columns(self) -> None:
        """Set the columns of the output and of the model from the roles."""
        roles = np.array(self.roles)
        self.output_columns = np.flatnonzero((roles != "empty") | self.keep_empty)
        self.modelled = np.flatnonzero(roles == "modelled")

    def _learn_units(
        self, d: int, values: NDArray[np.float64], weight: NDArray[np.float64] | None
    ) -> None:
        """Set location and scale of a column of numbers from its observed cells."""
        # within [-1, 1] squares neither overflow nor underflow, whatever the units
        middle = 0.5 * self.low[d] + 0.5 * self.high[d]
        half_range = 0.5 * self.high[d] - 0.5 * self.low[d]
        unit = (values - middle) / half_range
        mean, std = mean_std(unit, weight)
        if self.has_transforms:
            cells = unit if weight is None else equally_weighted(unit, weight)
            median, robust_scale = robust_location_scale(cells)
            dominated = std > _OUTLIER_RATIO * robust_scale > 0
            if dominated and tail_share(cells - median) > HIGH_TAIL_SHARE:
                mean, std = median, robust_scale
        self.location[d] = middle + half_range * mean
        self.scale[d] = half_range * std
        # with few distinct values a rare one is no outlier
        if not self.has_transforms and self.n_values[self.modelled[d]] >= _MIN_DISTINCT:
            self.tail_share[d] = tail_share(unit - unit.mean())

    def _column_schema(
        self,
        d: int,
        values: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        *,
        has_shape: bool,
    ) -> ColumnSchema:
        """Return the schema of a modelled column from its observed cells."""
        codec = self.codecs[self.modelled[d]]
        if codec.kind in CODED:
            counts = np.bincount(values.astype(int), weight, len(codec.categories))
            return ColumnSchema(codec.kind, tuple(counts.tolist()))
        factor = self.factor[d]
        x = (values * factor - self.location[d] * factor) / (self.scale[d] * factor)
        is_integer = codec.kind in ("count", "integer")
        point_mass = transform = None
        if has_shape and self.n_values[self.modelled[d]] >= _MIN_DISTINCT:
            if self.has_point_masses and not is_integer:
                point_mass = find_point_mass(x, weight)
            if self.has_transforms:
                beside = slice(None) if point_mass is None else x != point_mass[0]
                x, w = x[beside], None if weight is None else weight[beside]
                transform = fit_sinh_arcsinh(x if w is None else equally_weighted(x, w))
        if not is_integer:
            return ColumnSchema(codec.kind, marginal_transform=transform, point_mass=point_mass)
        # an origin near the cells, and no distant bound, since both would cost digits
        origin = (np.rint(self.location[d]) - self.location[d]) / self.scale[d]
        low = -self.location[d] / self.scale[d] if codec.kind == "count" else -np.inf
        low = low if low > -_FAR else -np.inf
        return ColumnSchema(codec.kind, (), 1 / self.scale[d], low, origin, transform)

    def set_supports(self, supports: Sequence[str]) -> None:
        """Set the units of columns by the support of their likelihood.

        Parameters
        ----------
        supports : sequence of str
            Support of each modelled column's likelihood.
        """
        for d, (support, name) in enumerate(zip(supports, self.modelled_names, strict=True)):
            if support == "unit" and (self.low[d] < 0 or self.high[d] > 1):
                value = self.low[d] if self.low[d] < 0 else self.high[d]
                raise ValueError(
                    f"Column {quoted(name)} holds {value:g}, but its likelihood needs values "
                    "between 0 and 1; rescale it (MinMaxScaler) or choose another likelihood."
                )
            if support == "atom" and self.columns[d].point_mass is None:
                raise ValueError(
                    f"Column {quoted(name)} has no point mass, but its likelihood needs one: use "
                    "learn_shapes='point_masses' instead of a custom likelihood."
                )
            if support == "binary":
                self.location[d], self.scale[d] = self.low[d], self.high[d] - self.low[d]
            elif support == "unit":
                self.location[d], self.scale[d] = 0.0, 1.0
            if support not in ("real", "atom"):
                self.log_scale[d] = 0.0  # a probability, or a density in the table's units
        self.supports = list(supports)

    # -- properties of columns --------------------------------------------------------------------

    def numeric(self) -> Mask:
        """Return which modelled columns are of numbers, not of categories, (D,)."""
        return np.array([s not in ("binary", "coded") for s in self.supports], dtype=bool)

    def categories(self, d: int) -> list[Any]:
        """Return the categories of a modelled column, none for a column of numbers."""
        categories = list(self.codecs[self.modelled[d]].categories)
        if self.supports[d] == "binary" and not categories:
            return [self.low[d], self.high[d]]
        return categories

    def limits(self, d: int) -> tuple[float, float]:
        """Return the lower and upper limit of a modelled column's support, in its units."""
        if self.supports[d] == "unit":
            return 0.0, 1.0
        return (0.0 if self.columns[d].kind == "count" else -np.inf), np.inf

    def point_mass(self, d: int) -> tuple[float, float]:
        """Return the point mass of a column, an end of its range, and its share of the cells."""
        location, share = self._point_mass(d)
        ends = np.array([self.low[d], self.high[d]])
        units = (ends * self.factor[d] - self.location[d] * self.factor[d]) / (
            self.scale[d] * self.factor[d]
        )
        return float(ends[np.abs(units - location).argmin()]), share

    def fillable(self) -> Mask:
        """Return for which columns missing cells can be imputed, (n_features,)."""
        roles, is_number = np.array(self.roles), [isinstance(c, Numbers) for c in self.codecs]
        return np.asarray((roles != "other") & ((roles != "empty") | is_number))

    def columns_with_new_values(self, cells: NumericTable) -> Mask:
        """Return which empty and constant columns have other values in a table, (n_features,)."""
        X, roles = cells.values, np.array(self.roles)
        # unknown categories are neither observed nor missing
        is_new = ~cells.observed | ~equal_up_to_rounding(X, self.fill_values, X.dtype)
        is_new = ~cells.missing & (is_new | (roles == "empty"))
        return np.asarray(is_new.any(0) & np.isin(roles, ("empty", "constant")))

    def _with_support(self, *supports: str) -> list[int]:
        return [d for d, support in enumerate(self.supports) if support in supports]

    def _point_mass(self, d: int) -> tuple[float, float]:
        """Return a column's point mass, standardised, and its share of the observed cells."""
        point_mass = self.columns[d].point_mass
        assert point_mass is not None, "a column with a point mass"
        return point_mass

    def _at_point_mass(self, d: int, x: NDArray[np.float64]) -> Mask:
        """Return which cells of a column equal its point mass, as its likelihood decides it."""
        cells = torch.from_numpy(x).float()
        return np.asarray(is_point_mass(cells, cells.new_tensor(self._point_mass(d)[0])))

    # -- encoding and decoding --------------------------------------------------------------------

    def encode(self, X: Floats, observed: Mask) -> EncodedRows:
        """Return the modelled columns in the model's units: (N, n_features) -> (N, D)."""
        if self.copies:
            X, observed = X.copy(), observed.copy()
            for copy, original in self.copies.items():
                only_copy = observed[:, copy] & ~observed[:, original]
                X[only_copy, original] = X[only_copy, copy]
                observed[only_copy, original] = True
        observed = observed[:, self.modelled]
        x = X[:, self.modelled].astype(np.float64, copy=False)  # indexing copies: no second copy
        self.in_model_units(x)
        x.clip(-_LIMIT, _LIMIT, out=x)
        for d in self._with_support("binary"):  # the float32 of a value differs from its float64
            for value in (0.0, 1.0):
                x[np.isclose(x[:, d], value, rtol=0, atol=1e-6), d] = value
        for d, column in enumerate(self.columns):
            # new cells of a column whose kind was inferred may be no integers
            if self.supports[d] == "whole" and self.codecs[self.modelled[d]].is_inferred:
                steps = np.rint((x[:, d] - column.origin) / column.step)
                x[:, d] = steps * column.step + column.origin
                x[:, d] = np.maximum(x[:, d], column.low)
        x[~observed] = 0.0
        return EncodedRows(x, observed)

    def in_model_units(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardise numbers of the modelled columns in place, (N, D), and return them."""
        with np.errstate(over="ignore"):  # new rows may be far from those at fit
            x *= self.factor
            x -= self.location * self.factor
            x /= self.scale * self.factor
        return x

    def check(self, rows: EncodedRows, first: int = 0) -> None:
        """Raise where an observed cell lies outside the support of its column's likelihood.

        Parameters
        ----------
        rows : EncodedRows
            The rows.
        first : int
            Position of the first row in the table, for errors.
        """
        for d in self._with_support("binary", "unit", "whole"):
            support, x = self.supports[d], rows.x[rows.observed[:, d], d]
            value = self.to_table_units(d, x)
            if support == "binary":
                wrong = (x != 0) & (x != 1)
                allowed = f"only {self.low[d]:g} or {self.high[d]:g}, the range at fit"
            elif support == "unit":
                wrong, allowed = (x < 0) | (x > 1), "only between 0 and 1"
            elif support == "whole" and not self.codecs[self.modelled[d]].is_inferred:
                # rounding errors of the conversion to the model's units and back
                error = 8 * np.finfo(float).eps
                error = error * (abs(self.location[d]) + np.abs(self.scale[d] * x))
                wrong, allowed = np.abs(value - np.rint(value)) > 1e-6 + error, "only integers"
                if self.columns[d].kind == "count":
                    wrong |= value < -1e-6 - error
                    allowed = "only integers of 0 or more"
            else:
                continue
            if wrong.any():
                row = first + np.flatnonzero(rows.observed[:, d])[wrong.argmax()]
                raise ValueError(
                    f"Column {quoted(self.modelled_names[d])}, row {row}, holds "
                    f"{value[wrong][0]:g}, but its likelihood allows {allowed}; correct the value, "
                    "mark it missing, or choose another likelihood or feature_kinds."
                )

    def log_units(self, rows: EncodedRows) -> NDArray[np.float64]:
        """Return the sum of log-scales of each row's observed cells, (N,).

        Log-densities in the table's units are those in the model's units less this sum. Cells with
        limits contribute probabilities, which have no units.
        """
        log_scale = np.where(rows.observed & ~rows.has_limit(), self.log_scale, 0.0)
        for d in self._with_support("atom"):
            log_scale[self._at_point_mass(d, rows.x[:, d]), d] = 0.0
        # the order of summation depends on the memory layout: C order, as for a single row
        return np.ascontiguousarray(log_scale).sum(1)

    def _to_units(self, x: NDArray[np.float64], d: Any = ...) -> NDArray[np.float64]:
        """Return standardised numbers in the table's units, clipped to the range of floats."""
        factor = self.factor[d]
        values = self.location[d] * factor + self.scale[d] * factor * x
        limit = _MAX_FLOAT * factor
        return np.asarray(np.clip(values, -limit, limit) / factor)

    def to_table_units(self, d: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers of a modelled column in the table's units: (...) -> (...)."""
        values = self._to_units(x, d)
        # exactly the table's values, which the sum may miss by rounding
        if self.supports[d] == "binary":
            values[x == 1] = self.high[d]
        elif self.supports[d] == "atom":
            values[self._at_point_mass(d, x)] = self.point_mass(d)[0]
        return values

    def decode(self, x: NDArray[np.float64], X: Floats, observed: Mask) -> NDArray[np.float64]:
        """Return a complete table of numbers, with observed cells unchanged.

        Parameters
        ----------
        x : ndarray of shape (N, D)
            Values of the modelled columns, in the model's units.
        X : ndarray of shape (N, n_features)
            The incomplete table.
        observed : ndarray of shape (N, n_features)
            Mask of its observed cells.

        Returns
        -------
        ndarray of shape (N, n_features)
            In the units and the type of ``X``.
        """
        limits = np.finfo(X.dtype)
        complete = np.tile(self.fill_values, (X.shape[0], 1))
        values = self._to_units(x)
        for d in self._with_support("binary", "atom"):
            values[:, d] = self.to_table_units(d, x[:, d])
        complete[:, self.modelled] = np.clip(values, float(limits.min), float(limits.max))
        is_integer = [codec.is_integer for codec in self.codecs]
        complete[:, is_integer] = np.rint(complete[:, is_integer]) + 0.0  # no -0.0
        out = np.where(observed, X, complete.astype(X.dtype))
        for copy, original in self.copies.items():
            only_copy = observed[:, copy] & ~observed[:, original]
            out[only_copy, original] = X[only_copy, copy]
            out[:, copy] = np.where(observed[:, copy], X[:, copy], out[:, original])
        return out
