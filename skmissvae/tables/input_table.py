"""What users hand in: frames and arrays with holes, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from .chunks import Chunks
from .codecs import Codec, Floats, Mask, Opaque, Values, columns_of, missing, objects
from .dataframes import holds_objects, of_objects
from .parameters import column_index, missing_marker


class NumericTable(NamedTuple):
    """A table in numbers."""

    values: Floats  # (N, n_features)   codes for levels; what is not observed does not matter
    observed: Mask  # (N, n_features)   what the model may take as evidence
    holes: Mask  # (N, n_features)   what can be imputed: a cell of unknown level is neither


class InputTable(NamedTuple):
    """A table as it was handed in."""

    columns: list[Values]
    frame: nw.DataFrame | None  # None for an array of numbers
    dtype: np.dtype | None  # of the array that comes back; None for frames

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.columns[0])

    @property
    def number_type(self) -> np.dtype:
        """Type of the table in numbers."""
        return np.dtype(np.float64) if self.frame is not None or self.dtype is None else self.dtype

    def part(self, rows: slice) -> InputTable:
        """Return some of the rows, in the memory that they have."""
        if self.frame is None:
            return self._replace(columns=[column[rows] for column in self.columns])
        frame = self.frame[rows]
        return self._replace(columns=columns_of(frame), frame=frame)

    def copy(self) -> InputTable:
        """Return the same, whatever becomes of what was handed in."""
        if self.frame is None:
            return self._replace(columns=[np.array(column) for column in self.columns])
        frame = self.frame.clone()
        return self._replace(columns=columns_of(frame), frame=frame)

    def template(self) -> InputTable:
        """Return the same without rows, to make others by."""
        if self.frame is None:
            return self._replace(columns=[column[:0] for column in self.columns])
        frame = self.frame.head(0)
        return self._replace(columns=columns_of(frame), frame=frame)

    def plain(self) -> dict[str, Any]:
        """Return what a template is made of without classes of pandas, for safe formats."""
        native = None if self.frame is None else nw.to_native(self.frame)
        if not isinstance(native, pd.DataFrame):
            return {"frame": native, "n": len(self.columns), "dtype": self._dtype_name()}
        types = [
            (str(dtype.categories.dtype), dtype.categories.tolist(), bool(dtype.ordered))
            if isinstance(dtype, pd.CategoricalDtype)
            else (_name_of(dtype), None, False)
            for dtype in native.dtypes
        ]
        return {"names": native.columns.tolist(), "types": types, "dtype": self._dtype_name()}

    def _dtype_name(self) -> str | None:
        return None if self.dtype is None else self.dtype.name

    @classmethod
    def of(cls, plain: dict[str, Any]) -> InputTable:
        """Return the template that ``plain`` told of."""
        dtype = None if plain["dtype"] is None else np.dtype(plain["dtype"])
        if "names" not in plain and plain["frame"] is None:
            return cls([np.empty(0, dtype)] * plain["n"], None, dtype)
        if "names" in plain:
            empty = [
                pd.Series([], dtype=name)
                if categories is None
                else pd.Series([], dtype=pd.CategoricalDtype(pd.Index(categories, name), ordered))
                for name, categories, ordered in plain["types"]
            ]
            native = pd.DataFrame(dict(enumerate(empty)))
            native.columns = pd.Index(plain["names"])
        else:
            native = plain["frame"]
        frame = nw.from_native(native, eager_only=True)
        return cls(columns_of(frame), frame, dtype)


def _name_of(dtype: Any) -> Any:
    """Return the name of a type, or the type itself where its name does not tell it."""
    try:
        return str(dtype) if pd.api.types.pandas_dtype(str(dtype)) == dtype else dtype
    except (TypeError, NotImplementedError):
        return dtype


def open_table(estimator: Any, X: Any, *, reset: bool) -> InputTable:
    """Return the columns of a table, and hold it against what the estimator knows.

    Parameters
    ----------
    estimator : BaseEstimator
        Whose columns they are: it learns their number and names, or holds ``X`` against them.
    X : data frame or array-like of shape (n_samples, n_features)
        The table.
    reset : bool
        Whether the estimator learns.
    """
    if isinstance(X, Chunks):
        raise TypeError(
            "X is a table in Chunks, which fit alone takes as a whole; of a fitted estimator take "
            "them one by one, as in chunks.map(imputer.transform)."
        )
    if hasattr(X, "__next__"):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read once alone; make Chunks of a function "
            "that returns a new one, or of a list of tables."
        )
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            "X is a masked array, of which scikit-learn takes no notice: its masked cells would "
            "count as seen; give X.astype(float).filled(np.nan)."
        )
    if getattr(getattr(X, "dtype", None), "names", None):
        raise TypeError("X is a structured array; give pandas.DataFrame(X).")
    if isinstance(X, (list, tuple)) and any(isinstance(row, Mapping) for row in X):
        raise TypeError("X is a list of mappings; give pandas.DataFrame(X).")
    if isinstance(X, pd.DataFrame) and not X.columns.is_unique:
        name = X.columns[X.columns.duplicated()][0]
        raise ValueError(f"X has several columns named {name!r}; give each a name of its own.")
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"X is a lazy frame ({type(X).__name__}); collect it first: X.collect().")
    if isinstance(frame, nw.DataFrame) and not (
        frame.implementation.is_pandas() or frame.implementation.is_polars()
    ):
        raise TypeError(
            f"X is a {type(X).__module__.split('.')[0]} table; give a frame of pandas or polars."
        )
    if isinstance(frame, nw.DataFrame):
        # names and their number alone, which scikit-learn may know to find only in pandas' frames
        named = X if isinstance(X, pd.DataFrame) else pd.DataFrame(columns=frame.columns)
        validate_data(estimator, named, reset=reset, skip_check_array=True)
        for n, of in zip(frame.shape, ("sample", "feature"), strict=True):
            if not n:
                raise ValueError(
                    f"Found array with 0 {of}(s) (shape={frame.shape}) while a minimum of 1 is "
                    "required."
                )
        if reset:
            estimator._column_names = list(frame.columns)
        else:
            _check_names(estimator, list(frame.columns))
        return InputTable(columns_of(frame), frame, None)
    if reset:
        estimator.__dict__.pop("_column_names", None)
    elif estimator._template.dtype == object:
        return _of_objects(estimator, X, reset)
    try:
        array = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
        )
    except (ValueError, TypeError) as error:
        if not holds_objects(error):
            raise
        return _of_objects(estimator, X, reset)
    return InputTable(list(array.T), None, array.dtype)


def _check_names(estimator: Any, names: list[Any]) -> None:
    """Raise where names that are no strings, which scikit-learn does not check, are others."""
    known = getattr(estimator, "_column_names", None)
    if known is None or hasattr(estimator, "feature_names_in_"):
        return
    one, other = (pd.Index(given, tupleize_cols=False, dtype=object) for given in (known, names))
    # other libraries have strings for names
    if one.equals(other) or list(map(str, known)) == names:
        return
    raise ValueError(
        f"X has the columns {names[:20]}, but {type(estimator).__name__} was fitted to "
        f"{known[:20]}; give these, in their order."
    )


def _of_objects(estimator: Any, X: Any, reset: bool) -> InputTable:
    """Return the columns of an array of objects: of many types, as those of a frame."""
    cells = validate_data(estimator, X, reset=reset, dtype=object, ensure_all_finite=False)
    frame = of_objects(cells)
    return InputTable(columns_of(frame), frame, np.dtype(object))


def read(
    source: InputTable,
    codecs: Sequence[Codec],
    names: Sequence[str],
    missing_values: Any,
    handle_unknown: str = "error",
    matters: Mask | None = None,
    first: int = 0,
) -> NumericTable:
    """Return a table in numbers.

    Parameters
    ----------
    source : InputTable
        The table.
    codecs : sequence of Codec
        How each column becomes numbers.
    names : sequence of str
        Names of the columns, for errors.
    missing_values : object
        What marks a missing cell beside the nulls.
    handle_unknown : {"error", "missing"}
        Whether a level that was not there at fit is an error or no evidence.
    matters : ndarray of shape (n_features,), optional
        Columns of which a level can be unknown.
    first : int
        Position of the first row, for errors.
    """
    marker = missing_marker(missing_values)
    values = np.empty((source.n_rows, len(codecs)), dtype=source.number_type)
    holes = np.empty(values.shape, dtype=bool)
    for j, (column, one) in enumerate(zip(source.columns, codecs, strict=True)):
        holes[:, j] = missing(column, marker)
        if holes[:, j].all():  # whatever its type
            values[:, j] = np.nan
            continue
        try:
            values[:, j] = one.encode(column, holes[:, j])
        except (ValueError, TypeError, AttributeError, nw.exceptions.NarwhalsError) as error:
            raise ValueError(
                f"Column {names[j]!r} cannot be read as at fit, where it was {one.kind}: {error}; "
                "give it the type that it had at fit, or mark what is no value missing."
            ) from error
    unknown = ~holes & np.isnan(values)
    # a kind that was guessed from numbers is not held against others
    unknown[:, [isinstance(one, Opaque) or one.guessed for one in codecs]] = False
    if matters is not None:
        unknown[:, ~matters] = False
    if unknown.any() and handle_unknown == "error":
        i, j = np.argwhere(unknown)[0]
        cell = objects(source.columns[j])[i]
        known = ", ".join(map(repr, codecs[j].levels[:10]))
        more = ", ..." if len(codecs[j].levels) > 10 else ""
        raise ValueError(
            f"Column {names[j]!r}, row {first + i}, holds {cell!r}, which it did not at fit (it "
            f"had {known}{more}); mend the value, or set handle_unknown='missing' to leave it as "
            "it is and go by the other columns."
        )
    infinite = ~holes & np.isinf(values)
    if infinite.any():
        i, j = np.argwhere(infinite)[0]
        raise ValueError(
            f"Input X contains infinity: column {names[j]!r}, row {first + i}, holds "
            f"{values[i, j]}; replace it, or mark it missing."
        )
    return NumericTable(values, ~holes & ~np.isnan(values), holes)


def requested_cells(where: Any, source: InputTable, names: Sequence[str]) -> Mask:
    """Return what ``where`` asks for: a mask of cells, or one of columns whose holes are meant.

    Parameters
    ----------
    where : array-like of bool of shape (n_samples, n_features) or list of columns
        Cells to impute.
    source : InputTable
        The table.
    names : sequence of str
        Names of the columns.

    Returns
    -------
    ndarray of shape (n_samples, n_features) or (n_features,)
        The mask.
    """
    shape = source.n_rows, len(names)
    if np.ndim(where) == 2:
        # an array of objects, which has a type, has no index
        table: Any = None if source.dtype else nw.to_native(source.frame, pass_through=True)
        both = isinstance(where, pd.DataFrame) and isinstance(table, pd.DataFrame)
        if both and len(where) == shape[0] and not where.index.equals(table.index):
            raise ValueError(
                "where and X have different indices, so that it is not clear which row is meant; "
                "give where.reindex(X.index), or an array whose rows are in X's order."
            )
        given = list(getattr(where, "columns", names))
        if given != list(names) and set(given) == set(names):
            where = where[list(names)]  # a frame's columns go by name
        elif given != list(names):
            raise ValueError(f"where has columns {given[:20]}, but X has {list(names)[:20]}.")
        mask = np.asarray(where)
        if mask.dtype == object and not pd.isna(mask).any():
            mask = np.asarray(where, dtype=bool) if {*mask.flat} <= {True, False} else mask
        if mask.shape != shape or mask.dtype != bool:
            raise ValueError(
                f"where must be a mask of bool of X's shape {shape}, or a list of columns; got an "
                f"array of {mask.dtype} of shape {mask.shape}."
            )
        return mask
    if np.ndim(where) == 1 and np.asarray(where).dtype == bool and len(where) == shape[1]:
        return np.asarray(where)
    if isinstance(where, str) or np.ndim(where) != 1:
        raise ValueError(
            f"where must be a mask of bool of X's shape {shape}, or a list of columns; got "
            f"{where!r}."
        )
    chosen = np.zeros(shape[1], dtype=bool)
    chosen[[column_index(column, names, "where") for column in where]] = True
    return chosen


def column_names(estimator: Any) -> list[Any]:
    """Return the names of the columns seen at fit, x0, x1, ... where they had none."""
    names: Sequence[Any] | None = getattr(estimator, "feature_names_in_", None)
    if names is None:  # scikit-learn knows names that are strings alone
        names = getattr(estimator, "_column_names", None)
    return [f"x{j}" for j in range(estimator.n_features_in_)] if names is None else list(names)
