"""Draws that meet the constraints of rows, by rejection of others, and point estimates of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._utils.quoting import quoted
from ..tables.columns import Mask
from ..tables.constraints import Constraint
from .imputation_task import ImputationTask
from .messages import warn

# Draws of each round for the rows without an accepted draw.
_ROUNDS = (10, 100, 400)
# Draws of which point estimates are means or medians, and further ones where few are accepted.
_N_DRAWS, _N_MORE_DRAWS, _FEW_DRAWS = 100, 400, 20
_MAX_COMPLETED = 20_000  # rows that are completed at a time, a row for each draw

#: Returns n draws of the modelled columns of the rows of a task, (N, n, D), in a round.
Redraws = Callable[[ImputationTask, int, int], NDArray[np.float64]]


class Accepted(NamedTuple):
    """Draws of incomplete rows."""

    x: NDArray[np.float64]  # (N, D)   in the model's units
    violated: Mask  # (N, n_constraints)   by the first draw
    unmet: Mask  # (N,)   rows without an accepted draw, which keep the first one


def violations(
    task: ImputationTask, constraints: Sequence[Constraint], x: NDArray[np.float64]
) -> Mask:
    """Return which constraints the completed rows violate, (N, n_constraints).

    Parameters
    ----------
    task : ImputationTask
        The rows, each with a cell to impute.
    constraints : sequence of Constraint
        The constraints.
    x : ndarray of shape (N, D)
        The modelled columns, in the model's units.
    """
    table = task.table([task.numbers(task.whole(), x)])
    violated = [~c.is_met(table) & c.concerns(task.to_impute) for c in constraints]
    return np.stack(violated, 1) & task.can_be_completed[:, None]


def accepted_draws(
    x: NDArray[np.float64],
    task: ImputationTask,
    constraints: Sequence[Constraint],
    redraws: Redraws,
) -> Accepted:
    """Return draws of the rows given that they meet the constraints.

    The draws of a row do not depend on the other rows.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        The first draw.
    task : ImputationTask
        The rows, each with a cell to impute.
    constraints : sequence of Constraint
        The constraints.
    redraws : callable
        Returns further draws.
    """
    violated = violations(task, constraints, x)
    x, rows = x.copy(), np.flatnonzero(violated.any(1))
    for number, n in enumerate(_ROUNDS):
        waits = np.zeros(len(rows), dtype=bool)
        for places in _parts(np.arange(len(rows)), n):
            part = task.part(rows[places])
            draws, is_met = _drawn(part, constraints, redraws, number, n)
            has_draw = is_met.any(1)
            x[rows[places][has_draw]] = draws[has_draw, is_met.argmax(1)[has_draw]]
            waits[places] = ~has_draw
        rows = rows[waits]
    return Accepted(x, violated, np.isin(np.arange(len(x)), rows))


def constrained_points(
    x: NDArray[np.float64],
    task: ImputationTask,
    constraints: Sequence[Constraint],
    redraws: Redraws,
    point: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], Mask]:
    """Return point estimates of the rows given that they meet the constraints.

    They are those of accepted draws in rows of which a draw violates a constraint. Where these
    estimates violate one, the accepted draw that is closest to them takes their place.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Point estimates without constraints.
    task : ImputationTask
        The rows, each with a cell to impute.
    constraints : sequence of Constraint
        The constraints.
    redraws : callable
        Returns draws.
    point : callable
        Returns point estimates of rows, (N, D), from draws, (N, n_draws, D), which are NaN where
        there are fewer.

    Returns
    -------
    x : ndarray of shape (N, D)
        The estimates.
    unmet : ndarray of shape (N,)
        Rows without an accepted draw, which are unchanged.
    """
    x, unmet = x.copy(), np.zeros(len(x), dtype=bool)
    concerned = np.any([c.concerns(task.to_impute) for c in constraints], axis=0)
    concerned = np.flatnonzero(concerned & task.can_be_completed)
    for rows in _parts(concerned, _N_DRAWS):
        part = task.part(rows)
        draws, is_met = _drawn(part, constraints, redraws, 0, _N_DRAWS)
        is_concerned = violations(part, constraints, x[rows]).any(1) | ~is_met.all(1)
        draws[~is_met] = np.nan
        few = np.flatnonzero(is_met.sum(1) < _FEW_DRAWS)
        for places in _parts(few, _N_MORE_DRAWS):
            more, is_met_too = _drawn(part.part(places), constraints, redraws, 1, _N_MORE_DRAWS)
            more[~is_met_too] = np.nan
            # accepted draws first, in their order
            order = np.argsort(~np.hstack([is_met[places], is_met_too]), 1, kind="stable")
            both = np.concatenate([draws[places], more], 1)
            chosen = np.take_along_axis(both, order[:, :_N_DRAWS, None], 1)
            draws[places] = chosen
        has_draw = ~np.isnan(draws).all((1, 2))
        unmet[rows] = ~has_draw
        at = np.flatnonzero(is_concerned & has_draw)
        if len(at):
            x[rows[at]] = _points(part.part(at), constraints, draws[at], point)
    return x, unmet


def _points(
    task: ImputationTask,
    constraints: Sequence[Constraint],
    draws: NDArray[np.float64],
    point: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return point estimates from accepted draws, or the closest draw where they violate one."""
    estimates = point(draws)
    is_violated: Mask = np.any(violations(task, constraints, estimates), axis=1)
    distance = ((draws - estimates[:, None]) ** 2).sum(-1)
    closest = draws[np.arange(len(draws)), np.nanargmin(distance, 1)]
    return np.where(is_violated[:, None], closest, estimates)


def _parts(rows: NDArray[np.intp], n: int) -> list[NDArray[np.intp]]:
    """Return rows in parts, of which n draws of each row are completed at a time."""
    size = max(1, _MAX_COMPLETED // n)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _drawn(
    task: ImputationTask, constraints: Sequence[Constraint], redraws: Redraws, number: int, n: int
) -> tuple[NDArray[np.float64], Mask]:
    """Return n draws of rows in a round, (N, n, D), and which ones meet the constraints, (N, n)."""
    draws = redraws(task, number, n)
    repeated = task.part(np.repeat(np.arange(len(draws)), n))
    violated = violations(repeated, constraints, draws.reshape(-1, draws.shape[-1]))
    return draws, ~violated.any(1).reshape(len(draws), n)


def warn_of_unmet(constraints: Sequence[Constraint], rows: NDArray[np.intp]) -> None:
    """Warn of rows, by position, whose draws met the constraints in no round."""
    if len(rows):
        names = " and ".join(quoted(constraint.name) for constraint in constraints)
        plural = "rows do" if len(rows) > 1 else "row does"
        warn(
            f"{len(rows)} {plural} not meet parameter 'constraints' ({names}) in {sum(_ROUNDS)} "
            f"draws, such as row {rows[0]}: the first draw is kept. Check the observed cells of "
            "these rows."
        )
