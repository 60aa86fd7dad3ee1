"""Cells' distributions, calibrated intervals, refitted models and keyed imputations."""

import copy
import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from estimator_cases import (
    MissSIWAEImputer,
    MVAEImputer,
    assert_same,
    every_estimator,
    every_imputer,
    outputs,
    quiet,
    table,
    tiny,
)
from helpers import LinearGaussian, stream
from scipy import stats

from skmissvae import diagnose
from skmissvae.inference import ConditionalModel
from skmissvae.inference.calibration import (
    Calibration,
    normal_score,
    quantiles_at,
    share_below,
    weighted_quantiles,
)
from skmissvae.inference.weights import pareto_k

pytestmark = [quiet, pytest.mark.filterwarnings("ignore:.*imputations are drawn:UserWarning")]

MODEL = LinearGaussian()


def conditional(n_draws=4000, **options):
    return ConditionalModel(MODEL.vae(**options), n_draws, None, None, 1, where_poor=False)


def mixed(n=60, seed=0):
    """Return a frame of numbers, whole numbers, flags, categories and dates, with holes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    X = pd.DataFrame(
        {
            "length": z + 0.3 * rng.normal(size=n),
            "count": pd.array(rng.poisson(np.exp(1 + 0.3 * z)), dtype="Int64"),
            "flag": pd.array(z > 0, dtype="boolean"),
            "town": pd.Categorical(np.where(z > 0.5, "Ulm", np.where(z < -0.5, "Bonn", "Köln"))),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.rint(10 * z), unit="D"),
        },
        index=[f"row {i}" for i in range(n)],
    )
    return X.mask(rng.random(X.shape) < 0.25)


# -- distributions of cells ---------------------------------------------------------------------


@every_imputer
def test_the_mean_of_a_cell_is_what_transform_puts_there(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    cells, full = imputer.cell_distribution(X), imputer.transform(X)
    names = [f"x{j}" for j in range(X.shape[1])]
    place = cells["row"].to_numpy(int), cells["column"].map(names.index).to_numpy()
    assert set(zip(*place, strict=True)) == set(zip(*np.nonzero(np.isnan(X)), strict=True))
    spread = np.nanstd(X, 0)[place[1]]
    np.testing.assert_allclose((cells["mean"] - full[place]) / spread, 0, atol=2e-5)


@every_imputer
def test_quantiles_are_ordered_and_a_row_alone_gets_what_it_gets_in_company(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    cells = imputer.cell_distribution(X, [0.01, 0.25, 0.5, 0.75, 0.99])
    q = cells[["1%", "25%", "50%", "75%", "99%"]].to_numpy()
    assert (np.diff(q) >= 0).all()
    assert (cells["std"] > 0).all()
    i = cells["row"].iloc[-1]
    alone = imputer.cell_distribution(X[i : i + 1], [0.01, 0.25, 0.5, 0.75, 0.99])
    there = cells[cells["row"] == i].assign(row=0).reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, there, check_exact=True)


def test_cells_of_all_kinds_are_told_in_their_own_units():
    X = mixed()
    imputer = tiny(MissSIWAEImputer).fit(X)
    cells = imputer.cell_distribution(X)
    assert list(cells.columns[:5]) == ["row", "column", "kind", "level", "probability"]
    found = set(zip(cells["row"], cells["column"], strict=True))
    assert found == {(X.index[i], X.columns[j]) for i, j in np.argwhere(X.isna().to_numpy())}
    chances = cells[cells["column"].isin(["flag", "town"])]
    total = chances.groupby(["row", "column"])["probability"].sum()
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert set(chances[chances["column"] == "town"]["level"]) == {"Ulm", "Bonn", "Köln"}
    assert set(chances[chances["column"] == "flag"]["level"]) == {False, True}
    counts = cells[cells["column"] == "count"]
    assert (counts["50%"].astype(float) % 1 == 0).all()
    days = cells[cells["column"] == "day"]
    assert all(isinstance(value, pd.Timestamp) for value in pd.to_datetime(days["50%"]))
    assert (pd.to_timedelta(days["std"]) > pd.Timedelta(0)).all()


def test_the_most_probable_level_is_what_transform_puts_there():
    X = mixed()
    imputer = tiny(MissSIWAEImputer).fit(X)
    cells, full = imputer.cell_distribution(X), imputer.transform(X)
    for (row, column), part in cells[cells["level"].notna()].groupby(["row", "column"]):
        best = part.loc[part["probability"].idxmax(), "level"]
        assert full.at[row, column] == best


def test_where_chooses_cells_and_observed_ones_are_told_from_the_rest_of_their_row():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    chosen = np.zeros(X.shape, dtype=bool)
    i, j = np.argwhere(~np.isnan(X) & (~np.isnan(X)).sum(1, keepdims=True).astype(bool))[3]
    chosen[i, j] = True
    holed = X.copy()
    holed[i, j] = np.nan
    told = imputer.cell_distribution(X, where=chosen)
    assert told["row"].tolist() == [i]
    assert told["column"].tolist() == [f"x{j}"]
    all_cells = imputer.cell_distribution(holed)
    same = all_cells[(all_cells["row"] == i) & (all_cells["column"] == f"x{j}")]
    np.testing.assert_array_equal(told.iloc[:, 5:].to_numpy(), same.iloc[:, 5:].to_numpy())


def test_quantiles_of_the_linear_gaussian_model_are_the_exact_ones():
    x, observed = MODEL.rows(4)
    given = conditional(40_000, widen=1.2)
    for b in range(4):
        values, w, columns, _ = given.spread(x[b : b + 1], observed[b : b + 1], stream(b))
        loc, cov = MODEL.condition(x[b], observed[b])
        hidden = ~observed[b]
        loc, scale = loc[:5][hidden], np.sqrt(np.diag(cov)[:5][hidden])
        q = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
        found = weighted_quantiles(values[:, hidden], w, q.expand(int(hidden.sum()), 3))
        exact = stats.norm.ppf(q, loc[:, None], scale[:, None])
        np.testing.assert_allclose((found.numpy() - exact) / scale[:, None], 0, atol=0.08)
        assert len(w) == 40_000
        np.testing.assert_allclose(w.sum(), 1)
        assert columns.shape[-1] == 5


def test_weighted_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=(50, 3)), rng.integers(1, 5, 50)
    q = np.array([0.1, 0.33, 0.5, 0.9])
    found = weighted_quantiles(
        torch.tensor(values),
        torch.tensor(times / times.sum()),
        torch.tensor(np.tile(q, (3, 1))),
    )
    exact = np.quantile(np.repeat(values, times, 0), q, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(found, exact.T)


def test_the_place_of_a_draw_among_draws_of_its_own_kind_is_uniform():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(500, 2000)), rng.poisson(1.5, size=(500, 2000))):
        values = torch.tensor(values, dtype=torch.float64)
        u = torch.tensor(rng.random((1, 2000)))
        found = share_below(values[:-1], torch.full((499,), 1 / 499.0).double(), values[-1], u)
        assert stats.kstest(found[0], "uniform").pvalue > 0.01


# -- calibration --------------------------------------------------------------------------------


def test_intervals_that_are_right_are_not_moved():
    z = np.random.default_rng(0).normal(size=(20_000, 1))
    q = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(Calibration(z).moved(q)[0], stats.norm.ppf(q), atol=0.03)


@pytest.mark.parametrize("factor", [0.5, 2.0, 6.0])
def test_moved_intervals_cover_what_they_should(factor):
    rng = np.random.default_rng(0)
    # the model's standard deviations are too small, or too large, by a factor
    values = torch.tensor(rng.normal(size=(4096, 2000)))
    w = torch.full((4096,), 1 / 4096).double()
    learned, new = torch.tensor(factor * rng.normal(size=(2, 2000)))
    z = normal_score(values, w, learned, torch.zeros(1, 2000))
    moved = torch.tensor(Calibration(z.T.numpy()).moved(np.array([0.05, 0.95])))
    low, high = quantiles_at(values, w, moved.expand(2000, 2)).unbind(-1)
    assert abs(float(((low <= new) & (new <= high)).double().mean()) - 0.9) < 0.025
    assert bool((moved[0, 1] > 1.645) == (factor > 1))


def test_where_values_stand_is_undone_by_reading_them_there():
    rng = np.random.default_rng(1)
    values, w = torch.tensor(rng.gamma(2.0, size=(5000, 4))), torch.tensor(rng.random(5000))
    w = w / w.sum()
    x = torch.tensor([0.3, 1.5, 9.0, 40.0]).double()
    z = normal_score(values, w, x, torch.zeros(1, 4))
    assert (z.diff() > 0).all()
    torch.testing.assert_close(quantiles_at(values, w, z.T).squeeze(1), x, atol=0.02, rtol=0.01)


def test_moved_quantiles_stay_in_order_and_columns_with_few_cells_go_by_all():
    rng = np.random.default_rng(0)
    z = np.full((500, 2), np.nan)
    z[:, 0] = 2 * rng.normal(size=500)
    z[:7, 1] = 0.0
    moved = Calibration(z).moved(np.linspace(0.001, 0.999, 401))
    assert (np.diff(moved) >= 0).all()
    few = Calibration(z).moved(np.array([0.05]))
    assert few[1] < -1  # by its own seven cells it would be 0
    np.testing.assert_array_equal(Calibration(z).moved(np.array([0.5])), 0)
    report = Calibration(z).report(["a", "b"])
    assert report["n_cells"].tolist() == [500, 7]
    assert report.loc["b", "90%"] == 1.0


def test_quantiles_stay_within_what_there_can_be(monkeypatch):
    X = pd.DataFrame({"n": pd.array(np.random.default_rng(0).poisson(1.0, 80), "Int64")})
    X["a"] = X["n"].astype(float) + np.random.default_rng(1).normal(size=80)
    X = X.mask(np.random.default_rng(2).random(X.shape) < 0.3)
    imputer = tiny(MVAEImputer, calibrate=True, max_value={"a": 2.0}).fit(X)
    monkeypatch.setattr(Calibration, "moved", lambda self, q: np.tile(40 * (q - 0.5), (2, 1)))
    cells = imputer.cell_distribution(X).set_index("column")
    assert (cells.loc["n", "5%"] == 0).all()
    assert (cells.loc["a", "95%"] == 2.0).all()


def test_cells_are_learned_from_once():
    X = table(60)
    n = tiny(MVAEImputer, calibrate=True).fit(X).calibration_["n_cells"]
    assert n.sum() <= 12 * X.shape[1]  # of a fifth of the rows


@every_imputer
def test_calibrated_intervals_have_the_same_centre_and_other_ends(cls):
    X = table(80)
    plain, moved = tiny(cls).fit(X), tiny(cls, calibrate=True).fit(X)
    assert plain.calibration_ is None
    assert set(moved.calibration_.index) <= {"x0", "x1", "x2", "x3"}
    assert moved.calibration_["n_cells"].sum() > 0
    before, after = plain.cell_distribution(X), moved.cell_distribution(X)
    same = ["row", "column", "mean", "std", "50%"]
    pd.testing.assert_frame_equal(before[same], after[same])
    assert (before["5%"] != after["5%"]).any()
    np.testing.assert_array_equal(plain.transform(X), moved.transform(X))


def test_calibration_of_a_table_too_small_for_it_is_refused():
    with pytest.raises(ValueError, match="calibrate=True has no cells of numbers"):
        tiny(MVAEImputer, calibrate=True).fit([[1.0, 2.0], [2.0, np.nan]])
    levels = pd.DataFrame({"a": list("xyz") * 20, "b": list("uvvu") * 15})
    with pytest.raises(ValueError, match="'calibrate' of MVAEImputer must be False"):
        tiny(MVAEImputer, calibrate=True).fit(levels)


def test_calibration_does_not_outlive_its_encoder():
    X = table(60)
    imputer = tiny(MVAEImputer, calibrate=True).fit(X)
    assert imputer.refit_encoder(X).calibration_ is None
    assert imputer.calibration_ is not None


# -- what is known ------------------------------------------------------------------------------


def test_a_copy_of_a_seen_cell_is_known():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=80), "t": rng.choice(list("UVW"), 80)})
    X["b"] = X["a"] + rng.normal(size=80)
    X["a2"], X["t2"] = X["a"], X["t"]
    X.loc[:9, ["a2", "t2"]] = None
    X.loc[5:14, ["a", "b", "t"]] = None
    imputer = tiny(MVAEImputer).fit(X)
    assert imputer.fit_report_.loc[["a2", "t2"], "role"].eq("copy").all()
    cells = imputer.cell_distribution(X).set_index(["column", "row"])
    for row in range(5):
        told = cells.loc[[("a2", row)]].iloc[0]
        assert told["mean"] == pytest.approx(X.loc[row, "a"])
        assert told["std"] == 0
        assert told["5%"] == pytest.approx(X.loc[row, "a"])
        levels = cells.loc[[("t2", row)]].set_index("level")["probability"]
        assert levels[X.loc[row, "t"]] == 1
        assert levels.sum() == 1
    assert (cells.loc["a2"].loc[5:9, "std"] > 0).all()


@every_imputer
def test_a_table_without_holes_is_its_own_imputation(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    complete = np.where(np.isnan(X), 0.0, X)
    np.testing.assert_array_equal(imputer.impute(complete, 2)[1], complete)
    np.testing.assert_array_equal(imputer.transform(complete), complete)
    np.testing.assert_array_equal(imputer.impute(X, 2, where=[])[0], X)
    assert imputer.cell_distribution(complete).empty


# -- several models -----------------------------------------------------------------------------


@every_imputer
def test_imputations_are_those_of_the_models_in_turn(cls):
    X = table()
    imputer = tiny(cls, n_models=2).fit(X)
    one = tiny(cls).fit(X)
    assert len(imputer.models_) == 2
    assert one.models_ == []
    np.testing.assert_array_equal(imputer.transform(X), one.transform(X))
    np.testing.assert_array_equal(imputer.score_samples(X), one.score_samples(X))
    tables = imputer.impute(X, 3, random_state=5)
    for i, model in ((0, 0), (1, 1), (2, 0)):
        own = imputer.models_[model].impute(X, 3, random_state=5)[i]
        np.testing.assert_array_equal(tables[i], own)
    others = [model.transform(X) for model in imputer.models_]
    assert not np.array_equal(*others)


def test_models_do_not_depend_on_the_number_of_processes_and_survive_pickling():
    X = pd.DataFrame(table(), columns=list("abcd"))
    one, two = (tiny(MissSIWAEImputer, n_models=2, n_jobs=n).fit(X) for n in (1, 2))
    for other in (two, pickle.loads(pickle.dumps(one))):
        for a, b in zip(one.impute(X, 2), other.impute(X, 2), strict=True):
            pd.testing.assert_frame_equal(a, b)
    assert two.models_[0]._table is two._table


def test_several_models_tell_less_surely_than_each_of_them():
    X = table()
    imputer = tiny(MVAEImputer, n_models=3).fit(X)
    of_all = imputer.cell_distribution(X)
    parts = [model.cell_distribution(X) for model in imputer.models_]
    mean = np.mean([part["mean"] for part in parts], 0)
    second = np.mean([part["std"] ** 2 + part["mean"] ** 2 for part in parts], 0)
    np.testing.assert_allclose(of_all["mean"], mean, rtol=1e-6)
    # spreads are of values, means those of the distributions behind them
    np.testing.assert_allclose(of_all["std"] ** 2, second - mean**2, rtol=0.02)


def test_models_of_bootstrap_samples_keep_rows_that_are_held_out_apart(monkeypatch):
    X = table(50)
    seen = []
    train = MVAEImputer._train

    def spy(self, given, *options):
        seen.append((given.rows, given.held_out))
        return train(self, given, *options)

    monkeypatch.setattr(MVAEImputer, "_train", spy)
    tiny(MVAEImputer, n_models=2, early_stopping=True, validation_fraction=0.2).fit(X)
    assert len(seen) == 3
    for rows, held_out in seen[1:]:
        kept = {row.tobytes() for row in rows.x[~held_out.numpy()]}
        rest = {row.tobytes() for row in rows.x[held_out.numpy()]}
        assert len(rest) == 10
        assert not kept & rest
        assert len(kept) < 40  # some rows twice, others not at all


@pytest.mark.parametrize(("name", "value"), [("n_models", 3), ("calibrate", True)])
def test_learning_piece_by_piece_is_refused_where_rows_are_needed_again(name, value):
    with pytest.raises(ValueError, match=f"'{name}' of MVAEImputer must be"):
        tiny(MVAEImputer, **{name: value}).partial_fit(table())


def test_a_piece_of_a_table_makes_models_of_earlier_fits_useless():
    X = table()
    imputer = tiny(MVAEImputer, n_models=2, calibrate=True).fit(X)
    imputer.set_params(n_models=1, calibrate=False).partial_fit(X)
    assert imputer.models_ == []
    assert imputer.calibration_ is None
    one = copy.deepcopy(imputer).set_params(estimate="draw")
    assert not np.isnan(one.transform(X)).any()


def test_models_follow_the_settings_of_the_call():
    X = table()
    imputer = tiny(MVAEImputer, n_models=2, n_importance_draws=12).fit(X)
    imputer.set_params(n_importance_draws=300)
    assert "too few draws" not in repr(diagnose(imputer, X))
    refitted = imputer.set_params(max_iter=7).refit_encoder(X)
    assert [model.n_importance_draws for model in refitted.models_] == [300, 300]
    assert [len(model.models_) for model in refitted.models_] == [0, 0]


def test_bounds_are_those_of_what_is_imputed_alone():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    free = {**outputs(imputer, X), "information": imputer.latent_information(X)}
    free["pareto"] = imputer.pareto_k(X)
    imputer.set_params(min_value={0: 0.0}, max_value={1: 90.0})
    truncated = {**outputs(imputer, X), "information": imputer.latent_information(X)}
    truncated["pareto"] = imputer.pareto_k(X)
    assert not np.array_equal(truncated.pop("transform"), free.pop("transform"))
    assert_same(truncated, free)


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_value": {"x9": 0.0}},
        {"min_value": {0: "a"}},
        {"min_value": 100.0, "max_value": 0.0},
        {"max_value": math.nan},
    ],
)
def test_bounds_that_cannot_be_are_refused_before_training(bounds, monkeypatch):
    monkeypatch.setattr(MVAEImputer, "_run", None)
    with pytest.raises(ValueError, match=r"'(min|max)_value'"):
        tiny(MVAEImputer, **bounds).fit(table())


def test_more_imputations_than_models_are_warned_of():
    imputer = tiny(MVAEImputer, n_models=2).fit(table())
    with pytest.warns(UserWarning, match="3 imputations are drawn from 2 models"):
        imputer.impute(table(), 3)


def test_going_on_refits_models_for_as_many_epochs_as_there_were_in_all():
    imputer = tiny(MVAEImputer, n_models=2, warm_start=True)
    for _ in range(3):
        imputer.fit(table())
    assert imputer.n_iter_ == 9
    assert [model.n_iter_ for model in imputer.models_] == [9, 9]


def test_poor_weights_of_models_are_not_hidden_by_their_number():
    X = table()
    imputer = tiny(MVAEImputer, n_models=3).fit(X).set_params(n_importance_draws=100)
    for model in imputer.models_:
        for weight in model.vae_.encoder.parameters():
            weight.data.mul_(20.0)
    with pytest.warns(UserWarning, match="fewer than 10 effective importance draws of 100"):
        imputer.cell_distribution(X)


def test_refit_encoder_refits_those_of_all_models():
    X = table()
    imputer = tiny(MVAEImputer, n_models=2).fit(X)
    other = imputer.refit_encoder(X)
    pairs = zip(imputer.models_, other.models_, strict=True)
    for before, after in pairs:
        assert not np.array_equal(before.effective_sample_size(X), after.effective_sample_size(X))


# -- pools that serve all imputations -----------------------------------------------------------


@pytest.mark.parametrize("n_models", [1, 2])
def test_an_imputation_is_the_same_however_many_there_are_and_are_kept(n_models, monkeypatch):
    X = table()
    imputer = tiny(MissSIWAEImputer, n_models=n_models, n_importance_draws=400).fit(X)
    six, three = imputer.impute(X, 6), imputer.impute(X, 3)  # more than models: told elsewhere
    for i in range(3):
        np.testing.assert_array_equal(six[i], three[i])
    kept = list(six)
    monkeypatch.setattr("skmissvae.estimators.imputation_sampler._KEPT", 0)
    for a, b in zip(kept, imputer.impute(X, 6), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pool_serves_where_many_of_its_draws_are_effective():
    x, observed = (rows[2:3] for rows in MODEL.rows(4))
    loc, cov = MODEL.condition(x[0], observed[0])
    u = stream(3).uniform(1, 20_000)
    z, ess, _ = conditional(20_000, widen=1.3).several(x, observed, stream(4), u)
    assert ess > 5000
    assert z.shape == (1, 20_000, 2)
    np.testing.assert_allclose(z[0].mean(0), loc[-2:], atol=0.05)
    np.testing.assert_allclose(z[0].T.cov(), cov[-2:, -2:], atol=0.05)


def test_pools_are_added_until_enough_of_their_draws_are_effective(monkeypatch):
    x, observed = (rows[2:3] for rows in MODEL.rows(4))
    one = conditional(50, widen=1.3)
    of_one = float(one.several(x, observed, stream(4), stream(3).uniform(1, 1))[1])
    u = stream(3).uniform(1, 200)
    noise = stream(4)
    pools = [one.log_weights(x, observed, noise)[0][:, 0].tolist() for _ in range(3)]

    def n_pools(shared: float, least: float) -> int:
        monkeypatch.setattr("skmissvae.inference.conditional._SHARED_ESS", shared)
        monkeypatch.setattr("skmissvae.inference.conditional._LEAST_SHARED_ESS", least)
        z, ess, _ = one.several(x, observed, stream(4), u)
        assert float(ess) == of_one > 20
        chosen = z[0].tolist()
        found = [sum(latent in pool for latent in chosen) for pool in pools]
        assert sum(found) == (0 if z.isnan().all() else u.numel())
        return sum(n > 0 for n in found)

    assert n_pools(of_one, of_one) == 1
    assert n_pools(1.2 * of_one, of_one) == 2
    assert n_pools(np.inf, 20.0) == 3
    assert n_pools(np.inf, np.inf) == 0


@every_imputer
def test_imputations_of_a_pool_are_as_different_as_those_of_fresh_pools(cls, monkeypatch):
    X = table()
    imputer = tiny(cls, n_importance_draws=400, max_iter=20).fit(X)
    holes = np.isnan(X)
    spread = []
    for shared, least in ((100.0, 20.0), (np.inf, np.inf)):
        monkeypatch.setattr("skmissvae.inference.conditional._SHARED_ESS", shared)
        monkeypatch.setattr("skmissvae.inference.conditional._LEAST_SHARED_ESS", least)
        drawn = np.stack(list(imputer.impute(X, 30)))
        spread.append(drawn.var(0, ddof=1)[holes] / np.nanvar(X, 0)[np.nonzero(holes)[1]])
    pooled, fresh = (one.mean() for one in spread)
    assert abs(pooled / fresh - 1) < 0.25


# -- draws by row and all tables in one frame ---------------------------------------------------


@every_imputer
def test_what_a_row_with_an_identifier_gets_does_not_depend_on_its_place(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    ids = [f"patient {i}" for i in range(len(X))]
    order = np.random.default_rng(1).permutation(len(X))[:25]
    whole = imputer.impute(X, 2, row_ids=ids)
    part = imputer.impute(X[order], 2, row_ids=[ids[i] for i in order])
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[order], b)
    assert not np.array_equal(whole[0], imputer.impute(X, 1)[0])


def test_positions_are_identifiers_and_negative_numbers_are_others():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    by_place = imputer.impute(X, 1)[0]
    places = np.arange(len(X))
    for ids in (range(len(X)), pd.Series(places, dtype="Int64"), places.astype("u1")):
        np.testing.assert_array_equal(imputer.impute(X, 1, row_ids=ids)[0], by_place)
    other = imputer.impute(X, 1, row_ids=-np.arange(len(X)))[0]
    np.testing.assert_array_equal(other[0], by_place[0])
    assert not np.array_equal(other, by_place)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, 3], "one entry for each of the 40 rows; got 3"),
        ([0, *range(39)], "0 is there twice"),
        ([None, *range(39)], "must not be missing; that of row 0 is"),
    ],
)
def test_identifiers_that_do_not_identify_are_refused(ids, message):
    imputer = tiny(MVAEImputer).fit(table())
    with pytest.raises(ValueError, match=message):
        imputer.impute(table(), 1, row_ids=ids)


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_all_imputations_stand_in_one_frame(make):
    X = table()
    names = [f"x{j}" for j in range(4)]
    given = X if make is np.asarray else make(dict(zip(names, X.T, strict=True)))
    tables = tiny(MVAEImputer).fit(given).impute(given, 3)
    long = tables.to_frame()
    assert isinstance(long, pl.DataFrame if make is pl.DataFrame else pd.DataFrame)
    assert list(long.columns) == ["imputation", "row", *names]
    for i in range(3):
        part = long[40 * i : 40 * (i + 1)]
        assert set(part["imputation"]) == {i}
        np.testing.assert_array_equal(part["row"].to_numpy(), np.arange(40))
        np.testing.assert_array_equal(part[names].to_numpy(), np.asarray(tables[i]))


def test_imputations_survive_pickling_and_none_make_no_frame():
    X = table()
    tables = tiny(MVAEImputer).fit(X).impute(X, 3)
    first = tables[0]
    again = pickle.loads(pickle.dumps(tables))
    np.testing.assert_array_equal(again[0], first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tables[1:]))[1], tables[2])
    np.testing.assert_array_equal(again[2], tables[2])
    with pytest.raises(ValueError, match="no imputation to make a frame of"):
        tables[:0].to_frame()


def test_a_frame_of_all_imputations_keeps_types_and_the_labels_of_an_index():
    X = mixed()
    long = tiny(MVAEImputer).fit(X).impute(X, 2).to_frame()
    assert long["row"].tolist() == [*X.index, *X.index]
    assert long.dtypes[X.columns].to_dict() == X.dtypes.to_dict()


def test_a_column_that_a_frame_of_all_imputations_would_add_is_refused():
    X = pd.DataFrame(table(), columns=["a", "row", "c", "d"])
    tables = tiny(MVAEImputer).fit(X).impute(X, 2)
    with pytest.raises(ValueError, match="has a column 'row' of its own; rename it"):
        tables.to_frame()


# -- how far to trust the draws -----------------------------------------------------------------


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_the_tail_of_weights_of_known_shape_is_found(k):
    w = stats.genpareto.rvs(k, size=(20, 20_000), random_state=0)
    found = [pareto_k(torch.tensor(row).log()) for row in w]
    assert abs(np.mean(found) - k) < 0.06
    shifted = pareto_k(torch.tensor(w[0]).log() - 1000)
    assert shifted == pytest.approx(found[0], abs=1e-6)


def test_equal_weights_have_no_tail_and_few_none_that_can_be_told():
    assert pareto_k(torch.zeros(1000)) == -np.inf
    assert np.isnan(pareto_k(torch.arange(8.0)))


@every_estimator
def test_rows_tell_of_their_weights_components_and_information(cls):
    X = table()
    estimator = tiny(cls).fit(X)
    k, weights = estimator.pareto_k(X), estimator.mixture_weights(X)
    assert k.shape == (40,)
    assert weights.shape == (40, getattr(estimator, "K", 1))
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    information = estimator.latent_information(X)
    complete = ~np.isnan(X).any(1)
    assert (information[complete] == 0).all()
    assert (information >= 0).all()
    for method in ("pareto_k", "mixture_weights", "latent_information"):
        alone = getattr(estimator, method)(X[5:6])
        np.testing.assert_array_equal(alone, getattr(estimator, method)(X)[5:6])


def test_the_information_of_missing_cells_is_that_of_the_linear_gaussian_model():
    x, observed = MODEL.rows(6)
    given = conditional(widen=1.1)
    for b in range(6):
        seen, L = observed[b], MODEL.n_latents
        if seen.all():
            continue
        everything = torch.ones_like(seen)
        before, after = (MODEL.condition(x[b], o)[1][-L:, -L:] for o in (seen, everything))
        exact = 0.5 * np.log(np.linalg.det(before) / np.linalg.det(after))
        found = [
            float(given.information(x[b : b + 1], observed[b : b + 1], stream(seed), 500))
            for seed in range(4)
        ]
        assert abs(np.mean(found) - exact) < 0.1


def test_levels_of_columns_with_few_and_with_many_levels_have_probabilities_of_one():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "few": pd.Categorical(rng.choice(list("xyz"), 60)),
            "many": pd.Categorical(rng.choice([f"level {i:02}" for i in range(15)], 60)),
            "rank": pd.Categorical(rng.choice(list("abcd"), 60), ordered=True),
            "flag": rng.random(60) < 0.5,
        }
    ).mask(rng.random((60, 4)) < 0.3)
    cells = tiny(MissSIWAEImputer).fit(X).cell_distribution(X)
    assert cells["probability"].between(0, 1).all()
    total = cells.groupby(["row", "column"])["probability"].sum()
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_table_without_a_column_that_varies_has_no_distributions():
    X = np.array([[1.0, np.nan], [1.0, 2.0]])
    assert tiny(MVAEImputer).fit(X).cell_distribution(X).empty


def test_ctrl_c_between_models_leaves_the_estimator_as_it_was(monkeypatch):
    imputer, times = tiny(MVAEImputer, n_models=2), []
    train = MVAEImputer._train

    def interrupt(self, *args, **kwargs):
        times.append(1)
        state = train(self, *args, **kwargs)
        return state._replace(stopped=len(times) == 3)

    monkeypatch.setattr(MVAEImputer, "_train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        imputer.fit(table())
    assert not hasattr(imputer, "vae_")
