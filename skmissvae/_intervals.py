"""Quantiles of weighted values, and how they are moved so that intervals cover what they should."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

_ENOUGH = 100  # hidden cells of a column from which on its intervals are its own
_EXTREME = 1e-4  # probabilities that are told apart
_REPORTED = (0.5, 0.8, 0.9, 0.95)  # levels whose coverage is reported


def checked_quantiles(quantiles: Sequence[float]) -> NDArray[np.float64]:
    """Return probabilities that quantiles are asked for, or raise."""
    levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(
            f"quantiles must be a sequence of numbers above 0 and below 1; got {quantiles!r}."
        )
    return levels


def weighted_quantiles(values: Tensor, w: Tensor, q: Tensor) -> Tensor:
    """Return the least values whose share of the weight is q: (P, C), (P,), (C, Q) -> (C, Q)."""
    ordered, order = values.T.contiguous().sort(-1)
    share = w[order].cumsum(-1)
    # rounding must not push the last one out
    place = torch.searchsorted(share, q * share[:, -1:]).clamp_max(len(values) - 1)
    return ordered.gather(-1, place)


def share_below(values: Tensor, w: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """Return where x stands among weighted values, ties broken by noise.

    Probability integral transforms: (P, D), (P,), (D,), noise (1, D) -> (1, D).
    """
    w = w / w.sum()
    # values come back from float32
    tie = (values - x).abs() <= 1e-6 * (1 + x.abs())
    below = w @ ((values < x) & ~tie).to(w)
    return (below + u.to(w) * (w @ tie.to(w))).clamp(0, 1)


class Calibration:
    r"""How far quantiles must be moved, learned from cells whose values are known.

    With u the probability integral transforms of such cells, :math:`|\Phi^{-1}(u)|` is half-normal
    where intervals are right. The quantile at probability q is moved to
    :math:`\Phi(\pm s_p)`, where :math:`p = |2q - 1|` and :math:`s_p` is the p-quantile found, with
    the correction of conformal prediction for a finite number of cells [1]_.

    Parameters
    ----------
    below : ndarray of shape (N, D)
        Probability integral transforms of hidden cells, NaN elsewhere.

    References
    ----------
    .. [1] Romano, Patterson and Candes (2019). Conformalized Quantile Regression. NeurIPS.
    """

    def __init__(self, below: NDArray[np.float64]) -> None:
        distance = np.abs(special.ndtri(below.clip(_EXTREME, 1 - _EXTREME)))
        of_all = np.sort(distance[~np.isnan(distance)])
        self.n_cells = (~np.isnan(distance)).sum(0)
        self._own = [np.sort(column[~np.isnan(column)]) for column in distance.T]
        # columns with few cells go by all
        self._distance = [own if len(own) >= _ENOUGH else of_all for own in self._own]

    def moved(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities at which to read the model's quantiles: (Q,) -> (D, Q)."""
        sign, level = np.sign(q - 0.5), np.abs(2 * q - 1)
        out = [[_stretched(distance, p) for p in level] for distance in self._distance]
        return special.ndtr(sign * np.array(out)).clip(_EXTREME, 1 - _EXTREME)

    def report(self, names: Sequence[str]) -> pd.DataFrame:
        """Return a line per column of numbers: cells, and coverage before the correction."""
        found = {
            name: {"n_cells": n, **{f"{p:.0%}": _coverage(own, p) for p in _REPORTED}}
            for name, n, own in zip(names, self.n_cells, self._own, strict=True)
            if n
        }
        frame = pd.DataFrame.from_dict(found, orient="index")
        return frame.astype({"n_cells": int}).rename_axis(index="column")


def _coverage(distance: NDArray[np.float64], level: float) -> float:
    return float((distance <= special.ndtri(0.5 + 0.5 * level)).mean())


def _stretched(distance: NDArray[np.float64], level: float) -> float:
    """Return the distance within which a share of the cells lies."""
    n = len(distance)
    rank = math.ceil((n + 1) * level)
    if rank <= n:
        return float(distance[max(rank - 1, 0)]) if level > 0 else 0.0
    # beyond what so few cells tell, as a Normal would go on
    return (
        float(distance[-1])
        * special.ndtri(0.5 + 0.5 * level)
        / special.ndtri(0.5 + 0.5 * n / (n + 1))
    )
