"""Quantiles of weighted values, and their calibration on hidden cells."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from .._utils.numerics import is_point_mass
from .._utils.quoting import quoted
from .weights import choose_by_weight

_ENOUGH = 100  # hidden cells from which a column is calibrated by its cells alone
_INNER = 0.99  # outer quantiles are extrapolated from those at this probability
_TAIL = float(special.ndtri(_INNER))
_ROUNDING = 1e-6  # smallest distance between quantiles, in standard deviations of the column
_REPORTED = (0.5, 0.8, 0.9, 0.95)  # levels whose coverage is reported


def checked_quantiles(quantiles: Sequence[float]) -> NDArray[np.float64]:
    """Return the probabilities of quantiles as an array, or raise a ValueError."""
    try:
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    except (TypeError, ValueError):
        levels = np.array([np.nan])
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(
            f"quantiles must be a sequence of numbers above 0 and below 1; got {quoted(quantiles)}."
        )
    return levels


def weighted_quantiles(values: Tensor, w: Tensor, q: Tensor) -> Tensor:
    """Return q-quantiles of weighted columns: (P, C), (P,), (C, Q) -> (C, Q)."""
    ordered, order = values.T.contiguous().sort(-1)
    return ordered.gather(-1, choose_by_weight(w[order], q))


def share_below(values: Tensor, w: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """Return probability integral transforms of x, with ties broken by noise.

    Weighted values (P, D), their weights (P,), x (D,), noise (1, D) -> (1, D).
    """
    w = w / w.sum()
    tie = is_point_mass(values, x)  # the values have the precision of float32
    below = w @ ((values < x) & ~tie).to(w)
    return (below + u.to(w) * (w @ tie.to(w))).clamp(0, 1)


def normal_score(values: Tensor, w: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """Return the standard Normal quantile of x in the weighted distribution: (1, D).

    Between the inner quantiles it follows from the probability integral transform. Beyond them it
    is proportional to the distance from the median, as few draws are that far from it.
    """
    z = torch.special.ndtri(share_below(values, w, x, u)).clamp(-_TAIL, _TAIL)
    q = torch.tensor([1 - _INNER, 0.5, _INNER], dtype=w.dtype, device=w.device)
    low, middle, high = weighted_quantiles(values, w, q.expand(values.shape[1], 3)).unbind(-1)
    end = torch.where(x > middle, high, low) - middle
    times = (x - middle).abs() / end.abs().clamp_min(_ROUNDING)
    outside = (times > 1) & (z.abs() >= _TAIL)
    return torch.where(outside, z.sign() * _TAIL * times, z)


def quantiles_at(values: Tensor, w: Tensor, q: Tensor) -> Tensor:
    """Return the values with standard Normal quantiles q: (P, C), (P,), (C, Q) -> (C, Q)."""
    inner = weighted_quantiles(values, w, torch.special.ndtr(q.clamp(-_TAIL, _TAIL)))
    median = weighted_quantiles(values, w, torch.full_like(q[:, :1], 0.5))
    return torch.where(q.abs() > _TAIL, median + q.abs() / _TAIL * (inner - median), inner)


class Calibration:
    r"""Corrected quantiles, learned from the scores of hidden cells.

    The absolute ``normal_score`` of the hidden cells is half-normal if intervals have their
    nominal coverage. The quantile at probability q is replaced by the value with the score
    :math:`\pm s_p`, where :math:`p = |2q - 1|` and :math:`s_p` is the p-quantile of the absolute
    scores, with the correction of conformal prediction for a finite number of cells [1]_.

    Parameters
    ----------
    normal_score : ndarray of shape (N, D)
        Scores of the hidden cells, NaN elsewhere.

    References
    ----------
    .. [1] Romano, Patterson and Candes (2019). Conformalized Quantile Regression. NeurIPS.
    """

    def __init__(self, normal_score: NDArray[np.float64]) -> None:
        distance = np.abs(normal_score)
        self._own = [np.sort(column[~np.isnan(column)]) for column in distance.T]
        of_all = np.sort(np.concatenate(self._own))
        # columns with few hidden cells use those of all columns
        self._distance = [own if len(own) >= _ENOUGH else of_all for own in self._own]

    def moved(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the corrected standard Normal quantiles: (Q,) -> (D, Q)."""
        sign, level = np.sign(q - 0.5), np.abs(2 * q - 1)
        return sign * [[_stretched(distance, p) for p in level] for distance in self._distance]

    def report(self, names: Sequence[str]) -> pd.DataFrame:
        """Return one row per numeric column: hidden cells, and coverage before the correction."""
        lines = {
            name: {"n_cells": len(own), **{f"{p:.0%}": _coverage(own, p) for p in _REPORTED}}
            for name, own in zip(names, self._own, strict=True)
            if len(own)
        }
        frame = pd.DataFrame.from_dict(lines, orient="index")
        return frame.astype({"n_cells": int}).rename_axis(index="column")


def _coverage(distance: NDArray[np.float64], level: float) -> float:
    return float((distance <= special.ndtri(0.5 + 0.5 * level)).mean())


def _stretched(distance: NDArray[np.float64], level: float) -> float:
    """Return the quantile of sorted distances at a level, corrected for their number."""
    n = len(distance)
    rank = math.ceil((n + 1) * level)
    if rank <= n:
        return float(distance[max(rank - 1, 0)]) if level > 0 else 0.0
    # levels above n / (n + 1): extrapolated in proportion to Normal quantiles
    last = special.ndtri(0.5 + 0.5 * n / (n + 1))
    return float(distance[-1]) * special.ndtri(0.5 + 0.5 * level) / last
