"""Checks of parameter values.

A check is a function of a value. It returns None for a valid value, otherwise a description of
valid values for an error message: "an integer of 1 or more".
"""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .quoting import quoted

Check = Callable[[object], str | None]


def integer(low: int) -> Check:
    """Return a check for an integer of at least ``low``."""

    def check(value: object) -> str | None:
        valid = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return None if valid and value >= low else f"an integer of {low} or more"  # type: ignore[operator]

    return check


def check_minimum(low: int, **parameters: object) -> None:
    """Raise a ValueError unless all parameters are integers of at least ``low``."""
    for name, value in parameters.items():
        if expected := integer(low)(value):
            raise ValueError(f"{name} must be {expected}; got {quoted(value)}.")


def real(low: float, high: float = math.inf, *, above: bool = False) -> Check:
    """Return a check for a finite number from ``low`` (excluded if ``above``) to below ``high``."""

    def check(value: object) -> str | None:
        valid = isinstance(value, numbers.Real) and not isinstance(value, bool)
        valid = valid and (value > low if above else value >= low) and value < high  # type: ignore[operator]
        if valid:
            return None
        lower = f"above {low:g}" if above else f"of {low:g} or more"
        return f"a number {lower}{f' and below {high:g}' if high < math.inf else ''}"

    return check


def one_of(*options: str | bool) -> Check:
    """Return a check for one of the options."""

    def check(value: object) -> str | None:
        is_bool = isinstance(value, (bool, np.bool_))
        valid = any(value == o for o in options if isinstance(o, bool) == is_bool)
        return None if valid else f"one of {', '.join(map(repr, options))}"

    return check


def any_of(*checks: Check) -> Check:
    """Return a check for values that pass at least one of the checks."""

    def check(value: object) -> str | None:
        expected = [check(value) for check in checks]
        return None if None in expected else " or ".join(filter(None, expected))

    return check


def infinity(value: object) -> str | None:
    """Check for positive infinity."""
    return None if value == math.inf else "np.inf"


def none(value: object) -> str | None:
    """Check for None."""
    return None if value is None else "None"


def callable_with(signature: str) -> Check:
    """Return a check for a callable; the signature is only shown in the error message."""
    return lambda value: None if callable(value) else f"a callable {signature}"


def valid_random_state(value: object) -> str | None:
    """Check for an int, a numpy.random.RandomState or None, as scikit-learn does."""
    try:
        check_random_state(value)
    except ValueError:
        return "an int of 0 or more, a numpy.random.RandomState or None"
    return None


def unchecked(value: object) -> str | None:
    """Accept every value, for parameters that are validated elsewhere."""
    return None


def mapping(value: object) -> str | None:
    """Check for a mapping."""
    return None if isinstance(value, Mapping) else "a mapping from columns"


def check_form(values: Any, example: Any, message: str) -> None:
    """Raise a ValueError if nested values differ from an example in types, keys or shapes."""
    is_valid = type(values) is type(example)
    pairs: list[tuple[Any, Any]] = []
    if is_valid and isinstance(example, dict):
        is_valid = values.keys() == example.keys()
        pairs = [(values[key], example[key]) for key in example] if is_valid else []
    elif is_valid and isinstance(example, (list, tuple)):
        is_valid = len(values) == len(example)
        pairs = list(zip(values, example, strict=False))
    elif is_valid and hasattr(example, "shape"):
        is_valid = values.shape == example.shape and values.dtype == example.dtype
    if not is_valid:
        raise ValueError(message)
    for value, part in pairs:
        check_form(value, part, message)


def checked_weights(sample_weight: Any, n_rows: int) -> NDArray[np.float64]:
    """Return the weights of rows, (n_rows,), relative to the largest one.

    Given is the parameter ``sample_weight`` of a user.

    Raises
    ------
    ValueError, TypeError
        If they are not a finite number of zero or more for each row, or all zero.
    """
    remedy = f"Pass a number of zero or more for each of the {n_rows} rows."
    try:
        values = np.asarray(sample_weight)
        are_numbers = values.dtype.kind in "buifO" and not np.ma.isMaskedArray(sample_weight)
        weight = values.astype(np.float64) if are_numbers else None
    except (TypeError, ValueError, RuntimeError):
        weight = None
    if weight is None:
        raise TypeError(f"sample_weight must hold numbers; got {quoted(sample_weight)}. {remedy}")
    if weight.shape != (n_rows,):
        raise ValueError(f"sample_weight has the shape {weight.shape}. {remedy}")
    invalid = np.flatnonzero(~np.isfinite(weight) | (weight < 0))
    if len(invalid):
        row = int(invalid[0])
        raise ValueError(f"sample_weight of row {row} is {weight[row]:g}. {remedy}")
    if not weight.any():
        raise ValueError("sample_weight is zero in every row. Give some rows a positive weight.")
    return np.asarray(weight / weight.max())  # sums of large weights would overflow


def check_fields(options: object, **checks: Check) -> None:
    """Raise a ValueError for the first field of an options object that fails its check."""
    for name, check in checks.items():
        value = getattr(options, name)
        if (requirement := check(value)) is not None:
            owner = type(options).__name__
            raise ValueError(
                f"Parameter {name!r} of {owner} must be {requirement}; got {quoted(value)}."
            )
