"""overimputation_report: hidden cells, scores, baselines and errors."""

import numpy as np
import polars as pl
import pytest
from estimator_cases import quiet, tiny
from estimator_cases import table as incomplete_table
from exact_imputer import CATEGORICAL, EVALUATED, FITTED, PREDICTED, Gaussian, mixed, rows
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.metrics import brier_score_loss

from skmissvae import MIWAEImputer, MVAEImputer
from skmissvae.inspection import (
    OverimputationDisplay,
    overimputation_report,
    overimputation_scores,
)
from skmissvae.inspection.overimputation_scores import (
    MIDPOINTS,
    N_BASELINE_DRAWS,
    Predictions,
    categorical_scores,
    crps,
    interval_probabilities,
    predictions_from_draws,
)

pytestmark = quiet


@pytest.fixture
def exact():
    PREDICTED.clear()
    FITTED.clear()
    return Gaussian().fit(None)


# ---- scores


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 0.3), (-5.0, 10.0)])
def test_crps_is_close_to_the_closed_form_of_a_normal(mean, std):
    z = np.linspace(-3, 3, 25)
    quantiles = np.tile(stats.norm.ppf(MIDPOINTS, mean, std), (len(z), 1))
    closed = std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    assert_allclose(crps(mean + std * z, quantiles), closed, atol=0.01 * std)


def test_crps_of_a_point_is_its_absolute_error():
    truth = np.array([1.0, -2.0, 0.5])
    assert_allclose(crps(truth, np.zeros((3, len(MIDPOINTS)))), np.abs(truth))


def test_brier_score_equals_that_of_scikit_learn():
    pytest.importorskip("sklearn", minversion="1.7")  # scores of several classes
    rng = np.random.default_rng(0)
    for categories in (["a", "b"], ["a", "b", "c"]):
        probabilities = rng.dirichlet(np.ones(len(categories)), size=50)
        truth = rng.choice(categories, size=50).tolist()
        predictions = Predictions(probabilities.argmax(1), probabilities)
        scores = categorical_scores(truth, predictions, categories)
        expected = brier_score_loss(truth, probabilities, scale_by_half=True, labels=categories)
        assert scores["brier"].mean() == pytest.approx(expected)
    certain = Predictions(np.array([0]), np.array([[1.0, 0.0]]))
    unknown = categorical_scores(["z"], certain, ["a", "b"])
    assert unknown["probability"].item() == 0
    assert unknown["brier"].item() == 1  # the maximum, as for any wrong category with probability 1


@pytest.mark.parametrize(("level", "baselines"), [(0.5, False), (0.9, True)])
def test_intervals_of_the_true_distribution_have_nominal_coverage(
    exact, level, baselines, monkeypatch
):
    monkeypatch.setattr(overimputation_scores, "N_BASELINE_DRAWS", 40)
    report = overimputation_report(
        exact, rows(2000), level=level, n_repeats=1, baselines=baselines, random_state=0
    )
    assert report.level == level
    scores = report.summary.query("column == 'all'").set_index("method")
    n, error = scores.loc["imputer", ["n_cells", "error"]]
    assert scores.loc["imputer", "coverage"] == pytest.approx(
        level, abs=3 * (level * (1 - level) / n) ** 0.5
    )
    # the mean CRPS of a Normal is its standard deviation over the square root of pi
    assert scores.loc["imputer", "crps"] == pytest.approx(error / np.pi**0.5, rel=0.05)
    if baselines:
        assert error < 0.9 * scores.loc["mean or mode", "error"]
        # linear regression estimates the same conditional means, with slightly larger errors
        assert scores.loc["IterativeImputer", "coverage"] == pytest.approx(level, abs=0.04)
        assert scores.loc["IterativeImputer", "error"] == pytest.approx(error, rel=0.05)
        assert error <= scores.loc["IterativeImputer", "error"]
        assert scores.loc["imputer", "crps"] < scores.loc["IterativeImputer", "crps"]


def test_too_narrow_and_too_wide_intervals_change_coverage_and_crps(exact):
    X, scores = rows(), {}
    for widen in (0.5, 1.0, 2.0):
        imputer = Gaussian(widen=widen).fit(X)
        report = overimputation_report(imputer, X, baselines=False, random_state=0)
        scores[widen] = report.summary.iloc[-1]
    for widen, summary in scores.items():
        coverage = 2 * stats.norm.cdf(widen * stats.norm.ppf(0.95)) - 1
        assert summary["coverage"] == pytest.approx(coverage, abs=0.03)
        assert summary["width"] == pytest.approx(widen * scores[1.0]["width"])
        assert summary["crps"] >= scores[1.0]["crps"]  # a proper score


@pytest.mark.usefixtures("few_baseline_draws")
def test_the_summary_equals_scores_computed_from_the_cells():
    X = mixed()
    report = overimputation_report(
        tiny(MVAEImputer, max_iter=20, n_latents=2).fit(X), X, n_repeats=2, random_state=0
    )
    summary = report.summary.set_index(["column", "kind", "method"])
    assert list(dict.fromkeys(report.summary["column"])) == [*EVALUATED, "all"]
    assert list(dict.fromkeys(report.summary["kind"][-6:])) == ["numeric", "categorical"]
    for method in ("imputer", "mean or mode", "IterativeImputer"):
        lines = report.cells
        if method != "imputer":
            lines = report.baselines[report.baselines["method"] == method]
        pieces = {(name, piece["kind"].iloc[0]): piece for name, piece in lines.groupby("column")}
        pieces["all", "categorical"] = lines[lines["column"].isin(CATEGORICAL)]
        pieces["all", "numeric"] = lines[~lines["column"].isin(CATEGORICAL)]
        for (name, kind), piece in pieces.items():
            scores = summary.loc[(name, kind, method)]
            assert scores["n_cells"] == len(piece)
            if kind == "categorical" or name in CATEGORICAL:
                assert scores["error"] == np.mean([*(piece["category"] != piece["predicted"])])
                assert scores["brier"] == pytest.approx(piece["brier"].mean())
                assert scores[["crps", "coverage", "width"]].isna().all()
                continue
            scale = X[["real", "n"]].astype(float).std(ddof=0)[piece["column"]].to_numpy()
            z = (piece["mean"] - piece["truth"]) / scale
            assert scores["error"] == pytest.approx((z**2).mean() ** 0.5)
            assert scores["crps"] == pytest.approx((piece["crps"] / scale).mean())
            assert np.isnan(scores["brier"])
            if method == "mean or mode":
                assert_allclose(piece["crps"], (piece["mean"] - piece["truth"]).abs())
                assert scores[["coverage", "width"]].isna().all()
                continue
            inside = piece["truth"].between(piece["low"] - 1e-5, piece["high"] + 1e-5)
            assert scores["coverage"] == inside.mean()
            assert scores["width"] == pytest.approx(((piece["high"] - piece["low"]) / scale).mean())
    text = repr(report)
    assert "nan" not in text.lower()
    assert text.splitlines()[0].split() == list(report.summary)


def test_predictions_from_draws_are_close_to_the_distribution_of_the_draws():
    rng, probabilities = np.random.default_rng(0), interval_probabilities(0.9)
    truth = rng.normal(size=4000)
    draws = rng.normal(size=(N_BASELINE_DRAWS, 4000))
    _, quantiles = predictions_from_draws(np.zeros(4000), draws, 0, probabilities)
    assert crps(truth, quantiles[:, :-2]).mean() == pytest.approx(np.pi**-0.5, rel=0.03)
    assert np.mean(quantiles[:, -1] - quantiles[:, -2]) == pytest.approx(3.29, rel=0.04)


def test_constant_draws_have_no_interval():
    _, quantiles = predictions_from_draws(
        np.zeros(2), np.tile([[1.0, 2.0]], (20, 1)), 0, np.array([0.5, 0.05, 0.95])
    )
    assert np.isnan(quantiles[:, -2:]).all()
    np.testing.assert_array_equal(quantiles[:, 0], [1.0, 2.0])


# ---- hidden cells


def test_cells_are_hidden_from_the_clone_in_the_patterns_of_other_rows(exact):
    X = rows(200)
    X[:, 1] = rows(200, share=0.0)[:, 1]  # without missing cells
    copy = X.copy()
    report = overimputation_report(exact, X, n_repeats=5, baselines=False, random_state=0)
    assert_array_equal(X, copy)
    assert len(PREDICTED) == 5
    for repeat, (predicted, fitted) in enumerate(zip(PREDICTED, FITTED[1:], strict=True)):
        hidden = np.isnan(predicted) & ~np.isnan(X)
        assert_array_equal(predicted, fitted)
        assert_array_equal(predicted[~hidden], X[~hidden])
        assert 0 < hidden.any(1).sum() <= 40
        assert (~np.isnan(predicted)).any(1).all()
        cells = report.cells[report.cells["repeat"] == repeat]
        i, j = cells["row"], cells["column"].str[1:].astype(int)
        assert_array_equal(sorted(zip(i, j, strict=True)), np.argwhere(hidden))
        assert_array_equal(cells["truth"], X[i, j])
    assert set(report.cells["column"]) == {"x0", "x2"}
    # five repeats hide cells of each row once
    assert not report.cells.duplicated(["row", "column"]).any()


def test_without_refit_the_imputer_is_not_cloned(exact):
    X = rows(100)
    report = overimputation_report(exact, X, refit=False, baselines=False, random_state=0)
    assert len(FITTED) == 1
    assert_frame_equal(
        report.cells,
        overimputation_report(exact, X, baselines=False, random_state=0).cells,
    )
    assert len(FITTED) == 6


def test_a_column_keeps_an_observed_cell(exact):
    X = rows(100, share=0.0)
    assert len(overimputation_report(exact, X, baselines=False, random_state=0).cells) > 0
    X[1:, 0], X[:50, 1] = np.nan, np.nan  # one observed cell in the first column
    report = overimputation_report(exact, X, baselines=False, random_state=0)
    assert set(report.cells["column"]) == {"x1"}


def test_a_column_that_is_constant_apart_from_hidden_cells_is_not_evaluated():
    X = incomplete_table(50, share=0.0)
    X[:, 1] = np.where(np.arange(50) < 5, np.nan, 1.0)
    X[20, 1] = 2.0  # hidden in one of the five repeats
    report = overimputation_report(tiny(MIWAEImputer).fit(X), X, baselines=False, random_state=0)
    assert set(report.cells["column"]) == {"x1"}
    assert report.cells["repeat"].nunique() == 4
    assert 20 not in set(report.cells["row"])


@pytest.mark.usefixtures("few_baseline_draws")
def test_the_baselines_are_fitted_to_the_table_with_hidden_cells(exact):
    X = rows(100)
    report = overimputation_report(exact, X, n_repeats=1, random_state=0)
    means = report.baselines.query("method == 'mean or mode'").set_index(["row", "column"])["mean"]
    for (_, column), mean in means.items():
        assert mean == pytest.approx(np.nanmean(PREDICTED[0][:, int(column[1:])]))
    assert len(report.baselines) == 2 * len(report.cells)
    without_baselines = overimputation_report(
        exact, X, n_repeats=1, baselines=False, random_state=0
    )
    assert_frame_equal(without_baselines.cells, report.cells)
    assert without_baselines.baselines.empty
    assert set(without_baselines.summary["method"]) == {"imputer"}


@pytest.mark.usefixtures("few_baseline_draws")
def test_reports_are_reproducible_for_any_n_jobs():
    X = incomplete_table(40)
    imputer = tiny(MIWAEImputer, random_state=None).fit(X)

    def make(seed, **options):
        return overimputation_report(imputer, X, n_repeats=2, random_state=seed, **options)

    first, again = make(1), make(1)
    assert_frame_equal(again.cells, first.cells)
    assert_frame_equal(again.baselines, first.baselines)
    assert_frame_equal(make(1, baselines=False, n_jobs=2).cells, first.cells)
    assert not make(2, baselines=False).cells.equals(first.cells)


@pytest.mark.usefixtures("few_baseline_draws")
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_data_frames_of_mixed_types(container):
    X = mixed()
    frame = pl.from_pandas(X) if container == "polars" else X
    copy = frame.clone() if container == "polars" else frame.copy()
    imputer = tiny(MVAEImputer, n_latents=2).fit(frame)
    report = overimputation_report(imputer, frame, n_repeats=2, random_state=0)
    assert frame.equals(copy)
    assert list(dict.fromkeys(report.cells["column"])) == EVALUATED
    rows_of = dict(iter(X.groupby(level=0)))
    for cell in report.cells.itertuples():
        if container == "pandas":
            values = rows_of[cell.row][cell.column].dropna().tolist()
        else:
            values = [frame[cell.row, cell.column]]
        if cell.column in CATEGORICAL:
            assert cell.category in values
            assert 0 <= cell.probability <= 1
            assert 0 <= cell.brier <= 1
        else:
            assert cell.truth in values
            assert cell.low <= cell.high


@pytest.mark.usefixtures("few_baseline_draws")
def test_pandas_and_polars_have_equal_reports():
    X = mixed().reset_index(drop=True).drop(columns="size")  # polars has no ordered type
    tables, imputer = (X, pl.from_pandas(X)), tiny(MVAEImputer, n_latents=2)
    summaries = [
        overimputation_report(imputer.fit(T), T, n_repeats=1, random_state=0).summary
        for T in tables
    ]
    assert_frame_equal(*summaries)


@pytest.mark.usefixtures("few_baseline_draws")
def test_a_binary_column_of_an_array_is_scored_by_probability():
    X = incomplete_table(80)
    X[:, 3] = np.where(np.isnan(X[:, 3]), np.nan, X[:, 3] > -7)
    imputer = tiny(MIWAEImputer, likelihood={3: "bernoulli"}).fit(X)
    report = overimputation_report(imputer, X, n_repeats=2, random_state=0)
    cells = report.cells[report.cells["column"] == "x3"]
    assert set(cells["category"]) <= {0.0, 1.0}
    assert cells["probability"].between(0, 1).all()
    assert set(report.baselines.loc[report.baselines["column"] == "x3", "predicted"]) <= {0.0, 1.0}


def test_interval_limits_may_coincide_with_other_quantiles():
    X = incomplete_table(60)
    imputer = tiny(MIWAEImputer).fit(X)
    cells = overimputation_report(
        imputer, X, level=1 - 1 / 39, refit=False, baselines=False, random_state=0
    ).cells
    assert cells["covered"].mean() > 0.5
    assert (cells["low"] < cells["high"]).all()


@pytest.mark.usefixtures("few_baseline_draws")
def test_plot_returns_a_display_of_the_report(exact, monkeypatch):
    calls = []

    def plot(display, ax, **kwargs):
        calls.append((display.report, ax, kwargs))
        return display

    monkeypatch.setattr(OverimputationDisplay, "plot", plot)
    report = overimputation_report(exact, rows(50), n_repeats=1, random_state=0)
    assert isinstance(report.plot("axes", column="x0", ms=3), OverimputationDisplay)
    assert calls == [(report, "axes", {"column": "x0", "ms": 3})]


# ---- errors


def test_invalid_parameters_are_rejected(exact):
    X = rows(30)
    for level in (0, 1, 1.5, np.nan):
        with pytest.raises(ValueError, match="level must be above 0 and below 1"):
            overimputation_report(exact, X, level=level)
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n_repeats must be an integer of 1 or more"):
            overimputation_report(exact, X, n_repeats=n)


def test_a_table_without_a_cell_to_hide_is_rejected(exact):
    X = np.full((6, 3), np.nan)
    X[np.arange(6), np.arange(6) % 3] = np.arange(6)
    with pytest.raises(ValueError, match="No observed cell could be hidden"):
        overimputation_report(exact, X)
