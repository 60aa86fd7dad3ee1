"""Tables that users pass: data frames and arrays with missing cells, and operations on them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, validate_data

from .._utils.quoting import listed, quoted
from .array_types import FLOATS, array_to_frame, read_type
from .chunks import Chunks
from .columns import Column, Floats, Mask, as_frame, category_order, columns_of
from .plain_types import (
    plain_polars_type,
    plain_type,
    polars_type_from_plain,
    type_from_plain,
)

_STRINGS = (nw.String, nw.Categorical, nw.Enum, nw.Object)  # types that hold categories


class NumericTable(NamedTuple):
    """A table as floats, with masks."""

    values: Floats  # (N, n_features)   categories by their codes; unobserved cells are arbitrary
    observed: Mask  # (N, n_features)   cells that the model may condition on
    missing: Mask  # (N, n_features)   cells to impute; unknown categories are in neither mask


class InputTable(NamedTuple):
    """A table that a user passed."""

    columns: list[Column]
    frame: nw.DataFrame | None  # None for an array of floats; other arrays are kept as frames
    dtype: np.dtype | None  # type of the array; None for a data frame

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.columns[0])

    @property
    def names(self) -> list[Any]:
        """Names of the columns: x0, x1, ... for an array."""
        if self.frame is None or self.dtype is not None:
            return [f"x{j}" for j in range(len(self.columns))]
        return list(self.frame.columns)

    @property
    def number_type(self) -> np.dtype:
        """Type of the floats of the table as numbers."""
        return np.dtype(np.float64) if self.frame is not None or self.dtype is None else self.dtype

    @property
    def has_strings(self) -> bool:
        """Whether a column of a data frame may hold strings."""
        types = [column.dtype for column in self.columns if isinstance(column, nw.Series)]
        return self.dtype is None and any(isinstance(dtype, _STRINGS) for dtype in types)

    def part(self, rows: slice | NDArray[np.intp]) -> Self:
        """Return a view of consecutive rows, or a copy of those at positions."""
        if isinstance(rows, slice) and rows == slice(0, self.n_rows):
            return self
        if self.frame is None:
            return self._replace(columns=[column[rows] for column in self.columns])
        frame = self.frame[rows if isinstance(rows, slice) else rows.tolist()]
        return self._replace(columns=columns_of(frame), frame=frame)

    def copy(self) -> Self:
        """Return a copy, independent of later changes of the user's table."""
        if self.frame is None:
            return self._replace(columns=[np.array(column) for column in self.columns])
        frame = self.frame.clone()
        return self._replace(columns=columns_of(frame), frame=frame)

    def template(self) -> Self:
        """Return the table without rows, which keeps names and types."""
        return self.part(slice(0))

    def to_plain(self) -> dict[str, Any]:
        """Return a template as a dict of plain values, for safe file formats."""
        native = None if self.frame is None else nw.to_native(self.frame)
        plain = {"n": len(self.columns), "dtype": None if self.dtype is None else self.dtype.name}
        if isinstance(native, pd.DataFrame):
            types = [plain_type(dtype) for dtype in native.dtypes]
            return {**plain, "names": native.columns.tolist(), "types": types}
        if native is None:
            return plain
        types = [(name, plain_polars_type(dtype)) for name, dtype in native.schema.items()]
        return {**plain, "polars": types}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Return the template of a dict that ``to_plain`` returned."""
        dtype = None if plain["dtype"] is None else np.dtype(plain["dtype"])
        native: Any
        if "names" in plain:
            empty = [pd.Series([], dtype=type_from_plain(name)) for name in plain["types"]]
            native = pd.DataFrame(dict(enumerate(empty)))
            native.columns = pd.Index(plain["names"])
        elif "polars" in plain:
            import polars

            types = {name: polars_type_from_plain(dtype) for name, dtype in plain["polars"]}
            native = polars.DataFrame(schema=types)
        else:
            return cls([np.empty(0, dtype)] * plain["n"], None, dtype)
        frame = nw.from_native(native, eager_only=True)
        return cls(columns_of(frame), frame, dtype)


def open_table(estimator: Any, X: Any, template: InputTable | None = None) -> InputTable:
    """Return a table that a user passed, after checks of its container and its columns.

    Parameters
    ----------
    estimator : BaseEstimator
        Estimator whose ``n_features_in_`` and ``feature_names_in_`` scikit-learn sets at fit, and
        compares with ``X`` later.
    X : data frame or array-like of shape (n_samples, n_features)
        The table.
    template : InputTable or None
        The ``template()`` of the table at fit; None at fit.
    """
    _refuse_other_containers(X)
    if (frame := as_frame(X)) is not None:
        return _open_dataframe(estimator, X, frame, template)
    at_fit = None if template is None else template.dtype
    # strings of a data frame at fit are categories, even if they look like numbers
    parses_strings = at_fit is not None or template is None or not template.has_strings
    dtype = read_type(X, at_fit, parses_strings=parses_strings)
    cells = validate_data(
        estimator, X, reset=template is None, dtype=dtype, ensure_all_finite=False
    )
    if dtype == FLOATS:
        return InputTable(list(cells.T), None, cells.dtype)
    frame = array_to_frame(cells)
    return InputTable(columns_of(frame), frame, cells.dtype)


def _refuse_other_containers(X: Any) -> None:
    """Raise where X is neither a data frame nor an array, or one that would be misread."""
    if isinstance(X, Chunks):
        raise TypeError(
            "Chunks are only accepted by fit. Apply a method of a fitted estimator to each chunk, "
            "as in chunks.map(imputer.transform)."
        )
    if hasattr(X, "__next__"):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read only once; make Chunks of a function "
            "that returns a new one, or of a list of tables."
        )
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            "X is a masked array, whose mask scikit-learn ignores: masked cells would count as "
            "observed; pass X.astype(float).filled(np.nan)."
        )
    if getattr(getattr(X, "dtype", None), "names", None):
        raise TypeError("X is a structured array; pass pandas.DataFrame(X).")
    if isinstance(X, (list, tuple)) and any(isinstance(row, Mapping) for row in X):
        raise TypeError("X is a list of mappings; pass pandas.DataFrame(X).")
    if isinstance(X, pd.DataFrame) and not X.columns.is_unique:
        name = X.columns[X.columns.duplicated()][0]
        raise ValueError(
            f"X has several columns named {quoted(name)}; give each column a unique name."
        )
    _refuse_lazy_frames_and_mappings(X)
    library = None if (frame := as_frame(X)) is None else frame.implementation
    if library is not None and not (library.is_pandas() or library.is_polars()):
        raise TypeError(
            f"X is a {type(X).__module__.split('.')[0]} table; convert it to pandas or polars."
        )


def _open_dataframe(
    estimator: Any, X: Any, frame: nw.DataFrame, template: InputTable | None
) -> InputTable:
    # not all versions of scikit-learn read the names of polars' frames
    named = X if isinstance(X, pd.DataFrame) else pd.DataFrame(columns=frame.columns)
    validate_data(estimator, named, reset=template is None, skip_check_array=True)
    for n, axis in zip(frame.shape, ("sample", "feature"), strict=True):
        if not n:
            raise ValueError(
                f"Found array with 0 {axis}(s) (shape={frame.shape}) while a minimum of 1 is "
                "required."
            )
    source = InputTable(columns_of(frame), frame, None)
    # scikit-learn compares names only if they are strings
    is_compared = hasattr(estimator, "feature_names_in_")
    if template is not None and template.dtype is None and not is_compared:
        _check_names(type(estimator).__name__, source.names, template.names)
    return source


def _check_names(estimator_name: str, names: list[Any], names_at_fit: list[Any]) -> None:
    """Raise where the names of the columns differ from those at fit."""
    new, old = (pd.Index(n, tupleize_cols=False, dtype=object) for n in (names, names_at_fit))
    # names of polars' columns are always strings
    if not new.equals(old) and list(map(str, names_at_fit)) != names:
        raise ValueError(
            f"X has the columns {listed(names)}, but {estimator_name} was fitted to "
            f"{listed(names_at_fit)}; pass the same columns in the same order."
        )


# -- tables of any library, without an estimator ------------------------------------------------


def columns_and_names(X: Any) -> tuple[list[Column], list[Any] | None]:
    """Return the columns of a data frame or an array, and the names of a data frame's columns."""
    _refuse_lazy_frames_and_mappings(X)
    if (frame := as_frame(X)) is not None:
        return columns_of(frame), list(frame.columns)
    cells = _to_array(X)
    return list(cells.T) if cells.dtype in FLOATS else columns_of(array_to_frame(cells)), None


def _refuse_lazy_frames_and_mappings(X: Any) -> None:
    """Raise where X is a lazy frame or a mapping from names to columns."""
    if isinstance(X, Mapping) and not issparse(X):  # scikit-learn refuses sparse matrices
        raise TypeError(f"X is a {type(X).__name__} of columns; pass pandas.DataFrame(X).")
    if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise TypeError(f"X is a lazy frame ({type(X).__name__}); collect it first: X.collect().")


def hide_cells(X: Any, hidden: Mask) -> Any:
    """Return a table with some cells made missing, in the container of ``X``."""
    if isinstance(X, pd.DataFrame):
        return X.mask(hidden)
    frame = as_frame(X)
    if frame is None:
        cells = _to_array(X)
        if cells.dtype.kind in "iu":  # which have no missing value
            cells = cells.astype(object)
        null = "NaT" if cells.dtype.kind in "mM" else np.nan
        return np.where(hidden, np.array(null, cells.dtype), cells)
    columns = []
    for column, is_hidden in zip(columns_of(frame), hidden.T, strict=True):
        is_kept = nw.new_series("is_kept", (~is_hidden).tolist(), backend=frame.implementation)
        columns.append(nw.when(is_kept).then(column).alias(column.name))
    return nw.to_native(frame.select(columns))


def select_columns(X: Any, indices: Sequence[int]) -> Any:
    """Return some columns of a table, in the container of ``X``."""
    if isinstance(X, pd.DataFrame):
        return X.iloc[:, list(indices)]
    frame = as_frame(X)
    if frame is None:
        return _to_array(X)[:, list(indices)]
    return nw.to_native(frame.select([frame.columns[j] for j in indices]))


def _to_array(X: Any) -> NDArray[Any]:
    """Return an array of floats, or of another type that is read like a data frame."""
    return check_array(X, dtype=read_type(X), ensure_all_finite="allow-nan")


def to_pandas(table: Any) -> Any:
    """Return a data frame of polars as one of pandas; other tables as they are."""
    frame = as_frame(table)
    if frame is None or isinstance(table, pd.DataFrame):
        return table
    return pd.DataFrame({column.name: _to_pandas_series(column) for column in columns_of(frame)})


def _to_pandas_series(column: nw.Series) -> pd.Series:
    """Return a column as a series of the closest type of pandas."""
    dtype: Any = column.dtype
    if dtype == nw.Enum or dtype == nw.Categorical:
        categories = category_order(column)
        return pd.Series(pd.Categorical(column.to_numpy(), categories, ordered=dtype == nw.Enum))
    if (dtype.is_integer() or dtype == nw.Boolean) and column.null_count():
        name = "boolean" if dtype == nw.Boolean else str(dtype)
        return pd.Series(column.to_list(), dtype=name)
    if dtype.is_numeric() or dtype == nw.Boolean or dtype == nw.String or dtype == nw.Duration:
        return pd.Series(column.to_numpy())
    if dtype == nw.Datetime:
        times: Any = pd.Series(column.to_numpy())
        zone = dtype.time_zone
        return times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times
    return pd.Series(column.to_list(), dtype=object)
