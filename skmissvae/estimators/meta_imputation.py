"""Imputation for the meta-estimators: by clones of any imputer, and of each distinct row once."""

import copy
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import has_fit_parameter

from ..tables.columns import Column, is_missing, to_objects
from .imputers import MissSIWAEImputer


class RepeatedImputer:
    """Fitted clones of an imputer with different random states, one for each imputation.

    Parameters
    ----------
    clones : list of imputer
        The clones.
    """

    def __init__(self, clones: list[Any]) -> None:
        self.clones = clones

    @classmethod
    def fit(
        cls, imputer: Any, X: Any, n: int, random_state: np.random.RandomState, **params: Any
    ) -> Self:
        """Return ``n`` clones, fitted to a table, with random states from ``random_state``."""
        seeds = random_state.randint(2**31 - 1, size=n).tolist()
        clones = [clone(imputer).set_params(random_state=seed) for seed in seeds]
        return cls([imputer.fit(X, **params) for imputer in clones])

    def impute(self, X: Any, n_imputations: int, *, random_state: int) -> Iterator[Any]:
        """Yield the table completed by each clone, the same in every call."""
        # copies, because a transform that draws changes the state of its imputer
        return (copy.deepcopy(imputer).transform(X) for imputer in self.clones)


def routed_params(router: Any, imputer: Any, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of the ``fit`` of the imputer, and those of the members.

    Without metadata routing members get all, and the imputer ``sample_weight`` if it accepts it.
    """
    if get_config()["enable_metadata_routing"]:
        routed = process_routing(router, "fit", **params)
        limits = [
            name for name in ("lower", "upper") if routed["imputer"]["fit"].get(name) is not None
        ]
        if limits:
            raise ValueError(
                f"{type(router).__name__} passes no limits of cells to imputations; got "
                f"{limits[0]!r}. Fit the imputer and a model of each completed table yourself."
            )
        return [routed["imputer"]["fit"], routed["estimator"]["fit"]]
    is_accepted = has_fit_parameter(imputer, "sample_weight")
    return [{k: v for k, v in params.items() if is_accepted and k == "sample_weight"}, params]


def requesting_weights() -> MissSIWAEImputer:
    """Return the default imputer; it requests ``sample_weight`` if metadata routing is enabled."""
    imputer = MissSIWAEImputer()
    if get_config()["enable_metadata_routing"]:
        imputer.set_fit_request(sample_weight=True)
    return imputer


def clone_with_seeds(estimator: Any, random_state: np.random.RandomState) -> Any:
    """Return a clone whose random states that are None are replaced by seeds."""
    unset = [
        name
        for name, value in sorted(estimator.get_params().items())
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    ]
    return clone(estimator).set_params(**{name: random_state.randint(2**31 - 1) for name in unset})


def can_impute_repeatedly(imputer: Any) -> bool:
    """Return whether an imputer, or its clones with other random states, draw imputations."""
    if isinstance(imputer, type):
        return False
    # IterativeImputer draws only with sample_posterior=True
    is_stochastic = hasattr(imputer, "random_state") and getattr(imputer, "sample_posterior", True)
    return hasattr(imputer, "impute") or bool(is_stochastic)


def row_digests(columns: Sequence[Column]) -> np.ndarray:
    """Return a digest of the cells of each row, independent of column types: (n_samples,)."""
    cells = []
    for column in columns:
        values = to_objects(column)
        values[is_missing(column)] = None
        cells.append(map(_normalise, values))
    rows = zip(*cells, strict=True)
    return np.array([blake2b(repr(row).encode(), digest_size=16).hexdigest() for row in rows])


def _normalise(cell: Any) -> Any:
    """Return numbers as floats: whether a cell is 1, 1.0 or True depends on the column's type."""
    return float(cell) if isinstance(cell, Real) and float(cell) == cell else cell
