"""Laws of tables with holes: what goes in, what comes out, and what must not matter."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from estimator_cases import (
    IMPUTERS,
    assert_same,
    every_estimator,
    every_imputer,
    outputs,
    quiet,
    tiny,
)
from estimator_cases import table as holed
from sklearn.impute import SimpleImputer

from skmissvae import (
    DeMissVAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    diagnose,
)
from skmissvae.inference import batching as _rowwise
from skmissvae.inference import importance as importance
from skmissvae.tables import reader as _reading
from skmissvae.vae import ResidualMLP
from skmissvae.vae.networks.mlp import RowInvariantMLP

pytestmark = quiet

ESTIMATES = ["auto", "mean", "median", "mode"]


# -- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@every_imputer
def test_observed_cells_come_back_bit_for_bit_and_no_hole_stays(cls, dtype):
    X = holed(dtype=dtype)
    out = tiny(cls).fit(X).transform(X)
    assert out.dtype == dtype
    assert out.shape == X.shape
    assert np.isfinite(out).all()
    seen = ~np.isnan(X)
    assert out[seen].tobytes() == X[seen].tobytes()


def test_observed_cells_of_every_magnitude_come_back_bit_for_bit():
    extreme = [0.1, -0.0, 5e-324, 1e-300, 1.7e308, -1.7e308, 2**53 + 1.0, 1 / 3]
    X = np.column_stack([extreme, np.arange(8.0), [np.nan, *range(7)]])
    out = tiny(MVAEImputer).fit_transform(X)
    assert out[:, 0].tobytes() == np.array(extreme).tobytes()


@every_imputer
def test_integers_in(cls):
    X = np.arange(40).reshape(10, 4) ** 2 % 7
    np.testing.assert_array_equal(tiny(cls).fit_transform(X), X)
    X[::3, 1] = -1
    out = tiny(cls, missing_values=-1).fit_transform(X)
    np.testing.assert_array_equal(out[X != -1], X[X != -1])
    assert np.isfinite(out).all()


@every_imputer
def test_fit_transform_is_fit_then_transform_and_repeats_itself(cls):
    X = holed()
    fitted = tiny(cls).fit(X)
    once = fitted.transform(X)
    np.testing.assert_array_equal(tiny(cls).fit_transform(X), once)
    np.testing.assert_array_equal(fitted.transform(X), once)


@every_estimator
def test_the_table_given_is_never_changed(cls):
    X = holed()
    given = X.copy()
    estimator = tiny(cls).fit(given)
    outputs(estimator, given)
    if cls in IMPUTERS:
        estimator.transform(given)[:] = 0.0
        estimator.impute(given, 1)[0][:] = 0.0
    np.testing.assert_array_equal(given, X)


def test_a_frame_given_is_never_changed_even_through_the_output():
    frame = pd.DataFrame(holed(), columns=list("abcd"))
    before = frame.copy(deep=True)
    imputer = tiny(MVAEImputer).set_output(transform="pandas")
    for out in [imputer.fit_transform(frame), imputer.impute(frame, 1)[0]]:
        out.iloc[:, :] = 0.0
        pd.testing.assert_frame_equal(frame, before)


# -- what must not matter: neighbours, order, batch ----------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "student_t"])
@every_estimator
def test_what_a_row_gets_depends_on_the_row_alone(cls, prior):
    X = holed(37)
    estimator = tiny(cls, prior=prior).fit(X)
    whole = outputs(estimator, X)
    order = np.random.default_rng(1).permutation(len(X))
    assert_same(outputs(estimator, X[order]), {k: v[order] for k, v in whole.items()})
    assert_same(outputs(estimator, X[5:6]), {k: v[5:6] for k, v in whole.items()})
    assert_same(outputs(estimator, X[20:]), {k: v[20:] for k, v in whole.items()})
    repeated = np.repeat(X, 2, axis=0)
    assert_same(outputs(estimator, repeated), {k: v.repeat(2, 0) for k, v in whole.items()})


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("n_importance_draws", [40, 300])
def test_estimates_depend_on_the_row_alone(estimate, n_importance_draws, likelihood):
    X = holed(37)
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


def curved(n=150, d=13, seed=0):
    """Return a table of three latents that bends: a tiny training is a poor guide to some rows."""
    rng = np.random.default_rng(seed)
    X = np.sin(2 * rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))) + 0.1 * rng.normal(
        size=(n, d)
    )
    X[rng.random(X.shape) < 0.4] = np.nan
    return X


# an estimator, options, and whether proposals of some rows are adapted
TILED = {
    "seven draws": (MissSIWAEImputer, {"n_importance_draws": 7}, False),
    "warped": (
        MissSIWAEImputer,
        {"n_importance_draws": 128, "learn_shapes": True, "n_latents": 11},
        False,
    ),
    "heavy tails": (
        MissSIWAEImputer,
        {"n_importance_draws": 50, "likelihood": "student_t", "prior": "student_t"},
        False,
    ),
    "random start": (
        MissSIWAEImputer,
        {"n_importance_draws": 100, "linear_path": False, "n_hidden": 50},
        True,
    ),
    "bounded": (
        MissSIWAEImputer,
        {"n_importance_draws": 119, "prior": "mixture", "K": 5, "min_value": -0.5},
        True,
    ),
    "chains where poor": (DeMissVAEImputer, {"n_importance_draws": 40}, False),
    "density": (VAEDensityEstimator, {"n_importance_draws": 30, "objective": "MIWAE"}, False),
}
tiled = pytest.mark.parametrize(("cls", "options", "poor"), TILED.values(), ids=TILED)


@pytest.fixture
def tiles(monkeypatch):
    """Note the sizes of tiles."""
    sizes, by_tiles = [], _rowwise.tile_by_tile

    def noted(*args):
        sizes.append(args[-1])
        return by_tiles(*args)

    monkeypatch.setattr(_rowwise, "tile_by_tile", noted)
    return sizes


def draws(estimator, X, rows):
    """Return what an imputer draws for holes of some rows, (N, 4, n_features), NaN elsewhere."""
    if not hasattr(estimator, "impute"):
        return np.zeros((len(rows), 1))
    drawn = np.stack(list(estimator.impute(X[rows], 4, row_ids=rows)), 1)
    return np.where(np.isnan(X[rows])[:, None], drawn, np.nan)


@tiled
def test_in_tiles_a_row_gets_what_it_gets_alone(cls, options, poor, tiles, monkeypatch):
    adapted, adapt = [], importance.adapt_proposal
    monkeypatch.setattr(
        importance, "adapt_proposal", lambda *args: adapted.append(len(args[1])) or adapt(*args)
    )
    X = curved()
    estimator = tiny(cls, **options).fit(X)
    whole = outputs(estimator, X)
    assert tiles
    rng = np.random.default_rng(1)
    for rows in (rng.permutation(len(X)), [70], np.arange(3, 77), rng.integers(0, len(X), 45)):
        assert_same(outputs(estimator, X[rows]), {k: v[rows] for k, v in whole.items()})
    n_tiles, every = len(tiles), np.arange(len(X))
    drawn = draws(estimator, X, every)
    assert (len(tiles) > n_tiles) == hasattr(estimator, "impute")
    assert set(adapted) == ({32} if poor else set())
    for rows in (rng.permutation(every), every[70:71], every[3:77]):
        np.testing.assert_array_equal(draws(estimator, X, rows), drawn[rows])


def assert_close_but_for_a_few(found, expected):
    # by rounding a draw falls to another component, or a row to the other side of what is poor
    for name, values in expected.items():
        told = ~np.isnan(values)
        off = np.abs(found[name] - values)[told] > 1e-3 * (1 + np.abs(values[told]))
        assert off.mean() < 0.02, name


@tiled
def test_rows_in_tiles_get_what_they_get_one_by_one(cls, options, poor, tiles, monkeypatch):
    X = curved()
    X[11] = np.nan
    estimator = tiny(cls, **options).fit(X)

    def told():
        return outputs(estimator, X) | {"draws": draws(estimator, X, np.arange(len(X)))}

    whole = told()
    n_tiles = len(tiles)
    assert n_tiles
    monkeypatch.setattr(_rowwise, "_tile", lambda *args: 0)
    assert_close_but_for_a_few(told(), whole)
    assert len(tiles) == n_tiles


def test_tiles_of_many_draws_are_as_rows_one_by_one(tiles, monkeypatch):
    X = curved(40)
    imputer = tiny(MissSIWAEImputer, n_importance_draws=300).fit(X)
    one_by_one = outputs(imputer, X)
    assert not tiles
    monkeypatch.setattr(_rowwise, "_TILE", _rowwise._DEVICE_TILE)
    assert_close_but_for_a_few(outputs(imputer, X), one_by_one)
    assert 192 in tiles


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (MissSIWAEImputer, {"add_indicator": True}),
        (MissSIWAEImputer, {"n_models": 2, "min_value": -0.5, "n_importance_draws": 110}),
        (DeMissVAEImputer, {"n_sampler_steps": 3}),
    ],
    ids=["weights", "models and bounds", "chains"],
)
def test_a_table_read_in_parts_is_as_one_read_whole(cls, options, monkeypatch):
    X = np.vstack([curved(30), np.random.default_rng(1).normal(size=(30, 13)), curved(30, seed=1)])
    imputer = tiny(cls, **options).fit(X)
    mask = np.random.default_rng(2).random(X.shape) < 0.3

    def told():
        found = {
            **outputs(imputer, X),
            "draws": list(imputer.impute(X, 3)),
            "own ids": imputer.impute(X, 1, row_ids=np.arange(len(X))[::-1])[0],
            "of a mask": imputer.transform(X, where=mask),
            "of columns": imputer.transform(X, where=["x1", "x4"]),
            "pareto_k": imputer.pareto_k(X),
            "mixture_weights": imputer.mixture_weights(X),
            "outlier_scores": imputer.outlier_scores(X[:9]),
        }
        found["distribution"] = imputer.cell_distribution(X).to_numpy()[:, 3:].astype(float)
        return {name: np.asarray(values) for name, values in found.items()}

    whole = told()
    monkeypatch.setattr(_reading, "_AT_ONCE", 7)
    assert_same(told(), whole)


@pytest.mark.parametrize("at_once", [7, 1000])
def test_tables_made_later_are_of_what_was_given(at_once, monkeypatch):
    monkeypatch.setattr(_reading, "_AT_ONCE", at_once)
    X, mask = curved(30), np.random.default_rng(2).random((30, 13)) < 0.3
    imputer = tiny(MissSIWAEImputer).fit(X)
    expected = list(imputer.impute(X, 2, where=mask))
    given, asked = X.copy(), mask.copy()
    imputations = imputer.impute(given, 2, where=asked)
    given[:], asked[:] = 0.0, False
    imputer.set_params(device="nowhere", sampler="lair", n_importance_draws=1, missing_values=-1)
    for made, one in zip(imputations, expected, strict=True):
        np.testing.assert_array_equal(made, one)
    imputer.set_params(device="cpu", missing_values=np.nan).fit(curved(20, seed=1))
    np.testing.assert_array_equal(imputations[1], expected[1])


def test_what_is_wrong_in_a_late_part_comes_out_at_once(monkeypatch, tiles):
    X = curved(40)
    imputer = tiny(MissSIWAEImputer).fit(X)
    monkeypatch.setattr(_reading, "_AT_ONCE", 7)
    X[33, 2] = np.inf
    for call in (imputer.transform, imputer.impute, imputer.score_samples, imputer.encode):
        with pytest.raises(ValueError, match="column 'x2', row 33, holds inf"):
            call(X)
    assert not tiles


def test_chains_take_rows_one_by_one(tiles):
    imputer = tiny(MVAEImputer, sampler="pseudo_gibbs", n_sampler_steps=4).fit(curved())
    for call in (imputer.transform, imputer.encode):
        call(curved())
        assert not tiles
    imputer.score_samples(curved())
    assert tiles


def test_where_a_tile_finds_no_room_rows_come_one_by_one(monkeypatch):
    X = curved(40)
    imputer = tiny(MissSIWAEImputer).fit(X)
    every = np.arange(len(X))
    expected, drawn = outputs(imputer, X), draws(imputer, X, every)
    full = []

    def no_room(self, x):
        full.append(len(x))
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(RowInvariantMLP, "forward", no_room)
    assert_close_but_for_a_few(outputs(imputer, X), expected)
    n_full = len(full)
    assert n_full
    assert_close_but_for_a_few({"draws": draws(imputer, X, every)}, {"draws": drawn})
    assert len(full) > n_full


@pytest.mark.parametrize("options", [{"n_latents": 100}, {}])
def test_tiles_keep_to_the_working_memory(options, tiles):
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


def test_networks_of_ones_own_take_rows_one_by_one(tiles):
    for network in (Doubled, lambda i, o: torch.nn.Linear(i, o)):
        tiny(MissSIWAEImputer, decoder=network).fit(curved()).transform(curved())
    assert not tiles


@every_imputer
def test_draws_depend_on_no_row_that_follows(cls):
    X = holed(37)
    imputer = tiny(cls, estimate="draw").fit(X)
    whole, imputed = imputer.transform(X), imputer.impute(X, 2)
    for n in [1, 16, 20]:
        np.testing.assert_array_equal(imputer.transform(X[:n]), whole[:n])
        for i in range(2):
            np.testing.assert_array_equal(imputer.impute(X[:n], 2)[i], imputed[i][:n])


# -- holes of every kind -----------------------------------------------------------------------


@every_estimator
def test_rows_without_evidence_get_what_the_model_expects_and_score_zero(cls):
    X = holed(200)
    estimator = tiny(cls, max_iter=150, n_importance_draws=500).fit(X)
    empty = np.full((3, 4), np.nan)
    np.testing.assert_array_equal(estimator.score_samples(empty), 0.0)
    if cls in IMPUTERS:
        out = estimator.transform(empty)
        assert (out == out[0]).all()
        error = (out[0] - np.nanmean(X, 0)) / np.nanstd(X, 0)
        assert (abs(error) < 0.35).all()


@every_imputer
def test_masks_never_seen_at_fit(cls):
    X = holed(share=0.0)
    imputer = tiny(cls).fit(X)
    masks = np.array(np.meshgrid(*[[False, True]] * 4)).reshape(4, -1).T
    new = np.where(masks, np.nan, X[: len(masks)])
    out = imputer.transform(new)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[~masks], new[~masks])


@every_imputer
def test_columns_missing_only_at_transform(cls):
    X = holed()
    imputer = tiny(cls).fit(X)
    for j in range(4):
        new = X.copy()
        new[:, j] = np.nan
        out = imputer.transform(new)
        assert np.isfinite(out).all()
        assert abs(out[:, j].mean() - np.nanmean(X[:, j])) < 2 * np.nanstd(X[:, j])


@every_imputer
def test_empty_columns_are_dropped_or_kept_as_zeros(cls):
    X = holed()
    X[:, 1] = np.nan
    imputer = tiny(cls).fit(X)
    assert list(imputer.get_feature_names_out()) == ["x0", "x2", "x3"]
    assert imputer.transform(X).shape == (40, 3)
    assert imputer.sample(2).shape == (2, 3)
    assert imputer.impute(X, 1)[0].shape == (40, 3)

    imputer = tiny(cls, keep_empty_features=True).fit(X)
    assert list(imputer.get_feature_names_out("abcd")) == list("abcd")
    np.testing.assert_array_equal(imputer.transform(X)[:, 1], 0.0)
    X[3, 1] = 5.0  # seen after all
    out = imputer.transform(X)
    assert out[3, 1] == 5.0
    assert (np.delete(out[:, 1], 3) == 0.0).all()


def test_an_empty_column_is_dropped_from_frames_too():
    frame = pd.DataFrame(holed(), columns=list("abcd")).assign(b=np.nan)
    imputer = tiny(MVAEImputer).set_output(transform="pandas")
    assert list(imputer.fit_transform(frame)) == list("acd")
    assert list(imputer.impute(frame, 1)[0]) == list("acd")


@every_estimator
def test_a_constant_column_is_no_evidence_and_imputed_by_its_constant(cls):
    X = holed()
    bare = tiny(cls).fit(X)
    with_constant = np.column_stack([X, np.where(np.arange(40) % 3, 3.7, np.nan)])
    estimator = tiny(cls).fit(with_constant)
    np.testing.assert_array_equal(estimator.score_samples(with_constant), bare.score_samples(X))
    assert (estimator.sample(3)[:, 4] == 3.7).all()
    if cls in IMPUTERS:
        out = estimator.transform(with_constant)
        np.testing.assert_array_equal(out[:, :4], bare.transform(X))
        assert (out[:, 4] == 3.7).all()


@every_imputer
def test_a_column_seen_once_is_imputed_by_what_was_seen(cls):
    X = holed()
    X[1:, 2], X[0, 2] = np.nan, 1.25
    np.testing.assert_array_equal(tiny(cls).fit_transform(X)[:, 2], 1.25)


def test_only_constants():
    X = [[1.0, 2.0], [np.nan, 2.0], [1.0, np.nan]]
    imputer = tiny(MVAEImputer)
    np.testing.assert_array_equal(imputer.fit_transform(X), [[1, 2], [1, 2], [1, 2]])
    np.testing.assert_array_equal(imputer.score_samples(X), 0.0)


@every_estimator
def test_duplicate_columns(cls):
    X = holed()
    X = np.column_stack([X, X[:, 0]])
    estimator = tiny(cls).fit(X)
    for values in outputs(estimator, X).values():
        assert np.isfinite(values).all()


@every_estimator
def test_one_row_and_one_column(cls):
    X = holed()
    estimator = tiny(cls).fit(X[:, :1])
    for values in outputs(estimator, X[:, :1]).values():
        assert len(values) == 40
        assert np.isfinite(values).all()
    estimator = tiny(cls).fit(X[:1])
    for values in outputs(estimator, X[:2]).values():
        assert np.isfinite(values).all()


# -- containers and types ----------------------------------------------------------------------


@every_imputer
def test_every_container_of_the_same_cells_gives_the_same(cls):
    X = holed()
    expected = tiny(cls).fit_transform(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    names = list("abcd")
    same = {
        "read-only": frozen,
        "Fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "object": X.astype(object),
        "list": X.tolist(),
        "frame": pd.DataFrame(X, columns=names),
        "Float64": pd.DataFrame(
            {
                name: pd.array([pd.NA if np.isnan(v) else v for v in X[:, j]], dtype="Float64")
                for j, name in enumerate(names)
            }
        ),
    }
    for name, given in same.items():
        out = tiny(cls).fit_transform(given)
        np.testing.assert_array_equal(np.asarray(out), expected, err_msg=name)


def test_nullable_integers_and_booleans():
    n = 24
    frame = pd.DataFrame(
        {
            "count": pd.array([pd.NA if i % 5 == 0 else i for i in range(n)], dtype="Int64"),
            "flag": pd.array([pd.NA if i % 7 == 0 else i % 2 == 0 for i in range(n)], "boolean"),
            "real": [np.nan if i % 4 == 0 else i / 3 for i in range(n)],
        }
    )
    out = tiny(MVAEImputer).fit_transform(frame)
    assert list(out.dtypes) == list(frame.dtypes)
    assert not out.isna().any(axis=None)
    pd.testing.assert_frame_equal(out.where(frame.notna()), frame)


@pytest.mark.parametrize("marker", [-1, -1.0, np.nan, None])
def test_missing_values_of_every_kind(marker):
    X = holed()
    given = X.astype(object) if marker is None else X.copy()
    given[np.isnan(X)] = marker
    out = tiny(MVAEImputer, missing_values=marker).fit_transform(given)
    np.testing.assert_array_equal(out, tiny(MVAEImputer).fit_transform(X))


@pytest.mark.parametrize("dtype", ["Float64", object])
@pytest.mark.parametrize("marker", [np.nan, pd.NA])
def test_cells_of_pandas_na(marker, dtype):
    X = holed()
    cells = X.astype(object)
    cells[np.isnan(X)] = pd.NA
    given = pd.DataFrame(cells, columns=list("abcd")).astype(dtype)
    out = tiny(MVAEImputer, missing_values=marker).fit_transform(given)
    np.testing.assert_array_equal(out, tiny(MVAEImputer).fit_transform(X))


def test_output_frames_keep_index_and_columns():
    frame = pd.DataFrame(holed(), columns=list("abcd"), index=np.arange(40) * 10)
    out = tiny(MVAEImputer).set_output(transform="pandas").fit_transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert list(out) == list(frame)
    pd.testing.assert_index_equal(out.index, frame.index)


def test_output_frames_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.0, None, 3.0, 4.0], "b": [2.0, 4.0, None, 8.5]})
    out = tiny(MVAEImputer).set_output(transform="polars").fit_transform(frame)
    assert isinstance(out, polars.DataFrame)
    assert out.columns == ["a", "b"]
    assert out.null_count().sum_horizontal()[0] == 0


@pytest.mark.filterwarnings("ignore:Skipping features without any observed:UserWarning")
@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("missing_values", [np.nan, -1])
@every_imputer
def test_indicators_are_those_of_simple_imputer(cls, missing_values, keep_empty_features):
    X = holed()
    X[:, 0] = np.arange(40)  # complete: no indicator
    X[:, 2] = np.nan  # empty
    given = np.where(np.isnan(X), missing_values, X)
    options = {
        "missing_values": missing_values,
        "add_indicator": True,
        "keep_empty_features": keep_empty_features,
    }
    ours = tiny(cls, **options).fit(given)
    theirs = SimpleImputer(**options).fit(given)
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    names = list("abcd")
    assert list(ours.get_feature_names_out(names)) == list(theirs.get_feature_names_out(names))
    new = given[:5].copy()
    new[0, 0] = missing_values  # a hole where fit saw none
    out, simple = ours.transform(new), theirs.transform(new)
    assert out.shape == simple.shape
    n_kept = 4 if keep_empty_features else 3
    np.testing.assert_array_equal(out[:, n_kept:], simple[:, n_kept:])
    assert ours.impute(new, 1)[0].shape == simple.shape


# -- units and tails ---------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e9, 1e-9, 1e200, 1e-200])
@every_estimator
def test_units_change_imputations_and_densities_as_they_must(cls, factor):
    X = holed()
    units = np.array([factor, 1.0, 1.0, 1.0])
    plain, scaled = tiny(cls).fit(X), tiny(cls).fit(X * units)
    shift = np.log(factor) * ~np.isnan(X[:, 0])
    np.testing.assert_allclose(
        scaled.score_samples(X * units), plain.score_samples(X) - shift, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(scaled.encode(X * units), plain.encode(X), rtol=1e-3, atol=1e-3)
    if cls in IMPUTERS:
        np.testing.assert_allclose(
            scaled.transform(X * units) / units / np.nanstd(X, 0),
            plain.transform(X) / np.nanstd(X, 0),
            rtol=1e-3,
            atol=1e-3,
        )


def test_columns_far_from_zero_keep_their_variation():
    X = holed()
    plain = tiny(MVAEImputer).fit(X)
    far = tiny(MVAEImputer).fit(X + np.array([1e9, 0, 0, 0]))
    np.testing.assert_allclose(
        far.transform(X + np.array([1e9, 0, 0, 0])) - [1e9, 0, 0, 0], plain.transform(X), atol=1e-2
    )


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
@every_estimator
def test_heavy_tails_stay_finite(cls, likelihood):
    X = holed()
    X = np.where(np.isnan(X), np.nan, np.random.default_rng(3).standard_cauchy(X.shape) ** 3)
    estimator = tiny(cls, likelihood=likelihood).fit(X)
    for name, values in outputs(estimator, X).items():
        assert np.isfinite(values).all(), name


def test_float32_tables_overflow_to_no_infinity():
    X = holed(dtype=np.float32)
    X[:, 0] *= np.float32(1e38)
    out = tiny(MVAEImputer, estimate="draw").fit(X).transform(X)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


@every_imputer
def test_values_far_outside_the_training_table_stay_finite(cls):
    X = holed()
    imputer = tiny(cls).fit(X)
    X[0, :2] = [1e30, np.nan]
    X[1, :2] = [np.nan, -1e300]
    assert np.isfinite(imputer.transform(X)).all()
    assert np.isfinite(imputer.score_samples(X)).all()


# -- observation models -----------------------------------------------------------------------


def coded(low, high):
    X = holed()
    seen = ~np.isnan(X[:, 0])
    X[:, 0] = np.where(seen, np.where(np.nan_to_num(X[:, 0]) > 0, high, low), np.nan)
    return X


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 2), (-1, 1)])
@every_imputer
def test_binary_columns_get_one_of_their_two_values(cls, low, high):
    X = coded(low, high)
    holes = np.isnan(X[:, 0])
    imputer = tiny(cls, likelihood={0: "bernoulli"}).fit(X)
    for estimate in ["auto", "median", "mode", "draw"]:
        filled = imputer.set_params(estimate=estimate).transform(X)[:, 0]
        assert set(filled) <= {low, high}, estimate
    mean = imputer.set_params(estimate="mean").transform(X)[holes, 0]
    assert ((low < mean) & (mean < high)).all()
    auto = imputer.set_params(estimate="auto").transform(X)[holes, 0]
    np.testing.assert_array_equal(auto, np.where(mean >= (low + high) / 2, high, low))
    assert set(imputer.impute(X, 1)[0][:, 0]) <= {low, high}
    assert set(imputer.sample(20)[:, 0]) <= {low, high}


def test_a_binary_column_counts_with_its_probability():
    density = tiny(VAEDensityEstimator, likelihood={0: "bernoulli"}).fit(coded(1, 2))
    both = np.full((2, 4), np.nan)
    both[:, 0] = [1, 2]
    assert np.exp(density.score_samples(both)).sum() == pytest.approx(1, rel=0.3)


def test_continuous_bernoulli_columns_stay_within_their_interval():
    X = holed()
    low, high = np.nanmin(X, 0), np.nanmax(X, 0)
    X = (X - low) / (high - low)
    imputer = tiny(MissSVAEImputer, likelihood="continuous_bernoulli").fit(X)
    for estimate in [*ESTIMATES, "draw"]:
        out = imputer.set_params(estimate=estimate).transform(X)
        assert ((out >= 0) & (out <= 1)).all(), estimate
    assert np.isfinite(imputer.score_samples(X)).all()


@every_estimator
def test_a_kind_for_each_column(cls):
    X = coded(1, 2)
    low, high = np.nanmin(X[:, 2]), np.nanmax(X[:, 2])
    X[:, 2] = (X[:, 2] - low) / (high - low)
    kinds = {"flag": "bernoulli", "share": "continuous_bernoulli", "wild": "student_t"}
    frame = pd.DataFrame(X, columns=["flag", "plain", "share", "wild"])
    estimator = tiny(cls, likelihood=kinds).fit(frame)
    by_index = dict(enumerate(["bernoulli", "normal", "continuous_bernoulli", "student_t"]))
    assert_same(outputs(tiny(cls, likelihood=by_index).fit(X), X), outputs(estimator, frame))
    drawn = estimator.sample(50)
    assert set(drawn["flag"]) <= {1, 2}
    assert drawn["share"].between(0, 1).all()


# -- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "Float64", object])
def test_frames_of_any_type_make_no_noise(dtype, recwarn):
    frame = pd.DataFrame(holed(), columns=list("abcd")).astype(dtype)
    frame = frame.assign(e=pd.array([1, pd.NA] * 20, dtype="Int64"), f=["1", "2"] * 20)
    imputer = tiny(MVAEImputer).set_output(transform="pandas").fit(frame)
    imputer.transform(frame)
    imputer.impute(frame, 1)[0]
    told = [str(warning.message) for warning in recwarn]
    assert [message for message in told if "effective importance draws" not in message] == []


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.1), (0.1, 0.7)])
def test_binary_imputations_are_the_two_values_to_the_bit(low, high):
    X = coded(low, high)
    imputer = tiny(MVAEImputer, likelihood={0: "bernoulli"}).fit(X)
    assert set(imputer.transform(X)[:, 0]) == {low, high}
    single = imputer.transform(X.astype(np.float32))[:, 0]
    assert set(single) == {np.float32(low), np.float32(high)}


def test_names_that_are_no_strings_are_held_against_those_at_fit():
    frame = pd.DataFrame(holed())
    imputer = tiny(MVAEImputer).fit(frame)
    with pytest.raises(
        ValueError, match=r"X has the columns \[1, 0, 2, 3\].*fitted to \[0, 1, 2, 3\]"
    ):
        imputer.transform(frame[[1, 0, 2, 3]])
    np.testing.assert_array_equal(imputer.transform(frame.to_numpy()), imputer.transform(frame))
    renamed = frame.rename(columns=str)
    with pytest.warns(UserWarning, match="feature names"):
        assert list(imputer.transform(renamed).columns) == list("0123")
    odd = frame.set_axis([0.0, np.nan, 1.0, 2.0], axis=1)
    tiny(MVAEImputer).fit(odd).transform(odd)


def test_cells_are_told_of_columns_with_names_of_several_parts():
    frame = pd.DataFrame(holed()).set_axis(pd.MultiIndex.from_product([["a"], range(4)]), axis=1)
    told = tiny(MVAEImputer).fit(frame).cell_distribution(frame)
    assert set(told["column"]) == set(frame.columns)


def test_a_piece_that_belies_the_first_is_warned_of():
    X = holed(60)
    X[0] = [0.0, np.nan, 1.0, 2.0]
    X[1:, 1] = 0.0  # of an empty column any value is another
    imputer = tiny(MVAEImputer).partial_fit(X[:1])
    with pytest.warns(
        UserWarning, match="in the first piece have others now: 'x0', 'x1', 'x2', 'x3'"
    ):
        imputer.partial_fit(X[1:])
    X[:, 1] = np.where(np.arange(len(X)) % 2, 0.3, np.nextafter(0.3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(MVAEImputer).partial_fit(X).partial_fit(X)


def test_fitted_models_of_samples_go_through_skops():
    skops = pytest.importorskip("skops.io")
    X = holed()
    imputer = tiny(MVAEImputer, n_models=2).fit(X)
    data = skops.dumps(imputer)
    back = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    np.testing.assert_array_equal(back.impute(X, 2)[1], imputer.impute(X, 2)[1])


def test_a_model_is_read_from_a_file_that_cannot_be_written(tmp_path):
    X = holed()
    imputer = tiny(MVAEImputer, warm_start=True).fit(X)
    joblib.dump(imputer, tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(back.transform(X), imputer.transform(X))
    back.fit(X)


@pytest.mark.parametrize("size", [1e4, 1e6, 1e9])
def test_a_cell_far_out_is_not_the_unit_of_shapes(size):
    """Shapes are learned of the middle half of a column, whatever a few cells hold."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 1))
    X = z + 0.3 * rng.normal(size=(300, 2))
    options = {"max_iter": 100, "n_hidden": 32, "n_importance_draws": 100, "random_state": 0}
    clean = VAEDensityEstimator(**options).fit(X).score_samples(X[1:]).mean()
    X[0, 0] = size
    spoiled = VAEDensityEstimator(**options).fit(X).score_samples(X[1:]).mean()
    assert spoiled == pytest.approx(clean, abs=0.25)


def test_a_large_pile_without_a_cell_far_out_changes_no_unit():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(300) < 0.15, 1013 + 5 * rng.normal(size=300), 0.0)
    imputer = tiny(MVAEImputer, learn_shapes=True).fit(np.column_stack([x, rng.normal(size=300)]))
    assert imputer._table.location[0] == pytest.approx(x.mean())
    assert imputer._table.scale[0] == pytest.approx(x.std())


def test_atoms_are_theirs_alone_beside_a_cell_far_out():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(300) < 0.3, 0.0, np.exp(9 + rng.normal(size=300)))
    x[7] = 1e13
    imputer = tiny(MVAEImputer, learn_shapes=True).fit(np.column_stack([x, rng.normal(size=300)]))
    schema = imputer._table
    rows = imputer._rows(np.column_stack([x, x]))[2]
    assert schema._at_atom(0, rows.x[:, 0]).sum() == (x == 0).sum()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_column_of_one_value_but_for_rounding_is_constant(dtype):
    X = holed(dtype=dtype)
    value = dtype(0.3)
    X[:, 1] = np.where(np.arange(len(X)) % 2, value, np.nextafter(value, dtype(1)))
    imputer = tiny(MVAEImputer).fit(X)
    assert imputer.fit_report_["treatment"].tolist() == [
        "modelled",
        "constant",
        "modelled",
        "modelled",
    ]
    np.testing.assert_array_equal(imputer.transform(X)[:, 1], X[:, 1])
    X[:, 1] = dtype(1e8) + np.spacing(dtype(1e8)) * (np.arange(len(X)) % 6).astype(dtype)
    assert tiny(MVAEImputer).fit(X).fit_report_["treatment"].iloc[1] == "modelled"


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e8), ("float64", 1e17)])
def test_numbers_that_cannot_have_fractions_are_not_counts(dtype, size):
    frame = pd.DataFrame(
        {"p": (size * (1 + 0.1 * np.random.default_rng(1).normal(size=60))).astype(dtype)}
    )
    frame["n"] = np.random.default_rng(1).poisson(4, 60).astype(dtype)
    kinds = tiny(MVAEImputer).fit(frame).feature_kinds_
    assert kinds == {"p": "continuous", "n": "count"}


def test_an_outlier_among_few_cells_is_told():
    x = np.random.default_rng(0).normal(size=(30, 2))
    assert not tiny(MVAEImputer).fit(x).fit_report_["remark"].any()
    x[3, 0] = 1e6
    assert "1e+06 among them" in tiny(MVAEImputer).fit(x).fit_report_.loc["x0", "remark"]


def test_reports_name_columns_of_several_parts():
    names = pd.MultiIndex.from_product([["a"], range(4)])
    frame = pd.DataFrame(holed()).set_axis(names, axis=1)
    imputer = tiny(MVAEImputer).fit(frame)
    assert imputer.fit_report_.index.tolist() == names.tolist()
    assert diagnose(imputer, frame).findings
