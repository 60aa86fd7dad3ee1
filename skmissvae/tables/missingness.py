"""Patterns of missing cells: counting them, and masks borrowed from other rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from .._utils.quoting import quoted
from .columns import Column, Mask, is_missing
from .input_table import columns_and_names


def missing_patterns(X: Any) -> pd.DataFrame:
    """Count the patterns of missing cells in a table.

    Parameters
    ----------
    X : data frame or array-like of shape (n_samples, n_features)
        A table, with missing cells marked NaN or null.

    Returns
    -------
    DataFrame
        A row for each pattern, the most frequent first; among equally frequent patterns, those
        with fewer missing cells first. For each column of X, under its name (x0, x1, ... for
        arrays), whether it is observed; then ``n_rows``, the number of rows with the pattern;
        ``share``, their share of all rows; ``n_missing``, the number of missing columns.

    Raises
    ------
    ValueError
        If a column of X is named ``n_rows``, ``share`` or ``n_missing``.

    See Also
    --------
    make_missing : Hide cells of a table.
    missing_flux : How missing and observed cells connect.

    References
    ----------
    Stef van Buuren, Karin Groothuis-Oudshoorn: "mice: Multivariate Imputation by Chained Equations
    in R", Journal of Statistical Software 45(3), 2011. https://doi.org/10.18637/jss.v045.i03

    Examples
    --------
    >>> import pandas as pd
    >>> from skmissvae import missing_patterns
    >>> table = pd.DataFrame({"age": [20, 31, 42, 53], "bmi": [None, 22.7, 30.1, None]})
    >>> missing_patterns(table)
        age    bmi  n_rows  share  n_missing
    0  True   True       2    0.5          0
    1  True  False       2    0.5          1
    """
    columns, names = columns_and_names(X)
    names = [f"x{j}" for j in range(len(columns))] if names is None else names
    for name in ("n_rows", "share", "n_missing"):
        if name in names:
            raise ValueError(
                f"X has a column named {quoted(name)}, a name that missing_patterns uses; rename "
                "it."
            )
    if not columns:
        raise ValueError("X has no columns; give a table of at least one.")
    patterns, n_rows = np.unique(~observed_mask(columns), axis=0, return_counts=True)
    n_missing = patterns.sum(1)
    order = np.lexsort((n_missing, -n_rows))
    table = pd.DataFrame(~patterns[order], columns=names)
    n_rows = n_rows[order]
    return table.assign(n_rows=n_rows, share=n_rows / n_rows.sum(), n_missing=n_missing[order])


def missing_flux(X: Any) -> pd.DataFrame:
    r"""Return how the missing cells of each column connect to the observed cells of the others.

    With the mask :math:`r`, 1 where a cell is observed, the influx of column j,

    .. math:: \frac{\sum_{k, i} (1 - r_{ij}) r_{ik}}{\sum_{k, i} r_{ik}},

    is the share of the observed cells of the table that stand beside a missing cell of the column,
    and its outflux,

    .. math:: \frac{\sum_{k, i} r_{ij} (1 - r_{ik})}{\sum_{k, i} (1 - r_{ik})},

    the share of the missing cells that stand beside an observed one [1]_. A column with a high
    outflux is useful for the imputation of the others; one with a low outflux and a low influx
    hardly contributes.

    Parameters
    ----------
    X : data frame or array-like of shape (n_samples, n_features)
        A table, with missing cells marked NaN or null.

    Returns
    -------
    DataFrame
        A row for each column of X, with the names of mice: ``pobs``, the share of its cells that
        are observed; ``influx``; ``outflux``; ``ainb``, the mean share of the other columns that
        are observed where it is missing; ``aout``, the mean share that are missing where it is
        observed; ``fico``, the share of incomplete rows among those in which it is observed. NaN
        where a share is of no cells.

    See Also
    --------
    missing_patterns : Count the patterns of missing cells.

    References
    ----------
    .. [1] van Buuren (2018). Flexible Imputation of Missing Data, section 4.1.3. CRC Press.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmissvae import missing_flux
    >>> table = pd.DataFrame({"age": [20, 31, 42, 53], "bmi": [None, 22.7, 30.1, None]})
    >>> missing_flux(table)[["pobs", "influx", "outflux"]]
         pobs    influx  outflux
    age   1.0  0.000000      1.0
    bmi   0.5  0.333333      0.0
    """
    columns, names = columns_and_names(X)
    if not columns:
        raise ValueError("X has no columns; give a table of at least one.")
    names = [f"x{j}" for j in range(len(columns))] if names is None else names
    r = observed_mask(columns).astype(np.float64)
    both, missing_beside = r.T @ r, (1 - r).T @ r  # rows with j observed, missing; k observed
    observed_beside, neither = r.T @ (1 - r), (1 - r).T @ (1 - r)
    n_others = max(len(columns) - 1, 1)
    is_incomplete = (r == 0).any(1)
    with np.errstate(invalid="ignore"):
        inbound = missing_beside / (missing_beside + neither)
        outbound = observed_beside / (observed_beside + both)
        shares = {
            "pobs": r.mean(0),
            "influx": missing_beside.sum(1) / (missing_beside + both).sum(1),
            "outflux": observed_beside.sum(1) / (observed_beside + neither).sum(1),
            "ainb": np.nansum(inbound, 1) / n_others,
            "aout": np.nansum(outbound, 1) / n_others,
            "fico": (is_incomplete @ r) / r.sum(0),
        }
    return pd.DataFrame(shares, index=names)


def observed_mask(columns: Sequence[Column]) -> Mask:
    """Return which cells are observed, (N, D)."""
    return np.column_stack([~is_missing(column) for column in columns])


def borrowed_masks(observed: Mask, random_state: Any, *, fallback: float = 0.2) -> Mask:
    """Return cells to hide, by the missing cells of other rows of the same table.

    Each row gets the missing cells of another row, drawn from the incomplete rows. No row loses
    its last observed cell.

    Parameters
    ----------
    observed : ndarray of shape (N, D)
        Which cells are observed.
    random_state : int, RandomState instance or None
        Randomness of the drawn rows.
    fallback : float, default=0.2
        Probability to hide each cell if this hides none, as in a complete table.

    Returns
    -------
    ndarray of shape (N, D)
        Observed cells to hide.
    """
    rng = check_random_state(random_state)
    hidden = _spare_last_cells(_missing_of_donors(observed, rng), observed, rng)
    if not hidden.any():
        hidden = observed & (rng.uniform(size=observed.shape) < fallback)
        if observed.shape[1] > 1:  # with one column every cell is the last of its row
            hidden = _spare_last_cells(hidden, observed, rng)
    return hidden


def _missing_of_donors(observed: Mask, rng: np.random.RandomState) -> Mask:
    """Return the observed cells of each row that are missing in a random incomplete row."""
    is_donor = ~observed.all(1)
    donors = np.flatnonzero(is_donor)
    if not len(donors):
        return np.zeros_like(observed)
    # a donor steps from its own position to another donor; a single donor stays at its own
    steps = rng.randint(np.maximum(len(donors) - is_donor, 1))
    return observed & ~observed[donors[(np.cumsum(is_donor) + steps) % len(donors)]]


def _spare_last_cells(hidden: Mask, observed: Mask, rng: np.random.RandomState) -> Mask:
    """Return the mask without a random cell of each row that would lose all observed cells."""
    emptied = np.flatnonzero((hidden == observed).all(1) & observed.any(1))
    priority = rng.uniform(size=(len(emptied), observed.shape[1]))
    hidden[emptied, np.where(observed[emptied], priority, -1.0).argmax(1)] = False
    return hidden
