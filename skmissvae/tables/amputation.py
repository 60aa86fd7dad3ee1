"""Amputation: hiding cells of a table by a missingness mechanism."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, overload

import numpy as np
from narwhals.typing import IntoDataFrameT
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.utils import check_random_state

from .._utils.quoting import quoted
from .column_kinds import choose_codec
from .columns import Column, Floats, Mask, refuse_infinity
from .input_table import columns_and_names, hide_cells
from .missingness import observed_mask

# A column loses at most this share of its cells, unless only one stays observed: with more
# missing cells, missingness hardly depends on any value.
_MAX_SHARE = 0.9


_ROUNDING = 1e-9


# Functions of the score in which the log-odds of missingness are linear.
_LOG_ODDS: dict[str, Callable[[Floats], Floats]] = {
    "right": lambda score: score,
    "left": np.negative,
    "mid": lambda score: -np.abs(score),
    "tail": np.abs,
}


@overload
def make_missing(
    X: IntoDataFrameT,
    mechanism: str = "mcar",
    proportion: float = 0.3,
    *,
    of: str = "cells",
    patterns: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    kind: str = "right",
    random_state: Any = None,
    return_mask: Literal[False] = False,
) -> IntoDataFrameT: ...
@overload
def make_missing(
    X: IntoDataFrameT,
    mechanism: str = "mcar",
    proportion: float = 0.3,
    *,
    of: str = "cells",
    patterns: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    kind: str = "right",
    random_state: Any = None,
    return_mask: Literal[True],
) -> tuple[IntoDataFrameT, Mask]: ...
@overload
def make_missing(
    X: Any,
    mechanism: str = "mcar",
    proportion: float = 0.3,
    *,
    of: str = "cells",
    patterns: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    kind: str = "right",
    random_state: Any = None,
    return_mask: Literal[False] = False,
) -> NDArray[Any]: ...
@overload
def make_missing(
    X: Any,
    mechanism: str = "mcar",
    proportion: float = 0.3,
    *,
    of: str = "cells",
    patterns: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    kind: str = "right",
    random_state: Any = None,
    return_mask: Literal[True],
) -> tuple[NDArray[Any], Mask]: ...
def make_missing(
    X: Any,
    mechanism: str = "mcar",
    proportion: float = 0.3,
    *,
    of: str = "cells",
    patterns: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    kind: str = "right",
    random_state: Any = None,
    return_mask: bool = False,
) -> Any:
    r"""Hide cells of a table, at random or depending on values.

    Three mechanisms hide cells one by one, or all cells of a pattern in a row together:

    - "mcar", missing completely at random: independent of all values;
    - "mar", missing at random: dependent on values that stay observed. Without patterns, about a
      third of the columns stay observed (fewer if ``proportion`` needs the others, at least one),
      drawn at random from the columns with more than one value. Each other column has a score, a
      sum of the observed columns with random positive weights;
    - "mnar", missing not at random: dependent on values that go missing. Without patterns, the
      score of a cell is its own value.

    The probability of a cell, or of the pattern of a row, is logistic in a score :math:`s` with
    mean 0 and standard deviation 1 over the rows,

    .. math:: \Pr(\text{hidden} \mid s) = \frac{1}{1 + \exp(-f(s) - b)}, \qquad
              f(s) = s,\ -s,\ -|s|,\ |s|

    for kinds "right", "left", "mid" and "tail". The intercept :math:`b` makes the expected share
    equal to ``proportion``. Scores are weighted sums of columns that have mean 0 and standard
    deviation 1. Categories count as 0, 1, ... in the order of their type, else in alphabetical
    order; dates count as time; a missing cell counts as the mean of its column. Columns with a
    single value or of other types do not count. If the score is constant, all rows have the same
    probability.

    A row can lose all of its cells, except by "mar" in a complete table.

    Parameters
    ----------
    X : data frame or array-like of shape (n_samples, n_features)
        A table, which may have missing cells, marked NaN or null. It is not changed.
    mechanism : {"mcar", "mar", "mnar"}, default="mcar"
        Missingness mechanism.
    proportion : float, default=0.3
        Expected share, from 0 to 1, of the observed cells, or of the rows (``of``).
    of : {"cells", "rows"}, default="cells"
        Whether ``proportion`` is a share of the observed cells, or of the rows, each of which then
        gets one of the patterns.
    patterns : array-like of bool of shape (n_patterns, n_features), default=None
        Sets of cells that a row loses together, True where hidden. They are drawn
        equally often, repeated ones more often. None hides cells one by one.
    weights : array-like of shape (n_patterns, n_features), default=None
        Weights of the columns in the score of each pattern. None gives equal weights to the
        columns that a pattern leaves observed ("mar", where other columns must have weight 0), or
        to those that it hides ("mnar").
    kind : {"right", "left", "mid", "tail"}, default="right"
        Scores that go missing most often, for "mar" and "mnar": high scores, low scores, those in
        the middle, or those in both tails.
    random_state : int, RandomState instance or None, default=None
        Randomness of the hidden cells. Pass an int for reproducible results.
    return_mask : bool, default=False
        Whether to return the mask of the hidden cells.

    Returns
    -------
    X_missing : data frame or ndarray of shape (n_samples, n_features)
        The table with more missing cells, in X's container, index and types. Types that cannot
        hold missing cells change as in pandas: integers become floats, and bools objects. Arrays
        are of floats.
    mask : ndarray of bool of shape (n_samples, n_features)
        The cells that were observed and are hidden. Only if ``return_mask`` is True.

    Raises
    ------
    ValueError
        If parameters contradict each other, or ``proportion`` exceeds the cells that can be
        hidden.
    TypeError
        If X is a lazy frame.

    See Also
    --------
    missing_patterns : Count the patterns of missing cells.

    References
    ----------
    Rianne M. Schouten, Peter Lugtig, Gerko Vink: "Generating missing values for simulation
    purposes: a multivariate amputation procedure", Journal of Statistical Computation and
    Simulation 88(15), 2018. https://doi.org/10.1080/00949655.2018.1491577

    Donald B. Rubin: "Inference and missing data", Biometrika 63(3), 1976.
    https://doi.org/10.1093/biomet/63.3.581

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import make_missing
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> X_missing, mask = make_missing(X, "mar", 0.2, random_state=0, return_mask=True)
    >>> bool((np.isnan(X_missing) == mask).all())
    True
    >>> int((mask.mean(axis=0) == 0).sum())  # columns that stay observed
    1

    A tenth of the rows lose the first column, or the two others, more often where these are high:

    >>> patterns = np.array([[True, False, False], [False, True, True]])
    >>> X_missing = make_missing(X, "mnar", 0.1, of="rows", patterns=patterns, random_state=0)
    >>> bool(np.nanmean(X_missing) < X.mean())
    True
    """
    columns, names = columns_and_names(X)
    if not columns or not (observed := observed_mask(columns)).any():
        raise ValueError("X has no observed cell to hide; give a table that has one.")
    _check_parameters(mechanism, proportion, of, patterns, weights, kind)
    rng = check_random_state(random_state)
    z: Floats = np.zeros(observed.shape)  # constant scores make "mcar"
    if mechanism != "mcar":
        z = _column_scores(columns, names or range(len(columns)), observed)
    if patterns is None:
        drawn = _draw_cells(mechanism, proportion, z, observed, kind, rng)
    else:
        hides, weights = _checked_patterns(mechanism, patterns, weights, len(columns))
        drawn = _draw_patterns(hides, weights, proportion, of, z, observed, kind, rng)
    hidden = drawn & observed
    X_missing = hide_cells(X, hidden)
    return (X_missing, hidden) if return_mask else X_missing


def _check_option(name: str, value: Any, options: Any) -> None:
    if not isinstance(value, str) or value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}; got {quoted(value)}."
        )


def _check_parameters(
    mechanism: Any, proportion: Any, of: Any, patterns: Any, weights: Any, kind: Any
) -> None:
    """Raise where a parameter is invalid, has no effect with the others, or one is lacking."""
    _check_option("mechanism", mechanism, ("mcar", "mar", "mnar"))
    is_number = isinstance(proportion, Real) and not isinstance(proportion, bool)
    if not is_number or not 0 <= proportion <= 1:
        raise ValueError(f"proportion must be a number from 0 to 1; got {quoted(proportion)}.")
    _check_option("of", of, ("cells", "rows"))
    _check_option("kind", kind, _LOG_ODDS)
    if mechanism == "mcar" and weights is not None:
        raise ValueError(
            "weights have no effect with mechanism='mcar', which has no scores; remove them, or "
            "choose 'mar' or 'mnar'."
        )
    if patterns is None and of == "rows":
        raise ValueError("of='rows' needs patterns; give patterns, or of='cells'.")
    if patterns is None and weights is not None:
        raise ValueError(
            "weights have no effect without patterns; give patterns, or remove weights."
        )


def _checked_patterns(
    mechanism: str, patterns: Any, weights: Any, n_columns: int
) -> tuple[Mask, Floats]:
    """Return the cells that each pattern hides, and the weights of the columns, (P, D)."""
    patterns = np.asarray(patterns)
    if patterns.dtype != bool or patterns.shape[1:] != (n_columns,) or not len(patterns):
        raise ValueError(
            f"patterns must be bool of shape (n_patterns, {n_columns}), True where a cell is "
            f"hidden; got {patterns.dtype} of shape {patterns.shape}."
        )
    for p, hidden in enumerate(patterns):
        if not hidden.any():
            raise ValueError(f"patterns[{p}] hides no column; remove it, or lower proportion.")
        if mechanism == "mar" and hidden.all():
            raise ValueError(
                f"patterns[{p}] hides every column, but mechanism='mar' needs one that stays "
                "observed; show one, or choose another mechanism."
            )
    if weights is None:
        weights = patterns if mechanism == "mnar" else ~patterns
    weights = np.asarray(weights, float)
    if weights.shape != patterns.shape or not np.isfinite(weights).all():
        raise ValueError(
            f"weights must be finite numbers of the shape of patterns, {patterns.shape}; got "
            f"{weights} of shape {weights.shape}."
        )
    if mechanism == "mar" and weights[patterns].any():
        p, j = np.argwhere(patterns & (weights != 0))[0]
        raise ValueError(
            f"weights[{p}, {j}]={weights[p, j]} belongs to a column that patterns[{p}] hides; "
            "set it to 0, or choose mechanism='mnar'."
        )
    return patterns, weights


def _column_scores(columns: Sequence[Column], names: Sequence[Any], observed: Mask) -> Floats:
    """Return columns as numbers of mean 0 and standard deviation 1, 0 where missing, (N, D)."""
    z = np.zeros(observed.shape)
    for j, (name, column, is_observed) in enumerate(zip(names, columns, observed.T, strict=True)):
        numbers = choose_codec(str(name), column, ~is_observed, None).encode(column, ~is_observed)
        refuse_infinity(numbers[:, None], [name])
        is_number = ~np.isnan(numbers)  # False for all cells of an unsupported type
        z[:, j] = _standardise(np.where(is_number, numbers, 0.0), is_number.astype(float))
        z[:, j] *= is_number
    return z


def _standardise(score: Floats, weight: Floats) -> Floats:
    """Return a score of weighted mean 0 and standard deviation 1, 0 where it is constant: (N,)."""
    weighted = score[weight > 0]
    if not len(weighted) or (weighted == weighted[0]).all():
        return np.zeros(len(score))
    score = score / np.abs(weighted).max()  # so that squares neither overflow nor underflow
    centred = score - np.average(score, weights=weight)
    return centred / np.sqrt(np.average(centred**2, weights=weight))


def missing_probabilities(score: Floats, share: float, weight: Floats, kind: str) -> Floats:
    """Return probabilities that are logistic in a score, with a given weighted mean.

    Parameters
    ----------
    score : ndarray of shape (N,)
        The score.
    share : float
        Weighted mean of the probabilities.
    weight : ndarray of shape (N,)
        Weights.
    kind : str
        Key of ``_LOG_ODDS``.
    """
    log_odds = _LOG_ODDS[kind](_standardise(score, weight))
    if share in (0, 1) or not np.ptp(log_odds):
        return np.full(len(score), share)

    def excess(intercept: float) -> float:
        return float(np.average(expit(log_odds + intercept), weights=weight)) - share

    # all probabilities are below the share at the first bound, and above it at the second
    bounds = logit(share) - log_odds.max() - 1, logit(share) - log_odds.min() + 1
    return expit(log_odds + brentq(excess, *bounds))


def _draw_cells(
    mechanism: str,
    proportion: float,
    z: Floats,
    observed: Mask,
    kind: str,
    rng: np.random.RandomState,
) -> Mask:
    """Return a mask of cells that are drawn independently given the scores, (N, D)."""
    scores, shares = z, np.full(z.shape[1], proportion)
    if mechanism == "mar":
        predictors, share = _observed_columns(proportion, z, observed, rng)
        scores = z[:, predictors] @ rng.exponential(size=(len(predictors), len(shares)))
        shares = np.full(len(shares), share)
        shares[predictors] = 0.0
    probabilities = [
        missing_probabilities(score, share, is_observed.astype(float), kind)
        for score, share, is_observed in zip(scores.T, shares, observed.T, strict=True)
    ]
    return rng.uniform(size=observed.shape) < np.column_stack(probabilities)


def _observed_columns(
    proportion: float, z: Floats, observed: Mask, rng: np.random.RandomState
) -> tuple[NDArray[np.intp], float]:
    """Return columns that stay observed, and the share of cells that the other columns lose."""
    n_columns = z.shape[1]
    order = rng.permutation(n_columns)
    is_constant = ~z[:, order].any(0)  # no score: last
    order = order[np.argsort(is_constant, kind="stable")]
    n_cells = int(observed.sum())
    n_others = n_cells - np.cumsum(observed[:, order].sum(0))  # without the first 1, 2, ... columns
    n_observed = int((proportion * n_cells <= _MAX_SHARE * n_others).sum())
    n_observed = max(1, min(n_observed, round(n_columns / 3)))
    share = _share_of_available(
        proportion,
        n_others[n_observed - 1] / n_cells,
        "one column stays observed with mechanism='mar'; lower it, or choose another mechanism",
    )
    return order[:n_observed], share


def _share_of_available(proportion: float, available: float, reason: str) -> float:
    """Return a proportion of all cells as a share of those that can be hidden."""
    if proportion > available * (1 + _ROUNDING):
        raise ValueError(
            f"proportion={proportion} is too high: at most {available:.3g} of the observed cells "
            f"can be hidden where {reason}."
        )
    return min(proportion / available, 1.0) if available else 0.0


def _draw_patterns(
    patterns: Mask,
    weights: Floats,
    proportion: float,
    of: str,
    z: Floats,
    observed: Mask,
    kind: str,
    rng: np.random.RandomState,
) -> Mask:
    """Return a mask in which each row has one of the patterns or none, (N, D)."""
    n_rows, n_patterns = len(z), len(patterns)
    shares, weight = np.full(n_patterns, 1 / n_patterns), np.ones((n_rows, n_patterns))
    if of == "cells":
        weight = observed.astype(float) @ patterns.T  # cells that a row would lose
        proportion = _share_of_available(
            proportion,
            float(weight.sum(0) @ shares) / observed.sum(),
            "each row gets one of the patterns; lower it, or give patterns that hide more columns",
        )
    drawn = rng.choice(n_patterns, size=n_rows, p=shares)
    probabilities = np.empty(n_rows)
    for p, column_weights in enumerate(weights):
        rows = drawn == p
        score = z @ column_weights
        probabilities[rows] = missing_probabilities(score, proportion, weight[:, p], kind)[rows]
    return patterns[drawn] & (rng.uniform(size=n_rows) < probabilities)[:, None]
