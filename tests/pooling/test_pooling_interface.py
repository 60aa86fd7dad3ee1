"""Pooling by Rubin's rules: names, printing, models and errors."""

import numpy as np
import pandas as pd
import pytest
from analyses import INF, NAMES, analyses, variances_of
from numpy.testing import assert_allclose
from scipy import stats

from skmissvae.pooling import (
    pool,
    pool_likelihood_ratio,
    pool_models,
    pool_nested_models,
    pool_wald,
)

# ---- names and shapes


def test_types_of_results():
    q, u = analyses()
    names = ["qbar", "ubar", "b", "t", "riv", "lambda_", "df", "fmi"]
    single, several = pool(q[:, 0], u[:, 0, 0]), pool(q, u)
    named = pool(pd.DataFrame(q, columns=NAMES), u)
    for name in names:
        assert type(getattr(single, name)) is float
        assert getattr(several, name).shape == (3,)
        assert isinstance(getattr(several, name), np.ndarray)
        assert list(getattr(named, name).index) == NAMES
    for pooled, kind in [(single, float), (several, np.ndarray), (named, pd.Series)]:
        assert isinstance(pooled.p_value(), kind)
        assert all(isinstance(limit, kind) for limit in pooled.interval())
    assert list(named.ubar_cov.columns) == list(named.t_cov.index) == NAMES
    assert isinstance(several.t_cov, np.ndarray)
    assert single.ubar_cov is None


def test_estimates_and_variances_are_matched_by_names():
    q, u = analyses()
    order = ["c", "b", "a"]
    expected = pool(q, u).to_frame().to_numpy()
    estimates, variances = (pd.DataFrame(x, columns=NAMES) for x in (q, variances_of(u)))
    covariances = [pd.DataFrame(x, NAMES, NAMES) for x in u]
    rows = [row for _, row in estimates.iterrows()]
    named = [
        variances,
        [row for _, row in variances.iterrows()],
        covariances,
        [covariances[0], *(x.loc[order, order[::-1]] for x in covariances[1:])],
    ]
    shuffled = [variances[order], [x.loc[order, NAMES] for x in covariances]]
    for x in [estimates, rows, [rows[0], *(row[order] for row in rows[1:])], q]:
        for y in [*named, *([u, list(u), variances_of(u), *shuffled] if x is not q else [])]:
            pooled = pool(x, y)
            assert list(pooled.qbar.index) == NAMES
            assert_allclose(pooled.to_frame(), expected)


def test_series_and_lists_of_one_quantity():
    q, u = [1.0, 2.0, 4.0], [0.1, 0.2, 0.3]
    expected = pool(np.array(q), np.array(u)).to_frame()
    pd.testing.assert_frame_equal(pool(tuple(q), pd.Series(u)).to_frame(), expected)
    pd.testing.assert_frame_equal(pool(pd.Series(q, [7, 8, 9]), u).to_frame(), expected)


def test_columns_and_null_values_are_matched_by_names():
    q, u = analyses()
    plain, named = pool(q, u, dfcom=30), pool(pd.DataFrame(q, columns=NAMES), u, dfcom=30)
    null = pd.Series([3.0, 1.0], ["c", "b"])
    assert_allclose(named.test(null, ["b", "c"]), plain.test([1.0, 3.0], [0, 2]))
    assert_allclose(named.test(columns="c"), plain.test(columns=2))
    assert_allclose(named.test(2.0), plain.test([2.0] * 3))
    null = pd.Series([1.0, 2.0, 3.0], ["a", "b", "c"])
    assert_allclose(named.p_value(null), plain.p_value([2.0, 1.0, 3.0]))


# ---- printing


def test_repr_is_a_table():
    q, u = analyses()
    pooled = pool(pd.DataFrame(q, columns=NAMES), u, dfcom=20)
    header, *rows, caption = repr(pooled).splitlines()
    columns = ["estimate", "std_error", "low", "high", "statistic", "df", "p_value"]
    assert header.split() == [*columns, "riv", "lambda", "fmi"] == list(pooled.to_frame())
    assert [row.split()[0] for row in rows] == NAMES
    assert rows[0].split()[1] == f"{pooled.qbar['b']:.4g}"
    assert caption == "Pooled over 5 imputations, dfcom = 20"
    html = pooled._repr_html_()
    assert html.count("<tr") == 4
    assert html.endswith("<p>Pooled over 5 imputations, dfcom = 20</p>")
    assert repr(pool([1, 2], [1, 1])).endswith("dfcom = inf")
    assert len(repr(pool([1, 2], [1, 1])).splitlines()[1].split()) == 10


def test_the_table_has_intervals_of_any_level():
    q, u = analyses()
    pooled = pool(q, u)
    frame = pooled.to_frame(0.8)
    assert_allclose([frame["low"], frame["high"]], pooled.interval(0.8))
    assert_allclose(frame["p_value"], 2 * stats.t.sf(np.abs(frame["statistic"]), frame["df"]))


def test_pooled_tests_print_and_unpack():
    test = pool_wald([5.8, 7.2, 6.1, 8.5], 3)
    assert repr(test) == "F(3, 342.2) = 2.054, p = 0.1061, riv = 0.06611"
    statistic, df1, df2, p_value, _ = test
    assert p_value == pytest.approx(stats.f.sf(statistic, df1, df2))
    assert all(type(number) is float for number in test)


def test_results_are_immutable():
    with pytest.raises(AttributeError):
        pool([1, 2], [1, 1]).qbar = 0


# ---- models


class Fitted:
    """A model with the attributes of statsmodels."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def fitted(kind, *, named=True, df_resid=(30.0, 29.0, 30.0, 30.0, 30.0)):
    q, u = analyses()
    for x, y, df in zip(q, u, df_resid, strict=True):
        params = pd.Series(x, NAMES) if named else x
        cov = pd.DataFrame(y, NAMES, NAMES) if named else y
        errors = {
            "bse": {"bse": np.sqrt(np.diagonal(cov)) + 0 * params},
            "cov_params": {"cov_params": lambda cov=cov: cov},
        }[kind]
        yield Fitted(params=params, **errors, **({} if df is None else {"df_resid": df}))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", ["bse", "cov_params"])
def test_models_are_pooled_by_their_attributes(kind, named):
    q, u = analyses()
    expected = pool(q, u if kind == "cov_params" else variances_of(u), dfcom=29)
    for models in [fitted(kind, named=named), list(fitted(kind, named=named))]:
        pooled = pool_models(models)
        assert pooled.dfcom == 29
        assert_allclose(pooled.to_frame(), expected.to_frame())
        assert isinstance(pooled.qbar, pd.Series) is named
        if kind == "cov_params":
            columns = ["b", "a"] if named else [0, 1]
            assert_allclose(pooled.test(columns=columns), expected.test(columns=[0, 1]))


def test_dfcom_of_models_is_the_smallest_df_resid():
    assert pool_models(fitted("bse"), dfcom=7).dfcom == 7
    assert pool_models(fitted("bse"), dfcom=INF).dfcom == INF
    assert pool_models(fitted("bse", df_resid=[None] * 5)).dfcom == INF


def survival_models(library):
    """Yield survival models with the attributes of a library, of 40 events."""
    events = np.repeat([1, 0], [40, 60])
    for x, y in zip(*analyses(), strict=True):
        if library == "lifelines":
            params, cov = pd.Series(x, NAMES), pd.DataFrame(y, NAMES, NAMES)
            yield Fitted(params_=params, variance_matrix_=cov, event_observed=events)
        else:
            inner = Fitted(status=events, exog_names=NAMES)
            yield Fitted(params=x, cov_params=lambda y=y: y, df_resid=97.0, model=inner)


@pytest.mark.parametrize("library", ["statsmodels", "lifelines"])
def test_survival_models_have_names_and_events_as_degrees_of_freedom(library):
    pooled = pool_models(survival_models(library))
    assert pooled.dfcom == 40 - len(NAMES)
    assert pooled.qbar.index.tolist() == list(NAMES)
    expected = pool_models(fitted("cov_params"), dfcom=40 - len(NAMES))
    assert_allclose(pooled.to_frame(), expected.to_frame())
    assert_allclose(pooled.test(columns=["b", "a"]), expected.test(columns=["b", "a"]))
    assert pool_models(survival_models(library), dfcom=INF).dfcom == INF


def test_models_are_pooled_by_functions():
    tables = [np.random.default_rng(seed).normal(size=50) for seed in range(4)]
    pooled = pool_models(
        iter(tables), estimates=np.mean, variances=lambda x: x.var(ddof=1) / 50, dfcom=49
    )
    expected = pool([x.mean() for x in tables], [x.var(ddof=1) / 50 for x in tables], dfcom=49)
    pd.testing.assert_frame_equal(pooled.to_frame(), expected.to_frame())
    pooled = pool_models(
        fitted("cov_params"),
        estimates=lambda model: model.params["a"],
        variances=lambda model: model.cov_params().loc["a", "a"],
    )
    expected = pool_models(fitted("bse")).to_frame().loc["a"]
    assert_allclose(pooled.to_frame().to_numpy()[0], expected)


def regression(table, columns, weights=None):
    """Return a linear regression with the attributes of statsmodels, and its parameters."""
    w = np.ones(len(table)) if weights is None else weights
    design, y = table[:, [0, *columns]] * np.sqrt(w)[:, None], table[:, -1] * np.sqrt(w)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    variance = np.mean((y - design @ beta) ** 2)
    rows = {"endog": table[:, -1], "exog": table[:, [0, *columns]]}
    inner = Fitted(wexog=design, wendog=y, weights=w, loglike=None, **rows)
    llf = log_density(table, columns, beta, variance, w)
    df_resid = float(len(table) - len(beta))
    model = Fitted(params=beta, llf=llf, df_resid=df_resid, model=inner, scale=7.0)
    return model, (beta, variance)


def log_density(table, columns, beta, variance, w):
    """Return the log-density of a table given coefficients and residual variance."""
    mean = table[:, [0, *columns]] @ beta
    return stats.norm.logpdf(table[:, -1], mean, np.sqrt(variance / w)).sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_nested_regressions_are_compared_at_pooled_coefficients_and_variance(weighted):
    rng = np.random.default_rng(0)
    w = rng.uniform(1, 3, 40) if weighted else np.ones(40)
    first = np.column_stack([np.ones(40), rng.normal(size=(40, 3))])
    tables = [first + 0.4 * rng.normal(size=first.shape) * [0, 1, 1, 1] for _ in range(4)]
    choices = [1, 2], [2]
    fits = [[regression(t, c, w) for t in tables] for c in choices]
    pooled = [
        [np.mean(part, axis=0) for part in zip(*(own for _, own in f), strict=True)] for f in fits
    ]
    statistics, at_pooled = np.zeros(4), np.zeros(4)
    for sign, columns, f, parameters in zip((2, -2), choices, fits, pooled, strict=True):
        for i, (t, (_, own)) in enumerate(zip(tables, f, strict=True)):
            statistics[i] += sign * log_density(t, columns, *own, w)
            at_pooled[i] += sign * log_density(t, columns, *parameters, w)
    expected = pool_likelihood_ratio(statistics, at_pooled, 1, dfcom=37)
    larger, smaller = ([model for model, _ in f] for f in fits)
    test = pool_nested_models(iter(larger), iter(smaller))
    assert_allclose(test, expected, rtol=1e-10)
    assert test.riv > 0
    assert pool_nested_models(larger, smaller, dfcom=INF).df2 > test.df2
    with pytest.raises(ValueError, match="not a linear function of those of models"):
        pool_nested_models(smaller, [regression(t, [1], w)[0] for t in tables])
    others = [regression(t[:30], [2], w[:30])[0] for t in tables]
    with pytest.raises(ValueError, match="the same rows; got 40 and 30 rows"):
        pool_nested_models(larger, others)
    doubled = [np.insert(t, 1, 2 * t[:, 2], axis=1) for t in tables]
    with pytest.raises(ValueError, match="the 4 columns have rank 3"):
        pool_nested_models([regression(t, [1, 2, 3], w)[0] for t in doubled], smaller)
    for i, (a, b) in enumerate(zip(larger, smaller, strict=True)):
        a.params, b.params = pd.Series(a.params, ["c", "x", "y"]), pd.Series(b.params, ["c", "y"])
        assert pool_nested_models(larger[: i + 1] * 2, smaller[: i + 1] * 2).df1 == 1
    larger[1].params.index = ["c", "z", "y"]
    with pytest.raises(ValueError, match=r"'x', 'y' and 'c', 'z', 'y'\. Give all tables"):
        pool_nested_models(larger, smaller)


def poisson(counts, params, **attributes):
    """Return a Poisson model with the attributes of statsmodels; params is the log-rate."""

    def loglike(p):
        return stats.poisson.logpmf(counts, np.exp(np.sum(p))).sum()

    defaults = {"params": np.array(params), "llf": loglike(params)}
    return Fitted(**defaults | attributes, model=Fitted(loglike=loglike))


def test_nested_models_are_compared_by_their_likelihoods():
    tables = [np.random.default_rng(seed).poisson(1.2, 50) for seed in range(5)]
    rates = [[np.log(t.mean())] for t in tables]
    larger = [poisson(t, rate) for t, rate in zip(tables, rates, strict=True)]
    smaller = [poisson(t, []) for t in tables]
    ratios = [2 * (a.llf - b.llf) for a, b in zip(larger, smaller, strict=True)]
    pooled = [2 * (poisson(t, [np.mean(rates)]).llf - poisson(t, []).llf) for t in tables]
    expected = pool_likelihood_ratio(ratios, pooled, 1)
    assert_allclose(pool_nested_models(larger, smaller), expected)
    with pytest.raises(ValueError, match="special cases of models; they have 1 parameters"):
        pool_nested_models(smaller, larger)
    with pytest.raises(ValueError, match="likelihood ratios from -"):
        pool_nested_models([poisson(t, [3.0]) for t in tables], smaller)
    with pytest.raises(ValueError, match="two or more tables; got 5 and 4"):
        pool_nested_models(larger, smaller[1:])
    with pytest.raises(ValueError, match="null_models must have the same parameters"):
        pool_nested_models(larger, [larger[0], *smaller[1:]])
    with pytest.raises(TypeError, match="type Fitted without"):
        pool_nested_models(larger, [Fitted(params=[])] * 5)
    with pytest.raises(TypeError, match=r"no maximum-likelihood estimate \(2\.5\)"):
        pool_nested_models([poisson(t, [0.1], scale=2.5) for t in tables], smaller)
    with pytest.raises(TypeError, match="further parameters, weights or links"):
        pool_nested_models([poisson(t, [0.1], llf=3.0) for t in tables], smaller)


# ---- errors


def bad(array, at, value):
    array = np.array(array, dtype=float)
    array[at] = value
    return array


Q, U = analyses()
V = variances_of(U)
FRAME = pd.DataFrame(Q, columns=NAMES)


@pytest.mark.parametrize(
    ("estimates", "variances", "message"),
    [
        ([1.0], [1.0], r"estimates must come from two or more imputations; got 1"),
        ([], [], r"estimates must come from two or more imputations; got 0"),
        (3.0, 1.0, r"estimates must have shape \(m,\) or \(m, p\).*got shape \(\)"),
        (np.ones((3, 0)), np.ones((3, 0)), r"estimates must have shape .*got shape \(3, 0\)"),
        (U, U, r"estimates must have shape .*got shape \(5, 3, 3\)"),
        (Q[:, 0], V, r"variances must have shape \(5,\) for .*got \(5, 3\)"),
        (Q, V[:4], r"variances must have shape \(5, 3\) or \(5, 3, 3\) for .*got \(4, 3\)"),
        (Q, U[:, :2], r"variances must have shape .*got \(5, 2, 3\)"),
        (bad(Q, (2, 1), np.nan), V, r"estimates must be finite; got nan in imputation 2"),
        (Q, bad(V, (0, 1), np.inf), r"variances must be finite; got inf in imputation 0"),
        (Q, bad(U, (4, 1, 0), np.nan), r"variances must be finite; got nan in imputation 4"),
        (Q, bad(V, (0, 1), -2), r"variances must be 0 or more; got -2.0.* squared standard errors"),
        (Q, bad(U, (0, 1, 1), -2), r"variances must be 0 or more; got -2.0"),
        (Q, bad(U, (0, 1, 0), 9), r"variances of shape \(5, 3, 3\) must be symmetric"),
        (
            FRAME,
            FRAME.rename(columns={"a": "z"}),
            r"variances must have the same unique names .*'z'.* and .*'a'",
        ),
        (FRAME.set_axis(["a", "a", "b"], axis=1), V, r"estimates must have the same unique names"),
        (
            [FRAME.loc[0], FRAME.loc[1, ["a", "b"]]],
            V[:2],
            r"estimates must have the same unique names",
        ),
    ],
)
def test_invalid_estimates_and_variances_are_rejected(estimates, variances, message):
    with pytest.raises(ValueError, match=message):
        pool(estimates, variances)


def test_arguments_must_be_numeric():
    with pytest.raises(TypeError, match="estimates must be numbers"):
        pool(["a", "b"], [1, 1])
    with pytest.raises(
        TypeError, match="variances must be numbers, equally many in every imputation"
    ):
        pool([1, 2], [[1, 1], [1]])
    with pytest.raises(TypeError, match="statistics must be numbers"):
        pool_wald("ab", 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda dfcom: pool([1, 2], [1, 1], dfcom=dfcom),
        lambda dfcom: pool_wald([1, 2], 1, dfcom=dfcom),
        lambda dfcom: pool_likelihood_ratio([1, 2], [1, 2], 1, dfcom=dfcom),
        lambda dfcom: pool_models(fitted("bse"), dfcom=dfcom),
    ],
)
def test_invalid_dfcom_is_rejected(call):
    for dfcom in [0, -3, np.nan]:
        with pytest.raises(ValueError, match=f"dfcom must be above 0, and infinite.*got {dfcom}"):
            call(dfcom)
    with pytest.raises(TypeError, match="dfcom must be a number; got 'many'"):
        call("many")


def test_level_must_be_a_probability():
    for level in [0, 1, 95, np.nan]:
        with pytest.raises(ValueError, match=f"level must be above 0 and below 1.*got {level}"):
            pool([1, 2], [1, 1]).interval(level)
        with pytest.raises(ValueError, match="level"):
            pool([1, 2], [1, 1]).to_frame(level)


def test_invalid_tests_are_rejected():
    with pytest.raises(ValueError, match="A test of 3 quantities needs their covariances"):
        pool(Q, V).test()
    pooled, named = pool(Q, U), pool(FRAME, U)
    for columns in [3, [0, -1], [], "a"]:
        with pytest.raises(ValueError, match=r"columns must be some of \[0, 1, 2\]; got"):
            pooled.test(columns=columns)
    with pytest.raises(ValueError, match=r"columns must be some of \['b', 'a', 'c'\]; got \['z'\]"):
        named.test(columns="z")
    for null in [[1.0, 2.0], np.ones((3, 1))]:
        with pytest.raises(ValueError, match="null must be one number, or one for each of"):
            pooled.test(null)
        with pytest.raises(ValueError, match="null must be one number"):
            pooled.p_value(null)
    with pytest.raises(ValueError, match="null must have the same unique names"):
        named.p_value(pd.Series([1.0, 2.0, 3.0], ["a", "b", "z"]))
    for columns in [[0, 0], [0, 3]]:
        doubled = pool(np.column_stack([Q, Q[:, 0]]), U[:, [0, 1, 2, 0]][:, :, [0, 1, 2, 0]])
        with pytest.raises(ValueError, match="covariances of the tested quantities are singular"):
            doubled.test(columns=columns)
    with pytest.raises(ValueError, match="singular"):
        pool([1, 2], [0, 0]).test()


def test_long_lists_of_names_are_cut():
    names = [f"x{i}" for i in range(100)]
    q = pd.DataFrame(np.tile(np.arange(100.0), (2, 1)), columns=names)
    pooled, cut = pool(q, np.ones(q.shape)), r"'x8', 'x9', \.\.\. and 90 more\]"
    with pytest.raises(ValueError, match=cut + r"; got \['z'\]"):
        pooled.test(columns="z")
    with pytest.raises(ValueError, match=r"got \['z0', .*, 'z9', \.\.\. and 90 more\]"):
        pooled.test(columns=[f"z{i}" for i in range(100)])
    with pytest.raises(ValueError, match=f"got .*'z', 'x1', .*{cut} and .*{cut}. Rename them"):
        pool(q, q.rename(columns={"x0": "z"}))
    with pytest.raises(ValueError, match=f"one for each of .*{cut}; got shape"):
        pooled.p_value([1.0, 2.0])


def test_invalid_statistics_are_rejected():
    for pooled in [pool_wald, lambda d, k: pool_likelihood_ratio(d, [1, 2], k)]:
        for d in [[1.0], 2.0, [[1.0, 2.0]]]:
            with pytest.raises(ValueError, match=r"statistics must have shape \(m,\) for two or"):
                pooled(d, 1)
        with pytest.raises(ValueError, match="statistics must be finite; got nan in imputation 1"):
            pooled([1, np.nan], 1)
        with pytest.raises(ValueError, match=r"statistics must be 0 or more; got -1\.0"):
            pooled([2, -1], 1)
        for k in [0, -1, np.inf, np.nan]:
            with pytest.raises(ValueError, match=f"df must be above 0, and finite; got {k}"):
                pooled([1, 2], k)
        with pytest.raises(TypeError, match="df must be a number; got None"):
            pooled([1, 2], None)
    with pytest.raises(ValueError, match="at_pooled must have one number for each of the 3"):
        pool_likelihood_ratio([1, 2, 3], [1, 2], 1)
    with pytest.raises(ValueError, match="at_pooled must be finite"):
        pool_likelihood_ratio([1, 2], [1, np.inf], 1)


def test_invalid_models_are_rejected():
    with pytest.raises(TypeError, match=r"models must have params, .* type object without"):
        pool_models([object(), object()])
    with pytest.raises(TypeError, match="models must have params, and cov_params"):
        pool_models([Fitted(params=[1.0]), Fitted(params=[1.0])])
    for functions in [{"estimates": np.mean}, {"variances": np.var}]:
        with pytest.raises(ValueError, match="estimates and variances must be passed together"):
            pool_models([[1, 2], [2, 3]], **functions)
    with pytest.raises(ValueError, match="two or more imputations; got 0"):
        pool_models([])
