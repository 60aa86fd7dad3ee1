"""Checks of fitted models: simulated tables, and imputed cells, against observed cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.utils import check_random_state

from .._utils.html import html_table
from .._utils.validation import check_minimum
from .evaluated_columns import EvaluatedColumns, Floats, evaluated_columns

_MIN_ROWS = 3  # fewer rows have correlations of 1 or -1


def posterior_predictive_check(
    imputer: Any, X: Any, *, n_replicates: int = 50, random_state: Any = None
) -> pd.DataFrame:
    r"""Compare statistics of a table with those of tables sampled from the fitted model.

    Replicates with as many rows as X are drawn by ``sample``; cells that are missing in ``X`` are
    removed from them. A small two-sided p-value of a statistic :math:`T`,

    .. math:: p = 2 \min\{\Pr(T_{rep} \geq T), \Pr(T_{rep} \leq T)\},

    means that the model does not reproduce it.

    Parameters
    ----------
    imputer : estimator of this package
        Fitted estimator.
    X : data frame or array-like of shape (n_samples, n_features)
        The table that the imputer was fitted to, or other rows.
    n_replicates : int, default=50
        Number of replicates.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    DataFrame
        A line per ``statistic``. For each numeric ``column`` these are "mean", "std", "5%" and
        "95%" (quantiles); for other columns the "share" of each category, which is in ``other``;
        and for each pair of numeric columns the "correlation", over rows in which both are
        observed, with the second column in ``other``. The value in X is in ``observed``, the mean
        over replicates in ``replicated``, their quantiles in ``5%`` and ``95%``, and the p-value
        in ``p_value``; it is at least 2 / (n_replicates + 1). Columns of dates, columns that are
        not modelled and constant columns are left out.

    Raises
    ------
    ValueError
        If ``n_replicates`` is out of range, or X has no column to evaluate.
    TypeError
        If the imputer has no ``sample``.

    See Also
    --------
    overimputation_report : Compare predictions of hidden cells with their true values.

    Notes
    -----
    Cells are removed from replicates independently of their values. If missingness in X depends on
    values, the observed cells are a selected sample, and replicated and observed columns differ
    even if the model is right.

    The p-values are not significance levels. The model was fitted to X, so that p-values of a right
    model are closer to 1 than uniform ones [1]_, and the uncertainty of its parameters is ignored.
    There is one p-value for each of many statistics; some are small by chance.

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
    columns = evaluated_columns(imputer, X, "sample")
    seeds = check_random_state(random_state).randint(2**31 - 1, size=n_replicates).tolist()
    samples = (imputer.sample(len(columns.x), random_state=seed) for seed in seeds)
    statistics = _statistics(columns, columns.x)
    observed = np.array(list(statistics.values()))
    replicated = np.array(
        [list(_statistics(columns, columns.encode_sample(sample)).values()) for sample in samples]
    )
    replicated = np.nan_to_num(replicated)  # a constant column of a replicate has no correlation
    n_extreme = np.minimum((replicated >= observed).sum(0), (replicated <= observed).sum(0))
    check = pd.DataFrame(list(statistics), columns=["statistic", "column", "other"])
    check["observed"], check["replicated"] = observed, replicated.mean(0)
    check["5%"], check["95%"] = np.quantile(replicated, (0.05, 0.95), axis=0)
    check["p_value"] = np.minimum(2 * (1 + n_extreme) / (1 + n_replicates), 1.0)
    return check.dropna(subset="observed", ignore_index=True)


class ImputedComparison(NamedTuple):
    """Comparison of imputed cells with observed ones, returned by :func:`compare_imputed`.

    Parameters
    ----------
    distributions : DataFrame
        A line per numeric column with missing cells, and a line per ``category`` of other columns,
        whose means are shares: ``n_observed``, ``n_missing``, ``mean_observed``,
        ``mean_imputed``, ``std_observed`` and ``std_imputed``; the ``difference`` of the means in
        standard deviations of the observed cells; the ``ratio`` of the standard deviations,
        imputed to observed; and the ``distance`` of the distributions, from 0 to 1: the
        Kolmogorov-Smirnov statistic for numbers, and the total variation distance for categories,
        which is repeated for all categories of a column.
    correlations : DataFrame
        A line per pair of numeric columns, ``column`` and ``other``, with missing cells:
        ``n_observed``, the number of rows in which both are observed, and the correlation in these
        rows (``observed``), in the other rows (``imputed``), and in all rows (``completed``).
    """

    distributions: pd.DataFrame
    correlations: pd.DataFrame

    def _repr_html_(self) -> str:
        tables = [html_table(frame, name) for name, frame in self._asdict().items()]
        return "\n".join(tables)


def compare_imputed(
    imputer: Any, X: Any, *, n_imputations: int = 5, random_state: Any = None
) -> ImputedComparison:
    """Compare imputed cells with observed ones.

    A difference is not an error in itself: if missingness depends on observed values, imputed cells
    should differ from observed ones accordingly. Look at the columns with the largest differences,
    and at correlations: if those of imputed cells are closer to zero than those of observed cells,
    the model has not learned them.

    Parameters
    ----------
    imputer : imputer of this package
        Fitted imputer.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows, with missing cells.
    n_imputations : int, default=5
        Number of imputations, which are combined.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws; None uses the ``random_state`` of the imputer.

    Returns
    -------
    ImputedComparison
        The data frames ``distributions`` and ``correlations``. Columns of dates, columns that are
        not modelled and constant columns are left out.

    Raises
    ------
    ValueError
        If ``n_imputations`` is out of range, or X has no missing cell in a column to evaluate.
    TypeError
        If the imputer has no ``impute``.

    See Also
    --------
    overimputation_report : Compare predictions of hidden cells with their true values.

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
    >>> comparison = compare_imputed(imputer, X, random_state=0)
    >>> comparison.distributions[["column", "kind", "n_observed", "n_missing"]]
      column        kind  n_observed  n_missing
    0     x1  continuous          40         20
    >>> comparison.correlations[["column", "other", "n_observed"]]
      column other  n_observed
    0     x0    x1          40
    """
    columns = evaluated_columns(imputer, X, "impute")
    x, observed = columns.x, ~np.isnan(columns.x)
    if observed.all():
        raise ValueError(
            "X has no missing cell in a modelled column with two different values, so that there "
            "are no imputations to compare. Pass rows with missing cells."
        )
    tables = imputer.impute(X, n_imputations, random_state=random_state)
    completed = np.stack([columns.encode_output(table) for table in tables])  # (M, N, D)
    distributions = [
        {"column": columns.names[d], "kind": columns.kinds[d], **line}
        for d in np.flatnonzero(~observed.all(0))
        for line in _compare_column(
            x[observed[:, d], d], completed[:, ~observed[:, d], d], columns.codecs[d].categories
        )
    ]
    correlations = []
    for a, b in columns.numeric_pairs():
        both, pair = observed[:, [a, b]].all(1), completed[:, :, [a, b]]
        if not both.all():
            parts = pair[0, both], pair[:, ~both].reshape(-1, 2), pair.reshape(-1, 2)
            values = [_correlations(cells)[0, 1] for cells in parts]
            correlations.append((columns.names[a], columns.names[b], int(both.sum()), *values))
    names = ["column", "other", "n_observed", "observed", "imputed", "completed"]
    return ImputedComparison(pd.DataFrame(distributions), pd.DataFrame(correlations, columns=names))


def _statistics(columns: EvaluatedColumns, x: Floats) -> dict[tuple[str, Any, Any], float]:
    """Return statistics of x over the observed cells of the table, by statistic and columns."""
    observed = ~np.isnan(columns.x)
    statistics: dict[tuple[str, Any, Any], float] = {}
    for d, (name, codec) in enumerate(zip(columns.names, columns.codecs, strict=True)):
        cells = x[observed[:, d], d]
        for code, category in enumerate(codec.categories):
            statistics["share", name, category] = float((cells == code).mean())
        if not codec.categories:
            statistics["mean", name, None] = float(cells.mean())
            statistics["std", name, None] = float(cells.std())
            for q in (0.05, 0.95):
                statistics[f"{q:.0%}", name, None] = float(np.quantile(cells, q))
    correlations = _correlations(np.where(observed, x, np.nan))
    for a, b in columns.numeric_pairs():
        statistics["correlation", columns.names[a], columns.names[b]] = float(correlations[a, b])
    return statistics


def _correlations(x: Floats) -> Floats:
    """Return correlations over rows without NaN in both columns: (N, D) -> (D, D).

    NaN where a column is constant, or there are too few rows.
    """
    return pd.DataFrame(x).corr(min_periods=_MIN_ROWS).to_numpy()


def _compare_column(
    observed: Floats, imputed: Floats, categories: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """Yield a line, or one per category, for observed (n,) and imputed (M, n_missing) cells."""
    n_missing, imputed = imputed.shape[1], imputed.ravel()
    samples: list[tuple[Any, Any, Any]] = [(None, observed, imputed)]
    if categories:
        samples = [
            (category, observed == code, imputed == code)
            for code, category in enumerate(categories)
        ]
        distance = 1 - sum(min(a.mean(), b.mean()) for _, a, b in samples)
    else:
        distance = ks_2samp(observed, imputed, method="asymp").statistic
    for category, a, b in samples:
        yield {
            "category": category,
            "n_observed": len(observed),
            "n_missing": n_missing,
            "mean_observed": a.mean(),
            "mean_imputed": b.mean(),
            "std_observed": a.std(),
            "std_imputed": b.std(),
            "difference": (b.mean() - a.mean()) / a.std(),
            "ratio": b.std() / a.std(),
            "distance": distance,
        }
