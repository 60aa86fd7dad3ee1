"""Sensitivity analyses: exact pooled estimates by shift, and tipping points."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet, table, tiny
from sklearn.impute import SimpleImputer

from skmissvae import MVAEImputer, pool, pool_models, sensitivity
from skmissvae.pooling import SensitivityAnalysis

pytestmark = quiet
OPTIONS = {
    "estimates": lambda t: pd.Series({"mean": t[:, 1].mean(), "other": t[:, 0].mean()}),
    "variances": lambda t: pd.Series({"mean": t[:, 1].var() / len(t), "other": t[:, 0].var()}),
}


def test_estimates_are_those_of_shifted_imputations():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    result = sensitivity(imputer, X, lambda t: t, "x1", [10, 0, -5], n_imputations=3, **OPTIONS)
    assert result.shifts == [-5, 0, 10]
    frame = result.to_frame().set_index(["term", "shift"])
    for shift in (-5, 0, 10):
        tables = imputer.impute(X, 3, shift={"x1": shift} if shift else None)
        expected = pool_models(tables, **OPTIONS).to_frame()
        for term in ("mean", "other"):
            pd.testing.assert_series_equal(
                frame.loc[(term, shift)], expected.loc[term], check_names=False
            )
    # the same draws: means differ by the shift times the share of missing cells
    share = np.isnan(X[:, 1]).mean()
    means = frame.loc["mean", "estimate"]
    np.testing.assert_allclose(means - means[0], np.array([-5, 0, 10]) * share, rtol=1e-8)
    assert frame.loc["other", "estimate"].nunique() == 1


def analysis(estimates, shifts):
    """Return an analysis with given estimates, of standard error one."""
    pooled = [pool([value] * 3, [1.0] * 3) for value in estimates]
    return SensitivityAnalysis(shifts, pooled, "x")


def test_tipping_points_are_where_the_interval_reaches_the_null_value():
    z = 1.959963984540054
    shifts = np.arange(-4.0, 5)
    points = analysis(3 + shifts, shifts).tipping_points()
    assert points["conclusion"].tolist() == ["above"]
    np.testing.assert_allclose(points["downwards"], z - 3)
    assert points["upwards"].isna().all()
    points = analysis(0.5 * shifts, shifts).tipping_points()
    assert points["conclusion"].tolist() == ["around"]
    np.testing.assert_allclose(points[["downwards", "upwards"]], [[-2 * z, 2 * z]])
    points = analysis(-3 + shifts, shifts).tipping_points(null=-10.0)
    assert points["conclusion"].tolist() == ["above"]
    np.testing.assert_allclose(
        analysis(5 - 9 * (shifts > 0), shifts).tipping_points()["upwards"], (5 - z) / 9
    )
    narrow = analysis(3 + shifts, shifts).tipping_points(level=0.5)
    np.testing.assert_allclose(narrow["downwards"], 0.6744897501960817 - 3)


def test_the_plot_shows_a_quantity():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    result = sensitivity(
        imputer, X, lambda t: t, "x1", [-1, 0, 1], shift_unit="sd", n_imputations=2, **OPTIONS
    )
    ax = result.plot("other")
    assert "standard deviations" in ax.get_xlabel()
    assert "other" in ax.get_ylabel()
    frame = result.to_frame()
    line = ax.get_lines()[-1]
    np.testing.assert_allclose(
        line.get_ydata(), frame.loc[frame["term"] == "other", "estimate"].to_numpy()
    )
    with pytest.raises(ValueError, match=r"term must be one of \['mean', 'other'\]; got 'x'"):
        result.plot("x")
    assert "shifts=[-1.0, 0.0, 1.0]" in repr(result)
    assert "<table" in result._repr_html_()
    plt.close("all")


def test_random_states_are_shared_by_the_shifts():
    X = table()
    imputer = tiny(MVAEImputer, random_state=None).fit(X)
    for random_state in (None, np.random.RandomState(0)):
        result = sensitivity(
            imputer, X, lambda t: t, "x1", [0, 4], random_state=random_state, **OPTIONS
        )
        means = result.to_frame()["estimate"]
        assert means[1] - means[0] == pytest.approx(4 * np.isnan(X[:, 1]).mean())
        assert means[2] == means[3]


def test_terms_of_any_kind():
    names = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    pooled = [pool([pd.Series([s, 2.0], names)] * 2, [np.ones(2)] * 2) for s in (1.0, 3.0)]
    frame = SensitivityAnalysis([0, 1], pooled, "x").to_frame()
    assert frame["term"].tolist() == [("a", 1)] * 2 + [("a", 2)] * 2
    assert frame["estimate"].tolist() == [1, 3, 2, 2]
    other = pool([pd.Series([1.0, 2.0], ["a", "b"])] * 2, [np.ones(2)] * 2)
    with pytest.raises(ValueError, match=r"terms \('a', 1\).*for the shift 0, but 'a', 'b' for 1"):
        SensitivityAnalysis([0, 1], [pooled[0], other], "x")


def test_invalid_arguments_are_refused():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)
    with pytest.raises(TypeError, match="imputer must be an imputer of skmissvae"):
        sensitivity(SimpleImputer().fit(X), X, len, 0, [0])
    with pytest.raises(ValueError, match="shifts is empty"):
        sensitivity(imputer, X, len, "x1", [])
    with pytest.raises(ValueError, match="n_imputations must be an integer of 2 or more"):
        sensitivity(imputer, X, len, "x1", [0], n_imputations=1)
    for shifts in ([0], [0, 1]):  # before the first analysis
        with pytest.raises(ValueError, match="names column 'y'"):
            sensitivity(imputer, X, None, "y", shifts)
    for shifts in (1.0, "12"):
        with pytest.raises(TypeError, match="shifts must be a list of numbers"):
            sensitivity(imputer, X, None, "x1", shifts)
    for shifts in (["a"], [True], [None]):
        with pytest.raises(TypeError, match="finite number"):
            sensitivity(imputer, X, None, "x1", shifts)
