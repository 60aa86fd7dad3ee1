"""``map_rows``: a row gets the same bits whatever the other rows are, in any order."""

import copy
import functools
import itertools
from typing import NamedTuple

import numpy as np
import pytest
import sklearn
import torch
from estimator_cases import (
    ESTIMATORS,
    assert_same,
    every_imputer,
    outputs,
    quiet,
    tiny,
)

from skmissvae import (
    CustomNetwork,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MIWAEImputer,
    MVAEImputer,
    ResidualNetwork,
    VAEDensityEstimator,
)
from skmissvae.inference import (
    LAIR,
    ConditionalModel,
    PseudoGibbs,
    batching,
    importance,
    map_rows,
    weights,
)
from skmissvae.vae import ResidualMLP
from skmissvae.vae.networks.mlp import RowInvariantMLP

pytestmark = quiet

EMPTY, COMPLETE = 3, 4  # rows of ``curved`` without an observed and without a missing cell
STATISTICS = ["mean", "std", "5%", "50%", "95%"]


@functools.cache
def curved(n=65, d=6, seed=0):
    """Return a nonlinear table, in which some rows have a low effective sample size."""
    rng = np.random.default_rng(seed)
    X = np.sin(2 * rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)))
    X += 0.1 * rng.normal(size=(n, d))
    complete = X[COMPLETE].copy()
    X[rng.random(X.shape) < 0.4] = np.nan
    X[EMPTY], X[COMPLETE] = np.nan, complete
    return X


def results(estimator, rows):
    """Return the results of rows of ``curved`` by method, with rows on the first axis."""
    X = curved()[rows]
    values = {"score_samples": estimator.score_samples(X)}
    if not hasattr(estimator, "impute"):
        return values
    imputations = estimator.impute(X, 2, row_ids=np.asarray(rows))
    values["impute"] = np.stack(list(imputations), 1)
    return values | {"transform": estimator.transform(X)}


def cell_statistics(estimator, rows):
    """Return the statistics of the cells of rows of ``curved``, which are computed one by one."""
    X = curved()[rows]
    if not hasattr(estimator, "impute"):
        return {}
    cells = estimator.cell_distribution(X)
    statistics = np.full((*X.shape, len(STATISTICS)), np.nan)
    at = cells["row"].to_numpy(int), cells["column"].str[1:].to_numpy(int)
    statistics[at] = cells[STATISTICS].to_numpy(float)
    return {"cell_distribution": statistics}


# -- all estimators and ways of inference ---------------------------------------------------------


class Case(NamedTuple):
    options: dict  # of inference
    selections: list  # of rows; the last one has all rows of the table, reversed
    statistics: tuple  # functions of an estimator and rows


BATCHES = [range(31), range(32), [17], range(64, -1, -1)], (results,)
SINGLE_ROWS = [[7], range(9, -1, -1)], (results, cell_statistics)
CASES = {
    "few draws": Case({"n_importance_draws": 30}, *BATCHES),
    "adapted proposals": Case({"n_importance_draws": 110}, *BATCHES),
    "many draws": Case({"n_importance_draws": 1000}, *BATCHES),
    "bounds": Case({"n_importance_draws": 256, "min_value": -0.5}, *BATCHES),
    "1,000 draws": Case({"n_importance_draws": 1000}, *SINGLE_ROWS),
    "chains": Case({"sampler": LAIR(n_chains=4, n_steps=4)}, *SINGLE_ROWS),
}
#: All cases for each kind of model; the other estimators differ from them in training only.
KINDS = [MIWAEImputer, MissSIWAEImputer, DeMissVAEImputer, VAEDensityEstimator]
OTHERS = [cls for cls in ESTIMATORS if cls not in KINDS]
PAIRS = [*itertools.product(KINDS, CASES), *zip(OTHERS, itertools.cycle(CASES), strict=False)]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Use two threads, also for the rows that are computed one by one."""
    monkeypatch.setattr(batching, "_ROWS_PER_THREAD", 5)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(n_threads)


@functools.cache
def fitted(cls):
    """Return an estimator with an inaccurate encoder, so that proposals are adapted."""
    return tiny(cls, network=ResidualNetwork(linear_path=False), max_iter=1).fit(curved())


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "case"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_a_row_has_the_same_bits_with_any_other_rows_and_number_of_threads(cls, case):
    options, selections, statistics = CASES[case]
    valid = set(fitted(cls).get_params())
    estimator = copy.copy(fitted(cls))
    estimator.set_params(**{k: v for k, v in options.items() if k in valid})
    for function in statistics:
        expected = function(estimator, range(len(selections[-1])))  # by two threads
        torch.set_num_threads(1)
        for rows in map(list, selections):
            assert_same(function(estimator, rows), {k: v[rows] for k, v in expected.items()})
        torch.set_num_threads(2)


@every_imputer
def test_draws_of_transform_do_not_depend_on_later_rows(cls):
    X = curved()
    imputer = copy.copy(fitted(cls)).set_params(strategy="draw")
    expected = imputer.transform(X[:33])
    for n in (1, 20):
        np.testing.assert_array_equal(imputer.transform(X[:n]), expected[:n])


def test_rows_with_a_low_effective_sample_size_get_better_proposals_and_more_draws(batch_sizes):
    estimator = copy.copy(fitted(MissSIWAEImputer)).set_params(n_importance_draws=1000)
    ess = estimator.effective_sample_size(curved())
    n_batches = len(batch_sizes)
    assert n_batches > 2  # trials
    assert (ess < 100).mean() < 0.1
    estimator.set_params(n_importance_draws=99).effective_sample_size(curved())
    assert len(batch_sizes) == n_batches + 1


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
def test_every_strategy_is_independent_of_the_other_rows(likelihood):
    X = curved()
    imputer = tiny(MissSVAEImputer, likelihood=likelihood).fit(X)
    for strategy in ("median", "mode"):
        imputer.set_params(strategy=strategy)
        expected = imputer.transform(X)
        np.testing.assert_array_equal(imputer.transform(X[::-1]), expected[::-1])
        for i in (EMPTY, 50):
            np.testing.assert_array_equal(imputer.transform(X[i : i + 1])[0], expected[i])


# -- batches and single rows ----------------------------------------------------------------------

MODELS = {
    "marginal transforms": {"n_importance_draws": 128, "learn_shapes": True, "n_latents": 11},
    "heavy tails": {"n_importance_draws": 50, "likelihood": "student_t", "prior": "student_t"},
    "bounds": {"n_importance_draws": 119, "prior": "mixture", "K": 5, "min_value": -0.5},
    "many latents": {"n_importance_draws": 256, "n_latents": 24},
    "custom widths": {"n_importance_draws": 7, "n_hidden": 50, "n_latents": 2},
}
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def batch_sizes(monkeypatch):
    """Record the sizes of batches."""
    sizes, batches = [], batching._Job.batches

    def recorded(self, function, model, index, size):
        sizes.append(size)
        return batches(self, function, model, index, size)

    monkeypatch.setattr(batching._Job, "batches", recorded)
    return sizes


@functools.cache
def fitted_model(model):
    """Return an imputer with other parts of the model than the default."""
    return tiny(MissSIWAEImputer, **MODELS[model]).fit(curved())


@every_model
def test_rows_in_batches_are_independent_of_other_rows(model, batch_sizes):
    imputer, expected = fitted_model(model), results(fitted_model(model), range(33))
    assert batch_sizes
    order = np.random.default_rng(1).permutation(33)
    for rows in (order, [20], range(3, 32)):
        rows = list(rows)
        assert_same(results(imputer, rows), {k: v[rows] for k, v in expected.items()})


@every_model
def test_draws_in_batches_are_independent_of_later_rows(model):
    imputer = copy.copy(fitted_model(model)).set_params(strategy="draw", n_importance_draws=256)
    expected = imputer.transform(curved()[:33])
    for n in (1, 2, 13):
        np.testing.assert_array_equal(imputer.transform(curved()[:n]), expected[:n])


def assert_mostly_close(actual, expected):
    # rounding can move a draw to another component, or a row across the threshold of a proposal
    for name, values in expected.items():
        is_number = ~np.isnan(values)
        error = np.abs(actual[name] - values)[is_number]
        is_far = error > 1e-3 * (1 + np.abs(values[is_number]))
        assert is_far.mean() < 0.05, name


@pytest.mark.slow
@every_model
def test_batches_agree_with_single_rows(model, batch_sizes, monkeypatch):
    imputer, expected = fitted_model(model), results(fitted_model(model), range(65))
    n_batches = len(batch_sizes)
    assert n_batches
    monkeypatch.setattr(ConditionalModel, "row_invariant", lambda self: None)
    assert_mostly_close(results(imputer, range(65)), expected)
    assert len(batch_sizes) == n_batches


def test_large_batches_of_a_gpu_agree_with_single_rows(batch_sizes, monkeypatch):
    X = curved()
    imputer = copy.copy(fitted(MissSIWAEImputer)).set_params(n_importance_draws=300)
    expected = outputs(imputer, X)
    assert 224 not in batch_sizes
    monkeypatch.setattr(batching, "_CPU_LIMITS", batching._GPU_LIMITS)
    monkeypatch.setattr(batching._Job, "_takes_any_number", lambda self, model: False)
    assert_mostly_close(outputs(imputer, X), expected)
    assert 224 in batch_sizes


def test_proposals_are_adapted_in_batches_of_constant_size(monkeypatch):
    sizes, adapt = [], importance.adapt_proposal
    monkeypatch.setattr(
        importance, "adapt_proposal", lambda *args: sizes.append(args[2].shape[1]) or adapt(*args)
    )
    monkeypatch.setattr(weights, "_SUFFICIENT_SHARE", 0.95)
    imputer = copy.copy(fitted(MissSIWAEImputer)).set_params(n_importance_draws=110)
    imputer.score_samples(curved())
    assert set(sizes) == {32}
    sizes.clear()
    imputer.set_params(n_importance_draws=1000).score_samples(curved())
    assert set(sizes) == {1}


def test_chains_do_not_use_batches(batch_sizes):
    imputer = copy.copy(fitted(MVAEImputer)).set_params(sampler=PseudoGibbs(n_steps=4))
    for method in (imputer.transform, imputer.encode):
        method(curved())
        assert not batch_sizes
    imputer.score_samples(curved())
    assert batch_sizes


def test_rows_are_computed_singly_if_memory_is_short(monkeypatch):
    imputer = fitted_model("heavy tails")
    expected, n_errors = results(imputer, range(65)), []

    def raise_out_of_memory(self, x):
        n_errors.append(len(x))
        raise torch.OutOfMemoryError

    monkeypatch.setattr(RowInvariantMLP, "forward", raise_out_of_memory)
    assert_mostly_close(results(imputer, range(65)), expected)
    assert n_errors


@pytest.mark.parametrize(
    ("n_latents", "sizes"), [(100, [128, 32, 1]), (None, [128, 128, 32])], ids=["many", "few"]
)
def test_batches_respect_the_working_memory(n_latents, sizes, batch_sizes):
    X = curved(40, 13)
    imputer = tiny(MissSIWAEImputer, n_importance_draws=1, n_latents=n_latents).fit(X)
    imputer.transform(X)
    for megabytes in (20, 1):
        with sklearn.config_context(working_memory=megabytes):
            imputer.transform(X)
    assert batch_sizes == sizes


class Doubled(ResidualMLP):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("decoder", [Doubled, torch.nn.Linear])
def test_custom_networks_do_not_use_batches(decoder, batch_sizes):
    def make(in_features, out_features):
        return decoder(in_features, out_features)

    network = CustomNetwork(decoder=make)
    tiny(MissSIWAEImputer, network=network).fit(curved()).transform(curved())
    assert not batch_sizes


# -- the function itself --------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [False, True])
def test_an_empty_selection_gives_empty_arrays_with_the_fields_of_the_result(batched):
    estimator = copy.copy(fitted(MissSIWAEImputer)).set_params(n_importance_draws=30)
    X, rows = curved(), estimator.encode_rows(curved())
    model, noise = estimator.conditional_model(), estimator._shared_noise
    for function in (ConditionalModel.evidence, ConditionalModel.means, ConditionalModel.draw):
        arguments = rows, function, model, torch.device("cpu"), noise
        result = map_rows(*arguments, batched=batched)
        empty = map_rows(*arguments, [], batched=batched)
        assert type(empty) is type(result)
        for values, all_values in zip(empty, result, strict=True):
            assert values.shape == (0, *all_values.shape[1:])
            assert values.dtype == all_values.dtype
            assert len(all_values) == len(X)


def test_a_custom_function_is_applied_to_each_row():
    class NumberObserved(NamedTuple):
        n: torch.Tensor

    X = curved()
    for cls in (MissSIWAEImputer, VAEDensityEstimator):
        result = fitted(cls).map_rows(X, lambda model, batch: NumberObserved(batch.observed.sum(1)))
        np.testing.assert_array_equal(result.n, (~np.isnan(X)).sum(1))
