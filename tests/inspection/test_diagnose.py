"""diagnose: each check, its level and its remedy; and the scores of outliers."""

import dataclasses
import importlib
import re

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import (
    DeMissVAEImputer,
    MissSIWAEImputer,
    MVAEImputer,
    every_estimator,
    quiet,
    table,
    tiny,
)
from helpers import LinearGaussian, stream
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer

from skmissvae import diagnose
from skmissvae.inference import ConditionalModel
from skmissvae.inference.leave_one_out import leave_one_out
from skmissvae.inspection import Diagnosis
from skmissvae.inspection.diagnose import Finding

pytestmark = quiet

CONVERGED = {"bound": [*np.linspace(-9, -5, 50), *[-5.0] * 50]}


def levels(diagnosis):
    return {finding.check: finding.level for finding in diagnosis.findings}


def finding_of(check, estimator, X):
    (finding,) = [f for f in diagnose(estimator, X).findings if f.check == check]
    return finding


def fitted(cls=MissSIWAEImputer, history=None, **changes):
    estimator = tiny(cls, **changes).fit(table())
    estimator.model_ = dataclasses.replace(estimator.model_, history=history or CONVERGED)
    return estimator


def replace(monkeypatch, name, function):
    """Replace a diagnostic of rows by a function of the estimator and the rows."""
    # the package has a function of the module's name
    monkeypatch.setattr(importlib.import_module("skmissvae.inspection.diagnose"), name, function)


@every_estimator
def test_every_estimator_is_diagnosed_without_warnings_or_side_effects(cls, recwarn):
    X = table()
    estimator = tiny(cls).fit(X)
    before = estimator.score_samples(X)
    recwarn.clear()
    diagnosis = diagnose(estimator, X)
    assert not recwarn.list
    frame = diagnosis.to_frame()
    assert {"columns", "training", "weights", "information"} <= set(frame["check"])
    assert set(frame["level"]) <= {"ok", "note", "problem"}
    assert all(finding.finding in repr(diagnosis) for finding in diagnosis.findings)
    np.testing.assert_array_equal(estimator.score_samples(X), before)


@pytest.mark.parametrize(
    ("history", "level", "words"),
    [
        (CONVERGED, "ok", "has converged"),
        ({"bound": np.linspace(-9, -5, 100).tolist()}, "problem", "still increases"),
        (
            {"bound": [*np.linspace(-9, -5, 50), *[-8.0] * 50]},
            "problem",
            "2.63 nats below its best",
        ),
        ({"bound": [-5.0] * 5}, "note", "too few"),
        (
            {**CONVERGED, "validation_bound": [*np.linspace(-9, -5, 50), *[-8.0] * 50]},
            "ok",
            "stopped increasing",
        ),
    ],
)
def test_the_training_curve_is_classified(history, level, words):
    stopping = "validation_bound" in history
    finding = finding_of("training", fitted(history=history, early_stopping=stopping), table())
    assert finding.level == level
    assert words in finding.finding


@pytest.mark.parametrize(
    ("ess", "k", "level"), [(35.0, 0.2, "ok"), (3.0, 0.2, "problem"), (35.0, 0.9, "problem")]
)
def test_low_ess_and_heavy_tails_are_a_problem(ess, k, level, monkeypatch):
    monkeypatch.setattr(MVAEImputer, "effective_sample_size", lambda self, X: np.full(len(X), ess))
    replace(monkeypatch, "pareto_k", lambda estimator, X: np.full(len(X), k))
    diagnosis = diagnose(fitted(MVAEImputer), table())
    assert levels(diagnosis)["weights"] == level
    assert ("weights" in [f.check for f in diagnosis.problems]) == (level == "problem")


def test_unused_components_are_named(monkeypatch):
    estimator = fitted()
    weights = np.tile([0.7, 0.0, 0.3], (40, 1))
    replace(monkeypatch, "mixture_weights", lambda estimator, X: weights)
    finding = finding_of("mixture", estimator, table())
    assert finding.level == "note"
    assert "component 2 of 3 is unused" in finding.finding
    assert "K=2" in finding.remedy


@pytest.mark.parametrize(("nats", "level"), [(0.01, "note"), (0.8, "ok")])
def test_components_that_coincide_have_collapsed(nats, level, monkeypatch):
    replace(monkeypatch, "component_divergence", lambda estimator, X: np.full(40, nats))
    replace(monkeypatch, "mixture_weights", lambda estimator, X: np.full((40, 4), 0.25))
    finding = finding_of("mixture", fitted(), table())
    assert finding.level == level
    assert f"as far apart as {np.exp(nats):.2g} separate ones ({nats:.2g} nats)" in finding.finding
    assert ("use K=1" in finding.remedy) == (level == "note")


@pytest.mark.parametrize(
    ("cls", "nats", "level"),
    [
        (MVAEImputer, 2.0, "note"),
        (MVAEImputer, 0.5, "ok"),
        (MissSIWAEImputer, 0.01, "note"),
        (MissSIWAEImputer, 2.0, "ok"),
    ],
)
def test_information_decides_whether_a_mixture_is_recommended(cls, nats, level, monkeypatch):
    replace(monkeypatch, "latent_information", lambda estimator, X: np.full(len(X), nats))
    assert levels(diagnose(fitted(cls), table()))["information"] == level


def test_high_r_hat_is_a_problem(monkeypatch):
    def high_r_hat(estimator, X):
        return pd.DataFrame({"r_hat": np.full(len(X), 3.0)})

    replace(monkeypatch, "chain_diagnostics", high_r_hat)
    assert levels(diagnose(fitted(DeMissVAEImputer), table()))["chains"] == "problem"
    assert "chains" not in levels(diagnose(fitted(), table()))


def test_excluded_and_nearly_empty_columns_are_named():
    X = pd.DataFrame(table(), columns=list("abcd")).assign(same=1.0)
    finding = finding_of("columns", tiny(MVAEImputer).fit(X), X)
    assert "same" in finding.finding
    X = pd.DataFrame(table(100), columns=list("abcd"))
    X["a"] = [0.0, 1.0, *[np.nan] * 98]
    finding = finding_of("columns", tiny(MVAEImputer, init="random").fit(X), X)
    assert re.search("95% of '?a'? is missing", finding.finding)


def test_inference_and_intervals_depend_on_models_and_calibration():
    single = levels(diagnose(fitted(), table()))
    assert single["inference"] == "note"
    assert "intervals" not in single
    calibrated = levels(diagnose(fitted(n_bootstrap=2, calibrate=True), table()))
    assert "inference" not in calibrated
    assert "intervals" in calibrated


def test_at_most_max_rows_are_evaluated(monkeypatch):
    sizes = []
    ess = MVAEImputer.effective_sample_size
    monkeypatch.setattr(
        MVAEImputer,
        "effective_sample_size",
        lambda self, X: (sizes.append(len(X)), ess(self, X))[1],
    )
    diagnose(fitted(MVAEImputer), table(), max_rows=7)
    assert sizes == [7]


def test_invalid_calls_are_rejected():
    with pytest.raises(TypeError, match="got SimpleImputer"):
        diagnose(SimpleImputer().fit(table()), table())
    with pytest.raises(NotFittedError):
        diagnose(MVAEImputer(), table())
    with pytest.raises(ValueError, match="max_rows must be an integer of 1 or more; got 0"):
        diagnose(fitted(), table(), max_rows=0)


def test_repr_lists_problems_first():
    diagnosis = Diagnosis(
        [Finding("a", "ok", "fine."), Finding("b", "problem", "bad.", "Do this.")]
    )
    assert repr(diagnosis).splitlines() == ["PROBLEM b: bad. Do this.", "ok   a: fine."]


@every_estimator
def test_outlier_scores_are_differences_of_log_densities(cls):
    X = table(12)
    estimator = tiny(cls).fit(X)
    X = X[:5]
    scores = estimator.outlier_scores(X)
    assert list(scores.columns) == ["score", "per_cell", "x0", "x1", "x2", "x3"]
    np.testing.assert_array_equal(scores.iloc[:, 2:].isna(), np.isnan(X))
    # densities in other units differ by a constant for each set of columns
    scale = np.log(np.nanstd(table(12), 0))
    units = np.where(np.isnan(X), 0.0, scale).sum(1)
    np.testing.assert_allclose(scores["score"], -estimator.score_samples(X) - units, atol=1e-6)
    i, j = np.argwhere(~np.isnan(X) & ((~np.isnan(X)).sum(1) > 1)[:, None])[0]
    without = X[[i]]
    without[0, j] = np.nan
    rest = estimator.outlier_scores(without)["score"][0]
    np.testing.assert_allclose(scores.iloc[i, 2 + j], scores["score"][i] - rest, atol=0.1)
    np.testing.assert_allclose(scores["per_cell"], scores["score"] / (~np.isnan(X)).sum(1))


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_an_inconsistent_cell_has_the_largest_outlier_score(shift):
    exact = LinearGaussian(one_latent_each=True)
    x, observed = exact.rows(2, share=0.0)
    x, observed = x[:1], observed[:1]
    x[0, 2] += shift * exact.sigma
    model = ConditionalModel(exact.vae(widen=1.3), 2000)
    batch = model.encode(x, observed, stream)
    log_density = exact.log_evidence(x, observed)
    rest = []
    for d in range(5):
        without = observed.clone()
        without[0, d] = False
        rest.append(exact.log_evidence(x, without))
    expected = torch.cat(rest) - log_density
    cells = leave_one_out(model, batch)
    contribution, is_reliable = cells.contribution[0], cells.is_reliable[0]
    error = (contribution - expected).abs()
    assert error[is_reliable].max() < 0.1
    # the draws of a row with an outlier do not suit the row without it
    assert bool(is_reliable[2]) == (shift == 0)
    assert shift == 0 or int(contribution.argmax()) == 2


def test_outlier_scores_of_cells_with_unreliable_weights_are_those_of_rows_without_them():
    X = table(40)
    estimator = tiny(MissSIWAEImputer, n_importance_draws=1000).fit(X)
    X = X[:6].copy()
    X[2, np.flatnonzero(~np.isnan(X[2]))[0]] = 30.0
    scores = estimator.outlier_scores(X)
    log_p = estimator.score_samples(X)
    scale = np.log(np.nanstd(table(40), 0))
    for i, j in np.argwhere(~np.isnan(X)):
        without = X[[i]]
        without[0, j] = np.nan
        expected = estimator.score_samples(without)[0] - log_p[i] - scale[j]
        # Monte Carlo errors of densities with at least 100 effective draws
        assert scores.iloc[i, 2 + j] == pytest.approx(expected, abs=0.5)
    at = scores.iloc[:, 2:].max().max()
    assert at == scores.iloc[2, 2:].max()
