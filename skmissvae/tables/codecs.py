"""Columns of tables of any type as numbers, and numbers as cells of such columns."""

from __future__ import annotations

import datetime
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Number, Real
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.floating]


Mask = NDArray[np.bool_]


#: A column of a frame, or of an array of numbers.
Values = nw.Series | NDArray


#: Kinds of columns whose cells are levels, and all that a column can be for the model.
CODED = ("binary", "categorical", "ordinal")


KINDS = ("continuous", "count", "integer", *CODED)


_EPOCH = datetime.datetime(1970, 1, 1)


_FIRST, _LAST = datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29)


_DAY = 86_400_000_000  # microseconds


_MICROSECOND = datetime.timedelta(microseconds=1)


# Rows from which on consecutive numbers are taken for the names of rows, two fractions for levels.
_MIN_ROWS = 20


_DENSE = 5  # numbers for each row at most, where they are names of rows: a part of a table has gaps


def columns_of(frame: nw.DataFrame) -> list[Any]:
    """Return the columns of a frame."""
    # a name can be a number, which an index in brackets would take for a row
    return [frame.get_column(name) for name in frame.columns]


def pandas_values(column: nw.Series) -> pd.Series:
    """Return a column of another library as pandas would hold it."""
    dtype: Any = column.dtype
    if dtype == nw.Enum or dtype == nw.Categorical:
        ordered = dtype == nw.Enum
        return pd.Series(pd.Categorical(column.to_numpy(), _order(column), ordered=ordered))
    if (dtype.is_integer() or dtype == nw.Boolean) and column.null_count():
        name = "boolean" if dtype == nw.Boolean else str(dtype).replace("128", "64")
        return pd.Series(column.to_list(), dtype=name)
    if dtype.is_numeric() or dtype == nw.Boolean or dtype == nw.String or dtype == nw.Duration:
        return pd.Series(column.to_numpy())
    if dtype == nw.Datetime:
        times: Any = pd.Series(column.to_numpy())
        zone = dtype.time_zone
        return times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times
    return pd.Series(column.to_list(), dtype=object)


def type_of(column: nw.Series) -> Any:
    """Return the type of a column: that of objects is not guessed from the first of its cells."""
    native = nw.to_native(column)
    if isinstance(native, pd.Series) and native.dtype == object:
        return nw.Object()
    if zone := _zone(native):  # narwhals knows those alone whose names have but letters
        return nw.Datetime(native.dtype.unit, zone)
    return column.dtype


def _zone(native: Any) -> str | None:
    """Return the time zone of a column of pandas."""
    dtype = getattr(native, "dtype", None)
    return str(dtype.tz) if isinstance(dtype, pd.DatetimeTZDtype) else None


def missing(values: Values, marker: Any) -> Mask:
    """Tell which cells are missing: NaN, None, pandas.NA, NaT, and those that hold the marker.

    NaN marks none beside them.
    """
    if isinstance(values, np.ndarray):
        holes = np.isnan(values)
        return holes if isinstance(marker, str) else holes | (values == marker)
    holes = values.is_null().to_numpy().astype(bool)
    dtype = type_of(values)
    if dtype.is_float():
        holes = holes | values.is_nan().fill_null(True).to_numpy().astype(bool)
    if marker == marker:
        words, numeric = dtype == nw.String, dtype.is_numeric()
        may_hold = not (numeric if isinstance(marker, str) else words)
        if may_hold and dtype != nw.Boolean and not is_time(dtype):
            found = [value == marker for value in values.to_list()]
            holes = holes | (np.array(found, dtype=object) == True)  # noqa: E712  NA is neither
    return holes


class Codec(ABC):
    """How the cells of a column become numbers, and numbers cells."""

    #: Kind of the column, of KINDS, or why it is none of them.
    kind: str
    #: Levels of a coded column.
    levels: Sequence[Any] = ()
    #: Whether cells are whole numbers.
    whole = False
    #: Whether the kind was read off the cells, so that other cells may yet belie it.
    guessed = False

    @abstractmethod
    def encode(self, values: Values, holes: Mask) -> NDArray[np.float64]:
        """Return a number for each cell, NaN for holes and for what was not seen at fit."""

    @abstractmethod
    def decode(self, numbers: Floats) -> Any:
        """Return the cells of numbers."""


class Numbers(Codec):
    """Numbers as they are; those of an integer type, or of a whole kind, are rounded."""

    def __init__(self, kind: str, whole: bool) -> None:
        self.kind, self.whole = kind, whole

    def encode(self, values: Values, holes: Mask) -> NDArray[np.float64]:
        """Return the numbers."""
        return _numbers(values, holes)

    def decode(self, numbers: Floats) -> Floats:
        """Return the numbers."""
        return np.rint(numbers) + 0.0 if self.whole else numbers  # no -0.0

    def bound(self, value: Any) -> float:
        """Return a bound as a number."""
        if isinstance(value, bool) or not isinstance(value, Real) or value != value:
            raise TypeError("a number")
        return float(value)


class Labels(Codec):
    """Levels as codes 0, 1, ...

    Parameters
    ----------
    kind : str
        Kind of the column.
    levels : sequence
        What cells can hold.
    meant : bool
        Whether the column's type, or the user, calls it one of levels.
    """

    def __init__(self, kind: str, levels: Sequence[Any], meant: bool = True) -> None:
        self.kind, self.levels, self.meant = kind, list(levels), meant

    def encode(self, values: Values, holes: Mask) -> NDArray[np.float64]:
        """Return the codes."""
        found = np.full(len(holes), np.nan)
        cells = objects(values)
        index = {level: code for code, level in enumerate(self.levels)}
        found[~holes] = [index.get(cells[i], np.nan) for i in np.flatnonzero(~holes)]
        return found

    def decode(self, numbers: Floats) -> list[Any]:
        """Return the levels."""
        if not self.levels:  # a column that was empty at fit
            return [None] * len(numbers)
        codes = np.rint(numbers).clip(0, len(self.levels) - 1).astype(int)
        return [self.levels[code] for code in codes]


class Dates(Codec):
    """Dates, times and durations as microseconds; what comes back has the grain of what was seen.

    Parameters
    ----------
    kind : str
        "date" where it is left aside.
    dtype : nw.dtypes.DType
        Type of the column.
    grain : int
        Microseconds between possible values.
    """

    def __init__(self, kind: str, dtype: Any, grain: int = 1) -> None:
        self.kind, self.grain = kind, grain
        self.is_duration = dtype == nw.Duration
        self.is_date = dtype == nw.Date
        self.zone = getattr(dtype, "time_zone", None)
        # what datetime, or 64 bits of nanoseconds, can hold, less two days for zones and grain
        nano = getattr(dtype, "time_unit", None) == "ns"
        widest = datetime.timedelta(days=106_000) if nano or self.is_duration else None
        first, last = (-widest, widest) if widest else (_FIRST - _EPOCH, _LAST - _EPOCH)
        self.limits = first / _MICROSECOND, last / _MICROSECOND

    def encode(self, values: Values, holes: Mask) -> NDArray[np.float64]:
        """Return microseconds, since 1970 where it is a point in time."""
        if not isinstance(values, nw.Series):
            raise TypeError("an array holds numbers")
        native: Any = nw.to_native(values)
        if _zone(native):
            values = nw.from_native(native.dt.tz_convert("UTC"), series_only=True)
            assert isinstance(values, nw.Series), "as it was"
        if self.is_duration:
            found = values.dt.total_microseconds()
        else:
            found = (values.cast(nw.Datetime("us")) if self.is_date else values).dt.timestamp("us")
        return _numbers(found, holes)

    def bound(self, value: Any) -> float:
        """Return a date, a time or a duration as microseconds."""
        if not isinstance(value, (datetime.date, datetime.timedelta, str)):
            raise TypeError("a date, a time or a duration, as the column has them")
        point: Any = value  # of any of these types
        if self.is_duration:
            return pd.Timedelta(point).total_seconds() * 1e6
        time = pd.Timestamp(point)
        time = time.tz_localize(self.zone or "UTC") if time.tzinfo is None else time
        return time.timestamp() * 1e6

    def decode(self, numbers: Floats) -> list[Any]:
        """Return dates, times or durations."""
        inside = np.clip(numbers, *self.limits)
        ticks = [round(number / self.grain) * self.grain for number in inside.tolist()]
        if self.is_duration:
            return [tick * _MICROSECOND for tick in ticks]
        times = [_EPOCH + tick * _MICROSECOND for tick in ticks]
        if self.is_date:
            return [time.date() for time in times]
        if self.zone:
            return [time.replace(tzinfo=datetime.UTC) for time in times]
        return times

    def spans(self, numbers: NDArray[np.float64]) -> list[datetime.timedelta]:
        """Return durations of microseconds."""
        return [number * _MICROSECOND for number in numbers.tolist()]


class Opaque(Codec):
    """What the package knows nothing of: it is left as it is."""

    kind = "other"

    def encode(self, values: Values, holes: Mask) -> NDArray[np.float64]:
        """Return that nothing is known."""
        return np.full(len(holes), np.nan)

    def decode(self, numbers: Floats) -> list[Any]:
        """Return nothings."""
        return [None] * len(numbers)


def codec(name: str, values: Values, holes: Mask, wanted: str | None) -> Codec:
    """Return the codec of a column.

    Parameters
    ----------
    name : str
        Name of the column, for errors.
    values : Series or ndarray of shape (N,)
        The column.
    holes : ndarray of shape (N,)
        Which of its cells are missing.
    wanted : str or None
        The kind that the user names; None reads it off the column.
    """
    if isinstance(values, nw.Series) and is_time(type_of(values)):
        dtype = type_of(values)
        if wanted not in (None, "continuous"):
            raise ValueError(
                f"Parameter 'feature_kinds' calls column {name!r} {wanted!r}, but it holds "
                f"{dtype}: only 'continuous' will do."
            )
        # a trend in time is seldom what the others depend on, but a hole wants a value
        found = Dates(wanted or ("continuous" if holes.any() else "date"), dtype)
        numbers = found.encode(values, holes)[~holes]
        step = 1
        while step * 1000 <= 1_000_000 and (numbers % (step * 1000) == 0).all():
            step *= 1000
        found.grain = _DAY if len(numbers) and (numbers % _DAY == 0).all() else step
        return found
    if isinstance(values, nw.Series) and not _readable(values, holes):
        return Opaque()
    if wanted in CODED:
        return _labels(name, values, holes, wanted)
    if wanted is not None:
        return _whole_or_not(name, values, holes, wanted)
    if not isinstance(values, nw.Series):
        return Numbers("continuous", whole=False)  # an array's type tells nothing of its columns
    dtype = type_of(values)
    if not _are_numbers(values, holes):
        _refuse_stray_words(name, values, holes)
        return _labels(name, values, holes, None)
    numbers = _numbers(values, holes)[~holes]
    # beyond it every number of a floating type is whole
    telling = 2.0 ** (23 if dtype == nw.Float32 else 52)
    whole = dtype.is_integer() or bool(
        len(numbers) and np.abs(numbers).min() < telling and (numbers == np.rint(numbers)).all()
    )
    found_values = np.unique(numbers)
    guess: Codec
    if len(found_values) == 2 and (whole or len(numbers) >= _MIN_ROWS):
        guess = _labels(name, values, holes, "binary")
        guess.guessed = True
        return guess
    if not whole:
        return Numbers("continuous", whole=False)
    if dtype.is_integer() and _names_rows(numbers, len(holes)):
        return Numbers("identifier", whole=True)
    guess = Numbers("count" if (found_values >= 0).all() else "integer", whole=True)
    guess.guessed = True
    return guess


def is_numeric(values: Values) -> bool:
    """Tell whether a column's type is one of numbers."""
    return isinstance(values, np.ndarray) or values.dtype.is_numeric()


def is_time(dtype: Any) -> bool:
    """Tell whether a type is one of dates, times or durations."""
    return dtype in (nw.Date, nw.Duration) or dtype == nw.Datetime


def _readable(values: nw.Series, holes: Mask) -> bool:
    dtype = type_of(values)
    if dtype in (nw.String, nw.Categorical, nw.Boolean) or dtype == nw.Enum or dtype.is_numeric():
        return True
    if dtype == nw.Object or dtype == nw.Unknown:
        cells = objects(values)
        plain = (str, bool, Number, np.generic)
        seen = cells[np.flatnonzero(~holes)]
        unordered = (complex, np.complexfloating)
        return all(isinstance(cell, plain) and not isinstance(cell, unordered) for cell in seen)
    return False


def _are_numbers(values: nw.Series, holes: Mask) -> bool:
    dtype = type_of(values)
    if dtype not in (nw.Object, nw.Unknown):
        return bool(dtype.is_numeric())
    seen = objects(values)[~holes]
    return len(seen) > 0 and all(
        isinstance(cell, Number) and not isinstance(cell, (bool, np.bool_)) for cell in seen
    )


def _refuse_stray_words(name: str, values: nw.Series, holes: Mask) -> None:
    """Raise where a column of objects holds numbers and strings."""
    if type_of(values) != nw.Object:
        return
    cells = objects(values)
    words = [i for i in np.flatnonzero(~holes) if isinstance(cells[i], str)]
    if 0 < len(words) < (~holes).sum():
        # those that are no numbers either are more likely at fault
        strays = [i for i in words if not reads_as(finite_number, cells[i])]
        i = (strays or words)[0]
        remedy = f"mark it missing (missing_values={cells[i]!r})" if strays else "make it a number"
        raise ValueError(
            f"Column {name!r} holds {cells[i]!r} in row {i}, but numbers in other rows; mend the "
            f"value, {remedy} (pandas.to_numeric(errors='coerce') does so with all of them), or "
            "make all of them strings if they are categories."
        )


def finite_number(text: str) -> float:
    """Return a number that a string holds, or raise: "nan" and "inf" are words."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def reads_as(read: Callable[[str], Any], level: Any) -> bool:
    """Tell whether a level is a string that can be read as something else."""
    if not isinstance(level, str) or "_" in level:  # Python reads 2_011 as a number
        return False
    try:
        read(level)
    except ValueError:
        return False
    return True


def _names_rows(numbers: NDArray[np.float64], n_rows: int) -> bool:
    """Tell whether whole numbers are the names of rows: all different, and nearly in sequence."""
    if not len(numbers) == n_rows >= _MIN_ROWS or np.ptp(numbers) > _DENSE * n_rows:
        return False
    return len(np.unique(numbers)) == n_rows


def _whole_or_not(name: str, values: Values, holes: Mask, wanted: str) -> Numbers:
    is_number = isinstance(values, np.ndarray) or _are_numbers(values, holes)
    seen = objects(values)[~holes] if not is_number else _numbers(values, holes)[~holes]
    wrong = [
        value
        for value in seen.tolist()
        if not is_number
        or (wanted != "continuous" and value != round(value))
        or (wanted == "count" and value < 0)
    ]
    if wrong:
        needs = {
            "continuous": "numbers",
            "integer": "whole numbers",
            "count": "whole numbers of 0 or more",
        }[wanted]
        raise ValueError(
            f"Parameter 'feature_kinds' calls column {name!r} {wanted!r}, which needs {needs}, but "
            f"it holds {wrong[0]!r}; "
            + ("convert it (pandas.to_numeric), or " if isinstance(wrong[0], str) else "")
            + f"choose another of {', '.join(map(repr, KINDS))}."
        )
    integer = isinstance(values, nw.Series) and values.dtype.is_integer()
    return Numbers(wanted, whole=integer or wanted != "continuous")


def _labels(name: str, values: Values, holes: Mask, wanted: str | None) -> Labels:
    seen = set(objects(values)[~holes].tolist())
    order = _order(values)
    if order is not None:
        levels = [level for level in order if level in seen]
    else:
        levels = sorted(seen, key=_sort_key)
        if wanted == "ordinal" and any(isinstance(level, str) for level in levels):
            raise ValueError(
                f"Parameter 'feature_kinds' calls column {name!r} 'ordinal', but its values are "
                "strings without an order; give it an ordered type "
                "(pandas.CategoricalDtype([...], ordered=True), polars.Enum([...])) or numbers."
            )
    if wanted == "binary" and len(levels) > 2:
        raise ValueError(
            f"Parameter 'feature_kinds' calls column {name!r} 'binary', but it has {len(levels)} "
            f"values: {', '.join(map(repr, levels[:5]))}{', ...' if len(levels) > 5 else ''}; "
            "choose 'categorical' or 'ordinal'."
        )
    kind = wanted or ("ordinal" if _is_ranked(values) else "categorical")
    if len(levels) == 2:
        kind = "binary"  # with two levels all three are the same model
    elif wanted is None and 2 < len(levels) == (~holes).sum():
        kind = "identifier"
    named = wanted is not None or order is not None or values.dtype == nw.Categorical
    return Labels(kind, levels, meant=named)


def _order(values: Values) -> list[Any] | None:
    """Return the levels of a type that has them in order."""
    if isinstance(values, np.ndarray):
        return None
    native = nw.to_native(values)
    if isinstance(getattr(native, "dtype", None), pd.CategoricalDtype):
        return native.cat.categories.tolist()
    dtype: Any = values.dtype
    return list(dtype.categories) if dtype == nw.Enum else None


def _is_ranked(values: Values) -> bool:
    dtype = getattr(nw.to_native(values, pass_through=True), "dtype", None)
    return isinstance(dtype, pd.CategoricalDtype) and bool(dtype.ordered)


def _sort_key(level: Any) -> tuple[bool, Any]:
    return isinstance(level, str), level


def objects(values: Values) -> NDArray[np.object_]:
    """Return the cells as objects of Python."""
    cells = np.empty(len(values), dtype=object)
    cells[:] = values.tolist() if isinstance(values, np.ndarray) else values.to_list()
    return cells


def _numbers(values: Values, holes: Mask) -> NDArray[np.float64]:
    if isinstance(values, nw.Series):
        found = np.full(len(holes), np.nan)
        if values.dtype.is_numeric():
            kept = values.filter((~holes).tolist())
            found[~holes] = kept.cast(nw.Float64).to_numpy()
        else:
            found[~holes] = objects(values)[~holes].astype(float)
        return found
    return np.where(holes, np.nan, values.astype(np.float64))
