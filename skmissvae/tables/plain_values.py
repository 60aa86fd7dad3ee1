"""Values as JSON and arrays, and back: what files hold that contain data only.

JSON has no tuples, keys other than strings, infinities, dates or objects. Such a value is an
object with one key that begins with "@" and names its type. Arrays are stored beside the JSON text.
Objects are restored only if their class is in a list; functions and classes are stored by name and
never imported.
"""

import base64
import datetime
import decimal
import fractions
import functools
import math
import uuid
import zoneinfo
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from .._utils.quoting import quoted
from .plain_types import label_from_plain, plain_label

_LABELS = (pd.Timestamp, pd.Timedelta, pd.Period, pd.Interval)


class PlainWriter:
    """Writes values as JSON; collects arrays and custom callables.

    Parameters
    ----------
    classes : mapping of str to type
        Classes of objects that are stored with their state, by name.
    functions : mapping of str to callable
        Classes and functions that are stored by name.
    omitted : collection of str
        Attributes of objects that are not stored.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays by name.
    custom : dict of str to object
        Other callables by name; ``PlainReader`` needs them.
    """

    def __init__(
        self,
        classes: Mapping[str, type],
        functions: Mapping[str, Callable[..., Any]],
        omitted: Collection[str] = (),
    ) -> None:
        self._omitted = omitted
        self._class_names = {cls: name for name, cls in classes.items()}
        self._function_names = {function: name for name, function in functions.items()}
        self.arrays: dict[str, NDArray[Any]] = {}
        self.custom: dict[str, Any] = {}

    def write(self, value: Any, path: str) -> Any:
        """Return a value as JSON.

        Parameters
        ----------
        value : object
            The value.
        path : str
            Where it stands, for names of arrays and for errors.

        Raises
        ------
        TypeError
            If a value has no plain form.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"@float": str(value)}
        if type(value) in (list, tuple, set, frozenset):
            items = [self.write(item, f"{path}.{i}") for i, item in enumerate(value)]
            return items if type(value) is list else {f"@{type(value).__name__}": items}
        if isinstance(value, dict) and type(value) in (dict, self._as_dict(value)):
            return self._dict(value, path)
        if type(value) is np.ndarray:
            return self._array(value, path)
        if type(value) in self._class_names:
            return self._object(value, path)
        if callable(value) or hasattr(value, "encoder"):
            return self._callable(value, path)
        plain = _plain_scalar(value)
        if plain is None:
            raise TypeError(
                f"A model file cannot store {path}, which is {quoted(value)} of class "
                f"{type(value).__module__}.{type(value).__qualname__}; use pickle, joblib or skops."
            )
        return plain

    @staticmethod
    def _as_dict(value: dict[Any, Any]) -> type:
        """Return the class of mappings that are stored as dicts, such as defaultdict."""
        return type(value) if type(value).__module__ == "collections" else dict

    def _dict(self, value: dict[Any, Any], path: str) -> Any:
        items = [(key, self.write(item, f"{path}.{key}")) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("@") for key in value):
            return dict(items)
        return {"@dict": [[self.write(key, f"{path} (key)"), item] for key, item in items]}

    def _array(self, value: NDArray[Any], path: str) -> Any:
        kind = value.dtype.kind
        if kind in "OUS":
            cells = [
                self.write(cell, f"{path}.{i}") for i, cell in enumerate(value.ravel().tolist())
            ]
            return {"@objects": [value.dtype.str, list(value.shape), cells]}
        is_time = kind in "mM"
        if not is_time and (kind not in "biuf" or value.dtype.itemsize > 8):
            raise TypeError(f"A model file cannot store {path}, an array of {value.dtype}.")
        numbers = value.view(np.int64) if is_time else value
        name = path if path not in self.arrays else f"{path}#{len(self.arrays)}"
        self.arrays[name] = np.asarray(numbers, numbers.dtype.newbyteorder("="), order="C")
        return {"@array": [name, value.dtype.str] if is_time else [name]}

    def _object(self, value: Any, path: str) -> Any:
        name = self._class_names[type(value)]
        if isinstance(value, tuple):  # a named one
            fields = zip(value._fields, value, strict=True)  # type: ignore[attr-defined]
            return {"@object": [name, [self.write(v, f"{path}.{key}") for key, v in fields]]}
        state = {k: v for k, v in (value.__getstate__() or {}).items() if k not in self._omitted}
        return {"@object": [name, self._dict(state, path)]}

    def _callable(self, value: Any, path: str) -> Any:
        is_known = isinstance(value, type) or hasattr(value, "__name__")
        if is_known and value in self._function_names:
            return {"@function": self._function_names[value]}
        if isinstance(value, functools.partial) and value.func in self._function_names:
            parts = [list(value.args), dict(value.keywords)]
            return {"@partial": [self._function_names[value.func], self.write(parts, path)]}
        name = getattr(value, "__qualname__", type(value).__qualname__)
        while self.custom.setdefault(name, value) is not value:
            name += "'"
        return {"@custom": name}


class PlainReader:
    """Restores values that ``PlainWriter`` wrote.

    Parameters
    ----------
    classes, functions : mappings
        As of the writer.
    arrays : mapping of str to ndarray
        The arrays.
    custom : mapping of str to object
        The custom callables.
    """

    def __init__(
        self,
        classes: Mapping[str, type],
        functions: Mapping[str, Callable[..., Any]],
        arrays: Mapping[str, NDArray[Any]],
        custom: Mapping[str, Any],
    ) -> None:
        self._classes, self._functions = classes, functions
        self._arrays, self._custom = arrays, custom

    def read(self, plain: Any) -> Any:
        """Return the value of parsed JSON.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError, ArithmeticError
            If it was not written by ``PlainWriter``.
        """
        if isinstance(plain, list):
            return [self.read(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        tag = next(iter(plain), "")
        if not tag.startswith("@"):
            return {key: self.read(item) for key, item in plain.items()}
        content = plain[tag]
        if tag in ("@tuple", "@set", "@frozenset"):
            return {"@tuple": tuple, "@set": set, "@frozenset": frozenset}[tag](self.read(content))
        if tag == "@dict":
            return {self.read(key): self.read(item) for key, item in content}
        if tag == "@array":
            numbers = self._arrays[content[0]]
            return numbers.view(_time_type(content[1])) if len(content) > 1 else numbers
        if tag == "@objects":
            return self._objects(*content)
        if tag == "@object":
            return self._object(*content)
        if tag == "@function":
            return self._functions[content]
        if tag == "@partial":
            args, keywords = self.read(content[1])
            return functools.partial(self._functions[content[0]], *args, **keywords)
        if tag == "@custom":
            return self._custom[content]
        return _SCALARS[tag](content)

    def _objects(self, dtype: str, shape: list[int], cells: list[Any]) -> NDArray[Any]:
        if dtype[1:2] not in ("O", "U", "S") or len(cells) != math.prod(shape):
            raise ValueError("an array of objects has another shape than its cells")
        array = np.empty(len(cells), object)
        array[:] = [self.read(cell) for cell in cells]
        # the width of strings follows from them, not from the file
        return array.astype(dtype[1:2]).reshape(shape)

    def _object(self, name: str, state: Any) -> Any:
        cls = self._classes[name]
        values = self.read(state)
        if issubclass(cls, tuple):
            return cls._make(values)  # type: ignore[attr-defined]
        value: Any = object.__new__(cls)
        if hasattr(cls, "__setstate__"):
            value.__setstate__(values)
        else:
            vars(value).update(values)
        return value


def _time_type(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in "mM":
        raise ValueError("not a type of dates or durations")
    return dtype


def _plain_scalar(value: Any) -> Any:
    """Return a value of a class of Python, numpy, pandas or torch as JSON, or None."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return {"@time": [value.dtype.str, int(value.view(np.int64))]}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        number = value.item()
        is_finite = not isinstance(number, float) or math.isfinite(number)
        return {"@numpy": [value.dtype.str, number if is_finite else str(number)]}
    if isinstance(value, np.str_):
        return {"@numpy_str": str(value)}
    if value is pd.NaT or value is pd.NA:
        return {"@pandas": "NaT" if value is pd.NaT else "NA"}
    if isinstance(value, _LABELS):
        label = plain_label(value)
        return {"@label": _plain_label(label)} if isinstance(label, dict) else None
    if type(value) is datetime.datetime:
        zone = value.tzinfo
        if zone is not None and not isinstance(zone, datetime.timezone | zoneinfo.ZoneInfo):
            return None
        name = zone.key if isinstance(zone, zoneinfo.ZoneInfo) else None
        return {"@datetime": [value.isoformat(), name, value.fold]}
    for cls, (name, write) in _WRITERS.items():
        if type(value) is cls:
            return {name: write(value)}
    if isinstance(value, np.random.RandomState):
        kind, key, *rest = value.get_state()
        return {"@random_state": [kind, np.asarray(key).tolist(), *rest]}
    return None


def _plain_label(label: dict[str, Any]) -> dict[str, Any]:
    """Return a label as JSON: the ends of an interval are labels, too."""
    if "ends" not in label:
        return label
    ends = [_plain_label(e) if isinstance(e, dict) else _plain_number(e) for e in label["ends"]]
    return {**label, "ends": ends}


def _plain_number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _read_datetime(content: list[Any]) -> datetime.datetime:
    text, zone, fold = content
    time = datetime.datetime.fromisoformat(text).replace(fold=fold)
    return time if zone is None else time.replace(tzinfo=zoneinfo.ZoneInfo(zone))


def _read_numpy(content: list[Any]) -> Any:
    dtype = np.dtype(content[0])
    if dtype.kind not in "biuf":
        raise ValueError("not a type of numbers")
    return dtype.type(content[1])


def _read_random_state(content: list[Any]) -> np.random.RandomState:
    state = np.random.RandomState()
    kind, key, *rest = content
    state.set_state((kind, np.asarray(key, np.uint32), *rest))
    return state


_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("@bytes", lambda value: base64.b64encode(value).decode("ascii")),
    complex: ("@complex", str),
    datetime.date: ("@date", datetime.date.isoformat),
    datetime.time: ("@clock", datetime.time.isoformat),
    datetime.timedelta: ("@timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    decimal.Decimal: ("@decimal", str),
    fractions.Fraction: ("@fraction", lambda value: [value.numerator, value.denominator]),
    uuid.UUID: ("@uuid", str),
    torch.device: ("@device", str),
}

_SCALARS: dict[str, Callable[[Any], Any]] = {
    "@float": float,
    "@bytes": base64.b64decode,
    "@complex": complex,
    "@date": datetime.date.fromisoformat,
    "@clock": datetime.time.fromisoformat,
    "@datetime": _read_datetime,
    "@timedelta": lambda content: datetime.timedelta(*content),
    "@decimal": decimal.Decimal,
    "@fraction": lambda content: fractions.Fraction(*content),
    "@uuid": uuid.UUID,
    "@device": torch.device,
    "@numpy": _read_numpy,
    "@numpy_str": np.str_,
    "@time": lambda content: np.int64(content[1]).view(_time_type(content[0])),
    "@pandas": {"NaT": pd.NaT, "NA": pd.NA}.__getitem__,
    "@label": label_from_plain,
    "@random_state": _read_random_state,
}
