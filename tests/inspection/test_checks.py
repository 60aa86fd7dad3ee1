"""posterior_predictive_check and compare_imputed, with imputers whose answers are exact."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from estimator_cases import table as incomplete_table
from exact_imputer import CATEGORICAL, COV, EVALUATED, Gaussian, mixed, rows
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer

from skmissvae import MIWAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.inspection import (
    compare_imputed,
    overimputation_report,
    posterior_predictive_check,
)

pytestmark = quiet


@pytest.fixture
def exact():
    return Gaussian().fit(None)


# ---- posterior predictive check


def test_a_model_without_correlations_has_small_p_values_for_them():
    X = rows(400, seed=1)
    right, wrong = (
        posterior_predictive_check(Gaussian(cov).fit(X), X, n_replicates=99, random_state=0)
        for cov in (COV, np.diag(COV.diagonal()))
    )
    assert (right["p_value"] >= 0.05).mean() > 0.8
    is_correlation = wrong["statistic"] == "correlation"
    assert is_correlation.sum() == 3
    assert (wrong["p_value"][is_correlation] == 0.02).all()  # the minimum
    assert (right["p_value"][is_correlation] > 0.02).all()
    assert (wrong["p_value"][~is_correlation] >= 0.05).mean() > 0.8


def test_observed_statistics_equal_those_of_pandas():
    X = rows(100)
    check = posterior_predictive_check(Gaussian().fit(X), X, n_replicates=20, random_state=0)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"])
    value = check.set_index(["statistic", "column", "other"])["observed"].sort_index()
    for name, column in frame.items():
        assert value["mean", name].item() == pytest.approx(column.mean())
        assert value["std", name].item() == pytest.approx(column.std(ddof=0))
        assert value["5%", name].item() == pytest.approx(column.quantile(0.05))
    assert value["correlation", "x0", "x2"] == pytest.approx(frame.corr().loc["x0", "x2"])
    assert (check["5%"] <= check["95%"]).all()
    assert check["p_value"].between(2 / 21, 1).all()
    outside = ~check["observed"].between(check["5%"], check["95%"])
    assert (check["p_value"][outside] < 0.3).all()


def test_p_values_of_the_true_distribution_are_uniform():
    p = [
        posterior_predictive_check(
            Gaussian().fit(None), rows(60, seed=seed), n_replicates=39, random_state=seed
        )["p_value"]
        for seed in range(40)
    ]
    assert np.mean([values <= 0.2 for values in p]) == pytest.approx(0.2, abs=0.06)


def test_density_estimators_are_accepted():
    X = incomplete_table(60)
    density = tiny(VAEDensityEstimator).fit(X)
    first, again, reseeded = (
        posterior_predictive_check(density, X, n_replicates=3, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert_frame_equal(first, again)
    assert not first.equals(reseeded)


# ---- imputed and observed cells


def test_draws_of_the_true_distribution_equal_the_observed_one():
    X = rows(3000)
    comparison = compare_imputed(Gaussian().fit(X), X, random_state=0)
    assert_allclose(comparison.distributions["difference"], 0, atol=0.06)
    assert_allclose(comparison.distributions["ratio"], 1, atol=0.06)
    assert (comparison.distributions["distance"] < 0.05).all()
    for part in ("imputed", "completed"):
        assert_allclose(
            comparison.correlations[part], comparison.correlations["observed"], atol=0.06
        )


def test_mean_imputation_has_small_variances_and_correlations():
    class Mean(Gaussian):
        def impute(self, X, n_imputations, random_state):
            return [SimpleImputer().fit_transform(X)] * n_imputations

    X = rows(1000)
    comparison = compare_imputed(Mean().fit(X), X)
    assert_allclose(comparison.distributions["ratio"], 0, atol=1e-9)
    assert (comparison.distributions["distance"] > 0.4).all()
    assert (comparison.correlations["imputed"] < 0.1).all()
    shrunk = comparison.correlations["completed"] / comparison.correlations["observed"]
    assert (shrunk < 0.9).all()


def test_imputed_cells_differ_if_missingness_depends_on_observed_cells():
    X = rows(2000, share=0.0)
    X[X[:, 0] > 0.5, 1] = np.nan
    distributions = compare_imputed(Gaussian().fit(X), X, random_state=0).distributions
    assert distributions["column"].tolist() == ["x1"]
    assert distributions["difference"].item() > 1


def test_comparisons_equal_those_computed_from_the_imputations():
    X = mixed()
    imputer = tiny(MVAEImputer).fit(X)
    comparison = compare_imputed(imputer, X, n_imputations=3, random_state=1)
    tables = list(imputer.impute(X, 3, random_state=1))
    lines = comparison.distributions.set_index("column")
    for name in ("real", "n"):
        observed = X[name].dropna().astype(float)
        imputed = np.concatenate([t[name][X[name].isna().to_numpy()].astype(float) for t in tables])
        line = lines.loc[name]
        assert line[["n_observed", "n_missing"]].tolist() == [len(observed), len(imputed) / 3]
        assert line["mean_imputed"] == pytest.approx(imputed.mean())
        assert line["std_observed"] == pytest.approx(observed.std(ddof=0))
        assert line["difference"] == pytest.approx(
            (imputed.mean() - observed.mean()) / observed.std(ddof=0)
        )
        assert line["ratio"] == pytest.approx(imputed.std() / observed.std(ddof=0))
        assert line["distance"] == pytest.approx(stats.ks_2samp(observed, imputed).statistic)
    for name in CATEGORICAL:
        imputed = pd.concat([t[name][X[name].isna().to_numpy()] for t in tables])
        shares = [s.dropna().value_counts(normalize=True).to_dict() for s in (X[name], imputed)]
        by_category = lines.loc[name].set_index("category")
        apart = [abs(shares[0][k] - shares[1].get(k, 0)) for k in by_category.index]
        assert_allclose(by_category["distance"], sum(apart) / 2)
        assert_allclose(by_category["mean_observed"].sum(), 1)
        expected = [shares[1].get(k, 0) for k in by_category.index]
        assert_allclose(by_category["mean_imputed"], expected)
    numbers = X[["real", "n"]].astype(float)
    incomplete = numbers.isna().any(axis=1).to_numpy()
    pair = comparison.correlations.iloc[0]
    completed = pd.concat([t[["real", "n"]].astype(float) for t in tables])
    assert pair["n_observed"] == (~incomplete).sum()
    assert pair["observed"] == pytest.approx(numbers.corr().loc["real", "n"])
    assert pair["completed"] == pytest.approx(completed.corr().loc["real", "n"])
    assert pair["imputed"] == pytest.approx(
        completed[np.tile(incomplete, 3)].corr().loc["real", "n"]
    )


def test_correlations_use_the_rows_in_which_both_columns_are_observed():
    X = rows(60) * 1e6 + 1e8
    X[2:, 0] = np.nan
    X[np.isnan(X[:, 1]), 2] = 3.0
    check = posterior_predictive_check(Gaussian().fit(X), X, n_replicates=2, random_state=0)
    correlations = check[check["statistic"] == "correlation"].set_index(["column", "other"])
    expected = pd.DataFrame(X, columns=["x0", "x1", "x2"]).corr(min_periods=3)
    for pair, value in correlations["observed"].items():
        assert value == pytest.approx(expected.loc[pair])


# ---- tables of all kinds


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_data_frames_of_mixed_types(container):
    X = mixed()
    frame = pl.from_pandas(X) if container == "polars" else X
    imputer = tiny(MVAEImputer).fit(frame)
    check = posterior_predictive_check(imputer, frame, n_replicates=3, random_state=0)
    shares = check[check["statistic"] == "share"].set_index(["column", "other"])["observed"]
    for name in CATEGORICAL:
        for category, share in X[name].dropna().value_counts(normalize=True).items():
            assert shares[name, category] == pytest.approx(share)
    comparison = compare_imputed(imputer, frame, n_imputations=2, random_state=0)
    assert list(dict.fromkeys(comparison.distributions["column"])) == EVALUATED
    pairs = comparison.correlations[["column", "other"]]
    assert pairs.to_numpy().tolist() == [["real", "n"]]


@pytest.mark.usefixtures("few_baseline_draws")
def test_missing_values_are_missing_cells():
    X = incomplete_table(60)
    marked = np.where(np.isnan(X), -999.0, X)
    imputer_nan = tiny(MIWAEImputer).fit(X)
    imputer_marked = tiny(MIWAEImputer, missing_values=-999.0).fit(marked)
    results = [
        (
            overimputation_report(imputer, T, n_repeats=1, random_state=0).summary,
            posterior_predictive_check(imputer, T, n_replicates=2, random_state=0),
            *compare_imputed(imputer, T, random_state=0),
        )
        for imputer, T in ((imputer_nan, X), (imputer_marked, marked))
    ]
    for a, b in zip(*results, strict=True):
        assert_frame_equal(a, b)


@pytest.mark.filterwarnings("ignore:Columns without an observed cell:UserWarning")
def test_arrays_with_empty_columns_and_indicators():
    X = np.insert(incomplete_table(60), 1, np.nan, axis=1)
    results = []
    for changes in ({}, {"keep_empty_features": True}, {"add_indicator": True}):
        imputer = tiny(MIWAEImputer, **changes).fit(X)
        results.append(
            (
                posterior_predictive_check(imputer, X, n_replicates=2, random_state=0),
                *compare_imputed(imputer, X, random_state=0),
            )
        )
        assert set(results[-1][0]["column"]) == {"x0", "x2", "x3", "x4"}
    for changed in results[1:]:
        for a, b in zip(results[0], changed, strict=True):
            assert_frame_equal(a, b)


# ---- errors


CHECKS = {
    overimputation_report: "cell_distribution",
    posterior_predictive_check: "sample",
    compare_imputed: "impute",
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_invalid_imputers_and_tables_are_rejected(check, exact):
    X = rows(30)
    with pytest.raises(NotFittedError):
        check(clone(exact), X)
    with pytest.raises(TypeError, match=f"method '{CHECKS[check]}'.*got SimpleImputer"):
        check(SimpleImputer().fit(X), X)
    with pytest.raises(ValueError, match=r"columns.*but imputer was fitted to"):
        check(exact, X[:, :2])
    with pytest.raises(ValueError, match=r"columns.*but imputer was fitted to"):
        check(exact, pd.DataFrame(X, columns=["x1", "x0", "x2"]))
    with pytest.raises(ValueError, match="no column to evaluate"):
        check(exact, np.ones((30, 3)))


def test_invalid_parameters_are_rejected(exact):
    X = rows(30)
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n_replicates must be an integer of 1 or more"):
            posterior_predictive_check(exact, X, n_replicates=n)
    with pytest.raises(ValueError, match="n_imputations must be an integer of 1 or more"):
        compare_imputed(tiny(MIWAEImputer).fit(X), X, n_imputations=0)


def test_a_complete_table_cannot_be_compared(exact):
    with pytest.raises(ValueError, match="no missing cell in a modelled column"):
        compare_imputed(exact, rows(30, share=0.0))
