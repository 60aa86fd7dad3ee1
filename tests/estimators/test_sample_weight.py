"""Weights of rows: those of zero are absent, and those of two count as two rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from estimator_cases import (
    assert_same,
    every_estimator,
    every_imputer,
    outputs,
    quiet,
    table,
    tiny,
)
from helpers import BOUND_METHODS, generator, tiny_rows, tiny_vae, uniform
from round_trips import by_pickle, by_skops
from sklearn import clone, config_context
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from skmissvae import (
    Checkpoint,
    Chunks,
    EarlyStopping,
    HiddenCellScorer,
    MissSIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    VAEOutlierDetector,
    load,
)
from skmissvae._utils.random import KeyedNoise
from skmissvae.inference import PseudoGibbs
from skmissvae.training.demissvae import DeMissObjective, ImputationStore
from skmissvae.training.loop import evaluate
from skmissvae.training.objectives import Batch, BoundObjective, Objective

pytestmark = quiet


def two_groups(n=240, seed=0):
    """Return rows of two groups, the mask of the second, and weights of one and three."""
    rng = np.random.default_rng(seed)
    is_second = np.arange(n) % 2 == 1
    X = rng.normal(size=(n, 3)) + np.where(is_second, 2.0, -2.0)[:, None]
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, is_second, np.where(is_second, 3.0, 1.0)


@every_estimator
def test_rows_of_weight_zero_are_absent(cls):
    X = table(60)
    weight = (np.arange(60) % 3).astype(float)
    used = weight > 0
    kept = tiny(cls).fit(X[used], sample_weight=weight[used])
    assert_same(outputs(tiny(cls).fit(X, sample_weight=weight), X), outputs(kept, X))
    only = tiny(cls).fit(X, sample_weight=used)
    assert_same(outputs(only, X), outputs(tiny(cls).fit(X[used]), X))


@every_estimator
def test_only_ratios_of_weights_matter(cls):
    X, weight = table(), 1.0 + np.arange(40) % 2
    fitted = [tiny(cls).fit(X, sample_weight=factor * weight) for factor in (1, 4)]
    assert_same(*(outputs(estimator, X) for estimator in fitted))
    equal, none = tiny(cls).fit(X, sample_weight=np.full(40, 0.3)), tiny(cls).fit(X)
    assert_same(outputs(equal, X), outputs(none, X))
    with pytest.raises(AssertionError):
        assert_same(outputs(fitted[0], X), outputs(none, X))


@every_estimator
def test_the_fit_follows_the_weighted_distribution(cls):
    X, _, weight = two_groups()
    estimator = tiny(cls, max_iter=30, init="random", learning_rate=0.01).fit(
        X, sample_weight=weight
    )
    share = (estimator.sample(4000, random_state=0)[:, 0] > 0).mean()
    assert share == pytest.approx(0.75, abs=0.12)  # 0.5 without weights


def normal_scores(shift, log_unit, skew, log_tail):
    """Return a marginal transform on a grid, in standard deviations."""
    u = (np.linspace(-0.5, 1.5, 21) - shift) * np.exp(-log_unit)
    return np.sinh(np.exp(log_tail) * np.arcsinh(u) - skew)


@pytest.mark.parametrize("learn_shapes", [False, True])
def test_units_and_shapes_are_those_of_repeated_rows(learn_shapes):
    rng, n = np.random.default_rng(0), 600
    X = np.column_stack([rng.normal(size=n), np.maximum(rng.normal(size=n), 0), rng.random(n)])
    X[rng.random(X.shape) < 0.2] = np.nan
    weight = rng.integers(1, 4, size=n)
    options = {"learn_shapes": learn_shapes, "init": "random"}
    weighted = tiny(VAEDensityEstimator, **options).fit(X, sample_weight=weight).schema_
    repeated = tiny(VAEDensityEstimator, **options).fit(np.repeat(X, weight, axis=0)).schema_
    for name in ("location", "scale"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)
    for column, expected in zip(weighted.columns, repeated.columns, strict=True):
        assert (column.point_mass is None) == (expected.point_mass is None)
        if column.point_mass is not None:
            np.testing.assert_allclose(column.point_mass, expected.point_mass, rtol=1e-9)
        if learn_shapes:  # of as many quantiles as cells, or of all repetitions
            schemas = column, expected
            curves = [normal_scores(*schema.marginal_transform) for schema in schemas]
            np.testing.assert_allclose(*curves, atol=0.1)
    assert learn_shapes == any(column.point_mass for column in weighted.columns)


def test_bounds_and_scores_are_those_of_repeated_rows():
    X, _, weight = two_groups(60)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    for cls in (MVAEImputer, VAEDensityEstimator):
        fitted = tiny(cls).fit(X)
        assert fitted.score(X, sample_weight=weight) == pytest.approx(fitted.score(repeated))
        assert fitted.score(X, sample_weight=weight) != pytest.approx(fitted.score(X))


class FirstColumn(Objective):
    """An objective whose bound is the first column."""

    def bound(self, vae, batch, noise):
        return batch.x[:, 0]

    def backward(self, vae, batch, noise):
        raise NotImplementedError


def test_the_bound_of_held_out_rows_is_weighted():
    x, weight = uniform(7, 2, low=-1.0).float(), uniform(10).float()
    rows = Batch(x, torch.ones(7, 2, dtype=torch.bool), torch.arange(3, 10))
    value = evaluate(torch.nn.Identity(), FirstColumn(weight=weight), rows, 4, 0)
    assert value == pytest.approx(np.average(x[:, 0], weights=weight[3:]), rel=1e-5)
    unweighted = evaluate(torch.nn.Identity(), FirstColumn(), rows, 4, 0)
    assert unweighted == pytest.approx(float(x[:, 0].mean()), rel=1e-5)


@every_imputer
def test_fits_with_held_out_rows_use_weights(cls):
    X, _, weight = two_groups(60)
    fitted = [
        tiny(cls, early_stopping=EarlyStopping(validation_fraction=0.5)).fit(X, sample_weight=w)
        for w in (None, weight)
    ]
    scores = [imputer.validation_score_ for imputer in fitted]
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X))[::-1]),
        lambda X: pl.DataFrame(X, schema=list("abcd")),
        lambda X: X.astype(object).tolist(),
    ],
    ids=["pandas", "polars", "lists"],
)
def test_any_container_of_rows_and_weights(convert):
    X, weight = table(), np.arange(40) % 3
    expected = tiny(MVAEImputer).fit(X, sample_weight=weight)
    frame = convert(X)
    for weights in (pd.Series(weight, index=range(40, 0, -1)), weight.tolist(), pl.Series(weight)):
        fitted = tiny(MVAEImputer).fit(frame, sample_weight=weights)
        np.testing.assert_array_equal(fitted.score_samples(frame), expected.score_samples(X))
    completed = tiny(MVAEImputer).fit_transform(frame, sample_weight=weight)
    assert len(completed) == 40


@pytest.mark.parametrize("options", [{"n_bootstrap": 2}, {"calibrate": True}])
def test_further_models_are_fitted_with_weights(options, monkeypatch):
    X, weight = table(60), 1.0 + np.arange(60) % 3
    used, objective = [], BoundObjective.weighted

    def recorded(self, values, batch):
        used.append(self.weight)
        return objective(self, values, batch)

    monkeypatch.setattr(BoundObjective, "weighted", recorded)
    tiny(MVAEImputer, max_iter=1, batch_size=60, **options).fit(X, sample_weight=weight)
    assert len(used) == (3 if "n_bootstrap" in options else 2)
    for values in used:
        assert values.mean() == pytest.approx(1, abs=1e-5)
        ratios = (values / values.min()).numpy()
        np.testing.assert_allclose(np.unique(ratios.round(4)), [1, 2, 3])


class SharedNoise(KeyedNoise):
    """Noise that all rows share."""

    def __init__(self):
        super().__init__(0, [0], dtype=torch.float64)


@pytest.mark.parametrize("name", [*BOUND_METHODS, "DeMissVAE", "CVI-VAE"])
def test_gradients_are_those_of_repeated_rows(name):
    vae, rows = tiny_vae(), tiny_rows(12, dtype=torch.float64)
    vae = vae.double()
    n = torch.arange(12) % 3
    repeated = rows.part(torch.repeat_interleave(torch.arange(12), n))
    gradients = []
    for batch, weight in ((rows, n * 12 / n.sum()), (repeated, None)):
        if name in BOUND_METHODS:
            objective = replace(BOUND_METHODS[name].objective(), weight=weight)
        else:
            store = ImputationStore(rows, 3, 0, generator(), rows)
            store.x, store.z = store.x.double(), store.z.double()
            term = "cvi" if name == "CVI-VAE" else None
            objective = DeMissObjective(store, PseudoGibbs(), term=term, weight=weight)
        vae.zero_grad()
        objective.backward(vae, batch, SharedNoise())
        gradients.append([parameter.grad.clone() for parameter in vae.parameters()])
    assert any(gradient.abs().max() > 0.01 for gradient in gradients[0])
    for gradient, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10)


def test_categories_have_their_weighted_frequencies():
    words = ["a"] * 30 + ["b"] * 20 + ["once", "also once"]
    X = pd.DataFrame({"word": words, "x": np.random.default_rng(0).normal(size=52)})
    weight = np.where(X["word"] == "once", 20.0, 1.0)
    density = tiny(VAEDensityEstimator, init="random").fit(X, sample_weight=weight)
    (column,) = (column for column in density.schema_.columns if column.counts)
    share = pd.Series(weight).groupby(X["word"]).sum() / weight.sum()
    np.testing.assert_allclose(np.array(column.counts) / sum(column.counts), share, rtol=1e-12)
    draws = density.sample(4000, random_state=0)["word"].value_counts()
    assert draws["once"] > 5 * draws.get("also once", 0)


def test_an_outlier_of_small_weight_does_not_determine_the_units():
    rng = np.random.default_rng(0)
    X = np.append(rng.normal(size=990), rng.normal(1e4, 1.0, size=10))[:, None]
    X = np.hstack([X, rng.normal(size=(1000, 1))])
    weight = np.where(np.arange(1000) < 990, 1.0, 120.0)
    schemas = [
        tiny(VAEDensityEstimator, init="random", max_iter=1).fit(X, **options).schema_
        for options in ({}, {"sample_weight": weight})
    ]
    assert schemas[0].scale[0] < 2 < 1000 < schemas[1].scale[0]


def test_a_point_mass_of_large_weight():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.append(np.zeros(90), 1 + rng.exponential(size=30)), np.arange(120) % 7])
    weight = np.where(np.arange(120) < 90, 100.0, 1.0)
    density = tiny(VAEDensityEstimator, learn_shapes=True).fit(X, sample_weight=weight)
    assert density.schema_.columns[0].point_mass[1] == pytest.approx(9000 / 9030)


def test_a_warm_start_checks_the_table():
    frame = pd.DataFrame(table(), columns=list("abcd"))
    imputer = tiny(MVAEImputer, warm_start=True).fit(frame)
    before, weight = imputer.score_samples(frame), np.arange(40) % 3
    with pytest.raises(ValueError, match="feature names"):
        imputer.fit(frame[list("dcba")], sample_weight=weight)
    with pytest.raises(ValueError, match="5 features"):
        imputer.fit(np.ones((40, 5)), sample_weight=weight)
    np.testing.assert_array_equal(imputer.score_samples(frame), before)


def test_lists_of_mixed_types_keep_their_types():
    X = [[0.1 * i, "xyz"[i % 3], i % 2 == 0] for i in range(40)]
    imputer = tiny(MVAEImputer).fit(X, sample_weight=np.arange(40) % 2)
    kinds = imputer.feature_kinds_
    assert (kinds["x0"], kinds["x1"]) == ("continuous", "categorical")
    X = [[2**60 + i, np.nan if i % 3 else 1.0] for i in range(40)]
    weighted = tiny(MVAEImputer).fit(X, sample_weight=np.arange(40) % 2)
    assert weighted.feature_kinds_ == tiny(MVAEImputer).fit(X[1::2]).feature_kinds_


def test_files_keep_weighted_frequencies_and_requests(tmp_path):
    X = pd.DataFrame({"word": list("aabbbcc") * 6, "x": np.arange(42.0)})
    with config_context(enable_metadata_routing=True):
        imputer = tiny(MVAEImputer).set_fit_request(sample_weight=True)
        imputer.fit(X, sample_weight=1.0 + np.arange(42) % 4)
        imputer.save(tmp_path / "imputer")
        for loaded in (load(tmp_path / "imputer"), by_pickle(imputer), by_skops(imputer)):
            np.testing.assert_array_equal(loaded.score_samples(X), imputer.score_samples(X))
            assert loaded.schema_.columns == imputer.schema_.columns
            assert loaded.get_metadata_routing().fit.requests["sample_weight"] is True


def test_a_warm_start_takes_other_weights():
    X, is_second, _ = two_groups()
    imputer = tiny(MVAEImputer, warm_start=True, init="random").fit(X)
    first = imputer.score(X[is_second])
    imputer.set_params(max_iter=20).fit(X, sample_weight=np.where(is_second, 1.0, 1e-3))
    assert imputer.score(X[is_second]) > first


def test_a_checkpoint_is_refused_for_other_weights(tmp_path):
    class Stop(Exception):
        pass

    X, weight = table(), 1.0 + np.arange(40) % 3
    path = tmp_path / "fit"

    def interrupted(*_, **__):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        imputer = tiny(MVAEImputer).set_callbacks(Checkpoint(path, every_n_epochs=1))
        patch.setattr("skmissvae.training.fit.InMemoryLoader.batches", interrupted)
        with pytest.raises(Stop):
            imputer.fit(X, sample_weight=weight)
    with pytest.raises(ValueError, match="another fit"):
        tiny(MVAEImputer).set_callbacks(Checkpoint(path)).fit(X, sample_weight=weight[::-1])
    resumed = tiny(MVAEImputer).set_callbacks(Checkpoint(path)).fit(X, sample_weight=weight)
    expected = tiny(MVAEImputer).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(resumed.score_samples(X), expected.score_samples(X))


def test_outlier_detectors_pass_weights_on():
    X, weight = table(), 1.0 + np.arange(40) % 3
    detector = VAEOutlierDetector(tiny(VAEDensityEstimator)).fit(X, sample_weight=weight)
    expected = tiny(VAEDensityEstimator).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(detector.estimator_.score_samples(X), expected.score_samples(X))


class ByTwo(BaseEstimator):
    """An imputer that fills in 2 and keeps the mask of missing cells."""

    def transform(self, X):
        self.missing = np.isnan(X)
        return np.where(self.missing, 2.0, X)


def test_hidden_cells_are_weighted_by_their_rows():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(100, 2)) * [1.0, 5.0], rng.integers(0, 4, size=100)
    X[weight == 0] *= 1e3
    imputer = ByTwo()
    score = HiddenCellScorer(fraction=0.5)(imputer, X, sample_weight=weight)
    assert not imputer.missing[weight == 0].any()
    scale = np.repeat(X, weight, axis=0).std(0)
    errors = ((X - 2) / scale)[imputer.missing] ** 2
    weights = np.repeat(weight[:, None], 2, axis=1)[imputer.missing]
    assert score == pytest.approx(-np.sqrt(np.average(errors, weights=weights)))
    used = X[weight > 0]
    equal = [
        HiddenCellScorer()(imputer, used, sample_weight=w) for w in (None, np.full(len(used), 7.0))
    ]
    assert equal[0] == pytest.approx(equal[1])
    with pytest.raises(ValueError, match="No observed cell was hidden"):
        HiddenCellScorer(fraction=0.01)(imputer, X, sample_weight=np.arange(100) == 3)


def test_metadata_is_routed():
    X, weight = table(60), 1.0 + np.arange(60) % 3
    with config_context(enable_metadata_routing=True):
        imputer = tiny(MVAEImputer).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(imputer).fit(X, sample_weight=weight)
        expected = tiny(MVAEImputer).fit(X, sample_weight=weight)
        np.testing.assert_array_equal(pipeline[0].score_samples(X), expected.score_samples(X))
        scorer = HiddenCellScorer().set_score_request(sample_weight=True)
        scores = []
        for asking in (scorer, clone(scorer).set_score_request(sample_weight=False)):
            search = GridSearchCV(imputer, {"n_latents": [1, 2]}, cv=2, scoring=asking)
            scores.append(search.fit(X, sample_weight=weight).best_score_)
        assert np.isfinite(scores).all()
        assert scores[0] != scores[1]
        density = tiny(VAEDensityEstimator).set_fit_request(sample_weight=True)
        density.set_score_request(sample_weight=True)
        result = cross_validate(density, X, cv=2, params={"sample_weight": weight})
        assert np.isfinite(result["test_score"]).all()


INVALID = {
    "negative": (lambda w: np.where(np.arange(40) == 3, -1.0, w), "of row 3 is -1"),
    "missing": (lambda w: np.where(np.arange(40) == 5, np.nan, w), "of row 5 is nan"),
    "infinite": (lambda w: np.where(np.arange(40) == 5, np.inf, w), "of row 5 is inf"),
    "short": (lambda w: w[1:], r"shape \(39,\).*each of the 40 rows"),
    "two axes": (lambda w: w[:, None], r"shape \(40, 1\)"),
    "zero": (lambda w: 0 * w, "zero in every row"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_weights_are_refused(kind):
    change, message = INVALID[kind]
    X, weight = table(), np.ones(40)
    estimator = tiny(VAEDensityEstimator).fit(X)
    before = dict(vars(estimator))
    for call in (
        estimator.fit,
        estimator.score,
        lambda X, sample_weight: HiddenCellScorer()(
            SimpleImputer().fit(X), X, sample_weight=sample_weight
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call(X, sample_weight=change(weight))
    assert vars(estimator) == before
    texts, dates = weight.astype(str), weight.astype("datetime64[s]")
    for other in ("heavy", texts, dates, weight + 1j, np.ma.array(weight), [[1], [2, 3]]):
        with pytest.raises(TypeError, match=r"must hold numbers; got .* Pass a number"):
            estimator.fit(X, sample_weight=other)


def test_chunks_take_no_weights():
    X = table()
    chunks = Chunks.from_array(X, 10)
    with pytest.raises(ValueError, match="cannot be fitted to Chunks with sample_weight"):
        tiny(MissSIWAEImputer).fit(chunks, sample_weight=np.ones(40))


@every_estimator
def test_weights_of_any_size_are_finite(cls):
    X, is_first = table(), np.arange(40) < 20
    fitted = tiny(cls, max_iter=1).fit(X, sample_weight=np.where(is_first, 1e308, 1e303))
    assert all(torch.isfinite(value).all() for value in fitted.vae_.state_dict().values())
    assert np.isfinite(fitted.score(X, sample_weight=np.full(40, 1e308)))
    with pytest.raises(ValueError, match=r"1e\+07 times the smallest.*Trim"):
        tiny(cls).fit(X, sample_weight=np.where(is_first, 1e7, 1.0))
