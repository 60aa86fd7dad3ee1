"""Codecs: the cells of a column of any type as floats, and floats as cells of that type."""

import datetime
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from .columns import Column, Floats, Mask, column_type, pandas_time_zone, to_floats, to_objects
from .plain_types import label_from_plain, plain_label

#: Kinds of columns that are coded by their categories.
CODED = ("binary", "categorical", "ordinal")


#: Kinds of columns that can be modelled.
KINDS = ("continuous", "count", "integer", *CODED)


_EPOCH = datetime.datetime(1970, 1, 1)


# Range of datetime, less two days for time zones and rounding to the resolution.
_FIRST, _LAST = datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29)


# Range of 64-bit nanoseconds around the epoch, less the same margin.
_WIDEST = datetime.timedelta(days=106_000)


_MICROSECOND = datetime.timedelta(microseconds=1)


class Codec(ABC):
    """Conversion of the cells of a column to floats, and back."""

    #: Kind of the column: one of KINDS, or "identifier", "date" or "other" if not modelled.
    kind: str
    #: Categories of a coded column.
    categories: Sequence[Any] = ()
    #: Whether the cells are integers.
    is_integer = False
    #: Whether the kind was inferred from the cells, so that new cells may not conform to it.
    is_inferred = False
    #: Range of the data type, as floats.
    limits = -math.inf, math.inf

    @abstractmethod
    def encode(self, column: Column, missing: Mask) -> NDArray[np.float64]:
        """Return a float for each cell, NaN for missing cells and unknown categories."""

    @abstractmethod
    def decode(self, numbers: Floats) -> Any:
        """Return the cells that the floats stand for."""


class Numbers(Codec):
    """Numbers, which are their own codes.

    Parameters
    ----------
    kind : str
        Kind of the column.
    is_integer : bool
        Whether decoded numbers are rounded to integers.
    """

    def __init__(self, kind: str, is_integer: bool) -> None:
        self.kind, self.is_integer = kind, is_integer

    @override
    def encode(self, column: Column, missing: Mask) -> NDArray[np.float64]:
        return to_floats(column, missing)

    @override
    def decode(self, numbers: Floats) -> Floats:
        return np.rint(numbers) + 0.0 if self.is_integer else numbers  # no -0.0

    def encode_limit(self, value: Any) -> float:
        """Return a limit of imputed values as a float."""
        if isinstance(value, bool) or not isinstance(value, Real) or value != value:
            raise TypeError("a number")
        return float(value)


class Categories(Codec):
    """Categories, coded 0, 1, ...

    Parameters
    ----------
    kind : str
        Kind of the column.
    categories : sequence
        Values that cells can have.
    is_declared : bool
        Whether the data type or the user declares the column categorical.
    """

    def __init__(self, kind: str, categories: Sequence[Any], is_declared: bool = True) -> None:
        self.kind, self.categories, self.is_declared = kind, list(categories), is_declared

    @override
    def encode(self, column: Column, missing: Mask) -> NDArray[np.float64]:
        codes = np.full(len(missing), np.nan)
        cells = to_objects(column)
        # the reader refuses infinite codes
        index = {math.inf: math.inf, -math.inf: -math.inf}
        index |= {category: code for code, category in enumerate(self.categories)}
        codes[~missing] = [index.get(cells[i], np.nan) for i in np.flatnonzero(~missing)]
        return codes

    @override
    def decode(self, numbers: Floats) -> list[Any]:
        if not self.categories:  # the column had no observed cell at fit
            return [None] * len(numbers)
        codes = np.rint(numbers).clip(0, len(self.categories) - 1).astype(int)
        return [self.categories[code] for code in codes]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "categories": [plain_label(label) for label in self.categories]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        labels = [label_from_plain(label) for label in state["categories"]]
        vars(self).update(state, categories=labels)


class Dates(Codec):
    """Dates, times and durations, coded in microseconds.

    Parameters
    ----------
    kind : str
        "continuous", or "date" if the column is not modelled.
    dtype : nw.dtypes.DType
        Type of the column.
    resolution : int
        Microseconds that decoded values are rounded to multiples of.
    """

    #: Name of the class of the cells of a column of objects, empty for other columns.
    object_class = ""

    def __init__(self, kind: str, dtype: Any, resolution: int = 1) -> None:
        self.kind, self.resolution = kind, resolution
        self.is_duration = dtype == nw.Duration
        self.is_date = dtype == nw.Date
        self.time_zone = getattr(dtype, "time_zone", None)
        self.limits = (_FIRST - _EPOCH) / _MICROSECOND, (_LAST - _EPOCH) / _MICROSECOND
        if self.is_duration or getattr(dtype, "time_unit", None) == "ns":
            self.limits = -_WIDEST / _MICROSECOND, _WIDEST / _MICROSECOND

    @override
    def encode(self, column: Column, missing: Mask) -> NDArray[np.float64]:
        """Return microseconds, since 1970 for points in time."""
        if not isinstance(column, nw.Series):
            raise TypeError("an array holds numbers")
        if column_type(column) == nw.Object:
            numbers = np.full(len(missing), np.nan)
            numbers[~missing] = list(map(_microseconds, to_objects(column)[~missing]))
            return numbers
        native: Any = nw.to_native(column)
        if pandas_time_zone(native):
            column = nw.from_native(native.dt.tz_convert("UTC"), series_only=True)
            assert isinstance(column, nw.Series), "a conversion keeps the class"
        if self.is_duration:
            ticks = column.dt.total_microseconds()
        else:
            times = column.cast(nw.Datetime("us")) if self.is_date else column
            ticks = times.dt.timestamp("us")
        return to_floats(ticks, missing)

    def encode_limit(self, value: Any) -> float:
        """Return a date, a time or a duration in microseconds."""
        if not isinstance(value, (datetime.date, datetime.timedelta, str)):
            raise TypeError("a date, a time or a duration, like the column's values")
        limit: Any = value  # mypy: pandas takes each of the three types
        if self.is_duration:
            return pd.Timedelta(limit).total_seconds() * 1e6
        time = pd.Timestamp(limit)
        time = time.tz_localize(self.time_zone or "UTC") if time.tzinfo is None else time
        return time.timestamp() * 1e6

    @override
    def decode(self, numbers: Floats) -> list[Any]:
        values = self._decode(numbers)
        if self.object_class == "Timedelta":
            return list(map(pd.Timedelta, values))
        if self.object_class not in ("datetime", "Timestamp"):
            return values
        times = list(map(pd.Timestamp, values))
        if self.time_zone:
            times = [time.tz_convert(self.time_zone) for time in times]
        is_pandas = self.object_class == "Timestamp"
        return times if is_pandas else [time.to_pydatetime() for time in times]

    def _decode(self, numbers: Floats) -> list[Any]:
        inside = np.clip(numbers, *self.limits)
        ticks = [round(number / self.resolution) * self.resolution for number in inside.tolist()]
        if self.is_duration:
            return [tick * _MICROSECOND for tick in ticks]
        times = [_EPOCH + tick * _MICROSECOND for tick in ticks]
        if self.is_date:
            return [time.date() for time in times]
        if self.time_zone:
            return [time.replace(tzinfo=datetime.UTC) for time in times]
        return times

    def durations(self, numbers: NDArray[np.float64]) -> list[datetime.timedelta]:
        """Return differences of codes, such as standard deviations, as durations."""
        return [number * _MICROSECOND for number in numbers.tolist()]


def _microseconds(value: Any) -> float:
    """Return a duration, or the time since 1970 of a date or a time, in microseconds."""
    if isinstance(value, datetime.timedelta):
        return value / _MICROSECOND
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return (value - _EPOCH) / _MICROSECOND


class Unsupported(Codec):
    """A column of a type that cannot be modelled: its cells stay as they are."""

    kind = "other"

    @override
    def encode(self, column: Column, missing: Mask) -> NDArray[np.float64]:
        return np.full(len(missing), np.nan)

    @override
    def decode(self, numbers: Floats) -> list[Any]:
        return [None] * len(numbers)
