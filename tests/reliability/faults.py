"""Errors that are raised at a chosen executed line of the package, and what must survive them."""

import ast
import functools
import os
import pickle
import random
import signal
import sys
import threading
import time
import warnings
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import torch
from estimator_cases import ESTIMATORS, outputs, table, tiny

import skmissvae
from skmissvae import MissSIWAEImputer, VAEDensityEstimator, VAEOutlierDetector, load
from skmissvae.tables.plain_files import read_plain_file

PACKAGE = str(Path(skmissvae.__file__).parent) + os.sep


class Fault(Exception):
    """An error that no code expects."""


class OutOfMemory(torch.OutOfMemoryError):
    """An error of a GPU, which the package answers by computing fewer rows at a time."""


ERRORS = (Fault, MemoryError, OutOfMemory)


# -- lines --------------------------------------------------------------------------------------


@functools.cache
def excluded_lines(filename):
    """Return the lines of a file that restore a state, and headers of with and try statements.

    At these headers an error of a trace function, but none of a signal, skips the ends of blocks:
    Python runs the header of a block a second time at its end, and has no handler for a nested try.
    """
    restoring, headers = set(), set()
    for node in ast.walk(ast.parse(Path(filename).read_text())):
        blocks = []
        if isinstance(node, ast.Try):
            blocks = [*node.finalbody, *node.handlers]
        elif isinstance(node, ast.FunctionDef) and node.name == "__exit__":
            blocks = [node]
        elif isinstance(node, ast.With):
            headers.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.Try | ast.With):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Try) and n is not node]
            headers.update(n.lineno for n in inner)
        for block in blocks:
            restoring.update(range(block.lineno, block.end_lineno + 1))
    return restoring, headers


def is_excluded(frame):
    """Return whether no error is raised in a line: the package restores a state there."""
    if frame.f_lineno in excluded_lines(frame.f_code.co_filename)[1]:
        return True
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE) and frame.f_lineno in excluded_lines(name)[0]:
            return True
        frame = frame.f_back
    return False


class Lines:
    """Counts the executed lines of the package in a block, and raises an error at one of them."""

    def __init__(self, target=None, error=None):
        self.target, self.error, self.n, self.raised_at = target, error, 0, None
        self.places = defaultdict(list)  # numbers of executed lines, by line

    def _new_frame(self, frame, event, argument):
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame, event, argument):
        if event != "line":
            return self._line
        n, self.n = self.n, self.n + 1
        if self.target is None:
            if not is_excluded(frame):
                self.places[frame.f_code.co_filename, frame.f_lineno].append(n)
        elif n >= self.target and self.raised_at is None and not is_excluded(frame):
            self.raised_at = f"{frame.f_code.co_filename[len(PACKAGE) :]}:{frame.f_lineno}"
            raise self.error
        return self._line

    def __enter__(self):
        self._before = sys.gettrace()
        threading.settrace(self._new_frame)
        sys.settrace(self._new_frame)
        return self

    def __exit__(self, *error):
        sys.settrace(self._before)
        threading.settrace(self._before)


class Clock:
    """Measures the seconds of a block."""

    def __enter__(self):
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self._start


# -- state --------------------------------------------------------------------------------------


def global_state():
    """Return the settings of libraries and of the process that a call must restore."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.empty(0).device,
        "gradient mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "torch's threads": torch.get_num_threads(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "Python's generator": random.getstate(),
        "numpy's errors": np.geterr(),
        "warning filters": list(warnings.filters),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "scikit-learn": sklearn.get_config(),
        "streams": (id(sys.stdout), id(sys.stderr)),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "threads": threading.active_count(),
    }


@contextmanager
def user_settings(n_threads):
    """Use other settings than those of the package within a block."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_default_dtype(before[0])
        torch.set_num_threads(before[1])


# -- calls --------------------------------------------------------------------------------------


@functools.cache
def frame(seed=0):
    """Return a table with columns of several kinds."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=24)
    X = pd.DataFrame({"x": z, "y": z + rng.normal(size=24)})
    X["binary"] = pd.array(z > 0, dtype="boolean")
    X["count"] = pd.array(rng.poisson(3, 24), dtype="Int64")
    X["town"] = pd.Categorical(rng.choice(list("abc"), 24))
    return X.mask(rng.random(X.shape) < 0.2)


def detector():
    return VAEOutlierDetector(tiny(VAEDensityEstimator), contamination=0.1)


def array(seed):
    return table(24, seed=seed)


#: Functions that return an unfitted estimator, and of a seed a table.
MODELS = {cls.__name__: (functools.partial(tiny, cls), array) for cls in ESTIMATORS}
MODELS["frame"] = functools.partial(tiny, MissSIWAEImputer, dropout=0.1), frame
MODELS["bootstrap"] = (
    lambda: tiny(MissSIWAEImputer, n_bootstrap=1, calibrate=True, early_stopping=True),
    array,
)
MODELS["VAEOutlierDetector"] = detector, array


def results(estimator, X):
    """Return what a fitted estimator computes, bit for bit."""
    if isinstance(estimator, VAEOutlierDetector):
        return {"scores": estimator.score_samples(X), "offset": np.array(estimator.offset_)}
    return outputs(estimator, X)


def fit(estimator, X, path):
    return results(estimator.fit(X), X)


def partial_fit(estimator, X, path):
    return results(estimator.partial_fit(X), X)


def warm_start(estimator, X, path):
    estimator.warm_start = True
    return fit(estimator, X, path)


def save(estimator, X, path):
    estimator.save(path)
    return {"file": content(path)}


def content(path):
    """Return the content of a model file, as bytes; safetensors orders its header at random."""
    text, arrays = read_plain_file(path, "skmissvae")
    return repr(text).encode() + b"".join(arrays[name].tobytes() for name in sorted(arrays))


def impute(estimator, X, path):
    return {str(i): X for i, X in enumerate(estimator.impute(X, 3))}


def by_method(name):
    def call(estimator, X, path):
        return {name: getattr(estimator, name)(X)}

    return call


#: Calls ``(estimator, X, path) -> results``; those of the first line train the estimator.
TRAINING = {"fit": fit, "partial_fit": partial_fit, "warm_start": warm_start}
CALLS = {
    **TRAINING,
    "save": save,
    "refit_encoder": lambda estimator, X, path: results(estimator.refit_encoder(X), X),
    "load": lambda estimator, X, path: results(load(path), X),
    "sample": lambda estimator, X, path: {"sample": estimator.sample(5)},
    "impute": impute,
    **{
        name: by_method(name)
        for name in ("score_samples", "encode", "transform", "cell_distribution", "predict")
    },
}


def calls_of(model, is_fitted):
    """Return the names of the calls of a model."""
    estimator = MODELS[model][0]()
    names = [name for name in CALLS if hasattr(estimator, name) or name in ("load", "warm_start")]
    if model == "bootstrap":
        names.remove("partial_fit")
    if model == "VAEOutlierDetector":
        names.remove("warm_start")
    return [n for n in names if n in TRAINING] if not is_fitted else names


@functools.cache
def fitted(model):
    """Return a pickled estimator that is fitted, and what it computes for the table."""
    make, X = MODELS[model]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = make().fit(X(0))
        return pickle.dumps(estimator), results(estimator, X(0))


_EXPECTED = {}


def expected(model, name, is_fitted, folder, measure):
    """Return the results of a call, and the context of class ``measure`` that it ran in."""
    key = model, name, is_fitted, measure
    if key not in _EXPECTED:
        estimator, X, path = prepared(model, name, is_fitted, folder)
        with measure() as context:
            values = CALLS[name](estimator, X, path)
        _EXPECTED[key] = values, context
    return _EXPECTED[key]


def prepared(model, name, is_fitted, folder):
    """Return an estimator, a table, and the path of its file."""
    make, X = MODELS[model]
    estimator = pickle.loads(fitted(model)[0]) if is_fitted else make()
    path = folder / "model"
    path.unlink(missing_ok=True)
    if is_fitted:
        pickle.loads(fitted(model)[0]).save(path)
    return estimator, X(1 if name in TRAINING else 0), path


# -- laws ---------------------------------------------------------------------------------------


def differs(actual, expected, close=False):
    """Return the name of the first result that differs, or None."""
    for name, values in expected.items():
        try:
            if isinstance(values, bytes):
                assert actual[name] == values
            elif isinstance(values, pd.DataFrame):
                options = {"rtol": 1e-3, "atol": 1e-3} if close else {"check_exact": True}
                pd.testing.assert_frame_equal(actual[name], values, **options)
            elif close:
                np.testing.assert_allclose(actual[name], values, rtol=1e-3, atol=1e-3)
            else:
                np.testing.assert_array_equal(actual[name], values, strict=True)
        except AssertionError:
            return name
    return None


def contains(raised, error):
    """Return whether an error is another one, or made from it."""
    while raised is not None:
        if raised is error:
            return True
        raised = raised.__cause__ or raised.__context__
    return False


class Outcome:
    """What a call with an error did: whether the error was raised, where, and violations."""

    def __init__(self, where):
        self.where, self.violations, self.was_raised, self.was_answered = where, [], False, False

    def require(self, condition, text):
        if not condition:
            self.violations.append(f"{self.where}: {text}")


def run(model, name, is_fitted, folder, fault, error, n_threads, values):
    """Run a call within ``fault``, a context that raises ``error``, and check all laws.

    ``values`` are the results of the call without the fault.
    """
    estimator, X, path = prepared(model, name, is_fitted, folder)
    old_file = content(path) if is_fitted else None
    before, X_before = dict(vars(estimator)), X.copy()
    if name == "warm_start":
        before["warm_start"] = True
    outcome, raised, actual = Outcome(f"{model}.{name}, fitted: {is_fitted}"), None, None
    with user_settings(n_threads):
        state = global_state()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            filters = list(warnings.filters)
            try:
                with fault:
                    actual = CALLS[name](estimator, X, path)
            except BaseException as caught_error:
                raised = caught_error
            same_filters = list(warnings.filters) == filters
        outcome.was_raised = fault.raised_at is not None
        outcome.where += f", {type(error).__name__} at {fault.raised_at}"
        is_interrupt = isinstance(error, KeyboardInterrupt)
        is_error = contains(raised, error)
        if is_interrupt:  # training ends, and the call raises another one
            is_error |= isinstance(raised, KeyboardInterrupt)
        outcome.require(is_error or raised is None, f"another error {raised!r}")
        raised = None  # its traceback holds frames, and the contexts in them
        state_after = global_state()
        changed = [key for key, value in state.items() if state_after[key] != value]
        outcome.require(not changed, f"changed {changed}")
        outcome.require(same_filters, "changed filters of warnings")
    pd.testing.assert_frame_equal(pd.DataFrame(X), pd.DataFrame(X_before), check_exact=True)
    outcome.require(set(os.listdir(folder)) == ({"model"} if is_fitted else set()), "files")
    if not outcome.was_raised:
        outcome.require(is_error or differs(actual, values) is None, "other results, no fault")
        return outcome
    outcome.was_answered = not is_error
    was_interrupted = any("Training was interrupted" in str(w.message) for w in caught)
    if outcome.violations:
        return outcome
    if not is_error and is_interrupt:
        difference = None if was_interrupted else differs(actual, values)
        outcome.require(difference is None, f"{difference} differs after an interrupt")
        for result in actual.values():
            if isinstance(result, np.ndarray):
                outcome.require(np.isfinite(result).all(), "not finite after an interrupt")
    elif not is_error:
        close = isinstance(error, torch.OutOfMemoryError)
        difference = differs(actual, values, close)
        outcome.require(difference is None, f"{difference} differs")
    if name not in TRAINING or is_error:
        after = vars(estimator)
        is_same = after.keys() == before.keys() and all(after[k] is v for k, v in before.items())
        if name in TRAINING and not is_same:  # the fault came after the end of a fit
            if not was_interrupted:
                difference = differs(results(estimator, X), values)
                outcome.require(difference is None, f"{difference}: neither old nor new state")
        else:
            outcome.require(is_same, "changed attributes")
            if is_fitted:
                difference = differs(results(estimator, MODELS[model][1](0)), fitted(model)[1])
                outcome.require(difference is None, f"changed {difference} of the fitted model")
            if is_fitted:
                new_file = values["file"] if name == "save" else old_file
                outcome.require(content(path) in (old_file, new_file), "changed file")
            difference = differs(CALLS[name](estimator, X, path), values)
            outcome.require(difference is None, f"{difference} of the next call differs")
    return outcome


def random_call(rng, models):
    """Return a random model, one of its calls, and whether the model is fitted before."""
    model = rng.choice(models)
    is_fitted = rng.random() < 0.8
    return model, rng.choice(calls_of(model, is_fitted)), is_fitted


def at_random_line(rng, folder, make_error, models=tuple(MODELS)):
    """Raise an error at a random line of a random call, each line equally probable."""
    model, name, is_fitted = random_call(rng, models)
    values, lines = expected(model, name, is_fitted, folder, Lines)
    target = rng.choice(lines.places[rng.choice(list(lines.places))])
    error = make_error("a fault of a test")
    fault = Lines(target, error)
    return run(model, name, is_fitted, folder, fault, error, rng.choice([1, 1, 2]), values)


class Timer:
    """Raises KeyboardInterrupt by a signal after some seconds, wherever the process is."""

    def __init__(self, seconds, error):
        self._seconds, self._error, self.raised_at = seconds, error, None

    def _handle(self, number, frame):
        while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        if frame is None:
            return  # the call is over
        self.raised_at = f"{frame.f_code.co_filename[len(PACKAGE) :]}:{frame.f_lineno}"
        raise self._error

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._handle)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        return self

    def __exit__(self, *error):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)


def at_random_moment(rng, folder, models=tuple(MODELS)):
    """Interrupt a random call after a random part of its time, as Ctrl-C does."""
    model, name, is_fitted = random_call(rng, models)
    values, clock = expected(model, name, is_fitted, folder, Clock)
    error = KeyboardInterrupt()
    fault = Timer(max(1e-5, rng.random() * clock.seconds), error)
    return run(model, name, is_fitted, folder, fault, error, rng.choice([1, 1, 2]), values)
