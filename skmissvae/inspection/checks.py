"""Checks of fitted imputers: by tables that their models make, and by what they impute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.utils import check_random_state

from .._utils.validation import check_minimum
from ..tables.columns import Mask
from .comparable_columns import ComparableTable, Floats, comparable_table

_FEW = 3  # rows below which every correlation is 1 or -1


_FLAT = 1e-12  # product of two variances below which only rounding errors correlate


def posterior_predictive_check(
    imputer: Any, X: Any, *, n_replicates: int = 50, random_state: Any = None
) -> pd.DataFrame:
    r"""Compare a table with those that the fitted model makes.

    Tables of as many rows are drawn by ``sample`` and lose the cells that ``X`` lacks. A statistic
    :math:`T` of X that few of theirs reach on one side,

    .. math:: p = 2 \min\{\Pr(T_{rep} \geq T), \Pr(T_{rep} \leq T)\},

    is something that the model has not learned.

    Parameters
    ----------
    imputer : estimator of this package
        A fitted one.
    X : data frame or array-like of shape (n_samples, n_features)
        The table that it was fitted to, or other rows.
    n_replicates : int, default=50
        Tables that are drawn.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    DataFrame
        A line per ``statistic``: "mean", "std", "5%" and "95%" (quantiles) of each ``column`` of
        numbers, "share" of each level of other columns, which stands in ``other``, "correlation" of
        each pair of columns of numbers, over rows in which both are observed, the second in
        ``other``. Of each its value in X (``observed``), the mean (``replicated``) and the 5% and
        95% quantiles over the replicates, and ``p_value``, at least 2 / (n_replicates + 1). Dates,
        and columns that are not modelled or hold one value, have no line.

    Raises
    ------
    ValueError
        If ``n_replicates`` is out of range, or X has no column to compare.
    TypeError
        If the imputer has no ``sample``.

    See Also
    --------
    overimputation_report : How well hidden cells are told.

    Notes
    -----
    Replicates lose cells whatever their values. Where what is missing in X depends on values,
    observed cells are a selection: replicated and observed columns then differ for that reason
    alone, however right the model.

    The p-values are no tests. The model has seen X, so that they lie too close to 1 where it is
    right [1]_, and its parameters are taken as known. There is one for each of many statistics:
    some are small by chance.

    References
    ----------
    .. [1] Gelman, Meng and Stern (1996). Posterior Predictive Assessment of Model Fitness via
       Realized Discrepancies. Statistica Sinica 6(4).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, posterior_predictive_check
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> check = posterior_predictive_check(imputer, X, random_state=0)
    >>> check["statistic"].tolist()
    ['mean', 'std', '5%', '95%', 'mean', 'std', '5%', '95%', 'correlation']
    """
    check_minimum(1, n_replicates=n_replicates)
    table = comparable_table(imputer, X, "sample")
    seeds = check_random_state(random_state).randint(2**31 - 1, size=n_replicates).tolist()
    samples = (imputer.sample(len(table.x), random_state=seed) for seed in seeds)
    observed = _statistics(table, table.x)
    value = np.array(list(observed.values()))
    made = np.array([list(_statistics(table, table.read(one)).values()) for one in samples])
    made = np.nan_to_num(made)  # a column that came out constant correlates with nothing
    fewer = np.minimum((made >= value).sum(0), (made <= value).sum(0))
    check = pd.DataFrame(list(observed), columns=["statistic", "column", "other"])
    check["observed"], check["replicated"] = value, made.mean(0)
    check["5%"], check["95%"] = np.quantile(made, (0.05, 0.95), axis=0)
    check["p_value"] = np.minimum(2 * (1 + fewer) / (1 + n_replicates), 1.0)
    return check.dropna(subset="observed", ignore_index=True)


class ImputedComparison(NamedTuple):
    """Imputed cells beside observed ones; it is made by :func:`compare_imputed`.

    Parameters
    ----------
    distributions : DataFrame
        A line per column of numbers with holes, and one per level of others (``level``), of which
        means are shares: ``n_observed``, ``n_missing``, ``mean_observed``, ``mean_imputed``,
        ``std_observed`` and ``std_imputed``; the ``difference`` of the means in standard deviations
        of the observed cells; the ``ratio`` of the standard deviations, imputed to observed; and
        the ``distance`` of the distributions, from 0 to 1: that of Kolmogorov and Smirnov for
        numbers, total variation for levels, the same for all levels of a column.
    correlations : DataFrame
        A line per pair of columns of numbers, ``column`` and ``other``, of which one has holes:
        ``n_observed`` rows in which both are seen, and the correlation in them (``observed``), in
        the others (``imputed``), and in all (``completed``).
    """

    distributions: pd.DataFrame
    correlations: pd.DataFrame


def compare_imputed(
    imputer: Any, X: Any, *, n_imputations: int = 5, random_state: Any = None
) -> ImputedComparison:
    """Compare imputed cells with observed ones.

    A difference is no error by itself: where what is missing depends on what is seen, imputed cells
    should differ as far as that explains. Look at the columns that differ most, and at
    correlations: those between imputed cells that are nearer to zero than the observed ones tell of
    a model that has not learned them.

    Parameters
    ----------
    imputer : imputer of this package
        A fitted one.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows, with holes.
    n_imputations : int, default=5
        Tables that are imputed, and taken together.
    random_state : int, RandomState instance or None, default=None
        Source of the draws; None takes the imputer's own ``random_state``.

    Returns
    -------
    ImputedComparison
        The frames ``distributions`` and ``correlations``. Dates, and columns that are not modelled
        or hold one value, have no line.

    Raises
    ------
    ValueError
        If ``n_imputations`` is out of range, or X has no hole in a column to compare.
    TypeError
        If the imputer has no ``impute``.

    See Also
    --------
    overimputation_report : How well hidden cells are told.

    References
    ----------
    .. [1] Abayomi, Gelman and Levy (2008). Diagnostics for Multivariate Imputations. Journal of the
       Royal Statistical Society C 57(3).

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer, compare_imputed
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(max_iter=20, random_state=0).fit(X)
    >>> found = compare_imputed(imputer, X, random_state=0)
    >>> found.distributions[["column", "kind", "n_observed", "n_missing"]]
      column        kind  n_observed  n_missing
    0     x1  continuous          40         20
    >>> found.correlations[["column", "other", "n_observed"]]
      column other  n_observed
    0     x0    x1          40
    """
    table = comparable_table(imputer, X, "impute")
    x, seen = table.x, ~np.isnan(table.x)
    if seen.all():
        raise ValueError(
            "X has no hole in a column that the imputer models and that holds two different "
            "values: there is nothing to compare. Give rows with holes."
        )
    tables = imputer.impute(X, n_imputations, random_state=random_state)
    completed = np.stack([table.read(made) for made in tables])  # (M, N, D)
    distributions = [
        {"column": table.names[d], "kind": table.kinds[d], **line}
        for d in np.flatnonzero(~seen.all(0))
        for line in _compared(
            x[seen[:, d], d], completed[:, ~seen[:, d], d], table.codecs[d].categories
        )
    ]
    joint = _sums(table, x, seen)
    whole_table = np.sum([_sums(table, one, np.ones_like(seen)) for one in completed], axis=0)
    found = {
        "observed": _correlations(joint),
        "imputed": _correlations(whole_table - len(completed) * joint),
        "completed": _correlations(whole_table),
    }
    correlations = [
        {
            "column": table.names[a],
            "other": table.names[b],
            "n_observed": int((seen[:, a] & seen[:, b]).sum()),
            **{part: matrix[a, b] for part, matrix in found.items()},
        }
        for a, b in table.pairs()
        if not seen[:, [a, b]].all()
    ]
    columns = ["column", "other", "n_observed", *found]
    return ImputedComparison(
        pd.DataFrame(distributions), pd.DataFrame(correlations, columns=columns)
    )


def _statistics(table: ComparableTable, x: Floats) -> dict[tuple[str, Any, Any], float]:
    """Return statistics of the cells that the table has: their names, columns, and what of."""
    seen, found = ~np.isnan(table.x), {}
    for d, (name, one) in enumerate(zip(table.names, table.codecs, strict=True)):
        cells = x[seen[:, d], d]
        for code, level in enumerate(one.categories):
            found["share", name, level] = float((cells == code).mean())
        if not one.categories:
            found["mean", name, None] = float(cells.mean())
            found["std", name, None] = float(cells.std())
            for q in (0.05, 0.95):
                found[f"{q:.0%}", name, None] = float(np.quantile(cells, q))
    correlations = _correlations(_sums(table, x, seen))
    for a, b in table.pairs():
        found["correlation", table.names[a], table.names[b]] = float(correlations[a, b])
    return found


def _sums(table: ComparableTable, x: Floats, seen: Mask) -> Floats:
    """Return what correlations are made of: sums over rows in which both columns are seen.

    They are those of 1, x, y, x^2, y^2 and x y: (N, D) -> (6, D, D).
    """
    z = np.where(seen, (x - np.nanmean(table.x, 0)) / np.nanstd(table.x, 0), 0.0)
    o = seen.astype(float)
    return np.stack([o.T @ o, z.T @ o, o.T @ z, (z**2).T @ o, o.T @ z**2, z.T @ z])


def _correlations(sums: Floats) -> Floats:
    """Return correlations, NaN where a column is constant: (6, D, D) -> (D, D)."""
    x, y, xx, yy, xy = sums[1:] / np.maximum(sums[0], 1)
    variances = (xx - x**2) * (yy - y**2)
    told = (sums[0] >= _FEW) & (variances > _FLAT)
    return np.where(told, xy - x * y, np.nan) / np.sqrt(np.where(told, variances, 1.0))


def _compared(known: Floats, made: Floats, levels: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield a line, or one per level, on observed cells (n,) and imputed ones (M, n_missing)."""
    n_missing, made = made.shape[1], made.ravel()
    parts: list[tuple[Any, Any, Any]] = [(None, known, made)]
    if levels:
        parts = [(level, known == code, made == code) for code, level in enumerate(levels)]
        distance = 1 - sum(min(a.mean(), b.mean()) for _, a, b in parts)
    else:
        distance = ks_2samp(known, made, method="asymp").statistic
    for level, a, b in parts:
        yield {
            "level": level,
            "n_observed": len(known),
            "n_missing": n_missing,
            "mean_observed": a.mean(),
            "mean_imputed": b.mean(),
            "std_observed": a.std(),
            "std_imputed": b.std(),
            "difference": (b.mean() - a.mean()) / a.std(),
            "ratio": b.std() / a.std(),
            "distance": distance,
        }
