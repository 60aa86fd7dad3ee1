"""ImputerScoresDisplay: scores of each column and weighted means."""

import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet, table, tiny
from sklearn.impute import SimpleImputer

from skmissvae import EnergyIScorer, MVAEImputer
from skmissvae.inspection import ImputerScoresDisplay

pytestmark = [quiet, pytest.mark.usefixtures("agg_backend")]

X = pd.DataFrame(table(60), columns=list("abcd"))


def test_scores_are_those_of_the_scorer():
    imputers = {"vae": tiny(MVAEImputer).fit(X), "mean": SimpleImputer().fit(X)}
    scorer = EnergyIScorer(n_draws=4)
    display = ImputerScoresDisplay.from_estimators(imputers, X, scorer, markersize=3.0)
    for name, imputer in imputers.items():
        assert display.mean[name] == pytest.approx(scorer(imputer, X))
    assert display.mean.is_monotonic_decreasing
    for line, (name, mean) in zip(display.lines_, display.mean.items(), strict=True):
        part = display.scores[display.scores["imputer"] == name]
        np.testing.assert_array_equal(line.get_xdata(), [mean, *part["score"]])
        assert line.get_markersize() == 3
        assert line.get_label().startswith(name)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["mean", *dict.fromkeys(display.scores["column"])]


def test_imputers_must_have_names():
    for value in ([], {}, [SimpleImputer()]):
        with pytest.raises(ValueError, match="estimators must be a mapping"):
            ImputerScoresDisplay.from_estimators(value, X)
