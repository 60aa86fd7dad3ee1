"""Fixtures of the tests of inspection: a backend of matplotlib, and faster baselines."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer


@pytest.fixture
def agg_backend(tmp_path, monkeypatch):
    """Draw with Agg, fail on ``show``, and restore the backend."""
    backend, opened = matplotlib.get_backend(), plt.get_fignums()
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("show was called"))
    monkeypatch.chdir(tmp_path)
    yield
    for number in set(plt.get_fignums()) - set(opened):
        plt.close(number)
    plt.switch_backend(backend)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def few_baseline_draws(monkeypatch):
    """Take 20 draws of the baseline, the fewest for 90% intervals, after two rounds each.

    By default, there are 100 draws after ten rounds.
    """
    monkeypatch.setattr("skmissvae.inspection.overimputation_scores.N_BASELINE_DRAWS", 20)
    monkeypatch.setitem(IterativeImputer.__init__.__kwdefaults__, "max_iter", 2)
