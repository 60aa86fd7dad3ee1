"""Checkpoints: fits that are stopped anywhere continue with the same bits."""

import dataclasses
import errno
import itertools
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from estimator_cases import assert_same, every_estimator, outputs, quiet, table, tiny
from kill_fits import CASES, Killed, fitted, kill_after, results
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skmissvae import (
    Checkpoint,
    Chunks,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    load,
)
from skmissvae.inference import LAIR
from skmissvae.tables import plain_files
from skmissvae.training import records as module
from skmissvae.training.spec import ModelSpec
from skmissvae.vae import VAE, NormalLikelihood

pytestmark = quiet
HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class CustomSampler(LAIR):
    """A sampler of a user."""

    state: object = None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


def continued(make, X, path, monkeypatch, n_epochs, every=1):
    """Return a fit that is killed after every ``n_epochs`` epochs, and the number of its kills."""
    for n_kills in itertools.count():
        estimator = make().set_callbacks(Checkpoint(path, every_n_epochs=every))
        with monkeypatch.context() as patch:
            kill_after(n_epochs, patch.setattr)
            try:
                estimator.fit(X)
            except Killed:
                assert path.exists()
                assert not hasattr(estimator, "model_")
                continue
        assert not path.exists()
        return estimator, n_kills
    return None


@pytest.mark.parametrize("name", CASES)
def test_a_fit_that_is_killed_after_every_epoch_has_the_same_bits(name, path, monkeypatch):
    make, X = CASES[name]
    estimator, n_kills = continued(make, X, path, monkeypatch, 1)
    assert n_kills >= 3
    assert_same(results(estimator, X), fitted(name))


@pytest.mark.parametrize(
    ("name", "every"),
    [("MissSIWAE", 2), ("DeMissVAE", 1), ("early stopping", 1), ("bootstrap", 2)],
)
def test_a_fit_that_is_killed_once_after_any_epoch_has_the_same_bits(
    name, every, path, monkeypatch
):
    make, X = CASES[name]
    expected = fitted(name)
    for n in itertools.count(1, every):  # after an even number both write the same file
        with monkeypatch.context() as patch:
            kill_after(n, patch.setattr)
            estimator = make().set_callbacks(Checkpoint(path, every_n_epochs=every))
            try:
                estimator.fit(X)
                break
            except Killed:
                pass
        assert_same(results(estimator.fit(X), X), expected)
        assert not path.exists()
    assert n > 3


@pytest.mark.parametrize("n_epochs", [5, 11])
def test_the_comparison_of_initializations_continues(n_epochs, path, monkeypatch):
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 30)
    monkeypatch.setattr("skmissvae.estimators.imputer_base.ROWS_WITH_CHOICE", range(30, 50))
    X = table()

    def make():
        return tiny(MissSIWAEImputer, max_iter=4, calibrate=True)

    estimator, n_kills = continued(make, X, path, monkeypatch, n_epochs, every=2)
    assert n_kills >= 2
    assert_same(results(estimator, X), results(make().fit(X), X))


@pytest.mark.filterwarnings("ignore:.*tasks:UserWarning")  # of joblib, about cancelled ones
def test_models_of_other_processes_are_recorded_when_they_are_finished(path, monkeypatch):
    X = table()

    def make(n_jobs):
        return tiny(MissSIWAEImputer, n_bootstrap=3, calibrate=True, n_jobs=n_jobs)

    n_fits = []
    finish = module.RunRecord.finish_elsewhere

    def finish_and_stop(record, model):
        finish(record, model)
        n_fits.append(record)
        if len(n_fits) in (1, 5):
            raise Killed

    monkeypatch.setattr(module.RunRecord, "finish_elsewhere", finish_and_stop)
    with joblib.parallel_config("threading"):  # processes would import torch
        for _ in range(2):
            with pytest.raises(Killed):
                make(2).set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(X)
        estimator = make(2).set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(X)
    assert len(n_fits) == 6
    assert_same(results(estimator, X), results(make(None).fit(X), X))


@pytest.mark.parametrize("cls", [MissSIWAEImputer, DeMissVAEImputer])
def test_a_warm_start_continues(cls, path, monkeypatch):
    X = table()

    def make():
        return tiny(cls, warm_start=True).fit(X)

    expected = results(make().fit(X), X)
    for n in (1, 2, 3):
        estimator = make().set_callbacks(Checkpoint(path, every_n_epochs=1))
        with monkeypatch.context() as patch:
            kill_after(n, patch.setattr)
            with pytest.raises(Killed):
                estimator.fit(X)
        with pytest.raises(ValueError, match="of another fit"):
            tiny(cls, warm_start=True).set_callbacks(Checkpoint(path)).fit(X)
        assert_same(results(estimator.fit(X), X), expected)


def test_a_fit_in_chunks_continues(path, monkeypatch):
    X = table(200)
    chunks = Chunks.from_array(X, 40, sample_size=80)

    def make():
        return tiny(MissSIWAEImputer, batch_size=32)

    estimator, n_kills = continued(make, chunks, path, monkeypatch, 1)
    assert n_kills == 3
    assert_same(results(estimator, X), results(make().fit(chunks), X))


@every_estimator
def test_checkpoints_do_not_change_results(cls, path):
    X = table()
    estimator = tiny(cls).set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(X)
    assert_same(outputs(estimator, X), outputs(tiny(cls).fit(X), X))
    assert not path.exists()


@pytest.fixture
def stopped(path, monkeypatch):
    """Return the path of the checkpoint of a fit that was stopped."""
    with monkeypatch.context() as patch:
        kill_after(2, patch.setattr)
        with pytest.raises(Killed):
            tiny(MVAEImputer).set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(table())
    return path


@pytest.mark.parametrize(
    ("cls", "options", "X"),
    [
        (VAEDensityEstimator, {}, table()),
        (MVAEImputer, {"max_iter": 4}, table()),
        (MVAEImputer, {"random_state": 1}, table()),
        (MVAEImputer, {"n_latents": 1}, table()),
        (MVAEImputer, {"likelihood": {0: "student_t"}}, table()),
        (MVAEImputer, {"early_stopping": True}, table()),
        (MVAEImputer, {}, table(seed=1)),
        (MVAEImputer, {}, table() ** 3),
        (MVAEImputer, {}, table()[:-1]),
    ],
)
def test_checkpoints_of_other_fits_are_refused(stopped, cls, options, X):
    content = stopped.read_bytes()
    estimator = tiny(cls, **options).set_callbacks(Checkpoint(stopped))
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=r"fit\.checkpoint.*of another fit.*Delete the file"):
        estimator.fit(X)
    assert vars(estimator) == before
    assert stopped.read_bytes() == content


def test_parameters_that_do_not_change_the_model_may_differ(stopped):
    X = table()
    imputer = tiny(MVAEImputer, verbose=2, strategy="draw", n_importance_draws=30)
    imputer.set_callbacks(Checkpoint(stopped)).fit(X)
    weights, expected = (results(e, X)["weights"] for e in (imputer, tiny(MVAEImputer).fit(X)))
    np.testing.assert_array_equal(weights, expected)


def test_checkpoints_of_other_versions_are_refused(stopped, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    with pytest.raises(ValueError, match=r"written with torch 2.* this is 1\.0\.0.*Delete"):
        tiny(MVAEImputer).set_callbacks(Checkpoint(stopped)).fit(table())


def test_damaged_files_are_refused(stopped):
    data, rng = stopped.read_bytes(), random.Random(0)
    damaged = [data[:n] for n in (0, 1, 100, len(data) - 1)]
    for position in (*range(8), *(rng.randrange(len(data)) for _ in range(100))):
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        stopped.write_bytes(content)
        with pytest.raises(ValueError, match=r"not a checkpoint, or it is damaged.*Delete"):
            tiny(MVAEImputer).set_callbacks(Checkpoint(stopped)).fit(table())
        assert stopped.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["state"]["training"].pop("weights"),
        lambda run: run["state"]["training"]["weights"].popitem(),
        lambda run: run["state"]["training"]["history"].update(bound=["x", "y"]),
        lambda run: run["state"]["training"]["history"]["bound"].append(1.0),
        lambda run: run["state"]["training"].update(best_weights={}),
        lambda run: run["state"]["training"]["counters"].update(n_done="x"),
        lambda run: run["state"]["processes"][0].update(dropout=["x"]),
        lambda run: run["state"]["processes"][0].update(generator=None),
        lambda run: run.update(n_stages=-1),
        lambda run: run.update(n_stages=1),
        lambda run: run.update(n_stages=1, model={}),
    ],
)
def test_changed_values_with_a_valid_digest_are_refused(stopped, change):
    content, arrays = plain_files.read_plain_file(stopped, "skmissvae checkpoint")
    change(content["runs"]["model"])
    plain_files.write_plain_file(stopped, "skmissvae checkpoint", content, arrays)
    estimator = tiny(MVAEImputer).set_callbacks(Checkpoint(stopped))
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=r"not a checkpoint, or it is damaged.*Delete"):
        estimator.fit(table())
    assert vars(estimator) == before


@pytest.mark.parametrize(
    ("n_epochs", "owner", "name", "n_calls", "error"),
    [
        (2, VAE, "load_state_dict", 1, RuntimeError("of a custom network")),
        (8, VAE, "load_state_dict", 1, torch.OutOfMemoryError("on the device")),
        (8, ModelSpec, "build_pair", 2, RuntimeError("of a custom network")),
    ],
)
def test_valid_files_are_not_blamed_for_other_errors(
    n_epochs, owner, name, n_calls, error, path, monkeypatch
):
    estimator = tiny(MVAEImputer, max_iter=6, n_bootstrap=1)
    estimator.set_callbacks(Checkpoint(path, every_n_epochs=1))
    with monkeypatch.context() as patch:
        kill_after(n_epochs, patch.setattr)
        with pytest.raises(Killed):
            estimator.fit(table())
    function, calls = getattr(owner, name), itertools.count(1)

    def failing(*args, **kwargs):
        if kwargs.get("device") != "meta" and next(calls) == n_calls:
            raise error
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        with pytest.raises(type(error), match=str(error)):
            estimator.fit(table())
    estimator.fit(table())
    assert not path.exists()


def test_model_files_and_checkpoints_are_not_mistaken(stopped, tmp_path):
    with pytest.raises(ValueError, match="not a model file"):
        load(stopped)
    tiny(MVAEImputer).fit(table()).save(tmp_path / "model")
    with pytest.raises(ValueError, match="not a checkpoint"):
        tiny(MVAEImputer).set_callbacks(Checkpoint(tmp_path / "model")).fit(table())


def test_a_full_disk_leaves_the_old_checkpoint_and_the_fit_goes_on(path, monkeypatch):
    X, writes = table(), []
    save = plain_files.safetensors.numpy.save

    def full(*arguments):
        writes.append(path.read_bytes() if path.exists() else None)
        if len(writes) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(*arguments)

    monkeypatch.setattr(plain_files.safetensors.numpy, "save", full)
    imputer = tiny(MVAEImputer, max_iter=4).set_callbacks(Checkpoint(path, every_n_epochs=1))
    with pytest.warns(UserWarning, match="cannot be written .*No space left.*fit goes on"):
        imputer.fit(X)
    assert len(writes) == 5
    assert writes[2] is not None
    assert writes[2] == writes[3] == writes[4]
    assert_same(outputs(imputer, X), outputs(tiny(MVAEImputer, max_iter=4).fit(X), X))


def test_a_path_that_cannot_be_written_is_refused_before_training(tmp_path):
    for path in (tmp_path / "missing" / "file", tmp_path):
        with pytest.raises(OSError, match=path.name):
            tiny(MVAEImputer).set_callbacks(Checkpoint(path)).fit(table())


def test_a_fit_that_was_interrupted_continues(path, monkeypatch):
    X, n_saves = table(), []
    save = module.RunRecord.save

    def interrupt(record, state, generators):
        save(record, state, generators)
        n_saves.append(state.n_epochs)
        if len(n_saves) == 2:
            raise KeyboardInterrupt

    make, expected = CASES["bootstrap"][0], fitted("bootstrap")
    imputer = make().set_callbacks(Checkpoint(path, every_n_epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(module.RunRecord, "save", interrupt)
        with pytest.warns(UserWarning, match="interrupted"):
            imputer.fit(X)
    assert imputer.n_iter_ == 2
    assert path.exists()
    assert_same(results(imputer.fit(X), X), expected)
    assert not path.exists()


def test_time_between_writes(path, monkeypatch):
    now, writes = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "write_plain_file", lambda *_: writes.append(now[0]))
    save = module.RunRecord.save

    def tick(record, state, generators):
        now[0] += 20
        save(record, state, generators)

    monkeypatch.setattr(module.RunRecord, "save", tick)
    options = Checkpoint(path, every_n_epochs=None, every_minutes=1)
    tiny(MVAEImputer, max_iter=7).set_callbacks(options).fit(table())
    assert writes == [0, 60, 120]


def test_callbacks_get_the_epochs_that_remain(stopped):
    pytest.importorskip("sklearn.callback")
    from test_callbacks import Recorder

    recorder = Recorder(evaluate=lambda fitted: fitted.n_iter_)
    tiny(MVAEImputer).set_callbacks(recorder, Checkpoint(stopped)).fit(table())
    assert recorder.results == [3]


def test_progress_counts_all_epochs(stopped, caplog):
    with caplog.at_level("INFO"):
        tiny(MVAEImputer, verbose=2).set_callbacks(Checkpoint(stopped)).fit(table())
    messages = [message for message in caplog.messages if "epoch" in message]
    assert ["epoch 2 of 3" in messages[0], "epoch 3 of 3" in messages[1]] == [True, True]


def test_invalid_options():
    for options in ({"every_n_epochs": 0}, {"every_minutes": -1}, {"every_n_epochs": None}):
        with pytest.raises(ValueError, match="every_"):
            Checkpoint("file", **options)
    with pytest.raises(ValueError, match="path"):
        Checkpoint(3)


def test_custom_functions_are_compared_by_name(path, monkeypatch):
    X = table()
    likelihood, other = (lambda n: NormalLikelihood(n)), NormalLikelihood
    make = lambda function: tiny(MVAEImputer, likelihood=function)  # noqa: E731
    estimator, n_kills = continued(lambda: make(likelihood), X, path, monkeypatch, 1)
    assert n_kills == 3
    assert_same(results(estimator, X), results(make(likelihood).fit(X), X))
    with monkeypatch.context() as patch:
        kill_after(1, patch.setattr)
        with pytest.raises(Killed):
            make(likelihood).set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(X)
    with pytest.raises(ValueError, match="of another fit"):
        make(other).set_callbacks(Checkpoint(path)).fit(X)


def test_a_fit_with_a_custom_sampler_continues(path, monkeypatch):
    X = table()

    def make():
        return tiny(DeMissVAEImputer, sampler=CustomSampler(n_steps=2, state=[1.5]))

    estimator, _ = continued(make, X, path, monkeypatch, 2)
    assert_same(results(estimator, X), results(make().fit(X), X))


def test_a_custom_sampler_without_plain_state_is_refused(path):
    sampler = CustomSampler(n_steps=2, state=memoryview(b""))
    imputer = tiny(DeMissVAEImputer, sampler=sampler).set_callbacks(Checkpoint(path))
    with pytest.raises(TypeError, match=r"A checkpoint cannot identify .*sampler"):
        imputer.fit(table())


def test_saved_estimators_with_a_checkpoint_load(path, tmp_path):
    imputer = tiny(MVAEImputer).set_callbacks(Checkpoint(path)).fit(table())
    imputer.save(tmp_path / "model")
    for restored in (load(tmp_path / "model"), pickle.loads(pickle.dumps(imputer))):
        assert_same(outputs(restored, table()), outputs(imputer, table()))


def test_a_seed_is_required(path):
    with pytest.raises(ValueError, match="'random_state' of MVAEImputer must not be None"):
        tiny(MVAEImputer, random_state=None).set_callbacks(Checkpoint(path)).fit(table())


def test_one_checkpoint_is_accepted(path):
    with pytest.raises(ValueError, match="2 callbacks of class Checkpoint"):
        tiny(MVAEImputer).set_callbacks(Checkpoint(path), Checkpoint(path)).fit(table())


@pytest.mark.skipif(hasattr(MVAEImputer, "_init_callback_context"), reason="has all callbacks")
def test_other_callbacks_require_a_newer_scikit_learn():
    with pytest.raises(TypeError, match=r"require scikit-learn 1\.9"):
        tiny(MVAEImputer).set_callbacks(print).fit(table())


def test_other_estimators_are_refused(path):
    pytest.importorskip("sklearn.callback")
    X = table()
    pipeline = Pipeline([("impute", tiny(MVAEImputer)), ("clf", LogisticRegression())])
    search = GridSearchCV(pipeline, {"impute__n_latents": [1]}, cv=2, error_score="raise")
    with pytest.raises(TypeError, match="cannot be set on GridSearchCV"):
        search.set_callbacks(Checkpoint(path)).fit(X, np.isnan(X[:, 0]))


def test_the_clones_of_a_search_use_one_after_the_other(path):
    X = table()
    imputer = tiny(MVAEImputer).set_callbacks(Checkpoint(path, every_n_epochs=1))
    search = GridSearchCV(imputer, {"n_latents": [1, 2]}, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.best_score_)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill")
def test_fits_that_are_killed_at_random_moments():
    command = [sys.executable, HERE / "kill_fits.py", "2", "0", "60"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-2000:]
    assert "2 of 2 fits have the same bits" in run.stdout
