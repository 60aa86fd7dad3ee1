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


_INNER = 0.99  # probability up to which quantiles are those of draws; beyond, they are scaled


_TAIL = float(special.ndtri(_INNER))


_ROUNDING = 1e-6  # standard deviations of the column that are nothing


_REPORTED = (0.5, 0.8, 0.9, 0.95)  # levels whose coverage is reported


def checked_quantiles(quantiles: Sequence[float]) -> NDArray[np.float64]:
    """Return probabilities that quantiles are asked for, or raise."""
    try:
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    except (TypeError, ValueError):
        levels = np.array([np.nan])
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


def normal_score(values: Tensor, w: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """Return how far values x stand from the median, as a standard Normal would: (1, D).

    Within the inner quantiles it is by the probability integral transform, beyond them in
    proportion to the distance from the median: draws tell nothing so far out.
    """
    z = torch.special.ndtri(share_below(values, w, x, u)).clamp(-_TAIL, _TAIL)
    q = torch.tensor([1 - _INNER, 0.5, _INNER], dtype=w.dtype, device=w.device)
    low, middle, high = weighted_quantiles(values, w, q.expand(values.shape[1], 3)).unbind(-1)
    end = torch.where(x > middle, high, low) - middle
    times = (x - middle).abs() / end.abs().clamp_min(_ROUNDING)
    outside = (times > 1) & (z.abs() >= _TAIL)
    return torch.where(outside, z.sign() * _TAIL * times, z)


def quantiles_at(values: Tensor, w: Tensor, q: Tensor) -> Tensor:
    """Return the values that stand q from the median: (P, C), (P,), (C, Q) -> (C, Q)."""
    found = weighted_quantiles(values, w, torch.special.ndtr(q.clamp(-_TAIL, _TAIL)))
    middle = weighted_quantiles(values, w, torch.full_like(q[:, :1], 0.5))
    return torch.where(q.abs() > _TAIL, middle + q.abs() / _TAIL * (found - middle), found)


class Calibration:
    r"""How far quantiles must be moved, learned from cells whose values are known.

    The distances of such cells from the median, in the model's own standard deviations, as
    ``normal_score`` has them, are half-normal where intervals are right. The quantile at
    probability q is moved to the distance :math:`s_p` on its side, where :math:`p = |2q - 1|` and
    :math:`s_p` is the p-quantile of the distances found, with the correction of conformal
    prediction for a finite number of cells [1]_.

    Parameters
    ----------
    standing : ndarray of shape (N, D)
        Where hidden cells stand, NaN elsewhere.

    References
    ----------
    .. [1] Romano, Patterson and Candes (2019). Conformalized Quantile Regression. NeurIPS.
    """

    def __init__(self, normal_score: NDArray[np.float64]) -> None:
        distance = np.abs(normal_score)
        of_all = np.sort(distance[~np.isnan(distance)])
        self.n_cells = (~np.isnan(distance)).sum(0)
        self._own = [np.sort(column[~np.isnan(column)]) for column in distance.T]
        # columns with few cells go by all
        self._distance = [own if len(own) >= _ENOUGH else of_all for own in self._own]

    def moved(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where quantiles are to stand from the median: (Q,) -> (D, Q)."""
        sign, level = np.sign(q - 0.5), np.abs(2 * q - 1)
        return sign * [[_stretched(distance, p) for p in level] for distance in self._distance]

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
