"""How long to train, and in which steps, where users leave it open."""

from __future__ import annotations

import math
from typing import NamedTuple

_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 2500, 10, 200


# Of tables of numbers that start from factor analysis. There is more than that to learn where there
# are many rows; few of them are overfitted in as many epochs.
_FEW_ROWS, _FEW_EPOCHS = 400, 30


_MANY_ROWS = 1000


_NARROW = 8  # columns; of tables that have fewer a row tells less, and more epochs serve


_LARGE_STEPS_FROM = 600  # rows


_CODED_EPOCHS = 100  # of tables with flags or categories, at most


class TrainingStep(NamedTuple):
    """A step of training."""

    rows: int
    rate: float  # of learning; it goes with the number of rows


SMALL, _LARGE = TrainingStep(64, 2e-3), TrainingStep(128, 4e-3)


def step_from_factor_analysis(n_rows: int) -> TrainingStep:
    """Return the step for imputers of numbers that start from factor analysis."""
    return _LARGE if n_rows >= _LARGE_STEPS_FROM else SMALL


def epochs_from_random(n_rows: int, batch_size: int, times: float = 1.0) -> int:
    """Return the epochs of a model that knows nothing, with more steps by a factor."""
    steps = math.ceil(n_rows / batch_size)
    return min(max(math.ceil(times * _STEPS / steps), _MIN_EPOCHS), round(times * _MAX_EPOCHS))


def epochs_from_factor_analysis(n_rows: int, n_columns: int, batch_size: int, numeric: bool) -> int:
    """Return the epochs of an imputer that starts from factor analysis.

    Densities gain from more of them, imputations do not.

    Parameters
    ----------
    n_rows, n_columns : int
        Size of the table, in modelled columns.
    batch_size : int
        Rows of a step.
    numeric : bool
        Whether all columns are of numbers: of flags and categories the start tells less.
    """
    if not numeric:
        return min(epochs_from_random(n_rows, batch_size), _CODED_EPOCHS)
    narrow = min(max(1.0, _NARROW / n_columns), 2.0)
    share = (n_rows - _FEW_ROWS) / (_MANY_ROWS - _FEW_ROWS)
    row_invariant = narrow * (_FEW_EPOCHS + share * (_MAX_EPOCHS - _FEW_EPOCHS))
    wanted = round(max(_FEW_EPOCHS, row_invariant, n_rows / n_columns))
    return min(epochs_from_random(n_rows, batch_size, narrow), wanted)
