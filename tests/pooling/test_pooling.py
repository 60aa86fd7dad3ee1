"""Pooling by Rubin's rules: published results and laws."""

import numpy as np
import pytest
from analyses import INF, analyses, variances_of
from numpy.testing import assert_allclose
from scipy import stats

from skmissvae.pooling import PooledEstimates, pool, pool_likelihood_ratio, pool_wald


def with_moments(m, k, statistic, riv):
    """Return estimates and unit covariances with a given D1 statistic and riv."""
    z = np.arange(m) - (m - 1) / 2
    q = np.full((m, k), np.sqrt(statistic * (1 + riv)))
    q[:, 0] += z * np.sqrt(riv * k / (1 + 1 / m) / z.var(ddof=1))
    return q, np.broadcast_to(np.eye(k), (m, k, k))


# ---- worked examples with published results


def test_nhanes_means_equal_the_manual_of_mice():
    # R package mice 3.10.3, example of ?pool.scalar (docs/reference/pool.scalar.html)
    q = [26.816, 26.184, 26.692, 27.076, 26.528]
    u = [0.7888227, 0.5449227, 0.7764973, 0.6764760, 0.5379173]
    pooled = pool(q, u, dfcom=24)
    assert pooled.m == 5
    assert pooled.qbar == pytest.approx(26.6592, abs=5e-5)
    assert pooled.ubar == pytest.approx(0.6649272, abs=5e-8)
    assert pooled.b == pytest.approx(0.1106032, abs=5e-8)
    assert pooled.t == pytest.approx(0.797651, abs=5e-7)
    assert pooled.df == pytest.approx(16.41929, abs=5e-6)
    assert pooled.riv == pytest.approx(0.1996066, abs=1e-7)
    assert pooled.fmi == pytest.approx(0.2522468, abs=1e-7)


def test_difference_of_means_equals_a_book_on_missing_data():
    # Heymans and Eekhout, Applied Missing Data Analysis with SPSS and (R)Studio (2019),
    # chapters 9 and 10 (mwheymans/bookmi, 09-Background.Rmd): results of SPSS and R
    q, se = [2.174, 1.965, 1.774], np.array([0.896, 0.882, 0.898])
    large, small = pool(q, se**2), pool(q, se**2, dfcom=148)
    assert small.qbar == pytest.approx(1.971)
    assert small.ubar == pytest.approx(0.7957147, abs=5e-8)
    assert small.b == pytest.approx(0.040027)
    assert small.t == pytest.approx(0.849084, abs=5e-7)
    assert np.sqrt(small.t) == pytest.approx(0.9214575, abs=2e-7)
    # the book computed the following from unrounded estimates
    assert small.lambda_ == pytest.approx(0.06283485, rel=1e-3)
    assert small.riv == pytest.approx(0.06704779, rel=1e-3)
    assert large.df == pytest.approx(506.5576, rel=1e-3)
    assert small.df == pytest.approx(107.7509, rel=1e-3)
    assert large.fmi == pytest.approx(0.0665132, rel=1e-3)
    assert small.fmi == pytest.approx(0.0797587, rel=1e-3)
    assert large.p_value() == pytest.approx(0.03289185, rel=1e-3)
    assert small.p_value() == pytest.approx(0.03467225, rel=1e-3)


def test_coefficient_equals_a_book_on_missing_data():
    # chapter 12 of the same book, with b computed about a mean rounded to three digits
    pooled = pool([-0.090, -0.061, -0.051], np.square([0.039, 0.040, 0.039]))
    assert pooled.b == pytest.approx(0.0004105, abs=2e-7)
    assert pooled.ubar == pytest.approx(0.001547333, abs=5e-10)
    assert pooled.t == pytest.approx(0.002094666, abs=3e-7)
    assert pooled.lambda_ == pytest.approx(0.2612986, abs=2e-4)
    assert pooled.df == pytest.approx(29.29246, abs=0.03)


@pytest.mark.parametrize(
    ("between", "within", "total", "df", "riv", "fmi"),
    [
        (45.529229, 76.543614, 131.178689, 9.1917, 0.713777, 0.461277),
        (0.014715, 0.114324, 0.131983, 20.598, 0.154459, 0.141444),
    ],
)
def test_regression_equals_the_manual_of_sas(between, within, total, df, riv, fmi):
    # SAS/STAT User's Guide (statug/66859, mianalyze_examples10), Output 62.10.2: five
    # imputations, EDF=28. SAS computes the fraction of missing information from the degrees of
    # freedom of a large sample.
    pooled = PooledEstimates(5, 0.0, within, between, dfcom=28)
    assert pooled.t == pytest.approx(total, abs=2e-6)
    assert pooled.df == pytest.approx(df, rel=1e-4)
    assert pooled.riv == pytest.approx(riv, abs=2e-5)
    assert PooledEstimates(5, 0.0, within, between).fmi == pytest.approx(fmi, abs=2e-5)


def test_estimates_equal_a_calculation_by_hand():
    # b = 1/40, t = 1/25 + 6/5 b = 7/100, lambda = 3/7, df_old = 196/9, df_obs = 51/53 50 4/7
    pooled = pool([0.1, 0.2, 0.3, 0.4, 0.5], [0.04] * 5, dfcom=50)
    df = 1 / (9 / 196 + 53 * 7 / (51 * 50 * 4))
    expected = [0.3, np.sqrt(0.07), 3 / 4, 3 / 7, df, (3 / 4 + 2 / (df + 3)) / (7 / 4)]
    frame = pooled.to_frame()[["estimate", "std_error", "riv", "lambda", "df", "fmi"]]
    assert_allclose(frame.to_numpy()[0], expected)


@pytest.mark.parametrize(
    ("k", "statistic", "riv", "df2", "p"),
    [
        (11, 2.835981, 0.01162158, 4158.749, 0.001056945),
        (15, 1.674271, 0.01520073, 4153.268, 0.04891104),
        (20, 1.061643, 0.01724088, 4154.886, 0.3840194),
    ],
)
def test_wald_tests_equal_those_of_mice(k, statistic, riv, df2, p):
    # J. Fejlek, The Second Circle: Logistic Regression, Part Two (2025): mice::D1, ten
    # imputations, 4186 degrees of freedom
    pooled = pool(*with_moments(10, k, statistic, riv), dfcom=4186).test()
    assert pooled.statistic == pytest.approx(statistic)
    assert pooled.riv == pytest.approx(riv)
    assert (pooled.df1, pooled.df2) == (k, pytest.approx(df2, abs=5e-4))
    assert pooled.p_value == pytest.approx(p, rel=2e-6)


@pytest.mark.parametrize(
    ("statistics", "k", "statistic", "df2", "p", "digits"),
    [
        # P. Allison's SAS macro COMBCHI 2.1, the example in its header
        ([5.8, 7.2, 6.1, 8.5], 3, 2.0540138, 342.22381, 0.1060954, 7),
        # R package miceadds, example of ?micombine.chisquare
        ([24.957, 18.051, 18.812, 17.362, 21.234, 18.615, 19.84], 4, 4.438, 482.06, 0.00157, 3),
    ],
)
def test_chi_squares_equal_those_of_combchi_and_miceadds(statistics, k, statistic, df2, p, digits):
    pooled = pool_wald(statistics, k)
    assert pooled.statistic == pytest.approx(statistic, abs=0.6 * 10**-digits)
    assert (pooled.df1, pooled.df2) == (k, pytest.approx(df2, abs=0.006))
    assert pooled.p_value == pytest.approx(p, abs=5e-6)


@pytest.mark.parametrize(
    ("k", "statistic", "riv", "df2", "p"),
    [
        # R package mice 3.10.3, examples of ?D3 (docs/reference/D3.html): five imputations
        (1, 3.064151, 1.951462, 9.149856, 0.1134091),
        (4, 1.356106, 0.9558877, 48.02414, 0.2631346),
    ],
)
def test_likelihood_ratios_equal_the_manual_of_mice(k, statistic, riv, df2, p):
    at_pooled = statistic * k * (1 + riv)
    at_own = at_pooled + riv * k * 4 / 6
    spread = np.array([-0.3, -0.1, 0.0, 0.1, 0.3])  # only the means matter
    pooled = pool_likelihood_ratio(at_own + spread, at_pooled - 2 * spread, k)
    assert pooled.statistic == pytest.approx(statistic)
    assert pooled.riv == pytest.approx(riv)
    assert (pooled.df1, pooled.df2) == (k, pytest.approx(df2, abs=1e-5))
    assert pooled.p_value == pytest.approx(p, abs=1e-7)


# ---- laws of one quantity


@pytest.mark.parametrize("dfcom", [INF, 10.0])
def test_identical_analyses_pool_to_one_of_them(dfcom):
    pooled = pool([0.1] * 7, [0.3] * 7, dfcom=dfcom)
    assert (pooled.qbar, pooled.t, pooled.ubar, pooled.b) == (0.1, 0.3, 0.3, 0)
    assert (pooled.riv, pooled.lambda_) == (0, 0)
    assert pooled.df == pytest.approx(INF if np.isinf(dfcom) else 10 * 11 / 13)
    assert pooled.fmi == pytest.approx(2 / (pooled.df + 3))
    if np.isinf(dfcom):
        assert pooled.p_value() == pytest.approx(2 * stats.norm.sf(0.1 / np.sqrt(0.3)))


def test_without_variance_within_only_the_variance_between_is_left():
    pooled = pool([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert (pooled.riv, pooled.lambda_, pooled.fmi) == (INF, 1, 1)
    assert pooled.df == pytest.approx(2)
    assert pooled.t == pytest.approx(4 / 3)


def test_a_small_sample_without_variance_within_has_no_degrees_of_freedom():
    pooled = pool([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], dfcom=10)
    assert pooled.df == 0
    assert pooled.interval() == (-INF, INF)
    assert pooled.p_value() == 1


def test_a_quantity_without_any_variance():
    pooled = pool([1.0, 1.0], [0.0, 0.0])
    assert (pooled.t, pooled.riv, pooled.lambda_, pooled.df) == (0, 0, 0, INF)
    assert pooled.interval() == (1, 1)
    assert pooled.p_value() == 0
    assert pooled.p_value(1.0) == 1


@pytest.mark.parametrize("dfcom", [INF, 30.0])
def test_the_order_of_imputations_does_not_matter(dfcom):
    q, u = analyses()
    order = [3, 0, 4, 2, 1]
    pooled, reordered = pool(q, u, dfcom=dfcom), pool(q[order], u[order], dfcom=dfcom)
    assert_allclose(pooled.to_frame(), reordered.to_frame(), rtol=1e-10)
    assert_allclose(pooled.test(), reordered.test(), rtol=1e-10)


@pytest.mark.parametrize("dfcom", [INF, 30.0])
def test_units_do_not_matter(dfcom):
    q, u = analyses()
    scale, shift = -1e3, 7.0
    plain = pool(q, variances_of(u), dfcom=dfcom)
    scaled = pool(shift + scale * q, scale**2 * variances_of(u), dfcom=dfcom)
    assert_allclose(scaled.qbar, shift + scale * plain.qbar)
    assert_allclose(scaled.t, scale**2 * plain.t)
    for name in ["riv", "lambda_", "df", "fmi"]:
        assert_allclose(getattr(scaled, name), getattr(plain, name), err_msg=name)
    assert_allclose(scaled.interval(), shift + scale * np.array(plain.interval()[::-1]))
    assert_allclose(scaled.p_value(shift + scale * 2.0), plain.p_value(2.0))


def test_quantities_pool_independently_of_each_other():
    q, u = analyses()
    by_variance, by_covariance = pool(q, variances_of(u), dfcom=9), pool(q, u, dfcom=9)
    assert_allclose(by_variance.to_frame(), by_covariance.to_frame())
    for j in range(3):
        single = pool(q[:, j], u[:, j, j], dfcom=9)
        assert_allclose(single.to_frame().to_numpy()[0], by_variance.to_frame().to_numpy()[j])
        assert_allclose(single.test(), by_variance.test(columns=j))
        assert_allclose(single.test(), by_covariance.test(columns=[j]))
    assert_allclose(np.diagonal(by_covariance.t_cov), by_covariance.t)
    assert by_variance.t_cov is None


@pytest.mark.parametrize("m", [2, 5, 40])
@pytest.mark.parametrize("dfcom", [INF, 1.0, 20.0])
def test_fractions_are_below_one_and_degrees_of_freedom_are_ordered(m, dfcom):
    rng = np.random.default_rng(m)
    q, u = rng.normal(size=(m, 200)), np.tile(10 ** rng.uniform(-4, 4, 200), (m, 1))
    pooled = pool(q, u, dfcom=dfcom)
    assert (pooled.lambda_ > 0).all()
    assert (pooled.lambda_ < pooled.fmi).all()
    assert (pooled.fmi < 1).all()
    assert (pooled.df <= pool(q, u).df).all()
    assert (pooled.df <= dfcom).all()
    assert (pooled.df <= pool(q, u, dfcom=2 * dfcom).df).all()
    assert_allclose(1 / pool(q, u, dfcom=1e15).df, 1 / pool(q, u).df, atol=1e-8)


def test_interval_limits_have_the_p_value_of_the_level():
    q, u = analyses()
    pooled = pool(q, u, dfcom=12)
    for level in [0.5, 0.95]:
        for limit in pooled.interval(level):
            assert_allclose(pooled.p_value(limit), 1 - level)
    low, high = pooled.interval()
    assert_allclose((low + high) / 2, pooled.qbar)


@pytest.mark.parametrize("m", [5, 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_intervals_have_nominal_coverage(m, share):
    rng, n = np.random.default_rng(1), 20_000
    observed = rng.normal(size=n)  # estimates of 0 from the observed data
    q = observed + np.sqrt(share) * rng.normal(size=(m, n))
    low, high = pool(q, np.full((m, n), 1 - share)).interval()
    # Rubin's t is exact at both ends, and accurate to 0.3% between them
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.003 + 3 * 0.0015)


def test_a_null_value_without_variance_has_a_p_value_of_one():
    assert pool([0.0, 0.0], [0.0, 0.0]).p_value() == 1


def test_without_degrees_of_freedom_the_p_value_is_one():
    pooled = pool([1.0, 2.0], [1e-20, 1e-20], dfcom=10)
    assert pooled.test().p_value == pooled.p_value() == 1


# ---- laws of several quantities


@pytest.mark.parametrize("m", [2, 4, 9])
@pytest.mark.parametrize("dfcom", [INF, 3.0, 50.0])
def test_the_wald_test_of_one_quantity_is_its_t_test(m, dfcom):
    q, u = analyses(m)
    pooled = pool(q, u, dfcom=dfcom)
    for j in range(3):
        test = pooled.test(0.5, columns=j)
        t = (pooled.qbar[j] - 0.5) / np.sqrt(pooled.t[j])
        assert test.statistic == pytest.approx(t**2)
        assert (test.df1, test.df2) == (1, pytest.approx(pooled.df[j]))
        assert test.p_value == pytest.approx(pooled.p_value(0.5)[j])
        assert test.riv == pytest.approx(pooled.riv[j])


@pytest.mark.parametrize("m", [2, 3, 6])
@pytest.mark.parametrize("dfcom", [INF, 50.0])
def test_the_wald_test_is_invariant_to_linear_transforms(m, dfcom):
    q, u = analyses(m)
    A = np.random.default_rng(1).normal(size=(3, 3)) * [[1e4], [1], [1e-4]]
    null = np.array([1.0, 0.0, -1.0])
    plain = pool(q, u, dfcom=dfcom).test(null)
    transformed = pool(q @ A.T, A @ u @ A.T, dfcom=dfcom).test(A @ null)
    assert_allclose(transformed, plain, rtol=1e-6)


def test_the_wald_test_of_identical_analyses_equals_that_of_one_analysis():
    q, u = analyses(1)
    q, u = np.repeat(q, 4, 0), np.repeat(u, 4, 0)
    chi_square = q[0] @ np.linalg.solve(u[0], q[0])
    large, small = pool(q, u).test(), pool(q, u, dfcom=20).test()
    assert_allclose(large, [chi_square / 3, 3, INF, stats.chi2.sf(chi_square, 3), 0])
    df2 = 20 * 21 / 23
    assert_allclose(small, [chi_square / 3, 3, df2, stats.f.sf(chi_square / 3, 3, df2), 0])


@pytest.mark.parametrize(("m", "k"), [(2, 2), (2, 4), (3, 2), (3, 3), (5, 2), (20, 6)])
@pytest.mark.parametrize("riv", [1e-3, 0.1, 1.0, 10.0])
def test_degrees_of_freedom_of_the_wald_test(m, k, riv):
    def df2(dfcom):
        return pool(*with_moments(m, k, 1.0, riv), dfcom=dfcom).test().df2

    n = k * (m - 1)  # Li, Raghunathan and Rubin (1991)
    if n > 4:
        large = 4 + (n - 4) * (1 + (1 - 2 / n) / riv) ** 2
    else:
        large = n * (1 + 1 / k) * (1 + 1 / riv) ** 2 / 2
    assert df2(INF) == pytest.approx(large)
    assert df2(1e12) == pytest.approx(large, rel=1e-3)
    for dfcom in [1, 5, 20, 100, 1000]:
        assert 0 < df2(dfcom) < min(dfcom, large)


def test_the_wald_test_has_its_nominal_size():
    rng, n = np.random.default_rng(0), 1000
    covariances = np.broadcast_to(0.7 * np.eye(3), (5, 3, 3))
    draws = rng.normal(size=(n, 1, 3)) + np.sqrt(0.3) * rng.normal(size=(n, 5, 3))
    rejected = np.mean([pool(q, covariances).test().p_value < 0.05 for q in draws])
    assert rejected == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / n))


@pytest.mark.parametrize("dfcom", [INF, 40.0])
def test_normal_likelihood_ratios_are_wald_statistics(dfcom):
    q, u = analyses()
    u = np.broadcast_to(u[0], u.shape)
    at_own = [x @ np.linalg.solve(u[0], x) for x in q]
    at_pooled = [2 * x @ np.linalg.solve(u[0], q.mean(0)) for x in q]
    at_pooled = np.array(at_pooled) - q.mean(0) @ np.linalg.solve(u[0], q.mean(0))
    pooled = pool_likelihood_ratio(at_own, at_pooled, 3, dfcom=dfcom)
    assert_allclose(pooled, pool(q, u, dfcom=dfcom).test())


@pytest.mark.parametrize("dfcom", [INF, 40.0])
def test_identical_statistics_pool_to_one_of_them(dfcom):
    df2 = INF if np.isinf(dfcom) else 40 * 41 / 43
    p = stats.chi2.sf(6.3, 3) if np.isinf(dfcom) else stats.f.sf(2.1, 3, df2)
    for pooled in [
        pool_wald([6.3] * 5, 3, dfcom=dfcom),
        pool_likelihood_ratio([6.3] * 5, [6.3] * 5, 3, dfcom=dfcom),
    ]:
        assert_allclose(pooled, [2.1, 3, df2, p, 0])


def test_chi_squares_of_one_quantity_have_its_degrees_of_freedom():
    roots = np.array([2.0, 3.0, 2.5, 3.5])
    for dfcom in [INF, 15.0]:
        assert pool_wald(roots**2, 1, dfcom=dfcom).df2 == pytest.approx(
            pool(roots, np.ones(4), dfcom=dfcom).df
        )


def test_very_different_statistics_have_a_p_value_of_one():
    pooled = pool_wald([0.0, 1.0, 30.0], 2)
    assert pooled.statistic < 0
    assert pooled.p_value == 1


def test_a_negative_increase_in_variance_is_set_to_zero():
    pooled = pool_likelihood_ratio([5.0, 6.0], [5.5, 6.5], 2)
    assert_allclose(pooled, [3, 2, INF, stats.chi2.sf(6, 2), 0])
