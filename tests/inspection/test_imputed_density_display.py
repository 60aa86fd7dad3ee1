"""ImputedDensityDisplay: values, densities, shares and selected columns."""

import datetime

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, table, tiny
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from skmissvae import MissSVAEImputer, MIWAEImputer
from skmissvae.inspection import ImputedDensityDisplay
from skmissvae.inspection.imputed_density_display import _density

pytestmark = [quiet, pytest.mark.usefixtures("agg_backend")]

X = table()
FRAME = pd.DataFrame(X, columns=list("abcd"))


def mixed(n=60):
    """Return a table with columns of all kinds and missing cells in every column."""
    rng = np.random.default_rng(0)
    first = datetime.datetime(2020, 1, 1)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "rooms": pd.array(rng.poisson(2, n), dtype="Int64"),
            "town": rng.choice(["Ulm", "Bonn", "Freiburg im Breisgau"], n),
            "new": pd.array(rng.random(n) < 0.4, dtype="boolean"),
            "built": pd.to_datetime(
                [first + datetime.timedelta(days=int(d)) for d in rng.integers(0, 900, n)]
            ),
            "took": pd.to_timedelta(rng.integers(1, 90, n), unit="D"),
        }
    )
    return frame.mask(rng.random(frame.shape) < 0.25)


@pytest.fixture(scope="module")
def imputer():
    return tiny(MissSVAEImputer, n_latents=2).fit(FRAME)


@pytest.fixture(scope="module")
def mixed_imputer():
    return tiny(MIWAEImputer).fit(mixed())


@pytest.mark.parametrize("make", [lambda f: f, pl.DataFrame, np.asarray])
def test_imputed_values_equal_those_of_impute(make):
    container = make(FRAME)
    imputer = tiny(MIWAEImputer).fit(container)
    display = ImputedDensityDisplay.from_estimator(
        imputer, container, n_imputations=3, random_state=1
    )
    tables = [np.asarray(table) for table in imputer.impute(container, 3, random_state=1)]
    assert [*display.observed] == [*imputer.fit_report_.index]
    for j, name in enumerate(display.observed):
        is_missing = np.isnan(X[:, j])
        np.testing.assert_array_equal(display.observed[name], X[~is_missing, j])
        expected = [table[is_missing, j] for table in tables]
        np.testing.assert_array_equal(display.imputed[name], expected)


def observed_cells(name, is_missing):
    """Return the observed cells of a column of the mixed table, with times in microseconds."""
    cells = mixed()[name][~is_missing].to_numpy()
    return (
        cells.astype(f"{cells.dtype.str[1:3]}[us]") if cells.dtype.kind in "mM" else cells
    ).tolist()


@pytest.mark.parametrize("make", [lambda f: f, pl.DataFrame], ids=["pandas", "polars"])
def test_columns_of_all_kinds_are_drawn(make, mixed_imputer):
    frame = make(mixed())
    imputer = mixed_imputer if isinstance(frame, pd.DataFrame) else tiny(MIWAEImputer).fit(frame)
    display = ImputedDensityDisplay.from_estimator(imputer, frame, random_state=0)
    (completed,) = imputer.impute(frame, 1, random_state=0)
    for name, is_missing in mixed().isna().items():
        assert display.imputed[name].shape == (5, is_missing.sum())
        assert display.observed[name].tolist() == observed_cells(name, is_missing)
    town = np.asarray(completed["town"].to_list())[mixed()["town"].isna()]
    assert display.imputed["town"][0].tolist() == town.tolist()
    assert display.observed["built"].dtype == "datetime64[us]"
    assert display.observed["took"].dtype == "timedelta64[us]"
    assert display.categories["town"] == ["Bonn", "Freiburg im Breisgau", "Ulm"]
    assert display.categories["new"] == [False, True]
    assert set(mixed()["rooms"].dropna()) <= set(display.categories["rooms"])
    assert not display.categories["size"]
    display.figure_.draw_without_rendering()
    built = display.axes_[4]
    assert built.get_xticklabels()[1].get_text().startswith("20")
    town = [text.get_text() for text in display.axes_[2].get_xticklabels()]
    assert town == ["Bonn", "Freiburg im…", "Ulm"]


def test_bars_and_dots_are_shares_of_categories(mixed_imputer):
    display = ImputedDensityDisplay.from_estimator(mixed_imputer, mixed(), ["town", 1])
    assert [*display.observed] == ["town", "rooms"]
    for ax, name in zip(display.axes_, display.observed, strict=True):
        categories = display.categories[name]
        shares = mixed()[name].value_counts(normalize=True).reindex(categories, fill_value=0)
        bars = [bar.get_height() for bar in ax.containers[0]]
        np.testing.assert_allclose(bars, shares.astype(float))
        for line, imputed in zip(ax.get_lines(), display.imputed[name], strict=True):
            shares = [np.mean([cell == value for cell in imputed]) for value in categories]
            np.testing.assert_allclose(line.get_ydata(), shares)


def test_densities_equal_those_of_scipy_with_one_bandwidth(imputer):
    display = ImputedDensityDisplay.from_estimator(imputer, FRAME, ["c"], c="k")
    observed, imputed = display.observed["c"], display.imputed["c"]
    n = min(len(observed), imputed.shape[1])
    bandwidth = np.append(observed, imputed).std() * n**-0.2
    for line, values in zip(display.axes_[0].get_lines(), imputed, strict=True):
        grid, density = line.get_xydata().T
        expected = gaussian_kde(values, bandwidth / values.std(ddof=1))(grid)
        np.testing.assert_allclose(density, expected, rtol=1e-6)
        assert line.get_color() == "k"
    mass = _density(observed, grid, bandwidth).sum() * (grid[1] - grid[0])
    assert mass == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("columns", [["town", "size"], ["size", "town"]])
def test_the_legend_names_observed_and_imputed(columns, mixed_imputer):
    display = ImputedDensityDisplay.from_estimator(mixed_imputer, mixed(), columns, n_imputations=2)
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.texts] == ["observed", "imputed, 2 times"]
    observed, imputed = legend.legend_handles
    assert observed.get_facecolor()[0] == pytest.approx(0.88)
    assert matplotlib.colors.to_hex(imputed.get_color()) == "#0072b2"


def test_columns_without_observed_cells_are_drawn():
    display = ImputedDensityDisplay({"a": np.array([])}, {"a": np.array([[2.0], [2.0]])}).plot()
    assert len(display.axes_[0].get_lines()) == 2
    display.figure_.draw_without_rendering()


def test_excluded_columns_are_skipped_and_duplicates_drawn():
    frame = FRAME.assign(
        empty=np.nan, same=FRAME["a"], constant=1.0, label=[f"r{i}" for i in range(40)]
    )
    frame = frame[["empty", *"abcd", "same", "constant", "label"]]
    with pytest.warns(UserWarning, match="Columns without an observed cell"):
        imputer = tiny(MIWAEImputer, add_indicator=True).fit(frame)
    display = ImputedDensityDisplay.from_estimator(imputer, frame)
    assert [*display.observed] == [*"abcd", "same"]
    np.testing.assert_array_equal(display.imputed["a"], display.imputed["same"])
    with pytest.raises(
        ValueError, match=r"contains 'constant', which has no model \(constant\). Leave"
    ):
        ImputedDensityDisplay.from_estimator(imputer, frame, ["constant"])


def test_arrays_of_objects_have_categories():
    array = mixed()[["size", "town"]].to_numpy(dtype=object)
    imputer = tiny(MIWAEImputer).fit(array)
    display = ImputedDensityDisplay.from_estimator(imputer, array)
    assert display.categories["x1"] == ["Bonn", "Freiburg im Breisgau", "Ulm"]


def test_two_numbers_of_a_binary_column_are_categories():
    array = X.copy()
    array[:, 1] = np.where(np.isnan(X[:, 1]), np.nan, np.where(X[:, 1] > 100, 0.3, 0.1))
    imputer = tiny(MIWAEImputer, likelihood={"x1": "bernoulli"}).fit(array)
    display = ImputedDensityDisplay.from_estimator(imputer, array, ["x1"])
    assert display.categories["x1"] == [0.1, 0.3]
    heights = [bar.get_height() for bar in display.axes_[0].containers[0]]
    assert heights[1] == pytest.approx(np.mean(display.observed["x1"] == 0.3))


def test_selected_columns_must_have_missing_cells(imputer):
    frame = FRAME.fillna({"b": 100.0})
    assert [*ImputedDensityDisplay.from_estimator(imputer, frame).observed] == list("acd")
    with pytest.raises(ValueError, match=r"contains 'b', which has no missing cell in X\. Leave"):
        ImputedDensityDisplay.from_estimator(imputer, frame, ["a", "b"])
    with pytest.raises(ValueError, match="X has no missing cell in a modelled column"):
        ImputedDensityDisplay.from_estimator(imputer, FRAME.fillna(1.0))


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (["z"], ValueError, "'columns' names column 'z', which X does not have"),
        ([], ValueError, "columns must contain at least one column"),
        ("a", TypeError, "must be a list of columns; got 'a'"),
    ],
)
def test_columns_must_be_a_list_of_columns(columns, error, words, imputer):
    with pytest.raises(error, match=words):
        ImputedDensityDisplay.from_estimator(imputer, FRAME, columns)


def test_there_must_be_an_axes_for_each_column(imputer):
    axes = Figure().subplots(2, 2)
    display = ImputedDensityDisplay.from_estimator(imputer, FRAME, ax=axes)
    assert display.axes_.tolist() == axes.ravel().tolist()
    with pytest.raises(ValueError, match="ax must have one axes for each of the 4 columns; got 1"):
        display.plot(axes[0, 0])


def test_n_imputations_must_be_positive(imputer):
    with pytest.raises(ValueError, match="n_imputations must be an integer of 1 or more; got 0"):
        ImputedDensityDisplay.from_estimator(imputer, FRAME, n_imputations=0)


@pytest.mark.parametrize("kind", ["box", "strip"])
def test_boxes_and_strips_show_every_cell_of_every_imputation(kind, mixed_imputer):
    display = ImputedDensityDisplay.from_estimator(
        mixed_imputer, mixed(), n_imputations=3, kind=kind, random_state=0
    )
    for name, ax in zip(display.observed, display.axes_, strict=True):
        if display.categories[name]:
            continue
        labels = [label.get_text() for label in ax.get_xticklabels()]
        assert labels == ["observed", "1", "2", "3"]
        samples = [display.observed[name], *display.imputed[name]]
        if kind == "strip":
            drawn = [line.get_ydata() for line in ax.lines]
            assert [len(values) for values in drawn] == [len(values) for values in samples]
            for i, line in enumerate(ax.lines):
                assert (np.abs(line.get_xdata() - i) <= 0.3).all()
        else:
            drawn = [line for line in ax.lines if len(line.get_ydata()) == 2]
            medians = [line.get_ydata()[0] for line in drawn if np.ptp(line.get_xdata()) > 0.5]
            if samples[0].dtype.kind == "f":
                np.testing.assert_allclose(medians, [np.median(values) for values in samples])
    again = display.plot(kind=kind)
    assert again.figure_ is not None


def test_kinds_and_arguments_of_boxes(imputer):
    with pytest.raises(ValueError, match="kind must be 'density', 'box' or 'strip'; got 'violin'"):
        ImputedDensityDisplay.from_estimator(imputer, FRAME, kind="violin")
    display = ImputedDensityDisplay.from_estimator(
        imputer, FRAME, ["a"], kind="box", patch_artist=False, widths=0.2
    )
    assert len(display.axes_) == 1
