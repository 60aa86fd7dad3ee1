"""Writes of files that end at a limit of bytes, as on a full disk."""

import functools
import os
import warnings
from contextlib import ExitStack, contextmanager, suppress
from unittest import mock

from estimator_cases import outputs, table, tiny
from faults import differs

from skmissvae import Checkpoint, MissSIWAEImputer, MVAEImputer, load
from skmissvae.training.records import RunRecord


class Killed(Exception):
    """The end of a fit."""


@contextmanager
def full_disk(n_bytes):
    """Let files that this process writes have at most ``n_bytes`` within the block."""
    import resource  # of POSIX

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@functools.cache
def fitted(cls):
    """Return a fitted estimator and its outputs."""
    estimator = tiny(cls, max_iter=5).fit(table())
    return estimator, outputs(estimator, table())


def of_model(rng, folder):
    """Save a model over another one on a full disk; return violations."""
    path = folder / "model"
    (old, values), (new, _) = fitted(MVAEImputer), fitted(MissSIWAEImputer)
    new.save(path)
    size = path.stat().st_size
    old.save(path)
    before, error = dict(vars(new)), None
    with full_disk(rng.randrange(size)):
        try:
            new.save(path)
        except OSError as raised:
            error = raised
    laws = {
        "no clear error": error is None or "File too large" not in str(error),
        "other files": os.listdir(folder) != ["model"],
        "another file": differs(outputs(load(path), table()), values),
        "another estimator": vars(new) != before,
    }
    return [f"model: {name}" for name, is_violated in laws.items() if is_violated]


def of_checkpoint(rng, folder):
    """Fit with a checkpoint on a disk that is full from some epoch on; return violations.

    The fit is killed later, or continues until its end.
    """
    path, is_killed, n_bytes = folder / "fit", rng.random() < 0.5, rng.randrange(8000)
    n_before, save, files = rng.randrange(1, 4), RunRecord.save, []

    def save_on_a_full_disk(record, state, generators):
        if len(files) == n_before:
            limit.enter_context(full_disk(n_bytes))
        save(record, state, generators)
        files.append(path.read_bytes())
        if is_killed and len(files) > n_before:
            raise Killed

    imputer = tiny(MVAEImputer, max_iter=5).set_callbacks(Checkpoint(path, every_n_epochs=1))
    _, values = fitted(MVAEImputer)
    with ExitStack() as limit, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        limit.enter_context(mock.patch.object(RunRecord, "save", save_on_a_full_disk))
        with suppress(Killed):
            imputer.fit(table())
    messages = [str(w.message) for w in caught if "cannot be written" in str(w.message)]
    laws = {
        "no clear warning": not messages or "File too large" not in messages[0],
        "another file": len(set(files[n_before - 1 :])) != 1,
        "other files": os.listdir(folder) != ["fit"] * is_killed,
    }
    if is_killed:
        imputer.fit(table())
    laws["other results"] = differs(outputs(imputer, table()), values)
    return [f"checkpoint: {name}" for name, is_violated in laws.items() if is_violated]


def write(rng, folder):
    """Write a random file on a full disk; return violations."""
    violations = rng.choice([of_model, of_checkpoint])(rng, folder)
    for path in folder.iterdir():
        path.unlink()
    return violations
