"""The distribution of each missing cell given the observed cells of its row."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import MissSIWAEImputer, MVAEImputer, every_imputer, quiet, table, tiny
from helpers import LinearGaussian, stream
from scipy import stats

from skmissvae.inference import ConditionalModel
from skmissvae.inference.calibration import weighted_quantiles

pytestmark = quiet

MODEL = LinearGaussian()


@pytest.fixture(scope="module")
def mixed():
    """Return a frame of numbers, integers, booleans, categories and dates with missing cells."""
    n, rng = 60, np.random.default_rng(0)
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


@pytest.fixture(scope="module")
def imputer(mixed):
    return tiny(MissSIWAEImputer).fit(mixed)


@pytest.fixture(scope="module")
def cells(imputer, mixed):
    return imputer.cell_distribution(mixed)


@every_imputer
def test_the_mean_of_a_cell_is_imputed_by_transform(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    cells, completed = imputer.cell_distribution(X), imputer.transform(X)
    names = [f"x{j}" for j in range(X.shape[1])]
    at = cells["row"].to_numpy(int), cells["column"].map(names.index).to_numpy()
    assert set(zip(*at, strict=True)) == set(zip(*np.nonzero(np.isnan(X)), strict=True))
    scale = np.nanstd(X, 0)[at[1]]
    np.testing.assert_allclose((cells["mean"] - completed[at]) / scale, 0, atol=2e-5)
    quantiles = imputer.cell_distribution(X[:10], [0.01, 0.25, 0.5, 0.75, 0.99])
    q = quantiles[["1%", "25%", "50%", "75%", "99%"]].to_numpy()
    assert (np.diff(q) >= 0).all()
    assert (quantiles["std"] > 0).all()


def test_cells_are_described_in_the_units_of_their_columns(cells, mixed):
    assert list(cells.columns[:5]) == ["row", "column", "kind", "category", "probability"]
    described = set(zip(cells["row"], cells["column"], strict=True))
    missing = np.argwhere(mixed.isna().to_numpy())
    assert described == {(mixed.index[i], mixed.columns[j]) for i, j in missing}
    categories = cells[cells["column"].isin(["flag", "town"])]
    total = categories.groupby(["row", "column"])["probability"].sum()
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert set(categories[categories["column"] == "town"]["category"]) == {"Ulm", "Bonn", "Köln"}
    assert set(categories[categories["column"] == "flag"]["category"]) == {False, True}
    counts = cells[cells["column"] == "count"]
    assert (counts["50%"].astype(float) % 1 == 0).all()
    days = cells[cells["column"] == "day"]
    assert all(isinstance(value, pd.Timestamp) for value in pd.to_datetime(days["50%"]))
    assert (pd.to_timedelta(days["std"]) > pd.Timedelta(0)).all()


def test_the_most_probable_category_is_imputed_by_transform(imputer, cells, mixed):
    completed = imputer.transform(mixed)
    for (row, column), part in cells[cells["category"].notna()].groupby(["row", "column"]):
        assert completed.at[row, column] == part.loc[part["probability"].idxmax(), "category"]


@pytest.mark.parametrize("strategy", ["median", "mode"])
def test_points_of_latents_have_the_most_probable_category(imputer, cells, mixed, strategy):
    completed = copy.copy(imputer).set_params(strategy=strategy).transform(mixed)
    of_categories = cells[cells["category"].notna()]
    n_clear = 0
    for (row, column), part in of_categories.groupby(["row", "column"]):
        best, second, *_ = part["probability"].sort_values(ascending=False)
        if best - second > 0.04:  # 256 latents have an error
            n_clear += 1
            assert completed.at[row, column] == part.loc[part["probability"].idxmax(), "category"]
    assert n_clear > 10


def test_means_of_binary_cells_are_probabilities():
    X = table()
    X[:, 0] = np.where(np.isnan(X[:, 0]), np.nan, X[:, 0] > 0)
    imputer = tiny(MVAEImputer, likelihood={0: "bernoulli"}, strategy="mean").fit(X)
    cells = imputer.cell_distribution(X)
    of_one = cells[cells["category"] == 1]
    means = imputer.transform(X)[of_one["row"].to_numpy(int), 0]
    np.testing.assert_allclose(means, of_one["probability"].to_numpy(float), atol=1e-5)
    assert ((means > 0) & (means < 1)).all()


def test_modes_of_grey_values_are_zero_and_one():
    X = np.random.default_rng(0).random((40, 3))
    missing = np.random.default_rng(1).random(X.shape) < 0.3
    X[missing] = np.nan
    imputer = tiny(MVAEImputer, likelihood="cross_entropy", strategy="mode")
    modes = imputer.fit_transform(X)[missing]
    assert set(modes.tolist()) <= {0.0, 1.0}


def test_observed_cells_of_a_mask_are_described_given_the_rest_of_their_row():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    i, j = np.argwhere(~np.isnan(X))[3]
    where = np.zeros(X.shape, dtype=bool)
    where[i, j] = True
    cell = imputer.cell_distribution(X, where=where)
    assert cell["row"].tolist() == [i]
    assert cell["column"].tolist() == [f"x{j}"]
    hidden = X.copy()
    hidden[i, j] = np.nan
    cells = imputer.cell_distribution(hidden)
    expected = cells[(cells["row"] == i) & (cells["column"] == f"x{j}")]
    np.testing.assert_array_equal(cell.iloc[:, 5:].to_numpy(), expected.iloc[:, 5:].to_numpy())


def test_integers_are_imputed_by_rounded_means(imputer, cells, mixed):
    counts = cells[cells["column"] == "count"]
    mean = counts["mean"].to_numpy(float)
    is_clear = np.abs(mean % 1 - 0.5) > 1e-3  # both round the same mean up to its last bits
    completed = imputer.transform(mixed).loc[counts["row"], "count"].to_numpy(int)
    np.testing.assert_array_equal(completed[is_clear], np.rint(mean[is_clear]))
    assert (np.rint(mean[is_clear]) != np.floor(mean[is_clear])).any()


def test_quantiles_of_the_linear_gaussian_model_are_exact():
    x, observed = MODEL.rows(4)
    model = ConditionalModel(MODEL.vae(widen=1.2), 40_000)
    for b in range(4):
        batch = model.encode(x[b : b + 1], observed[b : b + 1], lambda: stream(7))
        values, w, columns, _ = model.cell_values(batch)
        loc, cov = MODEL.condition(x[b], observed[b])
        missing = ~observed[b]
        loc, scale = loc[:5][missing], np.sqrt(np.diag(cov)[:5][missing])
        q = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
        quantiles = weighted_quantiles(values[:, missing], w, q.expand(int(missing.sum()), 3))
        exact = stats.norm.ppf(q, loc[:, None], scale[:, None])
        np.testing.assert_allclose((quantiles.numpy() - exact) / scale[:, None], 0, atol=0.08)
        assert len(w) == 40_000
        np.testing.assert_allclose(w.sum(), 1)
        assert columns.shape[-1] == 5


def test_probabilities_of_categories_sum_to_one_for_any_number_of_categories():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "few": pd.Categorical(rng.choice(list("xyz"), 60)),
            "many": pd.Categorical(rng.choice([f"category {i:02}" for i in range(15)], 60)),
            "ordinal": pd.Categorical(rng.choice(list("abcd"), 60), ordered=True),
            "binary": rng.random(60) < 0.5,
        }
    ).mask(rng.random((60, 4)) < 0.3)
    cells = tiny(MissSIWAEImputer).fit(X).cell_distribution(X)
    assert cells["probability"].between(0, 1).all()
    total = cells.groupby(["row", "column"])["probability"].sum()
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_cell_whose_copy_is_observed_has_no_variance():
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
        cell = cells.loc[[("a2", row)]].iloc[0]
        assert cell["mean"] == pytest.approx(X.loc[row, "a"])
        assert cell["std"] == 0
        assert cell["5%"] == pytest.approx(X.loc[row, "a"])
        probabilities = cells.loc[[("t2", row)]].set_index("category")["probability"]
        assert probabilities[X.loc[row, "t"]] == 1
        assert probabilities.sum() == 1
    assert (cells.loc["a2"].loc[5:9, "std"] > 0).all()


@pytest.mark.parametrize("n_draws", [1, 40, 5000])
def test_quantiles_of_a_row_are_computed_once_and_only_of_numbers(n_draws, imputer, mixed):
    model = imputer.conditional_model()._replace(n_draws=n_draws, proposal="encoder")
    rows, shapes = imputer.encode_rows(mixed[:1]), []
    x, observed = rows.tensors()
    batch = model.encode(x, observed, lambda: stream(7, torch.float32))
    with pytest.MonkeyPatch.context() as patch:
        for part in model.vae.decode(torch.zeros(1, x.shape[1])).parts:
            cls, icdf = type(part), type(part).icdf

            def counted(self, u, icdf=icdf, cls=cls):
                shapes.append((cls, tuple(u.shape[:-1])))
                return icdf(self, u)

            patch.setattr(cls, "icdf", counted)
        values, w, columns, _ = model.cell_values(batch)
    n = max(1, 4096 // n_draws)
    assert {shape for _, shape in shapes} == {(n, n_draws, 1)}
    assert len(values) == len(w) == n * n_draws
    is_category = np.array([support == "coded" for support in model.vae.likelihood.supports])
    np.testing.assert_array_equal(values.isnan().all(0), is_category)
    assert values[:, ~is_category].isfinite().all()
    assert is_category.any()
    # each draw has one value in each n-th of its distribution
    d = mixed.columns.get_loc("length")
    share = columns.cdf(values.view(n_draws, n, -1).transpose(0, 1).unsqueeze(2).float())[..., 0, d]
    expected = torch.arange(n).view(n, 1).expand_as(share)
    torch.testing.assert_close((share * n - 1e-3).ceil() - 1, expected.float(), atol=1, rtol=0)


def test_tables_without_missing_or_modelled_cells_have_no_distributions():
    X = table()
    assert tiny(MVAEImputer).fit(X).cell_distribution(np.nan_to_num(X)).empty
    constant = np.array([[1.0, np.nan], [1.0, 2.0]])
    assert tiny(MVAEImputer).fit(constant).cell_distribution(constant).empty
