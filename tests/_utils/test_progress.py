"""Progress: lines and bars with the time that is left, which never change results."""

import builtins
import copy
import functools
import io
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Barrier, Event
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from estimator_cases import assert_same, every_estimator, outputs, quiet, table, tiny
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import (
    Checkpoint,
    MissSIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    VAEOutlierDetector,
)
from skmissvae._utils import progress
from skmissvae._utils.progress import SILENT, SILENT_TASK, Progress
from skmissvae.estimators import imputer_base
from skmissvae.inference import LAIR

pytestmark = quiet

SHOW_CURSOR = "\x1b[?25h"


class Clock:
    """A clock whose time is set."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def log(caplog):
    """Return a function that returns the messages of the log."""
    caplog.set_level("INFO", logger="skmissvae")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def terminal(monkeypatch):
    """Return a terminal on which bars are shown."""
    rich_console = pytest.importorskip("rich.console")
    console = rich_console.Console(force_terminal=True, file=io.StringIO(), width=80)
    monkeypatch.setattr(progress, "_bar_console", lambda: console)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_REFRESHES", 0.0)
    return console


@pytest.fixture
def every_row(monkeypatch):
    """Show rows from the beginning, with a line for each of their blocks."""
    monkeypatch.setattr(progress, "_SECONDS_BEFORE_ROWS", 0.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)


def values():
    return {"bound": -1.5, "learning_rate": 0.002}


# -- lines --------------------------------------------------------------------------------------


def test_lines_have_the_time_left_and_an_interval(clock, log):
    with Progress("MVAEImputer", 1).task("epoch", 20) as task:
        for _ in range(12):
            clock.now += 2.0
            task.advance(detail=values)
    quantities = "bound -1.5, learning_rate 0.002"
    assert log() == [
        f"MVAEImputer, epoch 1 of 20: 38 s left, {quantities}",
        f"MVAEImputer, epoch 4 of 20: 32 s left, {quantities}",
        f"MVAEImputer, epoch 7 of 20: 26 s left, {quantities}",
        f"MVAEImputer, epoch 10 of 20: 20 s left, {quantities}",
        f"MVAEImputer, epoch 12 of 20: {quantities}",
    ]


def test_verbose_2_has_a_line_for_every_epoch(log):
    with Progress("MVAEImputer", 2).task("epoch", 3) as task:
        for _ in range(3):
            task.advance(detail=values)
    titles = [message.split(":")[0] for message in log()]
    assert titles == [f"MVAEImputer, epoch {i} of 3" for i in (1, 2, 3)]


def test_durations_are_rounded():
    durations = [progress._duration(seconds) for seconds in (0.2, 119.0, 150.0, 7100.0, 9000.0)]
    assert durations == ["1 s", "119 s", "2 min", "118 min", "2 h"]


@pytest.mark.parametrize("verbose", [1, 2])
def test_rows_are_shown_after_some_seconds(verbose, clock, log):
    for seconds, n_lines in ((0.2, 0), (0.5, 1)):
        with Progress("MVAEImputer", verbose).task("row", 1000, of_rows=True) as task:
            for _ in range(10):
                clock.now += seconds
                task.advance(100)
        assert len(log()) == n_lines
    assert log() == ["MVAEImputer, row 600 of 1000: 2 s left"]


def test_units_with_the_name_of_rows_are_shown_at_once(clock, log):
    with Progress("MVAEImputer", 2).task("arrow", 2) as task:
        task.advance()
        task.advance()
    assert log() == ["MVAEImputer, arrow 1 of 2", "MVAEImputer, arrow 2 of 2"]


def test_added_units_have_their_own_speed(clock, log):
    with Progress("MVAEImputer", 1).task("row", 3000, of_rows=True) as task:
        clock.now += 10.0
        task.advance(1000)
        task.extend(100)  # ten times as slow
        clock.now += 5.0
        task.advance(50)
    # 50 rows at 0.1 s, and 2000 rows at the mean speed of the others
    assert log()[-1] == f"MVAEImputer, row 1050 of 3100: {np.ceil(5 + 2000 * 15 / 1050):.0f} s left"


def test_tasks_count_at_most_their_units():
    task = progress.Task(3, lambda task: None)
    task.advance(5)
    assert task.n_done == 3


@pytest.mark.parametrize("shown", [SILENT, Progress("MVAEImputer", 0)])
def test_silent_progress_has_no_task(shown, log):
    with shown.task("epoch", 10) as task:
        task.advance(10)
        task.extend(3)
    assert task is SILENT_TASK
    assert task.total == task.n_done == 0
    assert log() == []


# -- bars ---------------------------------------------------------------------------------------


def test_bars_disappear_and_a_line_remains(terminal, clock, log):
    with Progress("MVAEImputer", 1).task("epoch", 20) as task:
        clock.now += 2.0
        task.advance(detail=values)
        shown = terminal.file.getvalue()
        assert "MVAEImputer, epoch" in shown
        assert "38 s left, bound -1.5" in shown
        assert log() == []
    assert terminal.file.getvalue().rstrip("\x1b[2K\r").endswith(SHOW_CURSOR)
    assert log() == ["MVAEImputer, epoch 1 of 20: bound -1.5, learning_rate 0.002"]
    assert not progress._BARS.are_shown


def test_bars_of_short_computations_on_rows_are_not_shown(terminal, clock, log):
    for seconds in (1.0, 4.0):
        assert terminal.file.getvalue() == ""
        with Progress("MVAEImputer", 1).task("row", 1000, of_rows=True) as task:
            clock.now += seconds
            task.advance(500)
    assert "MVAEImputer, row" in terminal.file.getvalue()
    assert log() == []


class ClosedTerminal(io.StringIO):
    """A stream whose writes raise an error after some of them."""

    def __init__(self, error, n_writes=0):
        super().__init__()
        self.error, self.n_writes = error, n_writes

    def isatty(self):
        return True

    def write(self, text):
        self.n_writes -= 1
        if self.n_writes < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("n_writes", [0, 1, 5])
@pytest.mark.parametrize("error", [OSError, ValueError, BrokenPipeError])
def test_lines_replace_bars_on_a_terminal_that_is_closed(terminal, n_writes, error, clock, log):
    terminal.file = ClosedTerminal(error, n_writes)
    terminal.on_broken_pipe = sys.exit  # without a change of stdout
    streams = sys.stdout, sys.stderr
    with Progress("MVAEImputer", 1).task("epoch", 20) as task:
        for _ in range(20):
            clock.now += 2.0
            task.advance(detail=values)
    assert (sys.stdout, sys.stderr) == streams
    assert not progress._BARS.are_shown
    assert task.n_done == 20
    assert log()[-1] == "MVAEImputer, epoch 20 of 20: bound -1.5, learning_rate 0.002"


@pytest.mark.parametrize("n_shown", [0, 1])
def test_interrupts_of_the_first_drawing_leave_no_bar(n_shown, terminal, monkeypatch):
    from rich.progress import Progress as Bars

    def interrupt(bars):
        raise KeyboardInterrupt

    streams = sys.stdout, sys.stderr
    with ExitStack() as stack:
        for _ in range(n_shown):
            stack.enter_context(Progress("first", 1).task("epoch", 20))
        with monkeypatch.context() as patch:
            patch.setattr(Bars, "get_renderables", interrupt)
            second = Progress("second", 1).task("epoch", 20)
            with pytest.raises(KeyboardInterrupt):
                stack.enter_context(second)
        assert progress._BARS.are_shown == bool(n_shown)
        if n_shown:
            assert [bar.description for bar in progress._BARS._display.tasks] == ["first, epoch"]
    assert (sys.stdout, sys.stderr) == streams
    assert not progress._BARS.are_shown


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_bars_disappear_on_errors(error, terminal, log):
    def fail():
        with Progress("MVAEImputer", 1).task("epoch", 20) as task:
            task.advance(detail=values)
            assert progress._BARS.are_shown
            raise error

    streams = sys.stdout, sys.stderr
    with pytest.raises(error):
        fail()
    assert (sys.stdout, sys.stderr) == streams
    assert SHOW_CURSOR in terminal.file.getvalue()
    assert not progress._BARS.are_shown
    assert log() == []


def test_threads_share_a_display(terminal):
    barrier = Barrier(3, timeout=60)

    def compute(name):
        with Progress(name, 1).task("epoch", 50) as task:
            barrier.wait()
            for _ in range(50):
                task.advance(detail=values)
            barrier.wait()
            n_bars = len(progress._BARS._display.tasks)
            barrier.wait()
            return n_bars

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(compute, ["first", "second", "third"])) == [3] * 3
    shown = terminal.file.getvalue()
    assert all(f"{name}, epoch" in shown for name in ("first", "second", "third"))
    assert not progress._BARS.are_shown


def test_bars_of_slow_tasks_are_drawn_with_those_of_fast_ones(terminal, clock, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_REFRESHES", 0.5)
    with (
        Progress("slow", 1).task("epoch", 20) as slow,
        Progress("fast", 1).task("epoch", 20) as fast,
    ):
        clock.now += 0.6
        fast.advance()
        clock.now += 0.1
        before = terminal.file.getvalue()
        slow.advance()  # is not drawn itself
        assert terminal.file.getvalue() == before
        clock.now += 0.5
        fast.advance()
    drawn = terminal.file.getvalue()[len(before) :]
    assert " 1/20" in drawn
    assert " 2/20" in drawn


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_have_no_display(terminal):
    stderr, is_held, is_over = sys.stderr, Event(), Event()

    def hold_lock():
        with progress._BARS._lock:
            is_held.set()
            is_over.wait(60)

    with Progress("MVAEImputer", 1).task("epoch", 20) as task, ThreadPoolExecutor(1) as pool:
        assert sys.stderr is not stderr
        pool.submit(hold_lock)
        is_held.wait(60)
        before = terminal.file.getvalue()
        child = os.fork()
        if not child:
            signal.alarm(20)  # ends a child that waits for the lock
            with suppress(Exception):
                task.advance()
                is_unchanged = terminal.file.getvalue() == before and sys.stderr is stderr
                os._exit(0 if is_unchanged and not progress._BARS.are_shown else 1)
            os._exit(2)
        is_over.set()
        assert os.waitpid(child, 0)[1] == 0
        assert progress._BARS.are_shown


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True


def bars_are_possible():
    return progress._bar_console() is not None


def test_bars_require_a_terminal_and_rich(monkeypatch):
    pytest.importorskip("rich.console")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_is_logged", lambda: False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # with which rich treats files as terminals
    assert not bars_are_possible()
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert bars_are_possible()
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "dumb")
        assert not bars_are_possible()
    with monkeypatch.context() as patch:
        patch.setattr(progress, "_is_logged", lambda: True)
        assert not bars_are_possible()
    with monkeypatch.context() as patch:
        patch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace())
        assert not bars_are_possible()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rich.console", None)
        assert not bars_are_possible()


@pytest.mark.parametrize("module", ["rich.console", "rich.file_proxy", "rich", "rich.table"])
@pytest.mark.parametrize("error", [ImportError, AttributeError])
def test_lines_replace_bars_with_old_versions_of_rich(module, error, clock, monkeypatch):
    pytest.importorskip("rich.progress")
    import_module = builtins.__import__

    def fail(name, *arguments):
        if name == module and arguments[0].get("__name__") == progress.__name__:
            raise error
        return import_module(name, *arguments)

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_is_logged", lambda: False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(builtins, "__import__", fail)
    with Progress("MVAEImputer", 1).task("epoch", 20) as task:
        task.advance()
        clock.now += 2.0
        task.advance(detail=values)
    first, last = sys.stderr.getvalue().splitlines()
    assert first == "MVAEImputer, epoch 1 of 20"
    assert last == "MVAEImputer, epoch 2 of 20: bound -1.5, learning_rate 0.002"


def test_lines_replace_bars_next_to_the_bars_of_others(monkeypatch):
    rich_progress = pytest.importorskip("rich.progress")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_is_logged", lambda: False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with rich_progress.Progress(console=rich_progress.Console(stderr=True)):
        assert not bars_are_possible()
    assert bars_are_possible()


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        SimpleNamespace,
        closed_stream,
        lambda: ClosedTerminal(OSError),
        lambda: ClosedTerminal(ValueError),
    ],
    ids=["None", "other", "closed", "OSError", "ValueError"],
)
def test_fits_do_not_need_streams(make, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_is_logged", lambda: False)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, make())
    streams = sys.stdout, sys.stderr
    assert tiny(MVAEImputer, verbose=1).fit(table()).n_iter_ == 3
    assert (sys.stdout, sys.stderr) == streams


def test_lines_are_written_to_stderr_without_rich(monkeypatch, clock, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(progress, "_is_logged", lambda: False)
    tiny(MVAEImputer, verbose=1).fit(table())
    output = capsys.readouterr()
    assert output.out == ""
    first, last = output.err.splitlines()
    assert first.startswith("MVAEImputer, epoch 1 of 3: ")
    assert last.startswith("MVAEImputer, epoch 3 of 3: bound ")


# -- estimators ---------------------------------------------------------------------------------


@functools.cache
def silent_outputs(cls):
    """Return the results of an estimator without progress."""
    return outputs(tiny(cls).fit(table()), table())


@every_estimator
@pytest.mark.parametrize("verbose", [1, 2])
def test_results_do_not_depend_on_verbose(cls, verbose, terminal, every_row):
    X = table()
    assert_same(outputs(tiny(cls, verbose=verbose).fit(X), X), silent_outputs(cls))
    assert (f"{cls.__name__}, row" in terminal.file.getvalue()) == (verbose == 1)


@pytest.mark.parametrize("nested", [False, True])
def test_lines_replace_bars_next_to_callbacks(nested, terminal, log):
    callback = pytest.importorskip("sklearn.callback")
    imputer = tiny(MVAEImputer, verbose=1)
    outer = Pipeline([("impute", imputer), ("scale", StandardScaler())]) if nested else imputer
    outer.set_callbacks(callback.ProgressBar()).fit(table())
    assert terminal.file.getvalue() == ""
    assert log()[0].startswith("MVAEImputer, epoch 1 of 3")


def test_a_checkpoint_does_not_replace_bars(terminal, tmp_path):
    tiny(MVAEImputer, verbose=1).set_callbacks(Checkpoint(tmp_path / "fit")).fit(table())
    assert "MVAEImputer, epoch" in terminal.file.getvalue()


def test_stages_of_a_fit_are_shown(log, every_row, monkeypatch):
    monkeypatch.setattr(imputer_base, "ROWS_WITH_CHOICE", range(40, 41))
    X = table()
    options = {"max_iter": 2, "n_latents": 2, "n_bootstrap": 2, "calibrate": True, "n_jobs": 2}
    with joblib.parallel_config("threading"):
        imputer = tiny(MissSIWAEImputer, verbose=1, **options).fit(X)
        silent = tiny(MissSIWAEImputer, **options).fit(X)
    titles = dict.fromkeys(message.split(" of ")[0].rstrip(" 0123456789") for message in log())
    assert list(titles) == [
        "MissSIWAEImputer, initialization, epoch",
        "error",
        "MissSIWAEImputer, epoch",
        "MissSIWAEImputer, bootstrap model",
        "MissSIWAEImputer, calibration, model",
        "MissSIWAEImputer, calibration, row",
    ]
    quantiles = [fitted.cell_distribution(X[:9])["95%"] for fitted in (imputer, silent)]
    np.testing.assert_array_equal(*quantiles)


def test_bootstrap_models_are_fitted_by_backends_without_generators(log):
    X, options = table(), {"n_bootstrap": 2, "n_jobs": 2, "init": "random"}
    with joblib.parallel_config("multiprocessing"):
        imputer = tiny(MVAEImputer, verbose=1, **options).fit(X)
    assert len(imputer.models_) == 2
    assert any("bootstrap model 1 of 2" in message for message in log())


ROW_METHODS = {
    "transform": lambda fitted, X: fitted.transform(X),
    "impute": lambda fitted, X: fitted.impute(X, 2)[0],
    "cell_distribution": lambda fitted, X: fitted.cell_distribution(X),
    "score_samples": lambda fitted, X: fitted.score_samples(X),
    "outlier_scores": lambda fitted, X: fitted.outlier_scores(X),
    "encode": lambda fitted, X: fitted.encode(X),
    "effective_sample_size": lambda fitted, X: fitted.effective_sample_size(X),
}


@functools.cache
def fitted():
    return tiny(MissSIWAEImputer).fit(table())


@pytest.mark.parametrize("method", ROW_METHODS)
@pytest.mark.parametrize(
    ("n_importance_draws", "sampler"),
    [(40, "importance"), (200, "importance"), (20, LAIR(n_steps=4))],
)
def test_all_rows_of_a_computation_are_counted(method, n_importance_draws, sampler, every_row, log):
    X = np.vstack([table(20), np.full((2, 4), np.nan)])  # rows without evidence
    options = {"n_importance_draws": n_importance_draws, "sampler": sampler, "verbose": 1}
    ROW_METHODS[method](copy.copy(fitted()).set_params(**options), X)
    counts = [message.split(" row ")[1].split(":")[0].split(" of ") for message in log()]
    n_done, totals = np.array(counts, dtype=int).T
    assert n_done[-1] == totals[-1]
    assert (np.diff(n_done) >= 0).all()
    assert (np.diff(totals) >= 0).all()


def test_rows_of_outlier_detection_are_counted(every_row, log):
    X = table()
    density = tiny(VAEDensityEstimator)
    detector = VAEOutlierDetector(density).fit(X)
    detector.estimator_.set_params(verbose=1)
    detector.score_samples(X)
    last = log()[-1].split(" row ")[1].split(" of ")
    assert last[0] == last[1].split(":")[0]


@every_estimator
def test_short_computations_on_rows_are_silent(cls, clock, log, capsys):
    X = table()
    estimator = tiny(cls, n_latents=2).fit(X).set_params(verbose=1)
    outputs(estimator, X)
    assert log() == []
    assert capsys.readouterr() == ("", "")


def test_refitted_encoders_are_shown(log):
    X = table()
    imputer = tiny(MVAEImputer).fit(X).set_params(verbose=2)
    imputer.refit_encoder(X)
    n = len(log())
    assert log()[-1].startswith(f"MVAEImputer, epoch {n} of {n}: bound ")


def test_interrupted_fits_leave_no_bar(terminal, monkeypatch, log):
    epochs = []

    def interrupt(history):
        epochs.append(history)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return {"bound": 0.0}

    monkeypatch.setattr("skmissvae.training.callbacks._last_values", interrupt)
    with pytest.warns(UserWarning, match="Training was interrupted"):
        imputer = tiny(MVAEImputer, max_iter=50, verbose=1).fit(table())
    assert imputer.n_iter_ < 50
    assert not progress._BARS.are_shown
    assert SHOW_CURSOR in terminal.file.getvalue()
