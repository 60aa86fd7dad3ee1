"""The value of measuring a cell, next to the exact mutual information of a Gaussian model."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_estimator, quiet, table, tiny
from helpers import LinearGaussian, stream
from sklearn.impute import SimpleImputer

from skmissvae import MissSIWAEImputer, MVAEImputer, value_of_measuring
from skmissvae.inference import ConditionalModel
from skmissvae.inspection import ValueOfMeasuringDisplay, latent_information

pytestmark = quiet
MODEL = LinearGaussian(5, 2)


def row_batch(model, row):
    x, observed = (part[row : row + 1] for part in MODEL.rows(20, 0, share=0.5))
    x = torch.where(observed, x, 0.0)
    return x, observed, model.encode(x, observed, lambda: stream(row))


@pytest.mark.parametrize("row", [1, 8])  # without an observed cell, and with some
def test_it_is_the_mutual_information_of_a_gaussian_model(row):
    model = ConditionalModel(MODEL.vae(), 1500)
    x, observed, batch = row_batch(model, row)
    missing = np.flatnonzero(~observed[0])
    assert len(missing) > 1
    _, cov = MODEL.condition(x[0], observed[0])
    std, z = np.sqrt(cov.diagonal()), np.arange(5, 5 + 2)
    target = missing[0]
    of_target = model.cell_information(batch, 2000, int(target))[0][0]
    of_latents = model.cell_information(batch, 2000)[0][0]
    for d in missing:
        given_z = cov[d, d] - cov[d, z] @ np.linalg.solve(cov[np.ix_(z, z)], cov[z, d])
        assert of_latents[d] == pytest.approx(0.5 * np.log(cov[d, d] / given_z), abs=0.07)
        if d != target:
            rho = cov[d, target] / (std[d] * std[target])
            assert of_target[d] == pytest.approx(-0.5 * np.log(1 - rho**2), abs=0.07)


def test_a_target_is_symmetric_and_its_cells_say_no_more_than_the_latents():
    model = ConditionalModel(MODEL.vae(), 500)
    _, observed, batch = row_batch(model, 1)
    of = torch.cat([model.cell_information(batch, 500, d)[0] for d in range(5)])
    torch.testing.assert_close(of, of.T, atol=1e-9, rtol=0)
    of_latents = model.cell_information(batch, 500)[0][0]
    off_diagonal = of.fill_diagonal_(0.0)
    assert (off_diagonal <= of_latents + 0.1).all()
    assert not observed.any()


def test_a_single_missing_cell_has_the_latent_information():
    X = table(30, share=0.0)
    X[:, 1] = np.nan
    X[0, 1] = 100.0
    imputer = tiny(MVAEImputer, n_importance_draws=400, max_iter=20).fit(
        np.vstack([table(60), X[:1]])
    )
    values = value_of_measuring(imputer, X, n_draws=500)
    assert values["column"].unique().tolist() == ["x1"]
    assert values["row"].tolist() == list(range(1, 30))
    expected = latent_information(imputer, X)[1:]
    np.testing.assert_allclose(values["nats"].mean(), expected.mean(), atol=0.1)


@every_estimator
def test_cells_of_a_row_are_sorted_and_do_not_depend_on_other_rows(cls):
    X = table(20)
    X[3] = 1.0
    estimator = tiny(cls).fit(X)
    values = value_of_measuring(estimator, X, "x2", n_draws=20)
    expected = np.isnan(X) & np.isnan(X[:, [2]]) & (np.arange(4) != 2)
    cells = {(row, f"x{j}") for row, j in zip(*np.nonzero(expected), strict=True)}
    assert set(zip(values["row"], values["column"], strict=True)) == cells
    assert (values["nats"] >= 0).all()
    for _, part in values.groupby("row"):
        assert part["nats"].is_monotonic_decreasing
    row = int(values["row"].iloc[-1])
    alone = value_of_measuring(estimator, X[row : row + 1], "x2", n_draws=20)
    np.testing.assert_array_equal(alone["nats"], values.loc[values["row"] == row, "nats"])
    pd.testing.assert_frame_equal(value_of_measuring(estimator, X, 2, n_draws=20), values)


def test_a_related_cell_is_worth_more():
    rng = np.random.default_rng(0)
    z = rng.normal(size=200)
    words = np.where(z > 0, "high", "low")
    X = pd.DataFrame(
        {"z": z, "noise": rng.normal(size=200), "word": words, "count": rng.poisson(3, 200)}
    )
    imputer = tiny(MissSIWAEImputer, max_iter=30, n_importance_draws=100).fit(X)
    row = X.iloc[:1].astype({"count": "Int64"}).mask(np.ones((1, 4), dtype=bool))
    row.index = ["patient"]
    values = value_of_measuring(imputer, row, "word").set_index("column")["nats"]
    assert values.index[0] == "z"
    assert values["z"] > 0.25 > 0.1 > values["noise"]
    assert value_of_measuring(imputer, row)["row"].tolist() == ["patient"] * 4
    empty = value_of_measuring(imputer, X, "word")
    assert len(empty) == 0
    assert empty.columns.tolist() == ["row", "column", "nats"]


def test_copies_and_columns_that_are_not_modelled():
    X = table(60)
    X = np.column_stack([X, X[:, 1], np.ones(60)])
    imputer = tiny(MVAEImputer).fit(X)
    by_copy, original = (value_of_measuring(imputer, X, d, n_draws=10) for d in (4, 1))
    pd.testing.assert_frame_equal(by_copy, original)
    with pytest.raises(ValueError, match="'target' names column 5, which is not modelled: its r"):
        value_of_measuring(imputer, X, 5)
    with pytest.raises(ValueError, match="'target' names column 'y', which X does not have"):
        value_of_measuring(imputer, X, "y")
    with pytest.raises(ValueError, match="n_draws must be an integer of 1 or more; got 0"):
        value_of_measuring(imputer, X, n_draws=0)
    with pytest.raises(TypeError, match="estimator must be an estimator of skmissvae"):
        value_of_measuring(SimpleImputer().fit(X), X)


def test_the_display_shows_means_over_rows():
    X = table(20)
    imputer = tiny(MVAEImputer).fit(X)
    display = ValueOfMeasuringDisplay.from_estimator(imputer, X, "x0", n_draws=10, color="k")
    expected = value_of_measuring(imputer, X, "x0", n_draws=10).groupby("column")["nats"].mean()
    assert display.mean.is_monotonic_decreasing
    np.testing.assert_allclose(display.mean[expected.index], expected)
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, display.mean)
    assert display.ax_.get_xlabel() == "value of measuring, nats"
    plt.close("all")


def test_sharp_cells_get_more_latents_and_a_warning():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 4))
    X = np.repeat(z, 2, axis=1) + 0.02 * rng.normal(size=(300, 8))
    options = {"init": "factor_analysis", "n_latents": 4, "max_iter": 5, "min_scale": 0.01}
    imputer = tiny(MVAEImputer, n_importance_draws=1000, **options).fit(X)
    empty = np.full((1, 8), np.nan)
    values = value_of_measuring(imputer, empty, "x0", n_draws=60).set_index("column")["nats"]
    assert values.index[0] == "x1"
    expected = -0.5 * np.log(1 - np.corrcoef(imputer.sample(9999).T)[0, 1] ** 2)
    assert values["x1"] == pytest.approx(expected, abs=0.25)
    assert values.drop("x1").max() < 0.2
    imputer.set_params(n_importance_draws=40)
    with pytest.warns(UserWarning, match=r"cells are inaccurate: .*Increase n_importance_draws"):
        value_of_measuring(imputer, empty, "x0", n_draws=60)
