"""Amputation: hiding cells of a table by a missingness mechanism."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from .dataframes import columns_and_names, hide_cells
from .image_masks import IMAGE_MASKS, MASK_SIZES, draw_image_masks
from .missingness import observed_mask
from .missingness_mechanisms import LOG_ODDS, Patterns, column_scores, draw_cells, draw_patterns

_TABLE_MECHANISMS = ("mcar", "mar", "mnar")


_DEFAULT_PROPORTIONS = dict.fromkeys(_TABLE_MECHANISMS, 0.3) | {
    "pixels": 0.5,
    "squares": 0.25,
    "quadrants": 0.5,
    "halves": 0.5,
}


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

    Four mechanisms hide parts of images, independent of all values. A row holds
    ``channels * height * width`` cells in C order, and all channels have the same mask:

    - "pixels": independent pixels;
    - "squares": a square at a random position, whose side is one of the two integers next to the
      exact one;
    - "quadrants": one, two or three of the four quadrants;
    - "halves": the upper, lower, left or right half.

    A row can lose all of its cells, except by "mar" in a complete table.

    Parameters
    ----------
    X : data frame or array-like of shape (n_samples, n_features)
        A table, which may have missing cells, marked NaN or null. It is not changed.
    mechanism : {"mcar", "mar", "mnar", "pixels", "squares", "quadrants", "halves"}, default="mcar"
        Missingness mechanism.
    proportion : float, default=None
        Expected share, from 0 to 1, of the observed cells, or of the rows (``of``); for images, of
        the pixels. None is 0.3, but for "pixels" 0.5, "squares" 0.25, "quadrants" 0.5 (also
        possible are 0.25 and 0.75) and "halves" 0.5 (the only possible value).
    of : {"cells", "rows"}, default="cells"
        Whether ``proportion`` is a share of the observed cells, or of the rows, each of which then
        gets one of the patterns.
    patterns : array-like of bool of shape (n_patterns, n_features), default=None
        Sets of cells that a row loses together, True where hidden. None hides cells one by one.
    frequencies : array-like of shape (n_patterns,), default=None
        Relative frequencies of the patterns. None draws all patterns equally often.
    weights : array-like of shape (n_patterns, n_features), default=None
        Weights of the columns in the score of each pattern. None gives equal weights to the
        columns that a pattern leaves observed ("mar", where other columns must have weight 0), or
        to those that it hides ("mnar").
    kind : {"right", "left", "mid", "tail"}, default="right"
        Scores that go missing most often, for "mar" and "mnar": high scores, low scores, those in
        the middle, or those in both tails.
    image_shape : tuple of int, default=None
        Shape of a row's image, (height, width) or (channels, height, width).
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
    proportion = _checked_proportion(mechanism, proportion)
    _check_option("of", of, ("cells", "rows"))
    _check_option("kind", kind, LOG_ODDS)
    _check_combination(mechanism, of, patterns, frequencies, weights, image_shape)
    rng = check_random_state(random_state)
    if mechanism in IMAGE_MASKS:
        drawn = draw_image_masks(mechanism, proportion, observed.shape, image_shape, rng)
    else:
        # constant scores make "mcar"
        is_mcar = mechanism == "mcar"
        z = np.zeros(observed.shape) if is_mcar else column_scores(columns, names, observed)
        if patterns is None:
            drawn = draw_cells(mechanism, proportion, z, observed, kind, rng)
        else:
            checked = _checked_patterns(mechanism, patterns, frequencies, weights, len(columns))
            drawn = draw_patterns(checked, proportion, of, z, observed, kind, rng)
    hidden = drawn & observed
    X_missing = hide_cells(X, hidden)
    return (X_missing, hidden) if return_mask else X_missing


def _check_option(name: str, value: Any, options: Any) -> None:
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}.")


def _checked_proportion(mechanism: str, proportion: Any) -> float:
    _check_option("mechanism", mechanism, _DEFAULT_PROPORTIONS)
    proportion = _DEFAULT_PROPORTIONS[mechanism] if proportion is None else proportion
    is_number = isinstance(proportion, Real) and not isinstance(proportion, bool)
    if not is_number or not 0 <= proportion <= 1:
        raise ValueError(f"proportion must be a number from 0 to 1, or None; got {proportion!r}.")
    if mechanism in MASK_SIZES and proportion not in MASK_SIZES[mechanism]:
        raise ValueError(
            f"proportion must be {' or '.join(map(str, MASK_SIZES[mechanism]))} for "
            f"mechanism={mechanism!r}; got {proportion!r}."
        )
    return float(proportion)


def _check_combination(
    mechanism: str, of: str, patterns: Any, frequencies: Any, weights: Any, image_shape: Any
) -> None:
    """Raise where a parameter has no effect with the others, or one is lacking."""
    if mechanism in IMAGE_MASKS and image_shape is None:
        raise ValueError(
            f"mechanism={mechanism!r} hides parts of images; give image_shape=(height, width)."
        )
    if mechanism in _TABLE_MECHANISMS and image_shape is not None:
        raise ValueError(
            f"image_shape={image_shape!r} has no effect with mechanism={mechanism!r}; remove it, "
            f"or choose one of {', '.join(map(repr, IMAGE_MASKS))}."
        )
    if mechanism in IMAGE_MASKS and patterns is not None:
        raise ValueError(
            f"patterns have no effect with mechanism={mechanism!r}; remove them, "
            f"or choose one of {', '.join(map(repr, _TABLE_MECHANISMS))}."
        )
    if mechanism == "mcar" and weights is not None:
        raise ValueError(
            "weights have no effect with mechanism='mcar', which has no scores; remove them, or "
            "choose 'mar' or 'mnar'."
        )
    if patterns is None and of == "rows":
        raise ValueError("of='rows' needs patterns; give patterns, or of='cells'.")
    for name, value in {"frequencies": frequencies, "weights": weights}.items():
        if patterns is None and value is not None:
            raise ValueError(
                f"{name} have no effect without patterns; give patterns, or remove {name}."
            )


def _checked_patterns(
    mechanism: str, patterns: Any, frequencies: Any, weights: Any, n_columns: int
) -> Patterns:
    patterns = np.asarray(patterns)
    if patterns.dtype != bool or patterns.shape[1:] != (n_columns,) or not len(patterns):
        raise ValueError(
            f"patterns must be bool of shape (n_patterns, {n_columns}), True where a cell is "
            f"hidden; got {patterns.dtype} of shape {patterns.shape}."
        )
    n_patterns = len(patterns)
    for p, hidden in enumerate(patterns):
        if not hidden.any():
            raise ValueError(f"patterns[{p}] hides no column; remove it, or lower proportion.")
        if mechanism == "mar" and hidden.all():
            raise ValueError(
                f"patterns[{p}] hides every column, but mechanism='mar' needs one that stays "
                "observed; show one, or choose another mechanism."
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
            f"weights[{p}, {j}]={weights[p, j]} belongs to a column that patterns[{p}] hides; "
            "set it to 0, or choose mechanism='mnar'."
        )
    return Patterns(patterns, frequencies / frequencies.sum(), weights)
