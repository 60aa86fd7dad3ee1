"""From the user's table to the model's tensors and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# In standard deviations: beyond it squares would leave the range of float32.
_LIMIT = 1e15

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


class Rows(NamedTuple):
    """A table as the model sees it."""

    x: NDArray[np.float64]  # (N, D)   standardised, zero where missing
    observed: Mask  # (N, D)


class Table:
    """Schema of a table: which columns the model takes, and in which units.

    A column that is empty at fit is dropped, or filled with zeros where it is kept. A column with
    one value throughout is no random variable: it is imputed by that value, is no evidence for
    the others and has no part in densities. The rest is standardised by its observed cells.

    Parameters
    ----------
    keep_empty : bool
        Whether columns without any observed cell are kept.
    """

    kept: NDArray[np.intp]  # columns of the input that are in the output
    modelled: NDArray[np.intp]  # columns of the input that the model sees, D of them
    location: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,)
    fill: NDArray[np.float64]  # value of every input column that is not modelled

    def __init__(self, keep_empty: bool = False) -> None:
        self.keep_empty = keep_empty

    def fit(self, X: Floats, observed: Mask) -> Table:
        """Learn the schema: (N, n_features), (N, n_features)."""
        seen = observed.any(0)
        low = np.where(observed, X, np.inf).min(0)
        high = np.where(observed, X, -np.inf).max(0)
        varies = seen & (low < high)
        self.kept = np.arange(X.shape[1]) if self.keep_empty else np.flatnonzero(seen)
        self.modelled = np.flatnonzero(varies)
        self.fill = np.where(seen & ~varies, low, 0.0).astype(np.float64)
        cells = np.where(observed, X, np.nan)[:, self.modelled].astype(np.float64)
        self.low, self.high = low[self.modelled].astype(float), high[self.modelled].astype(float)
        # within [-1, 1] no square over- or underflows, whatever the column's units
        middle = 0.5 * self.low + 0.5 * self.high
        half_range = 0.5 * self.high - 0.5 * self.low
        unit = (cells - middle) / half_range
        self.location = middle + half_range * np.nanmean(unit, 0)
        self.scale = half_range * np.nanstd(unit, 0)
        self.log_scale = np.log(self.scale)
        return self

    def support(self, supports: list[str], names: list[str]) -> None:
        """Set the units of columns whose observation model lives on {0, 1} or [0, 1].

        Parameters
        ----------
        supports : list of str
            "real", "binary" or "unit" for each modelled column.
        names : list of str
            Names of the modelled columns, for errors.
        """
        for d, (support, name) in enumerate(zip(supports, names, strict=True)):
            if support == "unit" and (self.low[d] < 0 or self.high[d] > 1):
                value = self.low[d] if self.low[d] < 0 else self.high[d]
                raise ValueError(
                    f"Column {name!r} holds {value:g}, but a continuous Bernoulli column must lie "
                    "between 0 and 1; rescale it (MinMaxScaler) or choose another likelihood."
                )
            if support == "binary":
                self.location[d], self.scale[d] = self.low[d], self.high[d] - self.low[d]
            elif support == "unit":
                self.location[d], self.scale[d] = 0.0, 1.0
            if support != "real":
                self.log_scale[d] = 0.0  # probabilities and unit densities are in the table's units
        self.supports = supports

    def _binary(self) -> list[int]:
        return [d for d, support in enumerate(self.supports) if support == "binary"]

    def encode(self, X: Floats, observed: Mask) -> Rows:
        """Return the modelled columns, standardised: (N, n_features) -> (N, D)."""
        seen = observed[:, self.modelled]
        x = (X[:, self.modelled].astype(np.float64) - self.location) / self.scale
        x = x.clip(-_LIMIT, _LIMIT)
        for d in self._binary():  # the two values in float32 and float64 are not quite the same
            for value in (0.0, 1.0):
                x[np.isclose(x[:, d], value, rtol=0, atol=1e-6), d] = value
        return Rows(np.where(seen, x, 0.0), seen)

    def check(self, rows: Rows, names: list[str]) -> None:
        """Raise where an observed cell lies outside its column's support."""
        for d, support in enumerate(self.supports):
            x = rows.x[rows.observed[:, d], d]
            wrong = {
                "real": np.zeros(x.shape, bool),
                "binary": (x != 0) & (x != 1),
                "unit": (x < 0) | (x > 1),
            }[support]
            if wrong.any():
                value = self.location[d] + self.scale[d] * x[wrong][0]
                allowed = (
                    f"{self.low[d]:g} or {self.high[d]:g}"
                    if support == "binary"
                    else "between 0 and 1"
                )
                raise ValueError(
                    f"Column {names[d]!r} holds {value:g}, but its likelihood allows only "
                    f"{allowed}, as at fit; mend the value, mark it missing or choose another "
                    "likelihood."
                )

    def decode(self, x: NDArray[np.float64], X: Floats, observed: Mask) -> Floats:
        """Return the table without holes, its observed cells untouched.

        Parameters
        ----------
        x : ndarray of shape (N, D)
            Values of the modelled columns, standardised.
        X : ndarray of shape (N, n_features)
            The incomplete table.
        observed : ndarray of shape (N, n_features)
            What is seen of it.

        Returns
        -------
        ndarray of shape (N, n_kept)
            In the units and the type of ``X``.
        """
        limits = np.finfo(X.dtype)
        full = np.tile(self.fill, (X.shape[0], 1))
        values = self.location + self.scale * x
        for d in self._binary():  # to the bit, which the sum need not be
            values[x[:, d] == 1, d] = self.high[d]
        full[:, self.modelled] = np.clip(values, float(limits.min), float(limits.max))
        out = np.where(observed, X, full.astype(X.dtype))
        return out[:, self.kept]
