"""The names of the columns of ``transform``, and its container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn import get_config
from sklearn.utils.validation import check_is_fitted

from ..tables.input_table import to_pandas

if TYPE_CHECKING:
    from .base import BaseVAE


def input_names(estimator: BaseVAE, input_features: Any) -> list[Any]:
    """Return the names of the columns of the input, which have to be those of ``fit``."""
    check_is_fitted(estimator)
    fitted_names = getattr(estimator, "feature_names_in_", None)
    n_features = estimator.n_features_in_
    if input_features is None:
        if fitted_names is not None:
            return list(fitted_names)
        return [f"x{j}" for j in range(n_features)]
    names = list(input_features)
    if len(names) != n_features:
        raise ValueError(
            f"input_features should have length equal to number of features ({n_features}), got "
            f"{len(names)}."
        )
    if fitted_names is not None and list(fitted_names) != names:
        raise ValueError("input_features is not equal to feature_names_in_")
    return names


def in_requested_container(estimator: BaseVAE, table: Any) -> Any:
    """Return a table in the container that ``set_output`` requests."""
    # scikit-learn would convert a frame of polars to one of pandas with object columns
    config = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    is_pandas = (config or get_config()["transform_output"]) == "pandas"
    return to_pandas(table) if is_pandas else table
