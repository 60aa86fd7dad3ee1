"""scikit-learn's callbacks (1.9 and later) see and stop training."""

import numpy as np
import pytest
from estimator_cases import assert_same, every_estimator, every_imputer, outputs, quiet, tiny
from estimator_cases import table as holed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skmissvae import DeMissVAEImputer, MVAEImputer

callback = pytest.importorskip("sklearn.callback")

pytestmark = quiet


class Recorder:
    """A callback that writes down what happens, and stops after some epochs."""

    def __init__(self, stop_after=None, look=lambda fitted: None):
        self.stop_after, self.look = stop_after, look
        self.events, self.seen = [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None, **_):
        assert X is not None
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.events.append(f"end {context.task_name}")
        if fitted_estimator is not None:
            self.seen.append(self.look(fitted_estimator))
        return context.task_name == "epoch" and self.events.count("end epoch") == self.stop_after


def n_epochs(cls):
    """Return the epochs of a tiny fit: three, and two of DeMissVAE's encoder of incomplete rows."""
    return 5 if cls is DeMissVAEImputer else 3


@every_estimator
def test_every_epoch_is_told(cls):
    recorder = Recorder()
    tiny(cls).set_callbacks(recorder).fit(holed())
    epochs = ["begin epoch", "end epoch"] * n_epochs(cls)
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]


@every_estimator
def test_a_callback_stops_training(cls):
    X = holed()
    recorder = Recorder(stop_after=2)
    estimator = tiny(cls, max_iter=50).set_callbacks(recorder).fit(X)
    assert estimator.n_iter_ == 2
    assert recorder.events[-2:] == ["end fit", "teardown"]
    assert np.isfinite(estimator.score(X))


@every_estimator
def test_watching_changes_nothing(cls):
    X = holed()
    watched = tiny(cls).set_callbacks(Recorder(look=lambda fitted: fitted.score(X))).fit(X)
    assert_same(outputs(watched, X), outputs(tiny(cls).fit(X), X))


@every_estimator
def test_estimators_fitted_so_far_can_be_scored(cls):
    X = holed()
    recorder = Recorder(look=lambda fitted: fitted.score(X))
    estimator = tiny(cls).set_callbacks(recorder).fit(X)
    assert len(recorder.seen) == n_epochs(cls)
    assert len(set(recorder.seen)) == n_epochs(cls)
    assert recorder.seen[-1] == estimator.score(X)


def test_estimators_fitted_so_far_of_a_refit_are_of_the_refit():
    X = holed()
    other = np.column_stack([X, X[:, 0] * 7])
    recorder = Recorder(look=lambda fitted: fitted.transform(other).shape)
    tiny(MVAEImputer).fit(X).set_callbacks(recorder).fit(other)
    assert recorder.seen == [(40, 5)] * 3


@every_estimator
def test_interrupts_from_callbacks_keep_what_was_trained(cls):
    X = holed()

    def press(fitted):
        if fitted.n_iter_ == 3:
            raise KeyboardInterrupt

    estimator = tiny(cls, max_iter=50).set_callbacks(Recorder(look=press))
    with pytest.warns(UserWarning, match="interrupted after 3 epochs"):
        estimator.fit(X)
    assert estimator.n_iter_ == 3
    assert np.isfinite(estimator.score(X))


@every_estimator
def test_errors_from_callbacks_leave_the_estimator_as_it_was(cls):
    X = holed()

    def fail(fitted):
        raise RuntimeError("callback")

    recorder = Recorder(look=fail)
    estimator = tiny(cls).set_callbacks(recorder)
    before = dict(vars(estimator))
    with pytest.raises(RuntimeError, match="callback"):
        estimator.fit(X)
    assert vars(estimator) == before
    assert recorder.events[-1] == "teardown"


@every_estimator
def test_refused_tables_need_no_callbacks(cls):
    recorder = Recorder()
    estimator = tiny(cls).set_callbacks(recorder)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="no observed cell"):
        estimator.fit(np.full((3, 2), np.nan))
    assert vars(estimator) == before
    assert recorder.events.count("setup") == recorder.events.count("teardown")


@every_imputer
def test_progress_bars_of_searches(cls, capfd):
    pytest.importorskip("rich")
    X = holed()
    y = np.nan_to_num(X[:, 0]) > 0
    pipeline = Pipeline([("impute", tiny(cls, max_iter=2)), ("clf", LogisticRegression())])
    search = GridSearchCV(pipeline, {"impute__n_latents": [1, 2]}, cv=2, error_score="raise")
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert np.isfinite(search.best_score_)
    assert cls.__name__ in capfd.readouterr().out


@every_estimator
def test_a_scoring_monitor_watches_the_score(cls):
    X = holed()
    # scikit-learn's monitor takes several scores, and only where there is a y
    monitor = callback.ScoringMonitor(scoring={"score": lambda fitted, X, y: fitted.score(X)})
    estimator = tiny(cls).set_callbacks(monitor).fit(X, np.zeros(40))
    scores = [row["score"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == n_epochs(cls)
    assert scores[-1] == estimator.score(X)
