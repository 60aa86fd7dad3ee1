"""Pictures show the numbers that the package tells elsewhere, and disturb nobody."""

import datetime
import inspect
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from estimator_cases import quiet, table, tiny
from helpers import LinearGaussian, tiny_vae
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde, multivariate_normal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skmissvae import DeMissVAEImputer, MissSVAEImputer, MIWAEImputer, VAEDensityEstimator
from skmissvae.inspection import (
    ImputedDensityDisplay,
    MissingnessDisplay,
    OverimputationDisplay,
    TrainingDisplay,
    integrated_score_samples,
    overimputation_report,
)
from skmissvae.inspection import displays as module
from skmissvae.inspection.displays import _density
from skmissvae.inspection.latent_displays import (
    LatentDisplay,
    MixtureUseDisplay,
    _levels,
    _row_posterior,
)
from skmissvae.tables import missing_patterns

pytestmark = quiet

X = table()
FRAME = pd.DataFrame(X, columns=list("abcd"))
QUICK = {"refit": False, "baselines": False, "random_state": 0}


def mixed(n=60):
    """Return a table of all kinds, with holes in every column."""
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


@pytest.fixture(autouse=True)
def on_paper(tmp_path, monkeypatch):
    """Draw with Agg, refuse to show, and leave matplotlib as it was."""
    before, opened = matplotlib.get_backend(), plt.get_fignums()
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("shown"))
    monkeypatch.chdir(tmp_path)
    yield
    for number in set(plt.get_fignums()) - set(opened):
        plt.close(number)
    plt.switch_backend(before)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def imputer():
    return tiny(MissSVAEImputer, n_latents=2).fit(FRAME)


@pytest.fixture(scope="module")
def of_mixed():
    return tiny(MIWAEImputer).fit(mixed())


def report(**changes):
    """Return what an OverimputationReport holds: two columns of numbers, and one of levels."""
    cells = pd.DataFrame(
        {
            "repeat": 0,
            "row": range(7),
            "column": ["a", "a", "a", "b", "b", "b", "c"],
            "kind": ["continuous"] * 6 + ["categorical"],
            "truth": [1.0, 2.0, 6.0, 100.0, 200.0, 300.0, np.nan],
            "mean": [1.5, 2.5, 3.0, 150.0, 210.0, 260.0, np.nan],
            "low": [0.5, 1.0, 2.0, 120.0, 150.0, 200.0, np.nan],
            "high": [2.5, 4.0, 5.0, 190.0, 290.0, 320.0, np.nan],
            "covered": [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, np.nan],
            "scale": [2.0, 2.0, 2.0, 50.0, 50.0, 50.0, np.nan],
        }
    )
    return SimpleNamespace(cells=cells.assign(**changes), level=0.8)


#: How each display is made, from a fitted estimator or without.
MAKERS = {
    TrainingDisplay: lambda e, **to: TrainingDisplay.from_estimator(e, **to),
    MissingnessDisplay: lambda e, **to: MissingnessDisplay.from_data(FRAME, **to),
    ImputedDensityDisplay: lambda e, **to: ImputedDensityDisplay.from_estimator(
        e, FRAME, ["b"], **to
    ),
    OverimputationDisplay: lambda e, **to: OverimputationDisplay.from_estimator(
        e, FRAME, **QUICK, **to
    ),
    LatentDisplay: lambda e, **to: LatentDisplay.from_estimator(e, FRAME, n_grid=20, **to),
    MixtureUseDisplay: lambda e, **to: MixtureUseDisplay.from_estimator(e, FRAME, **to),
}
every_display = pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)
of_estimators = pytest.mark.parametrize(
    "cls", [cls for cls in MAKERS if hasattr(cls, "from_estimator")], ids=lambda cls: cls.__name__
)


def drawn_on(display):
    return getattr(display, "ax_", None) or display.axes_[0]


# -- laws of all displays --------------------------------------------------------------------------


def test_all_are_here():
    public = inspect.getmembers(module, inspect.isclass)
    assert {cls for name, cls in public if name.endswith("Display")} == set(MAKERS)


@every_display
def test_axes_that_are_given_are_drawn_on(cls, imputer):
    figure = Figure()
    ax = figure.subplots()
    display = MAKERS[cls](imputer, ax=ax)
    assert isinstance(display, cls)
    assert drawn_on(display) is ax
    assert display.figure_ is figure
    assert not plt.get_fignums()
    assert ax.has_data() or ax.child_axes[0].has_data()
    figure.draw_without_rendering()


@every_display
def test_without_axes_there_is_a_new_figure(cls, imputer):
    display = MAKERS[cls](imputer)
    assert plt.get_fignums() == [display.figure_.number]
    assert drawn_on(display).figure is display.figure_
    display.figure_.draw_without_rendering()


@every_display
def test_a_display_can_be_drawn_again(cls, imputer):
    display = MAKERS[cls](imputer)
    first = drawn_on(display)
    assert display.plot() is display
    assert drawn_on(display) is not first


@every_display
def test_without_matplotlib_it_says_what_to_install(cls, imputer, monkeypatch):
    display = MAKERS[cls](imputer)
    words = f"{cls.__name__} draws.*pip install matplotlib"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "matplotlib", None)
        without.setitem(sys.modules, "matplotlib.pyplot", None)
        for draw in (display.plot, lambda: MAKERS[cls](imputer)):
            with pytest.raises(ImportError, match=words):
                draw()


def test_the_module_does_without_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import skmissvae.inspection"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=module.__file__.rsplit("/", 3)[0])


@of_estimators
def test_estimators_must_be_fitted(cls):
    with pytest.raises(NotFittedError):
        MAKERS[cls](tiny(MissSVAEImputer))


@of_estimators
def test_a_pipeline_is_sent_to_its_step(cls, imputer):
    with pytest.raises(TypeError, match=r"must.*got Pipeline. Of a Pipeline give the step"):
        MAKERS[cls](make_pipeline(imputer))


@pytest.mark.parametrize("cls", [MissSVAEImputer, DeMissVAEImputer, VAEDensityEstimator])
@pytest.mark.parametrize("X", [X, pl.DataFrame(FRAME)], ids=["array", "polars"])
def test_every_container_and_method(cls, X):
    estimator = tiny(cls, n_latents=2).fit(X)
    epochs = len(estimator.history_["bound"])
    assert TrainingDisplay.from_estimator(estimator).bound.shape == (epochs,)
    assert len(LatentDisplay.from_estimator(estimator, X, n_grid=20).posteriors) == 1
    assert MixtureUseDisplay.from_estimator(estimator, X).weights.shape == (40, 3)
    if cls is not VAEDensityEstimator:
        assert len(ImputedDensityDisplay.from_estimator(estimator, X).axes_) == 4
        assert OverimputationDisplay.from_estimator(estimator, X, **QUICK).coverage > 0


# -- training --------------------------------------------------------------------------------------


def test_training_shows_the_history(imputer):
    display = TrainingDisplay.from_estimator(imputer, lw=3)
    np.testing.assert_array_equal(display.bound, imputer.history_["bound"])
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xydata().T, [[1, 2, 3], display.bound])
    assert line.get_linewidth() == 3
    assert display.validation_bound is display.best_ is display.ax_.get_legend() is None


def test_training_marks_the_best_epoch_of_the_rows_held_out():
    held = tiny(MIWAEImputer, early_stopping=True, max_iter=8).fit(X)
    display = TrainingDisplay.from_estimator(held)
    np.testing.assert_array_equal(display.validation_bound, held.history_["validation_bound"])
    epoch, best = display.best_.get_xydata()[0]
    assert best == np.nanmax(display.validation_bound) == held.validation_score_
    assert display.validation_bound[int(epoch) - 1] == best
    assert len(display.lines_) == 2


def test_the_first_epochs_do_not_flatten_the_others():
    bound = np.append([-1e6, -1e3], np.linspace(-3, -2, 30))
    first = TrainingDisplay(bound).plot(label="one")
    low, high = first.ax_.get_ylim()
    assert -3.2 < low < -3 < -2 < high < -1.8
    second = TrainingDisplay(bound - 5).plot(first.ax_, label="other")
    low, high = second.ax_.get_ylim()
    assert -9 < low < -8 < -2 < high < -1
    assert [text.get_text() for text in second.ax_.get_legend().texts] == ["one", "other"]


def test_a_single_epoch_is_seen():
    (line,) = TrainingDisplay([-3.0]).plot().lines_
    assert line.get_marker() == "o"


def test_no_epoch_is_an_error(imputer, monkeypatch):
    monkeypatch.setattr(imputer, "history_", {})
    with pytest.raises(ValueError, match="MissSVAEImputer has no epoch to show"):
        TrainingDisplay.from_estimator(imputer)


# -- missingness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda f: f, pl.DataFrame, np.asarray])
def test_missingness_counts(make):
    display = MissingnessDisplay.from_data(make(FRAME))
    np.testing.assert_allclose(display.missing_share, FRAME.isna().mean())
    holes = FRAME.isna().to_numpy()
    counts = [(holes == pattern).all(1).sum() for pattern in display.missing]
    np.testing.assert_array_equal(display.n_rows, counts)
    assert sum(counts) == len(X)
    assert display.columns == list("abcd" if make is not np.asarray else ["x0", "x1", "x2", "x3"])


def test_missingness_draws_the_numbers():
    display = MissingnessDisplay.from_data(FRAME, max_patterns=3)
    np.testing.assert_array_equal(display.mesh_.get_array(), display.missing[:3])
    (rows,), (columns,) = display.rows_ax_.containers, display.columns_ax_.containers
    np.testing.assert_array_equal([bar.get_width() for bar in rows], display.n_rows[:3])
    np.testing.assert_allclose([bar.get_height() for bar in columns], display.missing_share)
    names = [text.get_text() for text in display.patterns_ax_.get_xticklabels()]
    assert names == list("abcd")
    share = display.n_rows[:3].sum() / 40
    n = len(display.missing)
    assert display.patterns_ax_.get_xlabel() == f"3 of {n} patterns, {share:.0%} of the rows"


@pytest.mark.parametrize("n_columns", [1, 20, 300])
def test_missingness_of_narrow_and_wide_tables(n_columns):
    wide = np.where(np.random.default_rng(0).random((50, n_columns)) < 0.1, np.nan, 1.0)
    display = MissingnessDisplay(missing_patterns(wide)).plot(max_patterns=50)
    display.figure_.draw_without_rendering()
    assert len(display.patterns_ax_.get_xticks()) <= 40


@pytest.mark.parametrize("max_patterns", [0, 2.5, True])
def test_patterns_to_draw_are_counted(max_patterns):
    with pytest.raises(ValueError, match=f"max_patterns must be an integer.*got {max_patterns}"):
        MissingnessDisplay.from_data(FRAME, max_patterns=max_patterns)


# -- imputed values --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda f: f, pl.DataFrame, np.asarray])
def test_imputed_values_are_those_of_impute(make):
    given = make(FRAME)
    imputer = tiny(MIWAEImputer).fit(given)
    display = ImputedDensityDisplay.from_estimator(imputer, given, n_imputations=3, random_state=1)
    tables = [np.asarray(one) for one in imputer.impute(given, 3, random_state=1)]
    assert [*display.observed] == [*imputer.fit_report_.index]
    for j, name in enumerate(display.observed):
        hole = np.isnan(X[:, j])
        np.testing.assert_array_equal(display.observed[name], X[~hole, j])
        np.testing.assert_array_equal(display.imputed[name], [one[hole, j] for one in tables])


def seen_of(name, holes):
    """Return the observed cells of a column of the mixed table, as they are drawn."""
    cells = mixed()[name][~holes].to_numpy()
    return (
        cells.astype(f"{cells.dtype.str[1:3]}[us]") if cells.dtype.kind in "mM" else cells
    ).tolist()


@pytest.mark.parametrize("make", [lambda f: f, pl.DataFrame], ids=["pandas", "polars"])
def test_columns_of_all_kinds(make, of_mixed):
    given = make(mixed())
    imputer = of_mixed if isinstance(given, pd.DataFrame) else tiny(MIWAEImputer).fit(given)
    display = ImputedDensityDisplay.from_estimator(imputer, given, random_state=0)
    (completed,) = imputer.impute(given, 1, random_state=0)
    for name, holes in mixed().isna().items():
        assert display.imputed[name].shape == (5, holes.sum())
        assert display.observed[name].tolist() == seen_of(name, holes)
    town = np.asarray(completed["town"].to_list())[mixed()["town"].isna()]
    assert display.imputed["town"][0].tolist() == town.tolist()
    assert display.observed["built"].dtype == "datetime64[us]"
    assert display.observed["took"].dtype == "timedelta64[us]"
    assert display.levels["town"] == ["Bonn", "Freiburg im Breisgau", "Ulm"]
    assert display.levels["new"] == [False, True]
    assert set(mixed()["rooms"].dropna()) <= set(display.levels["rooms"])
    assert not display.levels["size"]
    display.figure_.draw_without_rendering()
    built = display.axes_[4]
    assert built.get_xticklabels()[1].get_text().startswith("20")
    town = [text.get_text() for text in display.axes_[2].get_xticklabels()]
    assert town == ["Bonn", "Freiburg im…", "Ulm"]


def test_shares_are_those_of_the_levels(of_mixed):
    display = ImputedDensityDisplay.from_estimator(of_mixed, mixed(), ["town", 1])
    assert [*display.observed] == ["town", "rooms"]
    for ax, name in zip(display.axes_, display.observed, strict=True):
        levels = display.levels[name]
        seen = mixed()[name].value_counts(normalize=True).reindex(levels, fill_value=0)
        bars = [bar.get_height() for bar in ax.containers[0]]
        np.testing.assert_allclose(bars, seen.astype(float))
        for line, made in zip(ax.get_lines(), display.imputed[name], strict=True):
            shares = [np.mean([cell == level for cell in made]) for level in levels]
            np.testing.assert_allclose(line.get_ydata(), shares)


def test_densities_are_those_of_scipy_with_one_kernel_for_all(imputer):
    display = ImputedDensityDisplay.from_estimator(imputer, FRAME, ["c"], c="k")
    seen, made = display.observed["c"], display.imputed["c"]
    width = np.append(seen, made).std() * min(len(seen), made.shape[1]) ** -0.2
    for line, values in zip(display.axes_[0].get_lines(), made, strict=True):
        grid, density = line.get_xydata().T
        expected = gaussian_kde(values, width / values.std(ddof=1))(grid)
        np.testing.assert_allclose(density, expected, rtol=1e-6)
        assert line.get_color() == "k"
    assert _density(seen, grid, width).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("columns", [["town", "size"], ["size", "town"]])
def test_the_legend_tells_observed_from_imputed(columns, of_mixed):
    display = ImputedDensityDisplay.from_estimator(of_mixed, mixed(), columns, n_imputations=2)
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.texts] == ["observed", "imputed, 2 times"]
    observed, imputed = legend.legend_handles
    assert observed.get_facecolor()[0] == pytest.approx(0.88)
    assert matplotlib.colors.to_hex(imputed.get_color()) == "#0072b2"


def test_few_values_are_drawn_too():
    one = ImputedDensityDisplay({"a": np.array([])}, {"a": np.array([[2.0], [2.0]])}).plot()
    assert len(one.axes_[0].get_lines()) == 2
    one.figure_.draw_without_rendering()


def test_columns_left_out_at_fit_and_copies_do_no_harm():
    frame = FRAME.assign(empty=np.nan, same=FRAME["a"], one=1.0, label=[f"r{i}" for i in range(40)])
    frame = frame[["empty", *"abcd", "same", "one", "label"]]
    with pytest.warns(UserWarning, match="Columns without any observed cell"):
        imputer = tiny(MIWAEImputer, add_indicator=True).fit(frame)
    display = ImputedDensityDisplay.from_estimator(imputer, frame)
    assert [*display.observed] == [*"abcd", "same"]
    np.testing.assert_array_equal(display.imputed["a"], display.imputed["same"])
    with pytest.raises(ValueError, match=r"names 'one', which has no model \(constant\); leave"):
        ImputedDensityDisplay.from_estimator(imputer, frame, ["one"])


def test_arrays_of_objects_have_levels():
    given = mixed()[["size", "town"]].to_numpy(dtype=object)
    imputer = tiny(MIWAEImputer).fit(given)
    display = ImputedDensityDisplay.from_estimator(imputer, given)
    assert display.levels["x1"] == ["Bonn", "Freiburg im Breisgau", "Ulm"]


def test_two_numbers_of_an_array_are_levels():
    given = X.copy()
    given[:, 1] = np.where(np.isnan(X[:, 1]), np.nan, np.where(X[:, 1] > 100, 0.3, 0.1))
    imputer = tiny(MIWAEImputer, likelihood={"x1": "bernoulli"}).fit(given)
    display = ImputedDensityDisplay.from_estimator(imputer, given, ["x1"])
    assert display.levels["x1"] == [0.1, 0.3]
    heights = [bar.get_height() for bar in display.axes_[0].containers[0]]
    assert heights[1] == pytest.approx(np.mean(display.observed["x1"] == 0.3))


def test_columns_must_have_holes(imputer):
    holed = FRAME.fillna({"b": 100.0})
    assert [*ImputedDensityDisplay.from_estimator(imputer, holed).observed] == list("acd")
    with pytest.raises(ValueError, match="names 'b', which has no missing cell in X; leave it"):
        ImputedDensityDisplay.from_estimator(imputer, holed, ["a", "b"])
    with pytest.raises(ValueError, match="X has no hole in a modelled column"):
        ImputedDensityDisplay.from_estimator(imputer, FRAME.fillna(1.0))


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (["z"], ValueError, "'columns' names column 'z', which X does not have"),
        ([], ValueError, "columns must name one column or more"),
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
    with pytest.raises(ValueError, match="ax must hold an axes for each of the 4 columns; got 1"):
        display.plot(axes[0, 0])


def test_imputations_are_counted(imputer):
    with pytest.raises(ValueError, match="n_imputations must be an integer of 1 or more; got 0"):
        ImputedDensityDisplay.from_estimator(imputer, FRAME, n_imputations=0)


# -- over-imputation -------------------------------------------------------------------------------


def test_overimputed_cells_in_standard_deviations():
    display = OverimputationDisplay(report()).plot()
    assert display.coverage == 4 / 6
    inside, outside = (points.get_xydata() for points in display.points_)
    np.testing.assert_allclose(outside, [[1.5, 0.0], [-2.0, -1.0]])
    np.testing.assert_allclose(inside, [[-1, -0.75], [-0.5, -0.25], [0, 0.2], [2, 1.2]])
    ends = display.intervals_[1].get_segments()
    np.testing.assert_allclose(ends, [[[1.5, -0.5], [1.5, 1.0]], [[-2, -1.6], [-2, -0.2]]])
    words = [text.get_text() for text in display.ax_.get_legend().texts]
    assert words == ["inside the 80% interval: 67%", "outside the 80% interval: 33%"]


def test_overimputed_cells_of_a_column_in_its_units():
    display = OverimputationDisplay(report()).plot(column="b")
    assert display.coverage == 2 / 3
    np.testing.assert_array_equal(display.points_[1].get_xydata(), [[100.0, 150.0]])
    assert display.ax_.get_xlabel() == "truth, b"


def test_an_interval_need_not_hold_its_mean():
    display = OverimputationDisplay(report(mean=10.0)).plot(column="a")
    np.testing.assert_array_equal(display.intervals_[1].get_segments(), [[[6, 2], [6, 5]]])


def test_overimputation_draws_the_report(imputer):
    display = OverimputationDisplay.from_estimator(
        imputer, FRAME, column="b", style={"ms": 7}, **QUICK
    )
    cells = overimputation_report(imputer, FRAME, **QUICK).cells
    of_b = cells[cells["column"] == "b"]
    pd.testing.assert_frame_equal(display.cells, of_b)
    drawn = np.concatenate([points.get_xydata() for points in display.points_])
    np.testing.assert_array_equal(np.sort(drawn, 0), np.sort(of_b[["truth", "mean"]], 0))
    assert display.points_[0].get_markersize() == 7
    again = display.report.plot()
    assert again.coverage == cells["covered"].mean()


def test_columns_without_intervals_are_refused():
    with pytest.raises(ValueError, match=r"column must be one of numbers.*'a', 'b'; got 'c'"):
        OverimputationDisplay(report()).plot(column="c")
    with pytest.raises(ValueError, match="report has no hidden cell of numbers"):
        OverimputationDisplay(report(low=np.nan)).plot()


# -- latents ---------------------------------------------------------------------------------------


def mass(one):
    return one.density.sum() * (one.z1[1] - one.z1[0]) * (one.z2[1] - one.z2[0])


def points(one):
    """Return the points of a grid, z2 first."""
    return np.stack(np.meshgrid(one.z1, one.z2), -1)


def test_posteriors_of_probabilistic_pca_are_exact():
    model = LinearGaussian(5, 2)
    x, observed = model.rows(6)
    for i in range(6):
        row = x[i : i + 1], observed[i : i + 1]
        one = _row_posterior(model.vae(), *row, 100, i)
        mean, cov = model.condition(x[i], observed[i])
        density = multivariate_normal(mean[-2:], cov[-2:, -2:]).pdf(points(one.exact))
        np.testing.assert_allclose(one.exact.density, density, atol=1e-4 * density.max())
        assert one.log_evidence == pytest.approx(model.log_evidence(*row).item(), abs=1e-3)
        assert one.n_missing == (~observed[i]).sum()


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@pytest.mark.parametrize("family", ["normal", "student_t"])
def test_posteriors_integrate_to_one(prior, family):
    vae = tiny_vae(prior=prior, family=family).double()
    x, observed = LinearGaussian(4).rows(4)
    with torch.no_grad():
        for i in range(4):
            row = x[i : i + 1], observed[i : i + 1]
            one = _row_posterior(vae, *row, 150, i)
            assert mass(one.exact) == pytest.approx(1)
            assert mass(one.approximate) == pytest.approx(1, abs=0.01)
            log_joint = vae.log_joint(*row, torch.tensor(points(one.exact)).reshape(-1, 1, 2))
            exact = (log_joint - one.log_evidence).exp().reshape(150, 150)
            np.testing.assert_allclose(one.exact.density, exact)
            z = torch.tensor(points(one.approximate)).reshape(-1, 1, 2)
            q = vae.posterior(*row).log_prob(z).exp().reshape(150, 150)
            np.testing.assert_allclose(one.approximate.density, q)


def test_latents_are_those_of_the_estimator(imputer):
    display = LatentDisplay.from_estimator(imputer, FRAME, rows=np.array([3, 0]), c=np.arange(40))
    np.testing.assert_array_equal(display.latents, imputer.encode(FRAME))
    np.testing.assert_allclose(display.scatter_.get_offsets(), display.latents)
    np.testing.assert_array_equal(display.scatter_.get_array(), np.arange(40))
    assert [one.row for one in display.posteriors] == [3, 0]
    found = [one.log_evidence for one in display.posteriors]
    np.testing.assert_allclose(found, integrated_score_samples(imputer, FRAME)[[3, 0]], atol=0.01)


def test_contours_hold_what_they_say(imputer):
    (one,) = LatentDisplay.from_estimator(imputer, FRAME).posteriors
    for density in (one.exact, one.approximate):
        cells = density.density
        held = [cells[cells >= level].sum() / cells.sum() for level in _levels(density)]
        np.testing.assert_allclose(held, [0.9, 0.5], atol=0.01)


def test_points_alone(imputer):
    display = LatentDisplay.from_estimator(imputer, FRAME, rows=())
    assert display.posteriors == []
    assert display.ax_.get_legend() is None


def test_other_than_two_latents_are_refused():
    estimator = tiny(MIWAEImputer, n_latents=3).fit(X)
    with pytest.raises(ValueError, match=r"two latents; the model has 3. Fit it with n_latents=2"):
        LatentDisplay.from_estimator(estimator, X)


@pytest.mark.parametrize("row", [40, -1, 0.5])
def test_rows_must_be_there(row, imputer):
    with pytest.raises(ValueError, match=f"rows must be positions.*0 to 39; got {row}"):
        LatentDisplay.from_estimator(imputer, FRAME, rows=[0, row])


# -- mixtures --------------------------------------------------------------------------------------


def test_mixture_use_is_that_of_the_posteriors(imputer):
    display = MixtureUseDisplay.from_estimator(imputer, FRAME, color="k")
    rows = imputer._rows(FRAME)[2]
    x, observed = torch.tensor(rows.x, dtype=torch.float32), torch.from_numpy(rows.observed)
    with torch.no_grad():
        weights = imputer.vae_.posterior(x, observed).log_pi.exp().numpy()
    np.testing.assert_allclose(display.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(display.mean, weights.mean(0), rtol=1e-5)
    np.testing.assert_allclose([bar.get_height() for bar in display.bars_], display.mean)
    assert ((display.low <= display.mean) & (display.mean <= display.high)).all()
    assert display.bars_[0].get_facecolor()[:3] == (0, 0, 0)


def test_a_single_component_has_all_the_weight():
    display = MixtureUseDisplay.from_estimator(tiny(MIWAEImputer).fit(X), X)
    np.testing.assert_array_equal(display.mean, [1.0])
