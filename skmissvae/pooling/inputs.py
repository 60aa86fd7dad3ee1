"""Conversion and validation of the arguments of the pooling functions."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def quantity_names(values: Any) -> pd.Index | None:
    """Return the names of the quantities: columns of a DataFrame, index of a list of Series."""
    if isinstance(values, pd.DataFrame):
        return values.columns
    return values[0].index if _is_list_of_pandas(values) else None


def _is_list_of_pandas(values: Any) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) > 0
        and all(isinstance(item, (pd.Series, pd.DataFrame)) for item in values)
    )


def to_floats(values: Any, names: pd.Index | None, argument: str) -> Floats:
    """Return a float array whose quantities are in the order of ``names``."""
    if names is not None and isinstance(values, (pd.Series, pd.DataFrame)):
        values = _reindexed(values, [values.ndim - 1], names, argument)
    elif _is_list_of_pandas(values):
        values = [_reindexed(item, range(item.ndim), names, argument) for item in values]
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{argument} must be numbers, equally many in every imputation: {error}"
        ) from error


def _reindexed(item: Any, axes: Iterable[int], names: Any, argument: str) -> Floats:
    for axis in axes:
        labels = item.axes[axis]
        if not labels.is_unique or set(labels) != set(names):
            raise ValueError(
                f"{argument} must have the same unique names in every imputation; got "
                f"{list_labels(labels)} and {list_labels(names)}. Rename them, or pass arrays."
            )
        item = item.reindex(names, axis=axis)
    return item.to_numpy()


def with_names(values: Floats, names: pd.Index | None) -> Any:
    """Return a float for (), a Series for (p,) and a DataFrame for (p, p); arrays without names."""
    if values.ndim == 0 or names is None:
        return values if values.ndim else values.item()
    if values.ndim == 1:
        return pd.Series(values, index=names)
    return pd.DataFrame(values, index=names, columns=names)


def check_estimates(estimates: Floats) -> None:
    """Raise a ValueError unless estimates are finite, of shape (m,) or (m, p), with m > 1."""
    if estimates.ndim not in (1, 2) or 0 in estimates.shape[1:]:
        raise ValueError(
            "estimates must have shape (m,) or (m, p), imputations first; got shape "
            f"{estimates.shape}."
        )
    if len(estimates) < 2:
        raise ValueError(
            f"estimates must come from two or more imputations; got {len(estimates)}, from which "
            "the variance between imputations cannot be computed."
        )
    _check_finite(estimates, "estimates")


def check_variances(variances: Floats, estimates: Floats) -> None:
    """Raise a ValueError unless variances match the estimates, are finite and not negative."""
    shapes = [estimates.shape, estimates.shape + estimates.shape[1:]][: estimates.ndim]
    if variances.shape not in shapes:
        raise ValueError(
            f"variances must have shape {' or '.join(map(str, shapes))} for estimates of shape "
            f"{estimates.shape}; got {variances.shape}."
        )
    _check_finite(variances, "variances")
    diagonal = variances if variances.ndim < 3 else np.diagonal(variances, axis1=1, axis2=2)
    if (diagonal < 0).any():
        raise ValueError(
            f"variances must be 0 or more; got {diagonal.min()}. They are squared standard errors."
        )
    if variances.ndim == 3:
        scale = np.sqrt(diagonal[:, :, None] * diagonal[:, None, :])
        if (np.abs(variances - variances.swapaxes(1, 2)) > 1e-6 * scale).any():
            raise ValueError(
                f"variances of shape {variances.shape} must be symmetric matrices; put the axis "
                "of imputations first."
            )


def _check_finite(array: Floats, argument: str) -> None:
    if not np.isfinite(array).all():
        index = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise ValueError(
            f"{argument} must be finite; got {array[index]} in imputation {index[0]}, counted from "
            "0. Leave out analyses that failed."
        )


def to_statistics(values: Any, argument: str, *, minimum: float = -math.inf) -> Floats:
    """Return the test statistics of m imputations as a checked array of shape (m,)."""
    array = to_floats(values, None, argument)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(
            f"{argument} must have shape (m,) for two or more imputations; got shape {array.shape}."
        )
    _check_finite(array, argument)
    if array.min() < minimum:
        raise ValueError(
            f"{argument} must be {minimum:g} or more; got {array.min()}. Subtract the "
            "log-likelihood of the smaller model from that of the larger one."
        )
    return array


def to_degrees_of_freedom(value: Any, argument: str, *, finite: bool = False) -> float:
    """Return degrees of freedom as a float, checked to be above 0."""
    if not isinstance(value, Real):
        raise TypeError(f"{argument} must be a number; got {value!r}.")
    number = float(value)
    if not number > 0 or (finite and math.isinf(number)):
        allowed = "finite" if finite else "infinite for a large sample"
        raise ValueError(f"{argument} must be above 0, and {allowed}; got {value!r}.")
    return number


def to_null_values(null: Any, labels: pd.Index) -> Floats:
    """Return the null hypothesis of each quantity, (p,)."""
    array = to_floats(null, labels, "null")
    if array.shape not in [(), (len(labels),)]:
        raise ValueError(
            f"null must be one number, or one for each of {list_labels(labels)}; got shape "
            f"{array.shape}."
        )
    return np.broadcast_to(array, len(labels))


def list_labels(labels: Iterable[Any], n_shown: int = 10) -> str:
    """Return labels as text, with "... and n more" after the first ``n_shown``."""
    texts = [repr(label) for label in labels]
    n_more = len(texts) - n_shown
    return f"[{', '.join(texts[:n_shown])}{f', ... and {n_more} more' if n_more > 0 else ''}]"
