import numpy as np
import pandas as pd
import pytest
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
from skmissvae.inference import importance as importance
from skmissvae.inspection import Diagnosis
from skmissvae.inspection.diagnose import Finding

pytestmark = quiet

SETTLED = {"bound": [*np.linspace(-9, -5, 50), *[-5.0] * 50]}


def levels(found):
    return {finding.check: finding.level for finding in found.findings}


def fitted(cls=MissSIWAEImputer, history=None, **changes):
    estimator = tiny(cls, **changes).fit(table())
    estimator.history_ = history or SETTLED
    return estimator


@every_estimator
def test_every_estimator_is_diagnosed_without_a_warning_or_a_change(cls, recwarn):
    X = table()
    estimator = tiny(cls).fit(X)
    before = estimator.score_samples(X)
    recwarn.clear()
    found = diagnose(estimator, X)
    assert not recwarn.list
    frame = found.to_frame()
    assert {"columns", "training", "weights", "information"} <= set(frame["check"])
    assert set(frame["level"]) <= {"ok", "note", "problem"}
    assert all(finding.finding in repr(found) for finding in found.findings)
    np.testing.assert_array_equal(estimator.score_samples(X), before)


@pytest.mark.parametrize(
    ("history", "level", "words"),
    [
        (SETTLED, "ok", "has settled"),
        ({"bound": np.linspace(-9, -5, 100).tolist()}, "problem", "still rises"),
        ({"bound": [*np.linspace(-9, -5, 50), *[-8.0] * 50]}, "problem", "fell by 2.6"),
        ({"bound": [-5.0] * 5}, "note", "too few"),
        (
            {**SETTLED, "validation_bound": [*np.linspace(-9, -5, 50), *[-8.0] * 50]},
            "ok",
            "no longer rose",
        ),
    ],
)
def test_the_course_of_training_is_judged(history, level, words):
    (finding,) = [
        f for f in diagnose(fitted(history=history), table()).findings if f[0] == "training"
    ]
    assert finding.level == level
    assert words in finding.finding


@pytest.mark.parametrize(
    ("ess", "k", "level"), [(35.0, 0.2, "ok"), (3.0, 0.2, "problem"), (35.0, 0.9, "problem")]
)
def test_poor_weights_are_a_problem(ess, k, level, monkeypatch):
    monkeypatch.setattr(MVAEImputer, "effective_sample_size", lambda self, X: np.full(len(X), ess))
    monkeypatch.setattr(MVAEImputer, "pareto_k", lambda self, X: np.full(len(X), k))
    found = diagnose(fitted(MVAEImputer), table())
    assert levels(found)["weights"] == level
    assert ("weights" in [f.check for f in found.problems]) == (level == "problem")


def test_dead_components_are_named(monkeypatch):
    estimator = fitted()
    use = np.tile([0.7, 0.0, 0.3], (40, 1))
    monkeypatch.setattr(type(estimator), "mixture_weights", lambda self, X: use)
    (finding,) = [f for f in diagnose(estimator, table()).findings if f.check == "mixture"]
    assert finding.level == "note"
    assert "component 2 of 3 is hardly used" in finding.finding
    assert "K=2" in finding.remedy


@pytest.mark.parametrize(
    ("cls", "nats", "level"),
    [
        (MVAEImputer, 2.0, "note"),
        (MVAEImputer, 0.5, "ok"),
        (MissSIWAEImputer, 0.01, "note"),
        (MissSIWAEImputer, 2.0, "ok"),
    ],
)
def test_information_decides_whether_a_mixture_pays(cls, nats, level, monkeypatch):
    monkeypatch.setattr(cls, "latent_information", lambda self, X: np.full(len(X), nats))
    assert levels(diagnose(fitted(cls), table()))["information"] == level


def test_chains_that_disagree_are_a_problem(monkeypatch):
    def disagree(self, X):
        return pd.DataFrame({"r_hat": np.full(len(X), 3.0)})

    estimator = fitted(DeMissVAEImputer)
    monkeypatch.setattr(DeMissVAEImputer, "chain_diagnostics", disagree)
    assert levels(diagnose(estimator, table()))["chains"] == "problem"
    assert "chains" not in levels(diagnose(fitted(), table()))


def test_columns_that_take_no_part_or_are_nearly_empty_are_named():
    X = pd.DataFrame(table(), columns=list("abcd")).assign(same=1.0)
    (finding,) = [f for f in diagnose(tiny(MVAEImputer).fit(X), X).findings if f[0] == "columns"]
    assert "'same'" in finding.finding
    X = pd.DataFrame(table(100), columns=list("abcd"))
    X["a"] = [0.0, 1.0, *[np.nan] * 98]
    (finding,) = [f for f in diagnose(tiny(MVAEImputer).fit(X), X).findings if f[0] == "columns"]
    assert "95% of 'a' is missing" in finding.finding


def test_inference_and_intervals_are_spoken_of():
    plain = levels(diagnose(fitted(), table()))
    assert plain["inference"] == "note"
    assert "intervals" not in plain
    more = levels(diagnose(fitted(n_models=2, calibrate=True), table()))
    assert "inference" not in more
    assert "intervals" in more


def test_rows_are_drawn_where_there_are_many(monkeypatch):
    sizes = []
    ess = MVAEImputer.effective_sample_size
    monkeypatch.setattr(
        MVAEImputer,
        "effective_sample_size",
        lambda self, X: (sizes.append(len(X)), ess(self, X))[1],
    )
    diagnose(fitted(MVAEImputer), table(), max_rows=7)
    assert sizes == [7]


def test_what_cannot_be_diagnosed_is_refused():
    with pytest.raises(TypeError, match="got SimpleImputer"):
        diagnose(SimpleImputer().fit(table()), table())
    with pytest.raises(NotFittedError):
        diagnose(MVAEImputer(), table())
    with pytest.raises(ValueError, match="max_rows must be an integer of 1 or more; got 0"):
        diagnose(fitted(), table(), max_rows=0)


def test_a_diagnosis_tells_problems_first():
    found = Diagnosis([Finding("a", "ok", "fine."), Finding("b", "problem", "bad.", "Do this.")])
    assert repr(found).splitlines() == ["PROBLEM b: bad. Do this.", "ok   a: fine."]


@every_estimator
def test_contributions_are_what_hiding_a_cell_gains(cls):
    X = table(12)
    estimator = tiny(cls).fit(X)
    found = estimator.outlier_scores(X)
    assert list(found.columns) == ["score", "per_cell", "x0", "x1", "x2", "x3"]
    np.testing.assert_array_equal(found.iloc[:, 2:].isna(), np.isnan(X))
    # densities in other units differ by a constant for each set of columns
    scale = np.log(np.nanstd(X, 0))
    units = np.where(np.isnan(X), 0.0, scale).sum(1)
    np.testing.assert_allclose(found["score"], -estimator.score_samples(X) - units, atol=1e-6)
    i, j = np.argwhere(~np.isnan(X) & ((~np.isnan(X)).sum(1) > 1)[:, None])[0]
    without = X.copy()
    without[i, j] = np.nan
    rest = estimator.outlier_scores(without)["score"][i]
    np.testing.assert_allclose(found.iloc[i, 2 + j], found["score"][i] - rest, atol=1e-9)
    np.testing.assert_allclose(found["per_cell"], found["score"] / (~np.isnan(X)).sum(1))


def test_a_cell_that_does_not_go_with_its_row_contributes_most():
    model = LinearGaussian(one_latent_each=True)
    x, observed = model.rows(2, share=0.0)
    x, observed = x[:1], observed[:1]
    x[0, 2] += 6 * model.sigma
    exact = []
    for d in range(5):
        without = observed.clone()
        without[0, d] = False
        pair = model.log_evidence(x, without) - model.log_evidence(x, observed)
        estimate = [
            importance.evidence(
                importance.ImportanceSampler(model.vae(), x, o, 2000, stream())
            ).log_evidence
            for o in (without, observed)
        ]
        assert float(estimate[0] - estimate[1]) == pytest.approx(float(pair), abs=0.05)
        exact.append(float(pair))
    assert int(np.argmax(exact)) == 2
