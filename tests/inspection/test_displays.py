"""Displays: laws of all of them, and the numbers that they show."""

import dataclasses
import functools
import inspect
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, table, tiny
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import skmissvae.inspection
from skmissvae import (
    DeMissVAEImputer,
    EnergyIScorer,
    MissSVAEImputer,
    MIWAEImputer,
    VAEDensityEstimator,
)
from skmissvae.inspection import (
    ImputedDensityDisplay,
    ImputerScoresDisplay,
    MissingnessDisplay,
    MixtureUseDisplay,
    OverimputationDisplay,
    TrainingDisplay,
    ValueOfMeasuringDisplay,
    overimputation_report,
)
from skmissvae.tables import missing_patterns

pytestmark = [quiet, pytest.mark.usefixtures("agg_backend")]

X = table()
FRAME = pd.DataFrame(X, columns=list("abcd"))
QUICK = {"refit": False, "baselines": False, "random_state": 0}


@pytest.fixture(autouse=True)
def without_figures():
    """Close the figures of other tests in the same process."""
    plt.close("all")


@pytest.fixture(scope="module")
def imputer():
    return tiny(MissSVAEImputer).fit(FRAME)


def report(**changes):
    """Return the attributes of an OverimputationReport of two numeric and a categorical column."""
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


@functools.cache
def quick_report(estimator):
    return overimputation_report(estimator, FRAME, **QUICK)


#: Makes each display from a fitted estimator.
MAKERS = {
    TrainingDisplay: lambda e, **kwargs: TrainingDisplay.from_estimator(e, **kwargs),
    MissingnessDisplay: lambda e, **kwargs: MissingnessDisplay.from_data(FRAME, **kwargs),
    ImputedDensityDisplay: lambda e, **kwargs: ImputedDensityDisplay.from_estimator(
        e, FRAME, ["b"], **kwargs
    ),
    OverimputationDisplay: lambda e, **kwargs: OverimputationDisplay(quick_report(e)).plot(
        **kwargs
    ),
    MixtureUseDisplay: lambda e, **kwargs: MixtureUseDisplay.from_estimator(e, FRAME, **kwargs),
    ImputerScoresDisplay: lambda e, **kwargs: ImputerScoresDisplay.from_estimators(
        {"vae": e}, FRAME, EnergyIScorer(n_draws=3), **kwargs
    ),
    ValueOfMeasuringDisplay: lambda e, **kwargs: ValueOfMeasuringDisplay.from_estimator(
        e, FRAME, n_draws=5, **kwargs
    ),
}
every_display = pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)
of_estimators = pytest.mark.parametrize(
    "cls", [cls for cls in MAKERS if hasattr(cls, "from_estimator")], ids=lambda cls: cls.__name__
)


def axes_of(display):
    return getattr(display, "ax_", None) or display.axes_[0]


# -- laws of all displays --------------------------------------------------------------------------


def test_every_display_has_a_maker():
    public = inspect.getmembers(skmissvae.inspection, inspect.isclass)
    assert {cls for name, cls in public if name.endswith("Display")} == set(MAKERS)


@every_display
def test_displays_draw_on_the_axes_passed(cls, imputer):
    figure = Figure()
    ax = figure.subplots()
    display = MAKERS[cls](imputer, ax=ax)
    assert isinstance(display, cls)
    assert axes_of(display) is ax
    assert display.figure_ is figure
    assert not plt.get_fignums()
    assert ax.has_data() or ax.child_axes[0].has_data()
    figure.draw_without_rendering()


@every_display
def test_without_axes_a_figure_is_created(cls, imputer):
    display = MAKERS[cls](imputer)
    assert plt.get_fignums() == [display.figure_.number]
    assert axes_of(display).figure is display.figure_
    display.figure_.draw_without_rendering()


@every_display
def test_a_display_can_be_drawn_again(cls, imputer):
    display = MAKERS[cls](imputer)
    first = axes_of(display)
    assert display.plot() is display
    assert axes_of(display) is not first


@every_display
def test_without_matplotlib_the_error_names_the_package_to_install(cls, imputer, monkeypatch):
    display = MAKERS[cls](imputer)
    words = f"{cls.__name__} requires matplotlib.*pip install matplotlib"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "matplotlib", None)
        without.setitem(sys.modules, "matplotlib.pyplot", None)
        for draw in (display.plot, lambda: MAKERS[cls](imputer)):
            with pytest.raises(ImportError, match=words):
                draw()


def test_the_package_is_imported_without_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import skmissvae.inspection"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=skmissvae.__file__.rsplit("/", 2)[0]
    )


@of_estimators
def test_estimators_must_be_fitted(cls):
    with pytest.raises(NotFittedError):
        MAKERS[cls](tiny(MissSVAEImputer))


@of_estimators
def test_the_error_for_a_pipeline_suggests_its_step(cls, imputer):
    with pytest.raises(TypeError, match=r"must.*got Pipeline. For a Pipeline, pass the step"):
        MAKERS[cls](make_pipeline(imputer))


@pytest.mark.parametrize("cls", [MissSVAEImputer, DeMissVAEImputer, VAEDensityEstimator])
@pytest.mark.parametrize("X", [X, pl.DataFrame(FRAME)], ids=["array", "polars"])
def test_displays_accept_every_container_and_method(cls, X):
    estimator = tiny(cls, n_latents=2).fit(X)
    epochs = len(estimator.history_["bound"])
    assert TrainingDisplay.from_estimator(estimator).bound.shape == (epochs,)
    assert MixtureUseDisplay.from_estimator(estimator, X).weights.shape == (40, 3)
    if cls is not VAEDensityEstimator:
        assert len(ImputedDensityDisplay.from_estimator(estimator, X).axes_) == 4
        assert overimputation_report(estimator, X, **QUICK).plot().coverage > 0


# -- training --------------------------------------------------------------------------------------


def test_training_display_shows_the_history(imputer):
    display = TrainingDisplay.from_estimator(imputer, lw=3)
    np.testing.assert_array_equal(display.bound, imputer.history_["bound"])
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xydata().T, [[1, 2, 3], display.bound])
    assert line.get_linewidth() == 3
    assert display.validation_bound is display.best_ is display.ax_.get_legend() is None


def test_training_display_marks_the_epoch_with_the_best_validation_bound():
    stopped = tiny(MIWAEImputer, early_stopping=True, max_iter=8).fit(X)
    display = TrainingDisplay.from_estimator(stopped)
    np.testing.assert_array_equal(display.validation_bound, stopped.history_["validation_bound"])
    epoch, best = display.best_.get_xydata()[0]
    assert best == np.nanmax(display.validation_bound) == stopped.validation_score_
    assert display.validation_bound[int(epoch) - 1] == best
    assert len(display.lines_) == 2


def test_the_first_epochs_do_not_determine_the_y_limits():
    bound = np.append([-1e6, -1e3], np.linspace(-3, -2, 30))
    first = TrainingDisplay(bound).plot(label="first")
    low, high = first.ax_.get_ylim()
    assert -3.2 < low < -3 < -2 < high < -1.8
    second = TrainingDisplay(bound - 5).plot(first.ax_, label="second")
    low, high = second.ax_.get_ylim()
    assert -9 < low < -8 < -2 < high < -1
    assert [text.get_text() for text in second.ax_.get_legend().texts] == ["first", "second"]


def test_a_single_epoch_has_a_marker():
    (line,) = TrainingDisplay([-3.0]).plot().lines_
    assert line.get_marker() == "o"


def test_a_fit_without_epochs_is_rejected(imputer, monkeypatch):
    monkeypatch.setattr(imputer, "model_", dataclasses.replace(imputer.model_, history={}))
    with pytest.raises(ValueError, match="MissSVAEImputer has no completed epoch to plot"):
        TrainingDisplay.from_estimator(imputer)


# -- missingness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda f: f, pl.DataFrame, np.asarray])
def test_missingness_display_counts_patterns(make):
    display = MissingnessDisplay.from_data(make(FRAME))
    np.testing.assert_allclose(display.missing_share, FRAME.isna().mean())
    is_missing = FRAME.isna().to_numpy()
    counts = [(is_missing == pattern).all(1).sum() for pattern in display.missing]
    np.testing.assert_array_equal(display.n_rows, counts)
    assert sum(counts) == len(X)
    assert display.columns == list("abcd" if make is not np.asarray else ["x0", "x1", "x2", "x3"])


def test_missingness_display_draws_its_numbers():
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
def test_missingness_display_draws_narrow_and_wide_tables(n_columns):
    wide = np.where(np.random.default_rng(0).random((50, n_columns)) < 0.1, np.nan, 1.0)
    display = MissingnessDisplay(missing_patterns(wide)).plot(max_patterns=50)
    display.figure_.draw_without_rendering()
    assert len(display.patterns_ax_.get_xticks()) <= 40


@pytest.mark.parametrize("max_patterns", [0, 2.5, True])
def test_max_patterns_must_be_an_integer(max_patterns):
    with pytest.raises(ValueError, match=f"max_patterns must be an integer.*got {max_patterns}"):
        MissingnessDisplay.from_data(FRAME, max_patterns=max_patterns)


# -- overimputation --------------------------------------------------------------------------------


def test_cells_of_all_columns_are_drawn_in_standard_deviations():
    display = OverimputationDisplay(report()).plot()
    assert display.coverage == 4 / 6
    inside, outside = (points.get_xydata() for points in display.points_)
    np.testing.assert_allclose(outside, [[1.5, 0.0], [-2.0, -1.0]])
    np.testing.assert_allclose(inside, [[-1, -0.75], [-0.5, -0.25], [0, 0.2], [2, 1.2]])
    ends = display.intervals_[1].get_segments()
    np.testing.assert_allclose(ends, [[[1.5, -0.5], [1.5, 1.0]], [[-2, -1.6], [-2, -0.2]]])
    words = [text.get_text() for text in display.ax_.get_legend().texts]
    assert words == ["inside the 80% interval: 67%", "outside the 80% interval: 33%"]


def test_cells_of_one_column_are_drawn_in_its_units():
    display = OverimputationDisplay(report()).plot(column="b")
    assert display.coverage == 2 / 3
    np.testing.assert_array_equal(display.points_[1].get_xydata(), [[100.0, 150.0]])
    assert display.ax_.get_xlabel() == "true value, b"


def test_an_interval_need_not_contain_its_mean():
    display = OverimputationDisplay(report(mean=10.0)).plot(column="a")
    np.testing.assert_array_equal(display.intervals_[1].get_segments(), [[[6, 2], [6, 5]]])


def test_overimputation_display_draws_the_report(imputer):
    full_report = quick_report(imputer)
    display = full_report.plot(column="b", ms=7)
    cells = full_report.cells
    of_b = cells[cells["column"] == "b"]
    pd.testing.assert_frame_equal(display.cells, of_b)
    drawn = np.concatenate([points.get_xydata() for points in display.points_])
    np.testing.assert_array_equal(np.sort(drawn, 0), np.sort(of_b[["truth", "mean"]], 0))
    assert display.points_[0].get_markersize() == 7
    assert full_report.plot().coverage == cells["covered"].mean()


def test_columns_without_intervals_are_rejected():
    with pytest.raises(ValueError, match=r"column must be a numeric column.*a.*b.*got 'c'"):
        OverimputationDisplay(report()).plot(column="c")
    with pytest.raises(ValueError, match="report has no hidden cell of a numeric column"):
        OverimputationDisplay(report(low=np.nan)).plot()
