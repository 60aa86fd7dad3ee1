"""Results of a row are independent of the other rows, and of the tiles that hold the rows."""

import numpy as np
import pytest
import sklearn
import torch
from estimator_cases import assert_same, every_estimator, every_imputer, outputs, quiet, tiny
from estimator_cases import table as incomplete

from skmissvae import (
    DeMissVAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae.inference import batching, importance
from skmissvae.vae import ResidualMLP
from skmissvae.vae.networks.mlp import RowInvariantMLP

pytestmark = quiet

ESTIMATES = ["auto", "mean", "median", "mode"]


@pytest.mark.parametrize("prior", ["normal", "student_t"])
@every_estimator
def test_results_are_independent_of_other_rows(cls, prior):
    X = incomplete(37)
    estimator = tiny(cls, prior=prior).fit(X)
    expected = outputs(estimator, X)
    order = np.random.default_rng(1).permutation(len(X))
    assert_same(outputs(estimator, X[order]), {k: v[order] for k, v in expected.items()})
    assert_same(outputs(estimator, X[5:6]), {k: v[5:6] for k, v in expected.items()})
    assert_same(outputs(estimator, X[20:]), {k: v[20:] for k, v in expected.items()})
    repeated = np.repeat(X, 2, axis=0)
    assert_same(outputs(estimator, repeated), {k: v.repeat(2, 0) for k, v in expected.items()})


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("n_importance_draws", [40, 300])
def test_imputations_are_independent_of_other_rows(estimate, n_importance_draws, likelihood):
    X = incomplete(37)
    imputer = tiny(
        MissSVAEImputer,
        estimate=estimate,
        likelihood=likelihood,
        n_importance_draws=n_importance_draws,
    ).fit(X)
    out = imputer.transform(X)
    order = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_array_equal(imputer.transform(X[order]), out[order])
    for i in range(0, len(X), 6):
        np.testing.assert_array_equal(imputer.transform(X[i : i + 1])[0], out[i])


@every_imputer
def test_draws_are_independent_of_later_rows(cls):
    X = incomplete(37)
    imputer = tiny(cls, estimate="draw").fit(X)
    expected, imputed = imputer.transform(X), imputer.impute(X, 2)
    for n in [1, 16, 20]:
        np.testing.assert_array_equal(imputer.transform(X[:n]), expected[:n])
        for i in range(2):
            np.testing.assert_array_equal(imputer.impute(X[:n], 2)[i], imputed[i][:n])


def curved(n=150, d=13, seed=0):
    """Return a nonlinear table, in which some rows have a low effective sample size."""
    rng = np.random.default_rng(seed)
    X = np.sin(2 * rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))) + 0.1 * rng.normal(
        size=(n, d)
    )
    X[rng.random(X.shape) < 0.4] = np.nan
    return X


# estimator, options, and whether the proposals of some rows are adapted
TILED = {
    "seven draws": (MissSIWAEImputer, {"n_importance_draws": 7}, False),
    "marginal transforms": (
        MissSIWAEImputer,
        {"n_importance_draws": 128, "learn_shapes": True, "n_latents": 11},
        False,
    ),
    "heavy tails": (
        MissSIWAEImputer,
        {"n_importance_draws": 50, "likelihood": "student_t", "prior": "student_t"},
        False,
    ),
    "random initialization": (
        MissSIWAEImputer,
        {"n_importance_draws": 100, "linear_path": False, "n_hidden": 50},
        True,
    ),
    "limits": (
        MissSIWAEImputer,
        {"n_importance_draws": 119, "prior": "mixture", "K": 5, "min_value": -0.5},
        True,
    ),
    "chains at low effective sample size": (DeMissVAEImputer, {"n_importance_draws": 40}, False),
    "density": (VAEDensityEstimator, {"n_importance_draws": 30, "objective": "MIWAE"}, False),
}


tiled = pytest.mark.parametrize(("cls", "options", "adapts"), TILED.values(), ids=TILED)


@pytest.fixture
def tiles(monkeypatch):
    """Record the sizes of tiles."""
    sizes, by_tiles = [], batching.tile_by_tile

    def recorded(*args):
        sizes.append(args[-1])
        return by_tiles(*args)

    monkeypatch.setattr(batching, "tile_by_tile", recorded)
    return sizes


def draws(estimator, X, rows):
    """Return draws for the missing cells of rows, (N, 4, n_features), NaN elsewhere."""
    if not hasattr(estimator, "impute"):
        return np.zeros((len(rows), 1))
    imputed = np.stack(list(estimator.impute(X[rows], 4, row_ids=rows)), 1)
    return np.where(np.isnan(X[rows])[:, None], imputed, np.nan)


@tiled
def test_rows_in_tiles_are_independent_of_other_rows(cls, options, adapts, tiles, monkeypatch):
    adapted, adapt = [], importance.adapt_proposal
    monkeypatch.setattr(
        importance, "adapt_proposal", lambda *args: adapted.append(len(args[1])) or adapt(*args)
    )
    X = curved()
    estimator = tiny(cls, **options).fit(X)
    expected = outputs(estimator, X)
    assert tiles
    rng = np.random.default_rng(1)
    for rows in (rng.permutation(len(X)), [70], np.arange(3, 77), rng.integers(0, len(X), 45)):
        assert_same(outputs(estimator, X[rows]), {k: v[rows] for k, v in expected.items()})
    n_tiles, positions = len(tiles), np.arange(len(X))
    expected_draws = draws(estimator, X, positions)
    assert (len(tiles) > n_tiles) == hasattr(estimator, "impute")
    assert set(adapted) == ({32} if adapts else set())
    for rows in (rng.permutation(positions), positions[70:71], positions[3:77]):
        np.testing.assert_array_equal(draws(estimator, X, rows), expected_draws[rows])


def assert_mostly_close(actual, expected):
    # rounding can move a draw to another component, or a row across the threshold of adaptation
    for name, values in expected.items():
        is_number = ~np.isnan(values)
        error = np.abs(actual[name] - values)[is_number]
        off = error > 1e-3 * (1 + np.abs(values[is_number]))
        assert off.mean() < 0.02, name


@tiled
def test_tiles_agree_with_single_rows(cls, options, adapts, tiles, monkeypatch):
    X = curved()
    X[11] = np.nan
    estimator = tiny(cls, **options).fit(X)

    def results():
        return outputs(estimator, X) | {"draws": draws(estimator, X, np.arange(len(X)))}

    expected = results()
    n_tiles = len(tiles)
    assert n_tiles
    monkeypatch.setattr(batching, "_tile", lambda *args: 0)
    assert_mostly_close(results(), expected)
    assert len(tiles) == n_tiles


def test_tiles_of_many_draws_agree_with_single_rows(tiles, monkeypatch):
    X = curved(40)
    imputer = tiny(MissSIWAEImputer, n_importance_draws=300).fit(X)
    singly = outputs(imputer, X)
    assert not tiles
    monkeypatch.setattr(batching, "_TILE", batching._DEVICE_TILE)
    assert_mostly_close(outputs(imputer, X), singly)
    assert 192 in tiles


def test_chains_do_not_use_tiles(tiles):
    imputer = tiny(MVAEImputer, sampler="pseudo_gibbs", n_sampler_steps=4).fit(curved())
    for call in (imputer.transform, imputer.encode):
        call(curved())
        assert not tiles
    imputer.score_samples(curved())
    assert tiles


def test_rows_are_computed_singly_if_memory_is_short(monkeypatch):
    X = curved(40)
    imputer = tiny(MissSIWAEImputer).fit(X)
    positions = np.arange(len(X))
    expected, expected_draws = outputs(imputer, X), draws(imputer, X, positions)
    full = []

    def raise_out_of_memory(self, x):
        full.append(len(x))
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(RowInvariantMLP, "forward", raise_out_of_memory)
    assert_mostly_close(outputs(imputer, X), expected)
    n_full = len(full)
    assert n_full
    assert_mostly_close({"draws": draws(imputer, X, positions)}, {"draws": expected_draws})
    assert len(full) > n_full


@pytest.mark.parametrize("options", [{"n_latents": 100}, {}])
def test_tiles_respect_the_working_memory(options, tiles):
    imputer = tiny(MissSIWAEImputer, n_importance_draws=1, **options).fit(curved())
    imputer.transform(curved())
    with sklearn.config_context(working_memory=20):
        imputer.transform(curved())
    with sklearn.config_context(working_memory=1):
        imputer.transform(curved())
    assert tiles == ([128, 32] if options else [128, 128, 32])


class Doubled(ResidualMLP):
    def forward(self, x):
        return 2 * super().forward(x)


def test_custom_networks_do_not_use_tiles(tiles):
    for network in (Doubled, lambda i, o: torch.nn.Linear(i, o)):
        tiny(MissSIWAEImputer, decoder=network).fit(curved()).transform(curved())
    assert not tiles
