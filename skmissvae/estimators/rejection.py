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
_ROUNDS = (10, 100, 100, 100, 100)
# Draws of which point estimates are means or medians, and number of accepted draws below which
# there are further rounds.
_N_DRAWS, _FEW_DRAWS, _N_ROUNDS = 100, 20, 5
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
    needs_table = any(constraint.columns is None for constraint in constraints)
    trial, violated = task.trial(x, needs_table=needs_table), []
    for constraint in constraints:
        is_violated = ~constraint.is_met(trial.cells, trial.table) | ~trial.is_valid
        is_violated &= constraint.concerns(task.to_impute)
        if constraint.columns is None:
            is_violated &= task.can_be_completed
        violated.append(is_violated)
    return np.stack(violated, 1)


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
    concerned = np.flatnonzero(concerned)
    for rows in _parts(concerned, _N_DRAWS):
        part = task.part(rows)
        is_violated = violations(part, constraints, x[rows]).any(1)
        draws, is_met = _drawn(part, constraints, redraws, 0, _N_DRAWS)
        is_concerned = is_violated | ~is_met.all(1)
        for number in range(1, _N_ROUNDS):
            few = np.flatnonzero(is_met.sum(1) < _FEW_DRAWS)
            if not len(few):
                break
            more, is_met_too = _drawn(part.part(few), constraints, redraws, number, _N_DRAWS)
            # accepted draws first
            order = np.argsort(~np.hstack([is_met[few], is_met_too]), 1, kind="stable")[
                :, :_N_DRAWS
            ]
            both = np.concatenate([draws[few], more], 1)
            draws[few] = np.take_along_axis(both, order[..., None], 1)
            is_met[few] = np.take_along_axis(np.hstack([is_met[few], is_met_too]), order, 1)
        draws[~is_met] = np.nan
        has_draw = is_met.any(1)
        unmet[rows] = is_violated & ~has_draw
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
    estimates, schema = point(draws), task.reader.schema
    is_violated: Mask = np.any(violations(task, constraints, estimates), axis=1)
    difference = draws - estimates[:, None]
    is_coded = np.array([support == "coded" for support in schema.supports])
    difference[..., is_coded] = difference[..., is_coded] != 0
    difference[np.isnan(draws)] = np.inf
    is_imputed = task.to_impute[:, schema.modelled, None].transpose(0, 2, 1)
    distance = np.where(is_imputed, difference, 0.0) ** 2
    distance[np.isnan(draws).all(-1)] = np.inf
    closest = draws[np.arange(len(draws)), distance.sum(-1).argmin(1)]
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


def rejected_shares(constraints: Sequence[Constraint], violated: Mask) -> dict[str, float]:
    """Return the share of rows, (N, n_constraints), that violate a constraint, by its name."""
    shares = dict[str, float]()
    for name in dict.fromkeys(constraint.name for constraint in constraints):
        terms = [constraint.name == name for constraint in constraints]
        shares[name] = float(violated[:, terms].any(1).sum()) / max(1, len(violated))
    return shares


def warn_of_unmet(
    constraints: Sequence[Constraint], rows: NDArray[np.intp], fallback: str = "first draw"
) -> None:
    """Warn of rows, by position, without an accepted draw, and of what is imputed instead."""
    if len(rows):
        names = " and ".join(dict.fromkeys(quoted(constraint.name) for constraint in constraints))
        plural = "rows do" if len(rows) > 1 else "row does"
        warn(
            f"{len(rows)} {plural} not meet parameter 'constraints' ({names}) in any draw, such as "
            f"row {rows[0]}: they keep the {fallback}. Check the observed cells of these rows."
        )
