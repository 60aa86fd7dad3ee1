"""Checks of imputers, against imputers of which everything is known."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from estimator_cases import table as holed
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.metrics import brier_score_loss

from skmissvae import MIWAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.inspection.checks import (
    _correlations,
    _sums,
    compare_imputed,
    posterior_predictive_check,
)
from skmissvae.inspection.comparable_columns import comparable_table
from skmissvae.inspection.overimputation import (
    _MIDPOINTS,
    _N_DRAWS,
    _crps,
    _estimate,
    _scores_of_levels,
    overimputation_report,
)

pytestmark = quiet

COV = np.array([[1.0, 0.8, 0.5], [0.8, 1.0, 0.3], [0.5, 0.3, 1.0]])
MEAN = np.array([0.0, 1.0, -2.0])
ASKED, FITTED = [], []  # tables that imputers were asked about, and fitted to


class Gaussian(BaseEstimator):
    """An imputer that knows the Gaussian its rows are drawn from, or thinks it does."""

    def __init__(self, cov=COV, widen=1.0):
        self.cov, self.widen = cov, widen

    def fit(self, X, y=None):
        FITTED.append(X)
        names = [f"x{j}" for j in range(len(MEAN))]
        self.fit_report_ = pd.DataFrame({"kind": "continuous", "role": "modelled"}, names)
        return self

    def conditional(self, row):
        o = ~np.isnan(row)
        gain = self.cov[~o][:, o] @ np.linalg.inv(self.cov[o][:, o])
        cov = self.cov[~o][:, ~o] - gain @ self.cov[o][:, ~o]
        return ~o, MEAN[~o] + gain @ (row[o] - MEAN[o]), cov

    def cell_distribution(self, X, quantiles, *, where):
        ASKED.append(X)
        lines = []
        for i in np.flatnonzero(where.any(1)):
            m, mean, cov = self.conditional(X[i])
            for j, centre, std in zip(np.flatnonzero(m), mean, cov.diagonal() ** 0.5, strict=True):
                if where[i, j]:
                    told = centre + self.widen * std * stats.norm.ppf(quantiles)
                    lines.append([i, f"x{j}", "continuous", None, np.nan, centre, std, *told])
        columns = ["row", "column", "kind", "level", "probability", "mean", "std"]
        return pd.DataFrame(lines, columns=[*columns, *map(str, quantiles)])

    def sample(self, n_samples, random_state):
        rng = np.random.default_rng(random_state)
        return rng.multivariate_normal(MEAN, self.cov, n_samples, method="cholesky")

    def impute(self, X, n_imputations, random_state):
        rng = np.random.default_rng(random_state)
        for _ in range(n_imputations):
            made = X.copy()
            for row in made:
                if np.isnan(row).any():
                    m, mean, cov = self.conditional(row)
                    row[m] = rng.multivariate_normal(mean, cov, method="cholesky")
            yield made


def rows(n=1000, share=0.3, seed=0):
    """Return rows of the Gaussian with holes; every row sees a cell."""
    rng = np.random.default_rng(seed)
    X = rng.multivariate_normal(MEAN, COV, n, method="cholesky")
    holes = rng.random(X.shape) < share
    holes[np.arange(n), rng.integers(len(MEAN), size=n)] = False
    return np.where(holes, np.nan, X)


def mixed(n=90, seed=0):
    """Return a frame of many types with holes, and labels of rows that are not unique."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "real": group + 0.3 * rng.normal(size=n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(99, size=n), "D"),
            "word": np.array(["a", "b", "c"])[group],
            "flag": group == 1,
            "n": group * 10 + rng.integers(5, size=n),
            "size": pd.Categorical(np.array(["s", "m", "l"])[group], ["s", "m", "l"], ordered=True),
            "one": 1.0,
        },
        index=[f"r{i // 2}" for i in range(n)],
    )
    holes = rng.random(frame.shape) < 0.15
    holes[:, 0] = False
    return frame.astype({"n": "Int64", "flag": "boolean"}).mask(holes)


JUDGED = ["real", "word", "flag", "n", "size"]
CODED = ["word", "flag", "size"]


@pytest.fixture
def known():
    ASKED.clear()
    FITTED.clear()
    return Gaussian().fit(None)


# ---- overimputation: the scores


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 0.3), (-5.0, 10.0)])
def test_crps_of_quantiles_is_nearly_that_of_a_normal_in_closed_form(mean, std):
    z = np.linspace(-3, 3, 25)
    quantiles = np.tile(stats.norm.ppf(_MIDPOINTS, mean, std), (len(z), 1))
    closed = std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    assert_allclose(_crps(mean + std * z, quantiles), closed, atol=0.01 * std)


def test_crps_of_a_point_is_its_absolute_error():
    truth = np.array([1.0, -2.0, 0.5])
    assert_allclose(_crps(truth, np.zeros((3, len(_MIDPOINTS)))), np.abs(truth))


def test_brier_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for levels in (["a", "b"], ["a", "b", "c"]):
        chances = rng.dirichlet(np.ones(len(levels)), size=50)
        truth = rng.choice(levels, size=50).tolist()
        told = _scores_of_levels(truth, chances.argmax(1), chances, levels)
        theirs = brier_score_loss(truth, chances, scale_by_half=True, labels=levels)
        assert told["brier"].mean() == pytest.approx(theirs)
    unknown = _scores_of_levels(["z"], np.array([0]), np.array([[1.0, 0.0]]), ["a", "b"])
    assert unknown["probability"].item() == 0
    assert unknown["brier"].item() == 1  # as far off as any other sure guess


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_an_imputer_that_knows_the_distribution_covers_what_it_should(known, level):
    report = overimputation_report(known, rows(), level=level, random_state=0)
    assert report.level == level
    scores = report.summary.query("column == 'all'").set_index("method")
    n, error = scores.loc["imputer", ["n_cells", "error"]]
    assert scores.loc["imputer", "coverage"] == pytest.approx(
        level, abs=3 * (level * (1 - level) / n) ** 0.5
    )
    # of a Normal the mean CRPS is its standard deviation over the root of pi
    assert scores.loc["imputer", "crps"] == pytest.approx(error / np.pi**0.5, rel=0.05)
    assert error < 0.9 * scores.loc["mean or mode", "error"]
    # which a linear regression knows nearly as well
    assert scores.loc["IterativeImputer", "coverage"] == pytest.approx(level, abs=0.04)
    assert scores.loc["IterativeImputer", "error"] == pytest.approx(error, rel=0.05)
    assert error <= scores.loc["IterativeImputer", "error"]
    assert scores.loc["imputer", "crps"] < scores.loc["IterativeImputer", "crps"]


def test_false_widths_are_told(known):
    X, scores = rows(), {}
    for widen in (0.5, 1.0, 2.0):
        imputer = Gaussian(widen=widen).fit(X)
        report = overimputation_report(imputer, X, baselines=False, random_state=0)
        scores[widen] = report.summary.iloc[-1]
    for widen, told in scores.items():
        covers = 2 * stats.norm.cdf(widen * stats.norm.ppf(0.95)) - 1
        assert told["coverage"] == pytest.approx(covers, abs=0.03)
        assert told["width"] == pytest.approx(widen * scores[1.0]["width"])
        assert told["crps"] >= scores[1.0]["crps"]  # a proper score


def test_the_summary_follows_from_the_cells():
    X = mixed()
    report = overimputation_report(
        tiny(MVAEImputer, max_iter=20).fit(X), X, n_repeats=2, random_state=0
    )
    summary = report.summary.set_index(["column", "kind", "method"])
    assert list(dict.fromkeys(report.summary["column"])) == [*JUDGED, "all"]
    assert list(dict.fromkeys(report.summary["kind"][-6:])) == ["numbers", "levels"]
    for method in ("imputer", "mean or mode", "IterativeImputer"):
        lines = report.cells
        if method != "imputer":
            lines = report.baselines[report.baselines["method"] == method]
        pieces = {(name, piece["kind"].iloc[0]): piece for name, piece in lines.groupby("column")}
        pieces["all", "levels"] = lines[lines["column"].isin(CODED)]
        pieces["all", "numbers"] = lines[~lines["column"].isin(CODED)]
        for (name, kind), piece in pieces.items():
            told = summary.loc[(name, kind, method)]
            assert told["n_cells"] == len(piece)
            if kind == "levels" or name in CODED:
                assert told["error"] == np.mean([*(piece["level"] != piece["predicted"])])
                assert told["brier"] == pytest.approx(piece["brier"].mean())
                assert told[["crps", "coverage", "width"]].isna().all()
                continue
            scale = X[["real", "n"]].astype(float).std(ddof=0)[piece["column"]].to_numpy()
            z = (piece["mean"] - piece["truth"]) / scale
            assert told["error"] == pytest.approx((z**2).mean() ** 0.5)
            assert told["crps"] == pytest.approx((piece["crps"] / scale).mean())
            assert np.isnan(told["brier"])
            if method == "mean or mode":
                assert_allclose(piece["crps"], (piece["mean"] - piece["truth"]).abs())
                assert told[["coverage", "width"]].isna().all()
                continue
            inside = piece["truth"].between(piece["low"] - 1e-5, piece["high"] + 1e-5)
            assert told["coverage"] == inside.mean()
            assert told["width"] == pytest.approx(((piece["high"] - piece["low"]) / scale).mean())
    text = repr(report)
    assert "nan" not in text.lower()
    assert text.splitlines()[0].split() == list(report.summary)


# ---- overimputation: the hidden cells


def test_cells_are_hidden_from_the_clone_by_the_holes_of_other_rows(known):
    X = rows(200)
    X[:, 1] = rows(200, share=0.0)[:, 1]  # no hole to borrow
    given = X.copy()
    report = overimputation_report(known, X, n_repeats=5, baselines=False, random_state=0)
    assert_array_equal(X, given)
    assert len(ASKED) == 5
    for repeat, (asked, fitted) in enumerate(zip(ASKED, FITTED[1:], strict=True)):
        hidden = np.isnan(asked) & ~np.isnan(X)
        assert_array_equal(asked, fitted)
        assert_array_equal(asked[~hidden], X[~hidden])
        assert 0 < hidden.any(1).sum() <= 40
        assert (~np.isnan(asked)).any(1).all()
        cells = report.cells[report.cells["repeat"] == repeat]
        i, j = cells["row"], cells["column"].str[1:].astype(int)
        assert_array_equal(sorted(zip(i, j, strict=True)), np.argwhere(hidden))
        assert_array_equal(cells["truth"], X[i, j])
    assert set(report.cells["column"]) == {"x0", "x2"}
    # five repeats ask about each row once
    assert not report.cells.duplicated(["row", "column"]).any()


def test_without_refit_the_imputer_is_taken_as_it_is(known):
    X = rows(100)
    report = overimputation_report(known, X, refit=False, baselines=False, random_state=0)
    assert len(FITTED) == 1
    assert_frame_equal(
        report.cells,
        overimputation_report(known, X, baselines=False, random_state=0).cells,
    )
    assert len(FITTED) == 6


def test_a_table_without_holes_and_a_column_with_few_cells(known):
    X = rows(100, share=0.0)
    assert len(overimputation_report(known, X, baselines=False, random_state=0).cells) > 0
    X[1:, 0], X[:50, 1] = np.nan, np.nan  # of the first column nothing could be learned
    report = overimputation_report(known, X, baselines=False, random_state=0)
    assert set(report.cells["column"]) == {"x1"}


def test_a_column_that_holds_one_value_beside_its_hidden_cells_is_not_judged():
    X = holed(50, share=0.0)
    X[:, 1] = np.where(np.arange(50) < 5, np.nan, 1.0)
    X[20, 1] = 2.0  # hidden in one of the five repeats
    report = overimputation_report(tiny(MIWAEImputer).fit(X), X, baselines=False, random_state=0)
    assert set(report.cells["column"]) == {"x1"}
    assert report.cells["repeat"].nunique() == 4
    assert 20 not in set(report.cells["row"])


def test_the_baselines_are_fitted_to_the_holed_table(known):
    X = rows(100)
    report = overimputation_report(known, X, n_repeats=1, random_state=0)
    means = report.baselines.query("method == 'mean or mode'").set_index(["row", "column"])["mean"]
    for (_, column), mean in means.items():
        assert mean == pytest.approx(np.nanmean(ASKED[0][:, int(column[1:])]))
    assert len(report.baselines) == 2 * len(report.cells)
    bare = overimputation_report(known, X, n_repeats=1, baselines=False, random_state=0)
    assert_frame_equal(bare.cells, report.cells)
    assert bare.baselines.empty
    assert set(bare.summary["method"]) == {"imputer"}


def test_reports_are_reproducible_whatever_n_jobs():
    X = holed(60)
    imputer = tiny(MIWAEImputer, random_state=None).fit(X)
    first, again, other = (
        overimputation_report(imputer, X, n_repeats=2, random_state=seed, n_jobs=n_jobs)
        for seed, n_jobs in ((1, None), (1, 2), (2, None))
    )
    assert_frame_equal(again.cells, first.cells)
    assert_frame_equal(again.baselines, first.baselines)
    assert not other.cells.equals(first.cells)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_of_mixed_types(container):
    X = mixed()
    given = pl.from_pandas(X) if container == "polars" else X
    untouched = given.clone() if container == "polars" else given.copy()
    imputer = tiny(MVAEImputer).fit(given)
    report = overimputation_report(imputer, given, n_repeats=2, random_state=0)
    assert given.equals(untouched)
    assert list(dict.fromkeys(report.cells["column"])) == JUDGED
    rows_of = dict(iter(X.groupby(level=0)))
    for cell in report.cells.itertuples():
        if container == "pandas":
            values = rows_of[cell.row][cell.column].dropna().tolist()
        else:
            values = [given[cell.row, cell.column]]
        if cell.column in CODED:
            assert cell.level in values
            assert 0 <= cell.probability <= 1
            assert 0 <= cell.brier <= 1
        else:
            assert cell.truth in values
            assert cell.low <= cell.high
    check = posterior_predictive_check(imputer, given, n_replicates=3, random_state=0)
    shares = check[check["statistic"] == "share"].set_index(["column", "other"])["observed"]
    for name in CODED:
        for level, share in X[name].dropna().value_counts(normalize=True).items():
            assert shares[name, level] == pytest.approx(share)
    found = compare_imputed(imputer, given, n_imputations=2, random_state=0)
    assert list(dict.fromkeys(found.distributions["column"])) == JUDGED
    pairs = found.correlations[["column", "other"]]
    assert pairs.to_numpy().tolist() == [["real", "n"]]


def test_both_kinds_of_frames_give_the_same():
    X = mixed().reset_index(drop=True).drop(columns="size")  # polars has no ordered type
    found = [
        overimputation_report(tiny(MVAEImputer).fit(T), T, n_repeats=1, random_state=0).summary
        for T in (X, pl.from_pandas(X))
    ]
    assert_frame_equal(*found)


def test_values_that_stand_for_holes_are_holes():
    X = holed(60)
    marked = np.where(np.isnan(X), -999.0, X)
    nan = tiny(MIWAEImputer).fit(X)
    other = tiny(MIWAEImputer, missing_values=-999.0).fit(marked)
    found = [
        (
            overimputation_report(imputer, T, n_repeats=1, random_state=0).summary,
            posterior_predictive_check(imputer, T, n_replicates=2, random_state=0),
            *compare_imputed(imputer, T, random_state=0),
        )
        for imputer, T in ((nan, X), (other, marked))
    ]
    for a, b in zip(*found, strict=True):
        assert_frame_equal(a, b)


@pytest.mark.filterwarnings("ignore:Columns without any observed cell:UserWarning")
def test_arrays_with_empty_columns_and_indicators():
    X = np.insert(holed(60), 1, np.nan, axis=1)
    found = []
    for changes in ({}, {"keep_empty_features": True}, {"add_indicator": True}):
        imputer = tiny(MIWAEImputer, **changes).fit(X)
        found.append(
            (
                posterior_predictive_check(imputer, X, n_replicates=2, random_state=0),
                *compare_imputed(imputer, X, random_state=0),
            )
        )
        assert set(found[-1][0]["column"]) == {"x0", "x2", "x3", "x4"}
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            assert_frame_equal(a, b)


def test_two_values_in_an_array_by_their_probability():
    X = holed(80)
    X[:, 3] = np.where(np.isnan(X[:, 3]), np.nan, X[:, 3] > -7)
    imputer = tiny(MIWAEImputer, likelihood={3: "bernoulli"}).fit(X)
    report = overimputation_report(imputer, X, n_repeats=2, random_state=0)
    cells = report.cells[report.cells["column"] == "x3"]
    assert set(cells["level"]) <= {0.0, 1.0}
    assert cells["probability"].between(0, 1).all()
    assert set(report.baselines.loc[report.baselines["column"] == "x3", "predicted"]) <= {0.0, 1.0}


def test_an_interval_between_two_of_the_other_quantiles():
    X = holed(60)
    imputer = tiny(MIWAEImputer).fit(X)
    cells = overimputation_report(
        imputer, X, level=1 - 1 / 39, refit=False, baselines=False, random_state=0
    ).cells
    assert cells["covered"].mean() > 0.5
    assert (cells["low"] < cells["high"]).all()


def test_the_picture_is_drawn_by_its_display(monkeypatch, known):
    class Display:
        def __init__(self, report):
            self.report = report

        def plot(self, ax):
            return self.report, ax

    monkeypatch.setattr("skmissvae.inspection.overimputation.OverimputationDisplay", Display)
    report = overimputation_report(known, rows(50), n_repeats=1, random_state=0)
    assert report.plot("axes") == (report, "axes")


# ---- posterior predictive check


def test_a_right_model_passes_and_one_without_correlations_does_not():
    X = rows(400, seed=1)
    right, wrong = (
        posterior_predictive_check(Gaussian(cov).fit(X), X, n_replicates=99, random_state=0)
        for cov in (COV, np.diag(COV.diagonal()))
    )
    assert (right["p_value"] >= 0.05).mean() > 0.8
    is_correlation = wrong["statistic"] == "correlation"
    assert is_correlation.sum() == 3
    assert (wrong["p_value"][is_correlation] == 0.02).all()  # as small as it can be
    assert (right["p_value"][is_correlation] > 0.02).all()
    assert (wrong["p_value"][~is_correlation] >= 0.05).mean() > 0.8


def test_the_observed_statistics_are_those_of_pandas():
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


def test_p_values_of_a_right_model_are_uniform_where_it_has_not_seen_the_table():
    p = [
        posterior_predictive_check(
            Gaussian().fit(None), rows(60, seed=seed), n_replicates=39, random_state=seed
        )["p_value"]
        for seed in range(40)
    ]
    means = [np.mean([one[s] <= 0.2 for one in p]) for s in range(len(p[0]))]
    assert np.mean(means) == pytest.approx(0.2, abs=0.06)


def test_density_estimators_are_checked_too():
    X = holed(60)
    density = tiny(VAEDensityEstimator).fit(X)
    first, again, other = (
        posterior_predictive_check(density, X, n_replicates=3, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert_frame_equal(first, again)
    assert not first.equals(other)


# ---- imputed against observed


def test_draws_of_the_right_model_are_like_what_was_seen():
    X = rows(3000)
    found = compare_imputed(Gaussian().fit(X), X, random_state=0)
    assert_allclose(found.distributions["difference"], 0, atol=0.06)
    assert_allclose(found.distributions["ratio"], 1, atol=0.06)
    assert (found.distributions["distance"] < 0.05).all()
    for part in ("imputed", "completed"):
        assert_allclose(found.correlations[part], found.correlations["observed"], atol=0.06)


def test_means_for_draws_are_found_out():
    class Mean(Gaussian):
        def impute(self, X, n_imputations, random_state):
            return [SimpleImputer().fit_transform(X)] * n_imputations

    X = rows(1000)
    found = compare_imputed(Mean().fit(X), X)
    assert_allclose(found.distributions["ratio"], 0, atol=1e-9)
    assert (found.distributions["distance"] > 0.4).all()
    assert (found.correlations["imputed"] < 0.1).all()
    shrunk = found.correlations["completed"] / found.correlations["observed"]
    assert (shrunk < 0.9).all()


def test_a_difference_is_no_error_where_holes_depend_on_what_is_seen():
    X = rows(2000, share=0.0)
    X[X[:, 0] > 0.5, 1] = np.nan
    found = compare_imputed(Gaussian().fit(X), X, random_state=0).distributions
    assert found["column"].tolist() == ["x1"]
    assert found["difference"].item() > 1


def test_comparisons_follow_from_the_imputations():
    X = mixed()
    imputer = tiny(MVAEImputer).fit(X)
    found = compare_imputed(imputer, X, n_imputations=3, random_state=1)
    tables = list(imputer.impute(X, 3, random_state=1))
    lines = found.distributions.set_index("column")
    for name in ("real", "n"):
        seen = X[name].dropna().astype(float)
        made = np.concatenate([t[name][X[name].isna().to_numpy()].astype(float) for t in tables])
        line = lines.loc[name]
        assert line[["n_observed", "n_missing"]].tolist() == [len(seen), len(made) / 3]
        assert line["mean_imputed"] == pytest.approx(made.mean())
        assert line["std_observed"] == pytest.approx(seen.std(ddof=0))
        assert line["difference"] == pytest.approx((made.mean() - seen.mean()) / seen.std(ddof=0))
        assert line["ratio"] == pytest.approx(made.std() / seen.std(ddof=0))
        assert line["distance"] == pytest.approx(stats.ks_2samp(seen, made).statistic)
    for name in CODED:
        made = pd.concat([t[name][X[name].isna().to_numpy()] for t in tables])
        shares = [s.dropna().value_counts(normalize=True).to_dict() for s in (X[name], made)]
        levels = lines.loc[name].set_index("level")
        apart = [abs(shares[0][k] - shares[1].get(k, 0)) for k in levels.index]
        assert_allclose(levels["distance"], sum(apart) / 2)
        assert_allclose(levels["mean_observed"].sum(), 1)
        assert_allclose(levels["mean_imputed"], [shares[1].get(k, 0) for k in levels.index])
    numbers = X[["real", "n"]].astype(float)
    imputed = numbers.isna().any(axis=1).to_numpy()
    pair = found.correlations.iloc[0]
    every = pd.concat([t[["real", "n"]].astype(float) for t in tables])
    assert pair["n_observed"] == (~imputed).sum()
    assert pair["observed"] == pytest.approx(numbers.corr().loc["real", "n"])
    assert pair["completed"] == pytest.approx(every.corr().loc["real", "n"])
    assert pair["imputed"] == pytest.approx(every[np.tile(imputed, 3)].corr().loc["real", "n"])


def test_correlations_are_those_of_pairs_of_which_both_are_seen():
    X = rows(60) * 1e6 + 1e8
    X[2:, 0] = np.nan
    X[np.isnan(X[:, 1]), 2] = 3.0
    table = comparable_table(Gaussian().fit(X), X, "sample")
    found = _correlations(_sums(table, X, ~np.isnan(X)))
    wanted = pd.DataFrame(X).corr(min_periods=3)
    assert_allclose(found, wanted, atol=1e-9)


# ---- what cannot be checked


CHECKS = {
    overimputation_report: "cell_distribution",
    posterior_predictive_check: "sample",
    compare_imputed: "impute",
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_no_check_can_do_without(check, known):
    X = rows(30)
    with pytest.raises(NotFittedError):
        check(clone(known), X)
    with pytest.raises(TypeError, match=f"method '{CHECKS[check]}'.*got SimpleImputer"):
        check(SimpleImputer().fit(X), X)
    with pytest.raises(ValueError, match=r"columns .*but imputer was fitted to"):
        check(known, X[:, :2])
    with pytest.raises(ValueError, match=r"columns .*but imputer was fitted to"):
        check(known, pd.DataFrame(X, columns=["x1", "x0", "x2"]))
    with pytest.raises(ValueError, match="no column to judge"):
        check(known, np.ones((30, 3)))


def test_parameters_out_of_range(known):
    X = rows(30)
    for level in (0, 1, 1.5, np.nan):
        with pytest.raises(ValueError, match="level must be above 0 and below 1"):
            overimputation_report(known, X, level=level)
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n_repeats must be an integer of 1 or more"):
            overimputation_report(known, X, n_repeats=n)
        with pytest.raises(ValueError, match="n_replicates must be an integer of 1 or more"):
            posterior_predictive_check(known, X, n_replicates=n)
    with pytest.raises(ValueError, match="n_imputations must be an integer of 1 or more"):
        compare_imputed(tiny(MIWAEImputer).fit(X), X, n_imputations=0)


def test_nothing_to_hide_and_nothing_imputed(known):
    X = np.full((6, 3), np.nan)
    X[np.arange(6), np.arange(6) % 3] = np.arange(6)
    with pytest.raises(ValueError, match="No observed cell could be hidden"):
        overimputation_report(known, X)
    with pytest.raises(ValueError, match="no hole in a column"):
        compare_imputed(known, rows(30, share=0.0))


def test_a_baseline_that_is_right_is_hardly_worse_than_what_it_draws_from():
    rng, q = np.random.default_rng(0), np.array([*_MIDPOINTS, 0.05, 0.95])
    truth = rng.normal(size=4000)
    drawn = rng.normal(size=(_N_DRAWS, 4000))
    _, quantiles = _estimate(np.zeros(4000), drawn, 0, q)
    assert _crps(truth, quantiles[:, :-2]).mean() == pytest.approx(np.pi**-0.5, rel=0.03)
    assert np.mean(quantiles[:, -1] - quantiles[:, -2]) == pytest.approx(3.29, rel=0.04)


def test_draws_that_do_not_vary_have_no_interval():
    _, quantiles = _estimate(
        np.zeros(2), np.tile([[1.0, 2.0]], (20, 1)), 0, np.array([0.5, 0.05, 0.95])
    )
    assert np.isnan(quantiles[:, -2:]).all()
    np.testing.assert_array_equal(quantiles[:, 0], [1.0, 2.0])
