"""Holes in tables: to make them, to count them, and to borrow those of other rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.utils import check_random_state

from .codecs import Floats, Mask, Values, codec, missing
from .dataframes import columns_and_names, without
from .image_masks import _ROUNDING, IMAGE_MASKS, MASK_SIZES, _Rng

# Share of its cells that a column loses at most, unless a single one stays observed: what nearly
# always goes missing hardly depends on anything.
_MOST = 0.9


def make_missing(
    X: Any,
    mechanism: str = "mcar",
    proportion: float | None = None,
    *,
    of: str = "cells",
    patterns: ArrayLike | None = None,
    frequencies: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    kind: str = "right",
    image_shape: Sequence[int] | None = None,
    random_state: Any = None,
    return_mask: bool = False,
) -> Any:
    r"""Hide cells of a table, at random or by their values.

    The cells of a table go missing one by one, or a row's by one of some patterns:

    - "mcar", missing completely at random: whatever the values;
    - "mar", missing at random: by values that stay observed. Without patterns about a third of the
      columns stay observed (fewer where ``proportion`` needs the others, one at least), drawn at
      random from those that hold more than one value; each other column has a score of its own,
      the sum of these with random positive weights;
    - "mnar", missing not at random: by values that go missing. Without patterns the score of a
      cell is its own value.

    The chance of a cell, or of a row's pattern, is logistic in a score :math:`s`, of mean 0 and
    standard deviation 1 over the rows,

    .. math:: \Pr(\text{hidden} \mid s) = \frac{1}{1 + \exp(-f(s) - b)}, \qquad
              f(s) = s,\ -s,\ -|s|,\ |s|

    for kinds "right", "left", "mid" and "tail", with the :math:`b` that makes the expected share
    exactly ``proportion``. Scores are weighted sums of columns of mean 0 and standard deviation 1.
    Levels count as 0, 1, ... in the order of their type, else of the alphabet; dates as time; a
    missing cell as its column's mean; a column of one value, or of a type that is none of these,
    not at all. A score that is the same for all rows leaves their chances the same.

    The cells of a row of images go missing in shapes, whatever the values, each of
    ``channels * height * width`` cells in C order, in all channels alike:

    - "pixels": each pixel on its own;
    - "squares": a square anywhere, whose side is one of the two whole numbers next to the wanted;
    - "quadrants": one, two or three of the four;
    - "halves": the upper, the lower, the left or the right one.

    A row can lose all of its cells, though not to "mar" where the table is complete.

    Parameters
    ----------
    X : data frame or array-like of shape (n_samples, n_features)
        A table, which may have holes, marked NaN or null. It stays as it is.
    mechanism : {"mcar", "mar", "mnar", "pixels", "squares", "quadrants", "halves"}, default="mcar"
        What makes cells go missing.
    proportion : float, default=None
        Expected share, from 0 to 1, of the observed cells, or of what ``of`` says; in images, of
        the pixels. None takes 0.3, and for "pixels" 0.5, "squares" 0.25, "quadrants" 0.5 (others
        are 0.25 and 0.75) and "halves" 0.5 (there is no other).
    of : {"cells", "rows"}, default="cells"
        Whether ``proportion`` is a share of the observed cells, or of the rows, which then get one
        of the patterns.
    patterns : array-like of bool of shape (n_patterns, n_features), default=None
        Which cells a row loses together, True where hidden. None hides cells one by one.
    frequencies : array-like of shape (n_patterns,), default=None
        How often each pattern is drawn, relative to the others. None draws all alike.
    weights : array-like of shape (n_patterns, n_features), default=None
        Weights of the columns in the score of each pattern. None weighs alike the columns that a
        pattern leaves observed ("mar"), which no others can be, or those that it hides ("mnar").
    kind : {"right", "left", "mid", "tail"}, default="right"
        Which scores go missing most, for "mar" and "mnar": high ones, low ones, those in the
        middle, or those on either side.
    image_shape : tuple of int, default=None
        Shape of a row's image, (height, width) or (channels, height, width).
    random_state : int, RandomState instance or None, default=None
        Which cells are hidden. With an int they are the same ones each time.
    return_mask : bool, default=False
        Whether to return which cells were hidden.

    Returns
    -------
    X_missing : data frame or ndarray of shape (n_samples, n_features)
        The table with more holes, of X's container, index and types; where these cannot hold a
        hole, as pandas has it: integers become floats, and bools objects. Arrays are of floats.
    mask : ndarray of bool of shape (n_samples, n_features)
        The cells that were observed and are hidden. Only if ``return_mask`` is True.

    Raises
    ------
    ValueError
        If parameters do not go together, or the columns that can go missing do not have as many
        cells as ``proportion`` wants.
    TypeError
        If X is a lazy frame.

    See Also
    --------
    missing_patterns : Count the patterns of holes.

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
    >>> holed, mask = make_missing(X, "mar", 0.2, random_state=0, return_mask=True)
    >>> bool((np.isnan(holed) == mask).all())
    True
    >>> int((mask.mean(axis=0) == 0).sum())  # columns that stay observed
    1

    A tenth of the rows loses the first column, or both others, the more so the higher these are:

    >>> patterns = np.array([[True, False, False], [False, True, True]])
    >>> holed = make_missing(X, "mnar", 0.1, of="rows", patterns=patterns, random_state=0)
    >>> bool(np.nanmean(holed) < X.mean())
    True
    """
    columns, names = columns_and_names(X)
    if not columns or not (observed := _observed(columns)).any():
        raise ValueError("X has no observed cell to hide; give a table that has one.")
    proportion = _checked_proportion(mechanism, proportion)
    _refuse_others("of", of, ("cells", "rows"))
    _refuse_others("kind", kind, _KINDS)
    _refuse_idle(mechanism, of, patterns, frequencies, weights, image_shape)
    rng = check_random_state(random_state)
    if mechanism in IMAGE_MASKS:
        drawn = draw_image_masks(mechanism, proportion, observed.shape, image_shape, rng)
    else:
        # completely at random is by scores that are all the same
        z = np.zeros(observed.shape) if mechanism == "mcar" else _scores(columns, names, observed)
        if patterns is None:
            drawn = _draw_cells(mechanism, proportion, z, observed, kind, rng)
        else:
            known = _checked_patterns(mechanism, patterns, frequencies, weights, len(columns))
            drawn = _draw_patterns(known, proportion, of, z, observed, kind, rng)
    hidden = drawn & observed
    return (without(X, hidden), hidden) if return_mask else without(X, hidden)


def missing_patterns(X: Any) -> pd.DataFrame:
    """Return the patterns of holes in a table, and how many rows have each.

    Parameters
    ----------
    X : data frame or array-like of shape (n_samples, n_features)
        A table, with holes marked NaN or null.

    Returns
    -------
    DataFrame
        A line for each pattern, the most frequent first, and of equally frequent ones that with
        the fewest holes: for each column of X, by its name (x0, x1, ... where it has none),
        whether it is observed; then ``n_rows``, the number of rows; ``share``, that of all rows;
        ``n_missing``, the number of columns that are missing.

    Raises
    ------
    ValueError
        If a column of X is called as one of those three.

    See Also
    --------
    make_missing : Hide cells of a table.

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
                f"X has a column named {name!r}, as one that missing_patterns adds; rename it."
            )
    if not columns:
        raise ValueError("X has no columns; give a table of at least one.")
    patterns, n_rows = np.unique(~_observed(columns), axis=0, return_counts=True)
    n_missing = patterns.sum(1)
    order = np.lexsort((n_missing, -n_rows))
    table = pd.DataFrame(~patterns[order], columns=names)
    table["n_rows"] = n_rows[order]
    table["share"] = n_rows[order] / n_rows.sum()
    table["n_missing"] = n_missing[order]
    return table


def borrowed_masks(observed: Mask, random_state: Any, *, fallback: float = 0.2) -> Mask:
    """Return cells to hide by the holes that a table has.

    Each row borrows those of another row, drawn from the rows that have any. No row loses its last
    observed cell.

    Parameters
    ----------
    observed : ndarray of shape (N, D)
        Which cells are observed.
    random_state : int, RandomState instance or None
        Who borrows from whom.
    fallback : float, default=0.2
        Chance of each cell to be hidden where there is nothing to borrow: no row has a hole where
        another is observed.

    Returns
    -------
    ndarray of shape (N, D)
        Observed cells to hide.
    """
    rng = check_random_state(random_state)
    hidden = _spared(_holes_of_others(observed, rng), observed, rng)
    if not hidden.any():
        hidden = observed & (rng.uniform(size=observed.shape) < fallback)
        if observed.shape[1] > 1:  # else its last cell is all that a row can lose
            hidden = _spared(hidden, observed, rng)
    return hidden


def _holes_of_others(observed: Mask, rng: _Rng) -> Mask:
    is_donor = ~observed.all(1)
    donors = np.flatnonzero(is_donor)
    if not len(donors):
        return np.zeros_like(observed)
    # a donor goes on from its own place to another; alone, it comes back, and borrows nothing
    steps = rng.randint(np.maximum(len(donors) - is_donor, 1))
    return observed & ~observed[donors[(np.cumsum(is_donor) + steps) % len(donors)]]


def _spared(hidden: Mask, observed: Mask, rng: _Rng) -> Mask:
    """Return the mask less a random cell of each row that would lose all it has."""
    bare = np.flatnonzero((hidden == observed).all(1) & observed.any(1))
    lots = rng.uniform(size=(len(bare), observed.shape[1]))
    hidden[bare, np.where(observed[bare], lots, -1.0).argmax(1)] = False
    return hidden


def _observed(columns: Sequence[Values]) -> Mask:
    """Return which cells are observed, (N, D)."""
    return np.column_stack([~missing(column, np.nan) for column in columns])


def _scores(columns: Sequence[Values], names: Sequence[Any] | None, observed: Mask) -> Floats:
    """Return columns as numbers of mean 0 and standard deviation 1, 0 where missing, (N, D)."""
    z = np.zeros(observed.shape)
    for j, (column, seen) in enumerate(zip(columns, observed.T, strict=True)):
        name = j if names is None else names[j]
        numbers = codec(str(name), column, ~seen, None).encode(column, ~seen)
        if np.isinf(numbers).any():
            i = np.flatnonzero(np.isinf(numbers))[0]
            raise ValueError(
                f"Input X contains infinity: column {name!r}, row {i}, holds {numbers[i]}; replace "
                "it, or mark it missing."
            )
        known = ~np.isnan(numbers)  # nothing is of a column of an unknown type
        z[:, j] = _standardised(np.where(known, numbers, 0.0), known.astype(float)) * known
    return z


def _standardised(score: Floats, weight: Floats) -> Floats:
    """Return a score of weighted mean 0 and standard deviation 1, 0 where it is constant: (N,)."""
    counted = score[weight > 0]
    if not len(counted) or (counted == counted[0]).all():
        return np.zeros(len(score))
    score = score / np.abs(counted).max()  # whose squares neither overflow nor vanish
    centred = score - np.average(score, weights=weight)
    return centred / np.sqrt(np.average(centred**2, weights=weight))


#: What a chance is logistic in.
_KINDS: dict[str, Callable[[Floats], Floats]] = {
    "right": lambda score: score,
    "left": np.negative,
    "mid": lambda score: -np.abs(score),
    "tail": np.abs,
}


def _chances(score: Floats, share: float, weight: Floats, kind: str) -> Floats:
    """Return chances that are logistic in a score, and whose weighted mean is the share: (N,)."""
    log_odds = _KINDS[kind](_standardised(score, weight))
    if share in (0, 1) or not np.ptp(log_odds):
        return np.full(len(score), share)

    def excess(intercept: float) -> float:
        return float(np.average(expit(log_odds + intercept), weights=weight)) - share

    # at one end all chances are below the share, at the other above
    ends = logit(share) - log_odds.max() - 1, logit(share) - log_odds.min() + 1
    return expit(log_odds + brentq(excess, *ends))


def _draw_cells(
    mechanism: str,
    proportion: float,
    z: Floats,
    observed: Mask,
    kind: str,
    rng: _Rng,
) -> Mask:
    """Return cells that are drawn one by one, (N, D)."""
    scores, shares = z, np.full(z.shape[1], proportion)
    if mechanism == "mar":
        kept, share = _kept(proportion, z, observed, rng)
        scores = z[:, kept] @ rng.exponential(size=(len(kept), len(shares)))
        shares = np.full(len(shares), share)
        shares[kept] = 0.0
    chances = [
        _chances(score, share, seen.astype(float), kind)
        for score, share, seen in zip(scores.T, shares, observed.T, strict=True)
    ]
    return rng.uniform(size=observed.shape) < np.column_stack(chances)


def _kept(
    proportion: float, z: Floats, observed: Mask, rng: _Rng
) -> tuple[NDArray[np.intp], float]:
    """Return columns that stay observed, and the share that the others lose of their cells."""
    n_columns = z.shape[1]
    order = rng.permutation(n_columns)
    order = order[
        np.argsort(~z[:, order].any(0), kind="stable")
    ]  # constant ones have no score: last
    n_cells = int(observed.sum())
    rest = n_cells - np.cumsum(observed[:, order].sum(0))  # but for the first 1, 2, ...
    n_kept = int((proportion * n_cells <= _MOST * rest).sum())
    n_kept = max(1, min(n_kept, round(n_columns / 3)))
    share = _possible_share(
        proportion,
        rest[n_kept - 1] / n_cells,
        "one column stays observed with mechanism='mar'; lower it, or choose another mechanism",
    )
    return order[:n_kept], share


def _possible_share(proportion: float, most: float, reason: str) -> float:
    """Return the share of what can be hidden, if there is as much."""
    if proportion > most * (1 + _ROUNDING):
        raise ValueError(
            f"proportion={proportion} is too high: at most {most:.3g} of the observed cells can be "
            f"hidden where {reason}."
        )
    return min(proportion / most, 1.0) if most else 0.0


class _Patterns(NamedTuple):
    """Cells that rows lose together."""

    hidden: Mask  # (P, D)
    frequencies: Floats  # (P,), of sum 1
    weights: Floats  # (P, D)


def _draw_patterns(
    patterns: _Patterns,
    proportion: float,
    of: str,
    z: Floats,
    observed: Mask,
    kind: str,
    rng: _Rng,
) -> Mask:
    """Return cells that are drawn by patterns, one for each row or none, (N, D)."""
    n_rows, n_patterns = len(z), len(patterns.hidden)
    lost = np.ones((n_rows, n_patterns))  # how much a row counts for a pattern
    if of == "cells":
        lost = observed.astype(float) @ patterns.hidden.T
        proportion = _possible_share(
            proportion,
            float(lost.sum(0) @ patterns.frequencies) / observed.sum(),
            "each row gets one of the patterns; lower it, or give patterns that hide more columns",
        )
    drawn = rng.choice(n_patterns, size=n_rows, p=patterns.frequencies)
    chances = np.empty(n_rows)
    for p, weights in enumerate(patterns.weights):
        rows = drawn == p
        chances[rows] = _chances(z @ weights, proportion, lost[:, p], kind)[rows]
    return patterns.hidden[drawn] & (rng.uniform(size=n_rows) < chances)[:, None]


_TABLES = ("mcar", "mar", "mnar")


NATURAL_SIZES = dict.fromkeys(_TABLES, 0.3) | {
    "pixels": 0.5,
    "squares": 0.25,
    "quadrants": 0.5,
    "halves": 0.5,
}


def draw_image_masks(
    mechanism: str,
    proportion: float,
    shape: tuple[int, ...],
    image_shape: Any,
    rng: _Rng,
) -> Mask:
    """Return the cells of shapes in images, (N, D)."""
    n_rows, n_columns = shape
    sizes = np.asarray(image_shape)
    if sizes.dtype.kind not in "iu" or sizes.shape not in ((2,), (3,)) or (sizes < 1).any():
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width), whole numbers of 1 "
            f"or more; got {image_shape!r}."
        )
    if sizes.prod() != n_columns:
        raise ValueError(
            f"image_shape={image_shape!r} has {sizes.prod()} cells, but X has {n_columns} columns."
        )
    *_, height, width = sizes.tolist()
    pixels = IMAGE_MASKS[mechanism](rng, n_rows, height, width, proportion)
    return np.tile(pixels.reshape(n_rows, -1), n_columns // (height * width))


def _refuse_others(name: str, value: Any, options: Any) -> None:
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}.")


def _checked_proportion(mechanism: str, proportion: Any) -> float:
    _refuse_others("mechanism", mechanism, NATURAL_SIZES)
    proportion = NATURAL_SIZES[mechanism] if proportion is None else proportion
    number = isinstance(proportion, Real) and not isinstance(proportion, bool)
    if not number or not 0 <= proportion <= 1:
        raise ValueError(f"proportion must be a number from 0 to 1, or None; got {proportion!r}.")
    if mechanism in MASK_SIZES and proportion not in MASK_SIZES[mechanism]:
        raise ValueError(
            f"proportion must be {' or '.join(map(str, MASK_SIZES[mechanism]))} for "
            f"mechanism={mechanism!r}; got {proportion!r}."
        )
    return float(proportion)


def _refuse_idle(
    mechanism: str, of: str, patterns: Any, frequencies: Any, weights: Any, image_shape: Any
) -> None:
    """Raise where a parameter is given that means nothing beside the others, or one is lacking."""
    if mechanism in IMAGE_MASKS and image_shape is None:
        raise ValueError(
            f"mechanism={mechanism!r} hides parts of images; give image_shape=(height, width)."
        )
    if mechanism in _TABLES and image_shape is not None:
        raise ValueError(
            f"image_shape={image_shape!r} means nothing to mechanism={mechanism!r}; leave it out, "
            f"or choose one of {', '.join(map(repr, IMAGE_MASKS))}."
        )
    if mechanism in IMAGE_MASKS and patterns is not None:
        raise ValueError(
            f"patterns mean nothing to mechanism={mechanism!r}, which has its own; leave them out, "
            f"or choose one of {', '.join(map(repr, _TABLES))}."
        )
    if mechanism == "mcar" and weights is not None:
        raise ValueError(
            "weights mean nothing to mechanism='mcar', which has no scores; leave them out, or "
            "choose 'mar' or 'mnar'."
        )
    if patterns is None and of == "rows":
        raise ValueError(
            "of='rows' counts the rows that get a pattern; give patterns, or of='cells'."
        )
    for name, value in {"frequencies": frequencies, "weights": weights}.items():
        if patterns is None and value is not None:
            raise ValueError(f"{name} are those of patterns; give patterns, or leave them out.")


def _checked_patterns(
    mechanism: str, patterns: Any, frequencies: Any, weights: Any, n_columns: int
) -> _Patterns:
    patterns = np.asarray(patterns)
    if patterns.dtype != bool or patterns.shape[1:] != (n_columns,) or not len(patterns):
        raise ValueError(
            f"patterns must be bool of shape (n_patterns, {n_columns}), True where a cell is "
            f"hidden; got {patterns.dtype} of shape {patterns.shape}."
        )
    n_patterns = len(patterns)
    for p, hidden in enumerate(patterns):
        if not hidden.any():
            raise ValueError(f"patterns[{p}] hides no column; leave it out, or lower proportion.")
        if mechanism == "mar" and hidden.all():
            raise ValueError(
                f"patterns[{p}] hides every column, but mechanism='mar' needs one that stays "
                "observed; leave one, or choose another mechanism."
            )
    frequencies = np.ones(n_patterns) if frequencies is None else np.asarray(frequencies, float)
    if frequencies.shape != (n_patterns,) or not (
        (frequencies >= 0).all() and 0 < frequencies.sum() < np.inf
    ):
        raise ValueError(
            f"frequencies must be numbers of 0 or more, not all 0, one for each of the "
            f"{n_patterns} patterns; got {frequencies}."
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
            f"weights[{p}, {j}]={weights[p, j]} is of a column that patterns[{p}] hides; make it "
            "0, or choose mechanism='mnar'."
        )
    return _Patterns(patterns, frequencies / frequencies.sum(), weights)
