"""Checks of parameter values that return what the value must be."""

import math
import numbers
from collections.abc import Callable, Mapping

import numpy as np
from sklearn.utils import check_random_state

#: A check returns what a value must be where it is not so.
Check = Callable[[object], str | None]


def whole(low: int) -> Check:
    """Return a check for an integer of at least ``low``."""

    def check(value: object) -> str | None:
        good = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= low
        return None if good else f"an integer of {low} or more"

    return check


def check_minimum(least: int, **given: object) -> None:
    """Raise a ValueError that names the first argument that is no integer of at least so much."""
    for name, value in given.items():
        if wanted := whole(least)(value):
            raise ValueError(f"{name} must be {wanted}; got {value!r}.")


def real(low: float, high: float = math.inf, *, above: bool = False) -> Check:
    """Return a check for a finite number from ``low`` (or above it) to below ``high``."""

    def check(value: object) -> str | None:
        good = isinstance(value, numbers.Real) and not isinstance(value, bool)
        good = good and (value > low if above else value >= low) and value < high  # type: ignore[operator]
        bound = f"above {low:g}" if above else f"of {low:g} or more"
        return (
            None if good else f"a number {bound}{f' and below {high:g}' if high < math.inf else ''}"
        )

    return check


def one_of(*options: str | bool) -> Check:
    """Return a check for one of the options."""

    def check(value: object) -> str | None:
        flag = isinstance(value, (bool, np.bool_))
        good = any(value == o for o in options if isinstance(o, bool) == flag)
        return None if good else f"one of {', '.join(map(repr, options))}"

    return check


def either(*checks: Check) -> Check:
    """Return a check that one of the checks is passed."""

    def check(value: object) -> str | None:
        wants = [check(value) for check in checks]
        return None if None in wants else " or ".join(filter(None, wants))

    return check


def infinity(value: object) -> str | None:
    """Check for positive infinity."""
    return None if value == math.inf else "np.inf"


def none(value: object) -> str | None:
    """Check for None."""
    return None if value is None else "None"


def a_callable(signature: str) -> Check:
    """Return a check for a callable, whose signature the message tells."""
    return lambda value: None if callable(value) else f"a callable {signature}"


def a_random_state(value: object) -> str | None:
    """Check for what scikit-learn takes as a source of randomness."""
    try:
        check_random_state(value)
    except ValueError:
        return "an int of 0 or more, a numpy.random.RandomState or None"
    return None


def anything(value: object) -> str | None:
    """Check nothing: another place does."""
    return None


def a_mapping(value: object) -> str | None:
    """Check for a mapping."""
    return None if isinstance(value, Mapping) else "a mapping from columns"


def check_fields(options: object, **checks: Check) -> None:
    """Raise a ValueError for the first field of an options object that fails its check."""
    for name, check in checks.items():
        value = getattr(options, name)
        if (requirement := check(value)) is not None:
            owner = type(options).__name__
            raise ValueError(f"Parameter {name!r} of {owner} must be {requirement}; got {value!r}.")
