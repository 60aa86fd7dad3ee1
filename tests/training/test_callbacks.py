"""scikit-learn's callbacks (1.9 and later): their order, stopping, and fitted estimators."""

import numpy as np
import pytest
from estimator_cases import assert_same, every_estimator, every_imputer, outputs, quiet, tiny
from estimator_cases import table as incomplete
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skmissvae import DeMissVAEImputer, MVAEImputer

callback = pytest.importorskip("sklearn.callback")

pytestmark = quiet


class Recorder:
    """A callback that records events, and stops after some epochs."""

    def __init__(self, stop_after=None, evaluate=lambda fitted: None):
        self.stop_after, self.evaluate = stop_after, evaluate
        self.events, self.results = [], []

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
            self.results.append(self.evaluate(fitted_estimator))
        return context.task_name == "epoch" and self.events.count("end epoch") == self.stop_after


def n_epochs(cls):
    """Return the epochs of a tiny fit: three, and two of DeMissVAE's encoder of incomplete rows."""
    return 5 if cls is DeMissVAEImputer else 3


@every_estimator
def test_every_epoch_is_reported(cls):
    recorder = Recorder()
    tiny(cls).set_callbacks(recorder).fit(incomplete())
    epochs = ["begin epoch", "end epoch"] * n_epochs(cls)
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]


@every_estimator
def test_callbacks_can_stop_training(cls):
    X = incomplete()
    recorder = Recorder(stop_after=2)
    estimator = tiny(cls, max_iter=50).set_callbacks(recorder).fit(X)
    assert estimator.n_iter_ == 2
    assert recorder.events[-2:] == ["end fit", "teardown"]
    assert np.isfinite(estimator.score(X))


@every_estimator
def test_callbacks_do_not_change_results(cls):
    X = incomplete()
    with_callback = (
        tiny(cls).set_callbacks(Recorder(evaluate=lambda fitted: fitted.score(X))).fit(X)
    )
    assert_same(outputs(with_callback, X), outputs(tiny(cls).fit(X), X))


@every_estimator
def test_callbacks_get_an_estimator_of_each_epoch(cls):
    X = incomplete()
    recorder = Recorder(evaluate=lambda fitted: fitted.score(X))
    estimator = tiny(cls).set_callbacks(recorder).fit(X)
    assert len(recorder.results) == n_epochs(cls)
    assert len(set(recorder.results)) == n_epochs(cls)
    assert recorder.results[-1] == estimator.score(X)


def test_callbacks_of_a_second_fit_get_its_schema():
    X = incomplete()
    wider = np.column_stack([X, X[:, 0] * 7])
    recorder = Recorder(evaluate=lambda fitted: fitted.transform(wider).shape)
    tiny(MVAEImputer).fit(X).set_callbacks(recorder).fit(wider)
    assert recorder.results == [(40, 5)] * 3


@every_estimator
def test_interrupt_in_a_callback_keeps_the_model(cls):
    X = incomplete()

    def interrupt(fitted):
        if fitted.n_iter_ == 3:
            raise KeyboardInterrupt

    estimator = tiny(cls, max_iter=50).set_callbacks(Recorder(evaluate=interrupt))
    with pytest.warns(UserWarning, match="Training was interrupted"):
        estimator.fit(X)
    assert estimator.n_iter_ == 3
    assert np.isfinite(estimator.score(X))


@every_estimator
def test_errors_in_callbacks_do_not_change_the_estimator(cls):
    X = incomplete()

    def fail(fitted):
        raise RuntimeError("callback")

    recorder = Recorder(evaluate=fail)
    estimator = tiny(cls).set_callbacks(recorder)
    before = dict(vars(estimator))
    with pytest.raises(RuntimeError, match="callback"):
        estimator.fit(X)
    assert vars(estimator) == before
    assert recorder.events[-1] == "teardown"


@every_estimator
def test_invalid_tables_are_refused_before_callbacks_begin(cls):
    recorder = Recorder()
    estimator = tiny(cls).set_callbacks(recorder)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="no observed cell"):
        estimator.fit(np.full((3, 2), np.nan))
    assert vars(estimator) == before
    assert recorder.events.count("setup") == recorder.events.count("teardown")


@every_imputer
def test_progress_bars_of_grid_searches(cls, capfd):
    pytest.importorskip("rich")
    X = incomplete()
    y = np.nan_to_num(X[:, 0]) > 0
    pipeline = Pipeline([("impute", tiny(cls, max_iter=1)), ("clf", LogisticRegression())])
    search = GridSearchCV(pipeline, {"impute__n_latents": [1]}, cv=2, error_score="raise")
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert np.isfinite(search.best_score_)
    assert cls.__name__ in capfd.readouterr().out


@every_estimator
def test_scoring_monitor(cls):
    X = incomplete()
    # scikit-learn's monitor requires several scores and y
    monitor = callback.ScoringMonitor(scoring={"score": lambda fitted, X, y: fitted.score(X)})
    estimator = tiny(cls).set_callbacks(monitor).fit(X, np.zeros(40))
    scores = [row["score"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == n_epochs(cls)
    assert scores[-1] == estimator.score(X)
